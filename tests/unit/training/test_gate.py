"""The gate opens for what is better than recency alone and not worse than the live model, and says why it does not."""

import numpy as np
import pytest

from churn.evaluate import Labels
from churn.model import sigmoid
from training.gate import CANDIDATE, LIVE, RECENCY, judge

COUNT = 1200


@pytest.fixture(scope="module")
def truth() -> tuple[Labels, np.ndarray]:
    """Outcomes, and the log-odds that they were drawn from."""
    chance = np.random.default_rng(1)
    log_odds = chance.normal(0, 1.5, COUNT)
    return (chance.random(COUNT) < sigmoid(log_odds)).astype(np.int8), log_odds


def blurred(log_odds: np.ndarray, by: float) -> np.ndarray:
    """Risks of somebody who sees less."""
    return sigmoid((log_odds + np.random.default_rng(2).normal(0, by, COUNT)) / (1 + by))


def test_a_better_model_goes_live(truth: tuple[Labels, np.ndarray]) -> None:
    labels, log_odds = truth
    verdict = judge(labels, {CANDIDATE: sigmoid(log_odds), RECENCY: blurred(log_odds, 3), LIVE: blurred(log_odds, 1)})
    assert verdict.is_open
    assert [each.other for each in verdict.differences] == [RECENCY, LIVE]
    assert all(each.pr_auc_interval[0] <= each.pr_auc <= each.pr_auc_interval[1] for each in verdict.differences)


def test_a_model_that_is_the_live_one_again_may_stay(truth: tuple[Labels, np.ndarray]) -> None:
    labels, log_odds = truth
    same = sigmoid(log_odds)
    assert judge(labels, {CANDIDATE: same, RECENCY: blurred(log_odds, 3), LIVE: same}).is_open


def test_a_model_that_is_worse_than_the_live_one_stays_aside(truth: tuple[Labels, np.ndarray]) -> None:
    labels, log_odds = truth
    risks = {CANDIDATE: blurred(log_odds, 1), RECENCY: blurred(log_odds, 5), LIVE: sigmoid(log_odds)}
    (reason,) = judge(labels, risks).reasons
    assert reason.startswith("it is worse than the live model (against live model: PR-AUC -")


def test_a_level_that_is_wrong_keeps_a_model_aside_also_when_its_order_is_right(
    truth: tuple[Labels, np.ndarray],
) -> None:
    labels, log_odds = truth
    risks = {CANDIDATE: sigmoid(log_odds + 1), RECENCY: blurred(log_odds, 5), LIVE: sigmoid(log_odds)}
    (reason,) = judge(labels, risks).reasons
    assert "worse than the live model" in reason
    assert "Brier +" in reason


def test_a_model_that_only_repeats_the_recency_rule_stays_aside(truth: tuple[Labels, np.ndarray]) -> None:
    labels, log_odds = truth
    rule = blurred(log_odds, 1)
    (reason,) = judge(labels, {CANDIDATE: rule, RECENCY: rule}).reasons
    assert reason.startswith("it does not beat the recency rule")


def test_risks_that_are_nearer_to_the_truth_beat_a_rule_of_the_same_order(truth: tuple[Labels, np.ndarray]) -> None:
    labels, log_odds = truth
    assert judge(labels, {CANDIDATE: sigmoid(log_odds), RECENCY: sigmoid(3 * log_odds)}).is_open


def test_risks_that_are_nearer_to_the_truth_but_in_a_worse_order_stay_aside(truth: tuple[Labels, np.ndarray]) -> None:
    labels, log_odds = truth
    (reason,) = judge(labels, {CANDIDATE: blurred(log_odds, 2), RECENCY: sigmoid(9 * log_odds)}).reasons
    assert reason.startswith("it does not beat the recency rule")


def test_a_model_without_knowledge_stays_aside(truth: tuple[Labels, np.ndarray]) -> None:
    labels, _ = truth
    chance = np.random.default_rng(3)
    risks = {CANDIDATE: chance.uniform(0.4, 0.6, COUNT), RECENCY: chance.uniform(0, 1, COUNT)}
    assert any("does not tell churners apart" in reason for reason in judge(labels, risks).reasons)
