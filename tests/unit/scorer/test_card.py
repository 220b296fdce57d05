"""A card says a risk with its reasons, or says that there is none, and repeats itself."""

import math
from datetime import datetime, timedelta

import pytest

from churn.events import Event, epoch_ms
from churn.features import MAX_RECENT, feature_row, replay
from churn.model import RiskModel, band, score
from churn.risk_card import RiskCard, Status
from churn.state import State
from scorer.actions import Actions
from scorer.card import build_cards, card_write


@pytest.fixture
def card(buyer: State, model: RiskModel, actions: Actions, now: datetime) -> RiskCard:
    return build_cards([("buyer", buyer)], model, actions, now)[0]


def test_a_card_carries_the_models_risk_as_of_now(
    card: RiskCard, buyer: State, model: RiskModel, now: datetime
) -> None:
    row = feature_row(buyer, now)
    assert card.risk == score(model, [row]).risk[0]
    assert (card.status, card.as_of, card.scored_at) == (Status.FRESH, now, now)
    assert (card.features, card.model_version) == (row, model.model_version)


def test_the_reasons_on_a_card_add_up_to_its_risk(card: RiskCard) -> None:
    assert card.risk is not None
    assert card.base is not None
    log_odds = card.base + math.fsum(driver.contribution for driver in card.drivers)
    assert log_odds == pytest.approx(math.log(card.risk / (1 - card.risk)), abs=1e-9)
    assert "no order for 63 days (raises the risk)" in [driver.sentence for driver in card.drivers]


def test_segment_band_and_action_follow_the_models_cut_points(card: RiskCard, actions: Actions) -> None:
    assert card.risk is not None
    assert card.segment == "Hibernating"
    assert card.risk_band == band(card.risk)
    assert card.action == actions["Hibernating", band(card.risk)]


def test_scoring_again_as_of_the_same_moment_says_the_same(
    card: RiskCard, buyer: State, visitor: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    again = build_cards([("visitor", visitor), ("buyer", buyer)], model, actions, now)
    assert again[1] == card


def test_silence_alone_raises_the_risk(buyer: State, model: RiskModel, actions: Actions, now: datetime) -> None:
    first, later = (build_cards([("b", buyer)], model, actions, now + timedelta(days=days))[0] for days in (0, 30))
    assert first.risk is not None
    assert later.risk is not None
    assert later.risk > first.risk


def test_without_a_model_there_is_a_card_but_no_risk(
    buyer: State, visitor: State, actions: Actions, now: datetime
) -> None:
    cards = build_cards([("buyer", buyer), ("visitor", visitor)], None, actions, now)
    for card, segment in zip(cards, ("unknown", "Prospect"), strict=True):
        assert card.status == Status.INSUFFICIENT_DATA
        assert (card.risk, card.risk_band, card.base, card.model_version) == (None, None, None, None)
        assert card.drivers == []
        assert (card.segment, card.action) == (segment, actions[segment, "unknown"])
        assert card.features["events_total"]


def test_a_model_that_has_seen_too_few_customers_gives_segments_but_no_risk(
    buyer: State, small_model: RiskModel, actions: Actions, now: datetime
) -> None:
    card = build_cards([("buyer", buyer)], small_model, actions, now)[0]
    assert (card.status, card.risk, card.segment) == (Status.INSUFFICIENT_DATA, None, "Hibernating")


def test_who_never_ordered_has_no_churn_risk(
    buyer: State, visitor: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    prospect, scored = build_cards([("visitor", visitor), ("buyer", buyer)], model, actions, now)
    assert (prospect.status, prospect.risk, prospect.segment) == (Status.INSUFFICIENT_DATA, None, "Prospect")
    assert scored.risk is not None


def test_a_burst_stamped_by_a_clock_ahead_of_ours_is_scored_as_of_its_settled_events(
    model: RiskModel, actions: Actions, now: datetime
) -> None:
    ahead = now + timedelta(minutes=4)
    burst = replay(
        Event(f"e{number}", "view", ahead + timedelta(milliseconds=number), "c", product_id="p")
        for number in range(MAX_RECENT + 20)
    )
    card = build_cards([("c", burst)], model, actions, now)[0]
    assert now < card.as_of < ahead + timedelta(seconds=1)


def test_a_card_is_due_again_after_a_day(card: RiskCard, now: datetime) -> None:
    write = card_write(card)
    assert (write.customer_id, write.risk) == ("buyer", card.risk)
    assert write.due_ms == epoch_ms(now + timedelta(hours=24))
    assert write.fields["segment"] == "Hibernating"
