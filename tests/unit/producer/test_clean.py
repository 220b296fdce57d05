"""Cleaning: what is put right, what is set aside and why, and that no row disappears."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from producer.clean import Cleaned, Cleaning, beside, parsed_missing
from producer.column_rules import Missing
from producer.errors import BadRule, RefusedFile
from producer.raw_table import loaded
from producer.source import open_source

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
GOOD = "1,A,LAMP,6,2010-12-01 08:26:00,2.55,17850,France\n"


def clean(path: Path, output: Path, format_name: str | None = None, **missing: str) -> Cleaned:
    source = open_source(path, format_name, "utf-8", "EUR")
    [part] = source.parts
    rules = {name: Missing(rule) for name, rule in missing.items()}
    with loaded(part, lambda count, fraction: None) as table:
        return Cleaning(table, part, source.format_name, rules, NOW).run(output)


def cleaned(tmp_path: Path, *rows: str, **missing: str) -> tuple[Cleaned, list[dict[str, Any]], list[tuple[int, str]]]:
    """What came of an invoice file: the numbers, the rows of the copy, line and reason of those set aside."""
    (tmp_path / "raw.csv").write_text(HEADER + "".join(rows))
    result = clean(tmp_path / "raw.csv", tmp_path / "copy.parquet", **missing)
    with beside(tmp_path / "copy.parquet", "set-aside.csv").open() as stream:
        aside = [(int(row["line"]), row["reason"]) for row in csv.DictReader(stream)]
    return result, pq.read_table(tmp_path / "copy.parquet").to_pylist(), aside


def test_cells_get_their_types_and_times_their_zone(tmp_path: Path) -> None:
    american = GOOD.replace("2010-12-01 08:26:00", "12/1/2010 8:27").replace("17850", " 17850.0 ")
    offset = GOOD.replace("2010-12-01 08:26:00", "2010-12-01T09:28:00+01:00")
    result, rows, aside = cleaned(tmp_path, GOOD, american, offset)
    assert [row["InvoiceDate"].astimezone(UTC) for row in rows] == [
        datetime(2010, 12, 1, 8, minute, tzinfo=UTC) for minute in (26, 27, 28)
    ]
    assert [(row["Quantity"], row["UnitPrice"], row["CustomerID"]) for row in rows] == [(6, 2.55, "17850")] * 3
    assert aside == []
    assert ("rewritten", "CustomerID", 1, (3,)) in [(c.action, c.column, c.count, c.lines) for c in result.changes]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("17850", ""), "CustomerID: missing"),
        (("17850", "   "), "CustomerID: missing"),
        (("2.55", "cheap"), "UnitPrice: not readable as number"),
        (("2.55", "inf"), "UnitPrice: not readable as number"),
        (("2.55", "0"), "UnitPrice: not above 0"),
        ((",6,", ",1.5,"), "Quantity: not readable as whole number"),
        (("2010-12-01 08:26:00", "soon"), "InvoiceDate: not readable as time"),
        (("2010-12-01 08:26:00", "1970-01-01 00:00:00"), "InvoiceDate: before 1990-01-01"),
        (("2010-12-01 08:26:00", "2026-01-16 00:00:00"), "InvoiceDate: in the future"),
        ((",France", ""), "7 fields where there are 8 columns"),
        (("LAMP", "LAMP"), "equal to line 2"),
    ],
)
def test_a_row_that_cannot_be_put_right_is_set_aside_with_its_reason(
    tmp_path: Path, change: tuple[str, str], reason: str
) -> None:
    result, rows, aside = cleaned(tmp_path, GOOD, GOOD.replace(*change))
    assert aside == [(3, reason)]
    assert (result.rows, result.kept, result.set_aside, len(rows)) == (2, 1, 1, 1)


def test_levels_take_their_most_frequent_spelling(tmp_path: Path) -> None:
    rows = [GOOD.replace("1,A", f"{number},A") for number in range(3)]
    other = [GOOD.replace("1,A", "7,a").replace("France", " FRANCE"), GOOD.replace("1,A", "8,A").replace("France", "")]
    _, copy, aside = cleaned(tmp_path, *rows, *other)
    assert {(row["StockCode"], row["Country"]) for row in copy} == {("A", "France"), ("A", None)}
    assert (len(copy), aside) == (5, [])


def test_a_missing_number_takes_the_median_only_where_that_is_declared(tmp_path: Path) -> None:
    rows = [GOOD.replace("1,A", f"{number},A").replace(",6,", f",{number},") for number in (2, 4, 9)]
    gap = GOOD.replace(",6,", ",,")
    _, _, aside = cleaned(tmp_path, *rows, gap)
    assert aside == [(5, "Quantity: missing")]
    result, copy, aside = cleaned(tmp_path, *rows, gap, Quantity="impute")
    assert (sorted(row["Quantity"] for row in copy), aside) == ([2, 4, 4, 9], [])
    assert [(c.column, c.count, c.lines) for c in result.changes if c.action == "imputed"] == [("Quantity", 1, (5,))]
    with pytest.raises(RefusedFile, match=r"raw\.csv: column Quantity must not be missing, but is in lines 5"):
        cleaned(tmp_path, *rows, gap, Quantity="refuse")


def test_outliers_are_marked_and_stay(tmp_path: Path) -> None:
    rows = [GOOD.replace("1,A", f"{number},A").replace(",6,", f",{5 + number % 4},") for number in range(20)]
    result, copy, aside = cleaned(tmp_path, *rows, GOOD.replace("1,A", "99,A").replace(",6,", ",80995,"))
    assert [row["InvoiceNo"] for row in copy if row["outlier_in"] == "Quantity"] == ["99"]
    assert (len(copy), aside) == (21, [])
    assert [(c.column, c.count, c.lines) for c in result.changes if c.action == "marked"] == [("Quantity", 1, (22,))]


def test_the_copy_is_in_the_order_of_time_and_the_raw_file_is_untouched(tmp_path: Path) -> None:
    late = GOOD.replace("08:26", "09:00").replace("1,A", "2,A")
    _, copy, _ = cleaned(tmp_path, late, GOOD)
    assert [row["InvoiceNo"] for row in copy] == ["1", "2"]
    assert (tmp_path / "raw.csv").read_text() == HEADER + late + GOOD
    log = json.loads((tmp_path / "copy.log.json").read_text())
    assert (log["file"], log["rows"], log["kept"]) == ("raw.csv", 2, 2)
    assert log["rules"]["CustomerID"]["missing"] == "drop"


ROWS = {
    "retailrocket": "timestamp,visitorid,event,itemid,transactionid\n1433221332117,2,view,3,\n",
    "cdnow": "00004 0001 19970101 2 29.33\n00004 0001 19970101 2 29.33\n",
    "ebb": "event_id,event_type,occurred_at,customer_id,product_id\ne1,view,2026-01-05T10:00:00.25Z,c1,p1\n",
    "rees46": "event_time,event_type,product_id,price,user_id\n2019-10-01 00:00:00 UTC,view,p,1.5,u\n",
    "sessions": "session_id,customer_id,session_date,product_viewed,browsing_time_sec,purchase_made,purchase_amount\n"
    "s1,c1,2024-02-01 10:00:00,p9,600,1,49.90\n",
}


@pytest.mark.parametrize("ending", ["parquet", "csv"])
@pytest.mark.parametrize("format_name", ROWS)
def test_a_clean_copy_is_replayed_like_the_file(
    tmp_path: Path, replay_file: Any, format_name: str, ending: str
) -> None:
    raw = tmp_path / ("raw.txt" if format_name == "cdnow" else "raw.csv")
    raw.write_text(ROWS[format_name])
    clean(raw, tmp_path / f"copy.{ending}", format_name)
    copy = replay_file(tmp_path / f"copy.{ending}", format_name)
    whole = replay_file(raw, format_name)
    assert copy.letters == []
    assert [(e.event_type, e.occurred_at, e.price) for e in copy.events] == [
        (e.event_type, e.occurred_at, e.price) for e in whole.events
    ]


@pytest.mark.parametrize(
    ("said", "answer"),
    [("Price=drop", "the columns are UnitPrice, Country"), ("UnitPrice=guess", "a rule is one of keep, drop, impute")],
)
def test_a_rule_that_makes_no_sense_is_refused(said: str, answer: str) -> None:
    with pytest.raises(BadRule, match=answer):
        parsed_missing([said], ["UnitPrice", "Country"])


def test_words_have_no_median(tmp_path: Path) -> None:
    with pytest.raises(BadRule, match="median of numbers only"):
        cleaned(tmp_path, GOOD, Country="impute")
