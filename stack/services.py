"""The three servers: what each is told, how it is asked whether it is ready, and the life they share.

A service is a directory and a port. Its configuration is written anew at each start; its data, its log and the note of
its process stay in the directory, so another process finds it again.
"""

import http.client
import json
import logging
import os
import pwd
import signal
import subprocess
import time
import uuid
from abc import ABC, abstractmethod
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import redis
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from stack import downloads, ports, programs
from stack.errors import NotRunning, StartFailed, StopFailed
from stack.ports import HOST
from stack.processes import ServerProcess, process_stat
from stack.waiting import wait_until

log = logging.getLogger(__name__)

LOG_LINES_IN_ERRORS = 20


class Service(ABC):
    """One server: started, stopped, killed, frozen and started again on the same port and data.

    `settings` are added to the server's configuration and win over ours. Subclasses say what is particular to a server.
    """

    name: ClassVar[str]
    default_port: ClassVar[int]

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        settings: Mapping[str, str] | None = None,
        start_timeout_s: float = 120,
        stop_timeout_s: float = 30,
    ) -> None:
        self.directory = directory.absolute()
        self.log_file = self.directory / f"{self.name}.log"
        self.settings = dict(settings or {})
        self.start_timeout_s = start_timeout_s
        self.stop_timeout_s = stop_timeout_s
        self._note = self.directory / "process.json"
        self._process = ServerProcess.load(self._note)
        self._child: subprocess.Popen[bytes] | None = None
        self.port = self._process.port if self._process and self._process.is_running else port

    @abstractmethod
    def prepare(self) -> None:
        """Bring the server's files and write its configuration."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command line of the server, staying in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """True when the server does real work for a client."""

    @property
    @abstractmethod
    def url(self) -> str:
        """What a client is given to connect."""

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def data_directory(self) -> Path:
        return self.directory / "data"

    @property
    def is_running(self) -> bool:
        """True while the server's process lives, ready or not, frozen or not."""
        if self._child is not None:
            self._child.poll()  # a dead child stays a zombie until its parent asks
        return self._process is not None and self._process.is_running

    @property
    def pid(self) -> int:
        """The leader of the server's process group (of Elasticsearch: the launcher, which takes the node with it)."""
        if self._process is None or not self.is_running:
            raise NotRunning(f"{self.name} in {self.directory} does not run")
        return self._process.pid

    def start(self) -> None:
        """Launch the server and return when it is ready; nothing happens if it runs already."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start the process without waiting for the server to be ready."""
        if self.is_running:
            return
        if self._process is not None:
            wait_until(lambda: self._is_gone(), self.stop_timeout_s)  # a node outlives its killed launcher for a moment
        ports.require_free(self.port, self.name)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.prepare()
        with self.log_file.open("ab") as output:
            self._child = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the terminal is not for the server
            )
        stat = process_stat(self._child.pid)
        self._process = ServerProcess(self._child.pid, stat.started_ticks if stat else 0, self.port)
        self._process.save(self._note)

    def wait_until_ready(self) -> None:
        """Return when the server answers; otherwise kill it and raise `StartFailed` with the end of its log."""
        began, is_ready = time.monotonic(), False
        try:
            wait_until(lambda: not self.is_running or self.is_ready(), self.start_timeout_s)
            is_ready = self.is_running and self.is_ready()
            if not is_ready:
                problem = f"was not ready after {self.start_timeout_s:.0f} s" if self.is_running else "ended at once"
                raise StartFailed(f"{self.name} {problem}; the end of {self.log_file}:\n{self._end_of_log()}")
        finally:  # also when the person at the keyboard gave up
            if not is_ready:
                self.kill()
        log.info("%s: ready on %s after %.1f s, pid %d", self.name, self.url, time.monotonic() - began, self.pid)

    def stop(self) -> None:
        """Ask the server to end (SIGTERM), and make it end after `stop_timeout_s`; data stay. Idle if it does not run."""
        if self._process is not None:
            self._process.send(signal.SIGTERM, signal.SIGCONT)  # a frozen process ends only when resumed
            if not wait_until(self._is_gone, self.stop_timeout_s):
                log.warning("%s: still there %.0f s after SIGTERM, killing it", self.name, self.stop_timeout_s)
            self.kill()

    def kill(self) -> None:
        """End the server as a power cut would (SIGKILL). Idle if it does not run."""
        if self._process is None:
            return
        self._process.send(signal.SIGKILL)
        if not wait_until(self._is_gone, timeout_s=10):
            raise StopFailed(f"{self.name}: a process of group {self._process.pid} outlived SIGKILL; see `ps -g`")
        self._process = None
        self._note.unlink(missing_ok=True)

    def restart(self) -> None:
        """Stop and start on the same port and data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Hold the server still (SIGSTOP): connections stay open and nothing answers."""
        self._require_process().send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on (SIGCONT)."""
        self._require_process().send(signal.SIGCONT)

    def _require_process(self) -> ServerProcess:
        if self._process is None or not self.is_running:
            raise NotRunning(f"{self.name} in {self.directory} does not run")
        return self._process

    def _is_gone(self) -> bool:
        return not self.is_running and (self._process is None or self._process.is_gone)

    def _end_of_log(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES_IN_ERRORS:])


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
            "maxmemory-policy": "noeviction",
            **self.settings,
        }
        self._configuration.write_text("".join(f"{name} {value}\n" for name, value in directives.items()))

    def command(self) -> list[str]:
        return [programs.program("redis-server"), str(self._configuration)]

    def is_ready(self) -> bool:
        try:
            with redis.Redis(host=HOST, port=self.port, socket_timeout=1, retry=None) as client:
                return bool(client.ping())
        except redis.RedisError:  # not listening yet, or still reading its file
            return False


class KafkaServer(Service):
    """A Kafka broker that is its own controller (KRaft), with every internal topic on one replica."""

    name = "kafka"
    default_port = 9092

    @property
    def url(self) -> str:
        return self.address

    @property
    def _configuration(self) -> Path:
        return self.directory / "server.properties"

    @property
    def _logging(self) -> Path:
        return self.directory / "log4j2.properties"

    def prepare(self) -> None:
        controller = f"{HOST}:{ports.free_port()}"
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.data_directory),
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # The default, 128 MB, would be a quarter of the heap.
            "log.cleaner.dedupe.buffer.size": str(32 * 1024**2),
            **self.settings,
        }
        self._configuration.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        self._logging.write_text(KAFKA_LOGGING)
        if not (self.data_directory / "meta.properties").exists():
            self._format()

    def command(self) -> list[str]:
        return [*self._java("-Xmx512m", "-XX:+UseG1GC"), "kafka.Kafka", str(self._configuration)]

    def is_ready(self) -> bool:
        if not ports.is_listening(self.port):
            return False
        try:
            admin = KafkaAdminClient(
                bootstrap_servers=self.address, bootstrap_timeout_ms=2_000, request_timeout_ms=2_000
            )
            try:
                return len(admin.describe_cluster()["brokers"]) == 1
            finally:
                admin.close()
        except KafkaError:
            return False

    def _java(self, *options: str) -> list[str]:
        class_path = str(downloads.kafka_jars() / "*")
        return [
            programs.java().program,
            *options,
            f"-Dlog4j2.configurationFile={self._logging.as_uri()}",
            "-cp",
            class_path,
        ]

    def _format(self) -> None:
        """Write the identity that KRaft wants to find in an empty data directory."""
        cluster_id = urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        storage_tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._configuration)]
        with self.log_file.open("ab") as output:
            finished = subprocess.run(
                [*self._java("-XX:TieredStopAtLevel=1"), *storage_tool],
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if finished.returncode != 0:
            raise StartFailed(
                f"kafka could not format {self.data_directory}; the end of {self.log_file}:\n{self._end_of_log()}"
            )


KAFKA_LOGGING = """\
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
# It prints every one of some 300 settings, several times.
logger.settings.name = org.apache.kafka.common.config
logger.settings.level = warn
"""


class ElasticsearchServer(Service):
    """One Elasticsearch node without security, reachable from this machine only."""

    name = "elasticsearch"
    default_port = 9200
    heap = "512m"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def _configuration(self) -> Path:
        return self.directory / "config"

    @property
    def _temporary(self) -> Path:
        return self.directory / "tmp"

    def prepare(self) -> None:
        for directory in (self.data_directory, self._configuration, self._temporary):
            directory.mkdir(exist_ok=True)
        settings = {
            "cluster.name": "ebb",
            "node.name": "ebb",
            "discovery.type": "single-node",
            "network.host": HOST,
            "http.port": str(self.port),
            "transport.port": str(ports.free_port()),
            "path.data": str(self.data_directory),
            "path.logs": str(self.directory / "logs"),
            "xpack.security.enabled": "false",
            # A developer's full disk is no reason to refuse writes.
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            **self.settings,
        }
        yaml = "".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items())
        (self._configuration / "elasticsearch.yml").write_text(yaml)
        (self._configuration / "jvm.options").write_text(ELASTICSEARCH_JVM.format(heap=self.heap))
        (self._configuration / "log4j2.properties").write_text(ELASTICSEARCH_LOGGING)

    def command(self) -> list[str]:
        return [*_as_nobody(), str(downloads.elasticsearch_home() / "bin" / "elasticsearch")]

    def environment(self) -> dict[str, str]:
        own = {
            "ES_JAVA_HOME": str(programs.java().home),
            "ES_PATH_CONF": str(self._configuration),
            "ES_TMPDIR": str(self._temporary),
        }
        return {name: value for name, value in os.environ.items() if name not in {"ES_JAVA_OPTS", "JAVA_HOME"}} | own

    def is_ready(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("GET", "/_cluster/health?wait_for_status=yellow&timeout=1s")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _as_nobody() -> list[str]:
    """The words before a command that must not run as root; none if we are not root.

    `nobody` keeps one right of root's, to pass the permissions of files: the data and the cache lie in directories of
    root's, often closed to others, and neither their permissions nor the list of users are ours to change.
    """
    if os.geteuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody")
    only = "-all,+dac_override"
    rights = [f"--inh-caps={only}", f"--ambient-caps={only}", f"--bounding-set={only}"]
    user = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    return [programs.program("setpriv"), *user, *rights]


ELASTICSEARCH_JVM = """\
-Xms{heap}
-Xmx{heap}
-XX:+UseG1GC
-XX:+ExitOnOutOfMemoryError
-Djava.io.tmpdir=${{ES_TMPDIR}}
-Dorg.apache.lucene.store.MMapDirectory.sharedArenaMaxPermits=1
"""

# Only to the console, which is the service's log file: the default also writes four rolling files.
ELASTICSEARCH_LOGGING = """\
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %marker%m%consoleException%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""
