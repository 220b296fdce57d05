"""Paces: when each message leaves, on a clock that only moves when somebody sleeps or works."""

from datetime import UTC, datetime, timedelta

import pytest

from producer.pacing import EventTime, FixedRate, NoWait, Pace

FIRST = datetime(2026, 1, 1, tzinfo=UTC)


class Time:
    """A clock, and the sleep that moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def departures(pace: Pace, time: Time, offsets_s: list[float | None]) -> list[float]:
    left = []
    for offset in offsets_s:
        pace.wait(None if offset is None else FIRST + timedelta(seconds=offset))
        left.append(time.now - 100)
    return left


def test_without_a_pace_nobody_waits() -> None:
    assert departures(NoWait(), Time(), [0, 3600]) == [0, 0]


def test_a_fixed_rate_counts_rows_whatever_their_times() -> None:
    time = Time()
    assert departures(FixedRate(4, time.clock, time.sleep), time, [0, None, 99, 5]) == [0, 0.25, 0.5, 0.75]


def test_a_fixed_rate_catches_up_after_a_delay() -> None:
    time = Time()
    pace = FixedRate(10, time.clock, time.sleep)
    departures(pace, time, [0])
    time.now += 0.25
    assert departures(pace, time, [0, 0, 0]) == pytest.approx([0.25, 0.25, 0.3])


def test_event_time_is_kept_at_speed_1_and_shortened_at_60() -> None:
    for speed, expected in ((1, [0, 60, 600]), (60, [0, 1, 10])):
        time = Time()
        assert departures(EventTime(speed, time.clock, time.sleep), time, [0, 60, 600]) == expected


def test_an_older_event_and_a_row_that_is_none_leave_at_once() -> None:
    time = Time()
    assert departures(EventTime(1, time.clock, time.sleep), time, [None, 0, 60, 30, None, 61]) == [0, 0, 60, 60, 60, 61]
