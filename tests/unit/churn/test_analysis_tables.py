"""The declared tables of the analyses: sound names, and rows that are named the same on every run."""

from collections import Counter

import pytest

from churn import analysis_tables
from churn.analysis_tables import AT, Column, RowDoesNotFit, Table, row_id

EXAMPLE = Table("example", "Examples.", "The day.", (Column("a", "keyword", "A."), Column("b", "count", "B.")), ("a",))


def test_every_table_has_its_own_name_and_names_its_rows_by_its_own_columns() -> None:
    assert not [name for name, times in Counter(table.name for table in analysis_tables.ALL).items() if times > 1]
    for table in analysis_tables.ALL:
        assert len(set(table.names)) == len(table.names)
        assert {*table.key, *table.part_by} <= set(table.names)
        assert set(table.part_by) <= set(table.key)


def test_the_id_of_a_row_is_that_of_its_key() -> None:
    assert row_id(EXAMPLE, {AT: "2026-01-01", "a": "x", "b": 1}) == row_id(EXAMPLE, {AT: "2026-02-01", "a": "x"})
    assert row_id(EXAMPLE, {"a": "x"}) != row_id(EXAMPLE, {"a": "y"})


def test_keys_of_several_columns_do_not_run_together() -> None:
    table = EXAMPLE._replace(key=("a", "b"))
    assert row_id(table, {"a": "x 1", "b": "2"}) != row_id(table, {"a": "x", "b": "1 2"})


@pytest.mark.parametrize("row", [{"a": "x", "c": 1}, {"b": 1}, {"a": None}])
def test_a_row_that_does_not_fit_is_refused(row: dict[str, object]) -> None:
    with pytest.raises(RowDoesNotFit, match="analytics-example"):
        row_id(EXAMPLE, row)
