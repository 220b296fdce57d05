"""Everything on the topics reaches Elasticsearch, each document once, whatever is killed or read again."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import ApiError, Elasticsearch
from elasticsearch import ConnectionError as NotReached
from kafka import KafkaConsumer, KafkaProducer

from churn import dead_letters, risk_card, topics
from churn.dead_letters import DeadLetter
from churn.features import feature_row
from churn.membership import Membership
from churn.risk_card import Driver, RiskCard, Status
from churn.state import EMPTY
from es_ingest import templates
from es_ingest.service import GROUP, TOPICS
from stack import kafka_offsets
from stack.stack import Stack
from stack.waiting import wait_until

from ..patience import PATIENCE_S

NOW = datetime.now(UTC).replace(microsecond=0)
THIS_MONTH = f"{NOW:%Y.%m}"
INDICES = "events-*,customers,risk-*,dead-letters-*"


class Pipeline:
    """A Kafka and an Elasticsearch of our own, and the service between them."""

    def __init__(self, stack: Stack, directory: Path) -> None:
        self.stack = stack
        self.elasticsearch = Elasticsearch(stack.elasticsearch.url, max_retries=0)
        self._producer = KafkaProducer(bootstrap_servers=stack.kafka.address, reconnect_backoff_max_ms=500)
        self._log = directory / "es_ingest.log"

    def publish(self, topic: str, key: str, *payloads: bytes | None) -> None:
        for payload in payloads:
            self._producer.send(topic, payload, key=key.encode())
        self._producer.flush()

    @contextmanager
    def service(self) -> Iterator[subprocess.Popen[bytes]]:
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self.stack.kafka.address,
            "ELASTICSEARCH_URL": self.stack.elasticsearch.url,
        }
        starts = self.log().count("started")
        with self._log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "es_ingest"], env=environment, stdout=output, stderr=output
            )
        try:
            assert eventually(lambda: self.log().count("started") > starts)
            yield process
        finally:
            stop(process)

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def count(self, index: str, **query: Any) -> int:
        """Documents that a search finds; 0 while there is no index, none that is ready (503), or no server."""
        try:
            self.elasticsearch.indices.refresh(index=index, ignore_unavailable=True)
            return int(
                self.elasticsearch.count(
                    index=index, query=query or {"match_all": {}}, ignore_unavailable=True, allow_no_indices=True
                )["count"]
            )
        except NotReached:
            return 0
        except ApiError as error:
            if error.status_code != 503:
                raise
            return 0

    def read(self, index: str, document_id: str) -> dict[str, Any]:
        return dict(self.elasticsearch.get(index=index, id=document_id)["_source"])

    def everything(self) -> list[tuple[str, str, int, dict[str, Any]]]:
        self.elasticsearch.indices.refresh(index=INDICES)
        hits = self.elasticsearch.search(index=INDICES, size=10_000, version=True)["hits"]["hits"]
        return sorted((hit["_index"], hit["_id"], hit["_version"], hit["_source"]) for hit in hits)

    def is_all_committed(self) -> bool:
        """Whether the group has nothing left to read, of what it wrote itself either."""
        return kafka_offsets.lag(self.stack.kafka.address, GROUP, *TOPICS) == 0

    def forget_what_was_read(self) -> None:
        """Put the group, with no member in it, back to the first message."""
        kafka_offsets.rewind(self.stack.kafka.address, GROUP, *TOPICS)


def stop(process: subprocess.Popen[bytes]) -> int:
    """Ask the service to end; it has 5 seconds, and the machine some more to be slow."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout=10)
    finally:
        process.kill()
        process.wait()


def eventually(condition: Callable[[], bool]) -> bool:
    return wait_until(condition, PATIENCE_S, poll_s=0.2)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers of our own: these tests kill one of them."""
    directory = tmp_path_factory.mktemp("es_ingest")
    with Stack(directory, services=("kafka", "elasticsearch"), free_ports=True) as servers:
        topics.create(servers.kafka.address)
        yield servers


def test_a_consumer_that_is_polled_in_tiny_steps_gets_its_messages(stack: Stack) -> None:
    """Joining takes many steps then; without `Membership` the client mostly loses its way."""
    producer = KafkaProducer(bootstrap_servers=stack.kafka.address)
    for number in range(5):
        consumer = KafkaConsumer(
            bootstrap_servers=stack.kafka.address, group_id=f"tiny-steps-{number}", auto_offset_reset="earliest"
        )
        membership = Membership(consumer, TOPICS, patience_s=1)
        membership.join()
        producer.send("events", b"{no event")
        producer.flush()

        def gets_something(consumer: KafkaConsumer = consumer, membership: Membership = membership) -> bool:
            membership.keep()
            return bool(consumer.poll(timeout_ms=5))

        assert wait_until(gets_something, PATIENCE_S, poll_s=0)
        consumer.close(autocommit=False)
    producer.close()


@pytest.fixture
def pipeline(stack: Stack, tmp_path: Path) -> Iterator[Pipeline]:
    """Both servers up, nothing indexed."""
    stack.elasticsearch.start()
    pipeline = Pipeline(stack, tmp_path)
    for index in pipeline.elasticsearch.indices.get(index=INDICES, ignore_unavailable=True):
        pipeline.elasticsearch.indices.delete(index=index)
    yield pipeline
    pipeline.elasticsearch.close()


def event(number: int, **changes: Any) -> bytes:
    fields = {
        "event_id": f"e-{number}",
        "event_type": "purchase",
        "occurred_at": (NOW - timedelta(seconds=number % 60)).isoformat(),
        "customer_id": f"c-{number % 7}",
        "price": 10.0,
        "quantity": 2,
    }
    return json.dumps({**fields, **changes}).encode()


def card(customer_id: str, risk: float, as_of: datetime = NOW, **features: Any) -> bytes:
    return risk_card.encode(
        RiskCard(
            customer_id=customer_id,
            as_of=as_of,
            scored_at=as_of,
            status=Status.FRESH,
            risk=risk,
            risk_band="high",
            base=0.0,
            drivers=[Driver("recency_days", 90.0, 1.0, "No order for 90 days.")],
            segment="At Risk",
            action="Call them.",
            model_version="abc",
            features={**feature_row(EMPTY, as_of), "monetary": 100.0, **features},
        )
    )


def test_every_topic_reaches_its_indices(pipeline: Pipeline) -> None:
    pipeline.publish("events", "c-1", event(1), event(2, occurred_at="2025-12-31T23:59:59Z"), event(1), b"{no event")
    pipeline.publish("risk", "c-1", card("c-1", 0.9), card("c-1", 0.2, NOW - timedelta(days=40)), None)
    letter = DeadLetter("events-0-0", "broken_json", "no JSON", NOW, "stream_processor", "eA==", 1)
    pipeline.publish("dead-letters", "c-1", dead_letters.encode(letter))
    with pipeline.service():
        assert eventually(pipeline.is_all_committed)
    assert pipeline.count("events-*") == 2
    assert pipeline.read("events-2025.12", "e-2")["revenue"] == 20.0
    assert pipeline.read("customers", "c-1")["risk"] == 0.9  # the older card came later and changed nothing
    assert pipeline.read("customers", "c-1")["money_at_stake"] == 90.0
    assert pipeline.count("customers") == 1
    assert pipeline.count("risk-*") == 2
    assert pipeline.read(f"dead-letters-{THIS_MONTH}", "events-0-0")["reason"] == "broken_json"


def test_a_document_that_the_index_refuses_becomes_a_dead_letter(pipeline: Pipeline) -> None:
    pipeline.publish("risk", "c-1", card("c-1", 0.5), card("c-2", 0.5, age="forty"), b"{no card")
    with pipeline.service():
        assert eventually(pipeline.is_all_committed)
    assert pipeline.count("customers") == 1
    assert pipeline.count("dead-letters-*") == 2
    hits = pipeline.elasticsearch.search(index="dead-letters-*", sort="offset")["hits"]["hits"]
    refused, unreadable = (hit["_source"] for hit in hits)
    assert refused["letter_id"] == f"risk-{refused['partition']}-{refused['offset']}-index"
    assert refused["reason"] == unreadable["reason"] == "refused_by_index"
    assert refused["stage"] == unreadable["stage"] == "es_ingest"
    assert "[age]" in refused["detail"]
    assert "not what topic risk carries" in unreadable["detail"]


def test_a_refused_dead_letter_goes_nowhere_and_is_named_once(pipeline: Pipeline) -> None:
    odd = DeadLetter("odd", "r", "d", datetime(2019, 5, 1, tzinfo=UTC), "stream_processor", "", 0)
    with pipeline.service():
        assert eventually(pipeline.is_all_committed)
        contradiction = {"properties": {"stage": {"type": "ip"}}}
        pipeline.elasticsearch.indices.create(index="dead-letters-2019.05", mappings=contradiction)
        good = DeadLetter("good", "r", "d", NOW, "stream_processor", "", 0)
        pipeline.publish("dead-letters", "c-1", dead_letters.encode(odd), dead_letters.encode(good))
        assert eventually(lambda: pipeline.count("dead-letters-*") == 1)
        assert eventually(pipeline.is_all_committed)
    assert pipeline.count("dead-letters-*") == 1
    assert pipeline.log().count("a dead letter was refused by the index") == 1


def test_every_document_is_there_once_after_elasticsearch_was_killed(pipeline: Pipeline) -> None:
    pipeline.publish("events", "c-1", *(event(number) for number in range(4_000)))
    with pipeline.service() as process:
        assert eventually(lambda: pipeline.count("events-*") > 0)
        pipeline.stack.elasticsearch.kill()
        pipeline.publish("events", "c-1", *(event(number) for number in range(3_000, 6_000)))
        pipeline.publish("risk", "c-1", card("c-1", 0.5))
        assert eventually(lambda: "waiting for Elasticsearch" in pipeline.log())
        pipeline.stack.elasticsearch.start()
        assert eventually(pipeline.is_all_committed)
        assert process.poll() is None
    assert pipeline.count("events-*") == 6_000
    assert pipeline.count("customers") == 1
    assert {version for index, _, version, _ in pipeline.everything() if index.startswith("events-")} == {1}


def test_reading_everything_again_changes_nothing(pipeline: Pipeline) -> None:
    pipeline.publish("events", "c-1", *(event(number) for number in range(200)))
    pipeline.publish("risk", "c-1", card("c-1", 0.5), card("c-1", 0.7, NOW - timedelta(days=1)), b"{no card")
    pipeline.forget_what_was_read()
    with pipeline.service():
        assert eventually(pipeline.is_all_committed)
    before = pipeline.everything()
    pipeline.forget_what_was_read()
    with pipeline.service():
        assert eventually(pipeline.is_all_committed)
    assert pipeline.everything() == before
    assert len(before) > 200


def test_a_broker_that_comes_back_is_read_on(pipeline: Pipeline) -> None:
    with pipeline.service() as process:
        pipeline.publish("events", "c-1", event(1))
        assert eventually(lambda: pipeline.count("events-*") == 1)
        pipeline.stack.kafka.kill()
        pipeline.stack.kafka.start()
        pipeline.publish("events", "c-1", event(2))
        assert eventually(lambda: pipeline.count("events-*") == 2)
        assert eventually(pipeline.is_all_committed)
        assert process.poll() is None


def test_a_stop_does_not_wait_for_an_elasticsearch_that_is_away(pipeline: Pipeline) -> None:
    with pipeline.service() as process:
        assert eventually(pipeline.is_all_committed)
        pipeline.stack.elasticsearch.kill()
        pipeline.publish("events", "c-1", event(1))
        assert eventually(lambda: "waiting for Elasticsearch" in pipeline.log())
        assert stop(process) == 0
    pipeline.stack.elasticsearch.start()
    with pipeline.service():
        assert eventually(lambda: pipeline.count("events-*") == 1)


def test_a_stop_does_not_wait_for_an_elasticsearch_that_hangs(pipeline: Pipeline) -> None:
    with pipeline.service() as process:
        assert eventually(pipeline.is_all_committed)
        pipeline.stack.elasticsearch.freeze()
        summaries = pipeline.log().count("behind=")
        pipeline.publish("events", "c-1", event(1))
        assert eventually(lambda: pipeline.log().count("behind=") > summaries)
        assert stop(process) == 0
        pipeline.stack.elasticsearch.resume()
    with pipeline.service():
        assert eventually(lambda: pipeline.count("events-*") == 1)


def test_the_templates_can_be_put_alone(pipeline: Pipeline) -> None:
    pipeline.elasticsearch.indices.delete_index_template(name="ebb-*")
    finished = run_templates(pipeline, "--replicas", "1")
    assert finished.returncode == 0, finished.stderr
    found = pipeline.elasticsearch.indices.get_index_template(name="ebb-*")["index_templates"]
    assert {each["name"] for each in found} == {template.name for template in templates.ALL}
    pipeline.elasticsearch.indices.create(index="events-2001.01")
    settings = pipeline.elasticsearch.indices.get(index="events-2001.01")["events-2001.01"]["settings"]["index"]
    assert (settings["number_of_shards"], settings["number_of_replicas"]) == ("1", "1")


def test_a_new_field_reaches_the_indices_that_are_there(pipeline: Pipeline) -> None:
    pipeline.elasticsearch.indices.delete_index_template(name="ebb-*")
    pipeline.elasticsearch.indices.create(
        index="customers", mappings={"dynamic": "strict", "properties": {"risk": {"type": "double"}}}
    )
    assert run_templates(pipeline).returncode == 0
    properties = pipeline.elasticsearch.indices.get_mapping(index="customers")["customers"]["mappings"]["properties"]
    assert properties.keys() == templates.ALL[1].properties.keys()


def test_an_index_that_contradicts_its_template_is_named(pipeline: Pipeline) -> None:
    pipeline.elasticsearch.indices.create(index="events-2001.01", mappings={"properties": {"price": {"type": "ip"}}})
    finished = run_templates(pipeline)
    assert finished.returncode == 1
    assert "events-*: mapper [price] cannot be changed from type [ip] to [double]" in finished.stderr


def test_an_elasticsearch_that_never_comes_ends_the_command() -> None:
    finished = run(["templates", "--timeout", "0"], ELASTICSEARCH_URL="http://127.0.0.1:9")
    assert finished.returncode == 1
    assert "gave up" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_service_that_waits_for_its_neighbours_stops_at_once(tmp_path: Path) -> None:
    nowhere = {"ELASTICSEARCH_URL": "http://127.0.0.1:9", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}
    log = tmp_path / "log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "es_ingest"]
        process = subprocess.Popen(command, env={**os.environ, **nowhere}, stdout=output, stderr=output)
    assert eventually(lambda: "waiting" in log.read_text())
    assert stop(process) == 0
    assert "Traceback" not in log.read_text()


def test_old_months_are_deleted_on_demand(pipeline: Pipeline) -> None:
    old, kept = "events-2001.01", f"events-{THIS_MONTH}"
    for index in (old, kept, "events-archive", "risk-2001.01"):
        pipeline.elasticsearch.index(index=index, document={}, refresh=True)
    url = pipeline.stack.elasticsearch.url
    said = run(["retention", "--events-months", "1", "--dry-run"], ELASTICSEARCH_URL=url)
    assert (said.returncode, said.stdout.partition(" documents")[0]) == (0, f"would delete {old}: 1")
    assert pipeline.elasticsearch.indices.exists(index=old)
    done = run(["retention", "--events-months", "1"], ELASTICSEARCH_URL=url)
    assert (done.returncode, done.stdout.partition(" documents")[0]) == (0, f"deleted {old}: 1")
    left = set(pipeline.elasticsearch.indices.get(index="events-*,risk-*"))
    assert left == {kept, "events-archive", "risk-2001.01"}
    again = run(["retention", "--events-months", "1"], ELASTICSEARCH_URL=url)
    assert (again.returncode, again.stdout) == (0, "no index is older than what is to be kept\n")


def run_templates(pipeline: Pipeline, *options: str) -> subprocess.CompletedProcess[str]:
    return run(["templates", *options], ELASTICSEARCH_URL=pipeline.stack.elasticsearch.url)


def run(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "es_ingest", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
