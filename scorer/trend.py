"""The risk of the last days in one short text, so that a trend needs no other store than the customer's own hash.

`2026-03-14 7125 7100 ----`: the day of the newest risk, the last risk of that day in 1/10,000, then those of the days
before it, dashes for a day without one.
"""

from datetime import date, timedelta
from typing import Final

_UNKNOWN: Final = "----"
_WIDTH: Final = 5
_DATE: Final = 10
# A day without a score is filled by one of at most this many days before it: as long as a card counts as fresh.
_LOOK_BACK_DAYS: Final = 2
DAYS_KEPT: Final = 28 + _LOOK_BACK_DAYS + 1


def remember(history: str, day: date, risk: float) -> str:
    """The history with this as the last risk of the day. A day before its newest changes nothing."""
    newest = date.fromisoformat(history[:_DATE]) if history else day
    passed = (day - newest).days
    if passed < 0:
        return history
    older = (
        history[_DATE + _WIDTH :] if passed == 0 else f" {_UNKNOWN}" * (min(passed, DAYS_KEPT) - 1) + history[_DATE:]
    )
    text = f"{day.isoformat()} {min(9999, round(risk * 10_000)):04d}{older}"
    return text[: _DATE + DAYS_KEPT * _WIDTH]


def risk_before(history: str, day: date, days: int) -> float | None:
    """The risk that stood at the end of the day `days` before `day`; None where there was none."""
    if not history:
        return None
    place = (date.fromisoformat(history[:_DATE]) - (day - timedelta(days=days))).days
    for back in range(place, place + _LOOK_BACK_DAYS + 1):
        value = history[_DATE + 1 + back * _WIDTH :][: _WIDTH - 1] if back >= 0 else ""
        if value and value != _UNKNOWN:
            return int(value) / 10_000
    return None
