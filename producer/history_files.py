"""A simulated history on disk: events by date where everybody reads them, other tables and the truth beside them."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from churn import truth
from churn.history import HistoryExists
from producer import hidden, tables
from producer.season import DAY_MS
from producer.simulator import History, Shop

FILE_FORMATS: Final = ("parquet", "csv")
# Readers of Parquet leave out what begins with an underscore, so that these are no events to them.
SESSIONS, ORDERS, CUSTOMERS, ACTIONS = "_sessions", "_orders", "_customers", "_actions"


def require_empty(directory: Path) -> None:
    """Raises `HistoryExists` when there is something in the directory."""
    if directory.exists() and any(directory.iterdir()):
        raise HistoryExists(f"{directory} is not empty: name another directory or remove it first")


def write(
    directory: Path, lived: History, shop: Shop, file_format: str, on_done: Callable[[int], object] = lambda _: None
) -> None:
    """Write everything; `on_done` is told of numbers of events as they are written. Raises `HistoryExists`."""
    require_empty(directory)
    directory.mkdir(parents=True, exist_ok=True)
    hidden.write(directory / truth.FOLDER, lived, shop)
    for folder, table, time in ((SESSIONS, lived.sessions, "started_at"), (ORDERS, lived.orders, "ordered_at")):
        _write_by_date(directory / folder, table, time, file_format, lambda _: None)
    for folder, table in ((CUSTOMERS, tables.customers(lived.who)), (ACTIONS, tables.actions(*shop.plan.span_ms))):
        (directory / folder).mkdir()
        _write(table, directory / folder / f"{folder[1:]}.{file_format}")
    _write_by_date(directory, lived.events, "occurred_at", file_format, on_done)


def _write_by_date(directory: Path, table: Any, time: str, file_format: str, on_done: Callable[[int], object]) -> None:
    """`date=YYYY-MM-DD/part-0.<format>`, the rows of a date in their order."""
    days = table[time].cast(pa.int64()).to_numpy() // DAY_MS
    order = np.argsort(days, kind="stable")
    table, days = table.take(pa.array(order)), days[order]
    starts = np.flatnonzero(np.diff(days, prepend=-1)).tolist()
    for first, end in pairwise([*starts, table.num_rows]):
        folder = directory / f"date={days[first].astype('datetime64[D]')}"
        folder.mkdir(parents=True)
        _write(table.slice(first, end - first), folder / f"part-0.{file_format}")
        on_done(end - first)


def _write(table: Any, path: Path) -> None:
    if path.suffix == ".csv":
        csv.write_csv(table, path)
    else:
        parquet.write_table(table, path)
