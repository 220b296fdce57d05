"""The servers of one directory, together: what the command line and the tests' fixtures hold."""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from stack.elasticsearch_server import ElasticsearchServer
from stack.errors import PortTaken
from stack.kafka_server import KafkaServer
from stack.ports import free_port
from stack.redis_server import RedisServer
from stack.service import Service
from stack.waiting import locked

SERVICE_NAMES = (KafkaServer.name, RedisServer.name, ElasticsearchServer.name)

Server = TypeVar("Server", bound=Service)


class Stack:
    """Kafka, Redis and Elasticsearch in one directory, started and stopped together or one by one.

    >>> with Stack(tmp_path, services=["redis"], free_ports=True) as stack:  # doctest: +SKIP
    ...     redis.Redis.from_url(stack.redis.url).ping()
    """

    def __init__(
        self,
        directory: Path,
        services: Collection[str] = SERVICE_NAMES,
        *,
        ports: Mapping[str, int] | None = None,
        free_ports: bool = False,
        settings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """`services` are those that `start` starts; `ports` and `settings` are by service name.

        A service that runs already keeps its port.
        """
        self.directory = directory.absolute()
        self._ports = dict(ports or {})
        self._settings = dict(settings or {})
        self._free_ports = free_ports
        self.kafka = self._server(KafkaServer)
        self.redis = self._server(RedisServer)
        self.elasticsearch = self._server(ElasticsearchServer)
        self._wanted = frozenset(services)

    def _server(self, kind: type[Server]) -> Server:
        fallback = free_port() if self._free_ports else kind.default_port
        port = self._ports.get(kind.name, fallback)
        return kind(self.directory / kind.name, port, settings=self._settings.get(kind.name))

    @property
    def services(self) -> tuple[Service, ...]:
        return (self.kafka, self.redis, self.elasticsearch)

    @property
    def running(self) -> tuple[Service, ...]:
        return tuple(service for service in self.services if service.is_running)

    def start(self) -> None:
        """Start the wanted services side by side and return when all are ready; those that run already stay."""
        wanted = [service for service in self.services if service.name in self._wanted]
        with locked(self.directory / "lock"):
            for service in wanted:
                self._require_wanted_port(service)
                service.launch()
            for service in wanted:
                service.wait_until_ready()

    def _require_wanted_port(self, service: Service) -> None:
        wanted = self._ports.get(service.name, service.port)
        if service.is_running and service.port != wanted:
            raise PortTaken(
                f"{service.name} in {self.directory} runs already, on port {service.port} and not {wanted}; "
                "stop it first (`down`), or choose another --dir"
            )

    def stop(self) -> None:
        """Stop whatever runs here, gracefully; data stay."""
        with locked(self.directory / "lock"):
            for service in self.services:
                service.stop()

    def kill(self) -> None:
        """Kill whatever runs here."""
        for service in self.services:
            service.kill()

    def purge(self) -> None:
        """Remove data, configuration and logs of the stopped services, and nothing that they did not write."""
        for service in self.services:
            if service.log_file.exists():
                shutil.rmtree(service.directory)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
