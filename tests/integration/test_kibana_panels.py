"""Every panel's search runs on a real Elasticsearch and shows the numbers that the cards hold."""

import json
import os
import random
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Any, NamedTuple

import pytest
from elasticsearch import Elasticsearch

from churn import model, risk_card, segments, topics
from churn.features import feature_row
from churn.risk_card import Driver, RiskCard, Status
from churn.settings import ElasticsearchSettings
from churn.state import EMPTY
from es_ingest import documents, indexer, templates
from es_ingest.documents import Message
from kibana import searches
from kibana.__main__ import FILE
from kibana.proof import show
from kibana.searches import BrokenPanel

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAYS = 4
CUSTOMERS = 300
INDICES = "events-*,customers,risk-*,dead-letters-*"
OBJECTS = searches.read(FILE.read_text(encoding="utf-8"))

Rows = list[dict[str, Any]]


class Published(NamedTuple):
    topic: str
    value: bytes | None
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    key: bytes | None = None


def make_card(chance: random.Random, customer: int, as_of: datetime) -> RiskCard:
    is_known = chance.random() > 0.05
    risk = chance.random()
    band = model.band(risk)
    features = feature_row(EMPTY, as_of) | {
        "monetary": round(chance.uniform(0, 2_000), 2),
        "recency_days": chance.uniform(0, 300),
        "country": chance.choice(["DE", "FR", "PL", None]),
        "channel": chance.choice(["web", "app"]),
    }
    return RiskCard(
        customer_id=f"c-{customer:04}",
        as_of=as_of,
        scored_at=as_of + timedelta(seconds=1),
        status=Status.FRESH if is_known else Status.INSUFFICIENT_DATA,
        risk=risk if is_known else None,
        risk_band=band if is_known else None,
        base=0.0 if is_known else None,
        drivers=[Driver("recency_days", 1.0, 0.5, f"Reason {customer % 7}.")] if is_known else [],
        segment=chance.choice(segments.NAMED),
        action=f"Do {customer % 5}.",
        model_version="abc" if is_known else None,
        features=features,
    )


@pytest.fixture(scope="module")
def cards() -> list[RiskCard]:
    """Each customer scored on some of the last days, oldest first."""
    chance = random.Random(20260101)
    return [
        make_card(chance, customer, TODAY - timedelta(days=day, hours=chance.randrange(1, 23)))
        for day in reversed(range(DAYS))
        for customer in range(CUSTOMERS)
        if chance.random() < 0.7
    ]


@pytest.fixture(scope="module")
def latest(cards: list[RiskCard]) -> list[RiskCard]:
    return list({card.customer_id: card for card in cards}.values())


def forget(client: Elasticsearch) -> None:
    for index in client.indices.get(index=INDICES, ignore_unavailable=True):
        client.indices.delete(index=index)


def index(client: Elasticsearch, messages: Iterable[Message]) -> None:
    now = datetime.now(UTC)
    found = [each for message in messages for each in documents.of_message(message, now=now, currency="EUR")]
    outcome = indexer.Indexer(client).write(found, threading.Event())
    assert outcome is not None
    assert not outcome.refused
    client.indices.refresh(index=INDICES)


@pytest.fixture
def empty(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    """The shared Elasticsearch with our templates and no document of ours, before and after."""
    client = indexer.connect(ElasticsearchSettings(elasticsearch_url=elasticsearch_url))
    forget(client)
    templates.put(client, replicas=0)
    yield client
    forget(client)
    client.close()


@pytest.fixture
def client(empty: Elasticsearch, cards: list[RiskCard]) -> Elasticsearch:
    """Elasticsearch with all cards, in no order."""
    mixed = random.Random(1).sample(cards, len(cards))
    index(empty, [Published(topics.RISK, risk_card.encode(card)) for card in mixed])
    return empty


def shown(client: Elasticsearch, panel: str) -> Rows:
    return next(each.rows for each in show(client, OBJECTS) if each.search.panel == panel)


def in_band(cards: Iterable[RiskCard], band: str) -> list[RiskCard]:
    return [card for card in cards if card.risk_band == band]


def scored(cards: Iterable[RiskCard]) -> list[RiskCard]:
    return [card for card in cards if card.risk is not None]


def monetary(card: RiskCard) -> float:
    return float(card.features["monetary"] or 0)


def groups(cards: Iterable[RiskCard], key: Callable[[RiskCard], Any]) -> dict[Any, list[RiskCard]]:
    found = defaultdict(list)
    for card in cards:
        if key(card) is not None:
            found[key(card)].append(card)
    return found


def test_every_panel_and_every_control_shows_something(client: Elasticsearch) -> None:
    everything = list(show(client, OBJECTS))
    assert len(everything) > 8
    assert [each.search.panel for each in everything if each.is_empty] == []


def test_the_tiles_hold_the_numbers_of_the_latest_cards(client: Elasticsearch, latest: list[RiskCard]) -> None:
    high = in_band(latest, "high")
    assert shown(client, "Customers scored") == [{"Customers scored": len(scored(latest))}]
    assert shown(client, "Customers at high risk") == [{"Customers at high risk": len(high)}]
    label = "Revenue of the last year held by high risk"
    assert shown(client, label) == [{label: pytest.approx(sum(map(monetary, high)))}]
    mean = fmean(card.risk for card in scored(latest) if card.risk is not None)
    assert shown(client, "Average risk") == [{"Average risk": pytest.approx(mean)}]


def test_every_customer_is_in_the_band_of_the_latest_card(client: Elasticsearch, latest: list[RiskCard]) -> None:
    assert shown(client, "Customers by risk band") == [
        {band.capitalize(): len(in_band(latest, band)) for band in ("high", "medium", "low")}
    ]


def test_the_days_count_each_customer_once_a_band(client: Elasticsearch, cards: list[RiskCard]) -> None:
    expected = {
        day.timestamp() * 1000: {
            band.capitalize(): len({card.customer_id for card in in_band(of_day, band)}) for band in model.BANDS
        }
        for day, of_day in groups(cards, lambda card: card.as_of.replace(hour=0)).items()
    }
    found = {row.pop("Day"): row for row in shown(client, "Risk bands by day")}
    assert {day: row for day, row in found.items() if any(row.values())} == expected


def test_the_segments_hold_their_customers_by_band(client: Elasticsearch, latest: list[RiskCard]) -> None:
    expected = {
        segment: {band.capitalize(): len(in_band(of_segment, band)) for band in model.BANDS}
        for segment, of_segment in groups(latest, lambda card: card.segment).items()
    }
    rows = shown(client, "Risk bands by segment")
    assert [row["High"] for row in rows] == sorted((row["High"] for row in rows), reverse=True)
    assert {row.pop("Segment"): row for row in rows} == expected


def test_the_countries_hold_the_numbers_of_their_customers(client: Elasticsearch, latest: list[RiskCard]) -> None:
    expected = {
        country: {
            "Customers": len(scored(of_country)),
            "At high risk": len(in_band(of_country, "high")),
            "Average risk": pytest.approx(fmean(card.risk for card in scored(of_country) if card.risk is not None)),
            "At stake": pytest.approx(sum(card.money_at_stake or 0 for card in of_country)),
        }
        for country, of_country in groups(latest, lambda card: card.features["country"]).items()
    }
    assert {row.pop("Country"): row for row in shown(client, "Countries")} == expected


def test_the_list_names_the_riskiest_customers_with_what_to_do(client: Elasticsearch, latest: list[RiskCard]) -> None:
    riskiest = sorted(scored(latest), key=lambda card: card.risk or 0, reverse=True)[:100]
    assert shown(client, "Customers at highest risk") == [
        {
            "Customer": card.customer_id,
            "Segment": card.segment,
            "What to do": card.action,
            "Reason": card.drivers[0].sentence,
            "Risk": pytest.approx(card.risk),
            "Revenue of the last year": pytest.approx(monetary(card)),
            "At stake": pytest.approx(card.money_at_stake),
            "Days since order": pytest.approx(card.features["recency_days"]),
        }
        for card in riskiest
    ]


def test_an_older_card_that_comes_late_changes_no_tile(
    client: Elasticsearch, cards: list[RiskCard], latest: list[RiskCard]
) -> None:
    index(client, [Published(topics.RISK, risk_card.encode(card)) for card in cards])
    assert shown(client, "Customers scored") == [{"Customers scored": len(scored(latest))}]


def changed(panel: str, change: Callable[[dict[str, Any]], Any]) -> Rows:
    """The objects of the file with the Lens layer of one panel changed."""
    objects: Rows = json.loads(json.dumps(OBJECTS))
    dashboard = next(each for each in objects if each["type"] == "dashboard")
    panels = json.loads(dashboard["attributes"]["panelsJSON"])
    lens = next(each for each in panels if each["title"] == panel)["embeddableConfig"]["attributes"]
    change(lens["state"]["datasourceStates"]["formBased"]["layers"]["layer"]["columns"])
    dashboard["attributes"]["panelsJSON"] = json.dumps(panels)
    return objects


@pytest.mark.parametrize(
    ("panel", "change", "reason"),
    [
        ("Average risk", lambda columns: columns["measure0"].update(sourceField="riskiness"), "no field 'riskiness'"),
        ("Average risk", lambda columns: columns["measure0"].update(sourceField="segment"), "does not do for average"),
        (
            "Risk bands by day",
            lambda columns: columns["bucket0"]["params"].update(interval="17d"),
            "Elasticsearch refuses it",
        ),
        (
            "Countries",
            lambda columns: columns["bucket0"]["params"]["orderBy"].update(columnId="measure9"),
            "sorted by a column that is not there",
        ),
        (
            "Customers at high risk",
            lambda columns: columns["measure0"]["filter"].update(query="band: high"),
            "fields that are not there",
        ),
    ],
)
def test_a_broken_panel_is_caught(
    client: Elasticsearch, panel: str, change: Callable[[dict[str, Any]], Any], reason: str
) -> None:
    with pytest.raises(BrokenPanel, match=f"panel '{panel}': .*{reason}"):
        list(show(client, changed(panel, change)))


def test_a_panel_whose_query_finds_nothing_is_empty(client: Elasticsearch) -> None:
    objects = changed("Customers at high risk", lambda columns: columns["measure0"]["filter"].update(query="risk > 2"))
    assert [each.search.panel for each in show(client, objects) if each.is_empty] == ["Customers at high risk"]


def check(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kibana", "check"]
    environment = {**os.environ, "ELASTICSEARCH_URL": url}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_command_lists_what_every_panel_shows(client: Elasticsearch, elasticsearch_url: str) -> None:
    finished = check(elasticsearch_url)
    assert finished.returncode == 0, finished.stderr
    assert "Customers at highest risk" in finished.stdout
    assert "EMPTY" not in finished.stdout


def test_the_command_says_that_there_is_no_index_yet(empty: Elasticsearch, elasticsearch_url: str) -> None:
    finished = check(elasticsearch_url)
    assert finished.returncode == 1
    assert finished.stderr.strip() == (
        "kibana: board 'Churn risk', panel 'Customers scored': no index matches 'customers' yet"
    )
