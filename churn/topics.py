"""The topics of Ebb: named once, created by `python -m churn.topics`, never by accident.

All topics are keyed by customer and share one number of partitions, so that a customer has the same partition
everywhere. That number never grows: a key would move to another partition and its order would be lost.
"""

import sys
import time
from typing import Final, NamedTuple

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from churn import kafka_access, logs, settings
from churn.kafka_access import OPEN, KafkaSecurity, explained
from churn.refusal import EXIT_REFUSED, AccessRefused

PARTITIONS: Final = 8
CONNECT_TIMEOUT_MS: Final = 5_000
MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024

EVENTS: Final = "events"
FEATURES: Final = "features"
RISK: Final = "risk"
DEAD_LETTERS: Final = "dead-letters"
FORGOTTEN: Final = "forgotten"
# By consumer group.
READ_BY: Final = {
    "stream-processor": (EVENTS,),
    "scorer": (FEATURES,),
    "es-ingest": (EVENTS, RISK, DEAD_LETTERS),
}
# Header of a message that was replayed from a file: which content it comes from, and at which place of it.
SOURCE_HEADER: Final = "source"


class TopicSpec(NamedTuple):
    """One topic: its name, whether only the latest value of a key is kept, and its settings."""

    name: str
    is_compacted: bool
    config: dict[str, str]


ALL: Final = (
    # An oversized message must reach the stream processor to become a dead letter instead of blocking a producer.
    # The broker stamps the time: what is from the future is decided by one clock, and the same at every replay.
    TopicSpec(
        EVENTS,
        False,
        {
            "retention.ms": "-1",
            "max.message.bytes": str(MAX_MESSAGE_BYTES),
            "message.timestamp.type": "LogAppendTime",
        },
    ),
    TopicSpec(FEATURES, True, {"cleanup.policy": "compact"}),
    TopicSpec(RISK, True, {"cleanup.policy": "compact"}),
    # Each letter has an id of its own for a key: compacted, so that a letter of a forgotten customer can be removed.
    TopicSpec(DEAD_LETTERS, True, {"cleanup.policy": "compact", "max.message.bytes": str(MAX_MESSAGE_BYTES)}),
    TopicSpec(FORGOTTEN, True, {"cleanup.policy": "compact"}),
)


class TopicMissing(RuntimeError):
    """A topic of Ebb does not exist."""


class WrongPartitions(RuntimeError):
    """A topic has another number of partitions than Ebb works with: customers are on others than their states."""

    def __init__(self, topic: str, partitions: int) -> None:
        super().__init__(
            f"topic {topic} has {partitions} partitions, Ebb works with {PARTITIONS}, and keys have moved: "
            f"create a new topic with {PARTITIONS} and replay the events into it"
        )


def create(
    bootstrap_servers: str, replication_factor: int = 1, timeout_s: float = 30.0, security: KafkaSecurity = OPEN
) -> list[str]:
    """Create the topics that are missing and wait until all can be used; returns the names of the new ones.

    One that was not compacted is so from now on; nothing else of a topic that is there is changed.

    Raises `WrongPartitions` for one that exists with another number of partitions, `TopicMissing` after the time-out,
    `KafkaUnreachable`, `AccessRefused`.
    """
    admin = _admin(bootstrap_servers, security)
    deadline = time.monotonic() + timeout_s
    try:
        created = [spec.name for spec in ALL if _create_one(admin, spec, replication_factor)]
        while _missing(admin) and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        admin.close()
    check(bootstrap_servers, security)
    return created


def check(bootstrap_servers: str, security: KafkaSecurity = OPEN) -> None:
    """Raise `TopicMissing` or `WrongPartitions` when a topic is not as Ebb works with it.

    Raises `KafkaUnreachable`, and `AccessRefused` where waiting does not help.
    """
    admin = _admin(bootstrap_servers, security)
    try:
        missing, partitions = _missing(admin), _partitions(admin)
    finally:
        admin.close()
    if missing:
        raise TopicMissing(f"topics missing: {', '.join(missing)}: create them with `python -m churn.topics`")
    for name, count in partitions.items():
        if count != PARTITIONS:
            raise WrongPartitions(name, count)


def _admin(bootstrap_servers: str, security: KafkaSecurity) -> KafkaAdminClient:
    try:
        return KafkaAdminClient(
            bootstrap_servers=bootstrap_servers, bootstrap_timeout_ms=CONNECT_TIMEOUT_MS, **security.client_options()
        )
    except KafkaError as error:
        raise explained(error, bootstrap_servers, security) from error


def _partitions(admin: KafkaAdminClient) -> dict[str, int]:
    return {each["name"]: len(each["partitions"]) for each in admin.describe_topics([spec.name for spec in ALL])}


def _missing(admin: KafkaAdminClient) -> list[str]:
    return [name for name, count in _partitions(admin).items() if not count]


def _create_one(admin: KafkaAdminClient, spec: TopicSpec, replication_factor: int) -> bool:
    try:
        admin.create_topics([NewTopic(spec.name, PARTITIONS, replication_factor, topic_configs=spec.config)])
    except TopicAlreadyExistsError:
        if spec.is_compacted:  # it may be from before it was
            compacted = {"cleanup.policy": spec.config["cleanup.policy"]}
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, spec.name, compacted)])
        return False
    return True


def main() -> None:
    """Create the topics and say which. 1: the message says what is wrong; 77: Kafka does not let us in."""
    logs.configure("topics", settings.read(settings.LogSettings).log_format)
    kafka = settings.read(settings.KafkaSettings)
    try:
        created = create(kafka.kafka_bootstrap_servers, security=kafka_access.from_settings(kafka))
    except AccessRefused as error:
        print(error, file=sys.stderr)
        raise SystemExit(EXIT_REFUSED) from None
    except (TopicMissing, WrongPartitions, KafkaError) as error:
        raise SystemExit(str(error)) from None
    logs.get_logger(__name__).info("topics ready", created=created)


if __name__ == "__main__":
    main()
