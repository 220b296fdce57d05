"""How each kind of panel is drawn: the part of a Lens panel that says where its columns go."""

from typing import Any, Final

from kibana.columns import colours, ids
from kibana.shapes import HIGH, LOW, MEDIUM, TILE, XY, Donut, Heatmap, Metric, Picture, Shade, Table

Json = dict[str, Any]

LAYER: Final = "layer"
_MORE: Final = ("#F0F5FA", "#CFDFEE", "#A9C5E0", "#83ABD1", "#5C91C2")
_TABLE_FRAME_PIXELS: Final = 126
_TABLE_ROW_PIXELS: Final = 36
# Kibana shows no page turner below this many rows, so a smaller page would hide some: such tables scroll.
_LEAST_PAGE: Final = 10
_ON_ALL_AXES: Final = {"x": True, "yLeft": True, "yRight": True}


def visualization(panel: Picture, height: int) -> tuple[str, Json]:
    """The kind of Lens visualization and its state; `height` is the panel's, in grid units."""
    bucket_ids, measure_ids = ids("bucket", len(panel.buckets)), ids("measure", len(panel.measures))
    match panel:
        case Metric():
            return "lnsMetric", _metric(panel, measure_ids)
        case XY():
            return "lnsXY", _xy(panel, bucket_ids, measure_ids)
        case Donut():
            return "lnsPie", _donut(panel, measure_ids)
        case Heatmap():
            return "lnsHeatmap", _heatmap(bucket_ids, measure_ids)
        case Table():
            return "lnsDatatable", _table(panel, bucket_ids, measure_ids, height)


def _layer() -> Json:
    return {"layerId": LAYER, "layerType": "data"}


def _metric(panel: Metric, measure_ids: list[str]) -> Json:
    shown = {**_layer(), "metricAccessor": measure_ids[0], "color": panel.measure.colour or TILE}
    return shown | ({"subtitle": panel.subtitle} if panel.subtitle else {})


def _xy(panel: XY, bucket_ids: list[str], measure_ids: list[str]) -> Json:
    chosen = colours(panel.measures)
    layer: Json = {
        **_layer(),
        "seriesType": panel.chart,
        "accessors": measure_ids,
        "position": "top",
        "showGridlines": False,
        "yConfig": [
            {"forAccessor": id, "axisMode": "left"} | ({"color": chosen[id]} if id in chosen else {})
            for id in measure_ids
        ],
    }
    if panel.over is not None:
        layer["xAccessor"] = bucket_ids[0]
    return {
        "legend": {"isVisible": len(measure_ids) > 1, "position": "bottom", "shouldTruncate": False},
        "valueLabels": "show" if panel.over is None else "hide",
        "fittingFunction": "Linear" if panel.bridges_gaps else "None",
        "emphasizeFitting": True,
        "axisTitlesVisibilitySettings": dict.fromkeys(_ON_ALL_AXES, False),
        "tickLabelsVisibilitySettings": _ON_ALL_AXES,
        "gridlinesVisibilitySettings": _ON_ALL_AXES,
        "preferredSeriesType": panel.chart,
        "layers": [layer],
    }


def _donut(panel: Donut, measure_ids: list[str]) -> Json:
    layer = {
        **_layer(),
        "primaryGroups": [],
        "metrics": measure_ids,
        "allowMultipleMetrics": True,
        "colorsByDimension": colours(panel.measures),
        "numberDisplay": "percent",
        "categoryDisplay": "default",
        "legendDisplay": "show",
        "legendPosition": "right",
        "nestedLegend": False,
        "percentDecimals": 0,
    }
    return {"shape": "donut", "layers": [layer]}


def _heatmap(bucket_ids: list[str], measure_ids: list[str]) -> Json:
    return {
        **_layer(),
        "shape": "heatmap",
        "xAccessor": bucket_ids[1],
        "yAccessor": bucket_ids[0],
        "valueAccessor": measure_ids[0],
        "legend": {"isVisible": False, "position": "right", "type": "heatmap_legend"},
        "gridConfig": {
            "type": "heatmap_grid",
            "isCellLabelVisible": True,
            "isYAxisLabelVisible": True,
            "isXAxisLabelVisible": True,
            "isYAxisTitleVisible": False,
            "isXAxisTitleVisible": False,
        },
        "palette": {**_palette("more"), "accessor": measure_ids[0]},
    }


def rows_that_fit(height: int) -> int:
    """Rows of a table that are seen without scrolling, with a header of two lines and the line that turns pages."""
    pixels = 28 * height - 8
    return max(1, (pixels - _TABLE_FRAME_PIXELS) // _TABLE_ROW_PIXELS)


def _table(panel: Table, bucket_ids: list[str], measure_ids: list[str], height: int) -> Json:
    rows = rows_that_fit(height)
    labels = [each.label for each in (*panel.buckets, *panel.measures)]
    table: Json = {
        **_layer(),
        "columns": [
            _table_column(panel, id, label) for id, label in zip((*bucket_ids, *measure_ids), labels, strict=True)
        ],
        "paging": {"size": max(rows, _LEAST_PAGE), "enabled": rows >= _LEAST_PAGE},
        "headerRowHeight": "custom",
        "headerRowHeightLines": 2,
        "rowHeight": "single",
        "rowHeightLines": 1,
    }
    if panel.sort_by is not None:
        table["sorting"] = {"columnId": measure_ids[panel.sort_by], "direction": "desc"}
    return table


def _table_column(panel: Table, id: str, label: str) -> Json:
    column: Json = {"columnId": id}
    if label in panel.widths:
        column["width"] = panel.widths[label]
    if label in panel.shades:
        column |= {"colorMode": "cell", "palette": _palette(panel.shades[label])}
    return column


def _palette(shade: Shade) -> Json:
    """Colours by value: the risk bands at 1/3 and 2/3, or one colour, the darker the nearer to the highest value."""
    if shade == "risk":
        return _custom([LOW, MEDIUM, HIGH], [0, 1 / 3, 2 / 3], 1, "number")
    return _custom(list(_MORE), [0, 20, 40, 60, 80], 100, "percent")


def _custom(found: list[str], starts: list[float], end: float, kind: str) -> Json:
    ends = [*starts[1:], end]
    return {
        "type": "palette",
        "name": "custom",
        "params": {
            "name": "custom",
            "reverse": False,
            "rangeType": kind,
            "rangeMin": starts[0],
            "rangeMax": end,
            "progression": "fixed",
            "continuity": "all",
            "steps": len(found),
            "maxSteps": 5,
            "stops": [{"color": colour, "stop": stop} for colour, stop in zip(found, ends, strict=True)],
            "colorStops": [{"color": colour, "stop": stop} for colour, stop in zip(found, starts, strict=True)],
        },
    }
