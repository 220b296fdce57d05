"""Rows of a source into the sinks: each row becomes its events or one dead letter, and is counted."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from churn import dead_letters
from churn.events import InvalidEvent, Reason, check
from producer.adapters import Adapter, with_changes
from producer.errors import NoTimes
from producer.pacing import Pace
from producer.progress import ProgressLine
from producer.rows import Row
from producer.sent import Place, Run
from producer.shops import Arrival
from producer.sinks import Sink
from producer.source import Source

MustStop = Callable[[], bool]


class Counts:
    """What became of what was read so far: `rows` is always `good_rows` plus all dead letters.

    A row can be several events. `rows_held` of the rows needed no sending: every sink held all of them already.
    """

    def __init__(self) -> None:
        self.good_rows = 0
        self.events = 0
        self.rows_held = 0
        self.dead_letters: Counter[Reason] = Counter()

    @property
    def rows(self) -> int:
        return self.good_rows + self.dead_letters.total()

    def summary(self, seconds: float) -> str:
        """A small table for people."""
        lines = [("rows read", f"{self.rows:,}"), ("good rows", f"{self.good_rows:,}"), ("events", f"{self.events:,}")]
        lines += [("dead letters", f"{self.dead_letters.total():,}")]
        lines += [(f"  {reason}", f"{number:,}") for reason, number in sorted(self.dead_letters.items())]
        lines += [("rows sent before", f"{self.rows_held:,}")]
        lines += [("seconds", f"{seconds:,.1f}"), ("per second", f"{self.rows / max(seconds, 1e-9):,.0f}")]
        return "\n".join(f"{name:<20}{value:>14}" for name, value in lines)


class Replay:
    """Rows of one source into the sinks, each row as its events or as one dead letter, to every sink that lacks it.

    What depends on the clock comes from the run: the moment by which a row lies in the future, and the shift.
    """

    def __init__(
        self,
        source: Source,
        sinks: Sequence[Sink],
        counts: Counts,
        *,
        run: Run,
        pace: Pace,
        currency: str,
    ) -> None:
        self._source = source
        self._sinks = sinks
        self._pace = pace
        self._run = run
        self._shift = timedelta(days=run.shift_days)
        self._currency = currency
        self.counts = counts

    def run(self, limit: int | None, progress: ProgressLine, must_stop: MustStop) -> None:
        """Send the first `limit` rows (None: all) and flush; ends early, also with a flush, when `must_stop`."""
        for number, (row, adapter) in enumerate(islice(self._source.rows(), limit), start=1):
            if must_stop():
                break
            self._send(number, row, adapter)
            progress.show(number, number / limit if limit else self._source.fraction_read)
        for sink in self._sinks:
            sink.flush()

    def _send(self, number: int, row: Row, adapter: Adapter) -> None:
        try:
            arrivals = [_shifted(arrival, self._shift) for arrival in adapter.read(row)]
            for arrival in arrivals:
                check(arrival.event, now=self._run.began_at, currency=self._currency)
        except InvalidEvent as error:
            self._send_dead_letter(number, row, error)
            return
        is_sent = False
        for step, (event, ingested_at) in enumerate(arrivals):
            place = Place(number, step)
            if lacking := [sink for sink in self._sinks if not sink.holds(event, place)]:
                is_sent = True
                self._pace.wait(event.occurred_at)
                for sink in lacking:
                    sink.add(event, ingested_at or event.occurred_at, place)
        self.counts.good_rows += 1
        self.counts.events += len(arrivals)
        self.counts.rows_held += not is_sent

    def _send_dead_letter(self, number: int, row: Row, error: InvalidEvent) -> None:
        letter = dead_letters.of_row(
            error,
            row.raw(),
            letter_id=f"{self._run.fingerprint}-{number}",
            file=row.file,
            line=row.line,
            failed_at=self._run.began_at,
        )
        place = Place(number)
        lacking = [sink for sink in self._sinks if not sink.holds(letter, place)]
        if lacking:
            self._pace.wait(None)
        for sink in lacking:
            sink.add_dead_letter(letter, place)
        self.counts.dead_letters[error.reason] += 1
        self.counts.rows_held += not lacking


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


def shift_to(now: datetime, source: Source, must_stop: MustStop) -> timedelta:
    """Whole days that bring the last event of the source as close before `now` as its time of day allows.

    Reads the source's times once; raises `NoTimes` when there is none.
    """
    last: datetime | None = None
    for file, adapter in source.parts:
        for row in file.rows(adapter.time_columns):
            if must_stop():
                break
            occurred_at = adapter.read_time(row)
            if occurred_at is not None and (last is None or occurred_at > last):
                last = occurred_at
    if last is None:
        raise NoTimes(f"{source.name}: no row of it has a time to shift by")
    return timedelta(days=(now - last) // timedelta(days=1))
