"""One small simulated shop for all tests of the analyses."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from producer import history_files
from producer.faults import NO_FAULTS
from producer.simulator import Plan, Simulation

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A year of 300 customers with repeated and late events."""
    directory = tmp_path_factory.mktemp("simulated") / "history"
    plan = Plan(300, 12_000, 365, 7, UNTIL, faults=NO_FAULTS._replace(duplicates=0.02, late=0.05))
    simulation = Simulation(plan)
    history_files.write(directory, simulation.tables(), simulation.shop, "parquet")
    return directory
