"""Quix Streams 3: a batching sink, which gets each checkpoint's messages by partition, folds and writes them."""

from typing import Any

from quixstreams import Application
from quixstreams.dataframe import StreamingDataFrame
from quixstreams.sinks import BatchingSink, SinkBatch

from benchmarks.stream.peer_fold import Arguments, PeerFold, arguments


class FoldSink(BatchingSink):  # type: ignore[misc] # the framework lives in an environment of its own
    """Folds and writes what Quix collected; Quix commits after it."""

    def __init__(self, fold: PeerFold) -> None:
        super().__init__()
        self._fold = fold

    def write(self, batch: SinkBatch) -> None:
        """One partition's messages since the last checkpoint."""
        self._fold.apply(batch.partition, [(item.offset, item.value) for item in batch])
        self._fold.write(self._fold.take())


def reading(told: Arguments, **more: Any) -> tuple[Application, StreamingDataFrame]:
    """An application without changelog topics, which would cost it time, and its raw events."""
    app = Application(
        broker_address=told.kafka,
        consumer_group=told.group,
        auto_offset_reset="earliest",
        commit_interval=told.flush_interval_s,
        auto_create_topics=False,
        use_changelog_topics=False,
        loglevel="WARNING",
        **more,
    )
    topic = app.topic(told.topic, value_deserializer="bytes", key_deserializer="bytes")
    return app, app.dataframe(topic)


def run(told: Arguments) -> None:
    """Until killed."""
    app, events = reading(told)
    events.sink(FoldSink(PeerFold(told.redis, 0.0)))
    app.run()


if __name__ == "__main__":
    run(arguments())
