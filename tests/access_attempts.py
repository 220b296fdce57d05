"""What users may and may not do, and what can be wrong at the door: the tables of tests/integration/test_access.py."""

from typing import Any, Final, NamedTuple

from stack.ports import free_port

from .secured_servers import KAFKA_USER, PASSWORDS, Secured

ALLOWED, DENIED = True, False
WRONG: Final = "wrongSecretOfTheTests"
NOWHERE: Final = "nowhere.invalid"
UNREACHABLE, REFUSED, STILL_WAITING = 1, 77, None
SIMULATE: Final = [
    "producer",
    "simulate",
    "--num_customers",
    "20",
    "--num_events",
    "300",
    "--days",
    "60",
    "--topic",
    "events",
]

# --- Redis: user, whether allowed, command ----------------------------------------------------------------------------

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
    ("scorer", ALLOWED, "DEL", "customer:gone"),
    ("scorer", DENIED, "DEL", "risk:ranking"),
    ("scorer", DENIED, "EVAL", REMOVE, "1", "customer:1"),
    ("scorer", DENIED, "SCRIPT", "FLUSH"),
    ("scorer", DENIED, "KEYS", "*"),
    ("stream_processor", ALLOWED, "INFO", "server"),
    ("stream_processor", ALLOWED, "HMGET", "customer:1", "state"),
    ("stream_processor", DENIED, "ZREVRANGE", "risk:ranking", "0", "9"),
    ("stream_processor", DENIED, "HSET", "other:1", "a", "c"),
    ("stream_processor", DENIED, "EVAL", "return redis.call('HSET', 'other:1', 'a', 'c')", "1", "customer:1"),
    ("stream_processor", ALLOWED, "DEL", "customer:gone"),
    ("stream_processor", ALLOWED, "ZREM", "risk:ranking", "gone"),
    ("stream_processor", DENIED, "ZADD", "risk:ranking", "1", "2"),
    ("stream_processor", DENIED, "DEL", "risk:ranking"),
    ("stream_processor", DENIED, "EVAL", REMOVE, "1", "risk:ranking"),
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

# --- Elasticsearch: user, whether allowed, request --------------------------------------------------------------------

OURS = ("events-*", "customers", "risk-*", "dead-letters-*", "pipeline-*", "analytics-*")
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

# --- connections ------------------------------------------------------------------------------------------------------


def settings_of(servers: Secured, redis_user: str = "success") -> dict[str, str]:
    """The environment of a part that may do its work."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": f"localhost:{servers.kafka_tls_port}",
        "KAFKA_USERNAME": KAFKA_USER,
        "KAFKA_PASSWORD": PASSWORDS["KAFKA_PASSWORD"],
        "KAFKA_IS_ENCRYPTED": "true",
        "KAFKA_CA_FILE": str(servers.ca_file),
        "REDIS_URL": servers.redis_url(redis_user),
        "REDIS_CA_FILE": str(servers.ca_file),
        "ELASTICSEARCH_URL": servers.elasticsearch_url,
        "ELASTICSEARCH_USERNAME": "es_ingest",
        "ELASTICSEARCH_PASSWORD": PASSWORDS["ELASTICSEARCH_INGEST_PASSWORD"],
        "ELASTICSEARCH_CA_FILE": str(servers.ca_file),
        "STREAM_WEB_PORT": str(free_port()),
        "MODEL_DIR": "/nowhere",
    }


class Attempt(NamedTuple):
    """A command with something wrong in its settings: how it ends (None: it waits), and what it says."""

    command: list[str]
    wrong: dict[str, str]
    ends_with: int | None
    says: str


def attempts_of(servers: Secured) -> dict[str, Attempt]:
    """What can be wrong, so that every client of every server meets some of it."""

    def redis(**changed: str) -> dict[str, str]:
        url = servers.redis_url("success", changed.get("password")).replace(
            "localhost", changed.get("host", "localhost")
        )
        return {"REDIS_URL": url.replace(str(servers.redis_tls_port), changed.get("port", str(servers.redis_tls_port)))}

    kafka_nowhere = {"KAFKA_BOOTSTRAP_SERVERS": f"{NOWHERE}:9092"}
    kafka_expired = {"KAFKA_BOOTSTRAP_SERVERS": f"localhost:{servers.kafka_expired_port}"}
    # The handshake is over before a word of HTTP is said: any server with that certificate will do.
    index_expired = {"ELASTICSEARCH_URL": f"https://localhost:{servers.redis_expired_port}"}
    index_nowhere = {"ELASTICSEARCH_URL": f"https://{NOWHERE}:9200"}
    expired_port = str(servers.redis_expired_port)
    top, templates = ["scorer", "top"], ["es_ingest", "templates", "--timeout", "1"]
    stream, serve = ["stream_processor"], ["scorer", "serve"]
    kafka_password = (
        f"localhost:{servers.kafka_tls_port} .*invalid credentials.*; check KAFKA_USERNAME and KAFKA_PASSWORD"
    )
    redis_password = f"localhost:{servers.redis_tls_port} .*username-password.*; check user and password in REDIS_URL"
    index_password = f"localhost:{servers.stack.elasticsearch.port} .*unable to authenticate.*ELASTICSEARCH_PASSWORD"
    expired = "localhost:[0-9]+ .*certificate.*expired.*; check .*certificate, and {}_CA_FILE"
    nowhere = r"nowhere\.invalid.*\({}\).*(Name or service not known|[Ff]ailed to resolve)"
    wrong = {"KAFKA_PASSWORD": WRONG}
    return {
        "topics: password": Attempt(["churn.topics"], wrong, REFUSED, kafka_password),
        "producer: password": Attempt(SIMULATE, wrong, REFUSED, kafka_password),
        "scorer: Kafka's password": Attempt(serve, wrong, REFUSED, kafka_password),
        "top: password": Attempt(top, redis(password=WRONG), REFUSED, redis_password),
        "ingest: password": Attempt(templates, {"ELASTICSEARCH_PASSWORD": WRONG}, REFUSED, index_password),
        "topics: expired": Attempt(["churn.topics"], kafka_expired, REFUSED, expired.format("KAFKA")),
        "stream: expired": Attempt(stream, redis(port=expired_port), REFUSED, expired.format("REDIS")),
        "ingest: expired": Attempt(templates, index_expired, REFUSED, expired.format("ELASTICSEARCH")),
        "producer: nowhere": Attempt(SIMULATE, kafka_nowhere, UNREACHABLE, nowhere.format("KAFKA_BOOTSTRAP_SERVERS")),
        "ingest: nowhere": Attempt(templates, index_nowhere, UNREACHABLE, nowhere.format("ELASTICSEARCH_URL")),
        "stream: nowhere": Attempt(stream, redis(host=NOWHERE), STILL_WAITING, nowhere.format("REDIS_URL")),
    }
