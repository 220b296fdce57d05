"""The fold: `update` puts one event into a customer's state, `feature_row` reads the features at a moment.

These two functions are the only way to features: stream, scorer, training and analytics all call them. Pure: no clock,
no environment, no service. What each number means is said once, in `FEATURES`.
"""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from xxhash import xxh3_64_intdigest

from churn import distinct
from churn.events import Event, epoch_ms, line_minor
from churn.row import HIGH_ENGAGEMENT_FROM, WINDOWS_DAYS, FeatureRow, Value, next_step_ms, row_of
from churn.state import EMPTY, STATE_VERSION, Entry, Profile, Sealed, State, Tally, opened, seal, thaw
from churn.summary import (
    AFFINITY_BUCKETS,
    CART,
    DAY_MS,
    HOUR_MS,
    LOOK_BACK_DAYS,
    PROFILE,
    PURCHASE,
    RATING,
    REFUND,
    REMOVAL,
    VIEW,
    add,
    settle,
)

__all__ = [
    "FEATURES",
    "FEATURE_VERSION",
    "LOOK_BACK_DAYS",
    "MODEL_FEATURES",
    "WINDOWS_DAYS",
    "FeatureRow",
    "Look",
    "feature_row",
    "replay",
    "update",
]

LATENESS_MS: Final = DAY_MS
MAX_RECENT: Final = 192
MAX_EARLY_IDS: Final = 352

_RANK: Final = {
    "profile": PROFILE,
    "view": VIEW,
    "cart": CART,
    "remove_from_cart": REMOVAL,
    "purchase": PURCHASE,
    "refund": REFUND,
    "rating": RATING,
}


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
        Feature(
            f"orders_{days}d",
            f"Net orders in the last {days * 24} hours." if days == 1 else f"Net orders {span}.",
            "count",
            days,
            0,
        ),
        Feature(
            f"revenue_{days}d",
            f"Net revenue in the last {days * 24} hours." if days == 1 else f"Net revenue {span}.",
            "money",
            days,
            0.0,
        ),
    )


def _of_model(name: str, meaning: str, unit: str, default: Value = None) -> Feature:
    return Feature(name, meaning, unit, None, default)


def _for_people(name: str, meaning: str, unit: str, default: Value = None) -> Feature:
    return Feature(name, meaning, unit, None, default, in_model=False)


FEATURES: Final[tuple[Feature, ...]] = (
    _of_model("recency_days", "Days since the last net order (its last line).", "days"),
    _for_people(
        "recency_bucket", "Recency as 0-7, 8-30, 31-90, 91-180, 181-365, >365 days, or never.", "text", "never"
    ),
    Feature("frequency", "Net orders of the last 365 days.", "count", 365, 0),
    Feature("monetary", "Net revenue of the last 365 days.", "money", 365, 0.0),
    _of_model("tenure_days", "Days since sign-up, or since the first event where sign-up is unknown.", "days"),
    _of_model("idle_days", "Days since the last event of any kind.", "days"),
    *(feature for days in WINDOWS_DAYS for feature in _windowed(days)),
    Feature("views_trend", "Views of the last 30 days less those of the 30 before.", "count", 60, 0),
    Feature("orders_trend", "Net orders of the last 30 days less those of the 30 before.", "count", 60, 0),
    Feature("revenue_trend", "Net revenue of the last 30 days less that of the 30 before.", "money", 60, 0.0),
    _of_model("orders_total", "Net orders ever.", "count", 0),
    _of_model("gross_revenue_total", "Price x quantity of all purchase lines ever.", "money", 0.0),
    _of_model("net_revenue_total", "Historic customer value: gross less discounts and refunds, ever.", "money", 0.0),
    _of_model(
        "average_order_value",
        "Net value of all orders / number of net orders; refunds without an order are left out.",
        "money",
    ),
    _of_model("basket_quantity_mean", "Units / orders, refunded ones too.", "ratio"),
    _of_model("item_price_mean", "Gross revenue / units.", "money"),
    _of_model("discount_share", "Discounts / gross revenue.", "ratio"),
    _of_model("discounted_lines_share", "Purchase lines with a discount / purchase lines.", "ratio"),
    _of_model("sessions_total", "Sessions ever, by the 30-minute rule.", "count", 0),
    _of_model("session_duration_mean_s", "Mean length of a session; a single event lasts 0 seconds.", "seconds"),
    _of_model("views_per_session", "Product views / sessions.", "ratio"),
    _of_model("events_per_session", "Events / sessions.", "ratio"),
    _of_model(
        "engaged_sessions_share",
        "Sessions of more than 10 s, with a cart, a purchase or two views / sessions.",
        "ratio",
    ),
    _of_model("sessions_with_purchase_share", "Sessions with a purchase / sessions.", "ratio"),
    _for_people("session_is_running", "1 while the latest event is at most 30 minutes old.", "flag", 0),
    _for_people("session_events", "Events of the latest session.", "count", 0),
    _for_people("session_duration_s", "Length of the latest session.", "seconds", 0.0),
    _of_model("carts_per_view", "Products put into the cart / product views.", "ratio"),
    _of_model("purchases_per_cart", "Purchase lines / products put into the cart.", "ratio"),
    _of_model(
        "view_to_cart_mean_s",
        "From a product's first view to its cart in a session (and in the shop's own, where named), mean.",
        "seconds",
    ),
    _for_people("view_to_cart_median_s", "The same, median of the latest 8.", "seconds"),
    _of_model(
        "cart_to_purchase_mean_s", "From a product's cart to its purchase, within a session likewise, mean.", "seconds"
    ),
    _for_people("cart_to_purchase_median_s", "The same, median of the latest 8.", "seconds"),
    _of_model("shopping_carts_total", "Carts begun: first products put into an empty cart.", "count", 0),
    _of_model("carts_abandoned_total", "Carts left alone for 24 hours without a purchase.", "count", 0),
    _of_model("carts_recovered_total", "Abandoned carts that were bought later, within 30 days.", "count", 0),
    _of_model("cart_abandonment_rate", "Abandoned carts / carts that ended or are older than 24 hours.", "ratio"),
    _for_people("cart_items", "Units in the open cart.", "count", 0),
    _for_people("cart_is_waiting", "1 while an open cart has been left alone for more than 1 hour.", "flag", 0),
    _for_people("top_category", "The category of most events.", "text"),
    _of_model("favourite_category", "The category of most purchase lines.", "text"),
    _for_people(
        "category_events", "Events by category, the 8 most frequent, too high by at most events / 8.", "text", ""
    ),
    _of_model(
        "distinct_products", "Different products met; exact up to 64, then within 6.5 % (standard error).", "count", 0
    ),
    _of_model("distinct_categories", "Different categories met; exact up to 64, then within 6.5 %.", "count", 0),
    _for_people("device_preference", "The device of most events.", "text"),
    _for_people("channel_preference", "The channel of most events.", "text"),
    _for_people("favourite_hour", "The hour of the day (UTC) of most events.", "count"),
    _for_people("favourite_weekday", "The weekday of most events, 0 is Monday.", "count"),
    _for_people("favourite_month", "The month of most events, 1 to 12.", "count"),
    _for_people("favourite_season", "The (northern) season of most events.", "text"),
    _of_model("rating_mean", "Mean rating given, 1 to 5.", "ratio"),
    *(
        _for_people(
            f"affinity_{bucket:02d}",
            f"Share of products with hash bucket {bucket}, a view weighing 1, a cart 3, a purchase 5.",
            "ratio",
            0.0,
        )
        for bucket in range(AFFINITY_BUCKETS)
    ),
    _of_model("order_gap_mean_days", "Days between days with an order, ever, mean.", "days"),
    _of_model(
        "order_gap_median_days", "Days between days with an order, of the latest 366 days of ordering, median.", "days"
    ),
    _of_model(
        "overdue_ratio",
        "Recency / 90th percentile of the gaps of the latest 366 days of ordering, kept within 30 to 180 days.",
        "ratio",
    ),
    _for_people(
        "next_order_at",
        "Expected next order: last order + the median gap, shrunk towards 30 days with fewer than 3 gaps.",
        "time",
    ),
    _of_model("repeat_purchase_days", "Days with an order after the first such day (x).", "count", 0),
    _of_model("last_purchase_age_days", "From the first to the last day with an order (t_x).", "days"),
    _of_model("age_days", "Whole days from the first day with an order to the moment (T).", "days"),
    _of_model("repeat_value_mean", "Net value per repeat day (m).", "money"),
    _of_model(
        "engagement_score",
        "0 to 100: basket quantity, item price, session time and rating by frozen cuts, mean of the known.",
        "ratio",
        0.0,
    ),
    _for_people("high_engagement", f"1 from an engagement score of {HIGH_ENGAGEMENT_FROM:.0f}.", "flag", 0),
    _of_model("value_score", "0 to 100: recency, frequency and monetary, by frozen cuts.", "ratio", 0.0),
    _of_model("events_total", "Events ever.", "count", 0),
    _for_people("first_event_at", "When the first event happened.", "time"),
    _for_people("last_event_at", "When the latest event happened.", "time"),
    _for_people("first_purchase_at", "When the first net order was made.", "time"),
    _for_people("last_purchase_at", "When the last line of the latest net order was bought.", "time"),
    _of_model("country", "The latest country seen.", "text"),
    _of_model("device", "The latest device seen.", "text"),
    _of_model("channel", "The latest channel seen.", "text"),
    _for_people("age", "Age by the customer's own profile.", "count"),
    _for_people("gender", "Gender by the customer's own profile.", "text"),
    _for_people("location", "Location by the customer's own profile.", "text"),
)
MODEL_FEATURES: Final = tuple(feature.name for feature in FEATURES if feature.in_model)
# Another fold, or other features for the model, make another version.
FEATURE_VERSION: Final = f"{STATE_VERSION}-{distinct.hash_text(' '.join(MODEL_FEATURES)):08x}"


def hash_id(text: str) -> int:
    """48 bits that stand for an id: small enough to keep, wide enough that two never meet within one customer."""
    return int(xxh3_64_intdigest(text.encode())) & 0xFFFF_FFFF_FFFF


def update(state: State, event: Event) -> State:
    """The state after this event. An event id that is still remembered changes nothing: the same object comes back.

    Events may come in any order within 24 hours of the customer's newest event. A later one still counts in every
    total, but joins the summary where the sessions around it are closed already. Of more than 192 events in 24 hours
    the oldest are settled early; a repetition is noticed among the latest 544 of them.
    """
    event_hash = hash_id(event.event_id)
    if event_hash in state.ids or event_hash in state.early_ids:
        return state
    entry = _entry(event, event_hash)
    if entry.at_ms < state.settled_ms:
        summary = settle(state.summary, (entry,))
        return State(state.last_ms, state.settled_ms, state.ids, state.recent, summary, state.early_ids)
    ids, recent = _insert(state, event_hash, entry)
    last_ms = max(state.last_ms, entry.at_ms)
    settled_ms = max(state.settled_ms, (last_ms - LATENESS_MS) // HOUR_MS * HOUR_MS)
    has_old = settled_ms > state.settled_ms and opened(recent[0]).at_ms < settled_ms
    if not has_old and len(recent) <= MAX_RECENT:
        return State(last_ms, settled_ms, ids, recent, state.summary, state.early_ids)
    return _settle_old(State(last_ms, settled_ms, ids, recent, state.summary, state.early_ids))


def _entry(event: Event, event_hash: int) -> Entry:
    rank = _RANK[event.event_type]
    order_id = event.order_id
    product_id = event.product_id
    product = distinct.hash_text(product_id) if product_id is not None else 0
    amount = line_minor(event) if event.price is not None else 0
    return Entry(
        epoch_ms(event.occurred_at),
        rank,
        hash_id(order_id) if order_id is not None else (event_hash if rank == PURCHASE else 0),
        product,
        distinct.hash_text(f"{event.session_id} {product_id}") if product and event.session_id is not None else product,
        amount,
        min(amount, round(event.discount * 100)) if event.discount is not None else 0,
        event.quantity,
        event.category,
        event.country,
        event.device,
        event.channel,
        event.rating,
        _profile(event) if rank == PROFILE else None,
    )


def _profile(event: Event) -> Profile:
    signup = event.signup_date
    signup_ms = None if signup is None else epoch_ms(datetime(signup.year, signup.month, signup.day, tzinfo=UTC))
    return Profile(event.age, event.gender, event.location, signup_ms)


def _insert(state: State, event_hash: int, entry: Entry) -> tuple[tuple[int, ...], tuple[Sealed, ...]]:
    ids, recent = state.ids, state.recent
    if not recent or entry.at_ms > state.last_ms:
        return (*ids, event_hash), (*recent, seal(entry))

    def key(place: int) -> tuple[int, int, int]:
        old = opened(recent[place])
        return old.at_ms, old.rank, ids[place]

    place = bisect_right(range(len(recent)), (entry.at_ms, entry.rank, event_hash), key=key)
    return (*ids[:place], event_hash, *ids[place:]), (*recent[:place], seal(entry), *recent[place:])


def _settle_old(state: State) -> State:
    """Move what is older than the lateness, and what is too much, from `recent` to the summary."""
    recent = state.recent
    old = bisect_right(recent, state.settled_ms - 1, key=lambda sealed: opened(sealed).at_ms)
    cut = max(old, len(recent) - MAX_RECENT)
    # Early ids are of events older than any in `recent`: once one of those is past the lateness, so are they.
    early_ids = () if old else state.early_ids
    early_ids = (*early_ids, *state.ids[old:cut])[-MAX_EARLY_IDS:]
    settled_ms = max(state.settled_ms, opened(recent[cut - 1]).at_ms)
    summary = settle(state.summary, map(opened, recent[:cut]))
    return State(state.last_ms, settled_ms, state.ids[cut:], recent[cut:], summary, early_ids)


def feature_row(state: State, as_of: datetime) -> FeatureRow:
    """All features of one customer at `as_of` (aware), by name, in the order of `FEATURES`.

    Events after `as_of` are not seen. Orders and revenue of a window are those of (as_of - w days, as_of], to the
    millisecond; views, carts and purchase lines those of the UTC days that began at most w days before `as_of`.
    Money in major units, times in epoch milliseconds; a value that does not exist yet is None.
    Raises `ValueError` when `as_of` lies before what is already settled and can no longer be told apart.
    """
    as_of_ms = epoch_ms(as_of)
    return row_of(_tally_at(state, as_of_ms), as_of_ms)


def _tally_at(state: State, as_of_ms: int) -> Tally:
    tally = thaw(state.summary)
    if tally.events and as_of_ms < tally.last_at_ms:
        as_of = datetime.fromtimestamp(as_of_ms / 1000, UTC)
        raise ValueError(
            f"as_of {as_of.isoformat()} lies before settled events: replay the history up to that moment instead"
        )
    for entry in map(opened, state.recent):
        if entry.at_ms > as_of_ms:
            break
        add(tally, entry)
    return tally


class Look:
    """One customer at a moment, for questions beyond the row that would cost another look at the whole state.

    `row` is what `feature_row` gives.
    """

    def __init__(self, state: State, as_of: datetime) -> None:
        self._as_of_ms = epoch_ms(as_of)
        self._tally = _tally_at(state, self._as_of_ms)

        self.row = row_of(self._tally, self._as_of_ms)

    def next_step_ms(self) -> int | None:
        """When silence alone next changes a number that a model looks at by more than the time that passes."""
        last_ms = self.row["last_purchase_at"]
        return next_step_ms(self._tally, self._as_of_ms, None if last_ms is None else int(last_ms))

    def row_after(self, event: Event) -> FeatureRow:
        """The features of models as they would be if this happened at the moment: the end of this look."""
        add(self._tally, _entry(event, hash_id(event.event_id)))
        return row_of(self._tally, self._as_of_ms, is_for_people=False)


def replay(events: Iterable[Event], state: State = EMPTY) -> State:
    """The state after all these events of one customer: `update`, one after another."""
    for event in events:
        state = update(state, event)
    return state
