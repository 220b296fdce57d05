"""Scorer, es_ingest and a live producer beside real servers: their pages tell what they did."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from churn import topics
from churn.feature_store import RedisFeatureStore, StateWrite
from churn.state import EMPTY, pack
from stack.stack import Stack
from stack.waiting import wait_until
from stack.workers import PROJECT

from ..patience import PATIENCE_S
from ..stream_processing import wait_until_done

PAGES = re.compile(rb"pages=(127\.0\.0\.1:\d+)")


@contextmanager
def running(log_file: Path, stack: Stack, *command: str) -> Iterator[str]:
    """The service until the end of the context; gives the address of its pages."""
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka.address,
        "REDIS_URL": stack.redis.url,
        "ELASTICSEARCH_URL": stack.elasticsearch.url,
        "MODEL_DIR": str(log_file.parent / "models"),
        "LOG_FORMAT": "text",
    }
    with log_file.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, cwd=PROJECT, stdout=output, stderr=output
        )
    try:
        assert wait_until(lambda: PAGES.search(log_file.read_bytes()) is not None, PATIENCE_S), log_file.read_text()
        found = PAGES.search(log_file.read_bytes())
        assert found
        yield found[1].decode()
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def samples(address: str) -> dict[tuple[str, ...], float]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def is_healthy(address: str) -> bool:
    with urllib.request.urlopen(f"http://{address}/healthz", timeout=5) as answer:
        return bool(json.load(answer)["is_progressing"])


@pytest.mark.usefixtures("redis_url")
def test_a_producer_an_es_ingest_and_a_scorer_tell_what_they_did(servers: Stack, tmp_path: Path) -> None:
    past = ["simulate", "--num_customers", "50", "--num_events", "500", "--days", "30", "--topic", topics.EVENTS]
    until = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:00Z}"
    live = ["producer", *past, "--until", until, "--live-only", "--rate", "100"]
    with running(tmp_path / "producer.log", servers, *live) as producer:
        assert wait_until(lambda: samples(producer)["ebb_producer_events_total",] >= 200, PATIENCE_S)
        assert samples(producer)["ebb_producer_last_acknowledged_timestamp_seconds",] > 0
        assert is_healthy(producer)
    with running(tmp_path / "es_ingest.log", servers, "es_ingest") as es_ingest:
        wait_until_done(servers.kafka.address, "es-ingest", topics.EVENTS, timeout_s=PATIENCE_S)
        assert wait_until(lambda: samples(es_ingest)["ebb_ingest_lag_messages",] == 0, PATIENCE_S)
        told = samples(es_ingest)
        assert told["ebb_ingest_documents_total", "events"] >= 200
        assert told["ebb_ingest_batch_seconds_count",] > 0
        assert is_healthy(es_ingest)
    store = RedisFeatureStore(servers.redis.url)
    store.write_states([StateWrite(f"c{number}", 0, 1, pack(EMPTY)) for number in range(20)])
    with running(tmp_path / "scorer.log", servers, "scorer", "serve") as scorer:
        assert wait_until(lambda: samples(scorer).get(("ebb_scorer_cards_total", "rescored"), 0) >= 20, PATIENCE_S)
        told = samples(scorer)
        assert told["ebb_scorer_lag_notices",] == 0
        assert told["ebb_scorer_last_turn_timestamp_seconds",] > 0
        assert is_healthy(scorer)
