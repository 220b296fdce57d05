"""What happens when simulated customers visit: views, a cart, sometimes an order, and what follows from it later.

Arrays over events, all visits of some customers at once. Which visit is an order is known before it begins.
"""

from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from churn.purchase_process import Floats
from producer import season
from producer.catalogue import Catalogue
from producer.customers import CHANNELS, DEVICES, Customers, Visits
from producer.population import MAX_LINES, MORE_LINES_MEAN, Population
from producer.season import DAY_MS, Whole

TYPES: Final = ("view", "cart", "remove_from_cart", "purchase", "refund", "rating", "profile")
VIEW, CART, REMOVAL, PURCHASE, REFUND, RATING, PROFILE = range(len(TYPES))

STEP_MEAN_MS: Final = 50_000
STEP_MAX_MS: Final = 1_500_000  # below the 30 minutes after which a session is another one
USUAL_SHARE: Final = 0.75  # of sessions by the customer's usual device and channel
MORE_UNITS_MEAN: Final = 0.25
VIEWS_BEFORE_ORDER: Final = 0.6  # of the further views of another visit, beside those of what is bought
COMPANION_CHANCE: Final = 0.35  # that a further line is the companion of the first
DISCOUNTS: Final = (0.1, 0.15, 0.2, 0.3)
CAMPAIGN_BARGAIN: Final = 0.5  # more bargains on visits that a campaign brought
REFUND_AFTER_DAYS: Final = (2.0, 10.0)
RATING_AFTER_DAYS: Final = (1.0, 14.0)
LEAST_ORDER: Final = 1.0
NONE: Final = -1


class Contexts(NamedTuple):
    """Arrays over visits: how the customer came. `campaign` is a place in `labels`, or `NONE`."""

    device: Whole
    channel: Whole
    campaign: Whole
    is_brought: NDArray[np.bool_]  # by the mail of a campaign
    labels: list[str]


class Happened(NamedTuple):
    """Arrays over events. Places in visits, customers and products are `NONE` where there is none, as is a rating."""

    kind: Whole
    customer: Whole
    visit: Whole
    at_ms: Whole
    product: Whole
    price: Floats
    quantity: Whole
    discount: Floats
    rating: Whole

    def only(self, chosen: NDArray[np.bool_] | Whole) -> "Happened":
        """Some of them, or all in another order."""
        return Happened(*(cast(Any, column)[chosen] for column in self))


class Lines(NamedTuple):
    """Arrays over lines of orders, in order of visit; money in major units."""

    visit: Whole
    product: Whole
    price: Floats
    quantity: Whole
    discount: Floats


def contexts(rng: np.random.Generator, who: Customers, visits: Visits) -> Contexts:
    """Mostly the usual device and channel; in a campaign's window its share of the visits came by its mail."""
    count = len(visits.at_ms)
    by_device, by_channel, by_campaign = rng.random((3, count))
    device = np.where(by_device < USUAL_SHARE, who.device[visits.customer], rng.integers(len(DEVICES), size=count))
    channel = np.where(by_channel < USUAL_SHARE, who.channel[visits.customer], rng.integers(len(CHANNELS), size=count))
    lift = np.where(who.arm[visits.customer] < 2, season.lift_at(visits.at_ms), 0.0)
    is_brought = by_campaign < lift / (1 + lift)
    channel = np.where(is_brought, CHANNELS.index("email"), channel)
    campaign, labels = _campaigns(visits.at_ms, channel, is_brought)
    return Contexts(device, channel, campaign, is_brought, labels)


def _campaigns(at_ms: Whole, channel: Whole, is_brought: NDArray[np.bool_]) -> tuple[Whole, list[str]]:
    months = season.months_of(at_ms)
    labels: list[str] = []
    places: dict[str, int] = {}
    campaign = np.full(len(at_ms), NONE)
    running = np.full(len(at_ms), NONE)
    for place, each in enumerate(season.CAMPAIGNS):
        running[season.within(at_ms, each)] = place
    named = is_brought | np.isin(channel, [CHANNELS.index("email"), CHANNELS.index("ads")])
    for visit in np.flatnonzero(named).tolist():
        if is_brought[visit]:
            label = f"{season.CAMPAIGNS[running[visit]].name}-{months[visit][:4]}"
        else:
            label = f"{CHANNELS[channel[visit]]}-{months[visit]}"
        if label not in places:
            places[label] = len(labels)
            labels.append(label)
        campaign[visit] = places[label]
    return campaign, labels


def lines_of(
    rng: np.random.Generator,
    who: Customers,
    visits: Visits,
    catalogue: Catalogue,
    population: Population,
    is_brought: NDArray[np.bool_],
) -> Lines:
    """The lines of all orders. What an order costs after discount is Gamma(p) around the customer's mean spend.

    Its lines share one price level, so that they add up: products cost what the catalogue says times that level.
    """
    orders = np.flatnonzero(visits.is_order)
    customer = visits.customer[orders]
    p = population.spend.p
    net = np.maximum(who.mean_spend[customer] * rng.gamma(p, 1 / p, len(orders)), LEAST_ORDER)
    chance = np.maximum(who.bargain_chance[customer], CAMPAIGN_BARGAIN * is_brought[orders])
    share = np.where(rng.random(len(orders)) < chance, rng.choice(DISCOUNTS, len(orders)), 0.0)
    count = 1 + np.minimum(rng.poisson(MORE_LINES_MEAN, len(orders)), MAX_LINES - 1)
    products = _basket(rng, who.favourites[customer], net / (1 - share) / count, catalogue)
    taken = np.arange(MAX_LINES) < count[:, None]
    listed = np.where(taken, catalogue.prices[products], 0.0)
    quantity = 1 + rng.poisson(MORE_UNITS_MEAN, listed.shape)
    level = net / (1 - share) / (listed * quantity).sum(axis=1)
    quantity = quantity * np.clip(np.round(level), 1, 12).astype(np.int64)[:, None]
    level = net / (1 - share) / (listed * quantity).sum(axis=1)
    price = np.maximum(np.round(listed * level[:, None], 2), 0.01)
    discount = np.round(price * quantity * share[:, None], 2)
    return Lines(
        visit=np.repeat(orders, count),
        product=products[taken],
        price=price[taken],
        quantity=quantity[taken],
        discount=discount[taken],
    )


def _basket(rng: np.random.Generator, favourites: Whole, prices: Floats, catalogue: Catalogue) -> Whole:
    """Different products for every order, the companion of the first more often than by chance: (orders, MAX_LINES)."""
    columns = [catalogue.look_at_price(rng, favourites, prices)]
    for _ in range(MAX_LINES - 1):
        product = catalogue.look_at_price(rng, favourites, prices)
        is_companion = rng.random(len(product)) < COMPANION_CHANCE
        product = np.where(is_companion, catalogue.companions[columns[0]], product)
        while True:
            is_repeated = np.any([product == before for before in columns], axis=0)
            if not is_repeated.any():
                break
            product = np.where(is_repeated, catalogue.beside(product), product)
        columns.append(product)
    return np.stack(columns, axis=1)


def happen(
    rng: np.random.Generator, who: Customers, visits: Visits, lines: Lines, catalogue: Catalogue, population: Population
) -> Happened:
    """The events of these visits and those that follow from them, by visit; later ones at the end, not sorted."""
    acts, bought_at = _browse(rng, who, visits, lines, catalogue)
    purchases = _of_lines(PURCHASE, bought_at[lines.visit], lines, visits)
    refunded, rated = _sent_back(rng, lines, population), rng.random(len(lines.visit))
    rated_lines = rated < who.rating_chance[visits.customer[lines.visit]]
    refunds = _later(rng, REFUND, REFUND_AFTER_DAYS, bought_at, _some(lines, refunded), visits)
    ratings = _rate(rng, who, bought_at, _some(lines, rated_lines), visits)
    return _joined([acts, purchases, refunds, ratings])


def _browse(
    rng: np.random.Generator, who: Customers, visits: Visits, lines: Lines, catalogue: Catalogue
) -> tuple[Happened, Whole]:
    """Views, carts and removals of all visits, and when each visit's order is placed."""
    count = len(visits.at_ms)
    bought = np.bincount(lines.visit, minlength=count)
    more = rng.poisson(who.views_more[visits.customer] * np.where(visits.is_order, VIEWS_BEFORE_ORDER, 1.0))
    looked = more + np.where(visits.is_order, 0, 1)
    item_visit = np.repeat(np.arange(count), looked + bought)
    place = np.arange(len(item_visit)) - np.repeat(np.cumsum(looked + bought) - looked - bought, looked + bought)
    is_bought = place >= looked[item_visit]
    customer = visits.customer[item_visit]
    product = catalogue.look(rng, who.favourites[customer])
    price = catalogue.prices[product]
    quantity = 1 + rng.poisson(MORE_UNITS_MEAN, len(product))
    for column, values in ((product, lines.product), (price, lines.price), (quantity, lines.quantity)):
        column[is_bought] = values
    carting, removing = rng.random((2, len(product)))
    is_carted = is_bought | (carting < who.cart_chance[customer])
    is_removed = is_carted & ~is_bought & (removing < who.removal_chance[customer])
    steps = 1 + is_carted.astype(np.int64) + is_removed
    item = np.repeat(np.arange(len(product)), steps)
    kind = np.arange(len(item)) - np.repeat(np.cumsum(steps) - steps, steps)  # view, cart, removal: 0, 1, 2
    at_ms, ends = _walk(rng, visits, item_visit[item])
    acts = Happened(
        kind=kind,
        customer=customer[item],
        visit=item_visit[item],
        at_ms=at_ms,
        product=product[item],
        price=price[item],
        quantity=np.where(kind == VIEW, 1, quantity[item]),
        discount=np.zeros(len(item)),
        rating=np.full(len(item), NONE),
    )
    return acts, ends + _steps(rng, count)


def _walk(rng: np.random.Generator, visits: Visits, visit: Whole) -> tuple[Whole, Whole]:
    """When each act happens, step by step from the beginning of its visit, and when the last one of each visit does."""
    passed = np.cumsum(_steps(rng, len(visit)))
    count = np.bincount(visit, minlength=len(visits.at_ms))
    last = np.cumsum(count) - 1  # every visit has an act
    before = np.concatenate([[0], passed[last[:-1]]]) if len(last) else last
    at_ms = visits.at_ms[visit] + passed - before[visit]
    return at_ms, at_ms[last]


def _steps(rng: np.random.Generator, count: int) -> Whole:
    return 1_000 + np.minimum(rng.exponential(STEP_MEAN_MS, count), STEP_MAX_MS).astype(np.int64)


def _sent_back(rng: np.random.Generator, lines: Lines, population: Population) -> NDArray[np.bool_]:
    """One line of each order that is sent back."""
    is_first = np.diff(lines.visit, prepend=-1) > 0
    first = np.flatnonzero(is_first)
    size = np.diff(np.append(first, len(lines.visit)))
    is_refunded = rng.random(len(first)) < population.refunds
    line = first + (rng.random(len(first)) * size).astype(np.int64)
    chosen = np.zeros(len(lines.visit), dtype=np.bool_)
    chosen[line[is_refunded]] = True
    return chosen


def _some(lines: Lines, chosen: NDArray[np.bool_]) -> Lines:
    return Lines(*(cast(Any, column)[chosen] for column in lines))


def _of_lines(kind: int, at_ms: Whole, lines: Lines, visits: Visits) -> Happened:
    count = len(lines.visit)
    return Happened(
        kind=np.full(count, kind),
        customer=visits.customer[lines.visit],
        visit=lines.visit,
        at_ms=at_ms,
        product=lines.product,
        price=lines.price,
        quantity=lines.quantity,
        discount=lines.discount,
        rating=np.full(count, NONE),
    )


def _later(
    rng: np.random.Generator, kind: int, after_days: tuple[float, float], bought_at: Whole, lines: Lines, visits: Visits
) -> Happened:
    delay = (rng.uniform(*after_days, len(lines.visit)) * DAY_MS).astype(np.int64)
    return _of_lines(kind, bought_at[lines.visit] + delay, lines, visits)


def _rate(rng: np.random.Generator, who: Customers, bought_at: Whole, lines: Lines, visits: Visits) -> Happened:
    rated = _later(rng, RATING, RATING_AFTER_DAYS, bought_at, lines, visits)
    liked = rng.normal(who.satisfaction[rated.customer], 0.7)
    return rated._replace(rating=np.clip(np.round(liked), 1, 5).astype(np.int64), quantity=np.ones_like(rated.quantity))


def sign_ups(who: Customers) -> Happened:
    """The profile that each customer gives on joining."""
    count = len(who.number)
    nothing = np.full(count, NONE)
    return Happened(
        kind=np.full(count, PROFILE),
        customer=np.arange(count),
        visit=nothing,
        at_ms=who.signed_up_ms,
        product=nothing,
        price=np.zeros(count),
        quantity=np.ones(count, dtype=np.int64),
        discount=np.zeros(count),
        rating=nothing,
    )


def in_time(parts: list[Happened]) -> Happened:
    """All of them in order of time; at the same moment in the order in which they stand."""
    happened = _joined(parts)
    return happened.only(np.argsort(happened.at_ms, kind="stable"))


def _joined(parts: list[Happened]) -> Happened:
    return Happened(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
