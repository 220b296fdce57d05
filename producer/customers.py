"""Who visits the simulated shop: what is true of each customer and what no event says."""

from typing import Final, NamedTuple

import numpy as np

COUNTRIES: Final = {
    "Germany": (0.34, ("Berlin", "Hamburg", "Leipzig")),
    "France": (0.2, ("Paris", "Lyon", "Nantes")),
    "Netherlands": (0.16, ("Utrecht", "Rotterdam")),
    "Spain": (0.16, ("Madrid", "Valencia")),
    "Austria": (0.14, ("Vienna", "Graz")),
}
DEVICES: Final = ("mobile", "desktop", "tablet")
CHANNELS: Final = ("direct", "search", "email", "social", "ads")
GENDERS: Final = ("female", "male", "diverse")
DAY_MS: Final = 86_400_000

# A customer leaves for good at a constant rate of their own, gamma distributed over customers (as in Pareto/NBD).
LEAVING_SHAPE: Final = 1.5
LEAVING_MEAN_PER_DAY: Final = 1 / 250
VISITING_SHAPE: Final = 1.6
SIGN_UP_WITHIN: Final = 0.75  # of the simulated time, more of them early


class Customer(NamedTuple):
    """One customer. Rates are per day, shares and chances between 0 and 1, times in epoch milliseconds."""

    customer_id: str
    signed_up_ms: int
    leaves_ms: float
    visits_per_day: float
    views_more: float  # mean views of a session beyond the first
    cart_chance: float  # that a viewed product goes into the cart
    removal_chance: float
    order_chance: float  # that a filled cart is bought
    spending: float  # chance to take the dearer of two products
    bargain_chance: float
    refund_chance: float  # of an order
    rating_chance: float  # of a line
    satisfaction: float  # mean rating
    categories: tuple[int, int]  # the two that they mostly look at
    device: str
    channel: str
    country: str
    location: str
    age: int
    gender: str

    def days_active(self, until_ms: int) -> float:
        """How long this customer can visit before `until_ms`."""
        return max(0.0, min(self.leaves_ms, until_ms) - self.signed_up_ms) / DAY_MS


def draw(rng: np.random.Generator, count: int, start_ms: int, until_ms: int, categories: int) -> list[Customer]:
    """`count` customers who sign up between the two moments, with relative visit rates whose mean is 1 a day."""
    signed_up = start_ms + (until_ms - start_ms) * SIGN_UP_WITHIN * rng.random(count) ** 1.5
    leaving = rng.gamma(LEAVING_SHAPE, LEAVING_MEAN_PER_DAY / LEAVING_SHAPE, count)
    leaves = signed_up + rng.exponential(1 / np.maximum(leaving, 1e-9)) * DAY_MS
    columns: tuple[np.ndarray, ...] = (
        signed_up.astype(np.int64),
        leaves,
        rng.gamma(VISITING_SHAPE, 1 / VISITING_SHAPE, count),
        rng.gamma(2.0, 1.2, count),
        rng.beta(2, 5, count),
        rng.beta(1, 7, count),
        rng.beta(4, 2, count),
        rng.beta(2, 2, count),
        rng.beta(1, 6, count),
        rng.beta(1, 20, count),
        rng.beta(1, 6, count),
        rng.normal(4.0, 0.6, count),
    )
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        Customer(*(f"customer-{number:06d}", *traits, *_words(rng, categories)))
        for number, traits in enumerate(rows, start=1)
    ]


def _words(rng: np.random.Generator, categories: int) -> tuple[tuple[int, int], str, str, str, str, int, str]:
    country = _choice(rng, tuple(COUNTRIES), tuple(share for share, _ in COUNTRIES.values()))
    first, second = rng.integers(categories, size=2).tolist()
    return (
        (first, second),
        _choice(rng, DEVICES, (0.55, 0.35, 0.1)),
        _choice(rng, CHANNELS, (0.3, 0.3, 0.15, 0.15, 0.1)),
        country,
        _choice(rng, COUNTRIES[country][1]),
        int(np.clip(rng.normal(42, 14), 18, 90)),
        _choice(rng, GENDERS, (0.52, 0.46, 0.02)),
    )


def _choice(rng: np.random.Generator, words: tuple[str, ...], shares: tuple[float, ...] | None = None) -> str:
    if shares is None:
        return words[int(rng.integers(len(words)))]
    return words[int(np.searchsorted(np.cumsum(shares), rng.random() * sum(shares)))]
