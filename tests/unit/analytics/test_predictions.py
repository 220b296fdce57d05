"""The parts of the predictive sections: what they compute is what their names say, and nobody sees the future."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import mannwhitneyu

from analytics import churn_hypothesis, early_value, next_order, sales_forecast, samples
from analytics.finding import CannotAnswer
from analytics.outcomes import NetOrders
from analytics.samples import DAY_MS, Samples
from churn.events import Event, epoch_ms
from churn.features import MODEL_FEATURES
from churn.purchase_process import Histories, Process

FIRST = datetime(2025, 1, 1, tzinfo=UTC)
PROCESS = Process(0.8, 20.0, 1.3, 10.0)


def at(moments_ms: list[int], joined_ms: list[int] | None = None, **features: list[float]) -> Samples:
    """Rows of customers c0, c1, ... with these features; all others are not known."""
    matrix = np.full((len(moments_ms), len(MODEL_FEATURES)), np.nan)
    for name, values in features.items():
        matrix[:, MODEL_FEATURES.index(name)] = values
    ids = np.array([f"c{number}" for number in range(len(moments_ms))])
    joined = np.array(moments_ms if joined_ms is None else joined_ms)
    return Samples(ids, np.array(moments_ms), joined, np.full(len(moments_ms), np.nan), matrix)


# --- samples and outcomes ---------------------------------------------------------------------------------------------


def test_the_test_is_later_than_everything_that_training_saw() -> None:
    chosen = samples.choose(FIRST, FIRST + timedelta(days=365, hours=5))
    assert chosen is not None
    assert chosen.test + samples.HORIZON == chosen.end <= FIRST + timedelta(days=365, hours=5)
    assert all(moment + samples.HORIZON <= chosen.test for moment in chosen.train)
    assert min(chosen.train) >= FIRST + samples.LEAST_BEFORE
    assert samples.choose(FIRST, FIRST + timedelta(days=239)) is None


def test_a_row_sees_what_had_happened_and_arrived_and_engagement_only_what_came_after() -> None:
    moment = FIRST + timedelta(days=100)
    happened = [
        Event("e1", "purchase", FIRST, "c", product_id="p", price=10.0, quantity=1),
        Event("e2", "view", moment - timedelta(days=1), "c", product_id="p"),
        Event("e3", "purchase", moment + timedelta(days=3), "c", product_id="p", price=500.0, quantity=9),
    ]
    fields = [field.name for field in samples.history.SCHEMA if field.name != "ingested_at"]
    late = timedelta(days=2)  # the view arrives after the moment
    rows = [
        {**{name: getattr(each, name) for name in fields}, "ingested_at": each.occurred_at + late} for each in happened
    ]
    table = pa.Table.from_pylist(rows, schema=samples.history.SCHEMA)
    found = samples.rows_of(table, [moment], moment + samples.HORIZON)
    early, common = (found.filter(pa.compute.equal(found["is_early"], flag)).to_pylist() for flag in (True, False))
    assert [row["moment_ms"] for row in early] == [epoch_ms(FIRST + samples.EARLY)]
    assert early[0]["engagement_next"] is None
    assert (early[0]["orders_total"], early[0]["views_90d"]) == (1, 0)
    assert [(row["orders_total"], row["views_90d"]) for row in common] == [(1, 0)]
    assert common[0]["engagement_next"] > early[0]["engagement_score"]


def test_outcomes_count_orders_after_the_moment_up_to_the_last_day_asked_for() -> None:
    days = [0, 10, 10.5, 40, 95]
    table = pa.table(
        {
            "customer_id": ["c1"] * 5,
            "at_ms": [int(day * DAY_MS) for day in days],
            "net_minor": [100, 200, 300, 400, 500],
        }
    )
    came = NetOrders.of(table).after(at([0, 0]), 90)
    assert came.orders.tolist() == [0, 3]
    assert came.days.tolist() == [0, 2]
    assert came.value.tolist() == [0, 9]
    assert np.isnan(came.first_days[0])
    assert came.first_days[1] == 10
    assert NetOrders.of(table.slice(0, 0)).after(at([0, 0]), 90).orders.tolist() == [0, 0]


# --- early value ------------------------------------------------------------------------------------------------------


def test_what_is_learned_of_early_joiners_was_known_before_the_first_later_one_was_30_days_old() -> None:
    joined = [int(day * DAY_MS) for day in np.linspace(0, 360, 4_000)]
    early = at([each + samples.EARLY.days * DAY_MS for each in joined], joined, tenure_days=[30.0] * 4_000)
    found = early_value.cohorts(early, 400 * DAY_MS)
    known = found.learn.moments_ms + found.days * DAY_MS
    assert known.max() <= found.test.moments_ms.min()
    assert (found.test.moments_ms + found.days * DAY_MS).max() <= 400 * DAY_MS
    assert min(len(found.learn.joined_ms), len(found.test.joined_ms)) >= early_value.LEAST


def test_who_signed_up_before_the_history_began_is_no_joiner() -> None:
    early = at([30 * DAY_MS] * 3, [0, 0, 0], tenure_days=[500.0] * 3)
    with pytest.raises(CannotAnswer, match="nobody"):
        early_value.cohorts(early, 400 * DAY_MS)


def test_a_sign_is_found_where_there_is_one_and_not_where_there_is_none() -> None:
    chance, count = np.random.default_rng(4), 4_000
    orders, sessions = chance.integers(0, 3, count).astype(float), chance.integers(1, 6, count).astype(float)
    asked = at([0] * count, orders_total=orders.tolist(), sessions_total=sessions.tolist())
    is_top = chance.random(count) < np.where(orders >= 2, 0.12, 0.03)
    found = {signal.name: signal for signal in early_value.signals(asked, asked, is_top)}
    assert found["a second order"].low > 1
    assert found["a second order"].ratio == pytest.approx(4, abs=1)
    assert found["3 sessions or more"].low < 1 < found["3 sessions or more"].high
    assert found["3 sessions or more"].p > 0.05


# --- next order -------------------------------------------------------------------------------------------------------


def test_the_wait_is_the_inverse_of_the_chance_to_have_come() -> None:
    seen = Histories.of([0, 3, 10], [0.0, 40.0, 200.0], [30.0, 60.0, 210.0])
    for level in (0.1, 0.5, 0.9):
        waits = next_order.wait_of(PROCESS, seen, level)
        assert np.all((waits > 0) & (waits < next_order.WITHIN_DAYS))
        assert next_order.come_by(PROCESS, seen, waits) == pytest.approx(level)
    assert next_order.come_by(PROCESS, seen, np.full(3, next_order.WITHIN_DAYS)) == pytest.approx(1)


def test_levels_put_right_a_process_that_is_too_sure() -> None:
    """Orders come evenly over 90 days, the process thinks early: its quantiles are moved until 80 % are held."""
    chance, count = np.random.default_rng(6), 3_000
    seen = Histories.of(np.full(count, 30), np.full(count, 59.0), np.full(count, 60.0))
    waits = chance.uniform(0, 90, count)
    chosen = next_order.levels(PROCESS, seen, waits)
    again = chance.uniform(0, 90, count)
    low, high = (next_order.wait_of(PROCESS, seen, level) for level in (chosen.low, chosen.high))
    assert ((low <= again) & (again <= high)).mean() == pytest.approx(0.8, abs=0.03)
    with pytest.raises(CannotAnswer, match="it takes"):
        next_order.levels(PROCESS, seen, np.full(count, np.nan))


# --- forecast ---------------------------------------------------------------------------------------------------------


def daily(days: int, seed: int = 1) -> np.ndarray:
    chance, day = np.random.default_rng(seed), np.arange(days)
    return np.asarray(np.exp(7 + 0.3 * np.sin(2 * np.pi * day / 7) + chance.normal(0, 0.3, days)))


def test_an_origin_sees_the_days_before_it_alone() -> None:
    values = daily(200)
    other = values.copy()
    first = len(values) - sales_forecast.TESTED - sales_forecast.WEEK * (sales_forecast.ORIGINS - 1)
    other[first:] = 1.0
    ours, theirs = sales_forecast.backtest(values), sales_forecast.backtest(other)
    assert ours.foreseen[0].tolist() == theirs.foreseen[0].tolist()
    assert ours.naive[0].tolist() == values[first - 7 : first].tolist() * 2
    assert ours.foreseen[-1].tolist() != theirs.foreseen[-1].tolist()


def test_errors_are_those_of_their_definitions() -> None:
    real, foreseen = np.array([[10.0, 0.0], [20.0, 40.0]]), np.array([[12.0, 1.0], [20.0, 30.0]])
    found = sales_forecast.errors(real, foreseen, np.array([1.0, 2.0]))
    assert found.mae == pytest.approx(13 / 4)
    assert found.rmse == pytest.approx(np.sqrt(105 / 4))
    assert found.mape == pytest.approx((0.2 + 0 + 0.25) / 3)
    assert found.mase == pytest.approx((1.5 / 1 + 5 / 2) / 2)


def test_every_day_of_the_table_is_one_row_and_only_those_to_come_have_no_actual() -> None:
    values = daily(150)
    days = [date(2025, 1, 1) + timedelta(days=step) for step in range(len(values))]
    coming = [days[-1] + timedelta(days=step) for step in range(1, sales_forecast.AHEAD + 1)]
    ahead = sales_forecast.smooth(values, sales_forecast.AHEAD)
    told = sales_forecast.rows(days, values, sales_forecast.backtest(values), coming, ahead)
    assert [row["@timestamp"].date() for row in told] == [*days, *coming]
    assert [row["actual"] is None for row in told] == [row["is_future"] for row in told]
    assert all(row["low"] < row["forecast"] < row["high"] for row in told[-sales_forecast.AHEAD :])
    assert "forecast" not in told[0]


def test_days_without_sales_do_not_break_the_forecast() -> None:
    values = daily(100)
    values[::9] = 0
    assert np.isfinite(sales_forecast.smooth(values, 14).mean).all()


# --- the hypothesis ---------------------------------------------------------------------------------------------------


def test_cliffs_delta_is_that_of_the_u_statistic_with_ties() -> None:
    chance = np.random.default_rng(8)
    labels = (chance.random(500) < 0.4).astype(np.int8)
    values = np.round(chance.normal(size=500) + 0.5 * labels, 1)
    u = mannwhitneyu(values[labels == 1], values[labels == 0]).statistic
    (found,) = churn_hypothesis.effects(labels, {"x": values})
    assert found.delta == pytest.approx(2 * u / (labels.sum() * (500 - labels.sum())) - 1)
    assert found.low < found.delta < found.high
    assert found.low > 0


def test_a_quantity_that_only_follows_another_has_no_odds_of_its_own() -> None:
    chance, count = np.random.default_rng(9), 4_000
    cause = chance.normal(size=count)
    follower = cause + chance.normal(size=count)
    labels = (chance.random(count) < 1 / (1 + np.exp(-cause))).astype(np.int8)
    first, second = churn_hypothesis.odds(labels, {"cause": cause, "follower": follower})
    assert first.low > 1.5
    assert second.low < 1.05
    assert churn_hypothesis.effects(labels, {"follower": follower})[0].low > 0
