"""The data-quality report and the changes of a cleaning, as tables for a terminal."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from producer.clean import FENCE, Cleaned, beside
from producer.inspection import ROBUST_Z, ColumnReport, Report


def print_report(report: Report, console: Console) -> None:
    """Everything but the plots."""
    console.print(f"\n[bold]{report.name}[/bold] read as {report.format_name}")
    for name, value in facts(report):
        console.print(f"  {name:<28}{value}", highlight=False)
    table = Table("column", "kind", "missing", "misread", "distinct", "least", "median", "greatest", "outliers")
    for column in report.columns:
        table.add_row(*cells(column))
    console.print(table)
    console.print(f"outliers: beyond {FENCE:g} interquartile ranges / robust z above {ROBUST_Z:g}; reported only")
    for title, counts in (("events", report.mix), ("refused rows", report.refused)):
        console.print(f"{title} of the first {report.rows_adapted:,} rows:", highlight=False)
        for name, count in counts.items():
            console.print(f"  {name:<44}{count:>12,}", highlight=False, markup=False)


def facts(report: Report) -> list[tuple[str, str]]:
    """What is said of the file as a whole."""
    return [
        ("rows", f"{report.rows:,}"),
        ("torn rows", f"{report.torn:,}"),
        ("repetitions of a row", f"{report.repeated:,}"),
        ("first time (UTC)", f"{report.first or '-'}"),
        ("last time (UTC)", f"{report.last or '-'}"),
        ("days with a row", f"{len(report.per_day):,}"),
    ]


def cells(column: ColumnReport) -> list[str]:
    """A column as one row of the table."""
    rows = column.present + column.missing
    outliers = f"{column.outliers.beyond_fences:,} / {column.outliers.robust_z:,}" if column.outliers else ""
    missing = f"{column.missing:,} ({column.missing / rows:.1%})" if rows and column.missing else "0"
    shown = [_short(value) for value in (column.low, column.median, column.high)]
    return [column.name, column.kind, missing, f"{column.misread:,}", f"~{column.distinct:,}", *shown, outliers]


def _short(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,.10g}" if isinstance(value, float) else str(value)


def print_changes(cleaned: Cleaned, output: Path, console: Console) -> None:
    """What was done, and where the copy, the rows set aside and the log lie."""
    table = Table("action", "column", "why", "count", "first lines")
    for change in cleaned.changes:
        lines = ", ".join(map(str, change.lines))
        table.add_row(change.action, change.column or "", change.why, f"{change.count:,}", lines)
    console.print(table)
    console.print(f"{cleaned.rows:,} rows = {cleaned.kept:,} kept + {cleaned.set_aside:,} set aside", highlight=False)
    for what, path in (
        ("copy", output),
        ("set aside", beside(output, "set-aside.csv")),
        ("log", beside(output, "log.json")),
    ):
        console.print(f"{what:<10}{path}", highlight=False, soft_wrap=True)
