"""The columns of a Lens layer as the aggregations that Kibana would send for them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kibana import kql

Json = dict[str, Any]
Types = Mapping[str, str]

NUMERIC: Final = frozenset({"long", "integer", "short", "byte", "double", "float", "half_float", "scaled_float"})
GROUPABLE: Final = NUMERIC | {"keyword", "boolean", "date", "ip"}
# What Kibana computes itself, of columns that Elasticsearch has answered.
COMPUTED: Final = frozenset({"formula", "math", "overall_sum"})
_METRICS: Final = {
    "sum": ("sum", NUMERIC),
    "average": ("avg", NUMERIC),
    "min": ("min", NUMERIC | {"date"}),
    "max": ("max", NUMERIC | {"date"}),
    "median": ("percentiles", NUMERIC),
    "percentile": ("percentiles", NUMERIC),
    "unique_count": ("cardinality", GROUPABLE),
}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "M": 2_592_000, "y": 31_536_000}
_AUTO_STEPS: Final = ("1s", "5s", "10s", "30s", "1m", "5m", "10m", "30m", "1h", "3h", "12h", "1d", "7d", "30d")
_MOST_BARS: Final = 100


class BrokenPanel(ValueError):
    """A panel that Kibana could not show; says on which board, which panel and why."""


def require(field: str, types: Types, allowed: frozenset[str], use: str) -> None:
    """Raise `BrokenPanel` unless the field is there and of a type that does for this use."""
    if field not in types:
        raise BrokenPanel(f"there is no field {field!r}")
    if types[field] not in allowed:
        raise BrokenPanel(f"field {field!r} is of type {types[field]}, which does not do for {use}")


def query(written: Json, types: Types) -> Json:
    """A query of Kibana as one of Elasticsearch; raises `BrokenPanel` for a field that is not there."""
    parsed = kql.parse(written["query"])
    if missing := kql.fields(parsed) - types.keys():
        raise BrokenPanel(f"query {written['query']!r} asks for fields that are not there: {sorted(missing)}")
    return parsed


def aggregations(
    buckets: Sequence[tuple[str, Json]], measures: Mapping[str, Json], types: Types, time_from: str
) -> Json:
    """Buckets one within the other, the measures in the innermost; a bucket has those too by which it is sorted."""
    if not buckets:
        found = {id: _measure(column, types) for id, column in measures.items()}
        return {id: aggregation for id, aggregation in found.items() if aggregation}
    (id, column), *inner = buckets
    within = aggregations(inner, measures, types, time_from)
    match column["operationType"]:
        case "date_histogram":
            own = _date_histogram(column, types, time_from)
        case "terms":
            own, sorted_by = _terms(column, measures, types)
            within = within | sorted_by
        case "filters":
            own = _filters(column, types)
        case operation:
            raise BrokenPanel(f"bucket {column['label']!r}: operation {operation!r} is not known")
    return {id: own | ({"aggs": within} if within else {})}


# --- buckets ----------------------------------------------------------------------------------------------------------


def _date_histogram(column: Json, types: Types, time_from: str) -> Json:
    require(column["sourceField"], types, frozenset({"date"}), "a date histogram")
    interval = column["params"]["interval"]
    step = {"fixed_interval": _automatic(time_from)} if interval == "auto" else {"calendar_interval": interval}
    return {"date_histogram": {"field": column["sourceField"], "min_doc_count": 0, "time_zone": "UTC", **step}}


def _automatic(time_from: str) -> str:
    """The shortest of Kibana's steps that makes at most 100 bars from `now-24h` or the like until now."""
    found = re.fullmatch(r"now-(\d+)([smhdwMy])(/[smhdwMy])?", time_from)
    if found is None:
        raise BrokenPanel(f"the time range begins at {time_from!r}, which is not like now-90d/d")
    least = int(found[1]) * _SECONDS[found[2]] / _MOST_BARS
    return next((step for step in _AUTO_STEPS if int(step[:-1]) * _SECONDS[step[-1]] >= least), _AUTO_STEPS[-1])


def _terms(column: Json, measures: Mapping[str, Json], types: Types) -> tuple[Json, Json]:
    require(column["sourceField"], types, GROUPABLE, "grouping")
    params = column["params"]
    by, direction = params["orderBy"], params["orderDirection"]
    terms = {"field": column["sourceField"], "size": params["size"]}
    if by["type"] == "alphabetical":
        return {"terms": terms | {"order": {"_key": direction}}}, {}
    if by["columnId"] not in measures:
        raise BrokenPanel(
            f"{column['label']!r} is sorted by a column that Elasticsearch cannot have: {by['columnId']!r}"
        )
    measure = _measure(measures[by["columnId"]], types)
    path = _sort_path(by["columnId"], measure)
    return {"terms": terms | {"order": {path: direction}}}, {by["columnId"]: measure} if measure else {}


def _sort_path(id: str, measure: Json) -> str:
    if not measure:
        return "_count"
    within = measure.get("aggs", {}).get("value") if "filter" in measure else measure
    prefix = f"{id}>value" if "filter" in measure else id
    if within is None:  # a filter alone sorts by its number of documents
        return id
    if "percentiles" in within:
        return f"{prefix}.{within['percentiles']['percents'][0]}"
    return prefix


def _filters(column: Json, types: Types) -> Json:
    cases = {case["label"]: query(case["input"], types) for case in column["params"]["filters"]}
    if len(cases) != len(column["params"]["filters"]):
        raise BrokenPanel(f"{column['label']!r}: two cases have the same label")
    return {"filters": {"filters": cases}}


# --- measures ---------------------------------------------------------------------------------------------------------


def _measure(column: Json, types: Types) -> Json:
    """The aggregation of a measure; empty for a plain count, which every bucket has of itself."""
    operation = column["operationType"]
    own: Json = {}
    if operation != "count":
        if operation not in _METRICS:
            raise BrokenPanel(f"measure {column['label']!r}: operation {operation!r} is not known")
        name, allowed = _METRICS[operation]
        require(column["sourceField"], types, allowed, operation)
        own = {name: {"field": column["sourceField"]}}
        if name == "percentiles":
            own[name]["percents"] = [float(column["params"].get("percentile", 50))]
    if "filter" not in column:
        return own
    return {"filter": query(column["filter"], types)} | ({"aggs": {"value": own}} if own else {})
