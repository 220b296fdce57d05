"""RFM segments and tiers at the end of each month, by cut points that stay the same, and who moves between them."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Final

from analytics.finding import CannotAnswer, Rows
from analytics.shop import Shop
from churn import segments
from churn.model import ModelError, load
from churn.segments import CutPoints

LEAST_BUYERS: Final = 10

# As the fold has them: recency of the last line, frequency and money of 365 days, refunds known by then.
_AT: Final = """
WITH known AS (FROM orders_at($moment::TIMESTAMP)), loose AS (
    SELECT customer_id, sum(refund_minor) AS refund_minor FROM loose_refunds
    WHERE refunded_at <= $moment::TIMESTAMP AND day >= $moment::TIMESTAMP - INTERVAL 365 DAY GROUP BY customer_id
)
SELECT customer_id, (epoch_ms($moment::TIMESTAMP) - epoch_ms(max(last_line_at))) / 86400000 AS recency_days,
    count(*) FILTER (ordered_at > $moment::TIMESTAMP - INTERVAL 365 DAY) AS frequency,
    (coalesce(sum(net_minor) FILTER (ordered_at > $moment::TIMESTAMP - INTERVAL 365 DAY), 0)
        - coalesce(any_value(refund_minor), 0)) / 100 AS monetary
FROM known LEFT JOIN loose USING (customer_id) WHERE is_net GROUP BY customer_id ORDER BY customer_id
"""


def buyers_at(shop: Shop, moment: datetime) -> list[dict[str, Any]]:
    """`recency_days`, `frequency` and `monetary` of everybody with a net order at `moment` (UTC, without a zone)."""
    return shop.rows(_AT, {"moment": moment})


def cut_points(shop: Shop) -> CutPoints:
    """Those of the live model, so that a segment here is the segment of the live cards; else of the buyers at `as_of`.

    Raises `CannotAnswer` with too few buyers.
    """
    if shop.models is not None:
        try:
            return load(shop.models).about.rfm
        except ModelError:
            pass  # no model is live
    buyers = buyers_at(shop, shop.moment)
    if len(buyers) < LEAST_BUYERS:
        raise CannotAnswer(f"{len(buyers)} customers have an order; quintiles need at least {LEAST_BUYERS}")
    recency, frequency, monetary = ([row[name] for row in buyers] for name in ("recency_days", "frequency", "monetary"))
    return segments.cut_points(recency, frequency, monetary, f"{shop.moment:%Y-%m-%d}")


def placed(shop: Shop, moment: datetime, cuts: CutPoints) -> list[dict[str, Any]]:
    """`buyers_at` with each one's `segment` and `tier`."""
    rows = buyers_at(shop, moment)
    for row in rows:
        scores = segments.rfm(row, cuts)
        if scores is not None:
            row |= {"scores": scores, "segment": segments.segment(row, cuts), "tier": segments.tier(scores)}
    return rows


def month_ends(shop: Shop) -> list[tuple[datetime, datetime]]:
    """The first day of each month with a known order before its end, and the moment at which it ended, or `as_of`."""
    first = shop.value("SELECT min(ordered_at) FROM orders WHERE is_net")
    found = []
    month = None if first is None else first.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while month is not None and month < shop.moment:
        after = (month + timedelta(days=32)).replace(day=1)
        found.append((month, min(after, shop.moment)))
        month = after
    return found


def segments_and_moves(shop: Shop) -> tuple[Rows, Rows]:
    """Rows of `segments-monthly` and of `segment-moves`. Raises `CannotAnswer` with too few buyers."""
    cuts = cut_points(shop)
    of_month: list[dict[str, Any]] = []
    moves: list[dict[str, Any]] = []
    before: dict[str, str] = {}
    for month, moment in month_ends(shop):
        people = placed(shop, moment, cuts)
        of_month += _summed(people, month, moment)
        now = {row["customer_id"]: row["segment"] for row in people}
        if before:
            moved = Counter((before.get(customer, segments.PROSPECT), segment) for customer, segment in now.items())
            moves += [
                {"@timestamp": month, "from_segment": old, "to_segment": new, "customers": count}
                for (old, new), count in sorted(moved.items())
                if old != new
            ]
        before = now
    return of_month, moves


def _summed(people: list[dict[str, Any]], month: datetime, moment: datetime) -> list[dict[str, Any]]:
    counts: Counter[tuple[str, str]] = Counter((row["segment"], row["tier"]) for row in people)
    money: dict[tuple[str, str], float] = dict.fromkeys(counts, 0.0)
    for row in people:
        money[row["segment"], row["tier"]] += row["monetary"]
    whole = sum(money.values())
    return [
        {
            "@timestamp": month,
            "segment": segment,
            "tier": tier,
            "customers": count,
            "revenue": round(money[segment, tier], 2),
            "revenue_share": money[segment, tier] / whole if whole else None,
            "as_of": moment,
        }
        for (segment, tier), count in sorted(counts.items())
    ]
