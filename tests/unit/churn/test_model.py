"""A model explains itself to the last digit, survives the disk, and anything that is not it is refused."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import skops.io
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from churn import model as models
from churn.features import MODEL_FEATURES, FeatureRow
from churn.model import About, ModelDamaged, ModelMismatch, ModelMissing, Population, RiskModel
from churn.segments import CutPoints
from churn.state import STATE_VERSION
from training.dataset import Samples
from training.fit import Fitted, fit
from training.recipes import Kind, Recipe


def samples(seed: int, count: int = 400) -> Samples:
    """Random customers: one column is constant, another has holes, and the first decides who churns."""
    chance = np.random.default_rng(seed)
    matrix = chance.lognormal(2, 1.5, (count, len(MODEL_FEATURES)))
    matrix[:, 5] = 7.0
    matrix[chance.random(count) < 0.2, 8] = np.nan
    labels = (matrix[:, 0] * chance.lognormal(0, 1, count) > np.e**2).astype(np.int8)
    ids = np.array([f"c{number}" for number in range(count)])
    return Samples(ids, np.zeros(count, dtype=np.int64), matrix, labels)


def about(**changes: Any) -> About:
    facts: dict[str, Any] = {
        "feature_names": MODEL_FEATURES,
        "fold_version": STATE_VERSION,
        "horizon_days": 90,
        "slope": 0.8,
        "intercept": 0.3,
        "cut_offs": {"train": [datetime(2026, 1, 1, tzinfo=UTC)], "calibrate": [], "test": []},
        "data_sha256": "0" * 64,
        "libraries": {"scikit-learn": "1"},
        "metrics": {"test": {"roc_auc": 0.7}},
        "rfm": CutPoints("v", (1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 3.0, 4.0)),
        "population": Population(1000, 300.0),
    }
    return About(**{**facts, **changes})


def rows(matrix: models.Floats) -> list[FeatureRow]:
    return [
        {name: None if np.isnan(value) else value for name, value in zip(MODEL_FEATURES, line, strict=True)}
        for line in matrix.tolist()
    ]


def as_model(fitted: Fitted) -> RiskModel:
    return RiskModel(fitted.pipeline, about(slope=fitted.slope, intercept=fitted.intercept), fitted.learned.trees)


RECIPES = {
    "regression": Recipe(Kind.LINEAR, 0.003),
    "regression with bins": Recipe(Kind.BINNED, 0.003),
    "trees": Recipe(Kind.TREES, 8),
}


@pytest.fixture(scope="module")
def fitted() -> dict[str, Fitted]:
    return {name: fit(samples(1), samples(2), recipe) for name, recipe in RECIPES.items()}


@pytest.fixture(scope="module")
def model(fitted: dict[str, Fitted]) -> RiskModel:
    return as_model(fitted["regression"])


@pytest.fixture(scope="module")
def trees(fitted: dict[str, Fitted]) -> RiskModel:
    return as_model(fitted["trees"])


@pytest.mark.parametrize("name", RECIPES)
def test_base_and_contributions_are_the_log_odds_of_the_calibrated_risk(name: str, fitted: dict[str, Fitted]) -> None:
    matrix = samples(3, 1000).matrix
    scores = models.score(as_model(fitted[name]), rows(matrix))
    risk = fitted[name].risk(matrix)
    assert scores.risk == pytest.approx(risk, abs=1e-9)
    assert np.abs(scores.base + scores.contributions.sum(axis=1) - np.log(risk / (1 - risk))).max() < 1e-6
    assert scores.risk.std() > 0.1
    assert models.risk_matrix(as_model(fitted[name]), matrix) == pytest.approx(scores.risk, abs=1e-9)
    assert len(models.risk_matrix(as_model(fitted[name]), matrix[:0])) == 0


@pytest.mark.parametrize("name", RECIPES)
def test_a_contribution_is_its_own_features_matter(name: str, fitted: dict[str, Fitted]) -> None:
    model, matrix = as_model(fitted[name]), samples(3).matrix
    contributions = models.score_matrix(model, matrix).contributions
    assert not contributions[:, 5].any(), "a constant feature says nothing"
    if name == "trees":
        return  # the parts of trees depend on one another
    moved = matrix.copy()
    moved[:, 8] = np.nan
    differs = models.score_matrix(model, moved).contributions != contributions
    assert list(np.flatnonzero(differs.any(axis=0))) == [8]


def test_a_text_is_its_code_and_an_unknown_one_is_scored(model: RiskModel) -> None:
    (row,) = rows(samples(3, 1).matrix)
    assert models.number("FR") == models.number("FR") != models.number("DE")
    assert 0 < models.score(model, [{**row, "country": "Atlantis"}]).risk[0] < 1


def test_rows_become_a_matrix_in_the_order_of_the_names() -> None:
    matrix = models.rows_to_matrix([{"a": 1, "b": None, "c": 2.5}, {"a": 3, "b": 4, "c": 0}], ["c", "b"])
    assert matrix.dtype == np.float64
    assert np.array_equal(matrix, [[2.5, np.nan], [0.0, 4.0]], equal_nan=True)
    assert models.rows_to_matrix([], ["a", "b"]).shape == (0, 2)


def test_no_rows_give_no_scores(model: RiskModel) -> None:
    scores = models.score(model, [])
    assert (scores.risk.shape, scores.contributions.shape) == ((0,), (0, len(MODEL_FEATURES)))


@pytest.mark.parametrize(
    ("risk", "name"),
    [(0.0, "low"), (0.3333, "low"), (1 / 3, "medium"), (0.6666, "medium"), (2 / 3, "high"), (1, "high")],
)
def test_bands_begin_at_one_and_two_thirds(risk: float, name: str) -> None:
    assert models.band(risk) == name


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_is_the_same_after_the_disk(name: str, fitted: dict[str, Fitted], tmp_path: Path) -> None:
    model = as_model(fitted[name])
    place = models.save(model, tmp_path)
    loaded = models.load(tmp_path, model.model_version)
    matrix = samples(4).matrix
    assert place == tmp_path / model.model_version
    assert (loaded.about, loaded.model_version) == (model.about, model.model_version)
    assert np.array_equal(models.score_matrix(loaded, matrix).risk, models.score_matrix(model, matrix).risk)


def test_the_same_content_has_the_same_version_and_is_kept_once(model: RiskModel, tmp_path: Path) -> None:
    fitted = fit(samples(1), samples(2))
    again = RiskModel(fitted.pipeline, model.about)
    place = models.save(model, tmp_path / "one")
    models.save(again, tmp_path / "one")
    assert [path.name for path in (tmp_path / "one").iterdir()] == [model.model_version]
    same = models.save(again, tmp_path / "two")
    for path in place.iterdir():
        assert (same / path.name).read_bytes() == path.read_bytes()
    other = RiskModel(fit(samples(5), samples(2)).pipeline, model.about)
    assert other.model_version != model.model_version


def test_a_damaged_model_is_replaced_when_it_is_saved_again(model: RiskModel, tmp_path: Path) -> None:
    (models.save(model, tmp_path) / "pipeline.skops").write_bytes(b"")
    models.save(model, tmp_path)
    assert models.load(tmp_path, model.model_version).model_version == model.model_version


def test_the_live_model_is_the_one_that_was_named_last(model: RiskModel, tmp_path: Path) -> None:
    other = RiskModel(model.pipeline, about(data_sha256="1" * 64))
    for candidate in (model, other):
        models.save(candidate, tmp_path)
        models.go_live(tmp_path, candidate.model_version)
        assert models.load(tmp_path).model_version == candidate.model_version
    assert {path.name for path in tmp_path.iterdir()} == {model.model_version, other.model_version, "live"}


def test_what_was_live_before_returns(model: RiskModel, tmp_path: Path) -> None:
    others = [RiskModel(model.pipeline, about(data_sha256=digit * 64)) for digit in "123"]
    for candidate in others:
        models.save(candidate, tmp_path)
        models.go_live(tmp_path, candidate.model_version)
    first, second, third = (candidate.model_version for candidate in others)
    assert models.lives(tmp_path) == [third, second, first]
    assert models.roll_back(tmp_path) == second == models.live_version(tmp_path)
    assert models.roll_back(tmp_path) == first
    with pytest.raises(ModelMissing, match=f"before {first}"):
        models.roll_back(tmp_path)


@pytest.mark.parametrize("change", [lambda text: text.replace("leaf_value=", "leaf_value=9", 1), lambda text: "tree"])
def test_changed_trees_are_refused(change: Any, trees: RiskModel, tmp_path: Path) -> None:
    path = models.save(trees, tmp_path) / "trees.txt"
    path.write_text(change(path.read_text()))
    with pytest.raises(ModelDamaged, match=r"trees\.txt.*sha256"):
        models.load(tmp_path, trees.model_version)


def test_a_text_that_is_no_tree_is_refused_even_with_the_right_sha256(trees: RiskModel, tmp_path: Path) -> None:
    place = models.save(trees, tmp_path)
    (place / "trees.txt").write_text("no tree")
    rewrite(place, trees_sha256=hashlib.sha256(b"no tree").hexdigest())
    with pytest.raises(ModelDamaged, match=r"model\.json.*train again"):
        models.load(tmp_path, trees.model_version)


@pytest.mark.parametrize("version", ["0123456789ab", "", "..", "a/../b"])
def test_a_version_that_is_not_there_cannot_go_live(version: str, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="python -m training"):
        models.go_live(tmp_path, version)
    with pytest.raises(ModelMissing, match="python -m training"):
        models.load(tmp_path)


def test_a_changed_pipeline_file_is_refused(model: RiskModel, tmp_path: Path) -> None:
    packed = models.save(model, tmp_path) / "pipeline.skops"
    content = bytearray(packed.read_bytes())
    content[len(content) // 2] ^= 1
    packed.write_bytes(content)
    with pytest.raises(ModelDamaged, match=r"pipeline\.skops.*sha256.*train again"):
        models.load(tmp_path, model.model_version)


@pytest.mark.parametrize("name", ["model.json", "pipeline.skops"])
def test_a_missing_file_is_named(name: str, model: RiskModel, tmp_path: Path) -> None:
    (models.save(model, tmp_path) / name).unlink()
    with pytest.raises(ModelDamaged, match=name):
        models.load(tmp_path, model.model_version)


def rewrite(place: Path, **changes: Any) -> None:
    path = place / "model.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, **changes, "about": {**kept["about"], **changes.get("about", {})}}))


def test_a_number_changed_by_hand_is_noticed(model: RiskModel, tmp_path: Path) -> None:
    rewrite(models.save(model, tmp_path), about={"intercept": 5.0})
    with pytest.raises(ModelDamaged, match="something else than training wrote"):
        models.load(tmp_path, model.model_version)


def shout(values: Any) -> Any:
    """Code that must not come in with a model."""
    return values


@pytest.mark.parametrize("thing", [Pipeline([("a", FunctionTransformer(shout))]), FunctionTransformer()])
def test_a_file_that_holds_anything_else_is_refused_even_with_the_right_sha256(
    thing: object, model: RiskModel, tmp_path: Path
) -> None:
    place = models.save(model, tmp_path)
    packed = skops.io.dumps(thing)
    (place / "pipeline.skops").write_bytes(packed)
    rewrite(place, pipeline_sha256=hashlib.sha256(packed).hexdigest())
    with pytest.raises(ModelDamaged, match="do not use it"):
        models.load(tmp_path, model.model_version)


def test_other_features_are_named(model: RiskModel, tmp_path: Path) -> None:
    names = [name for name in MODEL_FEATURES if name != "monetary"] + ["shoe_size"]
    rewrite(models.save(model, tmp_path), about={"feature_names": names})
    with pytest.raises(ModelMismatch, match=r"monetary, shoe_size.*train again"):
        models.load(tmp_path, model.model_version)


def test_features_in_another_order_are_refused(model: RiskModel, tmp_path: Path) -> None:
    rewrite(models.save(model, tmp_path), about={"feature_names": MODEL_FEATURES[::-1]})
    with pytest.raises(ModelMismatch, match="their order"):
        models.load(tmp_path, model.model_version)


def test_another_fold_version_is_refused(model: RiskModel, tmp_path: Path) -> None:
    rewrite(models.save(model, tmp_path), about={"fold_version": STATE_VERSION + 1})
    with pytest.raises(ModelMismatch, match=f"fold version {STATE_VERSION + 1}.*has {STATE_VERSION}"):
        models.load(tmp_path, model.model_version)


def test_a_population_is_sufficient_from_500_customers_and_180_days() -> None:
    assert Population(500, 180.0).is_sufficient
    assert not Population(499, 180.0).is_sufficient
    assert not Population(500, 179.9).is_sufficient
    assert Population(20, 160.0, min_customers=20, min_days=150).is_sufficient
    assert msgspec.json.decode(msgspec.json.encode(Population(1, 2.0)), type=Population) == Population(1, 2.0)
