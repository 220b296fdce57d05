"""The gate: whether a candidate may go live, judged on later customers beside the recency rule and the live model."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from churn.evaluate import Labels, Replicates, bootstrap, interval, metrics
from churn.model import Floats

CANDIDATE: Final = "candidate"
RECENCY: Final = "recency alone"
LIVE: Final = "live model"
_SEED: Final = 11


class Difference(NamedTuple):
    """Candidate less the other, on the same customers, with the 95 % interval of paired bootstrap draws.

    Of both numbers more is better: PR-AUC, and Brier score with its sign turned.
    """

    other: str
    pr_auc: float
    pr_auc_interval: tuple[float, float]
    less_brier: float
    less_brier_interval: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.pr_auc_interval
        brier_low, brier_high = self.less_brier_interval
        return (
            f"against {self.other}: PR-AUC {self.pr_auc:+.4f} ({low:+.4f} to {high:+.4f}), "
            f"Brier {-self.less_brier:+.4f} ({-brier_high:+.4f} to {-brier_low:+.4f})"
        )


class Verdict(NamedTuple):
    """`reasons` against going live, none when the gate is open; `differences` say what it rests on."""

    reasons: tuple[str, ...]
    differences: tuple[Difference, ...]

    @property
    def is_open(self) -> bool:
        """Whether the candidate may go live."""
        return not self.reasons


def judge(labels: Labels, risks: Mapping[str, Floats], *, seed: int = _SEED) -> Verdict:
    """Judge `risks["candidate"]` against "recency alone" and, where there is one, "live model", all (n,) on `labels`.

    It must tell churners apart beyond chance; be better than recency alone in PR-AUC or Brier score beyond chance; and
    be worse in neither of them beyond chance, than recency alone and than the live model.
    """
    draws = bootstrap(labels, risks, seed=seed)
    points = {name: metrics(labels, risk) for name, risk in risks.items()}
    reasons = []
    base_rate, low = points[CANDIDATE]["base_rate"], interval(draws[CANDIDATE]["pr_auc"])[0]
    if low <= base_rate:
        reasons.append(f"it does not tell churners apart: PR-AUC from {low:.3f}, the churn rate is {base_rate:.3f}")
    differences = [_difference(name, points, draws) for name in risks if name != CANDIDATE]
    for each in differences:
        reasons += _against_live(each) if each.other == LIVE else _against_recency(each)
    return Verdict(tuple(reasons), tuple(differences))


def _difference(other: str, points: Mapping[str, Mapping[str, float]], draws: Mapping[str, Replicates]) -> Difference:
    return Difference(
        other,
        points[CANDIDATE]["pr_auc"] - points[other]["pr_auc"],
        interval(draws[CANDIDATE]["pr_auc"] - draws[other]["pr_auc"]),
        points[other]["brier"] - points[CANDIDATE]["brier"],
        interval(draws[other]["brier"] - draws[CANDIDATE]["brier"]),
    )


def _against_recency(found: Difference) -> list[str]:
    is_better = found.pr_auc_interval[0] > 0 or found.less_brier_interval[0] > 0
    if is_better and not _is_worse(found):
        return []
    return [f"it does not beat the recency rule ({found})"]


def _against_live(found: Difference) -> list[str]:
    return [f"it is worse than the live model ({found})"] if _is_worse(found) else []


def _is_worse(found: Difference) -> bool:
    return found.pr_auc_interval[1] < 0 or found.less_brier_interval[1] < 0
