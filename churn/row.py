"""A tally into the row of features at a moment: everything that ages while the customer is silent is computed here."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Final

from churn import distinct
from churn.state import Order, Profile, Tally
from churn.summary import (
    AFFINITY_BUCKETS,
    CART_ABANDONED_MS,
    CART_EXPIRES_MS,
    DAY_MS,
    HOUR_MS,
    LOOK_BACK_DAYS,
    SECOND_MS,
    SESSION_GAP_MS,
    is_engaged,
)

Value = float | int | str | None
FeatureRow = dict[str, Value]

WINDOWS_DAYS: Final = (1, 7, 30, 90)
TREND_DAYS: Final = 30
CART_REMINDER_MS: Final = HOUR_MS
RECENCY_BUCKETS: Final = ((7, "0-7"), (30, "8-30"), (90, "31-90"), (180, "91-180"), (365, "181-365"))
SEASONS: Final = (
    "winter",
    "winter",
    "spring",
    "spring",
    "spring",
    "summer",
    "summer",
    "summer",
    "autumn",
    "autumn",
    "autumn",
    "winter",
)

# What a gap between orders is taken to be while the customer has shown fewer than GAPS_TRUSTED of their own, in days.
GAPS_TRUSTED: Final = 3
USUAL_GAP_MEDIAN_DAYS: Final = 30.0
USUAL_GAP_P90_DAYS: Final = 90.0
OVERDUE_FROM_DAYS, OVERDUE_TO_DAYS = 30.0, 180.0

# Frozen, so that a score moves because the customer changed: the score of a value is 1 + the cuts below it.
ENGAGEMENT_CUTS: Final[dict[str, tuple[float, ...]]] = {
    "quantity": (1, 2, 4, 8),
    "price": (5, 15, 40, 100),
    "session_s": (10, 60, 300, 900),
    "rating": (1.5, 2.5, 3.5, 4.5),
}
HIGH_ENGAGEMENT_FROM: Final = 50.0
VALUE_CUTS: Final[dict[str, tuple[float, ...]]] = {
    "recency_days": (30, 60, 120, 240),
    "frequency": (1, 2, 4, 8),
    "monetary": (50, 150, 400, 1000),
}


def row_of(tally: Tally, as_of_ms: int) -> FeatureRow:
    """The features at `as_of_ms` of a tally that holds no later event; names and order as in `FEATURES`."""
    net_orders = [
        order for order in tally.orders if order.lines > 0 and not 0 < order.refund >= order.gross - order.discount
    ]
    kept_net = tally.past_net + sum(order.net for order in tally.orders)
    orders_total = tally.past_orders + len(net_orders)
    first_ms = tally.past_first_order_ms or (net_orders[0].at_ms if net_orders else None)
    last_ms = max((order.at_ms + order.span_ms for order in net_orders), default=tally.past_last_line_ms or None)
    recency = None if last_ms is None else (as_of_ms - last_ms) / DAY_MS
    frequency, monetary = _in_window(tally, net_orders, as_of_ms, LOOK_BACK_DAYS)
    row: FeatureRow = {
        "recency_days": recency,
        "recency_bucket": _bucket(recency),
        "frequency": frequency,
        "monetary": monetary,
        "tenure_days": _tenure(tally, as_of_ms),
        "idle_days": (as_of_ms - tally.last_at_ms) / DAY_MS if tally.events else None,
    }
    for days in WINDOWS_DAYS:
        _add_window(row, tally, net_orders, as_of_ms, days)
    _add_trend(row, tally, net_orders, as_of_ms)
    _add_totals(row, tally, orders_total, kept_net)
    _add_sessions(row, tally, as_of_ms)
    _add_rates(row, tally)
    _add_carts(row, tally, as_of_ms)
    _add_preferences(row, tally)
    _add_gaps(row, tally, net_orders, as_of_ms, recency)
    _add_scores(row, frequency, monetary, recency)
    row["events_total"] = tally.events
    row["first_event_at"] = tally.first_at_ms if tally.events else None
    row["last_event_at"] = tally.last_at_ms if tally.events else None
    row["first_purchase_at"] = first_ms
    row["last_purchase_at"] = last_ms
    row["country"] = tally.country
    row["device"] = tally.device
    row["channel"] = tally.channel
    profile = tally.profile or Profile(None, None, None, None)
    row["age"] = profile.age
    row["gender"] = profile.gender
    row["location"] = profile.location
    return row


def _bucket(recency_days: float | None) -> str:
    if recency_days is None:
        return "never"
    return next((name for limit, name in RECENCY_BUCKETS if recency_days <= limit), ">365")


def _tenure(tally: Tally, as_of_ms: int) -> float | None:
    if not tally.events:
        return None
    signup_ms = tally.profile.signup_ms if tally.profile else None
    return max(0, as_of_ms - (tally.first_at_ms if signup_ms is None else signup_ms)) / DAY_MS


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


# Windows.


def _first_day(as_of_ms: int, window_days: int) -> int:
    return -((window_days * DAY_MS - as_of_ms) // DAY_MS)


def _in_window(tally: Tally, net_orders: list[Order], as_of_ms: int, window_days: int) -> tuple[int, float]:
    after_ms = as_of_ms - window_days * DAY_MS
    count = net = 0
    for order in reversed(net_orders):
        if order.at_ms <= after_ms:
            break
        count += 1
        net += order.net
    if tally.loose_refunds:
        first_day = _first_day(as_of_ms, window_days)
        net -= sum(amount for day, amount in tally.loose_refunds if day >= first_day)
    return count, net / 100


def _add_window(row: FeatureRow, tally: Tally, net_orders: list[Order], as_of_ms: int, days: int) -> None:
    views, carts, purchases = _counts_since(tally, _first_day(as_of_ms, days))
    orders, revenue = _in_window(tally, net_orders, as_of_ms, days)
    row[f"views_{days}d"] = views
    row[f"carts_{days}d"] = carts
    row[f"purchases_{days}d"] = purchases
    row[f"orders_{days}d"] = orders
    row[f"revenue_{days}d"] = revenue


def _counts_since(tally: Tally, first_day: int) -> tuple[int, int, int]:
    views = carts = purchases = 0
    for day, day_views, day_carts, day_purchases in reversed(tally.days):
        if day < first_day:
            break
        views += day_views
        carts += day_carts
        purchases += day_purchases
    return views, carts, purchases


def _add_trend(row: FeatureRow, tally: Tally, net_orders: list[Order], as_of_ms: int) -> None:
    orders, revenue = _in_window(tally, net_orders, as_of_ms, TREND_DAYS)
    orders_both, revenue_both = _in_window(tally, net_orders, as_of_ms, 2 * TREND_DAYS)
    views = _counts_since(tally, _first_day(as_of_ms, TREND_DAYS))[0]
    views_both = _counts_since(tally, _first_day(as_of_ms, 2 * TREND_DAYS))[0]
    row["views_trend"] = 2 * views - views_both
    row["orders_trend"] = 2 * orders - orders_both
    row["revenue_trend"] = round(2 * revenue - revenue_both, 2)


# Totals, sessions, rates, carts.


def _add_totals(row: FeatureRow, tally: Tally, orders_total: int, kept_net: int) -> None:
    gross = tally.past_gross + sum(order.gross for order in tally.orders)
    discount = tally.past_discount + sum(order.discount for order in tally.orders)
    quantity = tally.past_quantity + sum(order.quantity for order in tally.orders)
    bought = tally.past_bought + sum(order.lines > 0 for order in tally.orders)
    row["orders_total"] = orders_total
    row["gross_revenue_total"] = gross / 100
    row["net_revenue_total"] = (kept_net - tally.loose_refunded) / 100
    row["average_order_value"] = _ratio(kept_net / 100, orders_total)
    row["basket_quantity_mean"] = _ratio(quantity, bought)
    row["item_price_mean"] = _ratio(gross / 100, quantity)
    row["discount_share"] = _ratio(discount, gross)
    row["discounted_lines_share"] = _ratio(tally.discounted_lines, tally.purchases)


def _add_sessions(row: FeatureRow, tally: Tally, as_of_ms: int) -> None:
    has_session = tally.session_events > 0
    sessions = tally.closed_sessions + has_session
    running_ms = tally.session_end_ms - tally.session_start_ms
    row["sessions_total"] = sessions
    row["session_duration_mean_s"] = _ratio((tally.closed_duration_ms + running_ms) / SECOND_MS, sessions)
    row["views_per_session"] = _ratio(tally.views, sessions)
    row["events_per_session"] = _ratio(tally.events, sessions)
    row["engaged_sessions_share"] = _ratio(tally.closed_engaged + (has_session and is_engaged(tally)), sessions)
    row["sessions_with_purchase_share"] = _ratio(tally.closed_with_purchase + (tally.session_purchases > 0), sessions)
    row["session_is_running"] = int(has_session and as_of_ms - tally.session_end_ms <= SESSION_GAP_MS)
    row["session_events"] = tally.session_events
    row["session_duration_s"] = running_ms / SECOND_MS


def _add_rates(row: FeatureRow, tally: Tally) -> None:
    row["carts_per_view"] = _ratio(tally.carts, tally.views)
    row["purchases_per_cart"] = _ratio(tally.purchases, tally.carts)
    row["view_to_cart_mean_s"] = _ratio(tally.view_to_cart_ms / SECOND_MS, tally.view_to_cart)
    row["view_to_cart_median_s"] = _median_s(tally.latest_view_to_cart_ms)
    row["cart_to_purchase_mean_s"] = _ratio(tally.cart_to_purchase_ms / SECOND_MS, tally.cart_to_purchase)
    row["cart_to_purchase_median_s"] = _median_s(tally.latest_cart_to_purchase_ms)


def _median_s(durations_ms: tuple[int, ...]) -> float | None:
    return median(durations_ms) / SECOND_MS if durations_ms else None


def _add_carts(row: FeatureRow, tally: Tally, as_of_ms: int) -> None:
    idle_ms = as_of_ms - tally.cart_last_ms
    is_open = bool(tally.cart_items) and idle_ms <= CART_EXPIRES_MS
    is_mature = not tally.cart_items or tally.cart_was_abandoned or idle_ms > CART_ABANDONED_MS
    abandons_now = bool(tally.cart_items) and not tally.cart_was_abandoned and idle_ms > CART_ABANDONED_MS
    abandoned = tally.carts_abandoned + abandons_now
    row["shopping_carts_total"] = tally.carts_started
    row["carts_abandoned_total"] = abandoned
    row["carts_recovered_total"] = tally.carts_recovered
    row["cart_abandonment_rate"] = _ratio(abandoned, tally.carts_started - (not is_mature))
    row["cart_items"] = sum(quantity for _, quantity in tally.cart_items) if is_open else 0
    row["cart_is_waiting"] = int(is_open and idle_ms > CART_REMINDER_MS)


# Preferences.


def _add_preferences(row: FeatureRow, tally: Tally) -> None:
    row["top_category"] = _most(tally.categories)
    row["favourite_category"] = _most_bought(tally.categories)
    row["category_events"] = _listed(tally.categories)
    row["distinct_products"] = distinct.count(tally.products_met, tally.product_registers)
    row["distinct_categories"] = distinct.count(tally.categories_met, tally.category_registers)
    row["device_preference"] = _most(tally.devices)
    row["channel_preference"] = _most(tally.channels)
    activity = tally.activity
    row["favourite_hour"] = _peak(activity[:24])
    row["favourite_weekday"] = _peak(activity[24:31])
    month = _peak(activity[31:])
    row["favourite_month"] = None if month is None else month + 1
    row["favourite_season"] = _season(activity[31:])
    row["rating_mean"] = _ratio(tally.rating_sum, tally.ratings)
    weights = tally.affinity or [0] * AFFINITY_BUCKETS
    total = sum(weights)
    for bucket, weight in enumerate(weights):
        row[f"affinity_{bucket:02d}"] = weight / total if total else 0.0


def _listed(labels: dict[str, list[int]]) -> str:
    return " ".join(f"{name}:{-less}" for less, name in sorted((-each[0], name) for name, each in labels.items()))


def _most(labels: dict[str, list[int]]) -> str | None:
    return min((-counts[0], name) for name, counts in labels.items())[1] if labels else None


def _most_bought(labels: dict[str, list[int]]) -> str | None:
    bought = [(-counts[1], name) for name, counts in labels.items() if counts[1]]
    return min(bought)[1] if bought else None


def _peak(counts: Sequence[int]) -> int | None:
    return counts.index(max(counts)) if counts else None


def _season(months: Sequence[int]) -> str | None:
    if not months:
        return None
    sums = dict.fromkeys(SEASONS, 0)
    for season, count in zip(SEASONS, months, strict=True):
        sums[season] += count
    return max(sums, key=lambda season: sums[season])


# Rhythm and scores.


def _add_gaps(row: FeatureRow, tally: Tally, net_orders: list[Order], as_of_ms: int, recency: float | None) -> None:
    days = sorted({order.at_ms // DAY_MS for order in net_orders})
    gaps = sorted(later - earlier for earlier, later in pairwise(days))
    row["order_gap_mean_days"] = None
    row["order_gap_median_days"] = median(gaps) if gaps else None
    usual_p90 = min(max(_shrunk(_p90(gaps), len(gaps), USUAL_GAP_P90_DAYS), OVERDUE_FROM_DAYS), OVERDUE_TO_DAYS)
    row["overdue_ratio"] = None if recency is None else recency / usual_p90
    _add_repeat_buying(row, tally, net_orders, days, as_of_ms)


def _shrunk(own: float, gaps: int, usual: float) -> float:
    trust = min(1.0, gaps / GAPS_TRUSTED)
    return trust * own + (1 - trust) * usual


def _p90(sorted_gaps: list[int]) -> float:
    """The 90th percentile by linear interpolation between the closest ranks, 0 without gaps."""
    if not sorted_gaps:
        return 0.0
    rank = 0.9 * (len(sorted_gaps) - 1)
    low = int(rank)
    high = min(low + 1, len(sorted_gaps) - 1)
    return sorted_gaps[low] + (rank - low) * (sorted_gaps[high] - sorted_gaps[low])


def _add_repeat_buying(row: FeatureRow, tally: Tally, net_orders: list[Order], days: list[int], as_of_ms: int) -> None:
    """The quantities of "buy till you die" models in days: x, t_x, T and m (Fader, Hardie, Lee 2005)."""
    if not tally.past_orders and not days:
        row.update(dict.fromkeys(("repeat_purchase_days", "last_purchase_age_days", "age_days", "repeat_value_mean")))
        row["repeat_purchase_days"] = 0
        return
    past_last_day = tally.past_last_order_ms // DAY_MS if tally.past_orders else None
    first_day = tally.past_first_order_ms // DAY_MS if tally.past_orders else days[0]
    first_day_net = tally.past_first_day_net + sum(each.net for each in net_orders if each.at_ms // DAY_MS == first_day)
    net = tally.past_net + sum(order.net for order in net_orders)
    repeats = tally.past_order_days + sum(day != past_last_day for day in days) - 1
    last_day = days[-1] if days else tally.past_last_order_ms // DAY_MS
    row["order_gap_mean_days"] = _ratio(last_day - first_day, repeats)
    row["repeat_purchase_days"] = repeats
    row["last_purchase_age_days"] = last_day - first_day
    row["age_days"] = as_of_ms // DAY_MS - first_day
    row["repeat_value_mean"] = _ratio((net - first_day_net) / 100, repeats)


def _add_scores(row: FeatureRow, frequency: int, monetary: float, recency: float | None) -> None:
    parts = {
        "quantity": row["basket_quantity_mean"],
        "price": row["item_price_mean"],
        "session_s": row["session_duration_mean_s"],
        "rating": row["rating_mean"],
    }
    scored = [_score(float(value), ENGAGEMENT_CUTS[name]) for name, value in parts.items() if value is not None]
    engagement = _of_100(scored)
    row["engagement_score"] = engagement
    row["high_engagement"] = int(engagement >= HIGH_ENGAGEMENT_FROM)
    if recency is None:
        row["value_score"] = 0.0
        return
    r_score = 6 - _score(recency, VALUE_CUTS["recency_days"])
    f_score, m_score = _score(frequency, VALUE_CUTS["frequency"]), _score(monetary, VALUE_CUTS["monetary"])
    row["value_score"] = _of_100([r_score, f_score, m_score])


def _score(value: float, cuts: tuple[float, ...]) -> int:
    return 1 + sum(cut < value for cut in cuts)


def _of_100(scores: list[int]) -> float:
    """The mean of scores from 1 to 5, stretched to 0..100; 0 without any."""
    return (sum(scores) / len(scores) - 1) * 25 if scores else 0.0
