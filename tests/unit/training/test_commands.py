"""The commands: train and keep, compare, promote, roll back, score a file, look for drift; and what they refuse."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from churn import model as models
from churn.events import Event
from churn.features import MODEL_FEATURES
from churn.history import HistoryWriter
from churn.model import RiskModel
from training import __main__ as command
from training import keep, train
from training.gate import Verdict
from training.train import Trained

AS_OF = "2026-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def kept(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of models in which the trained one is live. Tests that change it take a copy of their own."""
    directory = tmp_path_factory.mktemp("kept")
    assert keep.keep(trained, directory).is_open
    return directory


@pytest.fixture
def own(trained: Trained, tmp_path: Path) -> Path:
    """The same, to be changed."""
    models.save(trained.model, tmp_path)
    models.go_live(tmp_path, trained.model.model_version)
    return tmp_path


def save_other(model: RiskModel, directory: Path, **changes: Any) -> str:
    """A model that differs in what is said of it."""
    about = models.msgspec.structs.replace(model.about, data_sha256="1" * 64, **changes)
    other = RiskModel(model.pipeline, about, model.trees)
    models.save(other, directory)
    return other.model_version


def test_the_command_trains_keeps_reports_and_puts_the_model_live(
    history_dir: Path, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(command, "_processes", lambda: 1)
    assert command.main(["--history", str(history_dir), "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    version = trained.model.model_version
    assert f"{version} is live" in said
    assert "against recency alone: PR-AUC +" in said
    model = models.load(tmp_path)
    assert model.model_version == version
    assert json.loads((tmp_path / version / "metrics.json").read_text()) == model.about.metrics
    assert json.loads((tmp_path / version / "verdict.json").read_text())["reasons"] == []


def test_the_report_shows_everything_that_a_decision_needs(kept: Path, trained: Trained) -> None:
    page = (kept / trained.model.model_version / "report.html").read_text()
    for words in (
        "ROC", "Precision and recall", "Gains", "Lift", "Calibration", "Confusion matrix", "Classification report",
        "Cost", "What moves risks", "Drift against training", "By segment", "Limits", "The gate is open", "The shape",
    ):  # fmt: skip
        assert words in page, words
    assert page.count("<svg") == 8
    card = (kept / trained.model.model_version / "card.md").read_text()
    assert trained.model.model_version in card
    assert "| recency alone |" in card


def test_a_candidate_that_the_gate_refuses_is_kept_aside_with_the_reason(
    trained: Trained, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep.gate, "judge", lambda labels, risks: Verdict(("it is worse",), ()))
    other = trained._replace(
        model=RiskModel(
            trained.model.pipeline,
            models.msgspec.structs.replace(trained.model.about, data_sha256="2" * 64),
            trained.model.trees,
        )
    )
    assert not keep.keep(other, own).is_open
    assert models.live_version(own) == trained.model.model_version
    aside = own / other.model.model_version
    assert json.loads((aside / "verdict.json").read_text())["reasons"] == ["it is worse"]
    assert "The gate is closed: it is worse." in (aside / "card.md").read_text()


def test_models_are_compared_promoted_and_rolled_back(
    history_dir: Path, trained: Trained, own: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(command, "_processes", lambda: 1)
    first = trained.model.model_version
    other = save_other(trained.model, own)
    where = ["--history", str(history_dir), "--models", str(own)]
    assert command.main(["compare", *where]) == 0
    assert first[:6] in capsys.readouterr().out
    assert command.main(["promote", other, *where]) == 0
    assert models.lives(own) == [other, first]
    assert command.main(["rollback", "--models", str(own)]) == 0
    assert models.lives(own) == [first]
    assert command.main(["rollback", "--models", str(own)]) == 1
    assert "no model was live before" in capsys.readouterr().err


def test_a_worse_model_is_not_promoted(
    history_dir: Path, trained: Trained, own: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(command, "_processes", lambda: 1)
    worse = save_other(trained.model, own, slope=0.01)
    assert command.main(["promote", worse, "--history", str(history_dir), "--models", str(own)]) == 3
    assert "stays aside: " in capsys.readouterr().err
    assert models.live_version(own) == trained.model.model_version


def test_a_version_that_is_not_there_is_not_promoted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["promote", "abc", "--models", str(tmp_path), "--history", str(tmp_path)]) == 1
    assert "no model 'abc'" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_file_of_features_is_scored_with_reasons_that_add_up(
    kind: str, history_dir: Path, kept: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(command, "_processes", lambda: 1)
    features, scored = tmp_path / "features.parquet", tmp_path / f"scored.{kind}"
    assert command.main(["features", "--history", str(history_dir), "--as-of", AS_OF, "--out", str(features)]) == 0
    source = features
    if kind == "csv":
        source = tmp_path / "features.csv"
        pd.read_parquet(features).to_csv(source, index=False)
    assert command.main(["score", str(source), "--out", str(scored), "--models", str(kept)]) == 0
    table = pd.read_csv(scored) if kind == "csv" else pd.read_parquet(scored)
    buyers = table[table.risk.notna()]
    parts = buyers[[f"part_of_{name}" for name in MODEL_FEATURES]].sum(axis=1)
    assert len(buyers) > 400
    assert np.abs(buyers.base + parts - np.log(buyers.risk / (1 - buyers.risk))).max() < 1e-6
    assert set(buyers.risk_band) <= set(models.BANDS)
    assert buyers.drivers.str.contains("[+-]").all()


def test_missing_columns_are_named(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ["customer_id", *(name for name in MODEL_FEATURES if name not in ("monetary", "country"))]
    pd.DataFrame([[1] * len(columns)], columns=columns).to_csv(tmp_path / "few.csv", index=False)
    target = tmp_path / "out.csv"
    assert command.main(["score", str(tmp_path / "few.csv"), "--out", str(target), "--models", str(kept)]) == 1
    assert "columns are missing: monetary, country" in capsys.readouterr().err
    assert not target.exists()


def test_drift_says_in_words_what_to_do_and_counts_only_the_second_time(
    history_dir: Path, own: Path, trained: Trained, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(command, "_processes", lambda: 1)
    assert command.main(["drift", "--history", str(history_dir), "--models", str(own)]) == 0
    said = capsys.readouterr().out
    assert "no risk told after the test of" in said
    assert "Wait: " in said or "Keep the model" in said
    runs = json.loads((own / trained.model.model_version / "drift.json").read_text())
    assert command.main(["drift", "--history", str(history_dir), "--models", str(own)]) == 0
    again = json.loads((own / trained.model.model_version / "drift.json").read_text())
    assert again == runs, "the same day is not a second run"


def test_the_command_says_when_hours_of_events_are_not_enough(
    own: Path, tmp_path: Path, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    at = datetime(2019, 10, 1, tzinfo=UTC)
    with HistoryWriter(tmp_path / "history") as writer:
        for number in range(90):
            event = Event(f"e{number}", "purchase", at + timedelta(minutes=number), f"c{number}", price=9.0)
            writer.add(event, event.occurred_at)
    before = sorted(own.rglob("*"))
    assert command.main(["--history", str(tmp_path / "history"), "--out", str(own)]) == 2
    said = capsys.readouterr().err
    assert "insufficient_data: 0.062 days of history with 90 customers" in said
    assert "No model was written" in said
    assert [path for path in sorted(own.rglob("*")) if "history" not in str(path)] == [
        path for path in before if "history" not in str(path)
    ]
    assert models.live_version(own) == trained.model.model_version


def test_the_command_says_where_a_history_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--history", str(tmp_path), "--out", str(tmp_path / "models")]) == 1
    assert f"no history in {tmp_path}" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_one_outcome_only_writes_nothing(
    history_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """Everybody orders within an hour of every test: nobody churns."""
    real = train.dataset.build

    def all_stay(*arguments: Any, **named: Any) -> Any:
        built = real(*arguments, **named)
        return built._replace(samples=built.samples._replace(labels=np.zeros_like(built.samples.labels)))

    monkeypatch.setattr(command, "_processes", lambda: 1)
    monkeypatch.setattr(train.dataset, "build", all_stay)
    assert command.main(["--history", str(history_dir), "--out", str(tmp_path / "models")]) == 2
    assert "0 customers of the test sample churned" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
