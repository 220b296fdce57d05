"""`make soak`: the whole pipeline at a steady rate for an hour: does its memory stay flat, does it stay fresh?

Memory is what a process holds for itself (`Pss_Anon` of /proc): the files of an index that it has mapped do not count,
and what Redis shares with its copy, while that rewrites the file, counts once.
A state keeps the events of the customer's last day, so a shop that has just opened grows through its first day by
design. This one has been open for days: of the four that are simulated, the first half is its history, the second half
is played in the hour. What is left of growth, by new customers and fuller states, is measured at the states.
"""

import argparse
import logging
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any, Final, NamedTuple

import matplotlib as mpl
import redis
from elasticsearch import Elasticsearch
from kafka.errors import KafkaError
from matplotlib.figure import Figure
from pyarrow import Table, compute, parquet
from pyarrow.dataset import dataset
from scipy.stats import linregress
from scipy.stats import t as student

from benchmarks import pages
from benchmarks.freshness import PATIENCE_S, Rehearsal, Watcher
from benchmarks.stream.processes import cpu_s
from churn import state, topics
from churn.settings import StreamProcessorSettings
from stack.errors import StackError
from stack.kafka_offsets import lag, produced
from stack.processes import group_members
from stack.service import Service
from stack.waiting import wait_until
from stack.workers import WORKERS, LiveProducer, Worker
from stream_processor.fold import MAX_AT_HAND, MAX_EVENTS_AT_HAND

SECTION: Final = "soak"
PLOT: Final = "performance-soak.svg"
SAMPLE_S: Final = 20.0
# Of each sample: to watch all the time would take a quarter of a core from those who are watched.
WATCHED_S: Final = 5.0
POLL_MS: Final = 20
MINUTE_S: Final = 60.0
SLICE_MINUTES: Final = 10
STATES_SAMPLED: Final = 1_000
DAYS: Final = 4
# Of the days' events nearly half are live: the second half of the time without those who came only then.
PLANNED: Final = 2.25
CONFIDENCE: Final = 0.95
_MIB: Final = 2**20

log = logging.getLogger(__name__)


class States(NamedTuple):
    """What states take up, by some of them, in bytes each: packed, as objects of Python, and in Redis with their cards.

    `recent` are the events of the last day that a state holds.
    """

    customers: int
    packed: float
    unpacked: float
    in_redis: float
    recent: float

    @property
    def in_redis_mib(self) -> float:
        return self.customers * self.in_redis / _MIB

    @property
    def in_processor_mib(self) -> float:
        """Bytes of those it remembers, and objects of those at hand."""
        remembered = min(self.customers, StreamProcessorSettings().stream_max_customers)
        at_hand = min(self.customers, MAX_AT_HAND, MAX_EVENTS_AT_HAND / max(self.recent, 1))
        return (remembered * self.packed + at_hand * self.unpacked) / _MIB


class Minute(NamedTuple):
    """At `at_h` hours from the start, of the minute until then: memory (MiB) and cores of each process, delays (ms).

    `unscored` are the notices that the scorer has still to commit.
    """

    at_h: float
    memory_mib: dict[str, float]
    cores: dict[str, float]
    delays_ms: list[float]
    events: int
    unscored: int


class Slope(NamedTuple):
    """MiB per hour by a line through the minutes; the interval holds it with 95 % if they are independent."""

    per_h: float
    low: float
    high: float


class Days(Rehearsal):
    """A few days of customers who were all there in the first half, which is the history; the other is played live."""

    def __init__(self, directory: Path, customers: int, live_events: int) -> None:
        super().__init__(directory, customers, round(PLANNED * live_events))
        self._live_events = live_events
        self._simulated_days, self._past, self._live = (directory / name for name in ("simulated", "past", "live"))

    def play_past(self) -> None:
        """Raises `StackError` where the second half of the days has fewer than the wanted live events."""
        output = ("--output", str(self._simulated_days))
        self.pipeline.run("producer", "simulate", *self.shop, "--days", str(DAYS), *output)
        live_events = split(self._simulated_days, self._past, self._live)
        if live_events < self._live_events:
            raise StackError(f"{live_events:,} live events were simulated, {self._live_events:,} are wanted")
        self.pipeline.run("producer", *replay(self._past))

    def live(self, rate: float) -> tuple[str, ...]:
        """The second half of the days."""
        return (*replay(self._live), "--rate", f"{rate:g}")


def replay(days: Path) -> tuple[str, ...]:
    """The producer's arguments for all events of this history."""
    return ("replay", str(days), "--format", "ebb", "--topic", topics.EVENTS)


def split(simulated: Path, past: Path, live: Path) -> int:
    """Copy both halves of the time, of customers who are in the first one; how many events the second one has."""
    files = sorted(simulated.glob("date=*/*.parquet"))
    seen = dataset(files).to_table(["customer_id", "ingested_at"])
    begin, end = (moment.as_py() for moment in compute.min_max(seen["ingested_at"]).values())
    is_past = compute.field("ingested_at") < begin + (end - begin) / 2
    regulars = compute.unique(seen.filter(is_past)["customer_id"])
    count = 0
    for file in files:
        events = parquet.read_table(file, partitioning=None).filter(compute.field("customer_id").isin(regulars))
        count += _copy(events.filter(~is_past), live / file.relative_to(simulated))
        _copy(events.filter(is_past), past / file.relative_to(simulated))
    return count


def _copy(events: Table, path: Path) -> int:
    if events.num_rows:
        path.parent.mkdir(parents=True)
        parquet.write_table(events, path)
    return int(events.num_rows)


class Soak:
    """A pipeline under load, looked at minute by minute."""

    def __init__(self, rehearsal: Rehearsal, rate: float) -> None:
        pipeline = rehearsal.pipeline
        self._servers = pipeline.servers
        self._producer = LiveProducer(pipeline.servers.directory, pipeline.variables, rehearsal.live(rate))
        self._services: list[Service] = [
            self._producer,
            *(pipeline.worker(kind) for kind in WORKERS),
            *pipeline.servers.services,
        ]
        self._client = redis.Redis.from_url(pipeline.servers.redis.url)
        self._elasticsearch = Elasticsearch(pipeline.servers.elasticsearch.url)
        self.began_at = datetime.now(UTC)
        self.minutes: list[Minute] = []
        self.states: list[States] = []

    def run(self, minutes: int, warm_up: int) -> None:
        """Everything from the first live event on, with a look at the states after the warm-up and at the end."""
        address = self._servers.kafka.address
        past = produced(address, topics.EVENTS)
        self._producer.start()
        if not wait_until(lambda: produced(address, topics.EVENTS) > past, PATIENCE_S, poll_s=1.0):
            raise StackError(f"the producer has sent nothing for {PATIENCE_S:.0f} s")
        self.began_at = datetime.now(UTC)
        began_s = time.monotonic()
        watcher = Watcher(address, self._client, POLL_MS)
        # To add up the pages of all processes takes some tenths of a second, in which nothing would be watched.
        with ThreadPoolExecutor(1) as beside:
            looks = []
            for number in range(1, minutes + 1):
                self.minutes.append(self._minute(number, began_s, watcher, beside))
                log.info("minute %d: %s", number, self._told(self.minutes[-1]))
                if number in (warm_up, minutes):
                    looks.append(beside.submit(self._look_at_states))
        self.states = [look.result() for look in looks]
        watcher.close()

    def _minute(self, number: int, began_s: float, watcher: Watcher, beside: ThreadPoolExecutor) -> Minute:
        address = self._servers.kafka.address
        samples, delays = [], []
        before, looked_s, spent_s = produced(address, topics.EVENTS), time.monotonic(), self._cpu_s()
        ends_s = began_s + number * MINUTE_S
        while time.monotonic() < ends_s:
            next_s = min(ends_s, time.monotonic() + SAMPLE_S)
            delays += watcher.watch(WATCHED_S)
            samples.append(beside.submit(self._memory_mib))
            time.sleep(max(0.0, next_s - time.monotonic()))
        held = [sample.result() for sample in samples]
        memory = {name: mean(sample[name] for sample in held) for name in held[0]}
        events = produced(address, topics.EVENTS) - before
        now_s, spent_by_now_s = time.monotonic(), self._cpu_s()
        cores = {name: max(0.0, spent_by_now_s[name] - spent_s[name]) / (now_s - looked_s) for name in spent_s}
        unscored = lag(address, "scorer", *topics.READ_BY["scorer"])
        return Minute((now_s - began_s) / 3600, memory, cores, delays, events, unscored)

    def _memory_mib(self) -> dict[str, float]:
        return {service.name: sum(map(own_memory_mib, _processes(service))) for service in self._services}

    def _cpu_s(self) -> dict[str, float]:
        return {service.name: sum(map(own_cpu_s, _processes(service))) for service in self._services}

    def _told(self, minute: Minute) -> str:
        used = ", ".join(f"{name} {mib:.0f} MiB {minute.cores[name]:.2f}" for name, mib in minute.memory_mib.items())
        return (
            f"{minute.events / MINUTE_S:,.0f} events/s, p50 {_cut(minute.delays_ms, 50)} ms, "
            f"p99 {_cut(minute.delays_ms, 99)} ms, {minute.unscored:,} unscored; own memory and cores: {used}"
        )

    def _look_at_states(self) -> States:
        keys: list[bytes] = list(islice(self._client.scan_iter("customer:*", count=1_000), STATES_SAMPLED))
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.hget(key, "state")
        packed: list[Any] = [each for each in pipeline.execute() if each]
        for key in keys:
            pipeline.memory_usage(key, samples=0)
        in_redis = mean(pipeline.execute())
        tracemalloc.start()
        unpacked = [state.unpack(each) for each in packed]
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        customers = int(self._client.zcard("risk:due"))
        recent = mean(len(each.recent) for each in unpacked)
        return States(customers, mean(map(len, packed)), used / len(unpacked), in_redis, recent)

    def lags(self) -> dict[str, int]:
        """Messages that each group has still to commit."""
        address = self._servers.kafka.address
        try:
            return {group: lag(address, group, *names) for group, names in topics.READ_BY.items()}
        except KafkaError:
            return {}

    def indexed(self) -> list[dict[str, Any]]:
        """What es_ingest told of the events since the start, in order of time."""
        self._elasticsearch.indices.refresh(index="pipeline-*")
        since = {"range": {"@timestamp": {"gte": self.began_at.isoformat()}}}
        query = {"bool": {"filter": [{"term": {"kind": "events"}}, since]}}
        answer = self._elasticsearch.search(index="pipeline-*", query=query, sort="@timestamp", size=10_000)
        return [hit["_source"] for hit in answer["hits"]["hits"]]

    def close(self) -> None:
        self._producer.kill()
        self._client.close()
        self._elasticsearch.close()


def _processes(service: Service) -> list[int]:
    """Its processes, without the supervisor of a service of Ebb."""
    members = group_members(service.pid)
    return [pid for pid in members if not (isinstance(service, Worker) and pid == service.pid)]


def own_memory_mib(pid: int) -> float:
    """`Pss_Anon`; 0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:")) / 1024


def own_cpu_s(pid: int) -> float:
    """CPU seconds until now; 0 of a process that has ended."""
    try:
        return cpu_s(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def slope(minutes: Sequence[Minute], name: str) -> Slope:
    """Of the memory of this process."""
    fitted = linregress([each.at_h for each in minutes], [each.memory_mib[name] for each in minutes])
    margin = fitted.stderr * student.ppf((1 + CONFIDENCE) / 2, len(minutes) - 2)
    return Slope(fitted.slope, fitted.slope - margin, fitted.slope + margin)


def memory_table(minutes: Sequence[Minute], states: Sequence[States]) -> list[str]:
    """One row per process, over the minutes after the warm-up."""
    hours = max(minutes[-1].at_h - minutes[0].at_h, 1e-9)
    grown = {
        "stream_processor": (states[-1].in_processor_mib - states[0].in_processor_mib) / hours,
        "redis": (states[-1].in_redis_mib - states[0].in_redis_mib) / hours,
    }
    lines = [
        "| memory, MiB | warmed up | at the end | most | slope per hour | 95 % interval | of it customers | cores |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in minutes[0].memory_mib:
        held = [each.memory_mib[name] for each in minutes]
        line = slope(minutes, name)
        by_states = f"{grown[name]:+.1f}" if name in grown else ""
        lines.append(
            f"| {name} | {held[0]:.0f} | {held[-1]:.0f} | {max(held):.0f} | {line.per_h:+.1f} "
            f"| {line.low:+.1f} to {line.high:+.1f} | {by_states} | {mean(each.cores[name] for each in minutes):.2f} |"
        )
    return lines


def freshness_table(minutes: Sequence[Minute], indexed: Sequence[Mapping[str, Any]], began_at: datetime) -> list[str]:
    """Ten minutes a row; of the index the middle p50 and the worst p99 of the 30 seconds that es_ingest tells of."""
    lines = [
        "| minutes | events/s | Redis, p50 ms | p99 ms | unscored | Elasticsearch, p50 ms | worst p99 ms | unindexed |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for first in range(0, len(minutes), SLICE_MINUTES):
        part = minutes[first : first + SLICE_MINUTES]
        delays = [delay for minute in part for delay in minute.delays_ms]
        told = [each for each in indexed if first <= _minutes_since(began_at, each) < first + SLICE_MINUTES]
        fresh = [each for each in told if "freshness_p50_s" in each]
        lines.append(
            f"| {first + 1} to {first + len(part)} | {mean(each.events for each in part) / MINUTE_S:,.0f} "
            f"| {_cut(delays, 50)} | {_cut(delays, 99)} | {max(each.unscored for each in part):,} "
            f"| {median([each['freshness_p50_s'] for each in fresh] or [0]) * 1000:.0f} "
            f"| {max([each['freshness_p99_s'] for each in fresh], default=0) * 1000:.0f} "
            f"| {max([each['lag'] for each in told], default=0):,} |"
        )
    return lines


def _minutes_since(began_at: datetime, told: Mapping[str, Any]) -> float:
    return (datetime.fromisoformat(told["@timestamp"]) - began_at).total_seconds() / 60


def _cut(delays_ms: Sequence[float], share: int) -> str:
    return f"{quantiles(delays_ms, n=100, method='inclusive')[share - 1]:.0f}" if len(delays_ms) > 1 else ""


def plot(minutes: Sequence[Minute], warm_up: int) -> Figure:
    """Memory of every process above, freshness below."""
    mpl.rcParams["svg.hashsalt"] = SECTION
    figure = Figure(figsize=(9, 6), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    at_min = [each.at_h * 60 for each in minutes]
    for name in minutes[0].memory_mib:
        above.plot(at_min, [each.memory_mib[name] for each in minutes], label=name)
    above.set_ylabel("own memory, MiB")
    above.set_ylim(bottom=0)
    above.legend(fontsize=8, ncols=4, frameon=False)
    for share, color in ((50, "#7a8b99"), (99, "#d1495b")):
        below.plot(at_min, [float(_cut(each.delays_ms, share) or "nan") for each in minutes], color, label=f"p{share}")
    below.set_ylabel("produced to visible in Redis, ms")
    below.set_xlabel("minutes")
    below.set_yscale("log")
    below.legend(fontsize=8, frameon=False)
    for axes in (above, below):
        axes.axvline(warm_up, color="#bbbbbb", linestyle=":")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def as_markdown(soak: Soak, warm_up: int, rate: float, *, has_model: bool) -> str:
    """Two sentences, two tables."""
    minutes, first, last = soak.minutes, soak.states[0], soak.states[-1]
    behind = ", ".join(f"{group} {messages:,}" for group, messages in soak.lags().items())
    load = (
        f"{sum(each.events for each in minutes):,} events in {len(minutes)} minutes ({rate:,.0f}/s asked for) of "
        f"{last.customers:,} customers; {pages.machine()}, everything on them; the scorer works "
        f"{'with' if has_model else 'without'} a model. Messages not committed at the end: {behind}."
    )
    growth = (
        f"A state has {first.packed:,.0f} bytes after {warm_up} minutes and {last.packed:,.0f} at the end (as objects "
        f"{first.unpacked:,.0f} and {last.unpacked:,.0f})."
    )
    memory = memory_table(minutes[warm_up - 1 :], soak.states)
    return "\n".join([load, "", growth, "", *memory, "", *freshness_table(minutes, soak.indexed(), soak.began_at)])


def main() -> int:
    """Prepare, soak, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=60, help="with the warm-up (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, help="minutes that do not count for the slopes (default: a quarter)")
    parser.add_argument("--rate", type=float, default=1_000, help="live events per second (default: %(default)s)")
    parser.add_argument(
        "--customers", type=int, default=200_000, help="each is busier with fewer (default: %(default)s)"
    )
    parser.add_argument("--write", action="store_true", help="bring tables and plot into docs/")
    options = parser.parse_args()
    warm_up = max(1, options.minutes // 4) if options.warm_up is None else options.warm_up
    if options.minutes < warm_up + 3:
        parser.error("three minutes after the warm-up are the least for a slope")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for noisy in ("kafka", "elastic_transport"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="ebb-soak-") as name:
        rehearsal = Days(Path(name), options.customers, round(options.rate * (options.minutes + 1) * MINUTE_S))
        try:
            rehearsal.prepare()
            soak = Soak(rehearsal, options.rate)
            try:
                soak.run(options.minutes, warm_up)
                text = as_markdown(soak, warm_up, options.rate, has_model=rehearsal.has_model)
            finally:
                soak.close()
        except StackError as error:
            print(f"soak: {error}", file=sys.stderr)
            return 1
        finally:
            rehearsal.pipeline.kill()
    print(text)
    if options.write:
        pages.write_section(SECTION, f"{text}\n\n![memory and freshness]({PLOT})")
        plot(soak.minutes, warm_up).savefig(pages.DOCS / PLOT, metadata={"Date": None})
    return 0


if __name__ == "__main__":
    sys.exit(main())
