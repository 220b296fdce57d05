"""How the pipeline does, as documents of its own: rate, lag and freshness of every topic, interval by interval."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import accumulate
from typing import Final

import msgspec

from churn import topics
from es_ingest.documents import Document, in_month
from es_ingest.templates import DEAD_LETTERS, EVENTS, PIPELINE, RISK

INTERVAL_S: Final = 30.0
KINDS: Final = {topics.EVENTS: EVENTS, topics.RISK: RISK, topics.DEAD_LETTERS: DEAD_LETTERS}
"""The index that stands for each topic. A card is two documents, counted once."""


class Health:
    """Counts what one es_ingest brought into the index; `worker` names it, `clock` gives aware moments.

    A worker tells of its own partitions alone, so that documents and lag of all workers add up.
    """

    def __init__(self, worker: str, clock: Callable[[], datetime]) -> None:
        self._worker = worker
        self._clock = clock
        self._began_s = time.monotonic()
        self._written: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._delays_ms: dict[str, Counter[int]] = {topic: Counter() for topic in KINDS}

    @property
    def is_due(self) -> bool:
        """Whether the interval is over."""
        return time.monotonic() - self._began_s >= INTERVAL_S

    def count(self, written: Counter[str], refused: Counter[str], arrived: Mapping[str, Counter[int]]) -> None:
        """A batch has been acknowledged just now: documents by kind, messages that were refused by topic, and the
        times (epoch milliseconds) of its messages by topic, with how many there are of each.
        """
        now_ms = round(self._clock().timestamp() * 1000)
        self._written.update(written)
        self._refused.update(refused)
        for topic, times_ms in arrived.items():
            delays = self._delays_ms[topic]
            for at_ms, messages in times_ms.items():
                delays[now_ms - at_ms] += messages

    def documents(self, lags: Mapping[str, int]) -> list[Document]:
        """The documents of the interval that ends now, one per topic, and begin the next; `lags` in messages."""
        now, interval_s = self._clock(), time.monotonic() - self._began_s
        documents = [self._document(topic, kind, now, interval_s, lags) for topic, kind in KINDS.items()]
        self._began_s += interval_s
        self._written.clear()
        self._refused.clear()
        self._delays_ms = {topic: Counter() for topic in KINDS}
        return documents

    def _document(self, topic: str, kind: str, now: datetime, interval_s: float, lags: Mapping[str, int]) -> Document:
        written, delays = self._written[kind], self._delays_ms[topic]
        fields = {
            "@timestamp": now.astimezone(UTC),
            "part": "es_ingest",
            "worker": self._worker,
            "kind": kind,
            "interval_s": interval_s,
            "documents": written,
            "documents_per_s": written / interval_s,
            "refused": self._refused[topic],
            "lag": lags.get(topic, 0),
        }
        if delays:
            fields |= {f"freshness_p{share}_s": quantile_ms(delays, share / 100) / 1000 for share in (50, 99)}
        action = {"_index": in_month(PIPELINE, now), "_id": f"{self._worker} {kind} {now.isoformat()}"}
        lines = msgspec.json.encode({"create": action}) + b"\n" + msgspec.json.encode(fields) + b"\n"
        return Document(PIPELINE, lines, None)


def quantile_ms(delays_ms: Counter[int], share: float) -> int:
    """The smallest delay that at least this share of the messages did not exceed."""
    ordered = sorted(delays_ms.items())
    wanted = share * delays_ms.total()
    below = accumulate(messages for _, messages in ordered)
    return next(delay for (delay, _), messages in zip(ordered, below, strict=True) if messages >= wanted)
