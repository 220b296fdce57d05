"""The report: every answer on one page, what could not be answered and why, and what stands above all."""

from collections.abc import Sequence
from typing import Final

from analytics import words
from analytics.finding import Number
from analytics.run import Answer, Answered
from analytics.shop import Shop
from churn import report_page
from churn.report_page import Section, Table


def page(shop: Shop, answered: Sequence[Answered]) -> str:
    """The page as HTML."""
    title = "The shop's history, analysed"
    first, last, events, customers = shop.sql.execute(
        "SELECT min(day), max(day), count(*), count(DISTINCT customer_id) FROM events"
    ).fetchall()[0]
    lead = (
        f"{events:,} events of {customers:,} customers from {first:%d %B %Y} to {last:%d %B %Y}, "
        f"as known at {shop.moment:%d %B %Y %H:%M} UTC. Money in {shop.currency}."
    )
    chapters = [
        Section(title=chapter.title, sections=[_section(each, shop.currency) for each in chapter.answers])
        for chapter in answered
    ]
    return report_page.render(title, lead, [_summary(answered), *chapters])


def _summary(answered: Sequence[Answered]) -> Section:
    found = [(each.analysis.title, each.finding) for chapter in answered for each in chapter.answers]
    rows = [(title, finding.headline, finding.action) for title, finding in found if finding is not None]
    return Section(
        "Executive summary",
        [f"{len(rows)} of {len(found)} questions can be answered with this history."],
        [Table(("", "What was found", "What to do"), rows)],
    )


def _section(answer: Answer, currency: str) -> Section:
    analysis, finding = answer.analysis, answer.finding
    if finding is None:
        return Section(
            analysis.title,
            [f"This cannot be answered with this history: {answer.why_not}."],
            question=analysis.question,
        )
    numbers = [(each.name, shown(each, each.value, currency), _interval(each, currency)) for each in finding.numbers]
    table = [Table(("", "", "95 % interval"), numbers)] if numbers else []
    return Section(
        analysis.title,
        [finding.headline, *finding.words],
        [*table, *finding.shown],
        finding.figures,
        question=analysis.question,
        action=finding.action,
    )


def _interval(number: Number, currency: str) -> str:
    if number.low is None or number.high is None:
        return ""
    return f"{shown(number, number.low, currency)} to {shown(number, number.high, currency)}"


_FORMATS: Final = {
    "count": "{:,.0f}",
    "money": "{:,.2f}",
    "share": "{:.1%}",
    "number": "{:,.3g}",
    "days": "{:,.1f} days",
}


def shown(number: Number, value: float | None, currency: str) -> str:
    """A value in the words of its unit."""
    if value is None:
        return "—"
    if number.unit == "seconds":
        return words.duration(value)
    text = _FORMATS[number.unit].format(value)
    return f"{text} {currency}" if number.unit == "money" else text
