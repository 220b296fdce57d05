"""What the topics already hold of a source, so that each of its rows is sent once however often a replay is started.

Every message of a replay carries a mark in a header: which content it comes from and at which place of it. A partition
keeps the order of sending, without gaps, so its newest mark tells exactly up to where that partition has the source.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from churn import topics
from churn.kafka_access import OPEN, KafkaSecurity
from producer.errors import KafkaUnreachable

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
        if name == topics.SOURCE_HEADER and value is not None and value.startswith(prefix):
            _, number, began_at, shift_days, place = value.decode().split(" ")
            row, _, step = place.partition(".")
            run = Run(fingerprint, int(number), datetime.fromtimestamp(int(began_at), UTC), int(shift_days))
            return run, Place(int(row), int(step))
    return None


class _Look:
    """How far one partition was read from its end towards its beginning, and the newest mark met on the way."""

    def __init__(self, low: int, high: int) -> None:
        self._low = low
        self.start = self.end = high  # messages from `start` up to `end` are read next
        self._is_past = False
        self.found: tuple[Run, Place] | None = None

    @property
    def is_over(self) -> bool:
        return self.found is not None or self._is_past or self._low >= self.start

    def step_back(self, count: int) -> None:
        """Go on with the `count` messages before those read so far."""
        self.end, self.start = self.start, max(self._low, self.start - count)

    def see(self, message: Message, fingerprint: str, not_before: datetime | None) -> None:
        """Take a message between `start` and `end`; one from before `not_before` ends the look."""
        if not_before is not None and message.timestamp()[1] < not_before.timestamp() * 1000:
            self._is_past = True
        self.found = read_mark(message, fingerprint) or self.found


def look_up(
    bootstrap_servers: str, fingerprint: str, partitions: list[Partition], security: KafkaSecurity = OPEN
) -> Sent | None:
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
            "fetch.wait.max.ms": 20,
            # By default the client would read ahead by far more than a replay needs otherwise.
            "queued.max.messages.kbytes": 4096,
            "fetch.max.bytes": topics.MAX_MESSAGE_BYTES,
            "max.partition.fetch.bytes": 256 * 1024,
            "log_level": 2,
            **security.librdkafka_options(),
        }
    )
    try:
        ends = {each: consumer.get_watermark_offsets(TopicPartition(*each), timeout=TIMEOUT_S) for each in partitions}
        return _newest(consumer, fingerprint, {partition: _Look(*ends[partition]) for partition in partitions})
    except KafkaException as error:
        raise KafkaUnreachable(f"Kafka at {bootstrap_servers} (KAFKA_BOOTSTRAP_SERVERS): {error}") from error
    finally:
        consumer.close()


def _newest(consumer: Consumer, fingerprint: str, looks: dict[Partition, _Look]) -> Sent | None:
    newest: Run | None = None
    count = _FIRST_LOOK
    while going_on := {partition: look for partition, look in looks.items() if not look.is_over}:
        for look in going_on.values():
            look.step_back(count)
        not_before = newest.began_at - _CLOCK_SLACK if newest else None
        for partition, message in _read(consumer, {each: (look.start, look.end) for each, look in going_on.items()}):
            looks[partition].see(message, fingerprint, not_before)
        newest = max((look.found[0] for look in looks.values() if look.found), default=None, key=lambda run: run.number)
        count = _NEXT_LOOK
    if newest is None:
        return None
    marks = {partition: look.found for partition, look in looks.items() if look.found}
    return Sent(newest, {partition: place for partition, (run, place) in marks.items() if run.number == newest.number})


def _read(consumer: Consumer, spans: dict[Partition, tuple[int, int]]) -> Iterator[tuple[Partition, Message]]:
    """The messages of each partition from an offset up to, not including, another one."""
    consumer.assign([TopicPartition(*partition, start) for partition, (start, _) in spans.items()])
    following = {partition: start for partition, (start, _) in spans.items()}
    while left := sum(max(0, spans[partition][1] - offset) for partition, offset in following.items()):
        # The client waits for all that it is asked for.
        messages = consumer.consume(min(_AT_ONCE, left), timeout=TIMEOUT_S)
        if not messages:
            raise KafkaUnreachable(f"Kafka gave none of the {left:,} messages left to look at for {TIMEOUT_S:.0f} s")
        for message in messages:
            partition, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            following[partition] = offset + (error is None)
            if error is None and offset < spans[partition][1]:
                yield partition, message
