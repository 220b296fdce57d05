"""`make bench-stream`: events per second and CPU per event of the stream processor beside its peers.

Real Kafka and Redis are started in a temporary directory; each contender folds the same events, several rounds, beside
our worker: both run at once, but in turns of some seconds, one at a time, so that a slow moment of the machine meets
both. Only who leaves in Redis what the offline fold gives, customer by customer, is counted.
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
from benchmarks.stream.contenders import ALL_OURS, CONTENDERS, FOLD_ALONE, OURS, PEERS_PYTHON, Contender, Servers
from benchmarks.stream.fold_alone import digest
from benchmarks.stream.processes import PROJECT, ContenderProcess
from benchmarks.stream.report import Result, Run
from benchmarks.stream.watch import Watch
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


class Entrant(NamedTuple):
    """A contender that runs, with a Redis database of its own."""

    contender: Contender
    workload: Workload
    client: redis.Redis
    processes: list[ContenderProcess]
    watched: Watch


def enter(contender: Contender, arena: Arena, database: int) -> Entrant:
    """Start it on an empty database."""
    workload = arena.short if contender.is_slow else arena.long
    url = f"{arena.servers.redis.rpartition('/')[0]}/{database}"
    client = redis.Redis.from_url(url)
    client.flushdb()
    processes = start(contender, arena.directory, Servers(arena.servers.kafka, url), workload.topic)
    return Entrant(contender, workload, client, processes, Watch(client, workload, processes))


def leave(entrant: Entrant, startup_s: float, fault: str | None) -> Run:
    """What it did, once it has ended; its processes are killed, its database is emptied."""
    contender, workload, client, processes, watched = entrant
    try:
        began, ended = watched.began, watched.ended
        if fault is not None or began is None or ended is None or began is ended:
            print(f"{contender.name}: {fault or 'all events at once; take more'}", file=sys.stderr)
            return Run.failed(contender.name)
        memory = sum(process.memory_mib() for process in processes)
        watch.settle(client, workload)
        wrong = watch.wrong_customers(client, workload)
    finally:
        for process in processes:
            process.kill()
        client.flushdb()
    speed = (ended.events - began.events) / (ended.at_s - began.at_s)
    return Run(contender.name, speed, (ended.cpu_s - startup_s) / workload.events * 1e6, memory, wrong)


def run_alone(contender: Contender, arena: Arena, startup_s: float) -> list[Run]:
    """One contender from an empty Redis to the last event."""
    entrant = enter(contender, arena, 0)
    try:
        watch.until_the_end(entrant.watched)
    except watch.Stuck as stuck:
        return [leave(entrant, startup_s, str(stuck))]
    return [leave(entrant, startup_s, None)]


def run_beside(ours: Contender, other: Contender, arena: Arena, startup_s: dict[str, float]) -> list[Run]:
    """Both at once, one of them running at a time; both runs say beside whom."""
    pair = (ours, other)
    entrants = [enter(contender, arena, database) for database, contender in enumerate(pair)]
    runs: dict[str, Run] = {}

    def on_end(place: int, fault: str | None) -> None:
        name = pair[place].name
        runs[name] = leave(entrants[place], startup_s[name], fault)._replace(beside=pair[1 - place].name)

    try:
        for entrant in entrants:
            for process in entrant.processes:
                process.pause()
        watch.in_turns([(entrant.watched, entrant.processes) for entrant in entrants], on_end)
    finally:
        for entrant in entrants:
            for process in entrant.processes:
                process.kill()
    return [runs[contender.name] for contender in pair]


def run_fold_alone(arena: Arena) -> list[Run]:
    """The floor: the same events from memory, in a process of its own."""
    payloads = arena.directory / "payloads"
    first = round(arena.long.events * watch.WARM_UP)
    command = small_fold.command(sys.executable, "benchmarks.stream.fold_alone", [str(payloads), str(first)])
    told = json.loads(subprocess.run(command, cwd=PROJECT, check=True, capture_output=True).stdout)
    is_right = told["digest"] == digest({customer: packed for customer, (packed, _) in arena.long.expected.items()})
    speed, cpu_us = (arena.long.events - first) / told["seconds"], told["cpu_seconds"] / arena.long.events * 1e6
    return [Run(FOLD_ALONE, speed, cpu_us, None, 0 if is_right else None)]


def play(arena: Arena, rounds: int, contenders: Sequence[Contender], startup_s: dict[str, float]) -> list[list[Run]]:
    """One list per round: the fold alone, our worker beside each of the others, and those that are held, one by one."""
    ours = next((each for each in contenders if each.name == OURS), None)
    played = []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        steps: list[Callable[[], list[Run]]] = [partial(run_fold_alone, arena)]
        for each in contenders:
            if each.share < 1 or ours is None:
                steps.append(partial(run_alone, each, arena, startup_s[each.name]))
            elif each is not ours:
                steps.append(partial(run_beside, ours, each, arena, startup_s))
        runs = []
        for step in steps:
            ended = step()
            for run in ended:
                print(f"  {run.name}: {run.describe()}", file=sys.stderr, flush=True)
            runs += ended
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
            arena = Arena(directory, servers, long, short)
            played = play(arena, options.rounds, chosen, startup_s)
    return report.summed_up(played, long.events, len(long.expected), short.events)


if __name__ == "__main__":
    sys.exit(main())
