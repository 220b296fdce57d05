"""What a customer did: the one schema of an event, and the way between bytes and a frozen record.

The schema is the pydantic model `EventSchema`. The hot path decodes with a msgspec struct derived from it, field by
field; a payload that the struct refuses is read again by pydantic, which has the last word and the better message.
Pure: no clock, no environment, no service.
"""

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin

import annotated_types
import msgspec
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

MAX_PAYLOAD_BYTES: Final = 64 * 1024
MAX_CLOCK_AHEAD: Final = timedelta(minutes=5)

EventType = Literal["view", "cart", "remove_from_cart", "purchase", "refund", "rating", "profile"]


def _read_moment(value: object) -> object:
    return _read_text(value, datetime, "2026-01-31T12:00:00Z")


def _read_day(value: object) -> object:
    return _read_text(value, date, "2026-01-31")


def _read_text(value: object, kind: type[date], example: str) -> object:
    """A time as the struct reads it, so that both read alike."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        raise ValueError(f"not written like {example}") from None


Identifier = Annotated[str, Field(min_length=1, max_length=128)]
Label = Annotated[str, Field(min_length=1, max_length=256)]
Moment = Annotated[AwareDatetime, BeforeValidator(_read_moment)]
Day = Annotated[date, BeforeValidator(_read_day)]


class EventSchema(BaseModel):
    """One thing that one customer did. Fields that are not named here are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", title="Event")

    event_id: Identifier = Field(description="Names this event; a repeated id counts once.")
    event_type: EventType = Field(description="What happened.")
    occurred_at: Moment = Field(description="When it happened, with its offset from UTC.")
    customer_id: Identifier = Field(description="Who did it; the Kafka key.")
    session_id: Identifier | None = Field(
        None, description="The shop's own session; sessions here follow the 30-minute rule."
    )
    product_id: Identifier | None = Field(None, description="Required for view, cart and remove_from_cart.")
    product_name: Label | None = None
    category: Label | None = None
    price: Annotated[float, Field(ge=0, le=10_000_000)] | None = Field(
        None, description="Price of one unit in major units; required for purchase and refund."
    )
    quantity: Annotated[int, Field(ge=1, le=1_000_000)] = Field(1, description="Units of this line.")
    order_id: Identifier | None = Field(
        None, description="Joins purchase lines to an order, and a refund to its order."
    )
    currency: Annotated[str, Field(min_length=3, max_length=3)] | None = Field(
        None, description="ISO 4217 code; absent means the shop's own currency, any other is refused."
    )
    discount: Annotated[float, Field(ge=0, le=10_000_000)] | None = Field(
        None, description="Money taken off the whole line, in major units; at most what the line costs counts."
    )
    channel: Label | None = None
    campaign: Label | None = None
    device: Label | None = None
    country: Label | None = None
    rating: Annotated[int, Field(ge=1, le=5)] | None = Field(None, description="1 to 5; required for rating.")
    age: Annotated[int, Field(ge=0, le=130)] | None = None
    gender: Label | None = None
    location: Label | None = None
    signup_date: Day | None = None


def _hot_type(annotation: Any, metadata: tuple[object, ...]) -> Any:
    """The msgspec type that accepts what pydantic accepts for this annotation."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _hot_type(inner, (*more, *metadata))
    if get_origin(annotation) in (Union, UnionType):
        members = tuple(_hot_type(member, metadata) for member in get_args(annotation))
        return Union[members]  # noqa: UP007 - the members are known only at run time
    limits: dict[str, Any] = {}
    for item in metadata:
        parts = item.metadata if hasattr(item, "metadata") else [item]
        for part in parts:
            match part:
                case annotated_types.Ge(ge=bound):
                    limits["ge"] = bound
                case annotated_types.Le(le=bound):
                    limits["le"] = bound
                case annotated_types.MinLen(min_length=length):
                    limits["min_length"] = length
                case annotated_types.MaxLen(max_length=length):
                    limits["max_length"] = length
    if annotation is AwareDatetime or annotation is datetime:
        return Annotated[datetime, msgspec.Meta(tz=True)]
    if annotation is type(None) or not limits:
        return annotation
    return Annotated[annotation, msgspec.Meta(**limits)]


class _Record(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What every decoded event is: an immutable record with the fields of `EventSchema`."""


def _fields_of_schema() -> list[Any]:
    fields: list[Any] = []
    for name, field in EventSchema.model_fields.items():
        hot = _hot_type(field.annotation, tuple(field.metadata))
        fields.append((name, hot) if field.is_required() else (name, hot, field.default))
    return fields


if TYPE_CHECKING:
    Event = EventSchema
else:
    Event = msgspec.defstruct("Event", _fields_of_schema(), bases=(_Record,), module=__name__, frozen=True)


class Reason(StrEnum):
    """Why a payload is no event. Dead letters, metrics and boards use these words."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    BROKEN_JSON = "broken_json"
    UNKNOWN_TYPE = "unknown_type"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    NAIVE_TIME = "naive_time"
    FUTURE_TIME = "future_time"
    UNKNOWN_CURRENCY = "unknown_currency"
    WRONG_PARTITION = "wrong_partition"
    INVALID_ROW = "invalid_row"


class InvalidEvent(ValueError):
    """This payload is no event: `reason` for counting, the message for people."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


_REQUIRED_BY_TYPE: Final[dict[str, str]] = {
    "view": "product_id",
    "cart": "product_id",
    "remove_from_cart": "product_id",
    "purchase": "price",
    "refund": "price",
    "rating": "rating",
}
hot_decoder: Final = msgspec.json.Decoder(Event)
_encoder: Final = msgspec.json.Encoder()


def decode(payload: bytes | None, *, now: datetime, currency: str) -> Event:
    """Read one event from the bytes of a message.

    `now` is the moment of reading (aware); `currency` is the shop's own ISO code.
    Raises `InvalidEvent`, with the reason, for everything that is not an event of this shop.
    """
    if not payload:
        raise InvalidEvent(Reason.EMPTY, "the message has no value")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise InvalidEvent(Reason.TOO_LARGE, f"{len(payload)} bytes, at most {MAX_PAYLOAD_BYTES} are read")
    try:
        event: Event = hot_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        event = _decode_by_schema(payload)
    check(event, now=now, currency=currency)
    return event


def check(event: Event, *, now: datetime, currency: str) -> None:
    """Refuse what the fields alone cannot tell: raises `InvalidEvent`. Arguments as in `decode`."""
    required = _REQUIRED_BY_TYPE.get(event.event_type)
    if required is not None and getattr(event, required) is None:
        raise InvalidEvent(Reason.MISSING_FIELD, f"{required}: a {event.event_type} needs it")
    if event.occurred_at > now + MAX_CLOCK_AHEAD:
        raise InvalidEvent(
            Reason.FUTURE_TIME, f"occurred_at {event.occurred_at.isoformat()} is after {now.isoformat()}"
        )
    if event.currency is not None and event.currency != currency:
        raise InvalidEvent(Reason.UNKNOWN_CURRENCY, f"currency {event.currency!r}: this shop counts in {currency}")


def _decode_by_schema(payload: bytes) -> Event:
    try:
        read = EventSchema.model_validate_json(payload)
    except ValidationError as error:
        raise _refusal(error) from None
    return from_fields(read.model_dump())


def from_fields(fields: dict[str, Any]) -> Event:
    """An event from already typed fields; raises `InvalidEvent` where they do not fit the schema."""
    try:
        return msgspec.convert(fields, Event)
    except msgspec.ValidationError:
        pass
    try:
        read = EventSchema.model_validate(fields)
    except ValidationError as error:
        raise _refusal(error) from None
    return Event(**read.model_dump())


def _refusal(error: ValidationError) -> InvalidEvent:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    detail = f"{field}: {first['msg']}" if field else first["msg"]
    match first["type"]:
        case "json_invalid":
            reason = Reason.BROKEN_JSON
        case "missing":
            reason = Reason.MISSING_FIELD
        case "timezone_aware":
            reason = Reason.NAIVE_TIME
        case "literal_error" if field == "event_type":
            reason = Reason.UNKNOWN_TYPE
        case _:
            reason = Reason.INVALID_FIELD
    return InvalidEvent(reason, detail)


def encode(event: Event) -> bytes:
    """The bytes of an event on the topic; `decode(encode(event))` is `event`. Absent fields are left out."""
    return _encoder.encode(event)


def epoch_ms(moment: datetime) -> int:
    """Whole milliseconds since 1970-01-01 UTC, rounded down."""
    return (moment - _EPOCH) // _MILLISECOND


def line_minor(event: Event) -> int:
    """Money of the whole line before discount, in minor units: price x quantity, rounded to the nearest unit."""
    return round((event.price or 0.0) * event.quantity * 100)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
