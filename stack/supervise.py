"""`python -m stack.supervise COMMAND…`: run a command, and again whenever it fails, as a container engine would.

The services of Ebb end themselves when they cannot be sure of what they wrote, and rely on being started again.
"""

import signal
import subprocess
import sys
import time
from types import FrameType

PAUSE_S = 1.0


def supervise(command: list[str]) -> int:
    """Run until the command succeeds or SIGTERM comes; returns the exit code to end with."""
    is_stopping = False

    def stop(signal_number: int, frame: FrameType | None) -> None:
        nonlocal is_stopping
        is_stopping = True
        child.send_signal(signal_number)

    child = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, stop)
    while (code := child.wait()) != 0 and not is_stopping:
        print(f"{' '.join(command)} ended with {code}, starting it again", file=sys.stderr, flush=True)
        time.sleep(PAUSE_S)
        if not is_stopping:
            child = subprocess.Popen(command)
    return 0 if is_stopping else code


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1:]))
