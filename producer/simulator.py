"""A small shop that lives: customers sign up, visit, buy, send back, rate and at some point leave for good.

Everything follows from the plan: the same plan gives the same events, in order of time. Each customer has randomness
of their own, so that one life does not change when another one is added.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, Final, NamedTuple

import numpy as np
from xxhash import xxh3_64_hexdigest

from churn.events import Event
from producer import catalogue, customers
from producer.catalogue import Product
from producer.customers import DAY_MS, Customer
from producer.errors import NobodyLeft

PILOT_SESSIONS: Final = 4_000
MAX_LINES: Final = 4
STEP_MEAN_S: Final = 50.0
STEP_MAX_S: Final = 1_500.0  # below the 30 minutes after which a session is another one
HOME_CATEGORY_SHARE: Final = 0.8
USUAL_SHARE: Final = 0.75  # of sessions on the customer's usual device, and by their usual channel
REFUND_DAYS: Final = (2.0, 10.0)
RATING_DAYS: Final = (1.0, 14.0)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Plan(NamedTuple):
    """What is to be simulated: `num_events` is met within a few per cent; `until` (aware) is not reached."""

    num_customers: int
    num_events: int
    days: int
    seed: int
    until: datetime

    @property
    def until_ms(self) -> int:
        return (self.until - _EPOCH) // timedelta(milliseconds=1)

    @property
    def start_ms(self) -> int:
        return self.until_ms - self.days * DAY_MS


class _Line(NamedTuple):
    """A product in the cart, and how many of it."""

    product: Product
    quantity: int


class _Session(NamedTuple):
    """What the events of one session share."""

    customer: Customer
    session_id: str
    device: str
    channel: str
    campaign: str | None


class Simulation:
    """The shop of one plan. `history` comes first; `live` goes on with whoever is still there."""

    def __init__(self, plan: Plan) -> None:
        rng = np.random.default_rng(plan.seed)
        self._plan = plan
        self._name = xxh3_64_hexdigest(repr(plan).encode())[:8]
        self._numbers = count()
        self._catalogue = catalogue.draw(rng)
        self._customers = customers.draw(
            rng, plan.num_customers, plan.start_ms, plan.until_ms, len(self._catalogue.by_category)
        )
        self._randoms = [np.random.default_rng([plan.seed, place]) for place in range(plan.num_customers)]
        self._visits_per_day = self._scale(rng)
        self._visits: list[tuple[float, int]] = []  # when each customer comes next
        self._waiting: list[tuple[int, int, Event]] = []  # events that are to happen, by time
        self._is_live = False
        for place, customer in enumerate(self._customers):
            self._sign_up(place, customer)
        heapify(self._visits)

    def _scale(self, rng: np.random.Generator) -> float:
        """Visits per day of a customer with rate 1, so that the history has as many events as planned.

        A visit's mean number of events comes from a pilot, so that it holds whatever a session is made of.
        """
        weights = np.array([c.visits_per_day * c.days_active(self._plan.until_ms) for c in self._customers])
        drawn = rng.choice(len(weights), size=PILOT_SESSIONS, p=weights / weights.sum()).tolist()
        events = sum(len(self._session(self._customers[place], rng, self._plan.start_ms)) for place in drawn)
        planned = max(0, self._plan.num_events - self._plan.num_customers)
        return float(planned / (events / PILOT_SESSIONS * weights.sum()))

    # --- time ---------------------------------------------------------------------------------------------------------

    def history(self) -> Iterator[Event]:
        """All events before the plan's `until`, in order of time."""
        return self._advance(self._plan.until_ms)

    def live(self, now: Any) -> Iterator[Event]:
        """Without end, after `history`: what those do who are still there, each event at the moment when it is taken.

        Nobody leaves any more. `now()` is the moment (aware). Raises `NobodyLeft`.
        """
        if not self._visits:
            raise NobodyLeft("every simulated customer has left by now: simulate more --num_customers")
        self._is_live = True
        self._name += f"-{now().timestamp():.0f}"
        return self._advance(float("inf"))

    def _advance(self, until_ms: float) -> Iterator[Event]:
        visits, waiting = self._visits, self._waiting
        while True:
            next_visit_ms = visits[0][0] if visits else float("inf")
            while waiting and waiting[0][0] < min(next_visit_ms, until_ms):
                yield heappop(waiting)[2]
            if next_visit_ms >= until_ms:
                return
            self._visit()

    def _visit(self) -> None:
        at_ms, place = heappop(self._visits)
        customer, rng = self._customers[place], self._randoms[place]
        self._plan_visit(place, at_ms)
        for event_ms, event in self._session(customer, rng, int(at_ms)):
            self._expect(event_ms, event)

    def _plan_visit(self, place: int, after_ms: float) -> None:
        customer = self._customers[place]
        rate = max(customer.visits_per_day * self._visits_per_day, 1e-12)
        next_ms = after_ms + self._randoms[place].exponential(1 / rate) * DAY_MS
        if self._is_live or next_ms < customer.leaves_ms:
            heappush(self._visits, (next_ms, place))

    def _expect(self, at_ms: int, event: Event) -> None:
        heappush(self._waiting, (at_ms, next(self._numbers), event))
