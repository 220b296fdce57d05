"""Keeps the consumer in its group, also where the client forgets that it was joining.

kafka-python 3.0.12 asks to join again when it learns of a topic's partitions late. Should that join outlive one `poll`,
its result is never picked up: the consumer sends no heartbeats, is expelled, and every `poll` is empty from then on.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

from kafka import KafkaConsumer
from kafka.structs import MemberState

from churn.logs import get_logger

# A real rebalance among services that poll all the time takes no longer than a session.
PATIENCE_S: Final = 15.0

log = get_logger(__name__)


class Membership:
    """The consumer's place in its group. `keep` belongs beside every `poll`."""

    def __init__(
        self,
        consumer: KafkaConsumer,
        topics: Sequence[str],
        *,
        patience_s: float = PATIENCE_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer = consumer
        self._topics = topics
        self._patience_s = patience_s
        self._now_s = now_s
        self._settled_s = now_s()

    def join(self) -> None:
        """Subscribe, with the topics' partitions known before the first join, so that it need not be repeated."""
        self._consumer.subscribe(self._topics)
        for topic in self._topics:
            self._consumer.partitions_for_topic(topic)
        self._settled_s = self._now_s()

    def keep(self) -> None:
        """Leave and join again when a rebalance has lasted longer than our patience."""
        if self._consumer.group_metadata().state != MemberState.REBALANCING:
            self._settled_s = self._now_s()
        elif self._now_s() - self._settled_s > self._patience_s:
            log.warning("joining the group again", after_s=self._patience_s)
            self._consumer.unsubscribe()
            self.join()
