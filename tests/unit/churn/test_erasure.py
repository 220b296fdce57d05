"""Rows of forgotten customers leave the tables on disk, and nothing else does."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from churn.erasure import customers_in_files, remove_from_files


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Tables of c1 to c3 by date, one day of c1 alone, a table without customers, a CSV file, and a hidden truth."""
    for day, ids in (("2026-01-01", ["c1", "c2", "c1", "c3"]), ("2026-01-02", ["c1", "c1"])):
        (tmp_path / f"date={day}").mkdir()
        parquet.write_table(
            pa.table({"customer_id": ids, "n": range(len(ids))}), tmp_path / f"date={day}/part-0.parquet"
        )
    parquet.write_table(pa.table({"product_id": ["p1"]}), tmp_path / "products.parquet")
    (tmp_path / "sessions.csv").write_text('session_id,customer_id,name\ns1,c1,"A, B"\ns2,c2,"C, D"\n')
    (tmp_path / "_truth").mkdir()
    parquet.write_table(pa.table({"customer_id": ["c1", "c2"]}), tmp_path / "_truth" / "customers.parquet")
    return tmp_path


def test_their_rows_leave_every_table_and_a_file_without_rows_goes(directory: Path) -> None:
    assert remove_from_files(directory, "c1".__eq__).total() == 5
    kept = parquet.ParquetFile(directory / "date=2026-01-01" / "part-0.parquet").read()
    assert kept.to_pydict() == {"customer_id": ["c2", "c3"], "n": [1, 3]}
    assert not (directory / "date=2026-01-02" / "part-0.parquet").exists()
    assert (directory / "sessions.csv").read_text() == 'session_id,customer_id,name\ns2,c2,"C, D"\n'
    assert (directory / "products.parquet").exists()
    assert customers_in_files(directory) == {"c2", "c3"}


def test_a_second_time_nothing_is_touched(directory: Path) -> None:
    remove_from_files(directory, "c1".__eq__)
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*.*")}
    assert remove_from_files(directory, "c1".__eq__).total() == 0
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*.*")} == before


def test_the_truth_of_a_simulation_stays(directory: Path) -> None:
    remove_from_files(directory, "c1".__eq__)
    assert parquet.read_table(directory / "_truth" / "customers.parquet").num_rows == 2


def test_a_directory_that_is_not_there_holds_nobody(tmp_path: Path) -> None:
    assert remove_from_files(tmp_path / "nowhere", "c1".__eq__).total() == 0
    assert customers_in_files(tmp_path / "nowhere") == set()
