"""Whom a dead letter is about, and what of it can be read again."""

from datetime import UTC, datetime

import pytest

from churn import dead_letters
from churn.dead_letters import DeadLetter, customers_in
from churn.events import InvalidEvent, Reason
from churn.letter_replay import read_letter

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = b'{"event_id":"e","event_type":"view","occurred_at":"2026-03-01T12:00:00Z","customer_id":"c1","product_id":"p"}'


def a_letter(
    payload: bytes, *, key: bytes | None = None, reason: Reason = Reason.BROKEN_JSON, partition: int = 3
) -> DeadLetter:
    return dead_letters.of_message(
        InvalidEvent(reason, "d"), payload, topic="events", partition=partition, offset=7, failed_at=NOW, key=key
    )


@pytest.mark.parametrize(
    ("payload", "key", "expected"),
    [
        (b"", b"c1", {"c1"}),
        (b'{"customer_id": "c1", "price": "x"}', None, {"c1"}),
        (b'{"customer_id": "c2"}', b"c1", {"c1", "c2"}),
        (b'{"event_id": "e", "customer_id": "c1", "pri', None, {"c1"}),
        (b'{"customer_id": 17', None, {"17"}),
        (b'{"quantity": 42}', b"c1", {"c1"}),
        (b"\xff\xfe", None, set()),
    ],
)
def test_a_letter_names_everybody_it_may_be_about(payload: bytes, key: bytes | None, expected: set[str]) -> None:
    assert customers_in(a_letter(payload, key=key)) == expected


def test_a_row_of_a_file_may_be_about_any_of_its_cells() -> None:
    row = b'536365,85123A,"WHITE, HANGING",6,12/1/2010 8:26,2.55,17850.0,United Kingdom'
    letter = dead_letters.of_row(
        InvalidEvent(Reason.INVALID_ROW, "d"), row, letter_id="f-1", file="f", line=2, failed_at=NOW
    )
    assert "17850" in customers_in(letter)


def test_a_letter_that_can_be_read_goes_where_its_customer_belongs() -> None:
    readable = read_letter(a_letter(GOOD), "EUR")
    assert (readable.event.customer_id, readable.payload) == ("c1", GOOD)


STILL_BAD = {"broken": b"{", "cut off": b"x" * 70_000, "from its own future": GOOD.replace(b"2026", b"2027")}


@pytest.mark.parametrize("name", STILL_BAD)
def test_what_is_bad_still_stays(name: str) -> None:
    with pytest.raises(InvalidEvent):
        read_letter(a_letter(STILL_BAD[name]), "EUR")


def test_a_customer_kept_by_another_partition_than_their_own_is_not_sent_there_again() -> None:
    own = read_letter(a_letter(GOOD), "EUR").partition
    elsewhere = a_letter(GOOD, reason=Reason.WRONG_PARTITION, partition=(own + 1) % 8)
    assert read_letter(elsewhere, "EUR").partition == own
    with pytest.raises(InvalidEvent, match="wrong_partition"):
        read_letter(a_letter(GOOD, reason=Reason.WRONG_PARTITION, partition=own), "EUR")
