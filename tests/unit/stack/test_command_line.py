"""What `python -m stack` says where no server is needed to say it."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stack import Stack
from stack.__main__ import main
from stack.errors import PortTaken
from stack.ports import free_port
from stack.processes import ServerProcess


def pretend_running(service_directory: Path, port: int) -> subprocess.Popen[bytes]:
    """A process that stands for a server which another command started."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    service_directory.mkdir(parents=True)
    ServerProcess.of(process.pid, port).save(service_directory / "process.json")
    return process


def test_the_status_of_nothing_is_an_error_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "stack"
    assert main(["status", "--json", "--dir", str(directory)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert f"nothing runs in {directory}" in told.err
    assert not directory.exists()


def test_down_where_nothing_runs_is_no_error_and_leaves_nothing(tmp_path: Path) -> None:
    assert main(["down", "--purge", "--dir", str(tmp_path / "stack")]) == 0
    assert not (tmp_path / "stack").exists()


def test_the_status_names_what_runs_and_only_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pretend_running(tmp_path / "redis", 16_379) as process:
        assert main(["status", "--json", "--dir", str(tmp_path)]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told == {"redis_url": "redis://127.0.0.1:16379/0", "pids": {"redis": process.pid}}
        assert main(["down", "--dir", str(tmp_path)]) == 0
        assert process.wait(timeout=5) < 0


def test_a_running_service_is_not_moved_to_another_port(tmp_path: Path) -> None:
    with pretend_running(tmp_path / "redis", 16_379) as process:
        with pytest.raises(PortTaken, match="runs already, on port 16379 and not 16380"):
            Stack(tmp_path, ["redis"], ports={"redis": 16_380}).start()
        assert process.poll() is None
        process.kill()


def test_a_taken_port_ends_up_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        port = str(server.getsockname()[1])
        assert main(["up", "redis", "--redis-port", port, "--dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"stack: port {port} on 127.0.0.1, wanted for redis, is taken by pid ")


def test_an_unknown_service_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["up", "mongodb"])
    assert "'mongodb' is none of redis, kafka, elasticsearch" in capsys.readouterr().err


def test_purge_removes_what_the_services_wrote_and_nothing_else(tmp_path: Path) -> None:
    for written in ("redis/redis.log", "redis/data/file", "kafka/notes.txt"):
        (tmp_path / written).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / written).touch()
    Stack(tmp_path).purge()
    assert not (tmp_path / "redis").exists()
    assert (tmp_path / "kafka" / "notes.txt").exists()
