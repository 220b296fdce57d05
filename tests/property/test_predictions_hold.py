"""The predictive sections on a simulated shop: what they say came true, or the truth is in their interval."""

import json
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import spearmanr

from analytics import early_value, experiments, lifetime_value, next_order, sales_forecast, views, win_back
from analytics.finding import Finding
from analytics.shop import Shop
from churn import truth
from churn.events import epoch_ms
from producer import history_files
from producer.simulator import Plan, Simulation

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(num_customers=10_000, num_events=350_000, days=730, seed=7, until=UNTIL)


# Enough visits for the planted effect to be found in most experiments.
BUSY_YEAR = Plan(num_customers=10_000, num_events=500_000, days=365, seed=7, until=UNTIL)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Two years, so that last year's season is known."""
    return simulated(PLAN, tmp_path_factory)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return simulated(BUSY_YEAR, tmp_path_factory)


def simulated(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    directory = tmp_path_factory.mktemp("simulated") / "history"
    simulation = Simulation(plan)
    history_files.write(directory, simulation.tables(), simulation.shop, "parquet")
    return Shop(directory, views.connect(directory, UNTIL), UNTIL, "EUR", processes=2)


def number(finding: Finding, name: str) -> tuple[float, float, float]:
    """A figure of a finding with its interval."""
    found = next(each for each in finding.numbers if each.name.startswith(name))
    assert found.value is not None
    return found.value, found.low or 0.0, found.high or 0.0


def experiment_of(shop: Shop) -> win_back.Tried:
    asked = ("reminder", win_back.EVERYBODY)
    found = next(each for each in win_back.tried(shop) if (each.action.name, each.among) == asked)
    expected = expected_in(shop)
    assert not found.ratio.is_broken
    assert abs(found.arms.treated + found.arms.control - expected["customers"]) <= 5
    return found


def expected_in(shop: Shop) -> dict[str, float]:
    said = json.loads((shop.history / truth.FOLDER / truth.POPULATION).read_text())
    conversion: dict[str, float] = said["experiment"]["expected_conversion"]
    return conversion


def test_the_planted_effect_lies_in_the_interval_of_the_experiment_and_is_found(busy: Shop) -> None:
    found, expected = experiment_of(busy).effect, expected_in(busy)
    assert found is not None
    assert found.low < expected["treatment"] - expected["control"] < found.high
    assert found.is_found
    assert found.low > 0


def test_an_effect_too_small_for_the_groups_is_not_claimed(shop: Shop) -> None:
    found, expected = experiment_of(shop), expected_in(shop)
    real = expected["treatment"] - expected["control"]
    least = experiments.detectable(expected["control"], found.arms)
    assert least is not None
    assert least > real
    assert found.effect is not None
    assert found.effect.low < real < found.effect.high


def test_before_the_experiment_began_its_groups_did_not_differ(shop: Shop) -> None:
    found = next(each for each in win_back.actions(shop) if each.name == "reminder")
    before = found._replace(begins_at=found.begins_at.replace(year=found.begins_at.year - 1), ends_at=found.begins_at)
    for each in win_back.tried_of(shop, before):
        assert each.effect is not None
        assert each.effect.low < 0 < each.effect.high


def test_a_broken_assignment_stops_the_comparison(shop: Shop) -> None:
    planned = next(each for each in win_back.actions(shop) if each.name == "reminder")
    for each in win_back.tried_of(shop, planned._replace(treated_share=0.55)):
        assert each.ratio.is_broken
        assert each.effect is None


def test_totals_of_the_value_come_within_a_tenth_and_grow_with_what_was_foreseen(shop: Shop) -> None:
    found = lifetime_value.held(shop)
    assert found.scaled_from is not None
    assert found.scaled_from.year == found.moment.year - 1
    ratio, low, high = found.ratio
    assert ratio == pytest.approx(1, abs=0.1)
    assert low < ratio < high
    real = [came for _, came in found.deciles]
    assert spearmanr(range(10), real).statistic > 0.95
    # By fifths no chance is large enough to turn the order.
    assert all(later > earlier for earlier, later in pairwise(np.array(real).reshape(5, 2).mean(axis=1)))


def test_four_of_five_intervals_hold_the_next_order(shop: Shop) -> None:
    share, low, high = number(next_order.answer(shop), "80 % intervals")
    assert 0.75 <= share <= 0.85
    assert low < share < high


def test_the_forecast_beats_last_weeks_days(shop: Shop) -> None:
    finding = sales_forecast.answer(shop)
    assert number(finding, "MASE")[0] < 1
    ratio, _, high = number(finding, "MAE / MAE")
    assert ratio < high < 1
    assert 0.8 <= number(finding, "Days within")[0] <= 1


def test_what_makes_customers_valuable_is_seen_early_and_what_does_not_is_not(shop: Shop) -> None:
    """In the simulated shop value follows from visits, orders and spend; devices and channels tell nothing."""
    split = early_value.cohorts(shop.sampled.early, epoch_ms(UNTIL))
    values = [shop.net_orders.after(each, split.days).value for each in (split.learn, split.test)]
    is_top = values[1] >= np.quantile(values[0], 1 - early_value.TOP)
    found = {signal.name: signal for signal in early_value.signals(split.learn, split.test, is_top)}
    for name in ("an order", "a second order", "3 sessions or more"):
        assert found[name].low > 1
        assert found[name].p < 0.05
    for name in ("on a phone last", "came by e-mail last"):
        assert found[name].low < 1 < found[name].high
