"""Every panel of an import file as the search that Kibana would send, so that boards are proved without a Kibana.

Reads the generated file, not the declarations: what is wrong in the file is found. Knows the operations that
`kibana.shapes` offers, and refuses others.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kibana import formulas, kql
from kibana.aggregations import GROUPABLE, BrokenPanel, aggregations, query, require

Json = dict[str, Any]
# Types of the fields, by index pattern.
Fields = Mapping[str, Mapping[str, str]]

_ACCESSORS: Final = (
    "metricAccessor",
    "secondaryMetricAccessor",
    "maxAccessor",
    "breakdownByAccessor",
    "xAccessor",
    "yAccessor",
    "valueAccessor",
    "splitAccessor",
)
_LISTS_OF_ACCESSORS: Final = ("accessors", "metrics", "primaryGroups", "secondaryGroups")


class PanelSearch(NamedTuple):
    """One panel's search: columns by id, in the order of the panel. `shown` are the ids of those that people see."""

    board: str
    panel: str
    pattern: str
    body: Json
    buckets: Mapping[str, Json]
    measures: Mapping[str, Json]
    computed: Mapping[str, Json]
    shown: tuple[str, ...]


def searches(objects: Sequence[Json], fields: Fields) -> list[PanelSearch]:
    """The searches of all panels and controls of an import file.

    `fields` names the type of each field by index pattern. Raises `BrokenPanel` for the first panel with a reference,
    a field, a column or a query that does not resolve.
    """
    views = {each["id"]: each["attributes"] for each in objects if each["type"] == "index-pattern"}
    boards = [each for each in objects if each["type"] == "dashboard"]
    for board in boards:
        _check_links(board, {each["id"] for each in boards})
    return [
        search
        for board in boards
        for search in (*_panel_searches(board, views, fields), *_control_searches(board, views, fields))
    ]


def read(ndjson: str) -> list[Json]:
    """The saved objects of an import file."""
    return [json.loads(line) for line in ndjson.splitlines() if line]


def _panels(board: Json) -> list[Json]:
    return list(json.loads(board["attributes"]["panelsJSON"]))


def _controls(board: Json) -> dict[str, Json]:
    group = board["attributes"].get("controlGroupInput", {"panelsJSON": "{}"})
    return dict(json.loads(group["panelsJSON"]))


def _panel_searches(board: Json, views: Mapping[str, Json], fields: Fields) -> Iterator[PanelSearch]:
    for panel in _panels(board):
        if panel["type"] == "lens":
            place = f"board {board['attributes']['title']!r}, panel {panel['title']!r}"
            try:
                yield _panel_search(board, panel, views, fields)
            except (BrokenPanel, kql.InvalidKql) as error:
                raise BrokenPanel(f"{place}: {error}") from error
            except KeyError as error:
                raise BrokenPanel(f"{place}: key {error} is missing") from error


def _panel_search(board: Json, panel: Json, views: Mapping[str, Json], fields: Fields) -> PanelSearch:
    lens = panel["embeddableConfig"]["attributes"]
    state = lens["state"]
    ((layer_id, layer),) = state["datasourceStates"]["formBased"]["layers"].items()
    view = _view_of_panel(board, panel, lens, views, f"indexpattern-datasource-layer-{layer_id}")
    types = fields[view["title"]]
    if not types:
        raise BrokenPanel(f"no index matches {view['title']!r} yet")
    columns = _ordered(layer)
    buckets = {id: column for id, column in columns.items() if column["isBucketed"]}
    measures, computed = formulas.split({id: column for id, column in columns.items() if not column["isBucketed"]})
    formulas.check(computed, columns)
    shown = _shown(state["visualization"], layer_id, columns, formulas.references(computed))
    _check_filters(board, layer, state["query"], types)
    time_from = board["attributes"]["timeFrom"]
    body = {
        "size": 0,
        "track_total_hits": True,
        "query": {"bool": {"filter": [query(state["query"], types), _in_time(board, view)]}},
        "aggs": aggregations(list(buckets.items()), measures, types, time_from),
    }
    title = board["attributes"]["title"]
    return PanelSearch(title, panel["title"], view["title"], body, buckets, measures, computed, shown)


def _check_filters(board: Json, layer: Json, panel_query: Json, types: Mapping[str, str]) -> None:
    """A panel obeys the controls, so it has their fields; or none, and then Kibana forgets the panel's query too."""
    if layer["ignoreGlobalFilters"]:
        if panel_query["query"]:
            raise BrokenPanel(f"it ignores the controls, and with them its own query {panel_query['query']!r}")
        return
    for control in _controls(board).values():
        field = control["explicitInput"]["fieldName"]
        if field not in types:
            raise BrokenPanel(f"it has no field {field!r}, so the control on it would leave nothing")


def _control_searches(board: Json, views: Mapping[str, Json], fields: Fields) -> Iterator[PanelSearch]:
    title = board["attributes"]["title"]
    for id, control in _controls(board).items():
        chosen = control["explicitInput"]
        place = f"board {title!r}, control {chosen['title']!r}"
        try:
            view = _view(views, _reference(board["references"], f"controlGroup_{id}:optionsListDataView"))
            field = chosen["fieldName"]
            require(field, fields[view["title"]], GROUPABLE, "a list of values")
        except BrokenPanel as error:
            raise BrokenPanel(f"{place}: {error}") from None
        body = {
            "size": 0,
            "query": {"bool": {"filter": [_in_time(board, view)]}},
            "aggs": {"bucket0": {"terms": {"field": field, "size": 10}}},
        }
        columns = {"bucket0": {"label": chosen["title"], "operationType": "terms"}}
        count = {"count": {"label": "Documents", "operationType": "count"}}
        shown = ("bucket0", "count")
        yield PanelSearch(title, f"control {chosen['title']}", view["title"], body, columns, count, {}, shown)


# --- references and columns -------------------------------------------------------------------------------------------


def _reference(references: Sequence[Json], name: str) -> str:
    found = [each["id"] for each in references if each["name"] == name]
    if len(found) != 1:
        raise BrokenPanel(f"{len(found)} references are named {name!r}, one is needed")
    return str(found[0])


def _view(views: Mapping[str, Json], id: str) -> Json:
    if id not in views:
        raise BrokenPanel(f"there is no data view {id!r}")
    return views[id]


def _view_of_panel(board: Json, panel: Json, lens: Json, views: Mapping[str, Json], name: str) -> Json:
    view_id = _reference(lens["references"], name)
    if _reference(board["references"], f"{panel['panelIndex']}:{name}") != view_id:
        raise BrokenPanel("the panel and its board refer to different data views")
    return _view(views, view_id)


def _check_links(board: Json, known: set[str]) -> None:
    for panel in _panels(board):
        links = panel["embeddableConfig"]["attributes"]["links"] if panel["type"] == "links" else []
        for link in links:
            place = f"board {board['attributes']['title']!r}, link {link['label']!r}"
            try:
                target = _reference(board["references"], f"{panel['panelIndex']}:{link['destinationRefName']}")
            except BrokenPanel as error:
                raise BrokenPanel(f"{place}: {error}") from None
            if target not in known:
                raise BrokenPanel(f"{place}: there is no board {target!r}")


def _ordered(layer: Json) -> dict[str, Json]:
    columns, order = layer["columns"], layer["columnOrder"]
    if sorted(columns) != sorted(order):
        raise BrokenPanel(f"columnOrder names {order}, the columns are {sorted(columns)}")
    is_bucketed = [columns[id]["isBucketed"] for id in order]
    if is_bucketed != sorted(is_bucketed, reverse=True):
        raise BrokenPanel("columnOrder has a measure before a bucket")
    return {id: columns[id] for id in order}


def _shown(visualization: Json, layer_id: str, columns: Mapping[str, Json], parts: set[str]) -> tuple[str, ...]:
    """The ids of the columns that are drawn; all others must be parts of these."""
    layers = visualization.get("layers", [visualization])
    if [layer["layerId"] for layer in layers] != [layer_id]:
        raise BrokenPanel(f"the visualization does not show layer {layer_id!r}")
    drawn = _drawn(layers[0])
    named = drawn | _coloured(layers[0])
    if "sorting" in visualization:
        named.add(visualization["sorting"]["columnId"])
    if unknown := named - columns.keys():
        raise BrokenPanel(f"the visualization shows columns that are not there: {sorted(unknown)}")
    if unseen := columns.keys() - drawn - parts:
        raise BrokenPanel(f"columns are computed but not shown: {sorted(unseen)}")
    shown = tuple(id for id in columns if id in drawn)
    if len({columns[id]["label"] for id in shown}) != len(shown):
        raise BrokenPanel(f"two columns have the same label: {[columns[id]['label'] for id in shown]}")
    return shown


def _drawn(layer: Json) -> set[str]:
    named = {layer[key] for key in _ACCESSORS if key in layer}
    named |= {id for key in _LISTS_OF_ACCESSORS for id in layer.get(key, [])}
    return named | {column["columnId"] for column in layer.get("columns", [])}


def _coloured(layer: Json) -> set[str]:
    named = {each["forAccessor"] for each in layer.get("yConfig", [])} | set(layer.get("colorsByDimension", {}))
    return named | ({layer["palette"]["accessor"]} if "palette" in layer else set())


def _in_time(board: Json, view: Json) -> Json:
    attributes = board["attributes"]
    return {"range": {view["timeFieldName"]: {"gte": attributes["timeFrom"], "lte": attributes["timeTo"]}}}
