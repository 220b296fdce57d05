"""What the simulated shop sells: products with prices, popularity, and companions that are bought together."""

from typing import Final, NamedTuple

import numpy as np

from churn.purchase_process import Floats
from producer.season import Whole

# Category: the median price of it in major units, and the things in it.
CATEGORIES: Final[dict[str, tuple[float, tuple[str, ...]]]] = {
    "home.lighting": (45.0, ("Desk Lamp", "Floor Lamp", "Lantern", "Fairy Lights")),
    "home.kitchen": (28.0, ("Kettle", "Saucepan", "Chopping Board", "Jug", "Baking Tin")),
    "home.textiles": (22.0, ("Cushion", "Blanket", "Tea Towel", "Curtain")),
    "garden": (35.0, ("Watering Can", "Planter", "Bird Feeder", "Folding Chair")),
    "toys": (18.0, ("Wooden Train", "Jigsaw", "Doll", "Kite")),
    "stationery": (9.0, ("Notebook", "Fountain Pen", "Wrapping Paper", "Calendar")),
    "electronics.audio": (120.0, ("Headphones", "Radio", "Speaker", "Record Player")),
    "food.sweets": (4.0, ("Chocolate", "Biscuits", "Jam", "Tea")),
    "furniture": (350.0, ("Armchair", "Bookcase", "Side Table", "Bed Frame")),
    "clothing": (40.0, ("Scarf", "Jumper", "Rain Jacket", "Socks", "Belt")),
}
STYLES: Final = ("Nordic", "Vintage", "Plain", "Striped", "Little", "Classic")
USUAL_SHARE: Final = 0.75  # of looks at one of the customer's two categories
CANDIDATES: Final = 12


class Catalogue(NamedTuple):
    """The products, those of a category side by side; arrays are over products but for `first`, over categories.

    `popularity` grows from k to k + 1 over category k; `companions` are bought together more often than others.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    categories: tuple[str, ...]
    prices: Floats
    popularity: Floats
    companions: Whole
    category: Whole
    first: Whole

    def look(self, rng: np.random.Generator, favourites: Whole) -> Whole:
        """A product for each row of `favourites`, a customer's two categories, by popularity in one category."""
        usual, which, popular = rng.random((3, len(favourites)))
        own = np.where(which < 0.5, favourites[:, 0], favourites[:, 1])
        chosen = np.where(usual < USUAL_SHARE, own, (which * (len(self.first) - 1)).astype(np.int64))
        return np.asarray(np.searchsorted(self.popularity, chosen + popular))

    def look_at_price(self, rng: np.random.Generator, favourites: Whole, prices: Floats) -> Whole:
        """The same, but of some candidates the one whose price is nearest."""
        candidates = np.stack([self.look(rng, favourites) for _ in range(CANDIDATES)])
        distance = np.abs(np.log(self.prices[candidates] / prices))
        nearest: Whole = np.take_along_axis(candidates, distance.argmin(axis=0)[None], axis=0)[0]
        return nearest

    def beside(self, products: Whole) -> Whole:
        """The next product of the same category, for each."""
        category = self.category[products]
        start, end = self.first[category], self.first[category + 1]
        return start + (products + 1 - start) % (end - start)


def draw(rng: np.random.Generator) -> Catalogue:
    """A catalogue with log-normal prices that end in .99 and few products that most people look at."""
    names, categories, prices, popularity = [], [], [], []
    first = [0]
    for number, (category, (median, things)) in enumerate(CATEGORIES.items()):
        here = [f"{style} {thing}" for style in STYLES for thing in things]
        names += here
        categories += [category] * len(here)
        prices.append(np.floor(median * rng.lognormal(0.0, 0.4, len(here))) + 0.99)
        weights = 1 / rng.permutation(np.arange(1.0, len(here) + 1))
        popularity.append(number + np.cumsum(weights) / weights.sum())
        first.append(len(names))
    count = len(names)
    return Catalogue(
        ids=tuple(f"p-{number:04d}" for number in range(count)),
        names=tuple(names),
        categories=tuple(categories),
        prices=np.concatenate(prices).round(2).astype(np.float64),
        popularity=np.concatenate(popularity),
        companions=(np.arange(count) + rng.integers(1, count, count)) % count,
        category=np.repeat(np.arange(len(CATEGORIES)), np.diff(first)),
        first=np.array(first),
    )
