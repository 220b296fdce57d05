"""`make bench-stream`: events per second and CPU per event of the stream processor beside its peers.

Real Kafka and Redis are started in a temporary directory; each contender folds the same events, in turns, several
rounds. Only who leaves in Redis what the offline fold gives, customer by customer, is counted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import redis

from benchmarks.stream import report, watch
from benchmarks.stream.contenders import CONTENDERS, FOLD_ALONE, Contender, Servers
from benchmarks.stream.fold_alone import digest
from benchmarks.stream.processes import PROJECT, ContenderProcess
from benchmarks.stream.report import Run
from benchmarks.stream.workload import Workload, simulated
from churn import topics
from stack.stack import Stack

SHORT_TOPIC = "events-short"
SHORT_SHARE = 5


class Arena(NamedTuple):
    """Where the contenders meet: servers, the events, and those of the slow."""

    directory: Path
    servers: Servers
    client: redis.Redis
    long: Workload
    short: Workload


def run(contender: Contender, arena: Arena) -> Run:
    """One contender from an empty Redis to the last event."""
    workload = arena.short if contender.is_slow else arena.long
    arena.client.flushall()
    group = f"bench-{uuid.uuid4().hex[:12]}"
    processes = [
        ContenderProcess(launch.command, launch.variables, arena.directory / f"{group}-{number}.log")
        for number, launch in enumerate(contender.launches(arena.servers, workload.topic, group))
    ]
    try:
        began, ended = watch.watch(arena.client, workload, processes)
        memory = sum(process.peak_mib() for process in processes)
        watch.settle(arena.client, workload)
        for process in processes:
            process.stop()
    except watch.Stuck as error:
        print(f"{contender.name}: {error}", file=sys.stderr)
        return Run.failed(contender.name)
    finally:
        for process in processes:
            process.kill()
    wrong = watch.wrong_customers(arena.client, workload)
    return Run(
        contender.name, ended.events - began.events, ended.at_s - began.at_s, ended.cpu_s - began.cpu_s, memory, wrong
    )


def run_fold_alone(arena: Arena) -> Run:
    """The floor: the same events from memory, in a process of its own."""
    payloads = arena.directory / "payloads"
    first = round(arena.long.events * watch.WARM_UP)
    command = [sys.executable, "-m", "benchmarks.stream.fold_alone", str(payloads), str(first)]
    told = json.loads(subprocess.run(command, cwd=PROJECT, check=True, capture_output=True).stdout)
    is_right = told["digest"] == digest({customer: packed for customer, (packed, _) in arena.long.expected.items()})
    counted = arena.long.events - first
    return Run(FOLD_ALONE, counted, told["seconds"], told["cpu_seconds"], None, 0 if is_right else None)


def play(arena: Arena, rounds: int, chosen: list[str]) -> list[list[Run]]:
    """All contenders in turns; one list per round."""
    steps: list[tuple[str, Callable[[], Run]]] = [(FOLD_ALONE, lambda: run_fold_alone(arena))]
    for contender in CONTENDERS:
        if not chosen or any(part in contender.name for part in chosen):
            steps.append((contender.name, lambda contender=contender: run(contender, arena)))  # type: ignore[misc]
    played = []
    for number in range(rounds):
        runs = []
        for name, step in steps:
            print(f"round {number + 1} of {rounds}: {name} ... ", end="", file=sys.stderr, flush=True)
            runs.append(step())
            print(runs[-1].describe(), file=sys.stderr)
        played.append(runs)
    return played


def main() -> int:
    """Prepare, play, print; exit code 1 when our own worker's result is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream", description=__doc__)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="parts of names of contenders")
    parser.add_argument("--write", action="store_true", help="bring table and plot into docs/")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ebb-bench-") as name:
        directory = Path(name)
        # No rewriting of the file in the middle of one contender's run.
        quiet = {"redis": {"auto-aof-rewrite-percentage": "0"}}
        with Stack(directory, services=("redis", "kafka"), free_ports=True, settings=quiet) as stack:
            print("simulating, folding offline, publishing", file=sys.stderr)
            topics.create(stack.kafka.address)
            payloads = simulated(options.events, options.customers)
            long = Workload(topics.EVENTS, payloads)
            short = Workload(SHORT_TOPIC, payloads[: len(payloads) // SHORT_SHARE])
            for workload in (long, short):
                workload.publish(stack.kafka.address)
            long.save(directory / "payloads")
            servers = Servers(stack.kafka.address, stack.redis.url)
            arena = Arena(directory, servers, redis.Redis.from_url(stack.redis.url), long, short)
            played = play(arena, options.rounds, options.only)
    result = report.summed_up(played, long.events, len(long.expected), short.events)
    print(report.as_markdown(result))
    print(json.dumps(result.as_json(), indent=2))
    if options.write:
        report.write(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
