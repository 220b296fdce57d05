"""Orders, net revenue and visits by day, month, country and product: the figures that everybody asks for first."""

from typing import Any, Final

from analytics import plots
from analytics.finding import Analysis, CannotAnswer, Finding, Number, Rows
from analytics.shop import Shop
from analytics.words import counted, money, percent
from churn.report_page import Table

_ORDERS_DAILY: Final = """
WITH parts AS (
    SELECT orders.day, orders.country, channel, is_net, customer_id, units, orders.gross_minor, discounts_minor,
        refunds_minor, orders.net_minor,
        CASE WHEN net_number = 1 OR NOT is_net AND coalesce(ordered_at < first_order_at, true)
            THEN 'new' ELSE 'returning' END AS customer_kind
    FROM orders JOIN customers USING (customer_id)
    UNION ALL
    SELECT day, country, channel, false, NULL, 0, 0, 0, refund_minor, -refund_minor, 'returning' FROM loose_refunds
)
SELECT day::TIMESTAMP AS "@timestamp", country, channel, customer_kind,
    count(*) FILTER (is_net) AS orders, sum(units)::BIGINT AS units,
    count(DISTINCT customer_id) FILTER (is_net) AS customers, sum(gross_minor) / 100 AS gross,
    sum(discounts_minor) / 100 AS discounts, sum(refunds_minor) / 100 AS refunds, sum(net_minor) / 100 AS revenue
FROM parts GROUP BY ALL ORDER BY ALL
"""

_SALES_DAILY: Final = """
SELECT day::TIMESTAMP AS "@timestamp", category, country, channel, sum(units)::BIGINT AS units,
    sum(gross_minor) / 100 AS gross, sum(discounts_minor) / 100 AS discounts,
    round(sum(refunds_minor) / 100, 2) AS refunds,
    round(sum(gross_minor - discounts_minor - refunds_minor) / 100, 2) AS revenue
FROM sale_lines GROUP BY ALL ORDER BY ALL
"""

_CUSTOMERS_DAILY: Final = """
WITH by_day AS (
    SELECT customer_id, day, any_value(country) AS country, arg_min(channel, started_at) AS channel, count(*) AS visits,
        day = min(min(day)) OVER (PARTITION BY customer_id) AS is_first
    FROM sessions WHERE is_visit GROUP BY customer_id, day
)
SELECT day::TIMESTAMP AS "@timestamp", country, channel, count(*) AS active,
    count(*) FILTER (is_first) AS new, count(*) FILTER (NOT is_first) AS returning, sum(visits)::BIGINT AS visits
FROM by_day GROUP BY ALL ORDER BY ALL
"""


def orders_daily(shop: Shop) -> Rows:
    """Rows of `orders-daily`."""
    return shop.rows(_ORDERS_DAILY)


def sales_daily(shop: Shop) -> Rows:
    """Rows of `sales-daily`."""
    return shop.rows(_SALES_DAILY)


def customers_daily(shop: Shop) -> Rows:
    """Rows of `customers-daily`."""
    return shop.rows(_CUSTOMERS_DAILY)


_MONTHS: Final = """
SELECT date_trunc('month', day)::DATE AS month, sum(visits)::BIGINT AS visits, sum(orders)::BIGINT AS orders,
    sum(gross_minor) / 100 AS gross, sum(kept_minor) / 100 AS kept, sum(net_minor) / 100 AS revenue,
    date_trunc('month', day)::DATE <= $last_month::DATE AS is_over
FROM days GROUP BY ALL ORDER BY month
"""


def by_month(shop: Shop) -> list[dict[str, Any]]:
    """Visits, net orders, gross and net revenue by month; `kept` leaves refunds out that name no order."""
    return shop.rows(_MONTHS, {"last_month": shop.last_month})


def _revenue(shop: Shop) -> Finding:
    days = shop.rows("SELECT * FROM days")
    months = by_month(shop)
    orders, revenue = sum(row["orders"] for row in months), sum(row["revenue"] for row in months)
    if not orders:
        raise CannotAnswer("nobody has an order")
    aov = sum(row["kept"] for row in months) / orders
    over = [row for row in months if row["is_over"]] or months
    best = max(over, key=lambda row: row["revenue"])
    brought = f"{money(best['revenue'], shop.currency)} from {counted(best['orders'], 'order')}"
    words = [f"The best month was {best['month']:%B %Y} with {brought}."]
    if len(over) >= 2 and over[-2]["revenue"] > 0:
        change = over[-1]["revenue"] / over[-2]["revenue"] - 1
        words.append(
            f"{over[-1]['month']:%B %Y} brought {percent(abs(change))} {'more' if change >= 0 else 'less'} than the "
            f"month before."
        )
    per_day = sum(row["visits"] for row in days) / len(days)
    shown = Table(
        ("month", "visits", "orders", "gross", "net revenue", "average order value"),
        [
            (
                f"{row['month']:%Y-%m}" + ("" if row["is_over"] else " (not over)"),
                f"{row['visits']:,}",
                f"{row['orders']:,}",
                f"{row['gross']:,.2f}",
                f"{row['revenue']:,.2f}",
                f"{row['kept'] / row['orders']:,.2f}" if row["orders"] else "—",
            )
            for row in months
        ],
        f"By month, in {shop.currency}",
    )
    return Finding(
        headline=f"{money(revenue, shop.currency)} net revenue from {counted(orders, 'order')}, "
        f"{money(aov, shop.currency)} each.",
        action=_action(over),
        words=words,
        numbers=[
            Number("Net revenue", revenue, "money"),
            Number("Net orders", orders, "count"),
            Number("Average order value", aov, "money"),
            Number("Visits a day", per_day, "number"),
            Number("Orders a day", orders / len(days), "number"),
        ],
        figures=[
            plots.lines(
                "Visits and orders by day",
                [row["day"] for row in days],
                {"visits": [row["visits"] for row in days], "orders": [row["orders"] for row in days]},
            ),
            plots.bars(
                "Net revenue by month",
                [f"{row['month']:%Y-%m}" for row in months],
                [row["revenue"] for row in months],
                shop.currency,
            ),
        ],
        shown=[shown],
        rows={
            "orders-daily": orders_daily(shop),
            "sales-daily": sales_daily(shop),
            "customers-daily": customers_daily(shop),
        },
    )


def _action(months: list[dict[str, Any]]) -> str:
    if len(months) < 4:
        return "Look again when four months are over: until then a trend cannot be told from chance."
    before, lately = (sum(row["revenue"] for row in part) for part in (months[-4:-2], months[-2:]))
    if lately < before:
        return "The last two months brought less than the two before: look at where, by country and product below."
    return "The last two months brought more than the two before: keep stock and staff in step, by season below."


ANALYSES: Final = (
    Analysis(
        "revenue",
        "Visits, orders and revenue",
        "How many come, how many order, and what does it bring, day by day and month by month?",
        _revenue,
        ("orders-daily", "sales-daily", "customers-daily"),
    ),
)
