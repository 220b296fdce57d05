"""What Prometheus is told of a worker; every metric has its name, its meaning and its place here."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_processor.fold import Fold

FRESHNESS_BUCKETS_MS: Final = (10, 25, 50, 100, 200, 300, 500, 1_000, 2_500, 5_000, 10_000, 60_000, 600_000)
_BUCKETS: Final = np.array(FRESHNESS_BUCKETS_MS)
_PREFIX: Final = "ebb_stream_"


class Metrics(Collector):
    """All figures of one worker, read from where they are counted when somebody asks.

    `lag_of` gives the events of each partition of ours that are not written yet.
    """

    def __init__(self, fold: Fold, lag_of: Callable[[], Mapping[int, int]]) -> None:
        self._fold = fold
        self.lag_of = lag_of
        self._freshness = np.zeros(len(FRESHNESS_BUCKETS_MS) + 1, dtype=np.int64)
        self._freshness_sum_s = 0.0
        self.registry = CollectorRegistry()
        self.batch_events = Histogram(
            f"{_PREFIX}batch_events",
            "Events of one fetched partition batch.",
            buckets=(1, 10, 100, 500, 1_000, 2_000, 4_000),
            registry=self.registry,
        )
        self.redis_round_trip_s = Histogram(
            f"{_PREFIX}redis_round_trip_seconds",
            "Time of one write of changed states to Redis.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
            registry=self.registry,
        )
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def observe_freshness(self, timestamps_ms: Iterable[Sequence[int]], now_ms: int) -> None:
        """Count the age of the events that have just become visible in Redis; `timestamps_ms` by batch."""
        arrays = [np.asarray(batch, dtype=np.int64) for batch in timestamps_ms]
        if arrays:
            ages_ms = np.maximum(0, now_ms - np.concatenate(arrays))
            self._freshness += np.bincount(np.searchsorted(_BUCKETS, ages_ms), minlength=len(self._freshness))
            self._freshness_sum_s += float(ages_ms.sum()) / 1000

    def collect(self) -> Iterator[Metric]:
        fold = self._fold
        yield _counter("events_applied", "Events folded into a state.", fold.applied)
        yield _counter("events_skipped", "Events that a state held already.", fold.skipped)
        yield _counter("forgotten_events", "Messages of forgotten customers, dropped.", fold.dropped)
        yield _counter("cache_hits", "Events whose customer was in memory.", fold.hits)
        yield _counter("cache_misses", "Events whose customer's state had to be read from Redis.", fold.misses)
        yield GaugeMetricFamily(f"{_PREFIX}cache_customers", "States in memory.", fold.customers)
        letters = CounterMetricFamily(f"{_PREFIX}dead_letters", "Messages that were no event.", labels=["reason"])
        for reason, count in fold.refused.items():
            letters.add_metric([reason], count)
        yield letters
        lag = GaugeMetricFamily(f"{_PREFIX}lag_events", "Events of a partition not yet in Redis.", labels=["partition"])
        for partition, events in self.lag_of().items():
            lag.add_metric([str(partition)], events)
        yield lag
        yield self._freshness_histogram()

    def _freshness_histogram(self) -> Metric:
        histogram = HistogramMetricFamily(
            f"{_PREFIX}freshness_seconds", "Age of an event when its state became visible in Redis."
        )
        upper: list[Any] = [*(str(bucket / 1000) for bucket in FRESHNESS_BUCKETS_MS), "+Inf"]
        histogram.add_metric(
            [], list(zip(upper, np.cumsum(self._freshness).tolist(), strict=True)), self._freshness_sum_s
        )
        return histogram


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(f"{_PREFIX}{name}", meaning, value=value)
