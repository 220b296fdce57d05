"""The stream processor against real Kafka and Redis: bad input set aside, states published. Its exactness under faults
is proved in `tests/chaos`."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer

from churn import dead_letters, topics
from churn.events import Event, encode
from churn.feature_store import RedisFeatureStore
from stack.ports import free_port
from stack.stack import Stack
from stack.waiting import wait_until
from stack.workers import StreamProcessor

from ..patience import PATIENCE_S
from ..stream_processing import kept_in_redis, publish, some_events, wait_until_done

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


def wait_until_folded(address: str) -> None:
    wait_until_done(address, "stream-processor", topics.EVENTS)


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
    wait_until_folded(pipeline.kafka.address)

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

    assert wait_until(has_all, PATIENCE_S)
    consumer.close()
    return letters


def test_every_written_state_is_published_on_the_features_topic(pipeline: Stack, worker: StreamProcessor) -> None:
    publish(pipeline.kafka.address, some_events(2_000))
    worker.start()
    wait_until_folded(pipeline.kafka.address)
    consumer = KafkaConsumer(
        topics.FEATURES,
        bootstrap_servers=pipeline.kafka.address,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    published: dict[str, bytes | None] = {}
    kept = {customer_id: each.state for customer_id, each in kept_in_redis(pipeline.redis.url).items()}

    def is_equal() -> bool:
        for records in consumer.poll(timeout_ms=500).values():
            published.update({record.key.decode(): record.value for record in records})
        return published == kept

    assert wait_until(is_equal, PATIENCE_S)
    consumer.close()


def test_an_event_that_strayed_to_another_partition_is_set_aside(pipeline: Stack, worker: StreamProcessor) -> None:
    producer = KafkaProducer(bootstrap_servers=pipeline.kafka.address)
    for number, partition in enumerate((2, 2, 5)):
        event = Event(event_id=f"e{number}", event_type="view", occurred_at=NOW, customer_id="c1", product_id="p")
        producer.send(topics.EVENTS, key=b"c1", value=encode(event), partition=partition).get(timeout=10)
        if number == 1:
            worker.start()
            wait_until_folded(pipeline.kafka.address)
    producer.close()
    wait_until_folded(pipeline.kafka.address)
    (letter,) = read_dead_letters(pipeline.kafka.address, 1)
    assert (letter.reason, letter.partition) == ("wrong_partition", 5)
