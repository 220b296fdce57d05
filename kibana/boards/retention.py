"""Board "Retention": how many customers of a month still buy later, and who comes, stays and goes."""

from typing import Final

from churn.analysis_tables import COHORTS, LIFECYCLE_MONTHLY
from kibana.data_views import of_table
from kibana.shapes import (
    FAINT,
    NEUTRAL,
    SECOND,
    THIRD,
    XY,
    Board,
    Control,
    Heatmap,
    Metric,
    OverTime,
    Row,
    Table,
    Terms,
    by_value,
    ratio,
    total,
)

NOTE: Final = """\
A **cohort** are the customers whose first net order fell in the same month. *Retention* in month n is the share of \
them with an order in the n-th month after it; *rolling* retention the share with an order in that month or any later \
one. Month 0 is the month of the first order. Months that are not over are left out, not averaged in.

**Lifecycle** of a month: *new* made their first order, *returning* also bought the month before, *resurrecting* \
bought earlier but not the month before, *dormant* bought the month before and not in this one. All numbers come from \
the analysis, which runs once a day. *Country* is the customer's."""

_COHORTS: Final = of_table(COHORTS)
_LIFECYCLE: Final = of_table(LIFECYCLE_MONTHLY)
_STATES: Final = {"returning": NEUTRAL, "new": SECOND, "resurrecting": THIRD, "dormant": FAINT}
_BUYING: Final = {state: colour for state, colour in _STATES.items() if state != "dormant"}
_MATURE: Final = "is_mature: true"
_customers = total("customers", "Customers", format="whole")
_active = total("active", "Active", format="whole")
_rolling = total("rolling", "Active or later", format="whole")
_revenue = total("revenue", "Net revenue", format="amount")
_ACROSS: Final = Terms("month_number", "Months since the first order", size=36, by=None, is_number=True)
_DOWN: Final = Terms("cohort", "Cohort", size=36, by=None)
_LATER: Final = "month_number >= 1"


def _after(months: int) -> Metric:
    title = f"Retention after {months} month{'s' if months > 1 else ''}"
    return Metric(
        title,
        _COHORTS,
        ratio(title, _active, _customers),
        where=f"month_number: {months}",
        subtitle="with an order in that month",
        about=f"customers with an order in month {months} / customers of the cohorts old enough.",
    )


RETENTION: Final = Board(
    id="retention",
    title="Retention",
    description="How many customers of a month still buy later, and who comes, stays and goes.",
    time_from="now-2y/d",
    controls=(Control(_COHORTS, "country", "Country"),),
    note=NOTE,
    rows=(
        Row(5, (_after(1), _after(3), _after(6))),
        Row(
            16,
            (
                Heatmap(
                    "Retention by cohort",
                    _COHORTS,
                    _ACROSS,
                    _DOWN,
                    ratio("Retention", _active, _customers),
                    where=_LATER,
                    about="rows are cohorts, columns months since the first order.",
                ),
                Heatmap(
                    "Rolling retention by cohort",
                    _COHORTS,
                    _ACROSS,
                    _DOWN,
                    ratio("Rolling retention", _rolling, _customers),
                    where=_LATER,
                    about="the same with an order in that month or later; the newest months are low because little of "
                    "*later* is over.",
                ),
            ),
        ),
        Row(
            14,
            (
                XY(
                    "Retention curve",
                    _COHORTS,
                    "line",
                    (
                        ratio("Retention", _active, _customers, colour=NEUTRAL),
                        ratio("Rolling retention", _rolling, _customers, colour=SECOND),
                    ),
                    over=_ACROSS,
                    where=_LATER,
                    about="all cohorts together, of each month those that are old enough.",
                ),
                Table(
                    "Revenue by cohort",
                    _COHORTS,
                    (_DOWN,),
                    (
                        total("revenue", "Net revenue", format="amount"),
                        total("customers", "Customers", "month_number: 0", format="whole"),
                        total("orders", "Orders", format="whole"),
                        ratio("Average order", total("revenue", ""), total("orders", ""), format="money"),
                        ratio(
                            "Revenue each",
                            total("revenue", ""),
                            total("customers", "", "month_number: 0"),
                            format="money",
                        ),
                    ),
                    about="net revenue so far, orders and what an order and a customer brought.",
                ),
            ),
        ),
        Row(
            12,
            (
                XY(
                    "Lifecycle by month",
                    _LIFECYCLE,
                    "bar_stacked",
                    by_value(_customers, "state", _STATES),
                    over=OverTime("1M", "Month"),
                    where=_MATURE,
                    about="customers in each state, of months that are over; the dormant ones did not buy.",
                ),
                XY(
                    "Revenue by lifecycle",
                    _LIFECYCLE,
                    "bar_stacked",
                    by_value(_revenue, "state", _BUYING),
                    over=OverTime("1M", "Month"),
                    where=_MATURE,
                    about="net revenue of the month by the state of the customer.",
                ),
            ),
        ),
    ),
)
