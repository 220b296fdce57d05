"""Parquet and JSON Lines: rows counted from 1, values as Python has them, directories in the order of writing."""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.events import Event
from churn.history import HistoryWriter
from producer.errors import UnreadableFile
from producer.files import open_rows


def test_rows_of_parquet_are_counted_from_1(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": range(25_000)}), tmp_path / "a.parquet", row_group_size=7_000)
    rows = list(open_rows(tmp_path / "a.parquet").rows())
    assert [(row.line, row.values["x"]) for row in rows] == [(number + 1, number) for number in range(25_000)]


def test_only_the_columns_asked_for_are_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1], "y": [2]}), tmp_path / "a.parquet")
    [row] = open_rows(tmp_path / "a.parquet").rows(("y",))
    assert row.values == {"y": 2}


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_time_beyond_what_python_knows_is_absent_and_costs_no_other_row(tmp_path: Path, unit: str) -> None:
    good = datetime(2026, 1, 2, 3, 4, 5)
    column = pa.array([good, None], pa.timestamp(unit))
    beyond = pa.array([-(2**63) + 1], pa.int64()).cast(pa.timestamp(unit))
    pq.write_table(pa.table({"at": pa.chunked_array([column, beyond])}), tmp_path / "a.parquet")
    values = [row.values["at"] for row in open_rows(tmp_path / "a.parquet").rows()]
    assert values[:2] == [good, None]
    assert unit == "ns" or values[2] is None  # nanoseconds do not reach further back than 1677


def test_the_raw_row_of_a_binary_file_is_its_values_as_json(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.5], "at": [datetime(2026, 1, 2)]}), tmp_path / "a.parquet")
    [row] = open_rows(tmp_path / "a.parquet").rows()
    assert row.raw() == b'{"x":1.5,"at":"2026-01-02T00:00:00"}'


def test_a_history_comes_out_by_date_in_the_order_in_which_it_was_written(tmp_path: Path) -> None:
    noon = datetime(2026, 1, 5, 12, tzinfo=UTC)
    written = [noon + timedelta(days=day, minutes=-minute) for day in (1, 0) for minute in range(3)]
    with HistoryWriter(tmp_path / "history") as writer:
        for number, at in enumerate(written):
            writer.add(Event(f"e{number}", "view", at, "c", product_id="p"), at)
            writer.close()  # a part for each event
    rows = list(open_rows(tmp_path / "history").rows())
    assert [row.values["event_id"] for row in rows] == ["e3", "e4", "e5", "e0", "e1", "e2"]
    assert (rows[0].file, rows[0].line) == ("date=2026-01-05/part-3-0.parquet", 1)


def test_a_directory_without_parquet_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="no Parquet file in it"):
        open_rows(tmp_path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson.gz"])
def test_lines_of_json_come_as_they_are(tmp_path: Path, name: str) -> None:
    content = b'{"a": 1}\n\n{broken\n'
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert [(row.line, row.raw()) for row in open_rows(tmp_path / name).rows()] == [(1, b'{"a": 1}'), (3, b"{broken")]


def test_a_large_parquet_file_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    # Numbers that nothing can compress.
    columns = {name: np.random.default_rng(seed).random(500_000) for seed, name in enumerate("xyz")}
    pq.write_table(pa.table(columns), path, use_dictionary=False)
    held = pa.total_allocated_bytes()
    rows = open_rows(path).rows()
    next(rows)
    assert pa.total_allocated_bytes() - held < path.stat().st_size / 4
