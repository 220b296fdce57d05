"""What the scorer's tests score with: small models of random customers, the shipped actions, and two customers."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from churn.actions import ACTIONS_FILE, Actions, read_actions
from churn.events import Event
from churn.features import MODEL_FEATURES, replay
from churn.model import About, Population, RiskModel
from churn.segments import CutPoints
from churn.state import STATE_VERSION, State
from training.dataset import Samples
from training.fit import fit

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CUTS = CutPoints("2026-03-01", (10.0, 20.0, 30.0, 40.0), (1.0, 2.0, 3.0, 4.0), (10.0, 20.0, 30.0, 40.0))


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def model() -> RiskModel:
    """A model for which long recency means churn."""
    return new_model(1, Population(1000, 400.0))


@pytest.fixture(scope="session")
def small_model() -> RiskModel:
    """A model that has seen fewer customers than it was asked to."""
    return new_model(1, Population(499, 400.0))


@pytest.fixture(scope="session")
def other_model() -> RiskModel:
    """A model of another day."""
    return new_model(2, Population(1200, 430.0))


def new_model(seed: int, population: Population) -> RiskModel:
    chance = np.random.default_rng(seed)
    matrix = chance.lognormal(2, 1.5, (300, len(MODEL_FEATURES)))
    labels = (matrix[:, 0] * chance.lognormal(0, 1, 300) > np.e**2).astype(np.int8)
    ids = np.array([f"c{number}" for number in range(300)])
    fitted = fit(Samples(ids, np.zeros(300, dtype=np.int64), matrix, labels), None)
    about = About(
        feature_names=MODEL_FEATURES,
        fold_version=STATE_VERSION,
        horizon_days=90,
        slope=fitted.slope,
        intercept=fitted.intercept,
        cut_offs={},
        data_sha256=str(seed),
        libraries={},
        metrics={},
        rfm=CUTS,
        population=population,
    )
    return RiskModel(fitted.pipeline, about)


@pytest.fixture(scope="session")
def actions() -> Actions:
    return read_actions(ACTIONS_FILE)


@pytest.fixture(scope="session")
def buyer() -> State:
    """Two orders, 63 and a half and 200 days ago, of 50.00 each."""
    bought = [NOW - timedelta(days=200), NOW - timedelta(days=63.5)]
    return replay(Event(f"{at:%d%m}", "purchase", at, "buyer", price=50.0) for at in bought)


@pytest.fixture(scope="session")
def visitor() -> State:
    """One visit and no order."""
    return replay([Event("v", "view", NOW - timedelta(days=3), "visitor", product_id="p")])
