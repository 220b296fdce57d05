"""The words in which a board is declared: buckets and measures, panels, rows of panels, and the board itself.

    Board("sales", "Sales", rows=(Row(8, (Metric("Orders", EVENTS, count("Orders", "event_type: purchase")),)),), ...)

`kibana.saved_objects` turns a board into what Kibana imports.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

COLUMNS: Final = 48

HIGH: Final = "#E7664C"
MEDIUM: Final = "#E7A33B"
LOW: Final = "#54B399"
NEUTRAL: Final = "#6092C0"
SECOND: Final = "#9170B8"
THIRD: Final = "#CA8EAE"
FAINT: Final = "#98A2B3"
TILE: Final = "#FFFFFF"
BAND_COLOURS: Final[Mapping[str, str]] = {"high": HIGH, "medium": MEDIUM, "low": LOW}
# The risk bands keep red, orange and green for themselves.
SEGMENT_COLOURS: Final[Mapping[str, str]] = {
    "Champions": "#1F5A99",
    "Loyal": "#4A84BD",
    "Potential Loyalist": "#86B4DE",
    "New": "#9170B8",
    "Promising": "#BBA8D6",
    "Need Attention": "#CA8EAE",
    "About To Sleep": "#E2C4D4",
    "At Risk": "#AA6556",
    "Can't Lose": "#7A4A3F",
    "Hibernating": "#98A2B3",
    "Lost": "#69707D",
}
TIER_COLOURS: Final[Mapping[str, str]] = {
    "VIP": "#1F5A99",
    "Loyal": "#4A84BD",
    "Regular": "#86B4DE",
    "At Risk": "#AA6556",
    "Low Value": "#98A2B3",
}

Operation = Literal["count", "sum", "average", "min", "max", "median", "percentile", "unique_count"]
Arithmetic = Literal["add", "subtract", "multiply", "divide", "overall_sum"]
Format = Literal["whole", "decimal", "number", "money", "amount", "percent", "moment", "duration"]
Chart = Literal[
    "bar", "bar_horizontal", "bar_stacked", "bar_horizontal_stacked", "bar_percentage_stacked", "area_stacked", "line"
]
Shade = Literal["risk", "more"]


@dataclass(frozen=True)
class DataView:
    """The indices that match `pattern`, seen over a field of time.

    `formats` says by field how a number is written, `words` what a value of a field means in plain words.
    """

    id: str
    pattern: str
    name: str
    formats: Mapping[str, Format] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    time_field: str = "@timestamp"


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
class Computed:
    """A number computed of others in the same bucket; `overall_sum` adds up its one part over all buckets.

    The parts are counts and sums, because those are 0 and not missing where there is nothing.
    """

    operation: Arithmetic
    parts: tuple["Part", ...]
    label: str
    format: Format = "percent"
    colour: str | None = None


Part = Measure | Computed | float
Value = Measure | Computed


@dataclass(frozen=True)
class Terms:
    """One bucket per value of a field: the `size` values for which measure number `by` is highest (None: A to Z).

    Of a number `size` must be enough for all values; they then stand in their order.
    """

    field: str
    label: str
    size: int = 10
    by: int | None = 0
    is_number: bool = False


@dataclass(frozen=True)
class OverTime:
    """One bucket per interval (`1h`, `1d`, `1w`, `1M`; `auto`: about 50 to 100 of them) of the data view's time."""

    interval: str
    label: str


@dataclass(frozen=True)
class Cases:
    """One bucket per case, a label and the query (KQL) that holds in it."""

    label: str
    cases: tuple[tuple[str, str], ...]


Bucket = Terms | OverTime | Cases


@dataclass(frozen=True, kw_only=True)
class Lens:
    """What every panel with numbers has.

    `about` says in a sentence what they mean; `where` (KQL) limits the documents. A panel that `ignores_controls`
    shows everything whatever is chosen above the board: its documents lack the fields of the controls. Kibana then
    ignores `where` too: only measures can be limited.
    """

    about: str
    where: str = ""
    ignores_controls: bool = False


@dataclass(frozen=True)
class Metric(Lens):
    """A tile with one number, and a few words below its title."""

    title: str
    view: DataView
    measure: Value
    subtitle: str = ""

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        return ()

    @property
    def measures(self) -> tuple[Value, ...]:
        return (self.measure,)


@dataclass(frozen=True)
class XY(Lens):
    """Bars, lines or areas along `over` (None: one group of bars), a series per measure.

    Where a line has no number it stops, unless it `bridges_gaps`.
    """

    title: str
    view: DataView
    chart: Chart
    measures: tuple[Value, ...]
    over: Bucket | None = None
    bridges_gaps: bool = False

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        return () if self.over is None else (self.over,)


@dataclass(frozen=True)
class Donut(Lens):
    """A ring with one piece per measure."""

    title: str
    view: DataView
    measures: tuple[Value, ...]

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        return ()


@dataclass(frozen=True)
class Heatmap(Lens):
    """A cell for each pair of values of two buckets, the darker the higher its number."""

    title: str
    view: DataView
    across: Bucket
    down: Bucket
    measure: Value

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        return (self.down, self.across)

    @property
    def measures(self) -> tuple[Value, ...]:
        return (self.measure,)


@dataclass(frozen=True)
class Table(Lens):
    """One row per combination of the buckets, sorted by measure number `sort_by` (None: as the buckets are).

    `widths` are pixels by label, `shades` colour the numbers of a column. A page has as many rows as the panel's
    height holds; one that is too low for pages scrolls.
    """

    title: str
    view: DataView
    buckets: tuple[Bucket, ...]
    measures: tuple[Value, ...]
    sort_by: int | None = 0
    widths: Mapping[str, int] = field(default_factory=dict)
    shades: Mapping[str, Shade] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """A text for people, in Markdown."""

    title: str
    markdown: str


Picture = Metric | XY | Donut | Heatmap | Table
Panel = Picture | Note


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
    """A dashboard. `time_from` is where its time picker begins (`now-90d/d`); it always ends now.

    `note` says what holds for all of its numbers; below it the board lists what each panel is about.
    """

    id: str
    title: str
    description: str
    time_from: str
    controls: tuple[Control, ...]
    rows: tuple[Row, ...]
    note: str
    refresh_s: int = 60

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(panel for row in self.rows for panel in row.panels if not isinstance(panel, Note))


def count(label: str, where: str = "", colour: str | None = None) -> Measure:
    """How many documents."""
    return Measure("count", None, label, where, colour=colour)


def unique(field: str, label: str, where: str = "", colour: str | None = None) -> Measure:
    """How many different values (exact up to some thousands, then estimated)."""
    return Measure("unique_count", field, label, where, colour=colour)


def total(field: str, label: str, where: str = "", format: Format = "money", colour: str | None = None) -> Measure:
    """The sum of a field."""
    return Measure("sum", field, label, where, format, colour)


def average(field: str, label: str, where: str = "", format: Format = "decimal", colour: str | None = None) -> Measure:
    """The mean of a field."""
    return Measure("average", field, label, where, format, colour)


def highest(field: str, label: str, where: str = "", format: Format = "decimal", colour: str | None = None) -> Measure:
    """The highest value of a field."""
    return Measure("max", field, label, where, format, colour)


def ratio(label: str, top: Part, bottom: Part, format: Format = "percent", colour: str | None = None) -> Computed:
    """`top` / `bottom`; nothing where `bottom` is 0."""
    return Computed("divide", (top, bottom), label, format, colour)


def share(measure: Measure, label: str) -> Computed:
    """The part of each bucket in the sum over all buckets of the panel."""
    return ratio(label, measure, Computed("overall_sum", (measure,), label))


def by_band(measure: Measure) -> tuple[Measure, ...]:
    """The measure once for each risk band, in the band's colour, the riskiest first."""
    return by_value(measure, "risk_band", BAND_COLOURS)


def by_value(measure: Measure, field: str, colours: Mapping[str, str]) -> tuple[Measure, ...]:
    """The measure once for each of these values of a field, each in its colour."""
    return tuple(
        replace(
            measure,
            label=(value[:1].upper() + value[1:]).replace("_", " "),
            where=" and ".join(filter(None, (measure.where, _equals(field, value)))),
            colour=colour,
        )
        for value, colour in colours.items()
    )


def _equals(field: str, value: str) -> str:
    return f"{field}: {value}" if value.isalnum() else f'{field}: "{value}"'
