"""A missing program is installed where that is possible, and otherwise its command is told."""

from pathlib import Path

import pytest

from stack import programs
from stack.errors import MissingProgram


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with one empty directory."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def write_script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def pretend_java(directory: Path, version: str) -> Path:
    told = f"    java.home = {directory}\n    java.specification.version = {version}"
    (directory / "bin").mkdir(parents=True)
    write_script(directory / "bin" / "java", f"/bin/cat >&2 <<'END'\n{told}\nEND")
    return directory


def test_a_user_without_root_is_told_the_command(empty_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    command = "sudo apt-get update && sudo apt-get install -y --no-install-recommends redis-server"
    with pytest.raises(MissingProgram, match=f"redis-server is missing.*{command}"):
        programs.program("redis-server")


def test_root_without_apt_is_told_the_command(empty_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(MissingProgram, match="install the package that brings mvn"):
        programs.program("mvn")


def test_root_on_debian_gets_the_package_and_no_server_started_by_it(
    empty_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, calls = tmp_path / "policy-rc.d", tmp_path / "calls"
    monkeypatch.setattr(programs, "POLICY_FILE", policy)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    installed = empty_path / "redis-server"
    write_script(
        empty_path / "apt-get",
        f'echo "$@" >>{calls}; {policy} && echo "services may start" >>{calls}\n'
        f'[ "$1" = update ] || {{ echo "#!/bin/sh" >{installed}; /bin/chmod 755 {installed}; }}',
    )
    write_script(empty_path / "update-rc.d", f'echo "$@" >>{calls}')
    assert programs.program("redis-server") == str(installed)
    assert calls.read_text().splitlines() == [
        "update",
        "install -y --no-install-recommends redis-server",
        "redis-server disable",
    ]
    assert not policy.exists()


def test_a_failed_installation_shows_what_apt_said(
    empty_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "POLICY_FILE", tmp_path / "policy-rc.d")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    write_script(empty_path / "apt-get", "echo 'no network'; exit 100")
    with pytest.raises(MissingProgram, match=r"`apt-get update` failed:\nno network"):
        programs.program("mvn")


def test_the_java_of_java_home_is_taken_when_it_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = pretend_java(tmp_path / "new", "21"), pretend_java(tmp_path / "old", "1.8")
    monkeypatch.setenv("PATH", str(new / "bin"))
    monkeypatch.setenv("JAVA_HOME", str(old))
    assert programs.java() == programs.Java(home=new, version=21)
    monkeypatch.setenv("JAVA_HOME", str(pretend_java(tmp_path / "newer", "25")))
    assert programs.java().version == 25
