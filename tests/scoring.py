"""What the tests of the scorer share: customers, a model that is put live, the command as a process, what it told."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from churn import model as models
from churn import risk_card, topics
from churn.events import Event
from churn.feature_store import RedisFeatureStore, StateWrite
from churn.features import MODEL_FEATURES, replay
from churn.model import About, Population, RiskModel
from churn.risk_card import RiskCard
from churn.segments import CutPoints
from churn.state import STATE_VERSION, State, pack
from training.dataset import Samples
from training.fit import fit

BOUGHT = datetime.now(UTC) - timedelta(days=50)


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
    known = store.read_customers(customer_ids)
    return len(known) == len(customer_ids) and all(each.fields.get(name) == value for each in known.values())


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


def tell(kafka: str, customer_ids: Sequence[str]) -> None:
    """Publish that these customers changed."""
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all")
    for customer_id in customer_ids:
        producer.send(topics.FEATURES, key=customer_id.encode(), value=b"")
    producer.flush()
    producer.close()
