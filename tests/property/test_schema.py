"""The quick decoder is derived from the schema and accepts exactly what the schema accepts."""

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from churn.events import Event, EventSchema, hot_decoder

TIMES = [
    "2026-03-01T10:00:00Z",
    "2026-03-01T10:00:00z",
    "2026-03-01t10:00:00Z",
    "2026-03-01 10:00:00Z",
    "2026-03-01T10:00:00.123456Z",
    "2026-03-01T10:00:00.1Z",
    "2026-03-01T10:00:00.1234567Z",
    "2026-03-01T10:00:00.12345678912Z",
    "2026-03-01T10:00:00+05:30",
    "2026-03-01T10:00:00-0530",
    "2026-03-01T10:00:00+24:00",
    "2026-03-01T10:00:00",
    "2026-03-01T10:00Z",
    "2026-03-01T24:00:00Z",
    "2026-02-30T10:00:00Z",
    "0001-01-01T00:00:00+01:00",
    "2026-03-01",
    "",
    1772359200,
    None,
]
ODD: list[Any] = [None, True, False, 0, -1, 1, 5, 6, 130, 131, 2.0, 2.5, -0.5, 1e308, 10_000_000, 10_000_001, 10**30]
ODD += [
    "",
    "x",
    "view",
    "Ä" * 128,
    "Ä" * 129,
    "x" * 256,
    "x" * 257,
    "EUR",
    "EURO",
    "2026-01-31",
    "2026-1-31",
    "\ud800",
    [],
    {},
]
GOOD = {
    "event_id": "e1",
    "event_type": "purchase",
    "occurred_at": "2026-03-01T10:00:00Z",
    "customer_id": "c1",
    "price": 12.5,
    "quantity": 2,
}


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """A good event of which up to three fields are replaced, left out or added."""
    fields: dict[str, Any] = dict(GOOD)
    for name in draw(st.lists(st.sampled_from([*EventSchema.model_fields, "unknown"]), max_size=3)):
        value = draw(st.sampled_from([*(TIMES if name == "occurred_at" else ODD), ...]))
        fields.pop(name, None)
        if value is not ...:
            fields[name] = value
    return json.dumps(fields).encode()


def by_struct(payload: bytes) -> Event | None:
    try:
        event: Event = hot_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return event


def by_schema(payload: bytes) -> Event | None:
    try:
        return Event(**EventSchema.model_validate_json(payload).model_dump())
    except ValidationError:
        return None


@settings(max_examples=2_000, deadline=None)
@given(payloads())
def test_struct_and_schema_accept_the_same_payloads_and_read_them_alike(payload: bytes) -> None:
    assert by_struct(payload) == by_schema(payload)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_no_bytes_make_one_of_them_fail_otherwise(payload: bytes) -> None:
    assert by_struct(payload) == by_schema(payload)
