"""A card says what the model says, with reasons that add up; without enough to go on it says that."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import numpy as np
import pytest

from churn import risk_card
from churn.actions import Actions
from churn.customer_value import LOOKS_AT, ValueModel, predict_value
from churn.events import Event, epoch_ms
from churn.features import MAX_RECENT, MODEL_FEATURES, FeatureRow, feature_row, replay, update
from churn.model import RiskModel, band, rows_to_matrix, score
from churn.purchase_process import Process, Spend
from churn.risk_card import FEATURES_SHOWN, FIELDS, RiskCard, Status, readable
from churn.state import State
from scorer.bands import DWELL
from scorer.card import Known, Scored, build_cards, score_customers, told


def scored(
    state: State, model: RiskModel | None, actions: Actions, now: datetime, fields: Mapping[str, str] | None = None
) -> Scored:
    (only,) = score_customers([Known("buyer", state, fields or {})], model, actions, now)
    return only


def day_by_day(
    state: State, model: RiskModel, actions: Actions, moments: Sequence[datetime], first_band: str = ""
) -> tuple[list[RiskCard], dict[str, str]]:
    """The cards of one customer at these moments, each kept and told before the next, and what is kept at last."""
    cards, fields = [], {"risk_band": first_band}
    for now in moments:
        each = scored(state, model, actions, now, fields)
        fields |= each.write.fields
        if each.card.band_change is not None:
            fields |= told(each.card).fields
        cards.append(each.card)
    return cards, fields


@pytest.fixture
def card(buyer: State, model: RiskModel, actions: Actions, now: datetime) -> RiskCard:
    return scored(buyer, model, actions, now).card


def log_odds(risk: float) -> float:
    return math.log(risk / (1 - risk))


def test_a_card_carries_the_models_risk_as_of_now(
    card: RiskCard, buyer: State, model: RiskModel, now: datetime
) -> None:
    row = feature_row(buyer, now)
    assert card.risk == score(model, [row]).risk[0]
    assert (card.status, card.as_of, card.scored_at) == (Status.FRESH, now, now)
    assert (card.features, card.model_version) == (row, model.model_version)


def test_the_contributions_on_a_card_and_in_its_fields_add_up_to_its_risk(card: RiskCard) -> None:
    assert card.risk is not None
    assert card.base is not None
    assert card.base + math.fsum(card.contributions) == pytest.approx(log_odds(card.risk), abs=1e-6)
    fields = readable(card)
    parts = msgspec.json.decode(fields["contributions"])
    assert float(fields["base"]) + math.fsum(parts) == pytest.approx(log_odds(float(fields["risk"])), abs=1e-6)


def test_drivers_are_the_heaviest_reasons_with_values_of_the_customers_own_events(
    card: RiskCard, buyer: State, model: RiskModel, now: datetime
) -> None:
    names = model.about.feature_names
    row = feature_row(buyer, now)
    known = [abs(part) if row[name] is not None else 0.0 for name, part in zip(names, card.contributions, strict=True)]
    assert [names.index(driver.feature) for driver in card.drivers] == sorted(
        range(len(names)), key=lambda at: -known[at]
    )[:3]
    assert [driver.value for driver in card.drivers] == [row[driver.feature] for driver in card.drivers]
    assert "no order for 63 days; usually every 137 (raises the risk)" in [driver.sentence for driver in card.drivers]


def test_segment_tier_group_band_and_action_follow_the_models_cut_points(card: RiskCard, actions: Actions) -> None:
    assert card.risk is not None
    assert (card.segment, card.tier) == ("Hibernating", "At Risk")
    assert card.risk_band == band(card.risk)
    assert card.lifecycle == ("at-risk" if card.risk_band == "high" else "other")
    assert card.action == actions["Hibernating", band(card.risk)]


def test_the_stated_risk_after_an_order_is_what_comes_of_that_order(
    buyer: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    moment = now + timedelta(days=60)
    card = scored(buyer, model, actions, moment).card
    assert card.counterfactual is not None
    assert card.risk is not None
    order = Event("any", "purchase", moment, "buyer", price=50.0)
    after = score(model, [feature_row(update(buyer, order), moment)]).risk[0]
    assert card.counterfactual.risk == pytest.approx(after, abs=1e-12)
    assert card.counterfactual.sentence == f"an order today: {card.risk:.2f} → {after:.2f}"
    assert after < card.risk


def test_who_is_not_at_risk_has_nothing_to_be_won_by_an_order(
    buyer: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    order = Event("any", "purchase", now, "buyer", price=50.0)
    state = update(update(buyer, order), msgspec.structs.replace(order, event_id="other"))
    card = scored(state, model, actions, now).card
    assert (card.risk_band, card.counterfactual) == ("low", None)
    assert readable(card)["counterfactual"] == ""


def test_the_next_order_is_expected_after_the_usual_gap_and_late_from_then_on(
    buyer: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    # One gap of 137 days, trusted by a third: 137 / 3 + 30 x 2 / 3 = 65.67 days after the last order 63.5 days ago.
    cards = [scored(buyer, model, actions, now + timedelta(days=days)).card for days in (0, 10)]
    expected = now + timedelta(days=137 / 3 + 20 - 63.5)
    assert [card.features["next_order_at"] for card in cards] == [pytest.approx(epoch_ms(expected), abs=1)] * 2
    assert cards[0].days_late == 0
    assert cards[1].days_late == pytest.approx(10 - 65.667 + 63.5, abs=0.01)


def test_scoring_again_as_of_the_same_moment_says_the_same(
    card: RiskCard, buyer: State, visitor: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    fields = scored(buyer, model, actions, now).write.fields
    customers = [Known("visitor", visitor, {}), Known("buyer", buyer, fields)]
    again = score_customers(customers, model, actions, now)[1]
    assert again.card == card
    assert again.write.fields == {}, "what is there already is not written again"
    assert again.write.read_as_of == fields["as_of"]


def test_silence_alone_raises_the_risk(buyer: State, model: RiskModel, actions: Actions, now: datetime) -> None:
    first, later = (scored(buyer, model, actions, now + timedelta(days=days)).card.risk for days in (0, 30))
    assert first is not None
    assert later is not None
    assert later > first


def test_the_trend_is_the_risk_less_that_of_7_and_28_days_ago(
    buyer: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    cards, fields = day_by_day(buyer, model, actions, [now + timedelta(days=day) for day in range(30)])
    risks = [card.risk or 0.0 for card in cards]
    assert [card.trend_7d for card in cards[:7]] == [None] * 7
    assert cards[29].trend_7d == pytest.approx(risks[29] - risks[22], abs=1e-4)
    assert cards[29].trend_28d == pytest.approx(risks[29] - risks[1], abs=1e-4)
    assert fields["trend_7d"] == f"{cards[29].trend_7d:+.4f}"


def test_a_change_of_band_is_told_once_with_its_reasons_and_kept_on_the_card(
    buyer: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    days = [now + timedelta(days=day) for day in range(0, 60, 2)]
    cards, fields = day_by_day(buyer, model, actions, days, "low")
    changes = [(card.as_of, card.band_change) for card in cards if card.band_change is not None]
    assert len(changes) == 1
    for at, change in changes:
        assert change.at == at
        assert change.before != change.after
        assert change.money_at_stake is not None
    last = changes[-1][1]
    assert (fields["band_before"], fields["risk_band"]) == (last.before, last.after)
    assert risk_card.decode_change(fields["band_change"]) == last
    assert fields["band_changed_at"] == fields["band_change_told"] == last.at.isoformat(timespec="milliseconds")


def test_the_reasons_of_a_change_are_the_largest_changes_of_contributions(
    buyer: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    first = scored(buyer, model, actions, now)
    fields = dict(first.write.fields) | {"risk_band": "medium"}
    later = scored(buyer, model, actions, now + timedelta(days=30), fields).card
    assert later.band_change is not None
    moved = np.array(later.contributions) - np.array(first.card.contributions)
    known = [abs(part) * (later.features[name] is not None) for name, part in zip(MODEL_FEATURES, moved, strict=True)]
    largest = sorted(range(len(known)), key=lambda place: -known[place])[:3]
    assert [reason[-6:] for reason in later.band_change.why] == [f"({moved[place]:+.2f})"[-6:] for place in largest]
    assert all(" (" in reason for reason in later.band_change.why)


def test_a_change_that_was_kept_and_not_told_is_told_by_the_next_card(
    buyer: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    fields = dict(scored(buyer, model, actions, now).write.fields) | {"risk_band": "low"}
    changed = scored(buyer, model, actions, now + timedelta(hours=7), fields)
    assert changed.card.band_change is not None
    fields |= changed.write.fields
    again = scored(buyer, model, actions, now + timedelta(hours=8), fields)
    assert again.card.band_change == changed.card.band_change
    fields |= again.write.fields | told(again.card).fields
    assert scored(buyer, model, actions, now + timedelta(hours=9), fields).card.band_change is None


def test_a_change_of_band_by_another_model_says_so(
    buyer: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    fields = scored(buyer, model, actions, now).write.fields | {"risk_band": "low", "model_version": "old"}
    change = scored(buyer, model, actions, now + timedelta(hours=7), fields).card.band_change
    assert change is not None
    assert change.why[0] == f"another model: old before, {model.model_version} now"


def test_without_a_model_there_is_a_card_but_no_risk(
    buyer: State, visitor: State, actions: Actions, now: datetime
) -> None:
    customers = [Known("buyer", buyer, {}), Known("visitor", visitor, {})]
    for each, segment in zip(score_customers(customers, None, actions, now), ("unknown", "Prospect"), strict=True):
        card = each.card
        assert card.status == Status.INSUFFICIENT_DATA
        assert (card.risk, card.risk_band, card.base, card.model_version) == (None, None, None, None)
        assert (card.drivers, card.contributions, card.counterfactual, card.trend_7d) == ([], [], None, None)
        assert (card.segment, card.action) == (segment, actions[segment, "unknown"])
        assert card.features["events_total"]
        for name in ("risk", "risk_band", "base", "trend_7d", "money_at_stake", "counterfactual", "model_version"):
            assert each.write.fields[name] == ""


def test_a_card_that_loses_its_risk_shows_none_of_the_numbers_that_rested_on_it(
    buyer: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    fields = dict(scored(buyer, model, actions, now).write.fields)
    fields |= scored(buyer, None, actions, now + timedelta(hours=1), fields).write.fields
    for name in ("risk", "risk_band", "band_changed_at", "base", "money_at_stake", "counterfactual", "model_version"):
        assert fields[name] == ""
    assert (fields["status"], fields["drivers"], fields["contributions"]) == ("insufficient_data", "[]", "[]")


def test_a_model_that_has_seen_too_few_customers_gives_segments_but_no_risk(
    buyer: State, small_model: RiskModel, actions: Actions, now: datetime
) -> None:
    card = scored(buyer, small_model, actions, now).card
    assert (card.status, card.risk, card.segment) == (Status.INSUFFICIENT_DATA, None, "Hibernating")


def test_who_never_ordered_has_no_churn_risk_and_no_numbers_of_a_buyer(
    buyer: State, visitor: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    customers = [Known("visitor", visitor, {}), Known("buyer", buyer, {})]
    prospect, bought = score_customers(customers, model, actions, now)
    assert (prospect.card.status, prospect.card.risk, prospect.card.segment) == ("insufficient_data", None, "Prospect")
    for name in ("tier", "lifecycle", "value_score", "next_order_at", "days_late", "recency_days"):
        assert prospect.write.fields[name] == ""
    assert bought.card.risk is not None


def test_a_burst_stamped_by_a_clock_ahead_of_ours_is_scored_as_of_its_settled_events(
    model: RiskModel, actions: Actions, now: datetime
) -> None:
    ahead = now + timedelta(minutes=4)
    burst = replay(
        Event(f"e{number}", "view", ahead + timedelta(milliseconds=number), "c", product_id="p")
        for number in range(MAX_RECENT + 20)
    )
    card = scored(burst, model, actions, now).card
    assert now < card.as_of < ahead + timedelta(seconds=1)


def test_a_card_is_due_again_after_a_day_or_when_an_order_leaves_a_window(
    buyer: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    assert scored(buyer, model, actions, now).due_ms == epoch_ms(now + timedelta(hours=24))
    before = now + timedelta(days=26, hours=2)
    assert scored(buyer, model, actions, before).due_ms == epoch_ms(now + timedelta(days=90 - 63.5))


def test_a_card_whose_band_is_held_back_is_due_when_the_dwell_is_over(
    buyer: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    since = now - timedelta(hours=1)
    fields = scored(buyer, model, actions, now).write.fields | {
        "risk_band": "medium",
        "band_changed_at": since.isoformat(timespec="milliseconds"),
    }
    held = scored(buyer, model, actions, now, fields)
    assert held.card.risk_band == "medium"
    assert held.due_ms == epoch_ms(since + DWELL)


def test_every_field_that_is_written_is_described_and_every_described_one_written(
    buyer: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    _, fields = day_by_day(buyer, model, actions, [now + timedelta(days=day) for day in range(0, 400, 5)])
    assert fields.keys() == FIELDS.keys() | set(FEATURES_SHOWN)


def test_many_customers_are_scored_like_one(buyer: State, model: RiskModel, actions: Actions, now: datetime) -> None:
    rows: list[FeatureRow] = [feature_row(buyer, now + timedelta(days=day)) for day in range(3)]
    together = score(model, rows).risk
    assert np.allclose(together, [score(model, [row]).risk[0] for row in rows], atol=1e-12)


def test_who_will_bring_most_is_high_ltv_and_everybodys_value_stands_on_the_card(
    buyer: State, model: RiskModel, actions: Actions, now: datetime
) -> None:
    value = ValueModel(Process(1.2, 60.0, 0.6, 2.5), Spend(6.0, 4.0, 25.0), 0.01)
    of_top = replace(model, about=msgspec.structs.replace(model.about, value=value))
    below = replace(
        model, about=msgspec.structs.replace(model.about, value=msgspec.structs.replace(value, top_from=1e9))
    )
    top, other = (build_cards([Known("buyer", buyer, {})], each, actions, now)[0] for each in (of_top, below))
    expected = float(predict_value(value, rows_to_matrix([feature_row(buyer, now)], LOOKS_AT))[0])
    assert top.predicted_value == other.predicted_value == round(expected, 2) > 0
    assert (top.lifecycle, other.lifecycle) == ("high-ltv", "other" if other.risk_band != "high" else "at-risk")
