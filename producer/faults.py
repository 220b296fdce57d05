"""What goes wrong between a shop and its events, on purpose, in wanted shares and written down.

Each event has at most one of the faults late, shuffled, future and malformed; skew and anonymous begin with a session.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from producer.season import DAY_MS, HOUR_MS, Whole
from producer.tables import MOMENT, moments

MINUTE_MS: Final = 60_000
LATE_MS: Final = (HOUR_MS, 20 * HOUR_MS)
SHUFFLED_MS: Final = (1_000, 10 * MINUTE_MS)
FUTURE_MS: Final = (DAY_MS, 30 * DAY_MS)
AGAIN_MS: Final = (500, 10 * MINUTE_MS)
SKEW_MS: Final = (2 * MINUTE_MS, 90 * MINUTE_MS)  # before or after the shop's clock
BOT_VISIT: Final = 250  # views
BOT_STEP_MS: Final = 300


class Faults(NamedTuple):
    """Shares between 0 and 1.

    Of all events: `bots`, `late`, `shuffled`, `future`, `malformed`. Of those, sent twice: `duplicates`. Of sessions:
    `clock_skew` (a device's clock is wrong by minutes) and `anonymous` (known only from the middle on).
    """

    duplicates: float = 0.0
    late: float = 0.0
    shuffled: float = 0.0
    future: float = 0.0
    malformed: float = 0.0
    bots: float = 0.0
    clock_skew: float = 0.0
    anonymous: float = 0.0


NO_FAULTS: Final = Faults()
_OF_EVENTS: Final = ("late", "shuffled", "future", "malformed")
RECORD: Final = pa.schema(
    [("fault", pa.string()), ("event_id", pa.string()), ("occurred_at", MOMENT), ("customer_id", pa.string())]
)


class Faulty(NamedTuple):
    """Events as they arrive, and `record`: for each fault the event's id and what was true of it before."""

    events: Any
    record: Any


def inject(rng: np.random.Generator, events: Any, faults: Faults, prefix: str) -> Faulty:
    """The events with these faults; `prefix` begins the ids of what is new. The input has the columns of a history."""
    if faults == NO_FAULTS or not events.num_rows:
        return Faulty(events, RECORD.empty_table())
    events = _with_bots(rng, events, faults.bots, prefix)
    records = [_record("bots", events, np.char.startswith(_text(events["session_id"]), f"{prefix}-b"))]
    truth = events
    events, is_anonymous = _anonymous(rng, events, faults.anonymous, prefix)
    events, is_skewed = _skewed(rng, events, faults.clock_skew)
    records += [_record("anonymous", truth, is_anonymous), _record("clock_skew", truth, is_skewed)]
    drawn, begin = rng.random(events.num_rows), 0.0
    for name, change in zip(_OF_EVENTS, (_late, _shuffled, _future, _malformed), strict=True):
        share = getattr(faults, name)
        chosen = (begin <= drawn) & (drawn < begin + share)
        begin += share
        events = change(rng, events, chosen)
        records.append(_record(name, truth, chosen))
    chosen = rng.random(events.num_rows) < faults.duplicates
    records.append(_record("duplicates", truth, chosen))
    again = _delayed(rng, events.filter(pa.array(chosen)), np.ones(int(chosen.sum()), np.bool_), AGAIN_MS)
    return Faulty(pa.concat_tables([events, again]), pa.concat_tables(records))


def _record(fault: str, truth: Any, chosen: NDArray[np.bool_]) -> Any:
    rows = truth.select(RECORD.names[1:]).filter(pa.array(chosen))
    return rows.add_column(0, "fault", pa.array([fault] * rows.num_rows, pa.string())).cast(RECORD)


def _text(column: Any) -> "NDArray[np.str_]":
    return np.array(pc.fill_null(column, "").to_pylist(), dtype=np.str_)


def _ms(column: Any) -> Whole:
    values: Whole = column.cast(pa.int64()).to_numpy()
    return values


def _with(events: Any, name: str, column: Any) -> Any:
    return events.set_column(events.schema.get_field_index(name), events.schema.field(name), column)


def _delays(rng: np.random.Generator, chosen: NDArray[np.bool_], limits: tuple[int, int]) -> Whole:
    return np.where(chosen, rng.integers(*limits, len(chosen)), 0)


# --- of sessions ------------------------------------------------------------------------------------------------------


def _with_bots(rng: np.random.Generator, events: Any, share: float, prefix: str) -> Any:
    """Views of visitors who never sign up and look faster than people can; `share` of all events afterwards."""
    views = np.flatnonzero(np.array(pc.equal(events["event_type"], "view")))
    count = round(events.num_rows * share / (1 - share)) if len(views) else 0
    if not count:
        return events
    bots = events.take(pa.array(rng.choice(views, count)))
    visit = np.arange(count) // BOT_VISIT
    times = _ms(events["occurred_at"])
    starts = rng.integers(times.min(), times.max() + 1, int(visit[-1]) + 1)
    at_ms = np.minimum(starts[visit] + np.arange(count) % BOT_VISIT * BOT_STEP_MS, times.max())
    nothing = pa.nulls(count, pa.string())
    columns = {
        "event_id": _ids(prefix, "be", np.arange(count)),
        "occurred_at": moments(at_ms),
        "ingested_at": moments(at_ms),
        "customer_id": _ids(prefix, "visitor-", visit // 4),
        "session_id": _ids(prefix, "b", visit),
        "channel": nothing,
        "campaign": nothing,
        "device": pa.array(["desktop"] * count, pa.string()),
    }
    for name, column in columns.items():
        bots = _with(bots, name, column)
    return pa.concat_tables([events, bots]).combine_chunks()


def _ids(prefix: str, kind: str, numbers: Whole) -> Any:
    return pc.binary_join_element_wise(pa.scalar(f"{prefix}-{kind}"), pa.array(numbers).cast(pa.string()), "")


class _Sessions(NamedTuple):
    """The session of each event (-1: none), each event's place in it, and the events of each session."""

    of_event: Whole
    place: Whole
    size: Whole


def _sessions(events: Any, count_bots: bool, prefix: str) -> _Sessions:
    encoded = pc.dictionary_encode(events["session_id"].combine_chunks())
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    session: Whole = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    if not count_bots:
        is_bot = np.array([text.startswith(f"{prefix}-b") for text in encoded.dictionary.to_pylist()] + [False])
        session = np.where(is_bot[session], -1, session)
    order = np.lexsort((np.arange(len(session)), session))
    ranked = session[order]
    starts = np.flatnonzero(np.diff(ranked, prepend=-2))
    place = np.empty(len(session), dtype=np.int64)
    place[order] = np.arange(len(session)) - np.repeat(starts, np.diff(np.append(starts, len(session))))
    return _Sessions(session, place, np.bincount(session[session >= 0], minlength=len(encoded.dictionary)))


def _anonymous(rng: np.random.Generator, events: Any, share: float, prefix: str) -> tuple[Any, NDArray[np.bool_]]:
    """The first half of a session (at least one event) belongs to a visitor whom nobody knows yet."""
    sessions = _sessions(events, False, prefix)
    is_chosen = np.append(rng.random(len(sessions.size)) < share, False)
    half = np.append(np.maximum(sessions.size // 2, 1), 0)
    chosen = is_chosen[sessions.of_event] & (sessions.place < half[sessions.of_event])
    unknown = pc.binary_join_element_wise(pa.scalar("anonymous"), pc.fill_null(events["session_id"], ""), "-")
    events = _with(events, "customer_id", pc.if_else(pa.array(chosen), unknown, events["customer_id"]))
    return events, chosen


def _skewed(rng: np.random.Generator, events: Any, share: float) -> tuple[Any, NDArray[np.bool_]]:
    sessions = _sessions(events, True, "")
    count = len(sessions.size)
    skew = rng.integers(*SKEW_MS, count) * rng.choice((-1, 1), count)
    skew = np.append(np.where(rng.random(count) < share, skew, 0), 0)[sessions.of_event]
    return _with(events, "occurred_at", moments(_ms(events["occurred_at"]) + skew)), skew != 0


# --- of events --------------------------------------------------------------------------------------------------------


def _delayed(rng: np.random.Generator, events: Any, chosen: NDArray[np.bool_], limits: tuple[int, int]) -> Any:
    return _with(events, "ingested_at", moments(_ms(events["ingested_at"]) + _delays(rng, chosen, limits)))


def _late(rng: np.random.Generator, events: Any, chosen: NDArray[np.bool_]) -> Any:
    return _delayed(rng, events, chosen, LATE_MS)


def _shuffled(rng: np.random.Generator, events: Any, chosen: NDArray[np.bool_]) -> Any:
    return _delayed(rng, events, chosen, SHUFFLED_MS)


def _future(rng: np.random.Generator, events: Any, chosen: NDArray[np.bool_]) -> Any:
    return _with(events, "occurred_at", moments(_ms(events["occurred_at"]) + _delays(rng, chosen, FUTURE_MS)))


def _malformed(rng: np.random.Generator, events: Any, chosen: NDArray[np.bool_]) -> Any:
    """Each chosen event breaks one rule of the schema: an unknown type, no customer, or no units."""
    how = np.where(chosen, rng.integers(3, size=len(chosen)), -1)
    misspelt = pc.utf8_upper(events["event_type"])
    events = _with(events, "event_type", pc.if_else(pa.array(how == 0), misspelt, events["event_type"]))
    events = _with(events, "customer_id", pc.if_else(pa.array(how == 1), "", events["customer_id"]))
    return _with(events, "quantity", pc.if_else(pa.array(how == 2), 0, events["quantity"]))
