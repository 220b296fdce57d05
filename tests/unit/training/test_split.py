"""The test is later in time than what is learned, and no label window is cut short by the end of the history."""

from datetime import UTC, datetime, timedelta

import pytest

from training.split import HORIZON, LEAST_BEFORE, Kind, choose

FIRST = datetime(2025, 1, 1, 9, tzinfo=UTC)


def test_a_long_history_is_split_into_windows_that_do_not_overlap() -> None:
    last = datetime(2026, 6, 30, 17, 30, tzinfo=UTC)
    split = choose(FIRST, last)
    assert split is not None
    assert split.calibrate is not None
    assert split.kind is Kind.TIME
    assert split.test == datetime(2026, 4, 1, tzinfo=UTC)
    assert split.test + HORIZON <= last
    assert split.calibrate + HORIZON <= split.test
    assert split.train[-1] + HORIZON <= split.calibrate
    assert split.train[0] - FIRST >= LEAST_BEFORE
    assert {later - earlier for earlier, later in zip(split.train, split.train[1:], strict=False)} == {timedelta(30)}
    assert split.cut_offs == (*split.train, split.calibrate, split.test)


@pytest.mark.parametrize(
    ("days", "kind"),
    [
        (331, Kind.TIME),
        (330, Kind.TIME_CROSS_FIT),
        (241, Kind.TIME_CROSS_FIT),
        (240, Kind.CUSTOMERS),
        (151, Kind.CUSTOMERS),
        (150, None),
        (0, None),
    ],
)
def test_a_shorter_history_keeps_apart_what_it_can(days: int, kind: Kind | None) -> None:
    split = choose(FIRST, FIRST + timedelta(days=days))
    assert (split and split.kind) == kind
    if split is not None:
        assert split.train
        assert split.train[0] - FIRST >= LEAST_BEFORE
        assert (split.calibrate is None) == (kind is not Kind.TIME)


def test_years_of_history_are_learned_from_for_one_year() -> None:
    split = choose(FIRST, FIRST + timedelta(days=2000))
    assert split is not None
    assert len(split.train) == 12
