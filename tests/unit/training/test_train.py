"""A training run on a small shop: repeatable, compared with other models, and silent without enough data."""

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from churn import evaluate
from churn.features import MODEL_FEATURES
from churn.model import Population
from churn.row import ENGAGEMENT_CUTS
from training import choose
from training.dataset import Dataset, HistoryHasHole, Samples
from training.fit import TooFewOutcomes, fit
from training.split import Kind, Split
from training.train import REFERENCE, Facts, InsufficientData, Least, Trained, learn_from, train

CUSTOMERS = 510
LEAST = Least(CUSTOMERS, 180)


def first_days(table: Any, days: int) -> Any:
    return table.filter(pc.field("occurred_at") < pc.min(table["occurred_at"]).as_py() + timedelta(days=days))


def test_the_same_samples_give_the_same_model_and_others_another(
    built: Dataset, chosen: Split, regressions: tuple[str, ...]
) -> None:
    facts = Facts("0" * 64, "2026-02-01", Population(510, 400.0))
    first, again = (learn_from(built, chosen, facts, families=regressions) for _ in range(2))
    assert again.model.model_version == first.model.model_version
    assert again.model.about.metrics == first.model.about.metrics
    fewer = built._replace(samples=built.samples.where(built.samples.customer_ids != "c3"))
    assert learn_from(fewer, chosen, facts, families=regressions).model.model_version != first.model.model_version


def test_a_model_says_where_it_comes_from_and_how_good_it_is(table: Any, trained: Trained) -> None:
    about = trained.model.about
    assert about.metrics["split"] == Kind.TIME
    assert about.population.customers_with_order == CUSTOMERS
    assert 399 < about.population.days < 401
    assert about.rfm.version == pc.max(table["occurred_at"]).as_py().date().isoformat()
    assert about.engagement["quantity"] == ENGAGEMENT_CUTS["quantity"]
    assert about.reference.keys() == {*MODEL_FEATURES, "risk"}
    assert about.metrics["test"] == {"model": trained.metrics, "recency_alone": trained.recency_alone}
    assert trained.recency_alone["roc_auc"] < trained.metrics["roc_auc"] < 0.95


def test_all_models_are_measured_on_the_same_later_customers_with_intervals(trained: Trained) -> None:
    names = {choose.RECENCY, choose.LR_RFM, choose.LR_ALL, choose.FOREST, choose.TREES, REFERENCE}
    assert trained.points.keys() == trained.intervals.keys() == names
    for name in names:
        assert trained.points[name]["n"] == len(trained.test.labels)
        for metric in evaluate.COMPARED:
            low, high = trained.intervals[name][metric]
            assert low <= trained.points[name][metric] <= high
        assert trained.points[name]["roc_auc"] > 0.55, name


def test_the_champion_is_the_best_before_the_test_of_those_that_can_be_explained(trained: Trained) -> None:
    best = min(
        (each for each in trained.choice.tried if each.family in choose.EXPLAINABLE), key=lambda each: each.brier
    )
    assert trained.champion == best.family
    assert trained.model.about.algorithm == str(best.recipe)
    assert len(trained.choice.tried) == choose.RECIPES_TRIED


@pytest.mark.parametrize(("days", "kind"), [(300, Kind.TIME_CROSS_FIT), (200, Kind.CUSTOMERS)])
def test_a_shorter_history_still_trains_and_says_how_it_was_tested(
    days: int, kind: Kind, table: Any, regressions: tuple[str, ...]
) -> None:
    trained = train(first_days(table, days), LEAST, processes=1, families=regressions)
    assert trained.model.about.metrics["split"] == kind
    assert trained.model.about.cut_offs["calibrate"] == []
    assert trained.metrics["brier"] < 0.25


@pytest.mark.parametrize(
    ("least", "days", "message"),
    [
        (Least(511, 180), 400, "510 customers who ordered.*511 customers"),
        (Least(500, 500), 400, "days of history.*500 days"),
        (Least(1, 1), 140, "needs 150 days"),
    ],
)
def test_too_little_data_is_said_with_its_numbers(least: Least, days: int, message: str, table: Any) -> None:
    with pytest.raises(InsufficientData, match=message):
        train(first_days(table, days), least, processes=1)


def test_a_hole_in_the_history_is_said_with_its_days(table: Any) -> None:
    start = pc.min(table["occurred_at"]).as_py()
    begins, ends = start + timedelta(days=100), start + timedelta(days=130)
    holed = table.filter((pc.field("occurred_at") < begins) | (pc.field("occurred_at") > ends))
    with pytest.raises(HistoryHasHole, match=r"no event between 2025-04-1\d and 2025-05-1\d, 3\d days"):
        train(holed, LEAST, processes=1)


def test_a_sample_in_which_nearly_all_stay_is_refused() -> None:
    ids = np.array([f"c{number}" for number in range(50)])
    labels = np.array([1] * 9 + [0] * 41, dtype=np.int8)
    lopsided = Samples(ids, np.zeros(50, dtype=np.int64), np.ones((50, len(MODEL_FEATURES))), labels)
    with pytest.raises(TooFewOutcomes, match="9 customers of the train sample churned"):
        fit(lopsided, None)
