"""Histories through the fold, customer by customer: in parallel processes on this machine, or on Spark.

Both engines call the same function with tables of whole customers, so that they cannot differ in a digit.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import datetime
from functools import partial
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn import history
from churn.events import Event
from churn.features import FEATURES, Feature, FeatureRow, feature_row, replay, update
from churn.forgotten import NOBODY, Forgotten, without
from churn.state import EMPTY, State

# Below this, starting the processes takes longer than the fold.
PARALLEL_FROM_EVENTS: Final = 150_000
SHARDS_PER_PROCESS: Final = 8
SPARK_SHARD_EVENTS: Final = 100_000

Work = Callable[[Any], Any]
# When an event was known, when it happened, its id, and it.
Known = tuple[datetime, datetime, str, Event]

_ARROW_TYPES: Final[dict[str, Any]] = {
    "count": pa.int64(),
    "flag": pa.int64(),
    "text": pa.string(),
    "time": pa.timestamp("us", tz="UTC"),
}


class SparkMissing(ImportError):
    """PySpark is not installed."""


def arrow_type(feature: Feature) -> Any:
    """The Arrow type of a feature's column."""
    return _ARROW_TYPES.get(feature.unit, pa.float64())


FEATURE_SCHEMA: Final = pa.schema([("customer_id", pa.string()), *((each.name, arrow_type(each)) for each in FEATURES)])


def rows_at(table: Any, as_of: datetime) -> Any:
    """One row of features per customer of `table`, as known at `as_of`: a table with `FEATURE_SCHEMA`.

    `table` has the columns of `history.SCHEMA` and holds its customers whole. Known is what had happened and arrived.
    """
    rows = []
    for customer_id, events in history.by_customer(table):
        known = [event for event, ingested_at in events if max(event.occurred_at, ingested_at) <= as_of]
        if known:
            rows.append((customer_id, feature_row(replay(known), as_of)))
    return table_of(rows)


class Folded(NamedTuple):
    """The state after the first `folded` known events."""

    state: State
    folded: int


def by_arrival(events: Sequence[tuple[Event, datetime]]) -> list[Known]:
    """In the order in which the shop came to know: no event is known before it happened, nor before it arrived."""
    known = [(max(event.occurred_at, came), event.occurred_at, event.event_id, event) for event, came in events]
    return sorted(known, key=itemgetter(0, 1, 2))


def fold_up_to(known: Sequence[Known], moments: Sequence[datetime]) -> dict[datetime, Folded]:
    """The state at each of the sorted moments, folding every event once."""
    folded: dict[datetime, Folded] = {}
    state, count = EMPTY, 0
    for moment in moments:
        while count < len(known) and known[count][0] <= moment:
            state = update(state, known[count][3])
            count += 1
        folded[moment] = Folded(state, count)
    return folded


def table_of(rows: Sequence[tuple[str, FeatureRow]]) -> Any:
    """Feature rows of customers as a table with `FEATURE_SCHEMA`, in their order."""
    columns = [[customer_id for customer_id, _ in rows]]
    columns += [[row[feature.name] for _, row in rows] for feature in FEATURES]  # type: ignore[misc]
    arrays = [_array(column, field.type) for column, field in zip(columns, FEATURE_SCHEMA, strict=True)]
    return pa.table(arrays, schema=FEATURE_SCHEMA)


def _array(values: list[Any], kind: Any) -> Any:
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.timestamp("ms", tz="UTC")).cast(kind)
    return pa.array(values, kind)


def feature_table(
    directory: Path,
    as_of: datetime,
    *,
    engine: str = "local",
    processes: int = 1,
    on_done: Callable[[int], object] = lambda _: None,
    forgotten: Forgotten = NOBODY,
) -> Any:
    """The features of everybody in a history as known at `as_of`, sorted by customer; `engine` is local or spark.

    `on_done` is told of numbers of events as they are folded (local engine). Raises `history.HistoryMissing`,
    `SparkMissing`.
    """
    work = partial(rows_at, as_of=as_of)
    if engine == "spark":
        return on_spark(directory, work, FEATURE_SCHEMA, forgotten).sort_by("customer_id")
    table = history.read(directory, forgotten=forgotten)
    return pa.concat_tables(in_processes(table, work, processes, on_done)).sort_by("customer_id")


def in_processes(table: Any, work: Callable[[Any], Any], processes: int, on_done: Callable[[int], object]) -> list[Any]:
    """`work` on every shard of a table sorted by customer, in the order of the shards; `work` must be importable."""
    shards = _shards(table, processes * SHARDS_PER_PROCESS)
    if processes == 1 or table.num_rows < PARALLEL_FROM_EVENTS:
        return [_done(work(shard), shard, on_done) for shard in shards]
    # Spawned, not forked: Arrow's threads do not survive a fork.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(_on_bytes, work, as_bytes(shard)): place for place, shard in enumerate(shards)}
        results = {
            running[each]: _done(each.result(), shards[running[each]], on_done) for each in as_completed(running)
        }
    return [results[place] for place in range(len(shards))]


def _done(result: Any, shard: Any, on_done: Callable[[int], object]) -> Any:
    on_done(shard.num_rows)
    return result


def _on_bytes(work: Work, packed: bytes) -> Any:
    return work(pa.ipc.open_stream(packed).read_all())


def as_bytes(table: Any) -> bytes:
    """The table's own rows as bytes; pickling a slice would take the whole table along."""
    written = pa.BufferOutputStream()
    with pa.ipc.new_stream(written, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    packed: bytes = written.getvalue().to_pybytes()
    return packed


def _shards(table: Any, count: int) -> list[Any]:
    """The table in about `count` pieces; no customer lies in two."""
    ids = table["customer_id"].combine_chunks()
    if isinstance(ids, pa.ChunkedArray):
        ids = pa.concat_arrays(ids.chunks)
    starts = np.flatnonzero(pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)) + 1
    wanted = np.linspace(0, table.num_rows, count + 1)[1:-1]
    after = np.searchsorted(starts, wanted)
    edges = [0, *np.unique(starts[after[after < len(starts)]]).tolist(), table.num_rows]
    return [table.slice(begin, end - begin) for begin, end in pairwise(edges)]


def on_spark(directory: Path, work: Work, schema: Any, forgotten: Forgotten = NOBODY) -> Any:
    """`work` on every customer of a history who is not forgotten, on Spark; one table with `schema`, in no order.

    Uses the session that is there (a cluster's, say), else one on this machine. Raises `SparkMissing`.
    """
    try:
        from pyspark.sql import SparkSession, functions  # an optional extra, and slow to import
        from pyspark.sql.pandas.types import from_arrow_schema
    except ImportError as error:
        raise SparkMissing("PySpark is not installed: pip install 'ebb[spark]'") from error
    if not any(directory.glob("date=*/*.parquet")):
        raise history.HistoryMissing(f"no history in {directory}")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = (
        SparkSession.builder.appName("ebb")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    events = spark.read.parquet(str(directory)).select(*history.SCHEMA.names)

    def of_shard(table: Any) -> Any:
        return work(without(table.sort_by(history.ORDER), forgotten))

    # A table for each customer would take longer to hand over than to fold.
    shards = max(spark.sparkContext.defaultParallelism * SHARDS_PER_PROCESS, events.count() // SPARK_SHARD_EVENTS)
    shard = functions.abs(functions.hash("customer_id") % shards)
    folded = events.groupBy(shard).applyInArrow(of_shard, from_arrow_schema(schema))
    return folded.toArrow().cast(schema)
