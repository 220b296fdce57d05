"""Cohorts by month of the first net order, who of them comes back, and the lifecycle of buyers from month to month."""

from typing import Any, Final

import pandas as pd

from analytics import plots
from analytics.finding import Analysis, CannotAnswer, Finding, Number, Rows
from analytics.leaks import interval
from analytics.shop import Shop
from analytics.words import listed, percent
from churn.report_page import Table

_COHORTS: Final = """
WITH bought AS (
    SELECT customer_id, country, date_trunc('month', ordered_at)::DATE AS month, count(*) AS orders,
        sum(net_minor) AS net_minor
    FROM orders WHERE is_net GROUP BY ALL
), placed AS (
    SELECT *, min(month) OVER customer AS first_month, max(month) OVER customer AS last_month
    FROM bought WINDOW customer AS (PARTITION BY customer_id)
), people AS (
    SELECT customer_id, country, any_value(first_month) AS first_month, any_value(last_month) AS last_month
    FROM placed GROUP BY customer_id, country
), cells AS (
    SELECT DISTINCT first_month, country,
        unnest(range(0, 1 + datediff('month', first_month, $last_month::DATE))) AS month_number
    FROM people WHERE first_month <= $last_month
), stayed AS (
    SELECT first_month, country, month_number, count(*) AS customers,
        count(*) FILTER (datediff('month', first_month, last_month) >= month_number) AS rolling
    FROM cells JOIN people USING (first_month, country) GROUP BY ALL
), came AS (
    SELECT first_month, country, datediff('month', first_month, month) AS month_number, count(*) AS active,
        sum(orders)::BIGINT AS orders, sum(net_minor) AS net_minor
    FROM placed GROUP BY ALL
)
SELECT first_month::TIMESTAMP AS "@timestamp", strftime(first_month, '%Y-%m') AS cohort, country, month_number::BIGINT
        AS month_number, customers, coalesce(active, 0) AS active, rolling, coalesce(orders, 0) AS orders,
    coalesce(net_minor, 0) / 100 AS revenue, net_minor / orders / 100 AS aov,
    coalesce(active, 0) / customers AS retention, rolling / customers AS rolling_retention, true AS is_mature
FROM stayed LEFT JOIN came USING (first_month, country, month_number) ORDER BY ALL
"""

_LIFECYCLE: Final = """
WITH bought AS (
    SELECT customer_id, country, date_trunc('month', ordered_at)::DATE AS month, count(*) AS orders,
        sum(net_minor) AS net_minor
    FROM orders WHERE is_net GROUP BY ALL
), placed AS (
    SELECT *, lag(month) OVER customer AS before, lead(month) OVER customer AS after
    FROM bought WINDOW customer AS (PARTITION BY customer_id ORDER BY month)
), states AS (
    SELECT month, country, CASE WHEN before IS NULL THEN 'new' WHEN before = month - INTERVAL 1 MONTH THEN 'returning'
        ELSE 'resurrecting' END AS state, orders, net_minor
    FROM placed
    UNION ALL
    SELECT (month + INTERVAL 1 MONTH)::DATE, country, 'dormant', 0, 0 FROM placed
    WHERE (after IS NULL OR after > month + INTERVAL 1 MONTH) AND month + INTERVAL 1 MONTH < $as_of::TIMESTAMP
)
SELECT month::TIMESTAMP AS "@timestamp", state, country, count(*) AS customers, sum(orders)::BIGINT AS orders,
    sum(net_minor) / 100 AS revenue, month + INTERVAL 1 MONTH <= $as_of::TIMESTAMP AS is_mature
FROM states GROUP BY ALL ORDER BY ALL
"""


def cohorts(shop: Shop) -> Rows:
    """Rows of `cohorts`: only months that are over."""
    return shop.rows(_COHORTS, {"last_month": shop.last_month})


def lifecycle(shop: Shop) -> Rows:
    """Rows of `lifecycle-monthly`."""
    return shop.rows(_LIFECYCLE, {"as_of": shop.moment})


def matrix(rows: Rows, name: str) -> Any:
    """Cohorts by months since, `active` or `rolling` or `customers` summed over countries; missing where not over."""
    cells = pd.DataFrame(list(rows), columns=["cohort", "month_number", name])
    return cells.pivot_table(index="cohort", columns="month_number", values=name, aggfunc="sum")


def _retention(shop: Shop) -> Finding:
    rows = cohorts(shop)
    if not any(row["month_number"] for row in rows):
        raise CannotAnswer("no cohort has a month behind it that is over")
    customers, active, rolling = (matrix(rows, name) for name in ("customers", "active", "rolling"))
    sizes = customers[0]
    classic, whole = active.div(sizes, axis=0), rolling.div(sizes, axis=0)
    means = {number: _mean(active, sizes, number) for number in (1, 3, 6) if number in active}
    first, behind = means[1]
    low, high = interval(first, behind)
    comparable = classic[1].dropna()
    best, worst = comparable.idxmax(), comparable.idxmin()
    said = [f"{percent(came / of)} in month {number}" for number, (came, of) in means.items()]
    return Finding(
        headline=f"Of buyers {listed(said)} after their first order bought again.",
        action=_retention_action(means),
        words=[
            (
                f"The cohort that came back most in its first month was {best} ({percent(comparable[best])} of "
                f"{int(sizes[best]):,}), the one that came back least {worst} ({percent(comparable[worst])} of "
                f"{int(sizes[worst]):,})."
            ),
            "Months that are not over are left out; means are weighted by the customers of each cohort.",
        ],
        numbers=[Number("Back in month 1", first / behind, "share", low, high)],
        figures=[
            plots.heat(
                "Classic retention: an order in this month", list(classic.index), list(classic), classic, _SINCE
            ),
            plots.heat(
                "Rolling retention: an order in this month or later", list(whole.index), list(whole), whole, _SINCE
            ),
        ],
        rows={"cohorts": rows},
    )


_SINCE: Final = "months since the first order"


def _mean(cells: Any, sizes: Any, number: int) -> tuple[int, int]:
    """Customers who came in this month, and customers whose month it is over for."""
    known = cells[number].dropna()
    return int(known.sum()), int(sizes[known.index].sum())


def _retention_action(means: dict[int, tuple[int, int]]) -> str:
    (first, behind), (last, of) = means[1], means[max(means)]
    fall = 1 - (last / of) / (first / behind) if first else 0.0
    if len(means) > 1 and fall > 0.3:
        return (
            f"Retention falls by {percent(fall, 0)} from month 1 to month {max(means)}: spend on the second order "
            "within the first month, before the habit is lost."
        )
    return "Retention falls little after the first month: the second order decides, so spend on that."


def _states(shop: Shop) -> Finding:
    rows = lifecycle(shop)
    over = pd.DataFrame([row for row in rows if row["is_mature"]])
    if over.empty or over["@timestamp"].nunique() < 2:
        raise CannotAnswer("fewer than two months with orders are over")
    counts: Any = over.pivot_table(index="@timestamp", columns="state", values="customers", aggfunc="sum", fill_value=0)
    money_by: Any = over.pivot_table(
        index="@timestamp", columns="state", values="revenue", aggfunc="sum", fill_value=0.0
    )
    last, spent = counts.iloc[-1], money_by.iloc[-1]
    active = int(last.drop("dormant", errors="ignore").sum())
    gained = int(last.get("new", 0) + last.get("resurrecting", 0))
    lost = int(last.get("dormant", 0))
    month = f"{counts.index[-1]:%B %Y}"
    old = spent.drop(["new", "dormant"], errors="ignore").sum() / spent.sum() if spent.sum() else 0.0
    words = [
        f"Known customers (returning and resurrecting) brought {percent(float(old))} of that month's orders' value."
    ]
    return Finding(
        headline=f"In {month} {active:,} customers bought: {gained:,} new or back again; {lost:,} of the month before "
        "did not.",
        action="More went than came: win back the dormant before buying new ones."
        if lost > gained
        else "More came than went: keep what is being done, and watch the dormant.",
        words=words,
        numbers=[Number(f"{name}, {month}", float(last[name]), "count") for name in last.index],
        figures=[
            plots.lines(
                "Buyers by state",
                [f"{month:%Y-%m}" for month in counts.index],
                {str(name): counts[name].tolist() for name in counts},
            )
        ],
        shown=[
            Table(
                ("month", *(str(name) for name in counts)),
                [
                    (f"{month:%Y-%m}", *(f"{int(value):,}" for value in row))
                    for month, row in zip(counts.index, counts.to_numpy(), strict=True)
                ],
                "Customers",
            )
        ],
        rows={"lifecycle-monthly": rows},
    )


RETENTION: Final = Analysis(
    "retention", "Retention by cohort", "Who comes back, and when, after the first order?", _retention, ("cohorts",)
)
LIFECYCLE: Final = Analysis(
    "lifecycle",
    "Lifecycle of buyers",
    "How many buyers of a month are new, returning, back again, and how many of the month before stayed away?",
    _states,
    ("lifecycle-monthly",),
)
