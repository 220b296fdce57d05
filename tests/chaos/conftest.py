"""Kafka and Redis for the chaos suite alone, and its events."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stack.stack import Stack

from ..stream_processing import Message, empty, some_events
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
def start_scenario(chaos_stack: Stack, messages: list[Message], tmp_path: Path) -> Iterator[Callable[..., Scenario]]:
    """Begins a scenario on emptied servers; everything that it started ends with the test."""
    begun: list[Scenario] = []

    def start(mutation: str | None = None, events: int = EVENTS) -> Scenario:
        empty(chaos_stack)
        begun.append(Scenario(chaos_stack, tmp_path, messages[:events], mutation=mutation))
        return begun[-1]

    yield start
    for each in begun:
        each.close()


@pytest.fixture
def scenario(start_scenario: Callable[..., Scenario]) -> Scenario:
    return start_scenario()
