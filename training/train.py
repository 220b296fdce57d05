"""One training run: history in, a model with its metrics out. Reads no clock; the same history gives the same model."""

import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from churn.features import MODEL_FEATURES, hash_id
from churn.model import HORIZON_DAYS, About, Floats, Population, RiskModel
from churn.segments import CutPoints, cut_points
from churn.state import STATE_VERSION
from training import dataset, evaluate, split
from training.dataset import Dataset, Samples
from training.fit import Fitted, fit, require_both_outcomes
from training.split import Kind, Split

LIBRARIES: Final = ("numpy", "scikit-learn", "skops")
TEST_SHARE_OF_CUSTOMERS: Final = 40


class InsufficientData(Exception):
    """The history is too short or has too few buyers: a model from it would say nothing."""


class Least(NamedTuple):
    """The least that is worth training on."""

    customers: int
    days: int


class Trained(NamedTuple):
    """A model, and what the rule that looks at recency alone reaches on the same test."""

    model: RiskModel
    metrics: dict[str, float]
    recency_alone: dict[str, float]


def train(
    table: Any,
    least: Least,
    *,
    processes: int,
    on_folded: Callable[[int], object] = lambda _: None,
    spark_history: Path | None = None,
) -> Trained:
    """Train on a table from `churn.history.read`; `on_folded` is told of events as they are folded.

    `spark_history` is where the table was read from, to let Spark fold it. Raises `InsufficientData`, and
    `TooFewOutcomes`.
    """
    first, last = dataset.span(table)
    days = (last - first).total_seconds() / 86400
    chosen = split.choose(first, last) if days >= least.days else None
    cut_offs = chosen.cut_offs if chosen else ()
    built = dataset.build(table, cut_offs, processes=processes, on_folded=on_folded, spark_history=spark_history)
    population = Population(len(built.buyers), round(days, 3), least.customers, least.days)
    if chosen is None or not population.is_sufficient:
        raise InsufficientData(_shortfall(population))
    learn, calibrate, test = _parts(built.samples, chosen)
    require_both_outcomes("test", test)
    fitted = fit(learn, calibrate)
    measured = evaluate.metrics(test.labels, fitted.risk(test.matrix))
    recency_alone = _recency_alone(learn, calibrate, test)
    metrics = {
        "split": str(chosen.kind),
        "rows": {"train": len(learn.labels), "calibrate": len(calibrate.labels) if calibrate else 0},
        "test": {"model": measured, "recency_alone": recency_alone},
    }
    cuts = _rfm_cut_points(built, last.date().isoformat())
    about = _about(fitted, chosen, dataset.sha256_of(table), metrics, cuts, population)
    return Trained(RiskModel(fitted.pipeline, about), measured, recency_alone)


def _about(
    fitted: Fitted,
    chosen: Split,
    data_sha256: str,
    metrics: dict[str, Any],
    cuts: CutPoints,
    population: Population,
) -> About:
    return About(
        feature_names=MODEL_FEATURES,
        fold_version=STATE_VERSION,
        horizon_days=HORIZON_DAYS,
        slope=fitted.slope,
        intercept=fitted.intercept,
        cut_offs={
            "train": list(chosen.train),
            "calibrate": [chosen.calibrate] if chosen.calibrate else [],
            "test": [chosen.test],
        },
        data_sha256=data_sha256,
        libraries={"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        metrics=metrics,
        rfm=cuts,
        population=population,
    )


def _shortfall(population: Population) -> str:
    least_days = max(population.min_days, split.SHORTEST.days)
    return (
        f"{population.days:g} days of history with {population.customers_with_order:,} customers who ordered; "
        f"training needs {least_days} days and {population.min_customers:,} customers"
    )


def _parts(samples: Samples, chosen: Split) -> tuple[Samples, Samples | None, Samples]:
    """To learn from, to calibrate on (None: across folds of the former), to test on."""
    learn, test = samples.at(*chosen.train), samples.at(chosen.test)
    if chosen.kind is Kind.CUSTOMERS:
        return learn.where(~_is_for_test(learn.customer_ids)), None, test.where(_is_for_test(test.customer_ids))
    return learn, samples.at(chosen.calibrate) if chosen.calibrate else None, test


def _is_for_test(customer_ids: NDArray[np.str_]) -> NDArray[np.bool_]:
    return np.array([hash_id(str(name)) % 100 < TEST_SHARE_OF_CUSTOMERS for name in customer_ids], dtype=np.bool_)


def _recency_alone(learn: Samples, calibrate: Samples | None, test: Samples) -> dict[str, float]:
    rule: Fitted = fit(_only_recency(learn), _only_recency(calibrate) if calibrate else None)
    return evaluate.metrics(test.labels, rule.risk(_only_recency(test).matrix))


def _only_recency(samples: Samples) -> Samples:
    return samples._replace(matrix=_columns(samples.matrix, ["recency_days"]))


def _columns(matrix: Floats, names: Sequence[str]) -> Floats:
    return matrix[:, [MODEL_FEATURES.index(name) for name in names]]


def _rfm_cut_points(built: Dataset, version_of_cuts: str) -> CutPoints:
    recency, frequency, monetary = _columns(built.buyers, ["recency_days", "frequency", "monetary"]).T.tolist()
    return cut_points(recency, frequency, monetary, version_of_cuts)
