"""An event is what the schema says; everything else is refused with the reason."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from churn.events import MAX_PAYLOAD_BYTES, InvalidEvent, Reason, decode, encode, line_minor

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PURCHASE: dict[str, Any] = {
    "event_id": "e1",
    "event_type": "purchase",
    "occurred_at": "2026-03-01T11:59:00Z",
    "customer_id": "c1",
    "product_id": "p1",
    "price": 12.5,
    "quantity": 2,
    "order_id": "o1",
}


def payload(**changes: Any) -> bytes:
    fields = {**PURCHASE, **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def refusal(message: bytes | None) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        decode(message, now=NOW, currency="EUR")
    return caught.value


def test_a_good_payload_becomes_a_record() -> None:
    event = decode(payload(), now=NOW, currency="EUR")
    assert (event.customer_id, event.event_type, event.price, event.quantity) == ("c1", "purchase", 12.5, 2)
    assert event.occurred_at == datetime(2026, 3, 1, 11, 59, tzinfo=UTC)


def test_encoding_and_decoding_lose_nothing() -> None:
    event = decode(payload(signup_date="2025-02-03", country="Köln", discount=0.5), now=NOW, currency="EUR")
    assert decode(encode(event), now=NOW, currency="EUR") == event


def test_unknown_fields_are_ignored() -> None:
    assert decode(payload(shoe_size=43), now=NOW, currency="EUR") == decode(payload(), now=NOW, currency="EUR")


@pytest.mark.parametrize(
    ("message", "reason", "named"),
    [
        (None, Reason.EMPTY, "no value"),
        (b"", Reason.EMPTY, "no value"),
        (b"{", Reason.BROKEN_JSON, "JSON"),
        (b"\xff\xfe", Reason.BROKEN_JSON, "JSON"),
        (b"[1, 2]", Reason.INVALID_FIELD, "object"),
        (b"x" * (MAX_PAYLOAD_BYTES + 1), Reason.TOO_LARGE, str(MAX_PAYLOAD_BYTES + 1)),
        (payload(event_type="dance"), Reason.UNKNOWN_TYPE, "event_type"),
        (payload(customer_id=...), Reason.MISSING_FIELD, "customer_id"),
        (payload(customer_id=""), Reason.INVALID_FIELD, "customer_id"),
        (payload(customer_id=7), Reason.INVALID_FIELD, "customer_id"),
        (payload(price=-1), Reason.INVALID_FIELD, "price"),
        (payload(price=...), Reason.MISSING_FIELD, "price"),
        (payload(event_type="view", product_id=...), Reason.MISSING_FIELD, "product_id"),
        (payload(event_type="rating"), Reason.MISSING_FIELD, "rating"),
        (payload(quantity=0), Reason.INVALID_FIELD, "quantity"),
        (payload(occurred_at="2026-03-01T11:59:00"), Reason.NAIVE_TIME, "occurred_at"),
        (payload(occurred_at="yesterday"), Reason.INVALID_FIELD, "occurred_at"),
        (payload(occurred_at="2026-03-01T12:05:01Z"), Reason.FUTURE_TIME, "occurred_at"),
        (payload(currency="XXX"), Reason.UNKNOWN_CURRENCY, "EUR"),
    ],
)
def test_a_bad_payload_is_refused_with_its_reason_and_the_field(
    message: bytes | None, reason: Reason, named: str
) -> None:
    error = refusal(message)
    assert error.reason == reason
    assert named in error.detail


def test_a_clock_five_minutes_ahead_is_tolerated() -> None:
    event = decode(payload(occurred_at="2026-03-01T12:05:00Z"), now=NOW, currency="EUR")
    assert event.occurred_at == NOW + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("price", "quantity", "minor"), [(2.55, 6, 1530), (0.001, 1, 0), (2.08, 80995, 16846960), (0.1, 3, 30)]
)
def test_money_of_a_line_is_whole_minor_units(price: float, quantity: int, minor: int) -> None:
    assert line_minor(decode(payload(price=price, quantity=quantity), now=NOW, currency="EUR")) == minor
