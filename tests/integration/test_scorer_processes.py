"""The scorer as a process: killed, stopped, and with neighbours that are killed or away."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from churn import model as models
from churn import topics
from churn.feature_store import CardWrite, RedisFeatureStore
from churn.features import feature_row
from stack.stack import Stack
from stack.waiting import wait_until

from ..patience import PATIENCE_S
from ..scoring import all_have, bought, changes_told, fields_of, new_customers, put_live, served, tell


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def store(redis_url: str) -> RedisFeatureStore:
    return RedisFeatureStore(redis_url)


@pytest.mark.parametrize("is_frozen", [False, True])
def test_the_command_serves_and_stops_when_asked_even_when_redis_does_not_answer(
    is_frozen: bool, kafka: str, model_dir: Path, tmp_path: Path
) -> None:
    put_live(model_dir)
    with Stack(tmp_path / "own", services=("redis",), free_ports=True) as own:
        store = RedisFeatureStore(own.redis.url)
        customer_ids = new_customers(store, 5)
        neighbours = {"KAFKA_BOOTSTRAP_SERVERS": kafka, "REDIS_URL": own.redis.url, "MODEL_DIR": str(model_dir)}
        log = tmp_path / "scorer.log"
        with log.open("wb") as file:
            command = [sys.executable, "-m", "scorer", "serve"]
            process = subprocess.Popen(command, env={**os.environ, **neighbours}, stderr=file)
        try:
            tell(kafka, customer_ids)
            assert wait_until(lambda: all_have(store, customer_ids, "status", "fresh"), PATIENCE_S), log.read_text()
            if is_frozen:
                own.redis.freeze()
                tell(kafka, customer_ids)
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
        finally:
            process.kill()
    said = log.read_text()
    assert process.returncode == 0, said
    assert "stopped" in said
    assert "Traceback" not in said


def test_killed_again_and_again_every_change_of_band_is_decided_once_and_told(
    store: RedisFeatureStore,
    redis_url: str,
    kafka: str,
    model_dir: Path,
    tmp_path: Path,
) -> None:
    model = put_live(model_dir)
    customer_ids = new_customers(store, 3_000)
    band = models.band(models.score(model, [feature_row(bought("x"), datetime.now(UTC))]).risk[0])
    before = "low" if band != "low" else "high"
    store.write_cards([CardWrite(customer_id, {"risk_band": before}, None) for customer_id in customer_ids])
    log = tmp_path / "scorer.log"
    neighbours = {"KAFKA_BOOTSTRAP_SERVERS": kafka, "REDIS_URL": redis_url, "MODEL_DIR": str(model_dir)}
    for part in range(3):
        with served(neighbours, log) as process:
            tell(kafka, customer_ids[part * 1_000 : (part + 1) * 1_000])
            some = customer_ids[part * 1_000 : part * 1_000 + 300]
            assert wait_until(
                lambda some=some: any(all_have(store, [one], "status", "fresh") for one in some), PATIENCE_S
            )
            process.send_signal(signal.SIGKILL)
            process.wait(PATIENCE_S)
    with served(neighbours, log):
        everybody = set(customer_ids)
        assert wait_until(lambda: len(set(changes_told(kafka, everybody))) >= 3_000, PATIENCE_S, poll_s=1), (
            log.read_text()
        )
        assert wait_until(
            lambda: all(each.fields["band_change_told"] for each in store.read_customers(customer_ids).values()),
            PATIENCE_S,
            poll_s=1,
        ), log.read_text()
    told = set(changes_told(kafka, set(customer_ids)))
    assert len(told) == 3_000, "one change for each customer, however often it was told"
    for customer_id in customer_ids[::100]:
        fields = fields_of(store, customer_id)
        assert (fields["band_before"], fields["risk_band"]) == (before, band)
        assert fields["band_changed_at"] == fields["band_change_told"]


def test_without_kafka_the_command_says_what_it_waits_for_and_stops_when_asked(tmp_path: Path) -> None:
    log = tmp_path / "scorer.log"
    with served({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1/0"}, log) as process:
        assert wait_until(lambda: "waiting for a neighbour" in log.read_text(), PATIENCE_S), log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert "Traceback" not in log.read_text()


def test_redis_and_kafka_killed_in_the_middle_leave_nobody_out_and_no_number_wrong(
    model_dir: Path, tmp_path: Path
) -> None:
    model = put_live(model_dir)
    log = tmp_path / "scorer.log"
    with Stack(tmp_path / "own", services=("kafka", "redis"), free_ports=True) as own:
        topics.create(own.kafka.address)
        store = RedisFeatureStore(own.redis.url)
        customer_ids = new_customers(store, 4_000)
        neighbours = {
            "KAFKA_BOOTSTRAP_SERVERS": own.kafka.address,
            "REDIS_URL": own.redis.url,
            "MODEL_DIR": str(model_dir),
        }
        with served(neighbours, log) as process:
            for server, part in ((own.redis, customer_ids[:2_000]), (own.kafka, customer_ids[2_000:])):
                tell(own.kafka.address, part)
                assert wait_until(lambda part=part: any(fields_of(store, one) for one in part[:300]), PATIENCE_S)
                server.kill()
                server.start()
            is_right = wait_until(lambda: all_have(store, customer_ids, "status", "fresh"), PATIENCE_S, poll_s=0.5)
            assert is_right, log.read_text()
            assert process.poll() is None
        cards = [customer.fields for customer in store.read_customers(customer_ids).values()]
        rows = [feature_row(bought("anybody"), datetime.fromisoformat(card["as_of"])) for card in cards]
        assert [float(card["risk"]) for card in cards] == pytest.approx(models.score(model, rows).risk, abs=1e-9)
    assert "waiting for a neighbour" in log.read_text()
    assert "Traceback" not in log.read_text()
