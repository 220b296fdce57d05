"""A small shop that lives: customers sign up, visit, buy, send back, rate and at some point leave for good.

Everything follows from the plan: the same plan gives the same events, in order of time. Each customer's life has
randomness of its own; who they are is in `customers`, what they do on a visit in `sessions`.
"""

from collections.abc import Iterator
from datetime import datetime
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, NamedTuple

import numpy as np
from xxhash import xxh3_64_hexdigest

from churn.events import Event, epoch_ms
from producer import catalogue, customers, sessions
from producer.customers import DAY_MS
from producer.errors import NobodyLeft
from producer.sessions import Names, Timed

PILOT_VISITS: Final = 4_000


class Plan(NamedTuple):
    """What is to be simulated: about `num_events` events on the `days` before `until` (aware), which is not reached."""

    num_customers: int
    num_events: int
    days: int
    seed: int
    until: datetime

    @property
    def name(self) -> str:
        """Stands for the plan in ids, so that another simulation's events are others."""
        return xxh3_64_hexdigest(repr(tuple(self)).encode())[:8]


class Simulation:
    """The shop of one plan. `history` comes first; `live` goes on with those who are still there."""

    def __init__(self, plan: Plan) -> None:
        rng = np.random.default_rng(plan.seed)
        self._until_ms = epoch_ms(plan.until)
        start_ms = self._until_ms - plan.days * DAY_MS
        self._catalogue = catalogue.draw(rng)
        self._customers = customers.draw(
            rng, plan.num_customers, start_ms, self._until_ms, len(self._catalogue.by_category)
        )
        self._randoms = [np.random.default_rng([plan.seed, place]) for place in range(plan.num_customers)]
        self._visits_per_day = self._scaled_to(plan.num_events - plan.num_customers, rng)
        self._names = Names(plan.name)
        self._is_live = False
        self._numbers = count()
        self._waiting: list[tuple[int, int, Event]] = []  # what is to happen, by time
        self._visits: list[tuple[float, int]] = []  # when each customer comes next
        for place, customer in enumerate(self._customers):
            self._expect(sessions.sign_up(customer, self._names))
            self._plan_visit(place, customer.signed_up_ms)
        heapify(self._visits)

    def _scaled_to(self, events: int, rng: np.random.Generator) -> float:
        """Visits per day of a customer with rate 1, so that all visits together have so many events.

        How many events a visit has comes from a pilot, so that it holds whatever a visit is made of.
        """
        weights = np.array([who.visits_per_day * who.days_active(self._until_ms) for who in self._customers])
        names = Names("pilot")
        chosen = rng.choice(len(weights), size=PILOT_VISITS, p=weights / weights.sum()).tolist()
        seen = sum(len(sessions.visit(self._customers[place], 0, self._catalogue, rng, names)) for place in chosen)
        return float(events / (seen / PILOT_VISITS * weights.sum()))

    def history(self) -> Iterator[Event]:
        """All events before the plan's `until`, in order of time."""
        return self._advance(self._until_ms)

    def live(self, started_at: datetime) -> Iterator[Event]:
        """Without end, after `history`: what those do who are still there; nobody leaves any more.

        The times are simulated ones. `started_at` (aware) goes into all new ids, so that a later run on the same
        history has others. Raises `NobodyLeft`.
        """
        if not self._visits:
            raise NobodyLeft("every simulated customer has left by the end of the history: simulate more of them")
        self._is_live = True
        # What the history left for later, a refund say, keeps its id: each live run would send it again.
        self._waiting.clear()
        self._names.simulation += f"-{epoch_ms(started_at):x}"
        return self._advance(float("inf"))

    def _advance(self, until_ms: float) -> Iterator[Event]:
        while True:
            next_visit_ms = self._visits[0][0] if self._visits else float("inf")
            while self._waiting and self._waiting[0][0] < min(next_visit_ms, until_ms):
                yield heappop(self._waiting)[2]
            if next_visit_ms >= until_ms:
                return
            self._visit()

    def _visit(self) -> None:
        at_ms, place = heappop(self._visits)
        self._plan_visit(place, at_ms)
        rng = self._randoms[place]
        for timed in sessions.visit(self._customers[place], int(at_ms), self._catalogue, rng, self._names):
            self._expect(timed)

    def _plan_visit(self, place: int, after_ms: float) -> None:
        customer = self._customers[place]
        visits_per_day = max(customer.visits_per_day * self._visits_per_day, 1e-9)
        next_ms = after_ms + self._randoms[place].exponential(1 / visits_per_day) * DAY_MS
        if self._is_live or next_ms < customer.leaves_ms:
            heappush(self._visits, (next_ms, place))

    def _expect(self, timed: Timed) -> None:
        at_ms, event = timed
        heappush(self._waiting, (at_ms, next(self._numbers), event))
