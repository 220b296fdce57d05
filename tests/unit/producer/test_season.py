"""The shop's clock: its mean is a day a day, it can be turned back, and what moves it moves whom it should."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from churn.events import epoch_ms
from producer import season
from producer.season import DAY_MS, Clock

START = datetime(2025, 1, 1, tzinfo=UTC)
END = START + timedelta(days=365)
TREATED = epoch_ms(START + timedelta(days=200))
CLOCK = Clock(epoch_ms(START), epoch_ms(END), TREATED)
BOTH_HELD_OUT, REACHED = 2, 0


def days(arm: int, begin: datetime, end: datetime) -> float:
    first, last = CLOCK.at(np.array([epoch_ms(begin), epoch_ms(end)]), np.array([arm, arm]))
    return float(last - first)


def test_a_year_has_about_as_many_operational_days() -> None:
    assert days(BOTH_HELD_OUT, START, END) == pytest.approx(365, rel=0.05)


def test_a_time_comes_back_from_its_operational_days() -> None:
    rng = np.random.default_rng(1)
    times, arms = rng.integers(epoch_ms(START), epoch_ms(END), 1_000), rng.integers(4, size=1_000)
    np.testing.assert_allclose(CLOCK.when(CLOCK.at(times, arms), arms), times, atol=1.0)


def test_a_campaign_lifts_its_days_for_all_but_the_holdout() -> None:
    begin, end = datetime(2025, 7, 8, tzinfo=UTC), datetime(2025, 7, 15, tzinfo=UTC)
    assert days(REACHED, begin, end) / days(BOTH_HELD_OUT, begin, end) == pytest.approx(1.5)
    assert days(REACHED, end, end + timedelta(days=7)) == days(BOTH_HELD_OUT, end, end + timedelta(days=7))


def test_the_treatment_speeds_up_the_treated_from_its_begin() -> None:
    begin = START + timedelta(days=200)
    assert days(1, begin, END) / days(0, begin, END) == pytest.approx(1 + season.UPLIFT)
    assert days(3, begin, END) / days(2, begin, END) == pytest.approx(1 + season.UPLIFT)
    assert days(1, START, begin) == days(0, START, begin)


def test_a_peak_has_twice_the_days_of_the_week_before() -> None:
    peak = datetime(2025, 11, 24, tzinfo=UTC)
    week = timedelta(days=7)
    assert days(2, peak, peak + week) / days(2, peak - week, peak) == pytest.approx(2.0, rel=0.02)


def test_weekdays_and_hours_have_the_proportions_that_are_written() -> None:
    monday, day = datetime(2025, 8, 4, tzinfo=UTC), timedelta(days=1)
    found = [days(2, monday + day * number, monday + day * (number + 1)) for number in range(7)]
    np.testing.assert_allclose(np.array(found) / found[0], np.array(season.WEEKDAYS) / season.WEEKDAYS[0], rtol=0.02)
    hour = timedelta(hours=1)
    found = [days(2, monday + hour * number, monday + hour * (number + 1)) for number in range(24)]
    np.testing.assert_allclose(np.array(found) / found[0], np.array(season.HOURS) / season.HOURS[0], rtol=0.001)


def test_the_year_has_its_high_season() -> None:
    def week(month: int) -> float:
        begin = datetime(2025, month, 2, tzinfo=UTC)
        return days(2, begin, begin + timedelta(days=7))

    swing = season.YEARLY_SWING
    assert week(12) / week(6) == pytest.approx((1 + swing) / (1 - swing), rel=0.02)


def test_windows_are_whole_days_of_any_year() -> None:
    campaign = season.CAMPAIGNS[0]
    moments = [datetime(year, 1, day, hour, tzinfo=UTC) for year in (2024, 2031) for day, hour in ((8, 0), (14, 23))]
    outside = [datetime(2024, 1, 7, 23, tzinfo=UTC), datetime(2024, 1, 15, tzinfo=UTC)]
    times = np.array([epoch_ms(moment) for moment in (*moments, *outside)])
    assert season.within(times, campaign).tolist() == [True] * 4 + [False] * 2


def test_an_assignment_is_sticky_and_even_and_independent_of_the_holdout() -> None:
    arms = np.array([season.arm_of(f"c{number}", "shop") for number in range(20_000)])
    assert arms.tolist() == [season.arm_of(f"c{number}", "shop") for number in range(20_000)]
    assert np.mean(arms >= 2) == pytest.approx(season.HOLDOUT_SHARE, abs=0.01)
    for chosen in (arms >= 2, arms < 2):
        assert np.mean(arms[chosen] % 2) == pytest.approx(0.5, abs=0.05)
    assert [season.arm_of(f"c{number}", "another") for number in range(100)] != arms[:100].tolist()


def test_the_treatment_begins_at_a_midnight() -> None:
    assert season.treated_from(epoch_ms(START) + 12_345, epoch_ms(END)) % DAY_MS == 0
