"""The producer against a real Kafka: everything it counts is on the topics, and everything on the topics is counted."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.partitioner.default import DefaultPartitioner

from churn import dead_letters, history, topics
from churn.events import Event, InvalidEvent, decode
from producer.errors import KafkaUnreachable, PublishFailed, TopicMissing
from producer.simulator import Plan, Simulation
from producer.sinks import KafkaSink
from producer.source import open_source
from stack.stack import Stack
from stack.waiting import wait_until

from ..patience import PATIENCE_S

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(num_customers=200, num_events=4_000, days=120, seed=7, until=UNTIL)
FLAGS = "--num_customers 200 --num_events 4000 --days 120 --seed 7 --until 2026-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Kafka of this file alone, with the topics."""
    with Stack(tmp_path_factory.mktemp("broker"), services=("kafka",), free_ports=True) as stack:
        topics.create(stack.kafka.address)
        yield stack


class Topic:
    """What came onto a topic since this was made."""

    def __init__(self, address: str, name: str) -> None:
        self._consumer = KafkaConsumer(bootstrap_servers=address, enable_auto_commit=False)
        self._partitions = [TopicPartition(name, number) for number in range(topics.PARTITIONS)]
        self._consumer.assign(self._partitions)
        self._first = self._consumer.end_offsets(self._partitions)

    def count(self) -> int:
        ends = self._consumer.end_offsets(self._partitions)
        return sum(ends[partition] - self._first[partition] for partition in self._partitions)

    def messages(self) -> list[Any]:
        for partition, offset in self._first.items():
            self._consumer.seek(partition, offset)
        expected, found = self.count(), []
        while len(found) < expected:
            for batch in self._consumer.poll(timeout_ms=1_000).values():
                found.extend(batch)
        return found

    def events(self) -> list[Event]:
        now = datetime.now(UTC)
        return [decode(message.value, now=now, currency="EUR") for message in self.messages()]

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture
def events_topic(broker: Stack) -> Iterator[Topic]:
    topic = Topic(broker.kafka.address, topics.EVENTS)
    yield topic
    topic.close()


@pytest.fixture
def letters_topic(broker: Stack) -> Iterator[Topic]:
    topic = Topic(broker.kafka.address, topics.DEAD_LETTERS)
    yield topic
    topic.close()


def start(broker: Stack, arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "producer", *arguments.split()],
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": broker.kafka.address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(broker: Stack, arguments: str, expected_code: int = 0) -> str:
    """Both outputs of a command that ends by itself."""
    process = start(broker, arguments)
    output, complaints = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == expected_code, complaints
    return output + complaints


def by_id(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda event: event.event_id)


def write_file(path: Path, rows: int) -> Path:
    """A file of a shop in which each seventh row has no user; the last row is torn."""
    first = datetime(2019, 10, 1)
    lines = ["event_time,event_type,product_id,price,user_id"]
    for number in range(rows - 1):
        user = "" if number % 7 == 5 else f"u{number % 40}"
        lines.append(f"{first + timedelta(seconds=number)} UTC,view,p{number},9.99,{user}")
    path.write_text("\n".join([*lines, "torn\n"]))
    return path


def test_a_simulation_is_on_the_topic_and_in_the_history_as_it_was_simulated(
    broker: Stack, events_topic: Topic, tmp_path: Path
) -> None:
    began = datetime.now(UTC)
    said = run(broker, f"simulate {FLAGS} --topic events --output {tmp_path / 'history'}")
    simulated = by_id(list(Simulation(PLAN).history()))
    assert said.startswith(f"{len(simulated):,} events")
    assert by_id(events_topic.events()) == simulated
    rows = [event for _, events in history.by_customer(history.read(tmp_path / "history")) for event, _ in events]
    assert by_id(rows) == simulated
    stamps = [datetime.fromtimestamp(message.timestamp / 1000, UTC) for message in events_topic.messages()]
    assert began - timedelta(seconds=1) <= min(stamps)
    assert max(stamps) <= datetime.now(UTC)


def test_messages_lie_by_customer_on_the_partition_where_any_client_looks_and_in_order(
    broker: Stack, events_topic: Topic
) -> None:
    run(broker, f"simulate {FLAGS} --topic events")
    partitions = list(range(topics.PARTITIONS))
    last: dict[str, datetime] = {}
    for message, event in zip(events_topic.messages(), events_topic.events(), strict=True):
        assert message.key == event.customer_id.encode()
        assert message.partition == _partition_by_client(message.key, partitions)
        assert last.get(event.customer_id, event.occurred_at) <= event.occurred_at
        last[event.customer_id] = event.occurred_at


def _partition_by_client(key: bytes, partitions: list[int]) -> int:
    """The choice of the client's own partitioner, asked with the cluster that it wants to see."""

    class Cluster:
        def topics(self) -> set[str]:
            return {topics.EVENTS}

        def partitions_for_topic(self, topic: str) -> set[int]:
            return set(partitions)

        available_partitions_for_topic = partitions_for_topic

    return int(DefaultPartitioner().partition(topics.EVENTS, None, key, None, None, Cluster()))


def test_each_row_of_a_file_is_on_one_of_the_two_topics(
    broker: Stack, events_topic: Topic, letters_topic: Topic, tmp_path: Path
) -> None:
    path = write_file(tmp_path / "shop.csv", 700)
    said = run(broker, f"replay {path} --format rees46 --topic events")
    letters = [dead_letters.decode(message.value) for message in letters_topic.messages()]
    assert [message.key.decode() for message in letters_topic.messages()] == [letter.letter_id for letter in letters]
    assert len(events_topic.events()) == 700 - 101
    assert sorted(letter.line or 0 for letter in letters) == [*range(7, 701, 7), 701]
    assert {letter.reason for letter in letters} == {"missing_field", "invalid_row"}
    assert re.findall(r"[\d,]+$", said, re.MULTILINE)[:5] == ["700", "599", "599", "101", "1"]


def test_a_live_shop_acts_now_until_it_is_told_to_stop(broker: Stack, events_topic: Topic) -> None:
    process = start(broker, f"simulate {FLAGS} --topic events --live --rate 500")
    past = sum(1 for _ in Simulation(PLAN).history())
    assert wait_until(lambda: events_topic.count() > past + 500, PATIENCE_S)
    process.send_signal(signal.SIGTERM)
    output, complaints = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, complaints
    events = events_topic.events()
    assert output.startswith(f"{len(events):,} events")
    present = [event for event in events if event.occurred_at >= UNTIL]
    assert len(present) == len(events) - past
    assert all(datetime.now(UTC) - event.occurred_at < timedelta(minutes=5) for event in present)


def test_a_live_shop_stops_by_itself_after_the_seconds_it_was_given(broker: Stack, events_topic: Topic) -> None:
    said = run(broker, f"simulate {FLAGS} --topic events --live --rate 200 --for 1")
    assert said.startswith(f"{events_topic.count():,} events")


def test_a_live_shop_goes_on_after_a_history_that_was_sent_before(broker: Stack, events_topic: Topic) -> None:
    said = run(broker, f"simulate {FLAGS} --topic events --live-only --rate 500 --for 1")
    events = events_topic.events()
    assert said.startswith(f"{len(events):,} events")
    assert all(event.occurred_at > UNTIL for event in events)
    sent_before = {event.event_id for event in Simulation(PLAN).history()}
    assert sent_before.isdisjoint(event.event_id for event in events)


def ids(topic: Topic) -> list[str]:
    return sorted(event.event_id for event in topic.events())


def test_a_replay_that_is_killed_again_and_again_ends_with_every_row_once(
    broker: Stack, events_topic: Topic, letters_topic: Topic, tmp_path: Path
) -> None:
    path = write_file(tmp_path / "killed.csv", 6_000)
    command = f"replay {path} --format rees46 --topic events --resume"

    def is_sent(count: int) -> bool:
        return events_topic.count() + letters_topic.count() >= count

    for kill_at in (1, 700, 1_900, 3_000):
        process = start(broker, f"{command} --rate 3000")
        assert wait_until(lambda kill_at=kill_at: is_sent(kill_at), PATIENCE_S)  # type: ignore[misc]
        process.kill()
        process.communicate(timeout=PATIENCE_S)
        assert not is_sent(6_000)
    run(broker, f"simulate {FLAGS} --topic events")  # others write to the topic, too
    assert re.search(r"rows sent before +[1-9]", run(broker, command))

    letters = [dead_letters.decode(message.value) for message in letters_topic.messages()]
    assert sorted(letter.line or 0 for letter in letters) == [*range(7, 6_001, 7), 6_001]
    products = [event.product_id or "" for event in events_topic.events() if event.event_id in of_file(path)]
    assert sorted(products) == sorted(f"p{number}" for number in range(5_999) if number % 7 != 5)


@cache
def of_file(path: Path) -> set[str]:
    """The ids of the events of a file."""
    adapted = open_source(path, "rees46", "utf-8", "EUR").rows()
    ids = set()
    for row, adapter in adapted:
        with suppress(InvalidEvent):
            ids |= {arrival.event.event_id for arrival in adapter.read(row)}
    return ids


def test_a_file_that_is_replayed_twice_changes_nothing_unless_it_is_asked_for(
    broker: Stack, events_topic: Topic, letters_topic: Topic, tmp_path: Path
) -> None:
    path = write_file(tmp_path / "twice.csv", 800)
    run(broker, f"replay {path} --format rees46 --topic events --limit 300")
    assert events_topic.count() + letters_topic.count() == 300
    run(broker, f"replay {path} --format rees46 --topic events")
    once = ids(events_topic), letters_topic.count()
    command = f"replay {path.rename(tmp_path / 'renamed.csv')} --format rees46 --topic events"
    assert "none was sent" in run(broker, command)
    assert (ids(events_topic), letters_topic.count()) == once
    run(broker, f"{command} --again --limit 500")
    run(broker, command)
    assert (ids(events_topic), letters_topic.count()) == (sorted(once[0] * 2), once[1] * 2)


def test_a_replay_that_goes_on_later_moves_times_as_it_began(
    broker: Stack, events_topic: Topic, tmp_path: Path
) -> None:
    path = write_file(tmp_path / "moved.csv", 100)
    run(broker, f"replay {path} --format rees46 --topic events --shift-to-now --limit 50")
    run(broker, f"replay {path} --format rees46 --topic events --output {tmp_path / 'history'}")
    times = sorted(event.occurred_at for event in events_topic.events())
    assert times[-1] - times[0] == timedelta(seconds=98)
    rows = [event for _, events in history.by_customer(history.read(tmp_path / "history")) for event, _ in events]
    assert by_id(rows) == by_id(events_topic.events())


def test_a_replay_that_was_stopped_goes_on_where_it_ended(
    broker: Stack, events_topic: Topic, letters_topic: Topic, tmp_path: Path
) -> None:
    path = write_file(tmp_path / "stopped.csv", 2_000)
    process = start(broker, f"replay {path} --format rees46 --topic events --rate 400")
    assert wait_until(lambda: events_topic.count() > 200, PATIENCE_S)
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + signal.SIGINT, complaints
    assert "the same command sends the rest" in complaints
    assert events_topic.count() + letters_topic.count() < 2_000
    run(broker, f"replay {path} --format rees46 --topic events")
    assert len({event.event_id for event in events_topic.events()}) == events_topic.count()
    assert events_topic.count() + letters_topic.count() == 2_000


def test_a_missing_topic_ends_the_command_with_what_to_do(broker: Stack) -> None:
    assert "run `python -m churn.topics`" in run(broker, "simulate --topic nowhere", expected_code=1)
    with pytest.raises(TopicMissing, match="topic nowhere is missing"):
        KafkaSink(broker.kafka.address, "nowhere")


def test_a_broker_that_died_is_told_with_what_it_had_acknowledged(broker: Stack) -> None:
    events = list(Simulation(PLAN).history())
    sink = KafkaSink(broker.kafka.address, topics.EVENTS, delivery_timeout_s=8)
    try:
        for event in events[:1_000]:
            sink.add(event, event.occurred_at)
        sink.flush()
        broker.kafka.kill()
        with pytest.raises(PublishFailed, match=r"[^\d,]1,000 messages of this run are acknowledged"):
            publish_all(sink, events[1_000:])
        with pytest.raises(KafkaUnreachable, match="KAFKA_BOOTSTRAP_SERVERS"):
            KafkaSink(broker.kafka.address, topics.EVENTS)
    finally:
        sink.close()
        broker.kafka.start()


def test_a_long_pause_is_no_refusal(broker: Stack) -> None:
    now_s = [0.0]
    sink = KafkaSink(broker.kafka.address, topics.EVENTS, delivery_timeout_s=60, clock=lambda: now_s[0])
    try:
        for event in islice(Simulation(PLAN).history(), 3):
            now_s[0] += 600
            sink.add(event, event.occurred_at)
            sink.flush()
        assert sink.acknowledged == 3
    finally:
        sink.close()


def publish_all(sink: KafkaSink, events: list[Event]) -> None:
    for event in events:
        sink.add(event, event.occurred_at)
    sink.flush()
