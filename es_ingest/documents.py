"""A message becomes documents: their index, their id, their version and their bytes, ready for a bulk request.

Pure. The same message always gives the same documents, so that indexing it again changes nothing.
"""

import hashlib
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from churn import dead_letters, events, risk_card, topics
from churn.events import Event, EventSchema, epoch_ms, line_minor
from churn.risk_card import DRIVERS_SHOWN, RiskCard
from es_ingest.templates import CUSTOMERS, DEAD_LETTERS, EVENTS, RISK

# Elasticsearch refuses a whole bulk request for one longer id.
MAX_ID_BYTES: Final = 512


class Message(Protocol):
    """What is used of a Kafka message. `timestamp` is in epoch milliseconds, negative where there is none."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


class Document(NamedTuple):
    """One document on its way: `kind` is its index without the month, `lines` its two lines of a bulk request.

    `message` is what it was made of; None where that is no message.
    """

    kind: str
    lines: bytes
    message: Message | None


def _document_fields() -> list[Any]:
    """The fields of an event's document. Only what is absent is left out: the quantity stands even where it is 1."""
    fields: list[Any] = [("timestamp", datetime), ("ingested_at", datetime)]
    fields += [(name, Any, None) for name in EventSchema.model_fields]
    return [*fields, ("revenue", float | None, None), ("delay_s", float | None, None)]


_EventDocument: Final = msgspec.defstruct(
    "EventDocument", _document_fields(), rename={"timestamp": "@timestamp"}, omit_defaults=True, frozen=True, gc=False
)
_encode: Final = msgspec.json.Encoder().encode
_months: Final[dict[tuple[int, int], str]] = {}


def of_message(message: Message, *, now: datetime, currency: str) -> list[Document]:
    """The documents of a message on topic `events`, `risk` or `dead-letters`; none of a tombstone.

    `now` stands in for the time of a message that has none; `currency` is the shop's own.
    Raises `churn.events.InvalidEvent` for no event, `msgspec.DecodeError` for no card or no dead letter.
    """
    if message.topic == topics.EVENTS:
        return [_of_event(message, now, currency)]
    if message.value is None:
        return []
    if message.topic == topics.RISK:
        return _of_card(message, risk_card.decode(message.value))
    return [_of_letter(message, dead_letters.decode(message.value))]


class _Named(msgspec.Struct):
    customer_id: str


_named: Final = msgspec.json.Decoder(_Named)


def customers_of(message: Message) -> set[str]:
    """Everybody whom a message is about, whether it can be read or not."""
    found = set() if message.key is None else {message.key.decode(errors="replace")}
    try:
        if message.topic == topics.DEAD_LETTERS:
            return found | dead_letters.customers_in(dead_letters.decode(message.value or b""))
        return found | {_named.decode(message.value or b"").customer_id}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return found


def _of_event(message: Message, now: datetime, currency: str) -> Document:
    # An event from the future must stay one when the topic is read again later, so its own arrival is "now".
    ingested_at = datetime.fromtimestamp(message.timestamp / 1000, UTC) if message.timestamp >= 0 else now
    event = events.decode(message.value, now=ingested_at, currency=currency)
    fields = msgspec.structs.astuple(event)  # type: ignore[arg-type] # at run time an event is a struct
    delay_s = (ingested_at - event.occurred_at).total_seconds()
    document = _EventDocument(event.occurred_at, ingested_at, *fields, revenue(event), delay_s)
    # `create`: the first event of an id stays, as it does in the fold.
    action = b'{"create":{"_index":"%b","_id":%b}}\n' % (
        in_month(EVENTS, event.occurred_at).encode(),
        _encode(_bounded_id(event.event_id)),
    )
    return Document(EVENTS, action + _encode(document) + b"\n", message)


def revenue(event: Event) -> float | None:
    """Money of one line in major units: price x quantity less discount, negative for a refund, None for no sale."""
    if event.event_type not in ("purchase", "refund"):
        return None
    minor = line_minor(event) - round((event.discount or 0.0) * 100)
    return (minor if event.event_type == "purchase" else -minor) / 100


def _of_card(message: Message, card: RiskCard) -> list[Document]:
    source = _encode(_card_fields(card))
    as_of = card.as_of.astimezone(UTC).isoformat()
    return [
        _versioned(CUSTOMERS, CUSTOMERS, card.customer_id, card.as_of, source, message),
        _versioned(RISK, in_month(RISK, card.as_of), f"{card.customer_id} {as_of}", card.scored_at, source, message),
    ]


def _card_fields(card: RiskCard) -> dict[str, Any]:
    first = card.drivers[0] if card.drivers else None
    fields = {
        "@timestamp": card.as_of,
        "as_of": card.as_of,
        "scored_at": card.scored_at,
        "customer_id": card.customer_id,
        "status": card.status,
        "risk": card.risk,
        "risk_band": card.risk_band,
        "band_before": card.band_before,
        "band_changed_at": card.band_changed_at,
        "band_change_why": card.band_change and card.band_change.why,
        "trend_7d": card.trend_7d,
        "trend_28d": card.trend_28d,
        "segment": card.segment,
        "tier": card.tier,
        "lifecycle": card.lifecycle,
        "action": card.action,
        "counterfactual": card.counterfactual and card.counterfactual.sentence,
        "counterfactual_risk": card.counterfactual and card.counterfactual.risk,
        "days_late": card.days_late,
        "drivers": [driver.sentence for driver in card.drivers[:DRIVERS_SHOWN]],
        "top_driver": first and first.feature,
        "top_reason": first and first.sentence,
        "money_at_stake": card.money_at_stake,
        "predicted_value": card.predicted_value,
        "model_version": card.model_version,
        "feature_version": card.feature_version,
        **card.features,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _versioned(kind: str, index: str, document_id: str, version: datetime, source: bytes, message: Message) -> Document:
    """A document that an older one never overwrites, whatever the order in which they come."""
    action = {
        "_index": index,
        "_id": _bounded_id(document_id),
        "version": max(0, epoch_ms(version)),
        "version_type": "external_gte",
    }
    return Document(kind, _encode({"index": action}) + b"\n" + source + b"\n", message)


def _of_letter(message: Message, letter: dead_letters.DeadLetter) -> Document:
    action = {"_index": in_month(DEAD_LETTERS, letter.failed_at), "_id": _bounded_id(letter.letter_id)}
    fields = {name: value for name, value in msgspec.structs.asdict(letter).items() if value is not None}
    source = _encode({"@timestamp": letter.failed_at, **fields})
    return Document(DEAD_LETTERS, _encode({"create": action}) + b"\n" + source + b"\n", message)


def in_month(kind: str, moment: datetime) -> str:
    """The index of this kind that holds this moment (aware)."""
    if moment.tzinfo is not UTC:
        moment = _to_utc(moment)
    month = (moment.year, moment.month)
    text = _months.get(month)
    if text is None:
        text = _months[month] = f"{month[0]:04}.{month[1]:02}"
    return f"{kind}-{text}"


def _to_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # the first and the last hours that a datetime can hold have no UTC
        return moment


def _bounded_id(text: str) -> str:
    if len(text) * 4 <= MAX_ID_BYTES or len(text.encode()) <= MAX_ID_BYTES:
        return text
    return hashlib.sha256(text.encode()).hexdigest()
