"""Rows of a file, one at a time with their place in it, whatever its kind; memory does not grow with the file."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn.events import InvalidEvent, Reason
from producer.csv_files import CsvRows
from producer.errors import UnreadableFile
from producer.rows import OpenedBytes, Row, RowFile, faults_named

ROWS_PER_BATCH: Final = 10_000
READ_BYTES: Final = 2**18  # of a column of Parquet
OBJECTS_LOOKED_AT: Final = 100  # lines of JSON whose keys stand for a header
_CSV: Final = (".csv", ".csv.gz")
_PARQUET: Final = (".parquet", ".pq")
_JSON_LINES: Final = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
_SPACED: Final = (".txt", ".txt.gz")
_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_FIRST_S: Final = -62_100_000_000  # in the year 2
_LAST_S: Final = 253_370_000_000  # in the year 9998


def open_rows(path: Path, encoding: str = "utf-8") -> RowFile:
    """The rows of a CSV, Parquet, JSON Lines or spaced text file, or of a directory of Parquet; the ending tells which.

    Raises `UnreadableFile`, now or while reading.
    """
    if path.is_dir():
        return ParquetRows(path, _parts(path))
    if not path.is_file():
        raise UnreadableFile(f"{path}: no such file")
    if path.name.lower().endswith(_CSV):
        return CsvRows(path, encoding)
    if path.name.lower().endswith(_SPACED):
        return SpacedRows(path)
    if path.name.lower().endswith(_PARQUET):
        return ParquetRows(path.parent, [path])
    if path.name.lower().endswith(_JSON_LINES):
        return JsonRows(path)
    raise UnreadableFile(f"{path}: its ending is none of {', '.join(_CSV + _PARQUET + _JSON_LINES + _SPACED)}")


def _parts(directory: Path) -> list[Path]:
    """The Parquet files of a history, by date and then in the order in which they were written.

    Folders that begin with an underscore hold other things than events: a simulated history's truth, say.
    """
    parts = [path for path in directory.rglob("*") if path.name.endswith(_PARQUET)]
    parts = [path for path in parts if not any(name.startswith("_") for name in path.relative_to(directory).parts)]
    if not parts:
        raise UnreadableFile(f"{directory}: no Parquet file in it")
    return sorted(parts, key=lambda path: (path.parent, len(path.name), path.name))


class ParquetRows:
    """Rows of Parquet files below `root`, counted from 1 in each of them."""

    is_json = False

    def __init__(self, root: Path, paths: list[Path]) -> None:
        self.name = root.name if len(paths) > 1 else paths[0].name
        self.root = root
        self.paths = paths
        self._rows_read = 0
        with faults_named(paths[0]):
            self.columns: tuple[str, ...] = tuple(pq.read_schema(paths[0]).names)
        self._rows_total = 0
        for path in paths:
            with faults_named(path):
                self._rows_total += pq.read_metadata(path).num_rows

    @property
    def fraction_read(self) -> float:
        return self._rows_read / self._rows_total if self._rows_total else 1.0

    def rows(self, only: Collection[str] | None = None) -> Iterator[Row]:
        self._rows_read = 0
        for path in self.paths:
            file = path.relative_to(self.root).as_posix()
            for line, values in enumerate(self._values(path, only), start=1):
                self._rows_read += 1
                yield Row(file, line, values)

    def _values(self, path: Path, only: Collection[str] | None) -> Iterator[dict[str, Any]]:
        # Read ahead, all of the file would lie in memory.
        with faults_named(path), pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES) as file:
            for batch in file.iter_batches(ROWS_PER_BATCH, columns=None if only is None else list(only)):
                columns = [_as_python(column) for column in batch.columns]
                for values in zip(*columns, strict=True):
                    yield dict(zip(batch.schema.names, values, strict=True))


def _as_python(column: pa.Array) -> list[Any]:
    """The values of a column; a time that Python's datetime does not reach is absent, nanoseconds are cut off."""
    if not pa.types.is_timestamp(column.type):
        return cast(list[Any], column.to_pylist())
    per_second = _PER_SECOND[column.type.unit]
    ticks = column.cast(pa.int64())
    is_known = pc.and_(
        pc.greater(ticks, pa.scalar(max(_FIRST_S * per_second, -(2**63)), pa.int64())),
        pc.less(ticks, pa.scalar(min(_LAST_S * per_second, 2**63 - 1), pa.int64())),
    )
    known = pc.if_else(is_known, column, pa.scalar(None, column.type))
    return cast(list[Any], known.cast(pa.timestamp("us", tz=column.type.tz), safe=False).to_pylist())


class JsonRows:
    """Lines of a JSON Lines file, packed by gzip or not, left as they are; empty lines are no rows."""

    is_json = True

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._bytes: OpenedBytes | None = None
        keys: dict[str, None] = {}
        for row in islice(self.rows(), OBJECTS_LOOKED_AT):
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                keys |= dict.fromkeys(msgspec.json.decode(row.text or b"", type=dict[str, Any]))
        self.columns = tuple(keys)

    @property
    def fraction_read(self) -> float:
        return self._bytes.fraction_read if self._bytes else 0.0

    def rows(self, only: Collection[str] | None = None) -> Iterator[Row]:
        with faults_named(self._path):
            self._bytes = OpenedBytes(self._path)
            try:
                for line, text in enumerate(self._bytes.stream, start=1):
                    text = text.strip()
                    if text:
                        yield Row(self.name, line, {}, text)
            finally:
                self._bytes.close()


class SpacedRows:
    """Lines of cells with spaces between them, packed by gzip or not, without a header; empty lines are no rows."""

    is_json = False

    def __init__(self, path: Path, names: tuple[str, ...] = ()) -> None:
        """`names` of the columns; without them the cells of the first row stand for names."""
        self.name = path.name
        self.columns = names
        self._path = path
        self._bytes: OpenedBytes | None = None
        if not names:
            first = next(self._lines(), None)
            if first is None:
                raise UnreadableFile(f"{path}: the file is empty")
            self.columns = tuple(first[1].decode("utf-8", "replace").split())

    def with_names(self, names: tuple[str, ...]) -> "SpacedRows":
        """The same file with names for its columns."""
        return SpacedRows(self._path, names)

    @property
    def fraction_read(self) -> float:
        return self._bytes.fraction_read if self._bytes else 0.0

    def rows(self, only: Collection[str] | None = None) -> Iterator[Row]:
        for line, text in self._lines():
            cells = text.decode("utf-8", "replace").split()
            if len(cells) == len(self.columns):
                yield Row(self.name, line, dict(zip(self.columns, cells, strict=True)), text)
            else:
                problem = f"{len(cells)} cells where there are {len(self.columns)} columns"
                yield Row(self.name, line, {}, text, InvalidEvent(Reason.INVALID_ROW, problem))

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        with faults_named(self._path):
            self._bytes = OpenedBytes(self._path)
            try:
                for line, text in enumerate(self._bytes.stream, start=1):
                    text = text.strip()
                    if text:
                        yield line, text
            finally:
                self._bytes.close()
