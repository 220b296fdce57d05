"""The table of contents of the report: every analysis in its chapter. A new topic is a file and a line here."""

from typing import Final

from analytics import baskets, cart_losses, cohorts, funnel_report, sales, segments_report, value_tiers
from analytics.finding import Analysis, Chapter

CHAPTERS: Final[tuple[Chapter, ...]] = (
    Chapter("Sales", sales.ANALYSES),
    Chapter("Funnel and carts", (*funnel_report.ANALYSES, cart_losses.CARTS)),
    Chapter("Customers", (value_tiers.VALUE, segments_report.SEGMENTS, segments_report.MOVES)),
    Chapter("Retention", (cohorts.RETENTION, cohorts.LIFECYCLE)),
    Chapter("Products together", (baskets.PAIRS,)),
)


def analyses() -> tuple[Analysis, ...]:
    """All analyses, in the order of the report."""
    return tuple(analysis for chapter in CHAPTERS for analysis in chapter.analyses)
