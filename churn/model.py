"""The contract of training and scorer: what a churn model is, how it scores and explains, how it lies on disk.

A model is a scikit-learn pipeline ending in a logistic regression, and one sigmoid that calibrates its margin on later
data. It is kept as a skops file, which can hold no code, beside a JSON file that says everything else.

ModelError
├── ModelMissing    nothing was trained yet
├── ModelDamaged    the files are not what training wrote
└── ModelMismatch   trained for other features or another fold
"""

import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from skops.io.exceptions import UntrustedTypesFoundException

from churn.features import MODEL_FEATURES, FeatureRow
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
# What skops itself trusts (scikit-learn, numpy arrays and ufuncs) and the names of number types, which carry no code.
_TRUSTED: Final = ["numpy.dtype"]

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


class About(msgspec.Struct, frozen=True):
    """Everything about a model but its fitted pipeline. Log-odds of a risk = `slope` * margin + `intercept`."""

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


class _Kept(msgspec.Struct, frozen=True):
    """The JSON file beside the pipeline."""

    model_version: str
    pipeline_sha256: str
    about: About


class Scores(NamedTuple):
    """`risk` (n,) in 0..1; `base` + `contributions` (n, features) summed over features = log-odds of `risk`."""

    risk: Floats
    base: float
    contributions: Floats


@dataclass(frozen=True)
class RiskModel:
    """A fitted model. The last step of `pipeline` is the logistic regression, the steps before it standardise."""

    pipeline: Pipeline
    about: About

    @cached_property
    def model_version(self) -> str:
        """Twelve hex digits of the content: the same data and code give the same version."""
        digest = hashlib.sha256(_encode(self.about))
        for step in self.pipeline:
            digest.update(repr(step).encode())
            for name, value in sorted(vars(step).items()):
                if name.endswith("_") and isinstance(value, np.ndarray):
                    digest.update(name.encode() + value.tobytes())
        return digest.hexdigest()[:12]

    @cached_property
    def _standardise(self) -> Pipeline:
        return self.pipeline[:-1]

    @cached_property
    def _weights(self) -> Floats:
        """(columns, features): the calibrated weight of each standardised column, in the place of its feature.

        A feature has no column when it was constant, and a second one when values of it were missing.
        """
        names = self.about.feature_names
        columns = self._standardise.get_feature_names_out(np.array(names, dtype=object))
        weights = np.zeros((len(columns), len(names)))
        for column, (name, weight) in enumerate(zip(columns, self.pipeline[-1].coef_[0], strict=True)):
            weights[column, names.index(name.removeprefix("missingindicator_"))] = self.about.slope * weight
        return weights

    @cached_property
    def _base(self) -> float:
        return float(self.about.slope * self.pipeline[-1].intercept_[0] + self.about.intercept)


def rows_to_matrix(rows: Sequence[FeatureRow], feature_names: Sequence[str]) -> Floats:
    """(rows, features) in the order of `feature_names`; a value that is not known is NaN."""
    pick = itemgetter(*feature_names)
    picked = [pick(row) for row in rows]
    return np.array(picked, dtype=np.float64).reshape(len(rows), len(feature_names))


def score(model: RiskModel, rows: Sequence[FeatureRow]) -> Scores:
    """The risk of each row and what each feature adds to it, in log-odds."""
    return score_matrix(model, rows_to_matrix(rows, model.about.feature_names))


def score_matrix(model: RiskModel, matrix: Floats) -> Scores:
    """As `score`, for a matrix with the columns `feature_names`."""
    if not len(matrix):
        return Scores(np.zeros(0), model._base, np.zeros(matrix.shape))
    contributions = model._standardise.transform(matrix) @ model._weights
    return Scores(sigmoid(model._base + contributions.sum(axis=1)), model._base, contributions)


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
        packed = skops.io.dumps(model.pipeline, compression=zipfile.ZIP_DEFLATED)
        (whole / _PIPELINE).write_bytes(packed)
        kept = _Kept(model.model_version, hashlib.sha256(packed).hexdigest(), model.about)
        (whole / _ABOUT).write_bytes(msgspec.json.format(_encode(kept)) + b"\n")
        whole.rename(target)
    return target


def go_live(directory: Path, version: str) -> None:
    """Name the version that scorers use from now on; they see the old name or the new one, never half of it."""
    load(directory, version)
    fresh = directory / f".{LIVE}-{os.getpid()}"
    fresh.write_text(f"{version}\n", encoding="utf-8")
    fresh.replace(directory / LIVE)


def live_version(directory: Path) -> str:
    """The version that is live. Raises `ModelMissing` when there is none."""
    try:
        return (directory / LIVE).read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        why = error.strerror or "cannot be read"
        raise ModelMissing(f"no live model, {directory / LIVE}: {why}; train with `python -m training`") from None


def load(directory: Path, version: str | None = None) -> RiskModel:
    """The model of this version, or the live one. Raises the errors of this module."""
    version = live_version(directory) if version is None else version
    place = directory / version
    if not version.isalnum() or not place.is_dir():
        raise ModelMissing(f"no model {version!r} in {directory}: train one with `python -m training`")
    kept = _read_about(place / _ABOUT)
    _require_fit(kept.about, place)
    model = RiskModel(_read_pipeline(place / _PIPELINE, kept.pipeline_sha256), kept.about)
    if not version == kept.model_version == model.model_version:
        raise ModelDamaged(f"{place / _ABOUT}: says something else than training wrote; train again")
    return model


def _read_about(path: Path) -> _Kept:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelDamaged(f"{path}: {error}; train again with `python -m training`") from error


def _require_fit(about: About, place: Path) -> None:
    if about.fold_version != STATE_VERSION:
        raise ModelMismatch(
            f"{place} was trained with fold version {about.fold_version}, this program has {STATE_VERSION}: train again"
        )
    if about.feature_names != MODEL_FEATURES:
        differing = sorted(set(about.feature_names) ^ set(MODEL_FEATURES)) or ["their order"]
        raise ModelMismatch(f"{place} was trained on other features, differing in {', '.join(differing)}: train again")


def _read_pipeline(path: Path, sha256: str) -> Pipeline:
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise ModelDamaged(f"{path}: {error}; train again with `python -m training`") from error
    if hashlib.sha256(packed).hexdigest() != sha256:
        raise ModelDamaged(f"{path}: its sha256 is not the one in {_ABOUT}; train again with `python -m training`")
    try:
        pipeline = skops.io.loads(packed, trusted=_TRUSTED)
    except UntrustedTypesFoundException as error:
        raise ModelDamaged(f"{path}: holds more than a scikit-learn pipeline ({error}); do not use it") from error
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelDamaged(f"{path}: {error}; train again with `python -m training`") from error
    if not isinstance(pipeline, Pipeline):
        raise ModelDamaged(f"{path}: holds a {type(pipeline).__name__}, not a pipeline; do not use it")
    return pipeline


def _encode(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value, order="sorted")
