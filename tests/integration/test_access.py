"""Who may do what: every user of Redis and Elasticsearch does its work and nothing else, over encrypted connections.

A wrong password and an expired certificate end a command with 77, an unknown host with 1; a service waits for a host
that is not there, without a storm of attempts. No password comes into any log.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from elasticsearch import ApiError, AuthenticationException, Elasticsearch
from msgspec.structs import replace

from churn.feature_store import CardWrite, RedisFeatureStore, StateWrite, StoreUnavailable, customer_key
from churn.state import EMPTY, pack
from es_ingest import templates
from stack import wait_until
from stack.kafka_offsets import produced

from ..access_attempts import (
    BODIES,
    ELASTICSEARCH_ATTEMPTS,
    REDIS_ATTEMPTS,
    REFUSED,
    SIMULATE,
    STILL_WAITING,
    WRONG,
    Attempt,
    attempts_of,
    settings_of,
)
from ..patience import PATIENCE_S
from ..secured_servers import PASSWORDS, Secured, secured_servers

# How often a service that waits is heard.
ATTEMPTS_WATCHED = 2
# Connections with one wrong setting: five seconds of kafka-python's growing pauses, and the question why.
MOST_OF_KAFKA = 8
FORBIDDEN = 403
STATE = StateWrite("1", 3, 7, pack(EMPTY))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured_servers(tmp_path_factory.mktemp("secured")) as servers:
        yield servers


# --- Redis ------------------------------------------------------------------------------------------------------------


def redis_as(servers: Secured, user: str) -> redis.Redis:
    return redis.Redis.from_url(servers.redis_url(user), ssl_ca_certs=str(servers.ca_file))


@pytest.fixture(scope="module")
def redis_clients(servers: Secured) -> Iterator[dict[str, redis.Redis]]:
    """A client of each user; there are a customer, a ranking and a key that is nobody's business."""
    clients = {name: redis_as(servers, name) for name in ("admin", "stream_processor", "scorer", "success")}
    admin = clients["admin"]
    admin.hset("customer:1", mapping={"risk": "0.7"})
    admin.zadd("risk:ranking", {"1": 0.7})
    admin.hset("rebuild:{customer:1}", mapping={"state": "x"})
    admin.hset("other:1", mapping={"a": "b"})
    yield clients
    for client in clients.values():
        client.close()


@pytest.mark.parametrize("attempt", REDIS_ATTEMPTS, ids=lambda each: " ".join([each[0], *each[2:5]])[:70])
def test_a_user_of_redis_may_do_its_work_and_nothing_else(
    redis_clients: dict[str, redis.Redis], attempt: tuple[Any, ...]
) -> None:
    user, may, *command = attempt
    try:
        redis_clients[user].execute_command(*command)
    except redis.ResponseError as error:
        assert not may, error
        assert re.search("permission|executing the script can't", str(error)), error
    else:
        assert may, f"{user} may {command}"


@pytest.mark.parametrize("address", ["redis://{}:{}/0", "redis://default:@{}:{}/0", "redis://:secret@{}:{}/0"])
def test_nobody_gets_into_redis_without_a_user(servers: Secured, address: str) -> None:
    client = redis.Redis.from_url(address.format("127.0.0.1", servers.stack.redis.port))
    with client, pytest.raises(redis.AuthenticationError):
        client.hgetall("customer:1")


def test_the_stream_processor_and_the_scorer_can_do_all_that_they_do(servers: Secured) -> None:
    def store_of(user: str, **more: bool) -> RedisFeatureStore:
        return RedisFeatureStore(servers.redis_url(user), ca_file=servers.ca_file, **more)

    with redis_as(servers, "admin") as admin:
        admin.flushall()
    stream, shadow, scorer = (
        store_of("stream_processor"),
        store_of("stream_processor", is_shadow=True),
        store_of("scorer"),
    )
    stream.require_run(stream.run_id())
    assert stream.write_states([STATE]) == {"1"}
    assert shadow.write_states([replace(STATE, offset=9), replace(STATE, customer_id="2")]) == {"1", "2"}
    assert set(stream.shadow_ids()) == {"1", "2"}
    assert stream.switch(["1"], 1) == [True]
    stream.discard_shadows(["2"])
    assert list(stream.customer_ids()) == ["1"]
    assert stream.read_states(["1"])["1"].offset == 9
    assert scorer.write_cards([CardWrite("1", {"risk": "0.5", "as_of": "now"}, 0.5)]) == [True]
    assert scorer.write_cards([CardWrite("1", {"risk": "0.4"}, None, read_as_of="now")]) == [True]
    scorer.schedule({"1": 5})
    assert scorer.due(5, 9) == ["1"]
    scorer.unschedule(["1"])
    assert list(scorer.customer_ids()) == ["1"]
    assert scorer.read_customers(["1"]).keys() == {"1"}
    assert scorer.top(3) == []
    shadow.write_states([STATE])
    assert (stream.erase(["1"]), stream.erase(["1"])) == (2, 0)
    stream.write_states([STATE])
    assert (scorer.erase(["1"]), scorer.erase(["1"])) == (1, 0)


def test_customer_success_reads_cards_and_ranking_by_the_same_code_and_writes_nothing(servers: Secured) -> None:
    RedisFeatureStore(servers.redis_url("scorer"), ca_file=servers.ca_file).write_cards(
        [CardWrite("9", {"risk": "0.9"}, 0.9)]
    )
    store = RedisFeatureStore(servers.redis_url("success"), ca_file=servers.ca_file)
    card = store.read_customer("9")
    assert card is not None
    assert card.fields["risk"] == "0.9"
    assert store.read_customers(["9"]).keys() == {"9"}
    assert store.top(1) == [("9", 0.9)]
    with pytest.raises(StoreUnavailable, match="permission"):
        store.write_cards([CardWrite("9", {"risk": "0.1"}, 0.1)])
    with redis_as(servers, "success") as client:
        assert client.hget(customer_key("9"), "risk") == b"0.9"


# --- Elasticsearch ----------------------------------------------------------------------------------------------------


def elasticsearch_as(servers: Secured, user: str) -> Elasticsearch:
    known_as = {"es_ingest": "ELASTICSEARCH_INGEST", "ebb-kibana": "KIBANA"}
    password = PASSWORDS[f"{known_as.get(user, f'ELASTICSEARCH_{user.upper()}')}_PASSWORD"]
    return Elasticsearch(
        servers.elasticsearch_url, basic_auth=(user, password), ca_certs=str(servers.ca_file), max_retries=0
    )


@pytest.fixture(scope="module")
def elasticsearch_clients(servers: Secured) -> Iterator[dict[str, Elasticsearch]]:
    """A client of each user; there are our indices, made by our templates, and one that is nobody's business."""
    users = ("admin", "es_ingest", "analytics", "boards", "reader", "ebb-kibana")
    clients = {name: elasticsearch_as(servers, name) for name in users}
    templates.put(clients["es_ingest"], replicas=0)
    for index in ("events-2026.01", "customers", "dead-letters-2026.01"):
        clients["es_ingest"].index(index=index, id="1", document={}, refresh=True)
    clients["es_ingest"].index(index="risk-2001.01", document={})
    clients["analytics"].index(index="analytics-models", id="1", document={}, refresh=True)
    clients["admin"].index(index="wages", id="1", document={"of": "everybody"}, refresh=True)
    templates.put(clients["es_ingest"], replicas=0)  # the mappings of what is there, too
    yield clients
    for client in clients.values():
        client.close()


@pytest.mark.parametrize("attempt", ELASTICSEARCH_ATTEMPTS, ids=lambda each: f"{each[0]} {each[2]} {each[3]}")
def test_a_user_of_elasticsearch_may_do_its_work_and_nothing_else(
    elasticsearch_clients: dict[str, Elasticsearch], attempt: tuple[str, bool, str, str]
) -> None:
    user, may, method, path = attempt
    body = BODIES.get(path, {}) if method in ("PUT", "POST") and path != "/own" else None
    headers = {"accept": "application/json", "content-type": "application/json"}
    try:
        elasticsearch_clients[user].perform_request(method, path, headers=headers, body=body)
    except ApiError as error:
        assert not may, error
        assert error.status_code == FORBIDDEN, error
    else:
        assert may, f"{user} may {method} {path}"


def test_a_search_of_everything_shows_a_reader_our_indices_alone(
    elasticsearch_clients: dict[str, Elasticsearch],
) -> None:
    found = elasticsearch_clients["reader"].search(index="*", size=100)["hits"]["hits"]
    seen = {hit["_index"] for hit in found}
    assert {"events-2026.01", "customers", "analytics-models"} <= seen
    assert "wages" not in seen


def test_nobody_gets_into_elasticsearch_without_a_user(servers: Secured) -> None:
    for user in (None, ("elastic", "changeme"), ("admin", "admin")):
        client = Elasticsearch(servers.elasticsearch_url, basic_auth=user, ca_certs=str(servers.ca_file))
        with client, pytest.raises(AuthenticationException):
            client.search(index="customers")


# --- connections ------------------------------------------------------------------------------------------------------


def start(command: list[str], settings: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *command], env={**os.environ, **settings}, stdout=output, stderr=output
        )


class Ended(NamedTuple):
    """What became of an attempt; `code` is None where it went on waiting."""

    attempt: Attempt
    code: int | None
    said: str


class Doors(NamedTuple):
    """What the servers counted: passwords and handshakes that failed at Redis, and either at Kafka."""

    redis_passwords: int
    redis_handshakes: int
    kafka: int


def doors(servers: Secured) -> Doors:
    password = PASSWORDS["REDIS_ADMIN_PASSWORD"]
    with redis.Redis(port=servers.stack.redis.port, username="admin", password=password) as client:
        refused = sum(each["count"] for each in client.acl_log() if each["reason"] == "auth")
    return Doors(
        refused,
        servers.redis_expired.log_file.read_text().count("Error accepting a client connection"),
        servers.stack.kafka.log_file.read_text().count("Failed authentication with "),
    )


@pytest.fixture(scope="module")
def ended(servers: Secured, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Ended], Doors]:
    """What became of every attempt, and how much more the servers counted after them."""
    directory = tmp_path_factory.mktemp("attempts")
    before = doors(servers)

    def make(attempt: Attempt) -> Ended:
        log = directory / f"{id(attempt)}.log"
        process = start(attempt.command, {**settings_of(servers), **attempt.wrong}, log)
        try:
            if attempt.ends_with is STILL_WAITING:
                assert wait_until(lambda: log.read_text().count("waiting") >= ATTEMPTS_WATCHED, PATIENCE_S, poll_s=0.2)
            else:
                process.wait(PATIENCE_S)
            code = process.poll()
        finally:
            process.kill()
            process.wait()
        return Ended(attempt, code, log.read_text())

    attempts = attempts_of(servers)
    with ThreadPoolExecutor(2) as side_by_side:
        ended = dict(zip(attempts, side_by_side.map(make, attempts.values()), strict=True))
    after = doors(servers)
    return ended, Doors(*(now - then for now, then in zip(after, before, strict=True)))


def test_what_is_refused_is_said_once_with_its_place_and_what_to_check(ended: tuple[dict[str, Ended], Doors]) -> None:
    for name, each in ended[0].items():
        assert each.code == each.attempt.ends_with, f"{name}: {each.said}"
        assert "Traceback" not in each.said, f"{name}: {each.said}"
        if each.code == REFUSED:  # who waits says so again, and for what
            assert len(re.findall(each.attempt.says, each.said)) == 1, f"{name}: {each.said}"
        assert re.search(each.attempt.says, each.said.splitlines()[-1]), f"{name}: {each.said}"


def test_nothing_refused_comes_back_in_a_storm(ended: tuple[dict[str, Ended], Doors]) -> None:
    """Counted by the servers: a few connections for each attempt, however long it took to give up."""
    attempts, counted = ended
    of_kafka = [each for each in attempts.values() if each.attempt.wrong.keys() & {"KAFKA_PASSWORD"}]
    assert counted.redis_passwords == 1
    assert counted.redis_handshakes == 2  # one of stream_processor, one of es_ingest
    assert len(of_kafka) + 1 <= counted.kafka <= MOST_OF_KAFKA * (len(of_kafka) + 1)


def test_everything_works_over_encrypted_connections_with_passwords(
    servers: Secured, ended: tuple[dict[str, Ended], Doors], tmp_path: Path
) -> None:
    settings = settings_of(servers)
    once = [["churn.topics"], SIMULATE]
    for number, command in enumerate(once):
        process = start(command, settings, tmp_path / f"once-{number}")
        assert process.wait(PATIENCE_S) == 0, (tmp_path / f"once-{number}").read_text()
    users = {"stream_processor": "stream_processor", "scorer": "scorer", "es_ingest": "success"}
    commands = {"stream_processor": ["stream_processor"], "scorer": ["scorer", "serve"], "es_ingest": ["es_ingest"]}
    logs = {name: tmp_path / name for name in commands}
    services = [start(command, settings_of(servers, users[name]), logs[name]) for name, command in commands.items()]
    admin, cards, index = redis_as(servers, "admin"), redis_as(servers, "success"), elasticsearch_as(servers, "reader")
    admin.flushall()

    def is_done() -> bool:
        # Not those of the attempts above.
        found = index.count(index="events-*", query={"exists": {"field": "event_id"}})["count"]
        has_card = [bool(cards.hget(key, "status")) for key in admin.scan_iter("customer:*")]
        return found == produced(servers.stack.kafka.address, "events") > 0 and bool(has_card) and all(has_card)

    try:
        with admin, cards, index:
            assert wait_until(is_done, PATIENCE_S, poll_s=0.5), {name: log.read_text() for name, log in logs.items()}
    finally:
        for service in services:
            service.kill()
            service.wait()
    said = "".join(log.read_text() for log in [*logs.values(), *tmp_path.glob("once-*")])
    assert_no_password_in(said)


def assert_no_password_in(said: str) -> None:
    assert not [name for name, password in {**PASSWORDS, "WRONG": WRONG}.items() if password in said]


def test_no_password_comes_into_a_log(servers: Secured, ended: tuple[dict[str, Ended], Doors]) -> None:
    for each in ended[0].values():
        assert_no_password_in(each.said)
    logs = [service.log_file for service in servers.stack.services] + [servers.redis_expired.log_file]
    for log in logs:
        assert_no_password_in(log.read_text(errors="replace"))
