"""What every kind of file has in common: a row with its place, and bytes that may be packed."""

import gzip
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, cast

import msgspec
import pyarrow as pa

from churn.events import InvalidEvent
from producer.errors import UnreadableFile


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
    """A file that gives rows. `is_json` says that each row is a text of its own, without values."""

    name: str
    is_json: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The names in the header; the cells of the first row where names do not stand in the file."""

    @property
    def fraction_read(self) -> float:
        """How much of the file was read, 0 to 1."""

    def rows(self, only: Collection[str] | None = None) -> Iterator[Row]:
        """All rows from the first one on; `only` these columns where that is cheaper."""


@contextmanager
def faults_named(path: Path) -> Iterator[None]:
    """Whatever goes wrong while reading becomes an `UnreadableFile` that names the file."""
    try:
        yield
    except (OSError, EOFError, zlib.error, ValueError, OverflowError, pa.ArrowException) as error:
        raise UnreadableFile(f"{path}: {type(error).__name__}: {error}") from error


class OpenedBytes:
    """A file opened for reading, unpacked where it is packed, that knows how much of it was read."""

    def __init__(self, path: Path) -> None:
        self._size = path.stat().st_size or 1
        self._packed: IO[bytes] = path.open("rb")
        is_packed = path.name.lower().endswith(".gz")
        self.stream: IO[bytes] = cast(IO[bytes], gzip.GzipFile(fileobj=self._packed)) if is_packed else self._packed

    @property
    def fraction_read(self) -> float:
        """How much of the file, packed or not, was read, 0 to 1."""
        return 1.0 if self._packed.closed else min(1.0, self._packed.tell() / self._size)

    def close(self) -> None:
        """Close the file."""
        self.stream.close()
        self._packed.close()
