"""What customers will bring (R6.12): MBG/NBD orders times Gamma-Gamma spend, held against what came later.

A process in calendar days knows no season, so the total is scaled by what the same forecast missed at an earlier time:
a year before where the history reaches so far, else the 90 days before.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from analytics import bg_nbd, judged, plots, purchases
from analytics.finding import Analysis, CannotAnswer, Finding, Number
from analytics.purchases import Bought
from analytics.shop import Shop
from analytics.words import money, percent
from churn import evaluate
from churn.customer_value import TOP_SHARE, ValueModel, fit_value, predict_value
from churn.model import Floats
from churn.purchase_process import NotFitted, expected_more, expected_spend
from churn.report_page import Table

DAYS: Final = 90
YEAR: Final = timedelta(days=365)
LEAST_BEFORE: Final = timedelta(days=90)
LEAST_REPEATERS: Final = 50
DECILES: Final = 10
DRAWS: Final = 400


class Held(NamedTuple):
    """A forecast of 90 days at a moment beside what came: (n,) values, and by what an earlier one was too low."""

    moment: datetime
    bought: Bought
    model: ValueModel
    predicted: Floats
    scale: float
    scaled_from: datetime | None

    @property
    def deciles(self) -> list[tuple[float, float]]:
        """Mean predicted and real value of ten groups of equal size, from the least predicted."""
        order = np.argsort(self.predicted, kind="stable")
        return [
            (float(self.predicted[part].mean()), float(self.bought.came_value[part].mean()))
            for part in np.array_split(order, DECILES)
        ]

    @property
    def ratio(self) -> tuple[float, float, float]:
        """Predicted total / real total with the interval of customers drawn with replacement."""
        chance, real = np.random.default_rng(judged.SEED), self.bought.came_value
        draws = [chance.integers(0, len(real), len(real)) for _ in range(DRAWS)]
        ratios = np.array([self.predicted[draw].sum() / max(real[draw].sum(), 1e-9) for draw in draws])
        return float(self.predicted.sum() / max(real.sum(), 1e-9)), *evaluate.interval(ratios)


def held(shop: Shop) -> Held:
    """The forecast of the last 90 days. Raises `CannotAnswer`."""
    first, end = _span(shop)
    test = end - timedelta(days=DAYS)
    if test - first < LEAST_BEFORE:
        raise CannotAnswer(
            f"it takes {LEAST_BEFORE.days + DAYS} days of orders to foresee {DAYS} and to look whether it came so"
        )
    scale, scaled_from = _scale(shop, first, test)
    bought, model, predicted = _forecast(shop, test)
    return Held(test, bought, model, predicted * scale, scale, scaled_from)


def _span(shop: Shop) -> tuple[datetime, datetime]:
    first = shop.value("SELECT min(ordered_at) FROM orders WHERE is_net")
    if first is None:
        raise CannotAnswer("nobody has an order")
    end = shop.as_of.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return first.replace(tzinfo=UTC), end


def _scale(shop: Shop, first: datetime, test: datetime) -> tuple[float, datetime | None]:
    for back in (YEAR, timedelta(days=DAYS)):
        if test - back - first < LEAST_BEFORE:
            continue
        try:
            bought, _, predicted = _forecast(shop, test - back)
        except CannotAnswer:
            continue
        if predicted.sum() > 0 and bought.came_value.sum() > 0:
            return float(bought.came_value.sum() / predicted.sum()), test - back
    return 1.0, None


def _forecast(shop: Shop, moment: datetime) -> tuple[Bought, ValueModel, Floats]:
    bought = purchases.at(shop, moment, DAYS)
    repeaters = int((bought.columns[:, 0] > 0).sum())
    if repeaters < LEAST_REPEATERS:
        raise CannotAnswer(f"{repeaters} customers had ordered twice by {moment:%Y-%m-%d}; it takes {LEAST_REPEATERS}")
    model = fit_value(bought.columns)
    if model is None:
        raise CannotAnswer("the spend of customers differs too much for its mean to be foreseen")
    orders = expected_more(model.process, bought.seen, DAYS)
    return (
        bought,
        model,
        orders * expected_spend(model.spend, bought.columns[:, 0], np.maximum(bought.columns[:, 3], 0)),
    )


def answer(shop: Shop) -> Finding:
    """The section."""
    found = held(shop)
    ratio, low, high = found.ratio
    real = found.bought.came_value
    now = purchases.at(shop, shop.as_of, 1)
    coming = predict_value(found.model, now.columns)
    top = np.sort(coming)[::-1][: max(1, round(TOP_SHARE * len(coming)))].sum() / coming.sum()
    rank = float(spearmanr(found.predicted, real).statistic)
    rule = float(spearmanr(found.bought.last_90, real).statistic)
    scaled = (
        f"The total is scaled by {found.scale:.2f}, what the same forecast missed at {found.scaled_from:%Y-%m-%d}."
        if found.scaled_from
        else "The history is too short to tell how far such forecasts are off here: the total is as the process has it."
    )
    better = "rank customers better than" if rank > rule else "rank customers no better than"
    return Finding(
        headline=f"Customers are expected to bring {money(float(coming.sum()), shop.currency)} in the next 365 days, "
        f"{percent(float(top))} of it the top {percent(TOP_SHARE, 0)}; the forecast of the last {DAYS} days came to "
        f"{percent(ratio, 0)} of what was spent.",
        action=f"Spend on keeping a customer by the predicted value: from {money(found.model.top_from, shop.currency)} "
        "a year on they are among the top 5 % (on every risk card), and worth a call.",
        words=(
            scaled,
            (
                f"Predicted values {better} the revenue of the last {DAYS} days (rank correlation with what "
                f"came: {rank:.3f} "
                f"against {rule:.3f})."
            ),
            "A year ahead the forecast takes the shop to stay as it was on average: no season, no new customers.",
        ),
        numbers=[
            Number("Expected value, next 365 days", float(coming.sum()), "money"),
            Number(f"Foreseen / real, last {DAYS} days", ratio, "number", low, high),
            Number("Rank correlation with what came", rank, "number"),
            Number(f"... of revenue of the {DAYS} days before", rule, "number"),
        ],
        figures=[_drawn(found, shop.currency)],
        shown=[_deciles(found), _processes(found)],
    )


def _drawn(found: Held, currency: str) -> Figure:
    return plots.lines(
        f"Value in {DAYS} days, by tenth of the customers",
        [str(number) for number in range(1, DECILES + 1)],
        {"foreseen": [each[0] for each in found.deciles], "real": [each[1] for each in found.deciles]},
        f"{currency} a customer",
        "tenth, from the least foreseen",
    )


def _deciles(found: Held) -> Table:
    rows = [(number, f"{told:,.2f}", f"{came:,.2f}") for number, (told, came) in enumerate(found.deciles, 1)]
    return Table(("tenth", "foreseen", "real"), rows, f"Mean value of {DAYS} days from {found.moment:%Y-%m-%d}")


def _processes(found: Held) -> Table:
    """Order days as two processes foresee them, neither of them scaled."""
    seen, real = found.bought.seen, float(found.bought.came_days.sum())
    rows = [
        ("real", f"{real:,.0f}", ""),
        ("MBG/NBD", f"{expected_more(found.model.process, seen, DAYS).sum():,.0f}", _said(found.model.process)),
    ]
    try:
        other = bg_nbd.fit(seen)
        rows.append(("BG/NBD", f"{bg_nbd.expected_more(other, seen, DAYS).sum():,.0f}", _said(other)))
    except NotFitted:
        pass
    return Table(
        ("", "days with an order", "r, alpha (days), a, b"), rows, "Two processes on the same customers, not scaled"
    )


def _said(process: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3f}" for value in process)


LIFETIME_VALUE: Final = Analysis(
    "lifetime-value",
    "Customer lifetime value",
    "What will each customer bring?",
    answer,
)
