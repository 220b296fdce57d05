"""Will the next order come within 30 days, and when (R6.10)?

The date's interval is that of the purchase process, given that an order comes within 90 days; which of its quantiles
hold 80 % is taken from orders that came after an earlier moment (split conformal prediction, Vovk et al. 2005).
"""

from typing import Final, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from statsmodels.stats.proportion import proportion_confint

from analytics import judged, plots
from analytics.big_spenders import buyers
from analytics.finding import Analysis, CannotAnswer, Finding, Number
from analytics.judged import MODEL
from analytics.samples import HORIZON, Samples
from analytics.shop import Shop
from analytics.words import counted, percent
from churn import evaluate
from churn.model import Floats
from churn.purchase_process import Histories, NotFitted, Process, fit, p_none
from churn.row import GAPS_TRUSTED, USUAL_GAP_MEDIAN_DAYS

SOON_DAYS: Final = 30
WITHIN_DAYS: Final = HORIZON.days
LEVEL: Final = 0.8
LEAST_ORDERS: Final = 100
PROCESS: Final = "purchase process (MBG/NBD)"


class Levels(NamedTuple):
    """Which quantiles of the process hold the lower end, the middle and the upper end of an interval."""

    low: float
    middle: float
    high: float


def histories(samples: Samples) -> Histories:
    """Repeat days, age at the latest of them, and age, in days."""
    names = ("repeat_purchase_days", "last_purchase_age_days", "age_days")
    x, t_x, age = (np.nan_to_num(samples.feature(name)) for name in names)
    t_x = np.where(x > 0, t_x, 0.0)
    return Histories.of(x, t_x, np.maximum(age, t_x))


def come_by(process: Process, seen: Histories, days: Floats) -> Floats:
    """P(the next order comes within `days` | one comes within 90): whoever is alive comes at a Gamma rate."""
    shape, scale = process.r + seen.counts, process.alpha + seen.ages
    return np.asarray(np.expm1(-shape * np.log1p(days / scale)) / np.expm1(-shape * np.log1p(WITHIN_DAYS / scale)))


def wait_of(process: Process, seen: Histories, level: float) -> Floats:
    """The inverse of `come_by`: (n,) days."""
    shape, scale = process.r + seen.counts, process.alpha + seen.ages
    most = -np.expm1(-shape * np.log1p(WITHIN_DAYS / scale))
    return np.asarray(scale * np.expm1(-np.log1p(-level * most) / shape))


def levels(process: Process, seen: Histories, waits: Floats) -> Levels:
    """From orders that came after `waits` days (NaN: none within 90)."""
    came = ~np.isnan(waits)
    if came.sum() < LEAST_ORDERS:
        raise CannotAnswer(f"{counted(int(came.sum()), 'order')} within {WITHIN_DAYS} days; it takes {LEAST_ORDERS}")
    reached = come_by(process, seen, np.nan_to_num(waits))[came]
    return Levels(*(float(each) for each in np.quantile(reached, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])))


def rule_wait(samples: Samples) -> Floats:
    """Days to last order + median gap, shrunk to 30 days with few gaps, as on risk cards; 0 where that is over."""
    gap, gaps = np.nan_to_num(samples.feature("order_gap_median_days")), samples.feature("repeat_purchase_days")
    trust = np.minimum(1.0, gaps / GAPS_TRUSTED)
    wait = trust * gap + (1 - trust) * USUAL_GAP_MEDIAN_DAYS - samples.feature("recency_days")
    return np.asarray(np.clip(wait, 0.0, WITHIN_DAYS))


class Dates(NamedTuple):
    """On the test's orders within 90 days: how many intervals held, and how far the middle was off, in days."""

    came: int
    held: int
    width: float
    off: float
    rule_off: float


def dates(process: Process, chosen: Levels, test: Samples, waits: Floats) -> Dates:
    """How good the dates were."""
    seen, came = histories(test), ~np.isnan(waits)
    low, middle, high = (wait_of(process, seen, level)[came] for level in chosen)
    real = waits[came]
    return Dates(
        len(real),
        int(((low <= real) & (real <= high)).sum()),
        float(np.median(high - low)),
        float(np.abs(middle - real).mean()),
        float(np.abs(rule_wait(test)[came] - real).mean()),
    )


def answer(shop: Shop) -> Finding:
    """The section."""
    moments = judged.moments_of(shop)
    learn, latest, test = (
        buyers(shop.sampled.at_cut_offs.at(*each)) for each in (moments.train, moments.train[-1:], [moments.test])
    )
    came = {
        name: shop.net_orders.after(each, WITHIN_DAYS).first_days for name, each in (("learn", learn), ("test", test))
    }
    soon = {name: (np.nan_to_num(each, nan=np.inf) <= SOON_DAYS).astype(np.int8) for name, each in came.items()}
    found = judged.judge(learn, soon["learn"], test, soon["test"], "recency_days", shop.processes)
    try:
        process = fit(histories(latest))
    except NotFitted as error:
        raise CannotAnswer(str(error)) from error
    waits = came["learn"][learn.moments_ms == latest.moments_ms[0]]
    chosen = levels(process, histories(latest), waits)
    when = dates(process, chosen, test, came["test"])
    chances = {**found.chances, PROCESS: 1 - p_none(process, histories(test), SOON_DAYS)}
    found = judged.Judged(found.labels, chances, *judged.measured(found.labels, chances), found.importances)
    return _finding(shop, found, when)


def _finding(shop: Shop, found: judged.Judged, when: Dates) -> Finding:
    low, high = proportion_confint(when.held, when.came, method="wilson")
    expected, real = float(found.chances[MODEL].sum()), int(found.labels.sum())
    nearer = "nearer than" if when.off < when.rule_off else "no nearer than"
    return Finding(
        headline=f"{real:,} of {len(found.labels):,} buyers ordered within {SOON_DAYS} days, {expected:,.0f} were "
        f"foreseen; {percent(when.held / when.came)} of the 80 % intervals held the date of the next order.",
        action=_action(found),
        words=(
            judged.beats(found),
            (
                f"The interval is {when.width:.0f} days wide (median): dates of single customers are hardly "
                "known, so plan "
                f"by the chance, not by the day. Its middle is {when.off:.1f} days off on average, {nearer} "
                "last order plus "
                f"usual gap ({when.rule_off:.1f} days)."
            ),
        ),
        numbers=[
            *judged.numbers(found),
            Number("80 % intervals that held", when.held / when.came, "share", float(low), float(high)),
            Number("Middle of the interval, days off", when.off, "days"),
            Number("Last order plus usual gap, days off", when.rule_off, "days"),
        ],
        figures=[_calibration(found), judged.weights(found)],
        shown=[
            judged.compared(found, f"An order within {SOON_DAYS} days; {len(found.labels):,} buyers"),
            judged.classes(found, ("no order", "order")),
        ],
    )


def _action(found: judged.Judged) -> str:
    risky = float(np.mean(found.chances[MODEL] < 0.1))
    return (
        f"Leave reminders to those with a middling chance: {percent(risky)} of the buyers have less than 10 % "
        "and need a "
        "reason to return, not a reminder; those above 50 % would come anyhow."
    )


def _calibration(found: judged.Judged) -> Figure:
    figure, axes = plots.axes(
        "Foretold and real", "chance of an order, mean of a tenth", "share that ordered", (5.4, 3.8)
    )
    for name, chance in found.chances.items():
        bins = evaluate.bins(found.labels, chance)
        axes.plot([each[0] for each in bins], [each[1] for each in bins], "o-", markersize=3, label=name)
    axes.plot([0, 1], [0, 1], "--", color="grey", label="right")
    axes.legend(fontsize=8)
    return figure


NEXT_ORDER: Final = Analysis(
    "next-order",
    "The next order",
    "Will the next order come within 30 days, and when?",
    answer,
)
