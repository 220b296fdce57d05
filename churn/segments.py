"""RFM: quintile scores by frozen cut points, and the names that marketing calls them by.

Pure. The cut points are computed by a job and kept with a version, so that a customer moves because the customer
changed, never because the others did.
"""

from bisect import bisect_left
from collections.abc import Sequence
from statistics import quantiles
from typing import Final, NamedTuple

import msgspec

from churn.features import FeatureRow

PROSPECT: Final = "Prospect"
UNKNOWN: Final = "unknown"

NEW_FOR_MS: Final = 30 * 86_400_000

_HIBERNATING: Final = "Hibernating"
_BY_RECENCY_AND_FREQUENCY: Final[dict[int, tuple[str, str, str, str, str]]] = {
    5: ("New", "Potential Loyalist", "Potential Loyalist", "Champions", "Champions"),
    4: ("Promising", "Potential Loyalist", "Potential Loyalist", "Loyal", "Loyal"),
    3: ("About To Sleep", "About To Sleep", "Need Attention", "Loyal", "Loyal"),
    2: (_HIBERNATING, _HIBERNATING, "At Risk", "At Risk", "Can't Lose"),
    1: ("Lost", _HIBERNATING, "At Risk", "At Risk", "Can't Lose"),
}
NAMED: Final = tuple(dict.fromkeys(name for names in _BY_RECENCY_AND_FREQUENCY.values() for name in names))


class CutPoints(msgspec.Struct, frozen=True):
    """The 20/40/60/80 percentiles of recency (days), frequency (orders) and monetary (major units)."""

    version: str
    recency: tuple[float, float, float, float]
    frequency: tuple[float, float, float, float]
    monetary: tuple[float, float, float, float]


class Rfm(NamedTuple):
    """Scores from 1 to 5; 5 is the best: bought lately, often, for much."""

    recency: int
    frequency: int
    monetary: int


def cut_points(
    recency: Sequence[float], frequency: Sequence[float], monetary: Sequence[float], version: str
) -> CutPoints:
    """The cut points of a population: one value per customer with at least one net order, at least two customers.

    Percentiles are interpolated linearly between neighbours. Raises `statistics.StatisticsError` for fewer customers.
    """
    return CutPoints(version, _quintiles(recency), _quintiles(frequency), _quintiles(monetary))


def _quintiles(values: Sequence[float]) -> tuple[float, float, float, float]:
    first, second, third, fourth = quantiles(values, n=5, method="inclusive")
    return float(first), float(second), float(third), float(fourth)


def rfm(row: FeatureRow, cuts: CutPoints) -> Rfm | None:
    """The scores of a customer, None without an order. Equal values get equal scores."""
    recency, frequency, monetary = row["recency_days"], row["frequency"], row["monetary"]
    if recency is None or frequency is None or monetary is None:
        return None
    return Rfm(
        5 - bisect_left(cuts.recency, float(recency)),
        1 + bisect_left(cuts.frequency, float(frequency)),
        1 + bisect_left(cuts.monetary, float(monetary)),
    )


def segment(row: FeatureRow, cuts: CutPoints | None) -> str:
    """The named segment: `Prospect` without an order, `unknown` while there are no cut points."""
    if row["recency_days"] is None:
        return PROSPECT
    scores = None if cuts is None else rfm(row, cuts)
    return UNKNOWN if scores is None else _BY_RECENCY_AND_FREQUENCY[scores.recency][scores.frequency - 1]


def tier(scores: Rfm) -> str:
    """One of five tiers; the first rule that fits counts."""
    if min(scores) >= 4:
        return "VIP"
    if scores.recency <= 2 and (scores.frequency >= 3 or scores.monetary >= 4):
        return "At Risk"
    if scores.frequency >= 4:
        return "Loyal"
    return "Low Value" if scores.recency <= 2 else "Regular"


def lifecycle(
    row: FeatureRow, scores: Rfm | None, risk_band: str | None, as_of_ms: int, *, is_top_value: bool = False
) -> str | None:
    """new, high-ltv, at-risk or loyal: the first that fits; `other` for a buyer whom none fits, None without an order.

    `is_top_value` says that the customer is among the 5 % with the highest predicted value.
    """
    first_ms = row["first_purchase_at"]
    if row["recency_days"] is None or first_ms is None:
        return None
    if as_of_ms - int(first_ms) <= NEW_FOR_MS:
        return "new"
    if is_top_value:
        return "high-ltv"
    if risk_band == "high":
        return "at-risk"
    return "loyal" if scores is not None and scores.frequency >= 4 else "other"
