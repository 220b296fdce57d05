"""Where events go: a Kafka topic, a Parquet history, or both."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol

from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.partitioner.default import murmur2

from churn import dead_letters, events, topics
from churn.dead_letters import DeadLetter
from churn.events import Event
from churn.history import HistoryWriter
from producer.errors import KafkaUnreachable, PublishFailed, TopicMissing

CONNECT_TIMEOUT_MS: Final = 10_000
BATCH_BYTES: Final = 128 * 1024
LINGER_MS: Final = 50
# kafka-python bounds no memory of its own: what is not acknowledged yet waits in it.
MAX_UNACKNOWLEDGED: Final = 20_000
MAX_UNACKNOWLEDGED_BYTES: Final = 64 * 1024 * 1024


class Sink(Protocol):
    """Takes events and dead letters; what was taken is safe after `flush`."""

    def add(self, event: Event, ingested_at: datetime) -> None:
        """Take an event; `ingested_at` (aware) is when the shop came to know of it."""

    def add_dead_letter(self, letter: DeadLetter) -> None:
        """Take a row that is no event."""

    def flush(self) -> None:
        """Return when everything taken is safe."""

    def close(self) -> None:
        """Let go of what is held, without waiting."""


class HistorySink:
    """A Parquet history. Dead letters have no place in it: they are only counted by whoever read them."""

    def __init__(self, directory: Path) -> None:
        self._writer = HistoryWriter(directory)

    def add(self, event: Event, ingested_at: datetime) -> None:
        self._writer.add(event, ingested_at)

    def add_dead_letter(self, letter: DeadLetter) -> None:
        pass

    def flush(self) -> None:
        self._writer.close()

    def close(self) -> None:
        self._writer.close()


@lru_cache(maxsize=200_000)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key as Kafka's own clients choose it (murmur2), whatever a client's default is."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


class KafkaSink:
    """Topics of Kafka, each message once: idempotent, acknowledged by all replicas.

    `add`, `add_dead_letter` and `flush` raise `PublishFailed` as soon as one message before them is known to be
    refused. The time stamp of a message is the moment of publishing.
    """

    def __init__(self, bootstrap_servers: str, topic: str, delivery_timeout_s: float = 120.0) -> None:
        """`delivery_timeout_s`: a message that Kafka has not taken after this time counts as refused."""
        self._topic = topic
        self._partitions = _partitions_of(bootstrap_servers, (topic, topics.DEAD_LETTERS))
        self._producer = KafkaProducer(
            bootstrap_servers=bootstrap_servers,
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,
            max_request_size=topics.MAX_MESSAGE_BYTES,
            batch_size=BATCH_BYTES,
            linger_ms=LINGER_MS,
            compression_type="gzip",
            bootstrap_timeout_ms=CONNECT_TIMEOUT_MS,
            delivery_timeout_ms=round(delivery_timeout_s * 1000),
            request_timeout_ms=round(delivery_timeout_s * 250),  # the client wants an integer
        )
        self._sent: deque[tuple[str, Any, int]] = deque()  # topic, future and size of what is not acknowledged yet
        self._sent_bytes = 0
        self._acknowledged = 0

    def add(self, event: Event, ingested_at: datetime) -> None:
        self._send(self._topic, event.customer_id.encode(), events.encode(event))

    def add_dead_letter(self, letter: DeadLetter) -> None:
        self._send(topics.DEAD_LETTERS, letter.letter_id.encode(), dead_letters.encode(letter))

    def _send(self, topic: str, key: bytes, value: bytes) -> None:
        partition = partition_of(key, self._partitions[topic])
        try:
            future = self._producer.send(topic, value, key, partition=partition)
        except KafkaError as error:
            raise PublishFailed(topic, self._acknowledged, error) from error
        self._sent.append((topic, future, len(value)))
        self._sent_bytes += len(value)
        self._settle(lambda: len(self._sent) > MAX_UNACKNOWLEDGED or self._sent_bytes > MAX_UNACKNOWLEDGED_BYTES)

    def _settle(self, must_wait: Callable[[], bool]) -> None:
        """Forget what is acknowledged, in the order of sending; wait for the oldest while `must_wait`."""
        while self._sent and (self._sent[0][1].is_done or must_wait()):
            topic, future, size = self._sent[0]
            try:
                future.get()
            except KafkaError as error:
                raise PublishFailed(topic, self._acknowledged, error) from error
            self._sent.popleft()
            self._sent_bytes -= size
            self._acknowledged += 1

    def flush(self) -> None:
        try:
            self._producer.flush()
        except KafkaError as error:
            raise PublishFailed(self._topic, self._acknowledged, error) from error
        self._settle(lambda: True)

    def close(self) -> None:
        with suppress(KafkaTimeoutError):  # after a fault nobody waits for what is still under way
            self._producer.close(timeout=0)


def _partitions_of(bootstrap_servers: str, names: tuple[str, ...]) -> dict[str, int]:
    """The number of partitions of these topics; raises `TopicMissing` and `KafkaUnreachable`."""
    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers, bootstrap_timeout_ms=CONNECT_TIMEOUT_MS)
        try:
            described = admin.describe_topics()
        finally:
            admin.close()
    except KafkaError as error:
        raise KafkaUnreachable(f"Kafka at {bootstrap_servers} (KAFKA_BOOTSTRAP_SERVERS): {error}") from error
    found = {topic["name"]: len(topic["partitions"]) for topic in described}
    for name in names:
        if name not in found:
            raise TopicMissing(f"topic {name} is missing at {bootstrap_servers}: run `python -m churn.topics`")
    return {name: found[name] for name in names}
