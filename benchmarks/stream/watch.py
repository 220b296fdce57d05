"""Watches from outside how far a contender is (through Redis alone) and what that cost: alike for all of them.

Speed counts from the first tenth of the events on, so that joining a group does not count. CPU per event is all CPU
up to the last event, less what the same processes need to start without events: between two moments of a run it could
not be told, because what is folded is not visible before it is written.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import redis

from benchmarks.stream.processes import ContenderProcess
from benchmarks.stream.workload import Workload

POLL_S = 0.02
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
    """At `at_s` (monotonic) this many events were visible in Redis, and `cpu_s` CPU seconds spent."""

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


def watch(client: redis.Redis, workload: Workload, processes: Sequence[ContenderProcess]) -> tuple[Sample, Sample]:
    """The first sample past the warm-up, and the one that saw all events. Raises `Stuck`."""
    ladder = Ladder(client, workload)
    began: Sample | None = None
    seen, progressed_s = 0, time.monotonic()
    while True:
        sample = Sample(time.monotonic(), sum(process.cpu_s() for process in processes), ladder.events())
        if sample.events > seen:
            seen, progressed_s = sample.events, sample.at_s
        if began is None and sample.events >= WARM_UP * workload.events:
            began = sample
        if sample.events == workload.events:
            return began or sample, sample
        ended = next((process for process in processes if not process.is_running), None)
        if ended is not None:
            raise Stuck(f"ended after {seen:,} events:\n{ended.end_of_log()}")
        if sample.at_s - progressed_s > STUCK_AFTER_S:
            raise Stuck(f"no progress after {seen:,} of {workload.events:,} events:\n{processes[0].end_of_log()}")
        time.sleep(POLL_S)


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
