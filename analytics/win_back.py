"""Which actions bring customers back (Q2, R7.7): the experiments and campaigns of the shop, by random groups.

`_actions` beside the history says what was planned and when, `_customers` who was assigned to what; where there is no
`_customers`, the campaign of a profile event (`<experiment>:<variant>`) does.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from matplotlib.figure import Figure

from analytics import experiments, plots
from analytics.experiments import Arms, Effect, Pooled, Ratio
from analytics.finding import Analysis, CannotAnswer, Finding, Number
from analytics.shop import Shop
from analytics.words import counted, listed, percent
from churn.report_page import Table

ACTIONS, CUSTOMERS = "_actions", "_customers"
LAPSED_DAYS: Final = 60
LEAST_IN_ARM: Final = 50
EXPERIMENT, CAMPAIGN = "experiment", "campaign"
EVERYBODY: Final = "all customers"
LAPSED: Final = f"no order for {LAPSED_DAYS} days"

_ASSIGNED_BY_PROFILE: Final = """
SELECT customer_id, split_part(campaign, ':', 1) AS experiment, split_part(campaign, ':', 2) AS variant,
    false AS is_held_out
FROM events WHERE event_type = 'profile' AND campaign LIKE '%:%'
"""
# Everybody first seen before the action began; `did` is a net order while it ran.
_GROUPS: Final = """
WITH base AS (
    SELECT customers.customer_id, is_treated,
        max(ordered_at) FILTER (ordered_at < $begins_at) AS last_before,
        count(*) FILTER (ordered_at >= $begins_at AND ordered_at < $ends_at) > 0 AS did
    FROM customers JOIN groups USING (customer_id)
        LEFT JOIN (SELECT customer_id, ordered_at FROM orders WHERE is_net) USING (customer_id)
    WHERE first_seen_at < $begins_at GROUP BY customers.customer_id, is_treated
)
SELECT is_treated, count(*) AS customers, count(*) FILTER (did) AS did,
    count(*) FILTER (last_before < $begins_at - $lapsed * INTERVAL 1 DAY) AS lapsed,
    count(*) FILTER (did AND last_before < $begins_at - $lapsed * INTERVAL 1 DAY) AS lapsed_did
FROM base GROUP BY is_treated
"""


class Action(NamedTuple):
    """Something that was done to a random part of the customers, UTC without a zone."""

    name: str
    kind: str
    begins_at: datetime
    ends_at: datetime
    treated_share: float


class Tried(NamedTuple):
    """What came of an action among some customers; `effect` is None where the groups must not be compared."""

    action: Action
    among: str
    arms: Arms
    ratio: Ratio
    effect: Effect | None
    p_adjusted: float = 1.0


def actions(shop: Shop) -> list[Action]:
    """The planned actions that have begun and ended by now, the running ones cut off. Raises `CannotAnswer`."""
    folder = shop.history / ACTIONS
    if not (source := _table(folder)):
        raise CannotAnswer(
            f"the history has no {ACTIONS} folder with name, kind, begins_at, ends_at and treated_share of what was "
            "tried on random groups"
        )
    found = shop.rows(
        f"SELECT name, kind, epoch_ms(begins_at::TIMESTAMP) AS begins, epoch_ms(ends_at::TIMESTAMP) AS ends, "
        f"treated_share FROM {source} ORDER BY begins, name"
    )
    every = [
        Action(
            row["name"],
            row["kind"],
            _moment(row["begins"]),
            min(_moment(row["ends"]), shop.moment),
            row["treated_share"],
        )
        for row in found
    ]
    return [action for action in every if action.begins_at < action.ends_at]


def _moment(at_ms: int) -> datetime:
    return datetime(1970, 1, 1) + timedelta(milliseconds=at_ms)


def _table(folder: Path) -> str | None:
    """How SQL reads the one file of a folder beside the history."""
    for pattern, reader in (("*.parquet", "read_parquet"), ("*.csv", "read_csv")):
        if any(folder.glob(pattern)):
            return f"{reader}({_quoted((folder / pattern).as_posix())})"
    return None


def tried(shop: Shop) -> list[Tried]:
    """Every action among all customers and among the lapsed, in the order of their begin."""
    return _adjusted([each for action in actions(shop) for each in tried_of(shop, action)])


def tried_of(shop: Shop, action: Action) -> list[Tried]:
    """One action; none where a group is too small."""
    source = _table(shop.history / CUSTOMERS)
    assigned = f"SELECT customer_id, experiment, variant, is_held_out FROM {source}" if source else _ASSIGNED_BY_PROFILE
    # Campaigns go to all but the global holdout, which lies above them.
    treated = "NOT is_held_out" if action.kind == CAMPAIGN else "variant = 'treatment'"
    chosen = "true" if action.kind == CAMPAIGN else f"experiment = {_quoted(action.name)}"
    shop.sql.execute(
        f"CREATE OR REPLACE TEMP TABLE groups AS SELECT customer_id, bool_and({treated}) AS is_treated "
        f"FROM ({assigned}) WHERE {chosen} GROUP BY customer_id"
    )
    return _tried(action, _groups(shop, action))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _adjusted(found: list[Tried]) -> list[Tried]:
    """P values adjusted within each family: actions of one kind among the same customers."""
    p_values: dict[tuple[str, str], float] = {}
    for family in {(each.action.kind, each.among) for each in found}:
        asked = [each for each in found if each.effect and (each.action.kind, each.among) == family]
        adjusted = experiments.adjusted([each.effect.p for each in asked if each.effect]) if asked else []
        p_values |= {(each.action.name, each.among): p for each, p in zip(asked, adjusted, strict=True)}
    return [each._replace(p_adjusted=p_values.get((each.action.name, each.among), 1.0)) for each in found]


def _groups(shop: Shop, action: Action) -> dict[bool, dict[str, Any]]:
    window = {"begins_at": action.begins_at, "ends_at": action.ends_at, "lapsed": LAPSED_DAYS}
    return {row["is_treated"]: row for row in shop.rows(_GROUPS, window)}


def _tried(action: Action, groups: dict[bool, dict[str, Any]]) -> list[Tried]:
    if groups.keys() != {True, False}:
        return []
    found = []
    whole = experiments.sample_ratio(_arms(groups, "customers", "did"), action.treated_share)
    for among, size, did in ((EVERYBODY, "customers", "did"), (LAPSED, "lapsed", "lapsed_did")):
        arms = _arms(groups, size, did)
        if min(arms.treated, arms.control) < LEAST_IN_ARM:
            continue
        found.append(Tried(action, among, arms, whole, None if whole.is_broken else experiments.effect(arms)))
    return found


def _arms(groups: dict[bool, dict[str, Any]], size: str, did: str) -> Arms:
    return Arms(groups[True][size], groups[True][did], groups[False][size], groups[False][did])


def answer(shop: Shop) -> Finding:
    """The section."""
    found = tried(shop)
    if not found:
        raise CannotAnswer(f"no action has {LEAST_IN_ARM} customers in each group")
    broken = sorted({each.action.name for each in found if each.effect is None})
    works = [each for each in found if each.effect and each.p_adjusted < experiments.ALPHA and each.effect.low > 0]
    campaigns = _together(found, CAMPAIGN)
    return Finding(
        headline=_headline(works, campaigns, found),
        action=_advice(works, campaigns, found),
        words=_words(found, broken, campaigns),
        numbers=_numbers(found, campaigns),
        figures=[_drawn(found)],
        shown=[_shown(found), _needed(found)],
    )


def _together(found: list[Tried], kind: str, among: str = EVERYBODY) -> Pooled | None:
    chosen = [each.arms for each in found if each.effect and each.action.kind == kind and each.among == among]
    return experiments.pooled(chosen) if len(chosen) > 1 else None


def _headline(works: list[Tried], campaigns: Pooled | None, found: list[Tried]) -> str:
    if works:
        best = max(works, key=lambda each: each.effect.difference if each.effect else 0.0)
        assert best.effect
        first = (
            f"{best.action.name} works: {percent(best.arms.shares[0])} of those treated ordered against "
            f"{percent(best.arms.shares[1])} ({best.among})"
        )
    else:
        first = f"None of {counted(len({each.action.name for each in found}), 'action')} is surely found to work alone"
    if campaigns is None:
        return f"{first}."
    verdict = "bring orders" if campaigns.low > 1 else "cannot be told from chance"
    return f"{first}; all campaigns together {verdict} (odds of an order x {campaigns.odds_ratio:.2f})."


def _advice(works: list[Tried], campaigns: Pooled | None, found: list[Tried]) -> str:
    names = list(dict.fromkeys(each.action.name for each in works))
    if names:
        return (
            f"Go on with {listed(names)} for everybody but a small control group; drop nothing that was not measured."
        )
    if campaigns and campaigns.low > 1:
        return "Go on with the campaigns, and keep the holdout: one of them alone is too short to be judged."
    return "Run the next action longer or on more customers: the table below says how many it takes."


def _words(found: list[Tried], broken: list[str], campaigns: Pooled | None) -> list[str]:
    words = [
        (
            "Everybody counts in the group that they were assigned to, whatever reached them; groups are "
            "compared while the "
            "action ran, and p values are adjusted for the actions of a kind among the same customers (Holm)."
        ),
        f"The sizes of the groups fit the plan in all but {listed(broken)}: nothing is said of it."
        if broken
        else "The sizes of all groups fit the plan (chi-square, p of 0.001 or more).",
    ]
    if campaigns:
        words.append(
            f"All campaigns together, each beside its own holdout: odds ratio {campaigns.odds_ratio:.2f} "
            f"({campaigns.low:.2f} to {campaigns.high:.2f}), p {campaigns.p:.4f}."
        )
    return words


def _numbers(found: list[Tried], campaigns: Pooled | None) -> list[Number]:
    numbers = [
        Number(
            f"{each.action.name}, {each.among}: more that order",
            each.effect.difference,
            "share",
            each.effect.low,
            each.effect.high,
        )
        for each in found
        if each.effect and each.action.kind == EXPERIMENT
    ]
    if campaigns:
        numbers.append(
            Number("Campaigns, odds of an order", campaigns.odds_ratio, "number", campaigns.low, campaigns.high)
        )
    return numbers


def _drawn(found: list[Tried]) -> Figure:
    judged = [each for each in found if each.effect]
    return plots.ranges(
        "More customers that order",
        [f"{each.action.name}, {each.among}" for each in judged],
        [(100 * e.difference, 100 * e.low, 100 * e.high) for e in (each.effect for each in judged) if e],
        "treated less control, percentage points, 95 % interval",
        at=0.0,
    )


def _shown(found: list[Tried]) -> Table:
    rows = []
    for each in found:
        treated, control = each.arms.shares
        effect = each.effect
        rows.append(
            (
                each.action.name,
                each.among,
                f"{each.action.begins_at:%Y-%m-%d} to {each.action.ends_at:%Y-%m-%d}",
                f"{percent(treated)} of {each.arms.treated:,}",
                f"{percent(control)} of {each.arms.control:,}",
                f"{100 * effect.difference:+.2f} ({100 * effect.low:+.2f} to {100 * effect.high:+.2f})"
                if effect
                else "—",
                f"{each.p_adjusted:.4f}" if effect else "—",
                f"{each.ratio.p:.3f}",
            )
        )
    columns = ("action", "among", "when", "treated", "control", "points more (95 %)", "p (Holm)", "sizes, p")
    return Table(columns, rows, "Customers with a net order while the action ran")


def _needed(found: list[Tried]) -> Table:
    """How large the next test must be."""
    rows = []
    for each in found:
        base = each.arms.shares[1]
        least, size = experiments.detectable(base, each.arms), experiments.needed(base, 0.1 * base)
        if each.action.kind == EXPERIMENT and least is not None and size is not None:
            rows.append((each.action.name, each.among, percent(base), f"{100 * least:.2f}", f"{size:,}"))
    columns = ("experiment", "among", "order without it", "least found, points", "customers for a tenth more")
    return Table(columns, rows, "What tests of this size find in four of five cases, and how many a small effect takes")


WIN_BACK: Final = Analysis(
    "win-back",
    "What brings customers back",
    "Which actions bring customers back, by random groups?",
    answer,
)
