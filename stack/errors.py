"""Everything that can stop a native stack, so that a caller catches one name and a person reads what to do.

StackError
├── MissingProgram     a program is not on this machine and cannot be installed from here
├── DownloadFailed     Maven could not bring a server's files
├── PortTaken          somebody else listens where a server should
├── StartFailed        a server ended, or was not ready in time
├── StopFailed         a server outlived SIGKILL
└── NotRunning         the answer needs a server that does not run
"""


class StackError(Exception):
    """The stack cannot do what was asked; the message says what is wrong, where, and what to do."""


class MissingProgram(StackError):
    """A program is missing, and only the person at the machine can install it."""


class DownloadFailed(StackError):
    """Maven ended with an error."""


class PortTaken(StackError):
    """The port of a server is held by another process."""


class StartFailed(StackError):
    """A server ended during its start, or did not answer in time."""


class StopFailed(StackError):
    """A server is still there after SIGKILL."""


class NotRunning(StackError):
    """What was asked needs a running server."""
