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
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from stack import ports
from stack.errors import NotRunning, StartFailed, StopFailed
from stack.ports import HOST
from stack.processes import ServerProcess
from stack.waiting import wait_until

log = logging.getLogger(__name__)

LOG_LINES_IN_ERRORS = 20
KILL_TIMEOUT_S = 10


class Service(ABC):
    """One server: started, stopped, killed, frozen and started again on the same port and data.

    `settings` are added to the server's configuration and win over ours. A server found running keeps its port.
    """

    name: ClassVar[str]
    default_port: ClassVar[int]
    # Once ready: what an event has to pass before it is live goes first, others step back by so much.
    niceness: ClassVar[int] = 0

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
        self._wanted_port = port
        self._note = self.directory / "process.json"
        self._child: subprocess.Popen[bytes] | None = None
        self._launched_at: float | None = None  # while our own launch is not ready yet

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
    def port(self) -> int:
        """The port of the running server, else the one it will be told."""
        process = self._process()
        return process.port if process else self._wanted_port

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def data_directory(self) -> Path:
        return self.directory / "data"

    @property
    def is_running(self) -> bool:
        """True while the server's process lives, ready or not, frozen or not, whoever started it."""
        return self._process() is not None

    @property
    def pid(self) -> int:
        """The leader of the server's process group (of Elasticsearch: the launcher, which takes the node with it)."""
        return self._require_process().pid

    @property
    def exit_code(self) -> int | None:
        """How the process that we launched last ended, as `subprocess` tells it; None while it lives."""
        return None if self._child is None else self._child.poll()

    def start(self) -> None:
        """Launch the server and return when it is ready; nothing happens if it runs already."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start the process without waiting for the server to be ready."""
        if self.is_running:
            log.info("%s: already running on %s, pid %d", self.name, self.url, self.pid)
            return
        self._wait_for_leftovers()
        ports.require_free(self.port, self.name)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.prepare()
        log.info("%s: starting", self.name)
        self._launched_at = time.monotonic()
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
        ServerProcess.of(self._child.pid, self.port).save(self._note)

    def wait_until_ready(self) -> None:
        """Return when the server answers, else raise `StartFailed` with the end of its log.

        What we launched and is not ready in time, or not before Ctrl-C, is killed; a server found running is left.
        """
        try:
            is_settled = wait_until(lambda: not self.is_running or self.is_ready(), self.start_timeout_s)
            if not self.is_running:
                raise StartFailed(f"{self.name} ended during its start; {self._end_of_log()}")
            if not is_settled:
                raise StartFailed(f"{self.name} does not answer after {self.start_timeout_s:g} s; {self._end_of_log()}")
            if self._launched_at is not None:
                elapsed_s, self._launched_at = time.monotonic() - self._launched_at, None
                log.info("%s: ready on %s after %.1f s, pid %d", self.name, self.url, elapsed_s, self.pid)
                self.step_back(self.niceness)
        finally:
            if self._launched_at is not None:
                self._launched_at = None
                self.kill()

    def stop(self) -> None:
        """Ask the server to end (SIGTERM), kill it if it has not after `stop_timeout_s`; data stay.

        Nothing happens if it does not run.
        """
        process = self._process()
        if process is not None:
            process.send(signal.SIGTERM)
            process.send(signal.SIGCONT)  # a frozen process hears nothing else
            if not wait_until(lambda: process.is_gone, self.stop_timeout_s):
                log.warning("%s: still there %g s after SIGTERM, killing it", self.name, self.stop_timeout_s)
                process.send(signal.SIGKILL)
            self._forget(process)
            log.info("%s: stopped, pid was %d", self.name, process.pid)

    def kill(self) -> None:
        """End the server as a power cut would (SIGKILL); nothing happens if it does not run."""
        process = self._process()
        if process is not None:
            process.send(signal.SIGKILL)
            self._forget(process)

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

    def step_back(self, niceness: int) -> None:
        """Let others go first by that much, also where the kernel shares out time by session (sched(7), autogroup)."""
        if niceness:
            with suppress(OSError):
                os.setpriority(os.PRIO_PGRP, self.pid, niceness)
                Path(f"/proc/{self.pid}/autogroup").write_text(str(niceness))

    def _process(self) -> ServerProcess | None:
        """The running process, read from the note each time: another command may have stopped or started it."""
        if self._child is not None:
            self._child.poll()  # a dead child stays a zombie until its parent asks
        noted = ServerProcess.load(self._note)
        return noted if noted and noted.is_running else None

    def _require_process(self) -> ServerProcess:
        process = self._process()
        if process is None:
            raise NotRunning(f"{self.name} in {self.directory} does not run")
        return process

    def _forget(self, process: ServerProcess) -> None:
        if not wait_until(lambda: process.is_gone, KILL_TIMEOUT_S):
            raise StopFailed(f"{self.name} outlived SIGKILL; look at `ps -o pid,stat,wchan,args -g {process.pid}`")
        self._note.unlink(missing_ok=True)
        self._wanted_port = process.port  # the next start is on the same port, also if another command chose it

    def _wait_for_leftovers(self) -> None:
        """An Elasticsearch node outlives its killed launcher by a moment, and holds port and data until then."""
        noted = ServerProcess.load(self._note)
        if noted is not None:
            wait_until(lambda: noted.is_gone, KILL_TIMEOUT_S)

    def _end_of_log(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines()
        return f"the end of {self.log_file}:\n" + "\n".join(lines[-LOG_LINES_IN_ERRORS:])
