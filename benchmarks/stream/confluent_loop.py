"""A bare loop over confluent-kafka: consume in batches, fold, write in a thread beside it, commit after the write."""

from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from operator import methodcaller
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from benchmarks.stream.peer_fold import Arguments, PeerFold, Pending, arguments

BATCH = 4000


def run(told: Arguments) -> None:
    """Until killed."""
    consumer = Consumer(
        {
            "bootstrap.servers": told.kafka,
            "group.id": told.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
        }
    )
    consumer.subscribe([told.topic])
    fold = PeerFold(told.redis, told.flush_interval_s)
    writing: Future[Pending] | None = None
    with ThreadPoolExecutor(1) as writer:
        while True:
            messages: list[Any] = consumer.consume(BATCH, 0.02)
            for partition, of_partition in groupby(messages, methodcaller("partition")):
                fold.apply(partition, [(message.offset(), message.value()) for message in of_partition])
            if writing is not None and writing.done():
                positions = writing.result().positions
                offsets = [TopicPartition(told.topic, partition, offset) for partition, offset in positions.items()]
                consumer.commit(offsets=offsets, asynchronous=True)
                writing = None
            if writing is None and fold.is_due():
                writing = writer.submit(fold.write, fold.take())


if __name__ == "__main__":
    run(arguments())
