"""Rows of a run fit the tables that boards and index templates are made from, and say what the run found."""

import math

import pytest

from churn import evaluate
from churn.analysis_tables import MODEL_CALIBRATION, MODEL_DRIFT, MODEL_SCORES, MODELS, row_id
from churn.drift import Drift
from training import index
from training.gate import Verdict
from training.train import Trained

OPEN = Verdict((), ())


def test_rows_have_exactly_the_declared_columns_and_names_of_their_own(trained: Trained) -> None:
    found = index.rows(trained, OPEN)
    assert found.keys() == {MODELS, MODEL_CALIBRATION, MODEL_SCORES, MODEL_DRIFT}
    for table, rows in found.items():
        assert all(row.keys() == set(table.names) for row in rows)
        assert len({row_id(table, row) for row in rows}) == len(rows) > 0


def test_the_champion_alone_went_live(trained: Trained) -> None:
    models = index.rows(trained, OPEN)[MODELS]
    assert len(models) == len(trained.points)
    assert [row["model"] for row in models if row["went_live"]] == [trained.champion]


def test_calibration_and_scores_add_up_to_the_test(trained: Trained) -> None:
    found, customers = index.rows(trained, OPEN), len(trained.test.labels)
    bins, scores = found[MODEL_CALIBRATION], found[MODEL_SCORES]
    assert sum(row["customers"] for row in bins) == sum(row["customers"] for row in scores) == customers
    assert sum(row["churners"] for row in scores) == trained.test.labels.sum()
    assert all(row["observed_low"] <= row["observed"] <= row["observed_high"] for row in bins)
    error = sum(abs(row["predicted"] - row["observed"]) * row["customers"] for row in bins) / customers
    assert error == pytest.approx(
        evaluate.expected_calibration_error(trained.test.labels, trained.risks[trained.champion])
    )


def test_drift_of_todays_buyers_is_told_for_every_feature_and_the_risk(trained: Trained) -> None:
    told = index.rows(trained, OPEN)[MODEL_DRIFT]
    assert {row["feature"] for row in told} == trained.model.about.reference.keys()
    assert all(math.isfinite(row["psi"]) and row["psi"] >= 0 for row in told)


def test_an_alert_needs_to_move_twice_running(trained: Trained) -> None:
    moved, still = Drift("recency_days", 0.3, 0.1), Drift("risk", 0.01, 0.1)
    as_of = trained.model.about.cut_offs["test"][0]
    first = index.drift_rows("v", as_of, [moved, still], ())
    again = index.drift_rows("v", as_of, [moved, still], ("recency_days", "risk"))
    assert [(row["has_moved"], row["alert"]) for row in first] == [(True, False), (False, False)]
    assert [row["alert"] for row in again] == [True, False]
