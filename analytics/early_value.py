"""Who becomes a top customer, and what tells it early (R6.9): the first 30 days against what came later.

Learned from earlier joiners whose later value was known before the first test customer's 30 days were over.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

from analytics import experiments, judged, plots
from analytics.finding import Analysis, CannotAnswer, Finding, Number
from analytics.judged import MODEL
from analytics.samples import DAY_MS, EARLY, Samples
from analytics.shop import Shop
from analytics.words import listed, money, percent
from churn.events import epoch_ms
from churn.model import Floats, number
from churn.report_page import Table

TOP: Final = 0.05
# How long after the 30 days value is counted: the longest that leaves enough joiners to learn from and to test on.
LATER_DAYS: Final = (335, 180, 120, 90, 60)
LEAST: Final = 300
TEST_FROM: Final = 0.6  # of the joining time that can be used

Flags = NDArray[np.bool_]


class Cohorts(NamedTuple):
    """Joiners to learn from, later joiners to test on, and the days after their 30th in which value is counted."""

    learn: Samples
    test: Samples
    days: int


class Signal(NamedTuple):
    """Something seen in 30 days: how many times as often those with it become top customers, with its interval."""

    name: str
    customers: int
    share_with: float
    share_without: float
    ratio: float
    low: float
    high: float
    p: float


def cohorts(early: Samples, as_of_ms: int) -> Cohorts:
    """Split by the day of joining. Raises `CannotAnswer`."""
    # Who signed up long before their first event here did not join here.
    joined = early.where(~(early.feature("tenure_days") > EARLY.days + 1))
    if not len(joined.joined_ms):
        raise CannotAnswer("nobody is seen from joining on for 30 days")
    first = joined.joined_ms.min()
    for days in LATER_DAYS:
        last = as_of_ms - (EARLY.days + days) * DAY_MS
        begin = first + days * DAY_MS
        if last <= begin:
            continue
        test_from = begin + TEST_FROM * (last - begin)
        learn = joined.where(joined.joined_ms + days * DAY_MS <= test_from)
        test = joined.where((joined.joined_ms >= test_from) & (joined.joined_ms <= last))
        if min(len(learn.joined_ms), len(test.joined_ms)) >= LEAST:
            return Cohorts(learn, test, days)
    raise CannotAnswer(
        f"too few customers are seen from joining on for {EARLY.days + LATER_DAYS[-1]} days: it takes {LEAST} to learn "
        f"from and {LEAST} later ones to test on"
    )


def signals(learn: Samples, test: Samples, is_top: Flags) -> list[Signal]:
    """What was seen of the test's joiners in 30 days, the strongest first; cuts come from `learn`."""
    found = []
    for name, has in _asked(learn).items():
        with_it = has(test)
        sizes = int(with_it.sum()), int((~with_it).sum())
        tops = int(is_top[with_it].sum()), int(is_top[~with_it].sum())
        if min(sizes) < judged.LEAST_OF_EACH or not min(tops):
            continue
        low, high = confint_proportions_2indep(tops[0], sizes[0], tops[1], sizes[1], compare="ratio", method="log")
        shares = tops[0] / sizes[0], tops[1] / sizes[1]
        p = float(proportions_ztest(tops, sizes)[1])
        found.append(Signal(name, sizes[0], *shares, shares[0] / shares[1], float(low), float(high), p))
    adjusted = experiments.adjusted([signal.p for signal in found]) if found else []
    found = [signal._replace(p=p) for signal, p in zip(found, adjusted, strict=True)]
    return sorted(found, key=lambda signal: -signal.ratio)


def _asked(learn: Samples) -> dict[str, Callable[[Samples], Flags]]:
    asked: dict[str, Callable[[Samples], Flags]] = {
        "an order": lambda each: each.feature("orders_total") >= 1,
        "a second order": lambda each: each.feature("orders_total") >= 2,
        "3 sessions or more": lambda each: each.feature("sessions_total") >= 3,
        "3 categories or more": lambda each: each.feature("distinct_categories") >= 3,
        "an abandoned cart": lambda each: each.feature("carts_abandoned_total") >= 1,
        "a discount used": lambda each: each.feature("discount_share") > 0,
        "a rating given": lambda each: ~np.isnan(each.feature("rating_mean")),
        "came by e-mail last": lambda each: each.feature("channel") == number("email"),
        "on a phone last": lambda each: each.feature("device") == number("mobile"),
    }
    for name, feature in (
        ("average order", "average_order_value"),
        ("views", "views_30d"),
        ("item price", "item_price_mean"),
    ):
        known = learn.feature(feature)
        known = known[~np.isnan(known)]
        if len(known):
            asked |= _quarter(name, feature, float(np.quantile(known, 0.75)))
    return asked


def _quarter(name: str, feature: str, cut: float) -> dict[str, Callable[[Samples], Flags]]:
    return {f"{name} of {cut:,.4g} or more (top quarter)": lambda each: each.feature(feature) >= cut}


def answer(shop: Shop) -> Finding:
    """The section."""
    split = cohorts(shop.sampled.early, epoch_ms(shop.as_of))
    values = [shop.net_orders.after(each, split.days).value for each in (split.learn, split.test)]
    least = float(np.quantile(values[0], 1 - TOP))
    if least <= 0:
        raise CannotAnswer(f"fewer than {percent(TOP, 0)} of the joiners order after their first {EARLY.days} days")
    labels = [(each >= least).astype(np.int8) for each in values]
    found = judged.judge(split.learn, labels[0], split.test, labels[1], "net_revenue_total", shop.processes)
    is_top = labels[1] == 1
    seen = signals(split.learn, split.test, is_top)
    sure = [signal for signal in seen if signal.p < experiments.ALPHA and signal.low > 1]
    chosen = np.argsort(-found.chances[MODEL], kind="stable")[: max(1, round(TOP * len(is_top)))]
    caught = float(is_top[chosen].sum() / is_top.sum())
    share = float(values[1][is_top].sum() / max(values[1].sum(), 1e-9))
    return Finding(
        headline=f"Top customers brought {percent(share)} of what joiners spent after their first {EARLY.days} days; "
        + (
            f"the strongest early sign is {sure[0].name} ({sure[0].ratio:.1f} times as likely)."
            if sure
            else "no early sign is sure."
        ),
        action=_action(sure, found, caught),
        words=(
            (
                f"Top means {money(least, shop.currency)} or more from day {EARLY.days} to day "
                f"{EARLY.days + split.days}, "
                f"the top {percent(TOP, 0)} of earlier joiners; {percent(float(is_top.mean()))} of later ones "
                "reached it."
            ),
            judged.beats(found),
            (
                f"The {percent(TOP, 0)} with the highest chance on their 30th day held {percent(caught)} of the "
                "later top "
                "customers."
            ),
        ),
        numbers=[
            *judged.numbers(found),
            *(
                Number(f"Times as likely with {each.name}", each.ratio, "number", each.low, each.high)
                for each in sure[:3]
            ),
        ],
        figures=[_drawn(seen), judged.weights(found), judged.roc(found)],
        shown=[
            _signal_table(seen),
            _who(split.test, is_top),
            judged.compared(
                found, f"{len(split.learn.joined_ms):,} joiners to learn from, {len(is_top):,} later ones to test on"
            ),
        ],
    )


def _action(sure: list[Signal], found: judged.Judged, caught: float) -> str:
    if not sure:
        return "Wait until more customers have joined: nothing in the first 30 days tells top customers apart yet."
    names = listed([signal.name for signal in sure[:3]])
    return (
        f"On day {EARLY.days} look for {names}, and welcome these customers in person; the model's top "
        f"{percent(TOP, 0)} holds {percent(caught)} of those who will matter."
    )


def _drawn(seen: list[Signal]) -> Figure:
    return plots.ranges(
        "Signs of the first 30 days",
        [signal.name for signal in seen],
        [(signal.ratio, signal.low, signal.high) for signal in seen],
        "times as likely to become a top customer, 95 % interval",
        at=1.0,
    )


def _signal_table(seen: list[Signal]) -> Table:
    rows = [
        (
            each.name,
            f"{each.customers:,}",
            percent(each.share_with),
            percent(each.share_without),
            f"{each.ratio:.2f} ({each.low:.2f} to {each.high:.2f})",
            f"{each.p:.3f}",
        )
        for each in seen
    ]
    columns = ("in the first 30 days", "joiners", "top with it", "top without", "ratio, 95 % interval", "p (Holm)")
    return Table(columns, rows, "Early signs, on the later joiners")


def _who(test: Samples, is_top: Flags) -> Table:
    named = {
        "orders": "orders_total",
        "net revenue": "net_revenue_total",
        "average order": "average_order_value",
        "sessions": "sessions_total",
        "views": "views_30d",
        "categories": "distinct_categories",
        "days since the last event": "idle_days",
    }
    rows = [
        (name, f"{_mean(test.feature(feature)[is_top]):,.2f}", f"{_mean(test.feature(feature)[~is_top]):,.2f}")
        for name, feature in named.items()
    ]
    return Table(("mean of the first 30 days", "later top", "others"), rows, "Who they are")


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


EARLY_VALUE: Final = Analysis(
    "early-value",
    "The top 5 % and how to know them early",
    "Who are the most valuable customers, and what tells them in the first 30 days?",
    answer,
)
