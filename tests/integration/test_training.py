"""Training on two real shops beside independent reference numbers, and its documents in a real Elasticsearch."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from elasticsearch import Elasticsearch

from churn import history
from churn.analysis_tables import MODELS
from churn.model import Population, score_matrix
from churn.settings import ElasticsearchSettings
from es_ingest import templates
from training import choose, dataset, gate, index, split
from training.dataset import Dataset
from training.split import Split
from training.train import Facts, Least, Trained, learn_from, train

ORDER = [("customer_id", "ascending"), ("occurred_at", "ascending"), ("event_id", "ascending")]
LEAST = Least(500, 180)
SHOWN = ("roc_auc", "pr_auc", "lift_at_10", "brier")


def as_history(rows: pd.DataFrame) -> Any:
    """Purchases as training reads them; each was known when it happened."""
    filled = rows.assign(event_type="purchase", ingested_at=rows.occurred_at)
    for name in set(history.SCHEMA.names) - set(filled.columns):
        filled[name] = None
    return pa.Table.from_pandas(filled[history.SCHEMA.names], history.SCHEMA, preserve_index=False).sort_by(ORDER)


@pytest.fixture(scope="module")
def facts(real_data: Path) -> Any:
    return json.loads((real_data / "facts.json").read_text())


@pytest.fixture(scope="module")
def online_retail(real_data: Path) -> Any:
    """Sales with a customer and a price, each line once; cancellations left out (rule B of the reference numbers)."""
    lines = pd.read_parquet(real_data / "online_retail.parquet")
    is_sale = lines.CustomerID.notna() & ~lines.InvoiceNo.astype(str).str.startswith("C")
    lines = lines[is_sale & (lines.Quantity > 0) & (lines.UnitPrice > 0)].drop_duplicates()
    return as_history(
        pd.DataFrame(
            {
                "event_id": [f"e{number}" for number in range(len(lines))],
                "occurred_at": lines.InvoiceDate.dt.tz_localize("UTC").to_numpy(),
                "customer_id": lines.CustomerID.astype(int).astype(str).to_numpy(),
                "product_id": lines.StockCode.astype(str).to_numpy(),
                "price": lines.UnitPrice.to_numpy(),
                "quantity": lines.Quantity.to_numpy(),
                "order_id": lines.InvoiceNo.astype(str).to_numpy(),
                "country": lines.Country.astype(str).to_numpy(),
            }
        )
    )


@pytest.fixture(scope="module")
def retail_split(online_retail: Any) -> Split:
    found = split.choose(*dataset.span(online_retail))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def retail_samples(online_retail: Any, retail_split: Split) -> Dataset:
    return dataset.build(online_retail, retail_split.cut_offs, processes=2)


RETAIL_FACTS = Facts("0" * 64, "2011-12-09", Population(4338, 373.0))


@pytest.fixture(scope="module")
def retail(retail_samples: Dataset, retail_split: Split) -> Trained:
    return learn_from(retail_samples, retail_split, RETAIL_FACTS)


def tell(trained: Trained, anchors: dict[str, Any]) -> None:
    """Every model's row with its intervals, and the reference rows."""
    rows = {
        name: {each: (points[each], *trained.intervals[name][each]) for each in SHOWN}
        for name, points in trained.points.items()
    }
    for name, models in anchors.items():
        rows |= {
            f"{name}: {model}": {ours: (found[theirs], *found["ci95"].get(theirs, (math.nan, math.nan)))
                                 for ours, theirs in zip(SHOWN, ("roc_auc", "pr_auc", "lift10", "brier"), strict=True)}
            for model, found in models["models"].items()
        }  # fmt: skip
    for name, row in rows.items():
        print(f"{name:60.60}", *(f"{each} {a:.4f} ({b:.3f}-{c:.3f})" for each, (a, b, c) in row.items()))


@pytest.mark.real_data
def test_a_real_shops_champion_is_as_good_as_independent_models(
    retail: Trained, retail_split: Split, facts: Any
) -> None:
    anchors = facts["anchors"]
    tell(retail, {"one date": anchors["online_retail_time_split"], "four": anchors["online_retail_time_split_stacked"]})
    print(retail.champion, retail.model.about.algorithm, retail.model.about.metrics["calibration"])
    reference = facts["pit"]["online_retail"]["2011-09-10"]
    assert retail_split.test == datetime(2011, 9, 10, tzinfo=UTC)
    assert max(moment for moment in retail_split.cut_offs if moment < retail_split.test) == datetime(
        2011, 6, 12, tzinfo=UTC
    )
    assert len(retail.test.labels) == reference["customers"] == 3370
    assert retail.test.labels.sum() == reference["churned_90d"]
    assert retail.metrics["roc_auc"] >= 0.743
    assert retail.metrics["pr_auc"] >= 0.638
    assert retail.metrics["lift_at_10"] >= 1.58
    assert retail.metrics["brier"] <= 0.210
    assert retail.model.about.metrics["calibration"]["shape_ece"] <= 0.03
    assert gate.judge(retail.test.labels, retail.to_judge).is_open


@pytest.mark.real_data
def test_base_and_parts_are_the_log_odds_for_a_thousand_real_customers(retail: Trained) -> None:
    matrix = retail.test.matrix[:1000]
    scores = score_matrix(retail.model, matrix)
    log_odds = np.log(scores.risk / (1 - scores.risk))
    assert np.abs(scores.base + scores.contributions.sum(axis=1) - log_odds).max() < 1e-6
    assert scores.risk == pytest.approx(retail.risks[retail.champion][:1000], abs=1e-9)


@pytest.mark.real_data
def test_shuffled_outcomes_of_a_real_shop_give_chance_and_a_closed_gate(
    retail_samples: Dataset, retail_split: Split
) -> None:
    labels = np.random.default_rng(1).permutation(retail_samples.samples.labels)
    shuffled = retail_samples._replace(samples=retail_samples.samples._replace(labels=labels))
    families = (choose.RECENCY, choose.LR_RFM, choose.LR_ALL)
    found = learn_from(shuffled, retail_split, RETAIL_FACTS, families=families)
    assert found.metrics["roc_auc"] == pytest.approx(0.5, abs=0.03)
    assert not gate.judge(found.test.labels, found.to_judge).is_open


@pytest.mark.real_data
def test_a_shop_known_by_order_days_alone_is_told_apart_as_well(real_data: Path, facts: Any) -> None:
    columns = ["_", "customer_id", "day", "units", "dollars"]
    rows = pd.read_csv(real_data / "CDNOW_sample.txt", sep=r"\s+", names=columns, dtype=str)
    units = rows.units.astype(int)
    bought = pd.DataFrame(
        {
            "event_id": [f"e{number}" for number in range(len(rows))],
            "occurred_at": pd.to_datetime(rows.day, format="%Y%m%d", utc=True),
            "customer_id": rows.customer_id,
            "price": (rows.dollars.astype(float) / units).round(2),
            "quantity": units,
            "order_id": [f"o{number}" for number in range(len(rows))],
        }
    )
    until = datetime(1997, 12, 30, tzinfo=UTC)
    found = train(as_history(bought).filter(pc.field("occurred_at") <= until), LEAST, processes=1)
    tell(found, {"reference": facts["anchors"]["cdnow_sample_time_split"]})
    assert found.model.about.cut_offs["test"] == [datetime(1997, 10, 1, tzinfo=UTC)]
    assert found.model.about.cut_offs["calibrate"] == [datetime(1997, 7, 3, tzinfo=UTC)]
    assert found.metrics["n"] == 2357
    assert found.metrics["roc_auc"] >= 0.79


@pytest.mark.real_data
def test_a_run_is_indexed_once_with_every_field_mapped(retail: Trained, elasticsearch_url: str) -> None:
    client = Elasticsearch(elasticsearch_url)
    templates.put(client, replicas=0)
    verdict = gate.judge(retail.test.labels, retail.to_judge)
    rows, settings = index.rows(retail, verdict), ElasticsearchSettings(elasticsearch_url=elasticsearch_url)
    written = [index.write(rows, settings) for _ in range(2)]
    assert written == [sum(map(len, rows.values()))] * 2
    for table, each in rows.items():
        assert client.count(index=table.index)["count"] == len(each)
    found = client.search(index=MODELS.index, size=50)["hits"]["hits"]
    assert {each["_source"]["model"] for each in found} == retail.points.keys()
    champion = next(each["_source"] for each in found if each["_source"]["is_champion"])
    assert champion["roc_auc"] == pytest.approx(retail.metrics["roc_auc"])
    client.close()
