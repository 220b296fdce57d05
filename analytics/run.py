"""All analyses of a shop, one after another, and their tables as Parquet."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from analytics.finding import Analysis, CannotAnswer, Chapter, Finding, Rows
from analytics.shop import Shop
from churn.analysis_tables import AT, BY_NAME, Kind, Table

FOLDER: Final = "tables"
_ARROW: Final[dict[Kind, Any]] = {
    "time": pa.timestamp("us"),
    "keyword": pa.string(),
    "text": pa.string(),
    "count": pa.int64(),
    "money": pa.float64(),
    "number": pa.float64(),
    "flag": pa.bool_(),
}


class Answer(NamedTuple):
    """What came of one analysis: a finding, or why there is none."""

    analysis: Analysis
    finding: Finding | None
    why_not: str = ""


class Answered(NamedTuple):
    """A chapter with its answers."""

    title: str
    answers: tuple[Answer, ...]


def answer(shop: Shop, chapters: Sequence[Chapter], on_done: Callable[[str], object]) -> tuple[Answered, ...]:
    """Every analysis of the chapters; `on_done` is told the title of each when it is done."""
    answered = []
    for chapter in chapters:
        answers = []
        for analysis in chapter.analyses:
            answers.append(_answer(shop, analysis))
            on_done(analysis.title)
        answered.append(Answered(chapter.title, tuple(answers)))
    return tuple(answered)


def _answer(shop: Shop, analysis: Analysis) -> Answer:
    try:
        return Answer(analysis, analysis.answer(shop))
    except CannotAnswer as reason:
        return Answer(analysis, None, str(reason))


def tables(answered: Sequence[Answered]) -> dict[str, Rows]:
    """The rows of all declared tables, by name; empty where the question could not be answered."""
    rows: dict[str, Rows] = {}
    for chapter in answered:
        for analysis, finding, _ in chapter.answers:
            rows |= dict.fromkeys(analysis.tables, ())
            rows |= {} if finding is None else finding.rows
    return rows


def write(rows: Mapping[str, Rows], directory: Path) -> None:
    """Each table as `tables/<name>.parquet` below the directory, in place of an older one."""
    folder = directory / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, of_table in rows.items():
        parquet.write_table(_arrow(BY_NAME[name], of_table), folder / f"{name}.parquet")


def _arrow(table: Table, rows: Rows) -> Any:
    kinds = {AT: _ARROW["time"], **{column.name: _ARROW[column.kind] for column in table.columns}}
    return pa.Table.from_pylist([dict(row) for row in rows], schema=pa.schema(list(kinds.items())))
