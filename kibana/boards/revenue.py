"""Board "Revenue and customers": what the shop takes, from whom, and how many come."""

from typing import Final

from churn.analysis_tables import CUSTOMERS_DAILY, ORDERS_DAILY, SALES_DAILY
from kibana.data_views import EVENTS, of_table
from kibana.shapes import (
    FAINT,
    NEUTRAL,
    SECOND,
    XY,
    Board,
    Computed,
    Control,
    Metric,
    OverTime,
    Row,
    Table,
    Terms,
    by_value,
    count,
    ratio,
    share,
    total,
    unique,
)

NOTE: Final = """\
**Net** is price x quantity less discounts and refunds; a refund counts once and at most for its order's value, and a \
fully refunded order is no order. Net numbers come from the analysis, which runs once a day; the tiles that say *live* \
count every event within seconds of its coming, before refunds.

Days are UTC, money is in the shop's currency. *Country* is the customer's (of live numbers: the event's), *channel* \
is how the order or the visit came."""

_ORDERS: Final = of_table(ORDERS_DAILY)
_SALES: Final = of_table(SALES_DAILY)
_CUSTOMERS: Final = of_table(CUSTOMERS_DAILY)
_BOUGHT: Final = "event_type: purchase"
_VISIT: Final = "event_type: (view or cart or purchase)"
_KINDS: Final = {"new": SECOND, "returning": NEUTRAL}
_DAYS: Final = OverTime("1d", "Day")

_net = total("revenue", "Net revenue", format="amount")
_orders = total("orders", "Orders", format="whole")


def _by(field: str, label: str) -> Table:
    return Table(
        f"Net revenue by {label.lower()}",
        _ORDERS,
        (Terms(field, label, size=50),),
        (
            _net,
            share(_net, "Share"),
            _orders,
            ratio("Average order", _net, _orders, format="money"),
        ),
        widths={"Share": 80, "Orders": 80, "Average order": 100},
        about="net revenue, its share, net orders and what an order brings on average.",
    )


REVENUE: Final = Board(
    id="revenue",
    title="Revenue and customers",
    description="What the shop takes, from whom, and how many come.",
    time_from="now-90d/d",
    controls=(Control(_ORDERS, "country", "Country"), Control(_ORDERS, "channel", "Channel")),
    note=NOTE,
    rows=(
        Row(
            5,
            (
                Metric(
                    "Net revenue",
                    _ORDERS,
                    total("revenue", "Net revenue", format="amount"),
                    subtitle="after discounts and refunds",
                    about="price x quantity less discounts and refunds, by the day of the order.",
                ),
                Metric(
                    "Orders",
                    _ORDERS,
                    _orders,
                    subtitle="without fully refunded ones",
                    about="net orders.",
                ),
                Metric(
                    "Average order",
                    _ORDERS,
                    ratio("Average order", _net, _orders, format="money"),
                    subtitle="net revenue / orders",
                    about="net revenue / net orders of the same time.",
                ),
                Metric(
                    "Refunded",
                    _ORDERS,
                    ratio("Refunded", total("refunds", "Refunds"), Computed("add", (_net, total("refunds", "")), "")),
                    subtitle="of revenue before refunds",
                    about="refunds / revenue before refunds.",
                ),
                Metric(
                    "Active customers",
                    EVENTS,
                    unique("customer_id", "Active customers", _VISIT),
                    subtitle="live: viewed, carted or bought",
                    about="live; customers who viewed, put into a cart or bought. Above some thousands an estimate, "
                    "within about 6 %.",
                ),
                Metric(
                    "Sales before refunds",
                    EVENTS,
                    total("revenue", "Sales before refunds", _BOUGHT, format="amount"),
                    subtitle="live: after discounts",
                    about="live; price x quantity less discounts of everything bought.",
                ),
            ),
        ),
        Row(
            11,
            (
                XY(
                    "Net revenue by day",
                    _ORDERS,
                    "bar_stacked",
                    by_value(_net, "customer_kind", _KINDS),
                    over=_DAYS,
                    about="by the day of the order; *new* is a customer's first net order, *returning* any later one.",
                ),
                XY(
                    "Active customers by day",
                    _CUSTOMERS,
                    "bar_stacked",
                    (
                        total("new", "New", format="whole", colour=SECOND),
                        total("returning", "Returning", format="whole", colour=NEUTRAL),
                    ),
                    over=_DAYS,
                    about="customers with a visit on the day, each counted once a day; *new* on the day of the first.",
                ),
            ),
        ),
        Row(
            11,
            (
                XY(
                    "Orders by day",
                    _ORDERS,
                    "bar_stacked",
                    by_value(_orders, "customer_kind", _KINDS),
                    over=_DAYS,
                    about="net orders, first ones and later ones.",
                ),
                XY(
                    "Average order by week",
                    _ORDERS,
                    "line",
                    (ratio("Average order", _net, _orders, format="money", colour=NEUTRAL),),
                    over=OverTime("1w", "Week"),
                    about="net revenue / net orders of each week; the first and the last may not be whole.",
                ),
            ),
        ),
        Row(10, (_by("country", "Country"), _by("channel", "Channel"))),
        Row(
            17,
            (
                Table(
                    "Net revenue by category",
                    _SALES,
                    (Terms("category", "Category", size=50),),
                    (
                        total("revenue", "Net revenue", format="amount"),
                        share(total("revenue", "Net revenue"), "Share"),
                        total("units", "Units", format="whole"),
                        ratio("Refunded", total("refunds", ""), Computed("add", (_net, total("refunds", "")), "")),
                    ),
                    widths={"Share": 80, "Units": 80, "Refunded": 100},
                    about="by the lines of the orders; *Refunded* is the share of revenue before refunds.",
                ),
                XY(
                    "New and returning customers",
                    _ORDERS,
                    "bar_percentage_stacked",
                    by_value(_net, "customer_kind", _KINDS),
                    over=OverTime("1M", "Month"),
                    about="share of net revenue from first orders and from later ones, by month.",
                ),
            ),
        ),
        Row(
            9,
            (
                XY(
                    "What people do, live",
                    EVENTS,
                    "bar_stacked",
                    (
                        count("Views", "event_type: view", FAINT),
                        count("Carts", "event_type: cart", SECOND),
                        count("Purchases", _BOUGHT, NEUTRAL),
                    ),
                    over=OverTime("auto", "Time"),
                    about="live; events by when they happened.",
                ),
            ),
        ),
    ),
)
