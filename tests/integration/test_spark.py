"""Training on Spark learns the same model as training in processes here."""

import subprocess
import sys
from pathlib import Path


def run(*command: str) -> None:
    subprocess.run([sys.executable, "-m", *command], check=True)


def test_both_engines_train_the_same_model(tmp_path: Path) -> None:
    history = str(tmp_path / "history")
    plan = ("--num_customers", "1300", "--num_events", "26000", "--until", "2026-01-01T00:00:00Z")
    run("producer", "simulate", *plan, "--output", history)
    for engine in ("local", "spark"):
        run("training", "--history", history, "--out", str(tmp_path / engine), "--engine", engine)
    versions = [sorted(path.name for path in (tmp_path / engine).iterdir()) for engine in ("local", "spark")]
    assert versions[0] == versions[1]
    assert len(versions[0]) >= 1
