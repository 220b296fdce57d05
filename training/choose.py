"""Choices made without the test: which penalty, shape and balance, by validation on later moments.

Risks are judged after the sigmoid that fits them best, as every model is calibrated afterwards: what is compared is
what calibration cannot mend.
"""

from collections.abc import Callable, Collection
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss
from sklearn.model_selection import StratifiedGroupKFold

from churn.model import sigmoid
from training.dataset import Samples
from training.fit import calibration, learn
from training.recipes import RECENCY_ONLY, RFM, SEED, Balance, Kind, Recipe
from training.split import HORIZON

MAX_FOLDS: Final = 3
# A validation needs no more to tell recipes apart that differ by more than chance.
MAX_ROWS: Final = 15_000
PENALTIES: Final = (0.0003, 0.001, 0.003, 0.01, 0.03)
LEAVES: Final = (2, 4, 8)
FOREST_LEAF: Final = 20
_HORIZON_MS: Final = int(HORIZON.total_seconds() * 1000)


class Tried(NamedTuple):
    """A recipe on validation customers: Brier score after its best sigmoid, PR-AUC, both means over the folds."""

    family: str
    recipe: Recipe
    brier: float
    pr_auc: float


class Choice(NamedTuple):
    """The recipe chosen of each family, and everything that was tried."""

    recipes: dict[str, Recipe]
    tried: list[Tried]
    validation: str

    def best_of(self, families: tuple[str, ...]) -> str:
        """The family whose recipe has the lowest Brier score on validation customers."""
        chosen = [each for each in self.tried if each.family in families]
        return min(chosen, key=lambda each: each.brier).family


RECENCY: Final = "recency alone"
LR_RFM: Final = "LR on R, F, M"
LR_ALL: Final = "LR on all features"
FOREST: Final = "random forest"
TREES: Final = "LightGBM"
# A forest's margin has no exact parts, so its risk could not be explained to the last digit.
EXPLAINABLE: Final = (LR_RFM, LR_ALL, TREES)
FAMILIES: Final = (RECENCY, LR_RFM, LR_ALL, FOREST, TREES)

Fold = tuple[Samples, Samples]


def folds(samples: Samples) -> tuple[list[Fold], str]:
    """(learn, validate) pairs: latest moments first, learning only from windows that were over by then.

    Where no window is, other customers of the same moments take the place of later ones.
    """
    moments = np.unique(samples.cut_offs_ms)
    found: list[Fold] = []
    latest = moments[-1]
    while len(found) < MAX_FOLDS and np.any(moments <= latest):
        latest = moments[moments <= latest][-1]
        before = samples.cut_offs_ms <= latest - _HORIZON_MS
        if _has_both(samples.where(before)) and _has_both(samples.where(samples.cut_offs_ms == latest)):
            found.append((samples.where(before), samples.where(samples.cut_offs_ms == latest)))
        latest = latest - _HORIZON_MS
    if found:
        return found, f"{len(found)} later cut-off{'s' if len(found) > 1 else ''}"
    splitter = StratifiedGroupKFold(MAX_FOLDS)
    parts = splitter.split(samples.matrix, samples.labels, samples.customer_ids)
    return [(_rows(samples, one), _rows(samples, other)) for one, other in parts], f"{MAX_FOLDS} groups of customers"


def choose(
    samples: Samples, families: Collection[str] = FAMILIES, on_done: Callable[[], object] = lambda: None
) -> Choice:
    """Choose within each of the families by the folds of `samples`; `on_done` is told of every recipe tried."""
    pairs, validation = folds(samples)
    pairs = [(_at_most(one), _at_most(other)) for one, other in pairs]
    tried: list[Tried] = []

    def best(family: str, recipes: list[Recipe]) -> Recipe:
        for recipe in recipes:
            tried.append(_try(family, recipe, pairs))
            on_done()
        return min((each for each in tried if each.family == family), key=lambda each: each.brier).recipe

    recipes = {}
    for family in families:
        found = best(family, _FIRST[family])
        recipes[family] = best(family, _then(family, found)) if _then(family, found) else found
    return Choice(recipes, tried, validation)


_FIRST: Final = {
    RECENCY: [RECENCY_ONLY],
    LR_RFM: [RFM],
    LR_ALL: [Recipe(Kind.LINEAR, penalty) for penalty in PENALTIES],
    FOREST: [Recipe(Kind.FOREST, FOREST_LEAF)],
    TREES: [Recipe(Kind.TREES, leaves) for leaves in LEAVES],
}


def _then(family: str, found: Recipe) -> list[Recipe]:
    """What is tried of a family after its best strength is known."""
    balanced = [found._replace(balance=balance) for balance in (Balance.WEIGHTS, Balance.RESAMPLED)]
    return {LR_ALL: [found._replace(kind=Kind.BINNED), *balanced], TREES: balanced}.get(family, [])


RECIPES_TRIED: Final = sum(len(first) + len(_then(family, first[0])) for family, first in _FIRST.items())


def _try(family: str, recipe: Recipe, pairs: list[Fold]) -> Tried:
    found = []
    for one, other in pairs:
        margin = learn(one, recipe).margin(other.matrix)
        slope, intercept = calibration(margin, other.labels)
        risk = sigmoid(slope * margin + intercept)
        found.append((brier_score_loss(other.labels, risk), average_precision_score(other.labels, risk)))
    brier, pr_auc = np.mean(found, axis=0)
    return Tried(family, recipe, float(brier), float(pr_auc))


def _has_both(samples: Samples) -> bool:
    return len(samples.labels) > 0 and 10 <= int(samples.labels.sum()) <= len(samples.labels) - 10


def _at_most(samples: Samples) -> Samples:
    if len(samples.labels) <= MAX_ROWS:
        return samples
    return _rows(samples, np.random.default_rng(SEED).choice(len(samples.labels), MAX_ROWS, replace=False))


def _rows(samples: Samples, places: NDArray[np.intp]) -> Samples:
    chosen = np.zeros(len(samples.labels), dtype=np.bool_)
    chosen[places] = True
    return samples.where(chosen)
