"""The formats of files that can be replayed: their columns, and which of them a file is."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple, cast

import msgspec

from churn import events
from churn.events import Event, EventSchema, InvalidEvent, Reason
from producer import cells, shops
from producer.errors import MissingColumns
from producer.rows import Row, RowFile
from producer.shops import Arrival, Arrivals, Values


def with_changes(event: Event, **changes: Any) -> Event:
    """The event with other values in these fields, which are not checked again."""
    return cast(Event, msgspec.structs.replace(cast(Any, event), **changes))


class Column(NamedTuple):
    """A column that a format reads, with other names under which files carry it."""

    name: str
    other_names: tuple[str, ...] = ()
    is_required: bool = True


class Table(NamedTuple):
    """How a table is read: its columns in the order of publication, the one that holds the time, and a row's events.

    `has_header` is False where the origin publishes it without one.
    """

    columns: tuple[Column, ...]
    time: str
    read_row: Callable[[Values, int], Arrivals]
    read_time: Callable[[str, Any], datetime] = cells.moment
    has_header: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


def _columns(*names: str) -> tuple[Column, ...]:
    """Columns from names; a `?` at the end marks one that may be missing, a `|` stands between spellings."""
    spelled = [(name.removesuffix("?").split("|"), not name.endswith("?")) for name in names]
    return tuple(Column(first, tuple(others), is_required) for (first, *others), is_required in spelled)


EBB: Final = "ebb"
_EBB_COLUMNS: Final = (
    *(Column(name, (), field.is_required()) for name, field in EventSchema.model_fields.items()),
    Column("ingested_at", (), False),
)

# A format is one table, or several that belong together.
FORMATS: Final[dict[str, tuple[Table, ...]]] = {
    "online-retail": (
        Table(
            _columns(
                *("InvoiceNo|Invoice", "StockCode", "Description|ProductName", "Quantity", "InvoiceDate"),
                *("UnitPrice|Price", "CustomerID|Customer ID", "Country"),
            ),
            "InvoiceDate",
            shops.online_retail,
        ),
    ),
    "rees46": (
        Table(
            _columns(
                *("event_time", "event_type", "product_id", "category_id?", "category_code?", "brand?", "price"),
                *("user_id", "user_session?"),
            ),
            "event_time",
            shops.rees46,
        ),
    ),
    "retailrocket": (
        Table(
            _columns("timestamp", "visitorid", "event", "itemid", "transactionid"),
            "timestamp",
            shops.retailrocket,
            cells.epoch_ms,
        ),
    ),
    "cdnow": (
        Table(
            _columns("customer_id", "sample_id?", "date", "quantity", "amount"),
            "date",
            shops.cdnow,
            cells.compact_day,
            has_header=False,
        ),
    ),
    "sessions": (
        Table(_columns("customer_id", "age", "gender", "location", "signup_date"), "signup_date", shops.customers),
        Table(
            _columns(
                *("session_id", "customer_id", "session_date", "product_viewed", "browsing_time_sec"),
                *("purchase_made", "purchase_amount"),
            ),
            "session_date",
            shops.sessions,
        ),
    ),
    EBB: (Table(_EBB_COLUMNS, "occurred_at", shops.ebb),),
}


class Adapter:
    """Reads the rows of one file as events of one format.

    Raises `MissingColumns` when the file is not of this format: the message names what is missing and what was found.
    """

    def __init__(self, format_name: str, file: RowFile, currency: str) -> None:
        self._currency = currency
        self._is_json = file.is_json
        # A line of our own JSON is decoded as the payload that it is.
        self._is_payload = file.is_json and format_name == EBB
        self.table, self.found = _table_of(format_name, file, self._is_payload)

    @property
    def time_columns(self) -> tuple[str, ...]:
        """The file's own names of the columns that hold the time; none where a row is a text of its own."""
        return () if self._is_json else (self.found[self.table.time],)

    def read(self, row: Row) -> Arrivals:
        """The events of a row; raises `InvalidEvent` where it is none. Whether they lie in the future is not asked."""
        if row.fault:
            raise row.fault
        if self._is_payload:
            return (Arrival(events.decode(row.text, now=_FAR_FUTURE, currency=self._currency)),)
        return self.table.read_row(self.values(row), row.line)

    def values(self, row: Row) -> dict[str, Any]:
        """The cells of a row by the format's own names; raises `InvalidEvent` for JSON that is no object."""
        if not self._is_json:
            return {name: row.values[found] for name, found in self.found.items()}
        said = self.decoded(row)
        return {name: said.get(found) for name, found in self.found.items()}

    def decoded(self, row: Row) -> Values:
        """The cells of a row by the file's names; raises `InvalidEvent` for JSON that is no object."""
        if not self._is_json:
            return row.values
        try:
            return _json_object.decode(row.text or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidEvent(Reason.BROKEN_JSON, str(error)) from None

    def read_time(self, row: Row) -> datetime | None:
        """When the row says that it happened; None where it does not say."""
        try:
            if row.fault:
                return None
            if self._is_payload:
                return _timed_decoder.decode(row.text or b"").occurred_at
            time = self.table.time
            said = self.values(row)[time] if self._is_json else row.values[self.found[time]]
            return self.table.read_time("", said)
        except (InvalidEvent, msgspec.DecodeError, UnicodeDecodeError):
            return None


class _Timed(msgspec.Struct):
    occurred_at: Annotated[datetime, msgspec.Meta(tz=True)]


_timed_decoder: Final = msgspec.json.Decoder(_Timed)
_json_object: Final = msgspec.json.Decoder(dict[str, Any])
_FAR_FUTURE: Final = datetime(9999, 1, 1, tzinfo=UTC)


def _table_of(format_name: str, file: RowFile, is_payload: bool) -> tuple[Table, dict[str, str]]:
    """The table of the format that the file is, and the file's name for each column of it."""
    tables = FORMATS[format_name]
    if is_payload:
        return tables[0], found_columns(tables[0], file.columns)
    found = [found_columns(table, file.columns) for table in tables]
    for table, names in zip(tables, found, strict=True):
        if not _missing(table, names):
            return table, names
    needs = "; or ".join(_named(_missing(table, names)) for table, names in zip(tables, found, strict=True))
    raise MissingColumns(
        f"{file.name}: format {format_name} needs columns that are missing: {needs}; found: {', '.join(file.columns)}"
    )


def formats_of(file: RowFile) -> list[str]:
    """The formats whose columns the file has."""
    return [
        name
        for name, tables in FORMATS.items()
        if any(not _missing(table, found_columns(table, file.columns)) for table in tables)
    ]


def found_columns(table: Table, columns: Sequence[str]) -> dict[str, str]:
    """The format's name of each column that the file has, and the file's name for it; case and spaces do not count."""
    named = {_spelled(name): name for name in reversed(columns)}
    found = {}
    for column in table.columns:
        for name in reversed((column.name, *column.other_names)):
            if _spelled(name) in named:
                found[column.name] = name if name in columns else named[_spelled(name)]
    return found


def _spelled(name: str) -> str:
    return name.lower().replace(" ", "").replace("_", "")


def _missing(table: Table, found: Mapping[str, str]) -> list[Column]:
    return [column for column in table.columns if column.is_required and column.name not in found]


def _named(columns: list[Column]) -> str:
    return ", ".join(" or ".join((column.name, *column.other_names)) for column in columns)
