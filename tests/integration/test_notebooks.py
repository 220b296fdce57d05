"""The notebooks run from the first to the last cell on a small history, and are kept without results."""

from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from producer import history_files
from producer.simulator import Plan, Simulation

from ..patience import PATIENCE_S

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("simulated") / "history"
    simulation = Simulation(Plan(400, 16_000, 365, 7, datetime(2026, 1, 1, tzinfo=UTC)))
    history_files.write(directory, simulation.tables(), simulation.shop, "parquet")
    return directory


def test_there_are_three_of_them() -> None:
    assert NOTEBOOKS == ["answers.ipynb", "explore.ipynb", "features-and-churn.ipynb"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_end_to_end(name: str, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HISTORY_DIR", str(history))
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    notebook = nbformat.read(FOLDER / name, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in code)
    NotebookClient(notebook, timeout=int(PATIENCE_S), resources={"metadata": {"path": str(FOLDER.parent)}}).execute()
    assert all(cell.execution_count for cell in code)
    assert any(cell.outputs for cell in code)
