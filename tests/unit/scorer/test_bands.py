"""The band is slow to change: small moves around a limit are no news."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from churn.model import HIGH_FROM, MEDIUM_FROM
from scorer.bands import DWELL, MARGIN, settled_band

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=99)


@pytest.mark.parametrize("limit", [MEDIUM_FROM, HIGH_FROM])
@pytest.mark.parametrize("step", [timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)])
@pytest.mark.parametrize("first", ["", "low", "medium", "high"])
def test_a_risk_that_swings_by_three_hundredths_around_a_limit_changes_the_band_at_most_once(
    limit: float, step: timedelta, first: str
) -> None:
    shown, since, now, changes = first, None, NOW, 0
    for number in range(1_000):
        now += step
        after = settled_band(limit + 0.03 * math.sin(number), shown or None, since, now)
        if shown and after != shown:
            changes += 1
        if after != shown:
            shown, since = after, now
    assert changes <= 1


@pytest.mark.parametrize(
    ("risk", "before", "after"),
    [
        (MEDIUM_FROM + MARGIN - 1e-9, "low", "low"),
        (MEDIUM_FROM + MARGIN, "low", "medium"),
        (MEDIUM_FROM - MARGIN, "medium", "medium"),
        (MEDIUM_FROM - MARGIN - 1e-9, "medium", "low"),
        (HIGH_FROM + MARGIN, "medium", "high"),
        (HIGH_FROM + 0.001, "low", "medium"),
        (MEDIUM_FROM - 0.001, "high", "medium"),
        (0.99, "low", "high"),
        (0.01, "high", "low"),
    ],
)
def test_a_band_is_left_only_beyond_the_margin(risk: float, before: str, after: str) -> None:
    assert settled_band(risk, before, LONG_AGO, NOW) == after


@pytest.mark.parametrize(("risk", "band"), [(0.33, "low"), (MEDIUM_FROM, "medium"), (HIGH_FROM, "high")])
def test_the_first_band_is_the_plain_one(risk: float, band: str) -> None:
    assert settled_band(risk, None, None, NOW) == band


def test_a_neighbouring_band_waits_for_the_dwell_and_one_beyond_it_does_not() -> None:
    assert settled_band(0.5, "high", NOW - DWELL + timedelta(seconds=1), NOW) == "high"
    assert settled_band(0.5, "high", NOW - DWELL, NOW) == "medium"
    assert settled_band(0.05, "high", NOW, NOW) == "low"
