"""A processor beside real servers: when it writes, what holds it back, and that a state in between is not lost."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaProducer

from churn import topics
from churn.events import Event, encode
from churn.feature_store import Kept, RedisFeatureStore
from churn.features import replay
from churn.state import pack
from stack.stack import Stack
from stream_processor import processor
from stream_processor.batch_driver import Batch
from stream_processor.dead_letter_limit import DeadLetterLimit
from stream_processor.fold import Fold
from stream_processor.metrics import Metrics
from stream_processor.processor import Processor

from ..patience import PATIENCE_S
from ..stream_processing import Message, empty, partition_of, some_events

LONG_ENOUGH_S = 1.0


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Of this module alone: Redis is frozen."""
    with Stack(tmp_path_factory.mktemp("pressure"), services=("kafka", "redis"), free_ports=True) as stack:
        yield stack


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def a_batch(messages: Sequence[Message], first_offset: int, age_ms: int = 0) -> SimpleNamespace:
    """These messages as Faust hands them over."""
    now_ms = wall_ms() - age_ms
    records = [
        SimpleNamespace(offset=first_offset + place, timestamp=now_ms, key=key, value=value)
        for place, (key, value) in enumerate(messages)
    ]
    message = SimpleNamespace(partition=partition_of(messages[0][0]), offset=records[-1].offset)
    return SimpleNamespace(value=Batch(records, epoch=0), message=message, ack=lambda: None)


def a_processor(servers: Stack, fold: Fold, lag: Callable[[Mapping[int, int]], Mapping[int, int]]) -> Processor:
    store = RedisFeatureStore(servers.redis.url)
    return Processor(
        fold,
        store,
        AIOKafkaProducer(bootstrap_servers=servers.kafka.address),
        Metrics(fold, dict),
        DeadLetterLimit(1.0),
        is_current=lambda batch: True,
        lag_after=lag,
        monotonic=time.monotonic,
        wall_ms=wall_ms,
        redis_run_id=store.run_id(),
        hold_acks_s=0,
        flush_interval_s=0.02,
    )


def a_fold(servers: Stack, max_customers: int = 1_000) -> Fold:
    store = RedisFeatureStore(servers.redis.url)
    return Fold(store.read_states, topic=topics.EVENTS, currency="EUR", max_customers=max_customers)


async def take_two_while_frozen(
    servers: Stack, known: SimpleNamespace, first: SimpleNamespace, second: SimpleNamespace
) -> tuple[bool, bool]:
    """Whether the second batch was taken while Redis was frozen, and whether it was afterwards.

    What is `known` is written before that, so that the batches ask Redis for nothing.
    """
    fold = a_fold(servers)
    working = a_processor(servers, fold, dict)  # so that its lag is how far it has written
    running = asyncio.create_task(working.run())
    await asyncio.wait_for(working.take(known), PATIENCE_S)
    await written_to(known, working, running)
    servers.redis.freeze()
    try:
        await asyncio.wait_for(working.take(first), PATIENCE_S)  # until its write begins
        taking = asyncio.create_task(working.take(second))
        done, _ = await asyncio.wait({taking}, timeout=LONG_ENOUGH_S)
    finally:
        servers.redis.resume()
    was_taken = bool(done)
    await asyncio.wait({taking, running}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    is_taken = taking.done() and not running.done()
    if is_taken:
        await written_to(second, working, running)
    running.cancel()
    await asyncio.wait({running})
    return was_taken, is_taken


async def written_to(batch: SimpleNamespace, working: Processor, running: asyncio.Task[None]) -> None:
    """Wait until this batch is written."""
    while working.lag().get(batch.message.partition) != batch.message.offset + 1:
        assert not running.done()
        await asyncio.sleep(0.01)


def messages_of_one_partition(count: int) -> list[Message]:
    messages = some_events(count * topics.PARTITIONS * 2)
    return [message for message in messages if partition_of(message[0]) == partition_of(messages[0][0])][:count]


@pytest.mark.parametrize("bound", ["MAX_UNWRITTEN", "MAX_UNWRITTEN_EVENTS"])
def test_a_frozen_redis_holds_the_worker_back(servers: Stack, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(processor, bound, 5)
    empty(servers)
    messages = messages_of_one_partition(40)
    batches = [a_batch(messages, number * len(messages)) for number in range(3)]

    assert asyncio.run(take_two_while_frozen(servers, *batches)) == (False, True)


def test_within_the_bounds_it_goes_on(servers: Stack) -> None:
    empty(servers)
    messages = messages_of_one_partition(40)
    batches = [a_batch(messages, number * len(messages)) for number in range(3)]

    assert asyncio.run(take_two_while_frozen(servers, *batches)) == (True, True)


async def written_while_more_waits(servers: Stack, batch: SimpleNamespace) -> tuple[bool, bool]:
    """Whether a batch was written while others waited, and whether it was when none did."""
    more, written = [1], asyncio.Event()
    batch.ack = written.set
    working = a_processor(servers, a_fold(servers), lambda _: {batch.message.partition: more[0]})
    running = asyncio.create_task(working.run())
    await asyncio.wait_for(working.take(batch), PATIENCE_S)
    waiting = asyncio.create_task(written.wait())
    done, _ = await asyncio.wait({waiting}, timeout=LONG_ENOUGH_S)
    was_written = bool(done)
    more[0] = 0
    await asyncio.wait({waiting, running}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    is_written = waiting.done() and not running.done()
    running.cancel()
    await asyncio.wait({running})
    return was_written, is_written


def test_a_worker_that_is_behind_writes_when_it_has_caught_up(servers: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would wait: half of a day is long."""
    monkeypatch.setattr(processor, "LONGEST_UNWRITTEN_S", math.inf)
    empty(servers)
    a_day_old = a_batch(messages_of_one_partition(40), 0, age_ms=86_400_000)

    assert asyncio.run(written_while_more_waits(servers, a_day_old)) == (False, True)


def a_view(customer_id: str, second: int) -> Event:
    at = datetime(2026, 3, 1, 12, 0, second, tzinfo=UTC)
    return Event(f"e{second}", "view", at, customer_id, product_id="p")


async def take_with_a_flush_before_each_reading(servers: Stack, fold: Fold, batch: SimpleNamespace) -> None:
    """Whoever is written is let go of, so that the next event of theirs finds nobody in memory."""
    working = a_processor(servers, fold, dict)
    asking = working._ask

    async def ask(customer_ids: Sequence[str]) -> dict[str, Kept | None]:
        await working.flush()
        return await asking(customer_ids)

    working._ask = ask  # type: ignore[method-assign]
    await working._producer.start()
    await working.take(batch)
    await working.flush()
    await working._producer.stop()


def test_what_was_read_ahead_is_not_folded_on_after_a_newer_state_was_written(servers: Stack) -> None:
    empty(servers)
    events = [a_view("a", 1), a_view("b", 2), a_view("a", 3)]
    # The second one's key does not name its customer, who has to be asked for between the other two.
    batch = a_batch([(key, encode(event)) for key, event in zip((b"a", b"", b"a"), events, strict=True)], 0)

    asyncio.run(take_with_a_flush_before_each_reading(servers, a_fold(servers, max_customers=0), batch))

    store = RedisFeatureStore(servers.redis.url)
    states = {customer_id: pack(kept.state) for customer_id, kept in store.read_states(["a", "b"]).items()}
    assert states == {"a": pack(replay([events[0], events[2]])), "b": pack(replay([events[1]]))}
