"""Settings from the environment: one frozen class per neighbour, read once when a process starts."""

import sys
from pathlib import Path
from typing import TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

_FROZEN = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)


class KafkaSettings(BaseSettings):
    """Where Kafka is."""

    model_config = _FROZEN
    kafka_bootstrap_servers: str = Field("127.0.0.1:9092", description="Kafka brokers, host:port, comma between them.")


class RedisSettings(BaseSettings):
    """Where the live feature store is."""

    model_config = _FROZEN
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), description="Redis address, with user and password where it has them."
    )
    redis_is_cluster: bool = Field(False, description="Whether that is a node of a Redis Cluster.")


class ElasticsearchSettings(BaseSettings):
    """Where the index of everything is."""

    model_config = _FROZEN
    elasticsearch_url: str = Field("http://127.0.0.1:9200", description="Elasticsearch address.")
    elasticsearch_username: str | None = Field(None, description="User that may write; none where security is off.")
    elasticsearch_password: SecretStr | None = Field(None, description="Its password.")


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
        0.04, gt=0, description="Seconds between two writes to Redis; ten times that while the worker is behind."
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
