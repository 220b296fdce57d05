"""How many unreadable events are too many: a broken deploy of a producer must stop the worker, not drain the topic."""

from collections import deque
from typing import Final

WINDOW_S: Final = 60.0
FEWEST: Final = 100


class TooManyDeadLetters(RuntimeError):
    """Most of what comes is unreadable: somebody has to look at the producer."""


class DeadLetterLimit:
    """The share of unreadable events in the last minute, bounded by `max_share`.

    Fewer than 100 unreadable events in a minute are always let through: they are dead letters, no broken deploy.
    """

    def __init__(self, max_share: float) -> None:
        self._max_share = max_share
        self._counted: deque[tuple[float, int, int]] = deque()
        self._seen = 0
        self._refused = 0

    def count(self, at_s: float, seen: int, refused: int) -> None:
        """Add the events of one batch, seen at `at_s` seconds. Raises `TooManyDeadLetters`."""
        self._counted.append((at_s, seen, refused))
        self._seen += seen
        self._refused += refused
        while self._counted[0][0] < at_s - WINDOW_S:
            _, seen, refused = self._counted.popleft()
            self._seen -= seen
            self._refused -= refused
        if self._refused >= FEWEST and self._refused > self._max_share * self._seen:
            raise TooManyDeadLetters(
                f"{self._refused:,} of the last minute's {self._seen:,} events are unreadable, more than the share "
                f"{self._max_share:g}"
            )
