"""Batch inference: a file of features in, a file of risks with their drivers out, by the saved model."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from churn.model import TEXT_FEATURES, Floats, RiskModel, band, number, score_matrix

CUSTOMER: Final = "customer_id"
TOP_DRIVERS: Final = 3
PART: Final = "part_of_"


class UnusableFile(ValueError):
    """The file is not a table of features; the message says why."""


def score_file(model: RiskModel, source: Path, target: Path) -> int:
    """Score every customer of `source` (Parquet or CSV as of `training features`) into `target`; how many there are.

    Out come customer_id, risk, risk_band, base, the heaviest drivers in words, and one column `part_of_<feature>` per
    feature: base + parts = log-odds of risk. A customer without an order has no risk. Raises `UnusableFile`.
    """
    table = _read(source)
    matrix = matrix_of(table, model.about.feature_names, source)
    scored = scored_table(model, table[CUSTOMER].astype(str).tolist(), matrix)
    if target.suffix == ".csv":
        scored.to_csv(target, index=False)
    else:
        scored.to_parquet(target, index=False)
    return len(scored)


def _read(source: Path) -> pd.DataFrame:
    try:
        # Texts stay as they are written: the country NA is Namibia, not a missing value.
        if source.suffix == ".csv":
            return pd.read_csv(source, dtype={CUSTOMER: str}, keep_default_na=False, na_values=[""])
        return pd.read_parquet(source)
    except (OSError, ValueError) as error:
        raise UnusableFile(f"{source}: {error}") from error


def matrix_of(table: pd.DataFrame, feature_names: tuple[str, ...], source: Path) -> Floats:
    """(rows, features) of a table with a column per feature. Raises `UnusableFile` with the columns it lacks."""
    missing = [name for name in (CUSTOMER, *feature_names) if name not in table.columns]
    if missing:
        raise UnusableFile(
            f"{source}: columns are missing: {', '.join(missing)}; make it by `python -m training features`"
        )
    columns = [_column(table[name], name, source) for name in feature_names]
    return np.column_stack(columns).astype(np.float64)


def _column(values: Any, name: str, source: Path) -> Floats:
    if name in TEXT_FEATURES:
        return np.array([float("nan") if pd.isna(value) else number(str(value)) for value in values], dtype=np.float64)
    try:
        return np.asarray(pd.to_numeric(values), dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise UnusableFile(f"{source}: column {name}: {error}") from error


def scored_table(model: RiskModel, customer_ids: list[str], matrix: Floats) -> pd.DataFrame:
    """One row per customer, in order."""
    names = model.about.feature_names
    scores = score_matrix(model, matrix)
    is_buyer = ~np.isnan(matrix[:, names.index("recency_days")])
    risks = [risk if buys else None for risk, buys in zip(scores.risk.tolist(), is_buyer.tolist(), strict=True)]
    said: dict[str, Any] = {
        CUSTOMER: customer_ids,
        "risk": risks,
        "risk_band": [None if risk is None else band(risk) for risk in risks],
        "base": scores.base,
        "drivers": [
            "; ".join(_heaviest(names, parts)) if buys else None
            for parts, buys in zip(scores.contributions, is_buyer, strict=True)
        ],
        "model_version": model.model_version,
    }
    parts = {f"{PART}{name}": part for name, part in zip(names, scores.contributions.T, strict=True)}
    return pd.DataFrame(said | parts)


def _heaviest(names: tuple[str, ...], parts: Floats) -> list[str]:
    order = np.argsort(-np.abs(parts), kind="stable")[:TOP_DRIVERS]
    return [f"{names[place]} {parts[place]:+.3f}" for place in order if parts[place]]
