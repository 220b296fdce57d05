"""Which models are compared: how each prepares its columns, what it learns with, and how the rarer outcome is weighed.

Every preparation (filling, encoding, scaling) is a step of the scikit-learn pipeline that is saved with the model.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OneHotEncoder, StandardScaler, TargetEncoder

from churn.features import MODEL_FEATURES
from churn.model import TEXT_FEATURES


class Kind(StrEnum):
    """What learns."""

    LINEAR = "logistic regression"
    BINNED = "logistic regression with bins"
    FOREST = "random forest"
    TREES = "LightGBM"


class Balance(StrEnum):
    """What is done about one outcome being rarer. Calibration afterwards puts the level right in every case."""

    NONE = "as they are"
    WEIGHTS = "class weights"
    RESAMPLED = "resampled"


class Recipe(NamedTuple):
    """How one model is made. `strength`: of a regression its C, of trees their leaves, of a forest the least leaf."""

    kind: Kind
    strength: float
    balance: Balance = Balance.NONE
    features: tuple[str, ...] = MODEL_FEATURES

    def __str__(self) -> str:
        word = {Kind.TREES: "leaves", Kind.FOREST: "leaf of"}.get(self.kind, "C")
        return f"{self.kind}, {word} {self.strength:g}, {self.balance}"


# What is known to matter before any data are seen. The penalty on these is a 25th of that on the rest, so that windows
# of one thing do not share its part out among them, or stand against each other and make odd reasons.
CORE: Final = ("recency_days", "frequency", "monetary")
CORE_WEIGHT: Final = 5.0
# Few levels: one column each. Many levels: one column with the level's mean outcome, shrunk and cross-fitted.
FEW_LEVELS: Final = ("device", "channel", "country")
BINS: Final = 5
SEED: Final = 7
ROUNDS: Final = 150

RECENCY_ONLY: Final = Recipe(Kind.LINEAR, 1.0, features=("recency_days",))
RFM: Final = Recipe(Kind.LINEAR, 1.0, features=CORE)
DEFAULT: Final = Recipe(Kind.LINEAR, 0.003)


def pipeline_of(recipe: Recipe, places: Sequence[int]) -> Pipeline:
    """The unfitted pipeline of a recipe; `places` are the features that vary, among `MODEL_FEATURES`.

    Of a LightGBM recipe it only prepares the columns.
    """
    columns = ("columns", _columns(recipe.kind, places))
    weigh = _learner(recipe)
    return Pipeline([columns] if weigh is None else [columns, ("weigh", weigh)])


def _columns(kind: Kind, places: Sequence[int]) -> ColumnTransformer:
    names = {place: MODEL_FEATURES[place] for place in places}
    texts = [place for place, name in names.items() if name in TEXT_FEATURES]
    few = [place for place in texts if names[place] in FEW_LEVELS]
    many = [place for place in texts if names[place] not in FEW_LEVELS]
    numbers = [place for place in places if place not in texts]
    is_linear = kind in (Kind.LINEAR, Kind.BINNED)
    parts: list[tuple[str, Any, list[int]]] = [
        ("few", _scaled(_one_hot(), is_linear), few),
        ("many", _scaled(_mean_outcome(), is_linear), many),
    ]
    if is_linear:
        core = [place for place in numbers if names[place] in CORE]
        rest = [place for place in numbers if names[place] not in CORE]
        parts += [("core", _numbers(kind), core), ("rest", _numbers(Kind.LINEAR), rest)]
    else:
        parts.append(("numbers", "passthrough", numbers))  # trees split missing values off by themselves
    return ColumnTransformer(
        [part for part in parts if part[2]],
        transformer_weights={"core": CORE_WEIGHT} if is_linear else None,
        sparse_threshold=0,
        verbose_feature_names_out=False,
    )


def _one_hot() -> OneHotEncoder:
    return OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=0.01, max_categories=9, sparse_output=False
    )


def _mean_outcome() -> TargetEncoder:
    return TargetEncoder(target_type="binary", cv=StratifiedKFold(5, shuffle=True, random_state=SEED))


def _scaled(encoder: Any, is_linear: bool) -> Any:
    return Pipeline([("encode", encoder), ("scale", StandardScaler())]) if is_linear else encoder


def _numbers(kind: Kind) -> Pipeline:
    # As log(2x) for counts, money and days, and defined for 0 and for the negative net of a refund.
    compress = FunctionTransformer(np.arcsinh, feature_names_out="one-to-one")
    shape = FeatureUnion([("line", "passthrough"), ("bins", _bins())], verbose_feature_names_out=False)
    steps = [
        ("impute", SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)),
        ("compress", compress),
        ("shape", shape if kind is Kind.BINNED else "passthrough"),
        ("scale", StandardScaler()),
    ]
    return Pipeline(steps)


def _bins() -> KBinsDiscretizer:
    return KBinsDiscretizer(BINS, encode="onehot-dense", quantile_method="averaged_inverted_cdf", subsample=None)


def _learner(recipe: Recipe) -> Any:
    class_weight = "balanced" if recipe.balance is Balance.WEIGHTS else None
    if recipe.kind is Kind.TREES:
        return None
    if recipe.kind is Kind.FOREST:
        return RandomForestClassifier(
            200,
            min_samples_leaf=int(recipe.strength),
            max_features=0.3,
            max_samples=0.5,
            class_weight=class_weight,
            random_state=SEED,
            n_jobs=1,
        )
    return LogisticRegression(C=recipe.strength, max_iter=2000, class_weight=class_weight)


def tree_settings(recipe: Recipe, labels: Any) -> dict[str, Any]:
    """The parameters of LightGBM. One thread and `deterministic`: the same data give the same trees."""
    weight = float((labels == 0).sum() / max(1, labels.sum())) if recipe.balance is Balance.WEIGHTS else 1.0
    return {
        "objective": "binary",
        "num_leaves": int(recipe.strength),
        "learning_rate": 0.05,
        "min_data_in_leaf": 50,
        "feature_fraction": 0.5,
        "lambda_l2": 10.0,
        "scale_pos_weight": weight,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": SEED,
        "verbosity": -1,
    }
