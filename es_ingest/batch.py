"""A batch of documents on its way into Elasticsearch: collected by one thread, written by another."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from kafka import TopicPartition

from es_ingest.documents import Document, Message
from es_ingest.indexer import Indexer, Outcome
from es_ingest.refusals import RefusalSender

MAX_DOCUMENTS: Final = 4_000
MAX_BYTES: Final = 8 * 1024 * 1024
# How long a batch may stay small: each bulk request costs Elasticsearch a write to disk per index, and what it holds is
# searchable only with the next refresh, some seconds later.
LINGER_S: Final = 1.0


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
