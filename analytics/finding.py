"""How an analysis is declared and answers: words computed from the data, numbers with intervals, plots, tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from matplotlib.figure import Figure

from analytics.shop import Shop
from churn import report_page

Unit = Literal["count", "money", "share", "number", "days", "seconds"]
Rows = Sequence[Mapping[str, Any]]


class CannotAnswer(Exception):
    """The history does not hold what the question needs; the message completes "cannot be answered: ..."."""


class Number(NamedTuple):
    """A figure of a finding, with the ends of its 95 % interval where there is one; a share is from 0 to 1."""

    name: str
    value: float | None
    unit: Unit
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Finding:
    """An answer, in words that are computed from the data and never say what is usual.

    `headline` is its one sentence for the summary, `words` the paragraphs below it, `action` what to do about it.
    `shown` are tables for the page, `rows` those for Parquet and Elasticsearch, by the name of their
    `churn.analysis_tables.Table`.
    """

    headline: str
    action: str
    words: Sequence[str] = ()
    numbers: Sequence[Number] = ()
    figures: Sequence[Figure] = ()
    shown: Sequence[report_page.Table] = ()
    rows: Mapping[str, Rows] = field(default_factory=dict)


class Analysis(NamedTuple):
    """One section of the report: `answer` computes it. It raises `CannotAnswer` where the history has no answer.

    `tables` names the `churn.analysis_tables` that it fills; without an answer they are left empty.
    """

    id: str
    title: str
    question: str
    answer: Callable[[Shop], Finding]
    tables: tuple[str, ...] = ()


class Chapter(NamedTuple):
    """Analyses that belong together, in the order of the report."""

    title: str
    analyses: tuple[Analysis, ...]
