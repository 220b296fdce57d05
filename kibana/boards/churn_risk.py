"""Board "Churn risk": who is likely to stop buying, what they are worth, and what to do about it."""

from typing import Final

from kibana.data_views import CUSTOMERS, RISK
from kibana.shapes import (
    HIGH,
    XY,
    Board,
    Control,
    Metric,
    Note,
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
**Customers scored** have a risk: the probability, as estimated by the model, that they make no order in the next 90 \
days. Customers of whom too little is known are not scored and count in no number here.

**Risk band**: low below 1/3, medium from 1/3, high from 2/3. The average risk is the mean of the probabilities, so in \
a group of 100 customers with an average of 40 % about 40 are expected to stay away.

**Revenue of the last year** is net: gross less discounts and refunds, over the 365 days before the card was made. \
**At stake** is that revenue times the risk: what of a year's revenue is expected to be lost if nobody does anything.

**Days since order** count from the last net order; a fully refunded order does not count. **Segments** compare \
recency and frequency with all customers (RFM). The **reason** is what weighs most in the customer's risk.

**Risk bands by day** counts, for each day, every customer that was scored on it, in the band of that day.

A customer appears when the time range above holds the moment of their latest card; all times are UTC. The lists of \
values at the top filter the whole board.
"""

CHURN_RISK: Final = Board(
    id="churn-risk",
    title="Churn risk",
    description="Who is likely to stop buying, what they are worth, and what to do about it.",
    time_from="now-1y",
    controls=(
        Control(CUSTOMERS, "segment", "Segment"),
        Control(CUSTOMERS, "risk_band", "Risk band"),
        Control(CUSTOMERS, "country", "Country"),
        Control(CUSTOMERS, "channel", "Channel"),
    ),
    rows=(
        Row(
            6,
            (
                Metric("Customers scored", CUSTOMERS, count("Customers scored", "risk: *")),
                Metric(
                    "Customers at high risk", CUSTOMERS, count("Customers at high risk", "risk_band: high", colour=HIGH)
                ),
                Metric(
                    "Revenue of the last year held by high risk",
                    CUSTOMERS,
                    total("monetary", "Revenue of the last year held by high risk", "risk_band: high", colour=HIGH),
                ),
                Metric("Average risk", CUSTOMERS, average("risk", "Average risk", format="percent")),
            ),
        ),
        Row(
            13,
            (
                XY("Customers by risk band", CUSTOMERS, "bar_horizontal", by_band(count("Customers"))),
                XY(
                    "Risk bands by day",
                    RISK,
                    "bar_percentage_stacked",
                    by_band(unique("customer_id", "Customers")),
                    over=OverTime("1d", "Day"),
                ),
            ),
            widths=(16, 32),
        ),
        Row(
            14,
            (
                XY(
                    "Risk bands by segment",
                    CUSTOMERS,
                    "bar_horizontal_stacked",
                    by_band(count("Customers")),
                    over=Terms("segment", "Segment", size=15),
                ),
                Table(
                    "Countries",
                    CUSTOMERS,
                    (Terms("country", "Country", size=50),),
                    (
                        count("Customers", "risk: *"),
                        count("At high risk", "risk_band: high"),
                        average("risk", "Average risk", format="percent"),
                        total("money_at_stake", "At stake"),
                    ),
                ),
            ),
        ),
        Row(
            18,
            (
                Table(
                    "Customers at highest risk",
                    CUSTOMERS,
                    (
                        Terms("customer_id", "Customer", size=100),
                        Terms("segment", "Segment", size=1, by=None),
                        Terms("action", "What to do", size=1, by=None),
                        Terms("top_reason", "Reason", size=1, by=None),
                    ),
                    (
                        highest("risk", "Risk", format="percent"),
                        highest("monetary", "Revenue of the last year", format="money"),
                        highest("money_at_stake", "At stake", format="money"),
                        highest("recency_days", "Days since order"),
                    ),
                    where="risk: *",
                ),
            ),
        ),
        Row(12, (Note("What the numbers mean", NOTE),)),
    ),
)
