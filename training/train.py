"""One training run: history in, a model with its metrics out. Reads no clock; the same history gives the same model."""

import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from churn import drift, evaluate
from churn.customer_value import LOOKS_AT, fit_value
from churn.features import LOOK_BACK_DAYS, MODEL_FEATURES, hash_id
from churn.forgotten import NOBODY, Forgotten
from churn.model import HORIZON_DAYS, About, Floats, Population, RiskModel, score_matrix
from churn.row import ENGAGEMENT_CUTS, VALUE_CUTS
from churn.segments import CutPoints, cut_points
from churn.state import STATE_VERSION
from training import dataset, purchase_process, split
from training.choose import EXPLAINABLE, FAMILIES, RECENCY, Choice, choose
from training.dataset import Dataset, Samples
from training.fit import Fitted, fit, require_both_outcomes
from training.gate import CANDIDATE
from training.split import Kind, Split

LIBRARIES: Final = ("lightgbm", "numpy", "scikit-learn", "scipy", "skops")
TEST_SHARE_OF_CUSTOMERS: Final = 40
REFERENCE: Final = "purchase process (MBG/NBD)"
SEED: Final = 3
# What an offer is weighed by: a churner who gets none costs as much as two offers that were not needed.
MISSED_COST: Final = 2.0
NEEDLESS_COST: Final = 1.0


class InsufficientData(Exception):
    """The history is too short or has too few buyers: a model from it would say nothing."""


class Least(NamedTuple):
    """The least that is worth training on."""

    customers: int
    days: int


class Facts(NamedTuple):
    """What is said of the history in the model."""

    data_sha256: str
    last_day: str
    population: Population


class Trained(NamedTuple):
    """A model, and everything that its report shows.

    `risks` (n,) of every compared model on the customers `test`; `champion` is the family of `model`. `drifts` say how
    far the buyers of the year before `last_day` are from those of the test.
    """

    model: RiskModel
    champion: str
    choice: Choice
    learned: Samples
    test: Samples
    risks: dict[str, Floats]
    points: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, tuple[float, float]]]
    drifts: list[drift.Drift]
    last_day: str

    @property
    def metrics(self) -> dict[str, float]:
        """Of the model on the test."""
        return self.points[self.champion]

    @property
    def recency_alone(self) -> dict[str, float]:
        """Of the rule that looks at recency alone, on the same test."""
        return self.points[RECENCY]

    @property
    def to_judge(self) -> dict[str, Floats]:
        """The risks that the gate compares; a live model may be added."""
        return {CANDIDATE: self.risks[self.champion], RECENCY: self.risks[RECENCY]}


def train(
    table: Any,
    least: Least,
    *,
    processes: int,
    on_folded: Callable[[int], object] = lambda _: None,
    on_tried: Callable[[], object] = lambda: None,
    spark_history: Path | None = None,
    forgotten: Forgotten = NOBODY,
    families: Collection[str] = FAMILIES,
) -> Trained:
    """Train on a table from `churn.history.read`; `on_folded` is told of events folded, `on_tried` of recipes tried.

    `spark_history` is where the table was read from, to let Spark fold it; `families` are compared. Raises
    `InsufficientData`, `HistoryHasHole` and `TooFewOutcomes`.
    """
    first, last = dataset.span(table)
    days = (last - first).total_seconds() / 86400
    dataset.require_no_hole(table)
    chosen = split.choose(first, last) if days >= least.days else None
    cut_offs = chosen.cut_offs if chosen else ()
    built = dataset.build(
        table, cut_offs, processes=processes, on_folded=on_folded, spark_history=spark_history, forgotten=forgotten
    )
    population = Population(len(built.buyers), round(days, 3), least.customers, least.days)
    if chosen is None or not population.is_sufficient:
        raise InsufficientData(_shortfall(population))
    facts = Facts(dataset.sha256_of(table), last.date().isoformat(), population)
    return learn_from(built, chosen, facts, on_tried=on_tried, families=families)


def learn_from(
    built: Dataset,
    chosen: Split,
    facts: Facts,
    *,
    on_tried: Callable[[], object] = lambda: None,
    families: Collection[str] = FAMILIES,
) -> Trained:
    """Choose, fit, calibrate and test on samples that are there already. Raises `TooFewOutcomes`."""
    learn, calibrate, test = parts(built.samples, chosen)
    require_both_outcomes("test", test)
    require_both_outcomes("train", learn)
    if calibrate is not None:
        require_both_outcomes("calibrate", calibrate)
    # Sums in BLAS depend on how many threads share them.
    with threadpool_limits(1, user_api="blas"):
        choice = choose(_before_test(built.samples, chosen, learn), families, on_tried)
        fitted = {family: fit(learn, calibrate, recipe) for family, recipe in choice.recipes.items()}
        risks = {family: each.risk(test.matrix) for family, each in fitted.items()}
        value = fit_value(_of_buyers(built, LOOKS_AT))
        risks[REFERENCE] = purchase_process.no_order_risk(learn if calibrate is None else calibrate, test)
    champion = choice.best_of(EXPLAINABLE)
    points = {family: evaluate.metrics(test.labels, risk) for family, risk in risks.items()}
    intervals = _intervals(test, risks)
    metrics = {
        "split": str(chosen.kind),
        "champion": champion,
        **_rows(learn, calibrate, test),
        "chosen": {family: str(recipe) for family, recipe in choice.recipes.items()},
        "test": {"model": points[champion], "recency_alone": points[RECENCY]},
        "calibration": evaluate.calibration(test.labels, risks[champion])._asdict(),
        "compared": {
            family: {name: [points[family][name], *each[name]] for name in each} for family, each in intervals.items()
        },
    }
    best = fitted[champion]
    about = msgspec.structs.replace(
        _about(best, chosen, facts, metrics, _rfm_cut_points(built, facts.last_day)),
        threshold=_threshold(best, learn if calibrate is None else calibrate),
        reference=drift.references(test.matrix, risks[champion]),
        value=value,
    )
    model = RiskModel(best.pipeline, about, best.learned.trees)
    drifts = _drifts_since(model, built)
    return Trained(model, champion, choice, learn, test, risks, points, intervals, drifts, facts.last_day)


def _drifts_since(model: RiskModel, built: Dataset) -> list[drift.Drift]:
    """Of those who belong to the population at the end of the history."""
    recency_days = built.buyers[:, MODEL_FEATURES.index("recency_days")]
    now = built.buyers[recency_days < LOOK_BACK_DAYS]
    return drift.all_drifts(model.about.reference, now, score_matrix(model, now).risk)


def _intervals(test: Samples, risks: Mapping[str, Floats]) -> dict[str, dict[str, tuple[float, float]]]:
    draws = evaluate.bootstrap(test.labels, risks, seed=SEED)
    return {
        family: {name: evaluate.interval(values) for name, values in each.items()} for family, each in draws.items()
    }


def _rows(learn: Samples, calibrate: Samples | None, test: Samples) -> dict[str, Any]:
    return {
        "rows": {"train": len(learn.labels), "calibrate": len(calibrate.labels) if calibrate else 0},
        "churn_rate": {
            "train": float(learn.labels.mean()),
            "calibrate": float(calibrate.labels.mean()) if calibrate else None,
            "test": float(test.labels.mean()),
        },
    }


def _threshold(best: Fitted, samples: Samples) -> float:
    """Where offers begin to pay, on customers whose outcome was known before the test."""
    return evaluate.cheapest_threshold(samples.labels, best.risk(samples.matrix), MISSED_COST, NEEDLESS_COST)


def _about(best: Fitted, chosen: Split, facts: Facts, metrics: dict[str, Any], rfm: CutPoints) -> About:
    return About(
        feature_names=MODEL_FEATURES,
        fold_version=STATE_VERSION,
        horizon_days=HORIZON_DAYS,
        slope=best.slope,
        intercept=best.intercept,
        cut_offs={
            "train": list(chosen.train),
            "calibrate": [chosen.calibrate] if chosen.calibrate else [],
            "test": [chosen.test],
        },
        data_sha256=facts.data_sha256,
        libraries={"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        metrics=metrics,
        rfm=rfm,
        population=facts.population,
        algorithm=str(best.learned.recipe),
        engagement=_score_cuts(ENGAGEMENT_CUTS, VALUE_CUTS),
    )


def _score_cuts(*cuts: Mapping[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(float(value) for value in values) for each in cuts for name, values in each.items()}


def _shortfall(population: Population) -> str:
    least_days = max(population.min_days, split.SHORTEST.days)
    return (
        f"{population.days:g} days of history with {population.customers_with_order:,} customers who ordered; "
        f"training needs {least_days} days and {population.min_customers:,} customers"
    )


def parts(samples: Samples, chosen: Split) -> tuple[Samples, Samples | None, Samples]:
    """To learn from, to calibrate on (None: across folds of the former), to test on."""
    learn, test = samples.at(*chosen.train), samples.at(chosen.test)
    if chosen.kind is Kind.CUSTOMERS:
        return learn.where(~_is_for_test(learn.customer_ids)), None, test.where(_is_for_test(test.customer_ids))
    return learn, samples.at(chosen.calibrate) if chosen.calibrate else None, test


def _before_test(samples: Samples, chosen: Split, learn: Samples) -> Samples:
    """What choices may look at: everything whose outcome was known when the test began."""
    return learn if chosen.calibrate is None else samples.at(*chosen.train, chosen.calibrate)


def _is_for_test(customer_ids: NDArray[np.str_]) -> NDArray[np.bool_]:
    return np.array([hash_id(str(name)) % 100 < TEST_SHARE_OF_CUSTOMERS for name in customer_ids], dtype=np.bool_)


def _rfm_cut_points(built: Dataset, version_of_cuts: str) -> CutPoints:
    recency, frequency, monetary = _of_buyers(built, ("recency_days", "frequency", "monetary")).T.tolist()
    return cut_points(recency, frequency, monetary, version_of_cuts)


def _of_buyers(built: Dataset, names: Sequence[str]) -> Floats:
    return built.buyers[:, [MODEL_FEATURES.index(name) for name in names]]
