"""Topic `events` as a history: every good event once, with the moment at which it came."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest
from kafka import KafkaProducer

from churn import export_history, forgotten_topic, history, topics
from churn.events import Event, encode
from stack.stack import Stack

from ..stream_processing import Message, publish

KEY = "a secret of sixteen"
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Stack(tmp_path_factory.mktemp("export"), services=("kafka",), free_ports=True) as stack:
        topics.create(stack.kafka.address)
        yield stack.kafka.address


@pytest.fixture(autouse=True)
def neighbours(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", server)
    monkeypatch.setenv("FORGET_KEY", KEY)


def purchase(number: int, customer_id: str) -> Event:
    at = NOW - timedelta(hours=number)
    return Event(f"e{number}", "purchase", at, customer_id, price=10.0, order_id=f"o{number}", product_id="p")  # type: ignore[call-arg]


def message(event: Event) -> Message:
    return event.customer_id.encode(), encode(event)


def test_good_events_are_exported_once_and_an_export_is_replaced(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bought = [purchase(number, f"c{number % 3}") for number in range(40)]
    foreign = json.dumps(json.loads(encode(bought[0])) | {"currency": "XXX", "event_id": "foreign"}).encode()
    forgotten_topic.add(server, KEY.encode(), ["gone"])
    sent = [*map(message, bought), message(bought[7]), (b"c0", b"{"), (b"c0", foreign), message(purchase(50, "gone"))]
    publish(server, sent)

    assert export_history.main([str(tmp_path / "history")]) == 0
    assert "40 events; left out: 1 repeated, 2 unreadable, 1 of forgotten customers" in capsys.readouterr().out
    exported = [event for _, events in history.by_customer(history.read(tmp_path / "history")) for event, _ in events]
    assert sorted(exported, key=lambda event: -event.occurred_at.timestamp()) == bought
    came_at = sorted(history.read(tmp_path / "history")["ingested_at"].to_pylist())
    assert NOW <= came_at[0] <= came_at[-1] <= datetime.now(UTC)

    producer = KafkaProducer(bootstrap_servers=server)
    replayed = purchase(200, "c1")
    headers = [(topics.SOURCE_HEADER, b"file 1")]
    producer.send(topics.EVENTS, encode(replayed), key=b"c1", headers=headers).get(timeout=30)
    producer.close()
    later = purchase(41, "c1")
    publish(server, [message(later)])
    assert export_history.main([str(tmp_path / "history")]) == 0
    rows = history.read(tmp_path / "history")
    assert rows.num_rows == len(bought) + 2
    assert rows.filter(pc.equal(rows["event_id"], "e200"))["ingested_at"].to_pylist() == [replayed.occurred_at]
    assert [path.name for path in tmp_path.iterdir()] == ["history"]


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert export_history.main([str(tmp_path)]) == 1
    assert "holds thesis.txt, which no export wrote" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_without_kafka_it_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert export_history.main([str(tmp_path / "history")]) == 1
    assert "127.0.0.1:1" in capsys.readouterr().err
    assert not (tmp_path / "history").exists()
