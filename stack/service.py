"""The life that all servers share: a directory and a port, a process that is found again, started and stopped.

A server's configuration is written anew at each start; its data, its log and the note of its process stay in its
directory, so that the next command finds it.
"""

import logging
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from stack import ports
from stack.errors import NotRunning, StartFailed, StopFailed
from stack.ports import HOST
from stack.processes import ServerProcess, process_stat
from stack.waiting import wait_until

log = logging.getLogger(__name__)

LOG_LINES_IN_ERRORS = 20


class Service(ABC):
    """One server: started, stopped, killed, frozen and started again on the same port and data.

    `settings` are added to the server's configuration and win over ours. Subclasses say what is particular to a server.
    """

    name: ClassVar[str]
    default_port: ClassVar[int]

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        settings: Mapping[str, str] | None = None,
        start_timeout_s: float = 120,
        stop_timeout_s: float = 30,
    ) -> None:
        self.directory = directory.absolute()
        self.log_file = self.directory / f"{self.name}.log"
        self.settings = dict(settings or {})
        self.start_timeout_s = start_timeout_s
        self.stop_timeout_s = stop_timeout_s
        self._note = self.directory / "process.json"
        self._process = ServerProcess.load(self._note)
        self._child: subprocess.Popen[bytes] | None = None
        self.port = self._process.port if self._process and self._process.is_running else port

    @abstractmethod
    def prepare(self) -> None:
        """Bring the server's files and write its configuration."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command line of the server, staying in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """True when the server does real work for a client."""

    @property
    @abstractmethod
    def url(self) -> str:
        """What a client is given to connect."""

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def data_directory(self) -> Path:
        return self.directory / "data"

    @property
    def is_running(self) -> bool:
        """True while the server's process lives, ready or not, frozen or not."""
        if self._child is not None:
            self._child.poll()  # a dead child stays a zombie until its parent asks
        return self._process is not None and self._process.is_running

    @property
    def pid(self) -> int:
        """The leader of the server's process group (of Elasticsearch: the launcher, which takes the node with it)."""
        if self._process is None or not self.is_running:
            raise NotRunning(f"{self.name} in {self.directory} does not run")
        return self._process.pid

    def start(self) -> None:
        """Launch the server and return when it is ready; nothing happens if it runs already."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start the process without waiting for the server to be ready."""
        if self.is_running:
            return
        if self._process is not None:
            wait_until(lambda: self._is_gone(), self.stop_timeout_s)  # a node outlives its killed launcher for a moment
        ports.require_free(self.port, self.name)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.prepare()
        with self.log_file.open("ab") as output:
            self._child = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the terminal is not for the server
            )
        stat = process_stat(self._child.pid)
        self._process = ServerProcess(self._child.pid, stat.started_ticks if stat else 0, self.port)
        self._process.save(self._note)

    def wait_until_ready(self) -> None:
        """Return when the server answers; otherwise kill it and raise `StartFailed` with the end of its log."""
        began, is_ready = time.monotonic(), False
        try:
            wait_until(lambda: not self.is_running or self.is_ready(), self.start_timeout_s)
            is_ready = self.is_running and self.is_ready()
            if not is_ready:
                problem = f"was not ready after {self.start_timeout_s:.0f} s" if self.is_running else "ended at once"
                raise StartFailed(f"{self.name} {problem}; the end of {self.log_file}:\n{self._end_of_log()}")
        finally:  # also when the person at the keyboard gave up
            if not is_ready:
                self.kill()
        log.info("%s: ready on %s after %.1f s, pid %d", self.name, self.url, time.monotonic() - began, self.pid)

    def stop(self) -> None:
        """Ask the server to end (SIGTERM), and make it end after `stop_timeout_s`; data stay. Idle if it does not run."""
        if self._process is not None:
            self._process.send(signal.SIGTERM, signal.SIGCONT)  # a frozen process ends only when resumed
            if not wait_until(self._is_gone, self.stop_timeout_s):
                log.warning("%s: still there %.0f s after SIGTERM, killing it", self.name, self.stop_timeout_s)
            self.kill()

    def kill(self) -> None:
        """End the server as a power cut would (SIGKILL). Idle if it does not run."""
        if self._process is None:
            return
        self._process.send(signal.SIGKILL)
        if not wait_until(self._is_gone, timeout_s=10):
            raise StopFailed(f"{self.name}: a process of group {self._process.pid} outlived SIGKILL; see `ps -g`")
        self._process = None
        self._note.unlink(missing_ok=True)

    def restart(self) -> None:
        """Stop and start on the same port and data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Hold the server still (SIGSTOP): connections stay open and nothing answers."""
        self._require_process().send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on (SIGCONT)."""
        self._require_process().send(signal.SIGCONT)

    def _require_process(self) -> ServerProcess:
        if self._process is None or not self.is_running:
            raise NotRunning(f"{self.name} in {self.directory} does not run")
        return self._process

    def _is_gone(self) -> bool:
        return not self.is_running and (self._process is None or self._process.is_gone)

    def _end_of_log(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES_IN_ERRORS:])
