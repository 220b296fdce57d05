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
    """Raw events, the same as they arrived (late, repeated), and the moments of the questions."""

    events: list[Event]
    delivered: list[Event]
    questions: list[datetime]


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
        "session_id": _maybe(None, None, "s1", "s2"),
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
    return Case(events[::-1], delivered, draw(st.lists(_questions(moments), min_size=4, max_size=4)))


def _questions(moments: list[datetime]) -> st.SearchStrategy[datetime]:
    """Moments of a question: at and beside the edges of windows, at midnights, anywhere up to 500 days later."""
    newest = max(moments)
    spans = [timedelta(0), 30 * MINUTE, HOUR, *(days * DAY for days in (1, 7, 30, 60, 90, 180, 365))]
    edges = st.builds(
        lambda start, span, beside: max(start + span + beside * MS, newest - LATE),
        st.sampled_from([*moments, newest, newest]),
        st.sampled_from(spans),
        st.sampled_from([0, 0, -1, 1]),
    )
    midnights = st.builds(
        lambda start, days, beside: max(_next_midnight(start) + days * DAY + beside * MS, newest - LATE),
        st.sampled_from(moments),
        st.sampled_from([-1, 0, 6, 29, 59, 89, 364]),
        st.sampled_from([0, 0, -1, 1]),
    )
    anywhere = st.integers(-23 * 60, 500 * 24 * 60).map(lambda minutes: newest + minutes * MINUTE)
    before = st.integers(0, 23 * 60).map(lambda minutes: newest - minutes * MINUTE)
    return st.one_of(edges, edges, midnights, before, anywhere)


def _agree(unit: str, folded: Value, counted: Value) -> bool:
    """Text, whole numbers and money exactly; what was divided, but for rounding."""
    is_divided = isinstance(counted, float) and not (unit == "money" and round(counted, 2) == counted)
    if is_divided and isinstance(counted, float) and isinstance(folded, int | float):
        return math.isclose(folded, counted, rel_tol=1e-12)
    return folded == counted


def _check(case: Case) -> None:
    state = replay(case.delivered)
    for as_of in case.questions:
        folded, counted = feature_row(state, as_of), recount(case.events, as_of)
        assert sorted(folded) == sorted(counted)
        wrong = _disagreements(folded, counted)
        assert not wrong, f"at {as_of}: {wrong}"


def _disagreements(folded: dict[str, Value], counted: dict[str, Value]) -> dict[str, str]:
    return {
        feature.name: f"fold {folded[feature.name]!r}, recount {counted[feature.name]!r}"
        for feature in FEATURES
        if not _agree(feature.unit, folded[feature.name], counted[feature.name])
    }


HISTORIES = _cases(
    ALL_TYPES, [*WITHIN_A_SESSION * 2, *BETWEEN_SESSIONS * 2, *BETWEEN_DAYS, *LONG_AFTER], most_events=60
)
ORDERS = _cases(["purchase", "purchase", "refund"], [timedelta(0), MS, *BETWEEN_DAYS, *LONG_AFTER], most_events=25)
CARTS = _cases(
    ["cart", "cart", "remove_from_cart", "purchase"],
    [SECOND, HOUR, HOUR + MS, 5 * HOUR, *BETWEEN_DAYS],
    most_events=25,
    products=["p1", "p2"],
)
SESSIONS = _cases(
    ["view", "cart", "purchase", "view", "cart", "purchase", "rating"],
    WITHIN_A_SESSION + BETWEEN_SESSIONS * 2,
    most_events=60,
    products=["p1"],
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


def _event(number: int, event_type: str, occurred_at: datetime, **fields: Any) -> Event:
    return Event(event_id=f"e{number}", event_type=event_type, occurred_at=occurred_at, customer_id="c", **fields)


def test_at_midnight_the_day_90_days_ago_still_counts() -> None:
    midnight = _next_midnight(T0)
    events = [_event(n, "view", midnight + n * 90 * DAY, product_id="p") for n in (0, 1)]
    case = Case(events, events, [midnight + 90 * DAY, midnight + 90 * DAY + MS])
    _check(case)
    assert [feature_row(replay(events), as_of)["views_90d"] for as_of in case.questions] == [2, 1]


def test_a_cart_waits_from_more_than_an_hour_on() -> None:
    events = [_event(0, "cart", T0, product_id="p")]
    case = Case(events, events, [T0 + HOUR, T0 + HOUR + MS])
    _check(case)
    assert [feature_row(replay(events), as_of)["cart_is_waiting"] for as_of in case.questions] == [0, 1]


def test_the_median_time_to_act_is_that_of_the_latest_eight() -> None:
    events = []
    for n in range(10):
        events.append(_event(2 * n, "view", T0 + n * DAY, product_id="p"))
        events.append(_event(2 * n + 1, "cart", T0 + n * DAY + n * SECOND, product_id="p"))
    _check(Case(events, events, [T0 + 10 * DAY]))
    assert feature_row(replay(events), T0 + 10 * DAY)["view_to_cart_median_s"] == 5.5  # of 2 to 9


def test_a_refunded_order_of_long_ago_is_still_an_order_with_units() -> None:
    events = [
        _event(0, "purchase", T0, price=10.0, quantity=2, order_id="o1"),
        _event(1, "refund", T0 + DAY, price=20.0, order_id="o1"),
        _event(2, "purchase", T0 + 370 * DAY, price=10.0, quantity=2, order_id="o2"),
    ]
    as_of = T0 + 371 * DAY
    _check(Case(events, events, [as_of]))
    assert feature_row(replay(events), as_of)["basket_quantity_mean"] == 2


def test_a_refund_with_more_discount_than_price_gives_no_revenue() -> None:
    events = [
        _event(0, "purchase", T0, price=10.0, order_id="o1"),
        _event(1, "refund", T0 + DAY, price=5.0, discount=9.0, order_id="o1"),
        _event(2, "refund", T0 + DAY, price=5.0, discount=9.0),
    ]
    assert feature_row(replay(events), T0 + 2 * DAY)["net_revenue_total"] == 10.0


def test_a_hundred_products_are_estimated_within_a_fifth() -> None:
    views = [_event(n, "view", T0 + n * HOUR, product_id=f"p{n}") for n in range(100)]
    as_of = T0 + 100 * HOUR
    assert feature_row(replay(views), as_of)["distinct_products"] == pytest.approx(100, rel=0.2)
    assert recount(views, as_of)["distinct_products"] == 100
