"""How fast events leave: as fast as possible, at a fixed rate, or as fast as they happened."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

Clock = Callable[[], float]  # seconds that only grow
Sleep = Callable[[float], object]  # waits at most so many seconds, less when the command is to stop


class Pace(Protocol):
    """Called before each message leaves; returns when its time has come."""

    def wait(self, occurred_at: datetime | None) -> None:
        """`occurred_at` is None for a row that is no event."""


class NoWait:
    """As fast as possible."""

    def wait(self, occurred_at: datetime | None) -> None:
        pass


class FixedRate:
    """So many messages per second; what was late is caught up."""

    def __init__(self, per_second: float, clock: Clock, sleep: Sleep) -> None:
        self._seconds_each = 1 / per_second
        self._clock = clock
        self._sleep = sleep
        self._started: float | None = None
        self._sent = 0

    def wait(self, occurred_at: datetime | None) -> None:
        now = self._clock()
        if self._started is None:
            self._started = now
        due = self._started + self._sent * self._seconds_each
        self._sent += 1
        if due > now:
            self._sleep(due - now)


class EventTime:
    """As fast as the events happened, times `speed`. An event older than those before it leaves at once."""

    def __init__(self, speed: float, clock: Clock, sleep: Sleep) -> None:
        self._speed = speed
        self._clock = clock
        self._sleep = sleep
        self._first: tuple[datetime, float] | None = None

    def wait(self, occurred_at: datetime | None) -> None:
        if occurred_at is None:
            return
        now = self._clock()
        if self._first is None:
            self._first = (occurred_at, now)
        first_occurred_at, started = self._first
        due = started + (occurred_at - first_occurred_at).total_seconds() / self._speed
        if due > now:
            self._sleep(due - now)
