"""The scenarios that are also played with mutated workers, to show that they would notice."""

import json
import time
from urllib.request import urlopen

from stack.waiting import wait_until
from stack.workers import StreamProcessor

from .scenario import PATIENCE_S, SESSION_TIMEOUT_S, Scenario

REDIS_TIMEOUT_S = 10.0  # of churn.feature_store.connect


def kill_workers(scenario: Scenario, times: int) -> None:
    """Kill a worker at random moments of its work, so often."""
    worker = scenario.bare_worker()
    for _ in range(times):
        worker.launch()
        scenario.publish_into_work(1 / (times + 1))
        worker.kill()
        assert scenario.lag() > 0
    worker.launch()


def freeze_an_owner(scenario: Scenario) -> None:
    """A worker joins; the first one is frozen with work in hand, wakes up when others own it, and leaves in the end."""
    # It writes so seldom that it is sure to be frozen between folding and writing, and to write as soon as it wakes up.
    first = scenario.worker("first", {"STREAM_FLUSH_INTERVAL_S": f"{SESSION_TIMEOUT_S:g}"})
    second = scenario.worker("second")
    first.start()
    scenario.publish(0.2)
    second.start()
    scenario.wait_for_members(2)
    scenario.wait_until_folded()
    assert wait_until(lambda: health(first)["seconds_since_write"] < 1, PATIENCE_S)
    applied = health(first)["applied"]
    scenario.publish(0.2)
    assert wait_until(lambda: health(first)["applied"] > applied, PATIENCE_S)
    first.freeze()
    assert scenario.lag() > 0
    scenario.wait_for_members(1)
    scenario.publish(0.2)
    scenario.wait_until_folded()
    first.resume()
    scenario.wait_for_members(2)
    scenario.publish_into_work(0.2)
    first.stop()
    assert scenario.lag() > 0


def health(worker: StreamProcessor) -> dict[str, float]:
    """What the worker's page tells."""
    with urlopen(worker.url, timeout=10) as answer:
        return dict(json.load(answer))


def freeze_redis(scenario: Scenario) -> None:
    """Redis is frozen for longer than its clients wait, while events go on coming of customers who are in hand."""
    scenario.worker().launch()
    scenario.publish(0.2)
    scenario.wait_until_folded()
    scenario.publish_into_work(0.3)
    scenario.stack.redis.freeze()
    scenario.publish(0.1)
    time.sleep(REDIS_TIMEOUT_S + 2)  # nothing to wait for: the time itself is the fault
    scenario.stack.redis.resume()


def fill_redis(scenario: Scenario) -> None:
    """Redis refuses writes for want of memory, while events go on coming."""
    scenario.worker().launch()
    scenario.publish_into_work(0.4)
    scenario.client.config_set("maxmemory", 1_000_000)
    scenario.publish(0.2)
    assert wait_until(lambda: refusals(scenario) > 0, PATIENCE_S)
    scenario.client.config_set("maxmemory", 0)


def refusals(scenario: Scenario) -> int:
    """Commands that Redis refused for want of memory."""
    return int(scenario.client.info("errorstats").get("errorstat_OOM", {"count": 0})["count"])
