"""BG/NBD on CDNOW gives the published parameters and holdout, and its sums what simulated customers do."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from analytics import bg_nbd
from churn.purchase_process import Histories, NotFitted, Process

HOLDOUT_WEEKS = 39.0


@pytest.mark.real_data
def test_cdnow_gives_the_published_parameters_and_holdout(real_data: Path) -> None:
    with (real_data / "cdnow_customers_summary.csv").open() as file:
        rows = [(float(row["frequency"]), float(row["recency"]), float(row["T"])) for row in csv.DictReader(file)]
    said = json.loads((real_data / "facts.json").read_text())["cdnow_sample"]["lifetimes"]
    seen = Histories.of(*np.array(rows).T)
    found = bg_nbd.fit(seen)
    assert found == pytest.approx([said[name] for name in ("r", "alpha", "a", "b")], abs=0.002)
    assert bg_nbd.log_likelihood(found, seen).sum() == pytest.approx(said["ll"], abs=0.01)
    total = bg_nbd.expected_more(found, seen, HOLDOUT_WEEKS).sum()
    assert total == pytest.approx(said["expected_repeat_total_39w_holdout"], rel=0.01)


def test_simulated_customers_come_as_often_as_expected() -> None:
    process, rng, count, age, later = Process(0.8, 10.0, 1.3, 4.0), np.random.default_rng(3), 6_000, 60.0, 40.0
    rates = rng.gamma(process.r, 1 / process.alpha, count)
    lives = rng.geometric(rng.beta(process.a, process.b, count))  # events until the customer stops, never before one
    times = [
        np.sort(rng.uniform(0, age + later, rng.poisson(rate * (age + later))))[:most]
        for rate, most in zip(rates, lives, strict=True)
    ]
    before = [each[each <= age] for each in times]
    seen = Histories.of(
        [len(each) for each in before], [each[-1] if len(each) else 0.0 for each in before], np.full(count, age)
    )
    came = np.array([len(each) for each in times]) - seen.counts
    assert bg_nbd.expected_more(process, seen, later).sum() == pytest.approx(came.sum(), rel=0.08)
    fitted = bg_nbd.fit(seen)
    assert fitted.r / fitted.alpha == pytest.approx(process.r / process.alpha, rel=0.1)


def test_nothing_is_fitted_where_nobody_came_back() -> None:
    with pytest.raises(NotFitted):
        bg_nbd.fit(Histories.of([0, 0], [0, 0], [10, 20]))
