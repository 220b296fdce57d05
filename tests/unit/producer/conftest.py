"""A sink that keeps what it is given, and one call that replays a file into it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from churn.dead_letters import DeadLetter
from churn.events import Event
from producer.pacing import NoWait
from producer.progress import ProgressLine
from producer.replay import Counts, Replay
from producer.sent import Place, Run
from producer.source import open_source

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


@dataclass
class Kept:
    """What a sink was given."""

    events: list[Event] = field(default_factory=list)
    arrivals: list[datetime] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    is_flushed: bool = False
    held: Place | None = None  # up to here an earlier run has been

    def holds(self, item: Event | DeadLetter, place: Place) -> bool:
        return self.held is not None and place <= self.held

    def add(self, event: Event, ingested_at: datetime, place: Place | None = None) -> None:
        self.events.append(event)
        self.arrivals.append(ingested_at)

    def add_dead_letter(self, letter: DeadLetter, place: Place) -> None:
        self.letters.append(letter)

    def flush(self) -> None:
        self.is_flushed = True

    def close(self) -> None:
        pass

    @property
    def reasons(self) -> list[tuple[int | None, str]]:
        """Line and reason of each dead letter."""
        return [(letter.line, letter.reason) for letter in self.letters]


ReplayFile = Callable[..., Kept]


@pytest.fixture
def replay_file() -> ReplayFile:
    def replay(
        path: Path,
        format_name: str | None,
        limit: int | None = None,
        shift: timedelta = timedelta(0),
        encoding: str = "utf-8",
        stop_after: int | None = None,
        held: Place | None = None,
    ) -> Kept:
        kept = Kept(held=held)
        source = open_source(path, format_name, encoding, "EUR")
        run = Run("f", 1, NOW, shift.days)
        replay = Replay(source, [kept], kept.counts, run=run, pace=NoWait(), currency="EUR")
        with ProgressLine("testing", "rows", lambda: 0.0, Console(quiet=True)) as progress:
            replay.run(limit, progress, lambda: stop_after is not None and kept.counts.rows >= stop_after)
        return kept

    return replay
