"""The fold, case by case: what each number means for a history small enough to count by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from churn.events import Event
from churn.features import FEATURES, feature_row, replay, update
from churn.state import EMPTY, STATE_VERSION, InvalidState, pack, unpack

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(event_id: str, event_type: str, at: datetime, **fields: Any) -> Event:
    defaults = {"product_id": "p1", "price": 10.0 if event_type in ("purchase", "refund") else None}
    return Event(event_id=event_id, event_type=event_type, occurred_at=at, customer_id="c1", **{**defaults, **fields})


def after(**delta: float) -> datetime:
    return T0 + timedelta(**delta)


def test_the_row_holds_exactly_the_declared_features() -> None:
    names = [feature.name for feature in FEATURES]
    assert sorted(feature_row(EMPTY, T0)) == sorted(names)
    assert list(feature_row(replay([event("a", "view", T0)]), T0)) == names


def test_a_customer_without_events_has_the_declared_defaults() -> None:
    row = feature_row(EMPTY, T0)
    assert {feature.name: feature.default for feature in FEATURES} == row


def test_recency_frequency_and_monetary_follow_the_clock() -> None:
    state = replay(
        [
            event("a", "purchase", T0, order_id="o1", price=20.0, quantity=2),
            event("b", "purchase", after(seconds=5), order_id="o1", price=5.0),
            event("c", "purchase", after(days=10), order_id="o2", price=7.5),
        ]
    )
    row = feature_row(state, after(days=40))
    assert (row["recency_days"], row["frequency"], row["monetary"]) == (30.0, 2, 52.5)
    assert (row["orders_30d"], row["revenue_90d"], row["average_order_value"]) == (0, 52.5, 26.25)
    assert feature_row(state, after(days=40, milliseconds=-1))["orders_30d"] == 1
    later = feature_row(state, after(days=370))
    assert (later["recency_days"], later["frequency"], later["monetary"]) == (360.0, 1, 7.5)
    assert later["orders_total"] == 2


def test_a_row_does_not_see_events_after_its_moment() -> None:
    early = replay([event("a", "view", T0), event("b", "purchase", after(hours=1))])
    both = update(early, event("c", "purchase", after(hours=2)))
    assert feature_row(both, after(hours=1)) == feature_row(early, after(hours=1))


def test_a_moment_before_settled_events_is_refused() -> None:
    state = replay([event("a", "view", T0), event("b", "view", after(days=3))])
    with pytest.raises(ValueError, match="replay the history"):
        feature_row(state, after(days=-1))


@pytest.mark.parametrize(("gap_s", "sessions"), [(30 * 60, 1), (30 * 60 + 1, 2)])
def test_a_session_ends_after_more_than_thirty_minutes(gap_s: int, sessions: int) -> None:
    row = feature_row(replay([event("a", "view", T0), event("b", "view", after(seconds=gap_s))]), after(days=1))
    assert row["sessions_total"] == sessions


def test_a_session_over_midnight_is_one() -> None:
    late = datetime(2026, 3, 1, 23, 50, tzinfo=UTC)
    row = feature_row(
        replay([event("a", "view", late), event("b", "cart", late + timedelta(minutes=20))]), late + timedelta(days=1)
    )
    assert (row["sessions_total"], row["session_duration_mean_s"]) == (1, 1200.0)


def test_a_late_event_bridges_two_sessions() -> None:
    state = replay(
        [event("a", "view", T0), event("c", "view", after(minutes=40)), event("b", "view", after(minutes=20))]
    )
    row = feature_row(state, after(hours=1))
    assert (row["sessions_total"], row["session_events"], row["session_duration_s"]) == (1, 3, 2400.0)


def test_the_running_session_ends_in_silence() -> None:
    state = replay([event("a", "view", T0)])
    assert feature_row(state, after(minutes=30))["session_is_running"] == 1
    assert feature_row(state, after(minutes=31))["session_is_running"] == 0


def test_a_fully_refunded_order_neither_counts_nor_resets_recency() -> None:
    state = replay(
        [
            event("a", "purchase", T0, order_id="o1"),
            event("b", "purchase", after(days=5), order_id="o2", price=30.0),
            event("c", "refund", after(days=6), order_id="o2", price=30.0),
        ]
    )
    row = feature_row(state, after(days=10))
    assert (row["orders_total"], row["recency_days"], row["net_revenue_total"]) == (1, 10.0, 10.0)
    assert row["gross_revenue_total"] == 40.0


def test_the_last_line_of_an_order_of_long_ago_may_be_the_latest() -> None:
    state = replay(
        [
            event("e1", "purchase", after(days=0), order_id="long"),
            event("e2", "purchase", after(days=100), order_id="short"),
            event("e3", "purchase", after(days=150), order_id="long"),
            event("e4", "refund", after(days=400), order_id="unknown"),
            event("e5", "view", after(days=402)),
        ]
    )
    row = feature_row(state, after(days=402))
    assert row["recency_days"] == 252
    assert row["last_purchase_at"] == round(after(days=150).timestamp() * 1000)


def test_a_refund_is_capped_at_the_value_of_its_order() -> None:
    state = replay(
        [
            event("a", "purchase", T0, order_id="o1", price=10.0, discount=1.0),
            event("b", "refund", after(days=1), order_id="o1", price=50.0),
        ]
    )
    assert feature_row(state, after(days=2))["net_revenue_total"] == 0.0


def test_a_refund_before_its_order_waits_for_it() -> None:
    state = replay(
        [
            event("b", "refund", T0, order_id="o1", price=4.0),
            event("a", "purchase", after(hours=1), order_id="o1", price=10.0),
        ]
    )
    row = feature_row(state, after(days=2))
    assert (row["net_revenue_total"], row["orders_total"], row["last_purchase_at"]) == (
        6.0,
        1,
        int(after(hours=1).timestamp() * 1000),
    )


def test_a_refund_without_an_order_lowers_the_value_and_undoes_no_order() -> None:
    state = replay([event("a", "purchase", T0), event("b", "refund", after(days=1), price=25.0)])
    row = feature_row(state, after(days=2))
    assert (row["net_revenue_total"], row["orders_total"], row["monetary"]) == (-15.0, 1, -15.0)


def test_a_repeated_event_id_changes_nothing() -> None:
    first = event("a", "purchase", T0)
    state = replay([first])
    assert update(state, first) is state


def test_an_event_later_than_the_lateness_still_counts_in_totals() -> None:
    state = replay(
        [event("a", "purchase", T0), event("b", "purchase", after(days=3)), event("c", "purchase", after(days=1))]
    )
    row = feature_row(state, after(days=4))
    assert (row["orders_total"], row["net_revenue_total"], row["recency_days"]) == (3, 30.0, 1.0)


def test_a_window_holds_the_days_that_began_within_it() -> None:
    midnight = datetime(2026, 3, 10, tzinfo=UTC)
    state = replay([event("a", "view", midnight - timedelta(days=7)), event("b", "view", midnight)])
    assert feature_row(state, midnight)["views_7d"] == 2
    assert feature_row(state, midnight + timedelta(hours=1))["views_7d"] == 1


def test_the_latest_word_of_a_profile_counts_field_by_field() -> None:
    state = replay(
        [
            event("a", "profile", T0, age=30, gender="f", product_id=None),
            event("b", "profile", after(hours=1), age=31, location="Ulm", product_id=None),
        ]
    )
    row = feature_row(state, after(days=2))
    assert (row["age"], row["gender"], row["location"]) == (31, "f", "Ulm")


def test_many_orders_stay_bounded_and_keep_their_totals() -> None:
    orders = [event(f"e{i}", "purchase", after(hours=7 * i), order_id=f"o{i}", price=1.5) for i in range(1200)]
    state = replay(orders)
    row = feature_row(state, after(hours=7 * 1200))
    assert (row["orders_total"], row["net_revenue_total"]) == (1200, 1800.0)
    assert len(pack(state)) < 16 * 1024


@pytest.mark.parametrize(("events", "form"), [(1, 0), (20, 1), (700, 2)], ids=["small", "usual", "of a busy day"])
def test_states_survive_their_bytes(events: int, form: int) -> None:
    details = {"category": "kitchen & dining", "device": "mobile", "channel": "newsletter", "country": "GB"}
    state = replay(
        [event(f"e{i}", "view", after(minutes=i), product_id=f"p{i}", **details) for i in range(events)],
    )
    packed = pack(state)
    assert packed[1] == form
    assert unpack(packed) == state


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        bytes([STATE_VERSION + 1, 0]),
        *(bytes([STATE_VERSION, form, *bad]) for form in range(3) for bad in (b"\xc1", b"\5\0\0\0\0")),
    ],
)
def test_bytes_of_another_version_or_damaged_are_refused(packed: bytes) -> None:
    with pytest.raises(InvalidState):
        unpack(packed)
