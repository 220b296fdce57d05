"""The reference without features: P(no order in 90 days) of the MBG/NBD purchase process, fitted to the same customers.

Batislam, Denizel & Filiztekin (2007): while active a customer orders at a rate from Gamma(r, alpha), and after each
order leaves for good with a chance from Beta(a, b).
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, gammaln

from churn.model import HORIZON_DAYS, Floats
from training.dataset import Samples


class Process(NamedTuple):
    """The parameters of everybody; rates per day."""

    r: float
    alpha: float
    a: float
    b: float


def no_order_risk(learn: Samples, matrix: Samples) -> Floats:
    """(n,) P(no order in 90 days) of the customers `matrix`, by the process fitted to the latest moment of `learn`."""
    latest = learn.where(learn.cut_offs_ms == learn.cut_offs_ms.max())
    return p_no_order(fit(*_counts(latest)), *_counts(matrix), HORIZON_DAYS)


def _counts(samples: Samples) -> tuple[Floats, Floats, Floats]:
    """x, t_x and T: repeat days, age at the latest order, age, in days."""
    x, t_x, age = samples.columns(("repeat_purchase_days", "last_purchase_age_days", "age_days")).T
    return x, np.nan_to_num(t_x), np.maximum(np.nan_to_num(age), np.nan_to_num(t_x))


def fit(x: Floats, t_x: Floats, age: Floats) -> Process:
    """The parameters of the highest likelihood."""

    def loss(logs: Floats) -> float:
        return -log_likelihood(Process(*np.exp(logs)), x, t_x, age) / len(x)

    start = np.log([0.5, max(1.0, float(age.mean())), 1.0, 2.0])
    found = minimize(loss, start, method="L-BFGS-B", bounds=[(-8.0, 10.0)] * 4)
    return Process(*(float(value) for value in np.exp(found.x)))


def log_likelihood(process: Process, x: Floats, t_x: Floats, age: Floats) -> float:
    """The sum over customers."""
    r, alpha, a, b = process
    shared = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
    active = betaln(a, b + x + 1) - (r + x) * np.log(alpha + age)
    gone = betaln(a + 1, b + x) - (r + x) * np.log(alpha + t_x)
    return float(np.sum(shared + np.logaddexp(active, gone)))


def p_no_order(process: Process, x: Floats, t_x: Floats, age: Floats, days: float) -> Floats:
    """(n,) the chance of no order within `days`: gone already, or active and waiting longer."""
    r, alpha, a, b = process
    alive = 1 / (1 + a / (b + x) * ((alpha + age) / (alpha + t_x)) ** (r + x))
    waits = ((alpha + age) / (alpha + age + days)) ** (r + x)
    return np.asarray(1 - alive + alive * waits, dtype=np.float64)
