"""The scorer against real Kafka and Redis: on notice, when due, with a new model, and when a neighbour is away."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from uuid import uuid4

import numpy as np
import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from churn import model as models
from churn import risk_card, topics
from churn.events import Event
from churn.feature_store import DUE, CardWrite, Customer, RedisFeatureStore, StateWrite, customer_key
from churn.features import MODEL_FEATURES, feature_row, replay
from churn.model import About, Population, RiskModel
from churn.risk_card import RiskCard, Status
from churn.segments import CutPoints
from churn.state import STATE_VERSION, State, pack
from scorer.__main__ import main
from scorer.actions import ACTIONS_FILE, read_actions
from scorer.kafka_topics import Notices, RiskTopic
from scorer.live_model import LiveModel
from scorer.scoring import Scoring
from scorer.service import Service
from stack.stack import Stack
from stack.waiting import wait_until
from training.dataset import Samples
from training.fit import fit

TIMEOUT_S = 60.0
BOUGHT = datetime.now(UTC) - timedelta(days=50)


class Clock:
    """The real time, moved forward at will."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def store(redis_url: str) -> RedisFeatureStore:
    return RedisFeatureStore(redis_url)


Running = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def group() -> str:
    """A consumer group of the test's own."""
    return f"scorer-{uuid4()}"


@pytest.fixture
def running(kafka: str, redis_url: str, group: str, model_dir: Path, clock: Clock) -> Running:
    """The service in a thread."""
    shared_store = RedisFeatureStore(redis_url)

    @contextmanager
    def run(store: RedisFeatureStore = shared_store) -> Iterator[None]:
        stop = Flag()
        notices, risk_topic = Notices(kafka, group), RiskTopic(kafka)
        live_model = LiveModel(model_dir)
        scoring = Scoring(store, risk_topic, live_model, read_actions(ACTIONS_FILE), clock)
        service = Service(store, notices, scoring, live_model, clock, rescore_per_s=10_000)
        thread = Thread(target=service.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(TIMEOUT_S)
            notices.close()
            risk_topic.close()
        assert not thread.is_alive()

    return run


@pytest.fixture
def notify(kafka: str) -> Iterator[Callable[..., None]]:
    """Publishes that these customers changed."""
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all")

    def publish(*customer_ids: str) -> None:
        for customer_id in customer_ids:
            producer.send(topics.FEATURES, key=customer_id.encode(), value=b"")
        producer.flush()

    yield publish
    producer.close()


def new_customers(store: RedisFeatureStore, count: int) -> list[str]:
    """Buyers of 50 days ago that no test has seen, as the stream processor leaves them in Redis."""
    customer_ids = [f"{uuid4()}" for _ in range(count)]
    store.write_states([StateWrite(customer_id, 0, 1, pack(bought(customer_id))) for customer_id in customer_ids])
    return customer_ids


def bought(customer_id: str) -> State:
    return replay([Event("e", "purchase", BOUGHT, customer_id, price=20.0)])


def put_live(model_dir: Path, seed: int = 1) -> RiskModel:
    chance = np.random.default_rng(seed)
    matrix = chance.lognormal(2, 1.5, (300, len(MODEL_FEATURES)))
    labels = (matrix[:, 0] * chance.lognormal(0, 1, 300) > np.e**2).astype(np.int8)
    ids = np.array([f"c{number}" for number in range(300)])
    fitted = fit(Samples(ids, np.zeros(300, dtype=np.int64), matrix, labels), None)
    fours = (1.0, 2.0, 3.0, 4.0)
    about = About(
        feature_names=MODEL_FEATURES,
        fold_version=STATE_VERSION,
        horizon_days=90,
        slope=fitted.slope,
        intercept=fitted.intercept,
        cut_offs={},
        data_sha256="",
        libraries={},
        metrics={},
        rfm=CutPoints("v", fours, fours, fours),
        population=Population(1000, 400.0),
    )
    model = RiskModel(fitted.pipeline, about)
    models.save(model, model_dir)
    models.go_live(model_dir, model.model_version)
    return model


def fields_of(store: RedisFeatureStore, customer_id: str) -> dict[str, str]:
    customer = store.read_customer(customer_id)
    return customer.fields if customer else {}


def all_have(store: RedisFeatureStore, customer_ids: list[str], name: str, value: str) -> bool:
    return all(fields_of(store, customer_id).get(name) == value for customer_id in customer_ids)


def on_risk_topic(kafka: str, customer_ids: list[str]) -> dict[str, RiskCard]:
    """The latest card of each of these customers on topic `risk`."""
    consumer = KafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    partitions = [TopicPartition(topics.RISK, number) for number in range(topics.PARTITIONS)]
    consumer.assign(partitions)
    consumer.seek_to_beginning()
    ends = consumer.end_offsets(partitions)
    cards: dict[str, RiskCard] = {}
    while any(consumer.position(partition) < ends[partition] for partition in partitions):
        for messages in consumer.poll(timeout_ms=500).values():
            cards |= {message.key.decode(): risk_card.decode(message.value) for message in messages}
    consumer.close()
    return {customer_id: cards[customer_id] for customer_id in customer_ids if customer_id in cards}


def test_customers_with_notices_get_cards_a_rank_and_a_message(
    running: Running, store: RedisFeatureStore, notify: Callable[..., None], kafka: str, model_dir: Path
) -> None:
    model = put_live(model_dir)
    customer_ids = new_customers(store, 700)
    with running():
        notify(*customer_ids, *customer_ids)
        assert wait_until(lambda: all_have(store, customer_ids, "status", "fresh"), TIMEOUT_S)
        assert wait_until(lambda: len(on_risk_topic(kafka, customer_ids)) == 700, TIMEOUT_S)
    ranking = dict(store.top(1000))
    assert set(ranking) == set(customer_ids)
    for customer_id, card in on_risk_topic(kafka, customer_ids).items():
        row = feature_row(bought(customer_id), card.as_of)
        assert card.risk == pytest.approx(models.score(model, [row]).risk[0])
        assert ranking[customer_id] == pytest.approx(card.risk, abs=1e-4), "of seconds before or after"
        assert (card.status, card.model_version) == (Status.FRESH, model.model_version)


def as_of(store: RedisFeatureStore, customer_id: str) -> datetime:
    written = fields_of(store, customer_id).get("as_of")
    return datetime.fromisoformat(written) if written else datetime.min.replace(tzinfo=UTC)


def test_a_silent_customer_is_scored_again_when_due_and_not_before(
    running: Running, store: RedisFeatureStore, notify: Callable[..., None], model_dir: Path, clock: Clock
) -> None:
    put_live(model_dir)
    start = datetime.now(UTC)
    (other,) = new_customers(store, 1)

    def pass_two_turns() -> None:
        """When `other` was scored twice more, the service has looked for the silent in between."""
        for _ in range(2):
            seen = fields_of(store, other).get("scored_at", "")
            notify(other)
            assert wait_until(lambda seen=seen: fields_of(store, other).get("scored_at", "") > seen, TIMEOUT_S)

    with running():
        # The first look, at everybody, is over before `silent` is there.
        assert wait_until(lambda: all_have(store, [other], "status", "fresh"), TIMEOUT_S)
        (silent,) = new_customers(store, 1)
        notify(silent)
        assert wait_until(lambda: all_have(store, [silent], "status", "fresh"), TIMEOUT_S)
        first = fields_of(store, silent)
        clock.ahead = timedelta(hours=23)
        pass_two_turns()
        assert as_of(store, other) > start + timedelta(hours=22)
        assert fields_of(store, silent) == first
        clock.ahead = timedelta(hours=25)
        assert wait_until(lambda: as_of(store, silent) > start + timedelta(hours=24), TIMEOUT_S)
    later = fields_of(store, silent)
    assert float(later["recency_days"]) == pytest.approx(float(first["recency_days"]) + 25 / 24, abs=0.01)
    assert float(later["risk"]) > float(first["risk"])


def test_without_a_model_cards_say_so_and_a_model_that_appears_scores_everybody(
    running: Running, store: RedisFeatureStore, notify: Callable[..., None], kafka: str, model_dir: Path
) -> None:
    noticed, silent = new_customers(store, 3), new_customers(store, 600)
    with running():
        notify(*noticed)
        assert wait_until(lambda: all_have(store, noticed, "status", "insufficient_data"), TIMEOUT_S)
        assert fields_of(store, noticed[0])["risk"] == ""
        assert fields_of(store, noticed[0])["segment"] == "unknown"
        assert fields_of(store, noticed[0])["frequency"] == "1"
        assert store.top(10) == []
        for seed in (1, 2):
            version = put_live(model_dir, seed).model_version
            assert wait_until(lambda name=version: all_have(store, noticed + silent, "model_version", name), TIMEOUT_S)
    assert len(store.top(1000)) == 603
    assert {card.status for card in on_risk_topic(kafka, silent).values()} == {Status.FRESH}


class Watched(RedisFeatureStore):
    """The real store, telling when it is first asked for something."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout_s=1)
        self.was_asked = Flag()

    def read_customers(self, customer_ids: Sequence[str]) -> dict[str, Customer]:
        self.was_asked.set()
        return super().read_customers(customer_ids)

    def customer_ids(self) -> Iterable[str]:
        self.was_asked.set()
        return super().customer_ids()


def committed(kafka: str, group: str) -> list[int | None]:
    """How many messages of each partition of topic `features` the group is done with."""
    consumer = KafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False)
    offsets = [consumer.committed(TopicPartition(topics.FEATURES, number)) for number in range(topics.PARTITIONS)]
    consumer.close()
    return offsets


def published(kafka: str) -> list[int]:
    """How many messages each partition of topic `features` holds."""
    consumer = KafkaConsumer(bootstrap_servers=kafka)
    ends = consumer.end_offsets([TopicPartition(topics.FEATURES, number) for number in range(topics.PARTITIONS)])
    consumer.close()
    return [end for _, end in sorted(ends.items())]


def test_a_notice_is_done_only_when_its_card_is_written_whatever_happens_between(
    running: Running, notify: Callable[..., None], kafka: str, group: str, model_dir: Path, tmp_path: Path
) -> None:
    put_live(model_dir)
    with Stack(tmp_path / "own", services=("redis",), free_ports=True) as own:
        store = Watched(own.redis.url)
        customer_ids = new_customers(store, 50)
        notify(*customer_ids)
        own.redis.freeze()
        with running(store):
            assert store.was_asked.wait(TIMEOUT_S)
        assert committed(kafka, group) == [None] * topics.PARTITIONS
        own.redis.resume()
        with running(store):
            assert wait_until(lambda: committed(kafka, group) == published(kafka), TIMEOUT_S)
            assert all_have(store, customer_ids, "status", "fresh")


def test_one_damaged_state_and_one_that_is_gone_stop_nobody_else(
    running: Running, store: RedisFeatureStore, redis_url: str, notify: Callable[..., None], model_dir: Path
) -> None:
    put_live(model_dir)
    damaged, gone, *whole = new_customers(store, 10)
    client = redis.Redis.from_url(redis_url)
    client.hset(customer_key(damaged), "state", b"\xff\xff")
    client.delete(customer_key(gone))
    client.zadd(DUE, {damaged: 1, gone: 1})
    with running():
        notify(damaged, gone, *whole)
        assert wait_until(lambda: all_have(store, whole, "status", "fresh"), TIMEOUT_S)
        assert wait_until(lambda: client.zscore(DUE, damaged) is client.zscore(DUE, gone) is None, TIMEOUT_S)
    assert set(dict(store.top(100))) == set(whole)
    assert store.read_customer(gone) is None, "a customer who was removed does not come back"
    client.close()


def test_a_message_without_a_customer_is_passed_over(
    running: Running, store: RedisFeatureStore, notify: Callable[..., None], kafka: str, model_dir: Path
) -> None:
    put_live(model_dir)
    producer = KafkaProducer(bootstrap_servers=kafka)
    for key in (None, b"\xff"):
        for partition in range(topics.PARTITIONS):
            producer.send(topics.FEATURES, key=key, value=b"", partition=partition)
    producer.close()
    customer_ids = new_customers(store, 20)
    with running():
        notify(*customer_ids)
        assert wait_until(lambda: all_have(store, customer_ids, "status", "fresh"), TIMEOUT_S)


@pytest.mark.parametrize("is_frozen", [False, True])
def test_the_command_serves_and_stops_when_asked_even_when_redis_does_not_answer(
    is_frozen: bool, notify: Callable[..., None], kafka: str, model_dir: Path, tmp_path: Path
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
            notify(*customer_ids)
            assert wait_until(lambda: all_have(store, customer_ids, "status", "fresh"), TIMEOUT_S), log.read_text()
            if is_frozen:
                own.redis.freeze()
                notify(*customer_ids)
            process.send_signal(signal.SIGTERM)
            process.wait(TIMEOUT_S)
        finally:
            process.kill()
    said = log.read_text()
    assert process.returncode == 0, said
    assert "stopped" in said
    assert "Traceback" not in said


@contextmanager
def served(neighbours: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command as a process of its own, killed at the end."""
    with log.open("ab") as file:
        command = [sys.executable, "-m", "scorer", "serve"]
        process = subprocess.Popen(command, env={**os.environ, **neighbours}, stderr=file)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def changes_told(kafka: str, customer_ids: set[str]) -> list[tuple[str, str]]:
    """Every change of band of these customers on topic `risk`, by customer and moment, repetitions too."""
    consumer = KafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    partitions = [TopicPartition(topics.RISK, number) for number in range(topics.PARTITIONS)]
    consumer.assign(partitions)
    consumer.seek_to_beginning()
    ends = consumer.end_offsets(partitions)
    found = []
    while any(consumer.position(partition) < ends[partition] for partition in partitions):
        for messages in consumer.poll(timeout_ms=500).values():
            cards = (risk_card.decode(message.value) for message in messages if message.key.decode() in customer_ids)
            found += [(card.customer_id, f"{card.band_change.at}") for card in cards if card.band_change]
    consumer.close()
    return found


def test_killed_again_and_again_every_change_of_band_is_decided_once_and_told(
    store: RedisFeatureStore,
    redis_url: str,
    notify: Callable[..., None],
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
            notify(*customer_ids[part * 1_000 : (part + 1) * 1_000])
            some = customer_ids[part * 1_000 : part * 1_000 + 300]
            assert wait_until(
                lambda some=some: any(all_have(store, [one], "status", "fresh") for one in some), TIMEOUT_S
            )
            process.send_signal(signal.SIGKILL)
            process.wait(TIMEOUT_S)
    with served(neighbours, log):
        assert wait_until(lambda: len(set(changes_told(kafka, set(customer_ids)))) >= 3_000, TIMEOUT_S), log.read_text()
        assert wait_until(lambda: all(fields_of(store, one)["band_change_told"] for one in customer_ids), TIMEOUT_S), (
            log.read_text()
        )
    told = set(changes_told(kafka, set(customer_ids)))
    assert len(told) == 3_000, "one change for each customer, however often it was told"
    for customer_id in customer_ids[::100]:
        fields = fields_of(store, customer_id)
        assert (fields["band_before"], fields["risk_band"]) == (before, band)
        assert fields["band_changed_at"] == fields["band_change_told"]


def test_without_kafka_the_command_says_what_it_waits_for_and_stops_when_asked(tmp_path: Path) -> None:
    log = tmp_path / "scorer.log"
    with served({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1/0"}, log) as process:
        assert wait_until(lambda: "waiting for a neighbour" in log.read_text(), TIMEOUT_S), log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
    assert "Traceback" not in log.read_text()


def test_the_documented_reading_in_python_works(
    store: RedisFeatureStore, redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write_states([StateWrite("42", 0, 1, pack(bought("42")))])
    store.write_cards([CardWrite("42", {"risk": "0.7", "action": "Call them."}, 0.7)])
    page = (Path(__file__).parents[2] / "docs" / "customer-success.md").read_text()
    (code,) = re.findall("```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.setenv("REDIS_URL", redis_url)
    exec(code, {})
    assert capsys.readouterr().out == "42 0.7\n"


def test_card_and_top_show_what_lies_in_redis(
    running: Running,
    store: RedisFeatureStore,
    redis_url: str,
    notify: Callable[..., None],
    model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put_live(model_dir)
    (customer_id,) = new_customers(store, 1)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("COLUMNS", "250")
    with running():
        notify(customer_id)
        assert wait_until(lambda: all_have(store, [customer_id], "status", "fresh"), TIMEOUT_S)
    capsys.readouterr()
    assert main(["card", customer_id, "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["status"] == "fresh"
    assert card["features"]["frequency"] == 1
    assert main(["card", customer_id]) == 0
    assert card["drivers"][0] in capsys.readouterr().out
    assert main(["top", "5"]) == 0
    assert customer_id in capsys.readouterr().out
    assert main(["top", "5", "--segment", "Prospect"]) == 0
    assert customer_id not in capsys.readouterr().out
    assert main(["card", "nobody"]) == 1
    assert "nothing is known of customer 'nobody'" in capsys.readouterr().err


def test_a_redis_that_is_away_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert main(["top", "5"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
