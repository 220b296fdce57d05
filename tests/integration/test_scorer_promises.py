"""What is promised of risks over time: right in 120 days of silence, told once, and equal to those made offline."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import redis

from churn import history, offline
from churn.actions import ACTIONS_FILE, read_actions
from churn.events import Event, epoch_ms
from churn.feature_store import Customer, RedisFeatureStore, StateWrite
from churn.features import MODEL_FEATURES, feature_row, replay, update
from churn.model import About, Population, RiskModel, rows_to_matrix, score
from churn.risk_card import RiskCard
from churn.segments import cut_points
from churn.state import EMPTY, STATE_VERSION, State, pack
from producer.simulator import Plan, Simulation
from scorer.bands import settled_band
from scorer.scoring import Scoring
from scorer.show import describe
from training.dataset import Samples
from training.fit import fit
from training.score import matrix_of, scored_table

CUSTOMERS = 1_000
DAYS = 120
FROM = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Told:
    """Topic `risk`, in memory."""

    def __init__(self) -> None:
        self.cards: list[RiskCard] = []

    def publish(self, cards: Sequence[RiskCard]) -> None:
        self.cards += cards


class Counting(RedisFeatureStore):
    """The real store, counting the customers that are read."""

    reads = 0

    def read_customers(self, customer_ids: Sequence[str]) -> dict[str, Customer]:
        self.reads += len(customer_ids)
        return super().read_customers(customer_ids)


class Fixed:
    """A model that stays."""

    def __init__(self, model: RiskModel) -> None:
        self.model = model


@pytest.fixture(scope="module")
def states() -> dict[str, State]:
    """Simulated customers after a year."""
    found: dict[str, list[Event]] = {}
    for event in Simulation(Plan(CUSTOMERS, CUSTOMERS * 20, 365, 11, FROM - DAY)).history():
        found.setdefault(event.customer_id, []).append(event)
    return {customer_id: replay(events) for customer_id, events in found.items()}


@pytest.fixture(scope="module")
def model(states: dict[str, State]) -> RiskModel:
    """A model of all features, for which long silence means churn."""
    rows = [feature_row(state, FROM + timedelta(days=number % 90)) for number, state in enumerate(states.values())]
    rows = [row for row in rows if row["recency_days"] is not None]
    matrix = rows_to_matrix(rows, MODEL_FEATURES)
    silence = matrix[:, MODEL_FEATURES.index("recency_days")] * np.random.default_rng(1).normal(1, 0.5, len(rows))
    ids = np.array([f"c{number}" for number in range(len(rows))])
    labels = (silence > np.median(silence)).astype(np.int8)
    fitted = fit(Samples(ids, np.zeros(len(rows), dtype=np.int64), matrix, labels), None)
    spread = [[float(row[name] or 0) for row in rows] for name in ("recency_days", "frequency", "monetary")]
    about = About(
        feature_names=MODEL_FEATURES,
        fold_version=STATE_VERSION,
        horizon_days=90,
        slope=fitted.slope,
        intercept=fitted.intercept,
        cut_offs={},
        data_sha256="",
        libraries={},
        metrics={},
        rfm=cut_points(*spread, version="v"),
        population=Population(1000, 400.0),
    )
    return RiskModel(fitted.pipeline, about)


class Days:
    """A store of silent customers, a clock that is moved day by day, and what is told."""

    def __init__(self, url: str, states: dict[str, State], model: RiskModel, now: datetime = FROM) -> None:
        self.now = now
        self.store = Counting(url)
        self.told = Told()
        actions = read_actions(ACTIONS_FILE)
        live = Fixed(model)
        self.scoring = Scoring(self.store, self.told, live, actions, lambda: self.now)  # type: ignore[arg-type]
        self.store.write_states([StateWrite(name, 0, 1, pack(state)) for name, state in states.items()])
        self.scoring.score(list(states))

    def tick(self) -> int:
        """Score who is due; how many that were."""
        done = 0
        while due := self.store.due(epoch_ms(self.now), 500):
            self.scoring.score(due)
            done += len(due)
        return done

    def pass_days(self, days: int) -> Iterator[int]:
        for _ in range(days):
            self.now += DAY
            yield self.tick()


def offline_changes(states: dict[str, State], model: RiskModel) -> dict[tuple[str, datetime], tuple[str, str]]:
    """The changes of band that a scan of all customers at every day finds, by customer and moment."""
    shown: dict[str, tuple[str, datetime]] = {}
    found = {}
    for day in range(DAYS + 1):
        moment = FROM + day * DAY
        rows = {name: feature_row(state, moment) for name, state in states.items()}
        buyers = [name for name, row in rows.items() if row["recency_days"] is not None]
        risks = score(model, [rows[name] for name in buyers]).risk.tolist()
        for name, risk in zip(buyers, risks, strict=True):
            before, since = shown.get(name, (None, None))
            after = settled_band(risk, before, since, moment)
            if before is not None and before != after:
                found[name, moment] = (before, after)
            if before != after:
                shown[name] = (after, moment)
    return found


@pytest.mark.timeout(1_200)
def test_in_120_days_of_silence_reads_are_right_changes_are_told_in_time_and_work_is_what_is_due(
    redis_url: str, states: dict[str, State], model: RiskModel
) -> None:
    days = Days(redis_url, states, model)
    days.store.reads = 0
    done = 0
    for number, count in enumerate(days.pass_days(DAYS)):
        done += count
        assert days.store.reads == done, "only who is due is read"
        assert days.tick() == 0
        if number % 30 == 0:
            for name, customer in days.store.read_customers(list(states)[:100]).items():
                assert_recency_is_of_now(name, customer, days.now)
            days.store.reads = done
    assert done == CUSTOMERS * DAYS, "everybody once a day"

    changes = [card for card in days.told.cards if card.band_change is not None]
    told = {
        (card.customer_id, card.band_change.at): (card.band_change.before, card.band_change.after)
        for card in changes
        if card.band_change is not None
    }
    predicted = offline_changes(states, model)
    assert len(predicted) > 200
    assert len(told) == len(changes), "no change is told twice"
    in_time = sum(told.get(change) == bands for change, bands in predicted.items())
    assert in_time >= 0.99 * len(predicted)
    assert len(told) <= 1.01 * len(predicted)

    by_customer: dict[str, list[float]] = {}
    for card in days.told.cards:
        if card.risk is not None:
            by_customer.setdefault(card.customer_id, []).append(card.risk)
    assert np.median([risks[90] - risks[0] for risks in by_customer.values()]) > 0.1


def assert_recency_is_of_now(name: str, customer: Customer, now: datetime) -> None:
    last = customer.fields["last_purchase_at"]
    assert customer.fields["as_of"] == now.isoformat(timespec="milliseconds")
    shown = describe(name, customer, now + timedelta(hours=5))["features"]["recency_days"]
    if not last:
        assert (customer.fields["recency_days"], shown) == ("", None)
        return
    silent = now - datetime.fromisoformat(last)
    assert float(customer.fields["recency_days"]) == pytest.approx(silent / DAY, rel=1e-5)
    assert shown == (silent + timedelta(hours=5)) / DAY


def test_a_restart_and_a_replay_of_everything_tell_no_change_again(
    redis_url: str, states: dict[str, State], model: RiskModel
) -> None:
    some = dict(list(states.items())[:200])
    days = Days(redis_url, some, model)
    for _ in days.pass_days(40):
        pass
    changed = [card for card in days.told.cards if card.band_change is not None]
    assert changed
    again = Days(redis_url, some, model, days.now)
    for _ in range(3):
        again.scoring.score(list(some))
    assert [card for card in again.told.cards if card.band_change is not None] == []


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("shop", ["simulated", pytest.param("real", marks=pytest.mark.real_data)])
def test_online_and_offline_risks_are_the_same_and_what_a_card_says_of_them_holds(
    shop: str, redis_url: str, model: RiskModel, replayed: Callable[[str, str], Path], tmp_path: Path
) -> None:
    if shop == "real":
        events = history.read(replayed("online_retail.parquet", "online-retail"))
    else:
        plan = ("--num_customers", "1500", "--num_events", "30000", "--until", "2026-01-01T00:00:00Z")
        command = (sys.executable, "-m", "producer", "simulate", *plan, "--output", str(tmp_path / "history"))
        subprocess.run(command, check=True, capture_output=True)
        events = history.read(tmp_path / "history")
    ids, times = events["customer_id"].unique().to_pylist(), events["occurred_at"]
    first, last = pc.min(times).as_py(), pc.max(times).as_py()
    chance = random.Random(5)
    compared = 0
    while compared < 2_500:
        redis.Redis.from_url(redis_url).flushall()
        moment = (first + (last - first) * chance.uniform(0.2, 1)).astimezone(UTC)
        moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        chosen = events.filter(pc.is_in(events["customer_id"], pa.array(chance.sample(ids, 600))))
        online = {name: arrived(known, moment, chance) for name, known in history.by_customer(chosen)}
        days = Days(redis_url, {name: state for name, state in online.items() if state != EMPTY}, model, moment)
        cards = {card.customer_id: card for card in days.told.cards if card.risk is not None}
        offline_risks = risks_of(offline.rows_at(chosen, moment), model)
        assert cards.keys() == offline_risks.keys()
        for name, card in cards.items():
            assert card.as_of == moment
            assert abs((card.risk or 0) - offline_risks[name]) < 1e-9
        for name in chance.sample(sorted(cards), len(cards) // 5):
            assert_card_holds(cards[name], online[name], model)
        compared += len(cards)


def arrived(known: list[tuple[Event, datetime]], moment: datetime, chance: random.Random) -> State:
    """The state at the moment, of events that came up to 20 hours late and in another order."""
    seen = [event for event, ingested_at in known if max(event.occurred_at, ingested_at) <= moment]
    return replay(sorted(seen, key=lambda event: event.occurred_at + chance.random() * timedelta(hours=20)))


def risks_of(table: Any, model: RiskModel) -> dict[str, float]:
    """By customer with an order, as `training score` gives them from a table of features."""
    frame = table.to_pandas()
    matrix = matrix_of(frame, model.about.feature_names, Path("features"))
    scored = scored_table(model, frame["customer_id"].tolist(), matrix)
    return {name: risk for name, risk in zip(scored["customer_id"], scored["risk"], strict=True) if not np.isnan(risk)}


def assert_card_holds(card: RiskCard, state: State, model: RiskModel) -> None:
    assert card.risk is not None
    assert card.base is not None
    assert card.base + sum(card.contributions) == pytest.approx(np.log(card.risk / (1 - card.risk)), abs=1e-6)
    row = feature_row(state, card.as_of)
    assert card.drivers
    assert all(driver.value is not None and driver.value == row[driver.feature] for driver in card.drivers)
    if card.counterfactual is not None:
        order = Event("now", "purchase", card.as_of, "c", price=max(0.0, float(row["average_order_value"] or 0)))  # type: ignore[call-arg]
        after = score(model, [feature_row(update(state, order), card.as_of)]).risk[0]
        assert abs(card.counterfactual.risk - after) < 0.005
