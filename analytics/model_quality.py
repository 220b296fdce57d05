"""How good the live model was on its test beside the others, and whether it is time to train again."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from analytics import judged, live_model, plots
from analytics.big_spenders import buyers
from analytics.finding import Analysis, CannotAnswer, Finding, Number
from analytics.samples import HORIZON
from analytics.shop import Shop
from analytics.words import listed, percent
from churn import drift, evaluate
from churn.drift import Drift, Outcome
from churn.model import RiskModel, risk_matrix
from churn.report_page import Table

METRICS: Final = {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "lift_at_10": "lift@10 %", "brier": "Brier"}
RECENCY: Final = "recency alone"
SHOWN: Final = 12
RUNS: Final = "drift.json"
SEED: Final = 23


def performance(shop: Shop) -> Finding:
    """The section on the test of the live model."""
    model = live_model.live(shop)
    metrics, tested = model.about.metrics, model.about.cut_offs["test"][0]
    compared, champion = metrics.get("compared", {}), metrics.get("champion", "")
    if champion not in compared:
        raise CannotAnswer(f"model {model.model_version} says nothing of its test: train again")
    ours, calibration = compared[champion], metrics["calibration"]
    rule = compared.get(RECENCY, ours)
    best = max(compared, key=lambda name: float(compared[name]["roc_auc"][0]))
    words = [
        (
            f"{champion} tells churners apart with a ROC-AUC of {_said(ours['roc_auc'])}; recency alone reaches "
            f"{_said(rule['roc_auc'])}."
        ),
        (
            f"Risks and outcomes lie {calibration['ece']:.3f} apart on average (ECE); {calibration['shift']:.2f} "
            "times as many "
            "churned as the risks said."
        ),
    ]
    if best != champion:
        words.append(
            f"{best} is as good on the test or better; before it {champion} was the best that explains itself."
        )
    return Finding(
        headline=f"On {metrics['test']['model']['n']:,.0f} customers of {tested:%Y-%m-%d} the riskiest tenth churned "
        f"{ours['lift_at_10'][0]:.2f} times as often as all ({champion}).",
        action="Trust the order of the risks and their level."
        if abs(calibration["shift"] - 1) < 0.1
        else "Trust the order of the risks; their level was off on the test, so train again after the next season.",
        words=words,
        numbers=[Number(title, ours[name][0], "number", *ours[name][1:]) for name, title in METRICS.items()]
        + [
            Number("ECE", calibration["ece"], "number"),
            Number("Base rate", metrics["test"]["model"]["base_rate"], "share"),
        ],
        figures=[_drawn(compared)],
        shown=[_table(compared, champion)],
    )


def _said(values: list[float]) -> str:
    return f"{values[0]:.3f} ({values[1]:.3f} to {values[2]:.3f})"


def _table(compared: dict[str, Any], champion: str) -> Table:
    rows = [
        (f"{name} (the model)" if name == champion else name, *(_said(each[metric]) for metric in METRICS))
        for name, each in compared.items()
    ]
    return Table(("", *METRICS.values()), rows, "The same later customers for all; 95 % intervals")


def _drawn(compared: dict[str, Any]) -> Figure:
    values = [tuple(each["roc_auc"]) for each in compared.values()]
    return plots.ranges("ROC-AUC on the test", list(compared), values, "95 % interval", at=0.5)


def retraining(shop: Shop) -> Finding:
    """The section on drift."""
    asked = live_model.ask(shop)
    drifts = drift.all_drifts(asked.model.about.reference, asked.now.matrix, asked.risk)
    moved = tuple(each.name for each in drifts if each.has_moved)
    outcome = _outcome(shop, asked.model)
    advice = drift.advice(moved, _moved_before(shop, asked.model), outcome)
    learned = max(asked.model.about.cut_offs["train"])
    age = (shop.as_of - learned).days
    numbers = [
        Number("Things that moved", len(moved), "count"),
        Number("PSI of the risk", next(each.psi for each in drifts if each.name == drift.RISK), "number"),
        Number("Days since the latest training moment", age, "days"),
    ]
    if outcome:
        numbers.append(Number("Brier score since", sum(outcome.brier) / 2, "number", *outcome.brier))
        numbers.append(Number("Brier score on the test", outcome.test_brier, "number"))
    return Finding(
        headline=advice,
        action="Look with `python -m training drift` once a month, and train again when it says so twice or "
        "after 180 days."
        if not advice.startswith("Retrain")
        else "Run `python -m training`: the gate lets the new model go live only if it is not worse.",
        words=(_outcome_words(outcome), _moved_words(drifts)),
        numbers=numbers,
        figures=[_psi(drifts)],
        shown=[_drift_table(drifts)],
    )


def _moved_before(shop: Shop, model: RiskModel) -> tuple[str, ...]:
    """What had moved at the look of `training drift` before this moment."""
    path = (shop.models or Path()) / model.model_version / RUNS
    if not path.exists():
        return ()
    runs = json.loads(path.read_text(encoding="utf-8"))
    before = [
        run for run in runs if datetime.fromisoformat(run["as_of"]) < shop.as_of.replace(hour=0, minute=0, second=0)
    ]
    return tuple(before[-1]["moved"]) if before else ()


def _outcome(shop: Shop, model: RiskModel) -> Outcome | None:
    """What came of the risks of the latest moment whose 90 days are over, where it is later than the test."""
    moments = shop.sampled.moments
    if moments is None or moments.test <= model.about.cut_offs["test"][0]:
        return None
    test = buyers(shop.sampled.at_cut_offs.at(moments.test))
    labels = (shop.net_orders.after(test, HORIZON.days).orders == 0).astype(np.int8)
    try:
        judged.require(labels, "to look back on")
    except CannotAnswer:
        return None
    risk = risk_matrix(model, test.matrix)
    draws, tested = evaluate.bootstrap(labels, {"live": risk}, seed=SEED)["live"], model.about.metrics["test"]["model"]
    return Outcome(
        evaluate.interval(draws["pr_auc"]),
        evaluate.interval(draws["brier"]),
        tested["pr_auc"],
        tested["brier"],
        float(labels.mean()),
        float(risk.mean()),
    )


def _outcome_words(outcome: Outcome | None) -> str:
    if outcome is None:
        return "No risk that was told after the model's test is 90 days old yet: whether they come true is not known."
    return (
        f"Of later risks {percent(outcome.churned)} came true, {percent(outcome.mean_risk)} were expected; the "
        "Brier score "
        f"was {outcome.brier[0]:.3f} to {outcome.brier[1]:.3f}, {outcome.test_brier:.3f} on the test."
    )


def _moved_words(drifts: list[Drift]) -> str:
    moved = [each.name for each in drifts if each.has_moved]
    if not moved:
        return f"None of {len(drifts)} distributions has moved by more than chance makes."
    return f"{len(moved)} of {len(drifts)} distributions have moved, furthest {listed(moved[: drift.NAMED])}."


def _drift_table(drifts: list[Drift]) -> Table:
    rows = [(each.name, f"{each.psi:.3f}", f"{each.by_chance:.3f}", "yes" if each.has_moved else "") for each in drifts]
    return Table(("", "PSI", "by chance up to", "moved"), rows[:SHOWN], "Buyers now beside those of the model's test")


def _psi(drifts: list[Drift]) -> Figure:
    shown = drifts[:SHOWN]
    return plots.bars("Furthest moved", [each.name for each in shown], [each.psi for each in shown], "PSI")


PERFORMANCE: Final = Analysis(
    "model-performance",
    "How good the churn model is",
    "How well does the live model tell who churns, beside the other models?",
    performance,
)
RETRAINING: Final = Analysis(
    "retraining",
    "When to train again",
    "Have customers moved away from the model, and do its risks still come true?",
    retraining,
)
