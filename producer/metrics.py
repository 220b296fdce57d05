"""What Prometheus is told of a live producer; every metric has its name, its meaning and its place here."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from churn.pages import Progress
from producer.simulator import Arrived
from producer.sinks import KafkaSink

_PREFIX: Final = "ebb_producer_"


class Metrics(Collector):
    """All figures of one live producer; `now_s` gives seconds that only grow, `wall_s` those since 1970."""

    def __init__(self, sink: KafkaSink, now_s: Callable[[], float], wall_s: Callable[[], float]) -> None:
        self._sink = sink
        self._wall_s = wall_s
        self._acknowledged = 0
        self._last_s = 0.0
        self.progress = Progress(now_s)
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def watched(self, arrivals: Iterable[Arrived]) -> Iterator[Arrived]:
        """The same events; before each one it is noted how far those before it have come."""
        for arrived in arrivals:
            acknowledged = self._sink.acknowledged
            self.progress.turn(waiting=self._sink.unacknowledged, has_done=acknowledged > self._acknowledged)
            if acknowledged > self._acknowledged:
                self._acknowledged, self._last_s = acknowledged, self._wall_s()
            yield arrived

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            f"{_PREFIX}events", "Messages that Kafka has acknowledged.", value=self._sink.acknowledged
        )
        yield GaugeMetricFamily(
            f"{_PREFIX}unacknowledged_events", "Messages on their way to Kafka.", value=self._sink.unacknowledged
        )
        yield GaugeMetricFamily(
            f"{_PREFIX}last_acknowledged_timestamp_seconds", "When Kafka last took an event.", value=self._last_s
        )
