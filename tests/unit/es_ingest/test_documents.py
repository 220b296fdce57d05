"""What a message looks like in Elasticsearch."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import pytest

from churn import dead_letters, risk_card
from churn.dead_letters import DeadLetter
from churn.events import EventSchema, InvalidEvent
from churn.features import FEATURES, feature_row
from churn.risk_card import BandChange, Counterfactual, Driver, RiskCard, Status
from churn.state import EMPTY
from es_ingest import documents, templates
from es_ingest.documents import Document

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
ARRIVED_MS = 1_773_576_000_123  # 2026-03-15T12:00:00.123Z
EVENT: dict[str, Any] = {
    "event_id": "e-1",
    "event_type": "purchase",
    "occurred_at": "2026-02-28T23:59:59.5Z",
    "customer_id": "c-1",
    "product_id": "p-1",
    "price": 19.99,
    "quantity": 3,
    "discount": 5.005,
}
BY_NAME = {template.name: template.properties for template in templates.ALL}


class Message(NamedTuple):
    topic: str
    value: bytes | None
    partition: int = 2
    offset: int = 7
    timestamp: int = ARRIVED_MS
    key: bytes | None = b"c-1"


def read(message: Message) -> list[Document]:
    return documents.of_message(message, now=NOW, currency="EUR")


def only_event(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    (document,) = read(Message("events", json.dumps({**EVENT, **changes}).encode()))
    action, source = map(json.loads, document.lines.splitlines())
    return action, source


def card(**changes: Any) -> RiskCard:
    features = {**feature_row(EMPTY, NOW), "monetary": 250.0, "country": "DE", "last_purchase_at": 1_770_000_000_000}
    drivers = [Driver(f"feature_{n}", 1.0, 1.0 / n, f"Sentence {n}.") for n in range(1, 5)]
    fields: dict[str, Any] = {
        "customer_id": "c-1",
        "as_of": datetime(2026, 3, 1, 0, 30, tzinfo=UTC),
        "scored_at": datetime(2026, 3, 1, 0, 31, tzinfo=UTC),
        "status": Status.FRESH,
        "risk": 0.8125,
        "risk_band": "high",
        "base": -1.0,
        "drivers": drivers,
        "segment": "At Risk",
        "action": "Call them.",
        "model_version": "abc",
        "features": features,
        "band_before": "medium",
        "band_changed_at": datetime(2026, 2, 27, tzinfo=UTC),
        "band_change": BandChange("medium", "high", datetime(2026, 2, 27, tzinfo=UTC), ["Why."], 203.12),
        "trend_7d": 0.1,
        "trend_28d": 0.2,
        "counterfactual": Counterfactual(0.3, "an order today: 0.81 → 0.30"),
        "tier": "At Risk",
        "predicted_value": 321.5,
        "lifecycle": "at-risk",
        "feature_version": "2-0",
    }
    return RiskCard(**{**fields, **changes})


def card_documents(card: RiskCard) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    found = read(Message("risk", risk_card.encode(card)))
    return [tuple(map(json.loads, document.lines.splitlines())) for document in found]  # type: ignore[misc]


def test_an_event_lies_in_the_month_in_which_it_happened_under_its_own_id() -> None:
    action, source = only_event()
    assert action == {"create": {"_index": "events-2026.02", "_id": "e-1"}}
    assert source["@timestamp"] == source["occurred_at"] == "2026-02-28T23:59:59.500000Z"
    assert source["ingested_at"] == "2026-03-15T12:00:00.123000Z"
    assert {name: source[name] for name in EVENT if name != "occurred_at"} == {
        name: value for name, value in EVENT.items() if name != "occurred_at"
    }


def test_an_event_tells_how_long_it_took_to_arrive() -> None:
    arrived = datetime(2026, 3, 15, 12, 0, 0, 123_000, tzinfo=UTC)
    assert only_event(occurred_at="2026-03-15T11:59:00.123Z")[1]["delay_s"] == 60.0
    assert only_event(occurred_at=(arrived + timedelta(seconds=2)).isoformat())[1]["delay_s"] == -2.0


def test_the_month_is_that_of_utc() -> None:
    action, _ = only_event(occurred_at="2026-03-01T00:30:00+02:00")
    assert action["create"]["_index"] == "events-2026.02"


def test_an_event_at_the_edge_of_time_has_a_month_too() -> None:
    action, _ = only_event(occurred_at="0001-01-01T00:30:00+02:00")
    assert action["create"]["_index"] == "events-0001.01"


@pytest.mark.parametrize(
    ("changes", "revenue"),
    [
        ({}, 54.97),  # 59.97 less 5.005, rounded to 5.00 as the fold rounds it
        ({"discount": None}, 59.97),
        ({"event_type": "refund"}, -54.97),
        ({"event_type": "refund", "discount": None, "quantity": 1}, -19.99),
        ({"event_type": "cart"}, None),
    ],
)
def test_the_revenue_of_a_line_is_what_the_shop_kept(changes: dict[str, Any], revenue: float | None) -> None:
    assert only_event(**changes)[1].get("revenue") == revenue


def test_a_quantity_that_nobody_named_stands_in_the_document() -> None:
    payload = {name: value for name, value in EVENT.items() if name != "quantity"}
    (document,) = read(Message("events", json.dumps(payload).encode()))
    assert json.loads(document.lines.splitlines()[1])["quantity"] == 1


def test_every_field_of_an_event_is_in_its_template() -> None:
    full = {
        **EVENT,
        "session_id": "s",
        "product_name": "n",
        "category": "k",
        "order_id": "o",
        "currency": "EUR",
        "channel": "web",
        "campaign": "spring",
        "device": "phone",
        "country": "DE",
        "rating": 5,
        "age": 40,
        "gender": "f",
        "location": "Berlin",
        "signup_date": "2025-01-01",
    }
    assert full.keys() == EventSchema.model_fields.keys()
    _, source = only_event(**full)
    assert source.keys() == templates.ALL[0].properties.keys()


def test_an_event_from_the_future_stays_refused_when_it_is_read_again_later() -> None:
    payload = json.dumps({**EVENT, "occurred_at": "2026-03-15T12:10:00Z"}).encode()
    with pytest.raises(InvalidEvent):
        documents.of_message(Message("events", payload), now=datetime(2026, 4, 1, tzinfo=UTC), currency="EUR")


def test_a_message_without_a_time_is_as_old_as_its_reading() -> None:
    (document,) = read(Message("events", json.dumps(EVENT).encode(), timestamp=-1))
    assert json.loads(document.lines.splitlines()[1])["ingested_at"] == "2026-03-15T12:00:00Z"


def test_an_id_that_elasticsearch_would_not_take_is_replaced_by_its_digest() -> None:
    fits, does_not = card(customer_id="ä" * 128), card(customer_id="😀" * 128)
    ids = [action["index"]["_id"] for action, _ in card_documents(fits) + card_documents(does_not)]
    assert ids[0] == "ä" * 128
    assert ids[2] == "😀" * 128
    assert len(ids[3]) == 64
    assert ids[3] != ids[1]


def test_a_card_gives_the_customer_and_one_entry_of_the_history() -> None:
    (customer, now), (entry, then) = card_documents(card())
    as_of_ms, scored_ms = 1_772_325_000_000, 1_772_325_060_000
    assert customer["index"] == {
        "_index": "customers",
        "_id": "c-1",
        "version": as_of_ms,
        "version_type": "external_gte",
    }
    assert entry["index"] == {
        "_index": "risk-2026.03",
        "_id": "c-1 2026-03-01T00:30:00+00:00",
        "version": scored_ms,
        "version_type": "external_gte",
    }
    assert now == then


def test_a_card_says_its_three_first_reasons_and_what_is_at_stake() -> None:
    source = card_documents(card())[0][1]
    assert source["drivers"] == ["Sentence 1.", "Sentence 2.", "Sentence 3."]
    assert (source["top_driver"], source["top_reason"]) == ("feature_1", "Sentence 1.")
    assert source["money_at_stake"] == 203.12  # 250 x 0.8125 = 203.125, rounded half to even
    assert source["@timestamp"] == source["as_of"] == "2026-03-01T00:30:00Z"


def test_a_card_tells_its_band_its_trend_and_what_could_be_done() -> None:
    source = card_documents(card())[0][1]
    assert (source["band_before"], source["band_changed_at"]) == ("medium", "2026-02-27T00:00:00Z")
    assert (source["band_change_why"], source["trend_7d"]) == (["Why."], 0.1)
    assert (source["counterfactual"], source["counterfactual_risk"]) == ("an order today: 0.81 → 0.30", 0.3)


def test_the_features_of_a_card_are_fields_of_their_own() -> None:
    source = card_documents(card())[0][1]
    assert (source["monetary"], source["country"]) == (250.0, "DE")
    assert source["last_purchase_at"] == 1_770_000_000_000
    assert "features" not in source


def test_a_card_without_a_score_says_nothing_of_risk() -> None:
    unknown = card(status=Status.INSUFFICIENT_DATA, risk=None, risk_band=None, drivers=[], model_version=None)
    source = card_documents(unknown)[0][1]
    assert source["status"] == "insufficient_data"
    assert not {"risk", "risk_band", "top_driver", "top_reason", "money_at_stake", "model_version"} & source.keys()


def test_every_field_of_a_card_is_in_both_templates() -> None:
    every: dict[str, Any] = {feature.name: 1 for feature in FEATURES}
    source = card_documents(card(features=every))[0][1]
    assert source.keys() == BY_NAME["ebb-customers"].keys() == BY_NAME["ebb-risk"].keys()


def test_a_version_before_1970_does_not_make_elasticsearch_refuse_the_request() -> None:
    (customer, _), _ = card_documents(card(as_of=datetime(1969, 12, 31, tzinfo=UTC)))
    assert customer["index"]["version"] == 0


def test_a_tombstone_is_no_document() -> None:
    assert read(Message("risk", None)) == []
    assert read(Message("dead-letters", None)) == []


def test_a_dead_letter_lies_in_the_month_in_which_it_failed() -> None:
    letter = DeadLetter("events-0-9", "broken_json", "no JSON", NOW, "stream_processor", "eA==", 1, offset=9)
    (document,) = read(Message("dead-letters", dead_letters.encode(letter)))
    action, source = map(json.loads, document.lines.splitlines())
    assert action == {"create": {"_index": "dead-letters-2026.03", "_id": "events-0-9"}}
    assert source == {"@timestamp": "2026-03-15T12:00:00Z", **json.loads(dead_letters.encode(letter))}


def test_every_field_of_a_dead_letter_is_in_its_template() -> None:
    full = DeadLetter("id", "r", "d", NOW, "s", "", 0, "t", 0, 0, "f", 1, "c")
    (document,) = read(Message("dead-letters", dead_letters.encode(full)))
    source = json.loads(document.lines.splitlines()[1])
    assert source.keys() == BY_NAME["ebb-dead-letters"].keys()


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (Message("events", b"{"), InvalidEvent),
        (Message("events", None), InvalidEvent),
        (Message("risk", b"{"), msgspec.DecodeError),
        (Message("dead-letters", b'{"letter_id": 1}'), msgspec.DecodeError),
    ],
)
def test_what_cannot_be_read_is_said_so(message: Message, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(message)
