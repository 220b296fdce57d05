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
    bar, values = leaks.bar(by_category(shop)), _line_values(shop)
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
    steps, values = by_category(shop), _line_values(shop)
    bar = leaks.bar(steps)
    names = ("viewed", "carted", "purchased", "purchased_without_cart", "purchased_without_view")
    everything = {"category": "all", **{name: sum(row[name] for row in steps) for name in names}}
    rows = []
    for row in (*steps, everything):
        leak = leaks.largest(row, bar, values.get(row["category"], values["all"]))
        if leak is not None:
            said = {"largest_leak": leak.step, "intervention": leaks.INTERVENTIONS[leak.step]}
            amounts = {"lost": round(leak.lost), "money_lost": round(leak.money, 2)}
            rows.append({"@timestamp": shop.moment, **row, **said, **amounts})
    return sorted(rows, key=lambda row: (row["category"] == "all", -row["money_lost"]))


def by_category(shop: Shop) -> list[dict[str, Any]]:
    """Journeys and their steps by category."""
    return shop.rows(f"SELECT category, {_STEPS} FROM journeys GROUP BY category ORDER BY category")


def _line_values(shop: Shop) -> dict[str, float]:
    return {row["category"]: row["line_value"] or 0.0 for row in shop.rows(_LINE_VALUES)}


# People and sessions go through the same steps, with any products in between and without a limit of time.
_UNITS: Final = """
WITH acts AS (
    SELECT customer_id, session_number, event_type, occurred_at FROM events
    WHERE event_type IN ('view', 'cart', 'purchase')
), viewed AS (
    SELECT *, min(occurred_at) FILTER (event_type = 'view') OVER person AS first_view,
        min(occurred_at) FILTER (event_type = 'view') OVER visit AS visit_view
    FROM acts
    WINDOW person AS (PARTITION BY customer_id), visit AS (PARTITION BY customer_id, session_number)
), carted AS (
    SELECT *, min(occurred_at) FILTER (event_type = 'cart' AND occurred_at >= first_view) OVER person AS first_cart,
        min(occurred_at) FILTER (event_type = 'cart' AND occurred_at >= visit_view) OVER visit AS visit_cart
    FROM viewed
    WINDOW person AS (PARTITION BY customer_id), visit AS (PARTITION BY customer_id, session_number)
), people AS (
    SELECT customer_id, any_value(first_view) AS view_at, any_value(first_cart) AS cart_at,
        bool_or(event_type = 'purchase' AND occurred_at >= first_cart) AS has_bought,
        bool_or(event_type = 'purchase') AS has_any
    FROM carted GROUP BY customer_id
), visits AS (
    SELECT customer_id, session_number, any_value(visit_view) AS view_at, any_value(visit_cart) AS cart_at,
        bool_or(event_type = 'purchase' AND occurred_at >= visit_cart) AS has_bought,
        bool_or(event_type = 'purchase') AS has_any
    FROM carted GROUP BY customer_id, session_number
), every AS (
    SELECT 'person' AS unit, view_at, cart_at, has_bought, has_any FROM people
    UNION ALL SELECT 'session', view_at, cart_at, has_bought, has_any FROM visits
)
SELECT unit, count(view_at) AS viewed, count(cart_at) AS carted, count(*) FILTER (has_bought) AS purchased,
    count(*) FILTER (has_any AND NOT coalesce(has_bought, false) AND view_at IS NOT NULL) AS purchased_without_cart,
    count(*) FILTER (has_any AND view_at IS NULL) AS purchased_without_view
FROM every GROUP BY unit ORDER BY unit
"""


def funnel_units(shop: Shop) -> list[dict[str, Any]]:
    """The steps by unit: `person`, `session` and `journey` (a customer and a product, within 30 days of its view)."""
    journey = shop.rows(f"SELECT 'journey' AS unit, {_STEPS} FROM journeys")
    return shop.rows(_UNITS) + journey
