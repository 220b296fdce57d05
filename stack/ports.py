"""TCP ports on 127.0.0.1: which are free, and who holds one that is not."""

import random
import socket
from collections.abc import Sequence
from contextlib import closing, suppress
from itertools import islice

from stack.errors import PortTaken
from stack.processes import PROC, describe_process, process_ids

HOST = "127.0.0.1"

# Below the ports that Linux hands to outgoing connections (32768 and up): a server that is killed and started again
# must find its port still free. In two halves, so that no server's inner port is another one's public port.
PUBLIC_PORTS = range(20_000, 26_000)
INNER_PORTS = range(26_000, 32_000)


def is_free(port: int) -> bool:
    with closing(socket.socket()) as candidate:
        # As the servers do: the closed connections of the last run, in TIME_WAIT, hold nothing up.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port(among: Sequence[int] = PUBLIC_PORTS) -> int:
    """A port that nobody holds at this moment."""
    return pick_free_ports(1, among)[0]


def pick_free_ports(count: int, among: Sequence[int] = PUBLIC_PORTS) -> list[int]:
    """So many different ports that nobody holds at this moment."""
    shuffled = random.sample(among, len(among))
    return list(islice(filter(is_free, shuffled), count))


def is_listening(port: int) -> bool:
    with closing(socket.socket()) as client:
        client.settimeout(1)
        return client.connect_ex((HOST, port)) == 0


def require_free(port: int, service: str) -> None:
    """Raise `PortTaken` with the holder, if this user may see it, and the way out."""
    if not is_free(port):
        raise PortTaken(
            f"port {port} on {HOST}, wanted for {service}, is taken by {holder(port) or 'an unknown process'}; "
            f"stop that process, or choose another port: --{service}-port N (or --free-ports)"
        )


def holder(port: int) -> str | None:
    """The process that listens on `port`, or None if it cannot be seen (another user's)."""
    sockets = _listening_sockets(port)
    return next((describe_process(pid) for pid in process_ids() if sockets & _open_files(pid)), None)


def _listening_sockets(port: int) -> set[str]:
    """The sockets on `port` in state LISTEN, as /proc/<pid>/fd shows them (columns: see proc_net_tcp in the kernel)."""
    rows = [line.split() for table in ("tcp", "tcp6") for line in (PROC / "net" / table).read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}


def _open_files(pid: int) -> set[str]:
    files = set()
    with suppress(OSError):  # the process ended, or it is another user's
        for file in (PROC / str(pid) / "fd").iterdir():
            with suppress(FileNotFoundError):  # closed in the meantime
                files.add(str(file.readlink()))
    return files
