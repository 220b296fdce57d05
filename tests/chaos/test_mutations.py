"""The suite notices when a safeguard is missing: the same scenarios, the same comparison, with mutated workers."""

from collections.abc import Callable

import pytest

from .faults import fill_redis, freeze_an_owner, freeze_redis, kill_workers
from .scenario import Scenario

EVENTS = 60_000  # enough to notice

pytestmark = pytest.mark.chaos


def test_without_the_guard_a_killed_worker_counts_events_twice(start_scenario: Callable[..., Scenario]) -> None:
    scenario = start_scenario("unguarded", EVENTS)
    kill_workers(scenario, times=1)
    comparison = scenario.finish()
    assert comparison.doubled > 0, str(comparison)


def test_without_the_guard_of_the_write_a_late_owner_loses_events(start_scenario: Callable[..., Scenario]) -> None:
    scenario = start_scenario("late_writes", EVENTS)
    freeze_an_owner(scenario)
    comparison = scenario.finish()
    assert comparison.lost > 0, str(comparison)


def test_acknowledged_before_the_write_events_are_lost_with_a_frozen_redis(
    start_scenario: Callable[..., Scenario],
) -> None:
    scenario = start_scenario("acked_first", EVENTS)
    freeze_redis(scenario)
    comparison = scenario.finish()
    assert comparison.lost > 0, str(comparison)


def test_with_the_stock_take_events_are_lost_with_a_full_redis(start_scenario: Callable[..., Scenario]) -> None:
    scenario = start_scenario("stock_take", EVENTS)
    fill_redis(scenario)
    comparison = scenario.finish()
    assert comparison.lost > 0, str(comparison)
