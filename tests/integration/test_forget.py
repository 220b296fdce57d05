"""A person is erased from everything: no trace after a full replay of the topic, and everybody else is unchanged."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from elasticsearch import Elasticsearch
from pyarrow import parquet

from churn import forget, history, letter_replay, offline, topics
from churn.dead_letters import payload_of
from churn.events import decode
from churn.feature_store import DUE, RANKING, customer_key
from churn.forgotten import read_file
from churn.history import HistoryWriter
from stack.kafka_offsets import rewind
from stack.ports import free_port
from stack.stack import Stack
from stack.workers import PROJECT, EsIngest, Scorer, StreamProcessor

from ..patience import PATIENCE_S
from ..stream_processing import Message, kept_in_redis, publish, read_topic, some_events, wait_until_done

NOW = datetime.now(UTC)
GONE = "c7"
KEY = "a secret of this test"
BAD = [(b"c7", b'{"event_id": "bad-7", "customer_id": "c7"'), (b"c8", b'{"event_id": "bad-8", "customer_id": "c8"')]


class Shop(NamedTuple):
    """The servers, and the directories of one shop."""

    stack: Stack
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.stack.kafka.address,
            "REDIS_URL": self.stack.redis.url,
            "ELASTICSEARCH_URL": self.stack.elasticsearch.url,
            "HISTORY_DIR": str(self.directory / "history"),
            "MODEL_DIR": str(self.directory / "models"),
            "FORGOTTEN_FILE": str(self.directory / "forgotten.json"),
            "FORGET_KEY": KEY,
            "STREAM_HOLD_ACKS_S": "0.5",
        }

    def run(self, *command: str) -> str:
        ended = subprocess.run(
            [sys.executable, "-m", *command],
            env={**os.environ, **self.environment},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    @contextmanager
    def services(self, name: str, **more: str) -> Iterator[None]:
        """Stream processor, scorer and es_ingest at work, until all is folded and indexed."""
        environment = {**self.environment, **more}
        started = [
            kind(self.directory / name, environment, port=free_port(), is_supervised=False)
            for kind in (StreamProcessor, Scorer, EsIngest)
        ]
        try:
            for each in started:
                each.start()
            yield
        finally:
            for each in started:
                each.stop()

    def wait(self, group: str) -> None:
        address = self.stack.kafka.address
        wait_until_done(address, group, topics.EVENTS, timeout_s=PATIENCE_S)
        wait_until_done(address, "scorer", *topics.READ_BY["scorer"], timeout_s=PATIENCE_S)
        wait_until_done(address, "es-ingest", *topics.READ_BY["es-ingest"], timeout_s=PATIENCE_S)

    def indexed(self) -> dict[tuple[str, str], dict[str, Any]]:
        client = Elasticsearch(self.stack.elasticsearch.url)
        client.indices.refresh(index="*")
        answer = client.search(index="events-*,customers,risk-*,dead-letters-*", size=10_000)
        client.close()
        return {(hit["_index"], hit["_id"]): hit["_source"] for hit in answer["hits"]["hits"]}

    def events_indexed(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Of everybody else; without the moment of indexing nothing of it depends on when it is indexed."""
        return {
            place: source
            for place, source in self.indexed().items()
            if place[0].startswith(("events-", "dead-letters-")) and source.get("customer_id") != GONE
        }

    def latest(self, topic: str) -> dict[bytes | None, bytes | None]:
        return {record.key: record.value for record in read_topic(self.stack.kafka.address, topic)}

    def states(self) -> dict[str, Any]:
        return {name: kept for name, kept in kept_in_redis(self.stack.redis.url).items() if name != GONE}

    def reads_nothing_of_them(self) -> None:
        """No trace of `GONE` in Redis, Elasticsearch, compacted topics, letters and files."""
        client: Any = redis.Redis.from_url(self.stack.redis.url)
        assert [key for key in client.scan_iter("*") if b"c7" in key.replace(b"}", b"").split(b":")] == []
        assert (client.zscore(RANKING, GONE), client.zscore(DUE, GONE)) == (None, None)
        client.close()
        assert [place for place, source in self.indexed().items() if source.get("customer_id") == GONE] == []
        letters = letter_replay.read(self.stack.kafka.address).by_id.values()
        assert [letter for letter in letters if b'"c7"' in payload_of(letter)] == []
        for topic in (topics.FEATURES, topics.RISK):
            assert self.latest(topic).get(b"c7") is None
        for path in self.directory.rglob("*.parquet"):
            assert GONE not in parquet.read_table(path)["customer_id"].to_pylist()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with Stack(tmp_path_factory.mktemp("forget"), free_ports=True) as stack:
        topics.create(stack.kafka.address)
        yield Shop(stack, tmp_path_factory.mktemp("shop"))


def write_files(shop: Shop, messages: list[Message]) -> None:
    """The same events as history, and a table of features made of it."""
    with HistoryWriter(shop.directory / "history") as writer:
        for _, value in messages:
            writer.add(decode(value, now=NOW, currency="EUR"), NOW)
    (shop.directory / "models").mkdir()
    table = offline.feature_table(shop.directory / "history", NOW)
    parquet.write_table(table, shop.directory / "models" / "features.parquet")


def read_everything_again(shop: Shop) -> None:
    """An empty Redis, and an es_ingest and a scorer that begin at the first message; so does a new stream group."""
    client: Any = redis.Redis.from_url(shop.stack.redis.url)
    client.flushall()
    client.close()
    address = shop.stack.kafka.address
    for reader in ("es-ingest", "scorer"):
        rewind(address, reader, *topics.READ_BY[reader])


def test_nothing_of_a_forgotten_person_is_left_or_comes_back_and_everybody_else_is_unchanged(shop: Shop) -> None:
    messages = some_events(1_500, customers=30)
    assert any(key == b"c7" for key, _ in messages)
    write_files(shop, messages)
    publish(shop.stack.kafka.address, [*messages, *BAD])
    features = parquet.read_table(shop.directory / "models" / "features.parquet").to_pylist()
    with shop.services("before"):
        shop.wait("stream-processor")
        assert customer_key(GONE).encode() in set(redis.Redis.from_url(shop.stack.redis.url).keys())
        others, documents = shop.states(), shop.events_indexed()
        said = shop.run("churn.forget", GONE)
        assert "Redis" in said
        assert "topic dead-letters" in said
        assert "index customers" in said
        shop.reads_nothing_of_them()
        # What comes of them later is dropped, readable or not, while others go on.
        late = [(b"c7", value) for key, value in messages if key == b"c7"][:50]
        publish(shop.stack.kafka.address, [*late, BAD[0]])
        shop.wait("stream-processor")
        shop.reads_nothing_of_them()
        assert shop.states() == others
        assert "nothing is left of them" in shop.run("churn.forget", GONE)

    read_everything_again(shop)
    with shop.services("after", STREAM_GROUP="again"):
        shop.wait("again")
        shop.reads_nothing_of_them()
        assert shop.states() == others
        assert shop.events_indexed() == documents
        shop.run("stream_processor", "rebuild")
        shop.wait("again")
        shop.reads_nothing_of_them()
        assert shop.states() == others
    assert parquet.read_table(shop.directory / "models" / "features.parquet").to_pylist() == [
        row for row in features if row["customer_id"] != GONE
    ]


def test_a_history_from_before_is_read_without_them_and_a_restored_one_is_cleared(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on where the test before has put them on the list."""
    messages = some_events(500, customers=30)
    restored = tmp_path / "restored"
    with HistoryWriter(restored) as writer:
        for _, value in messages:
            writer.add(decode(value, now=NOW, currency="EUR"), NOW)
    everybody = set(history.read(restored)["customer_id"].to_pylist())
    listed = read_file(shop.directory / "forgotten.json", KEY.encode())
    assert set(history.read(restored, forgotten=listed)["customer_id"].to_pylist()) == everybody - {GONE}
    for name, value in {**shop.environment, "HISTORY_DIR": str(restored)}.items():
        monkeypatch.setenv(name, value)
    client: Any = redis.Redis.from_url(shop.stack.redis.url)
    client.hset(customer_key(GONE), "state", b"of a backup")
    assert forget.main(["--everybody"]) == 0
    assert set(history.read(restored)["customer_id"].to_pylist()) == everybody - {GONE}
    assert not client.exists(customer_key(GONE))
    client.close()


def test_without_the_key_a_service_does_not_start(shop: Shop) -> None:
    environment = {**os.environ, **shop.environment, "FORGET_KEY": ""}
    ended = subprocess.run(
        [sys.executable, "-m", "stream_processor"],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert ended.returncode == 78
    assert "FORGET_KEY" in ended.stderr
