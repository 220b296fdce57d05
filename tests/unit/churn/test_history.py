"""The history reader: what is no event is refused, with what to do about it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from churn import history
from churn.history import HistoryRaw
from producer import history_files
from producer.faults import Faults
from producer.simulator import Plan, Simulation

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)


def written(directory: Path, malformed: float) -> Path:
    plan = Plan(100, 2_000, 100, 7, UNTIL, faults=Faults(malformed=malformed))
    simulation = Simulation(plan)
    history_files.write(directory, simulation.tables(), simulation.shop, "parquet")
    return directory


def test_a_raw_history_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HistoryRaw, match=r"rows are no events.*producer replay"):
        history.read(written(tmp_path / "history", 0.05))


def test_a_history_without_faults_is_read_whole(tmp_path: Path) -> None:
    assert len(history.read(written(tmp_path / "history", 0.0))) > 1_000
