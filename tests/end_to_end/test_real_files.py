"""Real files through everything: every row is accounted for, and Redis and Elasticsearch hold what others computed.

The whole shop, 541,909 rows: `make demo INPUT=... FORMAT=online-retail`, and through the adapter alone in
`tests/integration/test_formats_on_real_data.py`.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from elasticsearch import Elasticsearch
from elasticsearch.helpers import scan
from kafka import KafkaConsumer, TopicPartition

from churn import dead_letters, offline, topics
from churn.feature_store import RedisFeatureStore
from churn.features import FeatureRow, feature_row
from stack.pipeline import Pipeline
from stack.workers import EsIngest, StreamProcessor

from ..stream_processing import wait_until_done

pytestmark = pytest.mark.real_data

CUT_OFF = datetime(2011, 3, 1, tzinfo=UTC)


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    """Servers, topics and templates, the stream processor and the indexer; no model, so no scorer."""
    pipeline = Pipeline(tmp_path, {"STREAM_HOLD_ACKS_S": "1"})
    try:
        pipeline.servers.start()
        pipeline.prepare()
        pipeline.worker(StreamProcessor).start()
        pipeline.worker(EsIngest).start()
        yield pipeline
    finally:
        pipeline.kill()


def play(pipeline: Pipeline, file: Path, file_format: str, history: Path) -> None:
    """Replay a file to Kafka and into a history, and wait until it is folded and indexed."""
    sinks = ["--topic", topics.EVENTS, "--output", str(history)]
    pipeline.run("producer", "replay", str(file), "--format", file_format, *sinks)
    address = pipeline.servers.kafka.address
    wait_until_done(address, "stream-processor", topics.EVENTS)
    wait_until_done(address, "es-ingest", topics.EVENTS, topics.DEAD_LETTERS)


def rows(pipeline: Pipeline, as_of: datetime) -> dict[str, FeatureRow]:
    """The feature rows of everybody in Redis."""
    store = RedisFeatureStore(pipeline.servers.redis.url)
    kept = store.read_states(list(store.customer_ids()))
    return {customer_id: feature_row(each.state, as_of) for customer_id, each in kept.items()}


def letters(pipeline: Pipeline) -> list[dead_letters.DeadLetter]:
    consumer = KafkaConsumer(bootstrap_servers=pipeline.servers.kafka.address, enable_auto_commit=False)
    partitions = [TopicPartition(topics.DEAD_LETTERS, number) for number in range(topics.PARTITIONS)]
    consumer.assign(partitions)
    consumer.seek_to_beginning()
    count = sum(consumer.end_offsets(partitions).values())
    found: list[dead_letters.DeadLetter] = []
    while len(found) < count:
        for records in consumer.poll(timeout_ms=1000).values():
            found += [dead_letters.decode(record.value) for record in records]
    consumer.close()
    return found


def test_every_row_of_three_months_of_a_shop_is_accounted_for(
    pipeline: Pipeline, real_data: Path, tmp_path: Path
) -> None:
    raw = pd.read_parquet(real_data / "online_retail.parquet")
    raw = raw[raw["InvoiceDate"] < CUT_OFF.replace(tzinfo=None)]
    raw.to_parquet(tmp_path / "three_months.parquet")
    known = raw[raw["CustomerID"].notna()]
    good = known[known["UnitPrice"] > 0]
    bought = good.drop_duplicates()
    assert (len(raw), len(known), len(good), len(bought)) == (105_335, 69_125, 69_118, 68_155)
    play(pipeline, tmp_path / "three_months.parquet", "online-retail", tmp_path / "history")

    refused = letters(pipeline)
    reasons = {"missing_field": len(raw) - len(known), "invalid_field": len(known) - len(good)}
    assert Counter(letter.reason for letter in refused) == reasons
    assert len({(letter.file, letter.line) for letter in refused}) == sum(reasons.values())
    search = Elasticsearch(pipeline.servers.elasticsearch.url)
    search.indices.refresh(index="*")
    counted = {kind: search.count(index="events-*", q=f"event_type:{kind}")["count"] for kind in ("purchase", "refund")}
    assert counted == {"purchase": (bought["Quantity"] > 0).sum(), "refund": (bought["Quantity"] < 0).sum()}
    assert search.count(index="dead-letters-*")["count"] == len(refused)
    search.close()

    found = rows(pipeline, CUT_OFF)
    golden = pd.read_parquet(real_data / "golden_pit_online_retail.parquet")
    golden = golden[golden["cutoff"] == f"{CUT_OFF:%Y-%m-%d}"]
    assert set(found) == set(good["CustomerID"].astype(str))
    assert len(golden) == 1_682
    for customer_id, orders, gross in zip(golden["CustomerID"], golden["F"], golden["M"], strict=True):
        row = found[str(customer_id)]
        assert (row["orders_total"], row["gross_revenue_total"]) == (orders, pytest.approx(gross, abs=0.001))
    assert sum(in_cents(row["gross_revenue_total"]) for row in found.values()) == in_cents(golden["M"].sum())
    net = (bought["Quantity"] * bought["UnitPrice"]).sum()
    assert sum(in_cents(row["net_revenue_total"]) for row in found.values()) == in_cents(net)

    offline_rows = offline.feature_table(tmp_path / "history", CUT_OFF, processes=2)
    online_rows = offline.table_of(sorted(found.items()))
    assert online_rows.equals(offline_rows)


def in_cents(value: Any) -> int:
    return round(value * 100)


def everything(pipeline: Pipeline) -> tuple[Any, ...]:
    """What Redis, Elasticsearch and the topic of events hold."""
    store = RedisFeatureStore(pipeline.servers.redis.url)
    states = store.read_states(list(store.customer_ids()))
    search = Elasticsearch(pipeline.servers.elasticsearch.url)
    search.indices.refresh(index="*")
    documents = {hit["_id"]: hit["_source"] for hit in scan(search, index="events-*,dead-letters-*")}
    search.close()
    consumer = KafkaConsumer(bootstrap_servers=pipeline.servers.kafka.address)
    ends = consumer.end_offsets([TopicPartition(topics.EVENTS, number) for number in range(topics.PARTITIONS)])
    consumer.close()
    return states, documents, ends


def test_rees46_events_are_indexed_once_and_give_the_known_funnel(
    pipeline: Pipeline, real_data: Path, tmp_path: Path
) -> None:
    file = real_data / "rees46_oct_even_dev.parquet"
    play(pipeline, file, "rees46", tmp_path / "history")

    search = Elasticsearch(pipeline.servers.elasticsearch.url)
    search.indices.refresh(index="events-*")
    did: dict[str, set[str]] = defaultdict(set)
    documents = [hit["_source"] for hit in scan(search, index="events-*", query={"query": {"match_all": {}}})]
    search.close()
    for document in documents:
        did[document["event_type"]].add(document["customer_id"])
    raw = pd.read_parquet(file)
    assert len(raw) == 8_591
    assert len(documents) == len(raw.drop_duplicates())
    assert letters(pipeline) == []
    known = json.loads((real_data / "facts.json").read_text())["rees46_even"]["funnel_user"]
    viewed, carted, bought = did["view"], did["cart"], did["purchase"]
    assert {
        "with_view": len(viewed),
        "with_cart": len(carted),
        "with_purchase": len(bought),
        "view_and_cart": len(viewed & carted),
        "view_cart_purchase": len(viewed & carted & bought),
        "cart_and_purchase": len(carted & bought),
        "purchase_without_cart": len(bought - carted),
        "cart_without_view": len(carted - viewed),
    } == {name: count for name, count in known.items() if not name.startswith("dropoff")}

    before = everything(pipeline)
    play(pipeline, file, "rees46", tmp_path / "another_history")
    assert everything(pipeline) == before, "the same file twice changes nothing"
