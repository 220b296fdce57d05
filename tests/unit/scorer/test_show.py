"""A look at a customer tells the age of what it shows, and values of this moment."""

import json
from datetime import datetime, timedelta

import pytest
from rich.console import Console

from churn.actions import Actions
from churn.feature_store import CardWrite, MemoryFeatureStore, StateWrite
from churn.features import MODEL_FEATURES
from churn.model import RiskModel
from churn.state import State, pack
from scorer.card import Known, score_customers
from scorer.show import UnknownCustomer, card_view, describe, top


@pytest.fixture
def store(buyer: State, visitor: State, model: RiskModel, actions: Actions, now: datetime) -> MemoryFeatureStore:
    """A buyer and a visitor, scored now, and `fresh` who was not scored yet."""
    store = MemoryFeatureStore()
    store.write_states([StateWrite(name, 0, 1, pack(buyer)) for name in ("buyer", "fresh")])
    customers = [Known("buyer", buyer, {}), Known("visitor", visitor, {})]
    store.write_cards([scored.write for scored in score_customers(customers, model, actions, now)])
    return store


def printed(thing: object) -> str:
    console = Console(width=250)
    with console.capture() as captured:
        console.print(thing)
    return captured.get()


def test_a_card_keeps_the_scored_risk_and_shows_features_of_this_moment(
    store: MemoryFeatureStore, now: datetime
) -> None:
    later = now + timedelta(hours=36)
    card = describe("buyer", store.read_customer("buyer"), later)
    assert (card["status"], card["age_s"], card["as_of"]) == (
        "fresh",
        36 * 3600,
        now.isoformat(timespec="milliseconds"),
    )
    assert card["features"]["recency_days"] == 65.0
    assert "no order for 63 days; usually every 137 (raises the risk)" in card["drivers"]
    assert json.loads(json.dumps(card)) == card


@pytest.mark.parametrize(("hours", "status"), [(0, "fresh"), (48, "fresh"), (48.01, "stale")])
def test_a_risk_is_stale_after_two_days(hours: float, status: str, store: MemoryFeatureStore, now: datetime) -> None:
    assert describe("buyer", store.read_customer("buyer"), now + timedelta(hours=hours))["status"] == status


def test_a_missing_risk_stays_missing_however_old(store: MemoryFeatureStore, now: datetime) -> None:
    card = describe("visitor", store.read_customer("visitor"), now + timedelta(days=9))
    assert (card["status"], card["risk"], card["segment"]) == ("insufficient_data", None, "Prospect")
    assert "no number" in printed(card_view(card))


def test_a_customer_who_was_not_scored_yet_has_features_only(store: MemoryFeatureStore, now: datetime) -> None:
    card = describe("fresh", store.read_customer("fresh"), now)
    assert (card["status"], card["risk"], card["as_of"]) == ("insufficient_data", None, None)
    assert card["features"]["frequency"] == 2
    assert "not scored yet" in printed(card_view(card))


def test_an_unknown_customer_is_named(store: MemoryFeatureStore, now: datetime) -> None:
    with pytest.raises(UnknownCustomer, match="'nobody'"):
        describe("nobody", store.read_customer("nobody"), now)


def test_a_card_for_people_shows_risk_reasons_action_and_age(store: MemoryFeatureStore, now: datetime) -> None:
    card = describe("buyer", store.read_customer("buyer"), now + timedelta(hours=3))
    shown = printed(card_view(card))
    for words in (
        f"{card['risk']:.3f}",
        card["action"],
        card["drivers"][0],
        "fresh, scored 3:00:00 ago",
        "recency_days",
    ):
        assert words in shown


def test_the_ranking_shows_only_who_has_a_risk_highest_first(
    store: MemoryFeatureStore, buyer: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    (worse,) = score_customers([Known("worse", buyer, {})], model, actions, now + timedelta(days=100))
    store.write_cards([worse.write])
    shown = printed(top(store, 10, now))
    assert 0 < shown.index("worse") < shown.index("buyer")
    assert "visitor" not in shown
    assert "buyer" not in printed(top(store, 1, now))


def test_the_ranking_of_a_segment_shows_nobody_else(store: MemoryFeatureStore, now: datetime) -> None:
    assert "buyer" in printed(top(store, 10, now, "Hibernating"))
    assert "buyer" not in printed(top(store, 10, now, "Champions"))


def test_contributions_are_by_feature_and_left_out_where_other_features_were_scored(
    store: MemoryFeatureStore, now: datetime
) -> None:
    card = describe("buyer", store.read_customer("buyer"), now)
    assert card["contributions"].keys() == set(MODEL_FEATURES)
    as_of = store.read_customer("buyer").fields["as_of"]  # type: ignore[union-attr]
    store.write_cards([CardWrite("buyer", {"feature_version": "1-0", "contributions": "[1.0]"}, 0.5, as_of)])
    assert describe("buyer", store.read_customer("buyer"), now)["contributions"] is None
