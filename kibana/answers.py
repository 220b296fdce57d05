"""What Elasticsearch answered to a panel's search, as the rows that people see."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kibana import formulas
from kibana.searches import PanelSearch

Json = dict[str, Any]


def rows(search: PanelSearch, response: Mapping[str, Any]) -> list[Json]:
    """The rows that the panel shows: the value of each column by its label. Dates are epoch milliseconds."""
    top = {**response.get("aggregations", {}), "doc_count": response["hits"]["total"]["value"]}
    found = list(_rows(search, list(search.buckets.items()), top))
    formulas.add(found, search.computed)
    columns = {**search.buckets, **search.measures, **search.computed}
    return [{columns[id]["label"]: row[id] for id in search.shown} for row in found]


def _rows(search: PanelSearch, buckets: list[tuple[str, Json]], found: Mapping[str, Any]) -> Iterator[formulas.Values]:
    if not buckets:
        yield {id: _value(found, id, column) for id, column in search.measures.items()}
        return
    (id, _), *inner = buckets
    for key, bucket in _buckets(found[id]["buckets"]):
        for row in _rows(search, inner, bucket):
            yield {id: key, **row}


def _buckets(found: Any) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Buckets of cases have names, those of values keys."""
    if isinstance(found, Mapping):
        yield from found.items()
    else:
        for bucket in found:
            yield bucket["key"], bucket


def _value(found: Mapping[str, Any], id: str, column: Json) -> float | None:
    within = found.get(id, found)
    if column["operationType"] == "count":
        return int(within["doc_count"])
    value = within["value"] if "filter" in column else within
    if "values" in value:
        (value_of,) = value["values"].values()
        return None if value_of is None else float(value_of)
    return None if value["value"] is None else float(value["value"])


def is_empty(search: PanelSearch, found: Sequence[Json]) -> bool:
    """Whether people would see nothing: no row, or no number but nothing and 0 in any row."""
    columns = {**search.measures, **search.computed}
    labels = [columns[id]["label"] for id in search.shown if id in columns]
    return not any(row[label] for row in found for label in labels)
