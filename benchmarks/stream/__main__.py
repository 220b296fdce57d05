"""`make bench-stream`: events per second and CPU per event of the stream processor beside its peers.

Real Kafka and Redis are started in a temporary directory; each contender folds the same events, several rounds, beside
our worker: both run at once, but in turns of some seconds, one at a time, so that a slow moment of the machine meets
both. The first tenth of the events is the warm-up; speed and CPU are those of the others. Only who leaves in Redis
what the offline fold gives, customer by customer, is counted.
"""

import argparse
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import redis

from benchmarks.stream import report, small_fold, watch
from benchmarks.stream.contenders import ALL_OURS, CONTENDERS, FOLD_ALONE, OURS, PEERS_PYTHON, Contender, Servers
from benchmarks.stream.fold_alone import digest
from benchmarks.stream.processes import ContenderProcess
from benchmarks.stream.report import Result, Run
from benchmarks.stream.watch import FoldWatch, Watch
from benchmarks.stream.workload import Workload, empty_topic, simulated
from churn import topics
from stack.stack import Stack

SECTION = "bench-stream"
SMALL_SECTION = "bench-stream-small"
SHORT_TOPIC = "events-short"
SHORT_SHARE = 5
WARM_UP = 0.1


class Course(NamedTuple):
    """Events, and those of them that all fold before what counts begins."""

    warm_up: Workload
    whole: Workload


class Arena(NamedTuple):
    """Where the contenders meet: servers, the events, and those of the slow."""

    directory: Path
    servers: Servers
    long: Course
    short: Course

    def course_of(self, contender: Contender) -> Course:
        """The events that this one gets."""
        return self.short if contender.is_slow else self.long


class Entrant(NamedTuple):
    """A contender that runs, with a Redis database of its own."""

    contender: Contender
    course: Course
    client: redis.Redis
    processes: list[ContenderProcess]


def start(contender: Contender, directory: Path, servers: Servers, topic: str) -> list[ContenderProcess]:
    """Its processes, in a group of their own that begins at the first event."""
    group = f"bench-{uuid.uuid4().hex[:12]}"
    return [
        ContenderProcess(launch.command, launch.variables, directory / f"{group}-{number}.log")
        for number, launch in enumerate(contender.launches(servers, topic, group))
    ]


def enter(contender: Contender, arena: Arena, database: int) -> Entrant:
    """Start it on an empty database."""
    course = arena.course_of(contender)
    url = f"{arena.servers.redis.rpartition('/')[0]}/{database}"
    client = redis.Redis.from_url(url)
    client.flushdb()
    processes = start(contender, arena.directory, Servers(arena.servers.kafka, url), course.whole.topic)
    return Entrant(contender, course, client, processes)


def leave(entrant: Entrant, watched: Watch | None, fault: str | None) -> Run:
    """What it did, once it has ended; its processes are killed, its database is emptied."""
    contender, (_, whole), client, processes = entrant
    try:
        if watched is None or watched.ended is None:
            print(f"{contender.name}: {fault}", file=sys.stderr)
            return Run.failed(contender.name)
        began, ended = watched.began, watched.ended
        memory = sum(process.memory_mib() for process in processes)
        watch.settle(client, whole)
        wrong = watch.wrong_customers(client, whole)
    finally:
        for process in processes:
            process.kill()
        client.flushdb()
    events = ended.events - began.events
    return Run(contender.name, events / ended.at_s, (ended.cpu_s - began.cpu_s) / events * 1e6, memory, wrong)


def run(together: Sequence[Contender], arena: Arena, *, is_beside_fold: bool = False) -> list[Run]:
    """One contender alone, or two of whom one runs at a time, from an empty Redis to the last event.

    `is_beside_fold`: the other one is the fold alone.
    """
    courses = {each.whole.topic: each for each in (arena.course_of(contender) for contender in together)}.values()
    for course in courses:
        empty_topic(arena.servers.kafka, course.whole.topic)
        course.warm_up.publish(arena.servers.kafka)
    entrants = [enter(contender, arena, database) for database, contender in enumerate(together)]
    alone = [start_fold_alone(arena)] if is_beside_fold else []
    runs: list[Run] = []
    turns: list[tuple[Watch | FoldWatch, list[ContenderProcess]]] = []

    def on_end(place: int, fault: str | None) -> None:
        watched, _ = turns[place]
        if isinstance(watched, FoldWatch):
            runs.append(leave_fold_alone(alone[0], watched, arena))
        else:
            runs.append(leave(ready[place], watched, fault))

    try:
        faults = [warm_up(entrant) for entrant in entrants]
        runs += [leave(each, None, fault) for each, fault in zip(entrants, faults, strict=True) if fault]
        ready = [each for each, fault in zip(entrants, faults, strict=True) if not fault]
        for course in courses:
            course.whole.publish(arena.servers.kafka, first=course.warm_up.events)
        turns += [(begin(entrant), entrant.processes) for entrant in ready]
        turns += [(FoldWatch(process), [process]) for process in alone]
        watch.in_turns(turns, on_end)
    finally:
        for process in [*alone, *(process for entrant in entrants for process in entrant.processes)]:
            process.kill()
    if len(runs) < 2:
        return runs
    return [run._replace(beside=other.name) for run, other in zip(runs, runs[::-1], strict=True)]


def warm_up(entrant: Entrant) -> str | None:
    """Wait until the first events are folded, then let it stand still; what went wrong, if anything did."""
    try:
        watch.until_the_end(Watch(entrant.client, entrant.course.warm_up, entrant.processes))
    except watch.Stuck as stuck:
        return str(stuck)
    watch.settle(entrant.client, entrant.course.warm_up)
    for process in entrant.processes:
        process.pause()
    return None


def begin(entrant: Entrant) -> Watch:
    """From here on it counts."""
    if entrant.contender.share < 1:
        for process in entrant.processes:
            process.hold_to(entrant.contender.share)
    return Watch(entrant.client, entrant.course.whole, entrant.processes, entrant.course.warm_up)


def start_fold_alone(arena: Arena) -> ContenderProcess:
    """The floor: the same events from memory, in a process of its own, ready for those after the warm-up."""
    command = small_fold.command(
        sys.executable,
        "benchmarks.stream.fold_alone",
        [str(arena.directory / "payloads"), str(arena.long.warm_up.events)],
    )
    process = ContenderProcess(command, {}, arena.directory / "fold-alone.log")
    while process.is_running and not process.is_paused:
        time.sleep(watch.POLL_S)
    return process


def leave_fold_alone(process: ContenderProcess, watched: FoldWatch, arena: Arena) -> Run:
    """What it took, and whether it came to the same states as the offline fold."""
    process.wait()
    whole = arena.long.whole
    if watched.ended is None or len(told := watched.log_lines()) != 2:
        return Run.failed(FOLD_ALONE)
    is_right = told[1] == digest({customer: packed for customer, (packed, _) in whole.expected.items()})
    events = whole.events - arena.long.warm_up.events
    return Run(FOLD_ALONE, events / watched.ended, float(told[0]) / events * 1e6, None, 0 if is_right else None)


def play(arena: Arena, rounds: int, contenders: Sequence[Contender]) -> list[list[Run]]:
    """One list per round: the fold alone, our worker beside each of the others, and those that are held, one by one."""
    ours = next((each for each in contenders if each.name == OURS), None)
    played = []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        steps: list[Callable[[], list[Run]]] = []
        if ours is not None:
            steps.append(partial(run, [ours], arena, is_beside_fold=True))
        for each in contenders:
            if each.share < 1 or ours is None:
                steps.append(partial(run, [each], arena))
            elif each is not ours:
                steps.append(partial(run, [ours, each], arena))
        runs = []
        for step in steps:
            ended = step()
            for one in ended:
                print(f"  {one.name}: {one.describe()}", file=sys.stderr, flush=True)
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
            print("simulating, folding offline", file=sys.stderr)
            topics.create(stack.kafka.address)
            servers = Servers(stack.kafka.address, stack.redis.url)
            chosen = [
                each for each in CONTENDERS if not options.only or any(part in each.name for part in options.only)
            ]
            payloads = simulated(options.events, options.customers)
            long = _course(topics.EVENTS, payloads)
            short = _course(SHORT_TOPIC, payloads[: len(payloads) // SHORT_SHARE])
            long.whole.save(directory / "payloads")
            played = play(Arena(directory, servers, long, short), options.rounds, chosen)
    whole = long.whole
    return report.summed_up(played, whole.events, len(whole.expected), short.whole.events)


def _course(topic: str, payloads: list[bytes]) -> Course:
    return Course(Workload(topic, payloads[: round(len(payloads) * WARM_UP)]), Workload(topic, payloads))


if __name__ == "__main__":
    sys.exit(main())
