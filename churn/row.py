"""A tally into the row of features at a moment: everything that ages while the customer is silent is computed here."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from churn import distinct
from churn.state import Profile, Tally
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
_ORDER_SPANS: Final = tuple(sorted({*WINDOWS_DAYS, TREND_DAYS, 2 * TREND_DAYS, LOOK_BACK_DAYS}))
_DAY_SPANS: Final = tuple(sorted({*WINDOWS_DAYS, TREND_DAYS, 2 * TREND_DAYS}))
CART_REMINDER_MS: Final = HOUR_MS
RECENCY_BUCKETS: Final = ((7, "0-7"), (30, "8-30"), (90, "31-90"), (180, "91-180"), (365, "181-365"))
SEASONS: Final = ("winter", "spring", "summer", "autumn")

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


class _NetOrders(NamedTuple):
    """The orders that count, oldest first: when each began, what was kept of it, and the different days of ordering."""

    at_ms: list[int]
    nets: list[int]
    days: list[int]


class _Sums(NamedTuple):
    """By length in days: net orders and their value in minor units; views, carts and purchase lines."""

    orders: dict[int, tuple[int, int]]
    actions: dict[int, tuple[int, int, int]]


def row_of(tally: Tally, as_of_ms: int, *, is_for_people: bool = True) -> FeatureRow:
    """The features at `as_of_ms` of a tally that holds no later event; names and order as in `FEATURES`.

    Without `is_for_people` most of those that no model looks at are left out, which takes less time.
    """
    net_orders, last_ms = _net_orders(tally)
    sums = _Sums(_order_sums(tally, net_orders, as_of_ms), _action_sums(tally, as_of_ms))
    first_ms = tally.past_first_order_ms or (net_orders.at_ms[0] if net_orders.at_ms else None)
    recency = None if last_ms is None else (as_of_ms - last_ms) / DAY_MS
    frequency, net = sums.orders[LOOK_BACK_DAYS]
    row: FeatureRow = {
        "recency_days": recency,
        "recency_bucket": _bucket(recency),
        "frequency": frequency,
        "monetary": net / 100,
        "tenure_days": _tenure(tally, as_of_ms),
        "idle_days": (as_of_ms - tally.last_at_ms) / DAY_MS if tally.events else None,
    }
    _add_windows(row, sums)
    _add_totals(row, tally, net_orders)
    _add_sessions(row, tally, as_of_ms)
    _add_rates(row, tally)
    _add_carts(row, tally, as_of_ms)
    _add_preferences(row, tally, is_for_people)
    _add_gaps(row, tally, net_orders, as_of_ms, recency, last_ms)
    _add_scores(row, frequency, net / 100, recency)
    profile = tally.profile or _NO_PROFILE
    is_known = tally.events > 0
    row["events_total"] = tally.events
    row["first_event_at"] = tally.first_at_ms if is_known else None
    row["last_event_at"] = tally.last_at_ms if is_known else None
    row["first_purchase_at"] = first_ms
    row["last_purchase_at"] = last_ms
    row["country"] = tally.country
    row["device"] = tally.device
    row["channel"] = tally.channel
    row["age"] = profile.age
    row["gender"] = profile.gender
    row["location"] = profile.location
    return row


_NO_PROFILE: Final = Profile(None, None, None, None)


def _net_orders(tally: Tally) -> tuple[_NetOrders, int | None]:
    """The orders that count, and when the last line of the latest of them, the past ones too, was bought."""
    at_ms: list[int] = []
    nets: list[int] = []
    days: list[int] = []
    last_ms: int | None = None
    for order in tally.orders:
        if not order.counts:
            continue
        began_ms = order.at_ms
        at_ms.append(began_ms)
        nets.append(order.net)
        last_line_ms = began_ms + order.span_ms
        last_ms = last_line_ms if last_ms is None else max(last_ms, last_line_ms)
        day = began_ms // DAY_MS
        if not days or days[-1] != day:
            days.append(day)
    found = _NetOrders(at_ms, nets, days)
    # The lines of an order may lie months apart: the last one of a past order can be later than all of the others'.
    past_ms = tally.past_last_line_ms or last_ms
    return found, past_ms if last_ms is None or past_ms is None else max(last_ms, past_ms)


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


def _order_sums(tally: Tally, net_orders: _NetOrders, as_of_ms: int) -> dict[int, tuple[int, int]]:
    at_ms, nets, _ = net_orders
    sums: dict[int, tuple[int, int]] = {}
    place, net = len(at_ms), 0
    for span in _ORDER_SPANS:
        after_ms = as_of_ms - span * DAY_MS
        while place and at_ms[place - 1] > after_ms:
            place -= 1
            net += nets[place]
        sums[span] = (len(at_ms) - place, net - _loose_refunds(tally, as_of_ms, span) if tally.loose_refunds else net)
    return sums


def _loose_refunds(tally: Tally, as_of_ms: int, span: int) -> int:
    first_day = _first_day(as_of_ms, span)
    return sum(amount for day, amount in tally.loose_refunds if day >= first_day)


def _action_sums(tally: Tally, as_of_ms: int) -> dict[int, tuple[int, int, int]]:
    days = tally.days
    sums: dict[int, tuple[int, int, int]] = {}
    place = len(days)
    views = carts = purchases = 0
    for span in _DAY_SPANS:
        first_day = _first_day(as_of_ms, span)
        while place and days[place - 1][0] >= first_day:
            place -= 1
            _, day_views, day_carts, day_purchases = days[place]
            views += day_views
            carts += day_carts
            purchases += day_purchases
        sums[span] = (views, carts, purchases)
    return sums


_WINDOW_NAMES: Final = tuple(
    (days, f"views_{days}d", f"carts_{days}d", f"purchases_{days}d", f"orders_{days}d", f"revenue_{days}d")
    for days in WINDOWS_DAYS
)


def _add_windows(row: FeatureRow, sums: _Sums) -> None:
    for days, views, carts, purchases, orders, revenue in _WINDOW_NAMES:
        row[views], row[carts], row[purchases] = sums.actions[days]
        row[orders], net = sums.orders[days]
        row[revenue] = net / 100
    now, both = sums.orders[TREND_DAYS], sums.orders[2 * TREND_DAYS]
    row["views_trend"] = 2 * sums.actions[TREND_DAYS][0] - sums.actions[2 * TREND_DAYS][0]
    row["orders_trend"] = 2 * now[0] - both[0]
    row["revenue_trend"] = round(2 * (now[1] / 100) - both[1] / 100, 2)


# Totals, sessions, rates, carts.


def _add_totals(row: FeatureRow, tally: Tally, net_orders: _NetOrders) -> None:
    gross, discount, quantity = tally.past_gross, tally.past_discount, tally.past_quantity
    bought = tally.past_bought
    for order in tally.orders:
        gross += order.gross
        discount += order.discount
        quantity += order.quantity
        bought += order.lines > 0
    orders_total = tally.past_orders + len(net_orders.nets)
    # A fully refunded order is worth nothing, so those that count are all that was kept.
    kept_net = tally.past_net + sum(net_orders.nets)
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
    return None if (middle := _median(sorted(durations_ms))) is None else middle / SECOND_MS


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


def next_step_ms(tally: Tally, as_of_ms: int, last_ms: int | None) -> int | None:
    """When silence alone next changes a count, a sum, a rate or a score that models look at, after `as_of_ms`.

    An order or a day leaves a window, the open cart is abandoned, the recency reaches a cut. Until then only days and
    the ratios of days grow. None where nothing of that kind is to come. `last_ms` is the `last_purchase_at` of the row.
    """
    steps: list[int] = []
    began_ms = [order.at_ms for order in tally.orders]
    _add_leaving(steps, began_ms, as_of_ms, _ORDER_SPANS)
    # A day is in a window until its first millisecond is out of it.
    _add_leaving(steps, [day[0] * DAY_MS + 1 for day in tally.days], as_of_ms, _DAY_SPANS)
    _add_leaving(steps, [day[0] * DAY_MS + 1 for day in tally.loose_refunds], as_of_ms, _ORDER_SPANS)
    if tally.cart_items and not tally.cart_was_abandoned and as_of_ms <= tally.cart_last_ms + CART_ABANDONED_MS:
        steps.append(tally.cart_last_ms + CART_ABANDONED_MS + 1)
    if last_ms is not None:
        place = bisect_left(_RECENCY_CUTS_MS, as_of_ms - last_ms)
        steps += [last_ms + cut_ms + 1 for cut_ms in _RECENCY_CUTS_MS[place : place + 1]]
    return min(steps, default=None)


def _add_leaving(steps: list[int], starts_ms: list[int], as_of_ms: int, spans: tuple[int, ...]) -> None:
    """When the oldest of these sorted moments within each span is out of it."""
    if not starts_ms:
        return
    newest_ms = starts_ms[-1]
    for span in spans:
        after_ms = as_of_ms - span * DAY_MS
        if newest_ms > after_ms:
            steps.append(starts_ms[bisect_right(starts_ms, after_ms)] + span * DAY_MS)


_RECENCY_CUTS_MS: Final = tuple(int(cut * DAY_MS) for cut in VALUE_CUTS["recency_days"])


# Preferences.


def _add_preferences(row: FeatureRow, tally: Tally, is_for_people: bool) -> None:
    row["top_category"] = _most(tally.categories)
    row["favourite_category"] = _most_bought(tally.categories)
    if is_for_people:
        row["category_events"] = _listed(tally.categories)
    row["distinct_products"] = distinct.count(tally.products_met, tally.product_registers)
    row["distinct_categories"] = distinct.count(tally.categories_met, tally.category_registers)
    row["device_preference"] = _most(tally.devices)
    row["channel_preference"] = _most(tally.channels)
    if is_for_people:
        activity = tally.activity
        row["favourite_hour"] = _peak(activity[:24])
        row["favourite_weekday"] = _peak(activity[24:31])
        month = _peak(activity[31:])
        row["favourite_month"] = None if month is None else month + 1
        row["favourite_season"] = _season(activity[31:])
    row["rating_mean"] = _ratio(tally.rating_sum, tally.ratings)
    if is_for_people:
        total = sum(tally.affinity)
        shares = [weight / total for weight in tally.affinity] if total else _NO_AFFINITY
        row.update(zip(_AFFINITY_NAMES, shares, strict=True))


_AFFINITY_NAMES: Final = tuple(f"affinity_{bucket:02d}" for bucket in range(AFFINITY_BUCKETS))
_NO_AFFINITY: Final = [0.0] * AFFINITY_BUCKETS


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
    sums = [months[11] + months[0] + months[1], sum(months[2:5]), sum(months[5:8]), sum(months[8:11])]
    return SEASONS[sums.index(max(sums))]


# Rhythm and scores.


def _add_gaps(
    row: FeatureRow, tally: Tally, net_orders: _NetOrders, as_of_ms: int, recency: float | None, last_ms: int | None
) -> None:
    gaps = sorted(later - earlier for earlier, later in pairwise(net_orders.days))
    usual = _median(gaps)
    row["order_gap_mean_days"] = None
    row["order_gap_median_days"] = usual
    usual_p90 = min(max(_shrunk(_p90(gaps), len(gaps), USUAL_GAP_P90_DAYS), OVERDUE_FROM_DAYS), OVERDUE_TO_DAYS)
    row["overdue_ratio"] = None if recency is None else recency / usual_p90
    wait_days = _shrunk(usual or 0.0, len(gaps), USUAL_GAP_MEDIAN_DAYS)
    row["next_order_at"] = None if last_ms is None else last_ms + round(wait_days * DAY_MS)
    _add_repeat_buying(row, tally, net_orders, as_of_ms)


def _median(ordered: list[int]) -> float | None:
    if not ordered:
        return None
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


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


def _add_repeat_buying(row: FeatureRow, tally: Tally, net_orders: _NetOrders, as_of_ms: int) -> None:
    """The quantities of "buy till you die" models in days: x, t_x, T and m (Fader, Hardie, Lee 2005)."""
    days, nets = net_orders.days, net_orders.nets
    if not tally.past_orders and not days:
        row["repeat_purchase_days"] = 0
        row["last_purchase_age_days"] = row["age_days"] = row["repeat_value_mean"] = None
        return
    past_last_day = tally.past_last_order_ms // DAY_MS if tally.past_orders else None
    first_day = tally.past_first_order_ms // DAY_MS if tally.past_orders else days[0]
    begin, end = (bisect_left(net_orders.at_ms, day * DAY_MS) for day in (first_day, first_day + 1))
    first_day_net = tally.past_first_day_net + sum(nets[begin:end])
    net = tally.past_net + sum(nets)
    repeats = tally.past_order_days + len(days) - (past_last_day in days) - 1
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
    return 1 + bisect_left(cuts, value)


def _of_100(scores: list[int]) -> float:
    """The mean of scores from 1 to 5, stretched to 0..100; 0 without any."""
    return (sum(scores) / len(scores) - 1) * 25 if scores else 0.0
