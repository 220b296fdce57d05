"""The topics of Ebb: named once, created by `python -m churn.topics`, never by accident.

All topics are keyed by customer and share one number of partitions, so that a customer has the same partition
everywhere. That number never grows: a key would move to another partition and its order would be lost.
"""

from typing import Final, NamedTuple

from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import TopicAlreadyExistsError

from churn import logs, settings

PARTITIONS: Final = 8
MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024

EVENTS: Final = "events"
FEATURES: Final = "features"
RISK: Final = "risk"
DEAD_LETTERS: Final = "dead-letters"


class TopicSpec(NamedTuple):
    """One topic: its name, whether only the latest value of a key is kept, and its settings."""

    name: str
    is_compacted: bool
    config: dict[str, str]


ALL: Final = (
    # An oversized message must reach the stream processor to become a dead letter instead of blocking a producer.
    TopicSpec(EVENTS, False, {"retention.ms": "-1", "max.message.bytes": str(MAX_MESSAGE_BYTES)}),
    TopicSpec(FEATURES, True, {"cleanup.policy": "compact"}),
    TopicSpec(RISK, True, {"cleanup.policy": "compact"}),
    TopicSpec(DEAD_LETTERS, False, {"retention.ms": "-1", "max.message.bytes": str(MAX_MESSAGE_BYTES)}),
)


class WrongPartitions(RuntimeError):
    """A topic has another number of partitions than Ebb works with."""


def create(bootstrap_servers: str, replication_factor: int = 1) -> list[str]:
    """Create the topics that are missing; returns their names.

    Raises `WrongPartitions` when one exists with another number of partitions: its customers' order is at risk.
    """
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        created = [spec.name for spec in ALL if _create_one(admin, spec, replication_factor)]
        for described in admin.describe_topics([spec.name for spec in ALL]):
            found = len(described["partitions"])
            if found != PARTITIONS:
                raise WrongPartitions(
                    f"topic {described['name']} has {found} partitions, Ebb works with {PARTITIONS}: "
                    "create a new topic with that number and replay the events into it"
                )
    finally:
        admin.close()
    return created


def _create_one(admin: KafkaAdminClient, spec: TopicSpec, replication_factor: int) -> bool:
    try:
        admin.create_topics([NewTopic(spec.name, PARTITIONS, replication_factor, topic_configs=spec.config)])
    except TopicAlreadyExistsError:
        return False
    return True


def main() -> None:
    """Create the topics and say which."""
    logs.configure("topics", settings.read(settings.LogSettings).log_format)
    created = create(settings.read(settings.KafkaSettings).kafka_bootstrap_servers)
    logs.get_logger(__name__).info("topics ready", created=created)


if __name__ == "__main__":
    main()
