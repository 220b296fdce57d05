"""The laws of the fold: neither the order of arrival nor repetition changes a state, and bytes lose nothing."""

import random
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from churn.events import Event
from churn.features import feature_row, replay, update
from churn.state import EMPTY, pack, unpack

T0 = datetime(2026, 3, 1, tzinfo=UTC)
TYPES = ["view", "cart", "remove_from_cart", "purchase", "refund", "rating", "profile"]


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Up to 40 events of one customer over a few days, with ties in time, shared orders and refunds of all kinds."""
    count = draw(st.integers(1, 40))
    events = []
    for number in range(count):
        event_type = draw(st.sampled_from(TYPES))
        events.append(
            Event(
                event_id=f"e{number}",
                event_type=event_type,
                occurred_at=T0 + timedelta(minutes=draw(st.integers(0, 4 * 24 * 60))),
                customer_id="c",
                product_id=draw(st.sampled_from(["p1", "p2"])),
                price=draw(st.sampled_from([0.0, 0.01, 9.99, 20.0])) if event_type in ("purchase", "refund") else None,
                quantity=draw(st.integers(1, 3)),
                order_id=draw(st.sampled_from([None, "o1", "o2", "o3"])),
                country=draw(st.sampled_from([None, "DE", "FR"])),
                rating=draw(st.integers(1, 5)) if event_type == "rating" else None,
                age=draw(st.sampled_from([None, 30, 31])) if event_type == "profile" else None,
            )
        )
    return events


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[Event], list[Event]]:
    """A history sorted by time, and the same events 1 to 3 times each, none of them more than 24 hours late."""
    history = draw(histories())
    delivered = [
        (event.occurred_at + timedelta(minutes=draw(st.integers(0, 23 * 60))), event)
        for event in history
        for _ in range(draw(st.integers(1, 3)))
    ]
    return sorted(history, key=lambda event: event.occurred_at), [
        event for _, event in sorted(delivered, key=lambda item: item[0])
    ]


@settings(max_examples=300, deadline=None)
@given(arrivals())
def test_order_and_repetition_within_the_lateness_leave_the_same_bytes(case: tuple[list[Event], list[Event]]) -> None:
    history, delivered = case
    assert pack(replay(delivered)) == pack(replay(history))


@settings(max_examples=200, deadline=None)
@given(histories(), st.integers(0, 24 * 60))
def test_nothing_after_the_moment_changes_a_row(history: list[Event], minutes: int) -> None:
    latest = max(event.occurred_at for event in history)
    as_of = latest - timedelta(minutes=minutes)
    history = sorted(history, key=lambda event: event.occurred_at)
    seen = replay(event for event in history if event.occurred_at <= as_of)
    assert feature_row(replay(history), as_of) == feature_row(seen, as_of)


@settings(max_examples=200, deadline=None)
@given(histories())
def test_states_survive_their_bytes(history: list[Event]) -> None:
    state = replay(history)
    assert unpack(pack(state)) == state


def test_a_customer_with_100_000_events_in_a_year_stays_below_16_kb() -> None:
    chance = random.Random(2)
    state, at, largest = EMPTY, T0, 0
    for number in range(100_000):
        at += timedelta(seconds=chance.random() * 2 * 315)
        event_type = chance.choices(["view", "cart", "purchase", "refund", "rating"], [70, 15, 10, 2, 3])[0]
        event = Event(
            event_id=f"event-{number}",
            event_type=event_type,
            occurred_at=at,
            customer_id="c",
            session_id=f"s{number // 9}",
            product_id=f"p{chance.randrange(5_000)}",
            price=chance.randrange(1, 20_000) / 100,
            quantity=chance.randrange(1, 4),
            category=f"category.of-depth.{chance.randrange(90)}",
            device=chance.choice(["mobile", "desktop", "tablet"]),
            channel=chance.choice(["email", "ads", "direct", "social"]),
            country="Germany",
            order_id=f"o{number // 5}" if event_type in ("purchase", "refund") else None,
            rating=3 if event_type == "rating" else None,
        )
        state = update(state, event)
        if number % 500 == 0:
            largest = max(largest, len(pack(state)))
    assert largest <= 16 * 1024
    assert feature_row(state, at)["events_total"] == 100_000
