"""Metrics on cases small enough to count by hand, their intervals, and the two parts of calibration."""

import numpy as np
import pytest

from churn.evaluate import (
    bootstrap,
    calibration,
    cheapest_threshold,
    cost,
    expected_calibration_error,
    interval,
    lift,
    metrics,
)

LABELS = np.array([1, 1, 0, 0, 1, 0, 0, 0, 0, 0], dtype=np.int8)
RISK = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05])


def drawn(count: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes, and risks that are `factor` times what they were drawn from."""
    chance = np.random.default_rng(1)
    truth = chance.uniform(0.05, 0.6, count)
    return (chance.random(count) < truth).astype(np.int8), truth * factor


def test_metrics_are_counted_as_their_definitions_say() -> None:
    found = metrics(LABELS, RISK)
    assert (found["n"], found["base_rate"]) == (10, 0.3)
    assert found["roc_auc"] == pytest.approx(19 / 21)
    assert found["pr_auc"] == pytest.approx((1 + 1 + 3 / 5) / 3)
    assert found["brier"] == pytest.approx(np.mean((RISK - LABELS) ** 2))
    assert found["brier_skill"] == pytest.approx(1 - found["brier"] / 0.21)
    assert found["lift_at_10"] == pytest.approx(1 / 0.3)


def test_lift_compares_the_riskiest_with_everybody() -> None:
    assert lift(LABELS, RISK, 0.5) == pytest.approx((3 / 5) / 0.3)
    assert lift(LABELS, RISK, 1.0) == pytest.approx(1.0)


def test_calibration_error_is_the_mean_distance_of_risk_and_outcome() -> None:
    assert expected_calibration_error(LABELS, LABELS.astype(float)) == 0.0
    assert expected_calibration_error(LABELS, np.full(10, 0.5)) == pytest.approx(0.5)


def test_a_shift_of_the_churn_rate_is_told_apart_from_a_wrong_shape() -> None:
    labels, risk = drawn(20_000, 1.5)
    found = calibration(labels, risk)
    assert found.shift == pytest.approx(1 / 1.5, abs=0.02)
    assert found.ece > 0.1
    assert found.shape_ece < 0.02
    upside_down = calibration(labels, risk.max() - risk)
    assert upside_down.shape_ece > 0.1


def test_an_interval_holds_the_value_and_narrows_with_more_customers() -> None:
    widths = []
    for count in (300, 4800):
        labels, risk = drawn(count, 1.0)
        low, high = interval(bootstrap(labels, {"a": risk}, seed=1, replicates=100)["a"]["roc_auc"])
        assert low < metrics(labels, risk)["roc_auc"] < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_draws_are_the_same_for_all_models_and_for_the_same_seed() -> None:
    labels, risk = drawn(200, 1.0)
    one = bootstrap(labels, {"a": risk, "b": risk}, seed=5, replicates=20)
    assert all(np.array_equal(one["a"][name], one["b"][name]) for name in one["a"])
    again = bootstrap(labels, {"a": risk}, seed=5, replicates=20)
    assert np.array_equal(one["a"]["pr_auc"], again["a"]["pr_auc"])
    assert not np.array_equal(one["a"]["pr_auc"], bootstrap(labels, {"a": risk}, seed=6, replicates=20)["a"]["pr_auc"])


def test_the_threshold_weighs_missed_churners_against_needless_offers() -> None:
    assert cost(LABELS, RISK, 0.55, 2.0, 1.0) == pytest.approx((1 * 2 + 2 * 1) / 10)
    labels, risk = drawn(50_000, 1.0)
    assert cheapest_threshold(labels, risk, 2.0, 1.0) == pytest.approx(1 / 3, abs=0.06)
    assert cheapest_threshold(labels, risk, 1.0, 1.0) == pytest.approx(1 / 2, abs=0.06)


def test_draws_are_measured_as_scikit_learn_measures_them() -> None:
    labels, risk = drawn(400, 1.0)
    risk = risk.round(2)  # with equal risks
    draws = bootstrap(labels, {"a": risk}, seed=9, replicates=3)["a"]
    chance = np.random.default_rng(9)
    for place in range(3):
        chosen = chance.integers(0, 400, 400)
        expected = metrics(labels[chosen], risk[chosen])
        for name in ("roc_auc", "pr_auc", "brier"):
            assert draws[name][place] == pytest.approx(expected[name])
