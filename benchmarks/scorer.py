"""`make bench-scorer`: customers scored per second on one core, a full rescore, reads of cards, and an event's way.

Simulated customers, a model of the kind that training makes, the real Redis and Kafka. Times of a core are CPU seconds
of this process, so that other work on the machine does not count; times of answers are by the wall clock.
"""

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import redis
from threadpoolctl import threadpool_limits

from benchmarks import pages
from benchmarks.fold import fold_all
from churn import model as models
from churn import topics
from churn.actions import ACTIONS_FILE, read_actions
from churn.feature_store import RedisFeatureStore, StateWrite
from churn.features import MODEL_FEATURES, FeatureRow, Look, feature_row
from churn.model import About, Population, RiskModel, rows_to_matrix, score_matrix
from churn.risk_card import DRIVERS_SHOWN, encode
from churn.segments import cut_points
from churn.state import STATE_VERSION, State, pack, unpack
from producer.simulator import Plan, Simulation
from scorer.card import Known, score_customers
from scorer.drivers import driver, heaviest
from scorer.kafka_topics import RiskTopic
from scorer.live_model import LiveModel
from scorer.scoring import Scoring
from scorer.service import BATCH
from stack.freshness import FreshnessProbe, describe
from stack.pipeline import Pipeline
from stack.waiting import wait_until
from stack.workers import Scorer, StreamProcessor
from training.dataset import Samples
from training.fit import fit
from training.recipes import DEFAULT, Kind, Recipe

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
SIMULATED = 2_000
EVENTS_EACH = 50
ROUNDS = 3
READS = 5_000
RATE = 1_000
LIVE_S = 40


def simulated(customers: int) -> list[State]:
    """States of simulated customers of a year."""
    plan = Plan(customers, customers * EVENTS_EACH, 365, 7, UNTIL)
    return list(fold_all(list(Simulation(plan).history())).values())


def fitted(states: Sequence[State], recipe: Recipe = DEFAULT) -> RiskModel:
    """A model of all features for whether the last order lies further back than for half of the buyers."""
    rows = [row for state in states if (row := feature_row(state, UNTIL))["recency_days"] is not None]
    matrix = rows_to_matrix(rows, MODEL_FEATURES)
    recency = matrix[:, MODEL_FEATURES.index("recency_days")]
    chance = np.random.default_rng(7).normal(1.0, 0.5, len(rows))
    labels = (recency * chance > np.median(recency)).astype(np.int8)
    names = np.array([f"c{number}" for number in range(len(rows))])
    found = fit(Samples(names, np.zeros(len(rows), dtype=np.int64), matrix, labels), None, recipe)
    recency_days, frequency, monetary = (
        [float(row[name] or 0.0) for row in rows] for name in ("recency_days", "frequency", "monetary")
    )
    about = About(
        feature_names=MODEL_FEATURES,
        fold_version=STATE_VERSION,
        horizon_days=90,
        slope=found.slope,
        intercept=found.intercept,
        cut_offs={},
        data_sha256="",
        libraries={},
        metrics={},
        rfm=cut_points(recency_days, frequency, monetary, version="bench"),
        population=Population(len(rows), 365.0),
    )
    return RiskModel(found.pipeline, about, found.learned.trees)


def core_seconds(work: Callable[[], object], each: int) -> float:
    """Seconds of this process's CPU per one of `each`, the median of some rounds."""
    taken = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return median(taken) / each


def in_batches(customers: Sequence[Known]) -> list[Sequence[Known]]:
    return [customers[start : start + BATCH] for start in range(0, len(customers), BATCH)]


Say = Callable[[str], object]


def on_one_core(states: Sequence[State], model: RiskModel, trees: RiskModel, say: Say) -> None:
    """What a card costs, step by step, without a server."""
    actions = read_actions(ACTIONS_FILE)
    packed = [pack(state) for state in states]
    rows = [feature_row(state, UNTIL) for state in states]
    matrix = rows_to_matrix(rows, MODEL_FEATURES)
    new = [Known(f"c{number}", state, {}) for number, state in enumerate(states)]
    cards = [scored for batch in in_batches(new) for scored in score_customers(batch, model, actions, UNTIL)]
    known = [each._replace(fields=dict(scored.write.fields)) for each, scored in zip(new, cards, strict=True)]
    later = UNTIL + timedelta(days=1)
    again = [scored for batch in in_batches(known) for scored in score_customers(batch, model, actions, later)]

    def score_all(model: RiskModel) -> None:
        for batch in in_batches(known):
            score_customers(batch, model, actions, later)

    def alone(model: RiskModel) -> None:
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            score_matrix(model, rows_to_matrix(part, MODEL_FEATURES))

    steps: dict[str, Callable[[], object]] = {
        "state from its bytes": lambda: [unpack(each) for each in packed],
        "features of the moment": lambda: [Look(state, UNTIL).row for state in states],
        "risk and contributions": lambda: alone(model),
        "risk and drivers in words": lambda: with_drivers(rows, model),
        "the same by trees": lambda: with_drivers(rows, trees),
        "whole card": lambda: score_all(model),
        "whole card by trees": lambda: score_all(trees),
        "card as a message": lambda: [encode(scored.card) for scored in cards],
    }
    say(f"{len(states):,} customers, {sum(len(state.recent) for state in states) / len(states):.1f} recent events each")
    for name, work in steps.items():
        seconds = core_seconds(work, len(states))
        say(f"{name:<24}{seconds * 1e6:>8.1f} us{1 / seconds:>12,.0f} per second")
    in_redis = median(sum(len(part) for field in scored.write.fields.items() for part in field) for scored in cards)
    on_topic = median(len(encode(scored.card)) for scored in cards)
    say(f"a card: {in_redis:,.0f} bytes in Redis, {on_topic:,.0f} on topic risk")
    say(
        f"fields that a day changes: {median(len(scored.write.fields) for scored in again):.0f} "
        f"of {len(cards[0].write.fields)}; with a counterfactual: "
        f"{sum(scored.card.counterfactual is not None for scored in cards) / len(cards):.0%}; matrix {matrix.shape}"
    )


def with_drivers(rows: Sequence[FeatureRow], model: RiskModel) -> None:
    """From features to risks with the heaviest reasons as sentences, in batches."""
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        matrix = rows_to_matrix(part, MODEL_FEATURES)
        contributions = score_matrix(model, matrix).contributions
        for row, columns, parts in zip(
            part, heaviest(matrix, contributions, DRIVERS_SHOWN), contributions.tolist(), strict=True
        ):
            for column in columns:
                driver(row, MODEL_FEATURES[column], parts[column])


def fill(store: RedisFeatureStore, states: Sequence[State], customers: int) -> list[str]:
    """Customers in Redis, each with the state of a simulated one."""
    packed = [pack(state) for state in states]
    names = [f"bench-{number}" for number in range(customers)]
    for start in range(0, customers, 10_000):
        part = range(start, min(start + 10_000, customers))
        store.write_states([StateWrite(names[at], 0, 1, packed[at % len(packed)]) for at in part])
    return names


def full_rescore(store: RedisFeatureStore, kafka: str, model_dir: Path, names: Sequence[str], say: Say) -> None:
    """Everybody through Redis and Kafka, first without a card, then with one of the day before."""
    live = LiveModel(model_dir)
    live.refresh()
    for round_, now in (("first cards", UNTIL), ("a day later", UNTIL + timedelta(days=1))):
        risk_topic = RiskTopic(kafka)
        scoring = Scoring(store, risk_topic, live, read_actions(ACTIONS_FILE), lambda now=now: now)  # type: ignore[misc]
        began, core = time.perf_counter(), time.process_time()
        for start in range(0, len(names), BATCH):
            scoring.score(names[start : start + BATCH])
        wall, core = time.perf_counter() - began, time.process_time() - core
        risk_topic.close()
        say(
            f"full rescore, {round_}: {len(names):,} customers in {wall:.0f} s ({len(names) / wall:,.0f} per second), "
            f"{core:.0f} s of this core ({len(names) / core:,.0f} per second); "
            f"1,000,000 by that: {wall * 1e6 / len(names) / 60:.0f} minutes"
        )


def reads(store: RedisFeatureStore, names: Sequence[str], say: Say) -> None:
    """How long one card takes to be read, in one round trip, and the top 20."""
    chosen = np.random.default_rng(1).choice(np.array(names), READS)
    works: dict[str, Callable[[str], object]] = {"read a card": store.read_customer, "top 20": lambda _: store.top(20)}
    for what, work in works.items():
        taken = []
        for name in chosen.tolist():
            began = time.perf_counter()
            work(name)
            taken.append((time.perf_counter() - began) * 1000)
        cuts = quantiles(taken, n=100)
        say(f"{what}, {len(names):,} customers: p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms, of {READS:,}")


def an_events_way(pipeline: Pipeline, customers: int, say: Say) -> None:
    """Live events at a fixed rate through producer, stream processor and scorer: from produced to a new risk."""
    until = datetime.now(UTC).replace(second=0, microsecond=0).isoformat().replace("+00:00", "Z")
    plan = ["simulate", "--num_customers", str(customers), "--num_events", str(customers * 10), "--until", until]
    to = ["--topic", topics.EVENTS]
    with redis.Redis.from_url(pipeline.variables["REDIS_URL"]) as client:
        client.flushall()
    for kind in (StreamProcessor, Scorer):
        pipeline.worker(kind).start()
    pipeline.run("producer", *plan, *to)
    address, url = pipeline.variables["KAFKA_BOOTSTRAP_SERVERS"], pipeline.variables["REDIS_URL"]
    store = RedisFeatureStore(url)
    wait_until(lambda: len(store.due(10**15, customers)) >= customers * 0.99, 600)
    time.sleep(5)  # what is left of the backlog
    probe = FreshnessProbe(address, url)
    probe.start()
    with ThreadPoolExecutor(1) as thread:
        live = ["--live-only", "--rate", str(RATE), "--for", str(LIVE_S)]
        thread.submit(pipeline.run, "producer", *plan, *live, *to).result()
    measured = probe.stop()
    say(f"at {RATE:,} events/s, produced -> state in Redis: {describe(measured.to_state_s)}")
    say(f"at {RATE:,} events/s, produced -> risk in Redis:  {describe(measured.to_risk_s)}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scorer", description=__doc__)
    parser.add_argument("--customers", type=int, default=100_000, help="in Redis (default: %(default)s)")
    parser.add_argument("--without-servers", action="store_true", help="only what a card costs on one core")
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    options = parser.parse_args()
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        print(line, flush=True)

    say(pages.machine())
    with threadpool_limits(limits=1):  # as the scorer itself
        measure(options.customers, options.without_servers, say)
    if options.write:
        pages.write_section("bench-scorer", "\n".join(["```", *said, "```"]))


def measure(customers: int, without_servers: bool, say: Say) -> None:
    """Everything, told line by line."""
    states = simulated(SIMULATED)
    model, trees = fitted(states), fitted(states, Recipe(Kind.TREES, 15))
    gc.collect()
    gc.freeze()
    on_one_core(states, model, trees, say)
    if without_servers:
        return
    with tempfile.TemporaryDirectory(prefix="ebb-bench-") as directory:
        model_dir = Path(directory) / "models"
        models.save(model, model_dir)
        models.go_live(model_dir, model.model_version)
        pipeline = Pipeline(Path(directory) / "stack", {"MODEL_DIR": str(model_dir)})
        try:
            pipeline.servers.start()
            topics.create(pipeline.servers.kafka.address)
            store = RedisFeatureStore(pipeline.servers.redis.url)
            names = fill(store, states, customers)
            full_rescore(store, pipeline.servers.kafka.address, model_dir, names, say)
            reads(store, names, say)
            an_events_way(pipeline, 2_000, say)
        finally:
            pipeline.kill()


if __name__ == "__main__":
    main()
