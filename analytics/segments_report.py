"""What the segments say: how many customers, how much money, who moves, and what to do with each."""

from collections import Counter
from typing import Any, Final

from analytics import plots
from analytics.finding import Analysis, CannotAnswer, Finding
from analytics.rfm import cut_points, placed, segments_and_moves
from analytics.shop import Shop
from analytics.words import counted, money, percent
from churn.actions import ACTIONS_FILE, read_actions
from churn.report_page import Table
from churn.segments import NAMED, UNKNOWN

# From the best to the worst, to tell a rise from a fall.
_RANKED: Final = (
    "Champions",
    "Loyal",
    "Potential Loyalist",
    "New",
    "Promising",
    "Need Attention",
    "About To Sleep",
    "Can't Lose",
    "At Risk",
    "Hibernating",
    "Lost",
)


def _segments(shop: Shop) -> Finding:
    cuts = cut_points(shop)
    people = placed(shop, shop.moment, cuts)
    if not people:
        raise CannotAnswer("nobody has an order")
    rows, _ = segments_and_moves(shop)
    actions = read_actions(ACTIONS_FILE)
    counts = Counter(row["segment"] for row in people)
    value: Counter[str] = Counter()
    for row in people:
        value[row["segment"]] += row["monetary"]
    whole = sum(value.values())
    names = [name for name in _RANKED if counts[name]]
    richest = max(names, key=lambda name: value[name])
    going = [name for name in names if name in ("At Risk", "Can't Lose", "About To Sleep")]
    at_stake = sum(value[name] for name in going)
    return Finding(
        headline=f"{richest} are {percent(counts[richest] / len(people))} of buyers and bring "
        f"{percent(value[richest] / whole if whole else 0)} of the last year's net revenue; "
        f"{money(at_stake, shop.currency)} lie with {counted(sum(counts[name] for name in going), 'customer')} who are "
        "going (At Risk, Can't Lose, About To Sleep).",
        action=f"{richest}: {actions[richest, UNKNOWN]}."
        + (f" {going[-1]}: {actions[going[-1], UNKNOWN]}." if going else ""),
        words=[
            (
                f"Scores are quintiles by cut points {cuts.version}, which stay the same, so that a customer moves "
                "because the customer changed."
            )
        ],
        figures=[
            plots.bars("Customers by segment", names, [counts[name] for name in names]),
            plots.bars("Net revenue of 365 days by segment", names, [value[name] for name in names], shop.currency),
        ],
        shown=[
            Table(
                ("segment", "customers", "share", f"net revenue, {shop.currency}", "share", "what to do"),
                [
                    (
                        name,
                        f"{counts[name]:,}",
                        percent(counts[name] / len(people)),
                        f"{value[name]:,.0f}",
                        percent(value[name] / whole) if whole else "—",
                        actions[name, UNKNOWN],
                    )
                    for name in names
                ],
            ),
            _of_tiers(people, whole),
        ],
        rows={"segments-monthly": rows},
    )


def _of_tiers(people: list[dict[str, Any]], whole: float) -> Table:
    cells = []
    for tier in ("VIP", "Loyal", "Regular", "At Risk", "Low Value"):
        own = [row for row in people if row["tier"] == tier]
        share = sum(row["monetary"] for row in own) / whole if whole else 0.0
        cells.append((tier, f"{len(own):,}", percent(len(own) / len(people)), percent(share)))
    return Table(("tier", "customers", "share", "of net revenue"), cells, "Five tiers by R, F and M")


def _moves(shop: Shop) -> Finding:
    _, moves = segments_and_moves(shop)
    latest = [row for row in moves if row["@timestamp"].date() <= shop.last_month]
    if not latest:
        raise CannotAnswer("fewer than two months are over, so that nobody can have moved")
    month = max(row["@timestamp"] for row in latest)
    named = [row for row in latest if row["@timestamp"] == month and row["from_segment"] in NAMED]
    fallen = [row for row in named if _RANKED.index(row["to_segment"]) > _RANKED.index(row["from_segment"])]
    down = sum(row["customers"] for row in fallen)
    up = sum(row["customers"] for row in named) - down
    worst = max(fallen, key=lambda row: row["customers"], default=None)
    return Finding(
        headline=f"In {month:%B %Y} {up:,} customers rose to a better segment and {down:,} fell to a worse one.",
        action=f"Most fell from {worst['from_segment']} to {worst['to_segment']} ({worst['customers']:,}): reach them "
        "while they are still in the first."
        if worst
        else "Nobody fell: nothing to do.",
        shown=[
            Table(
                ("from", "to", "customers"),
                [
                    (row["from_segment"], row["to_segment"], f"{row['customers']:,}")
                    for row in sorted(named, key=lambda row: -row["customers"])[:12]
                ],
                f"Largest moves of {month:%B %Y}",
            )
        ],
        rows={"segment-moves": moves},
    )


SEGMENTS: Final = Analysis(
    "segments",
    "RFM segments and tiers",
    "Which groups of buyers are there by recency, frequency and money, and what to do with each?",
    _segments,
    ("segments-monthly",),
)
MOVES: Final = Analysis(
    "segment-moves",
    "Moves between segments",
    "Who rises and who falls from month to month?",
    _moves,
    ("segment-moves",),
)
