"""Batches of messages into states: decode, skip what is applied already, update, remember what is not yet written."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Final, NamedTuple, Protocol

import msgspec

from churn import dead_letters, state
from churn.dead_letters import DeadLetter
from churn.events import InvalidEvent, Reason, decode
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
        self.misses = 0
        self.dropped = 0
        self._forgotten = forgotten
        self._purged_by = forgotten.version

    @property
    def hits(self) -> int:
        """Events whose customer was in memory; `misses` counts those whose state had to be read."""
        return self.applied + self.skipped + self.refused[Reason.WRONG_PARTITION] - self.misses

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

    def customer_of(self, message: Message) -> str | None:
        """Whom the event in this message is about; None where there is no event in it."""
        with suppress(InvalidEvent):
            return decode(message.value, now=_moment(message), currency=self._currency).customer_id
        return None

    def unknown(self, messages: Sequence[Message], read: Container[str]) -> list[str]:
        """Customers to be read before these messages are applied: neither in memory, nor among those `read` already.

        The keys tell who they are; the events themselves, where the first one's key does not.
        """
        names = {key.decode(errors="replace") for key in {message.key for message in messages} if key}
        if self.customer_of(messages[0]) not in names:
            names = {name for name in map(self.customer_of, messages) if name is not None}
        return [name for name in names.difference(self._known, self._packed) if name not in read]

    def _take_to_hand(self, customer_id: str, partition: int, read: dict[str, Kept | None]) -> Kept | None:
        """The state of a customer who is not at hand, from the bytes last written or from what was `read`."""
        packed = self._packed.get(customer_id)
        if packed is not None:
            kept = Kept(state.unpack(packed.packed), packed.partition, packed.offset, packed.rebuilt)
        elif customer_id in read and customer_id not in self._forgotten:
            # It counts once: when the customer was let go of in the meantime, it is too old.
            kept = read.pop(customer_id) or Kept(EMPTY, partition, -1)
            self.misses += 1
        else:
            return None
        self._known[customer_id] = kept
        self._count_events(customer_id)
        return kept

    def _count_events(self, customer_id: str) -> None:
        count = len(self._known[customer_id].state.recent)
        self._events_at_hand += count - self._events.get(customer_id, 0)
        self._events[customer_id] = count

    def _let_go(self, customer_id: str) -> None:
        self._known.pop(customer_id, None)
        self._events_at_hand -= self._events.pop(customer_id, 0)

    def read(self, customer_ids: Sequence[str]) -> dict[str, Kept | None]:
        """Each one's kept state, for `apply`. May run in another thread."""
        found = self._read_states(customer_ids)
        return {customer_id: found.get(customer_id) for customer_id in customer_ids}

    def apply(self, partition: int, messages: Iterable[Message], read: dict[str, Kept | None]) -> list[Message]:
        """Decode these messages and update the states of their customers, skipping what is applied already.

        What is no event becomes a dead letter; nothing of forgotten customers. States are taken out of `read` as they
        are needed; a customer who has none there starts empty. Stops before the first one who is not in it, nor in
        memory; returns what is left from there on.
        """
        known, changed, currency = self._known, self._changed, self._currency
        at_ms, now = -1, datetime.min
        applied = 0
        left = iter(messages)
        rest: list[Message] = []
        for message in left:
            if message.timestamp != at_ms:
                at_ms, now = message.timestamp, _moment(message)
            try:
                event = decode(message.value, now=now, currency=currency)
            except InvalidEvent as error:
                self._refuse(error, partition, message)
                continue
            customer_id = event.customer_id
            kept = known.get(customer_id) or self._take_to_hand(customer_id, partition, read)
            if kept is None:
                if customer_id not in self._forgotten:
                    rest = [message, *left]
                    break
                self.dropped += 1
            elif kept.partition != partition:
                detail = f"customer {customer_id} is kept by partition {kept.partition}: key its events by customer_id"
                self._refuse(InvalidEvent(Reason.WRONG_PARTITION, detail), partition, message)
            elif (offset := message.offset) <= kept.offset:
                self.skipped += 1
                self._repeated.add(customer_id)
            else:
                known[customer_id] = Kept(update(kept.state, event), partition, offset, kept.rebuilt)
                changed.add(customer_id)
                applied += 1
        self.applied += applied
        return rest

    def pass_over(self, partition: int, messages: Iterable[Message], read: dict[str, Kept | None]) -> None:
        """These messages count already: the states of their customers hold them too, and stay the same."""
        for message in messages:
            customer_id = self.customer_of(message)
            if customer_id is None:
                continue
            kept = self._known.get(customer_id) or self._take_to_hand(customer_id, partition, read)
            if kept is not None and message.offset > kept.offset:
                self._known[customer_id] = msgspec.structs.replace(kept, offset=message.offset)
                self._changed.add(customer_id)

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
