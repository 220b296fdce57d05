"""`python -m benchmarks.ingest_peers memory | kafka`: the client's own `parallel_bulk`, fed as simply as can be.

`memory` sends documents that are ready as dictionaries when the clock starts. `kafka` reads the topic with
kafka-python, makes a document of each message by `json.loads`, and commits as it goes: a crash would lose documents.
"""

import argparse
import json
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from elasticsearch import Elasticsearch
from elasticsearch.helpers import parallel_bulk
from kafka import KafkaConsumer

from churn import topics

GROUP = "bench-ingest-peer"
# The best of 1, 2 and 4 threads and 500, 2,000 and 4,000 documents on two cores.
THREADS = 2
CHUNK = 2_000

Action = dict[str, Any]


def from_memory(documents: Path, start: Path) -> Iterator[Action]:
    """The documents of the file, all in memory before `start` is there."""
    found = msgspec.msgpack.decode(documents.read_bytes())
    start.with_suffix(".ready").touch()
    while not start.exists():
        time.sleep(0.01)
    for index, document_id, source in found:
        yield {"_op_type": "create", "_index": index, "_id": document_id, "_source": source}


def from_kafka(bootstrap_servers: str) -> Iterator[Action]:
    """The documents of the topic, up to its present end."""
    consumer = KafkaConsumer(
        topics.EVENTS,
        bootstrap_servers=bootstrap_servers,
        group_id=GROUP,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_records=CHUNK,
    )
    ends: dict[Any, int] = {}
    while not ends or any(consumer.position(partition) < end for partition, end in ends.items()):
        messages = [message for batch in consumer.poll(timeout_ms=200).values() for message in batch]
        yield from map(_document_of, messages)
        if messages:
            consumer.commit()
            ends = ends or consumer.end_offsets(list(consumer.assignment()))


def _document_of(message: Any) -> Action:
    event = json.loads(message.value)
    month = event["occurred_at"][:7].replace("-", ".")
    source = {"@timestamp": event["occurred_at"], "ingested_at": message.timestamp, **event}
    return {"_op_type": "create", "_index": f"events-{month}", "_id": event["event_id"], "_source": source}


def write(url: str, actions: Iterable[Action]) -> None:
    """All of them, however long they come."""
    client = Elasticsearch(url)
    done = parallel_bulk(client, actions, thread_count=THREADS, chunk_size=CHUNK, raise_on_error=False)
    deque(done, maxlen=0)


def main() -> None:
    """Work until everything is written, then wait to be stopped."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest_peers", description=__doc__)
    parser.add_argument("source", choices=("memory", "kafka"))
    parser.add_argument("--documents", type=Path, default=Path("documents"))
    parser.add_argument("--start", type=Path, default=Path("start"))
    options = parser.parse_args()
    memory = options.source == "memory"
    actions = (
        from_memory(options.documents, options.start) if memory else from_kafka(os.environ["KAFKA_BOOTSTRAP_SERVERS"])
    )
    write(os.environ["ELASTICSEARCH_URL"], actions)
    signal.pause()


if __name__ == "__main__":
    main()
