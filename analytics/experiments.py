"""What an A/B test says: whether groups have the agreed sizes, how far their shares differ, and how many are needed.

Everybody counts in the group that they were assigned to, whatever reached them (intention to treat).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy.stats import chisquare, norm
from statsmodels.stats.contingency_tables import StratifiedTable
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_effectsize, proportions_ztest

SURE: Final = 0.001
ALPHA: Final = 0.05
POWER: Final = 0.8


class Arms(NamedTuple):
    """Customers and those of them who did what was hoped for, treated and not."""

    treated: int
    treated_did: int
    control: int
    control_did: int

    @property
    def shares(self) -> tuple[float, float]:
        """Of those who did, treated and control."""
        return self.treated_did / self.treated, self.control_did / self.control


class Ratio(NamedTuple):
    """The sample-ratio check: `p` is the chance of sizes at least so far from the agreed ones."""

    p: float
    treated_share: float
    agreed_share: float

    @property
    def is_broken(self) -> bool:
        """Whether the assignment went wrong; then nothing may be read from the groups."""
        return self.p < SURE


class Effect(NamedTuple):
    """Treated share less control share with its 95 % interval (Newcombe), and the p value (pooled z)."""

    difference: float
    low: float
    high: float
    p: float

    @property
    def is_found(self) -> bool:
        return self.p < ALPHA


def sample_ratio(arms: Arms, agreed_share: float) -> Ratio:
    """Chi-square test of the sizes against the agreed share of the treated."""
    total = arms.treated + arms.control
    wanted = (total * agreed_share, total * (1 - agreed_share))
    return Ratio(float(chisquare((arms.treated, arms.control), wanted).pvalue), arms.treated / total, agreed_share)


def effect(arms: Arms) -> Effect:
    """How far the shares of two groups differ; both groups need a customer."""
    did, sizes = (arms.treated_did, arms.control_did), (arms.treated, arms.control)
    low, high = confint_proportions_2indep(did[0], sizes[0], did[1], sizes[1], method="newcomb", compare="diff")
    treated, control = arms.shares
    # Where nobody or everybody did it there is no variance, and no difference either.
    p = 1.0 if sum(did) in (0, sum(sizes)) else float(proportions_ztest(did, sizes)[1])
    return Effect(treated - control, float(low), float(high), p)


def p_values(
    did: Sequence[Sequence[int]], sizes: Sequence[Sequence[int]]
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """The p value of `effect` for many tests at once; rows are tests, columns treated and control."""
    done, total = np.asarray(did, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    pooled = done.sum(axis=1) / total.sum(axis=1)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / total).sum(axis=1))
    difference = done[:, 0] / total[:, 0] - done[:, 1] / total[:, 1]
    z = np.divide(difference, spread, out=np.zeros_like(spread), where=spread > 0)
    return np.asarray(2 * norm.sf(np.abs(z)))


class Pooled(NamedTuple):
    """Odds of the treated / odds of the control over several tests (Mantel-Haenszel), 95 % interval and p value."""

    odds_ratio: float
    low: float
    high: float
    p: float


def pooled(tests: Sequence[Arms]) -> Pooled:
    """Several tests of one kind of action together, each compared within itself."""
    tables = [
        np.array(
            [[arms.treated_did, arms.treated - arms.treated_did], [arms.control_did, arms.control - arms.control_did]]
        )
        for arms in tests
    ]
    found = StratifiedTable(tables)
    low, high = found.oddsratio_pooled_confint(ALPHA)
    return Pooled(float(found.oddsratio_pooled), float(low), float(high), float(found.test_null_odds().pvalue))


def adjusted(p_values_of_tests: Sequence[float]) -> list[float]:
    """P values of several tests asked at once (Holm), so that one of many is not found by chance."""
    return [float(p) for p in multipletests(list(p_values_of_tests), method="holm")[1]]


def needed(control_share: float, difference: float, *, treated_share: float = 0.5) -> int | None:
    """Customers in both groups together to find such a difference in four of five tests; None where none would do."""
    if not (0 < control_share < 1 and 0 < control_share + difference < 1 and difference):
        return None
    size = proportion_effectsize(control_share + difference, control_share)
    ratio = (1 - treated_share) / treated_share
    treated = NormalIndPower().solve_power(abs(size), power=POWER, alpha=ALPHA, ratio=ratio)
    return int(np.ceil(treated)) + int(np.ceil(treated * ratio))


def detectable(control_share: float, arms: Arms) -> float | None:
    """The least difference that groups of these sizes find in four of five tests; None without a base rate."""
    if not 0 < control_share < 1:
        return None
    size = NormalIndPower().solve_power(
        None, nobs1=arms.treated, power=POWER, alpha=ALPHA, ratio=arms.control / arms.treated
    )
    # The inverse of Cohen's h.
    return float(np.sin(np.arcsin(np.sqrt(control_share)) + size / 2) ** 2 - control_share)
