"""The contract of training and scorer: what a churn model is, how it scores and explains, how it lies on disk.

A model is a scikit-learn pipeline that ends in a logistic regression or prepares the columns of gradient-boosted trees,
and one sigmoid that calibrates its margin on later data. The pipeline is kept as a skops file and the trees as text of
LightGBM's own, neither of which can hold code, beside a JSON file that says everything else.

ModelError
├── ModelMissing    nothing was trained yet
├── ModelDamaged    the files are not what training wrote
└── ModelMismatch   trained for other features or another fold
"""

import hashlib
import io
import os
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from skops.io.exceptions import UntrustedTypesFoundException

from churn.customer_value import ValueModel
from churn.features import FEATURES, MODEL_FEATURES, FeatureRow, hash_id
from churn.segments import CutPoints
from churn.state import STATE_VERSION

HORIZON_DAYS: Final = 90
MIN_CUSTOMERS: Final = 500
MIN_DAYS: Final = 180
MEDIUM_FROM: Final = 1 / 3
HIGH_FROM: Final = 2 / 3
BANDS: Final = ("low", "medium", "high")

LIVE: Final = "live"
_ABOUT: Final = "model.json"
_PIPELINE: Final = "pipeline.skops"
_TREES: Final = "trees.txt"
# Beside what skops itself trusts (scikit-learn's estimators, numpy arrays and ufuncs): the names of number types, and
# how an encoder cut its folds. Neither carries code.
_TRUSTED: Final = ["numpy.dtype", "sklearn.model_selection._split.StratifiedKFold"]

TEXT_FEATURES: Final = frozenset(feature.name for feature in FEATURES if feature.in_model and feature.unit == "text")

Floats = NDArray[np.float64]


class ModelError(Exception):
    """There is no usable model; the message says why and what to do."""


class ModelMissing(ModelError):
    """Nothing was trained yet."""


class ModelDamaged(ModelError):
    """The files are not what training wrote."""


class ModelMismatch(ModelError):
    """The model was trained for other features or another fold than this program has."""


class Population(msgspec.Struct, frozen=True):
    """How much a model has seen, and the least it was asked to see; `days` of history."""

    customers_with_order: int
    days: float
    min_customers: int = MIN_CUSTOMERS
    min_days: int = MIN_DAYS

    @property
    def is_sufficient(self) -> bool:
        return self.customers_with_order >= self.min_customers and self.days >= self.min_days


class Reference(msgspec.Struct, frozen=True):
    """How a number was distributed among the customers of the test: customers per bin, and last those with no value.

    A number belongs to bin #{edges <= number}; a text (`is_text`) to that of its own code among `edges`, else to the
    bin after those.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    is_text: bool = False


class About(msgspec.Struct, frozen=True):
    """Everything about a model but its fitted pipeline. Log-odds of a risk = `slope` * margin + `intercept`.

    `threshold` is the risk from which an offer pays; `reference` holds the distributions of every feature and of
    `risk` to tell drift by, `engagement` the cuts of the engagement and value scores it has learned with; `value`
    predicts what customers will bring, where that could be fitted.
    """

    feature_names: tuple[str, ...]
    fold_version: int
    horizon_days: int
    slope: float
    intercept: float
    cut_offs: dict[str, list[datetime]]
    data_sha256: str
    libraries: dict[str, str]
    metrics: dict[str, Any]
    rfm: CutPoints
    population: Population
    algorithm: str = "logistic regression"
    threshold: float = MEDIUM_FROM
    engagement: dict[str, tuple[float, ...]] = {}
    reference: dict[str, Reference] = {}
    value: ValueModel | None = None


class _Kept(msgspec.Struct, frozen=True):
    """The JSON file beside the pipeline."""

    model_version: str
    pipeline_sha256: str
    about: About
    trees_sha256: str | None = None


class Scores(NamedTuple):
    """`risk` (n,) in 0..1; `base` + `contributions` (n, features) summed over features = log-odds of `risk`."""

    risk: Floats
    base: float
    contributions: Floats


@dataclass(frozen=True)
class RiskModel:
    """A fitted model. The last step of `pipeline` is the logistic regression, the steps before it standardise.

    With `trees`, a LightGBM model as text, all of `pipeline` prepares their columns.
    """

    pipeline: Pipeline
    about: About
    trees: str | None = None

    @cached_property
    def model_version(self) -> str:
        """Twelve hex digits of the content: the same data and code give the same version."""
        digest = hashlib.sha256(_encode(self.about))
        for part in _content(self.pipeline):
            digest.update(part + b"\0")
        digest.update((self.trees or "").encode())
        return digest.hexdigest()[:12]

    @cached_property
    def _prepare(self) -> Pipeline:
        return self.pipeline[:-1] if self.trees is None else self.pipeline

    @cached_property
    def _weights(self) -> Floats:
        """(columns, features): the calibrated weight of each prepared column, in the place of its feature.

        A feature has no column when it was constant, and several when it is text, binned, or was missing at times.
        """
        owners = column_owners(self._prepare, len(self.about.feature_names))
        weights = np.ones(len(owners)) if self.trees is not None else self.pipeline[-1].coef_[0]
        placed = np.zeros((len(owners), len(self.about.feature_names)))
        placed[np.arange(len(owners)), owners] = self.about.slope * weights
        return placed

    @cached_property
    def _booster(self) -> Any:
        return open_trees(self.trees) if self.trees is not None else None

    @cached_property
    def _base(self) -> float:
        if self._booster is None:
            return float(self.about.slope * self.pipeline[-1].intercept_[0] + self.about.intercept)
        nobody = np.zeros((1, self._booster.num_feature()))
        expected = self._booster.predict(nobody, pred_contrib=True, num_threads=1)[0, -1]
        return float(self.about.slope * expected + self.about.intercept)

    def _parts(self, matrix: Floats) -> Floats:
        """(n, columns): what each prepared column adds, before its weight."""
        columns = self._prepare.transform(matrix)
        if self._booster is None:
            return np.asarray(columns, dtype=np.float64)
        # Exact Shapley values of the trees: with the expected value they add up to the margin.
        parts = self._booster.predict(columns, pred_contrib=True, num_threads=1)
        return np.asarray(parts[:, :-1], dtype=np.float64)


def column_owners(prepare: Pipeline, features: int) -> list[int]:
    """For each column that `prepare` puts out, the place of the feature it is made of."""
    tags = np.array([f"<{place}>" for place in range(features)], dtype=object)
    named = (_TAG.search(name) for name in prepare.get_feature_names_out(tags))
    return [int(found[1]) for found in named if found]


_TAG: Final = re.compile(r"<(\d+)>")


def open_trees(text: str) -> Any:
    """The LightGBM booster of this text. Raises `ModelDamaged`, and `ModelError` where LightGBM cannot run."""
    try:
        import lightgbm  # only a model of trees needs it, and it needs a system library
    except (ImportError, OSError) as error:
        raise ModelError(f"LightGBM cannot be loaded ({error}): install lightgbm and the library libgomp1") from error
    try:
        return lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        raise ModelDamaged(f"{_TREES}: {error}; train again with `python -m training`") from error


def rows_to_matrix(rows: Sequence[FeatureRow], feature_names: Sequence[str]) -> Floats:
    """(rows, features) in the order of `feature_names`; a value that is not known is NaN, a text its code."""
    if len(feature_names) < 2:
        return np.array([[number(row[name]) for name in feature_names] for row in rows], dtype=np.float64)
    pick = itemgetter(*feature_names)
    picked: list[Any] = [pick(row) for row in rows]
    texts = [place for place, name in enumerate(feature_names) if name in TEXT_FEATURES]
    if texts:
        picked = [list(values) for values in picked]
        for values in picked:
            for place in texts:
                values[place] = number(values[place])
    return np.array(picked, dtype=np.float64).reshape(len(rows), len(feature_names))


def number(value: float | int | str | None) -> float:
    """A feature's value as a number: a text by its code, NaN for none."""
    if value is None:
        return float("nan")
    return _code(value) if isinstance(value, str) else float(value)


@lru_cache(maxsize=4096)
def _code(text: str) -> float:
    return float(hash_id(text))  # 48 bits: exact as a float


def score(model: RiskModel, rows: Sequence[FeatureRow]) -> Scores:
    """The risk of each row and what each feature adds to it, in log-odds."""
    return score_matrix(model, rows_to_matrix(rows, model.about.feature_names))


def score_matrix(model: RiskModel, matrix: Floats) -> Scores:
    """As `score`, for a matrix with the columns `feature_names`."""
    if not len(matrix):
        return Scores(np.zeros(0), model._base, np.zeros(matrix.shape))
    contributions = model._parts(matrix) @ model._weights
    return Scores(sigmoid(model._base + contributions.sum(axis=1)), model._base, contributions)


def risk_matrix(model: RiskModel, matrix: Floats) -> Floats:
    """The risk alone, (n,): as of `score_matrix` but for rounding, and of trees at a fraction of the time."""
    if model.trees is None or not len(matrix):
        return score_matrix(model, matrix).risk
    margin = model._booster.predict(model._prepare.transform(matrix), raw_score=True, num_threads=1)
    return sigmoid(model.about.slope * np.asarray(margin, dtype=np.float64) + model.about.intercept)


def sigmoid(log_odds: Floats) -> Floats:
    """Probabilities of these log-odds, precise also where they are close to 0."""
    return np.asarray(np.exp(-np.logaddexp(0, -log_odds)), dtype=np.float64)


def band(risk: float) -> str:
    """low < 1/3 <= medium < 2/3 <= high."""
    if risk < MEDIUM_FROM:
        return "low"
    return "medium" if risk < HIGH_FROM else "high"


# --- on disk ----------------------------------------------------------------------------------------------------------


def save(model: RiskModel, directory: Path) -> Path:
    """Keep the model as `directory/<model_version>/` and return that path; it is not live by that.

    A directory of the same version that is whole already stays as it is.
    """
    target = directory / model.model_version
    if target.exists():
        try:
            load(directory, model.model_version)
        except ModelError:
            shutil.rmtree(target)
        else:
            return target
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".saving-") as saving:
        whole = Path(saving) / target.name
        whole.mkdir()
        packed = _packed(model.pipeline)
        (whole / _PIPELINE).write_bytes(packed)
        trees = None if model.trees is None else model.trees.encode()
        if trees is not None:
            (whole / _TREES).write_bytes(trees)
        trees_sha256 = None if trees is None else hashlib.sha256(trees).hexdigest()
        kept = _Kept(model.model_version, hashlib.sha256(packed).hexdigest(), model.about, trees_sha256)
        (whole / _ABOUT).write_bytes(msgspec.json.format(_encode(kept)) + b"\n")
        whole.rename(target)
    return target


def _packed(pipeline: Pipeline) -> bytes:
    """The pipeline as a skops file, the same bytes for the same content.

    skops names parts by their place in memory, and a zip file the time of day: here they are numbered, and undated.
    """
    numbers: dict[str, str] = {}

    def numbered(found: re.Match[str]) -> str:
        return numbers.setdefault(found[0], str(len(numbers)))

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(pipeline))) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    schema = _PLACE.sub(numbered, parts.pop(_SCHEMA).decode())
    renamed = {_PLACE.sub(numbered, name): part for name, part in parts.items()} | {_SCHEMA: schema.encode()}
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as target:
        for name in sorted(renamed):
            target.writestr(zipfile.ZipInfo(name), renamed[name], zipfile.ZIP_DEFLATED)
    return written.getvalue()


_SCHEMA: Final = "schema.json"
_PLACE: Final = re.compile(r'(?<="__id__": )\d+|\d+(?=\.npy)')


def go_live(directory: Path, version: str) -> None:
    """Name the version that scorers use from now on; they see the old name or the new one, never half of it."""
    load(directory, version)
    _write_lives(directory, [version, *(each for each in lives(directory) if each != version)])


def roll_back(directory: Path) -> str:
    """Put the version live that was live before, and return it. Raises `ModelMissing` when there was none."""
    names = lives(directory)
    if len(names) < 2:
        raise ModelMissing(f"no model was live before {names[0] if names else 'any'} in {directory}")
    load(directory, names[1])
    _write_lives(directory, names[1:])
    return names[1]


def lives(directory: Path) -> list[str]:
    """The versions that have been live, the live one first, each once; none when nothing was trained yet."""
    try:
        return (directory / LIVE).read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    except FileNotFoundError:
        return []


def _write_lives(directory: Path, names: Sequence[str]) -> None:
    fresh = directory / f".{LIVE}-{os.getpid()}"
    fresh.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    fresh.replace(directory / LIVE)


def live_version(directory: Path) -> str:
    """The version that is live. Raises `ModelMissing` when there is none."""
    try:
        named = (directory / LIVE).read_text(encoding="utf-8", errors="replace").split("\n", 1)
    except OSError as error:
        why = error.strerror or "cannot be read"
        raise ModelMissing(f"no live model, {directory / LIVE}: {why}; train with `python -m training`") from None
    return named[0].strip()


def versions(directory: Path) -> list[str]:
    """The versions that are kept, in no order of age."""
    return sorted(path.parent.name for path in directory.glob(f"*/{_ABOUT}"))


def load(directory: Path, version: str | None = None) -> RiskModel:
    """The model of this version, or the live one. Raises the errors of this module."""
    version = live_version(directory) if version is None else version
    place = directory / version
    if not version.isalnum() or not place.is_dir():
        raise ModelMissing(f"no model {version!r} in {directory}: train one with `python -m training`")
    kept = _read_about(place / _ABOUT)
    _require_fit(kept.about, place)
    trees = None if kept.trees_sha256 is None else _checked(place / _TREES, kept.trees_sha256).decode(errors="replace")
    model = RiskModel(_read_pipeline(place / _PIPELINE, kept.pipeline_sha256), kept.about, trees)
    if not version == kept.model_version == model.model_version:
        raise ModelDamaged(f"{place / _ABOUT}: says something else than training wrote; train again")
    if trees is not None:
        open_trees(trees)  # only now: of a text that training did not write LightGBM may end the process
    return model


def _read_about(path: Path) -> _Kept:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelDamaged(f"{path}: {error}; train again with `python -m training`") from error


def _require_fit(about: About, place: Path) -> None:
    if about.fold_version != STATE_VERSION:
        raise ModelMismatch(
            f"{place} was trained with fold version {about.fold_version}, this program has {STATE_VERSION}: train again"
        )
    if about.feature_names != MODEL_FEATURES:
        differing = sorted(set(about.feature_names) ^ set(MODEL_FEATURES)) or ["their order"]
        raise ModelMismatch(f"{place} was trained on other features, differing in {', '.join(differing)}: train again")


def _checked(path: Path, sha256: str) -> bytes:
    """The bytes of a file that has this sha256."""
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise ModelDamaged(f"{path}: {error}; train again with `python -m training`") from error
    if hashlib.sha256(packed).hexdigest() != sha256:
        raise ModelDamaged(f"{path}: its sha256 is not the one in {_ABOUT}; train again with `python -m training`")
    return packed


# What reading a zip file, JSON and arrays may end with when bytes in them are damaged.
_DAMAGED: Final = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ImportError, RuntimeError),
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError),
)


def _read_pipeline(path: Path, sha256: str) -> Pipeline:
    packed = _checked(path, sha256)
    try:
        pipeline = skops.io.loads(packed, trusted=_TRUSTED)
    except UntrustedTypesFoundException as error:
        raise ModelDamaged(f"{path}: holds more than a scikit-learn pipeline ({error}); do not use it") from error
    except _DAMAGED as error:
        raise ModelDamaged(f"{path}: {error}; train again with `python -m training`") from error
    if not isinstance(pipeline, Pipeline):
        raise ModelDamaged(f"{path}: holds a {type(pipeline).__name__}, not a pipeline; do not use it")
    return pipeline


def _encode(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _content(value: Any) -> Iterator[bytes]:
    """Everything that makes a fitted estimator what it is, in an order that does not depend on how it was loaded."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        yield str((value.dtype, value.shape)).encode() + value.tobytes()
    elif isinstance(value, BaseEstimator):
        yield type(value).__name__.encode()
        yield from _content(vars(value))
    elif isinstance(value, Mapping):
        for name, part in sorted(value.items(), key=lambda item: str(item[0])):
            yield str(name).encode()
            yield from _content(part)
    elif isinstance(value, list | tuple | np.ndarray):
        yield str(len(value)).encode()
        for part in value:
            yield from _content(part)
    else:
        yield str(getattr(value, "__name__", value)).encode()
