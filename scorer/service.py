"""The service: keeps everybody's risk card up to date, of those who did something and of those who are silent.

A notice is committed only when Redis and Kafka have its card. Whatever neighbour is away is waited for; nothing is
given up, and nothing is lost by a stop in the middle: scoring again as of the same moment says the same.
"""

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
        self._invalid = ""
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
        if self._keeps_time:
            if has_new_model or not had_time:
                self._everybody = iter(self._store.customer_ids())
            self._rescore(stop)
        else:
            self._everybody = None
        if self._clock() >= self._summed_up_at + SUMMARY_EVERY:
            self._sum_up()

    def _rescore(self, stop: Flag) -> None:
        silent = patiently(self._next_silent, stop)
        if silent:
            self._counts["rescored"] += patiently(lambda: self._score(silent), stop)
            self._next_tick = self._clock()

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

    def _score(self, customer_ids: Sequence[str]) -> int:
        """Write the cards of these customers to Redis and Kafka; how many there are."""
        kept = self._read(customer_ids)
        customers = [(customer_id, kept[customer_id].state) for customer_id in customer_ids if customer_id in kept]
        cards = build_cards(customers, self._live_model.model, self._actions, self._clock())
        self._store.write_cards([card_write(card) for card in cards])
        self._store.unschedule([customer_id for customer_id in customer_ids if customer_id not in kept])
        self._risk_topic.publish(cards)
        return len(cards)

    def _read(self, customer_ids: Sequence[str]) -> dict[str, Kept]:
        try:
            kept = self._store.read_states(customer_ids)
        except InvalidState:
            kept = self._read_one_by_one(customer_ids)
        self._counts["without_state"] += len(customer_ids) - len(kept)
        return kept

    def _read_one_by_one(self, customer_ids: Sequence[str]) -> dict[str, Kept]:
        """The states that can be read. The others wait for the stream processor to rebuild them and to tell us so."""
        kept: dict[str, Kept] = {}
        for customer_id in customer_ids:
            try:
                kept |= self._store.read_states([customer_id])
            except InvalidState as error:
                self._counts["invalid_state"] += 1
                self._invalid = str(error)
        return kept

    def _sum_up(self) -> None:
        now = self._clock()
        seconds = (now - self._summed_up_at).total_seconds()
        scored = self._counts["noticed"] + self._counts["rescored"]
        model = self._live_model.model
        log.info(
            "scored",
            cards=scored,
            per_s=round(scored / seconds, 1) if seconds else 0.0,
            lag=self._notices.lag,
            model_version=model.model_version if model else None,
            unreadable=self._notices.unreadable,
            **self._counts,
        )
        if self._counts["invalid_state"]:
            log.error("states cannot be read", customers=self._counts["invalid_state"], reason=self._invalid)
        self._counts = dict.fromkeys(self._counts, 0)
        self._summed_up_at = now
