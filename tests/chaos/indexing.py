"""One scenario of the chaos of es_ingest: events and cards published in portions, faults in the midst of the indexing,
and the comparison of Elasticsearch with what was published."""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from elasticsearch import ApiError, ConnectionTimeout, Elasticsearch
from elasticsearch import ConnectionError as NotReached
from elasticsearch.helpers import scan

from churn import risk_card, topics
from churn.events import decode
from churn.features import feature_row
from churn.risk_card import RiskCard, Status
from churn.state import EMPTY
from es_ingest.service import GROUP
from stack.kafka_offsets import lag, produced
from stack.ports import free_port
from stack.service import Service
from stack.stack import Stack
from stack.waiting import wait_until
from stack.workers import EsIngest

from ..patience import PATIENCE_S
from ..stream_processing import NOW, Message, publish, wait_until_done
from . import index_content
from .index_content import Difference
from .mutated_worker import MUTATION

SEED = 7


class MutatedIngest(EsIngest):
    """es_ingest with one of its safeguards taken away."""

    @property
    def module(self) -> str:
        return "tests.chaos.mutated_ingest"


class Indexed(NamedTuple):
    """How Elasticsearch differs from what was published. `str` tells it to people."""

    events: Difference
    wrong_cards: int

    @property
    def is_equal(self) -> bool:
        return self.events.is_none and not self.wrong_cards

    def __str__(self) -> str:
        return f"{self.events}; {self.wrong_cards} customers have another card than their latest"


def some_cards(count: int, customers: int = 1_000) -> list[Message]:
    """Cards in no order of time, so that only their versions tell which is the latest."""
    chance = random.Random(SEED)
    cards = []
    for _ in range(count):
        customer_id = f"c{chance.randrange(customers)}"
        # Whole milliseconds, like the version.
        as_of = NOW.replace(microsecond=0) - timedelta(minutes=chance.randrange(60 * 24 * 60))
        card = RiskCard(
            customer_id=customer_id,
            as_of=as_of,
            scored_at=as_of,
            status=Status.FRESH,
            risk=chance.randrange(10_000) / 10_000,
            risk_band="high",
            base=0.0,
            drivers=[],
            segment="At Risk",
            action="Call them.",
            model_version="abc",
            features=feature_row(EMPTY, as_of),
        )
        cards.append((customer_id.encode(), risk_card.encode(card)))
    return cards


def latest(cards: Sequence[Message]) -> dict[str, tuple[datetime, float | None]]:
    """Moment and risk of each customer's latest card."""
    known: dict[str, tuple[datetime, float | None]] = {}
    for _, value in cards:
        card = risk_card.decode(value)
        if card.customer_id not in known or known[card.customer_id][0] <= card.as_of:
            known[card.customer_id] = card.as_of, card.risk
    return known


class Indexing:
    """Kafka, Elasticsearch and es_ingest, with messages still to be published; `chance` decides when faults strike.

    `mutation` names the safeguard that es_ingest lacks; none by default.
    """

    def __init__(
        self,
        stack: Stack,
        directory: Path,
        events: Sequence[Message],
        cards: Sequence[Message],
        *,
        mutation: str | None = None,
    ) -> None:
        self.stack = stack
        self.chance = random.Random(SEED)
        self.kills: Counter[str] = Counter()
        self._client = Elasticsearch(stack.elasticsearch.url, max_retries=0, request_timeout=60)
        self._events, self._cards = events, cards
        self._published = 0.0
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": stack.kafka.address,
            "ELASTICSEARCH_URL": stack.elasticsearch.url,
            MUTATION: mutation or "",
        }
        self.es_ingest = (EsIngest if mutation is None else MutatedIngest)(directory, environment, port=free_port())
        self.es_ingest.start_timeout_s = PATIENCE_S

    def publish(self, share: float) -> None:
        """Send the next events and cards, `share` of all."""
        until = min(1.0, self._published + share)
        for topic, messages in ((topics.EVENTS, self._events), (topics.RISK, self._cards)):
            begin, end = (round(part * len(messages)) for part in (self._published, until))
            publish(self.stack.kafka.address, messages[begin:end], topic)
        self._published = until

    def publish_into_work(self, share: float) -> None:
        """Send the next events and return at a random moment while es_ingest is in the midst of them."""
        before = self.written()
        self.publish(share)
        wanted = before + self.chance.randrange(500, 5_000)
        is_seen = wait_until(lambda: self.written() >= wanted, PATIENCE_S, poll_s=0.02)
        assert is_seen, f"{self.written()} documents written after {PATIENCE_S:g} s, {wanted} were expected"
        assert self.lag() > 0

    def written(self) -> int:
        """Documents that Elasticsearch has written since it was started; 0 while it is away."""
        try:
            answer = self._client.indices.stats(index="events-*", metric="indexing")
        except (ApiError, NotReached, ConnectionTimeout):
            return 0
        return int(answer["_all"]["primaries"].get("indexing", {}).get("index_total", 0))

    def lag(self) -> int:
        """Events that are not committed yet."""
        return lag(self.stack.kafka.address, GROUP, topics.EVENTS)

    def wait_for_commits(self) -> None:
        """Return when the first events are committed, while none are published."""
        published = produced(self.stack.kafka.address, topics.EVENTS)
        is_seen = wait_until(lambda: self.lag() < published, PATIENCE_S)
        assert is_seen, f"{self.lag()} of {published} events are not committed after {PATIENCE_S:g} s"

    def kill(self, *victims: Service) -> None:
        """Kill all of these, in this order, then start them again side by side."""
        for victim in victims:
            victim.kill()
            self.kills[victim.name] += 1
        for victim in victims:
            victim.launch()
        for victim in victims:
            victim.wait_until_ready()

    def finish(self) -> Indexed:
        """Publish what is left, let es_ingest come to its end, and compare Elasticsearch with what was published."""
        self.publish(1.0)
        wait_until_done(self.stack.kafka.address, GROUP, topics.EVENTS, topics.RISK)
        later = NOW + timedelta(days=1)
        events = (decode(value, now=later, currency="EUR") for _, value in self._events)
        difference = index_content.compare(index_content.found(self._client), index_content.expected(events))
        return Indexed(difference, len(latest(self._cards).items() ^ self._cards_found().items()))

    def _cards_found(self) -> dict[str, tuple[datetime, float | None]]:
        self._client.indices.refresh(index="customers")
        hits = scan(self._client, index="customers", query={"_source": ["as_of", "risk"]}, size=index_content.PAGE)
        sources = {hit["_id"]: hit["_source"] for hit in hits}
        return {name: (datetime.fromisoformat(each["as_of"]), each["risk"]) for name, each in sources.items()}

    def close(self) -> None:
        self.es_ingest.kill()
        self._client.close()
