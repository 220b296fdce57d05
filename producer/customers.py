"""Who visits the simulated shop: what is true of each customer, what no event says, and when they come and leave."""

from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import pdtr, pdtrc

from churn.purchase_process import Floats
from producer import season
from producer.catalogue import CATEGORIES
from producer.population import Population
from producer.season import Clock, Whole

COUNTRIES: Final = {
    "Germany": (0.34, ("Berlin", "Hamburg", "Leipzig")),
    "France": (0.2, ("Paris", "Lyon", "Nantes")),
    "Netherlands": (0.16, ("Utrecht", "Rotterdam")),
    "Spain": (0.16, ("Madrid", "Valencia")),
    "Austria": (0.14, ("Vienna", "Graz")),
}
LOCATIONS: Final = tuple((country, town) for country, (_, towns) in COUNTRIES.items() for town in towns)
DEVICES: Final = ("mobile", "desktop", "tablet")
CHANNELS: Final = ("direct", "search", "email", "social", "ads")
GENDERS: Final = ("female", "male", "diverse")

SIGN_UP_WITHIN: Final = 0.75  # of the simulated time, more of them early
LEAST_LEAVE_CHANCE: Final = 1e-9


class Customers(NamedTuple):
    """Arrays over customers. Rates are per operational day, chances between 0 and 1, times in epoch milliseconds."""

    number: Whole
    arm: Whole
    signed_up_ms: Whole
    visit_rate: Floats
    leave_chance: Floats  # after each visit
    returns: Whole  # how often the customer comes back before leaving for good, if there is time
    order_chance: Floats  # of a visit
    mean_spend: Floats  # of an order, after discount
    views_more: Floats  # mean views of a visit beyond the first
    cart_chance: Floats  # of a product that is looked at and not bought
    removal_chance: Floats
    bargain_chance: Floats
    rating_chance: Floats  # of a line
    satisfaction: Floats  # mean rating
    favourites: Whole  # the two categories that they mostly look at: (customers, 2)
    device: Whole
    channel: Whole
    location: Whole
    age: Whole
    gender: Whole

    def only(self, chosen: NDArray[np.bool_]) -> "Customers":
        """Some of them."""
        return Customers(*(cast(Any, column)[chosen] for column in self))

    @property
    def ids(self) -> list[str]:
        return [id_of(number) for number in self.number.tolist()]


class Visits(NamedTuple):
    """Arrays over visits, in order of customer and time; `customer` is a place in `Customers`."""

    customer: Whole
    at_ms: Whole
    days: Floats  # operational days since the start of the clock
    is_order: NDArray[np.bool_]


def id_of(number: int) -> str:
    return f"customer-{number:06d}"


def draw(
    rng: np.random.Generator, numbers: Whole, population: Population, clock: Clock, span_ms: tuple[int, int], shop: str
) -> Customers:
    """Customers with these numbers who sign up within the first part of the span; `shop` names it for assignments."""
    count, spend = len(numbers), population.spend
    leave_chance = np.clip(rng.beta(population.visits.a, population.visits.b, count), LEAST_LEAVE_CHANCE, 1.0)
    arms = np.array([season.arm_of(id_of(number), shop) for number in numbers.tolist()], dtype=np.int64)
    return Customers(
        number=numbers,
        arm=arms,
        signed_up_ms=sign_ups(rng, count, clock, span_ms),
        visit_rate=rng.gamma(population.visits.r, 1 / population.visits.alpha, count),
        leave_chance=leave_chance,
        returns=rng.geometric(leave_chance) - 1,
        order_chance=rng.beta(population.conversion.c, population.conversion.d, count),
        mean_spend=spend.p * spend.gamma / rng.gamma(spend.q, 1.0, count),
        views_more=rng.gamma(2.0, population.views_more / 2, count),
        cart_chance=rng.beta(2, 8, count),
        removal_chance=rng.beta(1, 5, count),
        bargain_chance=rng.beta(1, 6, count),
        rating_chance=rng.beta(1, 6, count),
        satisfaction=rng.normal(4.0, 0.6, count),
        favourites=rng.integers(len(CATEGORIES), size=(count, 2)),
        device=rng.choice(len(DEVICES), count, p=(0.55, 0.35, 0.1)),
        channel=rng.choice(len(CHANNELS), count, p=(0.3, 0.3, 0.15, 0.15, 0.1)),
        location=rng.choice(len(LOCATIONS), count, p=_location_shares()),
        age=np.clip(rng.normal(42, 14, count), 18, 90).astype(np.int64),
        gender=rng.choice(len(GENDERS), count, p=(0.52, 0.46, 0.02)),
    )


def _location_shares() -> list[float]:
    return [share / len(towns) for share, towns in COUNTRIES.values() for _ in towns]


def sign_ups(rng: np.random.Generator, count: int, clock: Clock, span_ms: tuple[int, int]) -> Whole:
    """When customers sign up: like visits by the hour and the season, more of them early in the span."""
    arms = np.full(count, 2)
    begin, end = clock.at(np.array(span_ms), arms[:1].repeat(2))
    days = begin + (end - begin) * SIGN_UP_WITHIN * rng.random(count) ** 1.5
    return np.clip(clock.when(days, arms).astype(np.int64), span_ms[0], span_ms[1] - 1)


def expected_visits(visit_rate: Floats, returns: Whole, ages: Floats) -> Floats:
    """Expected visits by these operational ages, the first included: 1 + E[min(Poisson, returns)]."""
    wanted = visit_rate * ages
    without_leaving = wanted * np.where(returns > 0, pdtr(np.maximum(returns - 1, 0), wanted), 0.0)
    return np.asarray(1 + without_leaving + returns * pdtrc(returns, wanted))


class Lives(NamedTuple):
    """What customers did by the end: their visits, and who is still there (an array over customers)."""

    visits: Visits
    is_alive: NDArray[np.bool_]


def live_until(rng: np.random.Generator, who: Customers, clock: Clock, until_ms: int) -> Lives:
    """All visits from the one of signing up on. After each the customer leaves for good with their own chance."""
    begin = clock.at(who.signed_up_ms, who.arm)
    ages = clock.at(np.full(len(who.arm), until_ms), who.arm) - begin
    wanted = rng.poisson(who.visit_rate * ages)
    customer = np.repeat(np.arange(len(wanted)), wanted)
    offset = np.repeat(np.cumsum(wanted) - wanted, wanted)
    days = rng.random(len(customer)) * ages[customer]
    days = days[np.lexsort((days, customer))]
    kept = np.arange(len(customer)) - offset < who.returns[customer]
    visits = _with_first(customer[kept], days[kept], begin)
    at_ms = np.minimum(clock.when(visits[1], who.arm[visits[0]]).astype(np.int64), until_ms - 1)
    is_first = np.diff(visits[0], prepend=-1) > 0
    at_ms[is_first] = who.signed_up_ms
    is_order = rng.random(len(at_ms)) < who.order_chance[visits[0]]
    return Lives(Visits(visits[0], at_ms, visits[1], is_order), wanted < who.returns)


def _with_first(customer: Whole, days: Floats, begin: Floats) -> tuple[Whole, Floats]:
    """Repeat visits and before them each customer's first, at age 0."""
    everybody = np.arange(len(begin))
    customer = np.concatenate([everybody, customer])
    days = np.concatenate([np.zeros(len(begin)), days])
    order = np.argsort(customer, kind="stable")
    customer = customer[order]
    return customer, days[order] + begin[customer]


def go_on(rng: np.random.Generator, who: Customers, clock: Clock, span_ms: tuple[int, int]) -> Visits:
    """Visits within the span of customers who are there all the time."""
    ends = [clock.at(np.full(len(who.arm), moment), who.arm) for moment in span_ms]
    count = rng.poisson(who.visit_rate * (ends[1] - ends[0]))
    customer = np.repeat(np.arange(len(count)), count)
    days = ends[0][customer] + rng.random(len(customer)) * (ends[1] - ends[0])[customer]
    at_ms = clock.when(days, who.arm[customer]).astype(np.int64)
    return Visits(customer, at_ms, days, rng.random(len(customer)) < who.order_chance[customer])
