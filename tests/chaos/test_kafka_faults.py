"""A broker that is killed or frozen, and a topic that has grown: nothing is lost, nothing counted twice."""

import time

import pytest

from .scenario import SESSION_TIMEOUT_S, Scenario

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


def test_a_killed_broker_costs_nothing(scenario: Scenario) -> None:
    scenario.worker().launch()
    scenario.publish_into_work(0.5)
    scenario.stack.kafka.kill()
    scenario.stack.kafka.start()
    assert scenario.lag() > 0
    comparison = scenario.finish()
    assert comparison.is_equal, str(comparison)


def test_a_broker_frozen_beyond_the_session_timeout_costs_nothing(scenario: Scenario) -> None:
    scenario.worker().launch()
    scenario.publish_into_work(0.5)
    scenario.stack.kafka.freeze()
    time.sleep(SESSION_TIMEOUT_S + 2)  # nothing to wait for: the time itself is the fault
    scenario.stack.kafka.resume()
    assert scenario.lag() > 0
    comparison = scenario.finish()
    assert comparison.is_equal, str(comparison)
