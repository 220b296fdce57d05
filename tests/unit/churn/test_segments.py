"""RFM: scores by frozen cut points, and the names they give."""

import random
from statistics import StatisticsError
from typing import Any

import numpy as np
import pytest

from churn.features import FeatureRow
from churn.segments import NAMED, CutPoints, Rfm, cut_points, rfm, segment, tier

from ...value_in_pandas import SEGMENTS

CUTS = CutPoints("2026-03-01", (10.0, 20.0, 30.0, 40.0), (1.0, 2.0, 4.0, 8.0), (50.0, 100.0, 200.0, 400.0))
RECENCY_OF_SCORE = {5: 10.0, 4: 20.0, 3: 30.0, 2: 40.0, 1: 40.1}
FREQUENCY_OF_SCORE = {1: 1, 2: 2, 3: 4, 4: 8, 5: 9}


def row(recency: float | None, frequency: int = 1, monetary: float = 0.0) -> FeatureRow:
    return {"recency_days": recency, "frequency": frequency, "monetary": monetary}


@pytest.mark.parametrize(
    ("values", "scores"),
    [
        ((0.0, 1, 50.0), (5, 1, 1)),
        ((10.0, 1, 50.01), (5, 1, 2)),
        ((10.01, 2, 100.0), (4, 2, 2)),
        ((20.0, 3, 150.0), (4, 3, 3)),
        ((40.0, 8, 400.0), (2, 4, 4)),
        ((400.0, 0, -5.0), (1, 1, 1)),
        ((41.0, 99, 400.01), (1, 5, 5)),
    ],
)
def test_a_score_counts_the_cut_points_below_the_value(
    values: tuple[float, int, float], scores: tuple[int, int, int]
) -> None:
    assert rfm(row(*values), CUTS) == Rfm(*scores)


@pytest.mark.parametrize(("r", "f", "name"), [(r, f + 1, name) for r in SEGMENTS for f, name in enumerate(SEGMENTS[r])])
def test_recency_and_frequency_name_the_segment(r: int, f: int, name: str) -> None:
    assert segment(row(RECENCY_OF_SCORE[r], FREQUENCY_OF_SCORE[f]), CUTS) == name
    assert name in NAMED


def test_a_customer_without_an_order_is_a_prospect_with_and_without_cut_points() -> None:
    assert segment(row(None, 0), CUTS) == segment(row(None, 0), None) == "Prospect"
    assert rfm(row(None, 0), CUTS) is None


def test_a_buyer_has_no_known_segment_before_there_are_cut_points() -> None:
    assert segment(row(3.0), None) == "unknown"


def test_cut_points_are_the_linear_percentiles() -> None:
    values: list[Any] = random.Random(3).choices(range(1000), k=137)
    cuts = cut_points(values, values, values, "v")
    assert cuts.recency == cuts.frequency == pytest.approx(tuple(np.percentile(values, [20, 40, 60, 80])))


def test_equal_values_get_equal_scores_even_where_all_cut_points_fall_together() -> None:
    ones = [1] * 95 + [2] * 5
    cuts = cut_points(ones, ones, ones, "v")
    assert cuts.frequency == (1.0, 1.0, 1.0, 1.0)
    assert rfm(row(1.0, 1, 1.0), cuts) == Rfm(5, 1, 1)
    assert rfm(row(2.0, 2, 2.0), cuts) == Rfm(1, 5, 5)


def test_cut_points_need_more_than_one_customer() -> None:
    with pytest.raises(StatisticsError):
        cut_points([1.0], [1.0], [1.0], "v")


@pytest.mark.parametrize(
    ("scores", "name"),
    [
        ((4, 4, 4), "VIP"),
        ((2, 3, 1), "At Risk"),
        ((2, 1, 4), "At Risk"),
        ((3, 4, 3), "Loyal"),
        ((2, 2, 3), "Low Value"),
        ((3, 3, 5), "Regular"),
    ],
)
def test_the_first_fitting_rule_gives_the_tier(scores: tuple[int, int, int], name: str) -> None:
    assert tier(Rfm(*scores)) == name
