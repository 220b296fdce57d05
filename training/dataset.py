"""From history to what a model learns from: feature rows as they were known at each cut-off, and what came after.

Every row is made by the fold, from events that had happened and had arrived by then, in the order of their arrival:
exactly what the live feature store held at that moment.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from churn import history, offline
from churn.events import Event, epoch_ms
from churn.features import LOOK_BACK_DAYS, MODEL_FEATURES, FeatureRow, feature_row, replay
from churn.forgotten import NOBODY, Forgotten
from churn.model import Floats, number
from churn.offline import Folded, Known
from training.split import HORIZON

# Shops close over holidays (12 days in the Online Retail data); a longer silence of everybody is missing data.
LONGEST_SILENCE_DAYS: Final = 14


class Sample(NamedTuple):
    """One customer at one cut-off, and what came of them."""

    t0: datetime
    row: FeatureRow
    has_churned: bool


class Samples(NamedTuple):
    """One row per customer and cut-off: `matrix` has the columns `MODEL_FEATURES`, `labels` 1 for churned."""

    customer_ids: NDArray[np.str_]
    cut_offs_ms: NDArray[np.int64]
    matrix: Floats
    labels: NDArray[np.int8]

    def where(self, chosen: NDArray[np.bool_]) -> "Samples":
        """The rows for which `chosen` is true."""
        return Samples(self.customer_ids[chosen], self.cut_offs_ms[chosen], self.matrix[chosen], self.labels[chosen])

    def columns(self, names: Sequence[str]) -> Floats:
        """(n, names): these features."""
        return self.matrix[:, [MODEL_FEATURES.index(name) for name in names]]

    def at(self, *moments: datetime) -> "Samples":
        """The rows of these cut-offs."""
        return self.where(np.isin(self.cut_offs_ms, [epoch_ms(moment) for moment in moments]))


class HistoryHasHole(Exception):
    """Events of many days are missing: who bought in those days would be taken for churned."""


class Dataset(NamedTuple):
    """`samples` of all cut-offs, and `buyers`: one row at the end of the history per customer with a net order."""

    samples: Samples
    buyers: Floats


def span(table: Any) -> tuple[datetime, datetime]:
    """When the first and the last event of a history happened."""
    ends = pc.min_max(table["occurred_at"]).as_py()
    return ends["min"].astimezone(UTC), ends["max"].astimezone(UTC)


def require_no_hole(table: Any) -> None:
    """Raises `HistoryHasHole` where nobody did anything for more than `LONGEST_SILENCE_DAYS`."""
    days = np.unique(table["occurred_at"].to_numpy().astype("datetime64[D]"))
    gaps = np.diff(days).astype(int)
    if len(gaps) and gaps.max() > LONGEST_SILENCE_DAYS:
        place = int(gaps.argmax())
        raise HistoryHasHole(
            f"the history has no event between {days[place]} and {days[place + 1]}, {gaps[place]} days: whoever bought "
            "then would be taken for churned; complete it, or train on one side of the hole only"
        )


def sha256_of(table: Any) -> str:
    """The fingerprint of a history: the same events give the same one, however they lie in files."""
    return hashlib.sha256(offline.as_bytes(table)).hexdigest()


_KEYS: Final = [("customer_id", pa.string()), ("cut_off_ms", pa.int64()), ("has_churned", pa.int8())]
_SCHEMA: Final = pa.schema([*_KEYS, *((name, pa.float64()) for name in MODEL_FEATURES)])


def build(
    table: Any,
    cut_offs: Sequence[datetime],
    *,
    processes: int,
    on_folded: Callable[[int], object] = lambda _: None,
    spark_history: Path | None = None,
    forgotten: Forgotten = NOBODY,
) -> Dataset:
    """Samples at `cut_offs`, whose label windows must be over. `on_folded` is told of events as they are done.

    `spark_history` is the directory of the same history where Spark is to fold it, with the same result, without those
    who are `forgotten`; `table` is without them already.
    """
    _, last = span(table)
    work = partial(_fold_customers, cut_offs=tuple(sorted(cut_offs)), as_of=last)
    if spark_history is not None:
        return _as_dataset(offline.on_spark(spark_history, work, _SCHEMA, forgotten))
    return _as_dataset(pa.concat_tables(offline.in_processes(table, work, processes, on_folded)))


def _fold_customers(table: Any, *, cut_offs: tuple[datetime, ...], as_of: datetime) -> Any:
    """Samples of whole customers as a table of `_SCHEMA`; a buyer's row at `as_of` has neither cut-off nor label."""
    keys: list[tuple[str, int | None, int | None]] = []
    rows: list[FeatureRow] = []
    for customer_id, events in history.by_customer(table):
        samples, latest = customer_rows(events, cut_offs, as_of)
        keys += [(customer_id, epoch_ms(sample.t0), int(sample.has_churned)) for sample in samples]
        rows += [sample.row for sample in samples]
        if latest["orders_total"]:
            keys.append((customer_id, None, None))
            rows.append(latest)
    columns = [pa.array([key[place] for key in keys], kind) for place, (_, kind) in enumerate(_KEYS)]
    columns += [pa.array([number(row[name]) for row in rows], pa.float64()) for name in MODEL_FEATURES]
    return pa.table(columns, schema=_SCHEMA)


def _as_dataset(folded: Any) -> Dataset:
    folded = folded.sort_by([("customer_id", "ascending"), ("cut_off_ms", "ascending")])
    at_end = pc.is_null(folded["cut_off_ms"])
    sampled = folded.filter(pc.invert(at_end))
    samples = Samples(
        np.array(sampled["customer_id"].to_pylist(), dtype=np.str_),
        sampled["cut_off_ms"].to_numpy(),
        _matrix(sampled),
        sampled["has_churned"].to_numpy(),
    )
    return Dataset(samples, _matrix(folded.filter(at_end)))


def _matrix(table: Any) -> Floats:
    """The features of a table's rows."""
    columns = [table[name].to_numpy() for name in MODEL_FEATURES]
    return np.column_stack(columns).astype(np.float64)


def customer_rows(
    events: Sequence[tuple[Event, datetime]], cut_offs: Sequence[datetime], as_of: datetime
) -> tuple[list[Sample], FeatureRow]:
    """One customer's samples at the sorted `cut_offs` where they belong to the population, and their row at `as_of`.

    The population at t0: at least one net order in (t0 - 365 d, t0]. Churned: no net order in (t0, t0 + 90 d], judged
    by all events that happened by then, also those that arrived later.
    """
    known = offline.by_arrival(events)
    folded = offline.fold_up_to(known, sorted({as_of, *cut_offs, *(t0 + HORIZON for t0 in cut_offs)}))
    samples = []
    for t0 in cut_offs:
        row = feature_row(folded[t0].state, t0)
        recency_days = row["recency_days"]
        if isinstance(recency_days, float) and recency_days < LOOK_BACK_DAYS:
            samples.append(Sample(t0, row, _has_churned(folded[t0 + HORIZON], known, t0)))
    return samples, feature_row(folded[as_of].state, as_of)


def _has_churned(at_end: Folded, known: Sequence[Known], t0: datetime) -> bool:
    end = t0 + HORIZON
    late = (event for _, occurred_at, _, event in known[at_end.folded :] if occurred_at <= end)
    last_order_ms = feature_row(replay(late, at_end.state), end)["last_purchase_at"]
    return not (isinstance(last_order_ms, int) and last_order_ms > epoch_ms(t0))
