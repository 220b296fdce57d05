"""The features of real customers equal what others computed independently, whatever engine folds them."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import pytest
from pyarrow import parquet

from churn import history, offline
from churn.events import Event
from churn.features import feature_row, replay
from churn.state import opened, thaw
from churn.summary import add

pytestmark = pytest.mark.real_data

CUT_OFFS = ("2011-03-01", "2011-06-12", "2011-09-10", "2011-12-10")


@pytest.fixture(scope="module")
def online_retail(replayed: Callable[[str, str], Path]) -> Path:
    return replayed("online_retail.parquet", "online-retail")


@pytest.mark.parametrize("cut_off", CUT_OFFS)
def test_online_retail_features_equal_the_independent_ones(online_retail: Path, real_data: Path, cut_off: str) -> None:
    as_of = datetime.fromisoformat(f"{cut_off}T00:00:00+00:00")
    ours = offline.feature_table(online_retail, as_of, processes=2).to_pandas().set_index("customer_id")
    golden = pd.read_parquet(real_data / "golden_pit_online_retail.parquet")
    golden = golden[golden["cutoff"] == cut_off]
    golden.index = golden["CustomerID"].astype(str)
    ours = ours.loc[golden.index]
    assert len(ours) == len(golden) > 1_500
    assert (ours["orders_total"] == golden["F"]).all()
    assert ((ours["gross_revenue_total"] - golden["M"]).abs() < 0.001).all()
    for days in (7, 30, 90):
        assert (ours[f"orders_{days}d"] == golden[f"orders_{days}d"]).all()
    assert (ours["last_purchase_at"] == golden["last"].dt.tz_localize("UTC")).all()
    assert (ours["first_purchase_at"] == golden["first"].dt.tz_localize("UTC")).all()
    assert ((ours["recency_days"] * 86_400 - golden["R_s"]).abs() < 0.001).all()


def test_spark_gives_the_same_table_as_the_processes_here(online_retail: Path, tmp_path: Path) -> None:
    as_of = datetime(2011, 3, 1, tzinfo=UTC)
    local, spark = (
        offline.feature_table(online_retail, as_of, engine=name, processes=2) for name in ("local", "spark")
    )
    assert local.num_rows > 1_600
    assert spark.equals(local)
    for name, table in (("local", local), ("spark", spark)):
        parquet.write_table(table, tmp_path / name)
    assert (tmp_path / "local").read_bytes() == (tmp_path / "spark").read_bytes()


def cdnow(file: Path) -> Iterator[Event]:
    """The transactions of the CDNOW sample: two ids, date, number of CDs, dollars, in columns of blanks."""
    for number, line in enumerate(file.read_text().splitlines()):
        _, customer_id, day, cds, dollars = line.split()
        yield Event(
            event_id=f"row-{number}",
            event_type="purchase",
            occurred_at=datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC),
            customer_id=customer_id,
            price=float(dollars),
            product_id="cd" if int(cds) else None,
        )


def test_cdnow_repeat_buying_equals_the_published_summary(real_data: Path) -> None:
    as_of = datetime(1997, 9, 30, tzinfo=UTC)
    events: dict[str, list[Event]] = {}
    for event in cdnow(real_data / "CDNOW_sample.txt"):
        if event.occurred_at <= as_of:
            events.setdefault(event.customer_id, []).append(event)
    published = pd.read_csv(real_data / "cdnow_customers_summary.csv")
    rows = [feature_row(replay(events[customer_id]), as_of) for customer_id in sorted(events)]
    assert len(rows) == len(published) == 2_357
    ours = pd.DataFrame(rows)
    assert sorted_triples(ours["repeat_purchase_days"], ours["last_purchase_age_days"], ours["age_days"]) == (
        sorted_triples(published.iloc[:, 1], published.iloc[:, 2] * 7, published.iloc[:, 3] * 7)
    )


def sorted_triples(*columns: Any) -> list[tuple[int, ...]]:
    return sorted(zip(*(column.round().astype(int) for column in columns), strict=True))


def test_rees46_sessions_and_times_to_act_equal_the_known_ones(
    real_data: Path, replayed: Callable[[str, str], Path]
) -> None:
    directory = replayed("rees46_oct_even_dev.parquet", "rees46")
    known = json.loads((real_data / "facts.json").read_text())["rees46_even"]
    sessions = 0
    to_cart: list[int] = []
    to_purchase: list[int] = []
    for _, events in history.by_customer(history.read(directory)):
        state = replay(event for event, _ in events)
        row = feature_row(state, datetime(2019, 10, 2, tzinfo=UTC))
        sessions += row["sessions_total"]  # type: ignore[operator]
        tally = thaw(state.summary)
        for entry in map(opened, state.recent):
            add(tally, entry)
        to_cart += tally.latest_view_to_cart_ms
        to_purchase += tally.latest_cart_to_purchase_ms
    assert sessions == known["sessions_by_30min_gap_per_user"]
    for ours, theirs in ((to_cart, known["view_to_cart_s"]), (to_purchase, known["cart_to_purchase_s"])):
        assert (len(ours), median(ours) / 1000) == (theirs["n"], theirs["median"])
    assert timedelta(0) < timedelta(milliseconds=median(to_cart))
