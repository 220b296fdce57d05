"""From what is asked for (events, days, the share of the best customers) to the population that gives it."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from churn.purchase_process import Conversion, Floats, Process, Spend
from producer import customers
from producer.customers import Customers
from producer.population import MAX_LINES, MORE_LINES_MEAN, Population
from producer.season import Clock, Whole
from producer.sessions import VIEWS_BEFORE_ORDER

PILOT_CUSTOMERS: Final = 10_000
LEAST_VISITS: Final = 2.5  # a customer, as long as a visit can be made shorter
LIFETIME_DAYS: Final = 250.0  # mean, of a customer who comes at the mean rate
LEAVE_SHAPE: Final = 1.2
CONVERSION: Final = Conversion(1.6, 3.4)
VIEWS_MORE: Final = 2.4
SPEND_SHAPE: Final = 6.0
SPEND_MEAN: Final = 60.0
# From shops in which customers are alike to shops that live on few: the shapes of visit rates and of mean spend.
RATE_SHAPES: Final = (3.0, 0.15)
SPEND_SHAPES: Final = (12.0, 1.2)
TOP: Final = 0.2
_STEPS: Final = 12
_LOG_RATES: Final = (-14.0, 7.0)


class Wanted:
    """What a shop is to have, and a pilot of customers (none of its own) on which it is tried."""

    def __init__(self, seed: int, clock: Clock, span_ms: tuple[int, int], refunds: float) -> None:
        self._seed = seed
        kept = 1 - refunds * float(np.exp(-MORE_LINES_MEAN))  # an order of one line is sent back altogether
        self._draft = Population(
            Process(1.0, 1.0, *_leaving(0.02)), CONVERSION, _spend(3.0), VIEWS_MORE, refunds, kept, 0.0
        )
        rng, numbers = np.random.default_rng(seed), np.arange(PILOT_CUSTOMERS)
        self._pilot = customers.draw(rng, numbers, self._draft, clock, span_ms, "pilot")
        self._ages = ages_at_end(self._pilot, clock, span_ms)

    def population(self, events: float, top_share: float) -> Population:
        """The population that gives `events` a customer beside the one of signing up, and this share."""
        sized = _sized(self._draft, self._events_per_visit, events)
        visits = max(events / self._events_per_visit(sized), 1.01)

        def shaped(concentration: float) -> Population:
            rates, spend = _shapes(concentration)
            tried = sized._replace(visits=self._process(visits, rates), spend=_spend(spend))
            return tried._replace(top_share=self._top_share(tried))

        return shaped(_bisect(lambda tried: shaped(tried).top_share, top_share, (0.0, 1.0), _STEPS))

    def _random(self, place: int) -> np.random.Generator:
        """The same randomness for all tries, so that what is tried makes the difference."""
        return np.random.default_rng(np.random.SeedSequence([self._seed, place]))

    def _events_per_visit(self, population: Population) -> float:
        pilot = self._pilot._replace(
            views_more=self._pilot.views_more * population.views_more / VIEWS_MORE,
            order_chance=self._random(0).beta(*population.conversion, PILOT_CUSTOMERS),
        )
        return float(events_per_visit(pilot, population).mean())

    def _process(self, visits: float, shape: float) -> Process:
        """The process with this shape of rates whose customers come so often in the mean."""
        most = self._random(1).gamma(shape, 1 / shape, PILOT_CUSTOMERS) * self._ages

        def mean(log_rate: float) -> float:
            rate = float(np.exp(log_rate))
            p = np.maximum(self._random(2).beta(*_leaving(rate), PILOT_CUSTOMERS), customers.LEAST_LEAVE_CHANCE)
            return float(np.mean(1 + (1 - p) / p * -np.expm1(-p * rate * most)))

        rate = float(np.exp(_bisect(mean, visits, _LOG_RATES, 2 * _STEPS)))
        return Process(shape, shape / rate, *_leaving(rate))

    def _top_share(self, population: Population) -> float:
        """Expected share of revenue of the `TOP` of buyers who spend most."""
        rng, count, (r, alpha, a, b) = self._random(3), PILOT_CUSTOMERS, population.visits
        returns = rng.geometric(np.maximum(rng.beta(a, b, count), customers.LEAST_LEAVE_CHANCE)) - 1
        wanted = rng.poisson(rng.gamma(r, 1 / alpha, count) * self._ages)
        orders = rng.binomial(1 + np.minimum(wanted, returns), rng.beta(*population.conversion, count))
        p, q, gamma = population.spend
        orders = orders[orders > 0]
        revenue = gamma / rng.gamma(q, 1.0, len(orders)) * rng.gamma(orders * p)
        best = np.sort(revenue)[::-1][: max(1, round(TOP * len(orders)))]
        return float(best.sum() / max(revenue.sum(), 1e-9))


def events_per_visit(who: Customers, population: Population) -> Floats:
    """Expected events of a visit of each customer, and of those that follow from it."""
    looking = 1 + who.cart_chance * (1 + who.removal_chance)
    lines = 1 + sum(_poisson_tail(more) for more in range(1, MAX_LINES))
    order = VIEWS_BEFORE_ORDER * who.views_more * looking + lines * (3 + who.rating_chance) + population.refunds
    browsing = (1 + who.views_more) * looking
    return np.asarray(who.order_chance * order + (1 - who.order_chance) * browsing)


def _poisson_tail(least: int) -> float:
    """P(so many more lines or more)."""
    terms = np.cumprod([1.0, *(MORE_LINES_MEAN / k for k in range(1, least))])
    return float(1 - np.exp(-MORE_LINES_MEAN) * terms[:least].sum())


def ages_at_end(who: Customers, clock: Clock, span_ms: tuple[int, int]) -> Floats:
    """Operational days since signing up, at the end of the span."""
    end = clock.at(np.full(len(who.arm), span_ms[1]), who.arm)
    return np.asarray(end - clock.at(who.signed_up_ms, who.arm))


def faster(
    population: Population, shards: Sequence[Customers], clock: Clock, span_ms: tuple[int, int], events: float
) -> Population:
    """The population whose rates are scaled so that these very customers have `events` together.

    Where a few come much more often than the rest, chance would miss the wanted number by far.
    """
    each = np.concatenate([events_per_visit(who, population) for who in shards])
    ages = np.concatenate([ages_at_end(who, clock, span_ms) for who in shards])
    rates: Floats = np.concatenate([who.visit_rate for who in shards])
    returns: Whole = np.concatenate([who.returns for who in shards])

    def total(log_factor: float) -> float:
        return float((each * customers.expected_visits(rates * np.exp(log_factor), returns, ages)).sum())

    factor = float(np.exp(_bisect(total, events, (-5.0, 5.0), 3 * _STEPS)))
    return population._replace(visits=population.visits._replace(alpha=population.visits.alpha / factor))


def _sized(draft: Population, events_per_visit: Callable[[Population], float], events: float) -> Population:
    """Shorter visits with fewer orders where there is no room for `LEAST_VISITS` usual ones."""

    def scaled(size: float) -> Population:
        orders, total = size * CONVERSION.c, sum(CONVERSION)
        return draft._replace(conversion=Conversion(orders, total - orders), views_more=VIEWS_MORE * size)

    wanted = events / LEAST_VISITS
    if events_per_visit(draft) <= wanted:
        return draft
    return scaled(_bisect(lambda size: events_per_visit(scaled(size)), wanted, (0.01, 1.0), _STEPS))


def _shapes(concentration: float) -> tuple[float, float]:
    """Shapes of the visit rates and of the mean spend, from 0 (customers are alike) to 1."""
    return (
        RATE_SHAPES[0] ** (1 - concentration) * RATE_SHAPES[1] ** concentration,
        1 + (SPEND_SHAPES[0] - 1) ** (1 - concentration) * (SPEND_SHAPES[1] - 1) ** concentration,
    )


def _spend(shape: float) -> Spend:
    return Spend(SPEND_SHAPE, shape, SPEND_MEAN * (shape - 1) / SPEND_SHAPE)


def _leaving(rate: float) -> tuple[float, float]:
    """Beta parameters of the chance to leave, so that who comes at this rate stays `LIFETIME_DAYS` in the mean."""
    return LEAVE_SHAPE, max(LEAVE_SHAPE * rate * LIFETIME_DAYS, 0.3)


def _bisect(function: Callable[[float], float], wanted: float, span: tuple[float, float], steps: int) -> float:
    """Where a growing function reaches `wanted`; the nearer end where it does not."""
    low, high = span
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < wanted else (low, middle)
    return (low + high) / 2
