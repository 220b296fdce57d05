"""Rows of a file into the sinks: each row becomes one event or one dead letter, and is counted."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from churn import dead_letters
from churn.events import InvalidEvent, Reason, check
from producer.adapters import Adapter, Arrival, with_changes
from producer.errors import NoTimes
from producer.files import Row, RowFile
from producer.pacing import Pace
from producer.progress import ProgressLine
from producer.sinks import Sink

Now = Callable[[], datetime]
MustStop = Callable[[], bool]


class Counts:
    """What became of what was read so far: `rows` is always `events` plus all dead letters."""

    def __init__(self) -> None:
        self.events = 0
        self.dead_letters: Counter[Reason] = Counter()

    @property
    def rows(self) -> int:
        return self.events + self.dead_letters.total()

    def summary(self, seconds: float) -> str:
        """A small table for people."""
        lines = [("rows read", f"{self.rows:,}"), ("events", f"{self.events:,}")]
        lines += [("dead letters", f"{self.dead_letters.total():,}")]
        lines += [(f"  {reason}", f"{number:,}") for reason, number in sorted(self.dead_letters.items())]
        lines += [("seconds", f"{seconds:,.1f}"), ("per second", f"{self.rows / max(seconds, 1e-9):,.0f}")]
        return "\n".join(f"{name:<20}{value:>14}" for name, value in lines)


class Part(NamedTuple):
    """Which rows of a file are replayed: `limit` of them (None: all) after the first `skip`."""

    skip: int = 0
    limit: int | None = None

    def of(self, rows: Iterable[Row]) -> Iterable[Row]:
        return islice(rows, self.skip, None if self.limit is None else self.skip + self.limit)


class Replay:
    """Rows of one file into the sinks. Every row becomes one event or one dead letter."""

    def __init__(
        self,
        file: RowFile,
        adapter: Adapter,
        sinks: Sequence[Sink],
        counts: Counts,
        *,
        pace: Pace,
        now: Now,
        currency: str,
        shift: timedelta = timedelta(0),
    ) -> None:
        self._file = file
        self._adapter = adapter
        self._sinks = sinks
        self._pace = pace
        self._now = now
        self._currency = currency
        self._shift = shift
        self.counts = counts

    def run(self, part: Part, progress: ProgressLine, must_stop: MustStop) -> None:
        """Send the rows of `part` and flush; ends early, also with a flush, when `must_stop`."""
        for row in part.of(self._file.rows()):
            if must_stop():
                break
            self._send(row)
            rows = self.counts.rows
            progress.show(rows, rows / part.limit if part.limit else self._file.fraction_read)
        for sink in self._sinks:
            sink.flush()

    def _send(self, row: Row) -> None:
        try:
            arrival = _shifted(self._adapter.read(row), self._shift)
            check(arrival.event, now=self._now(), currency=self._currency)
        except InvalidEvent as error:
            self._send_dead_letter(row, error)
            return
        event, ingested_at = arrival
        self._pace.wait(event.occurred_at)
        for sink in self._sinks:
            sink.add(event, ingested_at or event.occurred_at)
        self.counts.events += 1

    def _send_dead_letter(self, row: Row, error: InvalidEvent) -> None:
        self._pace.wait(None)
        letter = dead_letters.of_row(error, row.raw(), file=row.file, line=row.line, failed_at=self._now())
        for sink in self._sinks:
            sink.add_dead_letter(letter)
        self.counts.dead_letters[error.reason] += 1


def _shifted(arrival: Arrival, shift: timedelta) -> Arrival:
    """The same thing at another time: everything in it that is a time moves."""
    if not shift:
        return arrival
    event, ingested_at = arrival
    try:
        changes: dict[str, Any] = {"occurred_at": event.occurred_at + shift}
        if event.signup_date is not None:
            changes["signup_date"] = event.signup_date + shift
        known_at = None if ingested_at is None else ingested_at + shift
    except OverflowError as error:
        raise InvalidEvent(Reason.INVALID_FIELD, f"occurred_at, moved by {shift.days} days: {error}") from None
    return Arrival(with_changes(event, **changes), known_at)


def shift_to(now: datetime, file: RowFile, adapter: Adapter, must_stop: MustStop) -> timedelta:
    """Whole days that bring the last event of the file as close before `now` as its time of day allows.

    Reads the file's times once; raises `NoTimes` when there is none.
    """
    last: datetime | None = None
    for row in file.rows(adapter.time_columns):
        if must_stop():
            break
        occurred_at = adapter.read_time(row)
        if occurred_at is not None and (last is None or occurred_at > last):
            last = occurred_at
    if last is None:
        raise NoTimes(f"{file.name}: no row of it has a time to shift by")
    return timedelta(days=(now - last) // timedelta(days=1))
