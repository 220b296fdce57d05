"""Products for each buyer from what is bought together, tried on orders that came after."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from analytics.finding import Analysis, CannotAnswer, Finding, Number, Rows
from analytics.leaks import interval
from analytics.shop import Shop
from analytics.words import counted, percent
from churn.report_page import Table

PER_CUSTOMER: Final = 3
LEAST_TOGETHER: Final = 4
COMPANIONS: Final = 20  # of each product, the most frequent
TRIED_DAYS: Final = 60
LEAST_TRIED: Final = 30

# In how many orders are a and b together, of those with a; only until a moment.
_RULES: Final = """
WITH lines AS (
    SELECT DISTINCT customer_id, order_key, product_id FROM order_lines JOIN orders USING (customer_id, order_key)
    WHERE is_net AND product_id IS NOT NULL AND ordered_at < $until::TIMESTAMP
), singles AS (
    SELECT product_id, count(*) AS orders FROM lines GROUP BY product_id
)
SELECT a.product_id AS product_a, b.product_id AS product_b, count(*) / any_value(singles.orders) AS confidence
FROM lines AS a JOIN lines AS b USING (customer_id, order_key) JOIN singles ON singles.product_id = a.product_id
WHERE a.product_id <> b.product_id GROUP BY a.product_id, b.product_id HAVING count(*) >= $least
QUALIFY row_number() OVER (PARTITION BY a.product_id ORDER BY count(*) DESC, b.product_id) <= $companions
ORDER BY ALL
"""
_OWNED: Final = """
SELECT customer_id, list(DISTINCT product_id ORDER BY product_id) AS products
FROM order_lines JOIN orders USING (customer_id, order_key)
WHERE is_net AND product_id IS NOT NULL AND ordered_at < $until::TIMESTAMP AND ordered_at >= $since::TIMESTAMP
GROUP BY customer_id ORDER BY customer_id
"""
_BEGIN: Final = datetime(1970, 1, 1)
Rules = Mapping[str, list[tuple[str, float]]]


def rules_until(shop: Shop, until: datetime) -> Rules:
    """For each product those bought with it, with the confidence, from orders before `until`."""
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for row in shop.rows(_RULES, {"until": until, "least": LEAST_TOGETHER, "companions": COMPANIONS}):
        found[row["product_a"]].append((row["product_b"], row["confidence"]))
    return found


def owned(shop: Shop, since: datetime, until: datetime) -> dict[str, list[str]]:
    """The products that each customer bought in net orders between two moments."""
    return {row["customer_id"]: row["products"] for row in shop.rows(_OWNED, {"since": since, "until": until})}


def best_for(products: list[str], rules: Rules) -> list[tuple[str, float, str]]:
    """Product, score and what speaks for it most; the best first, nothing that is there already."""
    scores: dict[str, float] = defaultdict(float)
    reasons: dict[str, tuple[float, str]] = {}
    has = set(products)
    for product in products:
        for other, confidence in rules.get(product, ()):
            if other not in has:
                scores[other] += confidence
                reasons[other] = max(reasons.get(other, (0.0, "")), (confidence, product))
    ranked = sorted(scores, key=lambda other: (-scores[other], other))[:PER_CUSTOMER]
    return [(other, scores[other], reasons[other][1]) for other in ranked]


def recommendations(shop: Shop) -> Rows:
    """Rows of `recommendations`."""
    until = shop.moment + timedelta(milliseconds=1)
    rules = rules_until(shop, until)
    names = {row["product_id"]: row["product_name"] for row in shop.rows("FROM products")}
    return [
        {
            "@timestamp": shop.moment,
            "customer_id": customer,
            "rank": place,
            "product_id": product,
            "product_name": names[product],
            "because_of": names[reason],
            "score": score,
        }
        for customer, products in owned(shop, _BEGIN, until).items()
        for place, (product, score, reason) in enumerate(best_for(products, rules), start=1)
    ]


def tried(shop: Shop) -> tuple[int, int, int]:
    """Buyers of new products in the last days, how many the rules from before had hit, and the most popular had."""
    since = shop.moment - timedelta(days=TRIED_DAYS)
    rules, before = rules_until(shop, since), owned(shop, _BEGIN, since)
    after = owned(shop, since, shop.moment + timedelta(milliseconds=1))
    popular = [name for name, _ in Counter(each for products in before.values() for each in products).most_common(50)]
    people = hits = popular_hits = 0
    for customer, products in before.items():
        new = set(after.get(customer, ())) - set(products)
        offered = [product for product, _, _ in best_for(products, rules)]
        if new and len(offered) == PER_CUSTOMER:
            people += 1
            hits += bool(new & set(offered))
            popular_hits += bool(new & set([each for each in popular if each not in products][:PER_CUSTOMER]))
    return people, hits, popular_hits


def _recommend(shop: Shop) -> Finding:
    rows = recommendations(shop)
    if not rows:
        raise CannotAnswer(f"no two products were bought together {LEAST_TOGETHER} times")
    people, hits, popular = tried(shop)
    customers = len({row["customer_id"] for row in rows})
    numbers, words = [], []
    action = (
        f"Too few customers bought something new in the last {TRIED_DAYS} days to judge: try them in an experiment."
    )
    if people >= LEAST_TRIED:
        numbers = [
            Number(f"Hits among {PER_CUSTOMER}, bought together", hits / people, "share", *interval(hits, people)),
            Number(f"Hits among {PER_CUSTOMER}, most popular", popular / people, "share", *interval(popular, people)),
        ]
        words = [
            (
                f"Tried on {counted(people, 'customer')} who bought something new in the last {TRIED_DAYS} days, "
                "with rules "
                f"from before: {percent(hits / people)} bought one of their {PER_CUSTOMER}; of the most popular "
                "products "
                f"{percent(popular / people)} would have bought one."
            )
        ]
        action = (
            "They beat the most popular products: show them to known customers."
            if hits > popular
            else "They do not beat the most popular products here: show those, and these as companions in the cart."
        )
    return Finding(
        headline=f"{counted(customers, 'buyer')} get up to {PER_CUSTOMER} recommendations from what others bought with "
        "what they have.",
        action=action,
        words=words,
        numbers=numbers,
        shown=[
            Table(
                ("customer", "product", "because of", "score"),
                [
                    (row["customer_id"], row["product_name"], row["because_of"], f"{row['score']:.2f}")
                    for row in sorted(rows, key=lambda row: (-row["score"], row["customer_id"], row["rank"]))[:8]
                ],
                "The strongest",
            )
        ],
        rows={"recommendations": rows},
    )


RECOMMEND: Final = Analysis(
    "recommendations",
    "Recommendations",
    "What should be shown to each buyer, and is that better than the most popular products?",
    _recommend,
    ("recommendations",),
)
