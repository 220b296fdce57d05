"""`python -m stack.demo`: the whole pipeline on this machine, from a history to a live risk list, measured on the way.

Plays a simulated history, or a real file, through the real servers and services, trains the model, follows a live tail,
prints what came of it and leaves everything running.
"""

import argparse
import gzip
import json
import logging
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pyarrow import parquet

from churn import topics
from stack.errors import StackError
from stack.freshness import Freshness, FreshnessProbe, describe
from stack.kafka_offsets import lag, produced
from stack.pipeline import Pipeline, StepFailed
from stack.progress import show_progress
from stack.waiting import wait_until
from stack.workers import EsIngest, Scorer, StreamProcessor

log = logging.getLogger("stack")

ROOT = Path(".ebb")
TRAINING_REFUSED = 2
PATIENCE_S = 600.0
LIVE_RATE = 200
LIVE_SECONDS = 20
TAIL_ROWS = LIVE_RATE * LIVE_SECONDS


class Demo:
    """One run: `source` are the arguments of the producer that name the history."""

    def __init__(self, file: Path | None, file_format: str, customers: int, events: int) -> None:
        self._file = file
        self._format = file_format
        self._simulated = [
            *("simulate", "--num_customers", str(customers), "--num_events", str(events)),
            *("--until", datetime.now(UTC).replace(second=0, microsecond=0).isoformat().replace("+00:00", "Z")),
        ]
        # Absolute, because a service runs in a directory of its own.
        self._history = (ROOT / "history").absolute()
        self._models = (ROOT / "models").absolute()
        paths = {"HISTORY_DIR": str(self._history), "MODEL_DIR": str(self._models)}
        self._pipeline = Pipeline(ROOT / "stack", paths)

    def run(self) -> None:
        """Everything in order; raises `StackError` where a step fails."""
        self._start_anew()
        processed, seconds = self._play_history()
        has_model = self._train()
        self._pipeline.worker(Scorer).start()
        self._wait("every customer has a risk card", self._pipeline.is_everybody_scored)
        freshness = self._follow_live_tail()
        self._wait("everything is indexed", self._is_everything_indexed)
        self._report(processed / seconds, freshness, has_model)

    def _start_anew(self) -> None:
        log.info("removing what an earlier demo left in %s", ROOT)
        self._pipeline.purge()
        for leftover in (self._history, self._models):
            shutil.rmtree(leftover, ignore_errors=True)
        self._pipeline.servers.start()
        self._pipeline.prepare()
        for kind in (StreamProcessor, EsIngest):
            self._pipeline.worker(kind).start()

    def _play_history(self) -> tuple[int, float]:
        began = time.monotonic()
        self._pipeline.run("producer", *self._history_arguments())
        self._wait("the history is folded", lambda: self._counted() >= self._produced())
        seconds = time.monotonic() - began
        log.info("history folded: %d events in %.1f s", self._counted(), seconds)
        return self._counted(), seconds

    def _history_arguments(self) -> list[str]:
        sinks = ["--topic", topics.EVENTS, "--output", str(self._history)]
        if self._file is None:
            return [*self._simulated, *sinks]
        return [*self._replayed(self._file), "--limit", str(self._rows_before_tail(self._file)), *sinks]

    def _replayed(self, file: Path) -> list[str]:
        return ["replay", str(file), "--format", self._format, "--shift-to-now"]

    def _rows_before_tail(self, file: Path) -> int:
        """Rows of the file to play as history; the rest is played live, as the model is already there."""
        files = [path for path in file.rglob("[!_]*") if path.is_file()] if file.is_dir() else [file]
        rows = sum(map(_rows_of, files))
        return max(1, rows - min(TAIL_ROWS, rows // 10))

    def _train(self) -> bool:
        log.info("training")
        arguments = ("--history", str(self._history), "--out", str(self._models))
        code = self._pipeline.run("training", *arguments, accept=(0, TRAINING_REFUSED))
        return code == 0

    def _follow_live_tail(self) -> Freshness:
        log.info("following live events, %d a second", LIVE_RATE)
        variables = self._pipeline.variables
        probe = FreshnessProbe(variables["KAFKA_BOOTSTRAP_SERVERS"], variables["REDIS_URL"])
        probe.start()
        self._pipeline.run("producer", *self._live_arguments())
        self._wait("the live events are folded", lambda: self._counted() >= self._produced())
        return probe.stop()

    def _live_arguments(self) -> list[str]:
        if self._file is None:
            live = ["--live-only", "--rate", str(LIVE_RATE), "--for", str(LIVE_SECONDS), "--topic", topics.EVENTS]
            return [*self._simulated, *live]
        # The same replay, without the limit: it goes on after the rows that the topic holds already.
        return [*self._replayed(self._file), "--rate", str(LIVE_RATE), "--topic", topics.EVENTS]

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        log.info("waiting until %s", what)
        if not wait_until(condition, PATIENCE_S, poll_s=0.2):
            raise StepFailed(f"waited {PATIENCE_S:.0f} s in vain until {what}; the logs lie below {ROOT / 'stack'}")

    def _counted(self) -> int:
        """Events that the stream processor has dealt with: applied, skipped or set aside."""
        with urllib.request.urlopen(self._pipeline.worker(StreamProcessor).url, timeout=10) as answer:
            health = json.load(answer)
        return int(health["applied"] + health["skipped"] + health["refused"])

    def _produced(self) -> int:
        return produced(self._pipeline.variables["KAFKA_BOOTSTRAP_SERVERS"], topics.EVENTS)

    def _is_everything_indexed(self) -> bool:
        address = self._pipeline.variables["KAFKA_BOOTSTRAP_SERVERS"]
        return lag(address, "es-ingest", *topics.READ_BY["es-ingest"]) == 0

    def _report(self, events_per_s: float, freshness: Freshness, has_model: bool) -> None:
        print(f"\nThroughput: {events_per_s:,.0f} events/s from the producer's start to the last state in Redis")
        print(f"Freshness:  produced -> state in Redis {describe(freshness.to_state_s)}")
        print(f"            produced -> risk in Redis  {describe(freshness.to_risk_s)}\n")
        self._pipeline.run("scorer", "top", "20")
        if not has_model:
            print("No model was trained (see above), so no risk is shown: every card says `insufficient_data`.")
        print("\nThe pipeline stays up: `python -m stack status` shows where, `make down` stops it.")


def _rows_of(file: Path) -> int:
    """The rows of a Parquet file, or about as many as a text has lines."""
    if file.suffix in (".parquet", ".pq"):
        return int(parquet.read_metadata(file).num_rows)
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        return sum(1 for _ in stream)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m stack.demo", description=__doc__)
    parser.add_argument("--input", type=Path, help="a real file to play instead of a simulation")
    parser.add_argument("--format", help="its format: rees46, online-retail, retailrocket, cdnow, sessions or ebb")
    parser.add_argument("--customers", type=int, default=5_000, help="customers to simulate (default: %(default)s)")
    parser.add_argument("--events", type=int, default=150_000, help="events to simulate (default: %(default)s)")
    options = parser.parse_args()
    if (options.input is None) != (options.format is None):
        parser.error("--input and --format go together")
    try:
        Demo(options.input, options.format or "", options.customers, options.events).run()
    except (StackError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    show_progress()
    sys.exit(main())
