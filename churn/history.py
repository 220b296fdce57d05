"""The batch path: the same events as Parquet below `history/`, partitioned by the date on which they happened."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from churn.events import Event, EventSchema
from churn.forgotten import NOBODY, Forgotten, without

_event: Final = cast(Callable[..., Event], Event)  # the columns stand in the order of the fields
ROWS_PER_FILE_SET: Final = 200_000
_FIELDS: Final = tuple(EventSchema.model_fields)
_TYPES: Final[dict[str, Any]] = {
    "occurred_at": pa.timestamp("ms", tz="UTC"),
    "price": pa.float64(),
    "quantity": pa.int64(),
    "discount": pa.float64(),
    "rating": pa.int8(),
    "age": pa.int16(),
    "signup_date": pa.date32(),
}
SCHEMA: Final = pa.schema(
    [(name, _TYPES.get(name, pa.string())) for name in _FIELDS] + [("ingested_at", pa.timestamp("ms", tz="UTC"))]
)
# Of the rows of `read`: customers whole, their events in time.
ORDER: Final = [("customer_id", "ascending"), ("occurred_at", "ascending"), ("event_id", "ascending")]


class HistoryExists(FileExistsError):
    """The directory holds a history already; a second one in it would double every event."""


class HistoryMissing(FileNotFoundError):
    """There is no history in the directory."""


class HistoryRaw(OSError):
    """Rows of the history break a rule of the schema: nobody has looked at them yet."""


class HistoryWriter:
    """Writes events below a new directory as `date=YYYY-MM-DD/part-N-0.parquet`. Close it, or use it in a `with`."""

    def __init__(self, directory: Path) -> None:
        if directory.exists() and any(directory.iterdir()):
            raise HistoryExists(f"{directory} is not empty: name another directory or remove it first")
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._rows: list[tuple[Any, ...]] = []
        self._parts = 0

    def add(self, event: Event, ingested_at: datetime) -> None:
        """Keep one event; `ingested_at` (aware) is when the shop came to know of it."""
        self._rows.append((*(getattr(event, name) for name in _FIELDS), ingested_at))
        if len(self._rows) >= ROWS_PER_FILE_SET:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        columns = [
            pa.array(column, type=field.type)
            for column, field in zip(zip(*self._rows, strict=True), SCHEMA, strict=True)
        ]
        table = pa.table(columns, schema=SCHEMA)
        table = table.append_column("date", pc.strftime(table["occurred_at"], format="%Y-%m-%d"))
        ds.write_dataset(
            table,
            self._directory,
            format="parquet",
            partitioning=ds.partitioning(pa.schema([("date", pa.string())]), flavor="hive"),
            basename_template=f"part-{self._parts}-{{i}}.parquet",
            existing_data_behavior="overwrite_or_ignore",
            max_partitions=100_000,
            max_open_files=256,
        )
        self._parts += 1
        self._rows.clear()

    def close(self) -> None:
        """Write what is still in memory."""
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read(directory: Path, *, before: date | None = None, forgotten: Forgotten = NOBODY) -> pa.Table:
    """The events below `directory` with the columns of `SCHEMA`, sorted by customer, time and event id.

    `before` leaves out the dates from that one on, `forgotten` those customers. Raises `HistoryMissing` when there are
    no files.
    """
    if not directory.is_dir() or not any(directory.glob("date=*/*.parquet")):
        raise HistoryMissing(
            f"no history in {directory}: write one with `python -m producer simulate --output {directory}`"
        )
    dataset = ds.dataset(
        directory, format="parquet", partitioning="hive", schema=SCHEMA.append(pa.field("date", pa.string()))
    )
    chosen = None if before is None else ds.field("date") < before.isoformat()
    table = without(dataset.to_table(columns=SCHEMA.names, filter=chosen), forgotten)
    _require_events(table, directory)
    return table.sort_by(ORDER)


def _require_events(table: Any, directory: Path) -> None:
    """What the simulator breaks on purpose, and a table of somebody else's may: a type, a customer, units."""
    types = pa.array(get_args(EventSchema.model_fields["event_type"].annotation))
    is_good = pc.and_(
        pc.is_in(table["event_type"], value_set=types),
        pc.and_(pc.greater(pc.utf8_length(table["customer_id"]), 0), pc.greater_equal(table["quantity"], 1)),
    )
    bad = len(table) - pc.sum(pc.fill_null(is_good, False)).as_py() if len(table) else 0
    if bad:
        raise HistoryRaw(
            f"{directory}: {bad:,} of {len(table):,} rows are no events (unknown type, no customer or no units); let "
            "`python -m producer replay` set them aside, or clean the history with `python -m producer clean`"
        )


def by_customer(table: pa.Table) -> Iterator[tuple[str, list[tuple[Event, datetime]]]]:
    """Each customer of a table from `read` with their events and the moment each became known."""
    current: str | None = None
    events: list[tuple[Event, datetime]] = []
    for batch in table.to_batches(max_chunksize=50_000):
        for *fields, ingested_at in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            event = _event(*fields)
            if event.customer_id != current:
                if current is not None:
                    yield current, events
                current, events = event.customer_id, []
            events.append((event, ingested_at.astimezone(UTC)))
    if current is not None:
        yield current, events
