"""From fold to the outside: write changed states to Redis, publish them, and only then let Faust commit.

Crash-only: whatever goes wrong ends the process, and the next one replays what was not acknowledged. Acknowledgements
are held back for some seconds, because a Redis with `appendfsync everysec` may come back without its latest writes.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer

from churn import dead_letters, topics
from churn.dead_letters import DeadLetter
from churn.feature_store import RedisFeatureStore, StateWrite
from churn.logs import get_logger
from stream_processor.batch_driver import EXIT_RESTART, Batch
from stream_processor.fold import Fold, Record

MAX_UNWRITTEN_BATCHES = 64
BATCH_BYTES = 512 * 1024

log = get_logger(__name__)


class RedisRestarted(RuntimeError):
    """Another Redis answers than the one that took the writes; it may lack the latest of them."""


class Processor:
    """Takes batches from the agent, and runs one task that writes, publishes and acknowledges.

    `is_current` says whether a batch may still be folded, `monotonic` gives seconds.
    """

    def __init__(
        self,
        fold: Fold,
        store: RedisFeatureStore,
        producer: AIOKafkaProducer,
        *,
        is_current: Callable[[Batch], bool],
        monotonic: Callable[[], float],
        hold_acks_s: float,
        flush_interval_s: float,
    ) -> None:
        self._fold = fold
        self._store = store
        self._producer = producer
        self._is_current = is_current
        self._monotonic = monotonic
        self._hold_acks_s = hold_acks_s
        self._flush_interval_s = flush_interval_s
        self._redis_run_id = ""
        self._folded: list[Any] = []
        self._held: deque[tuple[float, Any]] = deque()
        self._written = asyncio.Condition()
        self.last_flush_s = monotonic()

    async def take(self, event: Any) -> None:
        """Fold one batch, the value of a Faust event; waits while too much is unwritten."""
        batch: Batch = event.value
        if not self._is_current(batch):
            return
        fold, partition = self._fold, event.message.partition
        decoded = fold.decode(partition, [Record(record.offset, record.value) for record in batch.records])
        # Again until none is missing: while some are read, a flush may let go of others.
        while unknown := fold.unknown(decoded):
            found = await asyncio.to_thread(fold.read, unknown)
            if not self._is_current(batch):
                return
            fold.learn(unknown, found, partition)
        fold.apply(partition, decoded, lambda offset: _payload_at(batch, offset))
        self._folded.append(event)
        async with self._written:
            await self._written.wait_for(lambda: len(self._folded) < MAX_UNWRITTEN_BATCHES)

    async def run(self) -> None:
        """Write, publish and acknowledge until cancelled; any failure ends the process for a replay."""
        try:
            await self._producer.start()
            self._redis_run_id = await asyncio.to_thread(self._store.run_id)
            while True:
                await asyncio.sleep(self._flush_interval_s)
                await self.flush()
        except asyncio.CancelledError:
            await self._producer.stop()
            raise
        except Exception as error:  # noqa: BLE001 - the outermost edge of the task: nothing may be acknowledged after it
            log.error("restarting to replay what is not acknowledged", error=f"{type(error).__name__}: {error}")
            os._exit(EXIT_RESTART)

    async def flush(self) -> None:
        """Bring everything folded so far to Redis and Kafka, then acknowledge what is old enough."""
        folded, self._folded = self._folded, []
        changes = self._fold.take_changes()
        await asyncio.to_thread(self._write, changes.writes)
        await self._publish_states([*changes.writes, *changes.announced])
        await self._publish_letters(changes.letters)
        self._fold.evict()
        now = self._monotonic()
        self._held.extend((now, event) for event in folded)
        async with self._written:
            self._written.notify_all()
        await self._acknowledge(now - self._hold_acks_s)
        self.last_flush_s = now

    def _write(self, writes: Sequence[StateWrite]) -> None:
        if writes:
            self._store.write_states(writes)
        if self._store.run_id() != self._redis_run_id:
            raise RedisRestarted("Redis was restarted and may have come back older")

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

    async def _acknowledge(self, written_before: float) -> None:
        while self._held and self._held[0][0] <= written_before:
            event = self._held.popleft()[1]
            event.value.is_done = True
            event.ack()


def _payload_at(batch: Batch, offset: int) -> bytes | None:
    payload: bytes | None = next(record.value for record in batch.records if record.offset == offset)
    return payload
