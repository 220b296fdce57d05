"""The band of a customer, slow to change: small moves around a limit are no news."""

from datetime import datetime, timedelta
from typing import Final

from churn.model import BANDS, HIGH_FROM, MEDIUM_FROM, band

MARGIN: Final = 0.04
DWELL: Final = timedelta(hours=6)
_LIMITS: Final = (MEDIUM_FROM, HIGH_FROM)


def settled_band(risk: float, before: str | None, changed_at: datetime | None, as_of: datetime) -> str:
    """The band to show: another than `before` only when the risk lies `MARGIN` beyond the limit between them.

    To a neighbouring band not sooner than `DWELL` after the last change; across a whole band at once.
    """
    if before not in BANDS:
        return band(risk)
    now, then = _beyond_the_margin(risk, before), BANDS.index(before)
    is_held = abs(now - then) == 1 and changed_at is not None and as_of < changed_at + DWELL
    return before if is_held else BANDS[now]


def is_held(risk: float, shown: str) -> bool:
    """Whether another band than the shown one only waits for the dwell to be over."""
    return BANDS[_beyond_the_margin(risk, shown)] != shown


def _beyond_the_margin(risk: float, before: str) -> int:
    place = BANDS.index(before)
    rising = sum(risk >= limit + MARGIN for limit in _LIMITS)
    falling = sum(risk >= limit - MARGIN for limit in _LIMITS)
    return max(place, rising) if rising > place else min(place, falling)
