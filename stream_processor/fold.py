"""Batches of payloads into states: decode, skip what is applied already, update, remember what is not yet written."""

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from churn import dead_letters, state
from churn.dead_letters import DeadLetter
from churn.events import Event, InvalidEvent, Reason, decode
from churn.feature_store import Kept, StateWrite
from churn.features import update
from churn.state import EMPTY


class Record(NamedTuple):
    """One message of topic `events`."""

    offset: int
    payload: bytes | None


class Changes(NamedTuple):
    """What has to reach Redis and Kafka before the batches may be acknowledged.

    `announced` are customers to publish although nothing is to be written: they were written before a crash that may
    have come before the publishing.
    """

    writes: list[StateWrite]
    announced: list[StateWrite]
    letters: list[DeadLetter]


class Fold:
    """The states of the customers in hand. Not safe for several threads.

    `read_states` gives the kept states of customers that are not in hand; `clock` the moment of reading (aware).
    """

    def __init__(
        self,
        read_states: Callable[[Sequence[str]], dict[str, Kept]],
        clock: Callable[[], datetime],
        *,
        topic: str,
        currency: str,
        max_customers: int,
    ) -> None:
        self._read_states = read_states
        self._clock = clock
        self._topic = topic
        self._currency = currency
        self._max_customers = max_customers
        self._known: dict[str, Kept] = {}
        self._changed: set[str] = set()
        self._repeated: set[str] = set()
        self._letters: list[DeadLetter] = []
        self.applied = 0
        self.skipped = 0
        self.refused = 0

    def decode(self, partition: int, records: Sequence[Record]) -> list[tuple[int, Event]]:
        """The events among these records with their offsets; the others become dead letters."""
        now = self._clock()
        events = []
        for offset, payload in records:
            try:
                events.append((offset, decode(payload, now=now, currency=self._currency)))
            except InvalidEvent as error:
                self._refuse(error, partition, offset, payload, now)
        return events

    def unknown(self, events: Sequence[tuple[int, Event]]) -> list[str]:
        """Customers of these events whose state has to be read first."""
        return [
            customer_id for customer_id in {event.customer_id for _, event in events} if customer_id not in self._known
        ]

    def read(self, customer_ids: Sequence[str]) -> dict[str, Kept]:
        """Their kept states. May run in another thread; pass the result to `learn`."""
        return self._read_states(customer_ids)

    def learn(self, customer_ids: Sequence[str], found: dict[str, Kept], partition: int) -> None:
        """Take the states that were read; a customer without one starts empty."""
        for customer_id in customer_ids:
            self._known[customer_id] = found.get(customer_id) or Kept(EMPTY, partition, -1)

    def apply(
        self, partition: int, events: Sequence[tuple[int, Event]], payload_of: Callable[[int], bytes | None]
    ) -> None:
        """Update the states of these events' customers, all of them known, skipping what is applied already."""
        known = self._known
        changed = self._changed
        for offset, event in events:
            customer_id = event.customer_id
            kept = known[customer_id]
            if kept.partition != partition:
                detail = f"customer {customer_id} is kept by partition {kept.partition}: key its events by customer_id"
                error = InvalidEvent(Reason.WRONG_PARTITION, detail)
                self._refuse(error, partition, offset, payload_of(offset), self._clock())
            elif offset <= kept.offset:
                self.skipped += 1
                self._repeated.add(customer_id)
            else:
                known[customer_id] = Kept(update(kept.state, event), partition, offset)
                changed.add(customer_id)
                self.applied += 1

    def _refuse(self, error: InvalidEvent, partition: int, offset: int, payload: bytes | None, now: datetime) -> None:
        self.refused += 1
        self._letters.append(
            dead_letters.of_message(
                error, payload, topic=self._topic, partition=partition, offset=offset, failed_at=now
            )
        )

    def take_changes(self) -> Changes:
        """What has come together since the last call; the caller writes it before it acknowledges."""
        writes = [self._write_of(customer_id) for customer_id in self._changed]
        announced = [self._write_of(customer_id) for customer_id in self._repeated - self._changed]
        changes = Changes(writes, announced, self._letters)
        self._changed, self._repeated, self._letters = set(), set(), []
        return changes

    def _write_of(self, customer_id: str) -> StateWrite:
        kept = self._known[customer_id]
        return StateWrite(customer_id, kept.partition, kept.offset, state.pack(kept.state))

    def evict(self) -> None:
        """Let go of the longest known customers beyond the bound. Only when all that was taken is written."""
        excess = len(self._known) - self._max_customers
        if excess > 0:
            busy = self._changed | self._repeated
            idle = [customer_id for customer_id in islice(self._known, excess) if customer_id not in busy]
            for customer_id in idle:
                del self._known[customer_id]

    def forget(self) -> None:
        """Drop everything in hand: another worker may own these customers now."""
        self._known.clear()
        self._changed.clear()
        self._repeated.clear()
        self._letters.clear()
