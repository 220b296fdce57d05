"""A simulated history on disk: the same bytes for the same plan, and only events where events are read."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyarrow import csv, dataset, parquet

from churn import history, truth
from churn.history import HistoryExists
from producer import history_files, simulate, simulator
from producer.faults import Faults
from producer.files import open_rows
from producer.simulator import Plan, Simulation

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(num_customers=1_100, num_events=12_000, days=200, seed=7, until=UNTIL, faults=Faults(late=0.1, bots=0.05))


def written(directory: Path, plan: Plan = PLAN, processes: int = 1, file_format: str = "parquet") -> Path:
    simulation = Simulation(plan, processes)
    history_files.write(directory, simulation.tables(), simulation.shop, file_format)
    return directory


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("shop") / "history")


def digests(directory: Path) -> dict[str, str]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_plan_gives_the_same_bytes_in_any_number_of_processes(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "PARALLEL_FROM_EVENTS", 1)
    again = digests(written(tmp_path / "again", processes=2))
    assert again == digests(shop)
    assert len(again) > 3 * 150


def test_another_seed_gives_another_history(shop: Path, tmp_path: Path) -> None:
    other, same = digests(written(tmp_path / "other", PLAN._replace(seed=8))), digests(shop)
    assert not any(other[name] == same.get(name) for name in other if name.startswith("date="))


def test_readers_of_events_find_all_events_and_nothing_else(shop: Path) -> None:
    lived = Simulation(PLAN).tables()
    ids = sorted(lived.events["event_id"].to_pylist())
    assert sorted(history.read(shop)["event_id"].to_pylist()) == ids
    rows = open_rows(shop, "utf-8").rows()
    assert sorted(row.values["event_id"] for row in rows) == ids


def test_everything_lies_below_the_date_on_which_it_happened(shop: Path) -> None:
    for folder, time in ((".", "occurred_at"), ("_sessions", "started_at"), ("_orders", "ordered_at")):
        for path in (shop / folder).glob("date=*/*.parquet"):
            days = {
                moment.date().isoformat() for moment in parquet.read_table(path, partitioning=None)[time].to_pylist()
            }
            assert days == {path.parent.name.removeprefix("date=")}


def test_the_tables_name_each_other(shop: Path) -> None:
    def column(folder: str, name: str) -> list[str]:
        table = dataset.dataset(shop / folder, format="parquet").to_table()
        return [value for value in table[name].to_pylist() if value is not None]

    customers = set(column("_customers", "customer_id"))
    assert len(customers) == PLAN.num_customers
    assert set(column("_sessions", "customer_id")) <= customers
    assert set(column("_orders", "session_id")) <= set(column("_sessions", "session_id"))
    people = history.read(shop).to_pandas()
    people = people[people["customer_id"].isin(customers)]
    assert set(people["session_id"].dropna()) == set(column("_sessions", "session_id"))
    assert set(people["order_id"].dropna()) == set(column("_orders", "order_id"))


def test_the_truth_tells_the_plan_and_the_parameters(shop: Path) -> None:
    said = json.loads((shop / truth.FOLDER / truth.POPULATION).read_text())
    simulation = Simulation(PLAN)
    assert said["plan"]["faults"]["late"] == 0.1
    told = truth.read(shop)
    assert told.visits == simulation.shop.population.visits
    assert told.kept == pytest.approx(simulation.shop.population.kept)
    with pytest.raises(ValueError, match="outside of the simulated time"):
        told.oracle(UNTIL.replace(year=2027))


def test_a_history_that_was_not_simulated_has_no_truth(tmp_path: Path) -> None:
    with pytest.raises(truth.TruthMissing, match="only simulated histories"):
        truth.read(tmp_path)


def test_csv_holds_the_same_events(shop: Path, tmp_path: Path) -> None:
    directory = written(tmp_path / "csv", file_format="csv")
    dates = sorted(path.name for path in directory.glob("date=*"))
    assert dates == sorted(path.name for path in shop.glob("date=*"))
    text, typed = (path / dates[50] for path in (directory, shop))
    wanted = parquet.read_table(typed / "part-0.parquet", partitioning=None)
    assert csv.read_csv(text / "part-0.csv")["event_id"].to_pylist() == wanted["event_id"].to_pylist()
    assert (directory / "_customers" / "customers.csv").is_file()


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(HistoryExists, match="not empty"):
        written(tmp_path)


def test_what_came_out_is_told_in_a_table() -> None:
    lived = Simulation(PLAN).tables()
    said = dict(line.rsplit(maxsplit=1) for line in simulate.described(lived).splitlines() if "of these" not in line)
    assert said["customers"] == "1,100"
    assert said["events"] == f"{lived.events.num_rows:,}"
    assert said["orders"] == f"{lived.orders.num_rows:,}"
    assert said["faulty events"] == f"{lived.record.num_rows:,}"
    assert float(said["revenue"].replace(",", "")) == pytest.approx(lived.orders["net"].to_numpy().sum())


@pytest.mark.parametrize(("customers", "events", "days"), [(1, 3, 1), (3, 9, 1), (40, 20_000, 2), (5, 15, 4_000)])
def test_the_smallest_and_the_oddest_shops_can_be_written(
    tmp_path: Path, customers: int, events: int, days: int
) -> None:
    directory = written(tmp_path / "odd", Plan(customers, events, days, 1, UNTIL))
    assert history.read(directory).num_rows >= customers
    assert len(truth.read(directory).oracle(UNTIL).p_no_order) == customers
