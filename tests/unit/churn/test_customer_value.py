"""Predicted customer value: right in total, and its top are the top."""

import numpy as np
import pytest

from churn.customer_value import ValueModel, fit_value, predict_value
from churn.purchase_process import Process, Spend

PROCESS = Process(1.2, 60.0, 0.6, 2.5)
SPEND = Spend(6.0, 4.0, 25.0)
SEEN_DAYS, NEXT_DAYS = 500.0, 365.0


def shop(customers: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 4) what was seen of customers over 500 days, and what each spent in the 365 after."""
    chance = np.random.default_rng(seed)
    rates = chance.gamma(PROCESS.r, 1 / PROCESS.alpha, customers)
    stops = chance.beta(PROCESS.a, PROCESS.b, customers)
    scales = 1 / chance.gamma(SPEND.q, 1 / SPEND.gamma, customers)
    rows, later = [], []
    for rate, stop, scale in zip(rates, stops, scales, strict=True):
        at, orders = 0.0, []
        while chance.random() > stop and (at := at + chance.exponential(1 / rate)) < SEEN_DAYS + NEXT_DAYS:
            orders.append((at, chance.gamma(SPEND.p, scale)))
        seen = [(when, value) for when, value in orders if when <= SEEN_DAYS]
        last = seen[-1][0] if seen else 0.0
        mean = float(np.mean([value for _, value in seen])) if seen else np.nan
        rows.append((len(seen), last, SEEN_DAYS, mean))
        later.append(sum(value for when, value in orders if when > SEEN_DAYS))
    return np.array(rows), np.array(later)


@pytest.fixture(scope="module")
def history() -> tuple[np.ndarray, np.ndarray]:
    return shop(4_000, 7)


@pytest.fixture(scope="module")
def fitted(history: tuple[np.ndarray, np.ndarray]) -> ValueModel:
    found = fit_value(history[0])
    assert found is not None
    return found


def test_the_predicted_total_is_what_customers_spend_in_the_next_year(
    history: tuple[np.ndarray, np.ndarray], fitted: ValueModel
) -> None:
    rows, later = history
    assert predict_value(fitted, rows).sum() == pytest.approx(later.sum(), rel=0.1)


def test_one_in_twenty_is_of_top_value_and_they_spend_most(
    history: tuple[np.ndarray, np.ndarray], fitted: ValueModel
) -> None:
    rows, later = history
    is_top = predict_value(fitted, rows) >= fitted.top_from
    assert is_top.mean() == pytest.approx(0.05, abs=0.002)
    assert later[is_top].mean() > 3 * later.mean()


def test_a_customer_is_worth_the_same_alone_and_among_others(
    history: tuple[np.ndarray, np.ndarray], fitted: ValueModel
) -> None:
    rows = history[0][:50]
    assert [predict_value(fitted, row[None, :])[0] for row in rows] == pytest.approx(predict_value(fitted, rows))


def test_without_a_second_order_there_is_nothing_to_predict_by() -> None:
    assert fit_value(np.array([[0.0, 0.0, 100.0, np.nan]] * 20)) is None
