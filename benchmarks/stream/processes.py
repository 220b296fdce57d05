"""A contender's process: started with its output to a file, its CPU time and memory read from /proc (Linux)."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread

PROJECT = Path(__file__).parents[2]
STOP_TIMEOUT_S = 20.0
TURN_S = 0.05
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system seconds of all its threads until now (fields 14 and 15 of /proc/<pid>/stat, see proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


class ContenderProcess:
    """One process of a contender, from the project's root."""

    def __init__(self, command: Sequence[str], variables: Mapping[str, str], log_file: Path) -> None:
        self.log_file = log_file
        with log_file.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env={**os.environ, "PYTHONPATH": str(PROJECT), **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def hold_to(self, share: float) -> None:
        """From now on let it run for this share of the time only."""
        Thread(target=self._hold_to, args=(share,), daemon=True).start()

    def _hold_to(self, share: float) -> None:
        while self.is_running:
            time.sleep(share * TURN_S)
            self.pause()
            time.sleep((1 - share) * TURN_S)
            self.go_on()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def cpu_s(self) -> float:
        """Seconds of all its threads until now."""
        return cpu_s(self._process.pid)

    def memory_mib(self, which: str = "VmHWM") -> float:
        """`VmHWM`: the most memory that it held; `VmRSS`: what it holds now."""
        line = next(line for line in self._proc("status").splitlines() if line.startswith(f"{which}:"))
        return int(line.split()[1]) / 1024

    def pause(self) -> None:
        """Stand still, with all its threads."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """After a pause."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for who does not hear."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if self.is_running:
                os.killpg(self._process.pid, number)

    @property
    def is_paused(self) -> bool:
        """Whether it stands still, by itself or because of `pause`."""
        return self._proc("stat").rpartition(")")[2].split()[0] == "T"

    def wait(self) -> None:
        """Until it has ended by itself."""
        self._process.wait(STOP_TIMEOUT_S)

    def end_of_log(self) -> str:
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-15:])

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self._process.pid}/{name}").read_text()
