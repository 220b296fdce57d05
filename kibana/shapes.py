"""The words in which a board is declared: buckets and measures, panels, rows of panels, and the board itself.

    Board("sales", "Sales", rows=(Row(8, (Metric("Orders", EVENTS, count("Orders", "event_type: purchase")),)),), ...)

`kibana.saved_objects` turns a board into what Kibana imports.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

COLUMNS: Final = 48

HIGH: Final = "#CC5642"
MEDIUM: Final = "#E7A33B"
LOW: Final = "#54B399"
NEUTRAL: Final = "#6092C0"
BAND_COLOURS: Final[Mapping[str, str]] = {"high": HIGH, "medium": MEDIUM, "low": LOW}

Operation = Literal["count", "sum", "average", "min", "max", "median", "percentile", "unique_count"]
Format = Literal["whole", "decimal", "money", "percent"]
Chart = Literal[
    "bar", "bar_horizontal", "bar_stacked", "bar_horizontal_stacked", "bar_percentage_stacked", "area_stacked", "line"
]


@dataclass(frozen=True)
class DataView:
    """The indices that match `pattern`, seen over their field `@timestamp`; `formats` by field."""

    id: str
    pattern: str
    name: str
    formats: Mapping[str, Format]


@dataclass(frozen=True)
class Measure:
    """One number per bucket, of the documents for which `where` (KQL) holds; `field` is None for a count."""

    operation: Operation
    field: str | None
    label: str
    where: str = ""
    format: Format = "whole"
    colour: str | None = None
    percentile: int = 95


@dataclass(frozen=True)
class Terms:
    """One bucket per value of a field: the `size` values for which measure number `by` is highest (None: A to Z)."""

    field: str
    label: str
    size: int = 10
    by: int | None = 0


@dataclass(frozen=True)
class OverTime:
    """One bucket per interval (`1h`, `1d`, `1w`, `1M`) of the data view's time."""

    interval: str
    label: str


Bucket = Terms | OverTime


@dataclass(frozen=True)
class Metric:
    """A tile with one number."""

    title: str
    view: DataView
    measure: Measure
    where: str = ""

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        return ()

    @property
    def measures(self) -> tuple[Measure, ...]:
        return (self.measure,)


@dataclass(frozen=True)
class XY:
    """Bars, lines or areas: one series per measure, along `over` (None: one group of bars)."""

    title: str
    view: DataView
    chart: Chart
    measures: tuple[Measure, ...]
    over: Bucket | None = None
    where: str = ""

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        return () if self.over is None else (self.over,)


@dataclass(frozen=True)
class Table:
    """One row per combination of the buckets, sorted by measure number `sort_by`, highest first."""

    title: str
    view: DataView
    buckets: tuple[Bucket, ...]
    measures: tuple[Measure, ...]
    where: str = ""
    sort_by: int = 0
    rows_per_page: int = 20


@dataclass(frozen=True)
class Note:
    """A text for people, in Markdown."""

    title: str
    markdown: str


Panel = Metric | XY | Table | Note


@dataclass(frozen=True)
class Row:
    """Panels side by side, `height` grid units (28 pixels) high, as wide as `widths` say or else equally wide."""

    height: int
    panels: tuple[Panel, ...]
    widths: tuple[int, ...] = ()

    def placed(self) -> Iterator[tuple[int, int, Panel]]:
        """Each panel with its left edge and its width in columns."""
        x = 0
        widths = self.widths or (COLUMNS // len(self.panels),) * len(self.panels)
        for width, panel in zip(widths, self.panels, strict=True):
            yield x, width, panel
            x += width


@dataclass(frozen=True)
class Control:
    """A list above the board from which people choose values of a field; it filters every panel."""

    view: DataView
    field: str
    title: str


@dataclass(frozen=True)
class Board:
    """A dashboard. `time_from` is where its time picker begins (`now-90d`); it always ends now."""

    id: str
    title: str
    description: str
    time_from: str
    controls: tuple[Control, ...]
    rows: tuple[Row, ...]


def count(label: str, where: str = "", colour: str | None = None) -> Measure:
    """How many documents."""
    return Measure("count", None, label, where, colour=colour)


def unique(field: str, label: str, where: str = "") -> Measure:
    """How many different values (exact up to some thousands, then estimated)."""
    return Measure("unique_count", field, label, where)


def total(field: str, label: str, where: str = "", format: Format = "money", colour: str | None = None) -> Measure:
    """The sum of a field."""
    return Measure("sum", field, label, where, format, colour)


def average(field: str, label: str, where: str = "", format: Format = "decimal") -> Measure:
    """The mean of a field."""
    return Measure("average", field, label, where, format)


def highest(field: str, label: str, where: str = "", format: Format = "decimal") -> Measure:
    """The highest value of a field."""
    return Measure("max", field, label, where, format)


def by_band(measure: Measure) -> tuple[Measure, ...]:
    """The measure once for each risk band, in the band's colour, the riskiest first."""
    return tuple(
        replace(measure, label=band.capitalize(), where=f"risk_band: {band}", colour=colour)
        for band, colour in BAND_COLOURS.items()
    )
