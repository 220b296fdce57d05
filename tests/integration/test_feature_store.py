"""The feature store keeps its promises, in Redis and in memory alike."""

import pytest

from churn.feature_store import (
    CardWrite,
    FeatureStore,
    MemoryFeatureStore,
    RedisFeatureStore,
    StateWrite,
    StoreUnavailable,
    connect,
)
from churn.state import EMPTY, State, pack
from stack.stack import Stack

NEWER = State(last_ms=5)


@pytest.fixture(params=["redis", "memory"])
def store(request: pytest.FixtureRequest) -> FeatureStore:
    """An empty store of each kind."""
    if request.param == "memory":
        return MemoryFeatureStore()
    return RedisFeatureStore(connect(request.getfixturevalue("redis_url")))


def write(offset: int, state: State = EMPTY, partition: int = 3) -> StateWrite:
    return StateWrite("c1", partition, offset, pack(state))


def test_a_state_is_read_as_it_was_written(store: FeatureStore) -> None:
    assert store.write_states([write(7, NEWER)]) == 1
    assert store.read_states(["c1", "nobody"]) == {"c1": (NEWER, 3, 7)}


@pytest.mark.parametrize("offset", [6, 7])
def test_a_state_is_not_written_over_a_newer_or_equal_one(store: FeatureStore, offset: int) -> None:
    store.write_states([write(7, NEWER)])
    assert store.write_states([write(offset)]) == 0
    assert store.read_states(["c1"])["c1"].state == NEWER


def test_a_newer_state_takes_the_place_of_an_older_one(store: FeatureStore) -> None:
    store.write_states([write(7)])
    assert store.write_states([write(8, NEWER)]) == 1
    assert store.read_states(["c1"])["c1"] == (NEWER, 3, 8)


def test_a_customer_cannot_change_its_partition(store: FeatureStore) -> None:
    store.write_states([write(7)])
    with pytest.raises(StoreUnavailable, match="WRONGPARTITION customer:c1 was kept by partition 3, now by 4"):
        store.write_states([write(8, partition=4)])


def test_a_card_leaves_the_state_and_a_state_leaves_the_card(store: FeatureStore) -> None:
    store.write_states([write(7)])
    store.write_cards([CardWrite("c1", {"risk": "0.5", "segment": "Né"}, 0.5, 1000)])
    store.write_states([write(8, NEWER)])
    customer = store.read_customer("c1")
    assert customer == ({"risk": "0.5", "segment": "Né"}, (NEWER, 3, 8))
    assert store.read_customer("nobody") is None


def test_the_ranking_is_by_risk_and_drops_who_has_none(store: FeatureStore) -> None:
    cards = [CardWrite(name, {"x": "y"}, risk, 0) for name, risk in (("a", 0.2), ("b", 0.9), ("c", 0.5))]
    store.write_cards(cards)
    store.write_cards([CardWrite("b", {"status": "insufficient_data"}, None, 0)])
    assert store.top(2) == [("c", 0.5), ("a", 0.2)]


def test_the_due_are_given_longest_waiting_first(store: FeatureStore) -> None:
    store.write_cards([CardWrite(name, {"x": "y"}, None, due) for name, due in (("a", 30), ("b", 10), ("c", 40))])
    assert store.due(30, 5) == ["b", "a"]
    assert store.due(30, 1) == ["b"]
    assert sorted(store.customer_ids()) == ["a", "b", "c"]


def test_who_is_unscheduled_is_not_due_any_more(store: FeatureStore) -> None:
    store.write_cards([CardWrite(name, {"x": "y"}, None, 10) for name in "ab"])
    store.unschedule(["a"])
    assert store.due(30, 5) == ["b"]


def test_an_absent_redis_is_said_so(servers: Stack) -> None:
    with pytest.raises(StoreUnavailable, match="Redis"):
        RedisFeatureStore(connect("redis://127.0.0.1:1/0", timeout_s=1)).read_customer("c1")
