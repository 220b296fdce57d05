"""The numbers of the boards computed from raw events in pandas, slowly and plainly, by docs and definitions alone.

Nothing here uses the fold, the SQL layer or the analyses. Moments are UTC without a zone, money is in minor units.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

UNKNOWN = "unknown"
DAY = pd.Timedelta(days=1)


def prepared(events: pd.DataFrame) -> pd.DataFrame:
    """Events in the order in which they happened, with what the other functions need."""
    found = events.sort_values(["customer_id", "occurred_at", "event_id"]).reset_index(drop=True)
    found["at"] = found["occurred_at"].dt.tz_convert("UTC").dt.tz_localize(None)
    found["day"] = found["at"].dt.normalize()
    found["amount"] = (found["price"].fillna(0) * found["quantity"] * 100).round().astype(int)
    found["off"] = np.minimum(found["amount"], (found["discount"].fillna(0) * 100).round()).astype(int)
    last = found.dropna(subset=["country"]).groupby("customer_id")["country"].last()
    found["home"] = found["customer_id"].map(last).fillna(UNKNOWN)
    for name in ("category", "channel"):
        found[name] = found[name].fillna(UNKNOWN)
    return found


def orders(events: pd.DataFrame) -> pd.DataFrame:
    """One row per order: value, refunds (at most the value), whether it counts, its number among those that do."""
    lines = events[events["event_type"] == "purchase"].copy()
    lines["order"] = lines["order_id"].fillna("event " + lines["event_id"])
    found = lines.groupby(["customer_id", "order"], as_index=False).agg(
        at=("at", "min"),
        home=("home", "first"),
        channel=("channel", "first"),
        gross=("amount", "sum"),
        off=("off", "sum"),
    )
    back = events[(events["event_type"] == "refund") & events["order_id"].notna()]
    asked = (back["amount"] - back["off"]).groupby([back["customer_id"], back["order_id"]]).sum()
    keys = pd.MultiIndex.from_frame(found[["customer_id", "order"]])
    found["asked"] = asked.reindex(keys).fillna(0).astype(int).to_numpy()
    value = found["gross"] - found["off"]
    found["refunds"] = np.minimum(found["asked"], value)
    found["net"] = value - found["refunds"]
    found["counts"] = ~((found["asked"] > 0) & (found["asked"] >= value))
    found["day"], found["month"] = found["at"].dt.normalize(), found["at"].dt.to_period("M")
    found = found.sort_values(["customer_id", "at", "order"])
    found["number"] = found[found["counts"]].groupby("customer_id").cumcount()
    return found


def loose_refunds(events: pd.DataFrame) -> pd.DataFrame:
    """Refunds that name no order: they lower the revenue of their own day."""
    found = events[(events["event_type"] == "refund") & events["order_id"].isna()].copy()
    found["net"] = -(found["amount"] - found["off"])
    return found


def net_by(events: pd.DataFrame, column: str) -> dict[Any, float]:
    """Net revenue in major units by `home`, `channel` or `day`."""
    both = pd.concat([orders(events), loose_refunds(events)])
    return {key: value / 100 for key, value in both.groupby(column)["net"].sum().items()}


def visits(events: pd.DataFrame) -> pd.DataFrame:
    """One row per session with a view, cart, removal or purchase: a gap of more than 30 minutes begins a new one."""
    gap = events.groupby("customer_id")["at"].diff() > pd.Timedelta(minutes=30)
    number = gap.groupby(events["customer_id"]).cumsum()
    acts = events["event_type"].isin(["view", "cart", "remove_from_cart", "purchase"])
    found = events.assign(acts=acts).groupby([events["customer_id"], number.rename("number")])
    sessions = found.agg(at=("at", "min"), acts=("acts", "any")).reset_index()
    sessions = sessions[sessions["acts"]]
    return sessions.assign(day=sessions["at"].dt.normalize())


def active_by_day(events: pd.DataFrame) -> pd.DataFrame:
    """By day of a visit: customers who came for the first time and all others, each once a day."""
    days = visits(events)[["customer_id", "day"]].drop_duplicates()
    is_first = days["day"] == days.groupby("customer_id")["day"].transform("min")
    return pd.DataFrame(
        {"New": is_first.groupby(days["day"]).sum(), "Returning": (~is_first).groupby(days["day"]).sum()}
    )


def journeys(events: pd.DataFrame) -> pd.DataFrame:
    """One row per customer and product: when viewed, put into the cart and bought, in this order, within 30 days."""
    rows = []
    steps = events[events["product_id"].notna() & events["event_type"].isin(["view", "cart", "purchase"])]
    for (customer, product), own in steps.groupby(["customer_id", "product_id"]):
        at = {kind: list(own["at"][own["event_type"] == kind]) for kind in ("view", "cart", "purchase")}
        viewed = min(at["view"], default=None)
        end = None if viewed is None else viewed + 30 * DAY
        carted = min((t for t in at["cart"] if viewed is not None and viewed <= t <= end), default=None)
        bought = min((t for t in at["purchase"] if carted is not None and carted <= t <= end), default=None)
        direct = None
        if viewed is not None and bought is None:
            direct = min((t for t in at["purchase"] if viewed <= t <= end), default=None)
        first = min(at["purchase"], default=None)
        unseen = first if first is not None and (viewed is None or first < viewed) else None
        rows.append(
            (customer, product, own["category"].iloc[0], own["channel"].iloc[0], viewed, carted, bought, direct, unseen)
        )
    names = ["customer_id", "product_id", "category", "channel", "viewed", "carted", "bought", "direct", "unseen"]
    return pd.DataFrame(rows, columns=names).astype(dict.fromkeys(names[4:], "datetime64[us]"))


def carts(events: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    """One row per cart: when it began, what became of it, whether it was ever left for 24 hours, and its value."""
    acts = events[events["event_type"].isin(["cart", "remove_from_cart", "purchase"])]
    rows = [row for _, own in acts.groupby("customer_id") for row in _carts_of_one(own.to_dict("records"), as_of)]
    return pd.DataFrame(rows, columns=["day", "became", "abandoned", "value"])


def _carts_of_one(acts: list[dict[str, Any]], as_of: pd.Timestamp) -> Iterator[tuple[Any, ...]]:
    units: dict[str, int] = {}
    prices: dict[str, float] = {}
    began = last = None
    was_left = False
    for act in [*acts, {"event_type": "end", "at": as_of}]:
        value = sum(round(prices[product] * number * 100) for product, number in units.items())
        if began is not None and act["at"] - last >= DAY:
            was_left = True
        ended = None
        if began is not None and act["at"] - last >= 30 * DAY:
            ended = "expired"
        elif began is not None and act["event_type"] in ("purchase", "end"):
            ended = "bought" if act["event_type"] == "purchase" else "open"
        if ended:
            yield began.normalize(), ended, was_left, value
            units, began, was_left = {}, None, False
        if act["event_type"] == "cart":
            began = began or act["at"]
            units[act["product_id"]] = units.get(act["product_id"], 0) + act["quantity"]
            prices[act["product_id"]] = act["price"] or 0.0
            last = act["at"]
        elif act["event_type"] == "remove_from_cart" and began is not None and act["product_id"] in units:
            units[act["product_id"]] -= act["quantity"]
            if units[act["product_id"]] <= 0:
                del units[act["product_id"]]
            last = act["at"]
            if not units:
                yield began.normalize(), "emptied", was_left, value
                began, was_left = None, False


def cohorts(events: pd.DataFrame, last_month: pd.Period) -> dict[tuple[str, int], tuple[int, int, int]]:
    """Customers, active and active in this month or later, by cohort and months since; only months that are over."""
    net = orders(events)
    months = net[net["counts"]].groupby("customer_id")["month"].agg(lambda found: sorted(set(found)))
    cells: dict[tuple[str, int], tuple[int, int, int]] = {}
    for first, own in months.groupby(months.map(lambda found: found[0])):
        for number in range((last_month - first).n + 1):
            active = sum(first + number in found for found in own)
            later = sum(found[-1] >= first + number for found in own)
            cells[str(first), number] = (len(own), active, later)
    return cells


def lifecycle(events: pd.DataFrame, last_month: pd.Period) -> dict[tuple[pd.Timestamp, str], int]:
    """Customers by month (its first day) and state, of months that are over."""
    net = orders(events)
    months = net[net["counts"]].groupby("customer_id")["month"].agg(set)
    first = min(min(own) for own in months)
    found: dict[tuple[pd.Timestamp, str], int] = {}
    for month in pd.period_range(first, last_month, freq="M"):
        for own in months:
            state = None
            if month in own:
                state = "new" if min(own) == month else "returning" if month - 1 in own else "resurrecting"
            elif month - 1 in own:
                state = "dormant"
            if state:
                key = (month.to_timestamp(), state)
                found[key] = found.get(key, 0) + 1
    return found


def pairs(events: pd.DataFrame) -> dict[tuple[str, str], tuple[int, float, float]]:
    """Net orders with both products, confidence and lift, by the pair."""
    lines = events[events["event_type"] == "purchase"].assign(
        order=lambda e: e["order_id"].fillna("event " + e["event_id"])
    )
    net = orders(events)
    kept = set(net[net["counts"]][["customer_id", "order"]].itertuples(index=False, name=None))
    baskets = [set(own["product_id"].dropna()) for key, own in lines.groupby(["customer_id", "order"]) if key in kept]
    single: dict[str, int] = {}
    both: dict[tuple[str, str], int] = {}
    for basket in baskets:
        for product in basket:
            single[product] = single.get(product, 0) + 1
        for pair in combinations(sorted(basket), 2):
            both[pair] = both.get(pair, 0) + 1
    found = {}
    for (one, other), number in both.items():
        for a, b in ((one, other), (other, one)):
            found[a, b] = (number, number / single[a], number / single[a] / (single[b] / len(baskets)))
    return found
