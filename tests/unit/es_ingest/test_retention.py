"""Which monthly indices are old enough to be deleted, and what the commands are told."""

from datetime import UTC, datetime

import pytest

from es_ingest import __main__ as command
from es_ingest.retention import is_expired

JANUARY = datetime(2026, 1, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("index", "is_old"),
    [
        ("events-2026.02", False),
        ("events-2026.01", False),
        ("events-2025.11", False),
        ("events-2025.10", True),
        ("events-2024.12", True),
        ("risk-2020.01", False),
        ("events-2025.13", False),
        ("events-of-others-2020.01", False),
        ("events", False),
    ],
)
def test_only_months_before_those_that_are_kept_are_old(index: str, is_old: bool) -> None:
    assert is_expired(index, {"events": 3}, JANUARY) == is_old


def test_keeping_one_month_keeps_the_current_one() -> None:
    assert not is_expired("dead-letters-2026.01", {"dead-letters": 1}, JANUARY)
    assert is_expired("dead-letters-2025.12", {"dead-letters": 1}, JANUARY)


def test_without_a_word_the_service_serves() -> None:
    assert command._parser().parse_args([]).command == "serve"


@pytest.mark.parametrize("months", ["0", "-1", "x"])
def test_a_wrong_number_of_months_ends_the_command(months: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command._parser().parse_args(["retention", "--events-months", months])
    assert "--events-months" in capsys.readouterr().err


def test_a_retention_of_nothing_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["retention"]) == 2
    assert "how many months" in capsys.readouterr().err
