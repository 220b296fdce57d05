"""Drift: how far customers have moved from those that a model was tested on, and whether its risks still come true.

PSI = sum((a - e) * ln(a / e)) over the deciles of those, with a bin for missing values. PSI / (1/N + 1/M) is close to a
chi-square with B - 1 degrees of freedom when nothing has changed (Yurdakul & Naranjo 2020), so that small samples do
not alarm.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from churn.features import MODEL_FEATURES
from churn.model import TEXT_FEATURES, Floats, Reference

DECILES: Final = 10
MOST_TEXTS: Final = 8
NAMED: Final = 5
NOTEWORTHY_PSI: Final = 0.1
SURE: Final = 0.999
# A bin without customers counts as half of one, else its logarithm would have no value.
_LEAST_COUNT: Final = 0.5
RISK: Final = "risk"


class Drift(NamedTuple):
    """How far one number has moved: its PSI and the 99.9 % point of what chance alone makes."""

    name: str
    psi: float
    by_chance: float

    @property
    def has_moved(self) -> bool:
        """Both noteworthy and more than chance makes."""
        return self.psi > max(NOTEWORTHY_PSI, self.by_chance)


def references(matrix: Floats, risk: Floats) -> dict[str, Reference]:
    """The distributions of all features (the columns of `matrix`) and of `risk`, one row per customer."""
    found = {
        name: reference(values, is_text=name in TEXT_FEATURES)
        for name, values in zip(MODEL_FEATURES, matrix.T, strict=True)
    }
    return found | {RISK: reference(risk)}


def reference(values: Floats, *, is_text: bool = False) -> Reference:
    """Deciles of `values` (equal ones fall together), or the most frequent codes of texts, with their counts."""
    known = values[~np.isnan(values)]
    if is_text:
        codes, counts = np.unique(known, return_counts=True)
        edges = np.sort(codes[np.argsort(-counts, kind="stable")[:MOST_TEXTS]])
    elif len(known):
        inner = np.quantile(known, np.arange(1, DECILES) / DECILES)
        # A first edge at the lowest value would leave the bin below it empty.
        edges = np.unique(inner[inner > known.min()])
    else:
        edges = np.zeros(0)
    empty = Reference(tuple(edges.tolist()), (), is_text)
    return Reference(empty.edges, tuple(_counts(empty, values).tolist()), is_text)


def _counts(reference: Reference, values: Floats) -> NDArray[np.int64]:
    edges = np.array(reference.edges)
    is_missing = np.isnan(values)
    known = values[~is_missing]
    places = np.searchsorted(edges, known, side="left" if reference.is_text else "right")
    if reference.is_text:
        is_known_text = np.isin(known, edges)
        places = np.where(is_known_text, places, len(edges))
    counts = np.bincount(places, minlength=len(edges) + 1)
    return np.append(counts, is_missing.sum()).astype(np.int64)


def psi(name: str, reference: Reference, values: Floats) -> Drift:
    """The drift of `values` from a reference; a bin that neither of them has does not count."""
    expected, actual = np.array(reference.counts, dtype=float), _counts(reference, values).astype(float)
    expected_total, actual_total = expected.sum(), actual.sum()
    is_used = (expected + actual) > 0
    expected, actual = np.maximum(expected[is_used], _LEAST_COUNT), np.maximum(actual[is_used], _LEAST_COUNT)
    e, a = expected / expected.sum(), actual / actual.sum()
    value = float(np.sum((a - e) * np.log(a / e)))
    freedom = max(1, int(is_used.sum()) - 1)
    return Drift(name, value, float(chi2.ppf(SURE, freedom) * (1 / expected_total + 1 / actual_total)))


def all_drifts(reference: Mapping[str, Reference], matrix: Floats, risk: Floats) -> list[Drift]:
    """The drift of every feature and of the risk, the furthest first."""
    values = {**dict(zip(MODEL_FEATURES, matrix.T, strict=True)), RISK: risk}
    found = [psi(name, each, values[name]) for name, each in reference.items() if name in values]
    return sorted(found, key=lambda drift: -drift.psi)


class Outcome(NamedTuple):
    """What came of risks that were told earlier, and what the model reached on its test."""

    pr_auc: tuple[float, float]
    brier: tuple[float, float]
    test_pr_auc: float
    test_brier: float
    churned: float
    mean_risk: float


def advice(moved: Sequence[str], moved_before: Sequence[str], outcome: Outcome | None) -> str:
    """In plain words: whether to retrain, and why. `moved_before` is what had moved at the run before this one."""
    reasons = []
    if outcome is not None and outcome.brier[0] > outcome.test_brier:
        reasons.append(
            f"its risks come true less well than on its test: Brier score {outcome.brier[0]:.3f} or more instead of "
            f"{outcome.test_brier:.3f} ({outcome.churned:.1%} churned, {outcome.mean_risk:.1%} were expected)"
        )
    twice = sorted(set(moved) & set(moved_before))
    if RISK in twice:
        reasons.append("the risks themselves have moved, twice running")
    others = [name for name in twice if name != RISK]
    if others:
        reasons.append(f"customers differ from those it was tested on, twice running, in {_listed(others)}")
    if reasons:
        return f"Retrain: {'; and '.join(reasons)}."
    if moved:
        return f"Wait: {_listed(moved)} moved for the first time; retrain when the next run finds it again."
    return "Keep the model: customers are like those it was tested on, and nothing says that its risks are wrong."


def _listed(names: Sequence[str]) -> str:
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest
