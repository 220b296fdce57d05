"""Orders, net revenue and visits by day, month, country and product: the figures that everybody asks for first."""

from typing import Final

from analytics.finding import Rows
from analytics.shop import Shop

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
