"""What the simulated shop sells."""

from typing import Final, NamedTuple

import numpy as np

# Category: the median price of it in major units, and the things in it.
CATEGORIES: Final[dict[str, tuple[float, tuple[str, ...]]]] = {
    "home.lighting": (45.0, ("Desk Lamp", "Floor Lamp", "Lantern", "Fairy Lights")),
    "home.kitchen": (28.0, ("Kettle", "Saucepan", "Chopping Board", "Jug", "Baking Tin")),
    "home.textiles": (22.0, ("Cushion", "Blanket", "Tea Towel", "Curtain")),
    "garden": (35.0, ("Watering Can", "Planter", "Bird Feeder", "Folding Chair")),
    "toys": (18.0, ("Wooden Train", "Jigsaw", "Doll", "Kite")),
    "stationery": (9.0, ("Notebook", "Fountain Pen", "Wrapping Paper", "Calendar")),
    "electronics.audio": (120.0, ("Headphones", "Radio", "Speaker", "Record Player")),
    "clothing": (40.0, ("Scarf", "Jumper", "Rain Jacket", "Socks", "Belt")),
}
STYLES: Final = ("Nordic", "Vintage", "Plain", "Striped", "Little", "Classic")


class Product(NamedTuple):
    """One thing on sale; `price` in major units."""

    product_id: str
    name: str
    category: str
    price: float


class Catalogue(NamedTuple):
    """The products, grouped by category, and how often each is looked at.

    `cumulative[k]` is the share of looks that go to the products of category k up to each of them.
    """

    by_category: tuple[tuple[Product, ...], ...]
    cumulative: tuple[np.ndarray, ...]


def draw(rng: np.random.Generator) -> Catalogue:
    """A catalogue with log-normal prices that end in .99 and few products that most people look at."""
    by_category: list[tuple[Product, ...]] = []
    cumulative: list[np.ndarray] = []
    number = 0
    for category, (median, things) in CATEGORIES.items():
        names = [f"{style} {thing}" for style in STYLES for thing in things]
        prices = np.floor(median * rng.lognormal(0.0, 0.4, len(names))) + 0.99
        first, number = number, number + len(names)
        by_category.append(
            tuple(
                Product(f"p-{first + place:04d}", name, category, round(float(price), 2))
                for place, (name, price) in enumerate(zip(names, prices, strict=True))
            )
        )
        popularity = 1 / rng.permutation(np.arange(1, len(names) + 1))
        cumulative.append(np.cumsum(popularity) / popularity.sum())
    return Catalogue(tuple(by_category), tuple(cumulative))
