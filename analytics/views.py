"""The SQL layer: a history's Parquet as tables of events, sessions, orders, journeys, customers, products and days.

The rules are those of the fold (`churn.summary`), which tests hold them against. All times are UTC, without a zone.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import duckdb

from analytics import carts
from churn.history import HistoryMissing

MEMORY_LIMIT: Final = "2GB"
HOUR_US: Final = 3_600_000_000


class View(NamedTuple):
    """One table of the SQL layer: `query` makes it from those before it."""

    name: str
    what: str
    query: str


# The order in which steps of one instant are taken to happen, as in `churn.summary`.
_RANK: Final = """CASE event_type WHEN 'profile' THEN 0 WHEN 'view' THEN 1 WHEN 'cart' THEN 2
    WHEN 'remove_from_cart' THEN 3 WHEN 'purchase' THEN 4 WHEN 'refund' THEN 5 ELSE 6 END"""

_EVENTS: Final = f"""
WITH known AS (
    SELECT * EXCLUDE (occurred_at, ingested_at),
        make_timestamp(epoch_us(occurred_at)) AS occurred_at, make_timestamp(epoch_us(ingested_at)) AS ingested_at
    FROM read_parquet($files, hive_partitioning = false)
), once AS (
    SELECT *, {_RANK} AS step FROM known WHERE greatest(occurred_at, ingested_at) <= $moment
    QUALIFY row_number() OVER (PARTITION BY customer_id, event_id ORDER BY occurred_at, ingested_at) = 1
), gaps AS (
    SELECT *,
        CAST(round_even(price * quantity * 100, 0) AS BIGINT) AS amount_minor,
        occurred_at - lag(occurred_at) OVER customer > INTERVAL 30 MINUTE AS is_after_gap
    FROM once
    WINDOW customer AS (PARTITION BY customer_id ORDER BY occurred_at, step, event_id)
)
SELECT * EXCLUDE (is_after_gap, amount_minor), amount_minor,
    least(amount_minor, CAST(round_even(coalesce(discount, 0) * 100, 0) AS BIGINT)) AS discount_minor,
    1 + count(*) FILTER (is_after_gap) OVER (
        PARTITION BY customer_id ORDER BY occurred_at, step, event_id ROWS UNBOUNDED PRECEDING
    ) AS session_number,
    CAST(occurred_at AS DATE) AS day
FROM gaps
"""

_CUSTOMERS_SEEN: Final = """
SELECT customer_id,
    min(occurred_at) AS first_seen_at,
    max(occurred_at) AS last_seen_at,
    arg_max(country, occurred_at) FILTER (country IS NOT NULL) AS country,
    arg_min(channel, occurred_at) FILTER (channel IS NOT NULL) AS first_channel,
    arg_min(campaign, occurred_at) FILTER (campaign IS NOT NULL AND event_type <> 'profile') AS first_campaign,
    arg_max(age, occurred_at) FILTER (age IS NOT NULL) AS age,
    arg_max(gender, occurred_at) FILTER (gender IS NOT NULL) AS gender,
    arg_max(location, occurred_at) FILTER (location IS NOT NULL) AS location,
    arg_max(signup_date, occurred_at) FILTER (signup_date IS NOT NULL) AS signup_date
FROM events GROUP BY customer_id
"""

_PRODUCTS: Final = """
SELECT product_id,
    coalesce(arg_max(product_name, occurred_at) FILTER (product_name IS NOT NULL), product_id) AS product_name,
    coalesce(arg_max(category, occurred_at) FILTER (category IS NOT NULL), 'unknown') AS category,
    median(price) FILTER (price IS NOT NULL) AS price_median
FROM events WHERE product_id IS NOT NULL GROUP BY product_id
"""

_ORDER_LINES: Final = """
SELECT customer_id, coalesce(order_id, 'event ' || event_id) AS order_key, event_id, occurred_at AS bought_at,
    product_id, coalesce(category, 'unknown') AS category, quantity, price, amount_minor, discount_minor,
    coalesce(channel, 'unknown') AS channel, campaign, device, session_number
FROM events WHERE event_type = 'purchase'
"""

_REFUND_LINES: Final = """
SELECT customer_id, order_id AS order_key, event_id, occurred_at AS refunded_at, product_id,
    coalesce(category, 'unknown') AS category, coalesce(channel, 'unknown') AS channel,
    amount_minor - discount_minor AS refund_minor
FROM events WHERE event_type = 'refund'
"""

# As a macro, because segments ask for the orders as they stood at the end of each month.
_ORDERS_AT: Final = """
CREATE OR REPLACE MACRO orders_at(moment) AS TABLE
WITH bought AS (
    SELECT customer_id, order_key, min(bought_at) AS ordered_at, max(bought_at) AS last_line_at,
        count(*) AS lines, sum(quantity)::BIGINT AS units,
        sum(amount_minor)::BIGINT AS gross_minor, sum(discount_minor)::BIGINT AS discounts_minor,
        arg_min(channel, bought_at) AS channel, arg_min(campaign, bought_at) AS campaign,
        arg_min(device, bought_at) AS device, min(session_number) AS session_number
    FROM order_lines WHERE bought_at <= moment GROUP BY customer_id, order_key
), sent_back AS (
    SELECT customer_id, order_key, sum(refund_minor)::BIGINT AS asked_minor
    FROM refund_lines WHERE order_key IS NOT NULL AND refunded_at <= moment GROUP BY customer_id, order_key
), valued AS (
    SELECT bought.*, gross_minor - discounts_minor AS value_minor, coalesce(asked_minor, 0) AS asked_minor
    FROM bought LEFT JOIN sent_back USING (customer_id, order_key)
)
SELECT * EXCLUDE (asked_minor, value_minor),
    least(asked_minor, value_minor) AS refunds_minor,
    greatest(0, value_minor - asked_minor) AS net_minor,
    NOT (asked_minor > 0 AND asked_minor >= value_minor) AS is_net
FROM valued
"""

_ORDERS: Final = """
SELECT orders.*, coalesce(customers_seen.country, 'unknown') AS country, CAST(ordered_at AS DATE) AS day,
    CASE WHEN is_net THEN row_number() OVER (
        PARTITION BY orders.customer_id, is_net ORDER BY ordered_at, order_key
    ) END AS net_number
FROM orders_at($moment) AS orders JOIN customers_seen USING (customer_id)
"""

_LOOSE_REFUNDS: Final = """
SELECT customer_id, event_id, refunded_at, CAST(refunded_at AS DATE) AS day, product_id, category,
    coalesce(country, 'unknown') AS country, channel, refund_minor
FROM refund_lines JOIN customers_seen USING (customer_id) WHERE order_key IS NULL
"""

# A refund is capped at its order, so that its lines get their share of what was really given back.
_SALE_LINES: Final = """
SELECT orders.day, lines.product_id, lines.category, orders.country, orders.channel, customer_id, order_key, is_net,
    lines.quantity AS units, lines.amount_minor AS gross_minor, lines.discount_minor AS discounts_minor,
    0.0 AS refunds_minor
FROM order_lines AS lines JOIN orders USING (customer_id, order_key)
UNION ALL
SELECT orders.day, refunds.product_id, refunds.category, orders.country, orders.channel, customer_id, order_key, is_net,
    0, 0, 0, refund_minor * orders.refunds_minor
        / nullif(sum(refund_minor) OVER (PARTITION BY customer_id, order_key), 0)
FROM refund_lines AS refunds JOIN orders USING (customer_id, order_key)
UNION ALL
SELECT day, product_id, category, country, channel, customer_id, NULL, false, 0, 0, 0, refund_minor FROM loose_refunds
"""

_SESSIONS: Final = """
WITH summed AS (
    SELECT customer_id, session_number, min(occurred_at) AS started_at, max(occurred_at) AS ended_at,
        count(*) AS events,
        count(*) FILTER (event_type = 'view') AS views,
        count(*) FILTER (event_type = 'cart') AS carts,
        count(*) FILTER (event_type = 'remove_from_cart') AS removals,
        count(*) FILTER (event_type = 'purchase') AS purchases,
        coalesce(arg_min(channel, occurred_at) FILTER (channel IS NOT NULL), 'unknown') AS channel,
        arg_min(campaign, occurred_at) FILTER (campaign IS NOT NULL AND event_type <> 'profile') AS campaign,
        coalesce(arg_min(device, occurred_at) FILTER (device IS NOT NULL), 'unknown') AS device
    FROM events GROUP BY customer_id, session_number
)
SELECT summed.*, CAST(started_at AS DATE) AS day, coalesce(country, 'unknown') AS country,
    (epoch_ms(ended_at) - epoch_ms(started_at)) / 1000 AS duration_s,
    epoch_ms(ended_at) - epoch_ms(started_at) > 10000 OR carts > 0 OR purchases > 0 OR views >= 2 AS is_engaged,
    views + carts + removals + purchases > 0 AS is_visit
FROM summed JOIN customers_seen USING (customer_id)
"""

_JOURNEYS: Final = """
WITH steps AS (
    SELECT customer_id, product_id, occurred_at, step, event_type, category, channel,
        min(occurred_at) FILTER (event_type = 'view') OVER journey AS first_view_at
    FROM events WHERE product_id IS NOT NULL AND event_type IN ('view', 'cart', 'purchase')
    WINDOW journey AS (PARTITION BY customer_id, product_id)
), carted AS (
    SELECT *, min(occurred_at) FILTER (
        event_type = 'cart' AND occurred_at BETWEEN first_view_at AND first_view_at + INTERVAL 30 DAY
    ) OVER (PARTITION BY customer_id, product_id) AS cart_at
    FROM steps
), summed AS (
    SELECT customer_id, product_id, any_value(first_view_at) AS first_view_at, any_value(cart_at) AS cart_at,
        min(occurred_at) FILTER (
            event_type = 'purchase' AND occurred_at BETWEEN cart_at AND first_view_at + INTERVAL 30 DAY
        ) AS purchase_at,
        min(occurred_at) FILTER (
            event_type = 'purchase' AND occurred_at BETWEEN first_view_at AND first_view_at + INTERVAL 30 DAY
        ) AS purchase_after_view_at,
        min(occurred_at) FILTER (event_type = 'purchase') AS first_purchase_at,
        arg_min(category, (occurred_at, step)) FILTER (category IS NOT NULL) AS seen_category,
        arg_min(channel, (occurred_at, step)) FILTER (channel IS NOT NULL) AS seen_channel
    FROM carted GROUP BY customer_id, product_id
)
SELECT summed.* EXCLUDE (seen_category, seen_channel, purchase_after_view_at, first_purchase_at),
    CASE WHEN purchase_at IS NULL THEN purchase_after_view_at END AS purchase_without_cart_at,
    CASE WHEN first_view_at IS NULL OR first_purchase_at < first_view_at
        THEN first_purchase_at END AS purchase_without_view_at,
    coalesce(seen_category, 'unknown') AS category, coalesce(seen_channel, 'unknown') AS channel,
    coalesce(country, 'unknown') AS country
FROM summed JOIN customers_seen USING (customer_id)
"""

_CUSTOMERS: Final = """
WITH bought AS (
    SELECT customer_id, count(*) FILTER (is_net) AS orders, min(ordered_at) FILTER (is_net) AS first_order_at,
        max(last_line_at) FILTER (is_net) AS last_order_at, sum(gross_minor)::BIGINT AS gross_minor,
        sum(net_minor)::BIGINT AS kept_minor
    FROM orders GROUP BY customer_id
), sent_back AS (
    SELECT customer_id, sum(refund_minor)::BIGINT AS loose_minor FROM loose_refunds GROUP BY customer_id
), came AS (
    SELECT customer_id, count(*) AS sessions, count(*) FILTER (is_visit) AS visits FROM sessions GROUP BY customer_id
)
SELECT customers_seen.* REPLACE (coalesce(country, 'unknown') AS country),
    sessions, visits, coalesce(orders, 0) AS orders, first_order_at, last_order_at,
    coalesce(gross_minor, 0) AS gross_minor, coalesce(kept_minor, 0) AS kept_minor,
    coalesce(kept_minor, 0) - coalesce(loose_minor, 0) AS net_minor
FROM customers_seen LEFT JOIN bought USING (customer_id) LEFT JOIN sent_back USING (customer_id)
    JOIN came USING (customer_id)
"""

_DAYS: Final = """
WITH calendar AS (
    SELECT CAST(unnest(range(first, last + INTERVAL 1 DAY, INTERVAL 1 DAY)) AS DATE) AS day
    FROM (SELECT min(day)::TIMESTAMP AS first, max(day)::TIMESTAMP AS last FROM events)
), came AS (
    SELECT day, count(*) AS visits, count(DISTINCT customer_id) AS visitors FROM sessions WHERE is_visit GROUP BY day
), bought AS (
    SELECT day, count(*) FILTER (is_net) AS orders, count(DISTINCT customer_id) FILTER (is_net) AS buyers,
        sum(gross_minor)::BIGINT AS gross_minor, sum(net_minor)::BIGINT AS kept_minor
    FROM orders GROUP BY day
), sent_back AS (
    SELECT day, sum(refund_minor)::BIGINT AS loose_minor FROM loose_refunds GROUP BY day
)
SELECT day, coalesce(visits, 0) AS visits, coalesce(visitors, 0) AS visitors, coalesce(orders, 0) AS orders,
    coalesce(buyers, 0) AS buyers, coalesce(gross_minor, 0) AS gross_minor, coalesce(kept_minor, 0) AS kept_minor,
    coalesce(kept_minor, 0) - coalesce(loose_minor, 0) AS net_minor
FROM calendar LEFT JOIN came USING (day) LEFT JOIN bought USING (day) LEFT JOIN sent_back USING (day) ORDER BY day
"""

VIEWS: Final = (
    View(
        "events",
        "Every event that had happened and arrived by `as_of`, each id once; `session_number` counts a customer's "
        "sessions, `step` orders events of one instant, `*_minor` are money of the line in minor units.",
        _EVENTS,
    ),
    View(
        "customers_seen", "What events tell of each customer: first and last seen, country, profile.", _CUSTOMERS_SEEN
    ),
    View("products", "Latest name and category of each product, and its median price.", _PRODUCTS),
    View("order_lines", "Lines bought.", _ORDER_LINES),
    View("refund_lines", "Refunds; without `order_key` where they name no order.", _REFUND_LINES),
    View(
        "orders",
        "Orders with what was kept of them: `net_minor` is gross less discounts and refunds; `is_net` is false for an "
        "order that was sent back altogether; `net_number` counts a customer's net orders from 1.",
        _ORDERS,
    ),
    View("loose_refunds", "Refunds that name no order: they lower the net revenue of their day.", _LOOSE_REFUNDS),
    View(
        "sale_lines",
        "All money by line, on the day of its order: lines bought, lines given back, refunds that name no order.",
        _SALE_LINES,
    ),
    View(
        "sessions",
        "Sessions by the 30-minute rule; `is_visit` where the customer looked at, carted or bought something.",
        _SESSIONS,
    ),
    View(
        "journeys",
        "A customer and a product: first view, the first cart after it, the first purchase after that, all within 30 "
        "days of the view; and purchases without a cart or a view before.",
        _JOURNEYS,
    ),
    View("customers", "One row per customer: visits, orders, money, profile.", _CUSTOMERS),
    View("days", "One row per day of the history, days without anything too.", _DAYS),
)
CARTS: Final = View("carts", "Carts from their first product to what became of them, from the fold's own rule.", "")


def end_of(history: Path) -> datetime:
    """The full hour after the last event arrived, as the moment that a history is about. Raises `HistoryMissing`.

    While that hour runs, it is now: boards look at the time until now, and would not show what is of a moment to come.
    """
    with duckdb.connect() as sql:
        query = "SELECT max(epoch_us(ingested_at)) FROM read_parquet($files, hive_partitioning = false)"
        ((last_us,),) = sql.execute(query, {"files": _files(history)}).fetchall()
    now, last = datetime.now(UTC), datetime.fromtimestamp(last_us / 1_000_000, UTC)
    full_hour = datetime.fromtimestamp((last_us // HOUR_US + 1) * HOUR_US // 1_000_000, UTC)
    return now if last < now < full_hour else full_hour


def connect(history: Path, as_of: datetime, threads: int = 2) -> duckdb.DuckDBPyConnection:
    """A connection in memory that holds the tables of `VIEWS` and `CARTS`, as known at `as_of` (aware).

    Raises `HistoryMissing` where there are no events.
    """
    sql = duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "threads": threads})
    moment = as_of.astimezone(UTC)
    parameters = {"files": _files(history), "moment": moment.replace(tzinfo=None)}
    for view in VIEWS:
        if view.name == "orders":
            sql.execute(_ORDERS_AT)
        used = {name: value for name, value in parameters.items() if f"${name}" in view.query}
        sql.execute(f"CREATE TABLE {view.name} AS {view.query}", used)
    sql.register("carts", carts.carts(sql, moment))
    return sql


def _files(history: Path) -> list[str]:
    files = [str(file) for file in sorted(history.glob("date=*/*.parquet"))]
    if not files:
        raise HistoryMissing(
            f"no history in {history}: write one with `python -m producer simulate --output {history}`"
        )
    return files
