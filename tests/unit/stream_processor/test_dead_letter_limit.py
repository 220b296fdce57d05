"""When unreadable events are too many."""

import pytest

from stream_processor.dead_letter_limit import DeadLetterLimit, TooManyDeadLetters


def test_more_than_the_share_of_a_minute_is_too_many() -> None:
    limit = DeadLetterLimit(0.5)
    limit.count(0, seen=200, refused=0)
    limit.count(1, seen=200, refused=200)
    with pytest.raises(TooManyDeadLetters, match="201 of the last minute's 401 events"):
        limit.count(2, seen=1, refused=1)


def test_a_few_are_let_through_although_nothing_else_comes() -> None:
    limit = DeadLetterLimit(0.5)
    limit.count(0, seen=99, refused=99)
    with pytest.raises(TooManyDeadLetters):
        limit.count(1, seen=1, refused=1)


def test_what_is_older_than_a_minute_does_not_count() -> None:
    limit = DeadLetterLimit(0.5)
    limit.count(0, seen=99, refused=99)
    limit.count(61, seen=99, refused=99)
    limit.count(70, seen=1000, refused=1)
    with pytest.raises(TooManyDeadLetters, match="1,100 of the last minute's 2,099"):
        limit.count(75, seen=1000, refused=1000)


def test_a_share_of_one_never_stops() -> None:
    DeadLetterLimit(1.0).count(0, seen=10_000, refused=10_000)
