"""es_ingest, Elasticsearch and Kafka killed at random while events flow: each document is there once, with its sums."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from churn import topics
from stack.stack import Stack

from ..patience import PATIENCE_S
from ..stream_processing import Message, empty_topics, some_events
from .indexing import Indexing, some_cards

EVENTS = 200_000
CARDS = 5_000
FEW = 0.1  # of all, enough for a mutation to be noticed

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("indexing")
    stack = Stack(directory, services=("kafka", "elasticsearch"), free_ports=True)
    for server in stack.services:
        server.start_timeout_s = PATIENCE_S
    with stack:
        yield stack


@pytest.fixture(scope="module")
def events() -> list[Message]:
    return some_events(EVENTS, customers=3_000)


@pytest.fixture
def begin(stack: Stack, events: list[Message], tmp_path: Path) -> Iterator[Callable[..., Indexing]]:
    """Begins a scenario on emptied servers; es_ingest ends with the test."""
    begun: list[Indexing] = []

    def begin(mutation: str | None = None, share: float = 1.0) -> Indexing:
        stack.start()
        empty_topics(stack.kafka.address)
        with Elasticsearch(stack.elasticsearch.url) as client:
            for index in client.indices.get(index="events-*,customers,risk-*", ignore_unavailable=True):
                client.indices.delete(index=index)
        topics.create(stack.kafka.address)
        few = [messages[: round(share * len(messages))] for messages in (events, some_cards(CARDS))]
        begun.append(Indexing(stack, tmp_path, *few, mutation=mutation))
        begun[-1].es_ingest.launch()
        return begun[-1]

    yield begin
    for each in begun:
        each.close()


def test_random_kills_of_everybody_lose_nothing_and_double_nothing(begin: Callable[..., Indexing]) -> None:
    scenario = begin()
    everybody = [scenario.es_ingest, scenario.stack.elasticsearch, scenario.stack.kafka]
    for count in (2, 2, 3):
        scenario.publish_into_work(0.25)
        scenario.kill(*scenario.chance.sample(everybody, count))
    indexed = scenario.finish()
    assert indexed.is_equal, str(indexed)
    assert set(scenario.kills) == {each.name for each in everybody}


def test_committed_before_elasticsearch_has_them_documents_are_lost(begin: Callable[..., Indexing]) -> None:
    scenario = begin("committed_first", FEW)
    scenario.es_ingest.wait_until_ready()
    # Elasticsearch is held until the first batch is on its way to it and committed; that batch goes with both.
    scenario.stack.elasticsearch.freeze()
    scenario.publish(0.8)
    scenario.wait_for_commits()
    scenario.kill(scenario.stack.elasticsearch, scenario.es_ingest)
    indexed = scenario.finish()
    assert indexed.events.lost > 0, str(indexed)


def test_with_random_ids_documents_are_doubled(begin: Callable[..., Indexing]) -> None:
    scenario = begin("random_ids", FEW)
    indexed = scenario.finish()
    assert indexed.events.doubled > 0, str(indexed)
