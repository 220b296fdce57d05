"""Who takes part, and how each is started. The peers have an environment of their own, made by `make bench-stream`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from benchmarks.stream import small_fold
from benchmarks.stream.processes import PROJECT
from stack.ports import free_port
from stream_processor.processor import LONGEST_UNWRITTEN_S

PEERS_PYTHON: Final = PROJECT / ".venv-bench" / "bin" / "python"
FOLD_ALONE: Final = "fold alone in memory"
OURS: Final = "Ebb, one worker"
OURS_TWICE: Final = "Ebb, two workers"
# Held to so little of a core each, two workers, broker and Redis have cores to spare, of two.
HELD_TO: Final = 0.4
OURS_HELD: Final = f"Ebb, one worker, {HELD_TO} of a core"
OURS_TWICE_HELD: Final = f"Ebb, two workers, {HELD_TO} of a core each"
ALL_OURS: Final = frozenset({OURS, OURS_TWICE, OURS_HELD, OURS_TWICE_HELD})


class Servers(NamedTuple):
    """Addresses of what runs."""

    kafka: str
    redis: str


class Launch(NamedTuple):
    """One process to start."""

    command: Sequence[str]
    variables: Mapping[str, str]


class Contender(NamedTuple):
    """`is_slow`: gets only the first part of the events. `goal`: our worker's speed / this one's that is wanted.

    `share`: of the time, in which each of its processes may run.
    """

    name: str
    launches: Callable[[Servers, str, str], list[Launch]]
    is_slow: bool = False
    goal: float | None = None
    share: float = 1.0


def _workers(count: int) -> Callable[[Servers, str, str], list[Launch]]:
    def launches(servers: Servers, topic: str, group: str) -> list[Launch]:
        return [
            Launch(
                small_fold.command(sys.executable, "stream_processor", ()),
                {
                    "KAFKA_BOOTSTRAP_SERVERS": servers.kafka,
                    "REDIS_URL": servers.redis,
                    "STREAM_GROUP": group,
                    "STREAM_GROUP_INSTANCE_ID": f"worker-{number}",
                    "STREAM_WEB_PORT": str(free_port()),
                },
            )
            for number in range(count)
        ]

    return launches


def _peer(module: str) -> Callable[[Servers, str, str], list[Launch]]:
    def launches(servers: Servers, topic: str, group: str) -> list[Launch]:
        # All are behind from the first to the last event, so they write as often as our worker does then.
        told = {"kafka": servers.kafka, "redis": servers.redis, "topic": topic, "group": group}
        arguments = [text for name, value in told.items() for text in (f"--{name}", value)]
        arguments += ["--flush-interval-s", str(LONGEST_UNWRITTEN_S)]
        return [Launch(small_fold.command(str(PEERS_PYTHON), f"benchmarks.stream.{module}", arguments), {})]

    return launches


CONTENDERS: Final = (
    Contender(OURS, _workers(1)),
    Contender("bare confluent-kafka loop", _peer("confluent_loop"), goal=0.75),
    Contender("bare aiokafka loop", _peer("aiokafka_loop"), goal=0.95),
    Contender("Bytewax", _peer("bytewax_keyed"), goal=1.5),
    Contender("Bytewax, fold in the sink", _peer("bytewax_sink"), goal=1.5),
    Contender("Quix Streams 3", _peer("quix_keyed"), is_slow=True, goal=1.5),
    Contender("Quix Streams 3, fold in the sink", _peer("quix_sink"), goal=1.5),
    Contender("stock Faust `take`", _peer("faust_take"), is_slow=True, goal=15),
    Contender(OURS_TWICE, _workers(2)),
    Contender(OURS_HELD, _workers(1), share=HELD_TO),
    Contender(OURS_TWICE_HELD, _workers(2), share=HELD_TO),
)
