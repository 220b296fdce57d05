"""Fit a recipe, and calibrate its margin by one sigmoid on later data, so that base and drivers stay exact."""

import warnings
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline

from churn.features import MODEL_FEATURES
from churn.model import Floats, open_trees, sigmoid
from training.dataset import Samples
from training.recipes import DEFAULT, ROUNDS, SEED, Balance, Kind, Recipe, pipeline_of, tree_settings

FOLDS: Final = 5
LEAST_OF_EACH: Final = 2 * FOLDS
# A forest's share of 0 or 1 is what its leaves could tell apart, not certainty.
_FOREST_BOUND: Final = 1e-3


class TooFewOutcomes(Exception):
    """Nearly all customers of a sample churned, or nearly none did: there is nothing to learn or to measure."""


class Learned(NamedTuple):
    """A fitted recipe before its calibration; `trees` is LightGBM's text where it has learned."""

    recipe: Recipe
    pipeline: Pipeline
    trees: str | None = None

    def margin(self, matrix: Floats) -> Floats:
        """(n,) log-odds, not yet calibrated."""
        if self.trees is not None:
            columns = self.pipeline.transform(matrix)
            return np.asarray(open_trees(self.trees).predict(columns, raw_score=True, num_threads=1), dtype=np.float64)
        if self.recipe.kind is Kind.FOREST:
            share = np.clip(self.pipeline.predict_proba(matrix)[:, 1], _FOREST_BOUND, 1 - _FOREST_BOUND)
            return np.asarray(np.log(share / (1 - share)), dtype=np.float64)
        return np.asarray(self.pipeline.decision_function(matrix), dtype=np.float64)


class Fitted(NamedTuple):
    """A fitted recipe whose margin, by log-odds = slope * margin + intercept, gives a calibrated risk."""

    learned: Learned
    slope: float
    intercept: float

    @property
    def pipeline(self) -> Pipeline:
        """The scikit-learn part."""
        return self.learned.pipeline

    def risk(self, matrix: Floats) -> Floats:
        """(n,) probabilities of churn."""
        return sigmoid(self.slope * self.learned.margin(matrix) + self.intercept)


def fit(train: Samples, calibrate: Samples | None, recipe: Recipe = DEFAULT) -> Fitted:
    """Fit on `train`, calibrate on `calibrate`; where that is None, on the margins of train customers left out in turn.

    Raises `TooFewOutcomes`.
    """
    require_both_outcomes("train", train)
    if calibrate is not None:
        require_both_outcomes("calibrate", calibrate)
    learned = learn(train, recipe)
    if calibrate is None:
        margin, labels = _left_out_margins(train, recipe), train.labels
    else:
        margin, labels = learned.margin(calibrate.matrix), calibrate.labels
    return Fitted(learned, *calibration(margin, labels))


def calibration(margin: Floats, labels: NDArray[np.int8]) -> tuple[float, float]:
    """Slope and intercept of the sigmoid that fits margins to outcomes best (Platt 1999)."""
    fitted = LogisticRegression(C=np.inf).fit(margin.reshape(-1, 1), labels)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def learn(train: Samples, recipe: Recipe) -> Learned:
    """Fit a recipe on samples with both outcomes; features that do not vary in them are left out."""
    if recipe.balance is Balance.RESAMPLED:
        train = _resampled(train)
    pipeline = pipeline_of(recipe, _varying(train.matrix, recipe.features))
    with warnings.catch_warnings():
        # Bins of a feature with few values fall together, as they should.
        warnings.filterwarnings("ignore", message="Bins whose width are too small", category=UserWarning)
        if recipe.kind is not Kind.TREES:
            return Learned(recipe, pipeline.fit(train.matrix, train.labels))
    columns = pipeline.fit_transform(train.matrix, train.labels)
    return Learned(recipe, pipeline, _grow(recipe, columns, train.labels))


def _grow(recipe: Recipe, columns: Floats, labels: NDArray[np.int8]) -> str:
    import lightgbm  # slow to import, and only needed where trees compete

    data = lightgbm.Dataset(columns, labels, free_raw_data=True)
    booster: Any = lightgbm.train(tree_settings(recipe, labels), data, num_boost_round=ROUNDS)
    return str(booster.model_to_string())


def _varying(matrix: Floats, names: tuple[str, ...]) -> list[int]:
    places = [MODEL_FEATURES.index(name) for name in names]
    return [place for place in places if len(np.unique(matrix[:, place])) > 1]


def _resampled(samples: Samples) -> Samples:
    """All rows of the more frequent outcome's opposite, and as many of the more frequent one, drawn by chance."""
    frequent = samples.labels == (samples.labels.mean() > 0.5)
    few = int((~frequent).sum())
    drawn = np.random.default_rng(SEED).choice(np.flatnonzero(frequent), few, replace=False)
    kept = ~frequent
    kept[drawn] = True
    return samples.where(kept)


def _left_out_margins(train: Samples, recipe: Recipe) -> Floats:
    margins = np.empty(len(train.labels))
    for rest, left_out in StratifiedGroupKFold(FOLDS).split(train.matrix, train.labels, train.customer_ids):
        part = np.zeros(len(margins), dtype=np.bool_)
        part[rest] = True
        margins[left_out] = learn(train.where(part), recipe).margin(train.matrix[left_out])
    return margins


def require_both_outcomes(name: str, samples: Samples) -> None:
    """Raises `TooFewOutcomes` when fewer than ten customers of the sample churned, or fewer than ten stayed."""
    for label, outcome in ((1, "churned"), (0, "stayed")):
        count = len(np.unique(samples.customer_ids[samples.labels == label]))
        if count < LEAST_OF_EACH:
            raise TooFewOutcomes(
                f"{count} customers of the {name} sample {outcome}, at least {LEAST_OF_EACH} are needed: "
                "use a longer history"
            )
