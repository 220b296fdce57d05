"""What lies in the directory of models: candidates with their report and verdict, the live one, and those before it."""

from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from churn.model import ModelError, RiskModel, go_live, load, save, score_matrix, versions
from training import gate, report
from training.dataset import Samples
from training.gate import CANDIDATE, LIVE, RECENCY, Verdict
from training.train import Trained

VERDICT: Final = "verdict.json"
METRICS: Final = "metrics.json"
REPORT: Final = "report.html"
CARD: Final = "card.md"


def keep(trained: Trained, directory: Path) -> Verdict:
    """Save the model with its report, and put it live when the gate is open; it stays aside with the reason if not."""
    verdict = judge(trained, directory)
    place = save(trained.model, directory)
    (place / METRICS).write_bytes(_readable(trained.model.about.metrics))
    (place / VERDICT).write_bytes(_readable(verdict._asdict()))
    (place / REPORT).write_text(report.html(trained, verdict), encoding="utf-8")
    (place / CARD).write_text(report.card(trained, verdict), encoding="utf-8")
    if verdict.is_open:
        go_live(directory, trained.model.model_version)
    return verdict


def judge(trained: Trained, directory: Path) -> Verdict:
    """The verdict on a candidate beside recency alone and the live model, where there is one that can still be used."""
    risks = dict(trained.to_judge)
    live = usable(directory)
    if live is not None and live.model_version != trained.model.model_version:
        risks[LIVE] = score_matrix(live, trained.test.matrix).risk
    return gate.judge(trained.test.labels, risks)


def usable(directory: Path, version: str | None = None) -> RiskModel | None:
    """The live model or this version; None where there is none, or one of another fold or damaged."""
    try:
        return load(directory, version)
    except ModelError:
        return None


class Kept(NamedTuple):
    """A kept model on the customers of a test; `has_seen` where it learned from outcomes of that time or later."""

    model: RiskModel
    risk: Any
    has_seen: bool


def kept_on(directory: Path, test: Samples) -> list[Kept]:
    """Every model that can be used, with its risks for the test customers."""
    models = [usable(directory, version) for version in versions(directory)]
    return [
        Kept(model, score_matrix(model, test.matrix).risk, _has_seen(model, test))
        for model in models
        if model is not None
    ]


def _has_seen(model: RiskModel, test: Samples) -> bool:
    cut_offs = model.about.cut_offs
    learned = [moment for name in ("train", "calibrate") for moment in cut_offs.get(name, [])]
    horizon_ms = model.about.horizon_days * 86_400_000
    return any(moment.timestamp() * 1000 + horizon_ms > test.cut_offs_ms.min() for moment in learned)


def promote(directory: Path, version: str, test: Samples, recency: Any) -> Verdict:
    """Put a kept version live if the gate is open for it on these customers. Raises the errors of `churn.model`."""
    candidate = load(directory, version)
    risks = {CANDIDATE: score_matrix(candidate, test.matrix).risk, RECENCY: recency}
    live = usable(directory)
    if live is not None and live.model_version != version:
        risks[LIVE] = score_matrix(live, test.matrix).risk
    verdict = gate.judge(test.labels, risks)
    if verdict.is_open:
        go_live(directory, version)
    return verdict


def _readable(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value)) + b"\n"
