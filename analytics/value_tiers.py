"""Buyers in fifths by what they brought: how much the top 20 % bring, and how each fifth behaves."""

from typing import Final

from analytics.finding import CannotAnswer, Rows
from analytics.shop import Shop

TIERS: Final = ("top 20 %", "20-40 %", "40-60 %", "60-80 %", "bottom 20 %")

# The top fifth is the first ceil(n / 5) by value; equal values by id, so that the same history gives the same tiers.
_TIERED: Final = """
SELECT *, least(5, 1 + (row_number() OVER (ORDER BY kept_minor DESC, customer_id) - 1)
    // CAST(ceil(count(*) OVER () / 5) AS BIGINT)) AS rank
FROM customers WHERE orders > 0
"""
_VALUE_TIERS: Final = f"""
WITH tiered AS ({_TIERED}), sold AS (
    SELECT customer_id, sum(gross_minor) AS gross, sum(discounts_minor) AS discounts, sum(refunds_minor) AS refunds
    FROM orders GROUP BY customer_id
), came AS (
    SELECT customer_id, count(*) AS seen, count(*) FILTER (purchases > 0) AS with_purchase
    FROM sessions WHERE is_visit GROUP BY customer_id
)
SELECT $as_of::TIMESTAMP AS "@timestamp", rank, count(*) AS customers, sum(orders)::BIGINT AS orders,
    sum(seen)::BIGINT AS visits, sum(kept_minor) / 100 AS revenue, sum(kept_minor) / sum(orders) / 100 AS aov,
    sum(kept_minor) / count(*) / 100 AS revenue_per_customer,
    sum(kept_minor) / nullif(sum(sum(kept_minor)) OVER (), 0) AS revenue_share,
    sum(orders) / count(*) AS orders_per_customer, sum(seen) / count(*) AS visits_per_customer,
    sum(with_purchase) / nullif(sum(seen), 0) AS conversion,
    sum(refunds) / nullif(sum(gross - discounts), 0) AS refund_share,
    sum(discounts) / nullif(sum(gross), 0) AS discount_share,
    median((epoch_ms($as_of::TIMESTAMP) - epoch_ms(last_order_at)) / 86400000) AS recency_median_days
FROM tiered JOIN sold USING (customer_id) JOIN came USING (customer_id) GROUP BY rank ORDER BY rank
"""


def value_tiers(shop: Shop) -> Rows:
    """Rows of `value-tiers`. Raises `CannotAnswer` without an order."""
    rows = shop.rows(_VALUE_TIERS, {"as_of": shop.moment})
    if not rows:
        raise CannotAnswer("nobody has an order")
    return [{**row, "tier": TIERS[row["rank"] - 1]} for row in rows]
