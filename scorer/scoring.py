"""Scoring a batch: read the customers, make their cards, keep and tell them, and set when they are due again.

The order is what makes a stop in the middle harmless. The card is kept first, so that a change of band is decided once;
then it is told; only then the customer is no longer due. What was kept and not told is told by the next scoring.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from churn.actions import Actions
from churn.feature_store import FeatureStore
from churn.risk_card import RiskCard
from churn.state import InvalidState
from scorer.card import Known, Scored, score_customers, told
from scorer.live_model import LiveModel


class RiskTopic(Protocol):
    """Where cards are told."""

    def publish(self, cards: Sequence[RiskCard]) -> None:
        """Return when all cards are safe there."""

    def remove(self, customer_ids: Sequence[str]) -> None:
        """Return when no card of these customers is there."""


class Scoring:
    """Makes cards of customers as of `clock`. `counts` says of how many that was not possible."""

    def __init__(
        self,
        store: FeatureStore,
        risk_topic: RiskTopic,
        live_model: LiveModel,
        actions: Actions,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._risk_topic = risk_topic
        self._live_model = live_model
        self._actions = actions
        self._clock = clock
        self.invalid = ""
        self.counts: dict[str, int] = {}
        self.reset_counts()

    def reset_counts(self) -> None:
        self.counts = dict.fromkeys(("without_state", "invalid_state", "scored_by_others"), 0)

    def score(self, customer_ids: Sequence[str]) -> int:
        """Write the cards of these customers to Redis and Kafka; how many there are.

        Where another scorer was quicker, its card is read and the customer is scored again.
        """
        written = 0
        waiting = customer_ids
        while waiting:
            scored = self._scored(waiting)
            is_ours = self._store.write_cards([each.write for each in scored])
            ours = [each for each, is_written in zip(scored, is_ours, strict=True) if is_written]
            self._tell(ours)
            written += len(ours)
            waiting = [
                each.card.customer_id for each, is_written in zip(scored, is_ours, strict=True) if not is_written
            ]
            self.counts["scored_by_others"] += len(waiting)
        return written

    def forget(self, customer_ids: Sequence[str]) -> None:
        """Leave nothing of these customers in Redis and Kafka."""
        self._store.erase(customer_ids)
        self._risk_topic.remove(customer_ids)

    def _scored(self, customer_ids: Sequence[str]) -> list[Scored]:
        """Cards of those whose state is there and whole; the others are no longer due.

        They wait for the stream processor to rebuild them and to tell us so.
        """
        try:
            scored = self._cards_of(customer_ids)
        except InvalidState:
            scored = [each for customer_id in customer_ids for each in self._card_if_valid(customer_id)]
        names = {each.card.customer_id for each in scored}
        without = [customer_id for customer_id in customer_ids if customer_id not in names]
        self.counts["without_state"] += len(without)
        self._store.unschedule(without)
        return scored

    def _cards_of(self, customer_ids: Sequence[str]) -> list[Scored]:
        known = [
            Known(customer_id, customer.kept.state, customer.fields)
            for customer_id, customer in self._store.read_customers(customer_ids).items()
            if customer.kept is not None
        ]
        return score_customers(known, self._live_model.model, self._actions, self._clock())

    def _card_if_valid(self, customer_id: str) -> list[Scored]:
        try:
            return self._cards_of([customer_id])
        except InvalidState as error:
            self.counts["invalid_state"] += 1
            self.invalid = f"customer {customer_id}: {error}"
            return []

    def _tell(self, scored: Sequence[Scored]) -> None:
        self._risk_topic.publish([each.card for each in scored])
        self._store.write_cards([told(each.card) for each in scored if each.card.band_change is not None])
        self._store.schedule({each.card.customer_id: each.due_ms for each in scored})
