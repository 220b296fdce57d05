"""How good a model is on customers it has not seen, always beside the rule that looks at recency alone."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from churn.model import Floats

ECE_BINS = 10


def metrics(labels: NDArray[np.int8], risk: Floats) -> dict[str, float]:
    """Metrics of `risk` against `labels`, both (n,). Lift@10: churners among the riskiest 10 % / base rate."""
    return {
        "n": len(labels),
        "base_rate": float(labels.mean()),
        "roc_auc": float(roc_auc_score(labels, risk)),
        "pr_auc": float(average_precision_score(labels, risk)),
        "lift_at_10": lift(labels, risk, 0.1),
        "brier": float(brier_score_loss(labels, risk)),
        "ece": expected_calibration_error(labels, risk),
    }


def lift(labels: NDArray[np.int8], risk: Floats, share: float) -> float:
    """Share of churners in the riskiest `share` of the customers / share of churners overall."""
    count = max(1, round(len(labels) * share))
    riskiest = np.argsort(-risk, kind="stable")[:count]
    return float(labels[riskiest].mean() / labels.mean())


def expected_calibration_error(labels: NDArray[np.int8], risk: Floats) -> float:
    """Mean distance between risk and outcome over ten bins of equal count."""
    bins = np.array_split(np.argsort(risk, kind="stable"), ECE_BINS)
    distances = [len(bin_) * abs(risk[bin_].mean() - labels[bin_].mean()) for bin_ in bins if len(bin_)]
    return float(sum(distances) / len(labels))


def reason_against(model: dict[str, float], recency_alone: dict[str, float]) -> str | None:
    """Why the model should not go live; None when nothing speaks against it."""
    if model["roc_auc"] < recency_alone["roc_auc"]:
        return f"its ROC-AUC {model['roc_auc']:.3f} is below {recency_alone['roc_auc']:.3f} of recency alone"
    return None
