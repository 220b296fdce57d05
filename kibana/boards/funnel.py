"""Board "Funnel and carts": where people who look do not buy, how long they take, and what to do about it."""

from dataclasses import replace
from typing import Final

from churn.analysis_tables import CARTS_DAILY, FUNNEL_DAILY, FUNNEL_LEAKS, FUNNEL_PRODUCTS, FUNNEL_TIMES
from kibana.data_views import of_table
from kibana.shapes import (
    FAINT,
    NEUTRAL,
    SECOND,
    THIRD,
    XY,
    Board,
    Computed,
    Control,
    Metric,
    OverTime,
    Row,
    Table,
    Terms,
    highest,
    ratio,
    total,
)

NOTE: Final = """\
The unit is a **journey**: one customer and one product, from the first view; put into the cart and bought count when \
they follow within 30 days of the view. Rates use only days whose 30 days are over. A purchase with no view seen \
before has a bar of its own.

A **cart** starts with the first product put into an empty cart. It is *abandoned* when left alone for 24 hours \
without a purchase, and *recovered* when bought later, within 30 days; rates use only days whose carts have had their \
24 hours. All numbers come from the analysis, which runs once a day. Those by product, and of the largest leaks and \
times, are over the whole history."""

_DAILY: Final = of_table(FUNNEL_DAILY)
_PRODUCTS: Final = of_table(FUNNEL_PRODUCTS)
_TIMES: Final = of_table(FUNNEL_TIMES)
_LEAKS: Final = of_table(FUNNEL_LEAKS)
_CARTS: Final = of_table(CARTS_DAILY)
_MATURE: Final = "is_mature: true"
_WEEKS: Final = OverTime("1w", "Week")

_viewed = total("viewed", "Viewed", format="whole", colour=FAINT)
_carted = total("carted", "Put into the cart", format="whole", colour=SECOND)
_purchased = total("purchased", "Bought", format="whole", colour=NEUTRAL)
_started = total("started", "Started", format="whole")
_abandoned = total("abandoned", "Abandoned", format="whole")
_recovered = total("recovered", "Recovered", format="whole")
_ENDED: Final = "@timestamp < now-31d"
_RECOVERY: Final = ratio(
    "Of these, recovered",
    total("recovered", "", _ENDED, format="whole"),
    total("abandoned", "", _ENDED, format="whole"),
    colour=NEUTRAL,
)
_RATES: Final = (
    ratio("View → cart", _carted, _viewed, colour=SECOND),
    ratio("Cart → purchase", _purchased, _carted, colour=THIRD),
    ratio("View → purchase", _purchased, _viewed, colour=NEUTRAL),
)


def _by(field: str, label: str) -> Table:
    return Table(
        f"Funnel by {label.lower()}",
        _DAILY,
        (Terms(field, label, size=50),),
        (_viewed, *_RATES),
        where=_MATURE,
        shades={"View → purchase": "more"},
        about=f"journeys viewed and the rates of each step, by {label.lower()}.",
    )


_LARGEST_LEAKS: Final = Table(
    "Largest leaks by category, and what to do",
    _LEAKS,
    (
        Terms("category", "Category", size=30),
        Terms("largest_leak", "Largest leak", size=1, by=None),
        Terms("intervention", "What to do", size=1, by=None),
    ),
    (
        highest("money_lost", "Could bring", format="amount"),
        highest("lost", "Journeys lost", format="whole"),
        highest("viewed", "Viewed", format="whole"),
    ),
    where="not category: all",
    widths={"Category": 130, "Largest leak": 140, "What to do": 720, "Journeys lost": 110, "Viewed": 90},
    about="the step that costs most; *Journeys lost* are those beyond what the best category loses there, *Could "
    "bring* is what they would be worth.",
)

_LEAKING_PRODUCTS: Final = Table(
    "Products that lose most journeys, and what to do",
    _PRODUCTS,
    (
        Terms("product_name", "Product", size=50),
        Terms("largest_leak", "Largest leak", size=1, by=None),
        Terms("intervention", "What to do", size=1, by=None),
    ),
    (
        total("lost", "Journeys lost", format="whole"),
        _viewed,
        ratio("View → purchase", _purchased, _viewed),
    ),
    widths={
        "Product": 180,
        "Largest leak": 140,
        "What to do": 740,
        "Journeys lost": 130,
        "Viewed": 90,
        "View → purchase": 110,
    },
    about="journeys that end at the product's largest leak.",
)
_TIME_TO_ACT: Final = Table(
    "Time to act",
    _TIMES,
    (Terms("category", "Category", size=30, by=None), Terms("step", "Step", size=2, by=None)),
    (
        highest("median_s", "Median", format="duration"),
        highest("p90_s", "90 % within", format="duration"),
        highest("journeys", "Journeys", format="whole"),
    ),
    where="not category: all",
    sort_by=None,
    about="how long journeys took from the view to the cart, and from the cart to the purchase.",
)

FUNNEL: Final = Board(
    id="funnel",
    title="Funnel and carts",
    description="Where people who look do not buy, how long they take, and what to do about it.",
    time_from="now-1y/d",
    controls=(Control(_DAILY, "category", "Category"),),
    note=NOTE,
    rows=(
        Row(
            5,
            (
                Metric(
                    "View → purchase",
                    _DAILY,
                    ratio("View → purchase", _purchased, _viewed),
                    where=_MATURE,
                    subtitle="of journeys viewed",
                    about="journeys bought / journeys viewed.",
                ),
                Metric(
                    "View → cart",
                    _DAILY,
                    ratio("View → cart", _carted, _viewed),
                    where=_MATURE,
                    subtitle="of journeys viewed",
                    about="journeys put into the cart / journeys viewed.",
                ),
                Metric(
                    "Cart → purchase",
                    _DAILY,
                    ratio("Cart → purchase", _purchased, _carted),
                    where=_MATURE,
                    subtitle="of those in the cart",
                    about="journeys bought / journeys put into the cart.",
                ),
                Metric(
                    "Carts abandoned",
                    _CARTS,
                    ratio("Carts abandoned", _abandoned, _started),
                    where=_MATURE,
                    subtitle="left alone for 24 hours",
                    about="carts abandoned / carts started.",
                ),
                Metric(
                    "Of these, recovered",
                    _CARTS,
                    replace(_RECOVERY, colour=None),
                    where=_MATURE,
                    subtitle="bought within 30 days",
                    about="carts recovered / carts abandoned, of those begun over 31 days ago: recovery may take 30.",
                ),
                Metric(
                    "Left in carts",
                    _CARTS,
                    total("value_left", "Left in carts", format="amount"),
                    where=_MATURE,
                    subtitle="value of carts never bought",
                    about="price x quantity left in carts that were abandoned and not recovered.",
                ),
            ),
        ),
        Row(
            11,
            (
                XY(
                    "From view to purchase",
                    _DAILY,
                    "bar_horizontal",
                    (
                        _viewed,
                        _carted,
                        _purchased,
                        total("purchased_without_cart", "Bought without a cart", format="whole", colour=THIRD),
                        total("purchased_without_view", "Bought with no view seen", format="whole", colour="#D6BF57"),
                    ),
                    where=_MATURE,
                    about="journeys that reached each step.",
                ),
                XY(
                    "Rates of the steps by week",
                    _DAILY,
                    "line",
                    _RATES,
                    over=_WEEKS,
                    where=_MATURE,
                    about="by the week of the first view.",
                ),
            ),
        ),
        Row(17, (_LARGEST_LEAKS,)),
        Row(17, (_by("category", "Category"), _TIME_TO_ACT)),
        Row(10, (_by("channel", "Channel"), _by("country", "Country"))),
        Row(18, (_LEAKING_PRODUCTS,)),
        Row(
            11,
            (
                XY(
                    "Carts by week",
                    _CARTS,
                    "bar_stacked",
                    (
                        total("bought", "Bought", format="whole", colour=NEUTRAL),
                        total("emptied", "Emptied", format="whole", colour="#D6BF57"),
                        Computed("subtract", (_abandoned, _recovered), "Abandoned for good", "whole", FAINT),
                    ),
                    over=_WEEKS,
                    where=_MATURE,
                    about="carts by the week in which they began; *Bought* are recovered ones too.",
                ),
                XY(
                    "Abandonment and recovery by week",
                    _CARTS,
                    "line",
                    (
                        ratio("Abandoned", _abandoned, _started, colour=SECOND),
                        _RECOVERY,
                    ),
                    over=_WEEKS,
                    where=_MATURE,
                    about="shares of the carts started, and of the carts abandoned; the latter ends 31 days ago.",
                ),
            ),
        ),
    ),
)
