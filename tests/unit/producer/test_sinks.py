"""Sinks without a server: the partition of a key, and a history that holds what it was given."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from churn import history
from churn.events import Event
from churn.history import HistoryExists
from producer.sinks import HistorySink, partition_of

# Values of the Java client's own test of murmur2.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "hashed"), JAVA.items())
def test_a_key_goes_where_every_kafka_client_sends_it(key: bytes, hashed: int) -> None:
    assert partition_of(key, 8) == (hashed & 0x7FFFFFFF) % 8


def test_a_history_holds_each_event_with_its_arrival(tmp_path: Path) -> None:
    at = datetime(2026, 1, 5, 10, tzinfo=UTC)
    event = Event("e1", "purchase", at, "c1", price=2.5, quantity=3, order_id="o1")
    sink = HistorySink(tmp_path / "history")
    sink.add(event, at + timedelta(hours=1))
    sink.flush()
    [(customer_id, [(kept, ingested_at)])] = history.by_customer(history.read(tmp_path / "history"))
    assert (customer_id, kept, ingested_at) == ("c1", event, at + timedelta(hours=1))


def test_a_history_is_not_written_over_another_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HistoryExists):
        HistorySink(tmp_path)
