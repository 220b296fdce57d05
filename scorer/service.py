"""The service: keeps everybody's risk card up to date, of those who did something and of those who are silent.

A notice is committed only when Redis and Kafka have its card. Whatever neighbour is away is waited for; nothing is
given up, and nothing is lost by a stop in the middle: scoring again as of the same moment says the same.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from threading import Event as Flag
from typing import Final, TypeVar

from kafka.errors import KafkaError

from churn import logs
from churn.events import epoch_ms
from churn.feature_store import FeatureStore, Kept, StoreUnavailable
from churn.state import InvalidState
from scorer.actions import Actions
from scorer.card import build_cards, card_write
from scorer.kafka_topics import Notices, RiskTopic
from scorer.live_model import LiveModel

BATCH: Final = 500
POLL_WAIT_S: Final = 0.2
TICK: Final = timedelta(seconds=1)
SUMMARY_EVERY: Final = timedelta(seconds=30)
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 10.0

T = TypeVar("T")
log = logs.get_logger(__name__)


class Stopped(Exception):
    """We were asked to stop while a neighbour was away."""


def patiently(work: Callable[[], T], stop: Flag) -> T:
    """Do the work, again and again while Redis or Kafka is away, with longer pauses. Raises `Stopped`."""
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return work()
        except (StoreUnavailable, KafkaError) as error:
            log.warning("waiting for a neighbour", reason=f"{type(error).__name__}: {error}", pause_s=pause_s)
        if stop.wait(pause_s):
            raise Stopped
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


class Service:
    """Scores on notice, when due, and everybody when the model changes. One thread; `clock` gives aware moments."""

    def __init__(
        self,
        store: FeatureStore,
        notices: Notices,
        risk_topic: RiskTopic,
        live_model: LiveModel,
        actions: Actions,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._notices = notices
        self._risk_topic = risk_topic
        self._live_model = live_model
        self._actions = actions
        self._clock = clock
        self._everybody: Iterator[str] | None = None
        self._keeps_time = False
        self._next_tick = self._summed_up_at = clock()
        self._counts = dict.fromkeys(("noticed", "rescored", "without_state", "invalid_state"), 0)

    def run(self, stop: Flag) -> None:
        """Work until `stop` is set, which takes effect within seconds even when nothing answers."""
        try:
            while not stop.is_set():
                self._turn(stop)
        except Stopped:
            pass
        self._sum_up()

    def _turn(self, stop: Flag) -> None:
        """One batch of notices and one of the silent: neither makes the other wait for long."""
        customer_ids = patiently(lambda: self._notices.poll(BATCH, POLL_WAIT_S), stop)
        if customer_ids:
            self._counts["noticed"] += patiently(lambda: self._score(customer_ids), stop)
            self._notices.commit()
        if self._everybody is not None or self._clock() >= self._next_tick:
            self._tick(stop)

    def _tick(self, stop: Flag) -> None:
        self._next_tick = self._clock() + TICK
        has_new_model = self._live_model.refresh()
        had_time, self._keeps_time = self._keeps_time, self._notices.keeps_time
        if not self._keeps_time:
            self._everybody = None
            return
        if has_new_model or not had_time:
            self._everybody = iter(self._store.customer_ids())
        silent = patiently(self._next_silent, stop)
        if silent:
            self._counts["rescored"] += patiently(lambda: self._score(silent), stop)
            self._next_tick = self._clock()
        if self._clock() >= self._summed_up_at + SUMMARY_EVERY:
            self._sum_up()

    def _next_silent(self) -> list[str]:
        """Customers to rescore: everybody while the model is new, else those whose time has come."""
        if self._everybody is not None:
            try:
                silent = list(islice(self._everybody, BATCH))
            except StoreUnavailable:
                self._everybody = iter(self._store.customer_ids())
                raise
            if silent:
                return silent
            self._everybody = None
        return self._store.due(epoch_ms(self._clock()), BATCH)
