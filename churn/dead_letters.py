"""A dead letter: a payload that could not be read, kept with the reason, so that nothing is lost silently."""

import base64
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


def _kept(payload: bytes | None) -> str:
    return base64.b64encode((payload or b"")[:KEPT_BYTES]).decode()


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(DeadLetter)


def encode(letter: DeadLetter) -> bytes:
    """The bytes of a dead letter on its topic."""
    return _encoder.encode(letter)


def decode(payload: bytes) -> DeadLetter:
    """The dead letter in these bytes; raises `msgspec.DecodeError` when they are none."""
    return _decoder.decode(payload)
