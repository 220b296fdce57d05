"""The queries of docs/sql.md run, and the command answers one."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from analytics import views
from analytics.__main__ import main

PAGE = Path(__file__).parents[3] / "docs" / "sql.md"
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), flags=re.S)


def test_every_example_has_an_answer(simulated: Path) -> None:
    sql = views.connect(simulated, datetime(2026, 1, 1, tzinfo=UTC))
    assert len(QUERIES) >= 6
    for query in QUERIES:
        assert sql.execute(query).fetchall(), query


def test_the_command_answers_a_query(simulated: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--history", str(simulated), "--sql", "SELECT count(DISTINCT customer_id) AS people FROM events"]) == 0
    assert "people" in capfd.readouterr().out


def test_a_wrong_query_is_told_without_a_traceback(simulated: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--history", str(simulated), "--sql", "SELECT nothing FROM nowhere"]) == 1
    assert "nowhere" in capfd.readouterr().err
