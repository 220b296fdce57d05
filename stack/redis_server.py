"""Redis, as the pipeline is proved against it."""

from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from stack import programs
from stack.ports import HOST
from stack.service import Service


class RedisServer(Service):
    """Redis with the durability the pipeline is proved against: append-only file, synced every second."""

    name = "redis"
    default_port = 6379

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    @property
    def _configuration(self) -> Path:
        return self.directory / "redis.conf"

    def prepare(self) -> None:
        self.data_directory.mkdir(exist_ok=True)
        directives = {
            "bind": HOST,
            "port": str(self.port),
            "dir": f'"{self.data_directory}"',
            "daemonize": "no",
            "save": '""',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "auto-aof-rewrite-min-size": "1gb",
            "maxmemory-policy": "noeviction",
            **self.settings,
        }
        self._configuration.write_text("".join(f"{name} {value}\n" for name, value in directives.items()))

    def command(self) -> list[str]:
        return [programs.program("redis-server"), str(self._configuration)]

    def is_ready(self) -> bool:
        try:
            with redis.Redis(host=HOST, port=self.port, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
                return bool(client.ping())
        except redis.AuthenticationError:  # its users are set by `settings`, and get in
            return True
        except redis.RedisError:  # not listening yet, or still reading its file
            return False
