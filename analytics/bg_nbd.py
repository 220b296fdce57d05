"""BG/NBD, the textbook sibling of the house's MBG/NBD: nobody stops before a first repeat, so it is checked against the
published numbers and shown beside.

Fader, Hardie, Lee (2005), "Counting your customers the easy way", Marketing Science 24(2), equations (6) and (10).
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, gammaln, hyp2f1

from churn.purchase_process import Floats, Histories, NotFitted, Process


def log_likelihood(process: Process, seen: Histories) -> Floats:
    """Of each customer's history."""
    r, alpha, a, b = process
    x = seen.counts
    come = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + betaln(a, b + x) - betaln(a, b)
    alive = -(r + x) * np.log(alpha + seen.ages)
    gone = np.log(a) - np.log(b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + seen.lasts)
    return np.asarray(come + np.where(x > 0, np.logaddexp(alive, gone), alive))


def fit(seen: Histories) -> Process:
    """Maximum likelihood. Raises `NotFitted` when nobody came again."""
    if not np.any(seen.counts > 0):
        raise NotFitted("nobody came a second time, so there is no rate to fit")
    unit = float(seen.ages.mean())
    scaled = Histories(seen.counts, seen.lasts / unit, seen.ages / unit)
    found = minimize(
        lambda logs: -float(log_likelihood(Process(*np.exp(logs)), scaled).mean()),
        np.log([0.5, 0.5, 0.5, 2.0]),
        method="L-BFGS-B",
        bounds=[(-8.0, 12.0)] * 4,
        options={"maxiter": 500, "ftol": 1e-14, "gtol": 1e-9},
    )
    r, alpha, a, b = (float(value) for value in np.exp(found.x))
    return Process(r, alpha * unit, a, b)


def expected_more(process: Process, seen: Histories, horizon: float) -> Floats:
    """Expected events within `horizon` from now on, given the history."""
    r, alpha, a, b = process
    x, age = seen.counts, seen.ages
    z = horizon / (alpha + age + horizon)
    rest = ((alpha + age) / (alpha + age + horizon)) ** (r + x) * hyp2f1(r + x, b + x, a + b + x - 1, z)
    odds_gone = np.where(x > 0, a / (b + np.maximum(x, 1) - 1) * ((alpha + age) / (alpha + seen.lasts)) ** (r + x), 0.0)
    return np.asarray((a + b + x - 1) / (a - 1) * (1 - rest) / (1 + odds_gone))
