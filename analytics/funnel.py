"""From view to cart to purchase: by day, product and category, how long each step takes, and where journeys end."""

from typing import Any, Final

from analytics import leaks
from analytics.finding import Rows
from analytics.shop import Shop

_STEPS: Final = """
    count(first_view_at) AS viewed, count(cart_at) AS carted, count(purchase_at) AS purchased,
    count(purchase_without_cart_at) AS purchased_without_cart, count(purchase_without_view_at) AS purchased_without_view
"""

_FUNNEL_DAILY: Final = f"""
WITH days AS (
    SELECT *, date_trunc('day', first_view_at)::TIMESTAMP AS day
    FROM (SELECT * REPLACE (NULL AS purchase_without_view_at) FROM journeys WHERE first_view_at IS NOT NULL)
    UNION ALL BY NAME
    SELECT customer_id, product_id, category, channel, country, purchase_without_view_at,
        date_trunc('day', purchase_without_view_at)::TIMESTAMP AS day
    FROM journeys WHERE purchase_without_view_at IS NOT NULL
)
SELECT day AS "@timestamp", category, country, channel, {_STEPS},
    coalesce(sum(epoch_ms(cart_at) - epoch_ms(first_view_at)), 0) / 1000 AS view_to_cart_s_sum,
    coalesce(sum(epoch_ms(purchase_at) - epoch_ms(cart_at)), 0) / 1000 AS cart_to_purchase_s_sum,
    any_value(day) + INTERVAL 31 DAY <= $as_of::TIMESTAMP AS is_mature
FROM days GROUP BY 1, 2, 3, 4 ORDER BY ALL
"""

_FUNNEL_PRODUCTS: Final = f"""
WITH steps AS (
    SELECT product_id, {_STEPS} FROM journeys GROUP BY product_id
), sold AS (
    SELECT product_id, count(DISTINCT order_key) FILTER (is_net AND units > 0) AS orders, sum(units)::BIGINT AS units,
        count(DISTINCT customer_id) FILTER (is_net AND units > 0) AS customers, sum(gross_minor) / 100 AS gross,
        round(sum(gross_minor - discounts_minor - refunds_minor) / 100, 2) AS revenue
    FROM sale_lines WHERE product_id IS NOT NULL GROUP BY product_id
)
SELECT $as_of::TIMESTAMP AS "@timestamp", products.* EXCLUDE (price_median), steps.* EXCLUDE (product_id),
    coalesce(orders, 0) AS orders, coalesce(units, 0) AS units, coalesce(customers, 0) AS customers,
    coalesce(gross, 0) AS gross, coalesce(revenue, 0) AS revenue
FROM products JOIN steps USING (product_id) LEFT JOIN sold USING (product_id) ORDER BY revenue DESC, product_id
"""

_FUNNEL_TIMES: Final = """
WITH times AS (
    SELECT category, 'view_to_cart' AS step, (epoch_ms(cart_at) - epoch_ms(first_view_at)) / 1000 AS seconds
    FROM journeys WHERE cart_at IS NOT NULL
    UNION ALL
    SELECT category, 'cart_to_purchase', (epoch_ms(purchase_at) - epoch_ms(cart_at)) / 1000
    FROM journeys WHERE purchase_at IS NOT NULL
), everywhere AS (
    FROM times UNION ALL SELECT 'all', step, seconds FROM times
)
SELECT $as_of::TIMESTAMP AS "@timestamp", category, step, count(*) AS journeys, median(seconds) AS median_s,
    avg(seconds) AS mean_s, quantile_cont(seconds, 0.9) AS p90_s
FROM everywhere GROUP BY category, step ORDER BY category, step DESC
"""


def funnel_daily(shop: Shop) -> Rows:
    """Rows of `funnel-daily`."""
    return shop.rows(_FUNNEL_DAILY, {"as_of": shop.moment})


def funnel_times(shop: Shop) -> Rows:
    """Rows of `funnel-times`."""
    return shop.rows(_FUNNEL_TIMES, {"as_of": shop.moment})


_LINE_VALUES: Final = """
SELECT category, sum(gross_minor - discounts_minor) / count(*) / 100 AS line_value
FROM sale_lines WHERE units > 0 GROUP BY category
UNION ALL SELECT 'all', sum(gross_minor - discounts_minor) / count(*) / 100 FROM sale_lines WHERE units > 0
"""


def funnel_products(shop: Shop) -> Rows:
    """Rows of `funnel-products`."""
    bar, values = leaks.bar(_by_category(shop)), _line_values(shop)
    rows = shop.rows(_FUNNEL_PRODUCTS, {"as_of": shop.moment})
    for row in rows:
        viewed, bought = row["viewed"], row["purchased"] + row["purchased_without_cart"]
        low, high = leaks.interval(bought, viewed)
        row |= {"conversion": bought / viewed, "conversion_low": low, "conversion_high": high} if viewed else {}
        leak = leaks.largest(row, bar, values.get(row["category"], values["all"]))
        if leak is not None:
            row |= {"largest_leak": leak.step, "lost": round(leak.lost), "intervention": leaks.INTERVENTIONS[leak.step]}
    return rows


def funnel_leaks(shop: Shop) -> Rows:
    """Rows of `funnel-leaks`, the most costly first, `all` at the end."""
    by_category, values = _by_category(shop), _line_values(shop)
    bar = leaks.bar(by_category)
    names = ("viewed", "carted", "purchased", "purchased_without_cart", "purchased_without_view")
    everything = {"category": "all", **{name: sum(row[name] for row in by_category) for name in names}}
    rows = []
    for row in (*by_category, everything):
        leak = leaks.largest(row, bar, values.get(row["category"], values["all"]))
        if leak is not None:
            said = {"largest_leak": leak.step, "intervention": leaks.INTERVENTIONS[leak.step]}
            amounts = {"lost": round(leak.lost), "money": round(leak.money, 2)}
            rows.append({"@timestamp": shop.moment, **row, **said, **amounts})
    return sorted(rows, key=lambda row: (row["category"] == "all", -row["money"]))


def _by_category(shop: Shop) -> list[dict[str, Any]]:
    return shop.rows(f"SELECT category, {_STEPS} FROM journeys GROUP BY category ORDER BY category")


def _line_values(shop: Shop) -> dict[str, float]:
    return {row["category"]: row["line_value"] or 0.0 for row in shop.rows(_LINE_VALUES)}
