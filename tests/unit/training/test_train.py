"""A training run on a small shop: repeatable, kept, switched over only for the better, and silent without data."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from churn import model as models
from churn.events import Event
from churn.features import MODEL_FEATURES
from churn.history import HistoryWriter
from training import __main__ as command
from training.dataset import Samples
from training.fit import TooFewOutcomes, fit
from training.split import Kind
from training.train import InsufficientData, Least, train

CUSTOMERS = 510
LEAST = Least(CUSTOMERS, 180)


def test_the_same_history_gives_the_same_model(table: Any) -> None:
    first, second = (train(table, LEAST, processes=1).model for _ in range(2))
    assert first.model_version == second.model_version
    other = train(table.slice(3), LEAST, processes=1).model
    assert other.model_version != first.model_version


def test_a_model_says_where_it_comes_from_and_how_good_it_is(table: Any) -> None:
    trained = train(table, LEAST, processes=1)
    about = trained.model.about
    assert about.metrics["split"] == Kind.TIME
    assert about.population.customers_with_order == CUSTOMERS
    assert 399 < about.population.days < 401
    assert about.rfm.version == pc.max(table["occurred_at"]).as_py().date().isoformat()
    assert about.metrics["test"] == {"model": trained.metrics, "recency_alone": trained.recency_alone}
    assert trained.recency_alone["roc_auc"] < trained.metrics["roc_auc"] < 0.95


@pytest.mark.parametrize(("days", "kind"), [(300, Kind.TIME_CROSS_FIT), (200, Kind.CUSTOMERS)])
def test_a_shorter_history_still_trains_and_says_how_it_was_tested(days: int, kind: Kind, table: Any) -> None:
    start = pc.min(table["occurred_at"]).as_py()
    trained = train(table.filter(pc.field("occurred_at") < start + timedelta(days=days)), LEAST, processes=1)
    assert trained.model.about.metrics["split"] == kind
    assert trained.model.about.cut_offs["calibrate"] == []
    assert trained.metrics["brier"] < 0.25


@pytest.mark.parametrize(
    ("least", "days", "message"),
    [
        (Least(511, 180), 400, "510 customers who ordered.*511 customers"),
        (Least(500, 500), 400, "days of history.*500 days"),
        (Least(1, 1), 140, "needs 150 days"),
    ],
)
def test_too_little_data_is_said_with_its_numbers(least: Least, days: int, message: str, table: Any) -> None:
    start = pc.min(table["occurred_at"]).as_py()
    with pytest.raises(InsufficientData, match=message):
        train(table.filter(pc.field("occurred_at") < start + timedelta(days=days)), least, processes=1)


def test_a_sample_in_which_nearly_all_stay_is_refused() -> None:
    ids = np.array([f"c{number}" for number in range(50)])
    labels = np.array([1] * 9 + [0] * 41, dtype=np.int8)
    lopsided = Samples(ids, np.zeros(50, dtype=np.int64), np.ones((50, len(MODEL_FEATURES))), labels)
    with pytest.raises(TooFewOutcomes, match="9 customers of the train sample churned"):
        fit(lopsided, None)


def test_the_command_trains_and_puts_the_model_live(
    history_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--history", str(history_dir), "--out", str(tmp_path)]) == 0
    model = models.load(tmp_path)
    assert f"{model.model_version} is live" in capsys.readouterr().out
    readable = json.loads((tmp_path / model.model_version / "metrics.json").read_text())
    assert readable == model.about.metrics


def test_the_command_keeps_a_worse_model_aside(
    history_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "reason_against", lambda model, recency_alone: "it is worse")
    assert command.main(["--history", str(history_dir), "--out", str(tmp_path)]) == 0
    assert "not live: it is worse" in capsys.readouterr().out
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(models.ModelMissing):
        models.load(tmp_path)


def test_the_command_says_when_hours_of_events_are_not_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = datetime(2019, 10, 1, tzinfo=UTC)
    with HistoryWriter(tmp_path / "history") as writer:
        for number in range(90):
            event = Event(f"e{number}", "purchase", at + timedelta(minutes=number), f"c{number}", price=9.0)
            writer.add(event, event.occurred_at)
    assert command.main(["--history", str(tmp_path / "history"), "--out", str(tmp_path / "models")]) == 2
    said = capsys.readouterr().err
    assert "insufficient_data: 0.062 days of history with 90 customers" in said
    assert "No model was written" in said
    assert not (tmp_path / "models").exists()


def test_the_command_says_where_a_history_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--history", str(tmp_path), "--out", str(tmp_path / "models")]) == 1
    assert f"no history in {tmp_path}" in capsys.readouterr().err
