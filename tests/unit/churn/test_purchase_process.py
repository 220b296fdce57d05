"""The purchase process: its sums equal the closed forms, its probabilities what simulated customers do."""

import numpy as np
import pytest
from scipy.special import hyp2f1
from scipy.stats import beta, gamma

from churn.purchase_process import (
    Conversion,
    Histories,
    NotFitted,
    Process,
    Spend,
    expected,
    expected_more,
    expected_spend,
    fit,
    fit_spend,
    log_likelihood,
    p_alive,
    p_none,
    p_none_marked,
)

PROCESS = Process(r=0.8, alpha=20.0, a=1.3, b=10.0)
CONVERSION = Conversion(1.6, 3.4)
HORIZON = 90.0
COUNT = 20_000
MIDDLES = (np.arange(1_000) + 0.5) / 1_000  # of the steps of a slow but obvious integral over quantiles


class Crowd:
    """Simulated customers of `PROCESS`: what was seen of them, and what came within `HORIZON` afterwards."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        rate = rng.gamma(PROCESS.r, 1 / PROCESS.alpha, COUNT)
        returns = rng.geometric(rng.beta(PROCESS.a, PROCESS.b, COUNT)) - 1
        ages = rng.uniform(0, 365, COUNT)
        times = [
            np.sort(rng.uniform(0, age, wanted)) for age, wanted in zip(ages, rng.poisson(rate * ages), strict=True)
        ]
        seen = [part[:most] for part, most in zip(times, returns, strict=True)]
        self.seen = Histories.of([len(each) for each in seen], [each[-1] if len(each) else 0.0 for each in seen], ages)
        self.is_alive = np.array([len(each) for each in times]) < returns
        left = returns - self.seen.counts
        self.later = np.where(self.is_alive, np.minimum(rng.poisson(rate * HORIZON), left), 0).astype(int)
        chance = rng.beta(*CONVERSION, COUNT)
        self.marked = rng.binomial(self.seen.counts.astype(int) + 1, chance)
        self.marked_later = rng.binomial(self.later, 0.9 * chance)


CROWD = Crowd(1)


def assert_calibrated(p: np.ndarray, happened: np.ndarray) -> None:
    """In every tenth of the predictions as many as predicted, within 4 standard errors."""
    for part in np.array_split(np.argsort(p), 10):
        error = np.sqrt((p[part] * (1 - p[part])).sum())
        assert abs(happened[part].sum() - p[part].sum()) < 4 * error


@pytest.mark.parametrize(("x", "last", "age"), [(0, 0.0, 50.0), (3, 40.0, 60.0)])
def test_the_likelihood_is_that_of_times_with_a_coin_after_each(x: int, last: float, age: float) -> None:
    r, alpha, a, b = PROCESS

    rate, p = gamma(r, scale=1 / alpha).ppf(MIDDLES)[:, None], beta(a, b).ppf(MIDDLES)[None]
    given = (1 - p) ** x * rate**x * ((1 - p) * np.exp(-rate * age) + p * np.exp(-rate * last))
    found = log_likelihood(PROCESS, Histories.of([x], [last], [age]))[0]
    assert np.exp(found) == pytest.approx(given.mean(), rel=2e-3)


def test_p_alive_is_the_written_formula_and_calibrated() -> None:
    x, last, age = CROWD.seen
    r, alpha, a, b = PROCESS
    written = 1 / (1 + a / (b + x) * ((alpha + age) / (alpha + last)) ** (r + x))
    np.testing.assert_allclose(p_alive(PROCESS, CROWD.seen), written, rtol=1e-10)
    assert_calibrated(written, CROWD.is_alive)


def test_who_is_silent_for_ever_is_gone_without_an_overflow() -> None:
    assert p_alive(PROCESS, Histories.of([5_000], [1.0], [1e9]))[0] == pytest.approx(0.0, abs=1e-300)


def test_expected_purchases_equal_the_closed_form_with_2f1() -> None:
    x, _, age = CROWD.seen
    r, alpha, a, b = PROCESS
    part = hyp2f1(r + x, b + x + 1, a + b + x, HORIZON / (alpha + age + HORIZON))
    power = ((alpha + age) / (alpha + age + HORIZON)) ** (r + x)
    closed = p_alive(PROCESS, CROWD.seen) * (a + b + x) / (a - 1) * (1 - power * part)
    np.testing.assert_allclose(expected_more(PROCESS, CROWD.seen, HORIZON), closed, rtol=1e-8)


def test_expected_purchases_are_the_mean_of_what_happens() -> None:
    error = CROWD.later.std() / np.sqrt(COUNT)
    assert abs(expected_more(PROCESS, CROWD.seen, HORIZON).mean() - CROWD.later.mean()) < 4 * error
    spread = CROWD.seen.counts.std() / np.sqrt(COUNT)
    assert abs(expected(PROCESS, CROWD.seen.ages).mean() - CROWD.seen.counts.mean()) < 4 * spread


def test_the_chance_of_nothing_is_calibrated() -> None:
    assert_calibrated(p_none(PROCESS, CROWD.seen, HORIZON), CROWD.later == 0)


def test_the_chance_of_nothing_marked_is_calibrated() -> None:
    p = p_none_marked(PROCESS, CONVERSION, CROWD.seen, CROWD.marked, HORIZON, kept=0.9)
    assert_calibrated(p, CROWD.marked_later == 0)
    assert np.all((p >= 0) & (p <= 1))


def test_the_sum_over_marks_equals_the_double_integral() -> None:
    seen, marked = Histories.of([0, 2, 30], [0.0, 90.0, 300.0], [0.0, 100.0, 330.0]), [0, 3, 4]
    found = p_none_marked(PROCESS, CONVERSION, seen, marked, HORIZON, kept=0.9)
    for place, (x, _, age) in enumerate(zip(*seen, strict=True)):
        leaving = beta(PROCESS.a, PROCESS.b + x + 1)
        marking = beta(CONVERSION.c + marked[place], CONVERSION.d + x + 1 - marked[place])
        p, m = leaving.ppf(MIDDLES)[:, None], 0.9 * marking.ppf(MIDDLES)[None]
        q = m + (1 - m) * p
        comes = (m / q * (1 - (1 + q * HORIZON / (PROCESS.alpha + age)) ** -(PROCESS.r + x))).mean()
        alive = p_alive(PROCESS, Histories.of([x], [seen.lasts[place]], [age]))[0]
        assert found[place] == pytest.approx(1 - alive * comes, abs=5e-5)


def test_marking_everything_is_no_mark_at_all() -> None:
    """With marks that nearly all events have, both answers agree."""
    sure = p_none_marked(PROCESS, Conversion(1e6, 1e-3), CROWD.seen, CROWD.seen.counts + 1, HORIZON)
    np.testing.assert_allclose(sure, p_none(PROCESS, CROWD.seen, HORIZON), atol=1e-6)


def test_a_fit_recovers_the_process_in_any_unit_of_time() -> None:
    in_days = fit(CROWD.seen)
    assert in_days.r == pytest.approx(PROCESS.r, rel=0.1)
    assert in_days.r / in_days.alpha == pytest.approx(PROCESS.r / PROCESS.alpha, rel=0.05)
    assert expected(in_days, [365.0])[0] == pytest.approx(expected(PROCESS, [365.0])[0], rel=0.03)
    x, last, age = CROWD.seen
    in_weeks = fit(Histories.of(x, last / 7, age / 7))
    assert in_weeks.alpha * 7 == pytest.approx(in_days.alpha, rel=1e-3)


def test_nothing_is_fitted_where_nobody_came_back() -> None:
    with pytest.raises(NotFitted, match="nobody came a second time"):
        fit(Histories.of([0, 0], [0, 0], [10, 20]))
    with pytest.raises(NotFitted, match="no value"):
        fit_spend([0], [0.0])


@pytest.mark.parametrize("wrong", [([1], [5], [4]), ([1], [-1], [4]), ([0], [1], [4])])
def test_impossible_histories_are_refused(wrong: tuple[list[float], list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="lasts"):
        Histories.of(*wrong)


def test_spend_is_recovered_and_shrunk_to_the_mean_of_all() -> None:
    spend, rng = Spend(p=6.0, q=4.0, gamma=30.0), np.random.default_rng(3)
    x = rng.integers(1, 8, COUNT)
    rate = rng.gamma(spend.q, 1 / spend.gamma, COUNT)
    means = rng.gamma(spend.p * x) / rate / x
    fitted = fit_spend(x, means)
    assert fitted.mean == pytest.approx(spend.mean, rel=0.03)
    assert (fitted.p, fitted.q) == pytest.approx((spend.p, spend.q), rel=0.1)
    told = expected_spend(spend, [0, 1, 1_000], [0.0, 200.0, 200.0])
    assert told[0] == pytest.approx(spend.mean)
    assert told[0] < told[1] < told[2] < 200.0
    predicted, real = expected_spend(spend, x, means), spend.p / rate
    assert abs((predicted - real).mean()) < 4 * (predicted - real).std() / np.sqrt(COUNT)
