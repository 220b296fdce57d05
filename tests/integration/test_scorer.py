"""The scorer against real Kafka and Redis: on notice, when due, with a new model, and when a neighbour is away."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from uuid import uuid4

import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from churn import model as models
from churn import topics, whole_topic
from churn.actions import ACTIONS_FILE, read_actions
from churn.feature_store import DUE, CardWrite, Customer, RedisFeatureStore, StateWrite, customer_key
from churn.features import feature_row
from churn.risk_card import Status
from churn.state import Sealed, State, pack
from scorer.__main__ import main
from scorer.kafka_topics import Notices, RiskTopic
from scorer.live_model import LiveModel
from scorer.scoring import Scoring
from scorer.service import Service
from stack.stack import Stack
from stack.waiting import wait_until

from ..patience import PATIENCE_S
from ..scoring import all_have, bought, fields_of, new_customers, on_risk_topic, put_live, tell


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
            thread.join(PATIENCE_S)
            notices.close()
            risk_topic.close()
        assert not thread.is_alive()

    return run


@pytest.fixture
def notify(kafka: str) -> Callable[..., None]:
    """Publishes that these customers changed."""
    return lambda *customer_ids: tell(kafka, customer_ids)


def test_customers_with_notices_get_cards_a_rank_and_a_message(
    running: Running, store: RedisFeatureStore, notify: Callable[..., None], kafka: str, model_dir: Path
) -> None:
    model = put_live(model_dir)
    customer_ids = new_customers(store, 700)
    with running():
        notify(*customer_ids, *customer_ids)
        assert wait_until(lambda: all_have(store, customer_ids, "status", "fresh"), PATIENCE_S)
        assert wait_until(lambda: len(on_risk_topic(kafka, customer_ids)) == 700, PATIENCE_S)
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
            assert wait_until(lambda seen=seen: fields_of(store, other).get("scored_at", "") > seen, PATIENCE_S)

    with running():
        # The first look, at everybody, is over before `silent` is there.
        assert wait_until(lambda: all_have(store, [other], "status", "fresh"), PATIENCE_S)
        (silent,) = new_customers(store, 1)
        notify(silent)
        assert wait_until(lambda: all_have(store, [silent], "status", "fresh"), PATIENCE_S)
        first = fields_of(store, silent)
        clock.ahead = timedelta(hours=23)
        pass_two_turns()
        assert as_of(store, other) > start + timedelta(hours=22)
        assert fields_of(store, silent) == first
        clock.ahead = timedelta(hours=25)
        assert wait_until(lambda: as_of(store, silent) > start + timedelta(hours=24), PATIENCE_S)
    later = fields_of(store, silent)
    assert float(later["recency_days"]) == pytest.approx(float(first["recency_days"]) + 25 / 24, abs=0.01)
    assert float(later["risk"]) > float(first["risk"])


def test_without_a_model_cards_say_so_and_a_model_that_appears_scores_everybody(
    running: Running, store: RedisFeatureStore, notify: Callable[..., None], kafka: str, model_dir: Path
) -> None:
    noticed, silent = new_customers(store, 3), new_customers(store, 600)
    with running():
        notify(*noticed)
        assert wait_until(lambda: all_have(store, noticed, "status", "insufficient_data"), PATIENCE_S)
        assert fields_of(store, noticed[0])["risk"] == ""
        assert fields_of(store, noticed[0])["segment"] == "unknown"
        assert fields_of(store, noticed[0])["frequency"] == "1"
        assert store.top(10) == []
        for seed in (1, 2):
            version = put_live(model_dir, seed).model_version
            assert wait_until(lambda name=version: all_have(store, noticed + silent, "model_version", name), PATIENCE_S)
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


def test_who_is_far_behind_scores_a_customer_once_for_many_notices(
    running: Running, store: RedisFeatureStore, notify: Callable[..., None], kafka: str, group: str, model_dir: Path
) -> None:
    put_live(model_dir)
    customer_ids = new_customers(store, 300)
    notify(*customer_ids * 20)
    with running():
        assert wait_until(lambda: committed(kafka, group) == published(kafka), PATIENCE_S)
        assert all_have(store, customer_ids, "status", "fresh")
    everybody = {customer_id.encode() for customer_id in customer_ids}
    told = sum(message.key in everybody for message in whole_topic.read(kafka, topics.RISK))
    assert 300 <= told <= 4 * 300, "on notice, and all at once as the model is new"


def test_who_stays_in_the_group_takes_no_notice_and_misses_none(kafka: str, group: str) -> None:
    customer_ids = [f"{uuid4()}" for _ in range(200)]
    tell(kafka, customer_ids)
    notices = Notices(kafka, group)
    taken: list[str] = []

    def all_are_taken() -> bool:
        taken.extend(notices.poll(20, 1.0))
        before = notices.lag
        assert not taken or (notices.stay() == [] and notices.lag >= before)
        return set(customer_ids) <= set(taken)

    assert wait_until(all_are_taken, PATIENCE_S)
    assert notices.lag == 0
    assert notices.stay() == []
    notices.close()
    ours = [customer_id for customer_id in taken if customer_id in set(customer_ids)]
    assert sorted(ours) == sorted(customer_ids)


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
            assert store.was_asked.wait(PATIENCE_S)
        assert committed(kafka, group) == [None] * topics.PARTITIONS
        own.redis.resume()
        with running(store):
            assert wait_until(lambda: committed(kafka, group) == published(kafka), PATIENCE_S)
            assert all_have(store, customer_ids, "status", "fresh")


@pytest.mark.parametrize(
    "packed",
    [b"\xff\xff", pack(State(summary=Sealed(b"\xc0"))), pack(State(recent=(Sealed(b"\xc0"),)))],
    ids=["no state", "no summary in it", "no event in it"],
)
def test_one_damaged_state_and_one_that_is_gone_stop_nobody_else(
    running: Running,
    store: RedisFeatureStore,
    redis_url: str,
    notify: Callable[..., None],
    model_dir: Path,
    packed: bytes,
) -> None:
    put_live(model_dir)
    damaged, gone, *whole = new_customers(store, 10)
    client = redis.Redis.from_url(redis_url)
    client.hset(customer_key(damaged), "state", packed)
    client.delete(customer_key(gone))
    client.zadd(DUE, {damaged: 1, gone: 1})
    with running():
        notify(damaged, gone, *whole)
        assert wait_until(lambda: all_have(store, whole, "status", "fresh"), PATIENCE_S)
        assert wait_until(lambda: client.zscore(DUE, damaged) is client.zscore(DUE, gone) is None, PATIENCE_S)
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
        assert wait_until(lambda: all_have(store, customer_ids, "status", "fresh"), PATIENCE_S)


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
        assert wait_until(lambda: all_have(store, [customer_id], "status", "fresh"), PATIENCE_S)
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
