"""The figures of the soak are those of its minutes."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.soak import Minute, States, freshness_table, memory_table, slope
from stream_processor.fold import MAX_AT_HAND, MAX_EVENTS_AT_HAND

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def minutes(count: int, per_h: float, noise: float = 0.0) -> list[Minute]:
    chance = random.Random(3)
    return [
        Minute(
            each / 60,
            {"redis": 100 + per_h * each / 60 + chance.gauss(0, noise)},
            {"redis": 0.25},
            [10.0, 30.0],
            60_000,
            7 * each,
        )
        for each in range(1, count + 1)
    ]


def test_a_steady_growth_is_its_slope() -> None:
    found = slope(minutes(30, per_h=12.0), "redis")
    assert found.per_h == pytest.approx(12.0)
    assert (found.low, found.high) == pytest.approx((12.0, 12.0))


def test_the_interval_of_a_noisy_flat_line_holds_nothing() -> None:
    found = slope(minutes(45, per_h=0.0, noise=1.0), "redis")
    assert found.low < 0 < found.high


def test_growth_that_customers_explain_stands_beside_the_slope() -> None:
    states = [States(1_000, 0.0, 0.0, each * 2**20 / 1_000, 0.0) for each in (1, 3)]
    row = memory_table(minutes(31, per_h=4.0), states)[-1]
    assert row == "| redis | 100 | 102 | 102 | +4.0 | +4.0 to +4.0 | +4.0 | 0.25 |"


def test_the_processor_keeps_fewer_objects_of_busier_customers() -> None:
    quiet, busy = (States(60_000, 0.0, 2**20, 0.0, recent) for recent in (5.0, 100.0))
    assert quiet.in_processor_mib == pytest.approx(MAX_AT_HAND)
    assert busy.in_processor_mib == pytest.approx(MAX_EVENTS_AT_HAND / 100)


def test_freshness_is_told_by_ten_minutes() -> None:
    told = [
        {
            "@timestamp": (BEGAN + timedelta(minutes=at)).isoformat(),
            "lag": 5,
            "freshness_p50_s": 0.2,
            "freshness_p99_s": p99,
        }
        for at, p99 in ((1, 0.5), (9, 0.9), (11, 7.0))
    ]
    told.append({"@timestamp": (BEGAN + timedelta(minutes=12)).isoformat(), "lag": 8})
    first, second = freshness_table(minutes(12, 0.0), told, BEGAN)[2:]
    assert first == "| 1 to 10 | 1,000 | 20 | 30 | 70 | 200 | 900 | 5 |"
    assert second == "| 11 to 12 | 1,000 | 20 | 30 | 84 | 200 | 7000 | 8 |"
