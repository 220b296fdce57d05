"""Drift is told where customers have changed, not where samples are small, and only the second time it counts."""

import numpy as np
import pytest

from churn.drift import Outcome, advice, psi, reference
from churn.model import Reference

RIGHT = Outcome((0.6, 0.7), (0.18, 0.22), 0.65, 0.2, 0.43, 0.44)
WRONG = RIGHT._replace(brier=(0.23, 0.26), mean_risk=0.6)


def test_psi_is_counted_as_its_definition_says() -> None:
    expected = Reference((1.0, 2.0), (50, 30, 20, 0))
    values = np.array([0.0] * 25 + [1.0] * 25 + [5.0] * 50)
    shares = ((0.25, 0.5), (0.25, 0.3), (0.5, 0.2))
    assert psi("x", expected, values).psi == pytest.approx(sum((a - e) * np.log(a / e) for a, e in shares))


def test_missing_values_are_a_bin_of_their_own() -> None:
    chance = np.random.default_rng(1)
    before, after = chance.normal(size=2000), chance.normal(size=2000)
    after[:600] = np.nan
    found = psi("x", reference(before), after)
    assert found.has_moved
    assert reference(after).counts[-1] == 600


@pytest.mark.parametrize("size", [80, 400, 5000])
def test_the_same_customers_have_not_moved_however_few_they_are(size: int) -> None:
    chance = np.random.default_rng(size)
    moved = [
        psi("x", reference(chance.lognormal(size=size)), chance.lognormal(size=size)).has_moved for _ in range(100)
    ]
    assert sum(moved) <= 1


def test_values_that_moved_by_half_their_spread_are_noticed() -> None:
    chance = np.random.default_rng(4)
    assert psi("x", reference(chance.normal(size=3000)), chance.normal(0.5, 1, 3000)).has_moved


def test_equal_values_share_a_bin_and_texts_have_one_each() -> None:
    assert reference(np.array([0.0] * 90 + [1.0] * 10)).counts == (90, 10, 0)
    assert reference(np.full(50, 3.0)).edges == ()
    texts = reference(np.array([11.0] * 6 + [7.0] * 3 + [np.nan]), is_text=True)
    assert (texts.edges, texts.counts) == ((7.0, 11.0), (3, 6, 0, 1))
    assert psi("x", texts, np.array([99.0] * 1000)).has_moved


@pytest.mark.parametrize(
    ("moved", "before", "outcome", "begins"),
    [
        ((), (), None, "Keep the model"),
        ((), ("recency_days",), RIGHT, "Keep the model"),
        (("recency_days",), (), RIGHT, "Wait: recency_days moved for the first time"),
        (("recency_days", "risk"), ("recency_days",), None, "Retrain: customers differ"),
        (("risk",), ("risk",), None, "Retrain: the risks themselves have moved"),
        ((), (), WRONG, "Retrain: its risks come true less well"),
    ],
)
def test_the_advice_is_in_plain_words(
    moved: tuple[str, ...], before: tuple[str, ...], outcome: Outcome | None, begins: str
) -> None:
    assert advice(moved, before, outcome).startswith(begins)
