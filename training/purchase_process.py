"""The reference without features: P(no order in 90 days) of the MBG/NBD process, fitted to the same customers."""

import numpy as np

from churn.customer_value import LOOKS_AT, histories
from churn.model import HORIZON_DAYS, Floats
from churn.purchase_process import Histories, NotFitted, fit, p_none
from training.dataset import Samples


def no_order_risk(learn: Samples, asked: Samples) -> Floats:
    """(n,) the risk of the customers `asked`, by the process fitted to the latest moment of `learn`.

    Where the process cannot be fitted, everybody has the churn rate of `learn`.
    """
    latest = learn.where(learn.cut_offs_ms == learn.cut_offs_ms.max())
    try:
        return p_none(fit(_histories(latest)), _histories(asked), HORIZON_DAYS)
    except NotFitted:
        return np.full(len(asked.labels), latest.labels.mean())


def _histories(samples: Samples) -> Histories:
    return histories(samples.columns(LOOKS_AT))[0]
