"""`training drift`: the live model beside today's customers and beside what came of its earlier risks."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from churn import drift, evaluate
from churn.drift import Drift, Outcome
from churn.model import RiskModel, score_matrix
from training import dataset
from training.split import HORIZON
from training.train import InsufficientData

RUNS: Final = "drift.json"
LEAST_CUSTOMERS: Final = 200
SEED: Final = 13


class Run(msgspec.Struct, frozen=True):
    """What one run of `training drift` found, kept beside the model because only drift found twice running counts."""

    as_of: datetime
    moved: tuple[str, ...]


class Findings(NamedTuple):
    """Everything of one run; `outcome` is None while no risk told since the model's test can be known to be right.

    `moved_before` is what had moved at the run before this one.
    """

    as_of: datetime
    drifts: list[Drift]
    moved_before: tuple[str, ...]
    outcome: Outcome | None
    outcome_words: str
    advice: str


def look(
    model: RiskModel,
    table: Any,
    place: Path,
    *,
    processes: int,
    on_folded: Callable[[int], object] = lambda _: None,
) -> Findings:
    """Look at a history from `churn.history.read` as of its last midnight; `place` is the model's own directory.

    Raises `InsufficientData` for fewer than 200 customers with an order in the last year.
    """
    _, last = dataset.span(table)
    as_of = last.replace(hour=0, minute=0, second=0, microsecond=0)
    earlier = as_of - HORIZON
    built = dataset.build(table, (earlier, as_of), processes=processes, on_folded=on_folded)
    now = built.samples.at(as_of)  # their outcomes are not known yet and not looked at
    if len(now.labels) < LEAST_CUSTOMERS:
        raise InsufficientData(f"{len(now.labels)} customers ordered in the year before {as_of:%Y-%m-%d}")
    drifts = drift.all_drifts(model.about.reference, now.matrix, score_matrix(model, now.matrix).risk)
    moved = tuple(each.name for each in drifts if each.has_moved)
    before = [run for run in _runs(place) if run.as_of < as_of]
    outcome, words = _outcome(model, built.samples.at(earlier), earlier)
    moved_before = before[-1].moved if before else ()
    advice = drift.advice(moved, moved_before, outcome)
    (place / RUNS).write_bytes(msgspec.json.format(msgspec.json.encode([*before, Run(as_of, moved)])) + b"\n")
    return Findings(as_of, drifts, moved_before, outcome, words, advice)


def _runs(place: Path) -> list[Run]:
    path = place / RUNS
    return msgspec.json.decode(path.read_bytes(), type=list[Run]) if path.exists() else []


def _outcome(model: RiskModel, samples: dataset.Samples, at: datetime) -> tuple[Outcome | None, str]:
    tested = model.about.cut_offs["test"][0]
    if at <= tested:
        return None, f"no risk told after the test of {tested:%Y-%m-%d} is 90 days old yet"
    if len(samples.labels) < LEAST_CUSTOMERS or not 0 < samples.labels.mean() < 1:
        return None, f"too few outcomes of {at:%Y-%m-%d} to tell anything by"
    risk = score_matrix(model, samples.matrix).risk
    draws = evaluate.bootstrap(samples.labels, {"live": risk}, seed=SEED)["live"]
    test = model.about.metrics["test"]["model"]
    pr_auc, brier = evaluate.interval(draws["pr_auc"]), evaluate.interval(draws["brier"])
    churned, told = float(np.mean(samples.labels)), float(risk.mean())
    words = (
        f"risks of {at:%Y-%m-%d}, {len(risk):,} customers: {churned:.1%} churned, {told:.1%} were expected; "
        f"PR-AUC {pr_auc[0]:.3f} to {pr_auc[1]:.3f} (test {test['pr_auc']:.3f}), "
        f"Brier {brier[0]:.3f} to {brier[1]:.3f} (test {test['brier']:.3f})"
    )
    return Outcome(pr_auc, brier, test["pr_auc"], test["brier"], churned, told), words
