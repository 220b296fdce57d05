"""`make bench-memory`: what a worker needs for 100,000 customers, and what each of them takes up in Redis."""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import mean, median
from typing import Final

import redis

from benchmarks import pages
from benchmarks.stream import watch
from benchmarks.stream.__main__ import start
from benchmarks.stream.contenders import CONTENDERS, OURS, Servers
from benchmarks.stream.watch import Watch
from benchmarks.stream.workload import Workload, simulated
from churn import topics
from stack.stack import Stack

SECTION: Final = "bench-memory"
GOAL_MIB: Final = 500
SAMPLED: Final = 1_000


def main() -> int:
    """Fold all customers by one worker, then ask /proc and Redis."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true", help="bring the table into docs/")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ebb-bench-") as name:
        directory = Path(name)
        with Stack(directory, services=("redis", "kafka"), free_ports=True) as stack:
            print("simulating, folding offline, publishing", file=sys.stderr)
            topics.create(stack.kafka.address)
            workload = Workload(topics.EVENTS, simulated(options.events, options.customers))
            workload.publish(stack.kafka.address)
            client = redis.Redis.from_url(stack.redis.url)
            text, is_right = measure(directory, Servers(stack.kafka.address, stack.redis.url), client, workload)
    print(text)
    if options.write:
        pages.write_section(SECTION, text)
    return 0 if is_right else 1


def measure(directory: Path, servers: Servers, client: redis.Redis, workload: Workload) -> tuple[str, bool]:
    """The table, and whether Redis holds what the offline fold gives."""
    before_bytes = client.info("memory")["used_memory"]
    contender = next(each for each in CONTENDERS if each.name == OURS)
    processes = start(contender, directory, servers, workload.topic)
    try:
        watch.until_the_end(Watch(client, workload, processes))
        watch.settle(client, workload)
        peak_mib, now_mib = (processes[0].memory_mib(which) for which in ("VmHWM", "VmRSS"))
    finally:
        for process in processes:
            process.kill()
    customers = len(workload.expected)
    of_all = (client.info("memory")["used_memory"] - before_bytes) / customers
    step = max(1, customers // SAMPLED)
    usage = [client.memory_usage(f"customer:{who}") or 0 for who in list(workload.expected)[::step]]
    packed = [len(state) for state, _ in workload.expected.values()]
    wrong = watch.wrong_customers(client, workload)
    lines = [
        f"{workload.events:,} events of {customers:,} customers, one worker, all of them in its memory at the end;",
        f"{wrong:,} customers with a wrong state.",
        "",
        "| | | goal |",
        "|---|--:|--:|",
        f"| memory of the worker at its most, MiB | {peak_mib:.0f} | {GOAL_MIB} |",
        f"| memory of the worker at the end, MiB | {now_mib:.0f} | {GOAL_MIB} |",
        f"| bytes in Redis per customer (`used_memory` / customers) | {of_all:,.0f} | |",
        f"| bytes in Redis per customer (`MEMORY USAGE`), mean of {len(usage):,} | {mean(usage):,.0f} | |",
        f"| bytes of a packed state, median | {median(packed):,.0f} | |",
    ]
    return "\n".join(lines), wrong == 0


if __name__ == "__main__":
    sys.exit(main())
