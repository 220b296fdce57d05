"""The services of Ebb as native processes beside the servers: the same `python -m` that the containers run."""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
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


class Paged(Worker):
    """A service with pages; ready when its health page says so, with port 0 (any free one) as soon as it runs."""

    port_variable: ClassVar[str]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), self.port_variable: str(self.port)}

    def is_ready(self) -> bool:
        if not self.port:
            return self.is_running
        try:
            with urllib.request.urlopen(self.url, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    @property
    def url(self) -> str:
        return f"http://{self.address}/healthz"


class StreamProcessor(Paged):
    """`python -m stream_processor`."""

    name = "stream_processor"
    default_port = 6066
    port_variable = "STREAM_WEB_PORT"


class Scorer(Paged):
    """`python -m scorer serve`."""

    name = "scorer"
    default_port = 6067
    port_variable = "SCORER_WEB_PORT"
    niceness = 5
    arguments = ("serve",)


class EsIngest(Paged):
    """`python -m es_ingest`."""

    name = "es_ingest"
    default_port = 6068
    port_variable = "INGEST_WEB_PORT"
    niceness = 10


class LiveProducer(Worker):
    """`python -m producer` with these arguments, which have it send events at a rate."""

    name = "producer"

    def __init__(self, directory: Path, variables: Mapping[str, str], arguments: Sequence[str]) -> None:
        super().__init__(directory, variables)
        self._sends = arguments

    def command(self) -> list[str]:
        return [*super().command(), *self._sends]


WORKERS: tuple[type[Worker], ...] = (StreamProcessor, Scorer, EsIngest)
