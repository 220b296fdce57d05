"""`make bench-sizes`: bytes of a customer and of an event in every place, and what a million customers would take up.

The whole pipeline plays a simulated shop; then everything is asked for its size. Beyond that is multiplication.
"""

import argparse
import json
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Final, NamedTuple

import redis

from benchmarks import pages
from churn import topics
from stack.kafka_offsets import lag, produced
from stack.pipeline import Pipeline, StepFailed
from stack.waiting import wait_until

PAGE: Final = pages.DOCS / "operations.md"
SECTION: Final = "bench-sizes"
PATIENCE_S: Final = 900.0
CUSTOMERS: Final = (1_000_000, 100_000_000)
EVENTS_EACH: Final = 50
GB: Final = 1e9


class Sizes(NamedTuple):
    """Bytes of one customer, or one event, in each place."""

    redis_customer: float
    features_customer: float
    events_event: float
    index_event: float
    index_card: float
    history_event: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__)
    parser.add_argument("--customers", type=int, default=5_000)
    parser.add_argument("--events", type=int, default=250_000)
    parser.add_argument("--write", action="store_true", help="bring the tables into docs/operations.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ebb-bench-") as name:
        pipeline = Pipeline(Path(name) / "stack", {"MODEL_DIR": f"{name}/models", "HISTORY_DIR": f"{name}/history"})
        try:
            pipeline.start()
            text = measure(pipeline, Path(name) / "history", options.customers, options.events)
        finally:
            pipeline.kill()
    print(text)
    if options.write:
        pages.write_section(SECTION, text, PAGE)
    return 0


def measure(pipeline: Pipeline, history: Path, customers: int, events: int) -> str:
    """Play the shop, wait until everything is done with it, and ask for sizes."""
    client = redis.Redis.from_url(pipeline.variables["REDIS_URL"])
    empty = client.info("memory")["used_memory"]
    shop = ["simulate", "--num_customers", str(customers), "--num_events", str(events), "--output", str(history)]
    pipeline.run("producer", *shop, "--topic", topics.EVENTS)
    if not wait_until(lambda: _is_done(pipeline), PATIENCE_S, poll_s=1):
        raise StepFailed(f"not everything was folded, scored and indexed within {PATIENCE_S:g} s")
    kafka, log_dirs = pipeline.variables["KAFKA_BOOTSTRAP_SERVERS"], pipeline.servers.kafka.data_directory
    known = sum(1 for _ in client.scan_iter("customer:*", count=1000))
    indices = _indices(pipeline)
    sizes = Sizes(
        redis_customer=(client.info("memory")["used_memory"] - empty) / known,
        features_customer=_mean_state(client),
        events_event=_bytes_below(log_dirs, f"{topics.EVENTS}-*/*.log") / produced(kafka, topics.EVENTS),
        index_event=_per_document(indices, "events-"),
        index_card=_per_document(indices, "customers"),
        history_event=_bytes_below(history, "date=*/*.parquet") / events,
    )
    client.close()
    return "\n".join([*_measured(sizes, known, events), "", *_multiplied(sizes)])


def _is_done(pipeline: Pipeline) -> bool:
    kafka = pipeline.variables["KAFKA_BOOTSTRAP_SERVERS"]
    return not any(lag(kafka, group, *names) for group, names in topics.READ_BY.items())


def _mean_state(client: redis.Redis) -> float:
    lengths = [client.hstrlen(key, "state") for key in client.scan_iter("customer:*", count=1000)]
    return sum(lengths) / len(lengths)


def _bytes_below(directory: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in directory.glob(pattern))


def _indices(pipeline: Pipeline) -> dict[str, tuple[int, int]]:
    """Documents and bytes of every index, merged to one segment as a month that is over comes to be."""
    url = pipeline.variables["ELASTICSEARCH_URL"]
    for action in ("_forcemerge?max_num_segments=1", "_flush"):
        urllib.request.urlopen(urllib.request.Request(f"{url}/{action}", method="POST"), timeout=300).close()
    with urllib.request.urlopen(f"{url}/_stats/docs,store", timeout=60) as answer:
        found = json.load(answer)["indices"]
    return {
        name: (each["primaries"]["docs"]["count"], each["primaries"]["store"]["size_in_bytes"])
        for name, each in found.items()
    }


def _per_document(indices: dict[str, tuple[int, int]], prefix: str) -> float:
    chosen = [counted for name, counted in indices.items() if name.startswith(prefix)]
    return sum(size for _, size in chosen) / sum(documents for documents, _ in chosen)


def _measured(sizes: Sizes, customers: int, events: int) -> list[str]:
    return [
        f"{events:,} events of {customers:,} customers, {events / customers:.0f} each; {pages.machine()}.",
        "",
        "| | bytes |",
        "|---|--:|",
        f"| Redis, a customer with state, card and ranks | {sizes.redis_customer:,.0f} |",
        f"| topic `features`, a customer (once compacted) | {sizes.features_customer:,.0f} |",
        f"| topic `events`, an event (packed by the producer) | {sizes.events_event:,.0f} |",
        f"| index `events-*`, an event, one copy | {sizes.index_event:,.0f} |",
        f"| index `customers` or `risk-*`, a card, one copy | {sizes.index_card:,.0f} |",
        f"| history, an event | {sizes.history_event:,.0f} |",
    ]


def _multiplied(sizes: Sizes) -> list[str]:
    head = " | ".join(f"{count / 1e6:,.0f} M customers" for count in CUSTOMERS)
    rows = {
        "Redis, GB": sizes.redis_customer,
        "topic `features`, GB, one replica": sizes.features_customer,
        f"topic `events`, GB, one replica, {EVENTS_EACH} events each": sizes.events_event * EVENTS_EACH,
        f"index `events-*`, GB, one copy, {EVENTS_EACH} events each": sizes.index_event * EVENTS_EACH,
        "index `customers`, GB, one copy": sizes.index_card,
        "index `risk-*`, GB a month, one copy, a card a day": sizes.index_card * 30,
        f"history, GB, {EVENTS_EACH} events each": sizes.history_event * EVENTS_EACH,
    }
    body = [
        f"| {name} | {' | '.join(f'{each * count / GB:,.1f}' for count in CUSTOMERS)} |" for name, each in rows.items()
    ]
    return [f"| | {head} |", f"|---|{'--:|' * len(CUSTOMERS)}", *body]


if __name__ == "__main__":
    sys.exit(main())
