"""How far a command is, on standard error: a bar on a terminal, otherwise a log line every few seconds."""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from churn import logs
from producer.pacing import Clock

LINE_EVERY_S: Final = 5.0
BAR_EVERY_S: Final = 0.1

log = logs.get_logger(__name__)


class ProgressLine(AbstractContextManager["ProgressLine"]):
    """Shows rows, rows per second, the share done and the time that is left; a `show` too many costs little."""

    def __init__(self, action: str, unit: str, clock: Clock, console: Console) -> None:
        self._action = action
        self._unit = unit
        self._clock = clock
        self._started = clock()
        self._bar = _bar(console) if console.is_terminal else None
        self._task = self._bar.add_task(action, total=1.0, rows="") if self._bar else None
        self._next = self._started + (BAR_EVERY_S if self._bar else LINE_EVERY_S)

    def show(self, count: int, fraction: float | None) -> None:
        """`fraction` of the work is done, 0 to 1; None when it has no end."""
        now = self._clock()
        if now < self._next:
            return
        rate = count / max(now - self._started, 1e-9)
        if self._bar is not None and self._task is not None:
            self._next = now + BAR_EVERY_S
            shown = f"{count:,} {self._unit}, {rate:,.0f}/s"
            self._bar.update(self._task, completed=fraction or 0.0, total=None if fraction is None else 1.0, rows=shown)
            return
        self._next = now + LINE_EVERY_S
        log.info(self._action, **{self._unit: count, "per_second": round(rate), **self._left(now, fraction)})

    def _left(self, now: float, fraction: float | None) -> dict[str, str]:
        if not fraction:
            return {}
        left_s = (now - self._started) * (1 - fraction) / fraction
        return {"done": f"{fraction:.0%}", "left": f"{left_s:.0f} s"}

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
