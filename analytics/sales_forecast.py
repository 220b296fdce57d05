"""What will be sold day by day (R6.11): exponential smoothing beside last week's days, on a rolling origin.

Hyndman, Koehler (2006), "Another look at measures of forecast accuracy", for the scaled error (MASE).
"""

import warnings
from datetime import date, datetime, time, timedelta
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from statsmodels.tools.sm_exceptions import ConvergenceWarning
from statsmodels.tsa.exponential_smoothing.ets import ETSModel

from analytics import plots
from analytics.finding import Analysis, CannotAnswer, Finding, Number, Rows
from analytics.shop import Shop
from analytics.words import counted, money, percent
from churn import evaluate
from churn.analysis_tables import AT
from churn.model import Floats
from churn.report_page import Table

WEEK: Final = 7
AHEAD: Final = 28
TESTED: Final = 14  # days from each origin
ORIGINS: Final = 12  # a week apart
LEAST_DAYS: Final = TESTED + (ORIGINS + 7) * WEEK
LEVEL: Final = 0.95
SEED: Final = 19


class Forecast(NamedTuple):
    """(days,) expected values and the ends of their 95 % intervals."""

    mean: Floats
    low: Floats
    high: Floats


class Errors(NamedTuple):
    """Of one way to forecast: RMSE and MAE in money, MAPE of days with sales, MASE: MAE / that of last week's days."""

    rmse: float
    mae: float
    mape: float
    mase: float


class Backtest(NamedTuple):
    """(origins, days): what came, what was foreseen from each origin; `scale` (origins,) is the naive error before."""

    real: Floats
    model: list[Forecast]
    naive: Floats
    scale: Floats

    @property
    def foreseen(self) -> Floats:
        return np.array([each.mean for each in self.model])

    @property
    def covered(self) -> float:
        """Share of days within their interval."""
        held = [(each.low <= real) & (real <= each.high) for each, real in zip(self.model, self.real, strict=True)]
        return float(np.mean(held))


def smooth(values: Floats, days: int) -> Forecast:
    """Additive smoothing of level and weekday, of logarithms where every day has sales."""
    is_log = bool(values.min() > 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = ETSModel(
            pd.Series(np.log(values) if is_log else values), error="add", seasonal="add", seasonal_periods=WEEK
        ).fit(disp=False)
    ahead = fitted.get_prediction(len(values), len(values) + days - 1)
    low, high = np.asarray(ahead.pred_int(1 - LEVEL)).T
    mean = np.asarray(ahead.predicted_mean)
    if not is_log:
        return Forecast(mean, low, high)
    # The mean of a log-normal value, not its median.
    spread = (high - low) / (2 * 1.959964)
    return Forecast(np.exp(mean + spread**2 / 2), np.exp(low), np.exp(high))


def naive(values: Floats, days: int) -> Floats:
    """Last week's day of the same name."""
    return np.asarray(np.resize(values[-WEEK:], days))


def backtest(values: Floats) -> Backtest:
    """Every origin sees the days before it alone."""
    origins = [len(values) - TESTED - WEEK * step for step in range(ORIGINS - 1, -1, -1)]
    return Backtest(
        np.array([values[origin : origin + TESTED] for origin in origins]),
        [smooth(values[:origin], TESTED) for origin in origins],
        np.array([naive(values[:origin], TESTED) for origin in origins]),
        np.array([np.abs(values[WEEK:origin] - values[: origin - WEEK]).mean() for origin in origins]),
    )


def errors(real: Floats, foreseen: Floats, scale: Floats) -> Errors:
    """Over all origins and days."""
    off, has_sales = np.abs(foreseen - real), real > 0
    mape = float((off[has_sales] / real[has_sales]).mean()) if has_sales.any() else float("nan")
    return Errors(float(np.sqrt((off**2).mean())), float(off.mean()), mape, float((off.mean(axis=1) / scale).mean()))


def beaten(test: Backtest) -> tuple[float, float, float]:
    """MAE / that of the naive rule on the same days, with the interval of origins drawn with replacement."""
    ours, theirs = (np.abs(each - test.real).mean(axis=1) for each in (test.foreseen, test.naive))
    chance = np.random.default_rng(SEED)
    draws = chance.integers(0, len(ours), (1_000, len(ours)))
    ratios = ours[draws].mean(axis=1) / np.maximum(theirs[draws].mean(axis=1), 1e-9)
    return float(ours.mean() / max(theirs.mean(), 1e-9)), *evaluate.interval(ratios)


def daily(shop: Shop) -> tuple[list[date], Floats]:
    """Net revenue of the whole days of the history."""
    rows = shop.rows("SELECT day, net_minor / 100 AS value FROM days ORDER BY day")
    whole = [row for row in rows if datetime.combine(row["day"], time()) + timedelta(days=1) <= shop.moment]
    return [row["day"] for row in whole], np.array([row["value"] for row in whole], dtype=np.float64)


def answer(shop: Shop) -> Finding:
    """The section."""
    days, values = daily(shop)
    if len(values) < LEAST_DAYS or (values[-LEAST_DAYS:] > 0).mean() < 0.5:
        raise CannotAnswer(
            f"a daily forecast takes {LEAST_DAYS} days, with sales on half of them; there are "
            f"{counted(len(values), 'day')}, {int((values > 0).sum()):,} with sales"
        )
    test, ahead = backtest(values), smooth(values, AHEAD)
    ours, theirs = errors(test.real, test.foreseen, test.scale), errors(test.real, test.naive, test.scale)
    ratio, low, high = beaten(test)
    coming = [days[-1] + timedelta(days=step) for step in range(1, AHEAD + 1)]
    is_better = high < 1
    return Finding(
        headline=f"{money(float(ahead.mean.sum()), shop.currency)} are expected in the {AHEAD} days from "
        f"{coming[0]:%Y-%m-%d}; the forecast was off by {money(ours.mae, shop.currency)} a day, "
        f"{percent(abs(1 - ratio), 0)} {'less' if ratio < 1 else 'more'} than last week's days.",
        action="Plan stock and staff by the forecast, and by its upper end before campaigns and holidays, "
        "which it does "
        "not know."
        if is_better
        else "Plan by last week's days: the forecast is not surely better yet.",
        words=(
            (
                f"Tested {ORIGINS} times, a week apart, {TESTED} days ahead each, from the days before alone. "
                f"{percent(test.covered)} of the days lay in their 95 % interval."
            ),
            (
                "It knows level and weekday; a peak that the weeks before did not have (a holiday, a campaign) it "
                "cannot see."
            ),
        ),
        numbers=[
            Number("MAE / MAE of last week's days", ratio, "number", low, high),
            Number("MASE", ours.mase, "number"),
            Number("RMSE", ours.rmse, "money"),
            Number("MAE", ours.mae, "money"),
            Number("MAPE", ours.mape, "share"),
            Number("Days within the 95 % interval", test.covered, "share"),
        ],
        figures=[_drawn(days, values, test, coming, ahead)],
        shown=[_table(ours, theirs)],
        rows={"sales-forecast": rows(days, values, test, coming, ahead)},
    )


def rows(days: list[date], values: Floats, test: Backtest, coming: list[date], ahead: Forecast) -> Rows:
    """Of `sales-forecast`: all days; those tested by the latest forecast that was made for them, and those to come."""
    told: dict[date, tuple[float, ...]] = {}
    first = len(values) - TESTED - WEEK * (ORIGINS - 1)
    for number, (each, last_week) in enumerate(zip(test.model, test.naive, strict=True)):
        begin = first + WEEK * number
        for step in range(TESTED):
            told[days[begin + step]] = (each.mean[step], each.low[step], each.high[step], last_week[step])
    for step, (day, last_week) in enumerate(zip(coming, naive(values, AHEAD), strict=True)):
        told[day] = (ahead.mean[step], ahead.low[step], ahead.high[step], last_week)
    real = dict(zip(days, values.tolist(), strict=True))
    return [
        {
            AT: datetime.combine(day, time()),
            "actual": real.get(day),
            **dict(zip(("forecast", "low", "high", "naive"), map(float, told.get(day, ())), strict=False)),
            "is_future": day not in real,
        }
        for day in [*days, *coming]
    ]


def _table(ours: Errors, theirs: Errors) -> Table:
    rows = [
        (name, f"{each.rmse:,.2f}", f"{each.mae:,.2f}", percent(each.mape), f"{each.mase:.3f}")
        for name, each in (("smoothing of level and weekday", ours), ("last week's days", theirs))
    ]
    return Table(("", "RMSE", "MAE", "MAPE", "MASE"), rows, f"{ORIGINS} origins, {TESTED} days each")


def _drawn(days: list[date], values: Floats, test: Backtest, coming: list[date], ahead: Forecast) -> Figure:
    figure, axes = plots.axes("Net revenue by day")
    shown = min(len(days), LEAST_DAYS)
    axes.plot(days[-shown:], values[-shown:], color="grey", linewidth=1, label="real")
    for number, each in enumerate(test.model):
        begin = len(values) - TESTED - WEEK * (ORIGINS - 1 - number)
        axes.plot(
            days[begin : begin + WEEK],
            each.mean[:WEEK],
            color=plots.COLOUR,
            linewidth=1.2,
            label="foreseen" if not number else None,
        )
    axes.plot(coming, ahead.mean, color=plots.ACCENT, label="to come")
    axes.fill_between(coming, ahead.low, ahead.high, color=plots.ACCENT, alpha=0.2, linewidth=0)
    axes.legend(fontsize=8)
    figure.autofmt_xdate(rotation=30)
    return figure


FORECAST: Final = Analysis(
    "sales-forecast",
    "Daily sales to come",
    "What will be sold in the next four weeks?",
    answer,
    ("sales-forecast",),
)
