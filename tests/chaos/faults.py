"""The scenarios that are also played with mutated workers, to show that they would notice."""

import json
import time
from urllib.request import urlopen

from stack.waiting import wait_until
from stack.workers import StreamProcessor

from ..patience import PATIENCE_S
from .scenario import SESSION_TIMEOUT_S, Scenario


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
    """Of two workers one is frozen with work in hand and wakes up when the other owns it; a third joins, one leaves."""
    # It writes so seldom that it is sure to be frozen between folding and writing, and to write as soon as it wakes up.
    sleeper = scenario.worker("sleeper", {"STREAM_FLUSH_INTERVAL_S": f"{SESSION_TIMEOUT_S:g}"})
    sleeper.start()
    scenario.worker("second").start()
    scenario.wait_for_members(2)
    fold_without_writing(scenario, sleeper)
    sleeper.freeze()
    assert scenario.lag() > 0
    scenario.wait_for_members(1)
    scenario.publish(0.2)
    scenario.wait_until_folded()
    sleeper.resume()
    scenario.wait_for_members(2)
    scenario.publish_into_work(0.2)
    scenario.worker("third").launch()
    scenario.wait_for_members(3)
    scenario.publish_into_work(0.2)
    sleeper.stop()
    assert scenario.lag() > 0


def fold_without_writing(scenario: Scenario, worker: StreamProcessor) -> None:
    """Publish, and return when the worker has folded its part and waits for the moment to write."""
    assert wait_until(lambda: health(worker)["seconds_since_write"] < 1, PATIENCE_S)
    since, applied = time.monotonic(), [health(worker)["applied"]]
    scenario.publish(0.2)

    def is_at_rest() -> bool:
        applied.append(health(worker)["applied"])
        return applied[0] < applied[-1] == applied[-2]

    assert wait_until(is_at_rest, PATIENCE_S, poll_s=0.3)
    assert health(worker)["seconds_since_write"] >= time.monotonic() - since - 0.5, "it wrote before it was frozen"


def health(worker: StreamProcessor) -> dict[str, float]:
    """What the worker's page tells."""
    with urlopen(worker.url, timeout=10) as answer:
        return dict(json.load(answer))


def freeze_redis(scenario: Scenario) -> None:
    """Redis is frozen until its client has given up, while events go on coming of customers who are in hand."""
    scenario.worker().launch()
    scenario.publish(0.2)
    scenario.wait_until_folded()
    scenario.publish_into_work(0.3)
    scenario.stack.redis.freeze()
    scenario.publish(0.1)
    scenario.wait_for_restart()
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
