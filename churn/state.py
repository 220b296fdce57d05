"""What the fold remembers of one customer, and its bytes.

A state has two halves. `recent` holds the events of the last 24 hours of the customer's own time, sorted, so that a
late or repeated event finds its place; `summary` holds everything before, folded in strict order. Any order of
arrival within the lateness therefore gives the very same state.
"""

import zlib
from typing import Final

import lz4.block
import msgspec

STATE_VERSION: Final = 3
# LZ4 is much the quicker; zlib keeps the very largest states, of a customer with some 200 events in a day, small.
COMPRESS_FROM_BYTES: Final = 512
DENSE_FROM_BYTES: Final = 16_000


class InvalidState(ValueError):
    """These bytes are no state of this fold: rebuild the feature store from the topic."""


# Hundreds of thousands of what follows lie in memory: the garbage collector, which would look at each of them again and
# again, need not know of any (`gc=False`), because nothing here can be part of a cycle.


class Profile(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the customer told about themselves; the latest word counts, field by field."""

    age: int | None
    gender: str | None
    location: str | None
    signup_ms: int | None


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One event as the fold needs it. In a state they lie by time, then by the order in which steps of a visit happen.

    `order`, `product` and `visit` (the product within the shop's own session) are hashes, 0 where there is none; money
    in minor units.
    """

    at_ms: int
    rank: int
    order: int
    product: int
    visit: int
    amount: int
    discount: int
    quantity: int
    category: str | None
    country: str | None
    device: str | None
    channel: str | None
    rating: int | None
    profile: Profile | None


Sealed = msgspec.Raw
"""A part of a state as its bytes, until somebody looks at it: see `seal`, `opened` and `thaw`."""


class Order(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The purchase lines that share an order id; the last of them came `span_ms` after the first.

    Money in minor units; `refund` is capped only when it is read.
    """

    key: int
    at_ms: int
    span_ms: int
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


# Plain tuples, because one is made for nearly every event.
Day = tuple[int, int, int, int]
"""One UTC day, numbered from 1970-01-01: the day, its views, carts, purchase lines."""
LooseRefund = tuple[int, int]
"""A UTC day, and its refunds that name no order, in minor units."""
Label = tuple[str, int, int]
"""A category, device or channel: its name, how many events named it, how many purchase lines."""
Seen = tuple[int, int, int, int]
"""A product of the running session (`Entry.visit`), when it was first viewed, put into the cart, bought; or 0."""
CartItem = tuple[int, int]
"""A product, and its units in the open cart."""


class _Fields(msgspec.Struct):
    first_at_ms: int = 0
    last_at_ms: int = 0
    events: int = 0
    views: int = 0
    carts: int = 0
    removals: int = 0
    purchases: int = 0
    items: int = 0
    discounted_lines: int = 0
    ratings: int = 0
    rating_sum: int = 0
    days: tuple[Day, ...] = ()
    # Orders, the latest ones, and sums of those before them.
    orders: tuple[Order, ...] = ()
    loose_refunds: tuple[LooseRefund, ...] = ()
    loose_refunded: int = 0
    past_orders: int = 0
    past_bought: int = 0
    past_quantity: int = 0
    past_gross: int = 0
    past_discount: int = 0
    past_net: int = 0
    past_first_order_ms: int = 0
    past_last_order_ms: int = 0
    past_last_line_ms: int = 0
    past_order_days: int = 0
    past_first_day_net: int = 0
    # The latest session, and sums of those before it.
    session_start_ms: int = 0
    session_end_ms: int = 0
    session_views: int = 0
    session_carts: int = 0
    session_purchases: int = 0
    session_events: int = 0
    session_products: tuple[Seen, ...] = ()
    closed_sessions: int = 0
    closed_duration_ms: int = 0
    closed_engaged: int = 0
    closed_with_purchase: int = 0
    # Time to act: how many, their sum, and the latest of them.
    view_to_cart: int = 0
    view_to_cart_ms: int = 0
    latest_view_to_cart_ms: tuple[int, ...] = ()
    cart_to_purchase: int = 0
    cart_to_purchase_ms: int = 0
    latest_cart_to_purchase_ms: tuple[int, ...] = ()
    # The open cart, and what became of the carts before it.
    cart_items: tuple[CartItem, ...] = ()
    cart_last_ms: int = 0
    cart_was_abandoned: bool = False
    carts_started: int = 0
    carts_abandoned: int = 0
    carts_recovered: int = 0
    # What was met: labels with their counts, sketches of distinct ones, histograms.
    categories: tuple[Label, ...] = ()
    devices: tuple[Label, ...] = ()
    channels: tuple[Label, ...] = ()
    products_met: tuple[int, ...] = ()
    product_registers: bytes = b""
    categories_met: tuple[int, ...] = ()
    category_registers: bytes = b""
    activity: tuple[int, ...] = ()
    affinity: tuple[int, ...] = ()
    country: str | None = None
    device: str | None = None
    channel: str | None = None
    profile: Profile | None = None


class Summary(_Fields, frozen=True, array_like=True, gc=False):  # type: ignore[misc] # a rule of dataclasses, not of msgspec
    """Everything before `State.settled_ms`, folded in order of time. Money in minor units, times in epoch milliseconds.

    `past_*` sum the orders that have left `orders` (older than the longest window, or beyond its bound); `past_bought`
    counts the refunded ones too. `activity`
    counts events by hour of day (24), weekday (7, Monday first) and month (12), `affinity` weighted events by the
    last bits of the product's hash; both are empty before the first event.
    """


class Tally(_Fields, gc=False):
    """A summary under work: the same fields, open for change, some of them in containers that are quick to change."""

    categories: dict[str, list[int]] = {}  # type: ignore[assignment]
    devices: dict[str, list[int]] = {}  # type: ignore[assignment]
    channels: dict[str, list[int]] = {}  # type: ignore[assignment]
    session_products: dict[int, list[int]] = {}  # type: ignore[assignment]
    activity: list[int] = []  # type: ignore[assignment]
    affinity: list[int] = []  # type: ignore[assignment]


class State(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One customer. `ids[i]` is the 48-bit hash of the event id of `recent[i]`; `recent` is sorted.

    Entries and summary stay sealed until somebody looks at them: most events only join `recent`, and then a read and a
    write of the state cost little more than copying its bytes.

    `last_ms` is the newest event time, `settled_ms` the time before which everything lies in `summary`. `early_ids` are
    the ids of events that had to be settled before their 24 hours were over, because there were too many.
    """

    last_ms: int = 0
    settled_ms: int = 0
    ids: tuple[int, ...] = ()
    recent: tuple[Sealed, ...] = ()
    summary: Sealed = Sealed(msgspec.msgpack.encode(Summary()))
    early_ids: tuple[int, ...] = ()


EMPTY: Final = State()

_COUNTED: Final = ("categories", "devices", "channels", "session_products")
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(State)
_entry_decoder: Final = msgspec.msgpack.Decoder(Entry)
_summary_decoder: Final = msgspec.msgpack.Decoder(Summary)
_PLAIN: Final = bytes([STATE_VERSION, 0])
_COMPRESSED: Final = bytes([STATE_VERSION, 1])
_DENSE: Final = bytes([STATE_VERSION, 2])


def seal(part: Entry | Summary) -> Sealed:
    """The part as its bytes."""
    return Sealed(_encoder.encode(part))


def opened(sealed: Sealed) -> Entry:
    """The entry in these bytes. Raises `InvalidState` when they are damaged."""
    try:
        return _entry_decoder.decode(sealed)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged("event", sealed, error) from error


def thaw(sealed: Sealed) -> Tally:
    """The summary, open for change. Raises `InvalidState` when its bytes are damaged."""
    try:
        summary = _summary_decoder.decode(sealed)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged("summary", sealed, error) from error
    tally = Tally(*msgspec.structs.astuple(summary))
    tally.categories = {name: [events, bought] for name, events, bought in summary.categories}
    tally.devices = {name: [events, bought] for name, events, bought in summary.devices}
    tally.channels = {name: [events, bought] for name, events, bought in summary.channels}
    tally.session_products = {visit: [view, cart, sale] for visit, view, cart, sale in summary.session_products}
    tally.activity = list(summary.activity)
    tally.affinity = list(summary.affinity)
    return tally


def freeze(tally: Tally) -> Sealed:
    """The tally as a summary, sealed."""
    for name in _COUNTED:
        setattr(tally, name, tuple((first, *rest) for first, rest in getattr(tally, name).items()))
    tally.activity = tuple(tally.activity)  # type: ignore[assignment]
    tally.affinity = tuple(tally.affinity)  # type: ignore[assignment]
    return seal(Summary(*msgspec.structs.astuple(tally)))


def pack(state: State) -> bytes:
    """The bytes of a state: its version, how the body is compressed, the body. Equal states give equal bytes."""
    body = _encoder.encode(state)
    if len(body) < COMPRESS_FROM_BYTES:
        return _PLAIN + body
    if len(body) < DENSE_FROM_BYTES:
        return _COMPRESSED + bytes(lz4.block.compress(body))
    return _DENSE + zlib.compress(body, 1)


def unpack(packed: bytes) -> State:
    """The state in these bytes. Raises `InvalidState` when another fold version wrote them or they are damaged.

    What is damaged within a sealed part, so that it is still a part, is noticed when that is opened.
    """
    if packed[:1] != _PLAIN[:1]:
        found = f"a state of fold version {packed[0]}" if packed else "an empty state"
        raise InvalidState(f"{found}, this fold is version {STATE_VERSION}: rebuild the feature store")
    try:
        return _decoder.decode(_body_of(packed))
    except (lz4.block.LZ4BlockError, zlib.error, msgspec.DecodeError, ValueError) as error:
        raise _damaged("state", packed, error) from error


def _damaged(what: str, found: bytes, error: Exception) -> InvalidState:
    return InvalidState(f"a damaged {what} of {len(bytes(found))} bytes: {error}")


def _body_of(packed: bytes) -> bytes:
    if packed[1:2] == _COMPRESSED[1:]:
        return bytes(lz4.block.decompress(packed[2:]))
    return zlib.decompress(packed[2:]) if packed[1:2] == _DENSE[1:] else packed[2:]
