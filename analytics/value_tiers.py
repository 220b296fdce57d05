"""Buyers in fifths by what they brought: how much the top 20 % bring, and how each fifth behaves."""

from typing import Final

from analytics import plots
from analytics.finding import Analysis, CannotAnswer, Finding, Number, Rows
from analytics.shop import Shop
from analytics.words import money, percent
from churn.report_page import Table

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


_FUNNEL: Final = f"""
WITH tiered AS ({_TIERED})
SELECT rank, count(first_view_at) AS viewed, count(cart_at) AS carted, count(purchase_at) AS purchased
FROM journeys JOIN tiered USING (customer_id) GROUP BY rank ORDER BY rank
"""


def value_tiers(shop: Shop) -> Rows:
    """Rows of `value-tiers`. Raises `CannotAnswer` without an order."""
    rows = shop.rows(_VALUE_TIERS, {"as_of": shop.moment})
    if not rows:
        raise CannotAnswer("nobody has an order")
    return [{**row, "tier": TIERS[row["rank"] - 1]} for row in rows]


def _tiers(shop: Shop) -> Finding:
    rows = value_tiers(shop)
    if len(rows) < len(TIERS) or not sum(row["revenue"] for row in rows):
        raise CannotAnswer("fewer than five customers brought anything")
    top, bottom = rows[0], rows[-1]
    more = top["orders_per_customer"] / bottom["orders_per_customer"]
    dearer = top["aov"] / bottom["aov"] if bottom["aov"] else float("inf")
    why = "how often they order" if more > dearer else "how much an order is worth"
    return Finding(
        headline=f"The top 20 % of buyers bring {percent(top['revenue_share'])} of revenue "
        f"({money(top['revenue_per_customer'], shop.currency)} each), the bottom 20 % "
        f"{percent(bottom['revenue_share'])}.",
        action=f"Tiers differ most in {why}: {_WHAT_RAISES[why]}",
        words=[
            (
                f"The top tier orders {more:.1f} times as often as the bottom one, and an order is worth {dearer:.1f} "
                "times as much."
            ),
            (
                f"Refunds are {percent(top['refund_share'] or 0)} of what the top tier buys and "
                f"{percent(bottom['refund_share'] or 0)} of the bottom tier's."
            ),
        ],
        numbers=[Number("Share of the top 20 %", top["revenue_share"], "share")],
        figures=[plots.bars("Share of revenue", [row["tier"] for row in rows], [row["revenue_share"] for row in rows])],
        shown=[
            Table(
                (
                    "tier",
                    "buyers",
                    "revenue",
                    "share",
                    "orders each",
                    "average order value",
                    "visits each",
                    "conversion",
                    "refunds",
                    "discounts",
                    "days since order",
                ),
                [
                    (
                        row["tier"],
                        f"{row['customers']:,}",
                        f"{row['revenue']:,.0f}",
                        percent(row["revenue_share"]),
                        f"{row['orders_per_customer']:.2f}",
                        f"{row['aov']:,.2f}",
                        f"{row['visits_per_customer']:.1f}",
                        percent(row["conversion"] or 0),
                        percent(row["refund_share"] or 0),
                        percent(row["discount_share"] or 0),
                        f"{row['recency_median_days']:.0f}",
                    )
                    for row in rows
                ],
                f"Money in {shop.currency}",
            ),
            *_funnel(shop),
        ],
        rows={"value-tiers": rows},
    )


def _funnel(shop: Shop) -> list[Table]:
    """The steps of journeys by tier; nothing without views."""
    steps = [row for row in shop.rows(_FUNNEL) if row["viewed"]]
    cells = [
        (
            TIERS[row["rank"] - 1],
            f"{row['viewed']:,}",
            percent(row["carted"] / row["viewed"]),
            percent(row["purchased"] / row["carted"]) if row["carted"] else "—",
            percent(row["purchased"] / row["viewed"]),
        )
        for row in steps
    ]
    columns = ("tier", "products viewed", "into the cart", "of those bought", "all steps")
    return [Table(columns, cells, "Funnel by tier (journeys, within 30 days of the first view)")] if cells else []


_WHAT_RAISES: Final = {
    "how often they order": "lead one-time buyers to a second and third order.",
    "how much an order is worth": "raise the order with bundles and a threshold for free delivery.",
}

VALUE: Final = Analysis(
    "value-tiers",
    "Value tiers",
    "How much do the top 20 % of buyers bring, and how do the tiers behave?",
    _tiers,
    ("value-tiers",),
)
