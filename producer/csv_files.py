"""CSV files: a row that cannot be split into fields comes out with its fault and takes no other row with it."""

import csv
from collections import deque
from collections.abc import Collection, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Final, NamedTuple

from churn.events import InvalidEvent, Reason
from producer.errors import UnreadableFile
from producer.rows import OpenedBytes, Row, faults_named

MAX_LINES_PER_ROW: Final = 100


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
    """Rows of a CSV file, packed by gzip or not. Line 1 is the header, if there is one; empty lines are no rows."""

    is_json = False

    def __init__(self, path: Path, encoding: str, names: tuple[str, ...] = ()) -> None:
        """`names` of the columns stand for the header that the file lacks."""
        self.name = path.name
        self.columns = names
        self._has_header = not names
        self._path = path
        self._encoding = encoding
        self._bytes: OpenedBytes | None = None
        if names:
            return
        with faults_named(path):
            header = next(self._records(), None)
        if header is None or header.fault:
            raise UnreadableFile(f"{path}: {header.fault if header else 'the file is empty'}: it needs a header")
        self.columns = tuple(name.strip() for name in header.fields)

    def with_names(self, names: tuple[str, ...]) -> "CsvRows":
        """The same file read as one without a header."""
        return CsvRows(self._path, self._encoding, names)

    @property
    def fraction_read(self) -> float:
        return self._bytes.fraction_read if self._bytes else 0.0

    def rows(self, only: Collection[str] | None = None) -> Iterator[Row]:
        with faults_named(self._path):
            records = self._records()
            if self._has_header:
                next(records, None)
            for line, text, fields, fault in records:
                values = {} if fault else dict(zip(self.columns, fields, strict=True))
                yield Row(self.name, line, values, text, fault)

    def _records(self) -> Iterator[_Record]:
        """All records, the header among them."""
        self._bytes = OpenedBytes(self._path)
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
            problem = f"{len(fields)} fields where there are {len(self.columns)} columns"
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
