"""Events of simulated customers into the sinks, first those of the past and then those of the present."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from churn.events import Event
from producer.adapters import with_changes
from producer.pacing import Pace
from producer.progress import ProgressLine
from producer.replay import Counts
from producer.sinks import Sink


def at_their_time(events: Iterable[Event], pace: Pace) -> Iterator[Event]:
    """The events as they are, when it is their turn."""
    for event in events:
        pace.wait(event.occurred_at)
        yield event


def as_of_now(events: Iterable[Event], pace: Pace, now: Callable[[], datetime]) -> Iterator[Event]:
    """The events in their order, each happening at the moment when it is its turn."""
    for event in events:
        pace.wait(None)
        yield with_changes(event, occurred_at=now())


def pass_over(events: Iterable[Event], must_stop: Callable[[], bool]) -> None:
    """Let the events happen without sending them."""
    for _ in events:
        if must_stop():
            return


def send(
    events: Iterable[Event],
    sinks: Sequence[Sink],
    counts: Counts,
    *,
    progress: ProgressLine,
    expected: int | None,
    must_stop: Callable[[], bool],
) -> None:
    """Send the events, which are known to be good, and flush; ends early, also with a flush, when `must_stop`."""
    for event in events:
        if must_stop():
            break
        for sink in sinks:
            sink.add(event, event.occurred_at)
        counts.events += 1
        progress.show(counts.events, min(1.0, counts.events / expected) if expected else None)
    for sink in sinks:
        sink.flush()


def summary(counts: Counts, seconds: float) -> str:
    """One line for people."""
    return f"{counts.events:,} events in {seconds:,.1f} seconds: {counts.events / max(seconds, 1e-9):,.0f} per second"
