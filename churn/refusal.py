"""The one fault of a connection that waiting does not mend."""

from typing import Final

# EX_NOPERM of sysexits.h.
EXIT_REFUSED: Final = 77


class AccessRefused(Exception):
    """A server does not let us in, or is not the one it says it is; the message says which, why, and what to check."""
