"""Segments, fifths of buyers, leaks and products recounted from raw events in pandas, by docs and definitions alone.

As in `tests/shop_in_pandas.py` nothing of the product is used; events are those of its `prepared`, moments and money
as there.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from math import ceil, sqrt
from typing import Any

import numpy as np
import pandas as pd

from .shop_in_pandas import orders

YEAR = pd.Timedelta(days=365)
Z = 1.959963984540054
# Segments by R (best first) and by F from 1 to 5.
SEGMENTS = {
    5: ["New", "Potential Loyalist", "Potential Loyalist", "Champions", "Champions"],
    4: ["Promising", "Potential Loyalist", "Potential Loyalist", "Loyal", "Loyal"],
    3: ["About To Sleep", "About To Sleep", "Need Attention", "Loyal", "Loyal"],
    2: ["Hibernating", "Hibernating", "At Risk", "At Risk", "Can't Lose"],
    1: ["Lost", "Hibernating", "At Risk", "At Risk", "Can't Lose"],
}
FIFTHS = ["top 20 %", "20-40 %", "40-60 %", "60-80 %", "bottom 20 %"]


def last_lines(events: pd.DataFrame) -> pd.Series:
    """When the last line of each order was bought, by customer and order."""
    lines = events[events["event_type"] == "purchase"]
    return lines.groupby(["customer_id", lines["order_id"].fillna("event " + lines["event_id"]).rename("order")])[
        "at"
    ].max()


def buyers(events: pd.DataFrame, moment: pd.Timestamp) -> pd.DataFrame:
    """Recency in days, frequency and money (minor units) of each customer with a net order, as known at `moment`."""
    known = events[events["at"] <= moment]
    found = orders(known)
    found = found[found["counts"]].merge(last_lines(known).rename("last").reset_index(), on=["customer_id", "order"])
    recent = found[found["at"] > moment - YEAR].groupby("customer_id")
    loose = known[(known["event_type"] == "refund") & known["order_id"].isna() & (known["at"] > moment - YEAR)]
    back = (loose["amount"] - loose["off"]).groupby(loose["customer_id"]).sum()
    people = found.groupby("customer_id").agg(last=("last", "max"))
    people["recency"] = (moment - people["last"]) / pd.Timedelta(days=1)
    people["frequency"] = recent.size().reindex(people.index).fillna(0)
    people["money"] = recent["net"].sum().reindex(people.index).fillna(0) - back.reindex(people.index).fillna(0)
    return people


def segments(events: pd.DataFrame, as_of: pd.Timestamp) -> Iterator[tuple[pd.Timestamp, pd.DataFrame]]:
    """Each month's first day with its buyers, their segment and tier at its end, by the cut points of `as_of`."""
    names = ["recency", "frequency", "money"]
    cuts = {name: np.percentile(own, [20, 40, 60, 80]) for name, own in buyers(events, as_of)[names].items()}
    for month in pd.period_range(orders(events)["at"].min(), as_of, freq="M"):
        moment = min((month + 1).to_timestamp(), as_of)
        if month.to_timestamp() >= as_of:
            return
        people = buyers(events, moment)
        above = {name: (people[name].to_numpy()[:, None] > cuts[name]).sum(axis=1) for name in names}
        scores = list(zip(5 - above["recency"], 1 + above["frequency"], 1 + above["money"], strict=True))
        yield (
            month.to_timestamp(),
            people.assign(
                segment=[SEGMENTS[recency][frequency - 1] for recency, frequency, _ in scores],
                tier=[_tier(*score) for score in scores],
            ),
        )


def _tier(recency: int, frequency: int, money: int) -> str:
    if recency >= 4 and frequency >= 4 and money >= 4:
        return "VIP"
    if recency <= 2 and (frequency >= 3 or money >= 4):
        return "At Risk"
    if frequency >= 4:
        return "Loyal"
    return "Low Value" if recency <= 2 else "Regular"


def moves(months: list[tuple[pd.Timestamp, pd.DataFrame]], since: pd.Timestamp) -> Counter[tuple[str, str]]:
    """Buyers by their segment at the end of one month and, a different one, of the next, which began at `since`."""
    found: Counter[tuple[str, str]] = Counter()
    for (_, before), (month, after) in pairwise(months):
        old = before["segment"].reindex(after.index).fillna("Prospect")
        if month >= since:
            found.update((a, b) for a, b in zip(old, after["segment"], strict=True) if a != b)
    return found


def fifths(events: pd.DataFrame) -> dict[str, tuple[int, int, int]]:
    """Customers, net orders and net value (minor units) of each fifth of the buyers, who brought most first."""
    people = orders(events).groupby("customer_id").agg(orders=("counts", "sum"), net=("net", "sum"))
    people = people[people["orders"] > 0].reset_index().sort_values(["net", "customer_id"], ascending=[False, True])
    size = ceil(len(people) / 5)
    parts = [people.iloc[n * size : (n + 1) * size] for n in range(5)]
    return {name: (len(own), own["orders"].sum(), own["net"].sum()) for name, own in zip(FIFTHS, parts, strict=True)}


def at_least(reached: int, before: int) -> float:
    """The lower end of Wilson's 95 % interval of a share; 0 where nothing is known."""
    if before == 0:
        return 0.0
    share = reached / before
    spread = Z * sqrt(share * (1 - share) / before + Z**2 / (4 * before**2))
    return (share + Z**2 / (2 * before) - spread) / (1 + Z**2 / before)


def steps(journeys: pd.DataFrame, key: str) -> pd.DataFrame:
    """Journeys viewed, put into the cart, bought from there and bought without a cart, by category or product."""
    return journeys.groupby(key)[["viewed", "carted", "bought", "direct"]].count()


def leaks(events: pd.DataFrame, journeys: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """What the list of leaks shows of each category; the bar is the best lower end of a step's rate."""
    found = steps(journeys, "category")
    bar_cart = max(at_least(row.carted, row.viewed) for row in found.itertuples())
    bar_buy = max(at_least(row.bought, row.carted) for row in found.itertuples())
    lines = events[events["event_type"] == "purchase"]
    values = (lines["amount"] - lines["off"]).groupby(lines["category"]).mean() / 100
    rows = {}
    for row in found[found["viewed"] > 0].itertuples():
        no_cart = max(0.0, bar_cart * row.viewed - row.carted)
        no_buy = max(0.0, bar_buy * row.carted - row.bought)
        chance = row.bought / row.carted if row.carted else bar_buy
        ways = [("view → cart", no_cart, no_cart * chance), ("cart → purchase", no_buy, no_buy)]
        name, lost, purchases = max(ways, key=lambda way: way[2])
        rows[row.Index] = {
            "Largest leak": name,
            "Could bring": purchases * values[row.Index],
            "Journeys lost": round(lost),
            "Viewed": row.viewed,
        }
    return rows


def product_revenue(events: pd.DataFrame) -> pd.Series:
    """Net revenue of each product in minor units; a refund of more than its order takes the order's value in parts."""
    net = orders(events).set_index(["customer_id", "order"])
    kept = (net["refunds"] / net["asked"].where(net["asked"] > 0)).fillna(1.0)
    lines = events[events["event_type"].isin(["purchase", "refund"])]
    amounts = (lines["amount"] - lines["off"]).astype(float)
    is_refund = lines["event_type"] == "refund"
    keys = pd.MultiIndex.from_frame(lines[["customer_id", "order_id"]])
    part = pd.Series(kept.reindex(keys).to_numpy(), index=lines.index)
    # A refund of an order that is not in the history is no refund of anything; one that names none is whole.
    part = part.where(lines["order_id"].notna(), 1.0).fillna(0.0)
    return amounts.where(~is_refund, -amounts * part).groupby(lines["product_id"]).sum()
