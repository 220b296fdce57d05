"""The table of contents of the report: every analysis in its chapter. A new topic is a file and a line here."""

from typing import Final

from analytics import (
    attribution,
    baskets,
    big_spenders,
    campaigns,
    cart_losses,
    churn_hypothesis,
    cohort_values,
    cohorts,
    early_value,
    engagement,
    funnel_report,
    lifetime_value,
    model_quality,
    next_engagement,
    next_order,
    paths,
    quality,
    rates,
    recommend,
    risky,
    sales,
    sales_forecast,
    seasons,
    segments_report,
    value_tiers,
    who_churns,
    win_back,
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
    Chapter("Churn", (who_churns.WHO_CHURNS, churn_hypothesis.HYPOTHESIS, win_back.WIN_BACK)),
    Chapter(
        "What comes next",
        (
            early_value.EARLY_VALUE,
            lifetime_value.LIFETIME_VALUE,
            next_order.NEXT_ORDER,
            big_spenders.BIG_SPENDERS,
            next_engagement.ENGAGEMENT,
            sales_forecast.FORECAST,
        ),
    ),
    Chapter("The churn model", (model_quality.PERFORMANCE, model_quality.RETRAINING)),
)


def analyses() -> tuple[Analysis, ...]:
    """All analyses, in the order of the report."""
    return tuple(analysis for chapter in CHAPTERS for analysis in chapter.analyses)
