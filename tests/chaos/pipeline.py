"""`python -m tests.chaos.pipeline` (`make chaos`): the whole pipeline while its processes are killed.

Kafka, Redis, Elasticsearch, the services and a live producer run as ever; at random moments one of them is killed
(kill -9) and comes back as it would in a container. At the end three witnesses are compared, customer by customer and
event by event: Redis, Elasticsearch, and a fold of the topic by nothing but the fold.
"""

import argparse
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import redis
from elasticsearch import Elasticsearch
from elasticsearch.helpers import scan
from kafka.errors import KafkaError

from benchmarks import pages
from benchmarks.freshness import Rehearsal
from churn import topics
from churn.events import Event, InvalidEvent, decode, epoch_ms
from stack.errors import StackError
from stack.kafka_offsets import lag
from stack.processes import group_members
from stack.service import Service
from stack.waiting import wait_until
from stack.workers import WORKERS, LiveProducer, Scorer, Worker

from ..stream_processing import Comparison, Record, compare, fold_of, kept_in_redis, read_topic
from . import index_content
from .index_content import Difference

SECTION = "chaos"
SEED = 11
PATIENCE_S = 1_200.0
_SHOWN = ("as_of", "risk", "risk_band", "segment", "model_version")

log = logging.getLogger(__name__)

Card = tuple[int, float | None, str | None, str | None, str | None]
"""Moment (epoch milliseconds), risk, band, segment and model version, as far as they are known."""


class Unsettled(StackError):
    """The pipeline does not come to rest after the kills."""


class Verdict(NamedTuple):
    """What the three witnesses say. `kills` by name; `repeated` events lie on the topic more than once."""

    kills: Counter[str]
    seconds: float
    settled_s: float
    messages: int
    repeated: int
    states: Comparison
    events: Difference
    cards: int
    wrong_cards: list[str]
    wrong_ranks: int
    health: int

    @property
    def is_right(self) -> bool:
        return (
            self.states.is_equal
            and self.events.is_none
            and not (self.repeated or self.wrong_cards or self.wrong_ranks)
            and bool(self.cards and self.health)
        )

    def __str__(self) -> str:
        killed = ", ".join(f"{name} {times}" for name, times in sorted(self.kills.items()))
        states = f"all {self.states.customers:,} equal" if self.states.is_equal else str(self.states)
        events = f"all {self.events.events:,} equal" if self.events.is_none else str(self.events)
        rows = [
            ("minutes", f"{self.seconds / 60:.1f}"),
            ("killed", f"{self.kills.total()} times: {killed}"),
            ("seconds until everything was at rest, after the last kill", f"{self.settled_s:.0f}"),
            ("messages on topic `events`", f"{self.messages:,}"),
            ("events that the producer sent more than once", f"{self.repeated:,}"),
            ("customers: state in Redis beside the fold of the topic", states),
            ("events: Elasticsearch beside the topic", events),
            ("cards: Elasticsearch beside Redis", f"{len(self.wrong_cards):,} of {self.cards:,} differ"),
            ("places in `risk:ranking` beside the cards", f"{self.wrong_ranks:,} differ"),
        ]
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


class Ordeal:
    """The pipeline of a rehearsal with a live producer; `chance` decides who is killed when."""

    def __init__(self, rehearsal: Rehearsal, rate: float) -> None:
        pipeline = rehearsal.pipeline
        self.chance = random.Random(SEED)
        self.kills: Counter[str] = Counter()
        self._servers = pipeline.servers
        self.producer = LiveProducer(pipeline.servers.directory, pipeline.variables, rehearsal.live(rate))
        self._workers: list[Worker] = [self.producer, *(pipeline.worker(kind) for kind in WORKERS)]
        self._client = redis.Redis.from_url(pipeline.servers.redis.url)
        self._elasticsearch = Elasticsearch(pipeline.servers.elasticsearch.url, request_timeout=60)
        self._address = pipeline.servers.kafka.address

    @property
    def victims(self) -> list[Service]:
        return [*self._workers, *self._servers.services]

    def endure(self, seconds: float, every_s: float) -> None:
        """Kill somebody every so many seconds, in the mean, everybody in turn but in random order."""
        began = time.monotonic()
        self.producer.start()
        order: list[Service] = []
        while True:
            order = order or self.chance.sample(self.victims, len(self.victims))
            time.sleep(every_s * self.chance.uniform(0.5, 1.5))  # nothing to wait for: the time itself is the fault
            if time.monotonic() - began > seconds:
                return
            self._kill(order.pop())

    def _kill(self, victim: Service) -> None:
        if isinstance(victim, Worker):
            # The process itself, under its supervisor; between two lives there is none for a moment.
            if not wait_until(lambda: len(group_members(victim.pid)) > 1, PATIENCE_S):
                raise Unsettled(f"{victim.name} is not started again: {victim.log_file}")
            for pid in set(group_members(victim.pid)) - {victim.pid}:
                os.kill(pid, signal.SIGKILL)
        else:
            victim.kill()
            victim.launch()
        self.kills[victim.name] += 1
        log.info("killed %s", victim.name)

    def settle(self) -> float:
        """Stop the producer and return when everything that it sent is dealt with; the seconds that took.

        Then the scorer stops, as it would rescore somebody silent while cards are compared.
        """
        began = time.monotonic()
        for server in self._servers.services:
            server.wait_until_ready()
        self.producer.stop()
        self._wait_until_read()
        # Whoever was killed in the midst of a round begins it anew, so cards go on coming for a while.
        wait_until(lambda: not self._wrong_cards()[1], PATIENCE_S, poll_s=5)
        settled_s = time.monotonic() - began
        next(worker for worker in self._workers if isinstance(worker, Scorer)).stop()
        self._wait_until_read()
        return settled_s

    def _wait_until_read(self) -> None:
        if not wait_until(lambda: not any(self._lags().values()), PATIENCE_S, poll_s=2):
            raise Unsettled(f"after {PATIENCE_S:.0f} s there are still messages to read: {self._lags()}")

    def _lags(self) -> dict[str, int]:
        """Messages to read by group; -1 where Kafka does not tell."""
        try:
            return {group: lag(self._address, group, *names) for group, names in topics.READ_BY.items()}
        except KafkaError:
            return dict.fromkeys(topics.READ_BY, -1)

    def judge(self, seconds: float, settled_s: float) -> Verdict:
        """Compare the witnesses."""
        records = sorted(read_topic(self._address, topics.EVENTS))
        events = list(_events_of(records))
        times = Counter(event.event_id for event in events)
        expected = index_content.expected(events)
        cards, wrong_cards, wrong_ranks = self._judge_cards()
        return Verdict(
            self.kills,
            seconds,
            settled_s,
            messages=len(records),
            repeated=times.total() - len(times),
            states=compare(kept_in_redis(self._servers.redis.url), fold_of(tuple(records))),
            events=index_content.compare(index_content.found(self._elasticsearch), expected),
            cards=cards,
            wrong_cards=wrong_cards,
            wrong_ranks=wrong_ranks,
            health=int(self._elasticsearch.count(index="pipeline-*")["count"]),
        )

    def _wrong_cards(self) -> tuple[dict[str, Card | None], list[str]]:
        """The cards in Redis, and whose are others in Elasticsearch."""
        self._elasticsearch.indices.refresh(index="customers")
        kept, shown = cards_in_redis(self._client), cards_in_elasticsearch(self._elasticsearch)
        return kept, sorted(name for name in kept | shown if kept.get(name) != shown.get(name))

    def _judge_cards(self) -> tuple[int, list[str], int]:
        kept, wrong = self._wrong_cards()
        found: Any = self._client.zrange("risk:ranking", 0, -1, withscores=True)
        ranking = {name.decode(): score for name, score in found}
        risks = {name: card[1] for name, card in kept.items() if card and card[1] is not None}
        return len(kept), wrong, len(ranking.items() ^ risks.items())

    def close(self) -> None:
        self.producer.kill()
        self._client.close()
        self._elasticsearch.close()


def _events_of(records: Sequence[Record]) -> Iterator[Event]:
    for record in records:
        try:
            yield decode(record.value, now=datetime.fromtimestamp(record.timestamp / 1000, UTC), currency="EUR")
        except InvalidEvent:
            continue


def cards_in_redis(client: redis.Redis) -> dict[str, Card | None]:
    """By customer; None for a customer without a card."""
    keys = list(client.scan_iter("customer:*", count=1000))
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.hmget(key, _SHOWN)
    rows = [[(value or b"").decode() for value in row] for row in pipeline.execute()]
    names = [key.removeprefix(b"customer:").decode() for key in keys]
    return {name: _card(row) if row[0] else None for name, row in zip(names, rows, strict=True)}


def cards_in_elasticsearch(client: Elasticsearch) -> dict[str, Card | None]:
    """By customer."""
    hits = scan(client, index="customers", query={"_source": list(_SHOWN)}, size=index_content.PAGE)
    return {hit["_id"]: _card([hit["_source"].get(name) for name in _SHOWN]) for hit in hits}


def _card(row: Sequence[Any]) -> Card:
    as_of, risk, *words = row
    band, segment, version = (word or None for word in words)
    return epoch_ms(datetime.fromisoformat(as_of)), None if risk in (None, "") else float(risk), band, segment, version


@contextmanager
def rehearsed(directory: Path, customers: int, events: int) -> Iterator[Rehearsal]:
    """The pipeline with a history and a model; nothing of it is left in the end."""
    rehearsal = Rehearsal(directory, customers, events)
    try:
        rehearsal.prepare()
        yield rehearsal
    finally:
        rehearsal.pipeline.kill()


def play(rehearsal: Rehearsal, *, rate: float, seconds: float, every_s: float) -> Verdict:
    """One ordeal from its beginning to the verdict. Raises `StackError` where it cannot be played to its end."""
    ordeal = Ordeal(rehearsal, rate)
    try:
        ordeal.endure(seconds, every_s)
        return ordeal.judge(seconds, ordeal.settle())
    finally:
        ordeal.close()


def main() -> int:
    """0 when the witnesses agree."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.pipeline", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15, help="of kills (default: %(default)s)")
    parser.add_argument("--every", type=float, default=20, metavar="S", help="seconds between two (default: 20)")
    parser.add_argument("--rate", type=float, default=1_000, help="live events per second (default: %(default)s)")
    parser.add_argument("--customers", type=int, default=30_000)
    parser.add_argument("--events", type=int, default=200_000, help="of the history (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="bring the table into docs/performance.md")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("kafka").setLevel(logging.ERROR)
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="ebb-chaos-") as name:
        try:
            with rehearsed(Path(name), options.customers, options.events) as rehearsal:
                seconds = 60 * options.minutes
                verdict = play(rehearsal, rate=options.rate, seconds=seconds, every_s=options.every)
        except StackError as error:
            print(f"chaos: {error}", file=sys.stderr)
            return 1
    model = "with" if rehearsal.has_model else "without"
    text = f"{options.rate:,.0f} live events/s; {pages.machine()}; the scorer works {model} a model.\n\n{verdict}"
    print(text)
    if options.write:
        pages.write_section(SECTION, text)
    return 0 if verdict.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
