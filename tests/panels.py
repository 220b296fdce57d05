"""What the tests of panels read their rows with, and the moments of the seeded shop."""

from typing import Any

import pandas as pd
import pytest

from .seeded_shop import TODAY

# Also the full hour after the last event of the seeded shop, and so the moment of its analyses.
NOW = pd.Timestamp(TODAY).tz_localize(None)
DAY = pd.Timedelta(days=1)

Rows = list[dict[str, Any]]


def number(rows: Rows) -> Any:
    """The one number of a tile."""
    ((value,),) = (row.values() for row in rows)
    return value


def by(rows: Rows, *labels: str) -> dict[Any, dict[str, Any]]:
    """Rows by the values of these columns."""
    return {tuple(row.pop(label) for label in labels) if len(labels) > 1 else row.pop(labels[0]): row for row in rows}


def moment(epoch_ms: float) -> pd.Timestamp:
    return pd.Timestamp(epoch_ms, unit="ms")


def money(minor: float) -> Any:
    """Exact to the cent."""
    return pytest.approx(minor / 100, abs=0.001)


def since(found: pd.DataFrame, days: int) -> pd.DataFrame:
    return found[found["day"] >= NOW - days * DAY]
