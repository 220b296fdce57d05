"""Campaigns of limited time: how many more visits came in their days than the weeks around let expect."""

from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import statsmodels.api as sm
from statsmodels.stats.proportion import confint_proportions_2indep

from analytics import plots, seasons
from analytics.finding import Analysis, CannotAnswer, Finding, Rows
from analytics.shop import Shop
from analytics.words import counted, money, percent
from churn.report_page import Table

MOST_DAYS: Final = 21  # a label that is there for longer is a channel's name, not a campaign
LEAST_VISITS: Final = 5
AROUND: Final = timedelta(days=28)
LEAST_AROUND: Final = 14  # days before and days after

_WINDOWS: Final = """
SELECT campaign, min(day) AS first, max(day) AS last, count(*) AS brought
FROM sessions WHERE is_visit AND campaign IS NOT NULL GROUP BY campaign
HAVING max(day) - min(day) < $most AND count(*) >= $least ORDER BY first, campaign
"""
_IN_WINDOW: Final = """
SELECT count(*) AS visits, count(*) FILTER (campaign = $campaign) AS brought,
    count(*) FILTER (campaign = $campaign AND purchases > 0) AS bought_brought,
    count(*) FILTER (purchases > 0) AS bought,
    (SELECT count(*) FROM orders WHERE is_net AND day BETWEEN $first::DATE AND $last::DATE) AS orders,
    (SELECT coalesce(sum(net_minor), 0) / 100 FROM orders WHERE is_net AND day BETWEEN $first::DATE AND $last::DATE)
        AS revenue
FROM sessions WHERE is_visit AND day BETWEEN $first::DATE AND $last::DATE
"""


class Window(NamedTuple):
    """The days on which visits carry a campaign's name, both ends included."""

    campaign: str
    first: date
    last: date


class Lift(NamedTuple):
    """More visits than expected, as a share, with its 95 % interval."""

    lift: float
    low: float
    high: float


def windows(shop: Shop) -> list[Window]:
    """The campaigns of limited time."""
    rows = shop.rows(_WINDOWS, {"most": MOST_DAYS, "least": LEAST_VISITS})
    return [Window(row["campaign"], row["first"], row["last"]) for row in rows]


def lift(days: Any, window: Window, others: set[Any]) -> Lift | None:
    """The lift of a window against the four weeks on either side, weekday and a bent trend taken out (quasi-Poisson).

    `days` is a frame of `visits` by day, `others` are days of other campaigns and peaks, which are left out. None where
    fewer than two weeks are on either side: a shop that begins grows too unevenly.
    """
    first, last = pd.Timestamp(window.first), pd.Timestamp(window.last)
    near = days[(days.index >= first - AROUND) & (days.index <= last + AROUND)]
    near = near[~near.index.isin(list(others)) | ((near.index >= first) & (near.index <= last))]
    is_inside = ((near.index >= first) & (near.index <= last)).astype(float)
    before, after = int((near.index < first).sum()), int((near.index > last).sum())
    if min(before, after) < LEAST_AROUND or not near["visits"].sum():
        return None
    weekdays = pd.get_dummies(near.index.day_of_week, drop_first=True).to_numpy(dtype=float)
    trend = (near.index - near.index[0]).days.to_numpy() / (near.index[-1] - near.index[0]).days * 2 - 1
    what = np.column_stack([np.ones(len(near)), is_inside, trend, trend**2, weekdays])
    fitted = sm.GLM(near["visits"].to_numpy(dtype=float), what, family=sm.families.Poisson()).fit(scale="X2")
    low, high = fitted.conf_int()[1]
    return Lift(*(float(np.expm1(value)) for value in (fitted.params[1], low, high)))


def campaigns(shop: Shop) -> Rows:
    """Rows of `campaigns`, in order of time."""
    days, found = seasons.by_day(shop), windows(shop)
    of_window = {each: set(pd.date_range(each.first, each.last)) for each in found}
    busy = set().union(*of_window.values())
    for peak in seasons.peaks(shop, busy):
        busy |= set(pd.date_range(peak["@timestamp"], peak["until"]))
    rows = []
    for window in found:
        seen = shop.rows(_IN_WINDOW, {"campaign": window.campaign, "first": window.first, "last": window.last})[0]
        measured = lift(days, window, busy - of_window[window])
        others = seen["visits"] - seen["brought"]
        more = None if measured is None else seen["revenue"] * measured.lift / (1 + measured.lift)
        rows.append(
            {
                "@timestamp": datetime.combine(window.first, datetime.min.time()),
                "until": datetime.combine(window.last, datetime.min.time()),
                "campaign": window.campaign,
                **{name: seen[name] for name in ("visits", "brought", "orders", "revenue")},
                "revenue_more": None if more is None else round(more, 2),
                "lift": None if measured is None else measured.lift,
                "lift_low": None if measured is None else measured.low,
                "lift_high": None if measured is None else measured.high,
                "conversion_brought": seen["bought_brought"] / seen["brought"],
                "conversion_others": (seen["bought"] - seen["bought_brought"]) / others if others else None,
            }
        )
    return rows


def _difference(shop: Shop) -> tuple[float, float, float] | None:
    """Conversion of visits that a campaign brought less that of the others in the same days, with its interval."""
    counts = [shop.rows(_IN_WINDOW, each._asdict())[0] for each in windows(shop)]
    brought, bought = (sum(each[name] for each in counts) for name in ("brought", "bought_brought"))
    others = sum(each["visits"] for each in counts) - brought
    others_bought = sum(each["bought"] for each in counts) - bought
    if min(brought, others) == 0:
        return None
    low, high = confint_proportions_2indep(bought, brought, others_bought, others, compare="diff", method="newcomb")
    return bought / brought - others_bought / others, float(low), float(high)


def _campaigns(shop: Shop) -> Finding:
    rows = campaigns(shop)
    known = [row for row in rows if row["lift"] is not None]
    if not known:
        raise CannotAnswer(
            f"no visit carries the name of a campaign of at most {MOST_DAYS} days with enough days around it"
        )
    sure = [row for row in known if row["lift_low"] > 0]
    best = max(known, key=lambda row: row["lift"])
    difference = _difference(shop)
    words = [
        "The weeks around each campaign are the measure; without a group that gets none, other causes stay possible."
    ]
    if difference is not None:
        value, low, high = difference
        words.insert(
            0,
            f"Visits that a campaign brought convert {percent(abs(value))} {'more' if value > 0 else 'less'} than "
            "others of "
            f"the same days (95 % interval {percent(low)} to {percent(high)} of visits)"
            + (": chance may explain that." if low < 0 < high else "."),
        )
    more = sum(row["revenue_more"] for row in sure)
    return Finding(
        headline=f"{len(sure)} of {counted(len(known), 'campaign')} brought more visits for sure; the strongest, "
        f"{best['campaign']}, {percent(best['lift'], 0)} more ({percent(best['lift_low'], 0)} to "
        f"{percent(best['lift_high'], 0)}).",
        action=f"Repeat {best['campaign']}; together they brought about {money(more, shop.currency)} more."
        if sure
        else "No campaign can be shown to bring visits: run the next one with a random group that gets none.",
        words=words,
        figures=[
            plots.ranges(
                "More visits in the days of a campaign",
                [row["campaign"] for row in known],
                [(row["lift"], row["lift_low"], row["lift_high"]) for row in known],
                at=0,
            )
        ],
        shown=[
            Table(
                ("campaign", "from", "until", "visits", "more visits", "95 % interval", "its visits convert", "others"),
                [
                    (
                        row["campaign"],
                        f"{row['@timestamp']:%Y-%m-%d}",
                        f"{row['until']:%Y-%m-%d}",
                        f"{row['visits']:,}",
                        percent(row["lift"]),
                        f"{percent(row['lift_low'])} to {percent(row['lift_high'])}",
                        percent(row["conversion_brought"]),
                        percent(row["conversion_others"]) if row["conversion_others"] is not None else "—",
                    )
                    for row in known
                ],
            )
        ],
        rows={"campaigns": rows},
    )


CAMPAIGNS: Final = Analysis(
    "campaigns",
    "Campaign lift",
    "How many more visits do campaigns bring, and do those visits convert differently?",
    _campaigns,
    ("campaigns",),
)
