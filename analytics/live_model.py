"""The live churn model and everybody's risk at the moment of the analysis, for the sections that ask it."""

from typing import NamedTuple

import numpy as np

from analytics import samples
from analytics.big_spenders import buyers
from analytics.finding import CannotAnswer
from analytics.samples import Samples
from analytics.shop import Shop
from churn.model import Floats, ModelError, RiskModel, load, risk_matrix


class Asked(NamedTuple):
    """A model, the buyers of the last year as they are now, and (n,) their risks."""

    model: RiskModel
    now: Samples
    risk: Floats


def live(shop: Shop) -> RiskModel:
    """The live model. Raises `CannotAnswer` where there is none."""
    if shop.models is None:
        raise CannotAnswer("no directory of models is named (MODEL_DIR or --models)")
    try:
        return load(shop.models)
    except ModelError as error:
        raise CannotAnswer(str(error)) from error


def ask(shop: Shop) -> Asked:
    """Everybody's risk now. Raises `CannotAnswer` without a model or a buyer."""
    model = live(shop)
    now = buyers(samples.now(shop.features, shop.as_of))
    if not len(now.customer_ids):
        raise CannotAnswer("nobody has a net order in the last year")
    return Asked(model, now, np.asarray(risk_matrix(model, now.matrix)))
