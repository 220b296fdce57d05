"""In silence nothing that a model looks at changes by a step before the moment that was told."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.events import Event
from churn.features import FEATURES, Look, Value, feature_row, replay
from churn.state import State

from .test_fold_equals_recount import CARTS, HISTORIES, ORDERS, Case

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)
# What grows with every moment: days, and the recency in units of a usual gap.
STEADY = {feature.name for feature in FEATURES if feature.unit == "days"} | {"overdue_ratio"}
STEPS = [feature.name for feature in FEATURES if feature.in_model and feature.name not in STEADY]


def steps(state: State, moment: datetime) -> dict[str, Value]:
    row = feature_row(state, moment)
    return {name: row[name] for name in STEPS}


def next_step(state: State, moment: datetime) -> datetime | None:
    step_ms = Look(state, moment).next_step_ms()
    return None if step_ms is None else EPOCH + timedelta(milliseconds=step_ms)


@settings(max_examples=100, deadline=None)
@given(st.one_of(HISTORIES, ORDERS, CARTS), st.integers(0, 300 * 24 * 60), st.floats(0, 1))
def test_until_the_next_step_silence_leaves_counts_sums_and_rates_alone(case: Case, minutes: int, part: float) -> None:
    state = replay(case.events)
    moment = max(event.occurred_at for event in case.events).astimezone(UTC) + timedelta(minutes=minutes)
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000) + timedelta(milliseconds=1)
    step = next_step(state, moment)
    last = moment + timedelta(days=800) if step is None else step - timedelta(milliseconds=1)
    between = moment + timedelta(milliseconds=int((last - moment).total_seconds() * 1000 * part))
    assert moment <= last
    assert steps(state, between) == steps(state, last) == steps(state, moment)


def event(event_type: str, at: datetime, **fields: object) -> Event:
    return Event(f"{event_type} {at}", event_type, at, "c", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("events", "after", "step"),
    [
        ([event("purchase", T0, price=1.0)], timedelta(hours=1), timedelta(hours=14, milliseconds=1)),
        ([event("purchase", T0, price=1.0)], timedelta(days=59, hours=20), timedelta(days=60)),
        ([event("purchase", T0, price=1.0)], timedelta(days=200), timedelta(days=240, milliseconds=1)),
        ([event("view", T0, product_id="p")], timedelta(days=9), timedelta(days=30, hours=-10, milliseconds=1)),
        ([event("cart", T0, product_id="p")], timedelta(hours=20), timedelta(hours=24, milliseconds=1)),
        ([event("purchase", T0, price=1.0)], timedelta(days=366), None),
    ],
)
def test_the_next_step_is_the_first_moment_of_another_row(
    events: list[Event], after: timedelta, step: timedelta | None
) -> None:
    state = replay(events)
    found = next_step(state, T0 + after)
    assert found == (None if step is None else T0 + step)
    if found is not None:
        assert steps(state, found) != steps(state, found - timedelta(milliseconds=1))
