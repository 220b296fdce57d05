"""What a person at the terminal sees of a stack's work: one line per step, with the seconds since the command began."""

import logging


class ElapsedFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{record.relativeCreated / 1000:6.1f} s  {record.getMessage()}"


def show_progress() -> None:
    """Let the package's log lines out, to standard error."""
    log = logging.getLogger("stack")
    handler = logging.StreamHandler()
    handler.setFormatter(ElapsedFormatter())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
