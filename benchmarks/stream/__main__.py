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
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import redis

from benchmarks.stream import report, small_fold, watch
from benchmarks.stream.contenders import ALL_OURS, CONTENDERS, FOLD_ALONE, PEERS_PYTHON, Contender, Servers
from benchmarks.stream.fold_alone import digest
from benchmarks.stream.processes import PROJECT, ContenderProcess
from benchmarks.stream.report import Result, Run
from benchmarks.stream.workload import Workload, simulated
from churn import topics
from stack.stack import Stack

SECTION = "bench-stream"
SMALL_SECTION = "bench-stream-small"
SHORT_TOPIC = "events-short"
SHORT_SHARE = 5


class Arena(NamedTuple):
    """Where the contenders meet: servers, the events, and those of the slow."""

    directory: Path
    servers: Servers
    client: redis.Redis
    long: Workload
    short: Workload


def start(contender: Contender, directory: Path, servers: Servers, topic: str) -> list[ContenderProcess]:
    """Its processes, in a group of their own that begins at the first event."""
    group = f"bench-{uuid.uuid4().hex[:12]}"
    return [
        ContenderProcess(launch.command, launch.variables, directory / f"{group}-{number}.log", contender.share)
        for number, launch in enumerate(contender.launches(servers, topic, group))
    ]


def startup_cpu_s(contender: Contender, directory: Path, servers: Servers) -> float:
    """CPU seconds until it waits for events, with none there."""
    processes = start(contender, directory, servers, topics.EVENTS)
    try:
        return watch.cpu_until_quiet(processes)
    finally:
        for process in processes:
            process.kill()


def run(contender: Contender, arena: Arena, startup_s: float) -> Run:
    """One contender from an empty Redis to the last event."""
    workload = arena.short if contender.is_slow else arena.long
    arena.client.flushall()
    processes = start(contender, arena.directory, arena.servers, workload.topic)
    try:
        began, ended = watch.watch(arena.client, workload, processes)
        memory = sum(process.memory_mib() for process in processes)
        watch.settle(arena.client, workload)
        for process in processes:
            process.stop()
    except watch.Stuck as error:
        print(f"{contender.name}: {error}", file=sys.stderr)
        return Run.failed(contender.name)
    finally:
        for process in processes:
            process.kill()
    speed = (ended.events - began.events) / (ended.at_s - began.at_s)
    cpu_us = (ended.cpu_s - startup_s) / workload.events * 1e6
    return Run(contender.name, speed, cpu_us, memory, watch.wrong_customers(arena.client, workload))


def run_fold_alone(arena: Arena) -> Run:
    """The floor: the same events from memory, in a process of its own."""
    payloads = arena.directory / "payloads"
    first = round(arena.long.events * watch.WARM_UP)
    command = small_fold.command(sys.executable, "benchmarks.stream.fold_alone", [str(payloads), str(first)])
    told = json.loads(subprocess.run(command, cwd=PROJECT, check=True, capture_output=True).stdout)
    is_right = told["digest"] == digest({customer: packed for customer, (packed, _) in arena.long.expected.items()})
    speed, cpu_us = (arena.long.events - first) / told["seconds"], told["cpu_seconds"] / arena.long.events * 1e6
    return Run(FOLD_ALONE, speed, cpu_us, None, 0 if is_right else None)


def play(arena: Arena, rounds: int, contenders: Sequence[Contender], startup_s: dict[str, float]) -> list[list[Run]]:
    """All contenders in turns; one list per round."""
    steps: list[tuple[str, Callable[[], Run]]] = [
        (FOLD_ALONE, partial(run_fold_alone, arena)),
        *((each.name, partial(run, each, arena, startup_s[each.name])) for each in contenders),
    ]
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
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    parser.add_argument("--write", action="store_true", help="bring table and plot into docs/")
    options = parser.parse_args()
    if not PEERS_PYTHON.exists():
        print("the peers have no environment yet: `make bench-stream` makes it", file=sys.stderr)
        return 1
    result = _measure(options)
    print(report.as_markdown(result))
    figures = json.dumps(result.as_json(), indent=2)
    print(figures)
    if options.json is not None:
        options.json.write_text(figures + "\n")
    if options.write:
        report.write(result, SMALL_SECTION if small_fold.is_installed() else SECTION)
    return 0 if all(each.events_per_s for each in result.standings if each.name in ALL_OURS) else 1


def _measure(options: argparse.Namespace) -> Result:
    with tempfile.TemporaryDirectory(prefix="ebb-bench-") as name:
        directory = Path(name)
        # No rewriting of the file in the middle of one contender's run.
        quiet = {"redis": {"auto-aof-rewrite-percentage": "0"}}
        with Stack(directory, services=("redis", "kafka"), free_ports=True, settings=quiet) as stack:
            print("starting each contender without events; simulating, folding offline, publishing", file=sys.stderr)
            topics.create(stack.kafka.address)
            servers = Servers(stack.kafka.address, stack.redis.url)
            chosen = [
                each for each in CONTENDERS if not options.only or any(part in each.name for part in options.only)
            ]
            startup_s = {each.name: startup_cpu_s(each, directory, servers) for each in chosen}
            payloads = simulated(options.events, options.customers)
            long = Workload(topics.EVENTS, payloads)
            short = Workload(SHORT_TOPIC, payloads[: len(payloads) // SHORT_SHARE])
            for workload in (long, short):
                workload.publish(stack.kafka.address)
            long.save(directory / "payloads")
            arena = Arena(directory, servers, redis.Redis.from_url(stack.redis.url), long, short)
            played = play(arena, options.rounds, chosen, startup_s)
    return report.summed_up(played, long.events, len(long.expected), short.events)


if __name__ == "__main__":
    sys.exit(main())
