"""The programs of this machine that the servers need: found, or installed where that is possible without asking."""

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stack.errors import MissingProgram

log = logging.getLogger(__name__)

OLDEST_JAVA = 17
PACKAGES = {"java": "default-jre-headless", "mvn": "maven", "redis-server": "redis-server", "setpriv": "util-linux"}

# Debian asks this file before a package starts its service; 101 means "do not".
POLICY_FILE = Path("/usr/sbin/policy-rc.d")


@dataclass(frozen=True)
class Java:
    home: Path
    version: int

    @property
    def program(self) -> str:
        return str(self.home / "bin" / "java")


def program(name: str) -> str:
    """The full path of a program, installed first if it is missing."""
    found = shutil.which(name)
    if found is None:
        _install(name)
        found = shutil.which(name)
    if found is None:
        raise MissingProgram(f"{name} is installed but not on the PATH ({os.environ.get('PATH')})")
    return found


def java() -> Java:
    """The first Java that is new enough: $JAVA_HOME, the PATH, then what the system keeps beside its default one."""
    found = _find_java()
    if found is None:
        _install("java")
        found = _find_java()
    if found is None:
        raise MissingProgram(f"no Java {OLDEST_JAVA} or newer on this machine; install one and set JAVA_HOME to it")
    return found


def _find_java() -> Java | None:
    candidates = [Path(home, "bin", "java") for home in [os.environ.get("JAVA_HOME")] if home]
    candidates += [Path(on_path) for on_path in [shutil.which("java")] if on_path]
    candidates += sorted(Path("/usr/lib/jvm").glob("*/bin/java"))
    found = (_inspect_java(candidate) for candidate in candidates)
    return next((java for java in found if java and java.version >= OLDEST_JAVA), None)


def _inspect_java(executable: Path) -> Java | None:
    try:
        told = subprocess.run(
            [executable, "-XshowSettings:properties", "-version"], capture_output=True, text=True, check=True
        ).stderr
    except (OSError, subprocess.CalledProcessError):
        return None
    home = re.search(r"java\.home = (.+)", told)
    version = re.search(r"java\.specification\.version = (\d+)", told)  # Java 8 says 1.8: old enough
    return Java(Path(home[1].strip()), int(version[1])) if home and version else None


def _install(name: str) -> None:
    """Install the Debian package of a program, or raise `MissingProgram` with the command to type."""
    package = PACKAGES[name]
    install = ["apt-get", "install", "-y", "--no-install-recommends", package]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingProgram(
            f"{name} is missing; on Debian or Ubuntu: sudo apt-get update && sudo {' '.join(install)}; "
            f"elsewhere install the package that brings {name}"
        )
    log.info("%s is missing: installing the Debian package %s", name, package)
    with _no_service_starts():
        _run_as_package_manager(["apt-get", "update"])
        _run_as_package_manager(install)
    if package == "redis-server":
        _run_as_package_manager(["update-rc.d", package, "disable"])  # else it holds 6379 after the next boot


def _run_as_package_manager(command: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    finished = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if finished.returncode != 0:
        raise MissingProgram(f"`{' '.join(command)}` failed:\n{finished.stdout[-3000:]}")


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep a package from starting its own server, which would hold the port that ours wants."""
    if POLICY_FILE.exists():  # the machine has its own policy
        yield
        return
    POLICY_FILE.write_text("#!/bin/sh\nexit 101\n")
    POLICY_FILE.chmod(0o755)
    try:
        yield
    finally:
        POLICY_FILE.unlink()
