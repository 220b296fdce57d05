"""The stream processor against real Kafka and Redis: nothing lost, nothing counted twice, bad input set aside."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from churn import dead_letters, state, topics
from churn.events import Event, InvalidEvent, decode, encode
from churn.feature_store import RedisFeatureStore
from churn.features import replay
from stack.ports import free_port
from stack.stack import Stack
from stack.waiting import wait_until
from stack.workers import StreamProcessor

EVENTS = 40_000
CUSTOMERS = 800
NOW = datetime.now(UTC)


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Stack]:
    """Kafka and Redis of this test alone, with the topics."""
    with Stack(tmp_path, services=("kafka", "redis"), free_ports=True) as stack:
        topics.create(stack.kafka.address)
        yield stack


@pytest.fixture
def worker(pipeline: Stack, tmp_path: Path) -> Iterator[StreamProcessor]:
    """A stream processor that is not started yet, and never started again by anybody but the test."""
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": pipeline.kafka.address,
        "REDIS_URL": pipeline.redis.url,
        "STREAM_HOLD_ACKS_S": "1",
    }
    processor = StreamProcessor(tmp_path, variables, port=free_port(), is_supervised=False)
    yield processor
    processor.kill()


def publish(address: str, messages: list[tuple[bytes, bytes]]) -> None:
    producer = KafkaProducer(bootstrap_servers=address, acks="all", linger_ms=20, max_request_size=4_000_000)
    sent = [producer.send(topics.EVENTS, key=key, value=value) for key, value in messages]
    producer.flush()
    assert all(future.succeeded() for future in sent)
    producer.close()


def some_events(count: int) -> list[tuple[bytes, bytes]]:
    """Events of many customers, one in ten repeated, some late, in the order in which they arrive."""
    chance = random.Random(11)
    messages = []
    for number in range(count):
        customer_id = f"c{chance.randrange(CUSTOMERS)}"
        kind = chance.choices(["view", "cart", "purchase"], [8, 2, 1])[0]
        event = Event(
            event_id=f"e{number}",
            event_type=kind,
            occurred_at=NOW - timedelta(days=30 * (1 - number / count), hours=chance.random() * 5),
            customer_id=customer_id,
            product_id=f"p{chance.randrange(50)}",
            price=float(chance.randrange(1, 5000)) / 100,
            order_id=f"o{number}" if kind == "purchase" else None,
        )
        messages += [(customer_id.encode(), encode(event))] * (2 if number % 10 == 0 else 1)
    return messages


def lag(address: str) -> int:
    """Events that the group has not committed yet."""
    partitions = [TopicPartition(topics.EVENTS, number) for number in range(topics.PARTITIONS)]
    consumer = KafkaConsumer(bootstrap_servers=address, group_id="stream-processor", enable_auto_commit=False)
    ends = consumer.end_offsets(partitions)
    committed = sum(consumer.committed(partition) or 0 for partition in partitions)
    consumer.close()
    return int(sum(ends.values())) - committed


def wait_until_done(address: str) -> None:
    assert wait_until(lambda: lag(address) == 0, timeout_s=90, poll_s=0.5), f"lag is still {lag(address)}"


def folded_offline(address: str) -> dict[str, bytes]:
    """Every customer's packed state, folded from the whole topic by nothing but the fold."""
    partitions = [TopicPartition(topics.EVENTS, number) for number in range(topics.PARTITIONS)]
    consumer = KafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest", enable_auto_commit=False)
    consumer.assign(partitions)
    events: dict[str, list[Event]] = {}
    ends = consumer.end_offsets(partitions)
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        for records in consumer.poll(timeout_ms=1000).values():
            for record in records:
                try:
                    event = decode(record.value, now=datetime.now(UTC), currency="EUR")
                except InvalidEvent:
                    continue
                events.setdefault(event.customer_id, []).append(event)
    consumer.close()
    return {customer_id: state.pack(replay(each)) for customer_id, each in events.items()}


def kept_in_redis(url: str) -> dict[str, bytes]:
    client = redis.Redis.from_url(url)
    kept = {key[len("customer:") :].decode(): client.hget(key, "state") for key in client.scan_iter("customer:*")}
    client.close()
    return kept  # type: ignore[return-value] # redis-py types hget as perhaps awaitable


def test_a_killed_worker_loses_nothing_and_counts_nothing_twice(pipeline: Stack, worker: StreamProcessor) -> None:
    messages = some_events(EVENTS)
    chance = random.Random(5)
    client = redis.Redis.from_url(pipeline.redis.url)
    publish(pipeline.kafka.address, messages[: len(messages) // 4])
    worker.start()
    for part in range(1, 4):
        publish(pipeline.kafka.address, messages[part * len(messages) // 4 : (part + 1) * len(messages) // 4])
        known = chance.randrange(CUSTOMERS // 2)
        assert wait_until(lambda enough=known: client.dbsize() > enough, timeout_s=60, poll_s=0.01)  # type: ignore[misc]
        worker.kill()
        worker.start()
    wait_until_done(pipeline.kafka.address)
    client.close()
    assert kept_in_redis(pipeline.redis.url) == folded_offline(pipeline.kafka.address)


def test_bad_input_becomes_dead_letters_and_good_events_around_it_pass(
    pipeline: Stack, worker: StreamProcessor
) -> None:
    good = {"event_type": "view", "occurred_at": "2026-03-01T10:00:00Z", "product_id": "p"}

    def message(number: int, **changes: object) -> tuple[bytes, bytes]:
        fields = {"event_id": f"e{number}", "customer_id": "c1", **good, **changes}
        return b"c1", json.dumps({name: value for name, value in fields.items() if value is not None}).encode()

    bad = {
        "broken_json": (b"c1", b'{"event_id": '),
        "unknown_type": message(1, event_type="dance"),
        "missing_field": message(2, customer_id=None),
        "invalid_field": message(3, event_type="purchase", price=-1),
        "naive_time": message(4, occurred_at="2026-03-01T10:00:00"),
        "future_time": message(5, occurred_at=(NOW + timedelta(days=1)).isoformat()),
        "too_large": message(6, product_name="x" * 2_000_000),
        "unknown_currency": message(7, currency="XXX"),
    }
    sent = [each for number, letter in enumerate(bad.values()) for each in (message(100 + number), letter)]
    publish(pipeline.kafka.address, sent)
    worker.start()
    wait_until_done(pipeline.kafka.address)

    letters = read_dead_letters(pipeline.kafka.address, len(bad))
    assert sorted(letter.reason for letter in letters) == sorted(bad)
    for letter in letters:
        assert (letter.topic, letter.letter_id) == ("events", f"events-{letter.partition}-{letter.offset}")
        assert letter.raw_bytes == len(bad[letter.reason][1])
        assert sent[letter.offset or 0][1] == bad[letter.reason][1]
    customer = RedisFeatureStore(pipeline.redis.url).read_customer("c1")
    assert customer is not None
    assert customer.kept is not None
    assert len(customer.kept.state.recent) == len(bad)


def read_dead_letters(address: str, count: int) -> list[dead_letters.DeadLetter]:
    consumer = KafkaConsumer(
        topics.DEAD_LETTERS, bootstrap_servers=address, auto_offset_reset="earliest", enable_auto_commit=False
    )
    letters: list[dead_letters.DeadLetter] = []

    def has_all() -> bool:
        for records in consumer.poll(timeout_ms=500).values():
            letters.extend(dead_letters.decode(record.value) for record in records)
        return len(letters) >= count

    assert wait_until(has_all, timeout_s=30)
    consumer.close()
    return letters


def test_every_written_state_is_published_on_the_features_topic(pipeline: Stack, worker: StreamProcessor) -> None:
    publish(pipeline.kafka.address, some_events(2_000))
    worker.start()
    wait_until_done(pipeline.kafka.address)
    consumer = KafkaConsumer(
        topics.FEATURES,
        bootstrap_servers=pipeline.kafka.address,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    published: dict[str, bytes] = {}
    kept = kept_in_redis(pipeline.redis.url)

    def is_equal() -> bool:
        for records in consumer.poll(timeout_ms=500).values():
            published.update({record.key.decode(): record.value for record in records})
        return published == kept

    assert wait_until(is_equal, timeout_s=30)
    consumer.close()


def test_an_event_that_strayed_to_another_partition_is_set_aside(pipeline: Stack, worker: StreamProcessor) -> None:
    producer = KafkaProducer(bootstrap_servers=pipeline.kafka.address)
    for number, partition in enumerate((2, 2, 5)):
        event = Event(event_id=f"e{number}", event_type="view", occurred_at=NOW, customer_id="c1", product_id="p")
        producer.send(topics.EVENTS, key=b"c1", value=encode(event), partition=partition).get(timeout=10)
        if number == 1:
            worker.start()
            wait_until_done(pipeline.kafka.address)
    producer.close()
    wait_until_done(pipeline.kafka.address)
    (letter,) = read_dead_letters(pipeline.kafka.address, 1)
    assert (letter.reason, letter.partition) == ("wrong_partition", 5)
