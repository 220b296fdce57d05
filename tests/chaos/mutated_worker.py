"""`python -m tests.chaos.mutated_worker`: a stream processor that lacks one of its safeguards.

The suite is worth something only if it notices; `MUTATION` in the environment names what is taken away:

unguarded    offsets are written beside the states, but compared neither when folding nor when writing
late_writes  a state is written over a newer one too
acked_first  a batch is acknowledged when it is folded, before Redis has it
stock_take   Faust's own `take_events` in place of the batch driver and the acknowledgements by hand
"""

import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import faust
import msgspec

import stream_processor.__main__ as worker
from churn import state, topics
from churn.events import decode
from churn.feature_store import Kept, RedisFeatureStore, StateWrite, customer_key
from churn.features import update
from churn.settings import StreamProcessorSettings
from churn.state import EMPTY
from stream_processor.processor import Processor

MUTATION = "MUTATION"


def write_over_anything(store: RedisFeatureStore, writes: Sequence[StateWrite]) -> set[str]:
    """In place of `RedisFeatureStore.write_states`."""
    pipeline = store._client.pipeline(transaction=False)
    for write in writes:
        fields = {"state": write.packed, "applied": f"{write.partition}:{write.offset}"}
        pipeline.hset(customer_key(write.customer_id), mapping=fields)
    store._guarded(pipeline.execute)
    return {write.customer_id for write in writes}


def late_writes() -> None:
    RedisFeatureStore.write_states = write_over_anything  # type: ignore[method-assign]


def unguarded() -> None:
    late_writes()
    read_states = RedisFeatureStore.read_states

    def read_without_offsets(store: RedisFeatureStore, customer_ids: Sequence[str]) -> dict[str, Kept]:
        found = read_states(store, customer_ids)
        return {customer_id: msgspec.structs.replace(kept, offset=-1) for customer_id, kept in found.items()}

    RedisFeatureStore.read_states = read_without_offsets  # type: ignore[method-assign]


def acked_first() -> None:
    take = Processor.take

    async def take_and_acknowledge(processor: Processor, event: Any) -> None:
        await take(processor, event)
        event.value.is_done = True
        event.ack()

    Processor.take = take_and_acknowledge  # type: ignore[method-assign]


def stock_take() -> None:
    def create_app(
        settings: StreamProcessorSettings, *, bootstrap_servers: str, store: RedisFeatureStore, **_: object
    ) -> faust.App:
        app = faust.App(
            settings.stream_group,
            broker=[f"kafka://{server}" for server in bootstrap_servers.split(",")],
            store="memory://",
            value_serializer="raw",
            topic_disable_leader=True,
            topic_allow_declare=False,
            broker_commit_interval=1.0,
            consumer_auto_offset_reset="earliest",
            web_bind=settings.stream_web_bind,
            web_port=settings.stream_web_port,
        )

        @app.agent(app.topic(topics.EVENTS, key_type=bytes, value_type=bytes))  # type: ignore[untyped-decorator]
        async def fold(stream: Any) -> AsyncIterator[None]:
            async for events in stream.take_events(1_000, within=0.1):
                fold_and_write(store, [(event.message.tp.partition, event.message) for event in events])
                yield

        return app

    worker.create_app = create_app


def fold_and_write(store: RedisFeatureStore, messages: Sequence[tuple[int, Any]]) -> None:
    """Fold, guarded as ever, and write."""
    decoded = [
        (partition, message.offset, decode(message.value, now=datetime.now(UTC), currency="EUR"))
        for partition, message in messages
    ]
    kept = store.read_states(list({event.customer_id for _, _, event in decoded}))
    for partition, offset, event in decoded:
        before = kept.get(event.customer_id, Kept(EMPTY, partition, -1))
        if offset > before.offset:
            kept[event.customer_id] = Kept(update(before.state, event), before.partition, offset, before.rebuilt)
    store.write_states(
        [
            StateWrite(customer_id, each.partition, each.offset, state.pack(each.state))
            for customer_id, each in kept.items()
        ]
    )


MUTATIONS: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (unguarded, late_writes, acked_first, stock_take)
}

if __name__ == "__main__":
    MUTATIONS[os.environ[MUTATION]]()
    sys.exit(worker.main())
