"""Cells of a row, as text or typed, read as what a field needs; a cell that cannot be read names its column."""

from datetime import UTC, datetime
from typing import Any, Final

from xxhash import xxh3_128_hexdigest

from churn.events import InvalidEvent, Reason


def is_absent(value: Any) -> bool:
    return value is None or value == "" or value != value  # only NaN differs from itself


def text(value: Any) -> str | None:
    """Text as it is; a number without the `.0` that it gets in a column with gaps."""
    if is_absent(value):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def identifier(column: str, value: Any) -> str:
    """Text without the spaces around it and without the `.0` of a number; raises `InvalidEvent` where there is none."""
    written = (text(value) or "").strip()
    if not written:
        raise InvalidEvent(Reason.MISSING_FIELD, f"{column}: the row has none")
    return written.removesuffix(".0")


def number(column: str, value: Any) -> float:
    if is_absent(value):
        raise InvalidEvent(Reason.MISSING_FIELD, f"{column}: the row has none")
    try:
        return float(value)
    except (ValueError, TypeError):
        raise InvalidEvent(Reason.INVALID_FIELD, f"{column}: {value!r} is no number") from None


def whole(column: str, value: Any) -> int:
    read = number(column, value)
    if not read.is_integer():
        raise InvalidEvent(Reason.INVALID_FIELD, f"{column}: {value!r} is no whole number")
    return int(read)


def utc(value: Any) -> datetime:
    """A moment from a timestamp or a text; without an offset it is UTC. Raises ValueError or OverflowError."""
    if not isinstance(value, datetime):
        value = _parsed_time(str(value).strip().removesuffix(" UTC"))
    time: datetime = value
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _parsed_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.strptime(text, "%m/%d/%Y %H:%M")  # how the retail data is spread as CSV


def moment(column: str, value: Any) -> datetime:
    if is_absent(value):
        raise InvalidEvent(Reason.MISSING_FIELD, f"{column}: the row has none")
    try:
        return utc(value)
    except (ValueError, OverflowError):
        known = "2011-12-09 12:50:00 or 12/9/2011 12:50"
        raise InvalidEvent(Reason.INVALID_FIELD, f"{column}: {value!r} is not written like {known}") from None


def epoch_ms(column: str, value: Any) -> datetime:
    """A moment from milliseconds since 1970, or from what `moment` reads; raises `InvalidEvent`."""
    try:
        return datetime.fromtimestamp(whole(column, value) / 1000, UTC)
    except InvalidEvent:
        return moment(column, value)
    except (ValueError, OverflowError, OSError):
        raise InvalidEvent(Reason.INVALID_FIELD, f"{column}: {value!r} lies outside the calendar") from None


def compact_day(column: str, value: Any) -> datetime:
    """Midnight of a day written like 19970131, or what `moment` reads; raises `InvalidEvent`."""
    written = identifier(column, value)
    if not (len(written) == 8 and written.isdecimal()):
        return moment(column, value)
    try:
        return datetime.strptime(written, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidEvent(Reason.INVALID_FIELD, f"{column}: {written!r} is no day like 19970131") from None


_FLAGS: Final = {"1": True, "true": True, "yes": True, "y": True, "0": False, "false": False, "no": False, "n": False}


def flag(column: str, value: Any) -> bool:
    """Yes or no in one of their spellings; raises `InvalidEvent`."""
    read = _FLAGS.get(identifier(column, value).lower())
    if read is None:
        raise InvalidEvent(Reason.INVALID_FIELD, f"{column}: {value!r} is neither 1 nor 0, true nor false, yes nor no")
    return read


def hash_of(*values: object) -> str:
    return xxh3_128_hexdigest("\x1f".join(["" if value is None else str(value) for value in values]).encode())
