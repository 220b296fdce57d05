"""Every panel's search runs on a real Elasticsearch and shows the numbers of a seeded shop, counted again in pandas."""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import pytest
from elasticsearch import Elasticsearch

from churn import model
from churn.risk_card import RiskCard
from churn.settings import ElasticsearchSettings
from es_ingest import indexer, templates
from kibana import searches
from kibana.__main__ import FILE
from kibana.aggregations import BrokenPanel
from kibana.proof import Shown, show
from stack.stack import Stack

from .. import seeded_shop, shop_in_pandas
from ..seeded_shop import DRIFT, TODAY, UNREADABLE, SeededShop

OBJECTS = searches.read(FILE.read_text(encoding="utf-8"))
NOW = pd.Timestamp(TODAY).tz_localize(None)
DAY = pd.Timedelta(days=1)
# The last event of the seeded shop, and so the moment of its analyses.
END = NOW - pd.Timedelta(hours=2)

Rows = list[dict[str, Any]]


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


def number(rows: Rows) -> Any:
    """The one number of a tile."""
    ((value,),) = (row.values() for row in rows)
    return value


def by(rows: Rows, *labels: str) -> dict[Any, dict[str, Any]]:
    """Rows by the values of these columns."""
    return {tuple(row.pop(label) for label in labels) if len(labels) > 1 else row.pop(labels[0]): row for row in rows}


def moment(epoch_ms: float) -> pd.Timestamp:
    return pd.Timestamp(epoch_ms, unit="ms")


def money(minor: float) -> Any:
    """Exact to the cent."""
    return pytest.approx(minor / 100, abs=0.001)


def since(found: pd.DataFrame, days: int) -> pd.DataFrame:
    return found[found["day"] >= NOW - days * DAY]


def test_every_panel_and_every_control_shows_something(panels: dict[tuple[str, str], Shown]) -> None:
    assert len(panels) > 100
    assert [key for key, each in panels.items() if each.is_empty] == []


# --- churn risk -------------------------------------------------------------------------------------------------------


def scored(cards: Iterable[RiskCard]) -> list[RiskCard]:
    return [card for card in cards if card.risk is not None]


def in_band(cards: Iterable[RiskCard], band: str) -> list[RiskCard]:
    return [card for card in cards if card.risk_band == band]


def stake(cards: Iterable[RiskCard]) -> float:
    return sum(card.money_at_stake or 0 for card in cards)


def mean_risk(cards: Iterable[RiskCard]) -> Any:
    return pytest.approx(fmean(card.risk for card in cards if card.risk is not None))


def groups(cards: Iterable[RiskCard], key: Callable[[RiskCard], Any]) -> dict[Any, list[RiskCard]]:
    found = defaultdict(list)
    for card in cards:
        if key(card) is not None:
            found[key(card)].append(card)
    return found


def bands(cards: Iterable[RiskCard]) -> dict[str, int]:
    found = Counter(card.risk_band for card in cards)
    return {band.capitalize(): found[band] for band in model.BANDS}


def test_the_tiles_of_risk_hold_the_numbers_of_the_latest_cards(shop: SeededShop, shown: Callable[..., Rows]) -> None:
    latest = shop.latest
    assert number(shown("Churn risk", "Customers scored")) == len(scored(latest))
    assert number(shown("Churn risk", "At high risk")) == len(in_band(latest, "high")) > 0
    assert number(shown("Churn risk", "Money at stake")) == pytest.approx(stake(latest))
    assert number(shown("Churn risk", "At stake at high risk")) == pytest.approx(stake(in_band(latest, "high")))
    assert number(shown("Churn risk", "Average risk")) == mean_risk(scored(latest))
    assert shown("Churn risk", "Customers by risk band") == [bands(latest)]


def test_the_days_count_each_customer_once_a_band(shop: SeededShop, shown: Callable[..., Rows]) -> None:
    expected = {
        card_day: bands(cards) for card_day, cards in groups(shop.cards, lambda card: card.as_of.date()).items()
    }
    found = by(shown("Churn risk", "Risk bands by day"), "Day")
    assert {moment(day).date(): row for day, row in found.items() if any(row.values())} == expected


def test_moves_into_high_risk_are_counted_with_what_weighs_most(shop: SeededShop, shown: Callable[..., Rows]) -> None:
    moved = [card for card in shop.cards if card.risk_band == "high" and card.band_change is not None]
    assert moved
    found = by(shown("Churn risk", "Moved into high risk"), "Day")
    days = Counter(card.as_of.date() for card in moved)
    assert {moment(day).date(): row["Customers"] for day, row in found.items() if row["Customers"]} == days
    why = by(shown("Churn risk", "Why they moved into high risk"), "What weighs most")
    assert why == {
        feature: {"Customers": len({card.customer_id for card in cards}), "At stake": pytest.approx(stake(cards))}
        for feature, cards in groups(moved, lambda card: card.drivers[0].feature).items()
    }


def test_segments_and_countries_hold_their_customers(shop: SeededShop, shown: Callable[..., Rows]) -> None:
    expected = {name: bands(cards) for name, cards in groups(shop.latest, lambda card: card.segment).items()}
    assert by(shown("Churn risk", "Risk by segment"), "Segment") == expected
    countries = groups(shop.latest, lambda card: card.features["country"])
    assert by(shown("Churn risk", "Risk by country"), "Country") == {
        country: {
            "Customers": len(scored(cards)),
            "At high risk": len(in_band(cards, "high")),
            "Average risk": mean_risk(scored(cards)),
            "At stake": pytest.approx(stake(cards)),
        }
        for country, cards in countries.items()
    }


def test_time_as_a_customer_is_cut_where_the_labels_say(shop: SeededShop, shown: Callable[..., Rows]) -> None:
    limits = {"up to 90 days": 90, "90 to 180 days": 180, "180 to 270 days": 270, "270 to 365 days": 365}

    def case(card: RiskCard) -> str:
        return next(
            (label for label, limit in limits.items() if card.features["tenure_days"] < limit), "more than a year"
        )

    expected = {label: bands(cards) for label, cards in groups(shop.latest, case).items()}
    found = by(shown("Churn risk", "Risk by time as a customer"), "Customer for")
    assert {label: row for label, row in found.items() if any(row.values())} == expected


def test_the_list_names_the_riskiest_with_what_to_do(shop: SeededShop, shown: Callable[..., Rows]) -> None:
    riskiest = sorted(scored(shop.latest), key=lambda card: -(card.risk or 0))[:100]
    rows = shown("Churn risk", "Customers at highest risk")
    assert [row["Risk"] for row in rows] == pytest.approx([card.risk for card in riskiest])
    cards = {card.customer_id: card for card in shop.latest}
    for row in rows:
        card = cards[row["Customer"]]
        assert (row["Segment"], row["What to do"]) == (card.segment, card.action)
        assert row["Main reason"] == card.drivers[0].sentence
        assert row["At stake"] == pytest.approx(card.money_at_stake)
        assert row["Revenue of a year"] == pytest.approx(card.features["monetary"])
        assert row["Days since order"] == pytest.approx(card.features["recency_days"])


def test_segments_now_share_out_customers_and_revenue(shop: SeededShop, shown: Callable[..., Rows]) -> None:
    buyers = [card for card in shop.latest if card.segment not in ("Prospect", "unknown")]
    revenue = sum(float(card.features["monetary"]) for card in buyers)
    found = by(shown("Segments", "Segments now"), "Segment")
    for name, cards in groups(buyers, lambda card: card.segment).items():
        own = sum(float(card.features["monetary"]) for card in cards)
        assert found[name]["Customers"] == len(cards)
        assert found[name]["Share"] == pytest.approx(len(cards) / len(buyers))
        assert found[name]["Share of revenue"] == pytest.approx(own / revenue)


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
    return journeys[(day >= NOW - pd.DateOffset(years=1)) & (day + 31 * DAY <= END)]


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
    carts = carts[(carts["day"] >= NOW - pd.DateOffset(years=1)) & (carts["day"] + 2 * DAY <= END)]
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


def test_drift_tells_what_moved_twice(shown: Callable[..., Rows]) -> None:
    rows = by(shown("Model", "Drift by feature"), "Feature")
    assert rows["recency_days"] | {"Largest PSI": DRIFT[0].psi} == rows["recency_days"]
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


def changed(panel: str, change: Callable[[dict[str, Any]], Any]) -> Rows:
    """The objects of the file with the columns of one panel changed."""
    objects: Rows = json.loads(json.dumps(OBJECTS))
    for dashboard in (each for each in objects if each["type"] == "dashboard"):
        found = json.loads(dashboard["attributes"]["panelsJSON"])
        for each in found:
            if each["title"] == panel:
                state = each["embeddableConfig"]["attributes"]["state"]
                change(state["datasourceStates"]["formBased"]["layers"]["layer"]["columns"])
        dashboard["attributes"]["panelsJSON"] = json.dumps(found)
    return objects


def where(query: str) -> dict[str, str]:
    return {"query": query, "language": "kuery"}


@pytest.mark.parametrize(
    ("panel", "change", "reason"),
    [
        ("Average risk", lambda columns: columns["measure0"].update(sourceField="riskiness"), "no field 'riskiness'"),
        ("Average risk", lambda columns: columns["measure0"].update(sourceField="segment"), "does not do for average"),
        ("Orders by day", lambda columns: columns["bucket0"]["params"].update(interval="17d"), "Elasticsearch refuses"),
        (
            "Risk by country",
            lambda c: c["bucket0"]["params"]["orderBy"].update(columnId="measure9"),
            "sorted by a column",
        ),
        ("At high risk", lambda columns: columns["measure0"].update(filter=where("band: high")), "fields that are not"),
        ("Average order", lambda columns: columns["measure0"].update(references=[]), "is computed of"),
        ("Average order", lambda columns: columns["measure0X0"].update(sourceField="sales"), "no field 'sales'"),
        ("Retention by cohort", lambda columns: columns["measure0X2"].update(references=["gone"]), "not there"),
        ("Events by arrival", lambda columns: columns["bucket0"].update(sourceField="kind"), "no field 'kind'"),
        ("Risk by segment", lambda columns: columns["bucket0"].update(operationType="range"), "'range' is not known"),
        (
            "Last event arrived",
            lambda columns: columns["measure0"].update(sourceField="channel"),
            "does not do for max",
        ),
        ("Customers by risk band", lambda columns: columns["measure0"].update(filter=where("(a: b")), r"expected '\)'"),
    ],
)
def test_a_broken_panel_is_caught(
    shop: SeededShop, panel: str, change: Callable[[dict[str, Any]], Any], reason: str
) -> None:
    with pytest.raises(BrokenPanel, match=f"panel '{panel}': .*{reason}"):
        list(show(shop.client, changed(panel, change)))


def test_a_panel_whose_query_finds_nothing_is_empty(shop: SeededShop) -> None:
    objects = changed("At high risk", lambda columns: columns["measure0"].update(filter=where("risk > 2")))
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
