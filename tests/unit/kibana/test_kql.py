"""The KQL of our boards means what it means in Kibana."""

from typing import Any

import pytest

from kibana import kql

HIGH = {"match": {"risk_band": "high"}}
LOW = {"match": {"risk_band": "low"}}
SOME = {"range": {"risk": {"gte": "0.5"}}}


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", {"match_all": {}}),
        ("risk_band: high", HIGH),
        ("risk_band:high", HIGH),
        ('segment: "Can\'t Lose"', {"match_phrase": {"segment": "Can't Lose"}}),
        (r'a: "say \"so\""', {"match_phrase": {"a": 'say "so"'}}),
        ("risk: *", {"exists": {"field": "risk"}}),
        ("risk >= 0.5", SOME),
        ("@timestamp < 2026-01-01", {"range": {"@timestamp": {"lt": "2026-01-01"}}}),
        ("risk_band: high and risk >= 0.5", {"bool": {"filter": [HIGH, SOME]}}),
        ("risk_band: high or risk_band: low", {"bool": {"should": [HIGH, LOW], "minimum_should_match": 1}}),
        ("risk_band: (high or low)", {"bool": {"should": [HIGH, LOW], "minimum_should_match": 1}}),
        ("not risk_band: high", {"bool": {"must_not": [HIGH]}}),
        (
            "risk >= 0.5 and (risk_band: high or not risk_band: low)",
            {
                "bool": {
                    "filter": [
                        SOME,
                        {"bool": {"should": [HIGH, {"bool": {"must_not": [LOW]}}], "minimum_should_match": 1}},
                    ]
                }
            },
        ),
        (
            "risk_band: low or risk_band: high and risk >= 0.5",
            {"bool": {"should": [LOW, {"bool": {"filter": [HIGH, SOME]}}], "minimum_should_match": 1}},
        ),
    ],
)
def test_a_text_means_this_query(text: str, query: dict[str, Any]) -> None:
    assert kql.parse(text) == query


@pytest.mark.parametrize(
    "text",
    [
        "risk_band",
        "risk_band:",
        ": high",
        "(risk: 1",
        "risk: 1)",
        "risk: 1 and",
        "a: b c",
        'a: "open',
        "a: hi*",
        "a: (b or)",
    ],
)
def test_what_is_no_kql_is_refused(text: str) -> None:
    with pytest.raises(kql.InvalidKql):
        kql.parse(text)


def test_the_fields_of_a_query_are_found_wherever_they_stand() -> None:
    query = kql.parse('a: 1 and (b >= 2 or not c: "x") and d: *')
    assert kql.fields(query) == {"a", "b", "c", "d"}
    assert kql.fields(kql.parse("")) == set()
