"""Every panel of an import file as the search that Kibana would send, so that boards are proved without a Kibana.

Reads the generated file, not the declarations: what is wrong in the file is found. Knows the operations that
`kibana.shapes` offers, and refuses others.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kibana import kql

Json = dict[str, Any]
Fields = Mapping[str, Mapping[str, str]]

_NUMERIC: Final = frozenset({"long", "integer", "short", "byte", "double", "float", "half_float", "scaled_float"})
_GROUPABLE: Final = _NUMERIC | {"keyword", "boolean", "date", "ip"}
_METRICS: Final = {
    "sum": ("sum", _NUMERIC),
    "average": ("avg", _NUMERIC),
    "min": ("min", _NUMERIC | {"date"}),
    "max": ("max", _NUMERIC | {"date"}),
    "median": ("percentiles", _NUMERIC),
    "percentile": ("percentiles", _NUMERIC),
    "unique_count": ("cardinality", _GROUPABLE),
}
_ACCESSORS: Final = ("metricAccessor", "secondaryMetricAccessor", "maxAccessor", "breakdownByAccessor")
_LAYER_ACCESSORS: Final = ("xAccessor", "splitAccessor")


class BrokenPanel(ValueError):
    """A panel that Kibana could not show; says on which board, which panel and why."""


class PanelSearch(NamedTuple):
    """One panel's search: `buckets` and `measures` are the columns by id, in the order of the panel."""

    board: str
    panel: str
    pattern: str
    body: Json
    buckets: Mapping[str, Json]
    measures: Mapping[str, Json]


def searches(objects: Sequence[Json], fields: Fields) -> list[PanelSearch]:
    """The searches of all panels and controls of an import file.

    `fields` names the type of each field by index pattern. Raises `BrokenPanel` for the first panel with a reference,
    a field, a column or a query that does not resolve.
    """
    views = {each["id"]: each["attributes"] for each in objects if each["type"] == "index-pattern"}
    return [
        search
        for each in objects
        if each["type"] == "dashboard"
        for search in (*_panel_searches(each, views, fields), *_control_searches(each, views, fields))
    ]


def read(ndjson: str) -> list[Json]:
    """The saved objects of an import file."""
    return [json.loads(line) for line in ndjson.splitlines() if line]


def _panel_searches(dashboard: Json, views: Mapping[str, Json], fields: Fields) -> Iterator[PanelSearch]:
    for panel in json.loads(dashboard["attributes"]["panelsJSON"]):
        if panel["type"] == "lens":
            place = f"board {dashboard['attributes']['title']!r}, panel {panel['title']!r}"
            try:
                yield _panel_search(dashboard, panel, views, fields)
            except BrokenPanel as error:
                raise BrokenPanel(f"{place}: {error}") from None
            except kql.InvalidKql as error:
                raise BrokenPanel(f"{place}: {error}") from error
            except KeyError as error:
                raise BrokenPanel(f"{place}: key {error} is missing") from error


def _panel_search(dashboard: Json, panel: Json, views: Mapping[str, Json], fields: Fields) -> PanelSearch:
    lens = panel["embeddableConfig"]["attributes"]
    state = lens["state"]
    ((layer_id, layer),) = state["datasourceStates"]["formBased"]["layers"].items()
    name = f"indexpattern-datasource-layer-{layer_id}"
    view_id = _reference(lens["references"], name)
    if _reference(dashboard["references"], f"{panel['panelIndex']}:{name}") != view_id:
        raise BrokenPanel("the panel and its board refer to different data views")
    view = _view(views, view_id)
    types = fields[view["title"]]
    if not types:
        raise BrokenPanel(f"no index matches {view['title']!r} yet")
    columns = _ordered(layer)
    _check_accessors(state["visualization"], layer_id, columns)
    buckets = {id: column for id, column in columns.items() if column["isBucketed"]}
    measures = {id: column for id, column in columns.items() if not column["isBucketed"]}
    filters = [_query(state["query"], types), _in_time(dashboard, view)]
    body = {
        "size": 0,
        "track_total_hits": True,
        "query": {"bool": {"filter": filters}},
        "aggs": _aggregations(list(buckets.items()), measures, types),
    }
    return PanelSearch(dashboard["attributes"]["title"], panel["title"], view["title"], body, buckets, measures)


def _control_searches(dashboard: Json, views: Mapping[str, Json], fields: Fields) -> Iterator[PanelSearch]:
    group = dashboard["attributes"].get("controlGroupInput", {"panelsJSON": "{}"})
    title = dashboard["attributes"]["title"]
    for id, control in json.loads(group["panelsJSON"]).items():
        chosen = control["explicitInput"]
        place = f"board {title!r}, control {chosen['title']!r}"
        try:
            view = _view(views, _reference(dashboard["references"], f"controlGroup_{id}:optionsListDataView"))
            field = chosen["fieldName"]
            _require(field, fields[view["title"]], _GROUPABLE, "a list of values")
        except BrokenPanel as error:
            raise BrokenPanel(f"{place}: {error}") from None
        body = {
            "size": 0,
            "query": {"bool": {"filter": [_in_time(dashboard, view)]}},
            "aggs": {"bucket0": {"terms": {"field": field, "size": 10}}},
        }
        columns = {"bucket0": {"label": chosen["title"], "operationType": "terms"}}
        count = {"count": {"label": "Documents", "operationType": "count"}}
        yield PanelSearch(title, f"control {chosen['title']}", view["title"], body, columns, count)


# --- references, columns and fields -----------------------------------------------------------------------------------


def _reference(references: Sequence[Json], name: str) -> str:
    found = [each["id"] for each in references if each["name"] == name]
    if len(found) != 1:
        raise BrokenPanel(f"{len(found)} references are named {name!r}, one is needed")
    return str(found[0])


def _view(views: Mapping[str, Json], id: str) -> Json:
    if id not in views:
        raise BrokenPanel(f"there is no data view {id!r}")
    return views[id]


def _ordered(layer: Json) -> dict[str, Json]:
    columns, order = layer["columns"], layer["columnOrder"]
    if sorted(columns) != sorted(order):
        raise BrokenPanel(f"columnOrder names {order}, the columns are {sorted(columns)}")
    is_bucketed = [columns[id]["isBucketed"] for id in order]
    if is_bucketed != sorted(is_bucketed, reverse=True):
        raise BrokenPanel("columnOrder has a measure before a bucket")
    return {id: columns[id] for id in order}


def _check_accessors(visualization: Json, layer_id: str, columns: Mapping[str, Json]) -> None:
    layers = visualization.get("layers", [visualization])
    if [layer["layerId"] for layer in layers] != [layer_id]:
        raise BrokenPanel(f"the visualization does not show layer {layer_id!r}")
    named = {visualization[key] for key in _ACCESSORS if key in visualization}
    named |= {column["columnId"] for column in visualization.get("columns", [])}
    if "sorting" in visualization:
        named.add(visualization["sorting"]["columnId"])
    for layer in visualization.get("layers", []):
        named |= {layer[key] for key in _LAYER_ACCESSORS if key in layer} | set(layer["accessors"])
        named |= {each["forAccessor"] for each in layer.get("yConfig", [])}
    if unknown := named - columns.keys():
        raise BrokenPanel(f"the visualization shows columns that are not there: {sorted(unknown)}")
    if unseen := columns.keys() - named:
        raise BrokenPanel(f"columns are computed but not shown: {sorted(unseen)}")


def _require(field: str, types: Mapping[str, str], allowed: frozenset[str], use: str) -> None:
    if field not in types:
        raise BrokenPanel(f"there is no field {field!r}")
    if types[field] not in allowed:
        raise BrokenPanel(f"field {field!r} is of type {types[field]}, which does not do for {use}")


def _query(query: Json, types: Mapping[str, str]) -> Json:
    parsed = kql.parse(query["query"])
    if missing := kql.fields(parsed) - types.keys():
        raise BrokenPanel(f"query {query['query']!r} asks for fields that are not there: {sorted(missing)}")
    return parsed


def _in_time(dashboard: Json, view: Json) -> Json:
    attributes = dashboard["attributes"]
    return {"range": {view["timeFieldName"]: {"gte": attributes["timeFrom"], "lte": attributes["timeTo"]}}}


# --- aggregations -----------------------------------------------------------------------------------------------------


def _aggregations(buckets: list[tuple[str, Json]], measures: Mapping[str, Json], types: Mapping[str, str]) -> Json:
    """Buckets one within the other, the measures in the innermost; a bucket has those too by which it is sorted."""
    if not buckets:
        return {id: _measure(column, types) for id, column in measures.items() if _measure(column, types)}
    (id, column), *inner = buckets
    within = _aggregations(inner, measures, types)
    if column["operationType"] == "date_histogram":
        own = _date_histogram(column, types)
    elif column["operationType"] == "terms":
        own, sorted_by = _terms(column, measures, types)
        within = within | sorted_by
    else:
        raise BrokenPanel(f"bucket {column['label']!r}: operation {column['operationType']!r} is not known")
    return {id: own | ({"aggs": within} if within else {})}


def _date_histogram(column: Json, types: Mapping[str, str]) -> Json:
    _require(column["sourceField"], types, frozenset({"date"}), "a date histogram")
    interval = {"calendar_interval": column["params"]["interval"], "time_zone": "UTC"}
    return {"date_histogram": {"field": column["sourceField"], "min_doc_count": 0, **interval}}


def _terms(column: Json, measures: Mapping[str, Json], types: Mapping[str, str]) -> tuple[Json, Json]:
    _require(column["sourceField"], types, _GROUPABLE, "grouping")
    params = column["params"]
    by, direction = params["orderBy"], params["orderDirection"]
    terms = {"field": column["sourceField"], "size": params["size"]}
    if by["type"] == "alphabetical":
        return {"terms": terms | {"order": {"_key": direction}}}, {}
    if by["columnId"] not in measures:
        raise BrokenPanel(f"{column['label']!r} is sorted by a column that is not there: {by['columnId']!r}")
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


def _measure(column: Json, types: Mapping[str, str]) -> Json:
    """The aggregation of a measure; empty for a plain count, which every bucket has of itself."""
    operation = column["operationType"]
    own: Json = {}
    if operation != "count":
        if operation not in _METRICS:
            raise BrokenPanel(f"measure {column['label']!r}: operation {operation!r} is not known")
        name, allowed = _METRICS[operation]
        _require(column["sourceField"], types, allowed, operation)
        own = {name: {"field": column["sourceField"]}}
        if name == "percentiles":
            own[name]["percents"] = [float(column["params"].get("percentile", 50))]
    if "filter" not in column:
        return own
    return {"filter": _query(column["filter"], types)} | ({"aggs": {"value": own}} if own else {})


# --- answers ----------------------------------------------------------------------------------------------------------


def rows(search: PanelSearch, response: Mapping[str, Any]) -> list[Json]:
    """The rows that the panel shows: the value of each column by its label. Keys of dates are epoch milliseconds."""
    top = {**response.get("aggregations", {}), "doc_count": response["hits"]["total"]["value"]}
    return list(_rows(search, list(search.buckets.items()), top))


def _rows(search: PanelSearch, buckets: list[tuple[str, Json]], found: Mapping[str, Any]) -> Iterator[Json]:
    if not buckets:
        yield {column["label"]: _value(found, id, column) for id, column in search.measures.items()}
        return
    (id, column), *inner = buckets
    for bucket in found[id]["buckets"]:
        for row in _rows(search, inner, bucket):
            yield {column["label"]: bucket["key"], **row}


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
    labels = [column["label"] for column in search.measures.values()]
    return not any(row[label] for row in found for label in labels)
