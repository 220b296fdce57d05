"""The file that Kibana imports is what the boards say, and the boards say what the product means."""

import json
from itertools import combinations
from typing import Any

import pytest

from churn import features, model
from es_ingest import templates
from kibana import boards, data_views, saved_objects, searches
from kibana.__main__ import FILE, generated
from kibana.boards import churn_risk
from kibana.shapes import BAND_COLOURS, COLUMNS, Board

OBJECTS = searches.read(generated())
DASHBOARDS = [each for each in OBJECTS if each["type"] == "dashboard"]
FIELDS = {
    template.pattern: {name: mapping["type"] for name, mapping in template.properties.items()}
    for template in templates.ALL
}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return list(json.loads(dashboard["attributes"]["panelsJSON"]))


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


def test_every_panel_and_control_fits_the_fields_of_the_index_templates() -> None:
    found = searches.searches(OBJECTS, FIELDS)
    lens = [panel for dashboard in DASHBOARDS for panel in panels(dashboard) if panel["type"] == "lens"]
    controls = [control for board in boards.ALL for control in board.controls]
    assert len(found) == len(lens) + len(controls)


def test_every_reference_of_a_board_is_used_and_resolves() -> None:
    ids = {each["id"] for each in OBJECTS}
    for dashboard in DASHBOARDS:
        names = [reference["name"] for reference in dashboard["references"]]
        lens = [panel for panel in panels(dashboard) if panel["type"] == "lens"]
        controls = json.loads(dashboard["attributes"]["controlGroupInput"]["panelsJSON"])
        assert len(set(names)) == len(names) == len(lens) + len(controls)
        assert {reference["id"] for reference in dashboard["references"]} <= ids


@pytest.mark.parametrize("view", data_views.ALL, ids=lambda view: view.id)
def test_a_data_view_formats_only_fields_that_are_there(view: Any) -> None:
    assert view.formats.keys() <= FIELDS[view.pattern].keys()
    assert FIELDS[view.pattern]["@timestamp"] == "date"


def test_every_feature_that_is_money_is_written_as_money() -> None:
    money = {feature.name for feature in features.FEATURES if feature.unit == "money"}
    assert {name for name in money if data_views.CUSTOMERS.formats[name] == "money"} == money
    assert data_views.CUSTOMERS.formats["risk"] == "percent"


def test_every_risk_band_has_a_colour_of_its_own() -> None:
    assert set(BAND_COLOURS) == set(model.BANDS)
    assert len(set(BAND_COLOURS.values())) == len(BAND_COLOURS)


def test_a_band_has_the_same_colour_on_every_panel() -> None:
    seen: dict[str, set[str]] = {}
    for dashboard in DASHBOARDS:
        for panel in panels(dashboard):
            state = panel["embeddableConfig"].get("attributes", {}).get("state", {})
            for layer in state.get("visualization", {}).get("layers", []):
                columns = state["datasourceStates"]["formBased"]["layers"][layer["layerId"]]["columns"]
                for config in layer["yConfig"]:
                    query = columns[config["forAccessor"]]["filter"]["query"]
                    seen.setdefault(query, set()).add(config["color"])
    assert seen == {f"risk_band: {band}": {colour} for band, colour in BAND_COLOURS.items()}


def test_the_note_says_what_the_code_does() -> None:
    assert (model.MEDIUM_FROM, model.HIGH_FROM) == (1 / 3, 2 / 3)
    assert "low below 1/3, medium from 1/3, high from 2/3" in churn_risk.NOTE
    assert f"in the next {model.HORIZON_DAYS} days" in churn_risk.NOTE.replace("\n", " ")
    assert f"over the {features.LOOK_BACK_DAYS} days" in churn_risk.NOTE


def test_the_versions_are_low_enough_for_every_kibana_since_8_9() -> None:
    versions = {each["type"]: (each["coreMigrationVersion"], each["typeMigrationVersion"]) for each in OBJECTS}
    assert versions == {"index-pattern": ("8.8.0", "8.0.0"), "dashboard": ("8.8.0", "8.9.0")}


def test_a_board_keeps_to_the_attributes_that_kibana_knows() -> None:
    known = {"title", "description", "kibanaSavedObjectMeta", "timeRestore", "timeFrom", "timeTo", "refreshInterval"}
    known |= {"controlGroupInput", "panelsJSON", "optionsJSON", "hits", "version"}
    for board in boards.ALL:
        assert saved_objects.dashboard(board)["attributes"].keys() <= known
