"""A fold of three numbers in the place of Ebb's, so that what a framework itself costs is not hidden behind the fold.

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

NAME: Final = "benchmarks.stream.small_fold"


class Sums(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Events of a customer, their money in minor units, and when the newest of them happened."""

    events: int
    minor: int
    last_ms: int

    @property
    def recent(self) -> tuple[()]:
        """No event is kept."""
        return ()


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Sums).decode


def update(state: Sums, event: Event) -> Sums:
    """The sums after this event."""
    minor = line_minor(event) if event.price is not None else 0
    return Sums(state.events + 1, state.minor + minor, max(state.last_ms, epoch_ms(event.occurred_at)))


def install() -> None:
    """Put it into `churn`; whoever is imported afterwards folds with it."""
    small: dict[Any, dict[str, Any]] = {
        churn.features: {"update": update},
        churn.state: {"EMPTY": Sums(0, 0, 0), "pack": _encode, "unpack": _decode},
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
