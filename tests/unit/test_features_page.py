"""The page of features names everything that the product promises, and only files and tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "features.md"
# How many there are in each chapter.
CHAPTERS = {1: 4, 2: 7, 3: 9, 4: 14, 5: 9, 6: 14, 7: 10, 8: 5}
IDS = [f"R{chapter}.{number}" for chapter, last in CHAPTERS.items() for number in range(1, last + 1)]


def rows() -> dict[str, list[str]]:
    """The cells of each row by its id; a row that comes twice is no row."""
    found: dict[str, list[str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if re.fullmatch(r"R\d+\.\d+", cells[0]):
            assert cells[0] not in found, f"{cells[0]} stands there twice"
            found[cells[0]] = cells
    return found


def test_everything_promised_has_a_row_in_order() -> None:
    assert list(rows()) == IDS


@pytest.mark.parametrize("name", IDS)
def test_a_row_says_what_where_and_what_proves_it(name: str) -> None:
    _, what, where, proof = rows()[name]
    assert len(what) > 10
    files, proofs = (re.findall(r"`([^`]+)`", cell) for cell in (where, proof))
    assert files
    assert proofs
    for file in files:
        assert (ROOT / file).is_file(), file
    for each in proofs:
        file, _, test = each.partition("::")
        assert re.search(r"(^|/)test_\w+\.py$", file), f"{file} is no test"
        assert (ROOT / file).is_file(), file
        begin = rf"def {test}\(" if test else "def test_"
        assert re.search(rf"^{begin}", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), each
