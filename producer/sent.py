"""What the topics already hold of a source, so that each of its rows is sent once however often a replay is started.

Every message of a replay carries a mark in a header: which content it comes from and at which place of it. A partition
keeps the order of sending, without gaps, so its newest mark tells exactly up to where that partition has the source.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from producer.errors import KafkaUnreachable

HEADER: Final = "source"
TIMEOUT_S: Final = 10.0
_FIRST_LOOK: Final = 2_000  # messages of each partition, from its end
_NEXT_LOOK: Final = 50_000
_AT_ONCE: Final = 2_000
_CLOCK_SLACK: Final = timedelta(hours=1)

Partition = tuple[str, int]


class Place(NamedTuple):
    """Which message of a source: its row, counted from 1, and among the events of that row, from 0."""

    row: int
    step: int = 0


class Run(NamedTuple):
    """One sending of a source. What depends on the clock is settled when it begins, and kept when it is resumed.

    `number` counts from 1; `began_at` (aware, whole seconds) is the moment by which rows of the future are refused.
    """

    fingerprint: str
    number: int
    began_at: datetime
    shift_days: int

    @property
    def prefix(self) -> str:
        """What the marks of all its messages begin with; the place follows, after a space."""
        return f"{self.fingerprint} {self.number} {round(self.began_at.timestamp())} {self.shift_days}"


class Sent(NamedTuple):
    """How far a run came: the place of the last message on each partition that has any."""

    run: Run
    last: dict[Partition, Place]


def read_mark(message: Message, fingerprint: str) -> tuple[Run, Place] | None:
    """The mark of a message of this source; None for any other message."""
    prefix = f"{fingerprint} ".encode()
    for name, value in cast(list[tuple[str, bytes | None]], message.headers() or []):
        if name == HEADER and value is not None and value.startswith(prefix):
            _, number, began_at, shift_days, place = value.decode().split(" ")
            row, _, step = place.partition(".")
            run = Run(fingerprint, int(number), datetime.fromtimestamp(int(began_at), UTC), int(shift_days))
            return run, Place(int(row), int(step))
    return None


class _Look:
    """Reads one partition from its end towards its beginning until it meets the source."""

    def __init__(self, consumer: Consumer, partition: Partition) -> None:
        self._consumer = consumer
        self._partition = partition
        self._low, self._high = consumer.get_watermark_offsets(TopicPartition(*partition), timeout=TIMEOUT_S)
        self.is_over = self._low >= self._high
        self.found: tuple[Run, Place] | None = None

    def go_on(self, fingerprint: str, count: int, not_before: datetime | None) -> None:
        """Read the `count` messages before those read so far; messages older than `not_before` end the look."""
        start = max(self._low, self._high - count)
        is_old = False
        for message in self._between(start, self._high):
            if not_before is not None and message.timestamp()[1] < not_before.timestamp() * 1000:
                is_old = True
            self.found = read_mark(message, fingerprint) or self.found
        self._high = start
        self.is_over = self.found is not None or is_old or self._low >= self._high

    def _between(self, start: int, end: int) -> Iterator[Message]:
        self._consumer.assign([TopicPartition(*self._partition, start)])
        following = start
        while following < end:
            # The client waits for all that it is asked for.
            messages = self._consumer.consume(min(_AT_ONCE, end - following), timeout=TIMEOUT_S)
            if not messages:
                raise KafkaUnreachable(f"Kafka gave nothing of {self._partition} from {following} on for {TIMEOUT_S} s")
            for message in messages:
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                offset = message.offset()
                if error is not None or offset is None or offset >= end:
                    return
                yield message
                following = offset + 1


def look_up(bootstrap_servers: str, fingerprint: str, partitions: list[Partition]) -> Sent | None:
    """How far the newest run of this source came; None where the partitions hold nothing of it.

    The ends of all partitions are read first. A source that was never sent is known only after reading them through.
    Raises `KafkaUnreachable`.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "producer",  # a name is asked for; nothing is committed under it
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_uncommitted",
            "log_level": 2,
        }
    )
    try:
        return _newest(fingerprint, {partition: _Look(consumer, partition) for partition in partitions})
    except KafkaException as error:
        raise KafkaUnreachable(f"Kafka at {bootstrap_servers} (KAFKA_BOOTSTRAP_SERVERS): {error}") from error
    finally:
        consumer.close()


def _newest(fingerprint: str, looks: dict[Partition, _Look]) -> Sent | None:
    newest: Run | None = None
    count = _FIRST_LOOK
    while going_on := [look for look in looks.values() if not look.is_over]:
        for look in going_on:
            look.go_on(fingerprint, count, newest.began_at - _CLOCK_SLACK if newest else None)
        newest = max((look.found[0] for look in looks.values() if look.found), default=None, key=lambda run: run.number)
        count = _NEXT_LOOK
    if newest is None:
        return None
    marks = {partition: look.found for partition, look in looks.items() if look.found}
    return Sent(newest, {partition: place for partition, (run, place) in marks.items() if run.number == newest.number})
