"""How a client proves to Kafka who it is, and why it was not let in, which kafka-python keeps to itself.

Certificates are always checked, and passwords go by SASL/SCRAM; what is not set in the environment is not used.
"""

import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kafka.errors import KafkaError
from pydantic import SecretStr

from churn.refusal import AccessRefused
from churn.settings import KafkaSettings

MECHANISM: Final = "SCRAM-SHA-512"
DIAGNOSIS_TIMEOUT_S: Final = 3.0


class KafkaUnreachable(KafkaError):  # type: ignore[misc] # kafka-python has no types
    """No broker answered; says which was asked, and what came instead."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class KafkaSecurity:
    """Name and password, where Kafka asks for them, and whether connections are encrypted.

    `ca_file` (PEM) names who must have signed the brokers' certificates; None: those that the system trusts.
    """

    username: str | None = None
    password: SecretStr | None = None
    is_encrypted: bool = False
    ca_file: Path | None = None

    @property
    def protocol(self) -> str:
        """As Kafka names it."""
        transport = "SSL" if self.is_encrypted else "PLAINTEXT"
        return f"SASL_{transport}" if self.username else transport

    def ssl_context(self) -> ssl.SSLContext | None:
        """None where nothing is encrypted."""
        return ssl.create_default_context(cafile=self.ca_file) if self.is_encrypted else None

    def client_options(self) -> dict[str, Any]:
        """Arguments of the clients of kafka-python and aiokafka."""
        options: dict[str, Any] = {"security_protocol": self.protocol, "ssl_context": self.ssl_context()}
        if self.username:
            options |= {
                "sasl_mechanism": MECHANISM,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.known_password,
            }
        return options

    def librdkafka_options(self) -> dict[str, str]:
        """Settings of the clients of confluent-kafka."""
        options = {"security.protocol": self.protocol}
        if self.username:
            options |= {
                "sasl.mechanism": MECHANISM,
                "sasl.username": self.username,
                "sasl.password": self.known_password,
            }
        if self.is_encrypted and self.ca_file:
            options["ssl.ca.location"] = str(self.ca_file)
        return options

    @property
    def known_password(self) -> str:
        """The password in the clear, for a client."""
        return self.password.get_secret_value() if self.password else ""


OPEN: Final = KafkaSecurity()


def from_settings(settings: KafkaSettings) -> KafkaSecurity:
    """What the environment says of it."""
    return KafkaSecurity(
        settings.kafka_username, settings.kafka_password, settings.kafka_is_encrypted, settings.kafka_ca_file
    )


def explained(error: KafkaError, bootstrap_servers: str, security: KafkaSecurity) -> AccessRefused | KafkaUnreachable:
    """What to raise in the place of `error` when no broker could be reached: one more attempt tells why."""
    from confluent_kafka import KafkaError as Reason  # only here: what goes well needs none of its memory
    from confluent_kafka import Producer

    reasons: list[Reason] = []
    told = {"bootstrap.servers": bootstrap_servers, "error_cb": reasons.append, "log_level": 0}
    asking = Producer({**told, **security.librdkafka_options()})
    deadline = time.monotonic() + DIAGNOSIS_TIMEOUT_S
    while not reasons and time.monotonic() < deadline:
        asking.poll(0.1)
    return of_reason(reasons[0] if reasons else error, bootstrap_servers, security)


def of_reason(reason: object, bootstrap_servers: str, security: KafkaSecurity) -> AccessRefused | KafkaUnreachable:
    """The error for what a client reports of a connection: its exception, or the `KafkaError` of confluent-kafka."""
    from confluent_kafka import KafkaError as Reason

    where = f"Kafka at {bootstrap_servers} (KAFKA_BOOTSTRAP_SERVERS)"
    said = reason.str() if isinstance(reason, Reason) else str(reason)
    if isinstance(reason, Reason) and reason.code() == Reason._AUTHENTICATION:
        return AccessRefused(f"{where}: {said}; check KAFKA_USERNAME and KAFKA_PASSWORD")
    if problem := _handshake_problem(bootstrap_servers, security):
        return AccessRefused(
            f"{where}: {problem}; check the broker's certificate, and KAFKA_CA_FILE, which names who signed it"
        )
    return KafkaUnreachable(f"{where}: {said}; check the address, and whether Kafka runs")


def _handshake_problem(bootstrap_servers: str, security: KafkaSecurity) -> str | None:
    """Why encryption is not agreed upon, by a handshake of our own: the clients do not say what has expired."""
    context = security.ssl_context()
    if context is None:
        return None
    for server in bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            with socket.create_connection((host, int(port)), DIAGNOSIS_TIMEOUT_S) as plain:
                context.wrap_socket(plain, server_hostname=host).close()
        except ssl.SSLError as error:
            return str(error)
        except (OSError, ValueError):
            continue  # not the fault of encryption
    return None
