"""Batches into states: each event once, bad ones set aside, nothing forgotten that is not written."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from churn.events import Event, encode, epoch_ms
from churn.feature_store import MemoryFeatureStore
from churn.features import replay
from churn.forgotten import Forgotten, digest
from churn.state import pack
from stream_processor.fold import Fold

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Record(NamedTuple):
    """A message that reached the broker at `NOW`."""

    offset: int
    value: bytes | None
    timestamp: int = epoch_ms(NOW)
    key: bytes | None = b"c1"


def view(number: int, customer_id: str = "c1") -> Event:
    at = NOW - timedelta(minutes=number)
    return Event(event_id=f"e{number}", event_type="view", occurred_at=at, customer_id=customer_id, product_id="p")


def a_fold(store: MemoryFeatureStore, max_customers: int = 10, **bounds: int) -> Fold:
    return Fold(store.read_states, topic="events", currency="EUR", max_customers=max_customers, **bounds)


def take(fold: Fold, partition: int, records: list[Record]) -> None:
    left = fold.apply(partition, records, {})
    if left:
        assert fold.apply(partition, left, fold.read(fold.unknown(left, {}))) == []


def records(*events: Event, start: int = 0) -> list[Record]:
    return [Record(start + place, encode(event), key=event.customer_id.encode()) for place, event in enumerate(events)]


def test_the_states_of_a_batch_are_those_of_the_fold() -> None:
    store = MemoryFeatureStore()
    fold = a_fold(store)
    take(fold, 3, records(view(1), view(2, "c2"), view(3)))
    writes = {write.customer_id: write for write in fold.take_changes().writes}
    assert writes["c1"].packed == pack(replay([view(1), view(3)]))
    assert (writes["c1"].partition, writes["c1"].offset, writes["c2"].offset) == (3, 2, 1)


def test_an_event_that_is_applied_already_is_skipped_but_its_customer_announced_again() -> None:
    store = MemoryFeatureStore()
    before = a_fold(store)
    take(before, 3, records(view(1), view(2)))
    store.write_states(before.take_changes().writes)
    after = a_fold(store)
    take(after, 3, records(view(1), view(2)))
    changes = after.take_changes()
    assert (changes.writes, [write.customer_id for write in changes.announced]) == ([], ["c1"])
    assert (after.applied, after.skipped) == (0, 2)


def test_a_bad_payload_is_set_aside_and_the_others_pass() -> None:
    fold = a_fold(MemoryFeatureStore())
    take(fold, 3, [*records(view(1)), Record(1, b"{"), *records(view(2), start=2)])
    changes = fold.take_changes()
    assert [(letter.reason, letter.partition, letter.offset) for letter in changes.letters] == [("broken_json", 3, 1)]
    assert changes.writes[0].packed == pack(replay([view(1), view(2)]))


def test_an_event_from_another_partition_than_its_customers_is_set_aside() -> None:
    fold = a_fold(MemoryFeatureStore())
    take(fold, 3, records(view(1)))
    take(fold, 5, records(view(2)))
    changes = fold.take_changes()
    assert [letter.reason for letter in changes.letters] == ["wrong_partition"]
    assert changes.writes[0].packed == pack(replay([view(1)]))


def test_what_is_not_written_yet_is_not_let_go() -> None:
    store = MemoryFeatureStore()
    fold = a_fold(store, max_customers=2)
    take(fold, 3, records(view(1, "a"), view(2, "b")))
    store.write_states(fold.take_changes().writes)
    take(fold, 3, [*records(view(1, "a")), *records(view(3, "c"), view(4, "d"), start=7)])
    fold.evict()
    changes = fold.take_changes()
    assert [write.customer_id for write in changes.announced] == ["a"]
    assert sorted(write.customer_id for write in changes.writes) == ["c", "d"]
    fold.evict()
    assert sorted(fold.unknown(records(*(view(5, name) for name in "abcd")), {})) == ["a", "b"]


def test_a_customer_not_at_hand_is_folded_on_from_the_bytes_without_asking_the_store() -> None:
    fold = a_fold(MemoryFeatureStore(), max_at_hand=1)
    take(fold, 3, records(view(1, "a"), view(2, "b")))
    fold.take_changes()
    fold.evict()
    assert fold.unknown(records(view(3, "a")), {}) == []
    take(fold, 3, records(view(3, "a"), start=2))
    (write,) = fold.take_changes().writes
    assert (write.packed, write.offset) == (pack(replay([view(1, "a"), view(3, "a")])), 2)


def test_busy_customers_at_hand_leave_room_for_fewer_others() -> None:
    fold = a_fold(MemoryFeatureStore(), max_customers=100, max_at_hand=100, max_events_at_hand=60)
    for number in range(50):
        take(fold, 3, records(view(100 - number, "busy"), view(1, f"c{number}"), start=2 * number))
        fold.take_changes()
        fold.evict()
        assert fold.events_at_hand <= 60
    assert fold.events_at_hand == 60, "50 of the busy one, and those of the latest ten others"
    fold.forget()
    assert fold.events_at_hand == 0


def test_folding_stops_before_an_unknown_customer_and_goes_on_there() -> None:
    fold = a_fold(MemoryFeatureStore())
    take(fold, 3, records(view(1, "a")))
    messages = records(view(2, "a"), view(3, "b"), view(4, "a"), start=1)
    left = fold.apply(3, messages, {})
    assert left == messages[1:]
    assert fold.apply(3, left, fold.read(["b"])) == []
    packed = {write.customer_id: write.packed for write in fold.take_changes().writes}
    assert packed == {
        "a": pack(replay([view(1, "a"), view(2, "a"), view(4, "a")])),
        "b": pack(replay([view(3, "b")])),
    }


def test_what_was_read_counts_once() -> None:
    fold = a_fold(MemoryFeatureStore(), max_customers=1)
    read = fold.read(["a"])
    assert fold.apply(3, records(view(1, "a")), read) == []
    fold.take_changes()
    assert fold.apply(3, records(view(1, "b"), start=1), fold.read(["b"])) == []
    fold.take_changes()
    fold.evict()
    again = records(view(2, "a"), start=2)
    assert fold.apply(3, again, read) == again, "what lies in the store is newer by now"


def test_hits_are_the_events_for_whom_nothing_was_read() -> None:
    fold = a_fold(MemoryFeatureStore())
    take(fold, 3, records(view(1, "a"), view(2, "b"), view(3, "a")))
    take(fold, 5, records(view(4, "a")))
    assert (fold.hits, fold.misses) == (2, 2)


def test_keys_name_the_customers_to_be_read() -> None:
    fold = a_fold(MemoryFeatureStore(), max_at_hand=1)
    take(fold, 3, records(view(1, "a"), view(2, "b")))
    fold.take_changes()
    fold.evict()
    bad = [Record(5, b"{", key=key) for key in (b"a", b"b", b"d", b"", None, b"\xff")]
    assert sorted(fold.unknown([*records(view(3, "c")), *bad], {"d": None})) == ["c", "\ufffd"]


def test_events_name_the_customers_to_be_read_where_their_keys_do_not() -> None:
    fold = a_fold(MemoryFeatureStore())
    keyed_otherwise = [Record(number, encode(view(1, name)), key=b"k") for number, name in enumerate("ab")]
    assert sorted(fold.unknown([*keyed_otherwise, Record(2, b"{")], {})) == ["a", "b"]


def test_forgetting_leaves_nothing_to_write() -> None:
    fold = a_fold(MemoryFeatureStore())
    take(fold, 3, [*records(view(1)), Record(1, b"{")])
    fold.forget()
    assert fold.take_changes() == ([], [], [])
    assert fold.unknown(records(view(1)), {}) == ["c1"]


KEY = b"a secret of sixteen"


def a_forgetful_fold(forgotten: Forgotten) -> Fold:
    return Fold(MemoryFeatureStore().read_states, topic="events", currency="EUR", max_customers=9, forgotten=forgotten)


def test_nothing_of_a_forgotten_customer_is_folded_or_set_aside() -> None:
    fold = a_forgetful_fold(Forgotten(KEY, [digest(KEY, "c1")]))
    bad = Record(2, b"{", key=b"c1")
    of_others = Record(3, b"{", key=b"c2")
    take(fold, 3, [*records(view(1, "c1"), view(2, "c2")), bad, of_others])
    changes = fold.take_changes()
    assert [write.customer_id for write in changes.writes] == ["c2"]
    assert [letter.customer_id for letter in changes.letters] == ["c2"]
    assert (fold.applied, fold.dropped, fold.refused.total()) == (1, 2, 1)


def test_a_customer_in_memory_is_let_go_when_put_on_the_list() -> None:
    forgotten = Forgotten(KEY)
    fold = a_forgetful_fold(forgotten)
    take(fold, 3, records(view(1, "c1"), view(2, "c2")))
    forgotten.add(digest(KEY, "c1"))
    assert fold.purge() == ["c1"]
    assert [write.customer_id for write in fold.take_changes().writes] == ["c2"]
    assert fold.purge() == []
    take(fold, 3, records(view(3, "c1"), start=2))
    assert fold.take_changes().writes == []


def test_a_customer_put_on_the_list_while_their_state_is_read_is_not_folded() -> None:
    forgotten = Forgotten(KEY)
    fold = a_forgetful_fold(forgotten)
    messages = records(view(1, "c1"), view(2, "c2"))
    left = fold.apply(3, messages, {})
    read = fold.read(fold.unknown(left, {}))
    forgotten.add(digest(KEY, "c1"))
    assert fold.purge() == []
    assert fold.apply(3, left, read) == []
    assert (fold.purge(), fold.dropped) == ([], 1)
    assert [write.customer_id for write in fold.take_changes().writes] == ["c2"]
