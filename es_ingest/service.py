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
from churn.forgotten import NOBODY, Forgotten
from churn.logs import get_logger
from churn.membership import Membership
from churn.pages import Progress
from es_ingest import documents
from es_ingest.documents import Document, Message
from es_ingest.indexer import Indexer, Outcome
from es_ingest.metrics import Metrics
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
METRICS_EVERY_S: Final = 1.0

log = get_logger(__name__)


class DeliveryFailed(RuntimeError):
    """The thread that writes to Elasticsearch died; nothing is lost, what was not committed is read again."""


@dataclass
class Batch:
    """What was read and is not yet acknowledged: documents, messages that are refused already, offsets to commit."""

    documents: list[Document] = field(default_factory=list)
    refused: list[tuple[Message, str]] = field(default_factory=list)
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    size_bytes: int = 0
    began_s: float = 0.0

    @property
    def is_full(self) -> bool:
        return len(self.documents) >= MAX_DOCUMENTS or self.size_bytes >= MAX_BYTES

    def is_due(self, now_s: float) -> bool:
        return self.is_full or (bool(self.offsets) and now_s - self.began_s >= LINGER_S)


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
        if self._refusals.send(self.batch.refused + refused, self._stop_asked):
            self.outcome = outcome


class Service:
    """Everything on the topics into Elasticsearch, until stopped."""

    def __init__(
        self,
        consumer: KafkaConsumer,
        indexer: Indexer,
        refusals: RefusalSender,
        *,
        currency: str,
        clock: Callable[[], datetime],
        summary_interval_s: float,
        forgotten: Forgotten = NOBODY,
    ) -> None:
        self._consumer = consumer
        self._indexer = indexer
        self._refusals = refusals
        self._currency = currency
        self._forgotten = forgotten
        self._clock = clock
        self._batch = Batch()
        self._flight: Flight | None = None
        self._acknowledged: dict[TopicPartition, int] = {}
        self._read: dict[TopicPartition, int] = {}
        self._counts: Counter[str] = Counter()
        self._summary_interval_s = summary_interval_s
        self._summary_s = time.monotonic()
        self._done: dict[TopicPartition, int] = {}
        self._metrics_s = 0.0
        self._has_landed = False
        self._last_refused = ""
        self.metrics = Metrics()
        self.progress = Progress(time.monotonic)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set. Raises `DeliveryFailed` when the writing thread died."""
        membership = Membership(self._consumer, TOPICS)
        membership.join()
        while not stop.is_set():
            for partition, messages in self._consumer.poll(timeout_ms=POLL_MS).items():
                self._collect(partition, messages)
            membership.keep()
            self._land()
            if self._flight is None and self._batch.is_due(time.monotonic()):
                self._launch(stop)
            self._pause_or_resume()
            self._tell_metrics()
            self._summarise()
        if self._flight is not None:
            self._flight.join(LAST_FLIGHT_S)
            self._land()
        self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)

    def _collect(self, partition: TopicPartition, messages: list[Message]) -> None:
        batch, now, counts = self._batch, self._clock(), self._counts
        if not batch.offsets:
            batch.began_s = time.monotonic()
        for message in self._remembered(messages):
            try:
                found = documents.of_message(message, now=now, currency=self._currency)
            except InvalidEvent:  # the stream processor writes its dead letter
                counts["no_event"] += 1
                self.metrics.passed_over.labels("no_event").inc()
            except msgspec.DecodeError as error:
                batch.refused.append((message, f"not what topic {message.topic} carries: {error}"))
            else:
                batch.documents += found
                batch.size_bytes += sum([len(document.lines) for document in found])
        batch.offsets[partition] = self._read[partition] = messages[-1].offset + 1
        self._done.setdefault(partition, messages[0].offset)

    def _remembered(self, messages: list[Message]) -> list[Message]:
        """Without those about forgotten customers."""
        self._forgotten.require_good()
        if not self._forgotten:
            return messages
        kept = [message for message in messages if not self._forgotten.among(documents.customers_of(message))]
        self._counts["forgotten"] += len(messages) - len(kept)
        self.metrics.passed_over.labels("forgotten").inc(len(messages) - len(kept))
        return kept

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
        self._has_landed = True
        self._acknowledged |= flight.batch.offsets
        self._done |= flight.batch.offsets
        self.metrics.batch_s.observe(time.monotonic() - flight.batch.began_s)
        self._count(flight.outcome, flight.batch.refused)
        self._commit()

    def _count(self, outcome: Outcome, undecodable: list[tuple[Message, str]]) -> None:
        known, refused = outcome.known.total(), len(outcome.refused) + len(undecodable)
        self._counts.update(outcome.written)
        self._counts["known"] += known
        self._counts["refused"] += refused
        self.metrics.count(outcome.written, known=known, refused=refused)
        for message in [*(each.document.message for each in outcome.refused), *(each for each, _ in undecodable)]:
            self._last_refused = f"{message.topic}-{message.partition}-{message.offset}"

    def _tell_metrics(self) -> None:
        if time.monotonic() - self._metrics_s < METRICS_EVERY_S:
            return
        owned = self._consumer.assignment() & self._done.keys()
        lag = sum(max(0, (self._consumer.highwater(each) or 0) - self._done[each]) for each in owned)
        self.metrics.lag_messages.set(lag)
        self.progress.turn(waiting=lag, has_done=self._has_landed)
        self._metrics_s, self._has_landed = time.monotonic(), False

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
        refused = {"last_refused": self._last_refused} if self._counts["refused"] else {}
        log.info("indexed", **counts, **refused, per_second=round(written / elapsed_s), behind=self._behind())
        self._counts.clear()
        self._summary_s = time.monotonic()

    def _behind(self) -> int:
        """Messages on our partitions that were not read yet, as of the last answer of the broker."""
        owned = self._consumer.assignment()
        ends = {partition: self._consumer.highwater(partition) or 0 for partition in owned}
        return sum(max(0, end - self._read.get(partition, end)) for partition, end in ends.items())
