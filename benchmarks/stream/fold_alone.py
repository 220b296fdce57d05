"""The fold alone: a process that decodes and updates payloads from memory, and says what that cost.

It is the floor under every contender: no Kafka, no Redis. Prints one line of JSON.
"""

import argparse
import json
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import msgspec
from xxhash import xxh3_64_hexdigest

from churn.collector import spare_the_collector
from churn.events import decode
from churn.features import update
from churn.state import EMPTY, State, pack

BATCH = 4000


def run(payloads: list[bytes], first: int) -> dict[str, object]:
    """Fold all; seconds are those from event `first` on, CPU seconds those of all events, as for the others."""
    states: dict[str, State] = {}
    started, cpu_started = 0.0, time.process_time()
    cuts = [*range(0, first, BATCH), *range(first, len(payloads), BATCH), len(payloads)]
    for begin, end in pairwise(cuts):
        if begin == first:
            started = time.perf_counter()
        now = datetime.now(UTC)
        for payload in payloads[begin:end]:
            event = decode(payload, now=now, currency="EUR")
            states[event.customer_id] = update(states.get(event.customer_id, EMPTY), event)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "digest": digest({k: pack(s) for k, s in states.items()})}


def digest(packed: dict[str, bytes]) -> str:
    """The same for the same states of the same customers."""
    return xxh3_64_hexdigest(b"".join(customer.encode() + packed[customer] for customer in sorted(packed)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("payloads", type=Path)
    parser.add_argument("first", type=int)
    options = parser.parse_args()
    spare_the_collector()
    print(json.dumps(run(msgspec.msgpack.decode(options.payloads.read_bytes(), type=list[bytes]), options.first)))
