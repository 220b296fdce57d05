"""Training on a simulated shop beside what an observer who knows the population could know at best."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from churn import history, truth
from churn.evaluate import expected_calibration_error, lift
from stack.workers import PROJECT
from training.train import Least, Trained, train

SIZE = ["--num_customers", "9000", "--num_events", "300000", "--days", "450", "--seed", "3"]
UNTIL = ["--until", "2026-01-01T00:00:00Z"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated history with its truth."""
    directory = tmp_path_factory.mktemp("shop") / "history"
    command = [sys.executable, "-m", "producer", "simulate", *SIZE, *UNTIL, "--output", str(directory)]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    return directory


@pytest.fixture(scope="module")
def trained(shop: Path) -> Trained:
    return train(history.read(shop), Least(500, 180), processes=2)


def test_the_model_comes_near_what_can_be_known_and_never_beats_it(shop: Path, trained: Trained) -> None:
    (moment,) = trained.model.about.cut_offs["test"]
    oracle = truth.read(shop).oracle(moment)
    knows = dict(zip(oracle.customer_ids.tolist(), oracle.p_no_order.tolist(), strict=True))
    best = np.array([knows[name] for name in trained.test.customer_ids.tolist()])
    labels, risk = trained.test.labels, trained.risks[trained.champion]
    assert len(labels) >= 5_000
    assert 0.9 <= average_precision_score(labels, risk) / average_precision_score(labels, best) <= 1.02
    assert 0.9 <= lift(labels, risk, 0.1) / lift(labels, best, 0.1) <= 1.05
    assert expected_calibration_error(labels, risk) <= 0.03


def test_the_labels_are_those_of_the_truth(shop: Path, trained: Trained) -> None:
    (moment,) = trained.model.about.cut_offs["test"]
    oracle = truth.read(shop).oracle(moment, timedelta(days=90))
    ordered = dict(zip(oracle.customer_ids.tolist(), oracle.has_ordered.tolist(), strict=True))
    differing = sum(
        bool(label) == ordered[name]
        for name, label in zip(trained.test.customer_ids.tolist(), trained.test.labels.tolist(), strict=True)
    )
    assert differing <= 0.001 * len(trained.test.labels)
