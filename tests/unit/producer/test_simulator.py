"""The simulated shop: the same for the same plan, in order of time, and true to what customers do."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import islice

import numpy as np
import pytest

from churn.events import Event, EventSchema, check
from producer import simulator
from producer.errors import NobodyLeft
from producer.faults import Faults
from producer.pacing import NoWait
from producer.simulate import as_of_now
from producer.simulator import Plan, Simulation

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(num_customers=500, num_events=15_000, days=300, seed=7, until=UNTIL)
EVENTS = list(Simulation(PLAN).history())
LINES = [event for event in EVENTS if event.event_type == "purchase"]


def test_the_same_plan_gives_the_same_events() -> None:
    assert list(Simulation(PLAN).history()) == EVENTS


@pytest.mark.parametrize(
    "change", [{"seed": 8}, {"num_customers": 501}, {"days": 301}, {"until": UNTIL.replace(day=2)}]
)
def test_another_plan_gives_events_with_other_ids(change: dict[str, int]) -> None:
    others = Simulation(PLAN._replace(**change)).history()
    assert {event.event_id for event in others}.isdisjoint(event.event_id for event in EVENTS)


@pytest.mark.parametrize(("customers", "events", "days"), [(500, 15_000, 300), (2_000, 10_000, 90), (100, 20_000, 30)])
def test_there_are_about_as_many_events_as_planned(customers: int, events: int, days: int) -> None:
    found = sum(1 for _ in Simulation(Plan(customers, events, days, 3, UNTIL)).history())
    assert found == pytest.approx(events, rel=0.1)


def test_events_come_in_order_of_time_within_the_planned_days() -> None:
    times = [event.occurred_at for event in EVENTS]
    assert times == sorted(times)
    assert UNTIL - timedelta(days=300) <= times[0]
    assert times[-1] < UNTIL


def test_ids_are_unique() -> None:
    assert len({event.event_id for event in EVENTS}) == len(EVENTS)


def test_every_event_is_one_by_the_schema() -> None:
    for event in EVENTS:
        EventSchema.model_validate({name: getattr(event, name) for name in EventSchema.model_fields})
        check(event, now=UNTIL, currency="EUR")


def test_every_type_of_event_happens_and_looking_is_more_common_than_buying() -> None:
    counts = Counter(event.event_type for event in EVENTS)
    assert set(counts) == {"profile", "view", "cart", "remove_from_cart", "purchase", "refund", "rating"}
    assert counts["view"] > counts["cart"] > counts["purchase"] > counts["refund"]


def test_everybody_signs_up_once_before_anything_else() -> None:
    first: dict[str, Event] = {}
    for event in EVENTS:
        first.setdefault(event.customer_id, event)
    profiles = [event for event in EVENTS if event.event_type == "profile"]
    assert sorted(event.event_id for event in first.values()) == sorted(event.event_id for event in profiles)
    assert len(profiles) == 500
    assert all(event.signup_date == event.occurred_at.date() for event in profiles)


def test_an_order_has_up_to_four_lines_of_one_customer_at_one_moment() -> None:
    orders = defaultdict(list)
    for line in LINES:
        orders[line.order_id].append(line)
    sizes = Counter(len(lines) for lines in orders.values())
    assert set(sizes) == {1, 2, 3, 4}
    assert all(len({(line.customer_id, line.occurred_at) for line in lines}) == 1 for lines in orders.values())


def test_what_is_bought_was_in_the_cart_of_the_same_session_and_not_removed() -> None:
    carts = Counter((e.session_id, e.product_id) for e in EVENTS if e.event_type == "cart")
    carts.subtract((e.session_id, e.product_id) for e in EVENTS if e.event_type == "remove_from_cart")
    assert all(carts[line.session_id, line.product_id] > 0 for line in LINES)


def test_a_refund_names_a_line_that_the_customer_bought_days_before() -> None:
    bought = {(line.order_id, line.product_id): line for line in LINES}
    refunds = [event for event in EVENTS if event.event_type == "refund"]
    for refund in refunds:
        line = bought[refund.order_id, refund.product_id]
        assert (refund.customer_id, refund.price, refund.quantity) == (line.customer_id, line.price, line.quantity)
        assert timedelta(days=2) <= refund.occurred_at - line.occurred_at <= timedelta(days=10)


def test_some_lines_are_discounted_by_less_than_their_value() -> None:
    discounted = [line for line in LINES if line.discount is not None]
    assert 0 < len(discounted) < len(LINES) / 2
    assert all(0 < (line.discount or 0) < (line.price or 0) * line.quantity for line in discounted)


def test_a_session_has_no_gap_of_30_minutes() -> None:
    last: dict[str, datetime] = {}
    for event in EVENTS:
        if event.session_id is not None:
            gap = event.occurred_at - last.get(event.session_id, event.occurred_at)
            assert gap < timedelta(minutes=30)
            last[event.session_id] = event.occurred_at


def test_many_customers_leave_for_good() -> None:
    last = {event.customer_id: event.occurred_at for event in EVENTS}
    silent = sum(at < UNTIL - timedelta(days=90) for at in last.values())
    assert 0.2 < silent / len(last) < 0.8


def test_live_goes_on_with_customers_who_are_still_there_at_the_present_moment() -> None:
    simulation = Simulation(PLAN)
    known = {event.event_id for event in simulation.history()}
    moments = (UNTIL + timedelta(seconds=second) for second in range(10_000))
    arrivals = as_of_now(simulation.live(UNTIL), NoWait(), lambda: next(moments))
    live = [event for event, _ in islice(arrivals, 5_000)]
    assert [event.occurred_at for event in live] == [UNTIL + timedelta(seconds=second) for second in range(5_000)]
    assert known.isdisjoint(event.event_id for event in live)
    assert len({event.event_id for event in live}) == 5_000
    assert {event.customer_id for event in live} <= {event.customer_id for event in EVENTS}
    assert {"view", "cart", "purchase"} <= {event.event_type for event in live}


def test_two_live_runs_after_the_same_history_share_no_order_and_no_event() -> None:
    orders, ids = [], []
    for started_at in (UNTIL, UNTIL + timedelta(minutes=1)):
        simulation = Simulation(PLAN)
        for _ in simulation.history():
            pass
        live = [event for event, _ in islice(simulation.live(started_at), 5_000)]
        ids.append({event.event_id for event in live})
        orders.append({event.order_id for event in live if event.event_type == "purchase"})
    assert orders[0].isdisjoint(orders[1])
    assert ids[0].isdisjoint(ids[1])


def test_a_shop_that_everybody_has_left_cannot_be_live() -> None:
    simulation = Simulation(Plan(1, 5, 3_000, 7, UNTIL))
    for _ in simulation.history():
        pass
    with pytest.raises(NobodyLeft, match="has left"):
        simulation.live(UNTIL)


def test_live_events_come_in_order_of_simulated_time_after_the_history() -> None:
    simulation = Simulation(PLAN)
    times = [arrived.ingested_at for arrived in islice(simulation.live(UNTIL), 12_000)]
    assert times == sorted(times)
    assert times[0] >= UNTIL


def test_live_refunds_name_orders_of_the_live_run() -> None:
    live = [event for event, _ in islice(Simulation(PLAN).live(UNTIL), 12_000)]
    bought = {(event.order_id, event.product_id) for event in live if event.event_type == "purchase"}
    refunds = [(event.order_id, event.product_id) for event in live if event.event_type == "refund"]
    assert refunds
    assert set(refunds) <= bought


def test_live_keeps_how_late_events_arrive_and_how_wrong_clocks_are() -> None:
    plan = PLAN._replace(faults=Faults(late=0.5))
    arrivals = as_of_now(Simulation(plan).live(UNTIL), NoWait(), lambda: UNTIL)
    delays = [ingested_at - event.occurred_at for event, ingested_at in islice(arrivals, 2_000)]
    late = sum(timedelta(hours=1) <= delay <= timedelta(hours=20) for delay in delays)
    assert 0.3 < late / len(delays) < 0.7
    assert all(delay == timedelta(0) for delay in delays if delay < timedelta(hours=1))


def test_more_processes_give_the_same_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = PLAN._replace(num_customers=2_200, num_events=20_000, faults=Faults(duplicates=0.1, late=0.1, bots=0.1))
    alone = Simulation(plan, processes=1).tables()
    monkeypatch.setattr(simulator, "PARALLEL_FROM_EVENTS", 1)
    together = Simulation(plan, processes=2).tables()
    for name in ("events", "record", "sessions", "orders"):
        assert getattr(alone, name).equals(getattr(together, name)), name
    assert np.array_equal(alone.visits.days, together.visits.days)


def test_the_customers_of_a_shop_do_not_depend_on_its_faults() -> None:
    faulty = Simulation(PLAN._replace(faults=Faults(duplicates=0.2))).history()
    assert {event.event_id for event in faulty} == {event.event_id for event in EVENTS}


def test_tables_have_the_same_types_however_little_happens() -> None:
    many, few = (Simulation(Plan(customers, 4 * customers, 365, 7, UNTIL)).tables() for customers in (1_000, 3))
    assert not sum(few.orders["refunded"].to_pylist()), "a shop without a refund was meant"
    for name in ("events", "orders", "sessions"):
        assert getattr(few, name).schema.equals(getattr(many, name).schema), name
