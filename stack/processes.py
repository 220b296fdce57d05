"""Server processes that outlive the command that started them: found again by pid and start time, signalled as a group.

A pid alone is not enough: the kernel gives it to somebody else one day. A group is needed because Elasticsearch is two
processes, a launcher and the node. Reads /proc, so Linux only.
"""

import json
import os
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessStat:
    """What /proc/<pid>/stat tells of one process (fields 3, 5, 20 and 22, see proc(5))."""

    state: str
    group: int
    threads: int
    started_ticks: int

    @property
    def has_ended(self) -> bool:
        """True of a zombie, but not while threads of it are still dying: until then its port is not free."""
        return self.state in "ZX" and self.threads <= 1


def process_stat(pid: int) -> ProcessStat | None:
    """The process with this pid, or None if there is none or only a zombie waits for its parent."""
    try:
        # The program's name, in parentheses, may itself hold spaces and parentheses.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    stat = ProcessStat(state=fields[0], group=int(fields[2]), threads=int(fields[17]), started_ticks=int(fields[19]))
    return None if stat.has_ended else stat


def process_ids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def group_members(leader: int) -> list[int]:
    """The processes of this group, its leader included."""
    stats = ((pid, process_stat(pid)) for pid in process_ids())
    return [pid for pid, stat in stats if stat is not None and stat.group == leader]


def describe_process(pid: int) -> str:
    """`pid 4711 (redis-server 127.0.0.1:6379)`, for messages."""
    try:
        command = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = ""
    return f"pid {pid} ({command[:80]})" if command else f"pid {pid}"


@dataclass(frozen=True)
class ServerProcess:
    """A started server: the leader of a process group of its own, and the port it was told to listen on."""

    pid: int
    started_ticks: int
    port: int

    @classmethod
    def of(cls, pid: int, port: int) -> "ServerProcess":
        """The process that has this pid now."""
        stat = process_stat(pid)
        return cls(pid, stat.started_ticks if stat else 0, port)

    @classmethod
    def load(cls, path: Path) -> "ServerProcess | None":
        """The process noted in `path`, whether it still runs or not; None without a readable note."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, json.JSONDecodeError, TypeError):
            return None

    def save(self, path: Path) -> None:
        unfinished = path.with_suffix(".new")
        unfinished.write_text(json.dumps(asdict(self)))
        unfinished.replace(path)

    @property
    def is_running(self) -> bool:
        """True while the very process that was started lives (frozen counts as alive)."""
        stat = process_stat(self.pid)
        return stat is not None and stat.started_ticks == self.started_ticks

    @property
    def is_gone(self) -> bool:
        """True when the leader and everything it started have ended."""
        stats = (process_stat(pid) for pid in process_ids())
        return not self.is_running and not any(stat is not None and stat.group == self.pid for stat in stats)

    def send(self, signal_number: signal.Signals) -> None:
        """Signal the whole group. Ask `is_running` first: only then is the group known to be ours."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal_number)
