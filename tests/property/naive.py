"""Every feature counted again from all raw events, the slow and obvious way: the oracle of the fold.

Written from the definitions and the meanings in `FEATURES`, not from the fold. No state, no bound, no cleverness;
of the product only constants, the event's schema and the hash functions are used.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from churn.distinct import hash_text
from churn.events import Event, epoch_ms
from churn.features import hash_id
from churn.row import (
    CART_REMINDER_MS,
    ENGAGEMENT_CUTS,
    GAPS_TRUSTED,
    HIGH_ENGAGEMENT_FROM,
    OVERDUE_FROM_DAYS,
    OVERDUE_TO_DAYS,
    RECENCY_BUCKETS,
    USUAL_GAP_MEDIAN_DAYS,
    USUAL_GAP_P90_DAYS,
    VALUE_CUTS,
)

Value = float | int | str | None
Row = dict[str, Value]

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
STEPS = ["profile", "view", "cart", "remove_from_cart", "purchase", "refund", "rating"]
SEASONS = ["winter"] * 2 + ["spring"] * 3 + ["summer"] * 3 + ["autumn"] * 3 + ["winter"]
AFFINITY_WEIGHT = {"view": 1, "cart": 3, "purchase": 5}
# As the meanings of the median gap and the overdue ratio say: gaps before that are not looked at.
GAPS_LOOK_BACK = 366 * DAY


def recount(events: Sequence[Event], as_of: datetime) -> Row:
    """All features of one customer at `as_of`, from events in any order and with repetitions."""
    now = epoch_ms(as_of)
    seen = seen_once(events, now)
    orders = orders_of(seen)
    row: Row = {}
    row.update(recency_and_activity(seen, orders, now))
    for days in (1, 7, 30, 90):
        row.update(window(seen, orders, now, days))
    row.update(trends(seen, orders, now))
    row.update(totals(seen, orders))
    row.update(sessions_and_rates(seen, now))
    row.update(times_to_act(seen))
    row.update(carts(seen, now))
    row.update(preferences(seen))
    row.update(affinities(seen))
    row.update(order_rhythm(seen, orders, now))
    row.update(scores(row))
    row.update(latest_words(seen))
    return row


# What was seen.


def at(event: Event) -> int:
    return epoch_ms(event.occurred_at)


def day_of(moment_ms: int) -> int:
    return moment_ms // DAY


def seen_once(events: Sequence[Event], now: int) -> list[Event]:
    by_id = {event.event_id: event for event in events if at(event) <= now}
    return sorted(by_id.values(), key=lambda event: (at(event), STEPS.index(event.event_type), hash_id(event.event_id)))


def of_type(seen: Iterable[Event], *types: str) -> list[Event]:
    return [event for event in seen if event.event_type in types]


def line_cents(event: Event) -> int:
    return round((event.price or 0.0) * event.quantity * 100)


def refund_cents(event: Event) -> int:
    return line_cents(event) - discount_cents(event)


def discount_cents(event: Event) -> int:
    return min(line_cents(event), round((event.discount or 0.0) * 100))


def ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def median(values: Sequence[float]) -> float | None:
    if not values:
        return None
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


# Orders and money.


class Order(NamedTuple):
    """One order as it stands at the moment; `value` is gross less discounts, in cents."""

    first_at: int
    last_at: int
    value: int
    refunded: int

    @property
    def counts(self) -> bool:
        return not (self.refunded > 0 and self.refunded >= self.value)

    @property
    def net(self) -> int:
        return max(0, self.value - self.refunded)


def orders_of(seen: list[Event]) -> list[Order]:
    lines_by_order: dict[tuple[str, str], list[Event]] = {}
    for event in of_type(seen, "purchase"):
        name = ("order", event.order_id) if event.order_id is not None else ("lone line", event.event_id)
        lines_by_order.setdefault(name, []).append(event)
    orders = []
    for name, lines in lines_by_order.items():
        value = sum(line_cents(line) - discount_cents(line) for line in lines)
        refunds = [event for event in of_type(seen, "refund") if ("order", event.order_id) == name]
        moments = [at(line) for line in lines]
        orders.append(Order(min(moments), max(moments), value, sum(refund_cents(event) for event in refunds)))
    return sorted(orders, key=lambda order: order.first_at)


def loose_refunds(seen: list[Event]) -> list[Event]:
    return [event for event in of_type(seen, "refund") if event.order_id is None]


def within_days(event: Event, now: int, days: int) -> bool:
    return day_of(at(event)) * DAY >= now - days * DAY


def orders_within(orders: list[Order], now: int, days: int) -> list[Order]:
    return [order for order in orders if order.counts and now - days * DAY < order.first_at <= now]


def revenue_within(seen: list[Event], orders: list[Order], now: int, days: int) -> int:
    refunded = sum(refund_cents(event) for event in loose_refunds(seen) if within_days(event, now, days))
    return sum(order.net for order in orders_within(orders, now, days)) - refunded


def count_within(seen: list[Event], event_type: str, now: int, days: int) -> int:
    return sum(within_days(event, now, days) for event in of_type(seen, event_type))


def recency_and_activity(seen: list[Event], orders: list[Order], now: int) -> Row:
    recency = recency_days(orders, now)
    bucket = "never"
    if recency is not None:
        bucket = next((name for limit, name in RECENCY_BUCKETS if recency <= limit), ">365")
    return {
        "recency_days": recency,
        "recency_bucket": bucket,
        "frequency": len(orders_within(orders, now, 365)),
        "monetary": revenue_within(seen, orders, now, 365) / 100,
        "tenure_days": tenure_days(seen, now),
        "idle_days": (now - at(seen[-1])) / DAY if seen else None,
        "events_total": len(seen),
        "first_event_at": at(seen[0]) if seen else None,
        "last_event_at": at(seen[-1]) if seen else None,
        "first_purchase_at": min((order.first_at for order in orders if order.counts), default=None),
        "last_purchase_at": max((order.last_at for order in orders if order.counts), default=None),
    }


def recency_days(orders: list[Order], now: int) -> float | None:
    last_lines = [order.last_at for order in orders if order.counts]
    return (now - max(last_lines)) / DAY if last_lines else None


def tenure_days(seen: list[Event], now: int) -> float | None:
    if not seen:
        return None
    signup: date | None = latest(of_type(seen, "profile"), "signup_date")
    if signup is None:
        return (now - at(seen[0])) / DAY
    return max(0, now - epoch_ms(datetime(signup.year, signup.month, signup.day, tzinfo=UTC))) / DAY


def window(seen: list[Event], orders: list[Order], now: int, days: int) -> Row:
    return {
        f"views_{days}d": count_within(seen, "view", now, days),
        f"carts_{days}d": count_within(seen, "cart", now, days),
        f"purchases_{days}d": count_within(seen, "purchase", now, days),
        f"orders_{days}d": len(orders_within(orders, now, days)),
        f"revenue_{days}d": revenue_within(seen, orders, now, days) / 100,
    }


def trends(seen: list[Event], orders: list[Order], now: int) -> Row:
    def trend(measure: Callable[[int], int]) -> int:
        last_30, last_60 = measure(30), measure(60)
        return last_30 - (last_60 - last_30)

    return {
        "views_trend": trend(lambda days: count_within(seen, "view", now, days)),
        "orders_trend": trend(lambda days: len(orders_within(orders, now, days))),
        "revenue_trend": trend(lambda days: revenue_within(seen, orders, now, days)) / 100,
    }


def totals(seen: list[Event], orders: list[Order]) -> Row:
    lines = of_type(seen, "purchase")
    gross = sum(line_cents(line) for line in lines)
    units = sum(line.quantity for line in lines)
    net_of_orders = sum(order.net for order in orders)
    net = net_of_orders - sum(refund_cents(event) for event in loose_refunds(seen))
    kept = sum(order.counts for order in orders)
    return {
        "orders_total": kept,
        "gross_revenue_total": gross / 100,
        "net_revenue_total": net / 100,
        "average_order_value": ratio(net_of_orders / 100, kept),
        "basket_quantity_mean": ratio(units, len(orders)),
        "item_price_mean": ratio(gross / 100, units),
        "discount_share": ratio(sum(discount_cents(line) for line in lines), gross),
        "discounted_lines_share": ratio(sum(discount_cents(line) > 0 for line in lines), len(lines)),
    }


# Sessions.


def sessions_of(seen: list[Event]) -> list[list[Event]]:
    sessions: list[list[Event]] = []
    for event in seen:
        if sessions and at(event) - at(sessions[-1][-1]) <= 30 * MINUTE:
            sessions[-1].append(event)
        else:
            sessions.append([event])
    return sessions


def length_ms(session: list[Event]) -> int:
    return at(session[-1]) - at(session[0])


def is_engaged(session: list[Event]) -> bool:
    if length_ms(session) > 10_000:
        return True
    return bool(of_type(session, "cart", "purchase")) or len(of_type(session, "view")) >= 2


def sessions_and_rates(seen: list[Event], now: int) -> Row:
    sessions = sessions_of(seen)
    latest_session = sessions[-1] if sessions else []
    views, added, lines = (len(of_type(seen, kind)) for kind in ("view", "cart", "purchase"))
    ratings = [event.rating for event in of_type(seen, "rating") if event.rating is not None]
    return {
        "sessions_total": len(sessions),
        "session_duration_mean_s": mean([length_ms(session) / 1000 for session in sessions]),
        "views_per_session": ratio(views, len(sessions)),
        "events_per_session": ratio(len(seen), len(sessions)),
        "engaged_sessions_share": ratio(sum(map(is_engaged, sessions)), len(sessions)),
        "sessions_with_purchase_share": ratio(
            sum(bool(of_type(session, "purchase")) for session in sessions), len(sessions)
        ),
        "session_is_running": int(bool(seen) and now - at(seen[-1]) <= 30 * MINUTE),
        "session_events": len(latest_session),
        "session_duration_s": length_ms(latest_session) / 1000 if latest_session else 0.0,
        "carts_per_view": ratio(added, views),
        "purchases_per_cart": ratio(lines, added),
        "rating_mean": mean(ratings),
    }


def first_of(session: list[Event], event_type: str, like: Event) -> int | None:
    """The place of the first such event with the product and the shop's own session of another."""
    for place, event in enumerate(session):
        same = event.product_id == like.product_id and event.session_id == like.session_id
        if same and event.event_type == event_type:
            return place
    return None


def durations_s(seen: list[Event], before: str, after: str) -> list[float]:
    found = []
    for session in sessions_of(seen):
        for place, event in enumerate(session):
            if event.event_type != after or event.product_id is None:
                continue
            start = first_of(session, before, event)
            if place == first_of(session, after, event) and start is not None and start < place:
                found.append((at(event) - at(session[start])) / 1000)
    return found


def times_to_act(seen: list[Event]) -> Row:
    to_cart = durations_s(seen, "view", "cart")
    to_purchase = durations_s(seen, "cart", "purchase")
    return {
        "view_to_cart_mean_s": mean(to_cart),
        "view_to_cart_median_s": median(to_cart[-8:]),
        "cart_to_purchase_mean_s": mean(to_purchase),
        "cart_to_purchase_median_s": median(to_purchase[-8:]),
    }


# Carts.


class Cart:
    """One cart, from the first product put in to its end."""

    def __init__(self) -> None:
        self.units: dict[str | None, int] = {}
        self.touched_at = 0
        self.ended = False
        self.was_abandoned = False
        self.was_recovered = False

    def wait_until(self, moment: int) -> None:
        if not self.ended and moment - self.touched_at > DAY:
            self.was_abandoned = True
        if not self.ended and moment - self.touched_at > 30 * DAY:
            self.ended = True

    def put_in(self, event: Event) -> None:
        self.units[event.product_id] = self.units.get(event.product_id, 0) + event.quantity
        self.touched_at = at(event)

    def take_out(self, event: Event) -> None:
        if event.product_id not in self.units:
            return
        self.units[event.product_id] -= event.quantity
        self.touched_at = at(event)
        if self.units[event.product_id] <= 0:
            del self.units[event.product_id]
        self.ended = not self.units

    def buy(self) -> None:
        self.ended = True
        self.was_recovered = self.was_abandoned


def carts_of(seen: list[Event], now: int) -> list[Cart]:
    begun: list[Cart] = []
    for event in of_type(seen, "cart", "remove_from_cart", "purchase"):
        if begun:
            begun[-1].wait_until(at(event))
        is_open = bool(begun) and not begun[-1].ended
        if event.event_type == "cart":
            if not is_open:
                begun.append(Cart())
            begun[-1].put_in(event)
        elif is_open and event.event_type == "remove_from_cart":
            begun[-1].take_out(event)
        elif is_open:
            begun[-1].buy()
    if begun:
        begun[-1].wait_until(now)
    return begun


def carts(seen: list[Event], now: int) -> Row:
    begun = carts_of(seen, now)
    abandoned = sum(cart.was_abandoned for cart in begun)
    still_open = [cart for cart in begun if not cart.ended]
    undecided = [cart for cart in still_open if not cart.was_abandoned]
    return {
        "shopping_carts_total": len(begun),
        "carts_abandoned_total": abandoned,
        "carts_recovered_total": sum(cart.was_recovered for cart in begun),
        "cart_abandonment_rate": ratio(abandoned, len(begun) - len(undecided)),
        "cart_items": sum(sum(cart.units.values()) for cart in still_open),
        "cart_is_waiting": int(any(now - cart.touched_at > CART_REMINDER_MS for cart in still_open)),
    }


# What the customer likes.


def counted(values: Iterable[Any]) -> dict[Any, int]:
    counts: dict[Any, int] = {}
    for value in values:
        if value is not None:
            counts[value] = counts.get(value, 0) + 1
    return counts


def most(counts: dict[Any, int]) -> Any:
    """The value counted most often, of equals the smallest; None if nothing was counted."""
    return min(counts, key=lambda value: (-counts[value], value), default=None)


def preferences(seen: list[Event]) -> Row:
    categories = counted(event.category for event in seen)
    moments = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at(event)) for event in seen]
    seasons = counted(SEASONS[moment.month - 1] for moment in moments)
    in_order = list(dict.fromkeys(SEASONS))
    ranked = sorted(categories, key=lambda name: (-categories[name], name))
    return {
        "top_category": most(categories),
        "favourite_category": most(counted(event.category for event in of_type(seen, "purchase"))),
        "category_events": " ".join(f"{name}:{categories[name]}" for name in ranked[:8]),
        "distinct_products": len(counted(event.product_id for event in seen)),
        "distinct_categories": len(categories),
        "device_preference": most(counted(event.device for event in seen)),
        "channel_preference": most(counted(event.channel for event in seen)),
        "favourite_hour": most(counted(moment.hour for moment in moments)),
        "favourite_weekday": most(counted(moment.weekday() for moment in moments)),
        "favourite_month": most(counted(moment.month for moment in moments)),
        "favourite_season": max(in_order, key=lambda season: seasons.get(season, 0)) if seen else None,
    }


def affinities(seen: list[Event]) -> Row:
    weights = [0] * 16
    for event in of_type(seen, *AFFINITY_WEIGHT):
        if event.product_id is not None:
            weights[hash_text(event.product_id) % 16] += AFFINITY_WEIGHT[event.event_type]
    return {f"affinity_{bucket:02d}": ratio(weight, sum(weights)) or 0.0 for bucket, weight in enumerate(weights)}


# Rhythm and scores.


def percentile_90(values: list[int]) -> float:
    ordered = sorted(values)
    place = 0.9 * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def order_days(orders: Iterable[Order]) -> list[int]:
    return sorted({day_of(order.first_at) for order in orders})


def gaps_of(days: list[int]) -> list[int]:
    return [later - earlier for earlier, later in pairwise(days)]


def order_rhythm(seen: list[Event], orders: list[Order], now: int) -> Row:
    net_orders = [order for order in orders if order.counts]
    days = order_days(net_orders)
    repeat_net = sum(order.net for order in net_orders if day_of(order.first_at) > days[0])
    oldest = newest_order_at(seen, orders) - GAPS_LOOK_BACK
    gaps = gaps_of(order_days(order for order in net_orders if order.first_at >= oldest))
    recency = recency_days(orders, now)
    return {
        "order_gap_mean_days": mean(gaps_of(order_days(net_orders))),
        "order_gap_median_days": median(gaps),
        "overdue_ratio": None if recency is None else recency / usual_gap_days(gaps),
        "next_order_at": None if recency is None else next_order_at(net_orders, gaps),
        "repeat_purchase_days": max(0, len(days) - 1),
        "last_purchase_age_days": days[-1] - days[0] if days else None,
        "age_days": day_of(now) - days[0] if days else None,
        "repeat_value_mean": ratio(repeat_net / 100, len(days) - 1) if days else None,
    }


def newest_order_at(seen: list[Event], orders: list[Order]) -> int:
    """When the newest order began; one of which only a refund is known begins with that."""
    bought = {event.order_id for event in of_type(seen, "purchase")}
    unknown: dict[str, int] = {}
    for event in of_type(seen, "refund"):
        if event.order_id is not None and event.order_id not in bought:
            unknown.setdefault(event.order_id, at(event))
    return max([order.first_at for order in orders] + list(unknown.values()), default=0)


def next_order_at(net_orders: list[Order], gaps: list[int]) -> int:
    trust = min(1.0, len(gaps) / GAPS_TRUSTED)
    wait_days = trust * (median(gaps) or 0.0) + (1 - trust) * USUAL_GAP_MEDIAN_DAYS
    return max(order.last_at for order in net_orders) + round(wait_days * 86_400_000)


def usual_gap_days(gaps: list[int]) -> float:
    trust = min(1.0, len(gaps) / GAPS_TRUSTED)
    usual = trust * (percentile_90(gaps) if gaps else 0.0) + (1 - trust) * USUAL_GAP_P90_DAYS
    return min(max(usual, OVERDUE_FROM_DAYS), OVERDUE_TO_DAYS)


def score(value: float, cuts: tuple[float, ...]) -> int:
    return 1 + sum(cut < value for cut in cuts)


def of_100(of_5: list[int]) -> float:
    """The mean of scores from 1 to 5 on a scale from 0 to 100."""
    return sum((one - 1) * 25 for one in of_5) / len(of_5) if of_5 else 0.0


def scores(row: dict[str, Any]) -> Row:
    parts = {
        "quantity": row["basket_quantity_mean"],
        "price": row["item_price_mean"],
        "session_s": row["session_duration_mean_s"],
        "rating": row["rating_mean"],
    }
    engagement = of_100([score(part, ENGAGEMENT_CUTS[name]) for name, part in parts.items() if part is not None])
    value = 0.0
    if row["recency_days"] is not None:
        recency = 6 - score(row["recency_days"], VALUE_CUTS["recency_days"])
        value = of_100([recency, *(score(row[name], VALUE_CUTS[name]) for name in ("frequency", "monetary"))])
    return {
        "engagement_score": engagement,
        "high_engagement": int(engagement >= HIGH_ENGAGEMENT_FROM),
        "value_score": value,
    }


def latest(events: list[Event], field: str) -> Any:
    words = [getattr(event, field) for event in events if getattr(event, field) is not None]
    return words[-1] if words else None


def latest_words(seen: list[Event]) -> Row:
    profiles = of_type(seen, "profile")
    words: Row = {field: latest(seen, field) for field in ("country", "device", "channel")}
    return words | {field: latest(profiles, field) for field in ("age", "gender", "location")}
