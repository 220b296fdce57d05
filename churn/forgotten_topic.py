"""Topic `forgotten`, where the list of forgotten customers lies: it outlives Redis, and every service follows it."""

import threading
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from churn import forgotten, logs, topics
from churn.forgotten import ForgetKeyMissing, ForgetKeyWrong, Forgotten
from churn.kafka_access import OPEN, KafkaSecurity

POLL_MS: Final = 1_000
PAUSE_S: Final = 2.0
SEND_TIMEOUT_S: Final = 30.0

log = logs.get_logger(__name__)


class _Entry(msgspec.Struct, frozen=True):
    """The value of a message; its key is the digest."""

    key_id: str


def add(bootstrap_servers: str, key: bytes, customer_ids: Iterable[str], security: KafkaSecurity = OPEN) -> None:
    """Put these customers on the list and return when Kafka has them. Raises `KafkaError`."""
    producer: Any = KafkaProducer(
        bootstrap_servers=bootstrap_servers.split(","), acks="all", **security.client_options()
    )
    value = msgspec.json.encode(_Entry(forgotten.key_id(key)))
    try:
        for customer_id in customer_ids:
            sent = producer.send(topics.FORGOTTEN, value, key=forgotten.digest(key, customer_id).encode())
            sent.get(timeout=SEND_TIMEOUT_S)
    finally:
        producer.close()


class Follower:
    """Reads the list to its end, and on from there in a thread of its own."""

    def __init__(self, bootstrap_servers: str, key: bytes, security: KafkaSecurity = OPEN) -> None:
        self._servers = bootstrap_servers.split(",")
        self._security = security
        self._key = key
        self._partitions = [TopicPartition(topics.FORGOTTEN, number) for number in range(topics.PARTITIONS)]
        self._stop = threading.Event()
        self.forgotten = Forgotten(key)

    def load(self) -> Forgotten:
        """The list as it is now; it grows from then on. Raises `KafkaError`, `ForgetKeyMissing`, `ForgetKeyWrong`."""
        consumer = self._consumer()
        try:
            ends = consumer.end_offsets(self._partitions)
            while any(consumer.position(each) < end for each, end in ends.items()):
                self._take(consumer)
        except BaseException:
            consumer.close(autocommit=False)
            raise
        threading.Thread(target=self._follow, args=(consumer,), name="forgotten", daemon=True).start()
        return self.forgotten

    def stop(self) -> None:
        """Follow it no more."""
        self._stop.set()

    def _consumer(self) -> Any:
        consumer = KafkaConsumer(
            bootstrap_servers=self._servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            **self._security.client_options(),
        )
        consumer.assign(self._partitions)
        return consumer

    def _follow(self, consumer: Any) -> None:
        while not self._stop.is_set():
            try:
                self._take(consumer)
            except (ForgetKeyMissing, ForgetKeyWrong) as fault:
                self.forgotten.fault = fault
                break
            except KafkaError as error:
                log.warning("waiting for the list of forgotten customers", reason=f"{type(error).__name__}: {error}")
                self._stop.wait(PAUSE_S)
        consumer.close(autocommit=False)

    def _take(self, consumer: Any) -> None:
        for messages in consumer.poll(timeout_ms=POLL_MS).values():
            for message in messages:
                if message.key is None or message.value is None:
                    continue
                forgotten.require_key(self._key, msgspec.json.decode(message.value, type=_Entry).key_id)
                self.forgotten.add(message.key.decode())


def follow(bootstrap_servers: str, key: bytes, security: KafkaSecurity = OPEN) -> Forgotten:
    """The list, growing as long as the process lives. Raises `KafkaError`, `ForgetKeyMissing`, `ForgetKeyWrong`."""
    return Follower(bootstrap_servers, key, security).load()
