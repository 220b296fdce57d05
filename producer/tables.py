"""What the simulated customers did as tables: events as a shop keeps them, and its sessions, orders and customers."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from churn import history
from churn.purchase_process import Floats
from producer import season
from producer.catalogue import Catalogue
from producer.customers import CHANNELS, DEVICES, GENDERS, LOCATIONS, Customers
from producer.season import DAY_MS, Whole
from producer.sessions import CART, NONE, PROFILE, PURCHASE, REFUND, TYPES, VIEW, Contexts, Happened

MOMENT: Final = pa.timestamp("ms", tz="UTC")
_WITH_PRODUCT: Final = [TYPES.index(name) for name in TYPES if name != "profile"]
_WITH_PRICE: Final = [TYPES.index(name) for name in TYPES if name not in ("profile", "rating")]


class Names(NamedTuple):
    """How ids begin: all events, sessions and orders of one run and shard have the same `prefix`."""

    prefix: str

    def of(self, numbers: Whole, kind: str = "") -> Any:
        """Ids from numbers, null where they are `NONE`."""
        texts = pa.array(numbers, mask=numbers == NONE).cast(pa.string())
        return pc.binary_join_element_wise(pa.scalar(f"{self.prefix}-{kind}"), texts, "")


def moments(times_ms: Whole, mask: NDArray[np.bool_] | None = None) -> Any:
    """Epoch milliseconds as a column of times; null where `mask`."""
    return pa.array(times_ms, mask=mask).cast(MOMENT)


def _words(words: Sequence[str], places: Whole) -> Any:
    """The word at each place, null at `NONE`."""
    return pa.array(words, pa.string()).take(pa.array(places, mask=places == NONE))


def _at(values: Whole, places: Whole) -> Whole:
    """The value at each place, `NONE` at `NONE`."""
    return np.where(places == NONE, NONE, values[places]) if len(values) else np.full(len(places), NONE)


def events(happened: Happened, who: Customers, how: Contexts, catalogue: Catalogue, names: Names) -> Any:
    """The events with the columns of `history.SCHEMA`, in their order; each arrives when it happens."""
    kind, count = happened.kind, len(happened.kind)
    is_profile, is_cart = kind == PROFILE, np.isin(kind, (VIEW, CART, TYPES.index("remove_from_cart"), PURCHASE))
    visit = np.where(is_cart, happened.visit, NONE)
    product = np.where(np.isin(kind, _WITH_PRODUCT), happened.product, NONE)
    priced = np.where(np.isin(kind, _WITH_PRICE), happened.product, NONE)
    customer, person = happened.customer, np.where(is_profile, happened.customer, NONE)
    occurred_at = moments(happened.at_ms)
    campaign = pc.coalesce(_words(how.labels, _at(how.campaign, visit)), _words(_ARM_LABELS, _at(who.arm % 2, person)))
    countries = [country for country, _ in LOCATIONS]
    columns = {
        "event_id": names.of(np.arange(count)),
        "event_type": _words(TYPES, kind),
        "occurred_at": occurred_at,
        "customer_id": _words(who.ids, customer),
        "session_id": names.of(visit, "s"),
        "product_id": _words(catalogue.ids, product),
        "product_name": _words(catalogue.names, priced),
        "category": _words(catalogue.categories, product),
        "price": pa.array(happened.price, mask=priced == NONE),
        "quantity": happened.quantity,
        "order_id": names.of(np.where(np.isin(kind, (PURCHASE, REFUND)), happened.visit, NONE), "o"),
        "currency": pa.nulls(count, pa.string()),
        "discount": pa.array(happened.discount, mask=happened.discount == 0),
        "channel": _words(CHANNELS, _at(how.channel, visit)),
        "campaign": campaign,
        "device": _words(DEVICES, _at(how.device, visit)),
        "country": _words(countries, who.location[customer]),
        "rating": pa.array(happened.rating, mask=happened.rating == NONE),
        "age": pa.array(_at(who.age, person), mask=~is_profile),
        "gender": _words(GENDERS, _at(who.gender, person)),
        "location": _words([town for _, town in LOCATIONS], _at(who.location, person)),
        "signup_date": pa.array((happened.at_ms // DAY_MS).astype(np.int32), mask=~is_profile).cast(pa.date32()),
        "ingested_at": occurred_at,
    }
    return pa.table([_typed(columns[field.name], field.type) for field in history.SCHEMA], schema=history.SCHEMA)


_ARM_LABELS: Final = [f"{season.TREATMENT}:{arm}" for arm in ("control", "treatment")]


def _typed(column: Any, kind: Any) -> Any:
    array = pa.array(column) if isinstance(column, np.ndarray) else column
    return array if array.type == kind else array.cast(kind)


def orders(happened: Happened, who: Customers, how: Contexts, names: Names) -> Any:
    """A row per order, in order of time; `refunded` is what came back of its net value by the end."""
    lines = happened.only(np.isin(happened.kind, (PURCHASE, REFUND)))
    bought = lines.only(lines.kind == PURCHASE)
    visits, first = np.unique(bought.visit, return_index=True)
    visits = visits[np.argsort(bought.at_ms[first], kind="stable")]
    place = np.full(len(how.device) + 1, NONE)
    place[visits] = np.arange(len(visits))
    gross, taken_off = bought.price * bought.quantity, bought.discount
    returned = lines.only(lines.kind == REFUND)

    def summed(part: Happened, values: Floats | Whole) -> Floats:
        return _sums(place[part.visit], values, len(visits))

    at_ms = np.zeros(len(visits), dtype=np.int64)
    at_ms[place[bought.visit]] = bought.at_ms
    customer = np.zeros(len(visits), dtype=np.int64)
    customer[place[bought.visit]] = bought.customer
    net = np.round(summed(bought, gross) - summed(bought, taken_off), 2)
    return pa.table(
        {
            "order_id": names.of(visits, "o"),
            "customer_id": _words(who.ids, customer),
            "session_id": names.of(visits, "s"),
            "ordered_at": moments(at_ms),
            "lines": np.bincount(place[bought.visit], minlength=len(visits)),
            "units": summed(bought, bought.quantity).astype(np.int64),
            "gross": summed(bought, gross),
            "discount": summed(bought, taken_off),
            "net": net,
            "refunded": summed(returned, returned.price * returned.quantity - returned.discount),
            **_context(how, visits),
            "country": _words([country for country, _ in LOCATIONS], who.location[customer]),
        }
    )


def _sums(places: Whole, values: Floats | Whole, count: int) -> Floats:
    """Sums by place, to the cent; of no values numpy would make whole numbers."""
    sums = np.asarray(np.bincount(places, weights=values, minlength=count), dtype=np.float64)
    return np.round(sums, 2)


def sessions(happened: Happened, who: Customers, how: Contexts, names: Names) -> Any:
    """A row per session with an event, in order of time; the order's net value is its revenue."""
    acts = happened.only(np.isin(happened.kind, (VIEW, CART, TYPES.index("remove_from_cart"), PURCHASE)))
    visits, first = np.unique(acts.visit, return_index=True)  # events are in order of time
    order = np.argsort(acts.at_ms[first], kind="stable")
    visits, first = visits[order], first[order]
    place = np.full(len(how.device) + 1, NONE)
    place[visits] = np.arange(len(visits))
    where = place[acts.visit]
    ended = np.zeros(len(visits), dtype=np.int64)
    np.maximum.at(ended, where, acts.at_ms)

    def counted(kind: int) -> Whole:
        return np.bincount(where[acts.kind == kind], minlength=len(visits))

    bought = acts.kind == PURCHASE
    value = acts.price * acts.quantity - acts.discount
    revenue = _sums(where[bought], value[bought], len(visits))
    return pa.table(
        {
            "session_id": names.of(visits, "s"),
            "customer_id": _words(who.ids, acts.customer[first]),
            "started_at": moments(acts.at_ms[first]),
            "ended_at": moments(ended),
            "duration_s": np.round((ended - acts.at_ms[first]) / 1000, 3),
            "views": counted(VIEW),
            "carts": counted(CART),
            "lines_bought": counted(PURCHASE),
            "revenue": revenue,
            **_context(how, visits),
            "country": _words([country for country, _ in LOCATIONS], who.location[acts.customer[first]]),
        }
    )


def _context(how: Contexts, visits: Whole) -> dict[str, Any]:
    return {
        "channel": _words(CHANNELS, how.channel[visits]),
        "campaign": _words(how.labels, how.campaign[visits]),
        "device": _words(DEVICES, how.device[visits]),
    }


def customers(who: Customers) -> Any:
    """A row per customer: the profile, and the random assignments, which are sticky."""
    return pa.table(
        {
            "customer_id": pa.array(who.ids, pa.string()),
            "signed_up_at": moments(who.signed_up_ms),
            "age": who.age,
            "gender": _words(GENDERS, who.gender),
            "country": _words([country for country, _ in LOCATIONS], who.location),
            "location": _words([town for _, town in LOCATIONS], who.location),
            "experiment": pa.array([season.TREATMENT] * len(who.ids), pa.string()),
            "variant": _words(("control", "treatment"), who.arm % 2),
            "is_held_out": who.arm >= 2,
        }
    )


def actions(start_ms: int, until_ms: int) -> Any:
    """What the shop planned: its campaigns, which the holdout does not get, and the experiment."""
    campaigns = [each for each in season.campaigns_between(start_ms, until_ms) if each.from_ms >= start_ms]
    begun = [*(each.from_ms for each in campaigns), season.treated_from(start_ms, until_ms)]
    ended = [*(min(each.until_ms, until_ms) for each in campaigns), until_ms]
    share = [*([1 - season.HOLDOUT_SHARE] * len(campaigns)), season.TREATED_SHARE]
    return pa.table(
        {
            "name": pa.array([*(each.name for each in campaigns), season.TREATMENT], pa.string()),
            "kind": pa.array([*(["campaign"] * len(campaigns)), "experiment"], pa.string()),
            "begins_at": moments(np.array(begun)),
            "ends_at": moments(np.array(ended)),
            "treated_share": share,
        }
    )
