"""Board "Segments": the RFM segments and tiers, what they are worth, and who moves between them."""

from collections.abc import Mapping
from typing import Final

from churn.analysis_tables import SEGMENT_MOVES, SEGMENTS_MONTHLY, VALUE_TIERS
from kibana.data_views import CUSTOMERS, of_table
from kibana.shapes import (
    SEGMENT_COLOURS,
    TIER_COLOURS,
    XY,
    Board,
    Control,
    Donut,
    Heatmap,
    Metric,
    OverTime,
    Row,
    Table,
    Terms,
    average,
    by_value,
    count,
    ratio,
    share,
    total,
)

NOTE: Final = """\
**Segments** compare how lately (R) and how often (F) a customer bought, **tiers** also for how much (M), each in \
fifths of all customers with an order. The cut points are frozen by the analysis, so that a customer moves because \
the customer changed. *Prospect* is who has not ordered yet.

Tiles and the first tables are live, from the latest card of each customer; months are those of the analysis, which \
runs once a day. Revenue is net, of the last 365 days before the moment. The moves and the fifths of buyers always \
show everybody, whatever is chosen above."""

_MONTHS: Final = of_table(SEGMENTS_MONTHLY)
_MOVES: Final = of_table(SEGMENT_MOVES)
_VALUE: Final = of_table(VALUE_TIERS)
_MONTH: Final = OverTime("1M", "Month")
_customers = total("customers", "Customers", format="whole")


def _now(field: str, label: str) -> Table:
    return Table(
        f"{label}s now",
        CUSTOMERS,
        (Terms(field, label, size=15),),
        (
            count("Customers"),
            share(count("Customers"), "Share"),
            total("monetary", "Revenue of a year", format="amount"),
            share(total("monetary", "Revenue of a year"), "Share of revenue"),
            average("risk", "Average risk", format="percent"),
        ),
        where="not segment: (Prospect or unknown)",
        sort_by=2,
        widths={"Customers": 110},
        shades={"Average risk": "risk"},
        about="live; customers with an order, their net revenue of the last 365 days, both with their share, and the "
        "mean risk.",
    )


def _donut(field: str, label: str, colours: Mapping[str, str]) -> Donut:
    return Donut(
        f"{label} by revenue",
        CUSTOMERS,
        by_value(total("monetary", "Revenue of a year", format="amount"), field, colours),
        about="live; shares of net revenue of the last 365 days.",
    )


SEGMENTS: Final = Board(
    id="segments",
    title="Segments",
    description="The RFM segments and tiers, what they are worth, and who moves between them.",
    time_from="now-1y/d",
    controls=(Control(CUSTOMERS, "segment", "Segment"), Control(CUSTOMERS, "tier", "Tier")),
    note=NOTE,
    rows=(
        Row(
            5,
            (
                Metric(
                    "Champions",
                    CUSTOMERS,
                    count("Champions", "segment: Champions"),
                    subtitle="bought lately and often",
                    about="customers of the best segment.",
                ),
                Metric(
                    "Champions' share of revenue",
                    CUSTOMERS,
                    ratio(
                        "Champions' share of revenue",
                        total("monetary", "", "segment: Champions"),
                        total("monetary", ""),
                    ),
                    subtitle="of the last 365 days",
                    about="their part of everybody's net revenue.",
                ),
                Metric(
                    "Can't Lose and At Risk",
                    CUSTOMERS,
                    count("Can't Lose and At Risk", 'segment: "Can\'t Lose" or segment: "At Risk"'),
                    subtitle="bought often, but not lately",
                    about="customers who used to buy often and have not for long.",
                ),
                Metric(
                    "Revenue they brought",
                    CUSTOMERS,
                    total(
                        "monetary",
                        "Revenue they brought",
                        'segment: "Can\'t Lose" or segment: "At Risk"',
                        format="amount",
                    ),
                    subtitle="Can't Lose and At Risk, a year",
                    about="net revenue of the last 365 days of those two segments.",
                ),
            ),
        ),
        Row(19, (_now("segment", "Segment"), _donut("segment", "Segments", SEGMENT_COLOURS)), widths=(30, 18)),
        Row(10, (_now("tier", "Tier"), _donut("tier", "Tiers", TIER_COLOURS)), widths=(30, 18)),
        Row(
            13,
            (
                XY(
                    "Customers by segment and month",
                    _MONTHS,
                    "bar_percentage_stacked",
                    by_value(_customers, "segment", SEGMENT_COLOURS),
                    over=_MONTH,
                    about="customers with an order, by their segment at the end of each month.",
                ),
                XY(
                    "Revenue by tier and month",
                    _MONTHS,
                    "bar_percentage_stacked",
                    by_value(total("revenue", "Net revenue", format="amount"), "tier", TIER_COLOURS),
                    over=_MONTH,
                    about="net revenue of the 365 days before the end of each month, by tier.",
                ),
            ),
        ),
        Row(
            15,
            (
                Heatmap(
                    "Moves between segments",
                    _MOVES,
                    Terms("to_segment", "To", size=12, by=None),
                    Terms("from_segment", "From", size=12, by=None),
                    _customers,
                    ignores_controls=True,
                    about="customers by their segment at the end of one month (left) and of the next (below), over all "
                    "months of the time range.",
                ),
            ),
        ),
        Row(
            10,
            (
                Table(
                    "Top fifths of buyers",
                    _VALUE,
                    (Terms("tier", "Buyers by revenue", size=5),),
                    (
                        total("revenue", "Net revenue", format="amount"),
                        total("revenue_share", "Share", format="percent"),
                        _customers,
                        ratio("Orders each", total("orders", ""), total("customers", ""), format="decimal"),
                        ratio("Average order", total("revenue", ""), total("orders", ""), format="money"),
                        ratio("Revenue each", total("revenue", ""), total("customers", ""), format="money"),
                    ),
                    ignores_controls=True,
                    widths={"Net revenue": 110, "Share": 75, "Customers": 110},
                    about="buyers sorted by the net revenue they brought and cut into fifths: what share the top "
                    "fifth holds, and what the fifths do differently.",
                ),
            ),
        ),
    ),
)
