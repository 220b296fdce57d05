"""What the events hold and lack: missing fields, repeated and late events, outliers, who the customers are."""

from typing import Final

from analytics import plots
from analytics.finding import Analysis, CannotAnswer, Finding, Number, Rows
from analytics.shop import Shop
from analytics.words import counted, listed, percent
from churn.report_page import Table

_EVERY: Final = ("view", "cart", "remove_from_cart", "purchase", "refund", "rating", "profile")
_ACTS: Final = ("view", "cart", "remove_from_cart", "purchase")
# Which events a field belongs to; elsewhere it is not missing.
APPLIES: Final[dict[str, tuple[str, ...]]] = {
    "product_id": _ACTS,
    "product_name": _ACTS,
    "category": _ACTS,
    "price": (*_ACTS, "refund"),
    "quantity": ("cart", "remove_from_cart", "purchase", "refund"),
    "discount": ("purchase",),
    "order_id": ("purchase", "refund"),
    "session_id": _ACTS,
    "channel": _ACTS,
    "campaign": _ACTS,
    "device": _ACTS,
    "country": _EVERY,
    "rating": ("rating",),
    "age": ("profile",),
    "gender": ("profile",),
    "location": ("profile",),
    "signup_date": ("profile",),
}
_NUMBERS: Final = ("price", "quantity", "discount", "rating", "age")
_OPTIONAL: Final = ("discount", "campaign")  # mostly absent by their nature

_TEXT: Final = """
SELECT count(*) AS events, count(*) - count({field}) AS missing, count(DISTINCT {field}) AS distinct_values,
    mode({field})::VARCHAR AS low, NULL AS high, NULL AS outliers
FROM events WHERE list_contains($types, event_type)
"""
_NUMBER: Final = """
WITH own AS (SELECT {field} AS value FROM events WHERE list_contains($types, event_type)), cuts AS (
    SELECT quantile_cont(value, 0.25) AS low, quantile_cont(value, 0.75) AS high FROM own
)
SELECT count(*) AS events, count(*) - count(value) AS missing, count(DISTINCT value) AS distinct_values,
    min(value)::VARCHAR AS low, max(value)::VARCHAR AS high,
    count(*) FILTER (value > cuts.high + 3 * (cuts.high - cuts.low) OR value < cuts.low - 3 * (cuts.high - cuts.low))
        AS outliers
FROM own, cuts
"""
_STORED: Final = """
SELECT count(*) AS stored, count(*) FILTER (ingested_at > occurred_at + INTERVAL 1 HOUR) AS late,
    count(*) FILTER (ingested_at > occurred_at + INTERVAL 1 DAY) AS too_late
FROM events
"""


def fields(shop: Shop) -> Rows:
    """Rows of `data-quality`."""
    rows = []
    for field, types in APPLIES.items():
        query = (_NUMBER if field in _NUMBERS else _TEXT).format(field=field)
        found = shop.rows(query, {"types": list(types)})[0]
        rows.append(
            {
                "@timestamp": shop.moment,
                "field": field,
                "events": found["events"],
                "missing": found["missing"],
                "distinct": found["distinct_values"],
                "missing_share": found["missing"] / found["events"] if found["events"] else None,
                "outliers": found["outliers"],
                "low": found["low"],
                "high": found["high"],
            }
        )
    return rows


def _quality(shop: Shop) -> Finding:
    rows = fields(shop)
    stored = shop.stored
    counts = shop.rows(_STORED)[0]
    types = shop.rows("SELECT event_type, count(*) AS events FROM events GROUP BY ALL ORDER BY events DESC")
    lacking = [row for row in rows if row["events"] and row["missing_share"] == 1 and row["field"] not in _OPTIONAL]
    partly = [
        row for row in rows if row["events"] and 0.01 < row["missing_share"] < 1 and row["field"] not in _OPTIONAL
    ]
    far = [row for row in rows if row["outliers"]]
    absent = [name for name in _EVERY if name not in {row["event_type"] for row in types}]
    repeated = stored - counts["stored"]
    words = [
        (
            f"{counted(counts['late'], 'event')} arrived more than an hour late, {counts['too_late']:,} of them more "
            "than a "
            "day, which the live pipeline allows for."
        )
    ]
    if absent:
        words.append(f"There are no events of type {listed(absent)}.")
    if lacking:
        words.append(f"Never filled: {listed([row['field'] for row in lacking])}.")
    if partly:
        words.append(
            "Missing now and then: "
            + listed([f"{row['field']} ({percent(row['missing_share'])})" for row in partly])
            + "."
        )
    if far:
        words.append(
            "Far from the rest, kept as they are: "
            + listed([f"{row['outliers']:,} of {row['field']} (up to {row['high']})" for row in far])
            + "."
        )
    return Finding(
        headline=f"{stored:,} stored events are {counts['stored']:,} different ones known at the moment"
        + (f"; {repeated:,} were repeated or not yet there." if repeated else "; none is repeated."),
        action=f"Have the shop send {listed([row['field'] for row in (lacking or partly)])}: questions below depend "
        "on it."
        if lacking or partly
        else "Nothing to repair: every field that matters is there.",
        words=words,
        numbers=[Number("Repeated or unknown", repeated / stored if stored else 0.0, "share")],
        figures=[plots.bars("Events by type", [row["event_type"] for row in types], [row["events"] for row in types])],
        shown=[
            Table(
                ("field", "events", "missing", "values", "smallest or commonest", "largest", "far outliers"),
                [
                    (
                        row["field"],
                        f"{row['events']:,}",
                        percent(row["missing_share"]) if row["missing_share"] is not None else "—",
                        f"{row['distinct']:,}",
                        row["low"] or "—",
                        row["high"] or "—",
                        "—" if row["outliers"] is None else f"{row['outliers']:,}",
                    )
                    for row in rows
                ],
                "Missing of the events to which the field belongs",
            )
        ],
        rows={"data-quality": rows},
    )


def _people(shop: Shop) -> Finding:
    ages = shop.rows("SELECT age, net_minor / 100 AS revenue FROM customers WHERE age IS NOT NULL")
    genders = shop.rows(
        "SELECT gender, count(*) AS customers, avg(net_minor) / 100 AS revenue FROM customers WHERE gender IS NOT NULL "
        "GROUP BY gender ORDER BY customers DESC"
    )
    if not ages and not genders:
        raise CannotAnswer("no customer has a profile with age or gender")
    middle = shop.value("SELECT median(age) FROM customers")
    share = len(ages) / shop.value("SELECT count(*) FROM customers")
    figures = []
    if ages:
        figure, drawn = plots.axes("Age of customers", "years", "customers")
        drawn.hist([row["age"] for row in ages], bins=20, color=plots.COLOUR)
        figures.append(figure)
    richest = max(genders, key=lambda row: row["revenue"], default=None)
    words = []
    if richest is not None and len(genders) > 1:
        poorest = min(genders, key=lambda row: row["revenue"])
        words.append(
            f"By gender the mean net revenue goes from {poorest['revenue']:,.2f} ({poorest['gender']}) to "
            f"{richest['revenue']:,.2f} ({richest['gender']}) {shop.currency}."
        )
    return Finding(
        headline=f"{percent(share)} of customers tell their age; the median is {middle:.0f} years."
        if ages
        else "Customers tell their gender but not their age.",
        action="Do not choose customers by age or gender: behaviour tells more, and is theirs to change.",
        words=words,
        figures=figures,
        shown=[
            Table(
                ("gender", "customers", "net revenue each"),
                [(row["gender"], f"{row['customers']:,}", f"{row['revenue']:,.2f}") for row in genders],
            )
        ]
        if genders
        else [],
    )


def limitations(shop: Shop) -> list[str]:
    """What must be kept in mind with every number of the report, as far as it is true of this history."""
    days, views, profiles, refunds = shop.sql.execute(
        "SELECT count(DISTINCT day), count(*) FILTER (event_type = 'view'), count(*) FILTER (event_type = 'profile'), "
        "count(*) FILTER (event_type = 'refund' AND order_id IS NULL) FROM events"
    ).fetchall()[0]
    length = shop.value("SELECT count(*) FROM days")
    said = [
        "The history holds revenue but no costs: what pays cannot be told from it.",
        "All but the experiments compare what happened, not what would have happened otherwise.",
    ]
    if length < 730:
        said.append(f"{counted(length, 'day')} are less than two years: season and growth cannot be told apart.")
    if days < length:
        said.append(f"{counted(length - days, 'day')} of the span have no event at all: closed, or not recorded.")
    if not views:
        said.append("There are no views: funnel, time to act and conversion cannot be answered.")
    if not profiles:
        said.append("There are no profiles: sign-up is taken to be the first event.")
    if refunds:
        said.append(
            f"{counted(refunds, 'refund')} name no order: they lower revenue on their day but undo no order and no AOV."
        )
    if shop.truth_folder is not None:
        said.append("This history is simulated: its findings are about the simulator, not about people.")
    return said


QUALITY: Final = Analysis(
    "data-quality", "Data quality", "Can the events be trusted, and what do they lack?", _quality, ("data-quality",)
)
PEOPLE: Final = Analysis("people", "Who the customers are", "What do profiles tell of the customers?", _people)
