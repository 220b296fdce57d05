"""What Prometheus is told of an es_ingest; every metric has its name, its meaning and its place here."""

import time
from collections import Counter as Tally
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_PREFIX: Final = "ebb_ingest_"


class Metrics:
    """All figures of one es_ingest."""

    def __init__(self) -> None:
        here = self.registry = CollectorRegistry()
        ProcessCollector(registry=here)
        self.documents = Counter(f"{_PREFIX}documents", "Documents written, by kind of index.", ["kind"], registry=here)
        self.passed_over = Counter(
            f"{_PREFIX}passed_over", "Messages and documents not written, by reason.", ["reason"], registry=here
        )
        self.lag_messages = Gauge(
            f"{_PREFIX}lag_messages", "Messages on our partitions not indexed yet.", registry=here
        )
        self.batch_s = Histogram(
            f"{_PREFIX}batch_seconds",
            "From the first message of a batch until all of it was acknowledged.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
            registry=here,
        )
        self.last_written = Gauge(
            f"{_PREFIX}last_written_timestamp_seconds", "When a batch was last acknowledged.", registry=here
        )

    def count(self, written: Tally[str], *, known: int, refused: int) -> None:
        """A batch was acknowledged."""
        for kind, documents in written.items():
            self.documents.labels(kind).inc(documents)
        self.passed_over.labels("known").inc(known)
        self.passed_over.labels("refused").inc(refused)
        self.last_written.set(time.time())
