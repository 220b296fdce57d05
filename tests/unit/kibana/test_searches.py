"""Every panel becomes a search, and a panel that Kibana could not show is caught."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from kibana import saved_objects, searches
from kibana.searches import BrokenPanel, PanelSearch
from kibana.shapes import (
    XY,
    Board,
    Control,
    DataView,
    Measure,
    Metric,
    Note,
    OverTime,
    Row,
    Table,
    Terms,
    average,
    by_band,
    count,
    total,
    unique,
)

CARDS = DataView("cards", "cards", "Cards", {"risk": "percent"})
LETTERS = DataView("letters", "letters-*", "Letters", {})
FIELDS = {
    "cards": {"@timestamp": "date", "risk": "double", "risk_band": "keyword", "segment": "keyword", "notes": "text"},
    "letters-*": {"@timestamp": "date", "reason": "keyword"},
}
BOARD = Board(
    "b",
    "Board",
    "",
    "now-1y",
    (Control(CARDS, "segment", "Segment"),),
    (
        Row(4, (Metric("Tile", CARDS, total("risk", "Sum", "risk_band: high")),)),
        Row(
            4,
            (
                XY("Bars", CARDS, "bar", by_band(count("All")), Terms("segment", "Segment", 5)),
                Table(
                    "Table",
                    CARDS,
                    (Terms("segment", "Segment", 3), Terms("risk_band", "Band", 2, by=None)),
                    (average("risk", "Mean"), count("Count")),
                    where="risk: *",
                ),
            ),
        ),
        Row(
            4,
            (XY("Days", CARDS, "line", (unique("segment", "Segments"),), OverTime("1d", "Day")), Note("Note", "Text")),
        ),
    ),
)
OBJECTS = searches.read(saved_objects.ndjson([CARDS, LETTERS], [BOARD]))


def search(title: str) -> PanelSearch:
    return next(each for each in searches.searches(OBJECTS, FIELDS) if each.panel == title)


def broken(title: str, change: Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], Any]) -> list[dict[str, Any]]:
    """The objects with one panel changed: `change` is given the panel's lens state, its layer and the dashboard."""
    objects = copy.deepcopy(OBJECTS)
    dashboard = objects[-1]
    panels = json.loads(dashboard["attributes"]["panelsJSON"])
    panel = next(each for each in panels if each["title"] == title)
    state = panel["embeddableConfig"]["attributes"]["state"]
    change(state, state["datasourceStates"]["formBased"]["layers"]["layer"], dashboard)
    dashboard["attributes"]["panelsJSON"] = json.dumps(panels)
    return objects


def column(**changes: Any) -> Callable[..., Any]:
    return lambda _, layer, __: layer["columns"]["measure0"].update(changes)


def bucket(**changes: Any) -> Callable[..., Any]:
    return lambda _, layer, __: layer["columns"]["bucket0"].update(changes)


def swap_order(_: Any, layer: dict[str, Any], __: Any) -> None:
    layer["columnOrder"].reverse()


def drop_reference(_: Any, __: Any, dashboard: dict[str, Any]) -> None:
    dashboard["references"] = [each for each in dashboard["references"] if not each["name"].startswith("panel2:")]


def refer_elsewhere(_: Any, __: Any, dashboard: dict[str, Any]) -> None:
    for each in dashboard["references"]:
        each["id"] = "letters" if each["name"].startswith("panel2:") else each["id"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (column(sourceField="riks"), "there is no field 'riks'"),
        (column(sourceField="segment"), "of type keyword, which does not do for average"),
        (bucket(sourceField="notes"), "of type text, which does not do for grouping"),
        (column(operationType="last_value"), "operation 'last_value' is not known"),
        (bucket(operationType="range"), "operation 'range' is not known"),
        (column(filter={"query": "risk_band = high", "language": "kuery"}), "expected ':'"),
        (
            column(filter={"query": "band: high", "language": "kuery"}),
            r"asks for fields that are not there: \['band'\]",
        ),
        (lambda state, _, __: state["query"].update(query="risk: (1"), r"expected '\)'"),
        (lambda _, layer, __: layer["columns"]["bucket0"]["params"]["orderBy"].update(columnId="gone"), "'gone'"),
        (
            lambda state, _, __: state["visualization"]["columns"].append({"columnId": "gone"}),
            "columns that are not there",
        ),
        (lambda state, _, __: state["visualization"]["columns"].pop(), "computed but not shown"),
        (lambda state, _, __: state["visualization"].update(layerId="other"), "does not show layer 'layer'"),
        (lambda _, layer, __: layer["columnOrder"].pop(), "columnOrder names"),
        (swap_order, "a measure before a bucket"),
        (drop_reference, "0 references are named 'panel2:indexpattern-datasource-layer-layer'"),
        (refer_elsewhere, "different data views"),
        (lambda state, _, __: state.pop("query"), "key 'query' is missing"),
    ],
)
def test_a_broken_panel_is_caught_and_named(change: Callable[..., Any], reason: str) -> None:
    with pytest.raises(BrokenPanel, match=f"^board 'Board', panel 'Table': .*{reason}"):
        searches.searches(broken("Table", change), FIELDS)


def test_a_panel_on_a_data_view_that_is_not_in_the_file_is_caught() -> None:
    with pytest.raises(BrokenPanel, match="there is no data view 'cards'"):
        searches.searches(OBJECTS[1:], FIELDS)


def test_a_panel_on_indices_that_are_not_there_is_caught() -> None:
    with pytest.raises(BrokenPanel, match="no index matches 'cards' yet"):
        searches.searches(OBJECTS, {**FIELDS, "cards": {}})


def test_a_control_of_a_field_that_is_no_list_is_caught() -> None:
    fields = {**FIELDS, "cards": {**FIELDS["cards"], "segment": "text"}}
    board = Board("b", "Board", "", "now-1y", (Control(CARDS, "segment", "Segment"),), ())
    objects = searches.read(saved_objects.ndjson([CARDS], [board]))
    with pytest.raises(BrokenPanel, match="control 'Segment': field 'segment' is of type text"):
        searches.searches(objects, fields)


def test_a_search_is_limited_to_the_time_of_the_board_and_the_query_of_the_panel() -> None:
    assert search("Table").body["query"]["bool"]["filter"] == [
        {"exists": {"field": "risk"}},
        {"range": {"@timestamp": {"gte": "now-1y", "lte": "now"}}},
    ]


def test_buckets_lie_in_each_other_and_measures_in_the_innermost() -> None:
    mean = {"avg": {"field": "risk"}}
    inner = {"terms": {"field": "risk_band", "size": 2, "order": {"_key": "asc"}}, "aggs": {"measure0": mean}}
    assert search("Table").body["aggs"] == {
        "bucket0": {
            "terms": {"field": "segment", "size": 3, "order": {"measure0": "desc"}},
            "aggs": {"bucket1": inner, "measure0": mean},
        }
    }


def test_a_measure_of_its_own_documents_is_a_filter() -> None:
    high = {"match": {"risk_band": "high"}}
    assert search("Tile").body["aggs"] == {"measure0": {"filter": high, "aggs": {"value": {"sum": {"field": "risk"}}}}}
    bars = search("Bars").body["aggs"]["bucket0"]
    assert bars["terms"]["order"] == {"measure0": "desc"}
    assert bars["aggs"]["measure0"] == {"filter": high}


@pytest.mark.parametrize(
    ("measure", "aggregation", "path"),
    [
        (count("c"), None, "_count"),
        (Measure("median", "risk", "m"), {"percentiles": {"field": "risk", "percents": [50.0]}}, "measure0.50.0"),
        (
            Measure("percentile", "risk", "p", percentile=90),
            {"percentiles": {"field": "risk", "percents": [90.0]}},
            "measure0.90.0",
        ),
        (Measure("min", "risk", "m"), {"min": {"field": "risk"}}, "measure0"),
    ],
)
def test_a_bucket_can_be_sorted_by_every_kind_of_measure(measure: Measure, aggregation: Any, path: str) -> None:
    board = Board("b", "B", "", "now-1y", (), (Row(4, (Table("T", CARDS, (Terms("segment", "S", 3),), (measure,)),)),))
    (found,) = searches.searches(searches.read(saved_objects.ndjson([CARDS], [board])), FIELDS)
    bucket0 = found.body["aggs"]["bucket0"]
    assert bucket0["terms"]["order"] == {path: "desc"}
    assert bucket0.get("aggs") == (aggregation and {"measure0": aggregation})


def test_rows_are_what_the_panel_shows() -> None:
    def group(key: str, mean: float, documents: int) -> dict[str, Any]:
        return {"key": key, "doc_count": documents, "measure0": {"value": mean}}

    found = [{"key": "Loyal", "doc_count": 3, "bucket1": {"buckets": [group("high", 0.8, 2), group("low", 0.1, 1)]}}]
    response = {"hits": {"total": {"value": 3}}, "aggregations": {"bucket0": {"buckets": found}}}
    assert searches.rows(search("Table"), response) == [
        {"Segment": "Loyal", "Band": "high", "Mean": 0.8, "Count": 2},
        {"Segment": "Loyal", "Band": "low", "Mean": 0.1, "Count": 1},
    ]


def test_a_panel_that_shows_nothing_is_empty() -> None:
    tile = search("Tile")
    assert searches.is_empty(tile, [{"Sum": None}])
    assert searches.is_empty(tile, [{"Sum": 0}])
    assert searches.is_empty(tile, [])
    assert not searches.is_empty(tile, [{"Sum": 0.5}])
