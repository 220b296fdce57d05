"""The consumer: reads the topics, hands batches to the indexer and commits offsets once Elasticsearch has them.

One batch is on its way while the next one is collected. When the next one is full too, reading pauses, but polling goes
on, so that the consumer stays in its group however long Elasticsearch is away.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from churn import topics
from churn.events import InvalidEvent
from churn.logs import get_logger
from churn.membership import Membership
from es_ingest import documents
from es_ingest.documents import Document, Message
from es_ingest.health import Health
from es_ingest.indexer import Indexer, Outcome
from es_ingest.refusals import RefusalSender

GROUP: Final = "es-ingest"
TOPICS: Final = (topics.EVENTS, topics.RISK, topics.DEAD_LETTERS)
MAX_DOCUMENTS: Final = 4_000
MAX_BYTES: Final = 8 * 1024 * 1024
MAX_POLL_RECORDS: Final = 1_000
# How long a batch may stay small: each bulk request costs Elasticsearch a write to disk per index.
LINGER_S: Final = 0.2
POLL_MS: Final = 200
COMMIT_TIMEOUT_MS: Final = 2_000
# Together less than the 5 s after which a stop counts as hanging.
LAST_FLIGHT_S: Final = 1.5
CLOSE_TIMEOUT_MS: Final = 1_500

log = get_logger(__name__)


class DeliveryFailed(RuntimeError):
    """The thread that writes to Elasticsearch died; nothing is lost, what was not committed is read again."""


@dataclass
class Batch:
    """What was read and is not yet acknowledged: documents, messages that are refused already, offsets to commit.

    `arrived` counts the messages of each topic by their time, in epoch milliseconds.
    """

    documents: list[Document] = field(default_factory=list)
    refused: list[tuple[Message, str]] = field(default_factory=list)
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    arrived: dict[str, Counter[int]] = field(default_factory=dict)
    size_bytes: int = 0
    began_s: float = 0.0

    @property
    def is_full(self) -> bool:
        return len(self.documents) >= MAX_DOCUMENTS or self.size_bytes >= MAX_BYTES

    def is_due(self, now_s: float) -> bool:
        return self.is_full or (not self.is_empty and now_s - self.began_s >= LINGER_S)

    @property
    def is_empty(self) -> bool:
        return not self.offsets and not self.documents


class Flight(threading.Thread):
    """A batch on its way. `outcome` is there when all of it is acknowledged; a daemon, so that it holds up no exit."""

    def __init__(self, batch: Batch, indexer: Indexer, refusals: RefusalSender, stop: threading.Event) -> None:
        super().__init__(name="flight", daemon=True)
        self.batch = batch
        self.outcome: Outcome | None = None
        self._indexer = indexer
        self._refusals = refusals
        self._stop_asked = stop

    @property
    def has_failed(self) -> bool:
        return not self.is_alive() and self.outcome is None and not self._stop_asked.is_set()

    def run(self) -> None:
        outcome = self._indexer.write(self.batch.documents, self._stop_asked)
        if outcome is None:
            return
        refused = [(refusal.document.message, refusal.reason) for refusal in outcome.refused]
        if self._refusals.send([*self.batch.refused, *refused], self._stop_asked):
            self.outcome = outcome


class Service:
    """Everything on the topics into Elasticsearch, until stopped."""

    def __init__(
        self,
        consumer: KafkaConsumer,
        indexer: Indexer,
        refusals: RefusalSender,
        health: Health,
        *,
        currency: str,
        clock: Callable[[], datetime],
        summary_interval_s: float,
    ) -> None:
        self._consumer = consumer
        self._indexer = indexer
        self._refusals = refusals
        self._health = health
        self._currency = currency
        self._clock = clock
        self._batch = Batch()
        self._flight: Flight | None = None
        self._acknowledged: dict[TopicPartition, int] = {}
        self._indexed: dict[TopicPartition, int] = {}
        self._counts: Counter[str] = Counter()
        self._summary_interval_s = summary_interval_s
        self._summary_s = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set. Raises `DeliveryFailed` when the writing thread died."""
        membership = Membership(self._consumer, TOPICS)
        membership.join()
        while not stop.is_set():
            for partition, messages in self._consumer.poll(timeout_ms=POLL_MS).items():
                self._collect(partition, messages)
            membership.keep()
            self._land()
            self._tell_health()
            if self._flight is None and self._batch.is_due(time.monotonic()):
                self._launch(stop)
            self._pause_or_resume()
            self._summarise()
        if self._flight is not None:
            self._flight.join(LAST_FLIGHT_S)
            self._land()
        self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)

    def _collect(self, partition: TopicPartition, messages: list[Message]) -> None:
        batch, now, counts = self._batch, self._clock(), self._counts
        if batch.is_empty:
            batch.began_s = time.monotonic()
        self._indexed.setdefault(partition, messages[0].offset)
        batch.arrived.setdefault(partition.topic, Counter()).update([each.timestamp for each in messages])
        for message in messages:
            try:
                found = documents.of_message(message, now=now, currency=self._currency)
            except InvalidEvent:  # the stream processor writes its dead letter
                counts["no_event"] += 1
            except msgspec.DecodeError as error:
                batch.refused.append((message, f"not what topic {message.topic} carries: {error}"))
            else:
                batch.documents += found
                batch.size_bytes += sum([len(document.lines) for document in found])
        batch.offsets[partition] = messages[-1].offset + 1

    def _launch(self, stop: threading.Event) -> None:
        batch, self._batch = self._batch, Batch()
        self._flight = Flight(batch, self._indexer, self._refusals, stop)
        self._flight.start()

    def _land(self) -> None:
        flight = self._flight
        if flight is None:
            return
        if flight.has_failed:
            raise DeliveryFailed("writing to Elasticsearch ended without a result; its error stands above")
        if flight.outcome is None:
            return
        self._flight = None
        self._acknowledged |= flight.batch.offsets
        self._indexed |= flight.batch.offsets
        self._count(flight.outcome, flight.batch)
        self._commit()

    def _count(self, outcome: Outcome, batch: Batch) -> None:
        messages = [message for message, _ in batch.refused]
        messages += [refusal.document.message for refusal in outcome.refused if refusal.document.message is not None]
        refused = Counter(message.topic for message in messages)
        self._health.count(outcome.written, refused, batch.arrived)
        self._counts.update(outcome.written)
        self._counts["known"] += outcome.known.total()
        self._counts["refused"] += refused.total()

    def _tell_health(self) -> None:
        """Add the figures of an interval that is over to the batch."""
        if not self._health.is_due:
            return
        batch = self._batch
        if batch.is_empty:
            batch.began_s = time.monotonic()
        batch.documents += self._health.documents(self._behind())

    def _commit(self) -> None:
        """Commit what is acknowledged; after a failure the next commit holds it too."""
        # Whoever took over a partition reads from the last commit, and writing a document again changes nothing.
        owned = self._consumer.assignment()
        offsets = {tp: OffsetAndMetadata(at, "", -1) for tp, at in self._acknowledged.items() if tp in owned}
        if not offsets:
            return
        try:
            self._consumer.commit(offsets, timeout_ms=COMMIT_TIMEOUT_MS)
        except KafkaError as error:
            log.warning("offsets not committed yet", reason=f"{type(error).__name__}: {error}")
        else:
            self._acknowledged.clear()

    def _pause_or_resume(self) -> None:
        if self._batch.is_full:
            self._consumer.pause(*self._consumer.assignment())
        elif paused := self._consumer.paused():
            self._consumer.resume(*paused)

    def _summarise(self) -> None:
        elapsed_s = time.monotonic() - self._summary_s
        if elapsed_s < self._summary_interval_s:
            return
        self._commit()
        counts = {name.replace("-", "_"): count for name, count in self._counts.items() if count}
        written = sum(self._counts[kind] for kind in ("events", "customers", "risk", "dead-letters"))
        log.info("indexed", **counts, per_second=round(written / elapsed_s), behind=sum(self._behind().values()))
        self._counts.clear()
        self._summary_s = time.monotonic()

    def _behind(self) -> dict[str, int]:
        """Messages on our partitions that are not indexed yet, by topic, as of the last answer of the broker."""
        owned = self._consumer.assignment()
        self._indexed = {partition: offset for partition, offset in self._indexed.items() if partition in owned}
        behind = dict.fromkeys(TOPICS, 0)
        for partition, indexed in self._indexed.items():
            behind[partition.topic] += max(0, (self._consumer.highwater(partition) or 0) - indexed)
        return behind
