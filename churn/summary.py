"""Entries into the summary: what one event, in its place in time, changes of what is remembered.

Entries come sorted by time. One that comes later than the lateness allows (`is_late`) joins every total, its order and
its day, but opens nothing that was closed: session, cart and times to act stay as they were.
"""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from operator import itemgetter
from typing import Final

import msgspec

from churn import distinct
from churn.state import Entry, Order, Profile, Sealed, Tally, freeze, thaw

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

SESSION_GAP_MS: Final = 30 * MINUTE_MS
ENGAGED_MS: Final = 10 * SECOND_MS
CART_ABANDONED_MS: Final = 24 * HOUR_MS
CART_EXPIRES_MS: Final = 30 * DAY_MS
LOOK_BACK_DAYS: Final = 365
DAYS_KEPT: Final = 91
MAX_ORDERS: Final = 256
MAX_LABELS: Final = 8
MAX_SESSION_PRODUCTS: Final = 32
MAX_CART_ITEMS: Final = 32
LATEST_KEPT: Final = 8
AFFINITY_BUCKETS: Final = 16
ACTIVITY_COUNTS: Final = 24 + 7 + 12

# Ranks are the order in which steps of one instant are taken to happen.
PROFILE, VIEW, CART, REMOVAL, PURCHASE, REFUND, RATING = range(7)
_AFFINITY_WEIGHT: Final = {VIEW: 1, CART: 3, PURCHASE: 5}
_WEEKDAYS_FROM: Final = 24
_MONTHS_FROM: Final = 31
_FIRST_DAY: Final = date(1970, 1, 1).toordinal()


def settle(summary: Sealed, entries: Iterable[Entry]) -> Sealed:
    """The summary after these entries, which come sorted by time."""
    tally = thaw(summary)
    for entry in entries:
        add(tally, entry)
    return freeze(tally)


def add(tally: Tally, entry: Entry) -> None:
    """Fold one entry into the tally."""
    at_ms, rank = entry.at_ms, entry.rank
    is_late = at_ms < tally.last_at_ms
    if not tally.events or at_ms < tally.first_at_ms:
        tally.first_at_ms = at_ms
    tally.events += 1
    if not is_late:
        tally.last_at_ms = at_ms
    _add_to_session(tally, entry, is_late)
    _add_to_activity(tally, at_ms)
    _add_labels(tally, entry, is_late)
    if entry.product:
        tally.products_met, tally.product_registers = distinct.add(
            tally.products_met, tally.product_registers, entry.product
        )
        _add_to_affinity(tally, entry)
    if rank == VIEW:
        tally.views += 1
        _add_to_day(tally, at_ms // DAY_MS, 1, 0, 0)
    elif rank == CART:
        tally.carts += 1
        _add_to_day(tally, at_ms // DAY_MS, 0, 1, 0)
        if not is_late:
            put_into_cart(tally, entry)
    elif rank == PURCHASE:
        _add_purchase(tally, entry, is_late)
    elif rank == REFUND:
        _add_refund(tally, entry)
    elif rank == REMOVAL:
        tally.removals += 1
        if not is_late:
            take_out_of_cart(tally, entry)
    elif rank == RATING:
        tally.ratings += 1
        tally.rating_sum += entry.rating or 0
    else:
        tally.profile = _merged(tally.profile, entry.profile, is_late)


def _merged(known: Profile | None, said: Profile | None, is_late: bool) -> Profile | None:
    if known is None or said is None:
        return said or known
    first, second = (known, said) if is_late else (said, known)
    return Profile(
        second.age if first.age is None else first.age,
        second.gender if first.gender is None else first.gender,
        second.location if first.location is None else first.location,
        second.signup_ms if first.signup_ms is None else first.signup_ms,
    )


# Sessions, and how long it takes to act within one.


def _add_to_session(tally: Tally, entry: Entry, is_late: bool) -> None:
    at_ms = entry.at_ms
    if not tally.session_events:
        _open_session(tally, at_ms)
    elif at_ms - tally.session_end_ms > SESSION_GAP_MS:
        _close_session(tally)
        _open_session(tally, at_ms)
    elif at_ms < tally.session_start_ms - SESSION_GAP_MS:
        _close_lone_session(tally, entry)
        return
    if at_ms < tally.session_start_ms:
        tally.session_start_ms = at_ms
    if at_ms > tally.session_end_ms:
        tally.session_end_ms = at_ms
    tally.session_events += 1
    rank = entry.rank
    if rank == VIEW:
        tally.session_views += 1
    elif rank == CART:
        tally.session_carts += 1
    elif rank == PURCHASE:
        tally.session_purchases += 1
    if not is_late and entry.product and rank in (VIEW, CART, PURCHASE):
        _see(tally, entry)


def _open_session(tally: Tally, at_ms: int) -> None:
    tally.session_start_ms = tally.session_end_ms = at_ms
    tally.session_events = tally.session_views = tally.session_carts = tally.session_purchases = 0
    tally.session_products = {}


def is_engaged(tally: Tally) -> bool:
    """Whether the latest session lasted longer than 10 s, led to a cart or a purchase, or had two views."""
    return (
        tally.session_end_ms - tally.session_start_ms > ENGAGED_MS
        or tally.session_carts > 0
        or tally.session_purchases > 0
        or tally.session_views >= 2
    )


def _close_session(tally: Tally) -> None:
    tally.closed_sessions += 1
    tally.closed_duration_ms += tally.session_end_ms - tally.session_start_ms
    tally.closed_engaged += is_engaged(tally)
    tally.closed_with_purchase += tally.session_purchases > 0


def _close_lone_session(tally: Tally, entry: Entry) -> None:
    tally.closed_sessions += 1
    tally.closed_engaged += entry.rank in (CART, PURCHASE)
    tally.closed_with_purchase += entry.rank == PURCHASE


def _see(tally: Tally, entry: Entry) -> None:
    products, rank, at_ms = tally.session_products, entry.rank, entry.at_ms
    seen = products.get(entry.visit)
    if seen is None:
        if len(products) < MAX_SESSION_PRODUCTS:
            products[entry.visit] = [at_ms * (rank == VIEW), at_ms * (rank == CART), at_ms * (rank == PURCHASE)]
    elif rank == VIEW:
        seen[0] = seen[0] or at_ms
    elif rank == CART and not seen[1]:
        seen[1] = at_ms
        if seen[0]:
            _acted_on_view(tally, at_ms - seen[0])
    elif rank == PURCHASE and not seen[2]:
        seen[2] = at_ms
        if seen[1]:
            _acted_on_cart(tally, at_ms - seen[1])


def _acted_on_view(tally: Tally, after_ms: int) -> None:
    tally.view_to_cart += 1
    tally.view_to_cart_ms += after_ms
    tally.latest_view_to_cart_ms = (*tally.latest_view_to_cart_ms, after_ms)[-LATEST_KEPT:]


def _acted_on_cart(tally: Tally, after_ms: int) -> None:
    tally.cart_to_purchase += 1
    tally.cart_to_purchase_ms += after_ms
    tally.latest_cart_to_purchase_ms = (*tally.latest_cart_to_purchase_ms, after_ms)[-LATEST_KEPT:]


# Carts.


def put_into_cart(tally: Tally, entry: Entry) -> None:
    """A product into the cart; the first into an empty one begins it."""
    age_cart(tally, entry.at_ms)
    items = tally.cart_items
    if not items:
        tally.carts_started += 1
        tally.cart_was_abandoned = False
    place = next((at for at, each in enumerate(items) if each[0] == entry.product), len(items))
    if place < len(items):
        item = (entry.product, items[place][1] + entry.quantity)
        tally.cart_items = (*items[:place], item, *items[place + 1 :])
    elif len(items) < MAX_CART_ITEMS:
        tally.cart_items = (*items, (entry.product, entry.quantity))
    tally.cart_last_ms = entry.at_ms


def take_out_of_cart(tally: Tally, entry: Entry) -> None:
    """Units of a product out of the cart; without any left it has ended."""
    age_cart(tally, entry.at_ms)
    items = tally.cart_items
    place = next((at for at, each in enumerate(items) if each[0] == entry.product), None)
    if place is None:
        return
    left = items[place][1] - entry.quantity
    rest = ((entry.product, left),) if left > 0 else ()
    tally.cart_items = (*items[:place], *rest, *items[place + 1 :])
    tally.cart_last_ms = entry.at_ms


def age_cart(tally: Tally, at_ms: int) -> None:
    """What silence has made of the open cart by `at_ms`: abandoned once after 24 hours, gone after 30 days."""
    if not tally.cart_items:
        return
    idle_ms = at_ms - tally.cart_last_ms
    if idle_ms > CART_ABANDONED_MS and not tally.cart_was_abandoned:
        tally.cart_was_abandoned = True
        tally.carts_abandoned += 1
    if idle_ms > CART_EXPIRES_MS:
        tally.cart_items = ()


def buy_cart(tally: Tally, at_ms: int) -> None:
    """A purchase ends the cart, whatever was in it."""
    age_cart(tally, at_ms)
    if tally.cart_items:
        tally.carts_recovered += tally.cart_was_abandoned
        tally.cart_items = ()


# Orders and refunds.


def _add_purchase(tally: Tally, entry: Entry, is_late: bool) -> None:
    tally.purchases += 1
    tally.items += entry.quantity
    tally.discounted_lines += entry.discount > 0
    _add_to_day(tally, entry.at_ms // DAY_MS, 0, 0, 1)
    _add_to_order(tally, entry)
    if not is_late:
        buy_cart(tally, entry.at_ms)


def _add_to_order(tally: Tally, entry: Entry) -> None:
    place = _place_of(tally.orders, entry.order)
    if place is None:
        _keep_order(tally, Order(entry.order, entry.at_ms, 0, 1, entry.quantity, entry.amount, entry.discount, 0))
        return
    old = tally.orders[place]
    at_ms = min(old.at_ms, entry.at_ms) if old.lines else entry.at_ms
    new = Order(
        old.key,
        at_ms,
        max(old.at_ms + old.span_ms, entry.at_ms) - at_ms if old.lines else 0,
        old.lines + 1,
        old.quantity + entry.quantity,
        old.gross + entry.amount,
        old.discount + entry.discount,
        old.refund,
    )
    if new.at_ms == old.at_ms:
        tally.orders = (*tally.orders[:place], new, *tally.orders[place + 1 :])
        return
    tally.orders = (*tally.orders[:place], *tally.orders[place + 1 :])
    _keep_order(tally, new)


def _place_of(orders: tuple[Order, ...], key: int) -> int | None:
    for place in range(len(orders) - 1, -1, -1):
        if orders[place].key == key:
            return place
    return None


def _add_refund(tally: Tally, entry: Entry) -> None:
    amount = entry.amount - entry.discount
    if not entry.order:
        tally.loose_refunded += amount
        _keep_loose_refund(tally, entry.at_ms // DAY_MS, amount)
        return
    place = _place_of(tally.orders, entry.order)
    if place is None:
        _keep_order(tally, Order(entry.order, entry.at_ms, 0, 0, 0, 0, 0, amount))
        return
    old = tally.orders[place]
    new = msgspec.structs.replace(old, refund=old.refund + amount)
    tally.orders = (*tally.orders[:place], new, *tally.orders[place + 1 :])


def _keep_loose_refund(tally: Tally, day: int, amount: int) -> None:
    known = tally.loose_refunds
    oldest = max((known[-1][0] if known else day), day) - LOOK_BACK_DAYS
    sums = dict(known)
    sums[day] = sums.get(day, 0) + amount
    tally.loose_refunds = tuple(item for item in sorted(sums.items()) if item[0] >= oldest)


def _keep_order(tally: Tally, order: Order) -> None:
    orders = tally.orders
    place = len(orders)
    while place and (orders[place - 1].at_ms, orders[place - 1].key) > (order.at_ms, order.key):
        place -= 1
    orders = (*orders[:place], order, *orders[place:])
    oldest_ms = orders[-1].at_ms - (LOOK_BACK_DAYS + 1) * DAY_MS
    while orders[0].at_ms < oldest_ms or len(orders) > MAX_ORDERS:
        _send_to_past(tally, orders[0])
        orders = orders[1:]
    tally.orders = orders


def _send_to_past(tally: Tally, order: Order) -> None:
    tally.past_bought += order.lines > 0
    tally.past_quantity += order.quantity
    tally.past_gross += order.gross
    tally.past_discount += order.discount
    tally.past_net += order.net
    if not order.counts:
        return
    day = order.at_ms // DAY_MS
    if not tally.past_orders or day != tally.past_last_order_ms // DAY_MS:
        tally.past_order_days += 1
    if not tally.past_orders or day == tally.past_first_order_ms // DAY_MS:
        tally.past_first_day_net += order.net
    tally.past_orders += 1
    tally.past_first_order_ms = min(tally.past_first_order_ms or order.at_ms, order.at_ms)
    tally.past_last_order_ms = max(tally.past_last_order_ms, order.at_ms)
    tally.past_last_line_ms = max(tally.past_last_line_ms, order.at_ms + order.span_ms)


# Days, labels and histograms.


def _add_to_day(tally: Tally, day: int, views: int, carts: int, purchases: int) -> None:
    days = tally.days
    place = len(days) if not days or days[-1][0] <= day else bisect_right(days, day, key=itemgetter(0))
    if place and days[place - 1][0] == day:
        _, old_views, old_carts, old_purchases = days[place - 1]
        new = (day, old_views + views, old_carts + carts, old_purchases + purchases)
        tally.days = (*days[: place - 1], new, *days[place:])
        return
    if days and day <= days[-1][0] - DAYS_KEPT:
        return
    days = (*days[:place], (day, views, carts, purchases), *days[place:])
    while days[0][0] <= days[-1][0] - DAYS_KEPT:
        days = days[1:]
    tally.days = days


def _add_labels(tally: Tally, entry: Entry, is_late: bool) -> None:
    category, country, device, channel = entry.category, entry.country, entry.device, entry.channel
    is_purchase = entry.rank == PURCHASE
    if category is not None:
        if category not in tally.categories:  # else it was met before
            tally.categories_met, tally.category_registers = distinct.add(
                tally.categories_met, tally.category_registers, _hash_label(category)
            )
        _count(tally.categories, category, is_purchase)
    if device is not None:
        _count(tally.devices, device, is_purchase)
        if not is_late or tally.device is None:
            tally.device = device
    if channel is not None:
        _count(tally.channels, channel, is_purchase)
        if not is_late or tally.channel is None:
            tally.channel = channel
    if country is not None and (not is_late or tally.country is None):
        tally.country = country


def _count(labels: dict[str, list[int]], name: str, is_purchase: bool) -> None:
    """Counts by name, at most 8 of them: a new name takes the place and the counts of the rarest (Space-Saving).

    Metwally, Agrawal, El Abbadi (2005): a count is too high by at most the number of events / 8, and every name with
    more than that share is among the 8.
    """
    counts = labels.get(name)
    if counts is None:
        counts = [0, 0]
        if len(labels) == MAX_LABELS:
            counts = labels.pop(min(labels, key=lambda known: (labels[known][0], known)))
        labels[name] = counts
    counts[0] += 1
    counts[1] += is_purchase


def _add_to_activity(tally: Tally, at_ms: int) -> None:
    counts = tally.activity
    if not counts:
        counts = tally.activity = [0] * ACTIVITY_COUNTS
    for place in _places_of(at_ms // HOUR_MS):
        counts[place] += 1


@lru_cache(maxsize=65536)
def _hash_label(name: str) -> int:
    return distinct.hash_text(name)


@lru_cache(maxsize=65536)
def _places_of(hour: int) -> tuple[int, int, int]:
    """Where an hour, numbered from 1970-01-01, counts in `activity`: by hour of day, weekday and month."""
    day = hour // 24
    month = date.fromordinal(_FIRST_DAY + day).month - 1
    return hour % 24, _WEEKDAYS_FROM + (day + 3) % 7, _MONTHS_FROM + month  # 1970-01-01 was a Thursday


def _add_to_affinity(tally: Tally, entry: Entry) -> None:
    weight = _AFFINITY_WEIGHT.get(entry.rank)
    if weight is not None:
        if not tally.affinity:
            tally.affinity = [0] * AFFINITY_BUCKETS
        tally.affinity[entry.product % AFFINITY_BUCKETS] += weight
