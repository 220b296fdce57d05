"""Batches of messages into states: decode, skip what is applied already, update, remember what is not yet written."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Final, NamedTuple, Protocol

import msgspec

from churn import dead_letters, state
from churn.dead_letters import DeadLetter
from churn.events import Event, InvalidEvent, Reason, decode
from churn.feature_store import Kept, StateWrite
from churn.features import update
from churn.forgotten import NOBODY, Forgotten
from churn.state import EMPTY

# An unpacked state takes up some 1 KB, and 0.2 KB more for each event of the last day that it holds.
MAX_AT_HAND: Final = 20_000
MAX_EVENTS_AT_HAND: Final = 200_000


class Message(Protocol):
    """One message of topic `events`, as the clients of Kafka give it; `timestamp` in epoch milliseconds."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class Changes(NamedTuple):
    """What has to reach Redis and Kafka before the batches may be acknowledged.

    `announced` are customers to publish although nothing is to be written: they were written before a crash that may
    have come before the publishing.
    """

    writes: list[StateWrite]
    announced: list[StateWrite]
    letters: list[DeadLetter]


class Fold:
    """The states of customers in memory, those least recently written let go first. Not safe for several threads.

    Some are at hand, up to `max_at_hand` of them with `max_events_at_hand` recent events; of up to `max_customers` the
    bytes last written are remembered; `read_states` gives the kept states of the others. No clock: an event from the
    future is one that is ahead of its own message, so that a replay years later decides the same.
    """

    def __init__(
        self,
        read_states: Callable[[Sequence[str]], dict[str, Kept]],
        *,
        topic: str,
        currency: str,
        max_customers: int,
        max_at_hand: int = MAX_AT_HAND,
        max_events_at_hand: int = MAX_EVENTS_AT_HAND,
        forgotten: Forgotten = NOBODY,
    ) -> None:
        self._read_states = read_states
        self._topic = topic
        self._currency = currency
        self._max_customers = max_customers
        self._max_at_hand = min(max_at_hand, max_customers)
        self._max_events_at_hand = max_events_at_hand
        self._known: dict[str, Kept] = {}
        self._events: dict[str, int] = {}  # recent events of those at hand, when they were last counted
        self._events_at_hand = 0
        self._packed: dict[str, StateWrite] = {}
        self._changed: set[str] = set()
        self._repeated: set[str] = set()
        self._letters: list[DeadLetter] = []
        self.applied = 0
        self.skipped = 0
        self.refused: Counter[str] = Counter()
        self.last_refused: DeadLetter | None = None
        self.hits = 0
        self.misses = 0
        self.dropped = 0
        self._forgotten = forgotten
        self._decoded_by = self._purged_by = forgotten.version

    @property
    def customers(self) -> int:
        """How many states are in memory; nearly all of those at hand are remembered as bytes too."""
        return max(len(self._known), len(self._packed))

    @property
    def events_at_hand(self) -> int:
        """Recent events of the states at hand, when these were last written."""
        return self._events_at_hand

    @property
    def unwritten(self) -> int:
        """Customers and dead letters that wait for `take_changes`; who changed and repeated counts twice."""
        return len(self._changed) + len(self._repeated) + len(self._letters)

    def decode(self, partition: int, messages: Iterable[Message]) -> list[tuple[Message, Event]]:
        """The messages that are events, with them; the others become dead letters. Nothing of forgotten customers."""
        self._decoded_by = self._forgotten.version
        events = []
        at_ms, now = -1, datetime.min
        for message in messages:
            if message.timestamp != at_ms:
                at_ms, now = message.timestamp, _moment(message)
            try:
                events.append((message, decode(message.value, now=now, currency=self._currency)))
            except InvalidEvent as error:
                self._refuse(error, partition, message)
        return self._remembered(events) if self._forgotten else events

    def _remembered(self, events: list[tuple[Message, Event]]) -> list[tuple[Message, Event]]:
        """Without those of forgotten customers. Who is in memory is not asked for: `purge` lets go of them."""
        new = {event.customer_id for _, event in events} - self._known.keys() - self._packed.keys()
        gone = self._forgotten.among(new)
        kept = [each for each in events if each[1].customer_id not in gone] if gone else events
        self.dropped += len(events) - len(kept)
        return kept

    def purge(self) -> list[str]:
        """Let go of customers who are to be forgotten since the last call; nothing of them is written from now on.

        Returns those who were in memory: what was written of them before has to be removed. Raises what is wrong with
        the list.
        """
        if self._purged_by == self._forgotten.version:
            self._forgotten.require_good()
            return []
        self._purged_by = self._forgotten.version
        gone = self._forgotten.among(self._known.keys() | self._packed.keys())
        for customer_id in gone:
            self._let_go(customer_id)
            self._packed.pop(customer_id, None)
        self._changed -= gone
        self._repeated -= gone
        self._letters = [letter for letter in self._letters if not self._is_of_forgotten(letter)]
        return sorted(gone)

    def _is_of_forgotten(self, letter: DeadLetter) -> bool:
        return bool(self._forgotten) and bool(self._forgotten.among(dead_letters.customers_in(letter)))

    def named(self, messages: Iterable[Message]) -> list[str]:
        """Customers whom these messages name by their keys and who are not in memory: most of the `unknown` to come."""
        keys = {message.key for message in messages}
        names = {key.decode(errors="replace") for key in keys if key}
        return list(names.difference(self._known).difference(self._packed))

    def unknown(self, events: Sequence[tuple[Message, Event]]) -> list[str]:
        """Customers of these events whose state has to be read first."""
        missing = {event.customer_id for _, event in events}.difference(self._known)
        return [customer_id for customer_id in missing if not self._is_remembered(customer_id)]

    def _is_remembered(self, customer_id: str) -> bool:
        """Take the state to hand, if that can be done without asking the store."""
        packed = self._packed.get(customer_id)
        if packed is None:
            return False
        self._known[customer_id] = Kept(state.unpack(packed.packed), packed.partition, packed.offset, packed.rebuilt)
        self._count_events(customer_id)
        return True

    def _count_events(self, customer_id: str) -> None:
        count = len(self._known[customer_id].state.recent)
        self._events_at_hand += count - self._events.get(customer_id, 0)
        self._events[customer_id] = count

    def _let_go(self, customer_id: str) -> None:
        self._known.pop(customer_id, None)
        self._events_at_hand -= self._events.pop(customer_id, 0)

    def read(self, customer_ids: Sequence[str]) -> dict[str, Kept | None]:
        """Each one's kept state. May run in another thread; pass the result to `learn`."""
        found = self._read_states(customer_ids)
        return {customer_id: found.get(customer_id) for customer_id in customer_ids}

    def learn(self, found: Mapping[str, Kept | None], partition: int) -> None:
        """Take the states that were read; a customer without one starts empty."""
        for customer_id, kept in found.items():
            self._known[customer_id] = kept or Kept(EMPTY, partition, -1)
            self._count_events(customer_id)
        if self._decoded_by != self._forgotten.version:
            self._purged_by = -1  # one of them may have been put on the list, and looked for, before we had them

    def apply(self, partition: int, events: Iterable[tuple[Message, Event]]) -> list[tuple[Message, Event]]:
        """Update the states of these events' customers, skipping what is applied already.

        Stops before the first event whose customer is unknown; returns what is left from there on.
        """
        known = self._known
        changed = self._changed
        applied = 0
        left = iter(events)
        rest: list[tuple[Message, Event]] = []
        for message, event in left:
            customer_id = event.customer_id
            if customer_id not in known and not self._is_remembered(customer_id):
                rest = [(message, event), *left]
                break
            kept = known[customer_id]
            if kept.partition != partition:
                detail = f"customer {customer_id} is kept by partition {kept.partition}: key its events by customer_id"
                self._refuse(InvalidEvent(Reason.WRONG_PARTITION, detail), partition, message)
            elif message.offset <= kept.offset:
                self.skipped += 1
                self._repeated.add(customer_id)
            else:
                known[customer_id] = Kept(update(kept.state, event), partition, message.offset, kept.rebuilt)
                changed.add(customer_id)
                applied += 1
        self.applied += applied
        return rest

    def pass_over(self, events: Iterable[tuple[Message, Event]]) -> None:
        """These events of known customers count already: their states hold these messages too, and stay the same."""
        for message, event in events:
            kept = self._known[event.customer_id]
            if message.offset > kept.offset:
                self._known[event.customer_id] = msgspec.structs.replace(kept, offset=message.offset)
                self._changed.add(event.customer_id)

    def _refuse(self, error: InvalidEvent, partition: int, message: Message) -> None:
        letter = dead_letters.of_message(
            error,
            message.value,
            topic=self._topic,
            partition=partition,
            offset=message.offset,
            failed_at=_moment(message),
            key=message.key,
        )
        if self._is_of_forgotten(letter):
            self.dropped += 1
            return
        self.refused[error.reason] += 1
        self.last_refused = letter
        self._letters.append(letter)

    def take_changes(self) -> Changes:
        """What has come together since the last call; the caller writes it before it acknowledges."""
        writes = [self._write_of(customer_id) for customer_id in self._changed]
        announced = [self._write_of(customer_id) for customer_id in self._repeated - self._changed]
        changes = Changes(writes, announced, self._letters)
        self._changed, self._repeated, self._letters = set(), set(), []
        for write in writes:
            customer_id = write.customer_id
            self._packed.pop(customer_id, None)
            self._packed[customer_id] = write  # as the one most recently written, like its state
            self._known[customer_id] = self._known.pop(customer_id)
            self._count_events(customer_id)
        return changes

    def _write_of(self, customer_id: str) -> StateWrite:
        kept = self._known[customer_id]
        return StateWrite(customer_id, kept.partition, kept.offset, state.pack(kept.state), kept.rebuilt)

    def evict(self) -> None:
        """Let go of customers beyond the bounds. Only when all that was taken is written."""
        for customer_id in self._too_much_at_hand():
            self._let_go(customer_id)
        surplus = max(0, len(self._packed) - self._max_customers)
        for customer_id in list(islice(self._packed, surplus)):
            del self._packed[customer_id]

    def _too_much_at_hand(self) -> list[str]:
        """Those to let go, least recently written first; nobody who is yet to be written."""
        busy = self._changed | self._repeated
        customers = len(self._known) - self._max_at_hand
        events = self._events_at_hand - self._max_events_at_hand
        gone: list[str] = []
        for customer_id in self._known:
            if customers <= 0 and events <= 0:
                break
            if customer_id not in busy:
                gone.append(customer_id)
                customers -= 1
                events -= self._events.get(customer_id, 0)
        return gone

    def forget(self) -> None:
        """Drop everything in memory: another worker may own these customers now."""
        self._known.clear()
        self._events.clear()
        self._events_at_hand = 0
        self._packed.clear()
        self._changed.clear()
        self._repeated.clear()
        self._letters.clear()


def _moment(message: Message) -> datetime:
    return datetime.fromtimestamp(message.timestamp / 1000, UTC)
