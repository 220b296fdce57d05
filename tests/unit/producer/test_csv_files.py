"""CSV files: every row comes out once with its line, and a torn one takes no other with it."""

import gzip
from pathlib import Path

import pytest

from churn.events import Reason
from producer.csv_files import MAX_LINES_PER_ROW
from producer.errors import UnreadableFile
from producer.files import open_rows
from producer.rows import Row


def rows_of(path: Path, content: bytes, encoding: str = "utf-8") -> list[Row]:
    path.write_bytes(content)
    return list(open_rows(path, encoding).rows())


def test_rows_come_with_the_line_on_which_an_editor_shows_them(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "a.csv", b'x,y\r\n1,"two\r\nlines"\r\n\r\n3,4\r\n')
    assert [(row.line, dict(row.values)) for row in rows] == [
        (2, {"x": "1", "y": "two\r\nlines"}),
        (5, {"x": "3", "y": "4"}),
    ]
    assert rows[0].raw() == b'1,"two\r\nlines"'


def test_a_packed_file_gives_the_same_rows(tmp_path: Path) -> None:
    content = b"x,y\n1,2\n3,4\n"
    assert rows_of(tmp_path / "a.csv.gz", gzip.compress(content)) == [
        row._replace(file="a.csv.gz") for row in rows_of(tmp_path / "a.csv", content)
    ]


@pytest.mark.parametrize(
    ("torn", "said"),
    [
        (b"1\n", "1 fields where there are 2 columns"),
        (b"1,2,3\n", "3 fields where there are 2 columns"),
        (b'1,"2"x\n', "expected after"),
        (b"1,caf\xe9\n", "not utf-8 from character 6 on"),
        (b"1," + b"9" * 200_000 + b"\n", "field larger than field limit"),
    ],
    ids=["too few fields", "too many fields", "text after a quote", "another encoding", "an endless field"],
)
def test_a_torn_row_comes_out_with_its_fault_and_the_next_ones_are_read(tmp_path: Path, torn: bytes, said: str) -> None:
    first, broken, last = rows_of(tmp_path / "a.csv", b"x,y\n5,6\n" + torn + b"7,8\n")
    assert (first.line, dict(first.values)) == (2, {"x": "5", "y": "6"})
    assert broken.line == 3
    assert broken.fault is not None
    assert broken.fault.reason is Reason.INVALID_ROW
    assert said in broken.fault.detail
    assert broken.raw() == torn.rstrip()
    assert (last.line, dict(last.values), last.fault) == (4, {"x": "7", "y": "8"}, None)


@pytest.mark.parametrize("following", [3, 3 * MAX_LINES_PER_ROW], ids=["up to the end", "for too many lines"])
def test_an_open_quote_swallows_no_other_row(tmp_path: Path, following: int) -> None:
    good = [b"%d,good" % number for number in range(following)]
    broken, *others = rows_of(tmp_path / "a.csv", b'x,y\n1,"open\n' + b"\n".join(good) + b"\n")
    assert broken.fault is not None
    assert broken.raw() == b'1,"open'
    assert [row.raw() for row in others] == good
    assert [row.line for row in others] == list(range(3, following + 3))
    assert not any(row.fault for row in others)


def test_a_quote_that_a_later_row_closes_swallows_no_row_either(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "a.csv", b'x,y\n1,"open\n2,good\n3,"closed",4\n5,good\n')
    assert [(row.line, row.fault is None) for row in rows] == [(2, False), (3, True), (4, False), (5, True)]


def test_the_mark_with_which_spreadsheets_begin_a_file_is_no_part_of_a_column(tmp_path: Path) -> None:
    [row] = rows_of(tmp_path / "a.csv", b'\xef\xbb\xbf"x", y\n1,2\n')
    assert dict(row.values) == {"x": "1", "y": "2"}


def test_another_encoding_can_be_named(tmp_path: Path) -> None:
    [row] = rows_of(tmp_path / "a.csv", b"x,y\n1,caf\xe9\n", "iso8859-1")
    assert row.values["y"] == "café"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b'"x,y\n', "it needs a header"),
        ("a.csv.gz", b"x,y\n1,2\n", "Not a gzipped file"),
        ("a.csv.gz", gzip.compress(b"x,y\n" + bytes(range(48, 58)) * 50_000)[:200], "ended before"),
        ("a.parquet", b"x,y\n", "a.parquet"),
        ("a.xlsx", b"x,y\n", "its ending is none of .csv"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    with pytest.raises(UnreadableFile, match=said):
        rows_of(tmp_path / name, content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="no such file"):
        open_rows(tmp_path / "a.csv")


def test_the_share_that_was_read_grows_to_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"x,y\n" + b"1,2\n" * 200_000)
    file = open_rows(path)
    shares = [file.fraction_read for _ in file.rows()]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.1
    assert file.fraction_read == 1.0
