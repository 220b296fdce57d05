"""What the rounds say together: medians by contender, our worker beside each of them, a table and a plot."""

from collections.abc import Sequence
from statistics import median
from typing import Any, Final, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks import pages
from benchmarks.stream.contenders import (
    ALL_OURS,
    CONTENDERS,
    FOLD_ALONE,
    HELD_TO,
    OURS,
    OURS_HELD,
    OURS_TWICE,
    OURS_TWICE_HELD,
)

FOLD_GOAL: Final = 0.5
TWO_WORKERS_GOAL: Final = 1.6


class Run(NamedTuple):
    """One contender in one round: events per second of its own time, and CPU microseconds per event, after the warm-up.

    `peak_mib` is None where it says nothing; `wrong` counts customers with another state in Redis than the offline
    fold's, None where the contender did not come to an end. `beside`: with whom it took turns.
    """

    name: str
    events_per_s: float
    cpu_us: float
    peak_mib: float | None
    wrong: int | None
    beside: str | None = None

    @classmethod
    def failed(cls, name: str) -> "Run":
        """Of one that did not come to an end."""
        return cls(name, 0.0, 0.0, None, None)

    @property
    def is_right(self) -> bool:
        return self.wrong == 0

    def describe(self) -> str:
        """One line for who watches."""
        if self.wrong is None:
            return "did not end well"
        right = "right" if self.is_right else f"wrong for {self.wrong:,} customers"
        return f"{self.events_per_s:,.0f} events/s, {self.cpu_us:.1f} us CPU per event, {right}"


class Standing(NamedTuple):
    """One contender over all rounds, by medians; figures are None where one round was wrong."""

    name: str
    events: int
    events_per_s: float | None
    cpu_us: float | None
    beyond_fold_us: float | None
    peak_mib: float | None


class Ratio(NamedTuple):
    """How many times faster the first is than the second, by events per second and by CPU per event.

    `beyond_fold` is the second's CPU beyond the fold alone / the first's: what is left when the fold, the same for
    all, is taken away.
    """

    what: str
    goal: float
    speed: float | None = None
    cpu: float | None = None
    beyond_fold: float | None = None


class Result(NamedTuple):
    """Everything that was found."""

    machine: str
    rounds: int
    events: int
    customers: int
    standings: list[Standing]
    ratios: list[Ratio]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            **self._asdict(),
            "standings": [each._asdict() for each in self.standings],
            "ratios": [each._asdict() for each in self.ratios],
        }


def summed_up(played: Sequence[Sequence[Run]], events: int, customers: int, short_events: int) -> Result:
    """The result of these rounds; ratios are of two who took turns, or of one round: a slow moment meets both."""
    names = list(dict.fromkeys(run.name for run in played[0]))
    by_name = {name: [run for runs in played for run in runs if run.name == name] for name in names}
    slow = {contender.name for contender in CONTENDERS if contender.is_slow}
    floor = _median([run.cpu_us for run in by_name.get(FOLD_ALONE, [])])
    standings = [
        _standing(name, runs, floor, short_events if name in slow else events) for name, runs in by_name.items()
    ]
    goals = [(FOLD_ALONE, FOLD_GOAL), *((each.name, each.goal) for each in CONTENDERS if each.goal)]
    ratios = [
        _ratio(f"one worker / {name}", goal, _beside(name, OURS, played), by_name[name], floor)
        for name, goal in goals
        if OURS in by_name and name in by_name
    ]
    for two, one, how in ((OURS_TWICE, OURS, ""), (OURS_TWICE_HELD, OURS_HELD, f", {HELD_TO} of a core each")):
        if two in by_name and one in by_name:
            what = f"two workers / one worker{how}"
            ratios.append(_ratio(what, TWO_WORKERS_GOAL, by_name[two], _beside(two, one, played), floor))
    return Result(pages.machine(), len(played), events, customers, standings, ratios)


def _beside(name: str, one: str, played: Sequence[Sequence[Run]]) -> list[Run]:
    """By round, the run of `one` that took turns with this contender; its first where none did."""
    return [
        next((run for run in runs if run.name == one and run.beside == name), None)
        or next(run for run in runs if run.name == one)
        for runs in played
    ]


def _standing(name: str, runs: list[Run], floor: float | None, events: int) -> Standing:
    if not all(run.is_right for run in runs):
        return Standing(name, events, None, None, None, None)
    cpu_us = median(run.cpu_us for run in runs)
    memory = _median([run.peak_mib for run in runs if run.peak_mib is not None])
    beyond = None if floor is None else cpu_us - floor
    return Standing(name, events, median(run.events_per_s for run in runs), cpu_us, beyond, memory)


def _median(values: list[float]) -> float | None:
    return median(values) if values else None


def _ratio(what: str, goal: float, ours: list[Run], others: list[Run], floor: float | None) -> Ratio:
    if not all(run.is_right for run in (*ours, *others)):
        return Ratio(what, goal)
    pairs = list(zip(ours, others, strict=True))
    speed = median(mine.events_per_s / theirs.events_per_s for mine, theirs in pairs)
    cpu = median(theirs.cpu_us / mine.cpu_us for mine, theirs in pairs)
    if floor is None or others[0].name == FOLD_ALONE:
        return Ratio(what, goal, speed, cpu)
    mine_us, theirs_us = (median(run.cpu_us for run in runs) - floor for runs in (ours, others))
    return Ratio(what, goal, speed, cpu, theirs_us / mine_us if mine_us > 0 else None)


def as_markdown(result: Result) -> str:
    """Two tables: the contenders, and the goals with what was measured."""
    lines = [
        f"{result.events:,} events of {result.customers:,} customers, {result.rounds} rounds, medians.",
        "Each contender took turns with one worker.",
        f"{result.machine}, shared with broker and Redis.",
        "",
        "| | events | events/s | CPU us per event | beyond the fold, us | peak memory, MiB |",
        "|---|--:|--:|--:|--:|--:|",
        *(_row(each) for each in result.standings),
        "",
        "| times as fast as | goal | by events/s | goal met | by CPU per event | by CPU beyond the fold |",
        "|---|--:|--:|---|--:|--:|",
        *(_goal_row(each) for each in result.ratios),
    ]
    return "\n".join(lines)


def _row(each: Standing) -> str:
    if each.events_per_s is None or each.cpu_us is None:
        return f"| {each.name} | {each.events:,} | wrong | | | |"
    beyond = "" if each.beyond_fold_us is None else f"{each.beyond_fold_us:.1f}"
    memory = "" if each.peak_mib is None else f"{each.peak_mib:.0f}"
    return f"| {each.name} | {each.events:,} | {each.events_per_s:,.0f} | {each.cpu_us:.1f} | {beyond} | {memory} |"


def _goal_row(each: Ratio) -> str:
    if each.speed is None or each.cpu is None:
        return f"| {each.what} | {each.goal:g} | wrong | no | | |"
    met = "yes" if each.speed >= each.goal else "no"
    beyond = "" if each.beyond_fold is None else f"{each.beyond_fold:.1f}"
    return f"| {each.what} | {each.goal:g} | {each.speed:.2f} | {met} | {each.cpu:.2f} | {beyond} |"


def write(result: Result, section: str) -> None:
    """Tables and plot into this section of docs/."""
    name = f"performance-{section.removeprefix('bench-')}.svg"
    pages.write_section(section, f"{as_markdown(result)}\n\n![events per second and CPU per event]({name})")
    plot(result).savefig(pages.DOCS / name, metadata={"Date": None})


def plot(result: Result) -> Figure:
    """Two panels of horizontal bars, the quickest on top: events per second, and CPU per event."""
    mpl.rcParams["svg.hashsalt"] = "bench-stream"  # the same figures give the same file
    shown = sorted((each for each in result.standings if each.events_per_s), key=lambda each: each.events_per_s or 0)
    names = [each.name for each in shown]
    colours = ["#d1495b" if each.name in ALL_OURS else "#7a8b99" for each in shown]
    figure = Figure(figsize=(11, 0.5 * len(shown) + 1.4), layout="constrained")
    speed, cpu = figure.subplots(1, 2, sharey=True)
    for axes, values, title in (
        (speed, [each.events_per_s or 0 for each in shown], "events per second"),
        (cpu, [each.cpu_us or 0 for each in shown], "CPU us per event"),
    ):
        bars = axes.barh(names, values, color=colours)
        axes.bar_label(bars, labels=[f"{value:,.0f}" if value > 200 else f"{value:.1f}" for value in values], padding=3)
        axes.set_title(title)
        axes.margins(x=0.18)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{result.events:,} events, {result.machine}, shared with broker and Redis", fontsize=10)
    return figure
