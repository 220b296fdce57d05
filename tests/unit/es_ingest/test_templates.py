"""What Elasticsearch is told of the fields."""

from typing import Any

import pytest

from churn import risk_card
from churn.dead_letters import DeadLetter
from churn.events import EventSchema
from churn.features import FEATURES
from es_ingest import templates

BY_NAME = {template.name: template for template in templates.ALL}


def test_every_template_refuses_fields_that_nobody_named() -> None:
    for template in templates.ALL:
        assert templates.body(template, 0)["template"]["mappings"]["dynamic"] == "strict"


def test_the_number_of_copies_is_what_was_asked_for() -> None:
    settings = templates.body(templates.ALL[0], 2)["template"]["settings"]["index"]
    assert (settings["number_of_shards"], settings["number_of_replicas"]) == (1, 2)


def test_no_index_comes_near_the_limit_of_fields() -> None:
    assert max(len(template.properties) for template in templates.ALL) < templates.MAX_FIELDS / 2


def test_every_field_of_an_event_is_mapped() -> None:
    assert BY_NAME["ebb-events"].properties.keys() >= EventSchema.model_fields.keys()


def test_every_feature_is_mapped_by_its_unit() -> None:
    properties = BY_NAME["ebb-customers"].properties
    by_unit = {feature.unit: properties[feature.name]["type"] for feature in FEATURES}
    assert by_unit == {
        "days": "double",
        "count": "long",
        "money": "double",
        "seconds": "double",
        "ratio": "double",
        "flag": "long",
        "time": "date",
        "text": "keyword",
    }


def test_no_feature_has_the_name_of_something_else_on_a_card() -> None:
    own = {"customer_id", "as_of", "scored_at", "status", "risk", "risk_band", "segment", "action", "drivers"}
    own |= {"top_driver", "top_reason", "model_version", "@timestamp", *risk_card.FIELDS}
    assert not own & {feature.name for feature in FEATURES}


def test_every_field_of_a_dead_letter_is_mapped() -> None:
    assert BY_NAME["ebb-dead-letters"].properties.keys() == {"@timestamp", *DeadLetter.__struct_fields__}


@pytest.mark.parametrize(
    ("template", "field", "mapping"),
    [
        ("ebb-events", "occurred_at", {"type": "date"}),
        ("ebb-events", "event_type", {"type": "keyword"}),
        ("ebb-events", "price", {"type": "double"}),
        ("ebb-events", "quantity", {"type": "long"}),
        ("ebb-events", "signup_date", {"type": "date"}),
        ("ebb-customers", "drivers", {"type": "keyword"}),
        ("ebb-customers", "recency_days", {"type": "double", "index": False}),
        ("ebb-dead-letters", "raw", {"type": "keyword", "index": False, "doc_values": False}),
        ("ebb-dead-letters", "partition", {"type": "long"}),
    ],
)
def test_a_field_has_the_type_of_its_values(template: str, field: str, mapping: dict[str, Any]) -> None:
    assert BY_NAME[template].properties[field] == mapping
