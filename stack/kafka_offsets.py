"""How much a topic holds and how far a consumer group has come, seen from outside."""

from collections.abc import Mapping

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

from churn import topics


def produced(bootstrap_servers: str, *names: str) -> int:
    """Messages that were ever published to these topics."""
    return sum(_ends(bootstrap_servers, names).values())


def lag(bootstrap_servers: str, group: str, *names: str) -> int:
    """Messages of these topics that the group has not committed yet."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap_servers, group_id=group, enable_auto_commit=False)
    try:
        # The ends last: what a member published before it committed is among them then.
        committed = {partition: consumer.committed(partition) or 0 for partition in _partitions(names)}
        ends = consumer.end_offsets(list(committed))
        return sum(ends[partition] - offset for partition, offset in committed.items())
    finally:
        consumer.close()


def skip(bootstrap_servers: str, group: str, *names: str) -> None:
    """Put a group that has no member to the end of these topics."""
    _put(bootstrap_servers, group, _ends(bootstrap_servers, names))


def rewind(bootstrap_servers: str, group: str, *names: str) -> None:
    """Put a group that has no member back to the first message of these topics."""
    _put(bootstrap_servers, group, dict.fromkeys(_partitions(names), 0))


def _put(bootstrap_servers: str, group: str, offsets: Mapping[TopicPartition, int]) -> None:
    # Not by the admin's client, which does not wait for the coordinator of a broker that has just begun.
    consumer = KafkaConsumer(bootstrap_servers=bootstrap_servers, group_id=group, enable_auto_commit=False)
    try:
        consumer.assign(list(offsets))
        consumer.commit({each: OffsetAndMetadata(offset, "", -1) for each, offset in offsets.items()})
    finally:
        consumer.close()


def _ends(bootstrap_servers: str, names: tuple[str, ...]) -> dict[TopicPartition, int]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap_servers)
    try:
        ends: dict[TopicPartition, int] = consumer.end_offsets(_partitions(names))
        return ends
    finally:
        consumer.close()


def _partitions(names: tuple[str, ...]) -> list[TopicPartition]:
    return [TopicPartition(name, number) for name in names for number in range(topics.PARTITIONS)]
