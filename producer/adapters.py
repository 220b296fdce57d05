"""The formats of files that can be replayed, and how a row of each becomes an event.

The same row gives the same event id whether it came as text or typed: ids are hashes of values, not of their spelling.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple, cast

import msgspec
import pyarrow as pa

from churn import events, history
from churn.events import Event, EventSchema, InvalidEvent, Reason
from producer import cells
from producer.errors import MissingColumns
from producer.files import Row, RowFile

Values = Mapping[str, Any]


class Arrival(NamedTuple):
    """An event, and when the shop came to know of it where the file says so."""

    event: Event
    ingested_at: datetime | None = None


def with_changes(event: Event, **changes: Any) -> Event:
    """The event with other values in these fields, which are not checked again."""
    return cast(Event, msgspec.structs.replace(cast(Any, event), **changes))


class Column(NamedTuple):
    """A column that a format reads, with other names under which files carry it."""

    name: str
    other_names: tuple[str, ...] = ()
    is_required: bool = True


class Format(NamedTuple):
    """How files of one origin are read: their columns, which one holds the time, and the event of a row."""

    columns: tuple[Column, ...]
    time: str
    read_row: Callable[[Values], Arrival]


# --- Online Retail (UCI) ----------------------------------------------------------------------------------------------


def _online_retail(values: Values) -> Arrival:
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
    fields = {
        "event_id": cells.hash_of(
            invoice, product_id, product_name, quantity, occurred_at, price, customer_id, country
        ),
        "event_type": "refund" if is_cancelled else "purchase",
        "occurred_at": occurred_at,
        "customer_id": customer_id,
        "product_id": product_id,
        "product_name": product_name,
        "price": price,
        "quantity": abs(quantity),
        "order_id": None if is_cancelled else invoice,
        "country": country,
    }
    return Arrival(events.from_fields(fields))


# --- REES46 -----------------------------------------------------------------------------------------------------------


def _rees46(values: Values) -> Arrival:
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
    fields = {
        "event_id": cells.hash_of(
            occurred_at, event_type, product_id, *others, category, price, customer_id, session_id
        ),
        "event_type": event_type,
        "occurred_at": occurred_at,
        "customer_id": customer_id,
        "session_id": session_id,
        "product_id": product_id,
        "category": category,
        "price": price,
        "order_id": cells.hash_of(session_id, customer_id) if session_id and event_type == "purchase" else None,
    }
    return Arrival(events.from_fields(fields))


# --- Ebb's own --------------------------------------------------------------------------------------------------------

_WHOLE: Final = frozenset(field.name for field in history.SCHEMA if pa.types.is_integer(field.type))
_NUMBERS: Final = _WHOLE | frozenset(field.name for field in history.SCHEMA if pa.types.is_floating(field.type))


def _ebb(values: Values) -> Arrival:
    """An event with the columns of the schema; a cell without a value is an absent field."""
    fields = {
        name: _typed(name, value)
        for name, value in values.items()
        if name in EventSchema.model_fields and not cells.is_absent(value)
    }
    ingested_at = values.get("ingested_at")
    known_at = None if cells.is_absent(ingested_at) else cells.moment("ingested_at", ingested_at)
    return Arrival(events.from_fields(fields), known_at)


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


# --- formats ----------------------------------------------------------------------------------------------------------

FORMATS: Final[dict[str, Format]] = {
    "online-retail": Format(
        (
            Column("InvoiceNo", ("Invoice",)),
            Column("StockCode"),
            Column("Description", ("ProductName",)),
            Column("Quantity"),
            Column("InvoiceDate"),
            Column("UnitPrice", ("Price",)),
            Column("CustomerID", ("Customer ID",)),
            Column("Country"),
        ),
        "InvoiceDate",
        _online_retail,
    ),
    "rees46": Format(
        (
            *(Column(name) for name in ("event_time", "event_type", "product_id", "price", "user_id")),
            *(Column(name, (), False) for name in ("category_id", "category_code", "brand", "user_session")),
        ),
        "event_time",
        _rees46,
    ),
    "ebb": Format(
        (
            *(Column(name, (), field.is_required()) for name, field in EventSchema.model_fields.items()),
            Column("ingested_at", (), False),
        ),
        "occurred_at",
        _ebb,
    ),
}


class Adapter:
    """Reads the rows of one file as events of one format.

    Raises `MissingColumns` when the file is not of this format: the message names what is missing and what was found.
    """

    def __init__(self, format_name: str, file: RowFile, currency: str) -> None:
        self._format = FORMATS[format_name]
        self._currency = currency
        self._is_json = file.columns is None
        self._found = _found_columns(format_name, file.columns or ())
        if not self._is_json:
            _require_columns(format_name, file, self._found)
        elif format_name != "ebb":
            raise MissingColumns(f"{file.name}: JSON Lines are read as format ebb, {format_name} is CSV or Parquet")

    @property
    def time_columns(self) -> tuple[str, ...]:
        """The file's own names of the columns that hold the time; none where a row is a text of its own."""
        return () if self._is_json else (self._found[self._format.time],)

    def read(self, row: Row) -> Arrival:
        """The event of a row; raises `InvalidEvent` where it is none. Whether it lies in the future is not asked."""
        if row.fault:
            raise row.fault
        if self._is_json:
            return Arrival(events.decode(row.text, now=_FAR_FUTURE, currency=self._currency))
        return self._format.read_row({name: row.values[found] for name, found in self._found.items()})

    def read_time(self, row: Row) -> datetime | None:
        """When the row says that it happened; None where it does not say."""
        try:
            if self._is_json:
                return _timed_decoder.decode(row.text or b"").occurred_at
            return None if row.fault else cells.moment("", row.values[self._found[self._format.time]])
        except (InvalidEvent, msgspec.DecodeError, UnicodeDecodeError):
            return None


class _Timed(msgspec.Struct):
    occurred_at: Annotated[datetime, msgspec.Meta(tz=True)]


_timed_decoder: Final = msgspec.json.Decoder(_Timed)
_FAR_FUTURE: Final = datetime(9999, 1, 1, tzinfo=UTC)


def _found_columns(format_name: str, columns: tuple[str, ...]) -> dict[str, str]:
    """The format's name of each column that the file has, and the file's name for it."""
    found = {}
    for column in FORMATS[format_name].columns:
        for name in reversed((column.name, *column.other_names)):
            if name in columns:
                found[column.name] = name
    return found


def _require_columns(format_name: str, file: RowFile, found: Mapping[str, str]) -> None:
    missing = [column for column in FORMATS[format_name].columns if column.is_required and column.name not in found]
    if missing:
        named = ", ".join(" or ".join((column.name, *column.other_names)) for column in missing)
        raise MissingColumns(
            f"{file.name}: format {format_name} needs columns that are missing: {named}; "
            f"found: {', '.join(file.columns or ())}"
        )
