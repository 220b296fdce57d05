"""Carts: how many are left behind, what lay in them, and how many are bought later."""

from typing import Final

from analytics import plots
from analytics.finding import Analysis, CannotAnswer, Finding, Number, Rows
from analytics.leaks import interval
from analytics.shop import Shop
from analytics.words import counted, duration, money, percent
from churn.report_page import Table

_CARTS_DAILY: Final = """
SELECT date_trunc('day', started_at)::TIMESTAMP AS "@timestamp", category, coalesce(country, 'unknown') AS country,
    channel, count(*) AS started, count(*) FILTER (is_abandoned) AS abandoned,
    count(*) FILTER (is_abandoned AND became = 'bought') AS recovered, count(*) FILTER (became = 'bought') AS bought,
    count(*) FILTER (became = 'emptied') AS emptied, count(*) FILTER (became = 'open') AS open,
    coalesce(sum(value_minor) FILTER (is_abandoned AND became <> 'bought'), 0) / 100 AS value_left,
    coalesce(sum(value_minor) FILTER (is_abandoned AND became = 'bought'), 0) / 100 AS value_recovered,
    coalesce(sum(epoch_ms(ended_at) - epoch_ms(last_act_at)) FILTER (is_abandoned AND became = 'bought'), 0) / 1000
        AS recovery_s_sum,
    any_value(date_trunc('day', started_at)) + INTERVAL 2 DAY <= $as_of::TIMESTAMP AS is_mature
FROM carts JOIN customers_seen USING (customer_id) GROUP BY 1, 2, 3, 4 ORDER BY ALL
"""


def carts_daily(shop: Shop) -> Rows:
    """Rows of `carts-daily`."""
    return shop.rows(_CARTS_DAILY, {"as_of": shop.moment})


def _losses(shop: Shop) -> Finding:
    rows = carts_daily(shop)
    mature = [row for row in rows if row["is_mature"]]
    started, abandoned, recovered = (sum(row[name] for row in mature) for name in ("started", "abandoned", "recovered"))
    if not started:
        raise CannotAnswer("it has no carts that are old enough: events `cart` are missing or younger than a day")
    left = sum(row["value_left"] for row in mature)
    wait_s = sum(row["recovery_s_sum"] for row in mature) / recovered if recovered else None
    low, high = interval(abandoned, started)
    months: dict[str, list[int]] = {}
    for row in mature:
        sums = months.setdefault(f"{row['@timestamp']:%Y-%m}", [0, 0])
        sums[0] += row["abandoned"]
        sums[1] += row["started"]
    words = (
        [f"{counted(recovered, 'abandoned cart')} ({percent(recovered / abandoned)}) were bought within 30 days."]
        if abandoned
        else []
    )
    if wait_s is not None:
        words.append(f"That took {duration(wait_s)} from the last touch in the mean.")
    largest = sorted(_by_category(mature), key=lambda row: -row[3])[:TOP]
    return Finding(
        headline=f"{percent(abandoned / started)} of {counted(started, 'cart')} were left alone for a day; "
        f"{money(left, shop.currency)} stayed in them.",
        action=f"Begin with {largest[0][0]}: {money(largest[0][3], shop.currency)} stayed there. Remind within the day."
        if left
        else "Nothing stays behind: no reminder is needed.",
        words=words,
        numbers=[
            Number("Abandoned", abandoned / started, "share", low, high),
            Number(
                "Recovered, of abandoned",
                recovered / abandoned if abandoned else None,
                "share",
                *interval(recovered, abandoned),
            ),
            Number("Value left behind", left, "money"),
        ],
        figures=[
            plots.lines(
                "Abandoned carts by month in which they began",
                list(months),
                {"share": [gone / begun for gone, begun in months.values()]},
            )
        ],
        shown=[
            Table(
                ("category", "carts", "abandoned", shop.currency + " left"),
                [(name, f"{begun:,}", percent(gone / begun), f"{value:,.0f}") for name, begun, gone, value in largest],
                "By the cart's line of most value",
            )
        ],
        rows={"carts-daily": rows},
    )


TOP: Final = 10


def _by_category(rows: Rows) -> list[tuple[str, int, int, float]]:
    sums: dict[str, tuple[int, int, float]] = {}
    for row in rows:
        begun, gone, value = sums.get(row["category"], (0, 0, 0.0))
        sums[row["category"]] = begun + row["started"], gone + row["abandoned"], value + row["value_left"]
    return [(name, *of_category) for name, of_category in sums.items()]


CARTS: Final = Analysis(
    "carts",
    "Abandoned carts",
    "How many carts are left behind, what lies in them, and how many are bought later? (After 24 hours.)",
    _losses,
    ("carts-daily",),
)
