"""The fold: `update` puts one event into a customer's state, `feature_row` reads the features at a moment.

These two functions are the only feature code of the project; stream, scorer, training and analytics all call them.
Pure: no clock, no environment, no service. What each number means is said once, in `FEATURES`.
"""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from xxhash import xxh3_64_intdigest

from churn.events import Event, epoch_ms, line_minor
from churn.state import EMPTY, Day, Entry, LooseRefund, Order, Profile, State, Summary, Tally, freeze, thaw

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

LATENESS_MS: Final = DAY_MS
SESSION_GAP_MS: Final = 30 * MINUTE_MS
LOOK_BACK_DAYS: Final = 365
DAYS_KEPT: Final = 91
MAX_RECENT: Final = 640
MAX_ORDERS: Final = 256

WINDOWS_DAYS: Final = (1, 7, 30, 90)

Value = float | int | str | None
FeatureRow = dict[str, Value]

_RANK: Final = {"profile": 0, "view": 1, "cart": 2, "remove_from_cart": 3, "purchase": 4, "refund": 5, "rating": 6}
_PROFILE, _VIEW, _CART, _REMOVAL, _PURCHASE, _REFUND, _RATING = range(7)


class Feature(NamedTuple):
    """One feature: `unit` is days, seconds, count, money, ratio, time (epoch ms), flag or text."""

    name: str
    meaning: str
    unit: str
    window_days: int | None = None
    default: Value = None
    in_model: bool = True


def _windowed(days: int) -> tuple[Feature, ...]:
    span = f"in the last {days} days" if days > 1 else "today"
    return (
        Feature(f"views_{days}d", f"Product views {span}.", "count", days, 0),
        Feature(f"carts_{days}d", f"Products put into the cart {span}.", "count", days, 0),
        Feature(f"purchases_{days}d", f"Purchase lines {span}.", "count", days, 0),
        Feature(f"orders_{days}d", f"Net orders {span}.", "count", days, 0),
        Feature(f"revenue_{days}d", f"Net revenue {span}.", "money", days, 0.0),
    )


FEATURES: Final[tuple[Feature, ...]] = (
    Feature("recency_days", "Days since the last net order.", "days"),
    Feature("frequency", "Net orders of the last 365 days.", "count", 365, 0),
    Feature("monetary", "Net revenue of the last 365 days.", "money", 365, 0.0),
    Feature("tenure_days", "Days since sign-up, or since the first event where sign-up is unknown.", "days"),
    Feature("idle_days", "Days since the last event of any kind.", "days"),
    *(feature for days in WINDOWS_DAYS for feature in _windowed(days)),
    Feature("orders_total", "Net orders ever.", "count", None, 0),
    Feature("gross_revenue_total", "Price x quantity of all purchase lines ever.", "money", None, 0.0),
    Feature("net_revenue_total", "Historic value: gross less discounts and refunds, ever.", "money", None, 0.0),
    Feature("average_order_value", "Net revenue of all orders / number of net orders.", "money"),
    Feature("sessions_total", "Sessions ever, by the 30-minute rule.", "count", None, 0),
    Feature("session_duration_mean_s", "Mean length of a session; a single event lasts 0 seconds.", "seconds"),
    Feature("views_per_session", "Product views / sessions.", "ratio"),
    Feature("events_per_session", "Events / sessions.", "ratio"),
    Feature("session_is_running", "1 while the latest event is at most 30 minutes old.", "flag", None, 0, False),
    Feature("session_events", "Events of the latest session.", "count", None, 0, False),
    Feature("session_duration_s", "Length of the latest session.", "seconds", None, 0.0, False),
    Feature("events_total", "Events ever.", "count", None, 0),
    Feature("first_event_at", "When the first event happened.", "time", in_model=False),
    Feature("last_event_at", "When the latest event happened.", "time", in_model=False),
    Feature("first_purchase_at", "When the first net order was made.", "time", in_model=False),
    Feature("last_purchase_at", "When the latest net order was made.", "time", in_model=False),
    Feature("country", "The latest country seen.", "text", in_model=False),
    Feature("device", "The latest device seen.", "text", in_model=False),
    Feature("channel", "The latest channel seen.", "text", in_model=False),
    Feature("age", "Age by the customer's own profile.", "count", in_model=False),
    Feature("gender", "Gender by the customer's own profile.", "text", in_model=False),
    Feature("location", "Location by the customer's own profile.", "text", in_model=False),
)
MODEL_FEATURES: Final = tuple(feature.name for feature in FEATURES if feature.in_model)


def hash_id(text: str) -> int:
    """64 bits that stand for an id: small enough to keep, wide enough that two never meet within one customer."""
    return int(xxh3_64_intdigest(text.encode()))


# --- update -----------------------------------------------------------------------------------------------------------


def update(state: State, event: Event) -> State:
    """The state after this event. An event id that is still remembered changes nothing: the same object comes back.

    Events may come in any order within 24 hours of the customer's newest event. A later one still counts in every
    total, but joins the summary where the sessions around it are closed already.
    """
    event_hash = hash_id(event.event_id)
    if event_hash in state.ids:
        return state
    entry = _entry(event, event_hash)
    if entry.at_ms < state.settled_ms:
        return State(state.last_ms, state.settled_ms, state.ids, state.recent, settle(state.summary, (entry,)))
    ids, recent = _insert(state.ids, state.recent, event_hash, entry)
    last_ms = max(state.last_ms, entry.at_ms)
    settled_ms = max(state.settled_ms, (last_ms - LATENESS_MS) // HOUR_MS * HOUR_MS)
    if recent[0].at_ms >= settled_ms and len(recent) <= MAX_RECENT:
        return State(last_ms, settled_ms, ids, recent, state.summary)
    return _settle_old(last_ms, settled_ms, ids, recent, state.summary)


def _entry(event: Event, event_hash: int) -> Entry:
    rank = _RANK[event.event_type]
    order_id = event.order_id
    product_id = event.product_id
    return Entry(
        epoch_ms(event.occurred_at),
        rank,
        hash_id(order_id) if order_id is not None else (event_hash if rank == _PURCHASE else 0),
        hash_id(product_id) & 0xFFFFFFFF if product_id is not None else 0,
        line_minor(event) if event.price is not None else 0,
        round(event.discount * 100) if event.discount is not None else 0,
        event.quantity,
        event.category,
        event.country,
        event.device,
        event.channel,
        event.rating,
        _profile(event) if rank == _PROFILE else None,
    )


def _profile(event: Event) -> Profile:
    signup = event.signup_date
    signup_ms = None if signup is None else epoch_ms(datetime(signup.year, signup.month, signup.day, tzinfo=UTC))
    return Profile(event.age, event.gender, event.location, signup_ms)


def _insert(
    ids: tuple[int, ...], recent: tuple[Entry, ...], event_hash: int, entry: Entry
) -> tuple[tuple[int, ...], tuple[Entry, ...]]:
    if not recent or entry.at_ms > recent[-1].at_ms:
        return (*ids, event_hash), (*recent, entry)
    keys = [(old.at_ms, old.rank, old_hash) for old, old_hash in zip(recent, ids, strict=True)]
    place = bisect_right(keys, (entry.at_ms, entry.rank, event_hash))
    return (*ids[:place], event_hash, *ids[place:]), (*recent[:place], entry, *recent[place:])


def _settle_old(
    last_ms: int, settled_ms: int, ids: tuple[int, ...], recent: tuple[Entry, ...], summary: Summary
) -> State:
    keep_from = bisect_right(recent, settled_ms - 1, key=lambda entry: entry.at_ms)
    keep_from = max(keep_from, len(recent) - MAX_RECENT)
    settled_ms = max(settled_ms, recent[keep_from - 1].at_ms)
    return State(last_ms, settled_ms, ids[keep_from:], recent[keep_from:], settle(summary, recent[:keep_from]))


def settle(summary: Summary, entries: Iterable[Entry]) -> Summary:
    """The summary after these entries, which come sorted by time."""
    tally = thaw(summary)
    for entry in entries:
        _add(tally, entry)
    return freeze(tally)


def _add(tally: Tally, entry: Entry) -> None:
    _add_to_sessions(tally, entry.at_ms)
    if not tally.events or entry.at_ms < tally.first_at_ms:
        tally.first_at_ms = entry.at_ms
    is_latest = entry.at_ms >= tally.last_at_ms
    tally.events += 1
    if is_latest:
        tally.last_at_ms = entry.at_ms
    tally.country = _latest(tally.country, entry.country, is_latest)
    tally.device = _latest(tally.device, entry.device, is_latest)
    tally.channel = _latest(tally.channel, entry.channel, is_latest)
    rank = entry.rank
    if rank == _VIEW:
        tally.views += 1
        _add_to_day(tally, entry.at_ms // DAY_MS, 1, 0, 0)
    elif rank == _CART:
        tally.carts += 1
        _add_to_day(tally, entry.at_ms // DAY_MS, 0, 1, 0)
    elif rank == _PURCHASE:
        tally.purchases += 1
        tally.items += entry.quantity
        _add_to_day(tally, entry.at_ms // DAY_MS, 0, 0, 1)
        _add_to_order(tally, entry)
    elif rank == _REFUND:
        _add_refund(tally, entry)
    elif rank == _REMOVAL:
        tally.removals += 1
    elif rank == _RATING:
        tally.ratings += 1
        tally.rating_sum += entry.rating or 0
    else:
        tally.profile = _merged(tally.profile, entry.profile, is_latest)


def _latest(known: str | None, said: str | None, is_latest: bool) -> str | None:
    return said if said is not None and (is_latest or known is None) else known


def _merged(known: Profile | None, said: Profile | None, is_latest: bool) -> Profile | None:
    if known is None or said is None:
        return said or known
    first, second = (said, known) if is_latest else (known, said)
    return Profile(
        second.age if first.age is None else first.age,
        second.gender if first.gender is None else first.gender,
        second.location if first.location is None else first.location,
        second.signup_ms if first.signup_ms is None else first.signup_ms,
    )


def _add_to_sessions(tally: Tally, at_ms: int) -> None:
    if not tally.session_events:
        tally.session_start_ms = tally.session_end_ms = at_ms
        tally.session_events = 1
    elif at_ms - tally.session_end_ms > SESSION_GAP_MS:
        tally.closed_sessions += 1
        tally.closed_duration_ms += tally.session_end_ms - tally.session_start_ms
        tally.session_start_ms = tally.session_end_ms = at_ms
        tally.session_events = 1
    elif at_ms >= tally.session_start_ms - SESSION_GAP_MS:
        tally.session_start_ms = min(tally.session_start_ms, at_ms)
        tally.session_end_ms = max(tally.session_end_ms, at_ms)
        tally.session_events += 1
    else:
        tally.closed_sessions += 1


def _add_to_day(tally: Tally, day: int, views: int, carts: int, purchases: int) -> None:
    days = tally.days
    place = len(days) if not days or days[-1].day < day else bisect_right(days, day, key=lambda known: known.day)
    if place and days[place - 1].day == day:
        old = days[place - 1]
        new = Day(day, old.views + views, old.carts + carts, old.purchases + purchases)
        tally.days = (*days[: place - 1], new, *days[place:])
        return
    if days and day <= days[-1].day - DAYS_KEPT:
        return
    days = (*days[:place], Day(day, views, carts, purchases), *days[place:])
    while days[0].day <= days[-1].day - DAYS_KEPT:
        days = days[1:]
    tally.days = days


def _add_to_order(tally: Tally, entry: Entry) -> None:
    place = _place_of(tally.orders, entry.order)
    if place is None:
        _keep_order(tally, Order(entry.order, entry.at_ms, 1, entry.quantity, entry.amount, entry.discount, 0))
        return
    old = tally.orders[place]
    at_ms = min(old.at_ms, entry.at_ms) if old.lines else entry.at_ms
    new = Order(
        old.key,
        at_ms,
        old.lines + 1,
        old.quantity + entry.quantity,
        old.gross + entry.amount,
        old.discount + entry.discount,
        old.refund,
    )
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
        _keep_order(tally, Order(entry.order, entry.at_ms, 0, 0, 0, 0, amount))
        return
    old = tally.orders[place]
    new = old._replace(refund=old.refund + amount)
    tally.orders = (*tally.orders[:place], new, *tally.orders[place + 1 :])


def _keep_loose_refund(tally: Tally, day: int, amount: int) -> None:
    known = tally.loose_refunds
    oldest = max((known[-1].day if known else day), day) - LOOK_BACK_DAYS
    sums = {refund.day: refund.amount for refund in known}
    sums[day] = sums.get(day, 0) + amount
    tally.loose_refunds = tuple(LooseRefund(*item) for item in sorted(sums.items()) if item[0] >= oldest)


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
    tally.past_gross += order.gross
    tally.past_net += order.net
    if order.counts:
        tally.past_orders += 1
        tally.past_first_order_ms = min(tally.past_first_order_ms or order.at_ms, order.at_ms)
        tally.past_last_order_ms = max(tally.past_last_order_ms, order.at_ms)


# --- feature_row ------------------------------------------------------------------------------------------------------


def feature_row(state: State, as_of: datetime) -> FeatureRow:
    """All features of one customer at `as_of` (aware), by name, in the order of `FEATURES`.

    Events after `as_of` are not seen. Orders and revenue of a window are those of (as_of - w days, as_of], to the
    millisecond; views, carts and purchase lines those of the UTC days that began at most w days before `as_of`.
    Money in major units, times in epoch milliseconds; a value that does not exist yet is None.
    Raises `ValueError` when `as_of` lies before what is already settled and can no longer be told apart.
    """
    as_of_ms = epoch_ms(as_of)
    if state.summary.events and as_of_ms < state.summary.last_at_ms:
        raise ValueError(
            f"as_of {as_of.isoformat()} lies before settled events: replay the history up to that moment instead"
        )
    tally = thaw(state.summary)
    for entry in state.recent:
        if entry.at_ms > as_of_ms:
            break
        _add(tally, entry)
    return _row(tally, as_of_ms)


def _row(tally: Tally, as_of_ms: int) -> FeatureRow:
    net_orders = [order for order in tally.orders if order.counts]
    orders_total = tally.past_orders + len(net_orders)
    first_order_ms = tally.past_first_order_ms or (net_orders[0].at_ms if net_orders else None)
    last_order_ms = net_orders[-1].at_ms if net_orders else (tally.past_last_order_ms or None)
    kept_net = tally.past_net + sum(order.net for order in tally.orders)
    profile = tally.profile or Profile(None, None, None, None)
    since_ms = profile.signup_ms if profile.signup_ms is not None else tally.first_at_ms
    frequency, monetary = _orders_in_window(tally, net_orders, as_of_ms, LOOK_BACK_DAYS)
    row: FeatureRow = {
        "recency_days": None if last_order_ms is None else (as_of_ms - last_order_ms) / DAY_MS,
        "frequency": frequency,
        "monetary": monetary,
        "tenure_days": max(0, as_of_ms - since_ms) / DAY_MS if tally.events else None,
        "idle_days": (as_of_ms - tally.last_at_ms) / DAY_MS if tally.events else None,
    }
    for window_days in WINDOWS_DAYS:
        row.update(_window_row(tally, net_orders, as_of_ms, window_days))
    row["orders_total"] = orders_total
    row["gross_revenue_total"] = (tally.past_gross + sum(order.gross for order in tally.orders)) / 100
    row["net_revenue_total"] = (kept_net - tally.loose_refunded) / 100
    row["average_order_value"] = kept_net / orders_total / 100 if orders_total else None
    row.update(_session_row(tally, as_of_ms))
    row["events_total"] = tally.events
    row["first_event_at"] = tally.first_at_ms if tally.events else None
    row["last_event_at"] = tally.last_at_ms if tally.events else None
    row["first_purchase_at"] = first_order_ms
    row["last_purchase_at"] = last_order_ms
    row["country"] = tally.country
    row["device"] = tally.device
    row["channel"] = tally.channel
    row["age"] = profile.age
    row["gender"] = profile.gender
    row["location"] = profile.location
    return row


def _first_day(as_of_ms: int, window_days: int) -> int:
    return -((window_days * DAY_MS - as_of_ms) // DAY_MS)


def _orders_in_window(tally: Tally, net_orders: list[Order], as_of_ms: int, window_days: int) -> tuple[int, float]:
    after_ms = as_of_ms - window_days * DAY_MS
    count = net = 0
    for order in reversed(net_orders):
        if order.at_ms <= after_ms:
            break
        count += 1
        net += order.net
    for refund in reversed(tally.loose_refunds):
        if refund.day < _first_day(as_of_ms, window_days):
            break
        net -= refund.amount
    return count, net / 100


def _window_row(tally: Tally, net_orders: list[Order], as_of_ms: int, window_days: int) -> FeatureRow:
    first_day = _first_day(as_of_ms, window_days)
    views = carts = purchases = 0
    for day in reversed(tally.days):
        if day.day < first_day:
            break
        views += day.views
        carts += day.carts
        purchases += day.purchases
    orders, revenue = _orders_in_window(tally, net_orders, as_of_ms, window_days)
    return {
        f"views_{window_days}d": views,
        f"carts_{window_days}d": carts,
        f"purchases_{window_days}d": purchases,
        f"orders_{window_days}d": orders,
        f"revenue_{window_days}d": revenue,
    }


def _session_row(tally: Tally, as_of_ms: int) -> FeatureRow:
    if not tally.events:
        none = dict.fromkeys(("session_duration_mean_s", "views_per_session", "events_per_session"))
        return {"sessions_total": 0, **none, "session_is_running": 0, "session_events": 0, "session_duration_s": 0.0}
    sessions = tally.closed_sessions + 1
    running_ms = tally.session_end_ms - tally.session_start_ms
    return {
        "sessions_total": sessions,
        "session_duration_mean_s": (tally.closed_duration_ms + running_ms) / sessions / SECOND_MS,
        "views_per_session": tally.views / sessions,
        "events_per_session": tally.events / sessions,
        "session_is_running": int(as_of_ms - tally.session_end_ms <= SESSION_GAP_MS),
        "session_events": tally.session_events,
        "session_duration_s": running_ms / SECOND_MS,
    }


def replay(events: Iterable[Event], state: State = EMPTY) -> State:
    """The state after all these events of one customer: `update`, one after another."""
    for event in events:
        state = update(state, event)
    return state
