"""How one row of each kind of file becomes events, whatever spelling its cells have.

The same row gives the same event ids whether it came as text or typed: ids are hashes of values, not of their spelling.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

import pyarrow as pa

from churn import events, history
from churn.events import Event, EventSchema, InvalidEvent, Reason
from producer import cells

Values = Mapping[str, Any]


class Arrival(NamedTuple):
    """An event, and when the shop came to know of it where the file says so."""

    event: Event
    ingested_at: datetime | None = None


Arrivals = tuple[Arrival, ...]

# --- Online Retail (UCI) ----------------------------------------------------------------------------------------------


def online_retail(values: Values, line: int) -> Arrivals:
    """A line of an invoice. A cancellation (InvoiceNo C...) names no order: which one it cancels is not in the data."""
    customer_id = cells.identifier("CustomerID", values["CustomerID"])
    price = cells.number("UnitPrice", values["UnitPrice"])
    if not price > 0:
        raise InvalidEvent(Reason.INVALID_FIELD, f"UnitPrice: {price} is not above 0")
    invoice = cells.identifier("InvoiceNo", values["InvoiceNo"])
    quantity = cells.whole("Quantity", values["Quantity"])
    is_cancelled = invoice.startswith(("C", "c"))
    if (quantity >= 0) if is_cancelled else (quantity <= 0):
        raise InvalidEvent(Reason.INVALID_FIELD, f"Quantity: {quantity} on invoice {invoice}")
    occurred_at = cells.moment("InvoiceDate", values["InvoiceDate"])
    product_id, product_name = cells.text(values["StockCode"]), cells.text(values["Description"])
    country = cells.text(values["Country"])
    return _one(
        event_id=cells.hash_of(invoice, product_id, product_name, quantity, occurred_at, price, customer_id, country),
        event_type="refund" if is_cancelled else "purchase",
        occurred_at=occurred_at,
        customer_id=customer_id,
        product_id=product_id,
        product_name=product_name,
        price=price,
        quantity=abs(quantity),
        order_id=None if is_cancelled else invoice,
        country=country,
    )


def _one(**fields: Any) -> Arrivals:
    return (Arrival(events.from_fields(fields)),)


# --- REES46 -----------------------------------------------------------------------------------------------------------


def rees46(values: Values, line: int) -> Arrivals:
    """An event of the shop. Purchases of one session by one user are one order."""
    customer_id = cells.identifier("user_id", values["user_id"])
    event_type = cells.text(values["event_type"])
    occurred_at = cells.moment("event_time", values["event_time"])
    product_id = cells.text(values["product_id"])
    price = None if cells.is_absent(values["price"]) else cells.number("price", values["price"])
    category, session_id = cells.text(values.get("category_code")), cells.text(values.get("user_session"))
    others = cells.text(values.get("category_id")), cells.text(values.get("brand"))
    if event_type is None:
        raise InvalidEvent(Reason.MISSING_FIELD, "event_type: the row has none")
    return _one(
        event_id=cells.hash_of(occurred_at, event_type, product_id, *others, category, price, customer_id, session_id),
        event_type=event_type,
        occurred_at=occurred_at,
        customer_id=customer_id,
        session_id=session_id,
        product_id=product_id,
        category=category,
        price=price,
        order_id=cells.hash_of(session_id, customer_id) if session_id and event_type == "purchase" else None,
    )


# --- RetailRocket -----------------------------------------------------------------------------------------------------

_RETAILROCKET_TYPES: Final = {"view": "view", "addtocart": "cart", "transaction": "purchase"}


def retailrocket(values: Values, line: int) -> Arrivals:
    """An event of the shop. The data has no prices: a purchase costs 0, so that orders count and revenue does not."""
    customer_id = cells.identifier("visitorid", values["visitorid"])
    said = cells.text(values["event"])
    if said is None:
        raise InvalidEvent(Reason.MISSING_FIELD, "event: the row has none")
    event_type = _RETAILROCKET_TYPES.get(said)
    if event_type is None:
        raise InvalidEvent(Reason.UNKNOWN_TYPE, f"event: {said!r} is none of {', '.join(_RETAILROCKET_TYPES)}")
    occurred_at = cells.epoch_ms("timestamp", values["timestamp"])
    product_id = cells.identifier("itemid", values["itemid"])
    order_id = cells.text(values["transactionid"])
    if (event_type == "purchase") != (order_id is not None):
        raise InvalidEvent(Reason.INVALID_FIELD, f"transactionid: {order_id} on event {said}")
    return _one(
        event_id=cells.hash_of(occurred_at, customer_id, event_type, product_id, order_id),
        event_type=event_type,
        occurred_at=occurred_at,
        customer_id=customer_id,
        product_id=product_id,
        price=0.0 if event_type == "purchase" else None,
        order_id=order_id,
    )


# --- CDNOW ------------------------------------------------------------------------------------------------------------


def cdnow(values: Values, line: int) -> Arrivals:
    """A transaction of a day; two equal rows are two transactions, so that the line is part of the id."""
    customer_id = cells.identifier("customer_id", values["customer_id"])
    occurred_at = cells.compact_day("date", values["date"])
    quantity = cells.whole("quantity", values["quantity"])
    if quantity <= 0:
        raise InvalidEvent(Reason.INVALID_FIELD, f"quantity: {quantity} is not above 0")
    amount = cells.number("amount", values["amount"])
    return _one(
        event_id=cells.hash_of(customer_id, occurred_at, quantity, amount, line),
        event_type="purchase",
        occurred_at=occurred_at,
        customer_id=customer_id,
        price=amount / quantity,
        quantity=quantity,
    )


# --- the sessions pair ------------------------------------------------------------------------------------------------

_STILL_THERE: Final = timedelta(minutes=30)  # the longest pause that does not end a session
_LONGEST_S: Final = 24 * 3600


def customers(values: Values, line: int) -> Arrivals:
    """A customer's profile, known from the day of signing up on."""
    customer_id = cells.identifier("customer_id", values["customer_id"])
    occurred_at = cells.moment("signup_date", values["signup_date"])
    age = None if cells.is_absent(values["age"]) else cells.whole("age", values["age"])
    gender, location = cells.text(values["gender"]), cells.text(values["location"])
    return _one(
        event_id=cells.hash_of("customer", customer_id, age, gender, location, occurred_at),
        event_type="profile",
        occurred_at=occurred_at,
        customer_id=customer_id,
        age=age,
        gender=gender,
        location=location,
        signup_date=occurred_at.date(),
    )


def sessions(values: Values, line: int) -> Arrivals:
    """A visit: a view at its start, a purchase at its end where one was made.

    That the customer was there until the end without buying says an empty profile event: it counts as presence and as
    nothing else. In a visit of more than 30 minutes there is one every 30 minutes, so that it stays one session.
    """
    customer_id = cells.identifier("customer_id", values["customer_id"])
    session_id = cells.identifier("session_id", values["session_id"])
    begins = cells.moment("session_date", values["session_date"])
    product_id = cells.text(values["product_viewed"])
    browsed = timedelta(seconds=_browsing_time_s(values))
    price = _purchase_amount(values)
    whole = cells.hash_of(session_id, customer_id, begins, product_id, browsed.total_seconds(), price)

    def step(kind: str, at: datetime, **more: Any) -> Arrival:
        fields = {"event_type": kind, "occurred_at": at, "customer_id": customer_id, "session_id": session_id, **more}
        return Arrival(events.from_fields({"event_id": cells.hash_of(whole, kind, at), **fields}))

    taken = [step("view", begins, product_id=product_id) if product_id else step("profile", begins)]
    pauses = range(1, -(-browsed // _STILL_THERE))
    taken += [step("profile", begins + number * _STILL_THERE) for number in pauses]
    if price is not None:
        taken.append(step("purchase", begins + browsed, product_id=product_id, price=price, order_id=session_id))
    elif browsed:
        taken.append(step("profile", begins + browsed))
    return tuple(taken)


def _browsing_time_s(values: Values) -> float:
    said = values["browsing_time_sec"]
    seconds = 0.0 if cells.is_absent(said) else cells.number("browsing_time_sec", said)
    if not 0 <= seconds <= _LONGEST_S:
        raise InvalidEvent(Reason.INVALID_FIELD, f"browsing_time_sec: {said} is not between 0 and {_LONGEST_S}")
    return seconds


def _purchase_amount(values: Values) -> float | None:
    """What was paid; None where nothing was bought."""
    said = values["purchase_amount"]
    amount = 0.0 if cells.is_absent(said) else cells.number("purchase_amount", said)
    is_made = cells.flag("purchase_made", values["purchase_made"])
    if is_made and cells.is_absent(said):
        raise InvalidEvent(Reason.MISSING_FIELD, "purchase_amount: a purchase was made, but the row has none")
    if not is_made and amount:
        raise InvalidEvent(Reason.INVALID_FIELD, f"purchase_amount: {said} although no purchase was made")
    return amount if is_made else None


# --- Ebb's own --------------------------------------------------------------------------------------------------------

_WHOLE: Final = frozenset(field.name for field in history.SCHEMA if pa.types.is_integer(field.type))
_NUMBERS: Final = _WHOLE | frozenset(field.name for field in history.SCHEMA if pa.types.is_floating(field.type))


def ebb(values: Values, line: int) -> Arrivals:
    """An event with the columns of the schema; a cell without a value is an absent field."""
    fields = {
        name: _typed(name, value)
        for name, value in values.items()
        if name in EventSchema.model_fields and not cells.is_absent(value)
    }
    ingested_at = values.get("ingested_at")
    known_at = None if cells.is_absent(ingested_at) else cells.moment("ingested_at", ingested_at)
    return (Arrival(events.from_fields(fields), known_at),)


def _typed(name: str, value: Any) -> Any:
    """The value as its field wants it, or unchanged, so that the schema refuses it with its own words."""
    if isinstance(value, datetime):
        return value if value.tzinfo is None else value.astimezone(UTC)
    if name not in _NUMBERS or not isinstance(value, str | float | Decimal):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    if cells.is_absent(number):
        return value
    return int(number) if name in _WHOLE and number.is_integer() else number
