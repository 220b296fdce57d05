"""The scenarios that are also played with mutated workers, to show that they would notice."""

from .scenario import Scenario


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
    # Writes so seldom that it is certain to have something unwritten in hand when it is frozen.
    first = scenario.worker("first", {"STREAM_FLUSH_INTERVAL_S": "3"})
    second = scenario.worker("second")
    first.start()
    scenario.publish_into_work(0.2)
    second.start()
    scenario.wait_for_members(2)
    scenario.publish_into_work(0.2)
    first.freeze()
    assert scenario.lag() > 0
    scenario.wait_for_members(1)
    scenario.publish(0.2)
    scenario.wait_until_folded()
    first.resume()
    scenario.wait_for_members(2)
    scenario.publish_into_work(0.2)
    second.stop()
    assert scenario.lag() > 0
