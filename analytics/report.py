"""The report: every answer on one page, what could not be answered and why, and what stands above all."""

from collections.abc import Sequence
from typing import Final

from analytics import words
from analytics.finding import Number
from analytics.quality import limitations
from analytics.run import Answer, Answered
from analytics.shop import Shop
from analytics.words import listed
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
        Section(chapter.title, sections=[_section(each, shop.currency) for each in chapter.answers])
        for chapter in answered
    ]
    return report_page.render(
        title,
        lead,
        [
            _summary(answered),
            *chapters,
            _actions(answered),
            Section("Limitations", limitations(shop)),
            Section("Methodology", METHODOLOGY),
        ],
    )


METHODOLOGY: Final = (
    (
        "Only events are seen that had happened and arrived at the moment of the report; a repeated event counts "
        "once. All times are UTC."
    ),
    (
        "An order is the lines that share an order id; its net value is what was paid less discounts and refunds,"
        " at most its value. An order that was sent back altogether does not count. Refunds that name no order "
        "lower the revenue of their day."
    ),
    (
        "A session ends after 30 minutes without an event. A cart is abandoned after 24 hours without a purchase,"
        " and gone after 30 days. Funnel steps are ordered; a journey is a customer and a product, followed for "
        "30 days from its first view."
    ),
    (
        "Intervals hold the true value 95 times of 100: Wilson for shares, Fisher's z for correlations, a "
        "bootstrap over customers for order values, quasi-Poisson for campaigns. Where many groups are compared, "
        "the level is divided by their number. A month, a cohort's month or a churn window that is not over is "
        "left out."
    ),
    (
        "Models are tested on customers at a later moment than they were trained on, with nothing known that came"
        " afterwards."
    ),
    (
        "Sessions, carts and orders follow the same rules as the live features; docs/sql.md has the tables behind"
        " the report."
    ),
)


def _summary(answered: Sequence[Answered]) -> Section:
    found = [each for chapter in answered for each in chapter.answers]
    open_questions = [each.analysis.title for each in found if each.finding is None]
    words = [f"{len(found) - len(open_questions)} of {len(found)} questions can be answered with this history."]
    if open_questions:
        words.append(f"Not answered, each says below why: {listed(open_questions)}.")
    sections = [
        Section(chapter.title, [each.finding.headline for each in chapter.answers if each.finding is not None])
        for chapter in answered
        if any(each.finding is not None for each in chapter.answers)
    ]
    return Section("Executive summary", words, sections=sections)


def _actions(answered: Sequence[Answered]) -> Section:
    rows = [
        (each.analysis.title, each.finding.action)
        for chapter in answered
        for each in chapter.answers
        if each.finding is not None
    ]
    return Section("Recommendations", ["What each finding asks for."], [Table(("", "what to do"), rows)])


def _section(answer: Answer, currency: str) -> Section:
    analysis, finding = answer.analysis, answer.finding
    if finding is None:
        return Section(
            analysis.title,
            [f"This cannot be answered with this history: {answer.why_not}."],
            question=analysis.question,
        )
    table = [_numbers(finding.numbers, currency)] if finding.numbers else []
    return Section(
        analysis.title,
        [finding.headline, *finding.words],
        [*table, *finding.shown],
        finding.figures,
        question=analysis.question,
        action=finding.action,
    )


def _numbers(numbers: Sequence[Number], currency: str) -> Table:
    cells = [(each.name, shown(each, each.value, currency), _interval(each, currency)) for each in numbers]
    if not any(interval for _, _, interval in cells):
        return Table(("", ""), [cell[:2] for cell in cells])
    return Table(("", "", "95 % interval"), cells)


def _interval(number: Number, currency: str) -> str:
    if number.low is None or number.high is None:
        return ""
    return f"{shown(number, number.low, currency)} to {shown(number, number.high, currency)}"


_FORMATS: Final = {
    "count": "{:,.0f}",
    "money": "{:,.2f}",
    "number": "{:,.3g}",
    "days": "{:,.1f} days",
}


def shown(number: Number, value: float | None, currency: str) -> str:
    """A value in the words of its unit."""
    if value is None:
        return "—"
    if number.unit == "seconds":
        return words.duration(value)
    if number.unit == "share":
        return words.percent(value)
    text = _FORMATS[number.unit].format(value)
    return f"{text} {currency}" if number.unit == "money" else text
