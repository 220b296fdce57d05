"""Fold the topic from its beginning into shadow states and put them in the place of the live ones, one by one.

Readers and workers go on meanwhile. A customer is switched in one step as soon as the shadow holds as many events as
the live state; a worker that still has the old state in hand is refused its next write and reads the new one.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from churn import state, topics
from churn.feature_store import Kept, RedisFeatureStore
from churn.forgotten import NOBODY, Forgotten
from churn.kafka_access import OPEN, KafkaSecurity
from churn.letter_replay import replayed_letter
from stream_processor.fold import Fold

SWITCHED_TOGETHER: Final = 1_000
POLLED_TOGETHER: Final = 4_000


class TopicTrimmed(RuntimeError):
    """The topic has lost its beginning: states folded from it would lack those events."""


class Rebuilt(NamedTuple):
    """How many events were folded and refused, how many customers switched, and how many left as they were."""

    events: int
    refused: int
    customers: int
    left: int


class Rebuild:
    """One rebuild, numbered `number` (a later one has a higher number, at least 1).

    `on_folded` is told of (events done, events in the topic), `on_switched` of customers done. Raises `TopicTrimmed`.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        live: RedisFeatureStore,
        shadow: RedisFeatureStore,
        *,
        number: int,
        currency: str,
        max_customers: int,
        on_folded: Callable[[int, int], object],
        on_switched: Callable[[int], object],
        forgotten: Forgotten = NOBODY,
        security: KafkaSecurity = OPEN,
    ) -> None:
        self._security = security
        self._servers = bootstrap_servers.split(",")
        self._live = live
        self._shadow = shadow
        self._number = number
        self._on_folded = on_folded
        self._on_switched = on_switched
        self._forgotten = forgotten
        self._fold = Fold(
            shadow.read_states,
            topic=topics.EVENTS,
            currency=currency,
            max_customers=max_customers,
            forgotten=forgotten,
        )
        self._redis_run_id = ""
        self._partitions = [TopicPartition(topics.EVENTS, number) for number in range(topics.PARTITIONS)]

    def run(self) -> Rebuilt:
        """Discard what an earlier rebuild left, fold everything, switch everybody."""
        self._redis_run_id = self._live.run_id()
        for customer_ids in _in_parts(self._live.shadow_ids()):
            self._live.discard_shadows(customer_ids)
        consumer: Any = KafkaConsumer(
            bootstrap_servers=self._servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            **self._security.client_options(),
        )
        producer: Any = KafkaProducer(
            bootstrap_servers=self._servers, acks="all", linger_ms=20, **self._security.client_options()
        )
        try:
            consumer.assign(self._partitions)
            self._require_beginning(consumer)
            self._fold_to_end(consumer)
            switched = self._switch_all(consumer, producer)
        finally:
            producer.close()
            consumer.close(autocommit=False)
        left = sum(1 for customer_id in self._live.customer_ids()) - switched
        return Rebuilt(self._fold.applied, self._fold.refused.total(), switched, max(0, left))

    def _require_beginning(self, consumer: Any) -> None:
        lost = {each.partition: start for each, start in consumer.beginning_offsets(self._partitions).items() if start}
        if lost:
            raise TopicTrimmed(
                f"topic {topics.EVENTS} begins at offset {max(lost.values()):,} of partition {max(lost)}, not at 0: "
                "its first events are gone, and states without them would be wrong. Nothing was changed; replay the "
                "history into a new topic, or restore Redis from a backup"
            )

    def _fold_to_end(self, consumer: Any, only: Collection[str] | None = None) -> None:
        """Fold what has come, of all customers or of `only` these, and write the shadow states."""
        ends = consumer.end_offsets(self._partitions)
        while any(consumer.position(each) < end for each, end in ends.items()):
            polled = consumer.poll(timeout_ms=1_000, max_records=POLLED_TOGETHER)
            for partition, messages in polled.items():
                self._take(partition.partition, messages, only)
            self._write()
            self._on_folded(sum(consumer.position(each) for each in ends), sum(ends.values()))

    def _take(self, partition: int, messages: Sequence[Any], only: Collection[str] | None) -> None:
        fold = self._fold
        if only is not None:
            messages = [each for each in messages if (who := fold.customer_of(each)) is None or who in only]
        read: dict[str, Kept | None] = {}
        doubled = [message for message in messages if _is_doubled(message)]
        folding = [message for message in messages if not _is_doubled(message)]
        while folding := fold.apply(partition, folding, read):
            read |= self._read(fold.unknown(folding, read))
        if doubled:
            read |= self._read(fold.unknown(doubled, read))
        fold.pass_over(partition, doubled, read)

    def _read(self, customer_ids: Sequence[str]) -> dict[str, Kept | None]:
        found = self._fold.read(customer_ids)
        self._live.require_run(self._redis_run_id)
        return found

    def _write(self) -> None:
        self._live.erase(self._fold.purge())
        self._shadow.write_states(self._fold.take_changes().writes)
        self._fold.evict()

    def _switch_all(self, consumer: Any, producer: Any) -> int:
        """Switch, fold on for those whose live state is ahead, and again until none is left."""
        self._fold.forget()
        behind: set[str] = set()
        switched = 0
        for customer_ids in _in_parts(self._shadow_ids()):
            behind.update(self._switch(customer_ids, producer))
            switched += len(customer_ids)
        while behind:
            self._fold_to_end(consumer, only=behind)
            self._fold.forget()
            behind = set(self._switch(sorted(behind), producer))
        producer.flush()
        return switched

    def _shadow_ids(self) -> Iterable[str]:
        # A scan may name a key twice; a second switch of one customer would find nothing to switch.
        return dict.fromkeys(self._live.shadow_ids())

    def _switch(self, customer_ids: Sequence[str], producer: Any) -> list[str]:
        """Switch and publish these; returns those whose live state is ahead of their shadow."""
        gone = self._forgotten.among(customer_ids)
        self._live.erase(sorted(gone))
        customer_ids = [customer_id for customer_id in customer_ids if customer_id not in gone]
        shadows = self._shadow.read_states(customer_ids)
        self._live.require_run(self._redis_run_id)
        done = self._live.switch(customer_ids, self._number)
        for customer_id, is_done in zip(customer_ids, done, strict=True):
            if is_done:
                self._publish(producer, customer_id, shadows[customer_id])
        self._on_switched(sum(done))
        return [customer_id for customer_id, is_done in zip(customer_ids, done, strict=True) if not is_done]

    def _publish(self, producer: Any, customer_id: str, kept: Kept) -> None:
        packed = state.pack(kept.state)
        producer.send(topics.FEATURES, key=customer_id.encode(), value=packed, partition=kept.partition)


def _is_doubled(message: Any) -> bool:
    """A dead letter that was replayed: its bytes can be read, so its own message, before it, was folded just now."""
    letter_id = replayed_letter(message)
    return letter_id is not None and letter_id.startswith(f"{message.topic}-{message.partition}-")


def _in_parts(customer_ids: Iterable[str]) -> Iterator[list[str]]:
    """In lists of at most `SWITCHED_TOGETHER`."""
    waiting = iter(customer_ids)
    while part := list(islice(waiting, SWITCHED_TOGETHER)):
        yield part
