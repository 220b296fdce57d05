"""Boards and data views as Kibana's saved objects: one JSON object a line.

The versions written here are the lowest that have these shapes: Kibana raises them on import, and refuses newer ones.
Links to other boards want Kibana 8.12.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from kibana.columns import PATTERNS, columns, kql
from kibana.shapes import COLUMNS, Board, Control, DataView, Metric, Note, Panel, Picture
from kibana.visualizations import LAYER, visualization

Json = dict[str, Any]

LINKS_HEIGHT: Final = 2
_NOTE_LINE_CHARACTERS: Final = 95
_VERSIONS: Final = {"index-pattern": "8.0.0", "dashboard": "8.9.0"}


def ndjson(views: Iterable[DataView], boards: Sequence[Board]) -> str:
    """The file that Kibana imports: data views first, then the boards that look at them."""
    objects = [data_view(view) for view in views] + [dashboard(board, boards) for board in boards]
    return "".join(_text(each) + "\n" for each in objects)


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


def _view_reference(view: DataView, name: str) -> Json:
    return {"type": "index-pattern", "id": view.id, "name": name}


def data_view(view: DataView) -> Json:
    """One data view."""
    formats: Json = {
        name: {"id": PATTERNS[kind][0], "params": PATTERNS[kind][1]} for name, kind in view.formats.items()
    }
    for name, words in view.words.items():
        entries = [{"key": key, "value": value} for key, value in words.items()]
        formats[name] = {"id": "static_lookup", "params": {"lookupEntries": entries, "unknownKeyValue": None}}
    attributes = {
        "title": view.pattern,
        "name": view.name,
        "timeFieldName": view.time_field,
        "fields": "[]",
        "fieldAttrs": "{}",
        "sourceFilters": "[]",
        "fieldFormatMap": _text(formats),
        "runtimeFieldMap": "{}",
        "allowNoIndex": True,
    }
    return _saved_object("index-pattern", view.id, attributes, [])


# --- panels -----------------------------------------------------------------------------------------------------------


def _lens(panel: Picture, height: int) -> Json:
    """The attributes of a Lens visualization."""
    kind, drawn = visualization(panel, height)
    found = columns(panel)
    layer = {
        "columns": found,
        "columnOrder": list(found),
        "incompleteColumns": {},
        "sampling": 1,
        "ignoreGlobalFilters": panel.ignores_controls,
    }
    return {
        "title": panel.title,
        "description": panel.about,
        "type": "lens",
        "visualizationType": kind,
        "state": {
            "visualization": drawn,
            "query": kql(panel.where),
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
        "params": {"fontSize": 10, "openLinksInNewTab": False, "markdown": note.markdown},
        "uiState": {},
        "data": {"aggs": [], "searchSource": {"query": kql(""), "filter": []}},
    }


def _panel(panel: Panel, id: str, grid: Json) -> Json:
    config: Json = {"enhancements": {}}
    if isinstance(panel, Note):
        config["savedVis"] = _markdown(panel)
    else:
        config |= {"attributes": _lens(panel, grid["h"]), "description": panel.about}
    if isinstance(panel, Metric):
        config["hidePanelTitles"] = True  # the tile itself says what it shows
    kind = "visualization" if isinstance(panel, Note) else "lens"
    return _placed(kind, id, grid, config, panel.title)


def _placed(kind: str, id: str, grid: Json, config: Json, title: str) -> Json:
    return {
        "type": kind,
        "gridData": {**grid, "i": id},
        "panelIndex": id,
        "embeddableConfig": config,
        "title": title,
    }


def _links(boards: Sequence[Board]) -> Json:
    """The panel that leads to all boards; time and filters of this one stay behind, as theirs differ."""
    options = {"openInNewTab": False, "useCurrentDateRange": False, "useCurrentFilters": False}
    links = [
        {
            "id": board.id,
            "type": "dashboardLink",
            "order": order,
            "label": board.title,
            "destinationRefName": f"link_{board.id}_dashboard",
            "options": options,
        }
        for order, board in enumerate(boards)
    ]
    config = {"enhancements": {}, "hidePanelTitles": True, "attributes": {"layout": "horizontal", "links": links}}
    return _placed("links", "links", {"x": 0, "y": 0, "w": COLUMNS, "h": LINKS_HEIGHT}, config, "Boards")


def _notes(board: Board, y: int) -> list[Json]:
    """What the numbers mean, in two columns: what holds for all, then panel by panel."""
    pictures = [panel for panel in board.pictures if panel.about]
    lines = [board.note, *(f"**{panel.title}**: {panel.about}" for panel in pictures)]
    half = next(place for place in range(1, len(lines) + 1) if sum(map(len, lines[:place])) * 2 >= sum(map(len, lines)))
    columns = [(lines[:half], "What the numbers mean"), (lines[half:], "Panel by panel")]
    height = max(_height(texts) for texts, _ in columns)
    width = COLUMNS // 2
    return [
        _panel(Note(title, "\n\n".join(texts)), f"note{place}", {"x": place * width, "y": y, "w": width, "h": height})
        for place, (texts, title) in enumerate(columns)
    ]


def _height(texts: list[str]) -> int:
    """In grid units, of a panel half a board of 1,440 pixels wide with paragraphs of 10 points."""
    rows = sum(-(-len(part) // _NOTE_LINE_CHARACTERS) for text in texts for part in text.split("\n\n"))
    paragraphs = sum(len(text.split("\n\n")) for text in texts)
    return -(-(rows * 19 + paragraphs * 11 + 84) // 28)


# --- boards -----------------------------------------------------------------------------------------------------------


def _controls(controls: tuple[Control, ...]) -> Json:
    panels = {
        f"control{order}": {
            "order": order,
            "width": "small",
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


def dashboard(board: Board, boards: Sequence[Board]) -> Json:
    """One board: links to all `boards`, its panels row by row, and what the numbers mean."""
    panels, references = [_links(boards)], _link_references(boards)
    y = LINKS_HEIGHT
    for row in board.rows:
        for x, width, panel in row.placed():
            id = f"panel{len(panels)}"
            panels.append(_panel(panel, id, {"x": x, "y": y, "w": width, "h": row.height}))
            if not isinstance(panel, Note):
                references.append(_view_reference(panel.view, f"{id}:indexpattern-datasource-layer-{LAYER}"))
        y += row.height
    panels += _notes(board, y)
    for order, control in enumerate(board.controls):
        references.append(_view_reference(control.view, f"controlGroup_control{order}:optionsListDataView"))
    return _saved_object("dashboard", board.id, _attributes(board, panels), references)


def _link_references(boards: Sequence[Board]) -> list[Json]:
    return [{"type": "dashboard", "id": board.id, "name": f"links:link_{board.id}_dashboard"} for board in boards]


def _attributes(board: Board, panels: list[Json]) -> Json:
    options = {"useMargins": True, "syncColors": False, "syncCursor": True, "syncTooltips": False}
    attributes = {
        "title": board.title,
        "description": board.description,
        "panelsJSON": _text(panels),
        "optionsJSON": _text({**options, "hidePanelTitles": False}),
        "timeRestore": True,
        "timeFrom": board.time_from,
        "timeTo": "now",
        "refreshInterval": {"pause": False, "value": board.refresh_s * 1_000},
        "kibanaSavedObjectMeta": {"searchSourceJSON": _text({"query": kql(""), "filter": []})},
        "version": 1,
    }
    return attributes | ({"controlGroupInput": _controls(board.controls)} if board.controls else {})
