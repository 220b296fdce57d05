"""What the tests of the stream processor share: telling events, quick ways to and from topics, and the comparison of
Redis with a fold of the whole topic by nothing but the fold."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import NamedTuple

import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.partitioner import murmur2

from churn import state, topics
from churn.events import Event, InvalidEvent, decode, encode
from churn.features import replay
from stack.kafka_offsets import lag
from stack.stack import Stack
from stack.waiting import wait_until

NOW = datetime.now(UTC)
BATCH_BYTES = 256 * 1024

Message = tuple[bytes, bytes]
"""The key and the value of a message."""


class Kept(NamedTuple):
    """What lies in Redis under a customer, as bytes: the packed state, and the last applied `partition:offset`."""

    state: bytes | None
    applied: bytes | None


NOTHING = Kept(None, None)


def some_events(count: int, customers: int = 800) -> list[Message]:
    """Events of 60 days in the order in which they arrive: one in ten repeated, some late by hours, some by days.

    They tell every mistake: an event applied again counts again, as its first time is soon forgotten, and events that
    come too late for the fold to sort them give other states in another order.
    """
    chance = random.Random(11)
    messages = []
    for number in range(count * 10 // 11):
        customer_id = f"c{chance.randrange(customers)}"
        kind = chance.choices(["view", "cart", "purchase"], [8, 2, 1])[0]
        late_hours = chance.random() * (240 if number % 20 == 7 else 5)
        event = Event(
            event_id=f"e{number}",
            event_type=kind,
            occurred_at=NOW - timedelta(days=60 * (1 - number / count), hours=late_hours),
            customer_id=customer_id,
            product_id=f"p{chance.randrange(50)}",
            price=float(chance.randrange(1, 5000)) / 100,
            order_id=f"o{number}" if kind == "purchase" else None,
        )
        messages += [(customer_id.encode(), encode(event))] * (2 if number % 10 == 0 else 1)
    return messages


@cache
def partition_of(key: bytes) -> int:
    """The partition that every Kafka client gives this key."""
    return int(murmur2(key) & 0x7FFFFFFF) % topics.PARTITIONS


def publish(address: str, messages: Sequence[Message], topic: str = topics.EVENTS) -> None:
    """Send these to the topic, acknowledged; in whole batches, as one at a time takes ten times as long."""
    asyncio.run(_publish(address, messages, topic))


async def _publish(address: str, messages: Sequence[Message], topic: str) -> None:
    by_partition: dict[int, list[Message]] = defaultdict(list)
    for message in messages:
        by_partition[partition_of(message[0])].append(message)
    producer = AIOKafkaProducer(
        bootstrap_servers=address, acks="all", max_batch_size=BATCH_BYTES, max_request_size=topics.MAX_MESSAGE_BYTES
    )
    await producer.start()
    sent = []
    for partition, its in by_partition.items():
        batch = producer.create_batch()
        for key, value in its:
            if batch.append(key=key, value=value, timestamp=None) is None:
                sent.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
        sent.append(await producer.send_batch(batch, topic, partition=partition))
    await asyncio.gather(*sent)
    await producer.stop()


class Record(NamedTuple):
    """One message of a topic and where it lies; `timestamp` in epoch milliseconds."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def read_topic(address: str, name: str) -> list[Record]:
    """Everything in a topic, in the order of the offsets within each partition."""
    return asyncio.run(_read_topic(address, name))


async def _read_topic(address: str, name: str) -> list[Record]:
    consumer = AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    partitions = [TopicPartition(name, number) for number in range(topics.PARTITIONS)]
    consumer.assign(partitions)
    ends = await consumer.end_offsets(partitions)
    found: list[Record] = []
    while [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
        for tp, records in (await consumer.getmany(timeout_ms=1000)).items():
            found += [Record(tp.partition, each.offset, each.timestamp, each.key, each.value) for each in records]
    await consumer.stop()
    return found


def folded_offline(address: str, sent_at_ms: int | None = None) -> dict[str, Kept]:
    """Every customer's packed state and last offset, folded from the whole topic by nothing but the fold.

    With `sent_at_ms` as if all messages had been sent then: topics that hold the same are folded once.
    """
    records = sorted(read_topic(address, topics.EVENTS))
    if sent_at_ms is not None:
        records = [record._replace(timestamp=sent_at_ms) for record in records]
    return fold_of(tuple(records))


@lru_cache(maxsize=1)  # most scenarios of chaos end with the same records
def fold_of(records: tuple[Record, ...]) -> dict[str, Kept]:
    """The same of records that are read already, those of a partition in their order."""
    events: dict[str, list[Event]] = defaultdict(list)
    applied = {}
    for customer_id, event, where in _decoded(records):
        events[customer_id].append(event)
        applied[customer_id] = where
    return {each: Kept(state.pack(replay(its)), applied[each]) for each, its in events.items()}


def _decoded(records: Sequence[Record]) -> Iterator[tuple[str, Event, bytes]]:
    for record in records:
        try:
            moment = datetime.fromtimestamp(record.timestamp / 1000, UTC)
            event = decode(record.value, now=moment, currency="EUR")
        except InvalidEvent:
            continue
        yield event.customer_id, event, f"{record.partition}:{record.offset}".encode()


def kept_in_redis(url: str) -> dict[str, Kept]:
    """What the stream processor wrote under every customer."""
    client = redis.Redis.from_url(url)
    keys = list(client.scan_iter("customer:*", count=1000))
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.hmget(key, ["state", "applied"])
    rows = pipeline.execute()
    client.close()
    return {key.removeprefix(b"customer:").decode(): Kept(*row) for key, row in zip(keys, rows, strict=True)}


class Comparison(NamedTuple):
    """How Redis differs from the fold of the topic. `str` tells it to people."""

    customers: int
    differing: list[str]
    lost: int
    doubled: int
    misplaced: int

    @property
    def is_equal(self) -> bool:
        return not self.differing

    def __str__(self) -> str:
        return (
            f"{len(self.differing)} of {self.customers} customers differ from the fold of the topic: "
            f"{self.lost} events lost, {self.doubled} doubled, {self.misplaced} customers with another last offset; "
            f"the first of them: {', '.join(self.differing[:5])}"
        )


def compare(found: dict[str, Kept], expected: dict[str, Kept]) -> Comparison:
    """Byte by byte, customer by customer."""
    everybody = sorted(expected.keys() | found.keys())
    pairs = {each: (found.get(each, NOTHING), expected.get(each, NOTHING)) for each in everybody}
    differing = [each for each, (have, want) in pairs.items() if have != want]
    surplus = [_events_in(have) - _events_in(want) for have, want in (pairs[each] for each in differing)]
    return Comparison(
        customers=len(everybody),
        differing=differing,
        lost=-sum(count for count in surplus if count < 0),
        doubled=sum(count for count in surplus if count > 0),
        misplaced=sum(pairs[each][0].applied != pairs[each][1].applied for each in differing),
    )


def _events_in(kept: Kept) -> int:
    if kept.state is None:
        return 0
    unpacked = state.unpack(kept.state)
    return state.thaw(unpacked.summary).events + len(unpacked.recent)


def wait_until_done(address: str, group: str, *names: str, timeout_s: float = 400) -> None:
    """Return when the group has committed everything in these topics."""
    is_done = wait_until(lambda: lag(address, group, *names) == 0, timeout_s, poll_s=0.5)
    assert is_done, f"{group} is still {lag(address, group, *names)} messages behind after {timeout_s:g} s"


def empty(stack: Stack) -> None:
    """Start what the test before may have left dead or frozen, and remove all topics and customers."""
    for server in (stack.redis, stack.kafka):
        if server.is_running:
            server.resume()
        server.start()
    client = redis.Redis.from_url(stack.redis.url)
    client.config_set("maxmemory", 0)
    client.flushall()
    client.config_resetstat()
    client.close()
    empty_topics(stack.kafka.address)
    topics.create(stack.kafka.address)


def empty_topics(address: str) -> None:
    """Remove all topics of Ebb, and with them what consumer groups have committed."""
    admin = KafkaAdminClient(bootstrap_servers=address)
    left = {spec.name for spec in topics.ALL} & set(admin.list_topics())
    if left:
        admin.delete_topics(sorted(left))
    admin.close()
