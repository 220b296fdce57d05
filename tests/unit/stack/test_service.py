"""A service can be started, found, stopped, killed and frozen, and never touches a process that is not its own."""

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.errors import NotRunning, PortTaken, StartFailed
from stack.ports import free_port, is_listening
from stack.processes import ServerProcess, process_stat
from stack.service import Service
from stack.waiting import wait_until

LISTEN = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    server.accept()[0].close()
"""
ENDS_WITH_A_REASON = "import sys; print('first line'); sys.exit('the disk is full')"
IGNORES_SIGTERM = """
import signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    server.accept()[0].close()
"""
# As Elasticsearch: what is started launches the process that does the work.
LAUNCHES_ANOTHER = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import socket, sys, time; "
    "server = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)", sys.argv[1]])
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


def another(service: Listener) -> Listener:
    """The same service as another process would see it."""
    return type(service)(service.directory, port=1)


def test_a_started_service_answers_and_a_stopped_one_is_gone(listener: Listener) -> None:
    listener.start()
    pid = listener.pid
    assert listener.is_ready()
    listener.stop()
    assert not listener.is_running
    assert process_stat(pid) is None
    assert not listener.is_ready()


def test_a_second_start_changes_nothing(listener: Listener) -> None:
    listener.start()
    pid = listener.pid
    listener.start()
    another(listener).start()
    assert listener.pid == pid


def test_another_command_finds_a_running_service_with_its_port_and_stops_it(listener: Listener) -> None:
    listener.start()
    found = another(listener)
    assert (found.pid, found.port) == (listener.pid, listener.port)
    found.stop()
    assert not listener.is_running


def test_a_restart_keeps_the_port_even_where_another_command_chose_it(listener: Listener) -> None:
    listener.start()
    pid, port = listener.pid, listener.port
    another(listener).restart()
    assert listener.port == port
    assert listener.pid != pid


def test_a_killed_service_starts_again_on_its_port(listener: Listener) -> None:
    listener.start()
    port = listener.port
    listener.kill()
    assert not listener.is_running
    listener.start()
    assert listener.port == port


def test_a_frozen_service_counts_as_running_and_goes_on_when_resumed(listener: Listener) -> None:
    listener.start()
    listener.freeze()
    assert wait_until(lambda: _state(listener) == "T", timeout_s=5)
    assert listener.is_running
    listener.resume()
    assert wait_until(lambda: _state(listener) != "T", timeout_s=5)


def test_a_frozen_service_can_be_stopped(listener: Listener) -> None:
    listener.start()
    listener.freeze()
    listener.stop()
    assert not listener.is_running


def test_a_service_that_ignores_sigterm_is_killed_after_its_time(listener: Listener) -> None:
    listener.program, listener.stop_timeout_s = IGNORES_SIGTERM, 0.2
    listener.start()
    pid = listener.pid
    listener.stop()
    assert process_stat(pid) is None


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_a_server_launched_ends_with_it(listener: Listener, end: str) -> None:
    listener.program = LAUNCHES_ANOTHER
    listener.start()
    getattr(listener, end)()
    assert not listener.is_ready()


def test_a_failed_start_tells_the_end_of_the_log_and_its_path(listener: Listener) -> None:
    listener.program = ENDS_WITH_A_REASON
    with pytest.raises(StartFailed, match="ended during its start") as failure:
        listener.start()
    assert "the disk is full" in str(failure.value)
    assert str(listener.log_file) in str(failure.value)


def test_a_service_that_is_not_ready_in_time_is_killed(listener: Listener) -> None:
    listener.program, listener.start_timeout_s = "import time; time.sleep(60)", 0.2
    with pytest.raises(StartFailed, match=r"does not answer after 0\.2 s"):
        listener.start()
    assert not listener.is_running


def test_a_second_start_does_not_kill_a_running_service_that_is_silent(listener: Listener) -> None:
    listener.start()
    listener.freeze()
    patient = another(listener)
    patient.start_timeout_s = 0.2
    patient.is_ready = lambda: False  # type: ignore[method-assign]
    with pytest.raises(StartFailed, match="does not answer"):
        patient.start()
    assert listener.is_running


def test_a_taken_port_stops_the_start_and_names_the_way_out(listener: Listener) -> None:
    expected = pytest.raises(PortTaken, match=rf"{listener.port}.*pid \d+ .*--listener-port N")
    with socket.create_server(("127.0.0.1", listener.port)), expected:
        listener.start()
    assert not listener.directory.exists()


def test_a_service_that_does_not_run_has_no_pid_and_cannot_be_frozen(listener: Listener) -> None:
    with pytest.raises(NotRunning, match=r"listener in .* does not run"):
        _ = listener.pid
    with pytest.raises(NotRunning):
        listener.freeze()
    listener.stop()
    listener.kill()


def test_a_process_that_got_the_pid_later_is_not_ours_and_is_left_alone(listener: Listener, tmp_path: Path) -> None:
    listener.start()
    note = listener.directory / "process.json"
    earlier = json.loads(note.read_text()) | {"started_ticks": 1}
    stranger = another(listener)
    stranger.directory = tmp_path / "stranger"
    stranger._note = tmp_path / "stranger.json"
    stranger._note.write_text(json.dumps(earlier))
    assert not stranger.is_running
    stranger.stop()
    stranger.kill()
    assert listener.is_running


@pytest.mark.parametrize("text", ["", "{", "{}", '{"pid": 1}', "[1, 2]", "7"])
def test_an_unreadable_note_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "process.json").write_text(text)
    assert ServerProcess.load(tmp_path / "process.json") is None


def _state(service: Listener) -> str | None:
    stat = process_stat(service.pid)
    return stat.state if stat else None
