"""`make bench-fold`: events per second of decode, update and feature_row beside `json.loads`, and bytes of a state.

The four are run in turns on the same simulated events, several rounds; the medians are printed, and ratios beside them.
"""

import argparse
import cProfile
import json
import pstats
import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median

from churn.events import Event, decode, encode
from churn.features import feature_row, update
from churn.state import EMPTY, State, pack
from producer.simulator import Plan, Simulation

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)


def payloads(customers: int, events: int) -> list[bytes]:
    """Simulated events as they lie on the topic, in the order in which they happened."""
    return [encode(event) for event in Simulation(Plan(customers, events, 365, 7, UNTIL)).history()]


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def decode_all(messages: list[bytes]) -> list[Event]:
    return [decode(message, now=UNTIL, currency="EUR") for message in messages]


def fold_all(events: list[Event]) -> dict[str, State]:
    states: dict[str, State] = {}
    for event in events:
        customer_id = event.customer_id
        states[customer_id] = update(states.get(customer_id, EMPTY), event)
    return states


def rows_of(states: dict[str, State]) -> None:
    for state in states.values():
        feature_row(state, UNTIL)


def top_five(work: Callable[[], object]) -> list[str]:
    """The functions in which the work spends most of its own time."""
    profile = cProfile.Profile()
    profile.runcall(work)
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined] # there, but not in the stubs
    costly = sorted(stats.items(), key=lambda item: -item[1][2])[:5]
    whole = sum(timing[2] for timing in stats.values())
    return [f"{name:<28}{timing[2] / whole:>6.1%}  {timing[0]:>9,} calls" for (_, _, name), timing in costly]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fold", description=__doc__)
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    messages = payloads(options.customers, options.events)
    events = decode_all(messages)
    states = fold_all(events)
    steps: dict[str, tuple[Callable[[], object], int]] = {
        "json.loads": (lambda: [json.loads(message) for message in messages], len(messages)),
        "decode": (lambda: decode_all(messages), len(messages)),
        "update": (lambda: fold_all(events), len(messages)),
        "feature_row": (lambda: rows_of(states), len(states)),
        "pack": (lambda: [pack(state) for state in states.values()], len(states)),
    }
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, (work, count) in steps.items():
            taken[name].append(seconds(work) / count)
    each = {name: median(values) for name, values in taken.items()}
    print(f"{len(messages):,} events of {len(states):,} customers, {options.rounds} rounds, medians")
    for name, value in each.items():
        print(f"{name:<12}{value * 1e6:>9.2f} us{1 / value:>12,.0f} per second")
    ratio = (each["decode"] + each["update"]) / each["json.loads"]
    print(f"decode + update = {ratio:.2f} x json.loads")
    sizes = sorted(len(pack(state)) for state in states.values())
    print(
        f"bytes of a state: median {sizes[len(sizes) // 2]:,}, p95 {sizes[len(sizes) * 95 // 100]:,}, max {sizes[-1]:,}"
    )
    for name in ("update", "feature_row"):
        print(f"most of {name}:", *top_five(steps[name][0]), sep="\n  ")


if __name__ == "__main__":
    main()
