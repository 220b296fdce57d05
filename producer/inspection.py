"""The data-quality report of a file, as numbers: schema, types, ranges, gaps, repetitions, outliers, span and mix."""

from collections import Counter
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple

from duckdb import DuckDBPyConnection

from churn.events import InvalidEvent, check
from producer.cell_sql import read_as
from producer.clean import fences
from producer.column_rules import Kind, Rule, rules_of
from producer.raw_table import one_row, quoted
from producer.source import Part

ROWS_ADAPTED: Final = 200_000  # the mix of events is taken from the first rows, so that a large file takes no hours
ROBUST_Z: Final = 3.5  # Iglewicz and Hoaglin (1993): a modified z score beyond it is a potential outlier
BINS: Final = 40
LEVELS_SHOWN: Final = 8
_NUMBERS: Final = (Kind.NUMBER, Kind.WHOLE)
_MOST: Final = 0.95  # a column is of a type when so many of its cells can be read as it


class Outliers(NamedTuple):
    """How many cells lie beyond Tukey's outer fences, and how many have a robust z score beyond the limit."""

    beyond_fences: int
    robust_z: int
    low: float
    high: float


class ColumnReport(NamedTuple):
    """One column. `misread` cells are there but not of the kind; numbers and times have a range, words have levels."""

    name: str
    kind: Kind
    present: int
    missing: int
    misread: int
    distinct: int
    low: Any = None
    median: Any = None
    high: Any = None
    outliers: Outliers | None = None
    histogram: tuple[list[float], list[int]] | None = None
    levels: tuple[tuple[str, int], ...] = ()


class Report(NamedTuple):
    """One file. The mix counts the first `rows_adapted` rows; `repeated` rows are equal to an earlier one."""

    name: str
    format_name: str
    rows: int
    torn: int
    repeated: int
    columns: tuple[ColumnReport, ...]
    first: datetime | None
    last: datetime | None
    per_day: tuple[tuple[datetime, int], ...]
    rows_adapted: int
    mix: dict[str, int]
    refused: dict[str, int]


def inspect(connection: DuckDBPyConnection, part: Part, format_name: str, currency: str, now: datetime) -> Report:
    """The report of a file that was loaded; `now` (aware) tells what lies in the future."""
    rules = {found: rules_of(format_name, part.adapter.table)[name] for name, found in part.adapter.found.items()}
    columns = tuple(_column(connection, name, rules.get(name)) for name in part.file.columns)
    rows, torn = one_row(connection, "SELECT count(*), count(fault) FROM raw")
    time = part.adapter.found[part.adapter.table.time]
    first, last, per_day = _span(connection, time)
    rows_adapted, mix, refused = _mix(part, currency, now)
    repeated = _repeated(connection, part.file.columns)
    return Report(
        part.file.name, format_name, rows, torn, repeated, columns, first, last, per_day, rows_adapted, mix, refused
    )


def _repeated(connection: DuckDBPyConnection, columns: tuple[str, ...]) -> int:
    """Rows that are equal to an earlier one; equal by a 64-bit hash of all cells, so that memory stays small."""
    cells = ", ".join(quoted(name) for name in columns)
    query = f"SELECT count(*) - count(DISTINCT hash({cells})) FROM raw WHERE fault IS NULL"
    return int(one_row(connection, query)[0])


def _column(connection: DuckDBPyConnection, name: str, rule: Rule | None) -> ColumnReport:
    column = quoted(name)
    kind = rule.kind if rule else _kind_of(connection, column)
    value = read_as(kind, column)
    rows, present, read, distinct = one_row(
        connection,
        f"SELECT count(*), count({column}), count({value}), approx_count_distinct({column}) "
        "FROM raw WHERE fault IS NULL",
    )
    report = ColumnReport(name, kind, present, rows - present, present - read, distinct)
    if kind in _NUMBERS and read:
        return _with_numbers(connection, report, value)
    if kind in (Kind.TIME, Kind.DAY) and read:
        low, high = one_row(connection, f"SELECT min({value})::VARCHAR, max({value})::VARCHAR FROM raw")
        return report._replace(low=low, high=high)
    levels = connection.execute(
        f"SELECT {column}, count(*) FROM raw WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 "
        f"LIMIT {LEVELS_SHOWN}"
    ).fetchall()
    return report._replace(levels=tuple((str(level), int(count)) for level, count in levels))


def _kind_of(connection: DuckDBPyConnection, column: str) -> Kind:
    """The narrowest kind as which most cells of a column can be read."""
    tried = (Kind.WHOLE, Kind.NUMBER, Kind.TIME)
    counts = ", ".join(f"count({read_as(kind, column)})" for kind in tried)
    present, *read = one_row(connection, f"SELECT count({column}), {counts} FROM raw")
    fits = [kind for kind, count in zip(tried, read, strict=True) if present and count >= _MOST * present]
    return fits[0] if fits else Kind.TEXT


def _with_numbers(connection: DuckDBPyConnection, report: ColumnReport, value: str) -> ColumnReport:
    connection.execute(f"CREATE OR REPLACE TEMP VIEW numbers AS SELECT ({value})::DOUBLE AS n FROM raw")
    low, middle, high, deviation = one_row(connection, "SELECT min(n), median(n), max(n), mad(n) FROM numbers")
    low_fence, high_fence = one_row(connection, fences("n", "numbers"))
    beyond, robust = one_row(
        connection,
        f"SELECT count(*) FILTER (n NOT BETWEEN {low_fence} AND {high_fence}), "
        f"count(*) FILTER (0.6745 * abs(n - {middle}) > {ROBUST_Z} * {deviation} AND {deviation} > 0) FROM numbers",
    )
    outliers = Outliers(beyond, robust, low_fence, high_fence)
    histogram = _histogram(connection, max(low, low_fence), min(high, high_fence))
    return report._replace(low=low, median=middle, high=high, outliers=outliers, histogram=histogram)


def _histogram(connection: DuckDBPyConnection, low: float, high: float) -> tuple[list[float], list[int]]:
    """Edges and counts of equal bins between two values; what lies beyond is not in it."""
    width = (high - low) / BINS or 1.0
    found = dict(
        connection.execute(
            f"SELECT least(floor((n - {low}) / {width})::INT, {BINS - 1}), count(*) FROM numbers "
            f"WHERE n BETWEEN {low} AND {high} GROUP BY 1"
        ).fetchall()
    )
    return [low + width * number for number in range(BINS + 1)], [found.get(number, 0) for number in range(BINS)]


def _span(
    connection: DuckDBPyConnection, time: str
) -> tuple[datetime | None, datetime | None, tuple[tuple[datetime, int], ...]]:
    moment = f"({read_as(Kind.TIME, quoted(time))}) AT TIME ZONE 'UTC'"
    first, last = one_row(connection, f"SELECT min({moment}), max({moment}) FROM raw")
    days = connection.execute(
        f"SELECT date_trunc('day', {moment}) AS day, count(*) FROM raw WHERE {moment} IS NOT NULL GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return first, last, tuple(days)


def _mix(part: Part, currency: str, now: datetime) -> tuple[int, dict[str, int], dict[str, int]]:
    """Of the first rows: how many are looked at, which events a replay makes of them, and why it refuses others."""
    kinds: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    rows = 0
    for row in islice(part.file.rows(), ROWS_ADAPTED):
        rows += 1
        try:
            arrivals = part.adapter.read(row)
            for arrival in arrivals:
                check(arrival.event, now=now, currency=currency)
        except InvalidEvent as error:
            reasons[f"{error.reason}: {error.detail.split(':')[0]}"[:80]] += 1
            continue
        kinds.update(arrival.event.event_type for arrival in arrivals)
    return rows, dict(kinds.most_common()), dict(reasons.most_common(20))
