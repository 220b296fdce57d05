"""RetailRocket, CDNOW, the sessions pair: what a row becomes, which reason a bad one gets; files without a header."""

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from churn.events import Reason
from producer.errors import MissingColumns, UnreadableFile
from producer.source import open_source

ROCKET = "timestamp,visitorid,event,itemid,transactionid\n"
ROCKET_ROWS = "1433221332117,257597,view,355908,\n1433221999827,257597,addtocart,355908,\n"
ROCKET_SALE = "1433222276276,257597,transaction,356475,4000\n"
CUSTOMERS = "customer_id,age,gender,location,signup_date\n"
SESSIONS = "session_id,customer_id,session_date,product_viewed,browsing_time_sec,purchase_made,purchase_amount\n"


def kinds(kept: Any) -> list[tuple[str, timedelta]]:
    first = kept.events[0].occurred_at
    return [(event.event_type, event.occurred_at - first) for event in kept.events]


# --- RetailRocket -----------------------------------------------------------------------------------------------------


def test_a_visitor_views_carts_and_buys_at_an_unknown_price(tmp_path: Path, replay_file: Any) -> None:
    (tmp_path / "events.csv").write_text(ROCKET + ROCKET_ROWS + ROCKET_SALE)
    view, cart, purchase = replay_file(tmp_path / "events.csv", "retailrocket").events
    assert [event.event_type for event in (view, cart, purchase)] == ["view", "cart", "purchase"]
    assert view.occurred_at == datetime(2015, 6, 2, 5, 2, 12, 117_000, tzinfo=UTC)
    assert (view.customer_id, view.product_id, view.price, view.order_id) == ("257597", "355908", None, None)
    assert (purchase.price, purchase.order_id) == (0.0, "4000")


@pytest.mark.parametrize(
    ("row", "reason", "said"),
    [
        ("never,1,view,2,", Reason.INVALID_FIELD, "timestamp: 'never'"),
        ("9e30,1,view,2,", Reason.INVALID_FIELD, "timestamp: "),
        (",1,view,2,", Reason.MISSING_FIELD, "timestamp: "),
        ("1433221332117,,view,2,", Reason.MISSING_FIELD, "visitorid: "),
        ("1433221332117,1,,2,", Reason.MISSING_FIELD, "event: "),
        ("1433221332117,1,wish,2,", Reason.UNKNOWN_TYPE, "event: 'wish'"),
        ("1433221332117,1,view,,", Reason.MISSING_FIELD, "itemid: "),
        ("1433221332117,1,transaction,2,", Reason.INVALID_FIELD, "transactionid: "),
        ("1433221332117,1,view,2,77", Reason.INVALID_FIELD, "transactionid: "),
        ("1433221332", Reason.INVALID_ROW, "1 fields"),
    ],
)
def test_a_bad_row_of_the_rocket_is_a_dead_letter(
    tmp_path: Path, replay_file: Any, row: str, reason: Reason, said: str
) -> None:
    (tmp_path / "events.csv").write_text(f"{ROCKET}{ROCKET_ROWS}{row}\n{ROCKET_SALE}")
    kept = replay_file(tmp_path / "events.csv", "retailrocket")
    assert kept.reasons == [(4, reason)]
    assert kept.letters[0].detail.startswith(said)
    assert (kept.counts.good_rows, kept.counts.rows) == (3, 4)


# --- CDNOW ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sample.txt", "sample.csv"])
def test_a_transaction_of_a_day_is_a_purchase_and_equal_ones_are_several(
    tmp_path: Path, replay_file: Any, name: str
) -> None:
    text = " 00004 0001 19970101  2   29.33\r\n 00004 0001 19970101  2   29.33\r\n"
    if name.endswith("csv"):
        text = "00004,0001,19970101,2,29.33\n00004,0001,19970101,2,29.33\n"
    (tmp_path / name).write_text(text)
    one, two = replay_file(tmp_path / name, "cdnow").events
    assert one.event_id != two.event_id
    assert (one.event_type, one.customer_id, one.quantity, one.price) == ("purchase", "00004", 2, 29.33 / 2)
    assert one.occurred_at == datetime(1997, 1, 1, tzinfo=UTC)


def test_the_text_of_all_customers_has_one_column_less_and_a_torn_end_is_a_dead_letter(
    tmp_path: Path, replay_file: Any
) -> None:
    (tmp_path / "master.txt").write_text(
        " 00001 19970101  1   11.77\n 00002 1997 1 12.00\n 00002 19970112  0   12\n 000"
    )
    kept = replay_file(tmp_path / "master.txt", "cdnow")
    assert [event.customer_id for event in kept.events] == ["00001"]
    assert kept.reasons == [(2, Reason.INVALID_FIELD), (3, Reason.INVALID_FIELD), (4, Reason.INVALID_ROW)]


# --- the sessions pair ------------------------------------------------------------------------------------------------


def write_pair(directory: Path) -> Path:
    directory.mkdir()
    (directory / "customers.csv").write_text(CUSTOMERS + "c1,34,F,Berlin,2024-01-05\nc2,,,,05.01.2024\n")
    (directory / "sessions.csv").write_text(
        SESSIONS
        + "s1,c1,2024-02-01 10:00:00,p9,600,1,49.90\n"
        + "s2,c1,2024-02-03 10:00:00,p8,45,0,\n"
        + "s3,c2,2024-02-03 10:00:00,p8,45,maybe,\n"
    )
    return directory


def test_the_pair_is_one_source_of_profiles_and_visits(tmp_path: Path, replay_file: Any) -> None:
    for format_name in ("sessions", None):
        directory = tmp_path / str(format_name)
        kept = replay_file(write_pair(directory), format_name)
        profile, view, purchase, *_ = kept.events
        assert (profile.event_type, profile.age, profile.gender, profile.location) == ("profile", 34, "F", "Berlin")
        assert (profile.signup_date, profile.occurred_at) == (date(2024, 1, 5), datetime(2024, 1, 5, tzinfo=UTC))
        assert (view.event_type, view.product_id, view.session_id) == ("view", "p9", "s1")
        assert (purchase.event_type, purchase.price, purchase.order_id) == ("purchase", 49.9, "s1")
        assert purchase.occurred_at - view.occurred_at == timedelta(minutes=10)
        assert [(letter.file, letter.line) for letter in kept.letters] == [("customers.csv", 3), ("sessions.csv", 4)]
        assert (kept.counts.good_rows, kept.counts.rows) == (3, 5)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("45,0,", [("view", 0), ("profile", 45)]),
        ("45,no,0.0", [("view", 0), ("profile", 45)]),
        (",false,", [("view", 0)]),
        ("0,yes,5", [("view", 0), ("purchase", 0)]),
        ("1800,0,", [("view", 0), ("profile", 1800)]),
        ("4000,1.0,5", [("view", 0), ("profile", 1800), ("profile", 3600), ("purchase", 4000)]),
    ],
)
def test_a_visit_lasts_as_long_as_it_was_browsed(
    tmp_path: Path, replay_file: Any, row: str, expected: list[tuple[str, int]]
) -> None:
    (tmp_path / "sessions.csv").write_text(f"{SESSIONS}s1,c1,2024-02-01 10:00:00,p9,{row}\n")
    kept = replay_file(tmp_path / "sessions.csv", "sessions")
    assert kinds(kept) == [(kind, timedelta(seconds=second)) for kind, second in expected]
    assert len({event.event_id for event in kept.events}) == len(expected)


@pytest.mark.parametrize(
    ("row", "reason", "said"),
    [
        ("s1,,2024-02-01,p9,45,0,", Reason.MISSING_FIELD, "customer_id: "),
        (",c1,2024-02-01,p9,45,0,", Reason.MISSING_FIELD, "session_id: "),
        ("s1,c1,soon,p9,45,0,", Reason.INVALID_FIELD, "session_date: "),
        ("s1,c1,2024-02-01,p9,-1,0,", Reason.INVALID_FIELD, "browsing_time_sec: "),
        ("s1,c1,2024-02-01,p9,90000,0,", Reason.INVALID_FIELD, "browsing_time_sec: "),
        ("s1,c1,2024-02-01,p9,45,,", Reason.MISSING_FIELD, "purchase_made: "),
        ("s1,c1,2024-02-01,p9,45,1,", Reason.MISSING_FIELD, "purchase_amount: "),
        ("s1,c1,2024-02-01,p9,45,0,12.5", Reason.INVALID_FIELD, "purchase_amount: "),
        ("s1,c1,2024-02-01,p9,45,1,-2", Reason.INVALID_FIELD, "price: "),
    ],
)
def test_a_visit_with_a_fault_is_a_dead_letter_as_a_whole(
    tmp_path: Path, replay_file: Any, row: str, reason: Reason, said: str
) -> None:
    (tmp_path / "sessions.csv").write_text(f"{SESSIONS}s0,c1,2024-02-01,p9,45,0,\n{row}\n")
    kept = replay_file(tmp_path / "sessions.csv", "sessions")
    assert kept.reasons == [(3, reason)]
    assert kept.letters[0].detail.startswith(said)
    assert {event.session_id for event in kept.events} == {"s0"}


def test_a_pair_that_lacks_one_half_is_refused(tmp_path: Path) -> None:
    (write_pair(tmp_path / "pair") / "customers.csv").unlink()
    with pytest.raises(UnreadableFile, match=r"customers\.csv, \.csv\.gz, \.parquet or \.jsonl is needed, found none"):
        open_source(tmp_path / "pair", "sessions", "utf-8", "EUR")


# --- files of every kind, with and without a header -------------------------------------------------------------------

HEADED = {
    "online-retail": "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    "536365,85123A,LANTERN,6,2010-12-01 08:26:00,2.55,17850,United Kingdom\n"
    "536366,85123B,LAMP,1,2010-12-01 08:28:00,1.85,17851,France\n",
    "rees46": "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
    "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde\n"
    "2019-10-01 00:00:01 UTC,view,3900821,2053013552326770905,appliances.heater,aqua,33.20,554748717,9333dfbd\n",
    "retailrocket": ROCKET + ROCKET_ROWS + ROCKET_SALE,
    "sessions": SESSIONS + "s1,c1,2024-02-01 10:00:00,p9,600,1,49.90\ns2,c1,2024-02-03 10:00:00,p8,45,0,\n",
    "ebb": "event_id,event_type,occurred_at,customer_id,product_id\n"
    "e1,view,2026-01-05T10:00:00Z,c1,p1\ne2,view,2026-01-05T10:00:01Z,c1,p1\n",
}


@pytest.mark.parametrize("format_name", HEADED)
def test_the_same_rows_give_the_same_events_from_every_kind_of_file(
    tmp_path: Path, replay_file: Any, format_name: str
) -> None:
    (tmp_path / "a.csv").write_text(HEADED[format_name])
    table = pyarrow.csv.read_csv(tmp_path / "a.csv")
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row, default=_iso) for row in table.to_pylist()))
    kept = [replay_file(tmp_path / f"a.{kind}", format_name) for kind in ("csv", "parquet", "jsonl")]
    assert kept[0].events == kept[1].events == kept[2].events != []
    assert not any(each.letters for each in kept)
    told = replay_file(tmp_path / "a.csv", None)
    assert told.events == kept[0].events, "the columns tell the format"


def _iso(value: datetime) -> str:
    return value.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("format_name", ["online-retail", "rees46", "retailrocket", "sessions"])
def test_a_file_without_a_header_gives_the_same_events(tmp_path: Path, replay_file: Any, format_name: str) -> None:
    (tmp_path / "headed.csv").write_text(HEADED[format_name])
    (tmp_path / "bare.csv").write_text(HEADED[format_name].split("\n", 1)[1])
    headed = replay_file(tmp_path / "headed.csv", format_name)
    assert replay_file(tmp_path / "bare.csv", format_name).events == headed.events
    assert replay_file(tmp_path / "bare.csv", None).events == headed.events


def test_columns_of_json_lines_are_checked_first(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"timestamp": 1, "visitor": 2}\n')
    with pytest.raises(MissingColumns, match="visitorid, event, itemid, transactionid; found: timestamp, visitor"):
        open_source(tmp_path / "a.jsonl", "retailrocket", "utf-8", "EUR")


def test_a_line_of_json_that_is_no_object_is_a_dead_letter(tmp_path: Path, replay_file: Any) -> None:
    good = '{"timestamp": 1433221332117, "visitorid": 2, "event": "view", "itemid": 3, "transactionid": null}'
    (tmp_path / "a.jsonl").write_text(f'{good}\n[1]\n{{"timestamp": \n{good[:-20]}\n')
    kept = replay_file(tmp_path / "a.jsonl", "retailrocket")
    assert Counter(reason for _, reason in kept.reasons) == {Reason.BROKEN_JSON: 3}
    assert len(kept.events) == 1


def test_a_file_of_no_format_is_refused_with_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("kunde,datum\n1,2\n")
    with pytest.raises(MissingColumns, match=r"the columns of no format .*name one with --format; found: kunde, datum"):
        open_source(tmp_path / "a.csv", None, "utf-8", "EUR")


def test_the_fingerprint_names_the_content_and_the_format_not_the_file(tmp_path: Path) -> None:
    for name, text in (("a", HEADED["rees46"]), ("b", HEADED["rees46"]), ("c", HEADED["rees46"] + "x\n")):
        (tmp_path / f"{name}.csv").write_text(text)
    a, b, c = (open_source(tmp_path / f"{name}.csv", "rees46", "utf-8", "EUR").fingerprint() for name in "abc")
    assert a == b != c
