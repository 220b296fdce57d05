"""`make bench-ingest`: documents per second and CPU of es_ingest beside the client's own `parallel_bulk`.

One Kafka and one Elasticsearch; the contenders write the same events into the same indices with the same templates, in
turns, several rounds. How many are written is asked of Elasticsearch, alike for all; what counts lies between the first
tenth of the documents and the last one.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import msgspec
from elasticsearch import ApiError, Elasticsearch, TransportError
from kafka.admin import KafkaAdminClient

from benchmarks import ingest_peers, pages
from benchmarks.fold import payloads
from benchmarks.stream.processes import TICKS_PER_S, ContenderProcess
from churn import topics
from churn.events import decode
from es_ingest import templates
from es_ingest.documents import of_message
from es_ingest.service import GROUP
from producer.sinks import KafkaSink
from stack.processes import group_members
from stack.stack import Stack
from stack.waiting import wait_until

SECTION: Final = "bench-ingest"
GOAL: Final = 0.85
OURS, MEMORY, KAFKA = "es_ingest", "`parallel_bulk` from memory", "Kafka, `json.loads`, `parallel_bulk`"
CONTENDERS: Final = (OURS, MEMORY, KAFKA)
POLL_S: Final = 0.05
WARM_UP: Final = 0.1
STUCK_AFTER_S: Final = 300.0
UNTIL: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Stuck(RuntimeError):
    """A contender ended early, or makes no progress."""


class Message(NamedTuple):
    """A message as es_ingest reads it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class Sample(NamedTuple):
    """At `at_s` so many documents were written; CPU seconds of the contender and of Elasticsearch until then."""

    at_s: float
    documents: int
    cpu_s: float
    server_cpu_s: float


class Speed(NamedTuple):
    """Of one turn: documents per second, CPU per document of the contender and of Elasticsearch, peak memory."""

    per_s: float
    cpu_us: float
    server_cpu_us: float
    memory_mib: float


class Bench:
    """The servers, filled with `events`, and the directory in which the contenders find their documents."""

    def __init__(self, stack: Stack, directory: Path, events: list[bytes]) -> None:
        self._stack = stack
        self._directory = directory
        self._client = Elasticsearch(stack.elasticsearch.url, request_timeout=60)
        self._events = len(events)
        topics.create(stack.kafka.address)
        sink = KafkaSink(stack.kafka.address, topics.EVENTS)
        documents = []
        for payload in events:
            event = decode(payload, now=UNTIL, currency="EUR")
            sink.add(event, event.occurred_at)
            at_ms = round(event.occurred_at.timestamp() * 1000)
            message = Message(topics.EVENTS, 0, 0, at_ms, event.customer_id.encode(), payload)
            (document,) = of_message(message, now=UNTIL, currency="EUR")
            action, source = map(msgspec.json.decode, document.lines.splitlines())
            documents.append((action["create"]["_index"], action["create"]["_id"], source))
        sink.flush()
        sink.close()
        (directory / "documents").write_bytes(msgspec.msgpack.encode(documents))
        templates.put(self._client, 0)

    def run(self, contender: str) -> Speed:
        """One turn, on indices that are not there yet. Raises `Stuck`."""
        self._forget()
        start = self._directory / "start"
        process = ContenderProcess(self._command(contender, start), self._variables(), self._directory / "log")
        try:
            if contender == MEMORY:
                wait_until(start.with_suffix(".ready").exists, STUCK_AFTER_S)
                start.touch()
            began, ended = self._watch(process)
            memory_mib = process.memory_mib()
        finally:
            process.stop()
            for leftover in (start, start.with_suffix(".ready")):
                leftover.unlink(missing_ok=True)
        self._client.indices.refresh(index="events-*")
        there = self._client.count(index="events-*")["count"]
        if there != self._events:
            raise Stuck(f"{contender} left {there:,} documents, {self._events:,} were expected")
        written = ended.documents - began.documents
        return Speed(
            written / (ended.at_s - began.at_s),
            (ended.cpu_s - began.cpu_s) / written * 1e6,
            (ended.server_cpu_s - began.server_cpu_s) / written * 1e6,
            memory_mib,
        )

    def _command(self, contender: str, start: Path) -> list[str]:
        python = [sys.executable, "-m"]
        files = ["--start", str(start), "--documents", str(self._directory / "documents")]
        return {
            OURS: [*python, "es_ingest"],
            MEMORY: [*python, "benchmarks.ingest_peers", "memory", *files],
            KAFKA: [*python, "benchmarks.ingest_peers", "kafka"],
        }[contender]

    def _variables(self) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self._stack.kafka.address,
            "ELASTICSEARCH_URL": self._stack.elasticsearch.url,
            "INGEST_WEB_PORT": "0",
        }

    def _forget(self) -> None:
        """Remove the indices, and what the groups have committed."""
        for index in self._client.indices.get(index="events-*"):
            self._client.indices.delete(index=index)
        admin = KafkaAdminClient(bootstrap_servers=self._stack.kafka.address)

        def is_forgotten() -> bool:
            left = {GROUP, ingest_peers.GROUP} & {each["group_id"] for each in admin.list_groups()}
            if left:
                admin.delete_groups(list(left))  # in vain while a member is known
            return not left

        if not wait_until(is_forgotten, STUCK_AFTER_S, poll_s=1.0):
            raise Stuck("Kafka does not forget the groups of the turn before")
        admin.close()

    def _watch(self, process: ContenderProcess) -> tuple[Sample, Sample]:
        began: Sample | None = None
        seen, progressed_s = 0, time.monotonic()
        while True:
            sample = Sample(time.monotonic(), self._written(), process.cpu_s(), self._server_cpu_s())
            if sample.documents > seen:
                seen, progressed_s = sample.documents, sample.at_s
            if began is None and sample.documents >= WARM_UP * self._events:
                began = sample
            if sample.documents >= self._events:
                return began or sample, sample
            if sample.at_s - progressed_s > STUCK_AFTER_S:
                raise Stuck(f"no progress after {seen:,} of {self._events:,} documents:\n{process.end_of_log()}")
            time.sleep(POLL_S)

    def _written(self) -> int:
        try:
            answer = self._client.indices.stats(
                index="events-*", metric="indexing", filter_path="_all.primaries.indexing.index_total"
            )
        except (ApiError, TransportError):
            return 0
        found: dict[str, Any] = answer.get("_all", {}).get("primaries", {}).get("indexing", {})
        return int(found.get("index_total", 0))

    def _server_cpu_s(self) -> float:
        return sum(cpu_seconds(pid) for pid in group_members(self._stack.elasticsearch.pid))


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process until now; 0 of one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def as_markdown(events: int, rounds: int, speeds: Mapping[str, list[Speed]]) -> str:
    """A sentence and two tables, of medians."""
    middle = {name: Speed(*map(median, zip(*found, strict=True))) for name, found in speeds.items()}
    lines = [
        f"{events:,} events of a simulated year in 12 monthly indices, {rounds} rounds in turns, medians.",
        f"{pages.machine()}, shared with Kafka and Elasticsearch.",
        "",
        "| | documents/s | CPU us per document | CPU us of Elasticsearch | peak memory, MiB |",
        "|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {name} | {speed.per_s:,.0f} | {speed.cpu_us:.1f} | {speed.server_cpu_us:.1f} | {speed.memory_mib:.0f} |"
        for name, speed in middle.items()
    ]
    lines += ["", "| es_ingest is times as fast as | goal | by documents/s | goal met | by its CPU |"]
    lines += ["|---|--:|--:|---|--:|"]
    for name in (MEMORY, KAFKA):
        ratio, cpu = middle[OURS].per_s / middle[name].per_s, middle[name].cpu_us / middle[OURS].cpu_us
        lines.append(f"| {name} | {GOAL} | {ratio:.2f} | {'yes' if ratio >= GOAL else 'no'} | {cpu:.2f} |")
    return "\n".join(lines)


def play(bench: Bench, rounds: int, say: Callable[[str], object]) -> dict[str, list[Speed]]:
    """Every contender in each round, another one first each time."""
    speeds: dict[str, list[Speed]] = defaultdict(list)
    for number in range(rounds):
        first = number % len(CONTENDERS)
        for name in (*CONTENDERS[first:], *CONTENDERS[:first]):
            speeds[name].append(bench.run(name))
            speed = speeds[name][-1]
            say(f"round {number + 1}: {name:<40}{speed.per_s:>9,.0f} documents/s{speed.cpu_us:>8.1f} us of CPU each")
    return {name: speeds[name] for name in CONTENDERS}


def main() -> int:
    """Fill Kafka, play the rounds, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="about so many (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="bring the tables into docs/")
    options = parser.parse_args()
    events = payloads(options.events // 50, options.events)
    with tempfile.TemporaryDirectory(prefix="ebb-bench-") as name:
        directory = Path(name)
        stack = Stack(directory / "stack", services=("kafka", "elasticsearch"), free_ports=True)
        for server in stack.services:
            server.start_timeout_s = STUCK_AFTER_S
        with stack:
            try:
                bench = Bench(stack, directory, events)
                speeds = play(bench, options.rounds, lambda line: print(line, file=sys.stderr, flush=True))
            except Stuck as error:
                print(f"bench-ingest: {error}", file=sys.stderr)
                return 1
    text = as_markdown(len(events), options.rounds, speeds)
    print(text)
    if options.write:
        pages.write_section(SECTION, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
