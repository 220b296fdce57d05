"""The table of actions is complete, and a mistake in it is named with its line."""

from pathlib import Path

import pytest

from churn.actions import ACTIONS_FILE, ALL_BANDS, SEGMENTS, InvalidActions, read_actions
from churn.segments import NAMED

SHIPPED = ACTIONS_FILE.read_text(encoding="utf-8")


def test_the_shipped_table_has_an_action_for_every_segment_and_band() -> None:
    actions = read_actions(ACTIONS_FILE)
    assert set(actions) == {(segment, band) for segment in SEGMENTS for band in ALL_BANDS}
    assert set(NAMED) < set(SEGMENTS)
    assert all(actions.values())


def test_a_table_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "actions.csv"
    path.write_bytes(b"\xef\xbb\xbf" + SHIPPED.replace("\n", "\r\n").encode())
    assert read_actions(path) == read_actions(ACTIONS_FILE)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("segment,band,action", "segment;band;action", "line 1: the columns must be segment,band,action"),
        ("Champions,high,", "Champion,high,", "line 4: unknown segment 'Champion'"),
        ("Champions,high,", "Champions,hgh,", "line 4: unknown band 'hgh'"),
        ("Champions,high,", "Champions,low,", "line 4: Champions x low stands there twice"),
        ("Lost,low,Newsletter only\n", "", "no action for Lost x low"),
        ("Lost,low,Newsletter only\n", "Lost,low,\n", "Lost x low has no action"),
        ("Lost,low,Newsletter only\n", "Lost\n", "unknown band ''"),
    ],
)
def test_a_mistake_in_the_table_is_named(before: str, after: str, message: str, tmp_path: Path) -> None:
    assert before in SHIPPED
    path = tmp_path / "actions.csv"
    path.write_text(SHIPPED.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(InvalidActions, match=message):
        read_actions(path)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidActions, match=r"gone\.csv"):
        read_actions(tmp_path / "gone.csv")
