"""The risk of the last days fits into a short text, and is found again."""

from datetime import date, timedelta

import pytest

from scorer.trend import DAYS_KEPT, remember, risk_before

DAY = date(2026, 3, 14)


def history_of(risks: dict[int, float]) -> str:
    """A history of the risks of these days, counted from `DAY`."""
    text = ""
    for days, risk in sorted(risks.items()):
        text = remember(text, DAY + timedelta(days=days), risk)
    return text


def test_the_last_risk_of_a_day_counts() -> None:
    assert remember(remember("", DAY, 0.1), DAY, 0.71254) == "2026-03-14 7125"


def test_a_day_without_a_risk_is_left_open() -> None:
    assert history_of({0: 0.5, 3: 0.25}) == "2026-03-17 2500 ---- ---- 5000"


def test_it_never_grows_beyond_what_the_trend_needs() -> None:
    text = history_of({day: day / 1000 for day in range(400)})
    assert len(text.split()) == 1 + DAYS_KEPT
    assert risk_before(text, DAY + timedelta(days=399), 28) == 0.371
    assert len(remember(text, DAY + timedelta(days=5_000), 0.1).split()) == 1 + DAYS_KEPT


def test_a_clock_that_went_back_changes_nothing() -> None:
    text = history_of({5: 0.5})
    assert remember(text, DAY, 0.9) == text


@pytest.mark.parametrize(("days", "risk"), [(7, 0.3), (6, 0.3), (5, 0.3), (4, None), (8, None), (0, 0.9), (28, None)])
def test_a_gap_of_two_days_is_filled_by_the_risk_that_stood_and_a_longer_one_is_not(
    days: int, risk: float | None
) -> None:
    assert risk_before(history_of({0: 0.3, 7: 0.9}), DAY + timedelta(days=7), days) == risk


def test_a_day_after_the_newest_knows_it_for_two_days() -> None:
    text = history_of({0: 0.3})
    assert [risk_before(text, DAY + timedelta(days=days), 0) for days in range(4)] == [0.3, 0.3, 0.3, None]


def test_certainty_has_four_digits_too() -> None:
    assert remember("", DAY, 1.0) == "2026-03-14 9999"
    assert remember("", DAY, 0.0) == "2026-03-14 0000"
    assert risk_before("", DAY, 7) is None
