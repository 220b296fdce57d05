"""A small shop that lives: customers sign up, visit, buy, send back, rate and at some point leave for good.

Everything follows from the plan: the same plan gives the same events in the same order, in any number of processes,
because customers are simulated in shards of `SHARD` with randomness of their own. The model: docs/simulator.md.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final, NamedTuple, cast

import numpy as np
import pyarrow as pa
from xxhash import xxh3_64_hexdigest

from churn import history
from churn.events import Event, EventSchema, epoch_ms
from producer import calibration, catalogue, customers, faults, season, sessions, tables
from producer.catalogue import Catalogue
from producer.customers import Customers, Visits
from producer.errors import NobodyLeft
from producer.faults import NO_FAULTS, Faults
from producer.population import Population
from producer.season import DAY_MS, Clock
from producer.sessions import Happened
from producer.tables import Names

SHARD: Final = 1_000
HORIZON_DAYS: Final = 91  # the clock goes on so far after the end: what comes is asked for 90 days
PARALLEL_FROM_EVENTS: Final = 2_000_000  # below this, starting processes takes longer than they save
LIVE_EVENTS: Final = 5_000  # about so many are made at once
ROWS_AT_ONCE: Final = 20_000
_POPULATION, _CATALOGUE, _CUSTOMERS, _FAULTS, _LIVE = range(5)
_FIELDS: Final = tuple(EventSchema.model_fields)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_event: Final = cast(Callable[..., Event], Event)


class Plan(NamedTuple):
    """What is to be simulated: about `num_events` events on the `days` before `until` (aware), which is not reached."""

    num_customers: int
    num_events: int
    days: int
    seed: int
    until: datetime
    top_share: float = 0.7  # of revenue, from the 20 % of buyers who spend most
    refunds: float = 0.1  # share of orders of which a line is sent back
    faults: Faults = NO_FAULTS

    @property
    def name(self) -> str:
        """Stands for the plan in ids, so that another shop's events are others; faults make no other shop."""
        return xxh3_64_hexdigest(repr(tuple(self._replace(faults=NO_FAULTS))).encode())[:8]

    @property
    def span_ms(self) -> tuple[int, int]:
        """From when to when, in epoch milliseconds."""
        until_ms = epoch_ms(self.until)
        return until_ms - self.days * DAY_MS, until_ms

    @property
    def shards(self) -> range:
        """The numbers of the groups of `SHARD` customers."""
        return range(-(-self.num_customers // SHARD))


class Arrived(NamedTuple):
    """An event, and when the shop came to know of it."""

    event: Event
    ingested_at: datetime


class Shard(NamedTuple):
    """What some customers did: tables for the shop, `record` of faults, and what only the truth knows."""

    events: Any
    record: Any
    sessions: Any
    orders: Any
    who: Customers
    visits: Visits  # of all, and of these
    is_kept: Any  # whether the visit's order was not sent back altogether
    is_alive: Any


class Shop:
    """What is the same for all customers of a plan."""

    def __init__(self, plan: Plan) -> None:
        start_ms, until_ms = plan.span_ms
        self.plan = plan
        self.clock = self.clock_of(start_ms, until_ms + HORIZON_DAYS * DAY_MS)
        self.catalogue: Catalogue = catalogue.draw(self.random(_CATALOGUE))
        self.population = self._population()

    def _population(self) -> Population:
        plan, seed = self.plan, int(self.random(_POPULATION).integers(2**62))
        wanted = calibration.Wanted(seed, self.clock, plan.span_ms, plan.refunds)
        events = plan.num_events - plan.num_customers
        population = wanted.population(events / plan.num_customers, plan.top_share)
        if plan.num_customers > calibration.PILOT_CUSTOMERS:
            return population
        everybody = [self._draw(shard, population)[0] for shard in plan.shards]
        return calibration.faster(population, everybody, self.clock, plan.span_ms, events)

    def _draw(self, shard: int, population: Population) -> tuple[Customers, np.random.Generator]:
        """The customers of a shard, and the randomness with which their lives go on."""
        rng, plan = self.random(_CUSTOMERS, shard), self.plan
        numbers = np.arange(shard * SHARD, min((shard + 1) * SHARD, plan.num_customers)) + 1
        return customers.draw(rng, numbers, population, self.clock, plan.span_ms, plan.name), rng

    def random(self, *place: int) -> np.random.Generator:
        """Randomness of its own for each place."""
        return np.random.default_rng(np.random.SeedSequence([self.plan.seed, *place]))

    def clock_of(self, start_ms: int, end_ms: int) -> Clock:
        return Clock(start_ms, end_ms, season.treated_from(*self.plan.span_ms))

    def live_through(self, shard: int) -> Shard:
        """The lives of the customers of one shard, up to the end."""
        who, rng = self._draw(shard, self.population)
        until_ms = self.plan.span_ms[1]
        lives = customers.live_until(rng, who, self.clock, until_ms)
        names = Names(f"{self.plan.name}-{shard}")
        happened, how = self.tell(rng, who, lives.visits)
        happened = sessions.in_time([sessions.sign_ups(who), happened])
        is_sent_back = _is_sent_back(happened, len(lives.visits.at_ms))
        happened = happened.only(happened.at_ms < until_ms)
        events = tables.events(happened, who, how, self.catalogue, names)
        faulty = faults.inject(self.random(_FAULTS, shard), events, self.plan.faults, names.prefix)
        return Shard(
            faulty.events,
            faulty.record,
            tables.sessions(happened, who, how, names),
            tables.orders(happened, who, how, names),
            who,
            lives.visits,
            ~is_sent_back,
            lives.is_alive,
        )

    def tell(self, rng: np.random.Generator, who: Customers, visits: Visits) -> tuple[Happened, sessions.Contexts]:
        """What happened on these visits and because of them, and how the customers came."""
        how = sessions.contexts(rng, who, visits)
        lines = sessions.lines_of(rng, who, visits, self.catalogue, self.population, how.is_brought)
        return sessions.happen(rng, who, visits, lines, self.catalogue, self.population), how


def _is_sent_back(happened: Happened, visits: int) -> Any:
    """Whether every line of a visit's order was sent back."""
    bought = np.bincount(happened.visit[happened.kind == sessions.PURCHASE], minlength=visits)
    back = np.bincount(happened.visit[happened.kind == sessions.REFUND], minlength=visits)
    return (bought > 0) & (bought == back)


class History(NamedTuple):
    """All shards together: events in the order in which they arrived, sessions and orders in that of time."""

    events: Any
    record: Any
    sessions: Any
    orders: Any
    who: Customers
    visits: Visits
    is_kept: Any
    is_alive: Any


OnDone = Callable[[int], object]


class Simulation:
    """The shop of one plan. `tables` or `history` come first; `live` goes on with those who are still there."""

    def __init__(self, plan: Plan, processes: int = 1) -> None:
        self.plan = plan
        self.shop = Shop(plan)
        self._processes = processes
        self.num_events = 0  # of the history, once it is there
        self._there: Customers | None = None  # who is still there at the end

    def tables(self, on_done: OnDone = lambda _: None) -> History:
        """Everything up to the plan's `until`. `on_done` is told of numbers of events as they are ready."""
        shards = self._shards(on_done)
        who = Customers(*_together([shard.who for shard in shards]))
        begin = np.cumsum([0, *(len(shard.who.number) for shard in shards)])
        placed = zip((shard.visits for shard in shards), begin[:-1], strict=True)
        visits = Visits(*_together([part._replace(customer=part.customer + first) for part, first in placed]))
        is_alive = np.concatenate([shard.is_alive for shard in shards])
        self._there = who.only(is_alive)
        self.num_events = sum(shard.events.num_rows for shard in shards)
        return History(
            _sorted([shard.events for shard in shards], "ingested_at"),
            pa.concat_tables([shard.record for shard in shards]),
            _sorted([shard.sessions for shard in shards], "started_at"),
            _sorted([shard.orders for shard in shards], "ordered_at"),
            who,
            visits,
            np.concatenate([shard.is_kept for shard in shards]),
            is_alive,
        )

    def _shards(self, on_done: OnDone) -> list[Shard]:
        numbers = self.plan.shards
        if min(self._processes, len(numbers)) == 1 or self.plan.num_events < PARALLEL_FROM_EVENTS:
            return [_told(self.shop.live_through(number), on_done) for number in numbers]
        # Spawned, not forked: Arrow's threads do not survive a fork.
        pool = ProcessPoolExecutor(self._processes, multiprocessing.get_context("spawn"), _begin, (self.plan,))
        try:
            running = {pool.submit(_live_through, number): number for number in numbers}
            done = {running[each]: _told(each.result(), on_done) for each in as_completed(running)}
        finally:
            pool.shutdown(cancel_futures=True)
        return [done[number] for number in numbers]

    def history(self) -> Iterator[Event]:
        """All events before the plan's `until`, in the order of their arrival; without faults that is order of time."""
        return (arrived.event for arrived in arrivals(self.tables().events))

    def live(self, started_at: datetime) -> Iterator[Arrived]:
        """Without end, after the history: what those do who are still there; nobody leaves any more.

        The times are simulated ones. `started_at` (aware) goes into all new ids, so that a later run on the same
        history has others. Raises `NobodyLeft`.
        """
        if self._there is None:
            self.tables()
        there = self._there
        if there is None or not len(there.number):
            raise NobodyLeft("every simulated customer has left by the end of the history: simulate more of them")
        # What the history left for later, a refund say, keeps its id: each live run would send it again.
        return self._go_on(there, epoch_ms(started_at))

    def _go_on(self, there: Customers, started_ms: int) -> Iterator[Arrived]:
        """Some days at a time; what follows later from a visit, a refund say, waits for the part in which it is due."""
        begin_ms, waiting = self.plan.span_ms[1], history.SCHEMA.empty_table()
        length_ms = self._live_ms(there)
        for part in count():
            rng, end_ms = self.shop.random(_LIVE, started_ms, part), begin_ms + length_ms
            clock = self.shop.clock_of(begin_ms, end_ms)
            visits = customers.go_on(rng, there, clock, (begin_ms, end_ms))
            names = Names(f"{self.plan.name}-{started_ms:x}-{part}")
            happened, how = self.shop.tell(rng, there, visits)
            table = tables.events(sessions.in_time([happened]), there, how, self.shop.catalogue, names)
            table = faults.inject(rng, table, self.plan.faults, names.prefix).events
            table = _sorted([waiting, table], "ingested_at")
            is_due = table["ingested_at"].cast(pa.int64()).to_numpy() < end_ms
            yield from arrivals(table.filter(pa.array(is_due)))
            waiting, begin_ms = table.filter(pa.array(~is_due)), end_ms

    def _live_ms(self, there: Customers) -> int:
        """A time in which about `LIVE_EVENTS` happen, in whole hours."""
        each = (self.plan.num_events / self.plan.num_customers) / max(self.plan.days, 1)
        days = LIVE_EVENTS / max(each * len(there.number), 1e-9)
        return int(np.clip(days * 24, 1, 24 * 3_650)) * season.HOUR_MS


_shop: Shop | None = None  # of this process, so that it is made once for all its shards


def _begin(plan: Plan) -> None:
    global _shop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    _shop = Shop(plan)


def _live_through(shard: int) -> Shard:
    assert _shop is not None
    return _shop.live_through(shard)


def _told(shard: Shard, on_done: OnDone) -> Shard:
    on_done(shard.events.num_rows)
    return shard


def _together(parts: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


def _sorted(parts: list[Any], by: str) -> Any:
    table = pa.concat_tables(parts).combine_chunks()
    order = np.argsort(table[by].cast(pa.int64()).to_numpy(), kind="stable")
    return table.take(pa.array(order))


def arrivals(events: Any) -> Iterator[Arrived]:
    """The rows of a table of events."""
    for batch in events.to_batches(max_chunksize=ROWS_AT_ONCE):
        columns = [_python(batch.column(name)) for name in (*_FIELDS, "ingested_at")]
        for *fields, ingested_at in zip(*columns, strict=True):
            yield Arrived(_event(*fields), ingested_at)


def _python(column: Any) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        return [moment(value) for value in column.cast(pa.int64()).to_pylist()]
    return cast(list[Any], column.to_pylist())


def moment(at_ms: int) -> datetime:
    """Epoch milliseconds as an aware UTC time."""
    return _EPOCH + timedelta(milliseconds=at_ms)
