"""The live model is picked up when it changes; a refused one does not take the good one away."""

import json
from pathlib import Path

from churn import model as models
from churn.model import RiskModel
from scorer.live_model import LiveModel


def put_live(model: RiskModel, directory: Path) -> None:
    models.save(model, directory)
    models.go_live(directory, model.model_version)


def version(live: LiveModel) -> str | None:
    return live.model.model_version if live.model else None


def test_a_model_is_picked_up_when_it_appears_and_when_it_changes(
    model: RiskModel, other_model: RiskModel, tmp_path: Path
) -> None:
    live = LiveModel(tmp_path / "models")
    assert (live.refresh(), live.model) == (False, None)
    for candidate in (model, other_model):
        put_live(candidate, tmp_path / "models")
        assert live.refresh()
        assert version(live) == candidate.model_version
        assert not live.refresh()


def test_a_damaged_model_is_not_used_until_it_is_whole(
    model: RiskModel, other_model: RiskModel, tmp_path: Path
) -> None:
    live = LiveModel(tmp_path)
    put_live(model, tmp_path)
    live.refresh()
    put_live(other_model, tmp_path)
    packed = tmp_path / other_model.model_version / "pipeline.skops"
    whole = packed.read_bytes()
    packed.write_bytes(whole[:100])
    assert [live.refresh() for _ in range(3)] == [False] * 3
    assert version(live) == model.model_version
    packed.write_bytes(whole)
    assert live.refresh()
    assert version(live) == other_model.model_version


def test_a_model_directory_that_is_away_leaves_the_model_in_use(model: RiskModel, tmp_path: Path) -> None:
    live = LiveModel(tmp_path / "models")
    put_live(model, tmp_path / "models")
    live.refresh()
    (tmp_path / "models").rename(tmp_path / "away")
    assert not live.refresh()
    assert version(live) == model.model_version


def test_a_model_of_another_fold_is_refused_and_the_one_in_use_stays(
    model: RiskModel, other_model: RiskModel, tmp_path: Path
) -> None:
    live = LiveModel(tmp_path)
    put_live(model, tmp_path)
    live.refresh()
    put_live(other_model, tmp_path)
    about = tmp_path / other_model.model_version / "model.json"
    kept = json.loads(about.read_text())
    kept["about"]["fold_version"] += 1
    about.write_text(json.dumps(kept))
    assert [live.refresh() for _ in range(2)] == [False] * 2
    assert version(live) == model.model_version
