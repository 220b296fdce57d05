"""How much a topic holds and how far a consumer group has come, seen from outside."""

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

from churn import topics


def produced(bootstrap_servers: str, *names: str) -> int:
    """Messages that were ever published to these topics."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap_servers)
    try:
        return sum(consumer.end_offsets(_partitions(names)).values())
    finally:
        consumer.close()


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
    consumer = KafkaConsumer(bootstrap_servers=bootstrap_servers, group_id=group, enable_auto_commit=False)
    try:
        consumer.assign(_partitions(names))
        ends = consumer.end_offsets(_partitions(names))
        consumer.commit({partition: OffsetAndMetadata(end, "", -1) for partition, end in ends.items()})
    finally:
        consumer.close()


def _partitions(names: tuple[str, ...]) -> list[TopicPartition]:
    return [TopicPartition(name, number) for name in names for number in range(topics.PARTITIONS)]
