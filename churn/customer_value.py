"""Predicted customer value: the expected net value of the next 365 days, MBG/NBD orders times Gamma-Gamma spend.

Training fits it beside the churn model and keeps its few numbers with it; the scorer puts the value on every card.
"""

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from churn.purchase_process import Histories, NotFitted, Process, Spend, expected_more, expected_spend, fit, fit_spend

NEXT_DAYS: Final = 365
TOP_SHARE: Final = 0.05
# x, t_x, T and m, in days and major units.
LOOKS_AT: Final = ("repeat_purchase_days", "last_purchase_age_days", "age_days", "repeat_value_mean")

Floats = NDArray[np.float64]


class ValueModel(msgspec.Struct, frozen=True):
    """The fitted processes; from a predicted value of `top_from` on a customer is among the top 5 %."""

    process: Process
    spend: Spend
    top_from: float


def fit_value(columns: Floats) -> ValueModel | None:
    """The model of customers with an order; `columns` (n, 4) in the order of `LOOKS_AT`, NaN where there is no value.

    None where nobody came a second time, or the mean spend does not exist (q <= 1).
    """
    seen, means = histories(columns)
    try:
        process, spend = fit(seen), fit_spend(seen.counts, means)
    except NotFitted:
        return None
    if spend.q <= 1:
        return None
    predicted = predict_value(ValueModel(process, spend, 0.0), columns)
    return ValueModel(process, spend, float(np.quantile(predicted, 1 - TOP_SHARE)))


def predict_value(model: ValueModel, columns: Floats) -> Floats:
    """(n,) expected net value of the next 365 days, in major units; `columns` as in `fit_value`."""
    if not len(columns):
        return np.zeros(0)
    seen, means = histories(columns)
    orders = expected_more(model.process, seen, NEXT_DAYS)
    return np.asarray(orders * expected_spend(model.spend, seen.counts, means))


def histories(columns: Floats) -> tuple[Histories, Floats]:
    """Repeat buying, in days, and (n,) mean spend, in major units, of `columns` (n, 4) in the order of `LOOKS_AT`."""
    counts, lasts, ages, means = np.nan_to_num(columns).T
    lasts = np.where(counts > 0, lasts, 0.0)
    # An order of which everything was refunded in value but not in name may leave a mean of nothing or less.
    return Histories.of(counts, lasts, np.maximum(ages, lasts)), np.maximum(means, 0.0)
