"""RFM and sessions since the beginning, in the place of Ebb's fold: what a framework itself costs shows beside it.

    python -m benchmarks.stream.small_fold MODULE ARGUMENTS...

runs the module with it. Everything else, decoding included, stays as it is.
"""

import runpy
import sys
from collections.abc import Sequence
from typing import Any, Final

import msgspec

import churn.features
import churn.state
from churn.events import Event, epoch_ms, line_minor
from churn.summary import SESSION_GAP_MS

NAME: Final = "benchmarks.stream.small_fold"


class Rfm(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Counts of a customer, money in minor units, and the times of the first and the latest event in epoch ms."""

    events: int = 0
    sessions: int = 0
    purchases: int = 0
    spent_minor: int = 0
    refunded_minor: int = 0
    first_ms: int = 0
    latest_ms: int = 0

    @property
    def recent(self) -> tuple[()]:
        """No event is kept."""
        return ()


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Rfm).decode


def update(state: Rfm, event: Event) -> Rfm:
    """The counts after this event; a session ends after half an hour without one."""
    at_ms = epoch_ms(event.occurred_at)
    minor = line_minor(event)
    is_purchase = event.event_type == "purchase"
    return Rfm(
        state.events + 1,
        state.sessions + (at_ms - state.latest_ms > SESSION_GAP_MS),
        state.purchases + is_purchase,
        state.spent_minor + (minor if is_purchase else 0),
        state.refunded_minor + (minor if event.event_type == "refund" else 0),
        state.first_ms or at_ms,
        max(state.latest_ms, at_ms),
    )


def install() -> None:
    """Put it into `churn`; whoever is imported afterwards folds with it."""
    small: dict[Any, dict[str, Any]] = {
        churn.features: {"update": update},
        churn.state: {"EMPTY": Rfm(), "pack": _encode, "unpack": _decode},
    }
    for module, names in small.items():
        for name, value in names.items():
            setattr(module, name, value)


def is_installed() -> bool:
    """Whether this process folds with it."""
    return churn.features.update.__module__ == NAME


def command(python: str, module: str, arguments: Sequence[str]) -> list[str]:
    """How to run a module with the fold of this process."""
    return [python, "-m", *([NAME] if is_installed() else []), module, *arguments]


if __name__ == "__main__":
    # Under its own name, so that there is one fold and not one of `__main__` beside it.
    from benchmarks.stream import small_fold

    small_fold.install()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
