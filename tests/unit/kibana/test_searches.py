"""Every panel becomes a search, and a panel that Kibana could not show is caught."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from kibana import answers, saved_objects, searches
from kibana.aggregations import BrokenPanel
from kibana.columns import formula
from kibana.searches import PanelSearch
from kibana.shapes import (
    XY,
    Board,
    Cases,
    Computed,
    Control,
    DataView,
    Donut,
    Heatmap,
    Measure,
    Metric,
    Note,
    OverTime,
    Picture,
    Row,
    Table,
    Terms,
    average,
    by_band,
    count,
    ratio,
    share,
    total,
    unique,
)

CARDS = DataView("cards", "cards", "Cards", {"risk": "percent"})
LETTERS = DataView("letters", "letters-*", "Letters")
ARRIVALS = DataView("arrivals", "cards", "Cards by arrival", time_field="came_at")
TYPES = {
    "@timestamp": "date",
    "came_at": "date",
    "risk": "double",
    "risk_band": "keyword",
    "segment": "keyword",
    "month": "long",
    "notes": "text",
}
FIELDS = {"cards": TYPES, "letters-*": {"@timestamp": "date", "reason": "keyword"}}
SUM, DOCUMENTS = total("risk", "Sum"), count("Count")


def board(*panels: Picture | Note, controls: tuple[Control, ...] = (), time_from: str = "now-1y") -> Board:
    rows = tuple(Row(10, (panel,)) for panel in panels)
    return Board("b", "Board", "", time_from, controls, rows, note="Note.")


BOARD = board(
    Metric("Tile", CARDS, total("risk", "Sum", "risk_band: high"), about=""),
    XY("Bars", CARDS, "bar", by_band(count("All")), Terms("segment", "Segment", 5), about=""),
    Table(
        "Table",
        CARDS,
        (Terms("segment", "Segment", 3), Terms("risk_band", "Band", 2, by=None)),
        (average("risk", "Mean"), DOCUMENTS),
        where="risk: *",
        about="",
    ),
    XY("Days", CARDS, "line", (unique("segment", "Segments"),), OverTime("1d", "Day"), about=""),
    Note("Text", "Text"),
    Table(
        "Ratios",
        CARDS,
        (Terms("segment", "Segment", 3, by=None),),
        (share(SUM, "Share"), ratio("Each", SUM, DOCUMENTS)),
        sort_by=None,
        about="",
    ),
    Donut("Donut", CARDS, by_band(count("All")), about=""),
    Heatmap(
        "Heat",
        CARDS,
        Terms("month", "Month", 9, by=None, is_number=True),
        Terms("segment", "Segment", 3, by=None),
        SUM,
        about="",
    ),
    XY("Cases", CARDS, "bar", (DOCUMENTS,), Cases("Risk", (("low", "risk < 0.5"), ("high", "risk >= 0.5"))), about=""),
    XY("Arrivals", ARRIVALS, "bar", (DOCUMENTS,), OverTime("auto", "Time"), about=""),
    XY("Everybody", CARDS, "bar", (DOCUMENTS,), Terms("segment", "Segment"), ignores_controls=True, about=""),
    controls=(Control(CARDS, "segment", "Segment"),),
)
OBJECTS = searches.read(saved_objects.ndjson([CARDS, LETTERS, ARRIVALS], [BOARD]))


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
    dashboard["references"] = [each for each in dashboard["references"] if not each["name"].startswith("panel3:")]


def refer_elsewhere(_: Any, __: Any, dashboard: dict[str, Any]) -> None:
    for each in dashboard["references"]:
        each["id"] = "letters" if each["name"].startswith("panel3:") else each["id"]


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
        (drop_reference, "0 references are named 'panel3:indexpattern-datasource-layer-layer'"),
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
    objects = searches.read(saved_objects.ndjson([CARDS], [board(controls=BOARD.controls)]))
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
    table = Table("T", CARDS, (Terms("segment", "S", 3),), (measure,), about="")
    (found,) = searches.searches(searches.read(saved_objects.ndjson([CARDS], [board(table)])), FIELDS)
    bucket0 = found.body["aggs"]["bucket0"]
    assert bucket0["terms"]["order"] == {path: "desc"}
    assert bucket0.get("aggs") == (aggregation and {"measure0": aggregation})


def test_rows_are_what_the_panel_shows() -> None:
    def group(key: str, mean: float, documents: int) -> dict[str, Any]:
        return {"key": key, "doc_count": documents, "measure0": {"value": mean}}

    found = [{"key": "Loyal", "doc_count": 3, "bucket1": {"buckets": [group("high", 0.8, 2), group("low", 0.1, 1)]}}]
    response = {"hits": {"total": {"value": 3}}, "aggregations": {"bucket0": {"buckets": found}}}
    assert answers.rows(search("Table"), response) == [
        {"Segment": "Loyal", "Band": "high", "Mean": 0.8, "Count": 2},
        {"Segment": "Loyal", "Band": "low", "Mean": 0.1, "Count": 1},
    ]


def test_a_panel_that_shows_nothing_is_empty() -> None:
    tile = search("Tile")
    assert answers.is_empty(tile, [{"Sum": None}])
    assert answers.is_empty(tile, [{"Sum": 0}])
    assert answers.is_empty(tile, [])
    assert not answers.is_empty(tile, [{"Sum": 0.5}])


# --- computed numbers -------------------------------------------------------------------------------------------------


def computed(**changes: Any) -> Callable[..., Any]:
    return lambda _, layer, __: layer["columns"]["measure0X2"].update(changes)


def formula_column(**changes: Any) -> Callable[..., Any]:
    return lambda _, layer, __: layer["columns"]["measure0"].update(changes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (formula_column(references=[]), r"'measure0' is computed of \[\]"),
        (formula_column(references=["measure0X9"]), r"columns that are not there: \['measure0X9'\]"),
        (computed(references=["measure0X0"]), "computes with other columns than it refers to"),
        (computed(references=["measure0X0", "gone"]), r"not there: \['gone'\]"),
        (lambda _, layer, __: layer["columns"]["measure0"]["params"].update(isFormulaBroken=True), "is broken"),
        (lambda _, layer, __: layer["columns"]["measure0"]["params"].update(formula=""), "is broken"),
        (lambda _, layer, __: layer["columns"]["measure0X0"].update(sourceField="riks"), "no field 'riks'"),
        (
            bucket(params={"size": 1, "orderBy": {"type": "column", "columnId": "measure0"}, "orderDirection": "asc"}),
            "sorted by a column that Elasticsearch cannot have: 'measure0'",
        ),
        (lambda _, layer, __: layer["columns"]["measure1"].update(label="Share"), "two columns have the same label"),
        (lambda _, layer, __: layer.update(ignoreGlobalFilters=True), None),
    ],
)
def test_a_broken_formula_is_caught(change: Callable[..., Any], reason: str | None) -> None:
    if reason is None:
        assert searches.searches(broken("Ratios", change), FIELDS)
        return
    with pytest.raises(BrokenPanel, match=f"^board 'Board', panel 'Ratios': .*{reason}"):
        searches.searches(broken("Ratios", change), FIELDS)


def test_a_sum_over_all_and_a_ratio_are_computed_of_what_elasticsearch_answers() -> None:
    found = search("Ratios")
    assert found.body["aggs"]["bucket0"]["aggs"] == {
        id: {"sum": {"field": "risk"}} for id in ("measure0X0", "measure1X0")
    }
    buckets = [
        {"key": name, "doc_count": documents, **{id: {"value": risk} for id in ("measure0X0", "measure1X0")}}
        for name, documents, risk in (("A", 4, 3.0), ("B", 0, 1.0))
    ]
    response = {"hits": {"total": {"value": 4}}, "aggregations": {"bucket0": {"buckets": buckets}}}
    assert answers.rows(found, response) == [
        {"Segment": "A", "Share": 0.75, "Each": 0.75},
        {"Segment": "B", "Share": 0.25, "Each": None},
    ]


def test_a_formula_reads_as_somebody_would_write_it() -> None:
    lost = Computed("subtract", (1.0, ratio("", total("a", "", 's: "Can\'t Lose"'), DOCUMENTS)), "")
    assert formula(lost) == "(1 - (sum(a, kql='s: \"Can\\'t Lose\"') / count()))"
    assert formula(share(SUM, "")) == "(sum(risk) / overall_sum(sum(risk)))"


def test_the_same_part_is_asked_for_once() -> None:
    (tile,) = searches.searches(
        searches.read(
            saved_objects.ndjson(
                [CARDS],
                [board(Metric("T", CARDS, ratio("R", SUM, Computed("add", (SUM, DOCUMENTS), "")), about=""))],
            )
        ),
        FIELDS,
    )
    assert list(tile.body["aggs"]) == ["measure0X0"]


# --- the other kinds of panels ----------------------------------------------------------------------------------------


def test_a_donut_has_a_piece_for_each_measure() -> None:
    assert list(search("Donut").body["aggs"]) == ["measure0", "measure1", "measure2"]


def test_a_heat_map_asks_for_rows_and_in_them_columns() -> None:
    outer = search("Heat").body["aggs"]["bucket0"]
    assert outer["terms"]["field"] == "segment"
    assert outer["aggs"]["bucket1"]["terms"] == {"field": "month", "size": 9, "order": {"_key": "asc"}}


def test_cases_are_counted_by_their_queries_and_shown_by_their_labels() -> None:
    found = search("Cases")
    assert found.body["aggs"]["bucket0"]["filters"]["filters"]["low"] == {"range": {"risk": {"lt": "0.5"}}}
    answer = {"bucket0": {"buckets": {"low": {"doc_count": 2}, "high": {"doc_count": 1}}}}
    response = {"hits": {"total": {"value": 3}}, "aggregations": answer}
    assert answers.rows(found, response) == [{"Risk": "low", "Count": 2}, {"Risk": "high", "Count": 1}]


@pytest.mark.parametrize(
    ("time_from", "interval"), [("now-24h", "30m"), ("now-1h", "1m"), ("now-90d/d", "1d"), ("now-1y", "7d")]
)
def test_an_automatic_interval_makes_at_most_a_hundred_bars(time_from: str, interval: str) -> None:
    bars = XY("Bars", ARRIVALS, "bar", (DOCUMENTS,), OverTime("auto", "Time"), about="")
    objects = searches.read(saved_objects.ndjson([ARRIVALS], [board(bars, time_from=time_from)]))
    (found,) = searches.searches(objects, FIELDS)
    assert found.body["aggs"]["bucket0"]["date_histogram"]["fixed_interval"] == interval
    assert found.body["query"]["bool"]["filter"][1] == {"range": {"came_at": {"gte": time_from, "lte": "now"}}}


def test_a_panel_without_the_field_of_a_control_is_caught() -> None:
    objects = searches.read(
        saved_objects.ndjson(
            [CARDS, LETTERS],
            [board(Metric("Letters", LETTERS, count("Letters"), about=""), controls=BOARD.controls)],
        )
    )
    with pytest.raises(BrokenPanel, match="no field 'segment', so the control on it would leave nothing"):
        searches.searches(objects, FIELDS)


def test_a_panel_that_ignores_the_controls_and_so_its_own_query_is_caught() -> None:
    objects = broken("Everybody", lambda state, _, __: state["query"].update(query="risk: *"))
    with pytest.raises(BrokenPanel, match="ignores the controls, and with them its own query 'risk: \\*'"):
        searches.searches(objects, FIELDS)


@pytest.mark.parametrize(
    ("title", "change", "reason"),
    [
        ("Donut", lambda state, _, __: state["visualization"]["layers"][0]["metrics"].append("gone"), "not there"),
        ("Donut", lambda state, _, __: state["visualization"]["layers"][0]["metrics"].pop(), "not shown"),
        (
            "Donut",
            lambda state, _, __: state["visualization"]["layers"][0]["colorsByDimension"].update(x="#000"),
            "'x'",
        ),
        ("Heat", lambda state, _, __: state["visualization"].update(yAccessor="gone"), "not there"),
        ("Heat", lambda state, _, __: state["visualization"]["palette"].update(accessor="gone"), "not there"),
        ("Table", lambda state, _, __: state["visualization"]["sorting"].update(columnId="gone"), "not there"),
        ("Cases", bucket(params={"filters": [{"input": {"query": "risks < 1"}, "label": "a"}]}), r"\['risks'\]"),
        ("Cases", bucket(params={"filters": [{"input": {"query": ""}, "label": "a"}] * 2}), "the same label"),
        ("Arrivals", bucket(sourceField="segment"), "does not do for a date histogram"),
    ],
)
def test_what_is_wrong_with_other_kinds_of_panels_is_caught(
    title: str, change: Callable[..., Any], reason: str
) -> None:
    with pytest.raises(BrokenPanel, match=f"^board 'Board', panel '{title}': .*{reason}"):
        searches.searches(broken(title, change), FIELDS)


def test_a_link_to_a_board_that_is_not_in_the_file_is_caught() -> None:
    other = Board("o", "Other", "", "now-1y", (), (), note="")
    objects = [each for each in searches.read(saved_objects.ndjson([CARDS], [BOARD, other])) if each["id"] != "o"]
    with pytest.raises(BrokenPanel, match="board 'Board', link 'Other': there is no board 'o'"):
        searches.searches(objects, FIELDS)


def test_a_link_without_a_reference_is_caught() -> None:
    objects = copy.deepcopy(OBJECTS)
    objects[-1]["references"] = [each for each in objects[-1]["references"] if each["type"] != "dashboard"]
    with pytest.raises(
        BrokenPanel, match="board 'Board', link 'Board': 0 references are named 'links:link_b_dashboard'"
    ):
        searches.searches(objects, FIELDS)
