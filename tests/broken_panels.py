"""Panels of the boards, each broken in one way, with what is said of it."""

import json
from collections.abc import Callable
from typing import Any

from .panels import Rows


def changed(objects_of_file: Rows, panel: str, change: Callable[[dict[str, Any]], Any]) -> Rows:
    """These objects with the columns of one panel changed."""
    objects: Rows = json.loads(json.dumps(objects_of_file))
    for dashboard in (each for each in objects if each["type"] == "dashboard"):
        found = json.loads(dashboard["attributes"]["panelsJSON"])
        for each in found:
            if each["title"] == panel:
                state = each["embeddableConfig"]["attributes"]["state"]
                change(state["datasourceStates"]["formBased"]["layers"]["layer"]["columns"])
        dashboard["attributes"]["panelsJSON"] = json.dumps(found)
    return objects


def where(query: str) -> dict[str, str]:
    return {"query": query, "language": "kuery"}


BROKEN: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("Average risk", lambda columns: columns["measure0"].update(sourceField="riskiness"), "no field 'riskiness'"),
    ("Average risk", lambda columns: columns["measure0"].update(sourceField="segment"), "does not do for average"),
    ("Orders by day", lambda columns: columns["bucket0"]["params"].update(interval="17d"), "Elasticsearch refuses"),
    (
        "Risk by country",
        lambda c: c["bucket0"]["params"]["orderBy"].update(columnId="measure9"),
        "sorted by a column",
    ),
    ("At high risk", lambda columns: columns["measure0"].update(filter=where("band: high")), "fields that are not"),
    ("Average order", lambda columns: columns["measure0"].update(references=[]), "is computed of"),
    ("Average order", lambda columns: columns["measure0X0"].update(sourceField="sales"), "no field 'sales'"),
    ("Retention by cohort", lambda columns: columns["measure0X2"].update(references=["gone"]), "not there"),
    ("Events by arrival", lambda columns: columns["bucket0"].update(sourceField="kind"), "no field 'kind'"),
    ("Risk by segment", lambda columns: columns["bucket0"].update(operationType="range"), "'range' is not known"),
    (
        "Last event arrived",
        lambda columns: columns["measure0"].update(sourceField="channel"),
        "does not do for max",
    ),
    ("Customers by risk band", lambda columns: columns["measure0"].update(filter=where("(a: b")), r"expected '\)'"),
]
