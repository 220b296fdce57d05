"""A Redis that is killed, comes back older, is frozen or full: nothing is lost, nothing counted twice."""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from churn import feature_store
from stack.waiting import wait_until

from ..patience import PATIENCE_S
from ..stream_processing import Kept, kept_in_redis
from .faults import fill_redis, freeze_redis, health
from .scenario import Scenario

pytestmark = pytest.mark.chaos


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
    # Longer than two seconds become on a machine that is busy with other tests.
    scenario.worker(variables={"STREAM_HOLD_ACKS_S": "20"}).launch()
    copy = tmp_path / "copy"
    scenario.publish_into_work(0.2)
    shutil.copytree(scenario.stack.redis.data_directory, copy)
    copied = latest = kept_in_redis(scenario.stack.redis.url)
    until = time.monotonic() + 2
    while time.monotonic() < until or changed(copied, latest) <= 1_000:
        scenario.publish_into_work(0.02)
        latest = kept_in_redis(scenario.stack.redis.url)
    bring_back(scenario, copy)
    assert changed(kept_in_redis(scenario.stack.redis.url), latest) > 1_000
    comparison = scenario.finish()
    assert comparison.is_equal, str(comparison)


def test_no_state_of_a_redis_that_came_back_older_is_folded_on(scenario: Scenario, tmp_path: Path) -> None:
    # It writes seldom, and knows no customer by heart: after the fault it reads before it writes.
    seldom = {"STREAM_FLUSH_INTERVAL_S": "4", "STREAM_MAX_CUSTOMERS": "1", "STREAM_HOLD_ACKS_S": "60"}
    worker = scenario.worker(variables=seldom)
    worker.launch()
    copy = tmp_path / "copy"
    shutil.copytree(scenario.stack.redis.data_directory, copy)
    before = scenario.changes()
    scenario.publish(0.1)
    scenario.wait_for_changes(before + 1)
    assert wait_until(lambda: health(worker)["seconds_since_write"] < 1, PATIENCE_S)
    bring_back(scenario, copy)
    # As another worker would have: without the script the write would fail, and hide what this is about.
    scenario.client.script_load(feature_store._WRITE_IF_NEWER)
    scenario.publish(0.1)
    scenario.wait_for_restart()
    worker.kill()
    scenario.worker().launch()
    comparison = scenario.finish()
    assert comparison.is_equal, str(comparison)


def changed(before: Mapping[str, Kept], after: Mapping[str, Kept]) -> int:
    """How many customers have another state, or have one only now."""
    return sum(before.get(each) != kept for each, kept in after.items())


def bring_back(scenario: Scenario, copy: Path) -> None:
    """Kill Redis and start it with the data that were copied before."""
    server = scenario.stack.redis
    server.kill()
    shutil.rmtree(server.data_directory)
    shutil.copytree(copy, server.data_directory)
    server.start()


def test_a_frozen_redis_costs_nothing(scenario: Scenario) -> None:
    freeze_redis(scenario)
    assert scenario.lag() > 0
    comparison = scenario.finish()
    assert comparison.is_equal, str(comparison)


def test_a_full_redis_costs_nothing(scenario: Scenario) -> None:
    fill_redis(scenario)
    assert scenario.lag() > 0
    scenario.wait_for_restart()
    comparison = scenario.finish()
    assert comparison.is_equal, str(comparison)
