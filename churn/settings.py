"""Settings from the environment: one frozen class per neighbour, read once when a process starts."""

import ssl
import sys
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, FilePath, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

_FROZEN = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)


def _holds_certificates(file: Path) -> Path:
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        raise ValueError(f"{file} holds no certificate in PEM form") from None
    return file


CertificateFile = Annotated[FilePath, AfterValidator(_holds_certificates)]


class KafkaSettings(BaseSettings):
    """Where Kafka is."""

    model_config = _FROZEN
    kafka_bootstrap_servers: str = Field("127.0.0.1:9092", description="Kafka brokers, host:port, comma between them.")
    kafka_username: str | None = Field(
        None, description="User of Kafka (SASL/SCRAM-SHA-512); none where it asks for no password."
    )
    kafka_password: SecretStr | None = Field(None, description="Its password.")
    kafka_is_encrypted: bool = Field(False, description="Whether connections to Kafka are encrypted (TLS).")
    kafka_ca_file: CertificateFile | None = Field(
        None, description="Then: who signed its certificates (PEM); none: those that the system trusts."
    )


class RedisSettings(BaseSettings):
    """Where the live feature store is."""

    model_config = _FROZEN
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), description="Redis address, with user and password where it has them."
    )
    redis_ca_file: CertificateFile | None = Field(
        None, description="With `rediss://`: who signed its certificate (PEM); none: those that the system trusts."
    )
    redis_is_cluster: bool = Field(False, description="Whether that is a node of a Redis Cluster.")


class ElasticsearchSettings(BaseSettings):
    """Where the index of everything is."""

    model_config = _FROZEN
    elasticsearch_url: str = Field("http://127.0.0.1:9200", description="Elasticsearch address.")
    elasticsearch_username: str | None = Field(None, description="User of Elasticsearch; none where security is off.")
    elasticsearch_password: SecretStr | None = Field(None, description="Its password.")
    elasticsearch_ca_file: CertificateFile | None = Field(
        None, description="With `https://`: who signed its certificate (PEM); none: those that the system trusts."
    )

    def connection(self) -> dict[str, Any]:
        """Arguments of a client of Elasticsearch: where it is, and who we are."""
        options: dict[str, Any] = {"hosts": self.elasticsearch_url}
        if self.elasticsearch_username:
            password = self.elasticsearch_password
            options["basic_auth"] = (self.elasticsearch_username, password.get_secret_value() if password else "")
        if self.elasticsearch_ca_file:
            options["ca_certs"] = str(self.elasticsearch_ca_file)
        return options


class ShopSettings(BaseSettings):
    """What is particular to the shop."""

    model_config = _FROZEN
    shop_currency: str = Field(
        "EUR", min_length=3, max_length=3, description="The shop's currency (ISO 4217); events in another are refused."
    )


class PathSettings(BaseSettings):
    """Where files lie."""

    model_config = _FROZEN
    model_dir: Path = Field(Path(".ebb/models"), description="The trained model and those before it.")
    history_dir: Path = Field(Path(".ebb/history"), description="Events as Parquet, partitioned by date.")


class ForgetSettings(BaseSettings):
    """Whom to forget."""

    model_config = _FROZEN
    forget_key: SecretStr | None = Field(
        None, min_length=16, description="Secret by which forgotten customers are told; needed once one is forgotten."
    )
    forgotten_file: Path = Field(
        Path(".ebb/forgotten.json"), description="The list of forgotten customers, by keyed hash, for batch jobs."
    )

    @property
    def key(self) -> bytes:
        """The secret as bytes, empty where there is none."""
        return self.forget_key.get_secret_value().encode() if self.forget_key else b""


class LogSettings(BaseSettings):
    """How to log."""

    model_config = _FROZEN
    log_format: str = Field("text", pattern="^(text|json)$", description="`text` for people, `json` for machines.")


class StreamProcessorSettings(BaseSettings):
    """How a stream processor works."""

    model_config = _FROZEN
    stream_group: str = Field("stream-processor", description="Consumer group that shares the partitions.")
    stream_group_instance_id: str = Field(
        "worker-1", description="Name of this worker, another for each; a restart under it causes no rebalance."
    )
    stream_hold_acks_s: float = Field(
        10.0, ge=0, description="Seconds between a write to Redis and its commit; more than Redis can lose in a crash."
    )
    stream_flush_interval_s: float = Field(
        0.02, gt=0, description="Seconds between two writes to Redis; up to 2 while the worker is behind."
    )
    stream_session_timeout_s: float = Field(
        10.0, ge=1, description="Seconds without a sign of life after which a worker's partitions go to another."
    )
    stream_max_dead_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of unreadable events in a minute (100 of them at least) that stops the worker; 1: never.",
    )
    stream_max_customers: int = Field(
        200_000, ge=1, description="Customers whose state is kept in memory, about 1 KB each."
    )
    stream_web_bind: str = Field("127.0.0.1", description="Address of the pages /healthz and /metrics.")
    stream_web_port: int = Field(6066, ge=1, le=65535, description="Their port.")


class ScorerSettings(BaseSettings):
    """How the scorer works."""

    model_config = _FROZEN
    scorer_rescore_per_s: float = Field(
        1_000.0, gt=0, description="Customers a second, at most, while a new model scores everybody again."
    )
    scorer_web_bind: str = Field("127.0.0.1", description="Address of the scorer's pages /healthz and /metrics.")
    scorer_web_port: int = Field(6067, ge=0, le=65535, description="Their port; 0: a free one, which the log names.")


class IngestSettings(BaseSettings):
    """How es_ingest works."""

    model_config = _FROZEN
    ingest_web_bind: str = Field("127.0.0.1", description="Address of es_ingest's pages /healthz and /metrics.")
    ingest_web_port: int = Field(6068, ge=0, le=65535, description="Their port; 0: a free one, which the log names.")


class ProducerSettings(BaseSettings):
    """How a live producer works."""

    model_config = _FROZEN
    producer_web_bind: str = Field("127.0.0.1", description="Address of a live producer's /healthz and /metrics.")
    producer_web_port: int = Field(0, ge=0, le=65535, description="Their port; 0: a free one, which the log names.")


ALL: tuple[type[BaseSettings], ...] = (
    KafkaSettings,
    RedisSettings,
    ElasticsearchSettings,
    ShopSettings,
    PathSettings,
    ForgetSettings,
    LogSettings,
    StreamProcessorSettings,
    ScorerSettings,
    IngestSettings,
    ProducerSettings,
)

S = TypeVar("S", bound=BaseSettings)


def read(settings: type[S]) -> S:
    """These settings from the environment. A wrong one ends the process with its variable's name and the reason."""
    try:
        return settings()
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            print(f"{str(problem['loc'][0]).upper()}: {problem['msg']}", file=sys.stderr)
        raise SystemExit(78) from None
