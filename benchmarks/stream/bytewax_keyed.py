"""Bytewax with its own keyed state: the fold is a stateful step, and the sink writes the states that come out of it."""

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from benchmarks.stream.bytewax_sink import WritingPartition, WritingSink, kafka_source
from benchmarks.stream.peer_fold import Arguments, arguments, fold_one
from churn.feature_store import Kept

Folded = tuple[str, Kept]


class StatesPartition(WritingPartition[Folded]):
    """Takes every state as it comes."""

    def write_batch(self, items: list[Folded]) -> None:
        """The last one of a customer is the one that is written."""
        with self.folding:
            self.fold.hold(items)


def fold(kept: Kept | None, message: KafkaSourceMessage) -> tuple[Kept, Kept]:
    """The state to keep, and the same to go on."""
    after = fold_one(kept, message.partition, message.offset, message.value)
    return after, after


def create_flow(told: Arguments) -> Dataflow:
    """Source, key, state, sink."""
    flow = Dataflow("fold")
    messages = op.input("read", flow, kafka_source(told))
    keyed = op.key_on("customer", messages, lambda message: message.key.decode())
    op.output("write", op.stateful_map("fold", keyed, fold), WritingSink(StatesPartition, told))
    return flow


if __name__ == "__main__":
    cli_main(create_flow(arguments()), workers_per_process=1)
