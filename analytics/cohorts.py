"""Cohorts by month of the first net order, who of them comes back, and the lifecycle of buyers from month to month."""

from typing import Final

from analytics.finding import Rows
from analytics.shop import Shop

_COHORTS: Final = """
WITH bought AS (
    SELECT customer_id, country, date_trunc('month', ordered_at)::DATE AS month, count(*) AS orders,
        sum(net_minor) AS net_minor
    FROM orders WHERE is_net GROUP BY ALL
), placed AS (
    SELECT *, min(month) OVER customer AS first_month, max(month) OVER customer AS last_month
    FROM bought WINDOW customer AS (PARTITION BY customer_id)
), people AS (
    SELECT customer_id, country, any_value(first_month) AS first_month, any_value(last_month) AS last_month
    FROM placed GROUP BY customer_id, country
), cells AS (
    SELECT DISTINCT first_month, country,
        unnest(range(0, 1 + datediff('month', first_month, $last_month::DATE))) AS month_number
    FROM people WHERE first_month <= $last_month
), stayed AS (
    SELECT first_month, country, month_number, count(*) AS customers,
        count(*) FILTER (datediff('month', first_month, last_month) >= month_number) AS rolling
    FROM cells JOIN people USING (first_month, country) GROUP BY ALL
), came AS (
    SELECT first_month, country, datediff('month', first_month, month) AS month_number, count(*) AS active,
        sum(orders)::BIGINT AS orders, sum(net_minor) AS net_minor
    FROM placed GROUP BY ALL
)
SELECT first_month::TIMESTAMP AS "@timestamp", strftime(first_month, '%Y-%m') AS cohort, country, month_number::BIGINT
        AS month_number, customers, coalesce(active, 0) AS active, rolling, coalesce(orders, 0) AS orders,
    coalesce(net_minor, 0) / 100 AS revenue, net_minor / orders / 100 AS aov,
    coalesce(active, 0) / customers AS retention, rolling / customers AS rolling_retention, true AS is_mature
FROM stayed LEFT JOIN came USING (first_month, country, month_number) ORDER BY ALL
"""

_LIFECYCLE: Final = """
WITH bought AS (
    SELECT customer_id, country, date_trunc('month', ordered_at)::DATE AS month, count(*) AS orders,
        sum(net_minor) AS net_minor
    FROM orders WHERE is_net GROUP BY ALL
), placed AS (
    SELECT *, lag(month) OVER customer AS before, lead(month) OVER customer AS after
    FROM bought WINDOW customer AS (PARTITION BY customer_id ORDER BY month)
), states AS (
    SELECT month, country, CASE WHEN before IS NULL THEN 'new' WHEN before = month - INTERVAL 1 MONTH THEN 'returning'
        ELSE 'resurrecting' END AS state, orders, net_minor
    FROM placed
    UNION ALL
    SELECT (month + INTERVAL 1 MONTH)::DATE, country, 'dormant', 0, 0 FROM placed
    WHERE (after IS NULL OR after > month + INTERVAL 1 MONTH) AND month + INTERVAL 1 MONTH < $as_of::TIMESTAMP
)
SELECT month::TIMESTAMP AS "@timestamp", state, country, count(*) AS customers, sum(orders)::BIGINT AS orders,
    sum(net_minor) / 100 AS revenue, month + INTERVAL 1 MONTH <= $as_of::TIMESTAMP AS is_mature
FROM states GROUP BY ALL ORDER BY ALL
"""


def cohorts(shop: Shop) -> Rows:
    """Rows of `cohorts`: only months that are over."""
    return shop.rows(_COHORTS, {"last_month": shop.last_month})


def lifecycle(shop: Shop) -> Rows:
    """Rows of `lifecycle-monthly`."""
    return shop.rows(_LIFECYCLE, {"as_of": shop.moment})
