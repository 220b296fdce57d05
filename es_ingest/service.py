"""The consumer: reads the topics, hands batches to the indexer and commits offsets once Elasticsearch has them.

One batch is on its way while the next one is collected. When the next one is full too, reading pauses, but polling goes
on, so that the consumer stays in its group however long Elasticsearch is away.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
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
from es_ingest.batch import Batch, Flight
from es_ingest.documents import Message
from es_ingest.health import Health
from es_ingest.indexer import Indexer, Outcome
from es_ingest.metrics import Metrics
from es_ingest.refusals import RefusalSender

GROUP: Final = "es-ingest"
TOPICS: Final = topics.READ_BY[GROUP]
MAX_POLL_RECORDS: Final = 1_000
POLL_MS: Final = 200
COMMIT_TIMEOUT_MS: Final = 2_000
# Together less than the 5 s after which a stop counts as hanging.
LAST_FLIGHT_S: Final = 1.5
CLOSE_TIMEOUT_MS: Final = 1_500
METRICS_EVERY_S: Final = 1.0

log = get_logger(__name__)


class DeliveryFailed(RuntimeError):
    """The thread that writes to Elasticsearch died; nothing is lost, what was not committed is read again."""


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
        forgotten: Forgotten = NOBODY,
    ) -> None:
        self._consumer = consumer
        self._indexer = indexer
        self._refusals = refusals
        self._health = health
        self._currency = currency
        self._forgotten = forgotten
        self._clock = clock
        self._batch = Batch()
        self._flight: Flight | None = None
        self._acknowledged: dict[TopicPartition, int] = {}
        self._indexed: dict[TopicPartition, int] = {}
        self._counts: Counter[str] = Counter()
        self._summary_interval_s = summary_interval_s
        self._summary_s = time.monotonic()
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
            for partition, messages in self._consumer.poll(timeout_ms=self._wait_for_flight()).items():
                self._collect(partition, messages)
            membership.keep()
            self._land()
            self._tell_health()
            if self._flight is None and self._batch.is_due(time.monotonic()):
                self._launch(stop)
            self._pause_or_resume()
            self._tell_metrics()
            self._summarise()
        if self._flight is not None:
            self._flight.join(LAST_FLIGHT_S)
            self._land()
        self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)

    def _wait_for_flight(self) -> int:
        """How long to wait for messages, in ms; while none are wanted, wait here until the batch on its way lands."""
        if self._flight is None or not self._batch.is_full:
            return POLL_MS
        self._flight.join(POLL_MS / 1000)
        return 0

    def _collect(self, partition: TopicPartition, messages: list[Message]) -> None:
        batch, now, counts = self._batch, self._clock(), self._counts
        if batch.is_empty:
            batch.began_s = time.monotonic()
        self._indexed.setdefault(partition, messages[0].offset)
        batch.arrived.setdefault(partition.topic, Counter()).update([each.timestamp for each in messages])
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
        batch.offsets[partition] = messages[-1].offset + 1

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
        self._indexed |= flight.batch.offsets
        self.metrics.batch_s.observe(time.monotonic() - flight.batch.began_s)
        self._count(flight.outcome, flight.batch)
        self._commit()

    def _count(self, outcome: Outcome, batch: Batch) -> None:
        messages = [message for message, _ in batch.refused]
        messages += [refusal.document.message for refusal in outcome.refused if refusal.document.message is not None]
        known, refused = outcome.known.total(), Counter(message.topic for message in messages)
        self._counts.update(outcome.written)
        self._counts["known"] += known
        self._counts["refused"] += refused.total()
        self._health.count(outcome.written, refused, batch.arrived)
        self.metrics.count(outcome.written, known=known, refused=refused.total())
        for message in messages:
            self._last_refused = f"{message.topic}-{message.partition}-{message.offset}"

    def _tell_health(self) -> None:
        """Add the figures of an interval that is over to the batch."""
        if not self._health.is_due:
            return
        batch = self._batch
        if batch.is_empty:
            batch.began_s = time.monotonic()
        batch.documents += self._health.documents(self._behind())

    def _tell_metrics(self) -> None:
        if time.monotonic() - self._metrics_s < METRICS_EVERY_S:
            return
        lag = sum(self._behind().values())
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
        behind = sum(self._behind().values())
        log.info("indexed", **counts, **refused, per_second=round(written / elapsed_s), behind=behind)
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
