"""Board "Churn risk": who is likely to stop buying, what they are worth, and what to do about it."""

from typing import Final

from kibana.data_views import CUSTOMERS, RISK
from kibana.shapes import (
    HIGH,
    XY,
    Board,
    Cases,
    Control,
    Donut,
    Metric,
    OverTime,
    Row,
    Table,
    Terms,
    average,
    by_band,
    count,
    highest,
    total,
    unique,
)

NOTE: Final = """\
**Risk** is the probability, as estimated by the model, that a customer makes no order in the next 90 days. \
**Risk band**: low below 1/3, medium from 1/3, high from 2/3; a band is left only when the risk is clearly beyond its \
limit. Customers of whom too little is known are not scored and count in no number here.

A customer counts when the time range above holds the moment of their latest card. Money is in the shop's currency, \
all times are UTC. The lists at the top filter the whole board."""

_MOVED: Final = "risk_band: high and band_change_why: *"
_TENURE: Final = Cases(
    "Customer for",
    (
        ("up to 90 days", "tenure_days < 90"),
        ("90 to 180 days", "tenure_days >= 90 and tenure_days < 180"),
        ("180 to 270 days", "tenure_days >= 180 and tenure_days < 270"),
        ("270 to 365 days", "tenure_days >= 270 and tenure_days < 365"),
        ("more than a year", "tenure_days >= 365"),
    ),
)

_TILES: Final = (
    Metric(
        "Customers scored",
        CUSTOMERS,
        count("Customers scored", "risk: *"),
        subtitle="with a known risk",
        about="customers with a known risk.",
    ),
    Metric(
        "At high risk",
        CUSTOMERS,
        count("At high risk", "risk_band: high", colour=HIGH),
        subtitle="risk of 2/3 and more",
        about="customers in the band high.",
    ),
    Metric(
        "Money at stake",
        CUSTOMERS,
        total("money_at_stake", "Money at stake", format="amount"),
        subtitle="a year's revenue x risk",
        about="net revenue of the last 365 days x risk, over all customers: what of a year's revenue is expected to "
        "be lost if nobody does anything.",
    ),
    Metric(
        "At stake at high risk",
        CUSTOMERS,
        total("money_at_stake", "At stake at high risk", "risk_band: high", format="amount", colour=HIGH),
        subtitle="the part held by high risk",
        about="the part of the money at stake that customers at high risk hold.",
    ),
    Metric(
        "Average risk",
        CUSTOMERS,
        average("risk", "Average risk", format="percent"),
        subtitle="of all customers scored",
        about="mean of the probabilities: of 100 customers with an average of 40 % about 40 are expected to stay away.",
    ),
)

_LIST: Final = Table(
    "Customers at highest risk",
    CUSTOMERS,
    (
        Terms("customer_id", "Customer", size=100),
        Terms("segment", "Segment", size=1, by=None),
        Terms("action", "What to do", size=1, by=None),
        Terms("top_reason", "Main reason", size=1, by=None),
    ),
    (
        highest("risk", "Risk", format="percent"),
        highest("money_at_stake", "At stake", format="money"),
        highest("monetary", "Revenue of a year", format="money"),
        highest("recency_days", "Days since order", format="whole"),
    ),
    widths={
        "Customer": 140,
        "Segment": 120,
        "What to do": 410,
        "Main reason": 350,
        "Risk": 80,
        "At stake": 90,
        "Revenue of a year": 100,
        "Days since order": 110,
    },
    shades={"Risk": "risk"},
    about="the 100 riskiest, with the recommended action by segment and band, and the reason that weighs most; "
    "*Revenue of a year* is net, over the last 365 days; a fully refunded order does not count as an order.",
)

CHURN_RISK: Final = Board(
    id="churn-risk",
    title="Churn risk",
    description="Who is likely to stop buying, what they are worth, and what to do about it.",
    time_from="now-30d/d",
    controls=(
        Control(CUSTOMERS, "segment", "Segment"),
        Control(CUSTOMERS, "risk_band", "Risk band"),
        Control(CUSTOMERS, "country", "Country"),
        Control(CUSTOMERS, "channel", "Channel"),
    ),
    note=NOTE,
    rows=(
        Row(5, _TILES, widths=(9, 9, 10, 10, 10)),
        Row(
            11,
            (
                Donut(
                    "Customers by risk band",
                    CUSTOMERS,
                    by_band(count("Customers")),
                    about="each scored customer once, in the band of the latest card.",
                ),
                XY(
                    "Risk bands by day",
                    RISK,
                    "bar_percentage_stacked",
                    by_band(unique("customer_id", "Customers")),
                    over=OverTime("1d", "Day"),
                    about="of each day, every customer scored on it, in the band of that day; who changed it on that "
                    "day counts in both.",
                ),
                XY(
                    "Moved into high risk",
                    RISK,
                    "bar",
                    (unique("customer_id", "Customers", colour=HIGH),),
                    over=OverTime("1d", "Day"),
                    where=_MOVED,
                    about="customers whose band became high on that day.",
                ),
            ),
            widths=(12, 18, 18),
        ),
        Row(
            14,
            (
                Table(
                    "Why they moved into high risk",
                    RISK,
                    (Terms("top_driver", "What weighs most", size=10),),
                    (
                        unique("customer_id", "Customers"),
                        total("money_at_stake", "At stake", format="amount"),
                    ),
                    where=_MOVED,
                    widths={"Customers": 140, "At stake": 110},
                    about="the moves of the time range by the fact that weighs most in the new risk, and the money at "
                    "stake at the moment of the moves.",
                ),
                XY(
                    "Risk by segment",
                    CUSTOMERS,
                    "bar_horizontal_stacked",
                    by_band(count("Customers")),
                    over=Terms("segment", "Segment", size=15),
                    about="customers by RFM segment (how lately and how often they bought) and band.",
                ),
            ),
        ),
        Row(
            10,
            (
                XY(
                    "Risk by time as a customer",
                    CUSTOMERS,
                    "bar_stacked",
                    by_band(count("Customers")),
                    over=_TENURE,
                    about="customers by the time since they signed up or were first seen.",
                ),
                Table(
                    "Risk by country",
                    CUSTOMERS,
                    (Terms("country", "Country", size=50),),
                    (
                        count("Customers", "risk: *"),
                        count("At high risk", "risk_band: high"),
                        average("risk", "Average risk", format="percent"),
                        total("money_at_stake", "At stake", format="amount"),
                    ),
                    about="customers by the country last seen.",
                ),
            ),
        ),
        Row(18, (_LIST,)),
    ),
)
