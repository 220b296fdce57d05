"""What to do about a customer, by segment and risk band: a small table that marketing edits, checked when read."""

import csv
from pathlib import Path
from typing import Final

from churn.model import BANDS
from churn.segments import NAMED, PROSPECT, UNKNOWN

ACTIONS_FILE: Final = Path(__file__).with_name("actions.csv")
COLUMNS: Final = ("segment", "band", "action")
SEGMENTS: Final = (*NAMED, PROSPECT, UNKNOWN)
ALL_BANDS: Final = (*BANDS, UNKNOWN)

Actions = dict[tuple[str, str], str]


class InvalidActions(ValueError):
    """The table of actions cannot be used; the message names the line or what is missing."""


def read_actions(path: Path) -> Actions:
    """(segment, band) → action, with every pair. Raises `InvalidActions`."""
    actions: Actions = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise InvalidActions(f"{path}, line 1: the columns must be {','.join(COLUMNS)}")
            for row in reader:
                _add(actions, row, f"{path}, line {reader.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidActions(f"{path}: {error}") from error
    missing = [f"{segment} x {band}" for segment in SEGMENTS for band in ALL_BANDS if (segment, band) not in actions]
    if missing:
        raise InvalidActions(f"{path}: no action for {', '.join(missing)}; add a line for each")
    return actions


def _add(actions: Actions, row: dict[str, str | None], where: str) -> None:
    segment, band, action = ((row[column] or "").strip() for column in COLUMNS)
    if segment not in SEGMENTS:
        raise InvalidActions(f"{where}: unknown segment {segment!r}; it must be one of {', '.join(SEGMENTS)}")
    if band not in ALL_BANDS:
        raise InvalidActions(f"{where}: unknown band {band!r}; it must be one of {', '.join(ALL_BANDS)}")
    if not action:
        raise InvalidActions(f"{where}: {segment} x {band} has no action")
    if (segment, band) in actions:
        raise InvalidActions(f"{where}: {segment} x {band} stands there twice")
    actions[segment, band] = action
