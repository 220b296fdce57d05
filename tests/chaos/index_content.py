"""What Elasticsearch holds of the events beside what it should hold, event by event and in sums."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC
from typing import NamedTuple

from elasticsearch import Elasticsearch
from elasticsearch.helpers import scan

from churn.events import Event
from es_ingest.documents import revenue

PAGE = 10_000
_SUMMED = ("revenue", "quantity", "price")


class Content(NamedTuple):
    """How often each event is there by its id, how many lie in each index, and sums over all of them."""

    events: Counter[str]
    indices: Counter[str]
    sums: dict[str, float]


class Difference(NamedTuple):
    """How a content differs from the expected one. `str` tells it to people."""

    events: int
    lost: int
    doubled: int
    wrong: dict[str, tuple[float, float]]

    @property
    def is_none(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)

    def __str__(self) -> str:
        return (
            f"of {self.events:,} events {self.lost:,} are not in Elasticsearch, {self.doubled:,} are there too often; "
            f"what differs as (found, expected): {self.wrong}"
        )


def expected(events: Iterable[Event]) -> Content:
    """Each event once, by the first of its id."""
    known: dict[str, Event] = {}
    for event in events:
        known.setdefault(event.event_id, event)
    return Content(
        Counter(known.keys()),
        Counter(f"events-{event.occurred_at.astimezone(UTC):%Y.%m}" for event in known.values()),
        {
            "revenue": sum(revenue(event) or 0.0 for event in known.values()),
            "quantity": float(sum(event.quantity for event in known.values())),
            "price": sum(event.price or 0.0 for event in known.values()),
        },
    )


def found(client: Elasticsearch) -> Content:
    """What a search finds now."""
    client.indices.refresh(index="events-*")
    by_index = {"terms": {"field": "_index", "size": 1_000}}
    sums = {name: {"sum": {"field": name}} for name in _SUMMED}
    answer = client.search(index="events-*", size=0, aggs={**sums, "index": by_index})["aggregations"]
    only_ids = {"docvalue_fields": ["event_id"], "_source": False}
    return Content(
        Counter(hit["fields"]["event_id"][0] for hit in scan(client, index="events-*", query=only_ids, size=PAGE)),
        Counter({bucket["key"]: bucket["doc_count"] for bucket in answer["index"]["buckets"]}),
        {name: float(answer[name]["value"]) for name in _SUMMED},
    )


def compare(found: Content, expected: Content) -> Difference:
    """Exact but for the order in which money is summed."""
    indices = {
        name: (found.indices[name], expected.indices[name])
        for name in found.indices | expected.indices
        if found.indices[name] != expected.indices[name]
    }
    sums = {
        name: (found.sums[name], value)
        for name, value in expected.sums.items()
        if abs(found.sums[name] - value) > 1e-9 * abs(value)
    }
    return Difference(
        len(expected.events),
        lost=(expected.events - found.events).total(),
        doubled=(found.events - expected.events).total(),
        wrong={**indices, **sums},
    )
