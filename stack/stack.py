"""The servers of one directory, together: what the command line and the tests' fixtures hold."""

import shutil
from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from stack.elasticsearch_server import ElasticsearchServer
from stack.errors import PortTaken
from stack.kafka_server import KafkaServer
from stack.ports import pick_free_ports
from stack.redis_server import RedisServer
from stack.service import Service
from stack.waiting import locked

# The quickest first, as they are waited for in this order.
KINDS: tuple[type[Service], ...] = (RedisServer, KafkaServer, ElasticsearchServer)
SERVICE_NAMES = tuple(kind.name for kind in KINDS)

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
        """`services` are those that `start` starts; `ports` and `settings` are by service name."""
        self.directory = directory.absolute()
        self._lock = self.directory / "lock"
        self._chosen_ports = dict(ports or {})
        fallback = pick_free_ports(len(SERVICE_NAMES)) if free_ports else [kind.default_port for kind in KINDS]
        port = {**dict(zip(SERVICE_NAMES, fallback, strict=True)), **self._chosen_ports}

        def server(kind: type[Server]) -> Server:
            return kind(self.directory / kind.name, port[kind.name], settings=(settings or {}).get(kind.name))

        self.redis = server(RedisServer)
        self.kafka = server(KafkaServer)
        self.elasticsearch = server(ElasticsearchServer)
        by_name = {service.name: service for service in self.services}
        self._wanted = [by_name[name] for name in services]

    @property
    def services(self) -> tuple[Service, ...]:
        return (self.redis, self.kafka, self.elasticsearch)

    @property
    def running(self) -> tuple[Service, ...]:
        return tuple(service for service in self.services if service.is_running)

    def start(self) -> None:
        """Start the wanted services side by side and return when all are ready.

        Those that run already stay. When one fails, the others stay too, so that the next attempt is shorter.
        """
        with locked(self._lock):
            for service in self._wanted:
                self._require_wanted_port(service)
                service.launch()
            for service in self._wanted:
                service.wait_until_ready()

    def _require_wanted_port(self, service: Service) -> None:
        wanted = self._chosen_ports.get(service.name, service.port)
        if service.is_running and service.port != wanted:
            raise PortTaken(
                f"{service.name} in {self.directory} runs already, on port {service.port} and not {wanted}; "
                "stop it first (`down`), or choose another --dir"
            )

    def stop(self) -> None:
        """Stop whatever runs here, gracefully; data stay."""
        if self.directory.is_dir():
            with locked(self._lock):
                for service in self.services:
                    service.stop()

    def kill(self) -> None:
        """Kill whatever runs here."""
        for service in self.services:
            service.kill()

    def purge(self) -> None:
        """Stop everything and remove data, configuration and logs, but nothing that the services did not write."""
        self.stop()
        for service in self.services:
            if service.log_file.exists():
                shutil.rmtree(service.directory)
        self._lock.unlink(missing_ok=True)
        with suppress(OSError):  # not there, or something of somebody else's is in it
            self.directory.rmdir()

    def __enter__(self) -> Self:
        with ExitStack() as after_failure:
            after_failure.callback(self.kill)
            self.start()
            after_failure.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
