"""What is bought together: association rules on orders."""

from math import ceil
from typing import Any, Final

import numpy as np
import pandas as pd
from mlxtend.frequent_patterns import association_rules, fpgrowth
from scipy.stats import hypergeom

from analytics import plots
from analytics.finding import Analysis, CannotAnswer, Finding, Rows
from analytics.shop import Shop
from analytics.words import counted, percent
from churn.report_page import Table

LEAST_ORDERS_TOGETHER: Final = 8
LEAST_SUPPORT: Final = 0.002  # of orders; below, a wholesaler's long orders make the search minutes long
MAX_RULES: Final = 1_000
MAX_PRODUCTS: Final = 1_500

_BASKETS: Final = """
WITH lines AS (
    SELECT DISTINCT customer_id, order_key, product_id FROM order_lines JOIN orders USING (customer_id, order_key)
    WHERE is_net AND product_id IS NOT NULL
), common AS (
    SELECT product_id FROM lines GROUP BY product_id HAVING count(*) >= $least
    ORDER BY count(*) DESC, product_id LIMIT $most
)
SELECT dense_rank() OVER (ORDER BY customer_id, order_key) - 1 AS basket, product_id
FROM lines SEMI JOIN common USING (product_id)
"""


def product_pairs(shop: Shop) -> Rows:
    """Rows of `product-pairs`. Raises `CannotAnswer` where hardly any order has two products."""
    orders = shop.value("SELECT count(*) FROM orders WHERE is_net")
    rules = pair_rules(shop, orders)
    names = {
        row["product_id"]: row["product_name"] for row in shop.rows("SELECT product_id, product_name FROM products")
    }
    return [
        {
            "@timestamp": shop.moment,
            "product_a": rule.a,
            "product_b": rule.b,
            "name_a": names[rule.a],
            "name_b": names[rule.b],
            "orders": int(rule.orders),
            "rank": int(rule.rank),
            "support": rule.support,
            "confidence": rule.confidence,
            "lift": rule.lift,
            "p_value": rule.p_value,
        }
        for rule in rules.itertuples()
    ]


def pair_rules(shop: Shop, orders: int) -> Any:
    """Rules a → b with `orders`, `support`, `confidence`, `lift`, `p_value`, `rank`, the strongest pair first.

    Only pairs that chance does not explain (Fisher, Bonferroni over all pairs of products, p < 0.01). Raises
    `CannotAnswer` where hardly any order has two products.
    """
    least = max(LEAST_ORDERS_TOGETHER, ceil(LEAST_SUPPORT * orders))
    lines = shop.table(_BASKETS, {"least": least, "most": MAX_PRODUCTS}).to_pandas()
    if lines.empty or not lines["basket"].duplicated().any():
        raise CannotAnswer("no order has two products that are bought more than now and then")
    products = pd.Categorical(lines["product_id"])
    held = np.zeros((lines["basket"].max() + 1, len(products.categories)), dtype=bool)
    held[lines["basket"], products.codes] = True
    bought = pd.DataFrame(held, columns=products.categories)
    frequent = fpgrowth(bought, min_support=least / len(bought), max_len=2, use_colnames=True)
    if frequent.empty or frequent["itemsets"].map(len).max() < 2:
        raise CannotAnswer(f"no two products are together in {least} orders or more")
    rules = association_rules(frequent, num_itemsets=len(bought), metric="lift", min_threshold=1.0)
    return _ranked(rules, len(bought), orders, bought.shape[1])


def _ranked(rules: Any, baskets: int, orders: int, products: int) -> Any:
    together, with_a, with_b = (
        (rules[name] * baskets).round().astype(int) for name in ("support", "antecedent support", "consequent support")
    )
    chance = hypergeom.sf(together - 1, orders, with_a, with_b) * products * (products - 1) / 2
    found = pd.DataFrame(
        {
            "a": rules["antecedents"].map(lambda items: next(iter(items))),
            "b": rules["consequents"].map(lambda items: next(iter(items))),
            "orders": together,
            "support": together / orders,
            "confidence": together / with_a,
            "lift": together * orders / (with_a * with_b),
            "p_value": chance.clip(max=1.0),
        }
    )
    found = found[found["p_value"] < 0.01].sort_values(["lift", "orders", "a"], ascending=[False, False, True])
    found["rank"] = found["lift"].rank(method="dense", ascending=False)
    return found.head(MAX_RULES)


TOP: Final = 15


def _pairs(shop: Shop) -> Finding:
    rows = product_pairs(shop)
    if not rows:
        raise CannotAnswer("no two products are together in orders more often than chance would put them there")
    best = rows[0]
    pairs = [row for row in rows if row["product_a"] < row["product_b"]] or rows
    both = {frozenset((row["product_a"], row["product_b"])) for row in rows}
    common = max(rows, key=lambda row: row["confidence"] * row["orders"])
    return Finding(
        headline=f"{counted(len(both), 'pair')} of products are bought together more than chance explains; first "
        f"{best['name_a']} and {best['name_b']}, {best['lift']:.0f} times as often as by chance.",
        action=f"Show {common['name_b']} beside {common['name_a']}: {percent(common['confidence'])} of orders with the "
        f"one have the other ({counted(common['orders'], 'order')}).",
        words=[
            "Pairs are ranked by lift among those that chance does not explain (Fisher's test, Bonferroni, p < 0.01)."
        ],
        figures=[
            plots.bars(
                "Lift of the strongest pairs",
                [f"{row['name_a']} + {row['name_b']}" for row in pairs[:TOP]],
                [row["lift"] for row in pairs[:TOP]],
            )
        ],
        shown=[
            Table(
                ("who buys", "also buys", "orders", "support", "confidence", "lift"),
                [
                    (
                        row["name_a"],
                        row["name_b"],
                        f"{row['orders']:,}",
                        percent(row["support"], 2),
                        percent(row["confidence"]),
                        f"{row['lift']:.1f}",
                    )
                    for row in rows[:TOP]
                ],
            )
        ],
        rows={"product-pairs": rows},
    )


PAIRS: Final = Analysis(
    "pairs",
    "Bought together",
    "Which products are bought in the same order more than by chance?",
    _pairs,
    ("product-pairs",),
)
