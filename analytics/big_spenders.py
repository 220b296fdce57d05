"""Who will be a big spender in the coming 90 days (R6.8): the top tenth of buyers by net value, by a frozen amount."""

from typing import Final

import numpy as np
from matplotlib.figure import Figure

from analytics import judged, plots
from analytics.finding import Analysis, CannotAnswer, Finding, Number
from analytics.judged import MODEL
from analytics.samples import Samples
from analytics.shop import Shop
from analytics.words import counted, money, percent
from churn import evaluate
from churn.features import LOOK_BACK_DAYS
from churn.model import Floats

TOP: Final = 0.1
DAYS: Final = 90


def buyers(samples: Samples) -> Samples:
    """Who had a net order in the year before the moment."""
    return samples.where(samples.feature("recency_days") < LOOK_BACK_DAYS)


def answer(shop: Shop) -> Finding:
    """The section."""
    moments = judged.moments_of(shop)
    learn, test = (buyers(shop.sampled.at_cut_offs.at(*each)) for each in (moments.train, [moments.test]))
    if len(learn.customer_ids) < judged.LEAST_CUSTOMERS:
        raise CannotAnswer(f"only {counted(len(learn.customer_ids), 'buyer')} to learn from")
    before, came = (shop.net_orders.after(each, DAYS) for each in (learn, test))
    # Frozen before the test: who reaches it later is a big spender, however many they are.
    least = float(np.quantile(before.value, 1 - TOP))
    if least <= 0:
        raise CannotAnswer(f"fewer than {percent(TOP, 0)} of the buyers order again within {DAYS} days")
    labels = [(each.value >= least).astype(np.int8) for each in (before, came)]
    found = judged.judge(learn, labels[0], test, labels[1], "monetary", shop.processes)
    chosen = np.argsort(-found.chances[MODEL], kind="stable")[: max(1, round(TOP * len(test.customer_ids)))]
    share, caught = came.value[chosen].sum() / came.value.sum(), float(found.labels[chosen].mean())
    return Finding(
        headline=f"The tenth of the buyers with the highest chance brought {percent(share)} of the next {DAYS} days' "
        f"revenue; {percent(caught)} of them spent {money(least, shop.currency)} or more.",
        action="Give this tenth a person to talk to and early stock rather than discounts: they would buy anyhow.",
        words=(
            judged.beats(found),
            (
                f"Big is {money(least, shop.currency)} or more in {DAYS} days, the top tenth of the "
                f"training moments; {percent(found.points[MODEL]['base_rate'])} of the test's buyers did."
            ),
        ),
        numbers=[
            *judged.numbers(found),
            Number(
                f"Share of revenue of the chosen tenth, next {DAYS} days",
                float(share),
                "share",
                *_interval(came.value, chosen),
            ),
        ],
        figures=[_gains(found.chances, came.value), judged.weights(found)],
        shown=[
            judged.compared(found, f"{len(found.labels):,} buyers at {moments.test:%Y-%m-%d}"),
            judged.classes(found, ("other", "big spender")),
        ],
    )


def _interval(values: Floats, chosen: "np.ndarray[tuple[int], np.dtype[np.intp]]") -> tuple[float, float]:
    """Of the share of the chosen in the sum, over customers drawn with replacement."""
    chance, is_chosen = np.random.default_rng(judged.SEED), np.zeros(len(values))
    is_chosen[chosen] = 1
    draws = [chance.integers(0, len(values), len(values)) for _ in range(300)]
    shares = [float((values * is_chosen)[draw].sum() / max(values[draw].sum(), 1e-9)) for draw in draws]
    return evaluate.interval(np.array(shares))


def _gains(chances: dict[str, Floats], values: Floats) -> Figure:
    figure, axes = plots.axes("Revenue caught", "share of buyers, most likely first", "share of revenue", (5.4, 3.8))
    share = np.arange(1, len(values) + 1) / len(values)
    for name, chance in chances.items():
        axes.plot(share, np.cumsum(values[np.argsort(-chance, kind="stable")]) / values.sum(), label=name)
    axes.plot([0, 1], [0, 1], "--", color="grey", label="chance")
    axes.legend(fontsize=8)
    return figure


BIG_SPENDERS: Final = Analysis(
    "big-spenders",
    "Big spenders of the next 90 days",
    "Which buyers will spend most?",
    answer,
)
