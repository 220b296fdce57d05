"""A training run, and a look for drift, as rows of the analysis tables that the boards show."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from scipy.stats import binomtest

from churn import analysis_index, evaluate
from churn.analysis_tables import AT, MODEL_CALIBRATION, MODEL_DRIFT, MODEL_SCORES, MODELS, Table
from churn.drift import Drift
from churn.evaluate import COMPARED
from churn.settings import ElasticsearchSettings
from training.gate import Verdict
from training.train import Trained

SCORE_BINS: Final = 20

Rows = list[dict[str, Any]]


def rows(trained: Trained, verdict: Verdict) -> dict[Table, Rows]:
    """All rows of a run by table; the same run gives the same rows."""
    last = datetime.fromisoformat(trained.last_day).replace(tzinfo=UTC)
    return {
        MODELS: list(_models(trained, verdict)),
        MODEL_CALIBRATION: list(_calibration(trained)),
        MODEL_SCORES: list(_scores(trained)),
        MODEL_DRIFT: drift_rows(trained.model.model_version, last, trained.drifts, ()),
    }


def drift_rows(model_version: str, as_of: datetime, drifts: list[Drift], moved_before: tuple[str, ...]) -> Rows:
    """One row per feature and for the risk; `moved_before` is what had moved at the look before this one."""
    return [
        {
            AT: as_of,
            "model_version": model_version,
            "feature": each.name,
            "psi": each.psi,
            "limit": each.by_chance,
            "has_moved": each.has_moved,
            "alert": each.has_moved and each.name in moved_before,
        }
        for each in drifts
    ]


def _models(trained: Trained, verdict: Verdict) -> Iterator[dict[str, Any]]:
    for name, points in trained.points.items():
        bounds = {
            f"{metric}_{end}": value
            for metric in COMPARED
            for end, value in zip(("low", "high"), trained.intervals[name][metric], strict=True)
        }
        yield {
            **_of_run(trained),
            "model": name,
            "is_champion": name == trained.champion,
            "went_live": name == trained.champion and verdict.is_open,
            "reasons": list(verdict.reasons) if name == trained.champion else [],
            "customers": points["n"],
            **{metric: value for metric, value in points.items() if metric != "n"},
            **bounds,
        }


def _calibration(trained: Trained) -> Iterator[dict[str, Any]]:
    found = evaluate.bins(trained.test.labels, trained.risks[trained.champion])
    for number, (predicted, observed, customers) in enumerate(found, 1):
        interval = binomtest(round(observed * customers), customers).proportion_ci(method="wilson")
        yield {
            **_of_run(trained),
            "bin": number,
            "customers": customers,
            "predicted": predicted,
            "observed": observed,
            "observed_low": float(interval.low),
            "observed_high": float(interval.high),
        }


def _scores(trained: Trained) -> Iterator[dict[str, Any]]:
    risk, has_churned = trained.risks[trained.champion], trained.test.labels == 1
    edges = np.linspace(0, 1, SCORE_BINS + 1)
    everybody, churners = (np.histogram(part, edges)[0] for part in (risk, risk[has_churned]))
    for place in range(SCORE_BINS):
        yield {
            **_of_run(trained),
            "bin": place + 1,
            "customers": int(everybody[place]),
            "churners": int(churners[place]),
            "risk_from": float(edges[place]),
            "risk_to": float(edges[place + 1]),
        }


def _of_run(trained: Trained) -> dict[str, Any]:
    return {AT: trained.model.about.cut_offs["test"][0], "model_version": trained.model.model_version}


def write(tables: Mapping[Table, Rows], settings: ElasticsearchSettings) -> int:
    """Index the rows; how many there were. Raises `churn.analysis_index.NotIndexed`."""
    client = analysis_index.connect(settings)
    try:
        return sum(analysis_index.write(client, table, each) for table, each in tables.items())
    finally:
        client.close()
