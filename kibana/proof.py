"""Runs every panel's search on Elasticsearch and says what people would see."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch

from kibana.aggregations import BrokenPanel
from kibana.answers import is_empty, rows
from kibana.searches import PanelSearch, searches


class ElasticsearchUnavailable(ConnectionError):
    """Elasticsearch did not answer."""


class Shown(NamedTuple):
    """What one panel shows: the value of each column by its label, row by row."""

    search: PanelSearch
    rows: list[dict[str, Any]]

    @property
    def is_empty(self) -> bool:
        return is_empty(self.search, self.rows)


def show(client: Elasticsearch, objects: Sequence[dict[str, Any]]) -> Iterator[Shown]:
    """What each panel and control of an import file shows now.

    Raises `BrokenPanel` for one that does not fit the fields or is refused, `ElasticsearchUnavailable` otherwise.
    """
    patterns = {each["attributes"]["title"] for each in objects if each["type"] == "index-pattern"}
    try:
        for search in searches(objects, {pattern: field_types(client, pattern) for pattern in patterns}):
            yield Shown(search, rows(search, _answer(client, search)))
    except TransportError as error:
        raise ElasticsearchUnavailable(f"Elasticsearch: {error}") from error


def field_types(client: Elasticsearch, pattern: str) -> dict[str, str]:
    """The type of each field of the indices that match; empty where there are none."""
    answer = client.field_caps(index=pattern, fields="*", allow_no_indices=True, ignore_unavailable=True)
    return {name: kind for name, kinds in answer["fields"].items() for kind in kinds}


def _answer(client: Elasticsearch, search: PanelSearch) -> dict[str, Any]:
    try:
        answer = client.search(index=search.pattern, **search.body)
    except ApiError as error:
        raise BrokenPanel(
            f"board {search.board!r}, panel {search.panel!r}: Elasticsearch refuses it: {error}"
        ) from error
    return dict(answer.body)
