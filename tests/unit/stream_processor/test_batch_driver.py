"""What the broker sent, as the lists of records that the worker gets: none left out, none twice."""

from collections.abc import Sequence

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from stream_processor import batch_driver
from stream_processor.batch_driver import Records

IS_CONTROL = 0x20
ATTRIBUTES_AT = 22  # of a record batch; its checksum, before it, is of what begins here
CHECKSUM_AT = 17


def a_batch(first_offset: int, count: int) -> bytes:
    """As it lies on the wire: records whose values are their offsets."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 10_000)
    for place in range(count):
        builder.append(place, 1, b"key", b"%d" % (first_offset + place), [])
    return first_offset.to_bytes(8, "big") + bytes(builder.build())[8:]


def unpacked(
    batches: Sequence[bytes], fetch_offset: int = 0, *, has_checksums: bool = True
) -> tuple[list[list[int]], int]:
    """The lists by the values of their records, and where the next fetch goes on."""
    records = Records(
        TopicPartition("events", 0), MemoryRecords(b"".join(batches)), [], fetch_offset, None, None, has_checksums, 0
    )
    lists = [[int(record.value) for record in found] for found in records]
    return lists, records.next_fetch_offset


def test_small_batches_come_together_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_driver, "FETCHED_TOGETHER", 4)
    batches = [a_batch(0, 3), a_batch(3, 3), a_batch(6, 1), a_batch(7, 2)]
    assert unpacked(batches) == ([[0, 1, 2, 3, 4, 5], [6, 7, 8]], 9)


def test_a_fetch_may_begin_within_a_batch() -> None:
    assert unpacked([a_batch(0, 3), a_batch(3, 3)], fetch_offset=4) == ([[4, 5]], 6)


def test_marks_of_transactions_are_no_events() -> None:
    mark = bytearray(a_batch(3, 1))
    mark[ATTRIBUTES_AT] |= IS_CONTROL
    assert unpacked([a_batch(0, 3), mark, a_batch(4, 1)], has_checksums=False) == ([[0, 1, 2, 4]], 5)
    assert unpacked([mark], fetch_offset=3, has_checksums=False) == ([], 4)


def test_what_was_damaged_on_the_way_is_not_read() -> None:
    damaged = bytearray(a_batch(3, 3))
    damaged[CHECKSUM_AT] ^= 1
    with pytest.raises(CorruptRecordException):
        unpacked([a_batch(0, 3), damaged])
