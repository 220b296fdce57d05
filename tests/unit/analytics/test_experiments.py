"""Tests of groups: agreed sizes, Newcombe's interval, false alarms as often as promised, and how many are needed."""

import numpy as np
import pytest

from analytics import experiments
from analytics.experiments import Arms
from churn.assignment import BUCKETS, bucket, is_chosen

NAMES = [f"customer-{number}" for number in range(2_000)]


def test_an_assignment_is_sticky_uniform_and_independent_of_other_salts() -> None:
    here = np.array([bucket("mail", name) for name in NAMES])
    assert [bucket("mail", name) for name in NAMES] == here.tolist()
    assert here.min() >= 0
    assert here.max() < BUCKETS
    assert np.histogram(here, 10, (0, BUCKETS))[0] == pytest.approx(200, abs=60)
    there = np.array([bucket("coupon", name) for name in NAMES])
    assert abs(np.corrcoef(here, there)[0, 1]) < 4 / np.sqrt(len(NAMES))
    assert [is_chosen("mail", name, 0.3) for name in NAMES] == (here < 3_000).tolist()


def test_equal_groups_give_a_false_alarm_in_one_of_twenty_tests() -> None:
    """1,000 A/A tests: other salts over the same customers, of whom some order whatever is done."""
    chance = np.random.default_rng(5)
    orders = chance.random(len(NAMES)) < 0.2
    is_treated = np.array([[is_chosen(f"aa-{test}", name, 0.5) for name in NAMES] for test in range(1_000)])
    treated = is_treated.sum(axis=1)
    did = np.column_stack([(is_treated & orders).sum(axis=1), (~is_treated & orders).sum(axis=1)])
    p = experiments.p_values(did, np.column_stack([treated, len(NAMES) - treated]))
    assert 0.035 <= (p < experiments.ALPHA).mean() <= 0.065
    ratios = [experiments.sample_ratio(Arms(each, 0, len(NAMES) - each, 0), 0.5).is_broken for each in treated.tolist()]
    assert sum(ratios) <= 5


def test_many_tests_at_once_say_what_one_says() -> None:
    arms = [Arms(1_000, 120, 980, 90), Arms(50, 3, 70, 8), Arms(10, 0, 10, 0)]
    at_once = experiments.p_values(
        [(a.treated_did, a.control_did) for a in arms], [(a.treated, a.control) for a in arms]
    )
    assert at_once == pytest.approx([experiments.effect(each).p for each in arms])


def test_the_interval_is_that_of_newcombe() -> None:
    """Newcombe (1998), Statistics in Medicine 17, table II, method 10: 56/70 - 48/80 is 0.0524 to 0.3339."""
    found = experiments.effect(Arms(70, 56, 80, 48))
    assert found.difference == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    nothing = experiments.effect(Arms(10, 0, 20, 0))
    assert (nothing.difference, nothing.p) == (0, 1)
    assert (nothing.low, nothing.high) == pytest.approx((-0.1611, 0.2775), abs=1e-3)


def test_sizes_that_cannot_be_chance_stop_the_test() -> None:
    assert not experiments.sample_ratio(Arms(5_060, 0, 4_940, 0), 0.5).is_broken
    assert experiments.sample_ratio(Arms(5_200, 0, 4_800, 0), 0.5).is_broken
    assert not experiments.sample_ratio(Arms(9_020, 0, 980, 0), 0.9).is_broken


def test_as_many_as_are_needed_find_the_difference_in_four_of_five_tests() -> None:
    size = experiments.needed(0.1, 0.03)
    assert size is not None
    chance = np.random.default_rng(2)
    did = chance.binomial(size // 2, [0.13, 0.1], (2_000, 2))
    found = experiments.p_values(did, np.full_like(did, size // 2)) < experiments.ALPHA
    assert found.mean() == pytest.approx(experiments.POWER, abs=0.03)
    assert experiments.detectable(0.1, Arms(size // 2, 0, size // 2, 0)) == pytest.approx(0.03, abs=0.001)
    assert experiments.needed(0.1, 0.03, treated_share=0.9) > size
    assert experiments.needed(0.0, 0.1) is None
    assert experiments.needed(0.9, 0.2) is None


def test_tests_of_one_kind_are_stronger_together_and_several_questions_make_each_weaker() -> None:
    each = Arms(2_000, 130, 220, 10)
    together = experiments.pooled([each] * 6)
    assert together.p < 0.01 < experiments.effect(each).p
    assert 1 < together.low < together.odds_ratio < together.high
    assert experiments.adjusted([0.01, 0.04, 0.5]) == pytest.approx([0.03, 0.08, 0.5])
