"""What a model rests on: how much each feature moves risks, in which direction, and how good it is by segment."""

from typing import Final, NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score

from churn import evaluate
from churn.features import MODEL_FEATURES, FeatureRow
from churn.model import TEXT_FEATURES, Floats, RiskModel, score_matrix
from churn.segments import CutPoints, segment
from training.dataset import Samples

MOST_ROWS: Final = 3000
SHUFFLES: Final = 3
SHOWN: Final = 15
LEAST_IN_SEGMENT: Final = 50
SEED: Final = 5


class Importance(NamedTuple):
    """Of one feature: its mean part in a risk without sign, in log-odds, and the PR-AUC lost when it is shuffled."""

    feature: str
    part: float
    pr_auc_lost: float


def importances(model: RiskModel, test: Samples) -> list[Importance]:
    """The features with the greatest parts in the risks of test customers, the greatest first."""
    parts = np.abs(score_matrix(model, test.matrix).contributions).mean(axis=0)
    heaviest = np.argsort(-parts, kind="stable")[:SHOWN]
    chance = np.random.default_rng(SEED)
    some = _some(test, chance)
    before = average_precision_score(some.labels, score_matrix(model, some.matrix).risk)
    return [
        Importance(MODEL_FEATURES[place], float(parts[place]), before - _shuffled(model, some, place, chance))
        for place in heaviest
        if parts[place] > 0
    ]


def _shuffled(model: RiskModel, some: Samples, place: int, chance: np.random.Generator) -> float:
    found = []
    for _ in range(SHUFFLES):
        matrix = some.matrix.copy()
        matrix[:, place] = chance.permutation(matrix[:, place])
        found.append(average_precision_score(some.labels, score_matrix(model, matrix).risk))
    return float(np.mean(found))


def _some(samples: Samples, chance: np.random.Generator) -> Samples:
    if len(samples.labels) <= MOST_ROWS:
        return samples
    chosen = np.zeros(len(samples.labels), dtype=np.bool_)
    chosen[chance.choice(len(chosen), MOST_ROWS, replace=False)] = True
    return samples.where(chosen)


def partial_effects(model: RiskModel, test: Samples, names: list[str]) -> dict[str, tuple[Floats, Floats]]:
    """For each numeric feature: means of its values in 20 bins of equal count, and of its parts in the log-odds there.

    The parts of a logistic regression depend on nothing else; those of trees are means over what else customers did.
    """
    contributions = score_matrix(model, test.matrix).contributions
    effects = {}
    for name in names:
        place = MODEL_FEATURES.index(name)
        known = np.flatnonzero(~np.isnan(test.matrix[:, place]))
        if name in TEXT_FEATURES or not len(known):
            continue
        order = known[np.argsort(test.matrix[known, place], kind="stable")]
        parts = [part for part in np.array_split(order, 20) if len(part)]
        values = np.array([test.matrix[part, place].mean() for part in parts])
        effects[name] = (values, np.array([contributions[part, place].mean() for part in parts]))
    return effects


class OfSegment(NamedTuple):
    """How good the model is for one segment; `roc_auc` is None where it has too few of either outcome."""

    segment: str
    customers: int
    churned: float
    mean_risk: float
    roc_auc: float | None
    brier: float


def by_segment(test: Samples, risk: Floats, cuts: CutPoints) -> list[OfSegment]:
    """The named segments of the test customers, and those who ordered once or again, with at least 50 customers."""
    found = []
    repeats = test.columns(["orders_total"])[:, 0] > 1
    named = np.array([segment(row, cuts) for row in _rfm_rows(test)])
    groups = {"ordered once": ~repeats, "ordered again": repeats}
    groups |= {str(name): named == name for name in np.unique(named)}
    for name, chosen in groups.items():
        if chosen.sum() >= LEAST_IN_SEGMENT:
            found.append(_of_segment(name, test.labels[chosen], risk[chosen]))
    return found


def _of_segment(name: str, labels: evaluate.Labels, risk: Floats) -> OfSegment:
    has_both = 10 <= int(labels.sum()) <= len(labels) - 10
    roc_auc = evaluate.metrics(labels, risk)["roc_auc"] if has_both else None
    brier = float(np.mean((risk - labels) ** 2))
    return OfSegment(name, len(labels), float(labels.mean()), float(risk.mean()), roc_auc, brier)


def _rfm_rows(test: Samples) -> list[FeatureRow]:
    names = ("recency_days", "frequency", "monetary")
    return [dict(zip(names, values, strict=True)) for values in test.columns(names).tolist()]
