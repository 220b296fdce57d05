"""Each format: what a good row becomes, which reason every bad one gets, and what is said of missing columns."""

import csv
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.events import Event, Reason, encode
from producer.adapters import Adapter
from producer.errors import MissingColumns
from producer.files import open_rows

RETAIL = {
    "InvoiceNo": "536365",
    "StockCode": "85123a",
    "Description": "WHITE LANTERN ",
    "Quantity": "6",
    "InvoiceDate": "2010-12-01 08:26:00",
    "UnitPrice": "2.55",
    "CustomerID": "17850",
    "Country": "United Kingdom",
}
REES46 = {
    "event_time": "2019-10-01 00:00:04 UTC",
    "event_type": "purchase",
    "product_id": "1004237",
    "category_id": "2053013555631882655",
    "category_code": "electronics.smartphone",
    "brand": "apple",
    "price": "1081.98",
    "user_id": "535871217",
    "user_session": "c6bd7419",
}
EBB = {
    "event_id": "e1",
    "event_type": "purchase",
    "occurred_at": "2026-01-05T10:00:00Z",
    "customer_id": "c1",
    "price": "19.99",
    "quantity": "2",
    "order_id": "o1",
    "discount": "",
    "signup_date": "",
}


def write_csv(path: Path, *rows: dict[str, str]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, *rows: dict[str, Any]) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


# --- Online Retail ----------------------------------------------------------------------------------------------------


def test_an_invoice_line_is_a_purchase(tmp_path: Path, replay_file: Any) -> None:
    [event] = replay_file(write_csv(tmp_path / "a.csv", RETAIL), "online-retail").events
    assert event == Event(
        event.event_id,
        "purchase",
        datetime(2010, 12, 1, 8, 26, tzinfo=UTC),
        "17850",
        product_id="85123a",
        product_name="WHITE LANTERN ",
        price=2.55,
        quantity=6,
        order_id="536365",
        country="United Kingdom",
    )


def test_a_cancellation_is_a_refund_that_names_no_order(tmp_path: Path, replay_file: Any) -> None:
    row = RETAIL | {"InvoiceNo": "C536365", "Quantity": "-6"}
    [event] = replay_file(write_csv(tmp_path / "a.csv", row), "online-retail").events
    assert (event.event_type, event.quantity, event.order_id, event.price) == ("refund", 6, None, 2.55)


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        ({"CustomerID": ""}, Reason.MISSING_FIELD, "CustomerID: "),
        ({"CustomerID": "", "UnitPrice": "0"}, Reason.MISSING_FIELD, "CustomerID: "),
        ({"CustomerID": "1" * 129}, Reason.INVALID_FIELD, "customer_id: "),
        ({"UnitPrice": "0"}, Reason.INVALID_FIELD, "UnitPrice: "),
        ({"UnitPrice": "-11062.06"}, Reason.INVALID_FIELD, "UnitPrice: "),
        ({"UnitPrice": "cheap"}, Reason.INVALID_FIELD, "UnitPrice: 'cheap'"),
        ({"UnitPrice": "nan"}, Reason.INVALID_FIELD, "UnitPrice: "),
        ({"UnitPrice": "inf"}, Reason.INVALID_FIELD, "price: "),
        ({"UnitPrice": ""}, Reason.MISSING_FIELD, "UnitPrice: "),
        ({"Quantity": "0"}, Reason.INVALID_FIELD, "Quantity: "),
        ({"Quantity": "-6"}, Reason.INVALID_FIELD, "Quantity: "),
        ({"Quantity": "1.5"}, Reason.INVALID_FIELD, "Quantity: "),
        ({"Quantity": "1000001"}, Reason.INVALID_FIELD, "quantity: "),
        ({"InvoiceNo": "C536365"}, Reason.INVALID_FIELD, "Quantity: "),
        ({"InvoiceNo": " "}, Reason.MISSING_FIELD, "InvoiceNo: "),
        ({"InvoiceDate": "yesterday"}, Reason.INVALID_FIELD, "InvoiceDate: 'yesterday'"),
        ({"InvoiceDate": "0001-01-01T00:00:00+05:00"}, Reason.INVALID_FIELD, "InvoiceDate: "),
        ({"InvoiceDate": ""}, Reason.MISSING_FIELD, "InvoiceDate: "),
        ({"InvoiceDate": "2026-01-15 12:06:00"}, Reason.FUTURE_TIME, "occurred_at "),
        ({"Description": "x" * 257}, Reason.INVALID_FIELD, "product_name: "),
    ],
)
def test_a_bad_invoice_line_is_a_dead_letter_with_its_reason(
    tmp_path: Path, replay_file: Any, change: dict[str, str], reason: Reason, said: str
) -> None:
    kept = replay_file(write_csv(tmp_path / "a.csv", RETAIL, RETAIL | change, RETAIL), "online-retail")
    assert kept.reasons == [(3, reason)]
    assert kept.letters[0].detail.startswith(said)
    assert kept.letters[0].file == "a.csv"
    assert kept.letters[0].letter_id == "f-2", "the fingerprint of the content, and the row"
    assert len(kept.events) == 2
    assert kept.counts.rows == 3


def test_the_same_invoice_line_has_the_same_id_from_text_and_from_typed_values(
    tmp_path: Path, replay_file: Any
) -> None:
    typed = RETAIL | {
        "Quantity": 6,
        "InvoiceDate": datetime(2010, 12, 1, 8, 26),
        "UnitPrice": 2.55,
        "CustomerID": 17850.0,
    }
    american = {
        "Invoice": "536365",
        "StockCode": "85123a",
        "ProductName": "WHITE LANTERN ",
        "Quantity": "6",
        "InvoiceDate": "12/1/2010 8:26",
        "Price": "2.550",
        "Customer ID": "17850.0",
        "Country": "United Kingdom",
    }
    files = [
        write_csv(tmp_path / "a.csv", RETAIL, RETAIL),
        write_parquet(tmp_path / "b.parquet", typed, typed | {"CustomerID": None}),
        write_csv(tmp_path / "c.csv", american),
    ]
    events = [event for file in files for event in replay_file(file, "online-retail").events]
    assert len(events) == 4
    assert len({encode(event) for event in events}) == 1


@pytest.mark.parametrize("column", RETAIL)
def test_lines_that_differ_in_one_column_are_different_events(tmp_path: Path, replay_file: Any, column: str) -> None:
    other = {"Quantity": "7", "InvoiceDate": "2010-12-01 08:27:00", "UnitPrice": "2.56"}.get(column, "1")
    one, two = replay_file(write_csv(tmp_path / "a.csv", RETAIL, RETAIL | {column: other}), "online-retail").events
    assert one.event_id != two.event_id


# --- REES46 -----------------------------------------------------------------------------------------------------------


def test_a_purchase_of_a_session_belongs_to_the_order_of_the_session(tmp_path: Path, replay_file: Any) -> None:
    other_user = REES46 | {"user_id": "1"}
    later = REES46 | {"event_time": "2019-10-01 00:09:00 UTC"}
    view, loose = REES46 | {"event_type": "view"}, REES46 | {"user_session": ""}
    path = write_csv(tmp_path / "a.csv", REES46, later, other_user, view, loose)
    first, second, others, viewed, alone = replay_file(path, "rees46").events
    assert first == Event(
        first.event_id,
        "purchase",
        datetime(2019, 10, 1, 0, 0, 4, tzinfo=UTC),
        "535871217",
        session_id="c6bd7419",
        product_id="1004237",
        category="electronics.smartphone",
        price=1081.98,
        order_id=first.order_id,
    )
    assert first.order_id == second.order_id is not None
    assert others.order_id not in (first.order_id, None)
    assert (viewed.order_id, viewed.price) == (None, 1081.98)
    assert (alone.order_id, alone.session_id) == (None, None)


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        ({"event_type": "wishlist"}, Reason.UNKNOWN_TYPE, "event_type: "),
        ({"event_type": ""}, Reason.MISSING_FIELD, "event_type: "),
        ({"user_id": ""}, Reason.MISSING_FIELD, "user_id: "),
        ({"price": ""}, Reason.MISSING_FIELD, "price: "),
        ({"price": "-1"}, Reason.INVALID_FIELD, "price: "),
        ({"event_type": "view", "product_id": ""}, Reason.MISSING_FIELD, "product_id: "),
        ({"event_time": "soon"}, Reason.INVALID_FIELD, "event_time: "),
        ({"event_time": "2026-02-01 00:00:00 UTC"}, Reason.FUTURE_TIME, "occurred_at "),
    ],
)
def test_a_bad_row_of_the_shop_is_a_dead_letter_with_its_reason(
    tmp_path: Path, replay_file: Any, change: dict[str, str], reason: Reason, said: str
) -> None:
    kept = replay_file(write_csv(tmp_path / "a.csv", REES46, REES46 | change), "rees46")
    assert kept.reasons == [(3, reason)]
    assert kept.letters[0].detail.startswith(said)


def test_rows_from_csv_and_parquet_are_the_same_events(tmp_path: Path, replay_file: Any) -> None:
    typed = {
        **REES46,
        "event_time": datetime(2019, 10, 1, 0, 0, 4),
        "product_id": 1004237,
        "category_id": 2053013555631882655,
        "price": 1081.98,
        "user_id": 535871217,
        "category_code": None,
        "brand": None,
    }
    text = REES46 | {"category_code": "", "brand": ""}
    [one] = replay_file(write_csv(tmp_path / "a.csv", text), "rees46").events
    [two] = replay_file(write_parquet(tmp_path / "a.parquet", typed), "rees46").events
    assert one == two


# --- Ebb's own --------------------------------------------------------------------------------------------------------


def test_own_columns_are_read_from_text_and_from_typed_values(tmp_path: Path, replay_file: Any) -> None:
    typed = {
        "event_id": "e1",
        "event_type": "purchase",
        "occurred_at": datetime(2026, 1, 5, 10, tzinfo=UTC),
        "customer_id": "c1",
        "price": 19.99,
        "quantity": 2.0,
        "order_id": "o1",
        "discount": float("nan"),
        "signup_date": None,
        "ingested_at": datetime(2026, 1, 6, tzinfo=UTC),
    }
    event = Event("e1", "purchase", datetime(2026, 1, 5, 10, tzinfo=UTC), "c1", price=19.99, quantity=2, order_id="o1")
    text = replay_file(write_csv(tmp_path / "a.csv", EBB), "ebb")
    binary = replay_file(write_parquet(tmp_path / "a.parquet", typed), "ebb")
    (tmp_path / "a.jsonl").write_bytes(encode(event))
    lines = replay_file(tmp_path / "a.jsonl", "ebb")
    assert text.events == binary.events == lines.events == [event]
    assert text.arrivals == lines.arrivals == [event.occurred_at]
    assert binary.arrivals == [datetime(2026, 1, 6, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        ({"event_id": ""}, Reason.MISSING_FIELD, "event_id: "),
        ({"event_type": "wish"}, Reason.UNKNOWN_TYPE, "event_type: "),
        ({"occurred_at": "2026-01-05T10:00:00"}, Reason.NAIVE_TIME, "occurred_at: "),
        ({"occurred_at": "05.01.2026"}, Reason.INVALID_FIELD, "occurred_at: "),
        ({"occurred_at": "2026-01-15T12:06:00Z"}, Reason.FUTURE_TIME, "occurred_at "),
        ({"price": "-0.01"}, Reason.INVALID_FIELD, "price: "),
        ({"price": "nan"}, Reason.INVALID_FIELD, "price: "),
        ({"price": ""}, Reason.MISSING_FIELD, "price: "),
        ({"quantity": "1.5"}, Reason.INVALID_FIELD, "quantity: "),
        ({"quantity": "many"}, Reason.INVALID_FIELD, "quantity: "),
        ({"signup_date": "2025-02-30"}, Reason.INVALID_FIELD, "signup_date: "),
    ],
)
def test_a_bad_row_of_our_own_has_the_reason_of_the_schema(
    tmp_path: Path, replay_file: Any, change: dict[str, str], reason: Reason, said: str
) -> None:
    kept = replay_file(write_csv(tmp_path / "a.csv", EBB, EBB | change), "ebb")
    assert kept.reasons == [(3, reason)]
    assert kept.letters[0].detail.startswith(said)


def test_a_foreign_currency_is_a_dead_letter(tmp_path: Path, replay_file: Any) -> None:
    path = write_csv(tmp_path / "a.csv", EBB | {"currency": "EUR"}, EBB | {"currency": "SEK"})
    assert replay_file(path, "ebb").reasons == [(3, Reason.UNKNOWN_CURRENCY)]


def test_a_time_without_an_offset_in_parquet_is_a_dead_letter(tmp_path: Path, replay_file: Any) -> None:
    row = {"event_id": "e1", "event_type": "profile", "occurred_at": datetime(2026, 1, 5), "customer_id": "c1"}
    assert replay_file(write_parquet(tmp_path / "a.parquet", row), "ebb").reasons == [(1, Reason.NAIVE_TIME)]


def test_a_broken_line_of_json_is_a_dead_letter_with_its_bytes(tmp_path: Path, replay_file: Any) -> None:
    good = encode(Event("e1", "profile", datetime(2026, 1, 5, tzinfo=UTC), "c1", signup_date=date(2026, 1, 5)))
    (tmp_path / "a.jsonl").write_bytes(good + b'\n{"event_id": \n\xff\xfe\n' + good)
    kept = replay_file(tmp_path / "a.jsonl", "ebb")
    assert kept.reasons == [(2, Reason.BROKEN_JSON), (3, Reason.BROKEN_JSON)]
    assert [letter.raw_bytes for letter in kept.letters] == [len(b'{"event_id":'), 2]
    assert len(kept.events) == 2


# --- columns ----------------------------------------------------------------------------------------------------------


def test_missing_columns_are_named_beside_those_that_were_found(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", {"InvoiceNo": "1", "Kunde": "2"})
    with pytest.raises(MissingColumns) as raised:
        Adapter("online-retail", open_rows(path), "EUR")
    assert str(raised.value) == (
        "a.csv: format online-retail needs columns that are missing: StockCode, Description or ProductName, Quantity, "
        "InvoiceDate, UnitPrice or Price, CustomerID or Customer ID, Country; found: InvoiceNo, Kunde"
    )
