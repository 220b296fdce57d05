"""What was known of every customer at some moments, by the fold, once for all predictive sections.

Three kinds of rows: at common cut-offs, at the customer's own 30th day, and the engagement of the 90 days after a
cut-off alone. No row sees what happened or arrived after its moment.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from churn import history, offline
from churn.events import epoch_ms
from churn.features import MODEL_FEATURES, FeatureRow, feature_row, replay
from churn.model import Floats, number
from churn.offline import Known

HORIZON: Final = timedelta(days=90)
EARLY: Final = timedelta(days=30)
LEAST_BEFORE: Final = timedelta(days=60)
TRAIN_EVERY: Final = timedelta(days=60)
MOST_TRAIN: Final = 4
DAY_MS: Final = 86_400_000

_KEYS: Final = [
    ("customer_id", pa.string()),
    ("is_early", pa.bool_()),
    ("moment_ms", pa.int64()),
    ("joined_ms", pa.int64()),
    ("engagement_next", pa.float64()),
]
_SCHEMA: Final = pa.schema([*_KEYS, *((name, pa.float64()) for name in MODEL_FEATURES)])


class Samples(NamedTuple):
    """One row per customer and moment. `matrix` has the columns `MODEL_FEATURES`; `joined_ms` is the first event.

    `engagement_next` is the engagement score of the 90 days after the moment alone, 0 where nothing happened, NaN for
    rows at the customer's own 30th day.
    """

    customer_ids: NDArray[np.str_]
    moments_ms: NDArray[np.int64]
    joined_ms: NDArray[np.int64]
    engagement_next: Floats
    matrix: Floats

    def where(self, chosen: NDArray[np.bool_]) -> "Samples":
        """The rows for which `chosen` is true."""
        return Samples(
            self.customer_ids[chosen],
            self.moments_ms[chosen],
            self.joined_ms[chosen],
            self.engagement_next[chosen],
            self.matrix[chosen],
        )

    def at(self, *moments: datetime) -> "Samples":
        """The rows of these cut-offs."""
        return self.where(np.isin(self.moments_ms, [epoch_ms(moment) for moment in moments]))

    def feature(self, name: str) -> Floats:
        """(n,): one feature, NaN where it is not known."""
        return np.asarray(self.matrix[:, MODEL_FEATURES.index(name)])


class Moments(NamedTuple):
    """Cut-offs at the same time of day, oldest first; the 90 days after each train one are over before the test."""

    train: tuple[datetime, ...]
    test: datetime
    end: datetime


class Sampled(NamedTuple):
    """All rows of a history; `moments` is None when it is too short for a later-in-time test."""

    moments: Moments | None
    at_cut_offs: Samples
    early: Samples


def choose(first: datetime, as_of: datetime) -> Moments | None:
    """A test whose 90 days end at the last midnight, and training cut-offs every 60 days before; None if too short."""
    end = as_of.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    test = end - HORIZON
    back = [test - HORIZON - TRAIN_EVERY * step for step in range(MOST_TRAIN)]
    train = tuple(sorted(moment for moment in back if moment >= first + LEAST_BEFORE))
    return Moments(train, test, end) if train else None


def sample(directory: Path, as_of: datetime, *, processes: int) -> Sampled:
    """Everything of a history as known at `as_of`. Raises `history.HistoryMissing`."""
    table = history.read(directory)
    known = np.maximum(table["occurred_at"].to_numpy(), table["ingested_at"].to_numpy())
    table = table.filter(pa.array(known.astype("datetime64[ms]").astype(np.int64) <= epoch_ms(as_of)))
    if not table.num_rows:
        nobody = _as_samples(_SCHEMA.empty_table())
        return Sampled(None, nobody, nobody)
    first = pa.compute.min(table["occurred_at"]).as_py().astimezone(UTC)
    moments = choose(first, as_of)
    cut_offs = (*moments.train, moments.test) if moments else ()
    work = partial(rows_of, cut_offs=cut_offs, as_of=as_of)
    found = pa.concat_tables(offline.in_processes(table, work, processes, lambda _: None))
    found = found.sort_by([("customer_id", "ascending"), ("moment_ms", "ascending")])
    return Sampled(
        moments,
        _as_samples(found.filter(pa.compute.invert(found["is_early"]))),
        _as_samples(found.filter(found["is_early"])),
    )


def rows_of(table: Any, cut_offs: Sequence[datetime], as_of: datetime) -> Any:
    """The rows of whole customers as a table of `_SCHEMA`."""
    keys: list[tuple[Any, ...]] = []
    rows: list[FeatureRow] = []
    for customer_id, events in history.by_customer(table):
        known = offline.by_arrival(events)
        joined = min(event.occurred_at for event, _ in events)
        grown = joined + EARLY
        folded = offline.fold_up_to(known, sorted({*cut_offs, *([grown] if grown <= as_of else [])}))
        for moment, (state, count) in folded.items():
            if not count:
                continue
            row = feature_row(state, moment)
            if moment == grown:
                keys.append((customer_id, True, epoch_ms(moment), epoch_ms(joined), None))
                rows.append(row)
            if moment in cut_offs:
                keys.append((customer_id, False, epoch_ms(moment), epoch_ms(joined), _engagement(known, moment)))
                rows.append(row)
    columns = [pa.array([key[place] for key in keys], kind) for place, (_, kind) in enumerate(_KEYS)]
    columns += [pa.array([number(row[name]) for row in rows], pa.float64()) for name in MODEL_FEATURES]
    return pa.table(columns, schema=_SCHEMA)


def _engagement(known: Sequence[Known], moment: datetime) -> float:
    """The engagement score of the 90 days after a moment alone, as if the customer had come new."""
    end = moment + HORIZON
    of_period = [event for _, occurred_at, _, event in known if moment < occurred_at <= end]
    return number(feature_row(replay(of_period), end)["engagement_score"]) if of_period else 0.0


def _as_samples(table: Any) -> Samples:
    columns = [table[name].to_numpy() for name in MODEL_FEATURES]
    return Samples(
        np.array(table["customer_id"].to_pylist(), dtype=np.str_),
        table["moment_ms"].to_numpy(),
        table["joined_ms"].to_numpy(),
        table["engagement_next"].to_numpy(),
        np.column_stack(columns).astype(np.float64),
    )


def now(features: Any, as_of: datetime) -> Samples:
    """Everybody at `as_of` as rows of the same kind; `features` is a table with `churn.offline.FEATURE_SCHEMA`."""
    columns = [np.array([number(value) for value in features[name].to_pylist()]) for name in MODEL_FEATURES]
    first = (
        features["first_event_at"].cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()).to_numpy(zero_copy_only=False)
    )
    count = features.num_rows
    return Samples(
        np.array(features["customer_id"].to_pylist(), dtype=np.str_),
        np.full(count, epoch_ms(as_of)),
        np.nan_to_num(first).astype(np.int64),
        np.full(count, np.nan),
        np.column_stack(columns).astype(np.float64).reshape(count, len(MODEL_FEATURES)),
    )
