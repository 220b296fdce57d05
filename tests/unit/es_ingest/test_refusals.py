"""A refused document becomes a dead letter, a refused dead letter does not."""

import base64
import threading
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from kafka.errors import KafkaTimeoutError

from churn import dead_letters
from es_ingest import refusals
from es_ingest.refusals import RefusalSender

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
ARRIVED = datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)


class Message(NamedTuple):
    topic: str = "risk"
    partition: int = 3
    offset: int = 42
    timestamp: int = round(ARRIVED.timestamp()) * 1000
    key: bytes | None = b"c-1"
    value: bytes | None = b"{}"


class Producer:
    """Kafka's producer as far as it is used; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.sent: list[tuple[str, bytes, bytes | None]] = []
        self._failures = failures

    def send(self, topic: str, value: bytes, key: bytes | None) -> "Producer":
        if self._failures:
            self._failures -= 1
            raise KafkaTimeoutError("no metadata")
        self.sent.append((topic, value, key))
        return self

    def get(self, timeout: float) -> None:
        assert timeout > 0


def send(producer: Producer, *messages: Any, stop: threading.Event | None = None) -> bool:
    refused = [(message, "does not fit") for message in messages]
    return RefusalSender(producer, lambda: NOW).send(refused, stop or threading.Event())


def test_a_refused_message_is_kept_with_its_place_its_bytes_and_the_reason() -> None:
    producer = Producer()
    assert send(producer, Message())
    ((topic, value, key),) = producer.sent
    letter = dead_letters.decode(value)
    assert (topic, key, letter.customer_id) == ("dead-letters", b"risk-3-42-index", "c-1")
    assert (letter.letter_id, letter.reason, letter.stage) == ("risk-3-42-index", "refused_by_index", "es_ingest")
    assert (letter.topic, letter.partition, letter.offset) == ("risk", 3, 42)
    assert (letter.detail, letter.failed_at) == ("does not fit", ARRIVED)
    assert base64.b64decode(letter.raw) == b"{}"


def test_a_message_without_a_time_fails_now() -> None:
    producer = Producer()
    assert send(producer, Message(timestamp=-1))
    assert dead_letters.decode(producer.sent[0][1]).failed_at == NOW


def test_a_message_whose_two_documents_are_refused_gives_one_letter() -> None:
    producer = Producer()
    send(producer, Message(), Message())
    assert len(producer.sent) == 1


def test_a_refused_dead_letter_gives_no_letter() -> None:
    producer = Producer()
    assert send(producer, Message(topic="dead-letters"))
    assert producer.sent == []


def test_a_letter_is_sent_again_until_kafka_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "WAIT_S", 0.001)
    producer = Producer(failures=3)
    assert send(producer, Message())
    assert len(producer.sent) == 1


def test_a_stop_leaves_the_letter_for_the_next_start() -> None:
    stop = threading.Event()
    stop.set()
    assert not send(Producer(failures=1), Message(), stop=stop)
