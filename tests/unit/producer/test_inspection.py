"""The data-quality report: its numbers on files whose faults are known, and a page that needs no other file."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from producer import inspection
from producer.column_rules import Kind
from producer.inspection import Report
from producer.quality_html import page
from producer.quality_text import print_report
from producer.raw_table import loaded
from producer.source import open_source

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
HEADER = "event_time,event_type,product_id,price,user_id,note,points\n"


def inspect(path: Path, format_name: str | None = None) -> Report:
    source = open_source(path, format_name, "utf-8", "EUR")
    [part] = source.parts
    with loaded(part, lambda count, fraction: None) as table:
        return inspection.inspect(table, part, source.format_name, "EUR", NOW)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Of 40 good rows in two days, a repeated one, one without a user, one with a bad price and a torn one."""
    path = tmp_path_factory.mktemp("files") / "<shop> $1.csv"
    rows = [f"2019-10-0{1 + n % 2} 00:00:{n:02d} UTC,view,p{n},{10 + n % 5},u{n % 7},,{n}" for n in range(40)]
    rows += [rows[0], "2019-10-02 00:00:50 UTC,cart,p1,1000,,<b>,7", "soon,view,p1,cheap,u1,,8", "torn"]
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return inspect(path, "rees46")


def test_rows_repetitions_and_the_span_are_those_of_the_file(report: Report) -> None:
    assert (report.rows, report.torn, report.repeated) == (44, 1, 1)
    assert (report.first, report.last) == (datetime(2019, 10, 1), datetime(2019, 10, 2, 0, 0, 50))
    assert [count for _, count in report.per_day] == [21, 21]
    assert report.mix == {"view": 41}
    assert report.refused == {
        "missing_field: user_id": 1,
        "invalid_field: event_time": 1,
        "invalid_row: 1 fields where there are 7 columns": 1,
    }


def test_a_column_tells_its_kind_gaps_misread_cells_range_and_outliers(report: Report) -> None:
    columns = {column.name: column for column in report.columns}
    price, user, time = columns["price"], columns["user_id"], columns["event_time"]
    assert (price.kind, price.present, price.missing, price.misread) == (Kind.NUMBER, 43, 0, 1)
    assert (price.low, price.median, price.high) == (10.0, 12.0, 1000.0)
    assert price.outliers is not None
    assert (price.outliers.beyond_fences, price.outliers.robust_z) == (1, 1)
    assert price.histogram is not None
    assert sum(price.histogram[1]) == 41
    assert (user.kind, user.missing) == (Kind.IDENTIFIER, 1)
    assert (time.kind, time.misread) == (Kind.TIME, 1)
    assert columns["event_type"].levels == (("view", 42), ("cart", 1))
    assert (columns["points"].kind, columns["note"].kind) == (Kind.WHOLE, Kind.TEXT)


def test_the_page_holds_everything_and_nothing_of_the_file_is_taken_for_markup(report: Report) -> None:
    html = page("<shop> $1.csv", [report])
    assert html.count("<svg") == 2 + sum(
        column.histogram is not None or bool(column.levels and column.distinct < column.present / 2)
        for column in report.columns
    )
    assert "&lt;shop&gt; $1.csv" in html
    assert "<shop>" not in html
    assert "<b>" not in html
    assert 'src="' not in html
    assert "<script" not in html


def test_the_report_for_a_terminal_has_a_line_for_every_column(report: Report) -> None:
    console = Console(record=True, width=160, quiet=False, file=Path("/dev/null").open("w"))  # noqa: SIM115
    print_report(report, console)
    text = console.export_text()
    assert all(column.name in text for column in report.columns)
    assert "repetitions of a row" in text
