"""The figures of the pipeline are those of what was indexed, also where nothing came."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from es_ingest import health
from es_ingest.health import Health, quantile_ms
from es_ingest.templates import ALL

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
PROPERTIES = next(template.properties for template in ALL if template.name == "ebb-pipeline")


def told(counted: Health, **lags: int) -> dict[str, dict[str, Any]]:
    """The documents by kind, each with its action."""
    found = {}
    for document in counted.documents(lags):
        action, source = map(json.loads, document.lines.splitlines())
        found[json.loads(document.lines.splitlines()[1])["kind"]] = {**source, "action": action["create"]}
        assert source.keys() <= PROPERTIES.keys()
    return found


def test_silence_is_told_too() -> None:
    found = told(Health("host-1", lambda: NOW))
    assert list(found) == ["events", "risk", "dead-letters"]
    for kind, fields in found.items():
        assert fields["action"] == {"_index": "pipeline-2026.03", "_id": f"host-1 {kind} {NOW.isoformat()}"}
        assert (fields["documents"], fields["refused"], fields["lag"], fields["documents_per_s"]) == (0, 0, 0, 0.0)
        assert "freshness_p50_s" not in fields


def test_freshness_is_from_kafka_s_time_to_the_acknowledgement() -> None:
    counted = Health("host-1", lambda: NOW)
    second_ago, minute_ago = (round((NOW - timedelta(seconds=each)).timestamp() * 1000) for each in (1, 60))
    arrived = {"events": Counter({second_ago: 98, minute_ago: 2})}
    counted.count(Counter({"events": 90, "customers": 3, "risk": 3}), Counter({"risk": 1}), arrived)
    found = told(counted, events=7)
    assert (found["events"]["documents"], found["events"]["lag"]) == (90, 7)
    assert (found["events"]["freshness_p50_s"], found["events"]["freshness_p99_s"]) == (1.0, 60.0)
    assert (found["risk"]["documents"], found["risk"]["refused"]) == (3, 1)


def test_every_interval_begins_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "INTERVAL_S", 0.0)
    counted = Health("host-1", lambda: NOW)
    counted.count(Counter({"events": 5}), Counter(), {"events": Counter({0: 5})})
    assert counted.is_due
    assert told(counted)["events"]["documents"] == 5
    assert told(counted)["events"]["documents"] == 0
    assert "freshness_p50_s" not in told(counted)["events"]


@pytest.mark.parametrize(("share", "delay"), [(0.01, 1), (0.5, 1), (0.51, 2), (0.99, 3), (1.0, 3)])
def test_a_quantile_is_a_delay_that_was_seen(share: float, delay: int) -> None:
    assert quantile_ms(Counter({3: 25, 1: 50, 2: 25}), share) == delay
