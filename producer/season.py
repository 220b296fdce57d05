"""When people come to the simulated shop: season, weekday, hour, demand peaks, campaigns and a treatment as one clock.

All of them change time, not people: who would come at rate l comes at rate l s(t), where s is known and its mean over a
year without campaigns is about 1. Counted in operational days, the integral of s, everybody's rate is constant again.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from churn.assignment import is_chosen
from churn.purchase_process import Floats

Whole = NDArray[np.int64]

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

# Monday to Sunday, and the hours of a day (UTC); only their proportions count.
WEEKDAYS: Final = (1.0, 0.96, 0.95, 0.98, 1.04, 1.12, 0.95)
HOURS: Final = (3, 2, 1, 1, 1, 2, 4, 7, 10, 12, 13, 13, 14, 13, 12, 12, 13, 15, 18, 21, 22, 19, 13, 7)
YEARLY_SWING: Final = 0.15
YEARLY_PEAK_DAY: Final = 340


class Peak(NamedTuple):
    """Days of every year on which more people come: `factor` times as many."""

    name: str
    month: int
    first_day: int
    last_day: int
    factor: float


class Campaign(NamedTuple):
    """Mails of every year that bring `lift` more visits, but not of the holdout, who get none."""

    name: str
    month: int
    first_day: int
    last_day: int
    lift: float


PEAKS: Final = (
    Peak("valentine", 2, 11, 13, 1.5),
    Peak("black-week", 11, 24, 30, 2.0),
    Peak("christmas", 12, 10, 20, 1.4),
)
CAMPAIGNS: Final = (
    Campaign("winter-sale", 1, 8, 14, 0.3),
    Campaign("spring", 3, 8, 14, 0.4),
    Campaign("garden-week", 5, 8, 14, 0.3),
    Campaign("summer-sale", 7, 8, 14, 0.5),
    Campaign("back-to-school", 9, 8, 14, 0.35),
    Campaign("autumn", 10, 12, 18, 0.4),
)
HOLDOUT_SHARE: Final = 0.1
TREATMENT: Final = "reminder"
UPLIFT: Final = 0.2
TREATED_SHARE: Final = 0.5
TREATED_FROM: Final = 0.6  # of the simulated time; it ends with it
ARMS: Final = 4  # holdout (2) + treated (1)


def arm_of(customer_id: str, shop: str) -> int:
    """Who gets no campaign (arms 2, 3), and who gets the treatment (1, 3)."""
    is_held_out = is_chosen(f"{shop}:holdout", customer_id, HOLDOUT_SHARE)
    is_treated = is_chosen(f"{shop}:{TREATMENT}", customer_id, TREATED_SHARE)
    return 2 * is_held_out + is_treated


class Clock:
    """Operational days since its start, for each arm; straight within an hour. Times are in epoch milliseconds."""

    def __init__(self, start_ms: int, end_ms: int, treated_from_ms: int) -> None:
        """Covers whole hours from the one of `start_ms` to after `end_ms`."""
        first = start_ms // HOUR_MS
        self.edges: Whole = np.arange(first, -(-end_ms // HOUR_MS) + 1, dtype=np.int64) * HOUR_MS
        hours = self.edges[:-1]
        common = _intensity(hours)
        campaign, treated = 1 + lift_at(hours), np.where(hours >= treated_from_ms, 1 + UPLIFT, 1.0)
        rates = np.stack([common * campaign, common * campaign * treated, common, common * treated])
        self.days: Floats = np.concatenate([np.zeros((ARMS, 1)), np.cumsum(rates / 24, axis=1)], axis=1)

    def at(self, times_ms: Floats | Whole, arms: Whole) -> Floats:
        """Operational days at these times, each by the clock of its arm."""
        return _by_arm(arms, times_ms, lambda arm, part: np.interp(part, self.edges, self.days[arm]))

    def when(self, days: Floats, arms: Whole) -> Floats:
        """The inverse of `at`."""
        return _by_arm(arms, days, lambda arm, part: np.interp(part, self.days[arm], self.edges))


def _by_arm(arms: Whole, values: Floats | Whole, read: Callable[[int, Floats | Whole], Floats]) -> Floats:
    result = np.empty(len(arms))
    for arm in range(ARMS):
        chosen = arms == arm
        result[chosen] = read(arm, values[chosen])
    return result


def _intensity(times_ms: Whole) -> Floats:
    """What is the same for everybody, without campaigns and treatment."""
    days = times_ms // DAY_MS
    weekdays, hours = np.array(WEEKDAYS), np.array(HOURS, dtype=np.float64)
    weekday = (weekdays / weekdays.mean())[(days + 3) % 7]  # 1970-01-01 was a Thursday
    hour = (hours / hours.mean())[times_ms // HOUR_MS % 24]
    first_of_year = days.astype("datetime64[D]").astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    yearly = 1 + YEARLY_SWING * np.cos(2 * np.pi * (days - first_of_year - YEARLY_PEAK_DAY) / 365.25)
    intensity: Floats = weekday * hour * yearly
    for peak in PEAKS:
        intensity[within(times_ms, peak)] *= peak.factor
    return intensity


def lift_at(times_ms: Whole) -> Floats:
    """The lift of the campaign that runs at these times, 0 without one."""
    lift = np.zeros(len(times_ms))
    for campaign in CAMPAIGNS:
        lift[within(times_ms, campaign)] = campaign.lift
    return lift


def within(times_ms: Whole, window: Peak | Campaign) -> NDArray[np.bool_]:
    """Which times lie on the days of a peak or campaign."""
    days = (times_ms // DAY_MS).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    day = (days - months.astype("datetime64[D]")).astype(np.int64) + 1
    month = months.astype(np.int64) % 12 + 1
    chosen: NDArray[np.bool_] = (month == window.month) & (window.first_day <= day) & (day <= window.last_day)
    return chosen


class Dated(NamedTuple):
    """A campaign of some year, from and until when."""

    campaign: Campaign
    name: str
    from_ms: int
    until_ms: int


def campaigns_between(start_ms: int, until_ms: int) -> list[Dated]:
    """The campaigns that run at some time between these moments, by year."""
    first, last = (int(str(np.datetime64(at_ms, "ms"))[:4]) for at_ms in (start_ms, until_ms))
    each = [_dated(campaign, year) for year in range(first, last + 1) for campaign in CAMPAIGNS]
    return [dated for dated in each if dated.from_ms < until_ms and dated.until_ms > start_ms]


def _dated(campaign: Campaign, year: int) -> Dated:
    month = int(np.datetime64(f"{year}-{campaign.month:02d}-01", "D").astype(np.int64))
    ends = (month + campaign.first_day - 1) * DAY_MS, (month + campaign.last_day) * DAY_MS
    return Dated(campaign, f"{campaign.name}-{year}", *ends)


def treated_from(start_ms: int, until_ms: int) -> int:
    """When the treatment begins, at midnight."""
    return int(start_ms + (until_ms - start_ms) * TREATED_FROM) // DAY_MS * DAY_MS


def months_of(times_ms: Whole) -> list[str]:
    """Like 2026-01, of each time."""
    return [str(month) for month in (times_ms // DAY_MS).astype("datetime64[D]").astype("datetime64[M]")]
