"""Every panel's search runs on a real Elasticsearch and shows the numbers of a seeded shop, counted again in pandas."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import pytest
from elasticsearch import Elasticsearch

from churn.analysis_tables import MODEL_DRIFT
from churn.settings import ElasticsearchSettings
from es_ingest import indexer, templates
from kibana import searches
from kibana.__main__ import FILE
from kibana.aggregations import BrokenPanel
from kibana.proof import Shown, show
from stack.stack import Stack

from .. import seeded_shop, shop_in_pandas
from ..broken_panels import BROKEN, changed, where
from ..panels import DAY, NOW, Rows, by, moment, money, number, since
from ..risk_panels import RiskPanels, scored
from ..seeded_shop import DRIFT, UNREADABLE, SeededShop
from ..value_panels import ValuePanels

OBJECTS = searches.read(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def shop(servers: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeededShop]:
    """The seeded shop in the shared Elasticsearch, which holds nothing else of ours before and after."""
    url = servers.elasticsearch.url
    client = indexer.connect(ElasticsearchSettings(elasticsearch_url=url))
    seeded_shop.forget(client)
    yield seeded_shop.fill(client, url, tmp_path_factory.mktemp("shop"))
    seeded_shop.forget(client)
    client.close()


@pytest.fixture(scope="module")
def panels(shop: SeededShop) -> dict[tuple[str, str], Shown]:
    """What every panel shows, by board and panel."""
    return {(each.search.board, each.search.panel): each for each in show(shop.client, OBJECTS)}


@pytest.fixture(scope="module")
def events(shop: SeededShop) -> pd.DataFrame:
    return shop_in_pandas.prepared(shop.events)


@pytest.fixture(scope="module")
def shown(panels: dict[tuple[str, str], Shown]) -> Callable[[str, str], Rows]:
    return lambda board, panel: [dict(row) for row in panels[board, panel].rows]


def test_every_panel_and_every_control_shows_something(panels: dict[tuple[str, str], Shown]) -> None:
    assert len(panels) > 100
    assert [key for key, each in panels.items() if each.is_empty] == []


class TestRisk(RiskPanels):
    """Here, because all panels are read from the same fill of the shop."""


# --- revenue and customers --------------------------------------------------------------------------------------------


def test_net_revenue_knows_refunds_and_days(events: pd.DataFrame, shown: Callable[..., Rows]) -> None:
    found = since(shop_in_pandas.orders(events), 90)
    loose = since(shop_in_pandas.loose_refunds(events), 90)
    assert len(found[found["asked"] > found["refunds"]]), "a refund of more than the order"
    net, orders = found["net"].sum() + loose["net"].sum(), found["counts"].sum()
    assert number(shown("Revenue and customers", "Net revenue")) == money(net)
    assert number(shown("Revenue and customers", "Orders")) == orders
    assert number(shown("Revenue and customers", "Average order")) == pytest.approx(net / 100 / orders)
    refunds = found["refunds"].sum() - loose["net"].sum()
    assert number(shown("Revenue and customers", "Refunded")) == pytest.approx(refunds / (net + refunds))


def test_revenue_stands_on_the_day_and_kind_of_the_order(events: pd.DataFrame, shown: Callable[..., Rows]) -> None:
    found = since(shop_in_pandas.orders(events), 90)
    kinds = found[found["counts"]].assign(kind=lambda net: np.where(net["number"] == 0, "New", "Returning"))
    expected = kinds.groupby(["day", "kind"]).size().to_dict()
    rows = by(shown("Revenue and customers", "Orders by day"), "Day")
    assert {(moment(day), kind): row[kind] for day, row in rows.items() for kind in row if row[kind]} == expected
    loose = since(shop_in_pandas.loose_refunds(events), 90)
    by_day = pd.concat([found, loose]).groupby("day")["net"].sum()
    money_rows = by(shown("Revenue and customers", "Net revenue by day"), "Day")
    sums = {moment(day): sum(row.values()) for day, row in money_rows.items()}
    assert {day: value for day, value in sums.items() if day in by_day} == {
        day: money(value) for day, value in by_day.items()
    }


@pytest.mark.parametrize(
    ("panel", "label", "column"), [("country", "Country", "home"), ("channel", "Channel", "channel")]
)
def test_revenue_by_country_and_channel(
    events: pd.DataFrame, shown: Callable[..., Rows], panel: str, label: str, column: str
) -> None:
    found = since(shop_in_pandas.orders(events), 90)
    both = pd.concat([found, since(shop_in_pandas.loose_refunds(events), 90).assign(counts=False)])
    net, orders = both.groupby(column)["net"].sum(), both.groupby(column)["counts"].sum()
    rows = by(shown("Revenue and customers", f"Net revenue by {panel}"), label)
    assert {name: row["Net revenue"] for name, row in rows.items()} == {
        name: money(value) for name, value in net.items()
    }
    assert {name: row["Orders"] for name, row in rows.items()} == orders.to_dict()
    assert {name: row["Share"] for name, row in rows.items()} == {
        name: pytest.approx(value / net.sum()) for name, value in net.items()
    }
    assert "unknown" in rows


def test_a_visit_over_midnight_is_one_of_the_day_before(events: pd.DataFrame, shown: Callable[..., Rows]) -> None:
    expected = since(shop_in_pandas.active_by_day(events).reset_index(), 90).set_index("day")
    night = NOW - 45 * DAY
    own = shop_in_pandas.visits(events[events["customer_id"] == "hand-midnight"])
    assert list(own["day"]) == [night - DAY] or list(own["day"]) == [night]
    rows = by(shown("Revenue and customers", "Active customers by day"), "Day")
    assert {moment(day): row for day, row in rows.items() if any(row.values())} == expected.to_dict("index")


def test_live_tiles_count_events(events: pd.DataFrame, shown: Callable[..., Rows]) -> None:
    recent = since(events, 90)
    visitors = recent[recent["event_type"].isin(["view", "cart", "purchase"])]["customer_id"].nunique()
    assert number(shown("Revenue and customers", "Active customers")) == visitors  # exact below 3,000
    bought = recent[recent["event_type"] == "purchase"]
    assert number(shown("Revenue and customers", "Sales before refunds")) == money(
        (bought["amount"] - bought["off"]).sum()
    )


# --- funnel, carts, products ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def journeys(events: pd.DataFrame) -> pd.DataFrame:
    return shop_in_pandas.journeys(events)


def mature(journeys: pd.DataFrame) -> pd.DataFrame:
    """Those of the last year whose 30 days after the day of the view are over at the end of the history."""
    day = journeys["viewed"].dt.normalize()
    return journeys[(day >= NOW - pd.DateOffset(years=1)) & (day + 31 * DAY <= NOW)]


def test_the_funnel_counts_journeys_whose_time_is_over(journeys: pd.DataFrame, shown: Callable[..., Rows]) -> None:
    found = mature(journeys)
    assert len(found) < journeys["viewed"].notna().sum()
    viewed, carted, bought = len(found), found["carted"].notna().sum(), found["bought"].notna().sum()
    assert number(shown("Funnel and carts", "View → cart")) == pytest.approx(carted / viewed)
    assert number(shown("Funnel and carts", "Cart → purchase")) == pytest.approx(bought / carted)
    (steps,) = shown("Funnel and carts", "From view to purchase")
    unseen = journeys.assign(viewed=journeys["unseen"])
    assert steps == {
        "Viewed": viewed,
        "Put into the cart": carted,
        "Bought": bought,
        "Bought without a cart": found["direct"].notna().sum(),
        "Bought with no view seen": mature(unseen)["unseen"].notna().sum(),
    }


def test_the_funnel_of_a_category_is_that_of_its_journeys(journeys: pd.DataFrame, shown: Callable[..., Rows]) -> None:
    rows = by(shown("Funnel and carts", "Funnel by category"), "Category")
    for category, own in mature(journeys).groupby("category"):
        viewed, carted, bought = len(own), own["carted"].notna().sum(), own["bought"].notna().sum()
        assert rows[category]["Viewed"] == viewed
        assert rows[category]["View → cart"] == pytest.approx(carted / viewed)
        assert rows[category]["Cart → purchase"] == (pytest.approx(bought / carted) if carted else None)


def test_time_to_act_is_the_median_of_the_category(journeys: pd.DataFrame, shown: Callable[..., Rows]) -> None:
    rows = by(shown("Funnel and carts", "Time to act"), "Category", "Step")
    steps = {"view_to_cart": ("viewed", "carted"), "cart_to_purchase": ("carted", "bought")}
    expected = {}
    for step, (start, end) in steps.items():
        taken = journeys.dropna(subset=[start, end])
        for category, own in (taken[end] - taken[start]).dt.total_seconds().groupby(taken["category"]):
            expected[category, step] = (len(own), pytest.approx(own.median(), abs=0.002))
    assert {key: (row["Journeys"], row["Median"]) for key, row in rows.items()} == expected


def test_carts_are_abandoned_recovered_and_left_behind(events: pd.DataFrame, shown: Callable[..., Rows]) -> None:
    carts = shop_in_pandas.carts(events, events["at"].max())
    carts = carts[(carts["day"] >= NOW - pd.DateOffset(years=1)) & (carts["day"] + 2 * DAY <= NOW)]
    left = carts[carts["abandoned"]]
    assert number(shown("Funnel and carts", "Carts abandoned")) == pytest.approx(len(left) / len(carts))
    ended = left[left["day"] < pd.Timestamp.now("UTC").tz_localize(None) - 31 * DAY]
    recovered = (ended["became"] == "bought").sum()
    assert recovered
    assert number(shown("Funnel and carts", "Of these, recovered")) == pytest.approx(recovered / len(ended))
    lost = left[left["became"] != "bought"]
    assert number(shown("Funnel and carts", "Left in carts")) == money(lost["value"].sum())
    weeks = shown("Funnel and carts", "Carts by week")
    assert sum(row["Bought"] for row in weeks) == (carts["became"] == "bought").sum()
    assert sum(row["Emptied"] for row in weeks) == (carts["became"] == "emptied").sum()


def test_products_bought_together_are_those_of_the_orders(events: pd.DataFrame, shown: Callable[..., Rows]) -> None:
    expected = shop_in_pandas.pairs(events)
    rows = by(shown("Products", "Bought together"), "Who buys", "also buys")
    assert ("x-8", "x-9") in rows
    names = events.dropna(subset=["product_name"]).groupby("product_id")["product_name"].last()
    by_name = {tuple(names.get(product, product) for product in pair): found for pair, found in expected.items()}
    for pair, row in rows.items():
        orders, confidence, lift = by_name[pair]
        assert (row["Orders with both"], row["How often"]) == (orders, pytest.approx(confidence))
        assert row["Lift"] == pytest.approx(lift)


def test_products_add_up_to_all_that_was_bought(events: pd.DataFrame, shown: Callable[..., Rows]) -> None:
    bought = events[(events["event_type"] == "purchase") & events["product_id"].notna()]
    assert number(shown("Products", "Units sold")) == bought["quantity"].sum()
    assert number(shown("Products", "Products")) == events["product_id"].nunique()


class TestValue(ValuePanels):
    """Here for the same reason."""


# --- retention --------------------------------------------------------------------------------------------------------


def last_month() -> pd.Period:
    return pd.Period(NOW, "M") - 1


def test_cohorts_hide_months_that_are_not_over(events: pd.DataFrame, shown: Callable[..., Rows]) -> None:
    cells = shop_in_pandas.cohorts(events, last_month())
    assert any(events["customer_id"] == "hand-young")
    rows = by(shown("Retention", "Retention by cohort"), "Cohort", "Months since the first order")
    later = {key: found for key, found in cells.items() if key[1] >= 1}
    assert {key: row["Retention"] for key, row in rows.items()} == {
        key: pytest.approx(active / customers) for key, (customers, active, _) in later.items()
    }
    rolling = by(shown("Retention", "Rolling retention by cohort"), "Cohort", "Months since the first order")
    assert {key: row["Rolling retention"] for key, row in rolling.items()} == {
        key: pytest.approx(rest / customers) for key, (customers, _, rest) in later.items()
    }
    first = [(customers, active) for (_, month), (customers, active, _) in cells.items() if month == 1]
    expected = sum(active for _, active in first) / sum(customers for customers, _ in first)
    assert number(shown("Retention", "Retention after 1 month")) == pytest.approx(expected)


def test_the_lifecycle_says_who_came_stayed_and_went(events: pd.DataFrame, shown: Callable[..., Rows]) -> None:
    rows = by(shown("Retention", "Lifecycle by month"), "Month")
    found = {(moment(at), state.lower()): row[state] for at, row in rows.items() for state in row if row[state]}
    assert found == shop_in_pandas.lifecycle(events, last_month())


# --- model and pipeline -----------------------------------------------------------------------------------------------


def test_drift_tells_what_moved_twice(shop: SeededShop, shown: Callable[..., Rows]) -> None:
    """Training wrote what it found, too: which of the looks was the furthest differs from day to day."""
    hits = shop.client.search(index=MODEL_DRIFT.index, size=10_000)["hits"]["hits"]
    looks = [hit["_source"]["psi"] for hit in hits if hit["_source"]["feature"] == "recency_days"]
    assert len(looks) > looks.count(DRIFT[0].psi) == 2
    rows = by(shown("Model", "Drift by feature"), "Feature")
    assert rows["recency_days"]["Largest PSI"] == max(looks)
    assert (rows["recency_days"]["Alerts"], rows["monetary"]["Alerts"]) == (1, 0)
    assert number(shown("Model", "Features that moved")) == 1


def test_scores_and_calibration_are_of_the_same_customers(shown: Callable[..., Rows]) -> None:
    scores = shown("Model", "Scores of the test")
    customers = sum(row["Customers"] for row in scores)
    lost = sum(row["Of these, lost"] for row in scores)
    assert number(shown("Model", "Lost customers")) == pytest.approx(lost / customers)
    calibration = shown("Model", "Predicted and observed risk")
    assert fmean(row["Observed"] for row in calibration) == pytest.approx(lost / customers, abs=0.01)
    assert [row["Predicted"] for row in calibration] == sorted(row["Predicted"] for row in calibration)


def test_scores_now_are_those_of_the_cards(shop: SeededShop, shown: Callable[..., Rows]) -> None:
    tenths = Counter(min(9, int((card.risk or 0) * 10)) for card in scored(shop.latest))
    rows = by(shown("Model", "Scores now"), "Risk")
    assert [sum(row.values()) for row in rows.values()] == [tenths[tenth] for tenth in range(10)]


def test_the_pipeline_tells_what_came_and_what_could_not_be_read(
    shop: SeededShop, events: pd.DataFrame, shown: Callable[..., Rows]
) -> None:
    board = "Pipeline health"
    arrived = shop.events[shop.events["ingested_at"] >= pd.Timestamp.now("UTC") - timedelta(hours=24)]
    assert number(shown(board, "Events arrived")) == pytest.approx(len(arrived), abs=3)  # some leave while we look
    assert number(shown(board, "Last event arrived")) == arrived["ingested_at"].max().timestamp() * 1000
    assert number(shown(board, "Last risk card made")) == max(card.scored_at for card in shop.cards).timestamp() * 1000
    assert number(shown(board, "Dead letters")) == len(UNREADABLE)
    reasons = by(shown(board, "Dead letters by reason"), "Reason", "Found by")
    assert reasons["broken_json", "stream_processor"]["Dead letters"] == 2
    assert number(shown(board, "Most waiting")) == 25
    assert number(shown(board, "Slowest freshness")) == 2.0
    late = [row for row in shown(board, "How late events arrive") if row["Half within"] is not None]
    assert {row["Half within"] for row in late} == {7.0}
    indexed = shown(board, "Documents indexed")
    assert (sum(row["Events"] for row in indexed), sum(row["Risk"] for row in indexed)) == (90, 10)


# --- what is broken ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("panel", "change", "reason"),
    BROKEN,
)
def test_a_broken_panel_is_caught(
    shop: SeededShop, panel: str, change: Callable[[dict[str, Any]], Any], reason: str
) -> None:
    with pytest.raises(BrokenPanel, match=f"panel '{panel}': .*{reason}"):
        list(show(shop.client, changed(OBJECTS, panel, change)))


def test_a_panel_whose_query_finds_nothing_is_empty(shop: SeededShop) -> None:
    objects = changed(OBJECTS, "At high risk", lambda columns: columns["measure0"].update(filter=where("risk > 2")))
    assert [each.search.panel for each in show(shop.client, objects) if each.is_empty] == ["At high risk"]


def check(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kibana", "check"]
    environment = {**os.environ, "ELASTICSEARCH_URL": url}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_command_lists_what_every_panel_shows(shop: SeededShop, elasticsearch_url: str) -> None:
    finished = check(elasticsearch_url)
    assert finished.returncode == 0, finished.stderr
    assert "Customers at highest risk" in finished.stdout
    assert "EMPTY" not in finished.stdout


def test_the_command_says_that_there_is_no_index_yet(shop: SeededShop, elasticsearch_url: str) -> None:
    client: Elasticsearch = shop.client
    seeded_shop.forget(client)  # the last test: nothing is left for another
    templates.put(client, replicas=0)
    finished = check(elasticsearch_url)
    assert finished.returncode == 1
    assert finished.stderr.strip() == (
        "kibana: board 'Churn risk', panel 'Customers scored': no index matches 'customers' yet"
    )
