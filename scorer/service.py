"""The service: keeps everybody's risk card up to date, of those who did something and of those who are silent.

A notice is committed only when Redis and Kafka have its card. Whatever neighbour is away is waited for; nothing is
given up, and nothing is lost by a stop in the middle: what is not done comes again.
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
from churn.feature_store import FeatureStore, StoreRefused, StoreUnavailable
from churn.forgotten import NOBODY, Forgotten
from churn.pages import Progress
from scorer.kafka_topics import Notices
from scorer.live_model import LiveModel
from scorer.metrics import Metrics
from scorer.scoring import Scoring

BATCH: Final = 500
MOST_GATHERED: Final = 200_000
GATHERING_LASTS_S: Final = 5.0
SIGN_OF_LIFE_EVERY_S: Final = 5.0
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
    """Do the work, again and again while Redis or Kafka is away, with longer pauses.

    Raises `Stopped`, and `StoreRefused` or `AccessRefused` where waiting does not help.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return work()
        except StoreRefused:
            raise
        except (StoreUnavailable, KafkaError) as error:
            log.warning("waiting for a neighbour", reason=f"{type(error).__name__}: {error}", pause_s=pause_s)
        if stop.wait(pause_s):
            raise Stopped
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


class Service:
    """Scores on notice, when due, and everybody when the model changes. One thread; `clock` gives aware moments.

    Everybody is scored at no more than `rescore_per_s`, so that notices are not kept waiting.
    """

    def __init__(
        self,
        store: FeatureStore,
        notices: Notices,
        scoring: Scoring,
        live_model: LiveModel,
        clock: Callable[[], datetime],
        rescore_per_s: float,
        forgotten: Forgotten = NOBODY,
    ) -> None:
        self._store = store
        self._forgotten = forgotten
        self._notices = notices
        self._scoring = scoring
        self._live_model = live_model
        self._clock = clock
        self._batch_lasts = timedelta(seconds=BATCH / rescore_per_s)
        self._everybody: Iterator[str] | None = None
        self._everybody_from = self._next_tick = self._summed_up_at = clock()
        self._keeps_time = False
        self._waiting: dict[str, None] = {}  # customers of notices taken and not committed, longest waiting first
        self._polled_at_s = time.monotonic()
        self._counts = dict.fromkeys(("noticed", "rescored"), 0)
        self.metrics = Metrics()
        self.progress = Progress(time.monotonic)

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
        if not self._waiting:
            self._gather(stop)
        elif time.monotonic() >= self._polled_at_s + SIGN_OF_LIFE_EVERY_S:
            self._take(self._notices.stay, stop)
        customer_ids = list(islice(self._waiting, BATCH))
        if customer_ids:
            self._score("noticed", customer_ids, stop)
            for customer_id in customer_ids:
                del self._waiting[customer_id]
            if not self._waiting:
                self._notices.commit()
        if self._clock() >= self._next_tick:
            self._tick(stop)
            self._tell_metrics(has_done=bool(customer_ids))

    def _gather(self, stop: Flag) -> None:
        """Take notices. Who is far behind takes many: a customer is scored once, however many notices there are."""
        wait_s = min(POLL_WAIT_S, max(0.0, (self._next_tick - self._clock()).total_seconds()))
        self._take(lambda: self._notices.poll(BATCH, wait_s), stop)
        until = time.monotonic() + GATHERING_LASTS_S
        while self._notices.lag > BATCH and len(self._waiting) < MOST_GATHERED:
            if stop.is_set() or time.monotonic() >= until:
                return
            self._take(lambda: self._notices.poll(BATCH, POLL_WAIT_S), stop)

    def _take(self, poll: Callable[[], list[str]], stop: Flag) -> None:
        self._waiting |= dict.fromkeys(patiently(poll, stop))
        self._polled_at_s = time.monotonic()

    def _score(self, why: str, customer_ids: Sequence[str], stop: Flag) -> None:
        customer_ids = self._without_forgotten(customer_ids, stop)
        with self.metrics.batch_s.time():
            written = patiently(lambda: self._scoring.score(customer_ids), stop)
        self._counts[why] += written
        self.metrics.cards.labels(why).inc(written)

    def _without_forgotten(self, customer_ids: Sequence[str], stop: Flag) -> Sequence[str]:
        """Who may be scored. The others leave nothing behind, even where somebody wrote of them too late."""
        self._forgotten.require_good()
        gone = self._forgotten.among(customer_ids)
        if not gone:
            return customer_ids
        patiently(lambda: self._scoring.forget(sorted(gone)), stop)
        self.metrics.no_cards.labels("forgotten").inc(len(gone))
        return [customer_id for customer_id in customer_ids if customer_id not in gone]

    def _tell_metrics(self, *, has_done: bool) -> None:
        lag = self._notices.lag + len(self._waiting)
        self.metrics.lag_notices.set(lag)
        self.metrics.last_turn.set(self._clock().timestamp())
        self.progress.turn(waiting=lag, has_done=has_done)

    def _tick(self, stop: Flag) -> None:
        self._next_tick = self._clock() + TICK
        has_new_model = self._live_model.refresh()
        if has_new_model and self._live_model.model is not None:
            self.metrics.use(self._live_model.model)
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
        """One batch of everybody where it is time for one, and one of those who are due."""
        everybody = patiently(self._next_of_everybody, stop)
        due = patiently(lambda: self._store.due(epoch_ms(self._clock()), BATCH), stop)
        silent = list(dict.fromkeys([*due, *everybody]))
        if silent:
            self._score("rescored", silent, stop)
        if due:
            self._next_tick = self._clock()
        elif self._everybody is not None:
            self._next_tick = min(self._next_tick, self._everybody_from)

    def _next_of_everybody(self) -> list[str]:
        """The next batch while everybody is to be scored, no sooner than the rate allows."""
        now = self._clock()
        if self._everybody is None or now < self._everybody_from:
            return []
        try:
            batch = list(islice(self._everybody, BATCH))
        except StoreUnavailable:
            self._everybody = iter(self._store.customer_ids())
            raise
        self._everybody_from = max(self._everybody_from, now - self._batch_lasts) + self._batch_lasts
        if not batch:
            self._everybody = None
        return batch

    def _sum_up(self) -> None:
        now = self._clock()
        seconds = (now - self._summed_up_at).total_seconds()
        scored = self._counts["noticed"] + self._counts["rescored"]
        model = self._live_model.model
        log.info(
            "scored",
            cards=scored,
            per_s=round(scored / seconds, 1) if seconds else 0.0,
            lag=self._notices.lag + len(self._waiting),
            model_version=model.model_version if model else None,
            unreadable=self._notices.unreadable,
            **self._counts,
            **self._scoring.counts,
        )
        if self._scoring.counts["invalid_state"]:
            log.error(
                "states cannot be read",
                customers=self._scoring.counts["invalid_state"],
                reason=self._scoring.invalid,
            )
        self.metrics.count_no_cards(self._scoring.counts)
        self._counts = dict.fromkeys(self._counts, 0)
        self._scoring.reset_counts()
        self._summed_up_at = now
