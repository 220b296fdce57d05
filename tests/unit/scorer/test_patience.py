"""A neighbour that is away is waited for; a stop ends the waiting."""

from threading import Event as Flag

import pytest
from kafka.errors import KafkaTimeoutError

from churn.feature_store import StoreUnavailable
from scorer import service
from scorer.service import Stopped, patiently


def test_work_is_tried_again_until_the_neighbour_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "FIRST_PAUSE_S", 0.001)
    outcomes = iter([StoreUnavailable("away"), KafkaTimeoutError("away"), None])

    def work() -> str:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        return "done"

    assert patiently(work, Flag()) == "done"


def test_a_stop_ends_the_waiting() -> None:
    stop = Flag()

    def work() -> None:
        stop.set()
        raise StoreUnavailable("away")

    with pytest.raises(Stopped):
        patiently(work, stop)


def test_another_error_is_not_waited_for() -> None:
    with pytest.raises(ZeroDivisionError):
        patiently(lambda: 1 // 0, Flag())
