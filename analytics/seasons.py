"""When customers come and buy: by hour, weekday and month, and the days on which far more come than usual."""

from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency

from analytics import plots
from analytics.finding import Analysis, CannotAnswer, Finding, Number, Rows
from analytics.leaks import interval
from analytics.shop import Shop
from analytics.words import counted, listed, percent
from churn.report_page import Table

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
AROUND_DAYS: Final = 29
PEAK_FROM: Final = 4.0  # robust standard deviations
PEAK_FACTOR: Final = 1.25
LEAST_DAYS: Final = 28
SURE: Final = 0.01

_SLOTS: Final = {
    "hour": "hour(started_at)",
    "weekday": "isodow(started_at) - 1",
    "month": "month(started_at) - 1",
}
_CYCLE: Final = """
WITH came AS (
    SELECT {slot} AS place, count(*) AS visits, count(*) FILTER (purchases > 0) AS with_purchase
    FROM sessions WHERE is_visit GROUP BY place
), bought AS (
    SELECT {order_slot} AS place, count(*) AS orders, sum(net_minor) / 100 AS revenue
    FROM orders WHERE is_net GROUP BY place
)
SELECT place::BIGINT AS place, visits, with_purchase, coalesce(orders, 0) AS orders, coalesce(revenue, 0) AS revenue
FROM came LEFT JOIN bought USING (place) ORDER BY place
"""


def seasonality(shop: Shop) -> Rows:
    """Rows of `seasonality`."""
    rows = []
    for cycle, slot in _SLOTS.items():
        found = shop.rows(_CYCLE.format(slot=slot, order_slot=slot.replace("started_at", "ordered_at")))
        days = _days(shop, cycle, slot)
        mean = sum(row["visits"] for row in found) / max(1, sum(days.values())) or 1.0
        of_place = {row["place"]: row for row in found}
        for place in sorted(days):
            row = of_place.get(place, {"place": place, "visits": 0, "with_purchase": 0, "orders": 0, "revenue": 0.0})
            low, high = interval(row["with_purchase"], row["visits"])
            rows.append(
                {
                    "@timestamp": shop.moment,
                    "cycle": cycle,
                    "slot": _name(cycle, row["place"]),
                    "place": row["place"],
                    "visits": row["visits"],
                    "orders": row["orders"],
                    "revenue": row["revenue"],
                    "visits_index": row["visits"] / days[row["place"]] / mean,
                    "conversion": row["with_purchase"] / row["visits"] if row["visits"] else None,
                    "conversion_low": low if row["visits"] else None,
                    "conversion_high": high if row["visits"] else None,
                }
            )
    return rows


def _days(shop: Shop, cycle: str, slot: str) -> dict[int, int]:
    """How many days of the history have each slot of a cycle."""
    if cycle == "hour":
        return dict.fromkeys(range(24), shop.value("SELECT count(*) FROM days"))
    query = f"SELECT {slot.replace('started_at', 'day')} AS place, count(*) AS days FROM days GROUP BY place"
    return {int(row["place"]): row["days"] for row in shop.rows(query)}


def _name(cycle: str, place: int) -> str:
    if cycle == "weekday":
        return WEEKDAYS[place]
    return f"{place:02d}:00" if cycle == "hour" else f"{datetime(2000, place + 1, 1):%B}"


def by_day(shop: Shop) -> Any:
    """Visits by day as a series, weekday effects taken out in `even`, and the `expected` of the weeks around."""
    days = shop.table("SELECT day, visits FROM days ORDER BY day").to_pandas()
    visits = pd.Series(days["visits"].to_numpy(dtype=float), index=pd.to_datetime(days["day"]))
    around = visits.rolling(AROUND_DAYS, center=True, min_periods=7).median()
    weekday: Any = visits.index.day_of_week  # type: ignore[attr-defined]
    ratio = (visits / around.where(around > 0)).groupby(weekday).median()
    effect = pd.Series([ratio.get(day, 1.0) for day in weekday], index=visits.index).fillna(1.0)
    return pd.DataFrame({"visits": visits, "expected": around * effect})


def peaks(shop: Shop, busy: set[Any]) -> Rows:
    """Rows of `peaks`: runs of days far above the weeks around, but for the `busy` days of campaigns."""
    days = by_day(shop)
    spread = np.sqrt(days["expected"].clip(lower=1.0))
    far = (days["visits"] - days["expected"]) / spread
    scale = max(1.0, 1.4826 * float((far - far.median()).abs().median()))
    is_peak = (far / scale > PEAK_FROM) & (days["visits"] > PEAK_FACTOR * days["expected"])
    is_peak &= ~days.index.isin(list(busy))
    runs = (is_peak != is_peak.shift()).cumsum()[is_peak]
    found = []
    for _, run in days[is_peak].groupby(runs):
        found.append(
            {
                "@timestamp": run.index[0].to_pydatetime(),
                "until": run.index[-1].to_pydatetime(),
                "days": len(run),
                "visits": int(run["visits"].sum()),
                "factor": float(run["visits"].sum() / run["expected"].sum()),
            }
        )
    return found


def _cycles(shop: Shop) -> Finding:
    rows = seasonality(shop)
    days = shop.value("SELECT count(*) FROM days")
    if not rows or days < 7:
        raise CannotAnswer(f"it is {counted(days, 'day')} long, and a weekday comes once a week")
    tops = {cycle: _extremes(rows, cycle) for cycle in _SLOTS}
    hour, weekday = tops["hour"], tops["weekday"]
    words = [
        (
            f"The busiest weekday is {weekday[0]['slot']} ({_index(weekday[0])} the mean), the quietest "
            f"{weekday[1]['slot']} "
            f"({_index(weekday[1])})."
        )
    ]
    if days >= 360:
        month = tops["month"]
        words.append(
            f"The busiest month is {month[0]['slot']} ({_index(month[0])} the mean), the quietest {month[1]['slot']} "
            f"({_index(month[1])})."
            + (" With a single year, season and growth cannot be told apart." if days < 700 else "")
        )
    return Finding(
        headline=f"Most come at {hour[0]['slot']} UTC ({_index(hour[0])} the mean hour) and fewest at "
        f"{hour[1]['slot']}.",
        action=f"Send mails and start campaigns before {hour[0]['slot']} UTC on a {weekday[0]['slot']}; do "
        "maintenance at "
        f"{hour[1]['slot']}.",
        words=words,
        figures=[
            plots.lines(
                f"Visits by {cycle}, mean = 1",
                [row["slot"][:3] if cycle != "hour" else str(row["place"]) for row in rows if row["cycle"] == cycle],
                {"visits": [row["visits_index"] for row in rows if row["cycle"] == cycle]},
            )
            for cycle in _SLOTS
        ],
        rows={"seasonality": rows},
    )


def _extremes(rows: Rows, cycle: str) -> tuple[Any, Any]:
    own = [row for row in rows if row["cycle"] == cycle]
    return max(own, key=lambda row: row["visits_index"]), min(own, key=lambda row: row["visits_index"])


def _index(row: Any) -> str:
    return f"{row['visits_index']:.2f} times"


def _peaks(shop: Shop) -> Finding:
    from analytics.campaigns import windows  # campaigns look at days, too

    days = by_day(shop)
    if len(days) < LEAST_DAYS:
        raise CannotAnswer(f"it is {counted(len(days), 'day')} long, and a peak is told from the weeks around it")
    busy = {day for each in windows(shop) for day in pd.date_range(each.first, each.last)}
    rows = peaks(shop, busy)
    figure, drawn = plots.axes("Visits by day and what the weeks around let expect", "", "visits")
    drawn.plot(days.index, days["visits"], linewidth=1, color=plots.COLOUR, label="visits")
    drawn.plot(days.index, days["expected"], linewidth=1, color="grey", label="expected")
    for row in rows:
        drawn.axvspan(
            row["@timestamp"] - timedelta(hours=12), row["until"] + timedelta(hours=12), alpha=0.25, color=plots.ACCENT
        )
    drawn.legend(fontsize=8)
    figure.autofmt_xdate(rotation=30)
    best = max(rows, key=lambda row: row["factor"], default=None)
    return Finding(
        headline=f"{counted(len(rows), 'demand peak')} without a campaign; the highest from "
        f"{best['@timestamp']:%d %B %Y}, "
        f"{best['factor']:.1f} times the usual visits."
        if best
        else "No day stands out from the weeks around it but those of campaigns.",
        action="Plan stock, staff and servers for these days next year."
        if best
        else "Plan by weekday and season; no day needs a plan of its own.",
        figures=[figure],
        shown=[
            Table(
                ("from", "until", "visits", "times the usual"),
                [
                    (
                        f"{row['@timestamp']:%Y-%m-%d}",
                        f"{row['until']:%Y-%m-%d}",
                        f"{row['visits']:,}",
                        f"{row['factor']:.2f}",
                    )
                    for row in rows
                ],
            )
        ]
        if rows
        else [],
        rows={"peaks": rows},
    )


def _conversion(shop: Shop) -> Finding:
    months = shop.rows(
        "SELECT date_trunc('month', day)::DATE AS month, count(*) AS visits, count(*) FILTER (purchases > 0) AS bought "
        "FROM sessions WHERE is_visit AND date_trunc('month', day)::DATE <= $last::DATE GROUP BY ALL ORDER BY month",
        {"last": shop.last_month},
    )
    if not shop.value("SELECT count(*) FROM events WHERE event_type = 'view'"):
        raise CannotAnswer("it has no visits without a purchase")
    if len(months) < 3 or not any(row["bought"] for row in months):
        raise CannotAnswer("fewer than three months are over")
    found = chi2_contingency([[row["bought"], row["visits"] - row["bought"]] for row in months])
    whole = sum(row["bought"] for row in months) / sum(row["visits"] for row in months)
    rates = [(row["bought"] / row["visits"], *interval(row["bought"], row["visits"])) for row in months]
    names = [f"{row['month']:%Y-%m}" for row in months]
    moved = [name for name, (_, low, high) in zip(names, rates, strict=True) if not low <= whole <= high]
    differs = bool(found.pvalue < SURE)
    return Finding(
        headline=f"Conversion was {percent(whole)} of visits and "
        + (
            f"changed from month to month beyond chance (from {percent(min(rates)[0])} to {percent(max(rates)[0])})."
            if differs
            else "did not change from month to month beyond chance."
        ),
        action="Train the churn model again after such months, and whenever `python -m training drift` says so."
        if differs
        else "Season brings more visits, not better ones: no reason to train the churn model again by the calendar; "
        "follow "
        "`python -m training drift`.",
        words=[f"Outside of the mean's reach: {listed(moved)}."] if moved else [],
        numbers=[Number("p-value of no change (χ²)", float(found.pvalue), "number")],
        figures=[plots.ranges("Conversion by month", names, rates, at=whole)],
    )


CYCLES: Final = Analysis(
    "seasonality",
    "Hour, weekday and month",
    "When do customers come, by hour, weekday and month?",
    _cycles,
    ("seasonality",),
)
PEAKS: Final = Analysis("peaks", "Demand peaks", "On which days do far more come than usual?", _peaks, ("peaks",))
CONVERSION: Final = Analysis(
    "conversion-season",
    "Conversion over the year",
    "Does conversion change with the season, and when should the churn model be trained again?",
    _conversion,
)
