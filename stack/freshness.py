"""How long an event takes from being produced to being visible in Redis, and to a new risk: measured from outside."""

import threading
import time
from collections.abc import Callable
from datetime import datetime
from statistics import quantiles
from typing import Any, NamedTuple

import redis
from kafka import KafkaConsumer

POLL_S = 0.002
GIVE_UP_S = 30.0


class Freshness(NamedTuple):
    """Seconds from the producer's time stamp to the state in Redis, and to the risk scored after it, per event."""

    to_state_s: list[float]
    to_risk_s: list[float]


class FreshnessProbe:
    """Watches the live events, one at a time, until stopped: reads an event, then asks Redis until it shows."""

    def __init__(self, bootstrap_servers: str, redis_url: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._redis = redis.Redis.from_url(redis_url)
        self._measured = Freshness([], [])
        self._is_stopping = threading.Event()
        self._is_watching = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Return when every event from now on can be seen."""
        self._thread.start()
        self._is_watching.wait(GIVE_UP_S)

    def stop(self) -> Freshness:
        """What was measured."""
        self._is_stopping.set()
        self._thread.join(GIVE_UP_S)
        return self._measured

    def _watch(self) -> None:
        consumer = KafkaConsumer(bootstrap_servers=self._bootstrap_servers, fetch_max_wait_ms=10)
        consumer.subscribe(["events"])
        while not self._is_stopping.is_set():
            batches = consumer.poll(timeout_ms=100)
            if consumer.assignment():
                self._is_watching.set()
            newest = [records[-1] for records in batches.values()]
            if newest and self._is_watching.is_set():
                self._measure(max(newest, key=lambda record: record.timestamp))
        consumer.close()

    def _measure(self, record: Any) -> None:
        customer = f"customer:{record.key.decode()}"
        produced_s = record.timestamp / 1000
        offset = record.offset
        visible_s = self._wait(customer, "applied", lambda text: int(text.split(":")[1]) >= offset)
        if visible_s is None:
            return
        self._measured.to_state_s.append(visible_s - produced_s)
        scored_s = self._wait(customer, "scored_at", lambda text: datetime.fromisoformat(text).timestamp() >= visible_s)
        if scored_s is not None:
            self._measured.to_risk_s.append(scored_s - produced_s)

    def _wait(self, key: str, field: str, is_there: Callable[[str], bool]) -> float | None:
        deadline = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline and not self._is_stopping.is_set():
            value: Any = self._redis.hget(key, field)
            if value is not None and is_there(value.decode()):
                return time.time()
            time.sleep(POLL_S)
        return None


def describe(seconds: list[float]) -> str:
    """`p50 41 ms, p99 180 ms of 83 events`."""
    if len(seconds) < 2:
        return "not measured: too few live events"
    cuts = quantiles(seconds, n=100, method="inclusive")
    return f"p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms, of {len(seconds)} events"
