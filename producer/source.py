"""What is replayed: one file, or files that belong together, as rows with the adapter that reads them."""

from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from xxhash import xxh3_64

from churn.events import InvalidEvent
from producer.adapters import FORMATS, Adapter, Table, formats_of, found_columns
from producer.csv_files import CsvRows
from producer.errors import MissingColumns, UnreadableFile
from producer.files import SpacedRows, open_rows
from producer.rows import Row, RowFile

PAIR: Final = "sessions"
_PAIR_NAMES: Final = ("customers", "sessions")
_ROWS_TRIED: Final = 10
_BLOCK_BYTES: Final = 1 << 20


class Part(NamedTuple):
    """One of the files, and how its rows are read."""

    file: RowFile
    adapter: Adapter


class Source:
    """The rows of one or more files, one file after another."""

    def __init__(self, name: str, format_name: str, paths: list[Path], parts: list[Part]) -> None:
        self.name = name
        self.format_name = format_name
        self.parts = parts
        self._paths = paths

    def rows(self) -> Iterator[tuple[Row, Adapter]]:
        """All rows from the first one on, each with its adapter."""
        for file, adapter in self.parts:
            for row in file.rows():
                yield row, adapter

    @property
    def fraction_read(self) -> float:
        """How much was read, 0 to 1, each file counting the same."""
        return sum(part.file.fraction_read for part in self.parts) / len(self.parts)

    def fingerprint(self) -> str:
        """16 characters that name the content and the format, whatever the files are called; reads every byte."""
        digest = xxh3_64(self.format_name.encode())
        for path in self._paths:
            with path.open("rb") as stream:
                while block := stream.read(_BLOCK_BYTES):
                    digest.update(block)
            digest.update(b"\x00end of file\x00")
        return digest.hexdigest()


def open_source(path: Path, format_name: str | None, encoding: str, currency: str) -> Source:
    """The source at `path`; its columns are checked. Without a format it is recognised by its columns.

    Raises `UnreadableFile` and `MissingColumns`.
    """
    if _is_pair(path, format_name):
        format_name, paths = PAIR, [_of_pair(path, name) for name in _PAIR_NAMES]
    else:
        paths = [path]
    parts = []
    for each in paths:
        file = open_rows(each, encoding)
        format_name = format_name or recognised(file)
        file = with_header(file, format_name, currency)
        parts.append(Part(file, Adapter(format_name, file, currency)))
    assert format_name is not None
    return Source(path.name, format_name, _files_below(paths), parts)


def _is_pair(path: Path, format_name: str | None) -> bool:
    return path.is_dir() and (format_name == PAIR or (format_name is None and not any(path.rglob("*.parquet"))))


def _of_pair(directory: Path, name: str) -> Path:
    found = sorted(path for path in directory.iterdir() if path.name.split(".")[0] == name)
    if len(found) != 1:
        said = ", ".join(path.name for path in found) or "none"
        raise UnreadableFile(f"{directory}: one file {name}.csv, .csv.gz, .parquet or .jsonl is needed, found {said}")
    return found[0]


def _files_below(paths: list[Path]) -> list[Path]:
    return [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()]


def recognised(file: RowFile) -> str:
    """The one format whose columns the file has; raises `MissingColumns`."""
    found = formats_of(file) or [
        name for name in FORMATS if not file.is_json and with_header(file, name, "").columns != file.columns
    ]
    if len(found) == 1:
        return found[0]
    said = f"could be {' or '.join(found)}" if found else f"has the columns of no format ({', '.join(FORMATS)})"
    raise MissingColumns(f"{file.name}: {said}: name one with --format; found: {', '.join(file.columns)}")


def with_header(file: RowFile, format_name: str, currency: str) -> RowFile:
    """The file, with the format's own names where its first line is a row and no header."""
    if not isinstance(file, CsvRows | SpacedRows):
        return file
    for table in FORMATS[format_name]:
        if found_columns(table, file.columns):
            continue
        for names in _orders(table):
            if len(names) == len(file.columns):
                named = file.with_names(names)
                if _has_event(named, Adapter(format_name, named, currency)):
                    return named
    return file


def _orders(table: Table) -> Collection[tuple[str, ...]]:
    """All columns as they are published, and those alone that must be there."""
    return dict.fromkeys((table.names, tuple(column.name for column in table.columns if column.is_required)))


def _has_event(file: RowFile, adapter: Adapter) -> bool:
    for row in islice(file.rows(), _ROWS_TRIED):
        try:
            adapter.read(row)
        except InvalidEvent:
            continue
        return True
    return False
