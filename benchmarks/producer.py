"""`make bench-producer`: how fast events get onto Kafka, with kafka-python beside confluent-kafka, and a whole replay.

One run on a broker of its own: both clients publish the same messages in turns; then a CSV made on the fly is read
without sending, and replayed by the command itself, whose rate and peak memory are printed; beside them the fold.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median

from confluent_kafka import Producer
from kafka import KafkaProducer

from benchmarks.fold import decode_all, fold_all, payloads
from churn import topics
from churn.events import InvalidEvent, encode
from producer.sent import Place
from producer.sinks import BATCH_BYTES, LINGER_MS, MAX_UNACKNOWLEDGED, partition_of
from producer.source import open_source
from stack.stack import Stack

Messages = list[tuple[bytes, bytes]]
MARK = b"0123456789abcdef 1 1763707712 0 12345.0"
ROWS_READ = 200_000


def by_kafka_python(address: str, messages: Messages) -> None:
    """Publish with kafka-python, as safely as the producer does it."""
    producer = KafkaProducer(
        bootstrap_servers=address,
        acks="all",
        enable_idempotence=True,
        linger_ms=LINGER_MS,
        batch_size=BATCH_BYTES,
        compression_type="lz4",
    )
    for key, value in messages:
        partition = partition_of(key, topics.PARTITIONS)
        producer.send(topics.EVENTS, value, key, headers=[(topics.SOURCE_HEADER, MARK)], partition=partition)
    producer.flush()
    producer.close()


def by_confluent_kafka(address: str, messages: Messages) -> None:
    """Publish with confluent-kafka, as the producer does it."""
    producer = Producer(
        {
            "bootstrap.servers": address,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": LINGER_MS,
            "batch.size": BATCH_BYTES,
            "compression.type": "lz4",
            "partitioner": "murmur2",
            "queue.buffering.max.messages": MAX_UNACKNOWLEDGED,
            "delivery.report.only.error": True,
        }
    )
    for key, value in messages:
        while True:
            try:
                producer.produce(topics.EVENTS, value, key, headers={topics.SOURCE_HEADER: MARK})
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush()


def rate(work: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def write_csv(path: Path, size: int) -> int:
    """A shop's event log of about so many bytes; returns its rows."""
    first, rows = datetime(2019, 10, 1), 0
    with path.open("w") as stream:
        stream.write("event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n")
        while stream.tell() < size:
            lines = []
            for row in range(rows, rows + 100_000):
                at = first + timedelta(seconds=row // 10)
                kind = "purchase" if row % 50 == 0 else "cart" if row % 10 == 0 else "view"
                user = 500_000_000 + row * 7919 % 200_003
                lines.append(
                    f"{at} UTC,{kind},{1_000_000 + row % 9973},205301355563188265{row % 10},electronics.smartphone,"
                    f"brand{row % 97},{row % 1000}.99,{user},{user:x}-{row // 5000:08x}-4c1d-9e8f-0123456789ab\n"
                )
            rows += len(lines)
            stream.writelines(lines)
    return rows


def read_rows(path: Path) -> None:
    """What a replay does before sending, for the first rows: read, adapt, encode."""
    for number, (row, adapter) in enumerate(islice(open_source(path, "rees46", "utf-8", "EUR").rows(), ROWS_READ)):
        try:
            for arrival in adapter.read(row):
                encode(arrival.event), Place(number)
        except InvalidEvent:
            pass


def replay(address: str, path: Path) -> tuple[str, float]:
    """What the command says, and its peak memory in MiB."""
    process = subprocess.Popen(
        [sys.executable, "-m", "producer", "replay", str(path), "--format", "rees46", "--topic", topics.EVENTS],
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": address},
        stdout=subprocess.PIPE,
        text=True,
    )
    peak = 0.0
    time.sleep(1)  # a process that has just been started may still show the memory of its parent
    while process.poll() is None:
        peak = max(peak, peak_mib(process.pid))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"the replay ended with exit code {process.returncode}")
    return process.stdout.read() if process.stdout else "", peak


def peak_mib(pid: int) -> float:
    """The most memory that a process ever had, as Linux keeps it; what wait4 tells begins with its parent's."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.producer", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=1_000, help="size of the CSV (default: %(default)s)")
    options = parser.parse_args()
    values = payloads(2_000, options.events)
    events = decode_all(values)
    messages = [(event.customer_id.encode(), value) for event, value in zip(events, values, strict=True)]
    clients = {"kafka-python": by_kafka_python, "confluent-kafka": by_confluent_kafka}
    taken: dict[str, list[float]] = {name: [] for name in clients}
    with (
        tempfile.TemporaryDirectory() as directory,
        Stack(Path(directory), services=("kafka",), free_ports=True) as stack,
    ):
        address = stack.kafka.address
        topics.create(address)
        for _ in range(options.rounds):
            for name, publish in clients.items():
                taken[name].append(rate(lambda publish=publish: publish(address, messages), len(messages)))  # type: ignore[misc]
        for name, rates in taken.items():
            print(f"{name:<34}{median(rates):>10,.0f} messages/s")
        print(f"{'the fold, one process':<34}{rate(lambda: fold_all(events), len(events)):>10,.0f} events/s")
        path = Path(directory) / "shop.csv"
        rows = write_csv(path, options.megabytes * 1_000_000)
        print(f"{'reading CSV without sending':<34}{rate(lambda: read_rows(path), ROWS_READ):>10,.0f} rows/s")
        print(f"{'the file':<34}{rows:>10,} rows, {path.stat().st_size / 1e6:,.0f} MB", flush=True)
        said, peak = replay(address, path)
        print(said, f"peak memory         {peak:>10,.0f} MiB", sep="")


if __name__ == "__main__":
    main()
