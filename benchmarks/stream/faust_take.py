"""Stock Faust: an agent that takes events by the batch (with their offsets), folds and writes, acked by Faust."""

import sys
from itertools import groupby
from typing import Any

import faust

from benchmarks.stream.peer_fold import Arguments, PeerFold, arguments

BATCH = 4000


def create_app(told: Arguments) -> faust.App:
    """The app of one worker; topics and serializers as cheap as Faust has them."""
    app = faust.App(
        told.group,
        broker=f"kafka://{told.kafka}",
        store="memory://",
        datadir=f"/tmp/{told.group}",
        topic_disable_leader=True,
        topic_allow_declare=False,
        key_serializer="raw",
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        broker_max_poll_records=BATCH,
        broker_commit_interval=1.0,
        stream_wait_empty=False,
        web_enabled=False,
    )
    fold = PeerFold(told.redis, 0.0)

    @app.agent(app.topic(told.topic, key_type=bytes, value_type=bytes), concurrency=1)  # type: ignore[untyped-decorator]
    async def fold_events(stream: Any) -> None:
        async for events in stream.take_events(BATCH, within=told.flush_interval_s):
            for partition, of_partition in groupby(events, lambda event: event.message.partition):
                fold.apply(partition, [(event.message.offset, event.value) for event in of_partition])
            fold.write(fold.take())

    return app


if __name__ == "__main__":
    app = create_app(arguments())
    sys.argv[1:] = []
    faust.Worker(app, loglevel="WARNING", quiet=True, override_logging=False).execute_from_commandline()
