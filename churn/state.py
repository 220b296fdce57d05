"""What the fold remembers of one customer, and its bytes.

A state has two halves. `recent` holds the events of the last 24 hours of the customer's own time, sorted, so that a
late or repeated event finds its place; `summary` holds everything before, folded in strict order. Any order of
arrival within the lateness therefore gives the very same state.
"""

import zlib
from typing import Final, NamedTuple

import msgspec

STATE_VERSION: Final = 1
COMPRESS_FROM_BYTES: Final = 1024


class InvalidState(ValueError):
    """These bytes are no state of this fold: rebuild the feature store from the topic."""


class Profile(NamedTuple):
    """What the customer told about themselves; the latest word counts, field by field."""

    age: int | None
    gender: str | None
    location: str | None
    signup_ms: int | None


class Entry(NamedTuple):
    """One event as the fold needs it. Entries sort by time, then by the order in which steps of a visit happen."""

    at_ms: int
    rank: int
    order: int
    product: int
    amount: int
    discount: int
    quantity: int
    category: str | None
    country: str | None
    device: str | None
    channel: str | None
    rating: int | None
    profile: Profile | None


class Order(NamedTuple):
    """The purchase lines that share an order id. Money in minor units; `refund` is capped only when it is read."""

    key: int
    at_ms: int
    lines: int
    quantity: int
    gross: int
    discount: int
    refund: int

    @property
    def value(self) -> int:
        """What was paid before refunds."""
        return self.gross - self.discount

    @property
    def net(self) -> int:
        """What was kept: the value less its refunds, never below nothing."""
        return max(0, self.value - self.refund)

    @property
    def counts(self) -> bool:
        """Whether this is a net order: it has lines and was not fully refunded."""
        return self.lines > 0 and not 0 < self.refund >= self.value


class Day(NamedTuple):
    """Counts of one UTC day, numbered from 1970-01-01."""

    day: int
    views: int
    carts: int
    purchases: int


class LooseRefund(NamedTuple):
    """Refunds of one UTC day that name no order, in minor units."""

    day: int
    amount: int


class _Fields(msgspec.Struct):
    first_at_ms: int = 0
    last_at_ms: int = 0
    events: int = 0
    views: int = 0
    carts: int = 0
    removals: int = 0
    purchases: int = 0
    items: int = 0
    ratings: int = 0
    rating_sum: int = 0
    days: tuple[Day, ...] = ()
    orders: tuple[Order, ...] = ()
    loose_refunds: tuple[LooseRefund, ...] = ()
    past_orders: int = 0
    past_gross: int = 0
    past_net: int = 0
    past_first_order_ms: int = 0
    past_last_order_ms: int = 0
    loose_refunded: int = 0
    session_start_ms: int = 0
    session_end_ms: int = 0
    session_events: int = 0
    closed_sessions: int = 0
    closed_duration_ms: int = 0
    country: str | None = None
    device: str | None = None
    channel: str | None = None
    profile: Profile | None = None


class Summary(_Fields, frozen=True, array_like=True):  # type: ignore[misc] # a rule of dataclasses, not of msgspec
    """Everything before `State.settled_ms`, folded in order of time. Money in minor units, times in epoch milliseconds.

    `past_*` hold the orders that have left `orders` (older than the longest window, or beyond its bound);
    `session_*` is the latest session, `closed_*` sums the sessions before it.
    """


class Tally(_Fields):
    """A summary under work: the same fields, open for change while entries are folded in."""


class State(msgspec.Struct, frozen=True, array_like=True):
    """One customer. `ids[i]` is the 64-bit hash of the event id of `recent[i]`; `recent` is sorted.

    `last_ms` is the newest event time, `settled_ms` the time before which everything lies in `summary`.
    """

    last_ms: int = 0
    settled_ms: int = 0
    ids: tuple[int, ...] = ()
    recent: tuple[Entry, ...] = ()
    summary: Summary = Summary()


EMPTY: Final = State()

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(State)
_PLAIN: Final = bytes([STATE_VERSION, 0])
_COMPRESSED: Final = bytes([STATE_VERSION, 1])


def thaw(summary: Summary) -> Tally:
    return Tally(*msgspec.structs.astuple(summary))


def freeze(tally: Tally) -> Summary:
    return Summary(*msgspec.structs.astuple(tally))


def pack(state: State) -> bytes:
    """The bytes of a state: its version, whether the body is compressed, the body. Equal states give equal bytes."""
    body = _encoder.encode(state)
    if len(body) < COMPRESS_FROM_BYTES:
        return _PLAIN + body
    return _COMPRESSED + zlib.compress(body, 1)


def unpack(packed: bytes) -> State:
    """The state in these bytes. Raises `InvalidState` when another fold version wrote them or they are damaged."""
    if packed[:1] != _PLAIN[:1]:
        written_by = packed[0] if packed else None
        raise InvalidState(
            f"state of fold version {written_by}, this fold is version {STATE_VERSION}: rebuild the feature store"
        )
    try:
        body = zlib.decompress(packed[2:]) if packed[1:2] == _COMPRESSED[1:] else packed[2:]
        return _decoder.decode(body)
    except (zlib.error, msgspec.DecodeError) as error:
        raise InvalidState(f"a damaged state of {len(packed)} bytes: {error}") from error
