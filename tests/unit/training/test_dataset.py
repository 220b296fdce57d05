"""Rows know only what was known at the cut-off; labels tell what came after it."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from churn import history, offline
from churn.events import Event
from churn.features import MODEL_FEATURES, feature_row, replay
from training import dataset
from training.dataset import Sample, customer_rows
from training.split import HORIZON

T0 = datetime(2026, 3, 1, tzinfo=UTC)
END = T0 + HORIZON
MS = timedelta(milliseconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

Known = tuple[Event, datetime]


def purchase(order: str, at: datetime, came: datetime | None = None, price: float = 20.0) -> Known:
    return Event(f"p-{order}", "purchase", at, "c1", price=price, order_id=order), came or at


def refund(order: str, at: datetime, came: datetime | None = None, price: float = 20.0) -> Known:
    return Event(f"r-{order}", "refund", at, "c1", price=price, order_id=order), came or at


def view(name: str, at: datetime, came: datetime | None = None) -> Known:
    return Event(f"v-{name}", "view", at, "c1", product_id="p"), came or at


def sample(*events: Known, t0: datetime = T0) -> Sample | None:
    samples, _ = customer_rows(events, [t0], END + 100 * DAY)
    return samples[0] if samples else None


BEFORE = (purchase("a", T0 - 40 * DAY), view("b", T0 - 3 * HOUR), purchase("c", T0 - 2 * HOUR))


@pytest.mark.parametrize(
    "later",
    [
        purchase("x", T0 + MS),
        view("x", T0 + 5 * DAY),
        purchase("x", T0 - 1 * HOUR, came=T0 + MS),
        refund("c", T0 - 1 * HOUR, came=T0 + 1 * HOUR),
        purchase("x", T0 - 60 * DAY, came=T0 + 60 * DAY),
        purchase("x", T0 + MS, came=T0 - 1 * DAY),
        refund("a", T0 + DAY),
    ],
    ids=[
        "bought later",
        "seen later",
        "bought before but arrived later",
        "refund arrived later",
        "imported later",
        "came with a time ahead",
        "refunded later",
    ],
)
def test_a_row_does_not_change_by_what_happened_or_arrived_after_its_moment(later: Known) -> None:
    without, with_it = sample(*BEFORE), sample(*BEFORE, later)
    assert without is not None
    assert with_it is not None
    assert with_it.row == without.row


def test_a_row_sees_everything_up_to_its_very_moment() -> None:
    found = sample(*BEFORE, purchase("x", T0, came=T0))
    assert found is not None
    assert (found.row["frequency"], found.row["recency_days"]) == (3, 0.0)


def test_a_row_is_what_the_live_fold_had_when_events_arrive_out_of_order() -> None:
    late = view("late", T0 - 30 * DAY, came=T0 - 1 * DAY)
    events = [*BEFORE, late, purchase("d", T0 - 20 * DAY), view("e", T0 - 29 * DAY)]
    arrived = sorted(events, key=lambda pair: pair[1])
    found = sample(*events)
    assert found is not None
    assert found.row == feature_row(replay(event for event, _ in arrived), T0)


@pytest.mark.parametrize(
    ("after", "has_churned"),
    [
        ((), True),
        ((view("x", T0 + DAY),), True),
        ((purchase("x", T0 + MS),), False),
        ((purchase("x", END),), False),
        ((purchase("x", END + MS),), True),
        ((purchase("x", T0),), True),
        ((purchase("x", T0 + DAY), refund("x", T0 + 9 * DAY)), True),
        ((purchase("x", T0 + DAY), refund("x", T0 + 9 * DAY, price=5.0)), False),
        ((purchase("x", T0 + DAY), refund("x", END + DAY)), False),
        ((purchase("x", T0 + DAY, came=END + 9 * DAY),), False),
        ((purchase("x", T0 + DAY), refund("x", T0 + 9 * DAY, came=END + DAY)), True),
        ((purchase("c", T0 + DAY),), True),
    ],
    ids=[
        "nothing",
        "a visit",
        "at once",
        "at the very end",
        "after the end",
        "at t0 itself",
        "refunded in the window",
        "refunded in part",
        "refunded after the window",
        "arrived late",
        "refund arrived late",
        "a line of an old order",
    ],
)
def test_churned_means_no_net_order_within_the_window(after: tuple[Known, ...], has_churned: bool) -> None:
    found = sample(*BEFORE, *after)
    assert found is not None
    assert found.has_churned is has_churned


@pytest.mark.parametrize(
    ("events", "belongs"),
    [
        ([purchase("a", T0 - 365 * DAY + MS)], True),
        ([purchase("a", T0 - 365 * DAY)], False),
        ([purchase("a", T0)], True),
        ([purchase("a", T0 + MS)], False),
        ([view("a", T0 - DAY)], False),
        ([purchase("a", T0 - 9 * DAY), refund("a", T0 - DAY)], False),
        ([purchase("a", T0 - 9 * DAY), refund("a", T0 + DAY)], True),
        ([purchase("a", T0 - 9 * DAY, came=T0 + MS)], False),
    ],
)
def test_the_population_has_a_net_order_known_within_the_last_year(events: list[Known], belongs: bool) -> None:
    assert (sample(*events) is not None) is belongs


def test_the_same_history_gives_the_same_samples_however_it_is_cut_into_shards(table: Any) -> None:
    cut_offs = [datetime(2025, 6, 1, tzinfo=UTC), datetime(2025, 9, 1, tzinfo=UTC)]
    whole, parts = (dataset.build(table, cut_offs, processes=processes) for processes in (1, 40))
    assert len(whole.samples.labels) > 500
    assert 0 < whole.samples.labels.mean() < 1
    for one, other in zip((*whole.samples, whole.buyers), (*parts.samples, parts.buyers), strict=True):
        np.testing.assert_array_equal(one, other)  # NaN equals NaN here


def test_processes_give_what_one_process_gives(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    small = table.slice(0, 300)
    alone = dataset.build(small, [datetime(2025, 6, 1, tzinfo=UTC)], processes=1)
    monkeypatch.setattr(offline, "PARALLEL_FROM_EVENTS", 1)
    shared = dataset.build(small, [datetime(2025, 6, 1, tzinfo=UTC)], processes=2, on_folded=told.append)
    np.testing.assert_array_equal(alone.samples.matrix, shared.samples.matrix)
    assert sum(told) == 300


def test_the_fingerprint_follows_the_events_and_not_their_files(table: Any, tmp_path: Path) -> None:
    directory = tmp_path / "again"
    pairs = [pair for _, events in history.by_customer(table) for pair in events]
    with history.HistoryWriter(directory) as writer:
        for event, came in reversed(pairs):
            writer.add(event, came)
    assert dataset.sha256_of(history.read(directory)) == dataset.sha256_of(table)
    assert dataset.sha256_of(table.slice(1)) != dataset.sha256_of(table)


@pytest.mark.real_data
@pytest.mark.parametrize("day", [date(2011, 3, 1), date(2011, 9, 10)])
def test_labels_and_rfm_of_a_real_shop_are_those_of_independent_code(day: date, real_data: Path) -> None:
    t0 = datetime(day.year, day.month, day.day, tzinfo=UTC)
    golden = pq.read_table(real_data / "golden_pit_online_retail.parquet").to_pandas()
    golden = golden[(golden.cutoff == day.isoformat()) & (golden.CustomerID < 12500)].sort_values("CustomerID")
    found = dataset.build(online_retail(real_data, 12500), [t0], processes=1).samples
    columns = dict(zip(MODEL_FEATURES, found.matrix.T, strict=True))
    assert found.customer_ids.tolist() == golden.CustomerID.astype(str).tolist()
    assert found.labels.tolist() == golden.churn_90d.tolist()
    assert columns["frequency"].tolist() == golden.F.tolist()
    assert columns["monetary"] == pytest.approx(golden.M.to_numpy())
    assert columns["orders_90d"].tolist() == golden.orders_90d.tolist()


def online_retail(real_data: Path, below_customer: int) -> Any:
    """The shop's purchase lines of some customers as a history: sales with a customer and a price, each line once."""
    table = pq.read_table(real_data / "online_retail.parquet", filters=[("CustomerID", "<", below_customer)])
    table = table.filter((pc.field("Quantity") > 0) & (pc.field("UnitPrice") > 0))
    lines = table.to_pandas().drop_duplicates()
    rows = [
        {
            "event_id": f"e{number}",
            "event_type": "purchase",
            "occurred_at": line.InvoiceDate.tz_localize("UTC"),
            "customer_id": str(line.CustomerID),
            "price": line.UnitPrice,
            "quantity": line.Quantity,
            "order_id": line.InvoiceNo,
            "ingested_at": line.InvoiceDate.tz_localize("UTC"),
        }
        for number, line in enumerate(lines.itertuples())
    ]
    return pa.Table.from_pylist(rows, schema=history.SCHEMA).sort_by(
        [("customer_id", "ascending"), ("occurred_at", "ascending"), ("event_id", "ascending")]
    )
