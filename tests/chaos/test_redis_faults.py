"""A Redis that is killed, comes back older, is frozen or full: nothing is lost, nothing counted twice."""

import shutil
import time
from pathlib import Path

import pytest

from ..stream_processing import kept_in_redis
from .faults import fill_redis, freeze_redis
from .scenario import Scenario

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


def test_a_redis_killed_with_its_append_only_file_on_costs_nothing(scenario: Scenario) -> None:
    scenario.worker().launch()
    for _ in range(3):
        scenario.publish_into_work(0.25)
        scenario.stack.redis.kill()
        scenario.stack.redis.start()
        assert scenario.lag() > 0
    comparison = scenario.finish()
    assert comparison.is_equal, str(comparison)


def test_a_redis_that_comes_back_two_seconds_older_costs_nothing(scenario: Scenario, tmp_path: Path) -> None:
    scenario.worker(variables={"STREAM_HOLD_ACKS_S": "4"}).launch()
    redis, copy = scenario.stack.redis, tmp_path / "copy"
    scenario.publish_into_work(0.2)
    shutil.copytree(redis.data_directory, copy)
    until = time.monotonic() + 2
    while time.monotonic() < until:
        scenario.publish_into_work(0.02)
    latest = kept_in_redis(redis.url)
    redis.kill()
    shutil.rmtree(redis.data_directory)
    shutil.copytree(copy, redis.data_directory)
    redis.start()
    older = kept_in_redis(redis.url)
    assert sum(older.get(each) != kept for each, kept in latest.items()) > 1_000
    comparison = scenario.finish()
    assert comparison.is_equal, str(comparison)


def test_a_frozen_redis_costs_nothing(scenario: Scenario) -> None:
    freeze_redis(scenario)
    scenario.wait_for_restart()
    comparison = scenario.finish()
    assert comparison.is_equal, str(comparison)


def test_a_full_redis_costs_nothing(scenario: Scenario) -> None:
    fill_redis(scenario)
    scenario.wait_for_restart()
    comparison = scenario.finish()
    assert comparison.is_equal, str(comparison)
