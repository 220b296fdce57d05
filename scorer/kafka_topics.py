"""The two topics of the scorer: notices of changed customers come in, risk cards go out."""

from collections.abc import Sequence
from typing import Any, Final

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import CommitFailedError, KafkaError

from churn import logs, topics
from churn.kafka_access import OPEN, KafkaSecurity, explained
from churn.membership import Membership
from churn.risk_card import RiskCard, encode

GROUP: Final = "scorer"
# Together with Redis these keep a stop below five seconds, whatever does not answer.
ANSWER_TIMEOUT_S: Final = 2.0
# The broker gathers notices that trickle in: a batch of many costs little more than a batch of one.
FETCH_BYTES: Final = 256 * 1024
FETCH_WAIT_MS: Final = 250
_FIRST: Final = TopicPartition(topics.FEATURES, 0)

log = logs.get_logger(__name__)


def _connected(kind: Any, bootstrap_servers: str, security: KafkaSecurity, **options: Any) -> Any:
    try:
        return kind(
            bootstrap_servers=bootstrap_servers.split(","),
            bootstrap_timeout_ms=int(ANSWER_TIMEOUT_S * 1000),
            **security.client_options(),
            **options,
        )
    except KafkaError as error:
        raise explained(error, bootstrap_servers, security) from error


class Notices:
    """Topic `features`: which customers changed. A notice is done when it is committed, and comes again otherwise."""

    def __init__(self, bootstrap_servers: str, group: str = GROUP, security: KafkaSecurity = OPEN) -> None:
        """Raises `KafkaUnreachable`, and `AccessRefused` where waiting does not help."""
        self.unreadable = 0
        self._consumer: Any = _connected(
            KafkaConsumer,
            bootstrap_servers,
            security,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            fetch_min_bytes=FETCH_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            session_timeout_ms=10_000,
            metadata_max_age_ms=5_000,
        )
        self._membership = Membership(self._consumer, [topics.FEATURES])
        self._membership.join()

    def poll(self, most: int, wait_s: float) -> list[str]:
        """Customers with notices, each once, of at most `most` messages; empty when none came within `wait_s`."""
        self._membership.keep()
        batches = self._consumer.poll(timeout_ms=int(wait_s * 1000), max_records=most)
        return list(dict.fromkeys(name for batch in batches.values() for name in map(self._customer_of, batch) if name))

    def stay(self) -> list[str]:
        """Take part in the group without taking notices, but for those of a partition that comes to us just now."""
        held = self._consumer.assignment()
        self._consumer.pause(*held)
        try:
            return self.poll(1, 0)
        finally:
            self._consumer.resume(*(held & self._consumer.assignment()))

    def _customer_of(self, message: Any) -> str | None:
        try:
            customer_id: str = message.key.decode()
        except (AttributeError, UnicodeDecodeError):
            self.unreadable += 1
            return None
        return customer_id

    def commit(self) -> None:
        """All that was polled is done. If it fails, the next one makes up for it, or the notices come again."""
        try:
            self._consumer.commit(timeout_ms=ANSWER_TIMEOUT_S * 1000)
        except CommitFailedError:
            log.warning("partitions went to another scorer before the commit: it scores these customers again")
        except KafkaError as error:
            log.warning("not committed", reason=str(error))

    @property
    def keeps_time(self) -> bool:
        """Whether this scorer holds the first partition: the one of all scorers that rescores the silent."""
        return _FIRST in self._consumer.assignment()

    @property
    def lag(self) -> int:
        """Messages on our partitions that are not polled yet, as far as the broker told."""
        ends = ((self._consumer.highwater(held), held) for held in self._consumer.assignment())
        return sum(max(0, end - self._consumer.position(held)) for end, held in ends if end is not None)

    def close(self) -> None:
        self._consumer.close(autocommit=False, timeout_ms=1_000)


class RiskTopic:
    """Topic `risk`: the latest card of every customer."""

    def __init__(self, bootstrap_servers: str, security: KafkaSecurity = OPEN) -> None:
        """Raises `KafkaUnreachable`, and `AccessRefused` where waiting does not help."""
        self._producer: Any = _connected(
            KafkaProducer,
            bootstrap_servers,
            security,
            acks="all",
            # Cards keep their order because one request is on its way at a time; a card sent twice does no harm, and
            # a producer that is not idempotent has no state that an outage could spoil.
            enable_idempotence=False,
            max_in_flight_requests_per_connection=1,
            allow_auto_create_topics=False,
            max_block_ms=int(ANSWER_TIMEOUT_S * 1000),
            linger_ms=5,
            batch_size=256 * 1024,
            compression_type="lz4",  # cards are long and much alike
        )

    def publish(self, cards: Sequence[RiskCard]) -> None:
        """Send the cards and return when Kafka has them all. Raises `KafkaError`; then some may have arrived."""
        sent = [self._producer.send(topics.RISK, key=card.customer_id.encode(), value=encode(card)) for card in cards]
        self._producer.flush(timeout=ANSWER_TIMEOUT_S)
        for future in sent:
            future.get(timeout=0)

    def remove(self, customer_ids: Sequence[str]) -> None:
        """Leave no card of these customers. Raises `KafkaError`."""
        sent = [self._producer.send(topics.RISK, key=customer_id.encode()) for customer_id in customer_ids]
        self._producer.flush(timeout=ANSWER_TIMEOUT_S)
        for future in sent:
            future.get(timeout=0)

    def close(self) -> None:
        self._producer.close(timeout=1)
