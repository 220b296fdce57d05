"""What each column of each format holds, and what a missing cell of it asks for: declared once, for `clean`."""

from enum import StrEnum
from typing import Final, NamedTuple

from churn.events import EventSchema
from producer.adapters import EBB, FORMATS, Table


class Kind(StrEnum):
    """What a column holds, and with that how its cells are read."""

    IDENTIFIER = "identifier"
    LEVEL = "level"  # one of few words, whose spellings are made equal
    TEXT = "text"
    NUMBER = "number"
    WHOLE = "whole number"
    TIME = "time"
    DAY = "day"
    FLAG = "yes or no"


class Missing(StrEnum):
    """What a missing cell asks for."""

    KEEP = "keep"
    DROP = "drop"  # the row is set aside
    IMPUTE = "impute"  # the median of the column stands in
    REFUSE = "refuse"  # the whole file is refused


class Rule(NamedTuple):
    """`low` and `high` are the bounds of a number; where `is_open`, `low` itself is out of them."""

    kind: Kind
    missing: Missing
    low: float | None = None
    high: float | None = None
    is_open: bool = False


_ID: Final = Rule(Kind.IDENTIFIER, Missing.DROP)
_MAYBE_ID: Final = Rule(Kind.IDENTIFIER, Missing.KEEP)
_LEVEL: Final = Rule(Kind.LEVEL, Missing.KEEP)
_TYPE: Final = Rule(Kind.LEVEL, Missing.DROP)
_TEXT: Final = Rule(Kind.TEXT, Missing.KEEP)
_TIME: Final = Rule(Kind.TIME, Missing.DROP)
_PRICE: Final = Rule(Kind.NUMBER, Missing.KEEP, 0, 10_000_000)
_AGE: Final = Rule(Kind.WHOLE, Missing.IMPUTE, 0, 130)

# The rules of the tables of each format, in the order of `FORMATS`; a column that is not named is a text to keep.
_RULES: Final[dict[str, tuple[dict[str, Rule], ...]]] = {
    "online-retail": (
        {
            "InvoiceNo": _ID,
            "StockCode": _LEVEL,
            "Quantity": Rule(Kind.WHOLE, Missing.DROP),
            "InvoiceDate": _TIME,
            "UnitPrice": Rule(Kind.NUMBER, Missing.DROP, 0, is_open=True),
            "CustomerID": _ID,
            "Country": _LEVEL,
        },
    ),
    "rees46": (
        {
            "event_time": _TIME,
            "event_type": _TYPE,
            "product_id": _ID,
            "category_id": _MAYBE_ID,
            "category_code": _LEVEL,
            "brand": _LEVEL,
            "price": _PRICE,
            "user_id": _ID,
            "user_session": _MAYBE_ID,
        },
    ),
    "retailrocket": (
        {"timestamp": _TIME, "visitorid": _ID, "event": _TYPE, "itemid": _ID, "transactionid": _MAYBE_ID},
    ),
    "cdnow": (
        {
            "customer_id": _ID,
            "sample_id": _MAYBE_ID,
            "date": _TIME,
            "quantity": Rule(Kind.WHOLE, Missing.DROP, 1),
            "amount": Rule(Kind.NUMBER, Missing.DROP, 0),
        },
    ),
    "sessions": (
        {"customer_id": _ID, "age": _AGE, "gender": _LEVEL, "location": _LEVEL, "signup_date": _TIME},
        {
            "session_id": _ID,
            "customer_id": _ID,
            "session_date": _TIME,
            "product_viewed": _MAYBE_ID,
            "browsing_time_sec": Rule(Kind.NUMBER, Missing.IMPUTE, 0, 24 * 3600),
            "purchase_made": Rule(Kind.FLAG, Missing.DROP),
            "purchase_amount": _PRICE,
        },
    ),
    EBB: (
        {
            **dict.fromkeys(("category", "channel", "campaign", "device", "country", "gender", "location"), _LEVEL),
            **dict.fromkeys(("session_id", "product_id", "order_id", "currency"), _MAYBE_ID),
            **dict.fromkeys(("event_id", "customer_id"), _ID),
            "event_type": _TYPE,
            "occurred_at": _TIME,
            "price": _PRICE,
            "quantity": Rule(Kind.WHOLE, Missing.KEEP, 1, 1_000_000),
            "discount": _PRICE,
            "rating": Rule(Kind.WHOLE, Missing.KEEP, 1, 5),
            "age": _AGE._replace(missing=Missing.KEEP),
            "signup_date": Rule(Kind.DAY, Missing.KEEP),
            "ingested_at": Rule(Kind.TIME, Missing.KEEP),
        },
    ),
}
assert set(_RULES) == set(FORMATS)
assert set(_RULES[EBB][0]) <= {*EventSchema.model_fields, "ingested_at"}

# Rows of these formats that are equal are several things that happened, not one that was written twice.
EQUAL_ROWS_ARE_SEVERAL: Final = frozenset({"cdnow"})


def rules_of(format_name: str, table: Table) -> dict[str, Rule]:
    """The rule of each column of a table of the format."""
    declared = _RULES[format_name][FORMATS[format_name].index(table)]
    return {name: declared.get(name, _TEXT) for name in table.names}
