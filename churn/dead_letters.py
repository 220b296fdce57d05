"""A dead letter: a payload that could not be read, kept with the reason, so that nothing is lost silently."""

import base64
import re
from datetime import datetime
from typing import Final

import msgspec

from churn.events import InvalidEvent

KEPT_BYTES: Final = 64 * 1024
MAX_KEY_BYTES: Final = 512


class DeadLetter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a payload came from and why it was refused.

    `topic`, `partition`, `offset` name a message, `customer_id` is its key; `file`, `line` name a row of a replayed
    file. `raw` is base64 of at most the first 64 KiB of the payload, `raw_bytes` its whole length.
    """

    letter_id: str
    reason: str
    detail: str
    failed_at: datetime
    stage: str
    raw: str
    raw_bytes: int
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    file: str | None = None
    line: int | None = None
    customer_id: str | None = None


def of_message(
    error: InvalidEvent,
    payload: bytes | None,
    *,
    topic: str,
    partition: int,
    offset: int,
    failed_at: datetime,
    key: bytes | None = None,
) -> DeadLetter:
    """The dead letter of a message; the same message always gives the same `letter_id`."""
    return DeadLetter(
        letter_id=f"{topic}-{partition}-{offset}",
        reason=error.reason,
        detail=error.detail,
        failed_at=failed_at,
        stage="stream_processor",
        raw=_kept(payload),
        raw_bytes=len(payload or b""),
        topic=topic,
        partition=partition,
        offset=offset,
        customer_id=_named(key),
    )


def of_row(error: InvalidEvent, row: bytes, *, letter_id: str, file: str, line: int, failed_at: datetime) -> DeadLetter:
    """The dead letter of a row of a file; `line` counts from 1 with the header, as an editor shows it."""
    return DeadLetter(
        letter_id=letter_id,
        reason=error.reason,
        detail=error.detail,
        failed_at=failed_at,
        stage="producer",
        raw=_kept(row),
        raw_bytes=len(row),
        file=file,
        line=line,
    )


def _named(key: bytes | None) -> str | None:
    """The customer whom a message's key names, as far as it can be one."""
    if not key or len(key) > MAX_KEY_BYTES:
        return None
    return key.decode(errors="replace")


_NAMES: Final = re.compile(rb"""(?:customer_?id|user_id|visitorid)"?\s*[:=]\s*"?([^",;}\s]{1,512})""", re.IGNORECASE)
_CELLS: Final = re.compile(rb"[,;\t\r\n]")


def payload_of(letter: DeadLetter) -> bytes:
    """The bytes of the letter, at most the first 64 KiB; none where they cannot be told."""
    try:
        return base64.b64decode(letter.raw)
    except ValueError:
        return b""


def customers_in(letter: DeadLetter) -> set[str]:
    """Everybody whom a letter may be about: its key, whom its bytes name, every cell of a row of a file."""
    payload = payload_of(letter)
    found = set() if letter.customer_id is None else {letter.customer_id}
    found |= _customers_named(payload)
    if letter.stage == "producer":
        cells = (cell.strip(b' "').decode(errors="replace") for cell in _CELLS.split(payload))
        found |= {cell.removesuffix(".0") for cell in cells if cell}
    return found


def _customers_named(payload: bytes) -> set[str]:
    try:
        fields = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {name.decode(errors="replace") for name in _NAMES.findall(payload)}
    if not isinstance(fields, dict):
        return set()
    return {str(fields[name]) for name in ("customer_id", "CustomerID", "user_id", "visitorid") if fields.get(name)}


def _kept(payload: bytes | None) -> str:
    return base64.b64encode((payload or b"")[:KEPT_BYTES]).decode()


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(DeadLetter)


def encode(letter: DeadLetter) -> bytes:
    """The bytes of a dead letter on its topic."""
    return _encoder.encode(letter)


def decode(payload: bytes) -> DeadLetter:
    """The dead letter in these bytes; raises `msgspec.DecodeError` when they are none."""
    try:
        return _decoder.decode(payload)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(str(error)) from None


if __name__ == "__main__":
    from churn.dead_letter_command import main  # the commands know this module, and much that the fold must not

    raise SystemExit(main())
