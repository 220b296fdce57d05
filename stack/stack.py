"""The servers of one directory, together: what the command line and the tests' fixtures hold."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from stack.errors import PortTaken
from stack.ports import free_port
from stack.services import ElasticsearchServer, KafkaServer, RedisServer, Service
from stack.waiting import locked

SERVICE_NAMES = (KafkaServer.name, RedisServer.name, ElasticsearchServer.name)


class Stack:
    """Kafka, Redis and Elasticsearch in one directory.

    >>> with Stack(tmp_path, services=("redis",), free_ports=True) as stack:     # doctest: +SKIP
    ...     redis.Redis.from_url(stack.redis.url).ping()
    """

    def __init__(
        self,
        directory: Path,
        services: Sequence[str] = SERVICE_NAMES,
        *,
        ports: Mapping[str, int] | None = None,
        free_ports: bool = False,
        settings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """`ports` and `settings` are by service name; a service that runs already keeps its port."""
        self.directory = directory.absolute()
        self._wanted_ports = dict(ports or {})
        settings = settings or {}

        def arguments(kind: type[Service]) -> tuple[Path, int]:
            fallback = free_port() if free_ports else kind.default_port
            return self.directory / kind.name, self._wanted_ports.get(kind.name, fallback)

        self.kafka = KafkaServer(*arguments(KafkaServer), settings=settings.get("kafka"))
        self.redis = RedisServer(*arguments(RedisServer), settings=settings.get("redis"))
        self.elasticsearch = ElasticsearchServer(
            *arguments(ElasticsearchServer), settings=settings.get("elasticsearch")
        )
        everything: tuple[Service, ...] = (self.kafka, self.redis, self.elasticsearch)
        self.services = tuple(service for service in everything if service.name in services)
