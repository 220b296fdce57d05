"""From history to what a model learns from: feature rows as they were known at each cut-off, and what came after.

Every row is made by the fold, from events that had happened and had arrived by then, in the order of their arrival:
exactly what the live feature store held at that moment.
"""

import hashlib
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from operator import itemgetter
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from churn import history
from churn.events import Event, epoch_ms
from churn.features import LOOK_BACK_DAYS, MODEL_FEATURES, FeatureRow, feature_row, replay, update
from churn.model import Floats, rows_to_matrix
from churn.state import EMPTY, State
from training.split import HORIZON

# Below this, starting the processes takes longer than the fold.
PARALLEL_FROM_EVENTS: Final = 150_000
SHARDS_PER_PROCESS: Final = 8

_Known = tuple[datetime, datetime, str, Event]


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

    def at(self, *moments: datetime) -> "Samples":
        """The rows of these cut-offs."""
        return self.where(np.isin(self.cut_offs_ms, [epoch_ms(moment) for moment in moments]))


class Dataset(NamedTuple):
    """`samples` of all cut-offs, and `buyers`: one row at the end of the history per customer with a net order."""

    samples: Samples
    buyers: Floats


def span(table: Any) -> tuple[datetime, datetime]:
    """When the first and the last event of a history happened."""
    ends = pc.min_max(table["occurred_at"]).as_py()
    return ends["min"].astimezone(UTC), ends["max"].astimezone(UTC)


def sha256_of(table: Any) -> str:
    """The fingerprint of a history: the same events give the same one, however they lie in files."""
    return hashlib.sha256(_packed(table)).hexdigest()


def _packed(table: Any) -> bytes:
    """The table's own rows as bytes; pickling a slice would take the whole table along."""
    written = pa.BufferOutputStream()
    with pa.ipc.new_stream(written, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    packed: bytes = written.getvalue().to_pybytes()
    return packed


def build(
    table: Any, cut_offs: Sequence[datetime], *, processes: int, on_folded: Callable[[int], object] = lambda _: None
) -> Dataset:
    """Samples at `cut_offs`, whose label windows must be over. `on_folded` is told of events as they are done."""
    _, last = span(table)
    shards = _shards(table, processes * SHARDS_PER_PROCESS)
    fold = partial(_fold_shard, cut_offs=tuple(sorted(cut_offs)), as_of=last)
    parts: dict[int, Dataset] = {}
    if processes > 1 and table.num_rows >= PARALLEL_FROM_EVENTS:
        # Spawned, not forked: Arrow's threads do not survive a fork.
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            running = {pool.submit(fold, _packed(shard)): place for place, shard in enumerate(shards)}
            for done in as_completed(running):
                parts[running[done]] = done.result()
                on_folded(shards[running[done]].num_rows)
    else:
        for place, shard in enumerate(shards):
            parts[place] = fold(_packed(shard))
            on_folded(shard.num_rows)
    return _joined([parts[place] for place in range(len(shards))])


def _shards(table: Any, count: int) -> list[Any]:
    """The table in about `count` pieces; no customer lies in two."""
    ids = table["customer_id"].combine_chunks()
    if isinstance(ids, pa.ChunkedArray):
        ids = pa.concat_arrays(ids.chunks)
    starts = np.flatnonzero(pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)) + 1
    wanted = np.linspace(0, table.num_rows, count + 1)[1:-1]
    after = np.searchsorted(starts, wanted)
    edges = [0, *np.unique(starts[after[after < len(starts)]]).tolist(), table.num_rows]
    return [table.slice(begin, end - begin) for begin, end in pairwise(edges)]


def _fold_shard(packed: bytes, *, cut_offs: tuple[datetime, ...], as_of: datetime) -> Dataset:
    ids: list[str] = []
    samples: list[Sample] = []
    buyers: list[FeatureRow] = []
    for customer_id, events in history.by_customer(pa.ipc.open_stream(packed).read_all()):
        own_samples, latest = customer_rows(events, cut_offs, as_of)
        samples.extend(own_samples)
        ids.extend([customer_id] * len(own_samples))
        if latest["orders_total"]:
            buyers.append(latest)
    columns = Samples(
        np.array(ids, dtype=np.str_),
        np.array([epoch_ms(sample.t0) for sample in samples], dtype=np.int64),
        rows_to_matrix([sample.row for sample in samples], MODEL_FEATURES),
        np.array([sample.has_churned for sample in samples], dtype=np.int8),
    )
    return Dataset(columns, rows_to_matrix(buyers, MODEL_FEATURES))


def _joined(parts: Sequence[Dataset]) -> Dataset:
    samples = Samples(
        np.concatenate([part.samples.customer_ids for part in parts]),
        np.concatenate([part.samples.cut_offs_ms for part in parts]),
        np.concatenate([part.samples.matrix for part in parts]),
        np.concatenate([part.samples.labels for part in parts]),
    )
    return Dataset(samples, np.concatenate([part.buyers for part in parts]))


def customer_rows(
    events: Sequence[tuple[Event, datetime]], cut_offs: Sequence[datetime], as_of: datetime
) -> tuple[list[Sample], FeatureRow]:
    """One customer's samples at the sorted `cut_offs` where they belong to the population, and their row at `as_of`.

    The population at t0: at least one net order in (t0 - 365 d, t0]. Churned: no net order in (t0, t0 + 90 d], judged
    by all events that happened by then, also those that arrived later.
    """
    known = _by_arrival(events)
    folded = _fold_up_to(known, sorted({as_of, *cut_offs, *(t0 + HORIZON for t0 in cut_offs)}))
    samples = []
    for t0 in cut_offs:
        row = feature_row(folded[t0].state, t0)
        recency_days = row["recency_days"]
        if isinstance(recency_days, float) and recency_days < LOOK_BACK_DAYS:
            samples.append(Sample(t0, row, _has_churned(folded[t0 + HORIZON], known, t0)))
    return samples, feature_row(folded[as_of].state, as_of)


class _Folded(NamedTuple):
    """The state after the first `folded` known events."""

    state: State
    folded: int


def _by_arrival(events: Sequence[tuple[Event, datetime]]) -> list[_Known]:
    """In the order in which the shop came to know: no event is known before it happened, nor before it arrived."""
    known = [(max(event.occurred_at, came), event.occurred_at, event.event_id, event) for event, came in events]
    return sorted(known, key=itemgetter(0, 1, 2))


def _fold_up_to(known: Sequence[_Known], moments: Sequence[datetime]) -> dict[datetime, _Folded]:
    """The state at each of the sorted moments, folding every event once."""
    folded: dict[datetime, _Folded] = {}
    state, count = EMPTY, 0
    for moment in moments:
        while count < len(known) and known[count][0] <= moment:
            state = update(state, known[count][3])
            count += 1
        folded[moment] = _Folded(state, count)
    return folded


def _has_churned(at_end: _Folded, known: Sequence[_Known], t0: datetime) -> bool:
    end = t0 + HORIZON
    late = (event for _, occurred_at, _, event in known[at_end.folded :] if occurred_at <= end)
    last_order_ms = feature_row(replay(late, at_end.state), end)["last_purchase_at"]
    return not (isinstance(last_order_ms, int) and last_order_ms > epoch_ms(t0))
