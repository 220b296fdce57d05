"""The plots of the model report, as figures without a window."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from churn import evaluate
from churn.evaluate import Labels
from churn.model import Floats

SIZE: Final = (6.4, 4.2)
# What a missed churner costs in needless offers.
COST_RATIOS: Final = (1.0, 2.0, 5.0)


def _axes(title: str, x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=SIZE)
    axes: Any = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes


def roc(labels: Labels, risks: Mapping[str, Floats]) -> Figure:
    """Churners found against others warned, for every threshold."""
    figure, axes = _axes("ROC", "share of those who stay that is warned", "share of churners that is found")
    for name, risk in risks.items():
        others, found, _ = roc_curve(labels, risk)
        axes.plot(others, found, label=name)
    axes.plot([0, 1], [0, 1], "--", color="grey", label="chance")
    axes.legend(fontsize=8)
    return figure


def precision_recall(labels: Labels, risks: Mapping[str, Floats]) -> Figure:
    """How many of the warned churn, against the share of churners found."""
    figure, axes = _axes("Precision and recall", "recall: churners that are found", "precision: warned who churn")
    for name, risk in risks.items():
        precision, recall, _ = precision_recall_curve(labels, risk)
        axes.plot(recall[:-1], precision[:-1], label=name)
    axes.axhline(labels.mean(), ls="--", color="grey", label="base rate")
    axes.legend(fontsize=8)
    return figure


def gains(labels: Labels, risks: Mapping[str, Floats]) -> Figure:
    """Churners among the riskiest, against how many customers those are."""
    figure, axes = _axes("Gains", "share of customers, riskiest first", "share of churners among them")
    share = np.arange(len(labels) + 1) / len(labels)
    for name, risk in risks.items():
        found = np.cumsum(labels[np.argsort(-risk, kind="stable")])
        axes.plot(share, np.append(0, found) / found[-1], label=name)
    axes.plot([0, 1], [0, 1], "--", color="grey", label="chance")
    axes.legend(fontsize=8)
    return figure


def lifts(labels: Labels, risk: Floats) -> Figure:
    """Lift of every tenth of the customers, riskiest first."""
    figure, axes = _axes("Lift", "riskiest share of the customers, %", "churn rate / base rate")
    shares = np.arange(1, 11) / 10
    axes.bar(shares * 100, [evaluate.lift(labels, risk, share) for share in shares], width=7)
    axes.axhline(1, ls="--", color="grey")
    return figure


def calibration(labels: Labels, risk: Floats, shift: float) -> Figure:
    """Told and observed churn of ten bins of equal count, as told and with the shift of the base rate taken out."""
    figure, axes = _axes("Calibration", "mean risk of a tenth of the customers", "share of them that churned")
    for told, name in ((risk, "as told"), (np.minimum(risk * shift, 1.0), f"times {shift:.2f}")):
        found = evaluate.bins(labels, told)
        axes.plot([each[0] for each in found], [each[1] for each in found], "o-", label=name)
    axes.plot([0, 1], [0, 1], "--", color="grey", label="right")
    axes.legend(fontsize=8)
    return figure


def cost(labels: Labels, risk: Floats, threshold: float) -> Figure:
    """Mean cost of a customer by threshold, for churners that cost as much as so many needless offers."""
    figure, axes = _axes("Cost", "offers from this risk on", "mean cost per customer, in needless offers")
    grid = np.linspace(0, 1, 101)
    for ratio in COST_RATIOS:
        costs = [evaluate.cost(labels, risk, each, ratio, 1.0) for each in grid]
        axes.plot(grid, costs, label=f"a missed churner costs {ratio:g}")
    axes.axvline(threshold, ls="--", color="grey", label=f"chosen: {threshold:.2f}")
    axes.legend(fontsize=8)
    return figure


def importances(names: Sequence[str], values: Sequence[float]) -> Figure:
    """Bars, the longest on top."""
    figure, axes = _axes("What moves risks", "mean part in a risk, log-odds", "")
    axes.barh(list(names)[::-1], list(values)[::-1])
    return figure


def partial_effects(effects: Mapping[str, tuple[Floats, Floats]]) -> Figure:
    """For each feature its mean part in the log-odds, by its value."""
    figure = Figure(figsize=(9, 5.6))
    panels: Any = figure.subplots(2, 3)
    for axes in list(panels.flat)[len(effects) :]:
        axes.set_visible(False)
    for axes, (name, (values, parts)) in zip(panels.flat, effects.items(), strict=False):
        axes.plot(values, parts, "o-", ms=3)
        axes.axhline(0, ls="--", color="grey")
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
        if values.min() >= 0 and values.max() > 50 * max(1.0, float(np.median(values))):
            axes.set_xscale("symlog")
    figure.supylabel("part in the risk, log-odds", fontsize=8)
    figure.tight_layout()
    return figure
