"""Events of simulated customers into the sinks, first those of the past and then those of the present."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

import numpy as np

from producer.adapters import with_changes
from producer.calibration import TOP
from producer.pacing import Pace
from producer.progress import ProgressLine
from producer.replay import Counts
from producer.simulator import Arrived, History
from producer.sinks import Sink


class Stopped(Exception):
    """The simulation was asked to stop before it was ready."""


def at_their_time(arrivals: Iterable[Arrived], pace: Pace) -> Iterator[Arrived]:
    """The events as they are, when it is their turn."""
    for arrived in arrivals:
        pace.wait(arrived.ingested_at)
        yield arrived


def as_of_now(arrivals: Iterable[Arrived], pace: Pace, now: Callable[[], datetime]) -> Iterator[Arrived]:
    """The events in their order, each arriving when it is its turn, as long after it happened as before."""
    for event, ingested_at in arrivals:
        pace.wait(None)
        moment = now()
        yield Arrived(with_changes(event, occurred_at=moment + (event.occurred_at - ingested_at)), moment)


def watched(progress: ProgressLine, expected: int, must_stop: Callable[[], bool]) -> Callable[[int], None]:
    """Shows how far the making of events is; raises `Stopped` when `must_stop`."""
    done = 0

    def on_done(events: int) -> None:
        nonlocal done
        done += events
        progress.show(done, min(1.0, done / expected))
        if must_stop():
            raise Stopped

    return on_done


def send(
    arrivals: Iterable[Arrived],
    sinks: Sequence[Sink],
    counts: Counts,
    *,
    progress: ProgressLine,
    expected: int | None,
    must_stop: Callable[[], bool],
) -> None:
    """Send the events as they are, good or faulty, and flush; ends early, also with a flush, when `must_stop`."""
    for event, ingested_at in arrivals:
        if must_stop():
            break
        for sink in sinks:
            sink.add(event, ingested_at)
        counts.events += 1
        progress.show(counts.events, min(1.0, counts.events / expected) if expected else None)
    for sink in sinks:
        sink.flush()


def summary(counts: Counts, seconds: float) -> str:
    """One line for people."""
    return f"{counts.events:,} events in {seconds:,.1f} seconds: {counts.events / max(seconds, 1e-9):,.0f} per second"


def described(lived: History) -> str:
    """A small table of what came out."""
    count, orders = len(lived.is_alive), lived.visits.customer[lived.visits.is_order]
    each = np.bincount(orders, minlength=count)
    revenue = np.zeros(count)
    buyers = int((each > 0).sum())
    names = {customer_id: place for place, customer_id in enumerate(lived.who.ids)}
    places = [names[customer_id] for customer_id in lived.orders["customer_id"].to_pylist()]
    np.add.at(revenue, places, lived.orders["net"].to_numpy())
    best = np.sort(revenue)[::-1][: max(1, round(TOP * buyers))].sum() / max(revenue.sum(), 1e-9)
    rows = [
        ("customers", f"{count:,}"),
        ("  left for good", f"{1 - lived.is_alive.mean():.1%}"),
        ("  with an order", f"{buyers / count:.1%}"),
        ("  with two or more", f"{(each > 1).sum() / max(buyers, 1):.1%} of these"),
        ("events", f"{lived.events.num_rows:,}"),
        ("sessions", f"{lived.sessions.num_rows:,}"),
        ("orders", f"{lived.orders.num_rows:,}"),
        ("revenue", f"{revenue.sum():,.2f}"),
        ("  of the top 20 %", f"{best:.1%}"),
        ("faulty events", f"{lived.record.num_rows:,}"),
    ]
    return "\n".join(f"{name:<20}{value:>20}" for name, value in rows)
