"""Dead letters on a real Kafka: listed, shown, and replayed once beside a stream processor."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from churn import dead_letter_command, dead_letters, letter_replay, topics
from churn.feature_store import RedisFeatureStore
from churn.letter_replay import SENDING, Letters
from stack.ports import free_port
from stack.stack import Stack
from stack.workers import StreamProcessor
from stream_processor.rebuild import Rebuild

from ..stream_processing import Message, kept_in_redis, publish, read_topic, wait_until_done

NOW = datetime.now(UTC)
GROUP = "stream-processor"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("letters"), services=("kafka", "redis"), free_ports=True) as stack:
        topics.create(stack.kafka.address)
        yield stack


@pytest.fixture(autouse=True)
def neighbours(pipeline: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", pipeline.kafka.address)
    monkeypatch.setenv("REDIS_URL", pipeline.redis.url)


def purchase(number: int, days_ago: float, currency: str) -> Message:
    fields = {
        "event_id": f"e{number}",
        "event_type": "purchase",
        "occurred_at": (NOW - timedelta(days=days_ago)).isoformat(),
        "customer_id": "c1",
        "price": 10.0,
        "order_id": f"o{number}",
        "currency": currency,
    }
    return b"c1", json.dumps(fields).encode()


def fold_everything(pipeline: Stack, directory: Path, currency: str) -> None:
    """A stream processor of a shop that counts in this currency, until all is folded."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": pipeline.kafka.address,
        "REDIS_URL": pipeline.redis.url,
        "STREAM_HOLD_ACKS_S": "0.5",
        "SHOP_CURRENCY": currency,
    }
    worker = StreamProcessor(directory, environment, port=free_port(), is_supervised=False)
    try:
        worker.start()
        wait_until_done(pipeline.kafka.address, GROUP, topics.EVENTS)
    finally:
        worker.kill()


def revenue_of(pipeline: Stack) -> float:
    customer = RedisFeatureStore(pipeline.redis.url).read_customer("c1")
    assert customer is not None
    row = customer.features(NOW)
    assert row is not None
    return float(row["net_revenue_total"] or 0)


def read(pipeline: Stack) -> Letters:
    return letter_replay.read(pipeline.kafka.address)


def replay(pipeline: Stack, letters: Letters, currency: str) -> letter_replay.Replayed:
    return letter_replay.replay(
        pipeline.kafka.address, letters, letters.by_id.values(), currency=currency, now=datetime.now(UTC)
    )


def test_a_letter_that_can_be_read_after_a_fix_counts_once_however_often_it_is_replayed(
    pipeline: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The shop counts in pounds, but its worker was told euros. Between the orders lie more days than a state remembers
    # ids for, so that the fold itself would not notice a repetition.
    good, refused = purchase(1, 90, "EUR"), [purchase(2, 60, "GBP"), purchase(3, 30, "GBP")]
    publish(pipeline.kafka.address, [good, *refused, (b"c1", b'{"event_id": "e4", "customer'), purchase(5, 1, "EUR")])
    fold_everything(pipeline, tmp_path / "before", "EUR")
    assert revenue_of(pipeline) == 20
    assert dead_letter_command.main(["list"]) == 0
    said = capsys.readouterr().out
    assert "unknown_currency" in said
    assert "broken_json" in said
    letters = read(pipeline)
    assert sorted(letter.reason for letter in letters.by_id.values()) == [
        "broken_json",
        "unknown_currency",
        "unknown_currency",
    ]
    assert {letter.customer_id for letter in letters.by_id.values()} == {"c1"}
    (broken,) = (name for name, letter in letters.by_id.items() if letter.reason == "broken_json")
    assert dead_letter_command.main(["show", broken]) == 0
    said = capsys.readouterr().out
    assert '{"event_id": "e4", "customer' in said
    assert broken in said

    nothing = replay(pipeline, letters, "EUR")
    assert (nothing.sent, nothing.still_bad.total()) == (0, 3)
    monkeypatch.setenv("SHOP_CURRENCY", "GBP")
    assert dead_letter_command.main(["replay"]) == 3
    said = capsys.readouterr().out
    assert "2 sent again" in said
    assert "1 still bad: broken_json 1" in said
    fold_everything(pipeline, tmp_path / "after", "GBP")
    assert revenue_of(pipeline) == 40

    states, events = kept_in_redis(pipeline.redis.url), len(read_topic(pipeline.kafka.address, topics.EVENTS))
    again = replay(pipeline, read(pipeline), "GBP")
    assert (again.sent, again.sent_before, again.still_bad.total()) == (0, 2, 1)
    assert len(read_topic(pipeline.kafka.address, topics.EVENTS)) == events
    assert kept_in_redis(pipeline.redis.url) == states

    # A replay that was killed: its notes say that it began, and not whether it sent.
    notes = {
        name: dead_letters.DeadLetter(**{**_fields(note), "detail": SENDING})
        for name, note in read(pipeline).notes.items()
    }
    after_crash = replay(pipeline, Letters(letters.by_id, notes), "GBP")
    assert (after_crash.sent, after_crash.sent_before) == (0, 2)
    assert len(read_topic(pipeline.kafka.address, topics.EVENTS)) == events


def _fields(letter: dead_letters.DeadLetter) -> dict[str, object]:
    return {name: getattr(letter, name) for name in letter.__struct_fields__}


def test_a_rebuild_counts_a_replayed_letter_once_though_its_message_can_be_read_by_now(pipeline: Stack) -> None:
    """It goes on from the topic of the test before: two letters in pounds were replayed, two orders were in euros."""
    Rebuild(
        pipeline.kafka.address,
        RedisFeatureStore(pipeline.redis.url),
        RedisFeatureStore(pipeline.redis.url, is_shadow=True),
        number=1,
        currency="GBP",
        max_customers=100,
        on_folded=lambda done, total: None,
        on_switched=lambda customers: None,
    ).run()
    assert revenue_of(pipeline) == 20


def test_letters_on_a_topic_from_before_can_be_removed_after_the_topics_were_looked_at_again(pipeline: Stack) -> None:
    admin = KafkaAdminClient(bootstrap_servers=pipeline.kafka.address)
    asked = ConfigResource(ConfigResourceType.TOPIC, topics.DEAD_LETTERS)
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topics.DEAD_LETTERS, {"cleanup.policy": "delete"})])
    topics.create(pipeline.kafka.address)
    said = json.dumps(admin.describe_configs([asked]), default=str)
    admin.close()
    assert '"compact"' in said
