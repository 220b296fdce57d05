"""How good risks are on customers that no model has seen: metrics with their bootstrap intervals, and calibration."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from churn.model import Floats

ECE_BINS: Final = 10
REPLICATES: Final = 300
LEVEL: Final = 0.95
COMPARED: Final = ("roc_auc", "pr_auc", "lift_at_10", "brier")

Labels = NDArray[np.int8]


def metrics(labels: Labels, risk: Floats) -> dict[str, float]:
    """Metrics of `risk` against `labels`, both (n,). Lift@10: churners among the riskiest 10 % / base rate."""
    base_rate = float(labels.mean())
    brier = float(brier_score_loss(labels, risk))
    return {
        "n": len(labels),
        "base_rate": base_rate,
        "roc_auc": float(roc_auc_score(labels, risk)),
        "pr_auc": float(average_precision_score(labels, risk)),
        "lift_at_10": lift(labels, risk, 0.1),
        "brier": brier,
        "brier_skill": 1 - brier / (base_rate * (1 - base_rate)),
        "ece": expected_calibration_error(labels, risk),
    }


def lift(labels: Labels, risk: Floats, share: float) -> float:
    """Share of churners in the riskiest `share` of the customers / share of churners overall."""
    count = max(1, round(len(labels) * share))
    riskiest = np.argsort(-risk, kind="stable")[:count]
    return float(labels[riskiest].mean() / labels.mean())


def expected_calibration_error(labels: Labels, risk: Floats) -> float:
    """Mean distance between risk and outcome over ten bins of equal count."""
    return float(sum(abs(told - came) * count for told, came, count in bins(labels, risk)) / len(labels))


def bins(labels: Labels, risk: Floats, count: int = ECE_BINS) -> list[tuple[float, float, int]]:
    """(mean risk, share that churned, customers) of bins of equal count, from the lowest risk to the highest."""
    parts = np.array_split(np.argsort(risk, kind="stable"), count)
    return [(float(risk[part].mean()), float(labels[part].mean()), len(part)) for part in parts if len(part)]


class Calibration(NamedTuple):
    """How right the level of risks is: all told, and without what one factor for everybody explains.

    `shift` is the observed churn rate / the mean risk, what a history cannot know when the rate moves; `shape_ece` the
    error left once every risk is multiplied by it, `odds_ece` once every log-odds is moved alike instead.
    """

    ece: float
    shift: float
    shape_ece: float
    odds_ece: float


def calibration(labels: Labels, risk: Floats) -> Calibration:
    """The error of calibration in its two parts."""
    shift = float(labels.mean() / risk.mean())
    moved = _at_rate(risk, float(labels.mean()))
    return Calibration(
        expected_calibration_error(labels, risk),
        shift,
        expected_calibration_error(labels, np.minimum(risk * shift, 1.0)),
        expected_calibration_error(labels, moved),
    )


def _at_rate(risk: Floats, rate: float) -> Floats:
    """Risks with all log-odds moved by the same amount so that their mean is `rate`, by halving."""
    kept = np.clip(risk, 1e-9, 1 - 1e-9)
    odds = kept / (1 - kept)
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        moved = odds * np.exp(middle)
        if (moved / (1 + moved)).mean() < rate:
            low = middle
        else:
            high = middle
    return np.asarray(moved / (1 + moved), dtype=np.float64)


Replicates = dict[str, Floats]


def bootstrap(
    labels: Labels, risks: Mapping[str, Floats], *, seed: int, replicates: int = REPLICATES
) -> dict[str, Replicates]:
    """Each metric of `COMPARED` for each named risk over customers drawn with replacement: (replicates,) arrays.

    All names see the same draws, so that their differences are paired.
    """
    chance = np.random.default_rng(seed)
    ranked = {name: _ranked(labels, risk) for name, risk in risks.items()}
    found: dict[str, list[Floats]] = {name: [] for name in risks}
    for _ in range(replicates):
        times = np.bincount(chance.integers(0, len(labels), len(labels)), minlength=len(labels))
        for name, each in ranked.items():
            found[name].append(_compared(each, times))
    return {name: dict(zip(COMPARED, np.array(rows).T, strict=True)) for name, rows in found.items()}


class _Ranked(NamedTuple):
    """Customers from the riskiest on; `ends` are the last places of equal risks."""

    order: NDArray[np.intp]
    labels: Labels
    squares: Floats
    ends: NDArray[np.intp]


def _ranked(labels: Labels, risk: Floats) -> _Ranked:
    order = np.argsort(-risk, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(risk[order])), len(order) - 1)
    return _Ranked(order, labels[order], (risk - labels)[order] ** 2, ends)


def _compared(ranked: _Ranked, times: NDArray[np.int64]) -> Floats:
    """The metrics of `COMPARED` where each customer counts so many times; as scikit-learn's, without its checks."""
    weight = times[ranked.order].astype(np.float64)
    churned = np.cumsum(weight * ranked.labels)[ranked.ends]
    warned = np.cumsum(weight)[ranked.ends]
    churners, everybody = max(churned[-1], 1e-12), warned[-1]
    stayed = np.diff(warned - churned, prepend=0.0)
    roc_auc = (
        np.sum(stayed * (churned + np.append(0.0, churned[:-1])) / 2) / churners / max(everybody - churners, 1e-12)
    )
    pr_auc = np.sum(np.diff(churned, prepend=0.0) / churners * churned / np.maximum(warned, 1.0))
    riskiest = max(1, round(everybody * 0.1))
    before = np.cumsum(weight) - weight
    found = np.sum(np.clip(riskiest - before, 0.0, weight) * ranked.labels)
    lift_at_10 = found / riskiest / (churners / everybody)
    return np.array([roc_auc, pr_auc, lift_at_10, np.sum(weight * ranked.squares) / everybody])


def interval(values: Floats) -> tuple[float, float]:
    """The middle 95 % of bootstrap replicates."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def cheapest_threshold(labels: Labels, risk: Floats, missed_cost: float, needless_cost: float) -> float:
    """The risk from which an offer pays on these customers: the lowest cost of churners missed and needless offers."""
    grid = np.round(np.linspace(0.02, 0.98, 97), 2)
    costs = [cost(labels, risk, threshold, missed_cost, needless_cost) for threshold in grid]
    return float(grid[int(np.argmin(costs))])


def cost(labels: Labels, risk: Floats, threshold: float, missed_cost: float, needless_cost: float) -> float:
    """Mean cost per customer when everybody from `threshold` on gets an offer."""
    is_warned = risk >= threshold
    missed = ((labels == 1) & ~is_warned).sum()
    needless = ((labels == 0) & is_warned).sum()
    return float((missed * missed_cost + needless * needless_cost) / len(labels))
