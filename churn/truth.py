"""The hidden truth beside a simulated history: what was drawn, and what an observer of the whole past could know.

It lies in `_truth` within the history, where no reader of events looks. Models are compared with it, never fed with it.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyarrow import parquet

from churn import purchase_process
from churn.events import epoch_ms
from churn.purchase_process import Conversion, Floats, Histories, Process

FOLDER: Final = "_truth"
POPULATION, CUSTOMERS, VISITS, CLOCKS = "population.json", "customers.parquet", "visits.parquet", "clocks.parquet"
ORACLE, FAULTS = "oracle.parquet", "faults.parquet"
HORIZON: Final = timedelta(days=90)
LOOK_BACK: Final = timedelta(days=365)

Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]


class TruthMissing(FileNotFoundError):
    """There is no truth beside this history: it was not simulated."""


class Oracle(NamedTuple):
    """Arrays over the customers who had signed up by `as_of`.

    `p_no_order` is P(no net order in the 90 days after `as_of` | all visits and orders until then, the population);
    `is_buyer` whether there was a net order in the 365 days before; `has_ordered` whether one came in the 90 days after
    (False, too, where the history does not reach so far).
    """

    customer_ids: NDArray[np.str_]
    p_no_order: Floats
    is_buyer: Flags
    has_ordered: Flags


class Lived(NamedTuple):
    """What customers did: `arm` and `ids` are over customers, `days` (operational, over arms) over `edges_ms`.

    The others are over visits, sorted by customer and time: operational days, and whether the visit was an order and
    one that was not sent back altogether.
    """

    ids: NDArray[np.str_]
    arm: Whole
    customer: Whole
    at_ms: Whole
    visit_days: Floats
    is_order: Flags
    is_kept: Flags
    edges_ms: Whole
    days: Floats


class Truth(NamedTuple):
    """The population's parameters and everybody's visits, as an observer sees them."""

    visits: Process
    conversion: Conversion
    kept: float
    lived: Lived

    def oracle(self, as_of: datetime, horizon: timedelta = HORIZON) -> Oracle:
        """What could be known at `as_of` (aware). Raises `ValueError` where the clock does not reach to the horizon."""
        lived, now_ms, later_ms = self.lived, epoch_ms(as_of), epoch_ms(as_of + horizon)
        if not lived.edges_ms[0] <= now_ms <= later_ms <= lived.edges_ms[-1]:
            raise ValueError(f"{as_of.isoformat()} and {horizon.days} days more lie outside of the simulated time")
        is_past = lived.at_ms <= now_ms
        past, everybody = lived.customer[is_past], len(lived.ids)
        seen = np.bincount(past, minlength=everybody)
        is_known = seen > 0
        ends = np.cumsum(seen)[is_known] - 1
        days = lived.visit_days[is_past]
        first, last = days[ends - seen[is_known] + 1], days[ends]
        now, later = (self._clock(moment)[lived.arm[is_known]] for moment in (now_ms, later_ms))
        ages = np.maximum(now - first, last - first)  # equal but for rounding to milliseconds
        orders = np.bincount(lived.customer[is_past & lived.is_order], minlength=everybody)[is_known]
        p = purchase_process.p_none_marked(
            self.visits,
            self.conversion,
            Histories.of(seen[is_known] - 1, last - first, ages),
            orders,
            later - now,
            kept=self.kept,
        )
        before = self._bought(epoch_ms(as_of - LOOK_BACK), now_ms)[is_known]
        return Oracle(lived.ids[is_known], p, before, self._bought(now_ms, later_ms)[is_known])

    def _clock(self, moment_ms: int) -> Floats:
        """Operational days of each arm at a moment."""
        return np.array([np.interp(moment_ms, self.lived.edges_ms, days) for days in self.lived.days])

    def _bought(self, after_ms: int, until_ms: int) -> Flags:
        lived = self.lived
        chosen = lived.is_order & lived.is_kept & (after_ms < lived.at_ms) & (lived.at_ms <= until_ms)
        return np.bincount(lived.customer[chosen], minlength=len(lived.ids)) > 0


def read(history: Path) -> Truth:
    """The truth beside a history. Raises `TruthMissing`."""
    folder = history / FOLDER
    if not (folder / POPULATION).is_file():
        raise TruthMissing(f"no {FOLDER} in {history}: only simulated histories have one")
    drawn = json.loads((folder / POPULATION).read_text(encoding="utf-8"))["population"]
    customers = parquet.read_table(folder / CUSTOMERS, columns=["customer_id", "arm"])
    visits, clocks = parquet.read_table(folder / VISITS), parquet.read_table(folder / CLOCKS)
    lived = Lived(
        ids=np.array(customers["customer_id"].to_pylist(), dtype=np.str_),
        arm=customers["arm"].to_numpy(),
        customer=visits["customer"].to_numpy(),
        at_ms=_ms(visits["at"]),
        visit_days=visits["operational_days"].to_numpy(),
        is_order=visits["is_order"].to_numpy(),
        is_kept=visits["is_kept"].to_numpy(),
        edges_ms=_ms(clocks["hour"]),
        days=np.stack([column.to_numpy() for column in clocks.columns[1:]]),
    )
    return Truth(Process(**drawn["visits"]), Conversion(**drawn["conversion"]), drawn["kept"], lived)


def _ms(column: Any) -> Whole:
    values: Whole = column.cast("int64").to_numpy()
    return values


def cut_offs(start: datetime, until: datetime) -> list[datetime]:
    """Moments for which the oracle is written: the end, and the last midnight before it and every 90 days back."""
    midnight = (until - timedelta(milliseconds=1)).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    back = [midnight - HORIZON * step for step in range((midnight - start) // HORIZON + 1)]
    return sorted({until, *(moment for moment in back if moment > start)})
