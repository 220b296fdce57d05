"""Bytewax: its Kafka source into a sink that folds whole batches; a thread beside it writes by the interval.

Bytewax keeps no place in the group; without a recovery store, which would cost it time, it begins anew at each start.
"""

import threading
import time
from itertools import groupby
from typing import TypeVar

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.run import cli_main

from benchmarks.stream.peer_fold import Arguments, PeerFold, arguments

BATCH = 4000
Item = TypeVar("Item")


class WritingPartition(StatelessSinkPartition[Item]):  # type: ignore[misc] # the framework lives in an environment of its own
    """Writes by the interval what `fold` holds; whoever changes `fold` holds `folding`."""

    def __init__(self, told: Arguments) -> None:
        self.fold = PeerFold(told.redis, told.flush_interval_s)
        self.folding = threading.Lock()
        threading.Thread(target=self._write, daemon=True).start()

    def _write(self) -> None:
        while True:
            time.sleep(0.005)
            if self.fold.is_due():
                with self.folding:
                    pending = self.fold.take()
                self.fold.write(pending)


class FoldPartition(WritingPartition[KafkaSourceMessage]):
    """Folds every batch as it comes."""

    def write_batch(self, items: list[KafkaSourceMessage]) -> None:
        """Bytewax keeps the order within a partition."""
        with self.folding:
            for partition, of_partition in groupby(items, lambda message: message.partition):
                self.fold.apply(partition, [(message.offset, message.value) for message in of_partition])


class WritingSink(DynamicSink[Item]):  # type: ignore[misc] # the framework lives in an environment of its own
    """One partition of this kind per worker."""

    def __init__(self, kind: type[WritingPartition[Item]], told: Arguments) -> None:
        self._kind = kind
        self._told = told

    def build(self, step_id: str, worker_index: int, worker_count: int) -> WritingPartition[Item]:
        """The sink of this worker."""
        return self._kind(self._told)


def kafka_source(told: Arguments) -> KafkaSource:
    """The topic from its beginning, in batches."""
    return KafkaSource(told.kafka.split(","), [told.topic], tail=True, batch_size=BATCH)


def create_flow(told: Arguments) -> Dataflow:
    """Source to sink, nothing between them."""
    flow = Dataflow("fold")
    op.output("write", op.input("read", flow, kafka_source(told)), WritingSink(FoldPartition, told))
    return flow


if __name__ == "__main__":
    cli_main(create_flow(arguments()), workers_per_process=1)
