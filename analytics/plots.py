"""The plots of the report, as figures without a window: lines over time, bars, a heat map."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

WIDE: Final = (7.6, 3.4)
COLOUR: Final = "#2f6f9f"
ACCENT: Final = "#c2562d"
LABEL_CHARACTERS: Final = 34


def axes(title: str, x: str = "", y: str = "", size: tuple[float, float] = WIDE) -> tuple[Figure, Any]:
    """An empty plot."""
    figure = Figure(figsize=size)
    drawn: Any = figure.add_subplot()
    drawn.set(title=title, xlabel=x, ylabel=y)
    drawn.grid(alpha=0.3)
    drawn.spines[["top", "right"]].set_visible(False)
    return figure, drawn


def lines(title: str, x: Sequence[Any], series: Mapping[str, Sequence[float]], y: str = "", x_name: str = "") -> Figure:
    """One line per series."""
    figure, drawn = axes(title, x_name, y)
    for name, values in series.items():
        drawn.plot(x, values, label=name, marker="o" if len(x) <= 31 else "", markersize=3, linewidth=1.4)
    if len(series) > 1:
        drawn.legend(fontsize=8)
    drawn.set_ylim(bottom=min(0, drawn.get_ylim()[0]))
    figure.autofmt_xdate(rotation=30)
    return figure


def bars(title: str, names: Sequence[str], values: Sequence[float], x: str = "") -> Figure:
    """Lying bars, the first on top."""
    figure, drawn = axes(title, x, size=(7.6, 1.2 + 0.27 * len(names)))
    places = np.arange(len(names))[::-1]
    drawn.barh(places, values, color=COLOUR)
    drawn.set_yticks(places, [_short(name) for name in names], fontsize=8)
    drawn.grid(visible=False, axis="y")
    return figure


def ranges(
    title: str, names: Sequence[str], values: Sequence[tuple[float, float, float]], x: str = "", at: float | None = None
) -> Figure:
    """A value with its interval (value, low, high) per name, the first on top; `at` draws a line to compare with."""
    figure, drawn = axes(title, x, size=(7.6, 1.2 + 0.27 * len(names)))
    places = np.arange(len(names))[::-1]
    points, low, high = np.array(values, dtype=float).reshape(-1, 3).T
    drawn.errorbar(points, places, xerr=[points - low, high - points], fmt="o", color=COLOUR, capsize=3, markersize=4)
    if at is not None:
        drawn.axvline(at, ls="--", color="grey", linewidth=1)
    drawn.set_yticks(places, [_short(name) for name in names], fontsize=8)
    return figure


def heat(title: str, rows: Sequence[str], columns: Sequence[Any], values: Any, x: str = "") -> Figure:
    """Shares from 0 to 1 as colours with their percentages; what is no number stays empty."""
    figure = Figure(figsize=(max(5.0, 1.4 + 0.55 * len(columns)), 1.1 + 0.3 * len(rows)))
    drawn: Any = figure.add_subplot()
    cells = np.asarray(values, dtype=float)
    drawn.imshow(cells, cmap="Blues", aspect="auto", vmin=0, vmax=max(0.05, float(np.nanmax(cells))))
    for (row, column), value in np.ndenumerate(cells):
        if np.isfinite(value):
            light = value > 0.6 * np.nanmax(cells)
            drawn.text(
                column, row, f"{value:.0%}", ha="center", va="center", fontsize=7, color="white" if light else "#1d2733"
            )
    drawn.set(title=title, xlabel=x)
    drawn.set_xticks(range(len(columns)), columns, fontsize=8)
    drawn.set_yticks(range(len(rows)), rows, fontsize=8)
    drawn.spines[:].set_visible(False)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= LABEL_CHARACTERS else name[: LABEL_CHARACTERS - 1] + "…"
