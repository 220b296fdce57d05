"""The file that Kibana imports is what the boards say, and the boards say what the product means."""

import json
from itertools import combinations
from typing import Any

import pytest

from churn import analysis_tables, events, features, model, segments
from es_ingest import templates
from kibana import boards, data_views, saved_objects, searches, visualizations
from kibana.__main__ import FILE, generated
from kibana.boards import churn_risk, pipeline
from kibana.shapes import BAND_COLOURS, COLUMNS, SEGMENT_COLOURS, TIER_COLOURS, Board, Table

OBJECTS = searches.read(generated())
DASHBOARDS = [each for each in OBJECTS if each["type"] == "dashboard"]
FIELDS = {
    template.pattern: {name: mapping["type"] for name, mapping in template.properties.items()}
    for template in templates.ALL
}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return list(json.loads(dashboard["attributes"]["panelsJSON"]))


def states() -> list[dict[str, Any]]:
    lens = [panel for dashboard in DASHBOARDS for panel in panels(dashboard) if panel["type"] == "lens"]
    return [panel["embeddableConfig"]["attributes"]["state"] for panel in lens]


def test_the_file_in_the_repository_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == generated(), "run `python -m kibana generate`"


def test_every_id_is_used_once() -> None:
    ids = [(each["type"], each["id"]) for each in OBJECTS]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("board", boards.ALL, ids=lambda board: board.id)
def test_every_row_is_as_wide_as_the_board(board: Board) -> None:
    for row in board.rows:
        *_, (x, width, _) = row.placed()
        assert x + width == COLUMNS


@pytest.mark.parametrize("board", boards.ALL, ids=lambda board: board.id)
def test_columns_of_a_table_that_have_a_width_are_there(board: Board) -> None:
    for panel in board.pictures:
        if isinstance(panel, Table):
            labels = {each.label for each in (*panel.buckets, *panel.measures)}
            assert panel.widths.keys() | panel.shades.keys() <= labels, panel.title


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard["id"])
def test_no_panel_lies_on_another(dashboard: dict[str, Any]) -> None:
    places = [panel["gridData"] for panel in panels(dashboard)]
    for one, other in combinations(places, 2):
        is_beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        is_above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert is_beside or is_above, (one, other)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard["id"])
def test_every_panel_has_a_place_and_a_title_of_its_own(dashboard: dict[str, Any]) -> None:
    found = panels(dashboard)
    assert all(panel["gridData"]["i"] == panel["panelIndex"] for panel in found)
    assert len({panel["panelIndex"] for panel in found}) == len({panel["title"] for panel in found}) == len(found)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard["id"])
def test_a_board_says_what_every_panel_means(dashboard: dict[str, Any]) -> None:
    found = panels(dashboard)
    notes = "".join(panel["embeddableConfig"]["savedVis"]["params"]["markdown"] for panel in found[-2:])
    for panel in found:
        if panel["type"] == "lens":
            assert f"**{panel['title']}**: {panel['embeddableConfig']['description']}" in notes


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard["id"])
def test_a_board_leads_to_all_boards(dashboard: dict[str, Any]) -> None:
    links = panels(dashboard)[0]["embeddableConfig"]["attributes"]["links"]
    assert [link["label"] for link in links] == [board.title for board in boards.ALL]


def test_every_panel_and_control_fits_the_fields_of_the_index_templates() -> None:
    found = searches.searches(OBJECTS, FIELDS)
    controls = [control for board in boards.ALL for control in board.controls]
    assert len(found) == len(states()) + len(controls)


def test_every_reference_of_a_board_is_used_and_resolves() -> None:
    ids = {each["id"] for each in OBJECTS}
    for dashboard in DASHBOARDS:
        names = [reference["name"] for reference in dashboard["references"]]
        lens = [panel for panel in panels(dashboard) if panel["type"] == "lens"]
        controls = json.loads(dashboard["attributes"].get("controlGroupInput", {"panelsJSON": "{}"})["panelsJSON"])
        assert len(set(names)) == len(names) == len(lens) + len(controls) + len(DASHBOARDS)
        assert {reference["id"] for reference in dashboard["references"]} <= ids


@pytest.mark.parametrize("view", data_views.ALL, ids=lambda view: view.id)
def test_a_data_view_formats_only_fields_that_are_there(view: Any) -> None:
    assert view.formats.keys() | view.words.keys() <= FIELDS[view.pattern].keys()
    assert FIELDS[view.pattern][view.time_field] == "date"


def test_every_analysis_has_a_data_view() -> None:
    patterns = {view.pattern for view in data_views.ALL}
    assert {table.index for table in analysis_tables.ALL} <= patterns


def test_every_feature_that_is_money_is_written_as_money() -> None:
    money = {feature.name for feature in features.FEATURES if feature.unit == "money"}
    assert {name for name in money if data_views.CUSTOMERS.formats[name] == "money"} == money
    assert data_views.CUSTOMERS.formats["risk"] == "percent"


def test_every_risk_band_segment_and_tier_has_a_colour_of_its_own() -> None:
    assert set(BAND_COLOURS) == set(model.BANDS)
    assert set(SEGMENT_COLOURS) == set(segments.NAMED)
    for colours in (BAND_COLOURS, SEGMENT_COLOURS, TIER_COLOURS):
        assert len(set(colours.values())) == len(colours)


def test_a_value_has_the_same_colour_on_every_panel_and_no_other_has_that_of_a_band() -> None:
    seen: dict[str, set[str]] = {}
    for state in states():
        columns = state["datasourceStates"]["formBased"]["layers"][visualizations.LAYER]["columns"]
        for layer in state["visualization"].get("layers", []):
            coloured = {each["forAccessor"]: each.get("color") for each in layer.get("yConfig", [])}
            for id, colour in (coloured | layer.get("colorsByDimension", {})).items():
                query = columns[id].get("filter", {"query": columns[id]["label"]})["query"]
                seen.setdefault(query, set()).add(str(colour))
    bands = {query: colours for query, colours in seen.items() if query.startswith("risk_band: ")}
    assert bands == {f"risk_band: {band}": {colour} for band, colour in BAND_COLOURS.items()}
    by_value = {
        query: colours for query, colours in seen.items() if query.split(":")[0] in ("segment", "tier", "state")
    }
    assert by_value
    assert all(len(colours) == 1 for colours in by_value.values())
    others = {colour for query, colours in seen.items() if "risk_band" not in query for colour in colours}
    assert not others & set(BAND_COLOURS.values()) - {BAND_COLOURS["high"]}
    assert [query for query, colours in seen.items() if BAND_COLOURS["high"] in colours] == [
        "risk_band: high",
        "Customers",
    ]


def test_every_reason_of_a_dead_letter_has_a_bar() -> None:
    assert {str(reason) for reason in events.Reason} < set(pipeline._REASONS)


def test_the_note_says_what_the_code_does() -> None:
    assert (model.MEDIUM_FROM, model.HIGH_FROM) == (1 / 3, 2 / 3)
    assert "low below 1/3, medium from 1/3, high from 2/3" in churn_risk.NOTE
    assert f"in the next {model.HORIZON_DAYS} days" in churn_risk.NOTE.replace("\n", " ")
    stake = next(panel for panel in boards.ALL[0].pictures if panel.title == "Money at stake")
    assert f"of the last {features.LOOK_BACK_DAYS} days" in stake.about


def test_a_table_has_no_page_that_is_too_small_to_be_turned() -> None:
    for state in states():
        paging = state["visualization"].get("paging")
        assert paging is None or not paging["enabled"] or paging["size"] >= 10
    assert (visualizations.rows_that_fit(18), visualizations.rows_that_fit(10)) == (10, 4)


def test_the_versions_are_low_enough_for_every_kibana_since_8_9() -> None:
    versions = {each["type"]: (each["coreMigrationVersion"], each["typeMigrationVersion"]) for each in OBJECTS}
    assert versions == {"index-pattern": ("8.8.0", "8.0.0"), "dashboard": ("8.8.0", "8.9.0")}


def test_a_board_keeps_to_the_attributes_that_kibana_knows() -> None:
    known = {"title", "description", "kibanaSavedObjectMeta", "timeRestore", "timeFrom", "timeTo", "refreshInterval"}
    known |= {"controlGroupInput", "panelsJSON", "optionsJSON", "hits", "version"}
    for board in boards.ALL:
        assert saved_objects.dashboard(board, boards.ALL)["attributes"].keys() <= known
