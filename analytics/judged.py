"""A yes-or-no question put to a random forest, tested on later customers beside a rule that looks at one number."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import classification_report, roc_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer
from statsmodels.stats.proportion import proportion_confint

from analytics import plots
from analytics.finding import CannotAnswer, Number
from analytics.samples import Moments, Samples
from analytics.shop import Shop
from churn import evaluate
from churn.evaluate import Labels
from churn.features import MODEL_FEATURES
from churn.model import TEXT_FEATURES, Floats
from churn.report_page import Table

LEAST_CUSTOMERS: Final = 200
LEAST_OF_EACH: Final = 20
TREES: Final = 200
LEAST_IN_LEAF: Final = 20
SEED: Final = 17
SHOWN: Final = 10
NUMERIC: Final = tuple(name for name in MODEL_FEATURES if name not in TEXT_FEATURES)
_PLACES: Final = [MODEL_FEATURES.index(name) for name in NUMERIC]
MODEL: Final = "random forest"


class Judged(NamedTuple):
    """Labels of the test, (n,) chances by model and rule, their metrics and 95 % intervals, and what weighs most.

    `better` is the interval of the model's ROC-AUC less the rule's, of paired draws.
    """

    labels: Labels
    chances: dict[str, Floats]
    points: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, tuple[float, float]]]
    better: tuple[float, float]
    importances: list[tuple[str, float]]

    @property
    def rule(self) -> str:
        """The name of the rule beside the model."""
        return next(name for name in self.chances if name != MODEL)


def moments_of(shop: Shop) -> Moments:
    """The cut-offs of the shop's samples. Raises `CannotAnswer` where the history is too short."""
    if shop.sampled.moments is None:
        raise CannotAnswer(
            "a model that is tested later in time needs 240 days of history (60 to look back on, and twice 90 to come)"
        )
    return shop.sampled.moments


def require(labels: Labels, what: str) -> None:
    """Raises `CannotAnswer` where there are too few customers of either outcome."""
    yes, no = int(labels.sum()), int((1 - labels).sum())
    if len(labels) < LEAST_CUSTOMERS or min(yes, no) < LEAST_OF_EACH:
        raise CannotAnswer(
            f"{what}: {len(labels):,} customers, {yes:,} yes and {no:,} no; it takes {LEAST_CUSTOMERS} and "
            f"{LEAST_OF_EACH} of each"
        )


def judge(learn: Samples, learned: Labels, test: Samples, tested: Labels, rule: str, processes: int) -> Judged:
    """Fit on `learn`, judge on `test`; `rule` is the feature that is looked at alone. Raises `CannotAnswer`."""
    require(learned, "to learn from")
    require(tested, "to test on")
    forest = RandomForestClassifier(
        TREES, min_samples_leaf=LEAST_IN_LEAF, max_features="sqrt", n_jobs=processes, random_state=SEED
    )
    forest.fit(numeric(learn), learned)
    alone = make_pipeline(
        SimpleImputer(keep_empty_features=True),
        QuantileTransformer(n_quantiles=min(100, len(learned)), random_state=SEED),
        LogisticRegression(),
    )
    alone.fit(learn.feature(rule)[:, None], learned)
    chances = {
        MODEL: np.asarray(forest.predict_proba(numeric(test))[:, 1]),
        f"{rule} alone": np.asarray(alone.predict_proba(test.feature(rule)[:, None])[:, 1]),
    }
    heaviest = np.argsort(-forest.feature_importances_, kind="stable")[:SHOWN].tolist()
    importances = [(NUMERIC[place], float(forest.feature_importances_[place])) for place in heaviest]
    return Judged(tested, chances, *measured(tested, chances), importances)


def numeric(samples: Samples) -> Floats:
    """The columns `NUMERIC`."""
    return np.asarray(samples.matrix[:, _PLACES])


def measured(
    labels: Labels, chances: Mapping[str, Floats]
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, tuple[float, float]]], tuple[float, float]]:
    """Metrics, their bootstrap intervals, and that of the first one's ROC-AUC less the second one's."""
    draws = evaluate.bootstrap(labels, chances, seed=SEED)
    points = {name: evaluate.metrics(labels, chance) for name, chance in chances.items()}
    intervals = {
        name: {metric: evaluate.interval(values) for metric, values in each.items()} for name, each in draws.items()
    }
    first, second, *_ = draws.values()
    return points, intervals, evaluate.interval(first["roc_auc"] - second["roc_auc"])


def compared(judged: Judged, caption: str) -> Table:
    """Model and rule side by side."""
    rows = []
    for name, points in judged.points.items():
        cells = [
            f"{points[metric]:.3f} ({low:.3f} to {high:.3f})" for metric, (low, high) in judged.intervals[name].items()
        ]
        rows.append((name, *cells, f"{points['ece']:.3f}"))
    return Table(("", "ROC-AUC", "PR-AUC", "lift@10 %", "Brier", "ECE"), rows, caption)


def numbers(judged: Judged, names: Sequence[str] = ("roc_auc", "pr_auc", "lift_at_10")) -> list[Number]:
    """The metrics of the model, and the ROC-AUC of the rule."""
    titles = {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "lift_at_10": "Lift in the top 10 %", "brier": "Brier score"}
    found = [
        Number(titles[name], judged.points[MODEL][name], "number", *judged.intervals[MODEL][name]) for name in names
    ]
    rule = judged.rule
    return [
        *found,
        Number(f"ROC-AUC of {rule}", judged.points[rule]["roc_auc"], "number", *judged.intervals[rule]["roc_auc"]),
        Number("Share of yes in the test", judged.points[MODEL]["base_rate"], "share"),
    ]


def beats(judged: Judged) -> str:
    """In words, whether the model is better than the rule on the same customers."""
    ours, theirs = judged.points[MODEL]["roc_auc"], judged.points[judged.rule]["roc_auc"]
    if judged.better[0] > 0:
        return f"The model tells them apart better than {judged.rule} (ROC-AUC {ours:.3f} against {theirs:.3f})."
    return (
        f"The model is not surely better than {judged.rule} (ROC-AUC {ours:.3f} against {theirs:.3f}): use the "
        "simple rule."
    )


def accuracy(judged: Judged, threshold: float = 0.5) -> Number:
    """The share of right answers, with its interval (Wilson)."""
    right = int(((judged.chances[MODEL] >= threshold) == (judged.labels == 1)).sum())
    low, high = proportion_confint(right, len(judged.labels), method="wilson")
    return Number("Accuracy", right / len(judged.labels), "share", float(low), float(high))


def classes(judged: Judged, names: tuple[str, str], threshold: float = 0.5) -> Table:
    """The classification report at a threshold."""
    said: Any = classification_report(
        judged.labels, judged.chances[MODEL] >= threshold, target_names=names, output_dict=True, zero_division=0
    )
    rows = [
        (
            name,
            *(f"{said[name][each]:.3f}" for each in ("precision", "recall", "f1-score")),
            f"{said[name]['support']:,.0f}",
        )
        for name in (*names, "macro avg", "weighted avg")
    ]
    return Table(("", "precision", "recall", "F1", "customers"), rows, f"Classification report, yes from {threshold:g}")


def weights(judged: Judged) -> Figure:
    """The features that the forest splits by most."""
    names, values = zip(*judged.importances, strict=True)
    return plots.bars("What the model looks at", names, values, "importance (sum of all: 1)")


def roc(judged: Judged) -> Figure:
    """Those found against false alarms, for every threshold."""
    figure, axes = plots.axes("Telling them apart", "false alarms", "found", (5.4, 3.8))
    for name, chance in judged.chances.items():
        wrong, found, _ = roc_curve(judged.labels, chance)
        axes.plot(wrong, found, label=name)
    axes.plot([0, 1], [0, 1], "--", color="grey", label="chance")
    axes.legend(fontsize=8)
    return figure
