"""A sink that keeps what it is given, and one call that replays a file into it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from churn.dead_letters import DeadLetter
from churn.events import Event
from producer.adapters import Adapter
from producer.files import open_rows
from producer.pacing import NoWait
from producer.progress import ProgressLine
from producer.replay import Counts, Part, Replay

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


@dataclass
class Kept:
    """What a sink was given."""

    events: list[Event] = field(default_factory=list)
    arrivals: list[datetime] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    is_flushed: bool = False

    def add(self, event: Event, ingested_at: datetime) -> None:
        self.events.append(event)
        self.arrivals.append(ingested_at)

    def add_dead_letter(self, letter: DeadLetter) -> None:
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
        format_name: str,
        part: Part = Part(),  # noqa: B008 - a constant
        shift: timedelta = timedelta(0),
        encoding: str = "utf-8",
        stop_after: int | None = None,
    ) -> Kept:
        kept = Kept()
        file = open_rows(path, encoding)
        adapter = Adapter(format_name, file, "EUR")
        run = Replay(file, adapter, [kept], kept.counts, pace=NoWait(), now=lambda: NOW, currency="EUR", shift=shift)
        with ProgressLine("testing", "rows", lambda: 0.0, Console(quiet=True)) as progress:
            run.run(part, progress, lambda: stop_after is not None and kept.counts.rows >= stop_after)
        return kept

    return replay
