"""Where events go: a Kafka topic, a Parquet history, or both."""

from datetime import datetime
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import Any, Final, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from kafka.partitioner.default import murmur2

from churn import dead_letters, events, kafka_access, topics
from churn.dead_letters import DeadLetter
from churn.events import Event
from churn.history import HistoryWriter
from churn.kafka_access import OPEN, KafkaSecurity
from churn.refusal import AccessRefused
from producer.errors import KafkaUnreachable, PublishFailed, TopicMissing
from producer.pacing import Clock
from producer.sent import Partition, Place, Run, Sent, look_up

CONNECT_TIMEOUT_S: Final = 10.0
LOOK_TIMEOUT_S: Final = 0.5
BATCH_BYTES: Final = 128 * 1024
# Full batches for those who send as fast as they can, short waiting for those who send as it happens.
LINGER_MS: Final = 50
LIVE_LINGER_MS: Final = 5
MAX_UNACKNOWLEDGED: Final = 20_000
MAX_UNACKNOWLEDGED_KIB: Final = 32 * 1024
_ANY_PARTITION: Final = -1


class Sink(Protocol):
    """Takes events and dead letters; what was taken is safe after `flush`."""

    def holds(self, item: Event | DeadLetter, place: Place) -> bool:
        """Whether an earlier run has brought this message here already."""

    def add(self, event: Event, ingested_at: datetime, place: Place | None = None) -> None:
        """Take an event; `ingested_at` (aware) is when the shop came to know of it, `place` where it was read."""

    def add_dead_letter(self, letter: DeadLetter, place: Place) -> None:
        """Take a row that is no event."""

    def flush(self) -> None:
        """Return when everything taken is safe."""

    def close(self) -> None:
        """Let go of what is held, without waiting."""


class HistorySink:
    """A Parquet history. Dead letters have no place in it: they are only counted by whoever read them."""

    def __init__(self, directory: Path) -> None:
        self._writer = HistoryWriter(directory)

    def holds(self, item: Event | DeadLetter, place: Place) -> bool:
        return False

    def add(self, event: Event, ingested_at: datetime, place: Place | None = None) -> None:
        self._writer.add(event, ingested_at)

    def add_dead_letter(self, letter: DeadLetter, place: Place) -> None:
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
    """Topics of Kafka, each message once, in order and without gaps: idempotent, acknowledged by all replicas.

    The methods raise `PublishFailed` as soon as a message before them is known to be refused, or when Kafka has taken
    nothing for `delivery_timeout_s`. The time stamp of a message is the moment of publishing.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        delivery_timeout_s: float = 120.0,
        clock: Clock = monotonic,
        linger_ms: int = LINGER_MS,
        security: KafkaSecurity = OPEN,
    ) -> None:
        """Raises `KafkaUnreachable`, `TopicMissing` and `AccessRefused`."""
        self._servers = bootstrap_servers
        self._security = security
        self._topic = topic
        self._timeout_s = delivery_timeout_s
        self._clock = clock
        self._failure: KafkaError | None = None
        self._last_error: KafkaError | None = None
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "acks": "all",
                "enable.idempotence": True,
                # No message may be given up while later ones are delivered: places on a partition must have no gaps.
                "enable.gapless.guarantee": True,
                "message.timeout.ms": 0,
                "message.max.bytes": topics.MAX_MESSAGE_BYTES,
                "queue.buffering.max.messages": MAX_UNACKNOWLEDGED,
                "queue.buffering.max.kbytes": MAX_UNACKNOWLEDGED_KIB,
                "batch.size": BATCH_BYTES,
                "linger.ms": linger_ms,
                "compression.type": "lz4",
                "partitioner": "murmur2",
                "delivery.report.only.error": True,
                "error_cb": self._note_error,
                "log_level": 2,  # what goes wrong is told by our own errors
                **security.librdkafka_options(),
            },
            on_delivery=self._note_failure,
        )
        self._partitions = self._partitions_of((topic, topics.DEAD_LETTERS))
        self._prefix: str | None = None
        self._last: dict[Partition, Place] = {}
        self._produced = 0
        self._acknowledged = 0
        self._moved_at = clock()

    def look_up(self, fingerprint: str) -> Sent | None:
        """How far an earlier run of this source came on these topics; raises `KafkaUnreachable`."""
        partitions = [(name, number) for name, count in self._partitions.items() for number in range(count)]
        return look_up(self._servers, fingerprint, partitions, self._security)

    def go_on(self, run: Run, last: dict[Partition, Place]) -> None:
        """From now on mark messages as of this run, of which `last` is here already."""
        self._prefix = run.prefix
        self._last = last

    def holds(self, item: Event | DeadLetter, place: Place) -> bool:
        if not self._last:
            return False
        topic, key = self._address(item)
        last = self._last.get((topic, partition_of(key, self._partitions[topic])))
        return last is not None and place <= last

    def add(self, event: Event, ingested_at: datetime, place: Place | None = None) -> None:
        self._send(*self._address(event), events.encode(event), place)

    def add_dead_letter(self, letter: DeadLetter, place: Place) -> None:
        self._send(*self._address(letter), dead_letters.encode(letter), place)

    def _address(self, item: Event | DeadLetter) -> tuple[str, bytes]:
        if isinstance(item, DeadLetter):
            return topics.DEAD_LETTERS, item.letter_id.encode()
        return self._topic, item.customer_id.encode()

    def _send(self, topic: str, key: bytes, value: bytes, place: Place | None) -> None:
        headers: dict[str, str | bytes | None] | None = None
        if place and self._prefix:
            headers = {topics.SOURCE_HEADER: f"{self._prefix} {place.row}.{place.step}"}
        if self.unacknowledged == 0:
            self._moved_at = self._clock()  # nothing was to be acknowledged until now, for however long
        while True:
            try:
                self._producer.produce(topic, value, key, _ANY_PARTITION, headers=headers)
                break
            except BufferError:
                self._serve(0.1)
            except KafkaException as error:
                raise self._failed(error.args[0]) from error
        self._produced += 1
        self._serve(0)

    def _serve(self, wait_s: float) -> None:
        """Let the client work; raises `PublishFailed` where it reports a fault, or no progress for too long."""
        self._producer.poll(wait_s)
        if self._failure is not None:
            raise self._failed(self._failure)
        acknowledged = self.acknowledged
        if acknowledged != self._acknowledged:
            self._acknowledged, self._moved_at = acknowledged, self._clock()
        elif self.unacknowledged and self._clock() - self._moved_at > self._timeout_s:
            raise self._failed(self._last_error or f"nothing acknowledged for {self._timeout_s:.0f} s")

    def _failed(self, cause: object) -> PublishFailed:
        return PublishFailed(self._topic, self.acknowledged, cause)

    def _note_failure(self, error: KafkaError | None, message: Message) -> None:
        self._failure = self._failure or error

    def _note_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # comes after what says why
            self._last_error = error
        if error.fatal():
            self._failure = self._failure or error

    @property
    def unacknowledged(self) -> int:
        """Messages on their way."""
        return len(self._producer)

    @property
    def acknowledged(self) -> int:
        """Messages that Kafka has."""
        return self._produced - self.unacknowledged

    def flush(self) -> None:
        while self.unacknowledged:
            self._producer.flush(0.1)
            self._serve(0)
        self._serve(0)

    def close(self) -> None:
        self._producer.purge()  # after a fault nobody waits for what is still under way

    def _topics(self) -> Any:
        deadline = self._clock() + CONNECT_TIMEOUT_S
        while True:
            try:
                return self._producer.list_topics(timeout=LOOK_TIMEOUT_S).topics
            except KafkaException as error:
                self._producer.poll(0)  # lets the client tell what it met
                why = kafka_access.of_reason(self._last_error or error.args[0], self._servers, self._security)
                if isinstance(why, AccessRefused):
                    raise why from error
                if self._clock() > deadline:
                    raise KafkaUnreachable(str(why)) from error

    def _partitions_of(self, names: tuple[str, ...]) -> dict[str, int]:
        """The number of partitions of these topics."""
        found = self._topics()
        for name in names:
            if name not in found:
                raise TopicMissing(f"topic {name} is missing at {self._servers}: run `python -m churn.topics`")
        return {name: len(found[name].partitions) for name in names}
