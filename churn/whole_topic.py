"""Everything in a topic up to its end, for those who need all of it before they begin."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition

from churn import topics
from churn.events import epoch_ms
from churn.kafka_access import OPEN, KafkaSecurity

POLLED_TOGETHER: Final = 4_000

OnRead = Callable[[int, int], object]


def read(
    bootstrap_servers: str,
    topic: str,
    *,
    since: datetime | None = None,
    on_read: OnRead = lambda done, total: None,
    security: KafkaSecurity = OPEN,
) -> Iterator[Any]:
    """The messages that the topic holds now, those of a partition in their order; `since` leaves out older ones.

    `on_read` is told of (offsets done, offsets to do). Raises `kafka.errors.KafkaError`.
    """
    consumer: Any = KafkaConsumer(
        bootstrap_servers=bootstrap_servers.split(","),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **security.client_options(),
    )
    try:
        partitions = [TopicPartition(topic, number) for number in range(topics.PARTITIONS)]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        starts = _starts(consumer, partitions, ends, since)
        for partition, start in starts.items():
            consumer.seek(partition, start)
        total = sum(ends.values()) - sum(starts.values())
        while left := sum(max(0, end - consumer.position(each)) for each, end in ends.items()):
            on_read(total - left, total)
            for partition, messages in consumer.poll(timeout_ms=1_000, max_records=POLLED_TOGETHER).items():
                yield from (message for message in messages if message.offset < ends[partition])
    finally:
        consumer.close(autocommit=False)


def _starts(consumer: Any, partitions: list[Any], ends: dict[Any, int], since: datetime | None) -> dict[Any, int]:
    starts: dict[Any, int] = consumer.beginning_offsets(partitions)
    if since is None:
        return starts
    found = consumer.offsets_for_times(dict.fromkeys(partitions, epoch_ms(since)))
    return {each: found[each].offset if found.get(each) else ends[each] for each in partitions}
