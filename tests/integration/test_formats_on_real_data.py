"""Real files through the producer alone: every row is accounted for, and totals are those that others computed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from churn.events import Event, InvalidEvent, check
from producer import inspection
from producer.clean import Cleaning
from producer.raw_table import loaded
from producer.source import open_source

pytestmark = pytest.mark.real_data

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


class Kept(NamedTuple):
    """What the rows of a file became."""

    rows: int
    good_rows: int
    events: list[Event]
    letters: list[InvalidEvent]


def read(path: Path, format_name: str) -> Kept:
    events, letters, rows = [], [], 0
    for row, adapter in open_source(path, format_name, "utf-8", "EUR").rows():
        rows += 1
        try:
            arrivals = adapter.read(row)
            for arrival in arrivals:
                check(arrival.event, now=NOW, currency="EUR")
        except InvalidEvent as error:
            letters.append(error)
        else:
            events += [arrival.event for arrival in arrivals]
    return Kept(rows, rows - len(letters), events, letters)


def test_every_row_of_a_real_shop_is_accounted_for(real_data: Path) -> None:
    kept = read(real_data / "online_retail.parquet", "online-retail")
    ids = {kind: {e.event_id for e in kept.events if e.event_type == kind} for kind in ("purchase", "refund")}
    reasons = [(letter.reason, letter.detail.split(":")[0]) for letter in kept.letters]
    assert kept.rows == 541_909
    assert {reason: reasons.count(reason) for reason in set(reasons)} == {
        ("missing_field", "CustomerID"): 135_080,
        ("invalid_field", "UnitPrice"): 40,
    }
    assert {kind: len(found) for kind, found in ids.items()} == {"purchase": 392_692, "refund": 8_872}
    assert len(kept.events) - 392_692 - 8_872 == 5_225
    gross = {e.event_id: round(e.price * e.quantity * 1000) for e in kept.events if e.event_type == "purchase"}
    assert round(sum(gross.values()) / 1000, 2) == 8_887_208.89


def test_every_row_of_a_real_event_log_is_an_event(real_data: Path) -> None:
    kept = read(real_data / "rees46_oct_even_dev.parquet", "rees46")
    assert (len(kept.events), kept.letters, kept.rows) == (8_591, [], 8_591)


def test_every_transaction_of_cdnow_is_a_purchase(real_data: Path) -> None:
    kept = read(real_data / "CDNOW_sample.txt", "cdnow")
    assert (kept.good_rows, len({event.event_id for event in kept.events}), kept.letters) == (6_919, 6_919, [])
    assert len({event.customer_id for event in kept.events}) == 2_357
    spent = sum(float(line.split()[4]) for line in (real_data / "CDNOW_sample.txt").read_text().splitlines())
    assert sum(event.price * event.quantity for event in kept.events) == pytest.approx(spent)
    times = [event.occurred_at for event in kept.events]
    assert (min(times), max(times)) == (datetime(1997, 1, 1, tzinfo=UTC), datetime(1998, 6, 30, tzinfo=UTC))


def test_every_row_of_a_real_shop_is_kept_or_set_aside_for_a_known_reason(real_data: Path, tmp_path: Path) -> None:
    source = open_source(real_data / "online_retail.parquet", None, "utf-8", "EUR")
    with loaded(source.parts[0], lambda count, fraction: None) as table:
        result = Cleaning(table, source.parts[0], source.format_name, {}, NOW).run(tmp_path / "copy.parquet")
    assert (result.rows, result.kept) == (541_909, 392_692 + 8_872)
    aside = {(c.column, c.why): c.count for c in result.changes if c.action == "set aside"}
    assert aside == {
        ("CustomerID", "missing"): 135_080,
        ("UnitPrice", "not above 0"): 40,
        (None, "equal to an earlier row"): 5_225,
    }
    copy = pq.read_table(tmp_path / "copy.parquet", columns=["InvoiceNo", "Quantity", "UnitPrice"]).to_pandas()
    bought = copy[~copy["InvoiceNo"].str.startswith("C")]
    assert round((bought["Quantity"] * bought["UnitPrice"]).sum(), 2) == 8_887_208.89


def test_the_quirks_of_a_real_shop_are_reported(real_data: Path) -> None:
    source = open_source(real_data / "online_retail.parquet", None, "utf-8", "EUR")
    with loaded(source.parts[0], lambda count, fraction: None) as table:
        report = inspection.inspect(table, source.parts[0], source.format_name, "EUR", NOW)
    columns = {column.name: column for column in report.columns}
    assert (report.rows, report.repeated, report.format_name) == (541_909, 5_268, "online-retail")
    assert (columns["CustomerID"].missing, columns["Quantity"].low, columns["UnitPrice"].low) == (
        135_080,
        -80_995,
        -11_062.06,
    )
    assert (report.first, report.last) == (datetime(2010, 12, 1, 8, 26), datetime(2011, 12, 9, 12, 50))
