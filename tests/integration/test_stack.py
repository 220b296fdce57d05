"""The real servers, started natively: each does its work, survives its death with its data, and leaves no process."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from elasticsearch import Elasticsearch
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

from stack import SERVICE_NAMES, Stack, wait_until
from stack.errors import StartFailed
from stack.ports import free_port
from stack.processes import process_ids, process_stat


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All three, on free ports; a test may kill them, and starts them again."""
    with Stack(tmp_path_factory.mktemp("stack"), free_ports=True) as stack:
        yield stack


@pytest.fixture(autouse=True)
def everything_runs(request: pytest.FixtureRequest) -> None:
    if "stack" in request.fixturenames:
        request.getfixturevalue("stack").start()


def connect_redis(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


def create_topic(address: str, name: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=address)
    admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1)])
    admin.close()


def produce(address: str, topic: str, value: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=address)
    producer.send(topic, value).get(timeout=30)
    producer.close()


def consume_one(address: str, topic: str) -> bytes:
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=address,
        group_id="test",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        consumer_timeout_ms=30_000,
    )
    message = next(consumer)
    consumer.close()
    return bytes(message.value)


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "stack", *arguments], capture_output=True, text=True, check=False)


def processes_of(group: int) -> list[int]:
    stats = {pid: process_stat(pid) for pid in process_ids()}
    return [pid for pid, stat in stats.items() if stat is not None and stat.group == group]


def test_kafka_keeps_its_topics_when_it_is_started_again(stack: Stack) -> None:
    address = stack.kafka.address
    create_topic(address, "kept")
    produce(address, "kept", b"before")
    stack.kafka.restart()
    assert stack.kafka.address == address
    assert consume_one(address, "kept") == b"before"


def test_kafka_keeps_acknowledged_messages_when_it_is_killed(stack: Stack) -> None:
    create_topic(stack.kafka.address, "killed")
    produce(stack.kafka.address, "killed", b"before")
    stack.kafka.kill()
    stack.kafka.start()
    assert consume_one(stack.kafka.address, "killed") == b"before"


def test_kafka_creates_no_topic_by_accident(stack: Stack) -> None:
    consumer = KafkaConsumer(bootstrap_servers=stack.kafka.address)
    assert not consumer.partitions_for_topic("misspelt")
    assert "misspelt" not in consumer.topics()
    consumer.close()


def test_redis_keeps_its_data_when_it_is_killed(stack: Stack) -> None:
    client = connect_redis(stack.redis.url)
    client.set("kept", "yes")
    assert wait_until(lambda: client.info("persistence")["aof_buffer_length"] == 0, timeout_s=5)
    pid = stack.redis.pid
    stack.redis.kill()
    stack.redis.start()
    assert stack.redis.pid != pid
    assert connect_redis(stack.redis.url).get("kept") == "yes"


def test_redis_is_set_up_as_promised(stack: Stack) -> None:
    told = connect_redis(stack.redis.url).config_get("append*", "save", "maxmemory-policy")
    assert told["appendonly"] == "yes"
    assert told["appendfsync"] == "everysec"
    assert told["save"] == ""
    assert told["maxmemory-policy"] == "noeviction"


def test_a_frozen_redis_is_silent_until_it_is_resumed(stack: Stack) -> None:
    stack.redis.freeze()
    assert not stack.redis.is_ready()
    stack.redis.resume()
    assert wait_until(stack.redis.is_ready, timeout_s=10)


def test_elasticsearch_finds_what_was_indexed_also_after_it_was_killed(stack: Stack) -> None:
    with Elasticsearch(stack.elasticsearch.url, request_timeout=30) as client:
        client.index(index="customers", id="1", document={"risk": 0.7}, refresh=True)
        stack.elasticsearch.kill()
        stack.elasticsearch.start()
        found = client.search(index="customers", query={"range": {"risk": {"gt": 0.5}}})
    assert [hit["_id"] for hit in found["hits"]["hits"]] == ["1"]


def test_elasticsearch_runs_as_an_unprivileged_user(stack: Stack) -> None:
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in processes_of(stack.elasticsearch.pid)}
    assert len(processes_of(stack.elasticsearch.pid)) == 2  # the launcher and the node
    assert 0 not in owners


def test_elasticsearch_can_be_started_again_after_only_its_launcher_was_killed(stack: Stack) -> None:
    os.kill(stack.elasticsearch.pid, signal.SIGKILL)
    assert wait_until(lambda: not stack.elasticsearch.is_running, timeout_s=10)
    stack.elasticsearch.start()
    assert stack.elasticsearch.is_ready()


def test_all_listen_on_this_machine_only(stack: Stack) -> None:
    for service in stack.services:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", service.port), timeout=5)


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"redis ended during its start; the end of .*redis\.log:\n(.|\n)*no-such"):
        Stack(tmp_path, ["redis"], free_ports=True, settings={"redis": {"no-such-directive": "1"}}).start()


def test_the_commands_start_show_and_stop_the_servers(tmp_path: Path) -> None:
    there = ("--dir", str(tmp_path))
    assert run_cli("up", *there, "--free-ports").returncode == 0
    told = json.loads(run_cli("status", "--json", *there).stdout)
    try:
        assert set(told) == {"kafka", "redis_url", "elasticsearch_url", "pids"}
        assert set(told["pids"]) == set(SERVICE_NAMES)
        assert connect_redis(told["redis_url"]).set("kept", "yes")

        again = run_cli("up", *there)
        assert again.returncode == 0
        assert again.stderr.count("already running") == 3
        assert json.loads(run_cli("status", "--json", *there).stdout) == told
    finally:
        assert run_cli("down", *there).returncode == 0
    assert [pid for group in told["pids"].values() for pid in processes_of(group)] == []
    assert run_cli("status", *there).returncode == 1
    with Stack(tmp_path, ["redis"], free_ports=True) as later:
        assert connect_redis(later.redis.url).get("kept") == "yes"
    assert run_cli("down", "--purge", *there).returncode == 0
    assert not tmp_path.exists()


def test_a_taken_port_names_its_holder_and_leaves_the_others_alone(tmp_path: Path) -> None:
    port = str(free_port())
    with socket.create_server(("127.0.0.1", int(port))):
        ended = run_cli("up", "redis", "--redis-port", port, "--dir", str(tmp_path))
    assert ended.returncode == 1
    assert f"port {port} on 127.0.0.1, wanted for redis, is taken by pid {os.getpid()} " in ended.stderr
    assert "--redis-port N" in ended.stderr


def test_a_stack_that_fails_to_start_leaves_no_process(tmp_path: Path) -> None:
    failing = Stack(tmp_path, ["redis", "kafka"], free_ports=True, settings={"kafka": {"num.partitions": "none"}})
    with pytest.raises(StartFailed, match="kafka"), failing:
        pass
    assert failing.running == ()
