"""Boards and data views as Kibana's saved objects: one JSON object a line, importable from Kibana 8.9 on.

The versions written here are the lowest that have these shapes: Kibana raises them on import, and refuses newer ones.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

from kibana.shapes import (
    NEUTRAL,
    XY,
    Board,
    Bucket,
    Control,
    DataView,
    Format,
    Measure,
    Metric,
    Note,
    OverTime,
    Panel,
    Table,
    Terms,
)

Json = dict[str, Any]

LAYER: Final = "layer"
_VERSIONS: Final = {"index-pattern": "8.0.0", "dashboard": "8.9.0"}
_PATTERNS: Final[dict[Format, tuple[str, str]]] = {
    "whole": ("number", "0,0"),
    "decimal": ("number", "0,0.0"),
    "money": ("number", "0,0.00"),
    "percent": ("percent", "0.0%"),
}
_DECIMALS: Final[dict[Format, int]] = {"whole": 0, "decimal": 1, "money": 2, "percent": 1}
_NO_QUERY: Final = {"query": "", "language": "kuery"}


def ndjson(views: Iterable[DataView], boards: Iterable[Board]) -> str:
    """The file that Kibana imports: data views first, then the boards that look at them."""
    objects = [data_view(view) for view in views] + [dashboard(board) for board in boards]
    return "".join(json.dumps(each, ensure_ascii=False, separators=(",", ":")) + "\n" for each in objects)


def _saved_object(kind: str, id: str, attributes: Json, references: list[Json]) -> Json:
    return {
        "id": id,
        "type": kind,
        "attributes": attributes,
        "references": references,
        "coreMigrationVersion": "8.8.0",
        "typeMigrationVersion": _VERSIONS[kind],
        "managed": False,
    }


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _kql(query: str) -> Json:
    return {"query": query, "language": "kuery"}


def _view_reference(view: DataView, name: str) -> Json:
    return {"type": "index-pattern", "id": view.id, "name": name}


# --- data views -------------------------------------------------------------------------------------------------------


def data_view(view: DataView) -> Json:
    """One data view."""
    formats = {
        field: {"id": _PATTERNS[kind][0], "params": {"pattern": _PATTERNS[kind][1]}}
        for field, kind in view.formats.items()
    }
    attributes = {
        "title": view.pattern,
        "name": view.name,
        "timeFieldName": "@timestamp",
        "fields": "[]",
        "fieldAttrs": "{}",
        "sourceFilters": "[]",
        "fieldFormatMap": _text(formats),
        "runtimeFieldMap": "{}",
        "allowNoIndex": True,
    }
    return _saved_object("index-pattern", view.id, attributes, [])


# --- columns ----------------------------------------------------------------------------------------------------------


def _measure_column(measure: Measure) -> Json:
    params: Json = {"format": {"id": _PATTERNS[measure.format][0], "params": {"decimals": _DECIMALS[measure.format]}}}
    if measure.operation in ("count", "unique_count"):
        # A group without documents has none, which is a number; an empty cell would look like a fault.
        params["emptyAsNull"] = False
    if measure.operation == "percentile":
        params["percentile"] = measure.percentile
    column = {
        "label": measure.label,
        "customLabel": True,
        "dataType": "number",
        "operationType": measure.operation,
        "isBucketed": False,
        "scale": "ratio",
        "sourceField": measure.field or "___records___",
        "params": params,
    }
    return column | ({"filter": _kql(measure.where)} if measure.where else {})


def _bucket_column(bucket: Bucket, measure_ids: list[str]) -> Json:
    return _terms_column(bucket, measure_ids) if isinstance(bucket, Terms) else _time_column(bucket)


def _terms_column(terms: Terms, measure_ids: list[str]) -> Json:
    by_measure = None if terms.by is None else {"type": "column", "columnId": measure_ids[terms.by]}
    return {
        "label": terms.label,
        "customLabel": True,
        "dataType": "string",
        "operationType": "terms",
        "isBucketed": True,
        "scale": "ordinal",
        "sourceField": terms.field,
        "params": {
            "size": terms.size,
            "orderBy": by_measure or {"type": "alphabetical", "fallback": False},
            "orderDirection": "asc" if by_measure is None else "desc",
            "otherBucket": False,
            "missingBucket": False,
            "parentFormat": {"id": "terms"},
            "include": [],
            "exclude": [],
            "includeIsRegex": False,
            "excludeIsRegex": False,
        },
    }


def _time_column(over_time: OverTime) -> Json:
    return {
        "label": over_time.label,
        "customLabel": True,
        "dataType": "date",
        "operationType": "date_histogram",
        "isBucketed": True,
        "scale": "interval",
        "sourceField": "@timestamp",
        "params": {"interval": over_time.interval, "includeEmptyRows": True, "dropPartials": False},
    }


# --- panels -----------------------------------------------------------------------------------------------------------


def _ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def _metric(panel: Metric, measure_ids: list[str]) -> Json:
    return {
        "layerId": LAYER,
        "layerType": "data",
        "metricAccessor": measure_ids[0],
        "color": panel.measure.colour or NEUTRAL,
    }


def _xy(panel: XY, bucket_ids: list[str], measure_ids: list[str]) -> Json:
    layer: Json = {
        "layerId": LAYER,
        "layerType": "data",
        "seriesType": panel.chart,
        "accessors": measure_ids,
        "position": "top",
        "showGridlines": False,
        "yConfig": [
            {"forAccessor": id, "axisMode": "left"} | ({"color": measure.colour} if measure.colour else {})
            for id, measure in zip(measure_ids, panel.measures, strict=True)
        ],
    }
    if bucket_ids:
        layer["xAccessor"] = bucket_ids[0]
    shown = {"x": True, "yLeft": True, "yRight": True}
    return {
        "legend": {"isVisible": len(measure_ids) > 1, "position": "bottom"},
        "valueLabels": "show" if not bucket_ids else "hide",
        "fittingFunction": "None",
        "axisTitlesVisibilitySettings": dict.fromkeys(shown, False),
        "tickLabelsVisibilitySettings": shown,
        "gridlinesVisibilitySettings": shown,
        "preferredSeriesType": panel.chart,
        "layers": [layer],
    }


def _table(panel: Table, bucket_ids: list[str], measure_ids: list[str]) -> Json:
    return {
        "layerId": LAYER,
        "layerType": "data",
        "columns": [{"columnId": id} for id in (*bucket_ids, *measure_ids)],
        "paging": {"size": panel.rows_per_page, "enabled": True},
        "sorting": {"columnId": measure_ids[panel.sort_by], "direction": "desc"},
    }


def _lens(panel: Metric | XY | Table) -> Json:
    """The attributes of a Lens visualization."""
    bucket_ids, measure_ids = _ids("bucket", len(panel.buckets)), _ids("measure", len(panel.measures))
    match panel:
        case Metric():
            kind, visualization = "lnsMetric", _metric(panel, measure_ids)
        case XY():
            kind, visualization = "lnsXY", _xy(panel, bucket_ids, measure_ids)
        case Table():
            kind, visualization = "lnsDatatable", _table(panel, bucket_ids, measure_ids)
    columns = dict(zip(bucket_ids, (_bucket_column(bucket, measure_ids) for bucket in panel.buckets), strict=True))
    columns |= dict(zip(measure_ids, map(_measure_column, panel.measures), strict=True))
    layer = {
        "columns": columns,
        "columnOrder": list(columns),
        "incompleteColumns": {},
        "sampling": 1,
        "ignoreGlobalFilters": False,
    }
    return {
        "title": panel.title,
        "description": "",
        "type": "lens",
        "visualizationType": kind,
        "state": {
            "visualization": visualization,
            "query": _kql(panel.where),
            "filters": [],
            "datasourceStates": {
                "formBased": {"layers": {LAYER: layer}},
                "indexpattern": {"layers": {}},
                "textBased": {"layers": {}},
            },
            "internalReferences": [],
            "adHocDataViews": {},
        },
        "references": [_view_reference(panel.view, f"indexpattern-datasource-layer-{LAYER}")],
    }


def _markdown(note: Note) -> Json:
    return {
        "id": "",
        "title": note.title,
        "description": "",
        "type": "markdown",
        "params": {"fontSize": 12, "openLinksInNewTab": False, "markdown": note.markdown},
        "uiState": {},
        "data": {"aggs": [], "searchSource": {"query": _NO_QUERY, "filter": []}},
    }


def _panel(panel: Panel, id: str, grid: Json) -> Json:
    config: Json = {"enhancements": {}}
    if isinstance(panel, Note):
        config["savedVis"] = _markdown(panel)
    else:
        config["attributes"] = _lens(panel)
    if isinstance(panel, Metric):
        config["hidePanelTitles"] = True  # the tile itself says what it shows
    return {
        "type": "visualization" if isinstance(panel, Note) else "lens",
        "gridData": {**grid, "i": id},
        "panelIndex": id,
        "embeddableConfig": config,
        "title": panel.title,
    }


# --- boards -----------------------------------------------------------------------------------------------------------


def _controls(controls: tuple[Control, ...]) -> Json:
    panels = {
        f"control{order}": {
            "order": order,
            "width": "medium",
            "grow": True,
            "type": "optionsListControl",
            "explicitInput": {
                "id": f"control{order}",
                "fieldName": control.field,
                "title": control.title,
                "selectedOptions": [],
                "enhancements": {},
            },
        }
        for order, control in enumerate(controls)
    }
    nothing_ignored = dict.fromkeys(("ignoreFilters", "ignoreQuery", "ignoreTimerange", "ignoreValidations"), False)
    return {
        "controlStyle": "oneLine",
        "chainingSystem": "HIERARCHICAL",
        "panelsJSON": _text(panels),
        "ignoreParentSettingsJSON": _text(nothing_ignored),
    }


def dashboard(board: Board) -> Json:
    """One board, its panels laid out row by row."""
    panels: list[Json] = []
    references: list[Json] = []
    y = 0
    for row in board.rows:
        for x, width, panel in row.placed():
            id = f"panel{len(panels)}"
            panels.append(_panel(panel, id, {"x": x, "y": y, "w": width, "h": row.height}))
            if not isinstance(panel, Note):
                references.append(_view_reference(panel.view, f"{id}:indexpattern-datasource-layer-{LAYER}"))
        y += row.height
    for order, control in enumerate(board.controls):
        references.append(_view_reference(control.view, f"controlGroup_control{order}:optionsListDataView"))
    options = {"useMargins": True, "syncColors": False, "syncCursor": True, "syncTooltips": False}
    attributes = {
        "title": board.title,
        "description": board.description,
        "panelsJSON": _text(panels),
        "optionsJSON": _text({**options, "hidePanelTitles": False}),
        "timeRestore": True,
        "timeFrom": board.time_from,
        "timeTo": "now",
        "refreshInterval": {"pause": False, "value": 60_000},
        "kibanaSavedObjectMeta": {"searchSourceJSON": _text({"query": _NO_QUERY, "filter": []})},
        "version": 1,
    }
    if board.controls:
        attributes["controlGroupInput"] = _controls(board.controls)
    return _saved_object("dashboard", board.id, attributes, references)
