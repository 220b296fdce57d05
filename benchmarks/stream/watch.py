"""Watches from outside how far contenders are (through Redis alone) and what that cost: alike for all of them.

What is folded is not visible before it is written, so how far a contender is between two writes could not be told.
Therefore it first folds the first tenth of the events to the end, and what counts begins where it is shown the others.
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
_LOOKED_AT = (0, 1, 3, 7, 15, 31, 63)


class Stuck(RuntimeError):
    """A contender ended early, or makes no progress."""


class Sample(NamedTuple):
    """At `at_s`, a second of the contender's own time: events visible in Redis, and CPU seconds since its start."""

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
    """One contender from now on to the last event of the workload, of which it has folded those of `folded`."""

    def __init__(
        self,
        client: redis.Redis,
        workload: Workload,
        processes: Sequence[ContenderProcess],
        folded: Workload | None = None,
    ) -> None:
        self._ladder = Ladder(client, workload)
        self._all = workload.events
        self._processes = processes
        self._progressed_s = 0.0
        self.began = Sample(0.0, self._cpu_s(), folded.events if folded else 0)
        self._seen = self.began.events
        self.ended: Sample | None = None

    def _cpu_s(self) -> float:
        return sum(process.cpu_s() for process in self._processes)

    def look(self, at_s: float) -> None:
        """Take a sample, at this second of the contender's own time. Raises `Stuck`."""
        sample = Sample(at_s, self._cpu_s(), self._ladder.events())
        if sample.events > self._seen:
            self._seen, self._progressed_s = sample.events, at_s
        if sample.events == self._all:
            self.ended = sample
            return
        ended = next((process for process in self._processes if not process.is_running), None)
        if ended is not None:
            raise Stuck(f"ended after {self._seen:,} events:\n{ended.end_of_log()}")
        if at_s - self._progressed_s > STUCK_AFTER_S:
            log = self._processes[0].end_of_log()
            raise Stuck(f"no progress after {self._seen:,} of {self._all:,} events:\n{log}")


class FoldWatch:
    """The fold alone, which has no Redis to show what it has done: its log says when it has folded all."""

    def __init__(self, process: ContenderProcess) -> None:
        self._process = process
        self.ended: float | None = None

    def look(self, at_s: float) -> None:
        """Notes the second of its own time in which it has ended. Raises `Stuck`."""
        if self.log_lines():
            self.ended = at_s
        elif not self._process.is_running:
            raise Stuck(f"ended too early:\n{self._process.end_of_log()}")

    def log_lines(self) -> list[str]:
        """Those that are complete."""
        return self._process.log_file.read_text().split("\n")[:-1]


def until_the_end(watched: Watch) -> None:
    """Watch a contender that has the machine to itself. Raises `Stuck`."""
    started_s = time.monotonic()
    while watched.ended is None:
        watched.look(time.monotonic() - started_s)
        time.sleep(POLL_S)


def in_turns(
    contestants: Sequence[tuple[Watch | FoldWatch, Sequence[ContenderProcess]]],
    on_end: Callable[[int, str | None], None],
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
