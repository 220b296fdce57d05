"""A broker that is killed or frozen, and a topic that has grown: nothing is lost, nothing counted twice."""

import time

import pytest
from kafka.admin import KafkaAdminClient

from churn import topics
from stack.waiting import wait_until

from ..patience import PATIENCE_S
from ..stream_processing import NOTHING, Kept, Record, compare, fold_of, kept_in_redis, read_topic
from .scenario import SESSION_TIMEOUT_S, Scenario

pytestmark = pytest.mark.chaos


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


def test_a_topic_that_has_grown_is_refused_by_running_and_by_new_workers(scenario: Scenario) -> None:
    running, new = scenario.bare_worker("running"), scenario.bare_worker("new")
    running.launch()
    scenario.publish_into_work(1.0)
    grow(scenario.stack.kafka.address, 12)
    assert scenario.lag() > 0
    assert wait_until(lambda: not running.is_running, PATIENCE_S)
    kept = kept_in_redis(scenario.stack.redis.url)
    new.launch()
    assert wait_until(lambda: not new.is_running, PATIENCE_S)
    for worker in (running, new):
        assert worker.exit_code == 78
        said = worker.log_file.read_text()
        assert "topic events has 12 partitions, Ebb works with 8" in said
        assert "create a new topic with 8 and replay the events into it" in said
    assert kept_in_redis(scenario.stack.redis.url) == kept
    reached = [each for each in read_topic(scenario.stack.kafka.address, topics.EVENTS) if is_applied(each, kept)]
    comparison = compare(kept, fold_of(tuple(sorted(reached))))
    assert comparison.is_equal, str(comparison)


def grow(address: str, partitions: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=address)
    admin.create_partitions({topics.EVENTS: partitions})
    admin.close()


def is_applied(record: Record, kept: dict[str, Kept]) -> bool:
    """Whether this event is in the state of its customer."""
    applied = kept.get((record.key or b"").decode(), NOTHING).applied or b"-1:-1"
    return record.offset <= int(applied.split(b":")[1])
