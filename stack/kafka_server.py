"""A Kafka broker from Maven's jars, without the scripts of a release."""

import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from stack import downloads, ports, programs
from stack.errors import StartFailed
from stack.ports import HOST
from stack.service import Service

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


class KafkaServer(Service):
    """A Kafka broker that is its own controller (KRaft), with every internal topic on one replica."""

    name = "kafka"
    default_port = 9092
    heap = "512m"

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
        controller = f"{HOST}:{ports.free_port(ports.INNER_PORTS)}"
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
            # Cleaning begins when a gigabyte is full, in all partitions at nearly the same time: not at full speed.
            "log.cleaner.io.max.bytes.per.second": str(16 * 1024**2),
            **self.settings,
        }
        self._configuration.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        self._logging.write_text(KAFKA_LOGGING)
        if not (self.data_directory / "meta.properties").exists():
            self._format()

    def command(self) -> list[str]:
        return [
            *self._java(f"-Xms{self.heap}", f"-Xmx{self.heap}", "-XX:+AlwaysPreTouch", "-XX:+UseG1GC"),
            "kafka.Kafka",
            str(self._configuration),
        ]

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
            raise StartFailed(f"kafka could not format {self.data_directory}; {self._end_of_log()}")
