"""How often customers come and when they stop: MBG/NBD process, its marks and Gamma-Gamma spend, in closed form.

A customer comes at a constant rate, Gamma(r, rate alpha) over customers, and stops for good with a chance of their own,
Beta(a, b), at time zero and after each later event. Arrays are over customers; time has any unit, the same everywhere.

Sources: Batislam, Denizel, Filiztekin (2007), "Empirical validation and comparison of models for customer base
analysis", IJRM 24 (MBG/NBD); Fader, Hardie, Lee (2005), "Counting your customers the easy way", Marketing Science 24
(the conditional expectation); Fader, Hardie (2013), "The Gamma-Gamma model of monetary value" (spend).
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import betaln, gammaln

Floats = NDArray[np.float64]

NODES: Final = 32  # against the closed forms the error is below 1e-8 (tests/unit/churn/test_purchase_process.py)
_LOG_BOUNDS: Final = (-8.0, 12.0)
_ROWS_AT_ONCE: Final = 2_000


class NotFitted(ValueError):
    """The histories do not tell the parameters."""


class Process(NamedTuple):
    """Rates are Gamma(r, rate alpha) with mean r / alpha per unit of time, chances to stop are Beta(a, b)."""

    r: float
    alpha: float
    a: float
    b: float


class Histories(NamedTuple):
    """What was seen of each customer: events after the first one, age at the last of them (0: none), age now."""

    counts: Floats
    lasts: Floats
    ages: Floats

    @classmethod
    def of(cls, counts: ArrayLike, lasts: ArrayLike, ages: ArrayLike) -> "Histories":
        """From anything like arrays; raises `ValueError` unless 0 <= lasts <= ages and counts of 0 have lasts of 0."""
        seen = cls(*(np.asarray(each, dtype=np.float64) for each in (counts, lasts, ages)))
        if np.any(
            (seen.lasts < 0) | (seen.lasts > seen.ages) | (seen.counts < 0) | ((seen.counts == 0) & (seen.lasts > 0))
        ):
            raise ValueError("histories: 0 <= lasts <= ages, and lasts is 0 where counts is 0")
        return seen


class Conversion(NamedTuple):
    """Each event is of some kind (an order, say) with a chance of the customer's own, Beta(c, d)."""

    c: float
    d: float


class Spend(NamedTuple):
    """Values are Gamma(p, rate of the customer's own), which is Gamma(q, rate gamma): mean p gamma / (q - 1)."""

    p: float
    q: float
    gamma: float

    @property
    def mean(self) -> float:
        """Of a value, over customers; needs q > 1."""
        return self.p * self.gamma / (self.q - 1)


# --- MBG/NBD ----------------------------------------------------------------------------------------------------------


def log_likelihood(process: Process, seen: Histories) -> Floats:
    """Of each customer's history: alive ones and ones that stopped after their last event, Batislam et al. (2007)."""
    r, alpha, a, b = process
    x = seen.counts
    alive = betaln(a, b + x + 1) - betaln(a, b) + gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    alive -= (r + x) * np.log(alpha + seen.ages)
    return np.asarray(alive + np.logaddexp(0.0, _log_odds_dead(process, seen)))


def p_alive(process: Process, seen: Histories) -> Floats:
    """1 / (1 + a/(b+x) ((alpha+T)/(alpha+t_x))^(r+x))."""
    return np.asarray(1 / (1 + np.exp(_log_odds_dead(process, seen))))


def _log_odds_dead(process: Process, seen: Histories) -> Floats:
    r, alpha, a, b = process
    ages = np.log(alpha + seen.ages) - np.log(alpha + seen.lasts)
    # Beyond e^700 the odds are no number any more; nobody is alive there anyhow.
    return np.asarray(np.minimum(np.log(a / (b + seen.counts)) + (r + seen.counts) * ages, 700.0))


def fit(seen: Histories) -> Process:
    """Maximum likelihood. Raises `NotFitted` when there is nobody who came again or the search finds no end."""
    if not np.any(seen.counts > 0):
        raise NotFitted("nobody came a second time, so there is no rate to fit")
    unit = float(seen.ages.mean())
    scaled = Histories(seen.counts, seen.lasts / unit, seen.ages / unit)

    def loss(logs: Floats) -> float:
        return -float(log_likelihood(Process(*np.exp(logs)), scaled).mean())

    r, alpha, a, b = _minimum(loss, [1.0, 1.0, 0.5, 2.0])
    return Process(r, alpha * unit, a, b)


def expected(process: Process, ages: ArrayLike) -> Floats:
    """Expected events after the first one by each age, of customers of whom nothing else is known."""
    r, alpha, a, b = process
    times = np.atleast_1d(np.asarray(ages, dtype=np.float64))
    nodes, weights = _beta_nodes(np.array([a]), np.array([b]))
    p = nodes[0]
    each = (1 - p) * -np.expm1(-r * np.log1p(p * times[:, None] / alpha)) / p
    return np.asarray(each @ weights[0])


def expected_more(process: Process, seen: Histories, horizon: ArrayLike) -> Floats:
    """Expected events within `horizon` from now on, given the history.

    E[1/p (1 - ((alpha+T)/(alpha+T+p h))^(r+x))] over p ~ Beta(a, b+x+1), times P(alive): Fader, Hardie, Lee (2005) with
    the coin at time zero; the Gauss-Jacobi sum in place of its 2F1 holds for a <= 1, too.
    """

    def more(rows: slice, p: Floats) -> Floats:
        shape = (process.r + seen.counts[rows])[:, None]
        growth = p * _wide(horizon, seen)[rows] / (process.alpha + seen.ages[rows])[:, None]
        return np.asarray(-np.expm1(-shape * np.log1p(growth)) / p)

    return p_alive(process, seen) * _mean_over_beta(more, process.a, process.b + seen.counts + 1)


def p_none(process: Process, seen: Histories, horizon: ArrayLike) -> Floats:
    """P(no event within `horizon` from now on | history): who is alive comes next at their rate."""
    shape = process.r + seen.counts
    longer = np.log1p(np.asarray(horizon, dtype=np.float64) / (process.alpha + seen.ages))
    return np.asarray(1 - p_alive(process, seen) * -np.expm1(-shape * longer))


def p_none_marked(
    process: Process,
    conversion: Conversion,
    seen: Histories,
    marked: ArrayLike,
    horizon: ArrayLike,
    *,
    kept: float = 1.0,
) -> Floats:
    """P(no marked event within `horizon` from now on | history), where all events are seen and some are marked.

    `marked` counts the marked ones among all events of a customer, the first one included; a mark is kept with chance
    `kept`. Given rate l, chance to stop p and of a kept mark m, the next kept mark competes with stopping at an event
    without one: with q = m + (1-m) p it comes within h with chance m/q (1 - exp(-l q h)). The mean over l is closed,
    over p ~ Beta(a, b+x+1) and m ~ kept Beta(c+marked, d+x+1-marked) it is a Gauss-Jacobi sum.
    """
    marks = np.asarray(marked, dtype=np.float64)
    chances, chance_weights = _beta_nodes(conversion.c + marks, conversion.d + seen.counts + 1 - marks, NODES // 2)

    def some(rows: slice, p: Floats) -> Floats:
        m = kept * chances[rows][:, None, :]
        q = m + (1 - m) * p[:, :, None]
        shape = (process.r + seen.counts[rows])[:, None, None]
        growth = q * (_wide(horizon, seen)[rows] / (process.alpha + seen.ages[rows])[:, None])[:, :, None]
        comes = m / q * -np.expm1(-shape * np.log1p(growth))
        return np.asarray(np.einsum("ipm,im->ip", comes, chance_weights[rows]))

    comes = _mean_over_beta(some, process.a, process.b + seen.counts + 1, NODES // 2)
    return 1 - p_alive(process, seen) * comes


# --- Gamma-Gamma ------------------------------------------------------------------------------------------------------


def fit_spend(counts: ArrayLike, means: ArrayLike) -> Spend:
    """Maximum likelihood from each customer's number of values (>= 1) and their mean (> 0): Fader, Hardie (2013), (1a).

    Raises `NotFitted` without a customer.
    """
    x, m = np.asarray(counts, dtype=np.float64), np.asarray(means, dtype=np.float64)
    chosen = (x >= 1) & (m > 0)
    if not chosen.any():
        raise NotFitted("no value is above 0, so there is no spend to fit")
    x, m = x[chosen], m[chosen]
    unit = float(m.mean())
    m = m / unit

    def loss(logs: Floats) -> float:
        p, q, gamma = np.exp(logs)
        each = gammaln(p * x + q) - gammaln(p * x) - gammaln(q) + q * np.log(gamma) + (p * x - 1) * np.log(m)
        return -float((each + p * x * np.log(x) - (p * x + q) * np.log(gamma + m * x)).mean())

    p, q, gamma = _minimum(loss, [2.0, 3.0, 1.0])
    return Spend(p, q, gamma * unit)


def expected_spend(spend: Spend, counts: ArrayLike, means: ArrayLike) -> Floats:
    """Expected value of a next event: p (gamma + x m) / (p x + q - 1); for nobody's history the mean of all."""
    x, m = np.asarray(counts, dtype=np.float64), np.asarray(means, dtype=np.float64)
    return np.asarray(spend.p * (spend.gamma + x * np.where(x > 0, m, 0.0)) / (spend.p * x + spend.q - 1))


# --- numerics ---------------------------------------------------------------------------------------------------------


def _minimum(loss: Callable[[Floats], float], start: list[float]) -> list[float]:
    bounds = [_LOG_BOUNDS] * len(start)
    found = minimize(loss, np.log(start), method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    if not np.isfinite(found.fun):
        raise NotFitted(f"the likelihood has no maximum: {found.message}")
    return [float(value) for value in np.exp(found.x)]


def _wide(values: ArrayLike, seen: Histories) -> Floats:
    return np.broadcast_to(np.asarray(values, dtype=np.float64), seen.ages.shape)[:, None]


def _mean_over_beta(function: Callable[[slice, Floats], Floats], a: float, b: Floats, count: int = NODES) -> Floats:
    """Mean of `function` over p ~ Beta(a, b) for each customer, some thousand customers at a time."""
    nodes, weights = _beta_nodes(np.full_like(b, a), b, count)
    means = np.empty_like(b)
    for first in range(0, len(b), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        means[rows] = np.einsum("ip,ip->i", function(rows, nodes[rows]), weights[rows])
    return means


def _beta_nodes(a: Floats, b: Floats, count: int = NODES) -> tuple[Floats, Floats]:
    """Gauss-Jacobi nodes in (0, 1) and weights (sum 1) of Beta(a, b), a row per pair; Golub, Welsch (1969)."""
    pairs, place = np.unique(np.column_stack([a, b]), axis=0, return_inverse=True)
    left, right = pairs[:, :1] - 1, pairs[:, 1:] - 1  # exponents at 0 and 1
    total, k = left + right, np.arange(1, count)
    matrix = np.zeros((len(pairs), count, count))
    step = np.arange(count)
    matrix[:, 0, 0] = ((left - right) / (total + 2))[:, 0]
    twice = 2 * k + total
    matrix[:, step[1:], step[1:]] = (left**2 - right**2) / (twice * (twice + 2))
    # At k = 1 the factor (k + total) / (2k + total - 1) is 1, and 0 / 0 for total = -1.
    ratio = np.where(k == 1, 1.0, (k + total) / np.where(k == 1, 1.0, twice - 1))
    beside = 2 / twice * np.sqrt(k * (k + left) * (k + right) * ratio / (twice + 1))
    matrix[:, step[1:], step[:-1]] = beside
    values, vectors = np.linalg.eigh(matrix)
    nodes, weights = np.clip((values + 1) / 2, 1e-15, 1.0), vectors[:, 0, :] ** 2
    return nodes[place.ravel()], weights[place.ravel()]
