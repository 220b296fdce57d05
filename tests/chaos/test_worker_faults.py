"""Workers that are killed, stopped and frozen, that join and leave: nothing is lost, nothing counted twice."""

import pytest

from .faults import freeze_an_owner, kill_workers
from .scenario import Scenario

pytestmark = pytest.mark.chaos


def test_ten_killed_workers_lose_nothing_and_count_nothing_twice(scenario: Scenario) -> None:
    kill_workers(scenario, times=10)
    comparison = scenario.finish()
    assert comparison.is_equal, str(comparison)


def test_six_stopped_workers_end_well_and_lose_nothing(scenario: Scenario) -> None:
    worker = scenario.bare_worker()
    for _ in range(6):
        worker.launch()
        scenario.publish_into_work(1 / 7)
        worker.stop()
        assert worker.exit_code == 0
        assert scenario.lag() > 0
    worker.launch()
    comparison = scenario.finish()
    assert comparison.is_equal, str(comparison)


def test_workers_that_join_freeze_and_leave_do_not_disturb_each_other(scenario: Scenario) -> None:
    freeze_an_owner(scenario)
    comparison = scenario.finish()
    assert comparison.is_equal, str(comparison)
