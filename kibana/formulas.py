"""What Kibana computes in the browser: formulas of columns that Elasticsearch has answered."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kibana.aggregations import COMPUTED, BrokenPanel

Json = dict[str, Any]
Number = float | None
# The values of one row by the id of their column.
Values = dict[str, Any]

_FUNCTIONS: Final[dict[str, Callable[[float, float], float]]] = {
    "add": lambda one, other: one + other,
    "subtract": lambda one, other: one - other,
    "multiply": lambda one, other: one * other,
    "divide": lambda one, other: one / other,
}


def check(computed: Mapping[str, Json], known: Mapping[str, Json]) -> None:
    """Raise `BrokenPanel` for a formula that is broken, or refers to what is not there.

    `computed` are the columns of formulas and their parts, `known` all columns of the panel.
    """
    for id, column in computed.items():
        references = column["references"]
        if not references or (column["operationType"] != "math" and len(references) != 1):
            raise BrokenPanel(f"column {id!r} is computed of {references}")
        if unknown := set(references) - known.keys():
            raise BrokenPanel(f"column {id!r} is computed of columns that are not there: {sorted(unknown)}")
        if column["operationType"] == "math" and set(_ids(column["params"]["tinymathAst"])) != set(references):
            raise BrokenPanel(f"column {id!r} computes with other columns than it refers to")
        if column["operationType"] == "formula" and (
            column["params"]["isFormulaBroken"] or not column["params"]["formula"]
        ):
            raise BrokenPanel(f"formula {id!r} is broken")


def references(computed: Mapping[str, Json]) -> set[str]:
    """The ids of all columns of which something is computed."""
    return {id for column in computed.values() for id in column["references"]}


def add(rows: Sequence[Values], computed: Mapping[str, Json]) -> None:
    """Add the computed columns to the rows, in their order; what cannot be computed is None, as in Kibana."""
    for id, column in computed.items():
        if column["operationType"] == "overall_sum":
            total = sum(row[column["references"][0]] or 0 for row in rows)
            for row in rows:
                row[id] = total
        else:
            tree = column["params"]["tinymathAst"] if column["operationType"] == "math" else column["references"][0]
            for row in rows:
                row[id] = _result(tree, row)


def _result(tree: Any, row: Values) -> Number:
    if isinstance(tree, int | float):
        return tree
    if isinstance(tree, str):
        value = row[tree]
        return None if value is None else float(value)
    function = _FUNCTIONS.get(tree["name"])
    if function is None:
        raise BrokenPanel(f"function {tree['name']!r} is not known")
    one, other = (_result(part, row) for part in tree["args"])
    if one is None or other is None or (tree["name"] == "divide" and other == 0):
        return None
    return function(one, other)


def _ids(tree: Any) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    return [id for part in tree["args"] for id in _ids(part)] if isinstance(tree, dict) else []


def split(columns: Mapping[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    """Columns that Elasticsearch answers, and those that Kibana computes."""
    computed = {id: column for id, column in columns.items() if column["operationType"] in COMPUTED}
    return {id: column for id, column in columns.items() if id not in computed}, computed
