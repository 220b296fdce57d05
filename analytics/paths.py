"""What is looked at together and what is bought next."""

from typing import Final

import numpy as np
from scipy.stats import hypergeom

from analytics import plots
from analytics.finding import Analysis, CannotAnswer, Finding, Rows
from analytics.shop import Shop
from analytics.words import counted, percent
from churn.report_page import Table

LEAST_TOGETHER: Final = 8
MOST_PRODUCTS_PER_SESSION: Final = 50  # more is no person who compares
SURE: Final = 0.01
TOP: Final = 12
LEAST_NEXT: Final = 20

_VIEWS: Final = """
WITH viewed AS (
    SELECT DISTINCT customer_id, session_number, product_id FROM events WHERE event_type = 'view'
), sessions_of AS (
    SELECT customer_id, session_number FROM viewed GROUP BY ALL HAVING count(*) BETWEEN 1 AND $most
), lines AS (
    SELECT customer_id, session_number, product_id FROM viewed SEMI JOIN sessions_of USING (customer_id, session_number)
), singles AS (
    SELECT product_id, count(*) AS sessions FROM lines GROUP BY product_id
), pairs AS (
    SELECT a.product_id AS product_a, b.product_id AS product_b, count(*) AS sessions
    FROM lines AS a JOIN lines AS b
        ON a.customer_id = b.customer_id AND a.session_number = b.session_number AND a.product_id < b.product_id
    GROUP BY ALL HAVING count(*) >= $least
)
SELECT pairs.*, a.sessions AS with_a, b.sessions AS with_b, (SELECT count(*) FROM sessions_of) AS every,
    (SELECT count(*) FROM singles) AS products, na.product_name AS name_a, nb.product_name AS name_b
FROM pairs JOIN singles AS a ON a.product_id = product_a JOIN singles AS b ON b.product_id = product_b
    JOIN products AS na ON na.product_id = product_a JOIN products AS nb ON nb.product_id = product_b
ORDER BY product_a, product_b
"""
_NEXT: Final = """
WITH main AS (
    SELECT customer_id, order_key, arg_max(category, (amount_minor, category)) AS category
    FROM order_lines GROUP BY customer_id, order_key
), following AS (
    SELECT category AS from_category, lead(category) OVER own AS to_category,
        (epoch_ms(lead(ordered_at) OVER own) - epoch_ms(ordered_at)) / 86400000 AS days
    FROM orders JOIN main USING (customer_id, order_key) WHERE is_net
    WINDOW own AS (PARTITION BY customer_id ORDER BY net_number)
), known AS (FROM following WHERE to_category IS NOT NULL)
SELECT $as_of::TIMESTAMP AS "@timestamp", from_category, to_category, count(*) AS orders, median(days) AS days_median,
    count(*) / sum(count(*)) OVER (PARTITION BY from_category) AS share,
    (count(*) / sum(count(*)) OVER (PARTITION BY from_category))
        / (sum(count(*)) OVER (PARTITION BY to_category) / sum(count(*)) OVER ()) AS lift
FROM known GROUP BY from_category, to_category ORDER BY from_category, orders DESC, to_category
"""


def co_views(shop: Shop) -> Rows:
    """Rows of `product-views`: pairs that chance does not explain, the strongest first."""
    found = shop.table(_VIEWS, {"least": LEAST_TOGETHER, "most": MOST_PRODUCTS_PER_SESSION}).to_pandas()
    if found.empty:
        return []
    tests = found["products"] * (found["products"] - 1) / 2
    chance = hypergeom.sf(found["sessions"] - 1, found["every"], found["with_a"], found["with_b"])
    found["p_value"] = np.minimum(chance * tests, 1.0)
    found["lift"] = found["sessions"] * found["every"] / (found["with_a"] * found["with_b"])
    found = found[found["p_value"] < SURE].sort_values(
        ["lift", "product_a", "product_b"], ascending=[False, True, True]
    )
    found = found.head(1_000)
    found["rank"] = np.arange(1, len(found) + 1)
    names = ["product_a", "product_b", "name_a", "name_b", "sessions", "rank", "lift", "p_value"]
    rows = found[names].astype({"sessions": int, "rank": int}).to_dict("records")
    return [{"@timestamp": shop.moment, **{str(name): value for name, value in row.items()}} for row in rows]


def sequences(shop: Shop) -> Rows:
    """Rows of `sequences`."""
    return shop.rows(_NEXT, {"as_of": shop.moment})


def _together(shop: Shop) -> Finding:
    if not shop.value("SELECT count(*) FROM events WHERE event_type = 'view'"):
        raise CannotAnswer("it has no product views")
    rows = co_views(shop)
    if not rows:
        raise CannotAnswer("no two products are looked at in the same session more often than by chance")
    best = rows[0]
    return Finding(
        headline=f"{counted(len(rows), 'pair')} of products are looked at in the same session more than by chance; "
        f"first {best['name_a']} and {best['name_b']} ({best['lift']:.1f} times).",
        action=f"Show {best['name_b']} as an alternative on the page of {best['name_a']}, and so for the pairs below.",
        figures=[
            plots.bars(
                "Lift of the strongest pairs",
                [f"{row['name_a']} + {row['name_b']}" for row in rows[:TOP]],
                [row["lift"] for row in rows[:TOP]],
            )
        ],
        shown=[
            Table(
                ("product", "looked at with", "sessions", "lift"),
                [(row["name_a"], row["name_b"], f"{row['sessions']:,}", f"{row['lift']:.1f}") for row in rows[:TOP]],
            )
        ],
        rows={"product-views": rows},
    )


def _next(shop: Shop) -> Finding:
    rows = sequences(shop)
    strong = sorted((row for row in rows if row["orders"] >= LEAST_NEXT), key=lambda row: -row["lift"])
    if len({row["from_category"] for row in rows}) < 2 or not strong:
        raise CannotAnswer("too few customers ordered twice, or their orders name no categories")
    same = sum(row["orders"] for row in rows if row["from_category"] == row["to_category"])
    share = same / sum(row["orders"] for row in rows)
    other = [row for row in strong if row["from_category"] != row["to_category"]]
    words = [f"{percent(share)} of next orders are of the same category as the one before."]
    if other and other[0]["lift"] > 1:
        first = other[0]
        words.append(
            f"Across categories the strongest step is from {first['from_category']} to {first['to_category']}: "
            f"{percent(first['share'])} of next orders, {first['lift']:.2f} times the usual share."
        )
    best = strong[0]
    return Finding(
        headline=f"After {best['from_category']} comes {best['to_category']} {best['lift']:.1f} times as often as "
        "usual "
        f"({percent(best['share'])} of next orders), {best['days_median']:.0f} days later in the median.",
        action=f"Write to buyers of {best['from_category']} about {best['to_category']} some days before those "
        f"{best['days_median']:.0f} days are over.",
        words=words,
        shown=[
            Table(
                ("this order", "the next", "orders", "share", "times the usual", "median days between"),
                [
                    (
                        row["from_category"],
                        row["to_category"],
                        f"{row['orders']:,}",
                        percent(row["share"]),
                        f"{row['lift']:.2f}",
                        f"{row['days_median']:.0f}",
                    )
                    for row in strong[:TOP]
                ],
            )
        ],
        rows={"sequences": rows},
    )


VIEWED: Final = Analysis(
    "co-views",
    "Looked at together",
    "Which products are looked at in the same session?",
    _together,
    ("product-views",),
)
NEXT: Final = Analysis(
    "sequences", "What is bought next", "What does the next order hold after this one?", _next, ("sequences",)
)
