"""Whether long recency and rare sessions go with churn (R6.13): two groups, an effect size, and both at once."""

from typing import Final, NamedTuple

import numpy as np
import statsmodels.api as sm
from matplotlib.figure import Figure
from scipy.stats import mannwhitneyu
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, proportions_ztest

from analytics import judged, plots
from analytics.big_spenders import buyers
from analytics.finding import Analysis, CannotAnswer, Finding, Number
from analytics.samples import HORIZON, Samples
from analytics.shop import Shop
from analytics.words import percent
from churn import evaluate
from churn.evaluate import Labels
from churn.model import Floats
from churn.report_page import Table

LONG: Final = "long recency"
RARE: Final = "rare sessions"
DRAWS: Final = 400
ALPHA: Final = 0.05


class Effect(NamedTuple):
    """Of one quantity on churn: P(churner has more) - P(churner has less), Cliff's delta, with its interval and p."""

    name: str
    delta: float
    low: float
    high: float
    p: float


class Odds(NamedTuple):
    """Odds of churn for one standard deviation more, the other quantity held fixed."""

    name: str
    ratio: float
    low: float
    high: float
    p: float


def sessions_a_month(samples: Samples) -> Floats:
    """Sessions in 30 days of tenure, at least one month of it."""
    return np.asarray(samples.feature("sessions_total") / np.maximum(samples.feature("tenure_days"), 30.0) * 30)


def effects(labels: Labels, quantities: dict[str, Floats]) -> list[Effect]:
    """Rank effect of each quantity; the interval is a bootstrap over customers."""
    found, chance = [], np.random.default_rng(judged.SEED)
    draws = [chance.integers(0, len(labels), len(labels)) for _ in range(DRAWS)]
    for name, values in quantities.items():
        p = float(mannwhitneyu(values[labels == 1], values[labels == 0]).pvalue)
        replicates = np.array([_delta(labels[draw], values[draw]) for draw in draws])
        found.append(Effect(name, _delta(labels, values), *evaluate.interval(replicates), p))
    return found


def _delta(labels: Labels, values: Floats) -> float:
    yes = int(labels.sum())
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    above = ranks[place][labels == 1].sum() - yes * (yes + 1) / 2
    return float(2 * above / (yes * (len(labels) - yes)) - 1)


def odds(labels: Labels, quantities: dict[str, Floats]) -> list[Odds]:
    """Logistic regression on the ranks of all quantities at once, so that no outlier decides."""
    columns = []
    for values in quantities.values():
        ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(float)
        columns.append((ranks - ranks.mean()) / max(ranks.std(), 1e-9))
    fitted = sm.Logit(labels, sm.add_constant(np.column_stack(columns))).fit(disp=0)
    intervals = fitted.conf_int()
    found = []
    for place, name in enumerate(quantities, 1):
        low, high = np.exp(intervals[place]).tolist()
        found.append(Odds(name, float(np.exp(fitted.params[place])), low, high, float(fitted.pvalues[place])))
    return found


def answer(shop: Shop) -> Finding:
    """The section."""
    moments = judged.moments_of(shop)
    test = buyers(shop.sampled.at_cut_offs.at(moments.test))
    labels = (shop.net_orders.after(test, HORIZON.days).orders == 0).astype(np.int8)
    judged.require(labels, "to compare")
    if not (test.feature("sessions_total") > test.feature("orders_total")).any():
        raise CannotAnswer("the history holds purchases alone: how often customers come is not seen")
    recency, rarity = test.feature("recency_days"), -sessions_a_month(test)
    quantities = {"days since the last order": recency, "rarity of sessions": rarity}
    sizes, both = effects(labels, quantities), odds(labels, quantities)
    is_both = (recency > np.median(recency)) & (rarity > np.median(rarity))
    is_neither = (recency <= np.median(recency)) & (rarity <= np.median(rarity))
    churned = [float(labels[each].mean()) for each in (is_both, is_neither)]
    counts = [int(labels[each].sum()) for each in (is_both, is_neither)]
    totals = [int(each.sum()) for each in (is_both, is_neither)]
    low, high = confint_proportions_2indep(counts[0], totals[0], counts[1], totals[1], method="newcomb", compare="diff")
    p = float(proportions_ztest(counts, totals)[1])
    holds = low > 0 and all(each.low > 1 for each in both)
    return Finding(
        headline=f"The hypothesis {'holds' if holds else 'does not hold as a whole'}: {percent(churned[0])} of "
        "those with "
        f"{LONG} and {RARE} churned, {percent(churned[1])} of those with neither.",
        action="Watch both: who is late and comes rarely is the first to write to; a visit without an order is "
        "a good sign."
        if holds
        else f"Act on {_stronger(both)} alone: the other quantity adds nothing sure.",
        words=(
            (
                f"The difference is {100 * (churned[0] - churned[1]):.1f} points ({100 * low:.1f} to "
                f"{100 * high:.1f}), p {p:.2g}; "
                "long and rare mean above the median."
            ),
            *(
                f"One standard deviation more of {each.name} multiplies the odds of churn by {each.ratio:.2f} "
                f"({each.low:.2f} to {each.high:.2f}), the other one held fixed."
                for each in both
            ),
        ),
        numbers=[
            Number("More churn with both", churned[0] - churned[1], "share", float(low), float(high)),
            *(Number(f"Cliff's delta, {each.name}", each.delta, "number", each.low, each.high) for each in sizes),
            *(Number(f"Odds ratio, {each.name}", each.ratio, "number", each.low, each.high) for each in both),
        ],
        figures=[_drawn(labels, recency, rarity)],
        shown=[_table(sizes, both)],
    )


def _stronger(both: list[Odds]) -> str:
    return max(both, key=lambda each: each.low).name


def _table(sizes: list[Effect], both: list[Odds]) -> Table:
    rows = [
        (
            size.name,
            f"{size.delta:+.3f} ({size.low:+.3f} to {size.high:+.3f})",
            f"{size.p:.2g}",
            f"{odd.ratio:.2f} ({odd.low:.2f} to {odd.high:.2f})",
            f"{odd.p:.2g}",
        )
        for size, odd in zip(sizes, both, strict=True)
    ]
    columns = ("", "Cliff's delta", "p (Mann-Whitney)", "odds ratio, both at once", "p (logistic regression)")
    return Table(columns, rows, "Churners against those who ordered; more than 0 and 1: more churn")


def _drawn(labels: Labels, recency: Floats, rarity: Floats) -> Figure:
    figure, axes = plots.axes("Churn by fifths", "fifth, from the least", "share that churned", (5.4, 3.8))
    for name, values in (("days since the last order", recency), ("rarity of sessions", rarity)):
        parts = np.array_split(labels[np.argsort(values, kind="stable")], 5)
        shares = np.array([part.mean() for part in parts])
        ends = np.array([proportion_confint(part.sum(), len(part), method="wilson") for part in parts]).T
        axes.errorbar(range(1, 6), shares, yerr=np.abs(ends - shares), capsize=3, marker="o", markersize=4, label=name)
    axes.set_ylim(0, 1)
    axes.legend(fontsize=8)
    return figure


HYPOTHESIS: Final = Analysis(
    "churn-hypothesis",
    "Recency, sessions and churn",
    "Do long recency and rare sessions go with more churn?",
    answer,
)
