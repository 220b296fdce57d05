"""Quix Streams 3 with its own keyed state (RocksDB, no changelog): the fold is a stateful step, the sink writes."""

import tempfile

from quixstreams import State, message_context
from quixstreams.sinks import BatchingSink, SinkBatch

from benchmarks.stream.peer_fold import Arguments, PeerFold, arguments, fold_one
from benchmarks.stream.quix_sink import reading
from churn import state as states
from churn.feature_store import Kept


class StatesSink(BatchingSink):  # type: ignore[misc] # the framework lives in an environment of its own
    """Writes what Quix collected since the last checkpoint; the last state of a customer is the one that counts."""

    def __init__(self, fold: PeerFold) -> None:
        super().__init__()
        self._fold = fold

    def write(self, batch: SinkBatch) -> None:
        """One partition's states."""
        self._fold.hold((item.key.decode(), item.value) for item in batch)
        self._fold.write(self._fold.take())


def fold(payload: bytes, state: State) -> Kept:
    """The state after this message; `state` is that of its key."""
    message = message_context()
    packed, offset = state.get_bytes("packed"), state.get("offset", -1)
    kept = None if packed is None else Kept(states.unpack(packed), message.partition, offset)
    after = fold_one(kept, message.partition, message.offset, payload)
    state.set_bytes("packed", states.pack(after.state))
    state.set("offset", after.offset)
    return after


def run(told: Arguments) -> None:
    """Until killed."""
    with tempfile.TemporaryDirectory(prefix="ebb-quix-") as directory:
        app, events = reading(told, state_dir=directory)
        events.apply(fold, stateful=True).sink(StatesSink(PeerFold(told.redis, 0.0)))
        app.run()


if __name__ == "__main__":
    run(arguments())
