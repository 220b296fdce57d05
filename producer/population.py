"""What is the same for all simulated customers: the distributions of their rates, chances and spend."""

from typing import Final, NamedTuple

from churn.purchase_process import Conversion, Process, Spend

MORE_LINES_MEAN: Final = 0.8
MAX_LINES: Final = 4


class Population(NamedTuple):
    """`visits` and `conversion` count in operational days, `spend` in major units of money per order."""

    visits: Process
    conversion: Conversion  # the chance that a visit is an order
    spend: Spend
    views_more: float  # mean views of a visit beyond the first
    refunds: float  # chance that one line of an order is sent back
    kept: float  # chance that an order is not sent back altogether
    top_share: float  # of revenue, expected from the 20 % of customers who spend most
