"""The fold gives, for every feature, what counting all raw events again gives, however they were delivered."""

import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.events import Event
from churn.features import FEATURES, feature_row, replay

from .naive import Value, recount

T0 = datetime(2025, 6, 1, 11, tzinfo=UTC)
LONGEST = timedelta(days=400)
MS = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

# From one event to the next.
WITHIN_A_SESSION = [timedelta(0), timedelta(0), MS, SECOND, 10 * SECOND, 10 * SECOND + MS, 29 * MINUTE, 30 * MINUTE]
BETWEEN_SESSIONS = [30 * MINUTE + MS, HOUR, 5 * HOUR, 13 * HOUR]
BETWEEN_DAYS = [DAY - MS, DAY, DAY + MS, 3 * DAY, 7 * DAY, 29 * DAY, 30 * DAY - MS, 30 * DAY, 30 * DAY + MS, 61 * DAY]
LONG_AFTER = [90 * DAY, 180 * DAY, 365 * DAY, 370 * DAY]

# Mostly none; 1 to 3 for 1 ms before, at and 1 ms after the next midnight.
ALIGNMENTS = [0] * 12 + [1, 2, 3]
# How long after it happened an event arrives, once for each time that it is delivered.
LATE = timedelta(hours=22, minutes=59)
DELAYS = [[timedelta(0)], [MINUTE], [LATE], [timedelta(0), 3 * HOUR], [LATE, timedelta(0)], [HOUR, LATE, 5 * HOUR]]
# The same moments, written elsewhere; the fold counts whole milliseconds.
ZONES = [UTC, UTC, UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-5, minutes=-30))]
MICROSECONDS = [timedelta(0), timedelta(0), timedelta(microseconds=400)]
# The fold forgets an order 366 days after a newer one: its lines and refunds come sooner.
ORDER_SPAN = timedelta(days=180)

ALL_TYPES = ["view", "view", "cart", "cart", "remove_from_cart", "purchase", "purchase", "refund", "rating", "profile"]
PRODUCTS = ["p1", "p2", "p3", "p4"]
PRICES = [0.0, 0.01, 9.99, 9.99, 20.0, 20.0, 1.005, 33.335, 1234.56]


class Case(NamedTuple):
    """Raw events, the same as they arrived (late, repeated), and the moment of the question."""

    events: list[Event]
    delivered: list[Event]
    as_of: datetime


def _maybe(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *values])


def _fields(event_type: str, products: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """The fields of an event but its id, customer and time, each missing at times where the type allows it."""
    fields = {
        "event_type": st.just(event_type),
        "category": _maybe("shoes", "bags", "hats"),
        "device": _maybe("phone", "desktop"),
        "channel": _maybe("mail", "search", "direct"),
        "country": _maybe("DE", "FR"),
        "session_id": _maybe(None, "s1", "s2"),
        "product_id": st.sampled_from(products),
        "quantity": st.integers(1, 3),
    }
    if event_type in ("purchase", "refund"):
        fields |= {
            "product_id": _maybe(*products),
            "order_id": _maybe("o1", "o2", "o3", "o4"),
            "price": st.sampled_from(PRICES),
            "discount": _maybe(None, 0.0, 0.01, 9.99, 50.0),
        }
    elif event_type == "rating":
        fields |= {"product_id": _maybe(*products), "rating": st.integers(1, 5)}
    elif event_type == "profile":
        fields |= {
            "product_id": st.none(),
            "age": _maybe(30, 31),
            "gender": _maybe("f", "m"),
            "location": _maybe("Bonn", "Lyon"),
            "signup_date": _maybe(date(2024, 2, 29), date(2025, 5, 31), date(2025, 12, 24)),
        }
    else:
        # Told by an event of another type: a product's own rating, somebody's age. None of the customer's.
        fields |= {"rating": _maybe(None, 1), "age": _maybe(None, 99)}
    return st.fixed_dictionaries(fields)


def _next_midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) + DAY


def _moments(waits: list[timedelta], alignments: list[int]) -> list[datetime]:
    """Moments one after another, no further apart than `LONGEST`; for the alignments see `ALIGNMENTS`."""
    moment, moments = T0, []
    for wait, alignment in zip(waits, alignments, strict=True):
        later = moment + wait
        if alignment:
            later = _next_midnight(later) + (alignment - 2) * MS
        if later <= T0 + LONGEST:
            moment = later
        moments.append(moment)
    return moments


@st.composite
def _cases(
    draw: st.DrawFn, event_types: list[str], waits: list[timedelta], most_events: int, products: list[str] = PRODUCTS
) -> Case:
    fields_by_type = {event_type: _fields(event_type, products) for event_type in event_types}
    one = st.tuples(
        st.sampled_from(event_types).flatmap(fields_by_type.__getitem__),
        st.sampled_from(waits),
        st.sampled_from(ALIGNMENTS),
        st.tuples(st.sampled_from(ZONES), st.sampled_from(MICROSECONDS), st.sampled_from(DELAYS)),
    )
    size = draw(st.integers(1, most_events))  # lists without a size are mostly short
    drawn = draw(st.lists(one, min_size=size, max_size=size))
    moments = _moments([each[1] for each in drawn], [each[2] for each in drawn])
    events, arrivals = [], []
    order_began: dict[str, datetime] = {}
    for number, ((fields, _, _, (zone, beside, delays)), moment) in enumerate(zip(drawn, moments, strict=True)):
        if (order := fields.get("order_id")) is not None:
            began = order_began.setdefault(order, moment)
            fields = fields | {"order_id": f"{order}, {(moment - began) // ORDER_SPAN}"}
        occurred_at = (moment + beside).astimezone(zone)
        events.append(Event(event_id=f"e{number}", customer_id="c", occurred_at=occurred_at, **fields))
        arrivals += [(moment + delay, events[-1]) for delay in delays]
    delivered = [event for _, event in sorted(arrivals, key=lambda arrival: arrival[0])]
    return Case(events[::-1], delivered, draw(_questions(moments)))


def _questions(moments: list[datetime]) -> st.SearchStrategy[datetime]:
    """Moments of a question: at and beside the edges of windows, at midnights, anywhere up to 500 days later."""
    newest = max(moments)
    spans = [timedelta(0), 30 * MINUTE, HOUR, *(days * DAY for days in (1, 7, 8, 30, 60, 90, 180, 365))]
    edges = st.builds(
        lambda start, span, beside: max(start + span + beside * MS, newest - LATE),
        st.sampled_from(moments),
        st.sampled_from(spans),
        st.integers(-1, 1),
    )
    midnights = st.builds(
        lambda days, beside: _next_midnight(newest) + days * DAY + beside * MS,
        st.sampled_from([0, 1, 6, 7, 29, 30, 60, 90, 365]),
        st.integers(-1, 1),
    )
    before = st.integers(0, 23 * 60).map(lambda minutes: newest - minutes * MINUTE)
    after = st.integers(0, 500 * 24 * 60).map(lambda minutes: newest + minutes * MINUTE)
    return st.one_of(edges, edges, midnights, before, after)


def _agree(unit: str, folded: Value, counted: Value) -> bool:
    """Text, whole numbers and money exactly; what was divided, but for rounding."""
    is_divided = isinstance(counted, float) and not (unit == "money" and round(counted, 2) == counted)
    if is_divided and isinstance(counted, float) and isinstance(folded, int | float):
        return math.isclose(folded, counted, rel_tol=1e-12)
    return folded == counted


def _check(case: Case) -> None:
    folded = feature_row(replay(case.delivered), case.as_of)
    counted = recount(case.events, case.as_of)
    assert sorted(folded) == sorted(counted)
    wrong = {
        feature.name: f"fold {folded[feature.name]!r}, recount {counted[feature.name]!r}"
        for feature in FEATURES
        if not _agree(feature.unit, folded[feature.name], counted[feature.name])
    }
    assert not wrong, f"at {case.as_of}: {wrong}"


HISTORIES = _cases(
    ALL_TYPES, [*WITHIN_A_SESSION * 2, *BETWEEN_SESSIONS * 2, *BETWEEN_DAYS, *LONG_AFTER], most_events=60
)
ORDERS = _cases(["purchase", "purchase", "refund"], [timedelta(0), MS, *BETWEEN_DAYS, *LONG_AFTER], most_events=25)
CARTS = _cases(
    ["cart", "cart", "remove_from_cart", "purchase"],
    [SECOND, HOUR, HOUR + MS, 5 * HOUR, *BETWEEN_DAYS],
    25,
    ["p1", "p2"],
)
SESSIONS = _cases(
    ["view", "view", "cart", "purchase", "rating"], WITHIN_A_SESSION * 2 + BETWEEN_SESSIONS, most_events=50
)


@settings(max_examples=250, deadline=None)
@given(HISTORIES)
def test_any_history_is_folded_into_what_a_recount_finds(case: Case) -> None:
    _check(case)


@settings(max_examples=300, deadline=None)
@given(ORDERS)
def test_orders_and_refunds_are_folded_into_what_a_recount_finds(case: Case) -> None:
    _check(case)


@settings(max_examples=300, deadline=None)
@given(CARTS)
def test_carts_are_folded_into_what_a_recount_finds(case: Case) -> None:
    _check(case)


@settings(max_examples=200, deadline=None)
@given(SESSIONS)
def test_sessions_are_folded_into_what_a_recount_finds(case: Case) -> None:
    _check(case)


def test_a_hundred_products_are_estimated_within_a_fifth() -> None:
    views = [
        Event(event_id=f"e{n}", event_type="view", occurred_at=T0 + n * HOUR, customer_id="c", product_id=f"p{n}")
        for n in range(100)
    ]
    as_of = T0 + 100 * HOUR
    assert feature_row(replay(views), as_of)["distinct_products"] == pytest.approx(100, rel=0.2)
    assert recount(views, as_of)["distinct_products"] == 100
