"""The analyses of a simulated shop find what the simulator planted in it."""

from datetime import UTC, date, datetime
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest

from analytics import attribution, baskets, campaigns, seasons, views
from analytics.shop import Shop
from producer import history_files, season
from producer.simulator import Plan, Simulation

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)


class Planted(NamedTuple):
    shop: Shop
    companions: dict[str, str]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    directory = tmp_path_factory.mktemp("simulated") / "history"
    simulation = Simulation(Plan(5_000, 250_000, 365, 7, UNTIL))
    history_files.write(directory, simulation.tables(), simulation.shop, "parquet")
    catalogue = simulation.shop.catalogue
    companions = {catalogue.ids[one]: catalogue.ids[other] for one, other in enumerate(catalogue.companions)}
    return Planted(Shop(directory, views.connect(directory, UNTIL), UNTIL, "EUR"), companions)


def test_campaigns_bring_as_many_more_visits_as_was_planted(planted: Planted) -> None:
    found = {row["campaign"].rsplit("-", 1)[0]: row for row in campaigns.campaigns(planted.shop)}
    assert found.keys() == {each.name for each in season.CAMPAIGNS}
    off = []
    for each in season.CAMPAIGNS:
        row, lift = found[each.name], each.lift * (1 - season.HOLDOUT_SHARE)
        assert row["@timestamp"].date() == date(2025, each.month, each.first_day)
        assert row["until"].date() == date(2025, each.month, each.last_day)
        if row["lift"] is None:
            assert each.month == 1  # too close to the beginning of the history
            continue
        assert row["lift_low"] - 0.05 < lift < row["lift_high"] + 0.05
        off.append(row["lift"] - lift)
    assert len(off) == 5
    assert abs(np.mean(off)) < 0.05


def test_hours_and_weekdays_come_as_was_planted(planted: Planted) -> None:
    rows = pd.DataFrame(seasons.seasonality(planted.shop))
    for cycle, weights in (("hour", season.HOURS), ("weekday", season.WEEKDAYS)):
        own = rows[rows["cycle"] == cycle].sort_values("place")
        planted_index = np.array(weights) / np.mean(weights)
        assert np.corrcoef(own["visits_index"], planted_index)[0, 1] > (0.99 if cycle == "hour" else 0.8)


def test_demand_peaks_are_found_and_nothing_else(planted: Planted) -> None:
    windows = campaigns.windows(planted.shop)
    busy = {day for each in windows for day in pd.date_range(each.first, each.last)}
    found = {
        day.date()
        for row in seasons.peaks(planted.shop, busy)
        for day in pd.date_range(row["@timestamp"], row["until"])
    }
    true = {date(2025, peak.month, day) for peak in season.PEAKS for day in range(peak.first_day, peak.last_day + 1)}
    black_week = {day for day in true if day.month == 11}
    assert len(found & true) / len(found) >= 0.9
    assert len(found & black_week) >= 6


def test_products_bought_together_are_the_planted_pairs(planted: Planted) -> None:
    rows = baskets.product_pairs(planted.shop)
    pairs = list(dict.fromkeys(frozenset((row["product_a"], row["product_b"])) for row in rows))[:20]
    true = {frozenset(pair) for pair in planted.companions.items()}
    assert len(pairs) == 20
    assert sum(pair in true for pair in pairs) / 20 >= 0.9


def test_last_touch_is_the_channel_of_the_order_and_first_touch_that_of_the_first_visit(planted: Planted) -> None:
    rows = pd.DataFrame([row for row in attribution.touches(planted.shop) if row["dimension"] == "channel"])
    orders, sessions = (
        ds.dataset(planted.shop.history / name, partitioning="hive").to_table().to_pandas()
        for name in ("_orders", "_sessions")
    )
    orders = orders[orders["refunded"] < orders["net"]]
    last = orders.groupby("channel").size() / len(orders)
    assert abs(rows.set_index("source")["last_orders"] / rows["last_orders"].sum() - last).max() < 0.005
    seen = orders.merge(sessions, on="customer_id", suffixes=("", "_of"))
    near = seen[
        (seen["started_at"] <= seen["ordered_at"])
        & (seen["started_at"] > seen["ordered_at"] - pd.Timedelta(days=attribution.DAYS))
    ]
    first = near.sort_values("started_at").drop_duplicates("order_id")["channel_of"].value_counts(normalize=True)
    assert abs(rows.set_index("source")["first_orders"] / rows["first_orders"].sum() - first).max() < 0.01
