"""Who will be highly engaged in the coming period (R6.7): by the engagement index of those 90 days alone."""

from typing import Final

import numpy as np

from analytics import judged
from analytics.finding import Analysis, Finding
from analytics.judged import MODEL
from analytics.samples import HORIZON, Samples
from analytics.shop import Shop
from analytics.words import counted, percent
from churn.evaluate import Labels
from churn.row import HIGH_ENGAGEMENT_FROM


def active(samples: Samples) -> Samples:
    """Who did anything in the 90 days before the moment."""
    return samples.where(samples.feature("idle_days") <= HORIZON.days)


def labels(samples: Samples) -> Labels:
    """1 where the engagement score of the 90 days after the moment is high."""
    return (samples.engagement_next >= HIGH_ENGAGEMENT_FROM).astype(np.int8)


def answer(shop: Shop) -> Finding:
    """The section."""
    moments = judged.moments_of(shop)
    learn = active(shop.sampled.at_cut_offs.at(*moments.train))
    test = active(shop.sampled.at_cut_offs.at(moments.test))
    found = judged.judge(learn, labels(learn), test, labels(test), "engagement_score", shop.processes)
    accuracy, base = judged.accuracy(found), found.points[MODEL]["base_rate"]
    always = max(base, 1 - base)
    best = [name for name, _ in found.importances[:3]]
    persists = test.feature("engagement_score") >= HIGH_ENGAGEMENT_FROM
    stayed = float(found.labels[persists].mean()) if persists.any() else 0.0
    return Finding(
        headline=f"{percent(base)} of {counted(len(found.labels), 'active customer')} were highly engaged in the "
        f"90 days from {moments.test:%Y-%m-%d}; a model foresaw it with {percent(accuracy.value or 0.0)} accuracy.",
        action="Invite those with a high chance to reviews, referrals and early access; do not rely on today's score "
        f"alone: of those who are highly engaged now, {percent(stayed)} were so in the next 90 days."
        if stayed < 0.8
        else "Today's engagement score is a good guide to who stays engaged: use it for invitations.",
        words=(
            judged.beats(found),
            f"Saying the more frequent answer to everybody would be right for {percent(always)}.",
            (
                f"It looks at {', '.join(best)}. High means a score of {HIGH_ENGAGEMENT_FROM:.0f} or more from the "
                "events of the period alone; who did nothing has 0."
            ),
        ),
        numbers=[accuracy, *judged.numbers(found)],
        figures=[judged.weights(found), judged.roc(found)],
        shown=[
            judged.compared(
                found, f"Learned at {len(moments.train)} earlier moments, tested at {moments.test:%Y-%m-%d}"
            ),
            judged.classes(found, ("not high", "high")),
        ],
    )


ENGAGEMENT: Final = Analysis(
    "next-engagement",
    "High engagement in the next 90 days",
    "Who will be highly engaged in the coming period?",
    answer,
)
