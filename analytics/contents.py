"""The table of contents of the report: every analysis in its chapter. A new topic is a file and a line here."""

from typing import Final

from analytics import (
    attribution,
    baskets,
    campaigns,
    cart_losses,
    cohort_values,
    cohorts,
    engagement,
    funnel_report,
    paths,
    quality,
    rates,
    recommend,
    risky,
    sales,
    seasons,
    segments_report,
    value_tiers,
)
from analytics.finding import Analysis, Chapter

CHAPTERS: Final[tuple[Chapter, ...]] = (
    Chapter("Data", (quality.QUALITY, quality.PEOPLE)),
    Chapter("Sales", (*sales.ANALYSES, rates.COUNTRIES, rates.AGAIN)),
    Chapter("Funnel and carts", (*funnel_report.ANALYSES, cart_losses.CARTS)),
    Chapter(
        "Customers",
        (
            value_tiers.VALUE,
            segments_report.SEGMENTS,
            segments_report.MOVES,
            engagement.RATIO,
            engagement.GROUPS,
            risky.RISKY,
        ),
    ),
    Chapter("Cohorts", (cohorts.RETENTION, cohorts.LIFECYCLE, cohort_values.VALUES, cohort_values.RAISES)),
    Chapter("Products together", (baskets.PAIRS, paths.VIEWED, paths.NEXT, recommend.RECOMMEND)),
    Chapter(
        "Season and campaigns",
        (seasons.CYCLES, seasons.PEAKS, seasons.CONVERSION, campaigns.CAMPAIGNS, attribution.ATTRIBUTION),
    ),
)


def analyses() -> tuple[Analysis, ...]:
    """All analyses, in the order of the report."""
    return tuple(analysis for chapter in CHAPTERS for analysis in chapter.analyses)
