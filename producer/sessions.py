"""What happens when a simulated customer visits: views, a cart, sometimes an order, and what follows from it later."""

from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any, Final, NamedTuple

import numpy as np

from churn.events import Event, EventType
from producer.catalogue import Catalogue, Product
from producer.customers import CHANNELS, DAY_MS, DEVICES, Customer

Timed = tuple[int, Event]  # epoch milliseconds, and what happens then

MAX_LINES: Final = 4
STEP_MEAN_MS: Final = 50_000
STEP_MAX_MS: Final = 1_500_000  # below the 30 minutes after which a session is another one
USUAL_SHARE: Final = 0.75  # of sessions by the customer's usual device, channel and categories
MORE_UNITS_MEAN: Final = 0.25
DISCOUNTS: Final = (0.1, 0.15, 0.2, 0.3)
REFUND_AFTER_DAYS: Final = (2.0, 10.0)
RATING_AFTER_DAYS: Final = (1.0, 14.0)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Names:
    """Ids that never repeat: a name for the whole simulation and a number."""

    def __init__(self, simulation: str) -> None:
        self.simulation = simulation
        self._numbers = count()

    def new(self) -> str:
        return f"{self.simulation}-{next(self._numbers)}"


class Line(NamedTuple):
    """A product in the cart, and how many of it."""

    product: Product
    quantity: int


class Session:
    """One visit while it unfolds; `happened` collects its events and those that follow from it later."""

    def __init__(self, customer: Customer, at_ms: int, rng: np.random.Generator, names: Names) -> None:
        self.customer = customer
        self.happened: list[Timed] = []
        self._at_ms = at_ms
        self._rng = rng
        self._names = names
        device, channel = rng.random(2).tolist()
        self._device = customer.device if device < USUAL_SHARE else DEVICES[int(rng.integers(len(DEVICES)))]
        self._channel = customer.channel if channel < USUAL_SHARE else CHANNELS[int(rng.integers(len(CHANNELS)))]
        self._session_id = names.new()
        self._campaign = f"{self._channel}-{moment(at_ms):%Y-%m}" if self._channel in ("email", "ads") else None

    def browse(self, catalogue: Catalogue) -> list[Line]:
        """Look at products, put some into the cart and some of those back; returns what stays in the cart."""
        customer, rng = self.customer, self._rng
        views = 1 + int(rng.poisson(customer.views_more))
        chances = rng.random((views, 2)).tolist()
        cart: dict[str, Line] = {}
        for carting, removing in chances:
            product = _choose(customer, catalogue, rng)
            self._act("view", product)
            if carting >= customer.cart_chance or product.product_id in cart:
                continue
            line = Line(product, 1 + int(rng.poisson(MORE_UNITS_MEAN)))
            self._act("cart", product, quantity=line.quantity)
            if removing < customer.removal_chance:
                self._act("remove_from_cart", product, quantity=line.quantity)
            else:
                cart[product.product_id] = line
        return list(cart.values())

    def order(self, lines: list[Line]) -> None:
        """Buy these lines as one order; it may be sent back in part, and rated, days later."""
        customer, rng = self.customer, self._rng
        order_id = self._names.new()
        is_bargain, is_refunded = rng.random() < customer.bargain_chance, rng.random() < customer.refund_chance
        share = float(rng.choice(DISCOUNTS)) if is_bargain else 0.0
        discounts = [round(line.product.price * line.quantity * share, 2) or None for line in lines]
        self._step()
        for line, discount in zip(lines, discounts, strict=True):
            self._record("purchase", line.product, quantity=line.quantity, order_id=order_id, discount=discount)
            if rng.random() < customer.rating_chance:
                self._rate(line)
        if is_refunded:
            place = int(rng.integers(len(lines)))
            self._refund(lines[place], discounts[place], order_id)

    def _rate(self, line: Line) -> None:
        rating = int(np.clip(round(self._rng.normal(self.customer.satisfaction, 0.7)), 1, 5))
        product = line.product
        self._later(
            RATING_AFTER_DAYS, "rating", rating=rating, product_id=product.product_id, category=product.category
        )

    def _refund(self, line: Line, discount: float | None, order_id: str) -> None:
        self._later(
            REFUND_AFTER_DAYS,
            "refund",
            order_id=order_id,
            quantity=line.quantity,
            discount=discount,
            **_described(line.product),
        )

    def _act(self, event_type: EventType, product: Product, **fields: Any) -> None:
        self._step()
        self._record(event_type, product, **fields)

    def _step(self) -> None:
        self._at_ms += 1_000 + int(min(self._rng.exponential(STEP_MEAN_MS), STEP_MAX_MS))

    def _record(self, event_type: EventType, product: Product, **fields: Any) -> None:
        event = Event(
            event_id=self._names.new(),
            event_type=event_type,
            occurred_at=moment(self._at_ms),
            customer_id=self.customer.customer_id,
            session_id=self._session_id,
            channel=self._channel,
            campaign=self._campaign,
            device=self._device,
            country=self.customer.country,
            **_described(product),
            **fields,
        )
        self.happened.append((self._at_ms, event))

    def _later(self, after_days: tuple[float, float], event_type: EventType, **fields: Any) -> None:
        at_ms = self._at_ms + int(self._rng.uniform(*after_days) * DAY_MS)
        event = Event(
            event_id=self._names.new(),
            event_type=event_type,
            occurred_at=moment(at_ms),
            customer_id=self.customer.customer_id,
            country=self.customer.country,
            **fields,
        )
        self.happened.append((at_ms, event))


def visit(customer: Customer, at_ms: int, catalogue: Catalogue, rng: np.random.Generator, names: Names) -> list[Timed]:
    """The events of one visit that begins at `at_ms`, and those that follow from it, not sorted."""
    session = Session(customer, at_ms, rng, names)
    cart = session.browse(catalogue)
    if cart and rng.random() < customer.order_chance:
        session.order(cart[:MAX_LINES])
    return session.happened


def sign_up(customer: Customer, names: Names) -> Timed:
    """The profile that a customer gives on joining."""
    at = moment(customer.signed_up_ms)
    event = Event(
        event_id=names.new(),
        event_type="profile",
        occurred_at=at,
        customer_id=customer.customer_id,
        country=customer.country,
        age=customer.age,
        gender=customer.gender,
        location=customer.location,
        signup_date=date(at.year, at.month, at.day),
    )
    return customer.signed_up_ms, event


def moment(at_ms: int) -> datetime:
    """Epoch milliseconds as an aware UTC time."""
    return _EPOCH + timedelta(milliseconds=at_ms)


def _choose(customer: Customer, catalogue: Catalogue, rng: np.random.Generator) -> Product:
    """A product, mostly of the customer's own categories; who spends more takes the dearer of two."""
    usual, which, first, second, spending = rng.random(5).tolist()
    categories = catalogue.by_category
    place = customer.categories[which < 0.5] if usual < USUAL_SHARE else int(which * len(categories))
    products, cumulative = categories[place], catalogue.cumulative[place]
    one, other = sorted(
        (products[int(cumulative.searchsorted(draw))] for draw in (first, second)), key=lambda product: product.price
    )
    return other if spending < customer.spending else one


def _described(product: Product) -> dict[str, Any]:
    return {
        "product_id": product.product_id,
        "product_name": product.name,
        "category": product.category,
        "price": product.price,
    }
