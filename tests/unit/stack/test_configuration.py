"""What the servers are told: ports on 127.0.0.1 only, the durability we promise, and the caller's settings last."""

from pathlib import Path

import pytest

from stack import programs
from stack.elasticsearch_server import ElasticsearchServer
from stack.kafka_server import KafkaServer
from stack.redis_server import RedisServer


def lines(path: Path, separator: str) -> dict[str, str]:
    pairs = (line.split(separator, 1) for line in path.read_text().splitlines())
    return {name: value.strip() for name, value in pairs}


def kafka_properties(directory: Path, settings: dict[str, str]) -> dict[str, str]:
    server = KafkaServer(directory, 19_092, settings=settings)
    server.data_directory.mkdir(parents=True)
    (server.data_directory / "meta.properties").touch()  # formatted already: no Java is needed
    server.prepare()
    return lines(directory / "server.properties", "=")


def test_kafka_creates_no_topic_by_accident_and_needs_no_second_broker(tmp_path: Path) -> None:
    properties = kafka_properties(tmp_path, {})
    assert properties["auto.create.topics.enable"] == "false"
    assert properties["group.initial.rebalance.delay.ms"] == "0"
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:19092"
    assert all("//127.0.0.1:" in listener for listener in properties["listeners"].split(","))
    replicas = {name: value for name, value in properties.items() if name.endswith(("replication.factor", "min.isr"))}
    assert len(replicas) == 5
    assert set(replicas.values()) == {"1"}


def test_kafka_keeps_its_default_limit_for_messages(tmp_path: Path) -> None:
    assert "message.max.bytes" not in kafka_properties(tmp_path, {})


def test_kafka_takes_further_properties(tmp_path: Path) -> None:
    properties = kafka_properties(tmp_path, {"log.retention.ms": "1000", "offsets.topic.num.partitions": "50"})
    assert properties["log.retention.ms"] == "1000"
    assert properties["offsets.topic.num.partitions"] == "50"


def test_redis_syncs_its_file_every_second_and_never_evicts(tmp_path: Path) -> None:
    RedisServer(tmp_path, 16_379).prepare()
    directives = lines(tmp_path / "redis.conf", " ")
    assert directives["bind"] == "127.0.0.1"
    assert directives["port"] == "16379"
    assert directives["appendonly"] == "yes"
    assert directives["appendfsync"] == "everysec"
    assert directives["save"] == '""'
    assert directives["maxmemory-policy"] == "noeviction"


def test_redis_takes_further_directives(tmp_path: Path) -> None:
    RedisServer(tmp_path, 16_379, settings={"cluster-enabled": "yes", "appendfsync": "always"}).prepare()
    directives = lines(tmp_path / "redis.conf", " ")
    assert directives["cluster-enabled"] == "yes"
    assert directives["appendfsync"] == "always"


def test_elasticsearch_is_one_node_on_this_machine_only(tmp_path: Path) -> None:
    ElasticsearchServer(tmp_path, 19_200, settings={"action.auto_create_index": "false"}).prepare()
    settings = lines(tmp_path / "config" / "elasticsearch.yml", ":")
    assert settings["network.host"] == '"127.0.0.1"'
    assert settings["http.port"] == '"19200"'
    assert settings["discovery.type"] == '"single-node"'
    assert settings["xpack.security.enabled"] == '"false"'
    assert settings["cluster.routing.allocation.disk.threshold_enabled"] == '"false"'
    assert settings["action.auto_create_index"] == '"false"'


def test_the_heap_of_elasticsearch_can_be_chosen(tmp_path: Path) -> None:
    server = ElasticsearchServer(tmp_path, 19_200)
    server.heap = "1g"
    server.prepare()
    options = (tmp_path / "config" / "jvm.options").read_text().splitlines()
    assert "-Xmx1g" in options
    assert "-Djava.io.tmpdir=${ES_TMPDIR}" in options


@pytest.mark.parametrize(("user", "first_word"), [(0, "setpriv"), (1000, "elasticsearch")])
def test_elasticsearch_never_runs_as_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, first_word: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr(programs, "program", lambda name: name)
    monkeypatch.setattr("stack.downloads.elasticsearch_home", lambda: tmp_path)
    assert Path(ElasticsearchServer(tmp_path, 19_200).command()[0]).name == first_word
