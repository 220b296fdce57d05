"""The table of contents of the report: every analysis in its chapter. A new topic is a file and a line here."""

from typing import Final

from analytics import funnel_report, sales
from analytics.finding import Analysis, Chapter

CHAPTERS: Final[tuple[Chapter, ...]] = (
    sales.CHAPTER,
    funnel_report.CHAPTER,
)


def analyses() -> tuple[Analysis, ...]:
    """All analyses, in the order of the report."""
    return tuple(analysis for chapter in CHAPTERS for analysis in chapter.analyses)
