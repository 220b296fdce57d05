"""A server that any machine has, so that the life of a service is tested without a real one."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.ports import free_port, is_listening
from stack.service import Service

LISTEN = """
import socket, sys, time
print("line of the log", flush=True)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    server.accept()[0].close()
"""


class Listener(Service):
    """Listens on its port, or does what `program` says."""

    name = "listener"
    default_port = 20_000
    program = LISTEN

    @property
    def url(self) -> str:
        return f"tcp://{self.address}"

    def prepare(self) -> None:
        self.data_directory.mkdir(exist_ok=True)

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.program, str(self.port)]

    def is_ready(self) -> bool:
        return is_listening(self.port)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    service = Listener(tmp_path / "listener", free_port(), start_timeout_s=20, stop_timeout_s=10)
    yield service
    service.kill()
