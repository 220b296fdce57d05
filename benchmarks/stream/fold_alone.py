"""The fold alone: a process that decodes and updates payloads from memory.

It is the floor under every contender: no Kafka, no Redis. After the warm-up it stands still until it is told to go on
(SIGCONT). Its first line says that all is folded, with the CPU seconds that this took; its second is the digest.
"""

import argparse
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from xxhash import xxh3_64_hexdigest

from churn.collector import spare_the_collector
from churn.events import decode
from churn.features import update
from churn.state import EMPTY, State, pack

BATCH = 4000


def run(payloads: list[bytes], first: int) -> None:
    """Fold those before `first`, stand still, fold the others, say so."""
    states: dict[str, State] = {}
    _fold(payloads[:first], states)
    os.kill(os.getpid(), signal.SIGSTOP)
    started_s = time.process_time()
    _fold(payloads[first:], states)
    print(time.process_time() - started_s, flush=True)
    print(digest({customer: pack(state) for customer, state in states.items()}))


def _fold(payloads: list[bytes], states: dict[str, State]) -> None:
    for start in range(0, len(payloads), BATCH):
        now = datetime.now(UTC)
        for payload in payloads[start : start + BATCH]:
            event = decode(payload, now=now, currency="EUR")
            states[event.customer_id] = update(states.get(event.customer_id, EMPTY), event)


def digest(packed: dict[str, bytes]) -> str:
    """The same for the same states of the same customers."""
    return xxh3_64_hexdigest(b"".join(customer.encode() + packed[customer] for customer in sorted(packed)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("payloads", type=Path)
    parser.add_argument("first", type=int)
    options = parser.parse_args()
    spare_the_collector()
    run(msgspec.msgpack.decode(options.payloads.read_bytes(), type=list[bytes]), options.first)
