"""Which moments a model learns from, is calibrated on and is tested at, so that the test is always later in time."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from churn.model import HORIZON_DAYS

HORIZON: Final = timedelta(days=HORIZON_DAYS)
LEAST_BEFORE: Final = timedelta(days=60)
TRAIN_EVERY: Final = timedelta(days=30)
MAX_TRAIN_CUT_OFFS: Final = 12
SHORTEST: Final = LEAST_BEFORE + HORIZON


class Kind(StrEnum):
    """How test and calibration are kept apart from training; the first that the history is long enough for."""

    TIME = "later in time: train, then calibrate, then test"
    TIME_CROSS_FIT = "test later in time; calibrated across folds of the training customers"
    CUSTOMERS = "test on other customers at the same time; calibrated across folds of the training customers"


class Split(NamedTuple):
    """Cut-offs, oldest first. `calibrate` is None unless the kind is `TIME`."""

    kind: Kind
    train: tuple[datetime, ...]
    calibrate: datetime | None
    test: datetime

    @property
    def cut_offs(self) -> tuple[datetime, ...]:
        """All of them, sorted, each once."""
        return tuple(sorted({*self.train, self.test} | ({self.calibrate} if self.calibrate else set())))


def choose(first: datetime, last: datetime) -> Split | None:
    """The best split of a history from `first` to `last` event; None when it is shorter than `SHORTEST`.

    The last label window ends at the last midnight, so every window is over: no row is censored. Label windows of
    train, calibrate and test do not overlap, but for the kind `CUSTOMERS`.
    """
    test = last.replace(hour=0, minute=0, second=0, microsecond=0) - HORIZON
    earliest = first + LEAST_BEFORE
    if test - 2 * HORIZON >= earliest:
        return Split(Kind.TIME, _back_from(test - 2 * HORIZON, earliest), test - HORIZON, test)
    if test - HORIZON >= earliest:
        return Split(Kind.TIME_CROSS_FIT, _back_from(test - HORIZON, earliest), None, test)
    if test >= earliest:
        return Split(Kind.CUSTOMERS, _back_from(test, earliest), None, test)
    return None


def _back_from(newest: datetime, earliest: datetime) -> tuple[datetime, ...]:
    every = (newest - step * TRAIN_EVERY for step in range(MAX_TRAIN_CUT_OFFS))
    return tuple(sorted(moment for moment in every if moment >= earliest))
