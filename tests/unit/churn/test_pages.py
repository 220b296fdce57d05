"""The pages of a service: what they say, and to whom."""

import json
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from churn.pages import MAX_SILENCE_S, PageUnavailable, Progress, shown


class Clock:
    """Seconds that go on when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def asked(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_service_whose_loop_turns_is_healthy_also_with_nothing_to_do(clock: Clock) -> None:
    progress = Progress(clock)
    clock.now_s += 10 * MAX_SILENCE_S
    assert not progress.health().is_good
    progress.turn(waiting=0, has_done=False)
    assert progress.health().is_good


def test_a_service_that_gets_nowhere_is_not_healthy_though_its_loop_turns(clock: Clock) -> None:
    progress = Progress(clock)
    for _ in range(5):
        clock.now_s += MAX_SILENCE_S / 4
        progress.turn(waiting=7, has_done=False)
    health = progress.health()
    assert (health.is_alive, health.is_progressing, health.waiting) == (True, False, 7)
    progress.turn(waiting=7, has_done=True)
    assert progress.health().is_good


def test_the_pages_show_health_and_metrics_on_a_free_port(clock: Clock) -> None:
    registry, progress = CollectorRegistry(), Progress(clock)
    Counter("ebb_test_events", "Events of a test.", registry=registry).inc(3)
    with (
        shown("127.0.0.1", 0, registry, progress) as port,
        shown("127.0.0.1", 0, registry, progress) as another,
    ):
        assert port != another
        assert "ebb_test_events_total 3.0" in asked(port, "/metrics")[1]
        status, said = asked(port, "/healthz")
        assert (status, json.loads(said)["is_alive"]) == (200, True)
        clock.now_s += 2 * MAX_SILENCE_S
        assert asked(port, "/healthz")[0] == 503
        assert asked(port, "/other")[0] == 404
        with pytest.raises(PageUnavailable, match=f"127.0.0.1:{port}"), shown("127.0.0.1", port, registry, progress):
            pass
