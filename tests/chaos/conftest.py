"""Kafka and Redis for the chaos suite alone, and its events."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from kafka.admin import KafkaAdminClient

from churn import topics
from stack.stack import Stack

from ..stream_processing import Message, some_events
from .scenario import Scenario

EVENTS = 200_000
CUSTOMERS = 3_000
SETTINGS = {
    # Rewriting the file while it is copied would make the copy worthless.
    "redis": {"auto-aof-rewrite-percentage": "0"},
}


@pytest.fixture(scope="session")
def chaos_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers that are killed and frozen: not those of the other tests."""
    directory = tmp_path_factory.mktemp("chaos")
    with Stack(directory, services=("kafka", "redis"), free_ports=True, settings=SETTINGS) as stack:
        yield stack


@pytest.fixture(scope="session")
def messages() -> list[Message]:
    return some_events(EVENTS, CUSTOMERS)


@pytest.fixture
def start_scenario(
    chaos_stack: Stack, messages: list[Message], tmp_path: Path
) -> Iterator[Callable[..., Scenario]]:
    """Begins a scenario on emptied servers; everything that it started ends with the test."""
    begun: list[Scenario] = []

    def start(mutation: str | None = None) -> Scenario:
        empty(chaos_stack)
        begun.append(Scenario(chaos_stack, tmp_path, messages, mutation=mutation))
        return begun[-1]

    yield start
    for each in begun:
        each.close()


@pytest.fixture
def scenario(start_scenario: Callable[..., Scenario]) -> Scenario:
    return start_scenario()


def empty(stack: Stack) -> None:
    """Start what the test before may have left dead or frozen, and remove all topics and customers."""
    for server in (stack.redis, stack.kafka):
        if server.is_running:
            server.resume()
        server.start()
    client = redis.Redis.from_url(stack.redis.url)
    client.config_set("maxmemory", 0)
    client.flushall()
    client.close()
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka.address)
    left = {spec.name for spec in topics.ALL} & set(admin.list_topics())
    if left:
        admin.delete_topics(sorted(left))
    admin.close()
    topics.create(stack.kafka.address)
