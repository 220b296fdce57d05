"""The events of a benchmark, what Redis must hold in the end, and by which customers one sees how far a worker is."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from kafka.admin import KafkaAdminClient, NewTopic

from churn import topics
from churn.events import Event, decode, encode
from churn.features import update
from churn.state import EMPTY, State, pack
from producer.simulator import Plan, Simulation
from producer.sinks import KafkaSink, partition_of

UNTIL: Final = datetime(2026, 1, 1, tzinfo=UTC)
DAYS: Final = 365
SEED: Final = 7
RUNGS: Final = 100
PATIENCE_S: Final = 30.0
_CONFIG: Final = next(each.config for each in topics.ALL if each.name == topics.EVENTS)


class Rung(NamedTuple):
    """A customer whose last event has this offset: once Redis shows it, the partition is folded that far."""

    offset: int
    customer_id: str


class Workload:
    """The first `events` of a simulated shop, in order of time, on `topic`.

    `expected` is the offline fold: per customer the packed state and `partition:offset` of the last event. `ladders`
    has, per partition, about a hundred rungs, the last one at the partition's end.
    """

    def __init__(self, topic: str, payloads: list[bytes]) -> None:
        self.topic = topic
        self.payloads = payloads
        self.events = len(payloads)
        self.ends = [0] * topics.PARTITIONS
        states: dict[str, State] = {}
        last: dict[str, tuple[int, int]] = {}
        for event in self._decoded():
            customer_id = event.customer_id
            states[customer_id] = update(states.get(customer_id, EMPTY), event)
            partition = partition_of(customer_id.encode(), topics.PARTITIONS)
            last[customer_id] = (partition, self.ends[partition])
            self.ends[partition] += 1
        self.expected = {
            customer_id: (pack(state), b"%d:%d" % last[customer_id]) for customer_id, state in states.items()
        }
        self.ladders = [_ladder(partition, last) for partition in range(topics.PARTITIONS)]

    def _decoded(self) -> Iterator[Event]:
        return (decode(payload, now=UNTIL, currency="EUR") for payload in self.payloads)

    def publish(self, bootstrap_servers: str, first: int = 0) -> None:
        """Bring the events from number `first` on to the topic, by customer as the producer does."""
        sink = KafkaSink(bootstrap_servers, self.topic)
        for event in islice(self._decoded(), first, None):
            sink.add(event, event.occurred_at)
        sink.flush()
        sink.close()

    def save(self, path: Path) -> None:
        """The payloads as a file, for a process that folds them from memory."""
        path.write_bytes(msgspec.msgpack.encode(self.payloads))


def simulated(events: int, customers: int) -> list[bytes]:
    """Exactly so many payloads of a simulated year, the same ones for the same numbers."""
    # A simulation is as long as its plan only roughly.
    plan = Plan(customers, round(events * 1.2), DAYS, SEED, UNTIL)
    history = Simulation(plan).history()
    return [encode(event) for event, _ in zip(history, range(events), strict=False)]


def _ladder(partition: int, last: dict[str, tuple[int, int]]) -> list[Rung]:
    rungs = sorted(Rung(offset, customer_id) for customer_id, (home, offset) in last.items() if home == partition)
    step = max(1, len(rungs) // RUNGS)
    return rungs[::-1][::step][::-1]


def empty_topic(bootstrap_servers: str, topic: str) -> None:
    """Make the topic as it is for events, without those that it held before."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        if topic in admin.list_topics():
            admin.delete_topics([topic])
            _wait_until(lambda: topic not in admin.list_topics())
        admin.create_topics([NewTopic(topic, topics.PARTITIONS, 1, topic_configs=_CONFIG)])
        _wait_until(lambda: topic in admin.list_topics())
    finally:
        admin.close()


def _wait_until(is_done: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not is_done():
        if time.monotonic() > ends:
            raise TimeoutError(f"Kafka did not make or remove the topic within {PATIENCE_S:.0f} s")
        time.sleep(0.05)
