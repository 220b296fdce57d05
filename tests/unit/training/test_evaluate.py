"""Metrics on cases small enough to count by hand, and the gate."""

import numpy as np
import pytest

from training.evaluate import expected_calibration_error, lift, metrics, reason_against

LABELS = np.array([1, 1, 0, 0, 1, 0, 0, 0, 0, 0], dtype=np.int8)
RISK = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05])


def test_metrics_are_counted_as_their_definitions_say() -> None:
    found = metrics(LABELS, RISK)
    assert (found["n"], found["base_rate"]) == (10, 0.3)
    assert found["roc_auc"] == pytest.approx(19 / 21)
    assert found["pr_auc"] == pytest.approx((1 + 1 + 3 / 5) / 3)
    assert found["brier"] == pytest.approx(np.mean((RISK - LABELS) ** 2))
    assert found["lift_at_10"] == pytest.approx(1 / 0.3)


def test_lift_compares_the_riskiest_with_everybody() -> None:
    assert lift(LABELS, RISK, 0.5) == pytest.approx((3 / 5) / 0.3)
    assert lift(LABELS, RISK, 1.0) == pytest.approx(1.0)


def test_calibration_error_is_the_mean_distance_of_risk_and_outcome() -> None:
    assert expected_calibration_error(LABELS, LABELS.astype(float)) == 0.0
    assert expected_calibration_error(LABELS, np.full(10, 0.5)) == pytest.approx(0.5)


def test_a_model_that_is_worse_than_recency_alone_does_not_go_live() -> None:
    worse, better = {"roc_auc": 0.69}, {"roc_auc": 0.7}
    assert reason_against(better, worse) is None
    assert reason_against(better, better) is None
    assert "0.690 is below 0.700 of recency alone" in str(reason_against(worse, better))
