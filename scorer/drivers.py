"""Reasons for people: every feature's part in a risk as a sentence with the value that it rests on."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from churn.features import FEATURES, WINDOWS_DAYS, FeatureRow
from churn.model import Floats
from churn.risk_card import Driver

_MEANINGS: Final = {feature.name: feature.meaning.rstrip(".") for feature in FEATURES}


def _count(one: str, many: str, rest: str = "") -> Callable[[float], str]:
    return lambda value: f"{value:,.0f} {one if value == 1 else many}{rest}"


def _days(before: str) -> Callable[[float], str]:
    return lambda value: f"{before} {_age(value)}"


def _age(days: float) -> str:
    whole = int(days)
    return {0: "less than a day", 1: "1 day"}.get(whole, f"{whole:,} days")


def _money(text: str) -> Callable[[float], str]:
    return lambda value: text.format(f"{value:,.2f}")


def _ratio(text: str) -> Callable[[float], str]:
    return lambda value: text.format(f"{value:.1f}")


def _minutes(text: str) -> Callable[[float], str]:
    return lambda seconds: text.format(f"{int(seconds) // 60}:{int(seconds) % 60:02d}")


def _share(text: str) -> Callable[[float], str]:
    return lambda value: text.format(f"{value:.0%}")


def _change(noun: str) -> Callable[[float], str]:
    def text(value: float) -> str:
        if not value:
            return f"as many {noun} in the last 30 days as in the 30 before"
        return f"{abs(value):,.0f} {'more' if value > 0 else 'fewer'} {noun} in the last 30 days than in the 30 before"

    return text


def _of_window(days: int) -> dict[str, Callable[[float], str]]:
    span = f" in the last {days} days" if days > 1 else " today"
    return {
        f"views_{days}d": _count("product view", "product views", span),
        f"carts_{days}d": _count("product put into the cart", "products put into the cart", span),
        f"purchases_{days}d": _count("purchase line", "purchase lines", span),
        f"orders_{days}d": _count("order", "orders", span),
        f"revenue_{days}d": _money("net revenue {}" + span),
    }


SENTENCES: Final[dict[str, Callable[[float], str]]] = {
    "recency_days": _days("no order for"),
    "frequency": _count("order", "orders", " in the last 365 days"),
    "monetary": _money("net revenue {} in the last 365 days"),
    "tenure_days": _days("customer for"),
    "idle_days": _days("not seen for"),
    **{name: sentence for days in WINDOWS_DAYS for name, sentence in _of_window(days).items()},
    "orders_total": _count("order", "orders", " ever"),
    "gross_revenue_total": _money("gross revenue {} ever"),
    "net_revenue_total": _money("net revenue {} ever"),
    "average_order_value": _money("average order {}"),
    "sessions_total": _count("session", "sessions", " ever"),
    "session_duration_mean_s": _minutes("{} minutes in a session on average"),
    "views_per_session": _ratio("{} product views per session"),
    "events_per_session": _ratio("{} events per session"),
    "events_total": _count("event", "events", " ever"),
    "views_trend": _change("product views"),
    "orders_trend": _change("orders"),
    "revenue_trend": _money("net revenue changed by {} from the 30 days before to the last 30 days"),
    "basket_quantity_mean": _ratio("{} units per order"),
    "item_price_mean": _money("average item price {}"),
    "discount_share": _share("{} of the gross revenue was discounted"),
    "discounted_lines_share": _share("{} of what was bought had a discount"),
    "engaged_sessions_share": _share("{} of the sessions were engaged"),
    "sessions_with_purchase_share": _share("{} of the sessions led to a purchase"),
    "carts_per_view": _share("{} of the product views led to the cart"),
    "purchases_per_cart": _ratio("{} purchase lines per product put into the cart"),
    "view_to_cart_mean_s": _minutes("{} minutes from view to cart on average"),
    "cart_to_purchase_mean_s": _minutes("{} minutes from cart to purchase on average"),
    "shopping_carts_total": _count("cart", "carts", " begun ever"),
    "carts_abandoned_total": _count("cart", "carts", " abandoned ever"),
    "carts_recovered_total": _count("abandoned cart", "abandoned carts", " bought later"),
    "cart_abandonment_rate": _share("{} of the carts were abandoned"),
    "distinct_products": _count("different product", "different products", " met"),
    "distinct_categories": _count("different category", "different categories", " met"),
    "rating_mean": _ratio("ratings of {} on average"),
    "order_gap_mean_days": _days("usual time between orders (mean):"),
    "order_gap_median_days": _days("usual time between orders (median):"),
    "overdue_ratio": _ratio("silent for {} times the customer's own long gap between orders"),
    "repeat_purchase_days": _count("day", "days", " with an order after the first one"),
    "last_purchase_age_days": _days("from the first to the last order"),
    "age_days": _days("first order before"),
    "repeat_value_mean": _money("net value {} per day of repeat buying"),
    "engagement_score": _ratio("engagement score {} of 100"),
    "value_score": _ratio("value score {} of 100"),
}


def sentence(feature: str, value: float | str | None) -> str:
    """A feature's value in words; by its written meaning where it is text, has no sentence of its own, or no value."""
    if value is None:
        return f"{_MEANINGS[feature]}: not known"
    if isinstance(value, str):
        return f"{_MEANINGS[feature]}: {value}"
    written = SENTENCES.get(feature)
    return f"{_MEANINGS[feature]}: {value:g}" if written is None else written(value)


def heaviest(matrix: Floats, contributions: Floats, most: int) -> list[list[int]]:
    """For each row, the columns with the largest parts in the risk, the heaviest first.

    Both are (rows, features); a feature whose value is not known (NaN), or that adds nothing, is no reason.
    """
    weights = np.where(np.isnan(matrix), 0.0, np.abs(contributions))
    order = np.argsort(-weights, axis=1, kind="stable")[:, :most]
    found = np.take_along_axis(weights, order, axis=1) > 0
    return [
        [place for place, is_reason in zip(places, are_reasons, strict=True) if is_reason]
        for places, are_reasons in zip(order.tolist(), found.tolist(), strict=True)
    ]


def driver(row: FeatureRow, feature: str, contribution: float) -> Driver:
    """A feature of this row with its part in the risk, in log-odds."""
    value = row[feature]
    effect = "raises" if contribution > 0 else "lowers"
    shown = value if value is None or isinstance(value, str) else float(value)
    return Driver(feature, shown, contribution, f"{_told(row, feature)} ({effect} the risk)")


def changes(row: FeatureRow, names: Sequence[str], before: Floats, now: Floats, most: int) -> list[str]:
    """What raised or lowered the risk most from one card to the next; `before` and `now` (features,) in log-odds."""
    is_known = np.array([row[name] is not None for name in names])
    moved = np.where(is_known, now - before, 0.0)
    order = np.argsort(-np.abs(moved), kind="stable")[:most]
    return [f"{_told(row, names[place])} ({moved[place]:+.2f})" for place in order.tolist() if moved[place]]


def _told(row: FeatureRow, feature: str) -> str:
    value = row[feature]
    said = sentence(feature, value if isinstance(value, str) or value is None else float(value))
    usual = row.get("order_gap_median_days") if feature == "recency_days" else None
    return said if usual is None else f"{said}; usually every {float(usual):.0f}"
