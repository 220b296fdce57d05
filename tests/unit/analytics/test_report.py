"""The report stands whatever the history holds: what it cannot tell it says, with the reason."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from analytics import contents, report, run, views
from analytics.__main__ import main
from analytics.shop import Shop
from churn.analysis_tables import BY_NAME, row_id
from churn.events import Event
from churn.history import HistoryWriter

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2026, 3, 1, tzinfo=UTC)


def view(number: int) -> Event:
    return Event(
        event_id=f"view-{number}",
        event_type="view",
        occurred_at=BEGIN + timedelta(hours=7 * number),
        customer_id=f"customer-{number % 9}",
        product_id=f"product-{number % 5}",
    )


def purchase(number: int) -> Event:
    return Event(
        event_id=f"purchase-{number}",
        event_type="purchase",
        occurred_at=BEGIN + timedelta(hours=11 * number),
        customer_id=f"customer-{number % 9}",
        product_id=f"product-{number % 5}",
        price=10.0,
        order_id=f"order-{number}",
    )


HISTORIES = {
    "only views": [view(number) for number in range(120)],
    "only purchases": [purchase(number) for number in range(80)],
    "one event": [view(1)],
    "one purchase": [purchase(1)],
}


def shop_with(events: list[Event], directory: Path) -> Shop:
    with HistoryWriter(directory) as writer:
        for event in events:
            writer.add(event, event.occurred_at)
    return Shop(directory, views.connect(directory, END), END, "EUR")


@pytest.mark.parametrize("name", HISTORIES)
def test_every_question_is_answered_or_says_why_not(name: str, tmp_path: Path) -> None:
    shop = shop_with(HISTORIES[name], tmp_path / "history")
    answered = run.answer(shop, contents.CHAPTERS, lambda _: None)
    page = report.page(shop, answered)
    for chapter in answered:
        for analysis, finding, why_not in chapter.answers:
            assert bool(finding) != bool(why_not), analysis.id
            assert analysis.title in page.replace("&#39;", "'")
    assert re.search(r"cannot be answered with this history: \w", page)
    assert not re.search(r"\bnan\b|\binf\b|\bNone\b", re.sub(r"<svg.*?</svg>", "", page, flags=re.S))


def test_rows_fit_their_tables_and_come_once(simulated: Path) -> None:
    as_of = datetime(2026, 1, 1, tzinfo=UTC)
    shop = Shop(simulated, views.connect(simulated, as_of), as_of, "EUR")
    answered = run.answer(shop, contents.CHAPTERS, lambda _: None)
    tables = run.tables(answered)
    assert set(tables) == {name for analysis in contents.analyses() for name in analysis.tables}
    for name, rows in tables.items():
        assert len({row_id(BY_NAME[name], row) for row in rows}) == len(rows), name


def test_every_table_has_one_analysis_that_fills_it() -> None:
    filled = [name for analysis in contents.analyses() for name in analysis.tables]
    assert len(filled) == len(set(filled))
    assert set(filled) <= set(BY_NAME)
    ids = [analysis.id for analysis in contents.analyses()]
    assert len(ids) == len(set(ids))


def test_a_missing_history_is_told_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--history", str(tmp_path), "--out", str(tmp_path / "report")]) == 1
    assert "producer simulate" in capsys.readouterr().err
