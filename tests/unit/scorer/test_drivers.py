"""A reason is a sentence with a value that a person can check."""

import numpy as np
import pytest

from churn.features import FEATURES, MODEL_FEATURES
from churn.model import TEXT_FEATURES
from churn.risk_card import Driver
from scorer.drivers import SENTENCES, changes, driver, heaviest, sentence


@pytest.mark.parametrize(
    ("feature", "value", "words"),
    [
        ("recency_days", 63.9, "no order for 63 days"),
        ("recency_days", 1.0, "no order for 1 day"),
        ("idle_days", 0.4, "not seen for less than a day"),
        ("tenure_days", 1200.0, "customer for 1,200 days"),
        ("orders_90d", 2.0, "2 orders in the last 90 days"),
        ("orders_90d", 1.0, "1 order in the last 90 days"),
        ("views_1d", 0.0, "0 product views today"),
        ("average_order_value", 84.2, "average order 84.20"),
        ("revenue_30d", -12.5, "net revenue -12.50 in the last 30 days"),
        ("monetary", 1234.5, "net revenue 1,234.50 in the last 365 days"),
        ("session_duration_mean_s", 125.4, "2:05 minutes in a session on average"),
        ("views_per_session", 3.25, "3.2 product views per session"),
    ],
)
def test_a_sentence_says_the_value(feature: str, value: float, words: str) -> None:
    assert sentence(feature, value) == words


def test_every_feature_of_the_model_has_a_sentence() -> None:
    assert set(SENTENCES) == set(MODEL_FEATURES) - TEXT_FEATURES


@pytest.mark.parametrize("feature", [feature for feature in FEATURES if feature.name not in SENTENCES])
def test_a_feature_without_a_sentence_of_its_own_is_told_by_its_meaning(feature: object) -> None:
    assert sentence(feature.name, 3.0) == f"{feature.meaning.rstrip('.')}: 3"  # type: ignore[attr-defined]


def test_a_value_that_is_not_known_is_said_so() -> None:
    assert sentence("recency_days", None) == "Days since the last net order (its last line): not known"


def test_a_text_is_said_by_its_meaning() -> None:
    found = driver({"country": "FR"}, "country", 0.2)
    assert (found.value, found.sentence) == ("FR", "The latest country seen: FR (raises the risk)")


def test_a_driver_says_its_value_and_direction() -> None:
    assert driver({"orders_90d": 2}, "orders_90d", -1.5) == Driver(
        "orders_90d", 2.0, -1.5, "2 orders in the last 90 days (lowers the risk)"
    )


def test_silence_is_told_beside_the_usual_gap_where_there_is_one() -> None:
    row = {"recency_days": 63.0, "order_gap_median_days": 21.0}
    assert driver(row, "recency_days", 0.5).sentence == "no order for 63 days; usually every 21 (raises the risk)"
    row["order_gap_median_days"] = None  # type: ignore[assignment]
    assert driver(row, "recency_days", 0.5).sentence == "no order for 63 days (raises the risk)"


def test_the_heaviest_reasons_come_first_and_none_without_a_value_or_a_part() -> None:
    matrix = np.array([[1.0, 2.0, np.nan, 4.0], [1.0, 0.0, 0.0, 0.0]])
    parts = np.array([[0.5, -1.5, 9.0, 0.1], [0.0, 0.0, 0.0, 0.3]])
    assert heaviest(matrix, parts, 3) == [[1, 0, 3], [3]]
    assert heaviest(matrix, parts, 1) == [[1], [3]]


def test_a_change_is_told_by_what_moved_most() -> None:
    row = {"recency_days": 63.0, "orders_90d": 2, "views_1d": 0, "rating_mean": None}
    moved = changes(row, list(row), np.array([0.1, 0.5, 0.2, 0.0]), np.array([1.3, 0.4, 0.2, 5.0]), 3)
    assert moved == ["no order for 63 days (+1.20)", "2 orders in the last 90 days (-0.10)"]
