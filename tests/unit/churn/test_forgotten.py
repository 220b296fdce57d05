"""The list of forgotten customers: who is on it, who is not, and what a wrong key does."""

from pathlib import Path

import pyarrow as pa
import pytest

from churn.forgotten import (
    ForgetKeyMissing,
    ForgetKeyWrong,
    Forgotten,
    digest,
    read_file,
    without,
    write_file,
)

KEY = b"a secret of sixteen"


def a_list(*customer_ids: str) -> Forgotten:
    return Forgotten(KEY, [digest(KEY, each) for each in customer_ids])


def test_a_list_tells_whether_a_customer_is_on_it_and_names_nobody() -> None:
    listed = a_list("c1", "customer-1", "Zoë")
    assert "c1" in listed
    assert "Zoë" in listed
    assert "c2" not in listed
    assert listed.among(["c1", "c2"]) == {"c1"}
    assert not any("customer-1" in each for each in listed.digests)
    assert digest(KEY, "c1") != digest(b"another secret, as long", "c1")


def test_an_empty_list_holds_nobody_and_needs_no_key() -> None:
    assert not Forgotten()
    assert "c1" not in Forgotten()


def test_a_list_that_grows_says_so() -> None:
    listed = a_list()
    version = listed.version
    listed.add(digest(KEY, "c1"))
    assert "c1" in listed
    assert listed.version > version


def test_a_table_is_read_without_them() -> None:
    table = pa.table({"customer_id": ["c1", "c2", "c1", "c3"], "number": [1, 2, 3, 4]})
    assert without(table, a_list("c1", "c9"))["number"].to_pylist() == [2, 4]
    assert without(table, a_list("c9")) == table


def test_the_file_of_a_list_is_refused_without_its_key(tmp_path: Path) -> None:
    path = tmp_path / "forgotten.json"
    assert not read_file(path, b"")
    write_file(path, KEY, a_list("c1").digests)
    assert "c1" in read_file(path, KEY)
    with pytest.raises(ForgetKeyMissing, match="FORGET_KEY"):
        read_file(path, b"")
    with pytest.raises(ForgetKeyWrong, match="FORGET_KEY"):
        read_file(path, b"another secret, as long")
    path.write_bytes(b"{")
    with pytest.raises(OSError, match="--everybody"):
        read_file(path, KEY)
