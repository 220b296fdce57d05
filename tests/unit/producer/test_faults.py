"""Faults: each in the share that was asked for, written down, and nothing else is changed."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from churn.events import InvalidEvent, check, from_fields
from producer.faults import Faults
from producer.simulator import History, Plan, Simulation

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(num_customers=1_200, num_events=40_000, days=300, seed=7, until=UNTIL)
SHARE = 0.1
Rows = list[dict[str, Any]]


def lived(**shares: float) -> History:
    return Simulation(PLAN._replace(faults=Faults(**shares))).tables()


CLEAN = lived()
CLEAN_ROWS: dict[str, dict[str, Any]] = {row["event_id"]: row for row in CLEAN.events.to_pylist()}


def faulty(history: History, fault: str) -> dict[str, dict[str, Any]]:
    """What is written down of a fault, by event."""
    return {row["event_id"]: row for row in history.record.to_pylist() if row["fault"] == fault}


def changed(history: History) -> dict[str, Mapping[str, Any]]:
    """Events that differ from those of the shop without faults, and what they say instead."""
    differing = {}
    for row in history.events.to_pylist():
        clean = CLEAN_ROWS[row["event_id"]]
        if row != clean:
            differing[row["event_id"]] = {name: value for name, value in row.items() if value != clean[name]}
    return differing


def assert_share(found: int, of: int, wanted: float = SHARE) -> None:
    assert abs(found - of * wanted) < 4 * np.sqrt(of * wanted * (1 - wanted))


@pytest.mark.parametrize("fault", ["late", "shuffled", "future", "malformed", "clock_skew", "anonymous"])
def test_only_what_is_written_down_is_changed_and_the_truth_is_kept(fault: str) -> None:
    history = lived(**{fault: SHARE})
    assert set(changed(history)) == set(faulty(history, fault))
    assert history.events.num_rows == CLEAN.events.num_rows
    for event_id, row in faulty(history, fault).items():
        assert row["occurred_at"] == CLEAN_ROWS[event_id]["occurred_at"]
        assert row["customer_id"] == CLEAN_ROWS[event_id]["customer_id"]
    for name in ("sessions", "orders"):
        assert getattr(history, name).equals(getattr(CLEAN, name))


@pytest.mark.parametrize(
    ("fault", "column", "least", "most"),
    [
        ("late", "ingested_at", timedelta(hours=1), timedelta(hours=20)),
        ("shuffled", "ingested_at", timedelta(seconds=1), timedelta(minutes=10)),
        ("future", "occurred_at", timedelta(days=1), timedelta(days=30)),
    ],
)
def test_a_share_of_the_events_has_another_time(fault: str, column: str, least: timedelta, most: timedelta) -> None:
    history = lived(**{fault: SHARE})
    moved = changed(history)
    assert_share(len(moved), CLEAN.events.num_rows)
    for event_id, row in moved.items():
        assert list(row) == [column]
        assert least <= row[column] - CLEAN_ROWS[event_id][column] <= most


def test_events_lie_in_the_order_of_their_arrival() -> None:
    history = lived(shuffled=0.3, late=0.1)
    arrivals = history.events["ingested_at"].to_pylist()
    assert arrivals == sorted(arrivals)
    happened = history.events["occurred_at"].to_pylist()
    assert happened != sorted(happened)


def test_every_malformed_event_is_refused_and_no_other() -> None:
    history = lived(malformed=SHARE)
    refused = set()
    for row in history.events.to_pylist():
        fields = {name: value for name, value in row.items() if value is not None and name != "ingested_at"}
        try:
            check(from_fields(fields), now=UNTIL, currency="EUR")
        except InvalidEvent:
            refused.add(row["event_id"])
    assert refused == set(faulty(history, "malformed"))
    assert_share(len(refused), CLEAN.events.num_rows)


def test_a_share_of_the_events_comes_twice_the_second_time_later() -> None:
    history = lived(duplicates=SHARE)
    count = Counter(history.events["event_id"].to_pylist())
    assert set(count) == set(CLEAN_ROWS)
    twice = {event_id for event_id, times in count.items() if times == 2}
    assert set(count.values()) == {1, 2}
    assert twice == set(faulty(history, "duplicates"))
    assert_share(len(twice), CLEAN.events.num_rows)
    assert all(list(row) == ["ingested_at"] for row in changed(history).values())


def test_bots_are_a_share_of_all_events_and_sign_up_for_nothing() -> None:
    history = lived(bots=SHARE)
    bots = [row for row in history.events.to_pylist() if row["event_id"] not in CLEAN_ROWS]
    assert len(bots) / history.events.num_rows == pytest.approx(SHARE, abs=0.001)
    assert {row["event_id"] for row in bots} == set(faulty(history, "bots"))
    assert {row["event_type"] for row in bots} == {"view"}
    people = {row["customer_id"] for row in CLEAN_ROWS.values()}
    assert people.isdisjoint(row["customer_id"] for row in bots)
    visits = Counter(row["session_id"] for row in bots)
    assert max(visits.values()) == 250
    assert history.orders.equals(CLEAN.orders)


def test_clocks_are_wrong_for_whole_sessions_by_one_amount() -> None:
    history = lived(clock_skew=SHARE)
    skews: dict[str, set[timedelta]] = {}
    for event_id, row in changed(history).items():
        skew = row["occurred_at"] - CLEAN_ROWS[event_id]["occurred_at"]
        skews.setdefault(CLEAN_ROWS[event_id]["session_id"], set()).add(skew)
    assert_share(len(skews), CLEAN.sessions.num_rows)
    for skew in skews.values():
        assert len(skew) == 1
        assert timedelta(minutes=2) <= abs(skew.pop()) <= timedelta(minutes=90)


def test_anonymous_sessions_become_known_in_the_middle() -> None:
    history = lived(anonymous=SHARE)
    unknown = {
        row["session_id"]: row["customer_id"] for row in history.events.to_pylist() if row["customer_id"][0] == "a"
    }
    assert_share(len(unknown), CLEAN.sessions.num_rows)
    assert len(set(unknown.values())) == len(unknown)
    sizes = Counter(row["session_id"] for row in CLEAN_ROWS.values())
    for row in history.events.to_pylist():
        if row["event_type"] == "purchase":
            assert not row["customer_id"].startswith("anonymous")
    known = {row["session_id"] for row in history.events.to_pylist() if row["customer_id"][0] == "c"}
    assert {session_id for session_id in unknown if sizes[session_id] > 1} <= known


def test_faults_of_events_exclude_each_other_and_add_up() -> None:
    history = lived(late=SHARE, shuffled=SHARE, future=SHARE, malformed=SHARE, duplicates=SHARE)
    count = CLEAN.events.num_rows
    events = [event_id for fault in ("late", "shuffled", "future", "malformed") for event_id in faulty(history, fault)]
    assert len(events) == len(set(events))
    assert_share(len(events), count, 4 * SHARE)
    assert_share(len(faulty(history, "duplicates")), count)
    assert history.events.num_rows == count + len(faulty(history, "duplicates"))
