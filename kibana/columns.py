"""Buckets and measures as the columns of a Lens layer. A computed number is several columns: its parts and the sum."""

from typing import Any, Final

from kibana.shapes import Bucket, Cases, Computed, Format, Measure, OverTime, Part, Picture, Terms, Value

Json = dict[str, Any]

PATTERNS: Final[dict[Format, tuple[str, Json]]] = {
    "whole": ("number", {"pattern": "0,0"}),
    "decimal": ("number", {"pattern": "0,0.0"}),
    "number": ("number", {"pattern": "0,0.000"}),
    "money": ("number", {"pattern": "0,0.00"}),
    "amount": ("number", {"pattern": "0,0"}),
    "percent": ("percent", {"pattern": "0.0%"}),
    "moment": ("date", {"pattern": "D MMM HH:mm:ss"}),
    "duration": (
        "duration",
        {"inputFormat": "seconds", "outputFormat": "humanizePrecise", "outputPrecision": 1, "useShortSuffix": True},
    ),
}
_DECIMALS: Final[dict[Format, int]] = {"whole": 0, "decimal": 1, "number": 3, "money": 2, "amount": 0, "percent": 1}
_SIGNS: Final = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}


def kql(query: str) -> Json:
    """A query as Kibana keeps it."""
    return {"query": query, "language": "kuery"}


def ids(prefix: str, number: int) -> list[str]:
    """The ids of the columns of one kind."""
    return [f"{prefix}{place}" for place in range(number)]


def columns(panel: Picture) -> dict[str, Json]:
    """All columns of a panel by id, as they must stand: buckets first, then measures with what they are made of."""
    measure_ids = ids("measure", len(panel.measures))
    buckets = (_bucket(each, measure_ids, panel.view.time_field) for each in panel.buckets)
    found = dict(zip(ids("bucket", len(panel.buckets)), buckets, strict=True))
    for id, measure in zip(measure_ids, panel.measures, strict=True):
        found |= {id: _measure(measure)} if isinstance(measure, Measure) else _computed(id, measure)
    return found


# --- buckets ----------------------------------------------------------------------------------------------------------


def _bucket(bucket: Bucket, measure_ids: list[str], time_field: str) -> Json:
    match bucket:
        case Terms():
            return _terms(bucket, measure_ids)
        case OverTime():
            return _over_time(bucket, time_field)
        case Cases():
            return _cases(bucket)


def _terms(terms: Terms, measure_ids: list[str]) -> Json:
    by_measure = None if terms.by is None else {"type": "column", "columnId": measure_ids[terms.by]}
    return {
        "label": terms.label,
        "customLabel": True,
        "dataType": "number" if terms.is_number else "string",
        "operationType": "terms",
        "isBucketed": True,
        "scale": "ordinal",
        "sourceField": terms.field,
        "params": {
            "size": terms.size,
            "orderBy": by_measure or {"type": "alphabetical", "fallback": False},
            "orderDirection": "asc" if by_measure is None else "desc",
            # Heat maps sort numbers as texts unless there could be a bucket for the others.
            "otherBucket": terms.is_number,
            "missingBucket": False,
            "parentFormat": {"id": "terms"},
            "include": [],
            "exclude": [],
            "includeIsRegex": False,
            "excludeIsRegex": False,
        },
    }


def _over_time(over_time: OverTime, field: str) -> Json:
    return {
        "label": over_time.label,
        "customLabel": True,
        "dataType": "date",
        "operationType": "date_histogram",
        "isBucketed": True,
        "scale": "interval",
        "sourceField": field,
        "params": {"interval": over_time.interval, "includeEmptyRows": True, "dropPartials": False},
    }


def _cases(cases: Cases) -> Json:
    return {
        "label": cases.label,
        "customLabel": True,
        "dataType": "string",
        "operationType": "filters",
        "isBucketed": True,
        "scale": "ordinal",
        "params": {"filters": [{"input": kql(query), "label": label} for label, query in cases.cases]},
    }


# --- measures ---------------------------------------------------------------------------------------------------------


def format_params(format: Format) -> Json:
    """How Lens is told to write a number; dates and durations are written as their data view says."""
    if format not in _DECIMALS:
        return {}
    return {"format": {"id": PATTERNS[format][0], "params": {"decimals": _DECIMALS[format]}}}


def _measure(measure: Measure) -> Json:
    params = format_params(measure.format)
    if measure.operation in ("count", "unique_count", "sum"):
        # A group without documents has none, which is a number; an empty cell would look like a fault.
        params["emptyAsNull"] = False
    if measure.operation == "percentile":
        params["percentile"] = measure.percentile
    column = {
        "label": measure.label,
        "customLabel": True,
        "dataType": "date" if measure.format == "moment" else "number",
        "operationType": measure.operation,
        "isBucketed": False,
        "scale": "ratio",
        "sourceField": measure.field or "___records___",
        "params": params,
    }
    return column | ({"filter": kql(measure.where)} if measure.where else {})


def _computed(id: str, computed: Computed) -> dict[str, Json]:
    """The columns of a formula as Kibana's own editor writes them: X0, X1, ... and the formula that shows the last."""
    parts: dict[str, Json] = {}
    tree = _tree(computed, id, parts)
    text = formula(computed)
    if not isinstance(tree, str):
        result = f"{id}X{len(parts)}"
        parts[result] = {
            **_part("math", text),
            "params": {"tinymathAst": tree},
            "references": list(dict.fromkeys(_column_ids(tree))),
        }
        tree = result
    parts[id] = {
        "label": computed.label,
        "customLabel": True,
        "dataType": "number",
        "operationType": "formula",
        "isBucketed": False,
        "scale": "ratio",
        "params": {"formula": text, "isFormulaBroken": False, **format_params(computed.format)},
        "references": [tree],
    }
    return parts


def _tree(part: Part, id: str, columns: dict[str, Json]) -> Any:
    """What tinymath computes: numbers, ids of columns and functions of them; the columns are added to `columns`."""
    if isinstance(part, float):
        return part
    if isinstance(part, Measure):
        return _column(_measure(part) | {"label": f"Part of {formula(part)}"}, id, columns)
    trees = [_tree(each, id, columns) for each in part.parts]
    text = formula(part)
    if part.operation == "overall_sum":
        return _column({**_part("overall_sum", text), "references": trees}, id, columns)
    location = {"min": 0, "max": len(text)}
    return {"type": "function", "name": part.operation, "args": trees, "location": location, "text": text}


def _column(column: Json, id: str, columns: dict[str, Json]) -> str:
    """The id of this column among the parts, where the same one stands already, or of a new one."""
    same = next((name for name, each in columns.items() if each == column), None)
    name = same or f"{id}X{len(columns)}"
    columns[name] = column
    return name


def _part(operation: str, text: str) -> Json:
    return {
        "label": f"Part of {text}",
        "customLabel": True,
        "dataType": "number",
        "operationType": operation,
        "isBucketed": False,
        "scale": "ratio",
    }


def _column_ids(tree: Any) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    return [id for part in tree["args"] for id in _column_ids(part)] if isinstance(tree, dict) else []


def formula(part: Part) -> str:
    """The text of a formula, as somebody would write it in Kibana."""
    match part:
        case float():
            return f"{part:g}"
        case Measure():
            named = [] if part.field is None else [part.field]
            quoted = part.where.replace("'", "\\'")
            limits = [f"kql='{quoted}'"] if quoted else []
            return f"{part.operation}({', '.join(named + limits)})"
        case Computed(operation="overall_sum"):
            return f"overall_sum({formula(part.parts[0])})"
        case Computed():
            return "(" + f" {_SIGNS[part.operation]} ".join(map(formula, part.parts)) + ")"


def colours(values: tuple[Value, ...]) -> dict[str, str]:
    """The colours of those measures that have one, by the id of their column."""
    named = zip(ids("measure", len(values)), values, strict=True)
    return {id: value.colour for id, value in named if value.colour}
