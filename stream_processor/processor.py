"""From fold to the outside: write changed states to Redis, publish them, and only then let Faust commit.

Crash-only: whatever goes wrong ends the process, and the next one replays what was not acknowledged. Acknowledgements
are held back for some seconds, because a Redis with `appendfsync everysec` may come back without its latest writes.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from churn import dead_letters, topics
from churn.dead_letters import DeadLetter
from churn.feature_store import Kept, RedisFeatureStore, StateWrite
from churn.topics import WrongPartitions
from stream_processor.batch_driver import Batch
from stream_processor.dead_letter_limit import DeadLetterLimit
from stream_processor.fold import Fold
from stream_processor.metrics import Metrics

# What waits for a write takes up memory, by customers and dead letters; what is not written a crash repeats, by events.
MAX_UNWRITTEN: Final = 30_000
MAX_UNWRITTEN_EVENTS: Final = 500_000
BATCH_BYTES: Final = 512 * 1024
# A worker that is behind writes less often, after half the time that it is behind: many changes of a customer cost one
# write then. As soon as it has caught up, it writes.
BEHIND_FROM_S: Final = 1.0
LONGEST_UNWRITTEN_S: Final = 4.0
LOOK_AGAIN_S: Final = 0.02
# The batches of one fetch come one after another: their customers are written together.
SETTLE_S: Final = 0.004
IDLE_S: Final = 0.5


class Processor:
    """Takes batches from the agent; `run` is the one task that writes, publishes and acknowledges.

    `is_current` says whether a batch may still be folded; `lag_after` gives the events of each partition of ours from
    these offsets on; `monotonic` gives seconds, `wall_ms` epoch milliseconds; `redis_run_id` names the Redis that
    answered when the worker started.
    """

    def __init__(
        self,
        fold: Fold,
        store: RedisFeatureStore,
        producer: AIOKafkaProducer,
        metrics: Metrics,
        limit: DeadLetterLimit,
        *,
        is_current: Callable[[Batch], bool],
        lag_after: Callable[[Mapping[int, int]], Mapping[int, int]],
        monotonic: Callable[[], float],
        wall_ms: Callable[[], int],
        redis_run_id: str,
        hold_acks_s: float,
        flush_interval_s: float,
    ) -> None:
        self._fold = fold
        self._store = store
        self._producer = producer
        self._metrics = metrics
        self._limit = limit
        self._is_current = is_current
        self._lag_after = lag_after
        self._monotonic = monotonic
        self._wall_ms = wall_ms
        self._hold_acks_s = hold_acks_s
        self._flush_interval_s = flush_interval_s
        self._redis_run_id = redis_run_id
        self._folded: list[Any] = []
        self._held: deque[tuple[float, Any]] = deque()
        self._unwritten_events = 0
        self._newest_ms = 0
        self._is_full = asyncio.Event()
        self._has_folded = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._began_s = self.last_flush_s = self.last_progress_s = monotonic()
        self._folded_to: dict[int, int] = {}
        self._written_to: dict[int, int] = {}

    def lag(self) -> Mapping[int, int]:
        """Events of each partition of ours that are not written yet."""
        return self._lag_after(self._written_to)

    async def take(self, event: Any) -> None:
        """Fold one batch, the value of a Faust event; waits while too much is unwritten."""
        batch: Batch = event.value
        if not self._is_current(batch):
            return
        fold, partition, records = self._fold, event.message.partition, batch.records
        _require_known(partition)
        refused = fold.refused.total()
        read: dict[str, Kept | None] = {}
        while left := fold.apply(partition, records, read):
            records = left
            read |= await self._ask(fold.unknown(left, read))
            if not self._is_current(batch):
                return
        self._limit.count(self._monotonic(), len(batch.records), fold.refused.total() - refused)
        self._remember(event, batch)
        await self._has_room.wait()

    def _remember(self, event: Any, batch: Batch) -> None:
        self._metrics.batch_events.observe(len(batch.records))
        self._unwritten_events += len(batch.records)
        self._newest_ms = batch.records[-1].timestamp
        self._folded_to[event.message.partition] = event.message.offset + 1
        batch.forget_records()
        self._folded.append(event)
        self._has_folded.set()
        if self._unwritten_events >= MAX_UNWRITTEN_EVENTS or self._fold.unwritten >= MAX_UNWRITTEN:
            self._has_room.clear()
            self._is_full.set()

    async def run(self) -> None:
        """Write, publish and acknowledge until cancelled. Raises whatever goes wrong; nothing is acknowledged then."""
        try:
            await self._producer.start()
            while True:
                await self._wait_until_due()
                await self.flush()
        finally:
            await self._producer.stop()

    async def _wait_until_due(self) -> None:
        """Until something is folded, if that comes soon, and the last write is long enough ago; or too much waits."""
        if not self._folded:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._has_folded.wait(), IDLE_S)
        while not self._is_full.is_set() and (left_s := self._began_s + self._due_s() - self._monotonic()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_full.wait(), min(left_s, LOOK_AGAIN_S))
        await asyncio.sleep(SETTLE_S)
        self._began_s = self._monotonic()

    def _due_s(self) -> float:
        """Seconds from one write to the next."""
        behind_s = (self._wall_ms() - self._newest_ms) / 1000
        if not self._folded or behind_s < BEHIND_FROM_S or not any(self._lag_after(self._folded_to).values()):
            return self._flush_interval_s
        return max(self._flush_interval_s, min(behind_s / 2, LONGEST_UNWRITTEN_S))

    async def flush(self) -> None:
        """Bring everything folded so far to Redis and Kafka, then acknowledge what is old enough."""
        folded, self._folded = self._folded, []
        self._unwritten_events = 0
        self._is_full.clear()
        gone = self._fold.purge()
        self._has_folded.clear()
        changes = self._fold.take_changes()
        self._has_room.set()
        written = await asyncio.to_thread(self._write, changes.writes)
        self._metrics.observe_freshness([event.value.timestamps for event in folded], self._wall_ms())
        # What was not written is older than what another worker wrote, and published.
        await self._publish_states([each for each in changes.writes if each.customer_id in written])
        await self._publish_states(changes.announced)
        await self._publish_letters(changes.letters)
        await self._erase(gone)
        self._fold.evict()
        now = self._monotonic()
        self._held.extend((now, event) for event in folded)
        self._written_to.update((event.message.partition, event.message.offset + 1) for event in folded)
        self._acknowledge(now - self._hold_acks_s)
        self.last_flush_s = now
        if folded or not any(self.lag().values()):
            self.last_progress_s = now

    async def _erase(self, customer_ids: Sequence[str]) -> None:
        """What was written of forgotten customers before this worker knew; after this one nobody writes it again."""
        if customer_ids:
            await asyncio.to_thread(self._store.erase, customer_ids)
            sending = [await self._producer.send(topics.FEATURES, key=each.encode()) for each in customer_ids]
            await asyncio.gather(*sending)

    async def _ask(self, customer_ids: Sequence[str]) -> dict[str, Kept | None]:
        """What Redis keeps of each of them."""
        return await asyncio.to_thread(self._read, customer_ids)

    def _read(self, customer_ids: Sequence[str]) -> dict[str, Kept | None]:
        """Their states, but not of a Redis that may have lost what we wrote: folding on from those would hide it."""
        found = self._fold.read(customer_ids)
        self._store.require_run(self._redis_run_id)
        return found

    def _write(self, writes: Sequence[StateWrite]) -> set[str]:
        written: set[str] = set()
        if writes:
            with self._metrics.redis_round_trip_s.time():
                written = self._store.write_states(writes)
        self._store.require_run(self._redis_run_id)
        return written

    async def _publish_states(self, writes: Sequence[StateWrite]) -> None:
        by_partition: dict[int, list[tuple[bytes, bytes]]] = {}
        for write in writes:
            by_partition.setdefault(write.partition, []).append((write.customer_id.encode(), write.packed))
        for partition, messages in by_partition.items():
            await self._publish(topics.FEATURES, partition, messages)

    async def _publish(self, topic: str, partition: int, messages: Sequence[tuple[bytes, bytes]]) -> None:
        waiting = []
        batch = self._producer.create_batch()
        for key, value in messages:
            if batch.append(key=key, value=value, timestamp=None) is None:
                batch.close()
                waiting.append(await self._producer.send_batch(batch, topic, partition=partition))
                batch = self._producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
        batch.close()
        waiting.append(await self._producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*waiting)

    async def _publish_letters(self, letters: Sequence[DeadLetter]) -> None:
        sending = [
            await self._producer.send(topics.DEAD_LETTERS, dead_letters.encode(letter), key=letter.letter_id.encode())
            for letter in letters
        ]
        await asyncio.gather(*sending)

    def _acknowledge(self, written_before: float) -> None:
        while self._held and self._held[0][0] <= written_before:
            event = self._held.popleft()[1]
            event.value.is_done = True
            event.ack()

    def forget(self) -> None:
        """Our partitions may be another worker's now."""
        self._fold.forget()
        self._folded_to.clear()
        self._written_to.clear()


def _require_known(partition: int) -> None:
    if partition >= topics.PARTITIONS:
        raise WrongPartitions(topics.EVENTS, partition + 1)
