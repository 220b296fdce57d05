"""What every peer does with its messages, so that only the way of getting them differs: the same fold and layout.

A cache of states, changed customers written together by the guarded write of `churn.feature_store`, positions to be
committed after it. Runs in the peers' own environment: nothing but `churn` is imported.
"""

import argparse
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from churn.collector import spare_the_collector
from churn.events import decode
from churn.feature_store import Kept, RedisFeatureStore, StateWrite
from churn.features import update
from churn.state import EMPTY, pack

# Who has got nothing for so long is at the end of the topic.
IDLE_S: Final = 0.05


class Arguments(NamedTuple):
    """What a peer is told on its command line."""

    kafka: str
    redis: str
    topic: str
    group: str
    flush_interval_s: float


def arguments() -> Arguments:
    """The arguments of this process."""
    parser = argparse.ArgumentParser()
    for name in ("kafka", "redis", "topic", "group"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--flush-interval-s", type=float, required=True)
    return Arguments(**vars(parser.parse_args()))


class Pending(NamedTuple):
    """What is to be written, and the positions (next offset by partition) that may be committed after that."""

    kept: dict[str, Kept]
    positions: dict[int, int]


def fold_one(kept: Kept | None, partition: int, offset: int, payload: bytes) -> Kept:
    """A customer's state after this message, for a framework that keeps the state itself."""
    kept = kept or Kept(EMPTY, partition, -1)
    if offset <= kept.offset:
        return kept
    event = decode(payload, now=datetime.now(UTC), currency="EUR")
    return Kept(update(kept.state, event), partition, offset)


class PeerFold:
    """States of all customers met. `apply` and `take` belong to one thread; `write` may run in another."""

    def __init__(self, redis_url: str, flush_interval_s: float) -> None:
        spare_the_collector()
        self._store = RedisFeatureStore(redis_url)
        self._flush_interval_s = flush_interval_s
        self._known: dict[str, Kept] = {}
        self._changed: set[str] = set()
        self._positions: dict[int, int] = {}
        self._flushed_s = self._changed_s = time.monotonic()

    def apply(self, partition: int, records: Iterable[tuple[int, bytes]]) -> None:
        """Fold (offset, payload) of one partition, in order of offsets; repetitions are passed over."""
        now = datetime.now(UTC)
        events = [(offset, decode(payload, now=now, currency="EUR")) for offset, payload in records]
        known, changed = self._known, self._changed
        unknown = [who for who in {event.customer_id for _, event in events} if who not in known]
        if unknown:
            found = self._store.read_states(unknown)
            for customer_id in unknown:
                known[customer_id] = found.get(customer_id) or Kept(EMPTY, partition, -1)
        for offset, event in events:
            customer_id = event.customer_id
            kept = known[customer_id]
            if offset > kept.offset:
                known[customer_id] = Kept(update(kept.state, event), partition, offset)
                changed.add(customer_id)
        self._positions[partition] = events[-1][0] + 1
        self._changed_s = time.monotonic()

    def hold(self, folded: Iterable[tuple[str, Kept]]) -> None:
        """Take states that were folded elsewhere, to be written; the last one of a customer is the one that counts."""
        for customer_id, kept in folded:
            self._known[customer_id] = kept
            self._changed.add(customer_id)
            self._positions[kept.partition] = kept.offset + 1
        self._changed_s = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time to write: by the interval, or because nothing more comes."""
        now = time.monotonic()
        is_time = now - self._flushed_s >= self._flush_interval_s or now - self._changed_s >= IDLE_S
        return bool(self._positions) and is_time

    def take(self) -> Pending:
        """What came together since the last call."""
        pending = Pending({customer_id: self._known[customer_id] for customer_id in self._changed}, self._positions)
        self._changed, self._positions, self._flushed_s = set(), {}, time.monotonic()
        return pending

    def write(self, pending: Pending) -> Pending:
        """Bring it to Redis; returns the same, for the commit."""
        self._store.write_states(
            [
                StateWrite(customer_id, kept.partition, kept.offset, pack(kept.state))
                for customer_id, kept in pending.kept.items()
            ]
        )
        return pending
