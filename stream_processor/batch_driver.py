"""A Faust transport that hands over one message per fetched partition batch instead of one per event.

Faust spends two tasks and several queue hops on every message; with batches thousands of events share that cost, while
app, agent, assignment, acknowledgement and commit stay Faust's. A batch counts as done only when the processor says so
(`Batch.is_done`): Faust also acknowledges messages that it skips in a rebalance, and those must not be committed.
"""

import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import structlog
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.structs import ConsumerRecord
from faust.transport import drivers
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

SCHEME = "batches"
EXIT_RESTART = 70
# A batch costs Faust as much as some hundred events: the broker holds back what trickles in for a moment.
FETCH_WAIT_MS = 40
FETCH_BYTES = 256 * 1024
FETCHED_TOGETHER = 4_000

log = structlog.get_logger(__name__)


class MembershipLost(RuntimeError):
    """The consumer is no longer part of its group, and does not know."""


class Batch:
    """Records of one partition in the order of their offsets, as aiokafka fetched them; `timestamps` in epoch ms."""

    __slots__ = ("epoch", "is_done", "records", "timestamps")

    def __init__(self, records: Sequence[Any], epoch: int) -> None:
        self.records = records
        self.timestamps: Sequence[int] = ()
        self.epoch = epoch
        self.is_done = False

    def forget_records(self) -> None:
        """Keep the times alone: a batch waits some seconds for its acknowledgement, its payloads need not."""
        self.timestamps = [record.timestamp for record in self.records]
        self.records = ()


class Records(fetcher.PartitionRecords):  # type: ignore[misc] # aiokafka's classes are untyped here
    """A fetched partition in lists of records, in place of one record after another.

    aiokafka takes four calls for each, and copies it into a frozen dataclass of eleven fields: together that takes as
    long as decoding an event. Of transactions nothing is known here: the app reads whatever is written.
    """

    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[list[Any]]:
        waiting: list[Any] = []
        while self._records.has_next():
            batch = self._records.next_batch()
            if self._check_crcs and not batch.validate_crc():
                raise CorruptRecordException(f"Invalid CRC - {self._tp}")
            if not batch.is_control_batch:
                found = list(batch)
                if found and found[0].offset < self.next_fetch_offset:
                    found = [record for record in found if record.offset >= self.next_fetch_offset]
                waiting += found
            self.next_fetch_offset = max(self.next_fetch_offset, batch.next_offset)
            if len(waiting) >= FETCHED_TOGETHER:
                yield waiting
                waiting = []
        if waiting:
            yield waiting


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc] # Faust's classes are untyped here
    """Faust's thread around aiokafka's consumer, with fetches that wait for company."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms, consumer._fetch_min_bytes = FETCH_WAIT_MS, FETCH_BYTES
        return consumer


class Consumer(driver.Consumer):  # type: ignore[misc] # Faust's classes are untyped here
    """Faust's aiokafka consumer, counting batches.

    `epoch` grows whenever fetching starts anew from the committed offsets; a batch of an older epoch must not be
    folded, because what came before it may have been forgotten.
    """

    on_forget: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epoch = 0
        self._in_flight: dict[TP, deque[Any]] = defaultdict(deque)
        self._next_offset: dict[TP, int] = {}
        self._resumes_at: dict[TP, int] = {}

    def _new_consumer_thread(self) -> "ConsumerThread":
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Batch]]:
        records = await super()._getmany(active_partitions, timeout)
        return {tp: [Batch(found, self.epoch) for found in lists] for tp, lists in records.items()}

    def _to_message(self, tp: TP, record: Batch) -> Any:
        self._check_resumed_where_committed(tp, record.records[0].offset)
        last = record.records[-1]
        place = (tp.topic, tp.partition, last.offset, last.timestamp, last.timestamp_type)
        message = super()._to_message(tp, ConsumerRecord(*place, None, record, None, -1, -1, ()))
        self._in_flight[tp].append(message)
        self._next_offset[tp] = last.offset + 1
        return message

    def _check_resumed_where_committed(self, tp: TP, first_offset: int) -> None:
        expected = self._resumes_at.pop(tp, None)
        if expected is not None and first_offset > expected:
            # A fetch that was under way during the seek would skip everything between: start again from the commit.
            log.error("restarting: a fetch overtook a seek", partition=tp.partition, at=first_offset, expected=expected)
            os._exit(EXIT_RESTART)

    def ack(self, message: Any) -> bool:
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        self._acked[message.tp].clear()  # names the partition as one to look at when committing
        return True

    def _new_offset(self, tp: TP) -> int | None:
        in_flight = self._in_flight[tp]
        done = None
        while in_flight and in_flight[0].value.is_done:
            done = in_flight.popleft().offset + 1
        return done

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Offsets between the last ones of two batches are no gap."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self._forget()
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        had_fetched = dict(self._next_offset)
        self._forget()
        await super().perform_seek()
        for tp, committed in self._committed_offset.items():
            if tp in had_fetched and committed is not None:
                self._resumes_at[tp] = committed

    async def seek(self, partition: TP, offset: int) -> None:
        self._forget()
        await super().seek(partition, offset)

    def on_buffer_full(self, tp: TP) -> None:
        """One queue takes all partitions, and holds all back when it is full.

        Faust would leave this one out as well, and look for others up to a second long when it has room again.
        """

    def on_buffer_drop(self, tp: TP) -> None:
        """No partition was left out."""

    def require_membership(self) -> None:
        """Raise `MembershipLost` when the task that keeps us in the group has ended: nobody would start it again."""
        coordination = self._thread._consumer._coordinator._coordination_task
        if coordination.done():
            raise MembershipLost("the worker fell out of its consumer group; the log says why")

    def partitions_of(self, topic: str) -> int | None:
        """How many partitions the topic has now, if known; Faust's own answer is that of the last assignment."""
        partitions = self._thread._consumer.partitions_for_topic(topic)
        return len(partitions) if partitions else None

    def lag(self, done_to: Mapping[int, int]) -> dict[int, int]:
        """Events of each partition of ours that are not done, as far as the broker told of them.

        `done_to` has the offset after the last one that is; without it counts what was committed.
        """
        lag = {}
        for tp in self.assignment():
            end = self.highwater(tp)
            if end is not None:
                lag[tp.partition] = max(0, end - done_to.get(tp.partition, self._committed_offset[tp] or 0))
        return lag

    def _forget(self) -> None:
        self.epoch += 1
        self._in_flight.clear()
        self.on_forget()


class Transport(driver.Transport):  # type: ignore[misc] # Faust's classes are untyped here
    """Faust's aiokafka transport with the consumer above; chosen by a broker address `batches://host:port`."""

    Consumer = Consumer


def register() -> None:
    """Make Faust know the scheme `batches://`, and aiokafka's consumers in this process give records as they are."""
    fetcher.PartitionRecords = Records
    drivers.TRANSPORTS.aliases[SCHEME] = f"{__name__}:Transport"
