"""Where revenue comes from by country, how many buy again, and how many of the buyers of three months are kept."""

from datetime import datetime, timedelta
from typing import Any, Final

from analytics import plots
from analytics.finding import Analysis, CannotAnswer, Finding, Number
from analytics.leaks import interval
from analytics.sales import by_month
from analytics.shop import Shop
from analytics.words import counted, money, percent
from churn.report_page import Table

TOP: Final = 10
KEPT_DAYS: Final = 90

_COUNTRIES: Final = """
SELECT $as_of::TIMESTAMP AS "@timestamp", country, count(*) AS customers, count(*) FILTER (orders > 0) AS buyers,
    sum(orders)::BIGINT AS orders, sum(gross_minor) / 100 AS gross, sum(net_minor) / 100 AS revenue,
    sum(kept_minor) / nullif(sum(orders), 0) / 100 AS aov,
    sum(net_minor) / nullif(sum(sum(net_minor)) OVER (), 0) AS revenue_share
FROM customers GROUP BY country ORDER BY revenue DESC, country
"""
_KEPT: Final = """
WITH base AS (
    SELECT DISTINCT customer_id FROM orders
    WHERE is_net AND ordered_at < $month::TIMESTAMP AND ordered_at >= $month::TIMESTAMP - INTERVAL 90 DAY
), kept AS (
    SELECT DISTINCT customer_id FROM orders
    WHERE is_net AND ordered_at >= $month::TIMESTAMP AND ordered_at < $month::TIMESTAMP + INTERVAL 90 DAY
)
SELECT (SELECT count(*) FROM base) AS base, (SELECT count(*) FROM base SEMI JOIN kept USING (customer_id)) AS retained
"""
_BUYERS: Final = """
SELECT date_trunc('month', ordered_at)::DATE AS month, count(DISTINCT customer_id) AS buyers,
    count(DISTINCT customer_id) FILTER (first_order_at < date_trunc('month', ordered_at)) AS repeat_buyers
FROM orders JOIN customers USING (customer_id) WHERE is_net GROUP BY ALL
"""
_CONVERTED: Final = """
SELECT date_trunc('month', day)::DATE AS month, avg((purchases > 0)::INT) AS conversion
FROM sessions WHERE is_visit GROUP BY ALL
"""


def countries(shop: Shop) -> list[dict[str, Any]]:
    """Rows of `revenue-countries`."""
    return shop.rows(_COUNTRIES, {"as_of": shop.moment})


def kpis(shop: Shop) -> list[dict[str, Any]]:
    """Rows of `kpis-monthly`."""
    buyers = {row["month"]: row for row in shop.rows(_BUYERS)}
    conversion = {row["month"]: row["conversion"] for row in shop.rows(_CONVERTED)}
    rows = []
    for row in by_month(shop):
        month = datetime.combine(row["month"], datetime.min.time())
        kept = shop.rows(_KEPT, {"month": month})[0]
        is_over = month + timedelta(days=KEPT_DAYS) <= shop.moment and kept["base"] > 0
        rate = kept["retained"] / kept["base"] if is_over else None
        bought = buyers.get(row["month"], {"buyers": 0, "repeat_buyers": 0})
        rows.append(
            {
                "@timestamp": month,
                **{name: row[name] for name in ("visits", "orders", "gross", "revenue")},
                "aov": row["kept"] / row["orders"] if row["orders"] else None,
                "buyers": bought["buyers"],
                "repeat_buyers": bought["repeat_buyers"],
                **(kept if is_over else {"base": kept["base"]}),
                "conversion": conversion.get(row["month"]),
                "retention_rate": rate,
                "churn_rate": None if rate is None else 1 - rate,
                "is_mature": row["is_over"],
            }
        )
    return rows


def _where(shop: Shop) -> Finding:
    rows = countries(shop)
    known = [row for row in rows if row["country"] != "unknown"]
    if not known:
        raise CannotAnswer("no event names a country")
    first, others = known[0], [row["aov"] for row in known[:TOP] if row["aov"] and row["orders"] >= 30]
    dearest = max((row for row in known if row["orders"] >= 30), key=lambda row: row["aov"] or 0, default=None)
    words = [f"{counted(len(known), 'country', 'countries')} have customers."]
    if dearest is not None and len(others) > 1:
        words.append(
            f"Among those with 30 orders or more an order is worth most in {dearest['country']} "
            f"({money(dearest['aov'], shop.currency)})."
        )
    return Finding(
        headline=f"{first['country']} brings {percent(first['revenue_share'] or 0)} of net revenue "
        f"({money(first['revenue'], shop.currency)} from {counted(first['buyers'], 'buyer')}).",
        action=f"{first['country']} carries the shop: what fails there fails everywhere, so watch it on its own."
        if (first["revenue_share"] or 0) > 0.5
        else "No country carries the shop alone: compare conversion and delivery between the largest ones.",
        words=words,
        figures=[
            plots.bars(
                "Net revenue by country",
                [row["country"] for row in rows[:TOP]],
                [row["revenue"] for row in rows[:TOP]],
                shop.currency,
            )
        ],
        shown=[
            Table(
                ("country", "customers", "buyers", "orders", "gross", "net revenue", "share", "average order value"),
                [
                    (
                        row["country"],
                        f"{row['customers']:,}",
                        f"{row['buyers']:,}",
                        f"{row['orders']:,}",
                        f"{row['gross']:,.2f}",
                        f"{row['revenue']:,.2f}",
                        percent(row["revenue_share"] or 0),
                        f"{row['aov']:,.2f}" if row["aov"] else "—",
                    )
                    for row in rows[:TOP]
                ],
            )
        ],
        rows={"revenue-countries": rows},
    )


def _again(shop: Shop) -> Finding:
    buyers, again = shop.sql.execute(
        "SELECT count(*) FILTER (orders > 0), count(*) FILTER (orders > 1) FROM customers"
    ).fetchall()[0]
    if not buyers:
        raise CannotAnswer("nobody has an order")
    rows = kpis(shop)
    rated = [row for row in rows if row["churn_rate"] is not None]
    numbers = [Number("Repeat purchase rate", again / buyers, "share", *interval(again, buyers))]
    words = []
    action = "Fewer than half buy twice: the second order is the first goal."
    if again / buyers >= 0.5:
        action = "More than half buy twice: the goal is how often, so shorten the time between orders."
    if rated:
        last = rated[-1]
        gone = last["base"] - last["retained"]
        numbers.append(
            Number(
                f"Churn rate, {KEPT_DAYS} days from {last['@timestamp']:%B %Y}",
                last["churn_rate"],
                "share",
                *interval(gone, last["base"]),
            )
        )
        words.append(
            f"Of {counted(last['base'], 'customer')} who had bought in the {KEPT_DAYS} days before "
            f"{last['@timestamp']:%B %Y}, {percent(last['retention_rate'])} bought again within {KEPT_DAYS} days; "
            f"{percent(last['churn_rate'])} did not."
        )
        if len(rated) > 1:
            best = min(rated, key=lambda row: row["churn_rate"])
            words.append(f"The lowest churn was that from {best['@timestamp']:%B %Y} ({percent(best['churn_rate'])}).")
    else:
        words.append(f"A churn rate needs {KEPT_DAYS} days before and after a month; the history is shorter.")
    figures = []
    if len(rated) > 1:
        names = [f"{row['@timestamp']:%Y-%m}" for row in rated]
        figures.append(plots.lines("Churn rate by month", names, {"churn": [row["churn_rate"] for row in rated]}))
    return Finding(
        headline=f"{percent(again / buyers)} of {counted(buyers, 'buyer')} ordered more than once.",
        action=action,
        words=words,
        numbers=numbers,
        figures=figures,
        rows={"kpis-monthly": rows},
    )


COUNTRIES: Final = Analysis(
    "countries", "Countries", "Which countries does the revenue come from?", _where, ("revenue-countries",)
)
AGAIN: Final = Analysis(
    "repeat",
    "Buying again, retention and churn",
    f"How many buy again, and how many of a quarter's buyers are lost? (A buyer of {KEPT_DAYS} days who does not order "
    f"in the next {KEPT_DAYS}.)",
    _again,
    ("kpis-monthly",),
)
