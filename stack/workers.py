"""The services of Ebb as native processes beside the servers: the same `python -m` that the containers run."""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from stack.service import Service

PROJECT = Path(__file__).parents[1]


class Worker(Service):
    """One service, given its neighbours by environment variables; started again when it fails, if supervised."""

    arguments: ClassVar[tuple[str, ...]] = ()
    default_port: ClassVar[int] = 0

    def __init__(
        self, directory: Path, variables: Mapping[str, str], *, port: int | None = None, is_supervised: bool = True
    ) -> None:
        super().__init__(directory / self.name, self.default_port if port is None else port, stop_timeout_s=15)
        self._variables = dict(variables)
        self._is_supervised = is_supervised

    @property
    def module(self) -> str:
        """What `python -m` runs."""
        return self.name

    def prepare(self) -> None:
        """Nothing: a service keeps no files."""

    def command(self) -> list[str]:
        own = [sys.executable, "-m", self.module, *self.arguments]
        return [sys.executable, "-m", "stack.supervise", *own] if self._is_supervised else own

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self._variables, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}

    def is_ready(self) -> bool:
        return self.is_running

    @property
    def url(self) -> str:
        return self.address


class StreamProcessor(Worker):
    """`python -m stream_processor`; ready when its health page says so."""

    name = "stream_processor"
    default_port = 6066

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "STREAM_WEB_PORT": str(self.port)}

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.url, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    @property
    def url(self) -> str:
        return f"http://{self.address}/healthz"


class Scorer(Worker):
    """`python -m scorer serve`."""

    name = "scorer"
    niceness = 5
    arguments = ("serve",)


class EsIngest(Worker):
    """`python -m es_ingest`."""

    name = "es_ingest"
    niceness = 10


WORKERS: tuple[type[Worker], ...] = (StreamProcessor, Scorer, EsIngest)
