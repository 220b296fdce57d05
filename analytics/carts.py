"""Carts, one row each: what SQL cannot say shortly is walked through with the fold's own rule of the cart."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa

from churn.distinct import hash_text
from churn.events import epoch_ms
from churn.state import Entry, Tally
from churn.summary import CART_EXPIRES_MS, age_cart, buy_cart, put_into_cart, take_out_of_cart

_ACTS: Final = """
SELECT customer_id, occurred_at, event_type, product_id, quantity, price, coalesce(category, 'unknown'),
    coalesce(channel, 'unknown')
FROM events WHERE event_type IN ('cart', 'remove_from_cart', 'purchase')
ORDER BY customer_id, occurred_at, step, event_id
"""
_MOMENT: Final = pa.timestamp("us")
SCHEMA: Final = pa.schema(
    [
        ("customer_id", pa.string()),
        ("started_at", _MOMENT),
        ("last_act_at", _MOMENT),
        ("ended_at", _MOMENT),
        ("became", pa.string()),  # bought, emptied, expired, open
        ("is_abandoned", pa.bool_()),
        ("products", pa.int64()),
        ("value_minor", pa.int64()),  # of what was in it before it ended
        ("category", pa.string()),  # of the line of most value
        ("channel", pa.string()),
    ]
)


class _Act(NamedTuple):
    customer_id: str
    occurred_at: datetime
    event_type: str
    product_id: str | None
    quantity: int
    price: float | None
    category: str
    channel: str


class _Line(NamedTuple):
    price: float
    category: str


def carts(sql: duckdb.DuckDBPyConnection, as_of: datetime) -> Any:
    """The carts of everybody, an Arrow table with `SCHEMA`; what became of the open ones is that at `as_of`."""
    acts = map(_Act._make, _fetched(sql))
    rows = [row for _, own in groupby(acts, key=itemgetter(0)) for row in _Walk(as_of).through(own)]
    columns = zip(*rows, strict=True) if rows else [[] for _ in SCHEMA]
    return pa.table([list(column) for column in columns], schema=SCHEMA)


def _fetched(sql: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    result = sql.execute(_ACTS)
    while rows := result.fetchmany(20_000):
        yield from rows


class _Walk:
    """One customer's carts, one after another. The tally is the fold's; this only looks at how it changes."""

    def __init__(self, as_of: datetime) -> None:
        self._as_of = as_of
        self._tally = Tally()
        self._rows: list[tuple[Any, ...]] = []
        self._first: _Act | None = None
        self._lines: dict[int, _Line] = {}
        self._held: tuple[tuple[int, int], ...] = ()

    def through(self, acts: Iterator[_Act]) -> list[tuple[Any, ...]]:
        for act in acts:
            self._step(act)
        self._age(epoch_ms(self._as_of))
        if self._first is not None:
            self._end("open", None)
        return self._rows

    def _step(self, act: _Act) -> None:
        at_ms = epoch_ms(act.occurred_at.replace(tzinfo=UTC))
        self._age(at_ms)
        if act.event_type == "purchase":
            if self._first is not None:
                self._end("bought", at_ms)
            buy_cart(self._tally, at_ms)
            return
        product = hash_text(act.product_id or "")
        entry = _entry(at_ms, product, act.quantity)
        if act.event_type == "cart":
            self._lines[product] = _Line(act.price or 0.0, act.category)
            self._first = self._first or act
            put_into_cart(self._tally, entry)
        else:
            take_out_of_cart(self._tally, entry)
            if self._first is not None and not self._tally.cart_items:
                self._end("emptied", at_ms)
        self._held = self._tally.cart_items

    def _age(self, at_ms: int) -> None:
        gone_ms = self._tally.cart_last_ms + CART_EXPIRES_MS
        age_cart(self._tally, at_ms)
        if self._first is not None and not self._tally.cart_items:
            self._end("expired", gone_ms)

    def _end(self, became: str, at_ms: int | None) -> None:
        assert self._first is not None
        values = [(round(self._lines[product].price * units * 100), product) for product, units in self._held]
        self._rows.append(
            (
                self._first.customer_id,
                self._first.occurred_at,
                _moment(self._tally.cart_last_ms),
                None if at_ms is None else _moment(at_ms),
                became,
                self._tally.cart_was_abandoned,
                len(values),
                sum(value for value, _ in values),
                self._lines[max(values)[1]].category,
                self._first.channel,
            )
        )
        self._first, self._held = None, ()
        self._lines.clear()


def _moment(at_ms: int) -> datetime:
    return datetime(1970, 1, 1) + timedelta(milliseconds=at_ms)


def _entry(at_ms: int, product: int, quantity: int) -> Entry:
    return Entry(at_ms, 0, 0, product, product, 0, 0, quantity, None, None, None, None, None, None)
