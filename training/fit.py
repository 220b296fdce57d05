"""Fit the model: standardise, weigh, and calibrate the margin on later data."""

from typing import Final, NamedTuple

import numpy as np
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from churn.model import Floats, sigmoid
from training.dataset import Samples

# Windows of one thing overlap; a weak penalty would set them against each other and make odd reasons.
PENALTY_C: Final = 0.01
FOLDS: Final = 5
LEAST_OF_EACH: Final = 2 * FOLDS


class TooFewOutcomes(Exception):
    """Nearly all customers of a sample churned, or nearly none did: there is nothing to learn or to measure."""


class Fitted(NamedTuple):
    """A pipeline whose margin, by log-odds = slope * margin + intercept, gives a calibrated risk."""

    pipeline: Pipeline
    slope: float
    intercept: float

    def risk(self, matrix: Floats) -> Floats:
        """(n,) probabilities of churn."""
        margin = self.pipeline.decision_function(matrix)
        return sigmoid(self.slope * margin + self.intercept)


def fit(train: Samples, calibrate: Samples | None) -> Fitted:
    """Fit on `train`, calibrate on `calibrate`; where that is None, on the margins of train customers left out in turn.

    Raises `TooFewOutcomes`.
    """
    require_both_outcomes("train", train)
    if calibrate is not None:
        require_both_outcomes("calibrate", calibrate)
    pipeline = _new_pipeline().fit(train.matrix, train.labels)
    if calibrate is None:
        margin, labels = _left_out_margins(train), train.labels
    else:
        margin, labels = pipeline.decision_function(calibrate.matrix), calibrate.labels
    sigmoid = LogisticRegression(C=np.inf).fit(margin.reshape(-1, 1), labels)
    return Fitted(pipeline, float(sigmoid.coef_[0, 0]), float(sigmoid.intercept_[0]))


def _new_pipeline() -> Pipeline:
    return Pipeline(
        [
            ("impute", SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)),
            # As log(2x) for counts, money and days, and defined for 0 and for the negative net of a refund.
            ("compress", FunctionTransformer(np.arcsinh, feature_names_out="one-to-one")),
            ("drop_constant", VarianceThreshold()),
            ("scale", StandardScaler()),
            ("weigh", LogisticRegression(C=PENALTY_C, max_iter=2000)),
        ]
    )


def _left_out_margins(train: Samples) -> Floats:
    margins = cross_val_predict(
        _new_pipeline(),
        train.matrix,
        train.labels,
        groups=train.customer_ids,
        cv=StratifiedGroupKFold(FOLDS),
        method="decision_function",
    )
    return np.asarray(margins, dtype=np.float64)


def require_both_outcomes(name: str, samples: Samples) -> None:
    """Raises `TooFewOutcomes` when fewer than ten customers of the sample churned, or fewer than ten stayed."""
    for label, outcome in ((1, "churned"), (0, "stayed")):
        count = len(np.unique(samples.customer_ids[samples.labels == label]))
        if count < LEAST_OF_EACH:
            raise TooFewOutcomes(
                f"{count} customers of the {name} sample {outcome}, at least {LEAST_OF_EACH} are needed: "
                "use a longer history"
            )
