"""A small shop with a seeded history and hand-made special cases, brought into Elasticsearch by the product's own code.

What it holds is what the boards must show; `tests/shop_in_pandas.py` says independently what that is.
"""

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from elasticsearch import Elasticsearch

from churn import actions, analysis_index, analysis_tables, dead_letters, history, model, risk_card, topics
from churn.drift import Drift
from churn.events import Event, InvalidEvent, decode, encode
from churn.features import update
from churn.risk_card import RiskCard
from churn.state import EMPTY
from es_ingest import documents, indexer, templates
from es_ingest.documents import Document
from es_ingest.health import Health
from scorer.card import Known, score_customers
from training.index import drift_rows

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
INDICES = "events-*,customers,risk-*,dead-letters-*,pipeline-*,analytics-*"
SCORED_DAYS = (9, 6, 3, 0)
BATCH = 1_000
LATE = timedelta(seconds=7)
UNREADABLE = (b"no json", b"no json", b"{}", b'{"event_type": "dance"}')
DRIFT = [Drift("recency_days", 0.31, 0.05), Drift("monetary", 0.09, 0.05)]


class Published(NamedTuple):
    """A message as Kafka would give it."""

    topic: str
    value: bytes | None
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    key: bytes | None = None


@dataclass(frozen=True)
class SeededShop:
    """What was brought in: all events, every card ever made (oldest first), and when the last were made."""

    client: Elasticsearch
    events: pd.DataFrame
    cards: Sequence[RiskCard]

    @property
    def latest(self) -> list[RiskCard]:
        return list({card.customer_id: card for card in self.cards}.values())


# --- the history ------------------------------------------------------------------------------------------------------


def _hand_made() -> Iterator[Event]:
    """Special cases, each with customers of its own; the first days of the month are never touched."""
    numbers = iter(range(10_000))

    def event(kind: Any, customer: str, at: datetime, **fields: Any) -> Event:
        known: dict[str, Any] = {"country": "Malta", "channel": "hand", "category": "special", **fields}
        return Event(f"hand-{next(numbers)}", kind, at, f"hand-{customer}", **known)

    day = TODAY - timedelta(days=45)
    noon = day + timedelta(hours=12)

    def bought(customer: str, order: str | None, price: float, at: datetime = noon, **fields: Any) -> Event:
        return event("purchase", customer, at, product_id="x-1", order_id=order, price=price, **fields)

    yield bought("refunded", "r-1", 10.0)
    yield bought("refunded", "r-1", 20.0, quantity=2)
    yield event("refund", "refunded", noon + timedelta(days=2), product_id="x-1", order_id="r-1", price=50.0)
    yield bought("partly", "p-1", 100.0, discount=10.0)
    yield event("refund", "partly", noon + timedelta(days=3), product_id="x-1", order_id="p-1", price=30.0)
    yield bought("too much", "t-1", 50.0)
    yield event("refund", "too much", noon + timedelta(days=1), order_id="t-1", price=80.0, channel=None)
    yield bought("loose", "l-1", 40.0)
    yield event("refund", "loose", noon + timedelta(days=4), price=15.0)
    yield bought("without order", None, 7.0)
    yield bought("without order", None, 8.0, at=noon + timedelta(hours=1))
    yield bought("nowhere", "n-1", 5.0, country=None, channel=None, category=None)
    # A session over midnight: one visit, of the day before; the order is of the day after.
    for minutes, kind in ((-10, "view"), (5, "cart"), (10, "purchase")):
        at = day + timedelta(days=1, minutes=minutes)
        order = "m-1" if kind == "purchase" else None
        yield event(kind, "midnight", at, product_id="x-2", price=12.0, order_id=order)
    # Carts: recovered, left behind, emptied; bought more than 30 days after the view.
    for customer, product in (("recovered", "x-3"), ("left", "x-4"), ("emptied", "x-5")):
        yield event("view", customer, noon, product_id=product, price=25.0)
        yield event("cart", customer, noon + timedelta(minutes=1), product_id=product, price=25.0, quantity=2)
    yield event("purchase", "recovered", noon + timedelta(days=3), product_id="x-3", price=25.0, order_id="c-1")
    yield event("remove_from_cart", "emptied", noon + timedelta(minutes=9), product_id="x-5", quantity=2)
    yield event("view", "late", noon, product_id="x-6", price=9.0)
    yield event("purchase", "late", noon + timedelta(days=31), product_id="x-6", price=9.0, order_id="d-1")
    # A cohort whose first month is not over, and a journey whose 30 days are not; so late in the day that it lies
    # within the last 24 hours until this day is nearly over.
    yield event("view", "young", TODAY - timedelta(hours=1), product_id="x-7", price=11.0)
    yield event("purchase", "young", TODAY - timedelta(minutes=1), product_id="x-7", price=11.0, order_id="y-1")
    # Two products that are always bought together.
    for number in range(10):
        for product in ("x-8", "x-9"):
            at = day - timedelta(days=number)
            yield event("purchase", f"pair-{number}", at, product_id=product, price=3.0, order_id=f"pair-{number}")


def write_history(directory: Path) -> Path:
    """The simulated history and the special cases, in a new directory; all of it arrived 7 seconds late."""
    simulated = directory / "simulated"
    flags = ("--num_customers", "600", "--num_events", "9000", "--days", "400", "--seed", "11")
    run("producer", "simulate", *flags, "--until", f"{TODAY:%Y-%m-%dT%H:%M:%SZ}", "--output", str(simulated))
    table = history.read(simulated)
    every = [event for _, events in history.by_customer(table) for event, _ in events] + list(_hand_made())
    with history.HistoryWriter(directory / "history") as writer:
        for event in sorted(every, key=lambda each: each.occurred_at):
            writer.add(event, event.occurred_at + LATE)
    return directory / "history"


# --- into Elasticsearch -----------------------------------------------------------------------------------------------


def forget(client: Elasticsearch) -> None:
    """Remove all indices of ours."""
    for index in client.indices.get(index=INDICES, ignore_unavailable=True):
        client.indices.delete(index=index)


def index(client: Elasticsearch, found: Sequence[Document]) -> None:
    """Write documents as es_ingest does, in batches of its size."""
    for first in range(0, len(found), BATCH):
        outcome = indexer.Indexer(client).write(found[first : first + BATCH], threading.Event())
        assert outcome is not None
        assert not outcome.refused


def of_messages(messages: Iterable[Published]) -> list[Document]:
    """The documents of messages as es_ingest makes them."""
    now = datetime.now(UTC)
    return [each for message in messages for each in documents.of_message(message, now=now, currency="EUR")]


def _event_messages(table: Any) -> Iterator[Published]:
    for _, events in history.by_customer(table):
        for event, ingested_at in events:
            yield Published(topics.EVENTS, encode(event), timestamp=round(ingested_at.timestamp() * 1000))


def make_cards(table: Any, live: model.RiskModel) -> list[RiskCard]:
    """The cards of everybody on some days, oldest first, as the scorer makes them."""
    table_of_actions = actions.read_actions(actions.ACTIONS_FILE)
    people = dict(history.by_customer(table))
    states, fields = dict.fromkeys(people, EMPTY), {customer: dict[str, str]() for customer in people}
    seen = dict.fromkeys(people, 0)
    cards = []
    for days in SCORED_DAYS:
        moment = TODAY - timedelta(days=days, seconds=-60)
        for customer, events in people.items():
            known = [event for event, at in events[seen[customer] :] if max(event.occurred_at, at) <= moment]
            for event in known:
                states[customer] = update(states[customer], event)
            seen[customer] += len(known)
        asked = [Known(customer, states[customer], fields[customer]) for customer in people if seen[customer]]
        for scored in score_customers(asked, live, table_of_actions, moment):
            told = (
                {"band_change_told": risk_card.moment_text(scored.card.band_change.at)}
                if scored.card.band_change
                else {}
            )
            fields[scored.card.customer_id] |= scored.write.fields | told
            cards.append(scored.card)
    return cards


def _letters() -> Iterator[Published]:
    for offset, payload in enumerate(UNREADABLE):
        try:
            decode(payload, now=TODAY, currency="EUR")
        except InvalidEvent as error:
            letter = dead_letters.of_message(
                error, payload, topic=topics.EVENTS, partition=0, offset=offset, failed_at=datetime.now(UTC)
            )
            yield Published(topics.DEAD_LETTERS, dead_letters.encode(letter))


def _health() -> list[Document]:
    """Two half-minutes of an indexing process: a busy one and a silent one."""
    now = [datetime.now(UTC) - timedelta(minutes=2)]
    health = Health("host-1", lambda: now[0])
    at_ms = round(now[0].timestamp() * 1000)
    health.count(Counter(events=90, risk=10), Counter(), {topics.EVENTS: Counter({at_ms - 400: 89, at_ms - 2_000: 1})})
    busy = health.documents({topics.EVENTS: 25})
    now[0] += timedelta(seconds=30)
    return [*busy, *health.documents({})]


def run(*command: str, url: str = "") -> None:
    """Run a command of the product to its end, with this Elasticsearch."""
    environment = {**os.environ, "ELASTICSEARCH_URL": url}
    finished = subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, f"{command}: {finished.stderr[-2000:]}"


def fill(client: Elasticsearch, url: str, directory: Path) -> SeededShop:
    """Everything that the boards look at, by the product's own code: history, cards, analyses, models, health."""
    templates.put(client, replicas=0)
    place = str(write_history(directory))
    models = directory / "models"
    run("training", "train", "--history", place, "--out", str(models), "--min-customers", "100", "--index", url=url)
    run("analytics", "--history", place, "--models", str(models), "--out", str(directory / "out"), "--index", url=url)
    (version,) = model.versions(models)
    for days, before in ((7, ()), (0, ("recency_days",))):
        rows = drift_rows(version, TODAY - timedelta(days=days), DRIFT, before)
        analysis_index.write(client, analysis_tables.MODEL_DRIFT, rows)
    table = history.read(Path(place))
    cards = make_cards(table, model.load(models, version))
    told = [Published(topics.RISK, risk_card.encode(card)) for card in cards]
    index(client, of_messages([*_event_messages(table), *told, *_letters()]))
    index(client, _health())
    client.indices.refresh(index=INDICES)
    return SeededShop(client, table.to_pandas(), cards)
