"""Rows of a file, one at a time with their place in it, whatever the kind of file; memory does not grow with the file.

A row that cannot be split into fields comes out with its fault instead of ending the reading.
"""

import csv
import gzip
import zlib
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Protocol, cast

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn.events import InvalidEvent, Reason
from producer.errors import UnreadableFile

MAX_LINES_PER_ROW: Final = 100
ROWS_PER_BATCH: Final = 10_000
_CSV: Final = (".csv", ".csv.gz")
_PARQUET: Final = (".parquet", ".pq")
_JSON_LINES: Final = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_FIRST_S: Final = -62_100_000_000  # in the year 2
_LAST_S: Final = 253_370_000_000  # in the year 9998


class Row(NamedTuple):
    """One row and its place. `text` is the row as it stands in the file, where that is text; `fault` why it is none."""

    file: str
    line: int
    values: Mapping[str, Any]
    text: bytes | None = None
    fault: InvalidEvent | None = None

    def raw(self) -> bytes:
        """The row as bytes to keep: its text, or its values as JSON where the file is binary."""
        return msgspec.json.encode(self.values, enc_hook=str) if self.text is None else self.text


class RowFile(Protocol):
    """A file that gives rows. `columns` is None where a row is a text of its own."""

    name: str

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The names in the header."""

    @property
    def fraction_read(self) -> float:
        """How much of the file was read, 0 to 1."""

    def rows(self, only: Collection[str] | None = None) -> Iterator[Row]:
        """All rows from the first one on; `only` these columns where that is cheaper."""


def open_rows(path: Path, encoding: str = "utf-8") -> RowFile:
    """The rows of a CSV, Parquet or JSON Lines file, or of a directory of Parquet; the ending tells which.

    Raises `UnreadableFile`, now or while reading.
    """
    if path.is_dir():
        return ParquetRows(path, _parts(path))
    if not path.is_file():
        raise UnreadableFile(f"{path}: no such file")
    if path.name.lower().endswith(_CSV):
        return CsvRows(path, encoding)
    if path.name.lower().endswith(_PARQUET):
        return ParquetRows(path.parent, [path])
    if path.name.lower().endswith(_JSON_LINES):
        return JsonRows(path)
    raise UnreadableFile(f"{path}: its ending is none of {', '.join(_CSV + _PARQUET + _JSON_LINES)}")


def _parts(directory: Path) -> list[Path]:
    """The Parquet files of a history, by date and then in the order in which they were written.

    Folders that begin with an underscore hold other things than events: a simulated history's truth, say.
    """
    parts = [path for path in directory.rglob("*") if path.name.endswith(_PARQUET)]
    parts = [path for path in parts if not any(name.startswith("_") for name in path.relative_to(directory).parts)]
    if not parts:
        raise UnreadableFile(f"{directory}: no Parquet file in it")
    return sorted(parts, key=lambda path: (path.parent, len(path.name), path.name))


@contextmanager
def _faults_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error, ValueError, OverflowError, pa.ArrowException) as error:
        raise UnreadableFile(f"{path}: {type(error).__name__}: {error}") from error


class _Bytes:
    """A file opened for reading, unpacked where it is packed, that knows how much of it was read."""

    def __init__(self, path: Path) -> None:
        self._size = path.stat().st_size or 1
        self._packed: IO[bytes] = path.open("rb")
        is_packed = path.name.lower().endswith(".gz")
        self.stream: IO[bytes] = cast(IO[bytes], gzip.GzipFile(fileobj=self._packed)) if is_packed else self._packed

    @property
    def fraction_read(self) -> float:
        return 1.0 if self._packed.closed else min(1.0, self._packed.tell() / self._size)

    def close(self) -> None:
        self.stream.close()
        self._packed.close()


class _RowSwallowsLines(Exception):
    """A quote was opened and not closed within `MAX_LINES_PER_ROW` lines."""


class _Lines:
    """The lines of a text, which can be given back when a row has swallowed more of them than it should."""

    def __init__(self, stream: TextIOWrapper) -> None:
        self._stream = stream
        self._given_back: deque[str] = deque()
        self.taken: list[str] = []

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if len(self.taken) >= MAX_LINES_PER_ROW:
            raise _RowSwallowsLines
        line = self._given_back.popleft() if self._given_back else next(self._stream)
        self.taken.append(line)
        return line

    def give_back_all_but_first(self) -> None:
        self._given_back.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


class _Record(NamedTuple):
    """A record of a CSV file and the line on which it begins."""

    line: int
    text: bytes
    fields: list[str]
    fault: InvalidEvent | None


class CsvRows:
    """Rows of a CSV file with a header, packed by gzip or not. Line 1 is the header; empty lines are no rows."""

    def __init__(self, path: Path, encoding: str) -> None:
        self.name = path.name
        self.columns: tuple[str, ...] = ()
        self._path = path
        self._encoding = encoding
        self._bytes: _Bytes | None = None
        with _faults_named(path):
            header = next(self._records(), None)
        if header is None or header.fault:
            raise UnreadableFile(f"{path}: {header.fault if header else 'the file is empty'}: it needs a header")
        self.columns = tuple(name.strip() for name in header.fields)

    @property
    def fraction_read(self) -> float:
        return self._bytes.fraction_read if self._bytes else 0.0

    def rows(self, only: Collection[str] | None = None) -> Iterator[Row]:
        with _faults_named(self._path):
            records = self._records()
            next(records, None)
            for line, text, fields, fault in records:
                values = {} if fault else dict(zip(self.columns, fields, strict=True))
                yield Row(self.name, line, values, text, fault)

    def _records(self) -> Iterator[_Record]:
        """All records, the header among them."""
        self._bytes = _Bytes(self._path)
        marked = "utf-8-sig" if self._encoding == "utf-8" else self._encoding  # Excel begins a file with a mark
        stream = TextIOWrapper(self._bytes.stream, marked, errors="surrogateescape", newline="")
        lines = _Lines(stream)
        reader = csv.reader(lines, strict=True)
        line = 1
        try:
            while True:
                lines.taken.clear()
                fields, problem = self._split(reader, lines)
                if not lines.taken:
                    return
                text = "".join(lines.taken).rstrip("\r\n")
                problem = problem or self._problem_of_text(text)
                if fields or problem:
                    fault = InvalidEvent(Reason.INVALID_ROW, problem) if problem else None
                    yield _Record(line, text.encode(self._encoding, "surrogateescape"), fields, fault)
                line += len(lines.taken)
        finally:
            self._bytes.close()

    def _split(self, reader: Iterator[list[str]], lines: _Lines) -> tuple[list[str], str | None]:
        """The next record's fields, or what is wrong with it: then it is one line, and those after it are read anew."""
        try:
            fields = next(reader, [])
        except _RowSwallowsLines:
            problem = f"a quote is still open after {MAX_LINES_PER_ROW} lines"
        except csv.Error as error:
            problem = str(error)
        else:
            if not fields or not self.columns or len(fields) == len(self.columns):
                return fields, None
            problem = f"{len(fields)} fields where the header has {len(self.columns)}"
        lines.give_back_all_but_first()
        return [], problem

    def _problem_of_text(self, text: str) -> str | None:
        if text.isascii():
            return None
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return f"not {self._encoding} from character {error.start + 1} on; see --encoding"
        return None


class ParquetRows:
    """Rows of Parquet files below `root`, counted from 1 in each of them."""

    def __init__(self, root: Path, paths: list[Path]) -> None:
        self.name = root.name if len(paths) > 1 else paths[0].name
        self._root = root
        self._paths = paths
        self._rows_read = 0
        with _faults_named(paths[0]):
            self.columns: tuple[str, ...] = tuple(pq.read_schema(paths[0]).names)
        self._rows_total = 0
        for path in paths:
            with _faults_named(path):
                self._rows_total += pq.read_metadata(path).num_rows

    @property
    def fraction_read(self) -> float:
        return self._rows_read / self._rows_total if self._rows_total else 1.0

    def rows(self, only: Collection[str] | None = None) -> Iterator[Row]:
        self._rows_read = 0
        for path in self._paths:
            file = path.relative_to(self._root).as_posix()
            for line, values in enumerate(self._values(path, only), start=1):
                self._rows_read += 1
                yield Row(file, line, values)

    def _values(self, path: Path, only: Collection[str] | None) -> Iterator[dict[str, Any]]:
        with _faults_named(path), pq.ParquetFile(path) as file:
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

    columns: tuple[str, ...] | None = None

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._bytes: _Bytes | None = None

    @property
    def fraction_read(self) -> float:
        return self._bytes.fraction_read if self._bytes else 0.0

    def rows(self, only: Collection[str] | None = None) -> Iterator[Row]:
        with _faults_named(self._path):
            self._bytes = _Bytes(self._path)
            try:
                for line, text in enumerate(self._bytes.stream, start=1):
                    text = text.strip()
                    if text:
                        yield Row(self.name, line, {}, text)
            finally:
                self._bytes.close()
