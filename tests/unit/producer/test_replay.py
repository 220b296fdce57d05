"""Replaying a file: every row once, parts that fit together, and times that move by whole days."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.events import Event, Reason, encode
from producer.errors import NoTimes
from producer.replay import Counts, shift_to
from producer.sent import Place
from producer.source import open_source

HEADER = "event_time,event_type,product_id,price,user_id\n"


def write_rows(path: Path, count: int) -> Path:
    """Rows a minute apart; each tenth has no user."""
    first = datetime(2019, 10, 1)
    lines = [
        f"{first + timedelta(minutes=number)} UTC,view,p{number},1.0,{'' if number % 10 == 3 else 'u'}\n"
        for number in range(count)
    ]
    path.write_text(HEADER + "".join(lines))
    return path


def test_events_and_dead_letters_are_all_the_rows(tmp_path: Path, replay_file: Any) -> None:
    kept = replay_file(write_rows(tmp_path / "a.csv", 100), "rees46")
    assert (len(kept.events), len(kept.letters), kept.counts.rows) == (90, 10, 100)
    assert kept.counts.dead_letters == {Reason.MISSING_FIELD: 10}
    assert kept.is_flushed


def test_a_row_that_a_sink_holds_already_is_read_and_counted_but_not_sent_again(
    tmp_path: Path, replay_file: Any
) -> None:
    path = write_rows(tmp_path / "a.csv", 100)
    whole = replay_file(path, "rees46")
    rest = replay_file(path, "rees46", held=Place(37))
    assert rest.events == whole.events[33:]
    assert rest.letters == whole.letters[4:]
    assert (rest.counts.rows, rest.counts.rows_held, rest.counts.events) == (100, 37, 90)


def test_a_limit_is_the_first_rows_whether_they_are_sent_or_not(tmp_path: Path, replay_file: Any) -> None:
    path = write_rows(tmp_path / "a.csv", 100)
    kept = replay_file(path, "rees46", 40, held=Place(35))
    assert (kept.counts.rows, len(kept.events) + len(kept.letters)) == (40, 5)


def test_a_replay_that_is_stopped_has_flushed_and_the_next_one_sends_the_rest(tmp_path: Path, replay_file: Any) -> None:
    path = write_rows(tmp_path / "a.csv", 100)
    stopped = replay_file(path, "rees46", stop_after=42)
    rest = replay_file(path, "rees46", held=Place(stopped.counts.rows))
    assert stopped.is_flushed
    assert stopped.events + rest.events == replay_file(path, "rees46").events


@pytest.mark.parametrize(
    "now",
    [datetime(2026, 1, 15, 12, tzinfo=UTC), datetime(2019, 9, 1, tzinfo=UTC), datetime(2019, 10, 1, 1, tzinfo=UTC)],
    ids=["later", "earlier", "the same day"],
)
def test_shifting_to_now_keeps_the_time_of_day_and_ends_just_before_now(tmp_path: Path, now: datetime) -> None:
    last = datetime(2019, 10, 1, 0, 59, tzinfo=UTC)
    shift = shift_to(now, open_source(write_rows(tmp_path / "a.csv", 60), "rees46", "utf-8", "EUR"), lambda: False)
    assert shift % timedelta(days=1) == timedelta(0)
    assert now - timedelta(days=1) < last + shift <= now


def test_everything_that_is_a_time_is_shifted_and_nothing_else(tmp_path: Path, replay_file: Any) -> None:
    at = datetime(2025, 3, 30, 7, tzinfo=UTC)
    event = Event("e1", "profile", at, "c1", signup_date=date(2025, 3, 29))
    row = {"event_id": "e1", "event_type": "profile", "occurred_at": at, "customer_id": "c1"}
    row |= {"signup_date": date(2025, 3, 29), "ingested_at": at + timedelta(hours=1)}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_bytes(encode(event))
    for name in ("a.parquet", "a.jsonl"):
        [moved] = replay_file(tmp_path / name, "ebb", shift=timedelta(days=10)).events
        assert moved == Event("e1", "profile", datetime(2025, 4, 9, 7, tzinfo=UTC), "c1", signup_date=date(2025, 4, 8))
    arrivals = replay_file(tmp_path / "a.parquet", "ebb", shift=timedelta(days=10)).arrivals
    assert arrivals == [datetime(2025, 4, 9, 8, tzinfo=UTC)]


def test_a_file_of_the_future_is_judged_after_the_shift(tmp_path: Path, replay_file: Any) -> None:
    event = Event("e1", "profile", datetime(2030, 1, 1, tzinfo=UTC), "c1")
    (tmp_path / "a.jsonl").write_bytes(encode(event))
    assert replay_file(tmp_path / "a.jsonl", "ebb").reasons == [(1, Reason.FUTURE_TIME)]
    source = open_source(tmp_path / "a.jsonl", "ebb", "utf-8", "EUR")
    shift = shift_to(datetime(2026, 1, 15, tzinfo=UTC), source, lambda: False)
    [moved] = replay_file(tmp_path / "a.jsonl", "ebb", shift=shift).events
    assert moved.occurred_at == datetime(2026, 1, 15, tzinfo=UTC)


def test_rows_whose_time_cannot_be_read_do_not_decide_the_shift(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.csv", 2)
    path.write_text(path.read_text() + "never,view,p,1.0,u\n,view,p,1.0,u\ntorn\n")
    source = open_source(path, "rees46", "utf-8", "EUR")
    assert shift_to(datetime(2019, 10, 3, tzinfo=UTC), source, lambda: False) == timedelta(days=1)


def test_a_file_without_any_time_cannot_be_shifted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEADER)
    source = open_source(tmp_path / "a.csv", "rees46", "utf-8", "EUR")
    with pytest.raises(NoTimes, match=r"a\.csv"):
        shift_to(datetime(2026, 1, 1, tzinfo=UTC), source, lambda: False)


def test_a_time_that_a_shift_moves_out_of_the_calendar_is_a_dead_letter(tmp_path: Path, replay_file: Any) -> None:
    (tmp_path / "a.csv").write_text(HEADER + "0001-01-01 00:00:00 UTC,view,p,1.0,u\n")
    assert replay_file(tmp_path / "a.csv", "rees46", shift=timedelta(days=-1)).reasons == [(2, Reason.INVALID_FIELD)]


def test_the_summary_names_rows_events_and_each_reason() -> None:
    counts = Counts()
    counts.good_rows, counts.events, counts.rows_held = 1_000, 1_500, 12
    counts.dead_letters.update({Reason.MISSING_FIELD: 30, Reason.INVALID_FIELD: 2})
    assert [line.split() for line in counts.summary(2.0).splitlines()] == [
        ["rows", "read", "1,032"],
        ["good", "rows", "1,000"],
        ["events", "1,500"],
        ["dead", "letters", "32"],
        ["invalid_field", "2"],
        ["missing_field", "30"],
        ["rows", "sent", "before", "12"],
        ["seconds", "2.0"],
        ["per", "second", "516"],
    ]
