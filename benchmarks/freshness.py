"""`make bench-freshness`: from produced to visible in Redis, at a steady rate, with the whole pipeline running.

Kafka, Redis, Elasticsearch, stream processor, scorer (with a trained model) and es_ingest run natively on this machine.
Every second live event of one partition of the eight is watched, from the time stamp that the producer gave it until a
reader finds it in Redis.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Any, Final, NamedTuple

import matplotlib as mpl
import redis
from kafka import KafkaConsumer, TopicPartition
from matplotlib.figure import Figure

from benchmarks import pages
from churn import topics
from stack.errors import StackError
from stack.kafka_offsets import lag, skip
from stack.pipeline import Pipeline, StepFailed
from stack.waiting import wait_until
from stack.workers import EsIngest, Scorer, StreamProcessor

SECTION: Final = "bench-freshness"
PLOT: Final = "performance-freshness.svg"
P50_GOAL_MS: Final = 50
P99_GOAL_MS: Final = 300
WARM_UP_S: Final = 10.0
REST_S: Final = 10.0
EVERY: Final = 2
POLL_MS: Final = 4
PATIENCE_S: Final = 3_600.0
TRAINING_REFUSED: Final = 2
# A small shop that is known well makes a model, however little is known of each customer who is played.
LEARNED_FROM: Final = ("--num_customers", "5000", "--num_events", "150000")

log = logging.getLogger(__name__)


class Waiting(NamedTuple):
    """An event that a reader has not found in Redis yet."""

    key: str
    offset: int
    produced_ms: int


class Measured(NamedTuple):
    """Milliseconds from produced to visible, of the watched events, and how many were produced per second."""

    delays_ms: list[float]
    events_per_s: float
    never_seen: int


class Watcher:
    """Reads the live events of one partition and looks for every second of them in Redis, every few milliseconds.

    An event is known only once it was read here, so a delay is never taken for shorter than it was. Longer waits
    between the looks, `poll_ms`, take less of the machine that is measured.
    """

    def __init__(self, bootstrap_servers: str, client: redis.Redis, poll_ms: int = POLL_MS) -> None:
        self._client = client
        self._poll_ms = poll_ms
        self._consumer = KafkaConsumer(bootstrap_servers=bootstrap_servers, fetch_max_wait_ms=poll_ms)
        self._partition = TopicPartition(topics.EVENTS, 0)
        self._consumer.assign([self._partition])
        self._go_to_end()
        self._waiting: list[Waiting] = []
        self._delays_ms: list[float] = []
        self._counted = 0

    def watch(self, seconds: float) -> list[float]:
        """Watch what comes within so many seconds from now on, until it is found; the delays in ms."""
        self._go_to_end()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self._turn()
        self._wait_for_the_rest()
        found, self._delays_ms = self._delays_ms, []
        return found

    def _go_to_end(self) -> None:
        self._consumer.seek_to_end(self._partition)
        self._consumer.position(self._partition)

    def _wait_for_the_rest(self) -> None:
        ends = time.monotonic() + REST_S
        while self._waiting and time.monotonic() < ends:
            time.sleep(self._poll_ms / 1000)
            self._look()

    def close(self) -> None:
        self._consumer.close()

    def measure(self, seconds: float, is_over: Callable[[], bool]) -> Measured:
        """Watch for so many seconds after the warm-up; `is_over` says that no more events come."""
        while not self._read() and not is_over():
            pass
        warm_at = time.monotonic() + WARM_UP_S
        while time.monotonic() < warm_at:
            self._turn()
        self._counted, self._delays_ms = 0, []
        began = time.monotonic()
        while time.monotonic() < began + seconds and not is_over():
            self._turn()
        rate = self._counted * topics.PARTITIONS / (time.monotonic() - began)
        self._wait_for_the_rest()
        self._consumer.close()
        return Measured(self._delays_ms, rate, len(self._waiting))

    def _turn(self) -> None:
        for record in self._read():
            self._counted += 1
            if record.offset % EVERY == 0:
                self._waiting.append(Waiting(f"customer:{record.key.decode()}", record.offset, record.timestamp))
        self._look()

    def _read(self) -> list[Any]:
        return [record for records in self._consumer.poll(timeout_ms=self._poll_ms).values() for record in records]

    def _look(self) -> None:
        if not self._waiting:
            return
        pipeline = self._client.pipeline(transaction=False)
        for each in self._waiting:
            pipeline.hget(each.key, "applied")
        found = pipeline.execute()
        now_ms = time.time() * 1000
        still = []
        for each, applied in zip(self._waiting, found, strict=True):
            if applied is not None and int(applied.rpartition(b":")[2]) >= each.offset:
                self._delays_ms.append(now_ms - each.produced_ms)
            else:
                still.append(each)
        self._waiting = still


class Rehearsal:
    """The pipeline in a temporary directory, brought to where a shop is after a year."""

    def __init__(self, directory: Path, customers: int, events: int) -> None:
        self._history = directory / "history"
        self._models = directory / "models"
        self.pipeline = Pipeline(
            directory / "stack", {"HISTORY_DIR": str(self._history), "MODEL_DIR": str(self._models)}, free_ports=True
        )
        for server in self.pipeline.servers.services:
            server.start_timeout_s = PATIENCE_S  # a busy machine is no reason to give up what takes an hour
        self.has_model = False
        until = datetime.now(UTC).replace(second=0, microsecond=0, tzinfo=None).isoformat() + "Z"
        self._until = ("--until", until)
        self.shop = ("--num_customers", str(customers), "--num_events", str(events), *self._until)
        self._simulated = ("simulate", *self.shop, "--topic", topics.EVENTS)

    def play_past(self) -> None:
        """Bring the shop's history to topic `events`."""
        self.pipeline.run("producer", *self._simulated)

    def live(self, rate: float) -> tuple[str, ...]:
        """The producer's arguments for so many events a second from now on."""
        return (*self._simulated, "--live-only", "--rate", f"{rate:g}")

    def prepare(self) -> None:
        """Raises `StackError` where a step fails."""
        self.pipeline.servers.start()
        self.pipeline.prepare()
        for kind in (StreamProcessor, EsIngest):
            self.pipeline.worker(kind).start()
        self.play_past()
        self.pipeline.run("producer", "simulate", *LEARNED_FROM, *self._until, "--output", str(self._history))
        directories = ("--history", str(self._history), "--out", str(self._models))
        self.has_model = self.pipeline.run("training", *directories, accept=(0, TRAINING_REFUSED)) == 0
        # A scorer that starts scores everybody; what it was told of them before would only cost it time.
        skip(self.pipeline.servers.kafka.address, "scorer", *topics.READ_BY["scorer"])
        self.pipeline.worker(Scorer).start()
        self._wait_for("stream-processor")
        log.info("waiting until everybody is scored")
        if not wait_until(self.pipeline.is_everybody_scored, PATIENCE_S, poll_s=5.0):
            raise StepFailed(f"not everybody is scored after {PATIENCE_S:.0f} s")
        self._wait_for("scorer")
        self._wait_for("es-ingest")

    def _wait_for(self, group: str) -> None:
        address = self.pipeline.servers.kafka.address
        names = topics.READ_BY[group]
        log.info("waiting until %s has come to the end of the history", group)
        if not wait_until(lambda: lag(address, group, *names) == 0, PATIENCE_S, poll_s=1.0):
            raise StepFailed(f"{group} has not come to the end of {', '.join(names)} after {PATIENCE_S:.0f} s")


@contextmanager
def rehearsed(customers: int, events: int) -> Iterator[Rehearsal]:
    """A rehearsal that is cleared away in the end."""
    with tempfile.TemporaryDirectory(prefix="ebb-bench-") as name:
        rehearsal = Rehearsal(Path(name), customers, events)
        try:
            rehearsal.prepare()
            yield rehearsal
        finally:
            rehearsal.pipeline.kill()


def measure(rehearsal: Rehearsal, rate: float, seconds: float) -> Measured:
    """Play live events and watch them."""
    servers = rehearsal.pipeline.servers
    watcher = Watcher(servers.kafka.address, redis.Redis.from_url(servers.redis.url))
    live = (*rehearsal.live(rate), "--for", str(seconds + WARM_UP_S + 5))
    with ThreadPoolExecutor(1) as beside:
        playing: Future[int] = beside.submit(rehearsal.pipeline.run, "producer", *live)
        measured = watcher.measure(seconds, playing.done)
        playing.result()
    return measured


def as_markdown(measured: Measured, rate: float, seconds: float, has_model: bool) -> str:
    """A sentence and a table."""
    cuts = quantiles(measured.delays_ms, n=1000, method="inclusive")
    p50, p90, p99, p999 = cuts[499], cuts[899], cuts[989], cuts[998]
    watched = f"{len(measured.delays_ms):,} events watched for {seconds:.0f} s at {measured.events_per_s:,.0f} events/s"
    lines = [
        f"{watched} ({rate:,.0f} asked for), {measured.never_seen} of them never seen.",
        f"{pages.machine()}, everything on them; the scorer works {'with' if has_model else 'without'} a model.",
        "",
        "| produced to visible in Redis | p50 | p90 | p99 | p99.9 | most |",
        "|---|--:|--:|--:|--:|--:|",
        f"| ms | {p50:.0f} | {p90:.0f} | {p99:.0f} | {p999:.0f} | {max(measured.delays_ms):.0f} |",
        f"| goal, ms | {P50_GOAL_MS} | | {P99_GOAL_MS} | | |",
        f"| met | {_yes(p50 < P50_GOAL_MS)} | | {_yes(p99 < P99_GOAL_MS)} | | |",
    ]
    return "\n".join(lines)


def _yes(is_met: bool) -> str:
    return "yes" if is_met else "no"


def plot(measured: Measured) -> Figure:
    """A histogram with the goals; the last bar holds everything beyond it."""
    mpl.rcParams["svg.hashsalt"] = SECTION
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    width_ms, last_ms = 5, 400
    axes.hist(
        [min(delay, last_ms - 1) for delay in measured.delays_ms], range(0, last_ms + 1, width_ms), color="#7a8b99"
    )
    for goal_ms, name in ((P50_GOAL_MS, "goal of p50"), (P99_GOAL_MS, "goal of p99")):
        axes.axvline(goal_ms, color="#d1495b", linestyle="--")
        axes.text(goal_ms + 3, axes.get_ylim()[1] * 0.92, name, color="#d1495b")
    axes.set_xlabel("ms from produced to visible in Redis")
    axes.set_ylabel("events")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{measured.events_per_s:,.0f} events/s, {pages.machine()}", fontsize=10)
    return figure


def main() -> int:
    """Prepare, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.freshness", description=__doc__)
    parser.add_argument("--rate", type=float, default=2_000, help="live events per second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=90, help="after the warm-up (default: %(default)s)")
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=150_000, help="of the history (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="bring table and plot into docs/")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("kafka").setLevel(logging.WARNING)
    try:
        with rehearsed(options.customers, options.events) as rehearsal:
            measured = measure(rehearsal, options.rate, options.seconds)
    except StackError as error:
        print(f"bench-freshness: {error}", file=sys.stderr)
        return 1
    if len(measured.delays_ms) < 2:
        print("bench-freshness: too few live events were seen", file=sys.stderr)
        return 1
    text = as_markdown(measured, options.rate, options.seconds, rehearsal.has_model)
    print(text)
    print(
        json.dumps(
            {"delays_ms": sorted(round(delay) for delay in measured.delays_ms)[:: len(measured.delays_ms) // 100 or 1]}
        )
    )
    if options.write:
        pages.write_section(SECTION, f"{text}\n\n![histogram]({PLOT})")
        plot(measured).savefig(pages.DOCS / PLOT, metadata={"Date": None})
    return 0


if __name__ == "__main__":
    sys.exit(main())
