"""Who may do what: every user of Redis and Elasticsearch does its work and nothing else."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from elasticsearch import ApiError, AuthenticationException, Elasticsearch

from churn.feature_store import CardWrite, RedisFeatureStore, StateWrite, StoreUnavailable, customer_key
from churn.state import EMPTY, pack
from es_ingest import templates

from ..secured_servers import PASSWORDS, Secured, secured_servers

ALLOWED, DENIED = True, False
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


READ = "return redis.call('HGETALL', KEYS[1])"
REMOVE = "return redis.call('DEL', KEYS[1])"
REDIS_ATTEMPTS = [
    ("success", ALLOWED, "HGETALL", "customer:1"),
    ("success", ALLOWED, "HMGET", "customer:1", "risk", "action"),
    ("success", ALLOWED, "ZREVRANGE", "risk:ranking", "0", "9", "WITHSCORES"),
    ("success", ALLOWED, "ZSCORE", "risk:ranking", "1"),
    ("success", DENIED, "SET", "customer:2", "x"),
    ("success", DENIED, "HSET", "customer:1", "risk", "0"),
    ("success", DENIED, "DEL", "customer:1"),
    ("success", DENIED, "EXPIRE", "customer:1", "1"),
    ("success", DENIED, "ZADD", "risk:ranking", "1", "2"),
    ("success", DENIED, "ZRANGESTORE", "risk:own", "risk:ranking", "0", "-1"),
    ("success", DENIED, "HGETALL", "other:1"),
    ("success", DENIED, "HGETALL", "rebuild:{customer:1}"),
    ("success", DENIED, "KEYS", "*"),
    ("success", DENIED, "SCAN", "0"),
    ("success", DENIED, "EVAL", READ, "1", "customer:1"),
    ("success", DENIED, "SUBSCRIBE", "news"),
    ("scorer", ALLOWED, "HGETALL", "customer:1"),
    ("scorer", ALLOWED, "ZRANGEBYSCORE", "risk:due", "-inf", "0"),
    ("scorer", ALLOWED, "SCAN", "0", "MATCH", "customer:*"),
    ("scorer", DENIED, "HSET", "other:1", "a", "c"),
    ("scorer", DENIED, "HGETALL", "rebuild:{customer:1}"),
    ("scorer", DENIED, "DEL", "customer:1"),
    ("scorer", DENIED, "DEL", "risk:ranking"),
    ("scorer", DENIED, "EVAL", REMOVE, "1", "customer:1"),
    ("scorer", DENIED, "SCRIPT", "FLUSH"),
    ("scorer", DENIED, "KEYS", "*"),
    ("stream_processor", ALLOWED, "INFO", "server"),
    ("stream_processor", ALLOWED, "HMGET", "customer:1", "state"),
    ("stream_processor", DENIED, "ZREVRANGE", "risk:ranking", "0", "9"),
    ("stream_processor", DENIED, "HSET", "other:1", "a", "c"),
    ("stream_processor", DENIED, "EVAL", "return redis.call('HSET', 'other:1', 'a', 'c')", "1", "customer:1"),
    ("stream_processor", DENIED, "DEL", "customer:1"),
    ("stream_processor", DENIED, "EVAL", REMOVE, "1", "customer:1"),
    ("stream_processor", DENIED, "SCRIPT", "FLUSH"),
    ("stream_processor", DENIED, "KEYS", "*"),
    *(
        (user, DENIED, *command.split())
        for user in ("success", "scorer", "stream_processor")
        for command in (
            "FLUSHALL",
            "FLUSHDB",
            "CONFIG GET *",
            "CONFIG SET dir /tmp",
            "ACL LIST",
            "ACL SETUSER own on",
            "SHUTDOWN NOSAVE",
            "LATENCY LATEST",
            "MONITOR",
            "CLIENT LIST",
            "CLIENT KILL TYPE normal",
            "REPLICAOF nowhere 1",
            "MODULE LIST",
            "BGREWRITEAOF",
            "SAVE",
            "RENAME customer:1 customer:2",
        )
    ),
]


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
    assert shadow.write_states([STATE._replace(offset=9), STATE._replace(customer_id="2")]) == {"1", "2"}
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


OURS = ("events-*", "customers", "risk-*", "dead-letters-*", "analytics-*")
ELASTICSEARCH_ATTEMPTS = [
    *(("reader", ALLOWED, "GET", f"/{index}/_search") for index in OURS),
    ("reader", ALLOWED, "GET", "/events-*/_mapping"),
    ("reader", DENIED, "GET", "/wages/_search"),
    ("reader", DENIED, "PUT", "/events-2026.01/_doc/2"),
    ("reader", DENIED, "POST", "/customers/_update/1"),
    ("reader", DENIED, "DELETE", "/customers/_doc/1"),
    ("reader", DENIED, "DELETE", "/events-2026.01"),
    ("reader", DENIED, "PUT", "/_index_template/own"),
    ("es_ingest", ALLOWED, "PUT", "/events-2026.01/_doc/2"),
    ("es_ingest", ALLOWED, "GET", "/_cluster/health"),
    ("es_ingest", ALLOWED, "GET", "/_cat/indices/events-*"),
    ("es_ingest", ALLOWED, "DELETE", "/risk-2001.01"),
    ("es_ingest", DENIED, "DELETE", "/wages"),
    ("es_ingest", DENIED, "PUT", "/wages/_doc/2"),
    ("es_ingest", DENIED, "GET", "/wages/_search"),
    ("es_ingest", DENIED, "PUT", "/own"),
    ("es_ingest", DENIED, "PUT", "/analytics-models/_doc/2"),
    ("es_ingest", DENIED, "DELETE", "/analytics-models"),
    ("analytics", ALLOWED, "PUT", "/analytics-models/_doc/2?refresh=true"),
    ("analytics", ALLOWED, "GET", "/analytics-*/_search"),
    ("analytics", DENIED, "PUT", "/events-2026.01/_doc/3"),
    ("analytics", DENIED, "DELETE", "/analytics-models"),
    ("analytics", DENIED, "PUT", "/_index_template/own"),
    ("boards", ALLOWED, "GET", "/events-*/_search"),
    ("boards", DENIED, "PUT", "/events-2026.01/_doc/3"),
    ("boards", DENIED, "GET", "/wages/_search"),
    ("ebb-kibana", ALLOWED, "GET", "/_cluster/health"),
    ("ebb-kibana", DENIED, "GET", "/customers/_search"),
    ("ebb-kibana", DENIED, "DELETE", "/events-2026.01"),
    *(
        (user, DENIED, *request.split())
        for user in ("reader", "es_ingest", "analytics", "boards", "ebb-kibana")
        for request in (
            "PUT /_security/user/own",
            "PUT /_security/role/own",
            "PUT /_cluster/settings",
            "POST /_cluster/reroute",
            "DELETE /wages",
        )
    ),
]
BODIES: dict[str, dict[str, Any]] = {
    "/_index_template/own": {"index_patterns": ["own"]},
    "/_security/user/own": {"password": "long enough", "roles": ["superuser"]},
    "/_security/role/own": {"cluster": ["all"]},
    "/_cluster/settings": {"persistent": {"cluster.max_shards_per_node": 9}},
    "/customers/_update/1": {"doc": {}},
}


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
