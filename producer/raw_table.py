"""A file as a table of texts in a database on disk, so that questions about all of it need little memory."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb
import pyarrow as pa
from duckdb import DuckDBPyConnection

from churn.events import InvalidEvent
from producer.adapters import Adapter
from producer.errors import UnreadableFile
from producer.files import ParquetRows
from producer.rows import Row
from producer.source import Part

MEMORY_LIMIT: Final = "512MB"
ROWS_PER_BATCH: Final = 20_000
_OWN_COLUMNS: Final = ("line", "file", "fault", "reason")
Show = Callable[[int, float | None], None]


@contextmanager
def loaded(part: Part, show: Show) -> Iterator[DuckDBPyConnection]:
    """A database with table `raw`: `line`, `file`, `fault` (null where the row could be split) and each column as text.

    Absent and empty cells are null. Times are UTC. `show` hears of the rows read and the share of the file.
    """
    if taken := [name for name in part.file.columns if name.lower() in _OWN_COLUMNS]:
        raise UnreadableFile(f"{part.file.name}: columns {', '.join(taken)} have names that are used here: rename them")
    with TemporaryDirectory(prefix="ebb-") as directory:
        connection = duckdb.connect(str(Path(directory) / "table.duckdb"))
        try:
            connection.execute(f"SET memory_limit='{MEMORY_LIMIT}'; SET TimeZone='UTC'")
            connection.execute(f"SET temp_directory='{directory}/spill'; SET preserve_insertion_order=false")
            if isinstance(part.file, ParquetRows):
                connection.execute(f"CREATE TABLE raw AS {_texts_of_parquet(part.file)}")
            else:
                batches = pa.RecordBatchReader.from_batches(_schema(part), _batches(part, show))
                connection.register("batches", batches)
                connection.execute("CREATE TABLE raw AS SELECT * FROM batches")
                connection.unregister("batches")
            yield connection
        except duckdb.Error as error:
            raise UnreadableFile(f"{part.file.name}: {error}") from error
        finally:
            connection.close()


def _texts_of_parquet(file: ParquetRows) -> str:
    """SQL for the rows of Parquet files, read by the database itself."""
    paths = ", ".join(literal(str(path)) for path in file.paths)
    text = "CASE WHEN trim({0}::VARCHAR) NOT IN ('', 'nan') THEN {0}::VARCHAR END AS {0}"
    cells = ", ".join(text.format(quoted(name)) for name in file.columns)
    return (
        f"SELECT file_row_number + 1 AS line, filename[{len(str(file.root)) + 2}:] AS file, NULL::VARCHAR AS fault, "
        f"{cells} FROM read_parquet([{paths}], file_row_number = true, filename = true, hive_partitioning = false)"
    )


def _schema(part: Part) -> pa.Schema:
    places = [("line", pa.int64()), ("file", pa.string()), ("fault", pa.string())]
    return pa.schema([*places, *((name, pa.string()) for name in part.file.columns)])


def _batches(part: Part, show: Show) -> Iterator[pa.RecordBatch]:
    schema, rows, count = _schema(part), part.file.rows(), 0
    while taken := list(islice(rows, ROWS_PER_BATCH)):
        count += len(taken)
        show(count, part.file.fraction_read)
        lines = [_texts(row, part) for row in taken]
        columns = [pa.array(column, field.type) for column, field in zip(zip(*lines, strict=True), schema, strict=True)]
        yield pa.record_batch(columns, schema=schema)


def _texts(row: Row, part: Part) -> Sequence[Any]:
    columns = part.file.columns
    try:
        values = _values(row, part.adapter)
    except InvalidEvent as error:
        return (row.line, row.file, error.detail, *([None] * len(columns)))
    return (row.line, row.file, None, *(_text(values.get(name)) for name in columns))


def _values(row: Row, adapter: Adapter) -> Any:
    if row.fault:
        raise row.fault
    return adapter.decoded(row)


def _text(value: Any) -> str | None:
    if value is None or value != value:  # only NaN differs from itself
        return None
    text = str(value)
    return None if not text or text.isspace() else text


def quoted(name: str) -> str:
    """A name of a column as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def one_row(connection: DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    """The only row of the answer."""
    answer = connection.execute(query).fetchone()
    assert answer is not None
    return tuple(answer)
