"""The whole pipeline of one directory: the servers and, beside them, the services of Ebb."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import redis

from churn.feature_store import DUE, customer_key
from stack.errors import StackError
from stack.ports import free_port, is_free, pick_free_ports
from stack.service import Service
from stack.stack import Stack
from stack.workers import PROJECT, WORKERS, EsIngest, Worker


class StepFailed(StackError):
    """A one-time job of the pipeline ended with an error; what it printed says why."""


class Pipeline:
    """Servers and services below `directory`; a default port that is taken gives way to a free one.

    `free_ports` has everything on free ports, so that several pipelines can start at the same time.
    """

    def __init__(
        self, directory: Path, variables: Mapping[str, str] | None = None, *, free_ports: bool = False
    ) -> None:
        idle = [server for server in Stack(directory).services if not server.is_running]
        taken = [each for each in idle if free_ports or not is_free(each.port)]
        found = pick_free_ports(len(taken) + len(WORKERS))
        self.servers = Stack(directory, ports={each.name: found.pop() for each in taken})
        self._ports = {kind: found.pop() for kind in WORKERS} if free_ports else {}
        self._variables = dict(variables or {})

    @property
    def variables(self) -> dict[str, str]:
        """The environment that tells a service of Ebb where its neighbours are."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.servers.kafka.address,
            "REDIS_URL": self.servers.redis.url,
            "ELASTICSEARCH_URL": self.servers.elasticsearch.url,
            **self._variables,
        }

    def worker(self, kind: type[Worker]) -> Worker:
        """A service of this pipeline, running or not."""
        worker = kind(self.servers.directory, self.variables, port=self._ports.get(kind))
        if worker.is_running or is_free(worker.port):
            return worker
        return kind(self.servers.directory, self.variables, port=free_port())

    @property
    def services(self) -> tuple[Service, ...]:
        """All servers, then all services of Ebb."""
        return (*self.servers.services, *(self.worker(kind) for kind in WORKERS))

    @property
    def running(self) -> tuple[Service, ...]:
        return tuple(service for service in self.services if service.is_running)

    def start(self) -> None:
        """Start the servers, create topics and index templates, start every service."""
        self.servers.start()
        self.prepare()
        for kind in WORKERS:
            self.worker(kind).start()

    def prepare(self) -> None:
        """Create what the services expect, topics and index templates; from now on the live path goes first."""
        self.servers.elasticsearch.step_back(EsIngest.niceness)
        self.run("churn.topics")
        self.run("es_ingest", "templates")

    def is_everybody_scored(self) -> bool:
        """Whether every customer has a card."""
        client = redis.Redis.from_url(self.variables["REDIS_URL"])
        customers = sum(1 for _ in client.scan_iter(customer_key("*"), count=1000))
        scored = client.zcard(DUE)
        client.close()
        return bool(scored == customers)

    def run(self, module: str, *arguments: str, accept: Sequence[int] = (0,)) -> int:
        """Run `python -m MODULE ARGUMENTS` to its end, its output to ours; returns its exit code.

        Raises `StepFailed` for an exit code that is not accepted.
        """
        environment = {**os.environ, **self.variables, "PYTHONPATH": str(PROJECT)}
        command = [sys.executable, "-m", module, *arguments]
        code = subprocess.run(command, env=environment, check=False).returncode
        if code not in accept:
            raise StepFailed(f"`python -m {module} {' '.join(arguments)}` ended with exit code {code}")
        return code

    def stop(self) -> None:
        """Stop the services, then the servers; data stay."""
        for kind in reversed(WORKERS):
            self.worker(kind).stop()
        self.servers.stop()

    def kill(self) -> None:
        """Kill whatever runs here."""
        for service in reversed(self.services):
            service.kill()

    def purge(self) -> None:
        """Stop everything and remove what it wrote."""
        self.stop()
        for kind in WORKERS:
            shutil.rmtree(self.worker(kind).directory, ignore_errors=True)
        self.servers.purge()
