"""Servers that let nobody in without a password, over encrypted connections: their users are those of stack/access/.

Kafka and Redis also listen as another server would whose certificate has expired.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from stack import downloads, programs
from stack.ports import HOST, INNER_PORTS, pick_free_ports
from stack.redis_server import RedisServer
from stack.stack import Stack

ACCESS = Path(__file__).parents[1] / "stack" / "access"
KAFKA_USER = "ebb"
# Recognisable, so that one in a log would be found.
PASSWORDS = {
    name: f"secret{number}ofTheTests"
    for number, name in enumerate(
        (
            "REDIS_ADMIN_PASSWORD",
            "REDIS_STREAM_PROCESSOR_PASSWORD",
            "REDIS_SCORER_PASSWORD",
            "REDIS_SUCCESS_PASSWORD",
            "ELASTICSEARCH_ADMIN_PASSWORD",
            "ELASTICSEARCH_INGEST_PASSWORD",
            "ELASTICSEARCH_ANALYTICS_PASSWORD",
            "ELASTICSEARCH_BOARDS_PASSWORD",
            "ELASTICSEARCH_READER_PASSWORD",
            "KIBANA_PASSWORD",
            "KAFKA_PASSWORD",
        )
    )
}


@dataclass(frozen=True)
class Secured:
    """The running servers; every port is on localhost, for which the certificates are made."""

    stack: Stack
    redis_tls_port: int
    redis_expired: RedisServer
    redis_expired_port: int
    kafka_tls_port: int
    kafka_expired_port: int
    ca_file: Path

    def redis_url(self, user: str, password: str | None = None) -> str:
        password = password or PASSWORDS[f"REDIS_{user.upper()}_PASSWORD"]
        return f"rediss://{user}:{password}@localhost:{self.redis_tls_port}/0"

    @property
    def elasticsearch_url(self) -> str:
        return f"https://localhost:{self.stack.elasticsearch.port}"


@contextmanager
def secured_servers(directory: Path) -> Iterator[Secured]:
    """All of them, below `directory`."""
    ca_file = make_certificates(directory / "certificates")
    ports = pick_free_ports(5, INNER_PORTS)
    stack = Stack(
        directory / "servers",
        free_ports=True,
        settings={
            "redis": _redis_settings(directory, "valid", ports[0]),
            "elasticsearch": _elasticsearch_settings(),
            "kafka": {},
        },
    )
    stack.kafka.settings.update(_kafka_settings(directory, stack.kafka.port, *ports[1:4]))
    expired = RedisServer(
        directory / "expired", pick_free_ports(1)[0], settings=_redis_settings(directory, "expired", ports[4])
    )
    try:
        stack.kafka.launch()  # while the users of Elasticsearch are made
        expired.launch()
        _prepare_elasticsearch(stack.elasticsearch.directory / "config", directory / "certificates")
        with stack:
            expired.wait_until_ready()
            _add_kafka_user(stack.kafka.address)
            yield Secured(stack, ports[0], expired, ports[4], ports[1], ports[2], ca_file)
    finally:
        stack.kafka.kill()
        expired.kill()


def make_certificates(directory: Path) -> Path:
    """An authority, `valid.pem` and `expired.pem` of localhost with their keys; returns the authority's file."""
    directory.mkdir(parents=True)
    (directory / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    _openssl(directory, f"req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority")
    for name, days in (("valid", 2), ("expired", 0)):  # of 0 days: expired as it is made
        _openssl(directory, f"req {key} -keyout {name}.key -out {name}.csr -subj /CN=localhost")
        signing = "-CA ca.pem -CAkey ca.key -CAcreateserial -extfile names"
        _openssl(directory, f"x509 -req -in {name}.csr {signing} -days {days} -out {name}.pem")
        pair = (directory / f"{name}.key").read_text() + (directory / f"{name}.pem").read_text()
        (directory / f"{name}-pair.pem").write_text(pair)
    return directory / "ca.pem"


def _openssl(directory: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=directory, check=True, capture_output=True)


def _redis_settings(directory: Path, certificate: str, port: int) -> dict[str, str]:
    users = directory / f"{certificate}-users.acl"
    subprocess.run(["sh", str(ACCESS / "redis.sh"), str(users), "true"], env={**os.environ, **PASSWORDS}, check=True)
    pair = directory / "certificates" / certificate
    return {
        "aclfile": str(users),
        "tls-port": str(port),
        "tls-cert-file": f"{pair}.pem",
        "tls-key-file": f"{pair}.key",
        "tls-auth-clients": "no",
    }


def _kafka_settings(directory: Path, port: int, tls_port: int, expired_port: int, controller: int) -> dict[str, str]:
    """Beside the plain listener, where the tests are the administrator: SASL_SSL, with either certificate."""
    addresses = [f"PLAINTEXT://{HOST}:{port}", f"SECURE://localhost:{tls_port}", f"EXPIRED://localhost:{expired_port}"]
    settings = {
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listeners": ",".join([*addresses, f"CONTROLLER://{HOST}:{controller}"]),
        "advertised.listeners": ",".join(addresses),
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,EXPIRED:SASL_SSL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
    }
    for listener, certificate in (("secure", "valid"), ("expired", "expired")):
        prefix = f"listener.name.{listener}"
        settings |= {
            f"{prefix}.ssl.keystore.type": "PEM",
            f"{prefix}.ssl.keystore.location": str(directory / "certificates" / f"{certificate}-pair.pem"),
            f"{prefix}.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
        }
    return settings


def _add_kafka_user(address: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=address)
    try:
        mechanism = ScramMechanism.SCRAM_SHA_512
        admin.alter_user_scram_credentials(
            [UserScramCredentialUpsertion(KAFKA_USER, mechanism, PASSWORDS["KAFKA_PASSWORD"])]
        )
    finally:
        admin.close()


def _elasticsearch_settings() -> dict[str, str]:
    return {
        "xpack.security.enabled": "true",
        "xpack.security.autoconfiguration.enabled": "false",
        "xpack.security.transport.ssl.enabled": "false",
        "xpack.security.http.ssl.enabled": "true",
        "xpack.security.http.ssl.certificate": "valid.pem",
        "xpack.security.http.ssl.key": "valid.key",
    }


def _prepare_elasticsearch(configuration: Path, certificates: Path) -> None:
    """Roles, users and certificate, which the node reads from its own configuration alone."""
    configuration.mkdir(parents=True)
    for file in (ACCESS / "roles.yml", certificates / "valid.pem", certificates / "valid.key"):
        shutil.copy(file, configuration)
    home = downloads.elasticsearch_home()
    environment = {
        **os.environ,
        **PASSWORDS,
        "ES_JAVA_HOME": str(programs.java().home),
        "ES_PATH_CONF": str(configuration),
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
    }
    subprocess.run(["bash", str(ACCESS / "elasticsearch.sh"), "true"], env=environment, check=True)
