"""Running a stream processor: its metrics and health, its stop before the topic drains, a rebuild, a Redis Cluster."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest
import redis
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from prometheus_client.parser import text_string_to_metric_families

from churn import topics
from churn.events import Reason
from churn.feature_store import RedisFeatureStore
from stack.ports import free_port
from stack.redis_cluster import RedisCluster
from stack.stack import Stack
from stack.waiting import wait_until
from stack.workers import PROJECT, StreamProcessor

from ..patience import PATIENCE_S
from ..stream_processing import (
    compare,
    empty,
    folded_offline,
    kept_in_redis,
    publish,
    read_topic,
    some_events,
    wait_until_done,
)

GROUP = "stream-processor"
StartWorker = Callable[..., StreamProcessor]


@pytest.fixture(scope="module")
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("operation"), services=("kafka", "redis"), free_ports=True) as stack:
        yield stack


@pytest.fixture
def pipeline(own_servers: Stack) -> Stack:
    """Kafka with empty topics, and an empty Redis."""
    empty(own_servers)
    return own_servers


@pytest.fixture
def new_worker(pipeline: Stack, tmp_path: Path) -> Iterator[StartWorker]:
    """Makes a worker of this pipeline, not started; it ends with the test."""
    made: list[StreamProcessor] = []

    def new(*, is_supervised: bool = False, **variables: str) -> StreamProcessor:
        environment = {**neighbours(pipeline), "STREAM_HOLD_ACKS_S": "1", **variables}
        made.append(
            StreamProcessor(tmp_path / str(len(made)), environment, port=free_port(), is_supervised=is_supervised)
        )
        return made[-1]

    yield new
    for worker in made:
        worker.kill()


def neighbours(pipeline: Stack) -> dict[str, str]:
    return {"KAFKA_BOOTSTRAP_SERVERS": pipeline.kafka.address, "REDIS_URL": pipeline.redis.url}


def rebuild(pipeline: Stack) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **neighbours(pipeline)}
    command = [sys.executable, "-m", "stream_processor", "rebuild"]
    return subprocess.run(
        command, check=False, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )


def page(worker: StreamProcessor, path: str) -> str:
    with urllib.request.urlopen(f"http://{worker.address}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def samples(worker: StreamProcessor) -> dict[tuple[str, ...], float]:
    """The worker's metrics by name and the values of the labels."""
    families = text_string_to_metric_families(page(worker, "/metrics"))
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_metrics_and_health_tell_what_was_done(pipeline: Stack, new_worker: StartWorker) -> None:
    messages = some_events(3_000, customers=200)
    publish(pipeline.kafka.address, [*messages, (b"c1", b"{"), (b"c1", b"")])
    worker = new_worker()
    worker.start()
    wait_until_done(pipeline.kafka.address, GROUP, topics.EVENTS)
    told = samples(worker)
    assert told["ebb_stream_events_applied_total",] == len(messages)
    assert told["ebb_stream_dead_letters_total", Reason.BROKEN_JSON] == 1
    assert told["ebb_stream_dead_letters_total", Reason.EMPTY] == 1
    assert [told["ebb_stream_lag_events", str(number)] for number in range(topics.PARTITIONS)] == [0] * 8
    assert told["ebb_stream_freshness_seconds_count",] == len(messages) + 2
    assert told["ebb_stream_freshness_seconds_bucket", "+Inf"] == len(messages) + 2
    assert told["ebb_stream_batch_events_sum",] == len(messages) + 2
    assert told["ebb_stream_cache_customers",] == len(kept_in_redis(pipeline.redis.url))
    assert told["ebb_stream_cache_misses_total",] == told["ebb_stream_cache_customers",]
    assert told["ebb_stream_redis_round_trip_seconds_count",] > 0
    assert told["process_resident_memory_bytes",] > 0
    health = json.loads(page(worker, "/healthz"))
    assert (health["is_alive"], health["is_progressing"], health["lag"]) == (True, True, 0)
    assert (health["applied"], health["refused"]) == (len(messages), 2)


def test_a_broken_deploy_stops_the_worker_instead_of_draining_the_topic(
    pipeline: Stack, new_worker: StartWorker
) -> None:
    good = some_events(150, customers=20)
    publish(pipeline.kafka.address, good)
    careful = new_worker()
    careful.start()
    wait_until_done(pipeline.kafka.address, GROUP, topics.EVENTS)
    publish(pipeline.kafka.address, [(b"c1", b"{")] * 400)
    assert wait_until(lambda: not careful.is_running, PATIENCE_S)
    said = careful.log_file.read_text()
    assert "400 of the last minute's" in said
    assert "STREAM_MAX_DEAD_SHARE=1" in said
    assert read_topic(pipeline.kafka.address, topics.DEAD_LETTERS) == []

    careless = new_worker(STREAM_MAX_DEAD_SHARE="1")
    careless.start()
    wait_until_done(pipeline.kafka.address, GROUP, topics.EVENTS)
    assert len(read_topic(pipeline.kafka.address, topics.DEAD_LETTERS)) == 400
    assert compare(kept_in_redis(pipeline.redis.url), folded_offline(pipeline.kafka.address)).is_equal


def test_a_rebuild_mends_every_state_while_events_and_readers_go_on(pipeline: Stack, new_worker: StartWorker) -> None:
    messages = some_events(40_000)
    publish(pipeline.kafka.address, messages[:30_000])
    worker = new_worker(is_supervised=True)
    worker.start()
    wait_until_done(pipeline.kafka.address, GROUP, topics.EVENTS)
    worker.kill()
    client: Any = redis.Redis.from_url(pipeline.redis.url)
    another = client.hget("customer:c7", "state")
    damaged = list(client.scan_iter("customer:*"))[::3]
    for key in damaged:
        client.hset(key, "state", another)
    worker.start()
    is_over = Flag()
    absent: list[str] = []
    beside = [Thread(target=go_on, args=(pipeline, messages[30_000:], is_over))]
    beside.append(Thread(target=keep_reading, args=(pipeline, [key.decode() for key in damaged], absent, is_over)))
    for thread in beside:
        thread.start()
    try:
        ended = rebuild(pipeline)
    finally:
        is_over.set()
        for thread in beside:
            thread.join()
    assert ended.returncode == 0, ended.stderr
    assert "customers rebuilt from" in ended.stdout
    wait_until_done(pipeline.kafka.address, GROUP, topics.EVENTS)
    comparison = compare(kept_in_redis(pipeline.redis.url), folded_offline(pipeline.kafka.address))
    assert comparison.is_equal, str(comparison)
    assert absent == []
    assert list(client.scan_iter("rebuild:*")) == []
    published = {
        record.key.decode(): record.value
        for record in read_topic(pipeline.kafka.address, topics.FEATURES)
        if record.key
    }
    assert published == {name: kept.state for name, kept in kept_in_redis(pipeline.redis.url).items()}
    client.close()


def go_on(pipeline: Stack, messages: list[tuple[bytes, bytes]], is_over: Flag) -> None:
    """Publish in small portions until the rebuild is over, then the rest."""
    sent = 0
    while not is_over.is_set() and sent < len(messages):
        publish(pipeline.kafka.address, messages[sent : sent + 100])
        sent += 100
    publish(pipeline.kafka.address, messages[sent:])


def keep_reading(pipeline: Stack, keys: list[str], absent: list[str], is_over: Flag) -> None:
    client: Any = redis.Redis.from_url(pipeline.redis.url)
    while not is_over.is_set():
        absent += [key for key in keys if client.hget(key, "state") is None]
    client.close()


def test_a_topic_without_its_beginning_is_not_rebuilt_from(pipeline: Stack, new_worker: StartWorker) -> None:
    publish(pipeline.kafka.address, some_events(1_000))
    worker = new_worker()
    worker.start()
    wait_until_done(pipeline.kafka.address, GROUP, topics.EVENTS)
    worker.stop()
    before = kept_in_redis(pipeline.redis.url)
    admin = KafkaAdminClient(bootstrap_servers=pipeline.kafka.address)
    admin.delete_records({TopicPartition(topics.EVENTS, 3): 5})
    admin.close()
    ended = rebuild(pipeline)
    assert ended.returncode == 1
    assert "begins at offset 5 of partition 3" in ended.stderr
    assert kept_in_redis(pipeline.redis.url) == before


def test_a_worker_keeps_a_redis_cluster(pipeline: Stack, new_worker: StartWorker, tmp_path: Path) -> None:
    publish(pipeline.kafka.address, some_events(10_000))
    with RedisCluster(tmp_path / "cluster") as cluster:
        worker = new_worker(REDIS_URL=cluster.url, REDIS_IS_CLUSTER="true")
        worker.start()
        wait_until_done(pipeline.kafka.address, GROUP, topics.EVENTS)
        by_node = [kept_in_redis(node.url) for node in cluster.nodes]
        assert all(by_node)
        everybody = {name: kept for kept_here in by_node for name, kept in kept_here.items()}
        comparison = compare(everybody, folded_offline(pipeline.kafka.address))
        assert comparison.is_equal, str(comparison)
        assert sorted(RedisFeatureStore(cluster.url, is_cluster=True).customer_ids()) == sorted(everybody)
