"""What cohorts bring, by when customers came, through which channel, with which category; and what raises an order."""

from typing import Any, Final

import numpy as np
import pandas as pd
import statsmodels.api as sm

from analytics import plots
from analytics.finding import Analysis, CannotAnswer, Finding, Number, Rows
from analytics.shop import Shop
from analytics.words import money, percent
from churn.report_page import Table

RESAMPLES: Final = 400
SEED: Final = 7
LEAST_BUYERS: Final = 20
TOP: Final = 12

_PEOPLE: Final = """
WITH firsts AS (
    SELECT customer_id, arg_min(category, (bought_at, -amount_minor)) AS first_category
    FROM order_lines GROUP BY customer_id
)
SELECT customers.customer_id, strftime(coalesce(signup_date::TIMESTAMP, first_seen_at), '%Y-%m') AS "signup month",
    coalesce(first_channel, 'unknown') AS "first channel", first_category AS "first category", orders, kept_minor
FROM customers LEFT JOIN firsts USING (customer_id)
"""
_ORDERS: Final = """
SELECT customer_id, order_key, count(*) AS lines, sum(quantity)::DOUBLE AS units,
    sum(amount_minor)::DOUBLE AS gross_minor, sum(discount_minor)::DOUBLE AS discounts_minor,
    any_value(orders.net_number) AS net_number
FROM order_lines JOIN orders USING (customer_id, order_key)
WHERE is_net GROUP BY ALL HAVING sum(amount_minor) > 0 AND sum(quantity) > 0
"""
DIMENSIONS: Final = ("signup month", "first channel", "first category")


def values(shop: Shop) -> Rows:
    """Rows of `cohort-values`."""
    people = shop.table(_PEOPLE).to_pandas()
    rng = np.random.default_rng(SEED)
    rows = []
    for dimension in DIMENSIONS:
        for cohort, own in people.dropna(subset=[dimension]).groupby(dimension):
            rows.append({"@timestamp": shop.moment, "dimension": dimension, "cohort": str(cohort), **_sums(own, rng)})
    return rows


def _sums(own: Any, rng: np.random.Generator) -> dict[str, Any]:
    buyers = own[own["orders"] > 0]
    orders, revenue = int(buyers["orders"].sum()), float(buyers["kept_minor"].sum()) / 100
    low, high = _aov_interval(buyers["orders"].to_numpy(), buyers["kept_minor"].to_numpy() / 100, rng)
    return {
        "customers": len(own),
        "buyers": len(buyers),
        "orders": orders,
        "revenue": round(revenue, 2),
        "aov": revenue / orders if orders else None,
        "aov_low": low,
        "aov_high": high,
        "revenue_per_customer": revenue / len(own),
    }


def _aov_interval(orders: Any, revenue: Any, rng: np.random.Generator) -> tuple[float | None, float | None]:
    """The 95 % interval of revenue / orders when customers, not orders, are drawn again."""
    if len(orders) < LEAST_BUYERS:
        return None, None
    weights = rng.multinomial(len(orders), np.full(len(orders), 1 / len(orders)), size=RESAMPLES)
    low, high = np.quantile((weights @ revenue) / (weights @ orders), [0.025, 0.975])
    return float(low), float(high)


def _cohorts(shop: Shop) -> Finding:
    rows = values(shop)
    if not any(row["orders"] for row in rows):
        raise CannotAnswer("nobody has an order")
    known = {dimension: _of(rows, dimension) for dimension in DIMENSIONS}
    words = [said for dimension in DIMENSIONS if (said := _spread(known[dimension], dimension, shop.currency))]
    months = known["signup month"] or [row for row in rows if row["dimension"] == "signup month" and row["orders"]]
    best = max(months, key=lambda row: row["revenue_per_customer"])
    differing = [dimension for dimension in DIMENSIONS if _differs(known[dimension])]
    return Finding(
        headline=f"Customers who came in {best['cohort']} bring most, "
        f"{money(best['revenue_per_customer'], shop.currency)} each so far.",
        action=f"Spend on new customers where their orders are worth more: they differ by {' and '.join(differing)}."
        if differing
        else "Order values do not differ between the groups beyond chance: choose channels by what a customer costs.",
        words=[*words, "Older cohorts have had more time to buy, so that what they bring in total is no fair race."],
        figures=[
            plots.ranges(
                f"Average order value by {dimension}, {shop.currency}",
                [row["cohort"] for row in known[dimension][:TOP]],
                [(row["aov"], row["aov_low"], row["aov_high"]) for row in known[dimension][:TOP]],
            )
            for dimension in DIMENSIONS
            if len(known[dimension]) > 1
        ],
        shown=[
            Table(
                (dimension, "customers", "buyers", "orders", "average order value", "95 % interval", "revenue each"),
                [
                    (
                        row["cohort"],
                        f"{row['customers']:,}",
                        f"{row['buyers']:,}",
                        f"{row['orders']:,}",
                        f"{row['aov']:,.2f}",
                        f"{row['aov_low']:,.2f} to {row['aov_high']:,.2f}",
                        f"{row['revenue_per_customer']:,.2f}",
                    )
                    for row in known[dimension][:TOP]
                ],
            )
            for dimension in DIMENSIONS
            if len(known[dimension]) > 1
        ],
        rows={"cohort-values": rows},
    )


def _of(rows: Rows, dimension: str) -> list[Any]:
    """Groups with an interval: months in order, the others by order value."""
    found = [row for row in rows if row["dimension"] == dimension and row["aov_low"] is not None]
    return found if dimension == "signup month" else sorted(found, key=lambda row: -row["aov"])


def _differs(known: list[Any]) -> bool:
    return len(known) > 1 and max(row["aov_low"] for row in known) > min(row["aov_high"] for row in known)


def _spread(known: list[Any], dimension: str, currency: str) -> str:
    if len(known) < 2:
        return ""
    best, worst = max(known, key=lambda row: row["aov_low"]), min(known, key=lambda row: row["aov_high"])
    sure = "apart beyond chance" if _differs(known) else "but chance may explain that"
    return (
        f"By {dimension} an order is surely worth much for {best['cohort']} ({money(best['aov'], currency)}) and "
        "little for "
        f"{worst['cohort']} ({money(worst['aov'], currency)}), {sure}."
    )


def _raises(shop: Shop) -> Finding:
    orders = shop.table(_ORDERS).to_pandas()
    if len(orders) < LEAST_BUYERS:
        raise CannotAnswer(f"fewer than {LEAST_BUYERS} orders")
    gross = orders["gross_minor"]
    if gross.nunique() < 2:
        raise CannotAnswer("all orders are worth the same")
    parts = {
        "the number of different products": np.log(orders["lines"].astype(float)),
        "units of each": np.log(orders["units"] / orders["lines"]),
        "the price of a unit": np.log(gross / orders["units"]),
    }
    value = np.log(gross)
    shares = {name: float(np.cov(part, value)[0, 1] / value.var()) for name, part in parts.items()}
    main = max(shares, key=lambda name: shares[name])
    effects = _effects(orders, value)
    return Finding(
        headline=f"The value of an order follows {main}: {percent(shares[main], 0)} of the differences between orders.",
        action=_RAISE[main],
        words=[
            "Order value is products x units of each x price of a unit, so that its differences split exactly: "
            + ", ".join(f"{name} {percent(share, 0)}" for name, share in shares.items())
            + ".",
            *(_effect_words(name, number) for name, number in effects.items()),
        ],
        numbers=[*effects.values()],
        figures=[plots.bars("Share of the differences in order value", list(shares), list(shares.values()))],
    )


_RAISE: Final = {
    "the number of different products": "Offer what goes with what is in the cart: another line raises an order most.",
    "units of each": "Offer packs and quantity prices: more units raise an order most.",
    "the price of a unit": "Show the better version beside the product: a dearer one raises an order most.",
}


def _effects(orders: Any, value: Any) -> dict[str, Number]:
    """How much larger the gross value is with a discount, and from the second order on; customers are the clusters."""
    what: Any = pd.DataFrame(
        {
            "orders with a discount": (orders["discounts_minor"] > 0).astype(float),
            "later orders against first ones": (orders["net_number"] > 1).astype(float),
        }
    )
    what = what.loc[:, what.nunique() > 1]
    if what.empty:
        return {}
    groups = orders["customer_id"].astype("category").cat.codes
    fitted = sm.OLS(value, sm.add_constant(what)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    bounds = np.expm1(fitted.conf_int())
    return {
        name: Number(
            f"Gross value, {name}", float(np.expm1(fitted.params[name])), "share", *map(float, bounds.loc[name])
        )
        for name in what
    }


def _effect_words(name: str, number: Number) -> str:
    assert number.value is not None and number.low is not None and number.high is not None
    if number.low < 0 < number.high:
        return f"Value before discount of {name} does not differ beyond chance."
    more = "more" if number.value > 0 else "less"
    return f"Before discount, {name} are worth {percent(abs(number.value))} {more}."


VALUES: Final = Analysis(
    "cohort-values",
    "Value by cohort",
    "What is an order worth, and what does a customer bring, by month of sign-up, channel and first category?",
    _cohorts,
    ("cohort-values",),
)
RAISES: Final = Analysis("order-value", "What raises an order", "What raises the average order value?", _raises)
