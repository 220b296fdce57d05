"""The analyses end to end: a history becomes a page, tables as Parquet and documents of a real Elasticsearch."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch
from pyarrow import parquet

from analytics import contents
from analytics.__main__ import main
from churn import analysis_index
from churn.analysis_tables import BY_NAME
from churn.events import Event
from churn.history import HistoryWriter
from es_ingest import templates
from producer import history_files
from producer.simulator import Plan, Simulation

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
TABLES = sorted({name for analysis in contents.analyses() for name in analysis.tables})


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("simulated") / "history"
    simulation = Simulation(Plan(400, 12_000, 200, 7, UNTIL))
    history_files.write(directory, simulation.tables(), simulation.shop, "parquet")
    return directory


@pytest.fixture(scope="module")
def client(servers: object) -> Iterator[Elasticsearch]:
    with Elasticsearch(servers.elasticsearch.url) as client:  # type: ignore[attr-defined]
        templates.put(client, replicas=0)
        yield client
        client.indices.delete(index=[BY_NAME[name].index for name in TABLES], ignore_unavailable=True)


@pytest.fixture(scope="module")
def report(history: Path, client: Elasticsearch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first run, with documents of an older one that no longer exist in this history."""
    old = {"@timestamp": "2020-01-01", "category": "gone", "country": "gone", "channel": "gone", "viewed": 1}
    analysis_index.write(client, BY_NAME["funnel-daily"], [old])
    return run(history, client, tmp_path_factory.mktemp("report"))


def run(history: Path, client: Elasticsearch, out: Path) -> Path:
    url = client.transport.node_pool.get().base_url
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELASTICSEARCH_URL", url)
        assert main(["--history", str(history), "--models", str(out / "none"), "--out", str(out), "--index"]) == 0
    return out


def test_every_table_is_a_file_and_an_index_with_the_same_rows(report: Path, client: Elasticsearch) -> None:
    for name in TABLES:
        rows = parquet.read_table(report / "tables" / f"{name}.parquet")
        assert rows.column_names == list(BY_NAME[name].names)
        found = client.count(index=BY_NAME[name].index, ignore_unavailable=True)["count"]
        assert found == rows.num_rows, name
    assert client.count(index="analytics-funnel-daily")["count"] > 100


def test_rows_of_an_older_run_that_no_longer_exist_are_removed(report: Path, client: Elasticsearch) -> None:
    gone = client.count(index="analytics-funnel-daily", query={"term": {"category": "gone"}})
    assert gone["count"] == 0


def test_the_same_rows_again_change_no_document(report: Path, client: Elasticsearch) -> None:
    def documents() -> list[tuple[str, object]]:
        found = analysis_index.scan(client, index="analytics-funnel-products")
        return sorted((each["_id"], each["_source"]) for each in found)

    before = documents()
    rows = parquet.read_table(report / "tables" / "funnel-products.parquet").to_pylist()
    assert analysis_index.write(client, BY_NAME["funnel-products"], rows) == len(before) > 100
    assert documents() == before


def test_the_money_of_the_index_is_the_money_of_the_orders(report: Path, client: Elasticsearch) -> None:
    sums = {
        name: client.search(index=f"analytics-{name}", size=0, aggs={"net": {"sum": {"field": "revenue"}}})
        for name in ("orders-daily", "sales-daily", "funnel-products")
    }
    orders, sales, products = (round(found["aggregations"]["net"]["value"], 2) for found in sums.values())
    assert orders == sales == products > 0


def test_an_elasticsearch_that_is_away_is_told_and_the_page_is_kept(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELASTICSEARCH_URL", "http://127.0.0.1:1")
    bought = Event(event_id="1", event_type="purchase", occurred_at=UNTIL, customer_id="1", price=1.0)
    with HistoryWriter(tmp_path / "history") as writer:
        writer.add(bought, UNTIL)
    said = ["--history", str(tmp_path / "history"), "--models", str(tmp_path), "--out", str(tmp_path), "--index"]
    assert main(said) == 1
    assert "analytics-" in capfd.readouterr().err
    assert (tmp_path / "report.html").stat().st_size > 10_000
