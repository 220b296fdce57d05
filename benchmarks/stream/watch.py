"""Watches from outside how far contenders are (through Redis alone) and what that cost: alike for all of them.

Speed counts from the first tenth of the events on, so that joining a group does not count. CPU per event is all CPU
up to the last event, less what the same processes need to start without events: between two moments of a run it could
not be told, because what is folded is not visible before it is written.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import redis

from benchmarks.stream.processes import ContenderProcess
from benchmarks.stream.workload import Workload
from stream_processor.processor import LONGEST_UNWRITTEN_S

POLL_S = 0.02
# As long as a worker that is behind leaves its changes unwritten, because that goes by the clock; shorter than anybody
# may be away from a consumer group.
TURN_S = LONGEST_UNWRITTEN_S
STUCK_AFTER_S = 90.0
SETTLE_S = 10.0
WARM_UP = 0.1
QUIET_WINDOW_S = 0.5
QUIET_SHARE = 0.1
QUIET_FOR_S = 1.0
_LOOKED_AT = (0, 1, 3, 7, 15, 31, 63)


class Stuck(RuntimeError):
    """A contender ended early, or makes no progress."""


class Sample(NamedTuple):
    """At `at_s`, a second of the contender's own time: events visible in Redis, and CPU seconds spent."""

    at_s: float
    cpu_s: float
    events: int


class Ladder:
    """How many events are visible in Redis, by the customers whose last event is known."""

    def __init__(self, client: redis.Redis, workload: Workload) -> None:
        self._client = client
        self._ladders = workload.ladders
        self._next = [0] * len(workload.ladders)

    def events(self) -> int:
        """Events up to the highest rungs seen; all of them when the end of every partition was seen."""
        asked = [
            (partition, place)
            for partition, ladder in enumerate(self._ladders)
            for place in (self._next[partition] + ahead for ahead in _LOOKED_AT)
            if place < len(ladder)
        ]
        pipeline = self._client.pipeline(transaction=False)
        for partition, place in asked:
            pipeline.hget(f"customer:{self._ladders[partition][place].customer_id}", "applied")
        for (partition, place), applied in zip(asked, pipeline.execute(), strict=True):
            if applied == b"%d:%d" % (partition, self._ladders[partition][place].offset):
                self._next[partition] = max(self._next[partition], place + 1)
        return sum(ladder[seen - 1].offset + 1 for ladder, seen in zip(self._ladders, self._next, strict=True) if seen)


class Watch:
    """One contender from the first event to the last: `began` is the first sample past the warm-up."""

    def __init__(self, client: redis.Redis, workload: Workload, processes: Sequence[ContenderProcess]) -> None:
        self._ladder = Ladder(client, workload)
        self._all = workload.events
        self._processes = processes
        self._seen, self._progressed_s = 0, 0.0
        self.began: Sample | None = None
        self.ended: Sample | None = None

    def look(self, at_s: float) -> None:
        """Take a sample, at this second of the contender's own time. Raises `Stuck`."""
        sample = Sample(at_s, sum(process.cpu_s() for process in self._processes), self._ladder.events())
        if sample.events > self._seen:
            self._seen, self._progressed_s = sample.events, at_s
        if self.began is None and sample.events >= WARM_UP * self._all:
            self.began = sample
        if sample.events == self._all:
            self.ended = sample
            return
        ended = next((process for process in self._processes if not process.is_running), None)
        if ended is not None:
            raise Stuck(f"ended after {self._seen:,} events:\n{ended.end_of_log()}")
        if at_s - self._progressed_s > STUCK_AFTER_S:
            log = self._processes[0].end_of_log()
            raise Stuck(f"no progress after {self._seen:,} of {self._all:,} events:\n{log}")


def until_the_end(watched: Watch) -> None:
    """Watch a contender that has the machine to itself. Raises `Stuck`."""
    started_s = time.monotonic()
    while watched.ended is None:
        watched.look(time.monotonic() - started_s)
        time.sleep(POLL_S)


def in_turns(
    contestants: Sequence[tuple[Watch, Sequence[ContenderProcess]]], on_end: Callable[[int, str | None], None]
) -> None:
    """Watch several, of whom one runs at a time; `on_end` is told the place of who has ended, and what went wrong.

    Where others share the cores, these are quicker in one minute than in the next: so they are for all contenders.
    """
    left = dict.fromkeys(range(len(contestants)), 0.0)  # seconds that each one has run
    while left:
        for place, ran_s in list(left.items()):
            watched, processes = contestants[place]
            started_s = time.monotonic()
            for process in processes:
                process.go_on()
            fault = None
            try:
                while watched.ended is None and (spent_s := time.monotonic() - started_s) < TURN_S:
                    watched.look(ran_s + spent_s)
                    time.sleep(POLL_S)
            except Stuck as stuck:
                fault = str(stuck)
            if watched.ended or fault:
                del left[place]
                on_end(place, fault)
                continue
            for process in processes:
                process.pause()
            left[place] = ran_s + time.monotonic() - started_s


def cpu_until_quiet(processes: Sequence[ContenderProcess]) -> float:
    """CPU seconds until the processes have been nearly idle for a second. Raises `Stuck`."""
    ends = time.monotonic() + STUCK_AFTER_S
    spent_s, quiet = 0.0, 0
    while time.monotonic() < ends:
        time.sleep(QUIET_WINDOW_S)
        before_s, spent_s = spent_s, sum(process.cpu_s() for process in processes)
        # The first window is never quiet: nothing was spent before it.
        quiet = quiet + 1 if before_s and spent_s - before_s < QUIET_SHARE * QUIET_WINDOW_S * len(processes) else 0
        if quiet * QUIET_WINDOW_S >= QUIET_FOR_S:
            return spent_s
    raise Stuck(f"not quiet without events after {STUCK_AFTER_S:.0f} s:\n{processes[0].end_of_log()}")


def wrong_customers(client: redis.Redis, workload: Workload) -> int:
    """Customers whose state or last offset in Redis is not the offline fold's, or who should not be there."""
    pipeline = client.pipeline(transaction=False)
    for customer_id in workload.expected:
        pipeline.hmget(f"customer:{customer_id}", ["state", "applied"])
    wrong = sum(
        tuple(found) != expected for found, expected in zip(pipeline.execute(), workload.expected.values(), strict=True)
    )
    return wrong + max(0, client.dbsize() - len(workload.expected))


def settle(client: redis.Redis, workload: Workload) -> None:
    """Give the last write time to be complete."""
    ends = time.monotonic() + SETTLE_S
    while time.monotonic() < ends and wrong_customers(client, workload):
        time.sleep(0.2)
