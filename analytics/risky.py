"""Groups whose orders are sent back or discounted more than those of all others: what is sold there may not pay."""

from typing import Any, Final

from statsmodels.stats.proportion import proportions_ztest

from analytics import plots
from analytics.finding import Analysis, CannotAnswer, Finding, Rows
from analytics.leaks import interval
from analytics.shop import Shop
from analytics.words import counted, money, percent
from churn.report_page import Table

LEAST_ORDERS: Final = 30
SURE: Final = 0.05
TOP: Final = 12

# A line of an order is sent back where a refund of the order names its product.
_GROUPS: Final = """
WITH orders_of AS (
    SELECT country, channel, gross_minor, discounts_minor, refunds_minor FROM orders
), back AS (
    SELECT customer_id, order_key, product_id, sum(refunds_minor) AS refunds_minor FROM sale_lines
    WHERE units = 0 AND order_key IS NOT NULL GROUP BY ALL
), bought AS (
    SELECT customer_id, order_key, product_id, any_value(category) AS category, sum(gross_minor) AS gross_minor,
        sum(discounts_minor) AS discounts_minor, max(gross_minor / units) AS unit_minor
    FROM sale_lines WHERE units > 0 GROUP BY customer_id, order_key, product_id
), lines AS (
    SELECT bought.*, coalesce(refunds_minor, 0) AS refunds_minor,
        ntile(4) OVER (ORDER BY unit_minor) AS quarter
    FROM bought LEFT JOIN back USING (customer_id, order_key, product_id)
), prices AS (
    SELECT *, 'from ' || printf('%.2f', min(unit_minor) OVER part / 100) || ' to '
        || printf('%.2f', max(unit_minor) OVER part / 100) AS span FROM lines WINDOW part AS (PARTITION BY quarter)
), every AS (
    SELECT 'country' AS dimension, country AS "group", gross_minor, discounts_minor, refunds_minor FROM orders_of
    UNION ALL SELECT 'channel', channel, gross_minor, discounts_minor, refunds_minor FROM orders_of
    UNION ALL SELECT 'category', category, gross_minor, discounts_minor, refunds_minor FROM lines
    UNION ALL SELECT 'price', span, gross_minor, discounts_minor, refunds_minor FROM prices
)
SELECT $as_of::TIMESTAMP AS "@timestamp", dimension, "group", count(*) AS orders,
    count(*) FILTER (refunds_minor > 0) AS refunded, sum(gross_minor)::DOUBLE / 100 AS gross,
    sum(refunds_minor)::DOUBLE / 100 AS refunds, sum(discounts_minor)::DOUBLE / 100 AS discounts
FROM every GROUP BY dimension, "group" ORDER BY dimension, "group"
"""


def groups(shop: Shop) -> Rows:
    """Rows of `risky-groups`."""
    rows = shop.rows(_GROUPS, {"as_of": shop.moment})
    totals: dict[str, tuple[int, int]] = {}
    for row in rows:
        orders, refunded = totals.get(row["dimension"], (0, 0))
        totals[row["dimension"]] = orders + row["orders"], refunded + row["refunded"]
    tests = sum(row["orders"] >= LEAST_ORDERS for row in rows) or 1
    for row in rows:
        low, high = interval(row["refunded"], row["orders"])
        row |= {
            "refund_rate": row["refunded"] / row["orders"],
            "refund_rate_low": low,
            "refund_rate_high": high,
            "given_share": (row["refunds"] + row["discounts"]) / row["gross"] if row["gross"] else None,
            "is_risky": _is_above(row, *totals[row["dimension"]], SURE / tests),
        }
    return rows


def _is_above(row: dict[str, Any], orders: int, refunded: int, level: float) -> bool:
    """Whether the group's refund rate is above that of the others beyond chance."""
    others = orders - row["orders"]
    if min(row["orders"], others) < LEAST_ORDERS or not refunded:
        return False
    counts, sizes = [row["refunded"], refunded - row["refunded"]], [row["orders"], others]
    if counts[0] / sizes[0] <= counts[1] / sizes[1]:
        return False
    return bool(proportions_ztest(counts, sizes)[1] < level)


def _risky(shop: Shop) -> Finding:
    rows = groups(shop)
    refunds, discounts = shop.sql.execute(
        "SELECT sum(refunds_minor) / 100, sum(discounts_minor) / 100 FROM sale_lines"
    ).fetchall()[0]
    if not any(row["refunds"] or row["discounts"] for row in rows):
        raise CannotAnswer(
            "no order has a refund or a discount, and costs, which could tell what does not pay, are missing"
        )
    risky = sorted((row for row in rows if row["is_risky"]), key=lambda row: -row["refunds"])
    large = [row for row in rows if row["orders"] >= LEAST_ORDERS and row["group"] != "unknown"]
    large.sort(key=lambda row: -(row["given_share"] or 0))
    if not large:
        raise CannotAnswer(f"no group has {LEAST_ORDERS} orders")
    first = large[0]
    headline = (
        f"{counted(len(risky), 'group')} send back more than all others for sure; most money: {risky[0]['dimension']} "
        f"{risky[0]['group']} ({percent(risky[0]['refund_rate'])} of orders)."
        if risky
        else "No group sends back more than the others beyond chance."
    )
    named = [row for row in large if row["dimension"] in ("country", "category")]
    return Finding(
        headline=headline,
        action=f"Look at why {risky[0]['group']} comes back: description, size, damage; no discounts there until then."
        if risky
        else f"Nothing to stop; if margins fall, begin with {first['dimension']} {first['group']}, which gives most "
        "away.",
        words=[
            (
                f"{money(refunds, shop.currency)} were sent back, {money(discounts, shop.currency)} given as "
                "discounts. "
                f"Most of its gross value is given away in {first['dimension']} {first['group']}: "
                f"{percent(first['given_share'] or 0)}."
            ),
            (
                "Costs are not in the history, so that a loss cannot be told; refunds that name no order are in no "
                "group."
            ),
        ],
        figures=[
            plots.ranges(
                "Share of orders (lines) with a refund",
                [f"{row['dimension']}: {row['group']}" for row in named[:20]],
                [(row["refund_rate"], row["refund_rate_low"], row["refund_rate_high"]) for row in named[:20]],
            )
        ]
        if refunds and any(row["refunded"] for row in named)
        else [],
        shown=[
            Table(
                ("", "group", "orders", "refunded", "95 % interval", "given away", "above the others"),
                [
                    (
                        row["dimension"],
                        row["group"],
                        f"{row['orders']:,}",
                        percent(row["refund_rate"]),
                        f"{percent(row['refund_rate_low'])} to {percent(row['refund_rate_high'])}",
                        percent(row["given_share"] or 0),
                        "yes" if row["is_risky"] else "",
                    )
                    for row in large[:TOP]
                ],
                "Most given away first",
            )
        ],
        rows={"risky-groups": rows},
    )


RISKY: Final = Analysis(
    "risky",
    "Risky groups",
    "Which groups of orders are sent back or discounted so much that they may not pay?",
    _risky,
    ("risky-groups",),
)
