"""Which channels and campaigns orders came through: by the first and by the last visit before them."""

from typing import Any, Final

from analytics import plots
from analytics.finding import Analysis, CannotAnswer, Finding, Rows
from analytics.shop import Shop
from analytics.words import percent
from churn.report_page import Table

DAYS: Final = 30

_TOUCHES: Final = """
WITH touches AS (
    SELECT orders.customer_id, order_key, net_minor,
        arg_min(sessions.{source}, sessions.started_at) AS first_source,
        arg_max(sessions.{source}, sessions.started_at) AS last_source
    FROM orders JOIN sessions ON sessions.customer_id = orders.customer_id AND is_visit
        AND sessions.started_at <= orders.ordered_at AND sessions.started_at > orders.ordered_at - INTERVAL {days} DAY
    WHERE is_net GROUP BY ALL
), firsts AS (
    SELECT coalesce(first_source, 'unknown') AS source, count(*) AS orders, sum(net_minor) / 100 AS revenue
    FROM touches GROUP BY ALL
), lasts AS (
    SELECT coalesce(last_source, 'unknown') AS source, count(*) AS orders, sum(net_minor) / 100 AS revenue
    FROM touches GROUP BY ALL
)
SELECT $as_of::TIMESTAMP AS "@timestamp", '{source}' AS dimension, coalesce(firsts.source, lasts.source) AS source,
    coalesce(firsts.orders, 0) AS first_orders, coalesce(lasts.orders, 0) AS last_orders,
    coalesce(firsts.revenue, 0) AS first_revenue, coalesce(lasts.revenue, 0) AS last_revenue,
    coalesce(firsts.revenue, 0) / nullif(sum(firsts.revenue) OVER (), 0) AS first_share,
    coalesce(lasts.revenue, 0) / nullif(sum(lasts.revenue) OVER (), 0) AS last_share
FROM firsts FULL JOIN lasts ON firsts.source = lasts.source ORDER BY last_revenue DESC, source
"""


def touches(shop: Shop) -> Rows:
    """Rows of `attribution`: all visits of the 30 days until an order count, the one of the order too."""
    return [row for source in ("channel", "campaign") for row in shop.rows(_touches_by(source), {"as_of": shop.moment})]


def _touches_by(source: str) -> str:
    # A visit without a campaign is a touch, too, so that it must not be passed over as missing.
    return _TOUCHES.replace("sessions.{source}", f"coalesce(sessions.{source}, 'unknown')").format(
        source=source, days=DAYS
    )


def _attributed(shop: Shop) -> Finding:
    rows = touches(shop)
    channels = [row for row in rows if row["dimension"] == "channel"]
    if not any(row["source"] != "unknown" for row in channels):
        raise CannotAnswer("no order has a visit with a channel")
    first = max(channels, key=lambda row: row["first_share"] or 0)
    last = channels[0]
    gap = max(channels, key=lambda row: abs(_gap(row)))
    opens = _gap(gap) > 0
    named = [row for row in rows if row["dimension"] == "campaign" and row["source"] != "unknown"]
    by_campaign = sum(row["last_share"] or 0 for row in named)
    return Finding(
        headline=f"{last['source']} brings most by first and by last touch ({percent(first['first_share'] or 0)} and "
        f"{percent(last['last_share'] or 0)} of revenue)."
        if first["source"] == last["source"]
        else f"By last touch {last['source']} brings most ({percent(last['last_share'] or 0)} of revenue), by "
        "first touch "
        f"{first['source']} ({percent(first['first_share'] or 0)}).",
        action=f"{gap['source']} {'opens' if opens else 'closes'} more than it {'closes' if opens else 'opens'}: "
        "judge it by "
        f"{'first' if opens else 'last'} touch, too, before cutting it."
        if abs(_gap(gap)) >= 0.02
        else "Both rules agree: the choice of rule changes no budget.",
        words=[
            (
                f"Visits of the {DAYS} days until an order count, that of the order among them. "
                f"{percent(by_campaign)} of revenue has a named campaign as last touch."
            ),
            "Attribution says what came before an order, not what caused it; lift is measured above.",
        ],
        figures=[_figure(channels)],
        shown=[
            Table(
                ("channel", "orders, first", "orders, last", "revenue, first", "revenue, last"),
                [
                    (
                        row["source"],
                        f"{row['first_orders']:,}",
                        f"{row['last_orders']:,}",
                        percent(row["first_share"] or 0),
                        percent(row["last_share"] or 0),
                    )
                    for row in channels
                ],
            )
        ],
        rows={"attribution": rows},
    )


def _gap(row: Any) -> float:
    return float((row["first_share"] or 0) - (row["last_share"] or 0))


def _figure(channels: Rows) -> Any:
    figure, drawn = plots.axes("Share of revenue by channel", "", "")
    for offset, name, colour in ((-0.2, "first", plots.COLOUR), (0.2, "last", plots.ACCENT)):
        places = [place + offset for place in range(len(channels))]
        drawn.bar(places, [row[f"{name}_share"] or 0 for row in channels], 0.4, label=f"{name} touch", color=colour)
    drawn.set_xticks(range(len(channels)), [row["source"] for row in channels])
    drawn.legend(fontsize=8)
    return figure


ATTRIBUTION: Final = Analysis(
    "attribution",
    "Attribution",
    "Which channels do orders come through, by first and by last touch?",
    _attributed,
    ("attribution",),
)
