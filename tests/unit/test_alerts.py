"""docs/alerts.yml against the code: a rule on a metric that nobody shows would never fire."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from es_ingest.metrics import Metrics as OfIngest
from producer.metrics import Metrics as OfProducer
from scorer.metrics import Metrics as OfScorer
from stream_processor.fold import Fold
from stream_processor.metrics import Metrics as OfStream

DOCS = Path(__file__).parents[2] / "docs"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
BY_PROMETHEUS = {"up"}
FUNCTIONS = {"sum", "rate", "delta", "increase", "max", "time", "absent", "histogram_quantile", "by", "and", "le"}
# A name is no label in braces, no text in quotes and no part of a duration.
NAME = re.compile(r"[a-z_][a-z0-9_]*")


class Kafka:
    """Stands in for the sink of a live producer: nothing was sent."""

    acknowledged = unacknowledged = 0


def names_of(registry: CollectorRegistry) -> set[str]:
    """The names of all samples that a registry can show, also of those that have no value yet."""
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}
    return {each.name + suffix for each in registry.collect() for suffix in suffixes[each.type]}


@pytest.fixture(scope="module")
def shown() -> set[str]:
    fold = Fold(lambda _: {}, topic="events", currency="EUR", max_customers=1)
    registries = [
        OfStream(fold, dict).registry,
        OfScorer().registry,
        OfIngest().registry,
        OfProducer(Kafka(), lambda: 0.0, lambda: 0.0).registry,  # type: ignore[arg-type] # only its counts are read
    ]
    return {name for registry in registries for name in names_of(registry)}


def named_in(expression: str) -> set[str]:
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\d[\d.]*", " ", expression)
    return set(NAME.findall(bare)) - FUNCTIONS


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_metric_of_a_rule_is_shown_by_a_service(rule: dict[str, Any], shown: set[str]) -> None:
    named = named_in(rule["expr"])
    assert named
    assert named - BY_PROMETHEUS <= shown


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_is_wrong_and_where_it_stands_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["summary"]
    assert rule["labels"]["severity"] in ("page", "ticket")
    page, anchor = rule["annotations"]["runbook"].split("#")
    headings = re.findall(r"^#+ (.*)$", (DOCS.parent / page).read_text(), re.MULTILINE)
    assert anchor == rule["alert"].lower()
    assert rule["alert"] in headings


def test_what_has_to_be_noticed_has_an_alert() -> None:
    assert {rule["alert"] for rule in RULES} >= {
        "EbbLagGrowing",
        "EbbNoProgress",
        "EbbDeadLetterShare",
        "EbbFreshness",
        "EbbRedisSlow",
        "EbbModelOld",
        "EbbScorerStale",
    }
