"""What came after a moment: net orders of each customer in some days from then on."""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.samples import DAY_MS, Samples
from churn.model import Floats

QUERY: Final = "SELECT customer_id, epoch_ms(ordered_at) AS at_ms, net_minor FROM orders WHERE is_net"


class Came(NamedTuple):
    """(n,) each: net orders, days with one, their value in major units, days to the first (NaN: none)."""

    orders: Floats
    days: Floats
    value: Floats
    first_days: Floats


class NetOrders(NamedTuple):
    """Net orders sorted by customer and time; those of customer `ids[k]` stand from `starts[k]` to `starts[k + 1]`."""

    ids: NDArray[np.str_]
    starts: NDArray[np.int64]
    at_ms: NDArray[np.int64]
    net: Floats

    @classmethod
    def of(cls, table: Any) -> "NetOrders":
        """From the rows of `QUERY`."""
        customers = np.array(table["customer_id"].to_pylist(), dtype=np.str_)
        at_ms, net = table["at_ms"].to_numpy(), table["net_minor"].to_numpy() / 100
        order = np.lexsort((at_ms, customers))
        ids, starts = np.unique(customers[order], return_index=True)
        return cls(ids, np.append(starts, len(customers)), at_ms[order], net[order])

    def after(self, asked: Samples, days: float, from_days: float = 0.0) -> Came:
        """Of each row of `asked` in the days (moment + from_days, moment + days]."""
        count = len(asked.customer_ids)
        came = Came(np.zeros(count), np.zeros(count), np.zeros(count), np.full(count, np.nan))
        if not len(self.ids):
            return came
        places = np.minimum(np.searchsorted(self.ids, asked.customer_ids), len(self.ids) - 1)
        for row in np.flatnonzero(self.ids[places] == asked.customer_ids).tolist():
            begin, end = self.starts[places[row]], self.starts[places[row] + 1]
            waits = (self.at_ms[begin:end] - asked.moments_ms[row]) / DAY_MS
            chosen = (waits > from_days) & (waits <= days)
            if chosen.any():
                came.orders[row] = chosen.sum()
                came.days[row] = len(np.unique(self.at_ms[begin:end][chosen] // DAY_MS))
                came.value[row] = self.net[begin:end][chosen].sum()
                came.first_days[row] = waits[chosen][0]
        return came
