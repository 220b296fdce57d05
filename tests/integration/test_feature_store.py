"""The feature store keeps its promises, in Redis and in memory alike."""

from collections.abc import Iterator

import pytest
import redis
from msgspec.structs import replace

from churn.feature_store import (
    CardWrite,
    FeatureStore,
    Kept,
    MemoryFeatureStore,
    RedisFeatureStore,
    StateWrite,
    StoreUnavailable,
)
from churn.state import EMPTY, State, pack
from stack.redis_cluster import RedisCluster
from stack.stack import Stack

NEWER = State(last_ms=5)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(params=["redis", "cluster", "memory"])
def store(request: pytest.FixtureRequest) -> FeatureStore:
    """An empty store of each kind."""
    if request.param == "memory":
        return MemoryFeatureStore()
    if request.param == "redis":
        return RedisFeatureStore(request.getfixturevalue("redis_url"))
    return emptied(request.getfixturevalue("cluster"))


def emptied(cluster: RedisCluster) -> RedisFeatureStore:
    for node in cluster.nodes:
        with redis.Redis.from_url(node.url) as client:
            client.flushall()
    return RedisFeatureStore(cluster.url, is_cluster=True)


def write(offset: int, state: State = EMPTY, partition: int = 3) -> StateWrite:
    return StateWrite("c1", partition, offset, pack(state))


def test_a_state_is_read_as_it_was_written(store: FeatureStore) -> None:
    assert store.write_states([write(7, NEWER)]) == {"c1"}
    assert store.read_states(["c1", "nobody"]) == {"c1": Kept(NEWER, 3, 7)}


@pytest.mark.parametrize("offset", [6, 7])
def test_a_state_is_not_written_over_a_newer_or_equal_one(store: FeatureStore, offset: int) -> None:
    store.write_states([write(7, NEWER)])
    assert store.write_states([write(offset)]) == set()
    assert store.read_states(["c1"])["c1"].state == NEWER


def test_a_newer_state_takes_the_place_of_an_older_one(store: FeatureStore) -> None:
    store.write_states([write(7)])
    assert store.write_states([write(8, NEWER)]) == {"c1"}
    assert store.read_states(["c1"])["c1"] == Kept(NEWER, 3, 8)


def test_a_customer_cannot_change_its_partition(store: FeatureStore) -> None:
    store.write_states([write(7)])
    with pytest.raises(StoreUnavailable, match="WRONGPARTITION customer:c1 was kept by partition 3, now by 4"):
        store.write_states([write(8, partition=4)])


def test_a_card_leaves_the_state_and_a_state_leaves_the_card(store: FeatureStore) -> None:
    store.write_states([write(7)])
    store.write_cards([CardWrite("c1", {"risk": "0.5", "segment": "Né"}, 0.5)])
    store.write_states([write(8, NEWER)])
    customer = store.read_customer("c1")
    assert customer == ({"risk": "0.5", "segment": "Né"}, Kept(NEWER, 3, 8))
    assert store.read_customer("nobody") is None


def test_the_ranking_is_by_risk_and_drops_who_has_none(store: FeatureStore) -> None:
    cards = [CardWrite(name, {"x": "y"}, risk) for name, risk in (("a", 0.2), ("b", 0.9), ("c", 0.5))]
    store.write_cards(cards)
    store.write_cards([CardWrite("b", {"status": "insufficient_data"}, None)])
    assert store.top(2) == [("c", 0.5), ("a", 0.2)]
    assert store.top(2, 1) == [("a", 0.2)]


def test_a_card_is_written_only_over_the_one_that_was_read(store: FeatureStore) -> None:
    assert store.write_cards([CardWrite("a", {"as_of": "1"}, 0.1), CardWrite("b", {"as_of": "1"}, 0.2)]) == [True, True]
    late = CardWrite("a", {"as_of": "2", "risk": "0.9"}, 0.9)
    assert store.write_cards([late, CardWrite("b", {"as_of": "2"}, 0.3, "1")]) == [False, True]
    assert store.read_customers(["a", "b", "nobody"]) == {"a": ({"as_of": "1"}, None), "b": ({"as_of": "2"}, None)}
    assert store.write_cards([CardWrite("b", {}, 0.3, "2")]) == [True], "nothing of it has changed"
    assert store.top(2) == [("b", 0.3), ("a", 0.1)], "the ranking follows the cards that were written"


def test_the_due_are_given_longest_waiting_first(store: FeatureStore) -> None:
    store.write_cards([CardWrite(name, {"x": "y"}, None) for name in "abc"])
    store.schedule({"a": 30, "b": 10, "c": 40})
    assert store.due(30, 5) == ["b", "a"]
    assert store.due(30, 1) == ["b"]
    assert sorted(store.customer_ids()) == ["a", "b", "c"]


def test_who_is_unscheduled_is_not_due_any_more(store: FeatureStore) -> None:
    store.schedule({"a": 10, "b": 10})
    store.unschedule(["a"])
    assert store.due(30, 5) == ["b"]


def test_an_absent_redis_is_said_so(servers: Stack) -> None:
    with pytest.raises(StoreUnavailable, match="Redis"):
        RedisFeatureStore("redis://127.0.0.1:1/0", timeout_s=1).read_customer("c1")


def test_many_states_are_written_and_read_in_one_call(store: FeatureStore) -> None:
    writes = [StateWrite(f"c{number}", number % 8, number, pack(State(last_ms=number))) for number in range(2_500)]
    assert store.write_states(writes) == {write.customer_id for write in writes}
    found = store.read_states([write.customer_id for write in writes])
    assert {(kept.state.last_ms, kept.partition, kept.offset) for kept in found.values()} == {
        (number, number % 8, number) for number in range(2_500)
    }


@pytest.fixture(params=["redis", "cluster"])
def stores(request: pytest.FixtureRequest) -> tuple[RedisFeatureStore, RedisFeatureStore]:
    """An empty live store, and the shadow of a rebuild beside it."""
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        return RedisFeatureStore(url), RedisFeatureStore(url, is_shadow=True)
    cluster = request.getfixturevalue("cluster")
    return emptied(cluster), RedisFeatureStore(cluster.url, is_cluster=True, is_shadow=True)


def test_a_rebuilt_state_takes_the_place_of_one_with_no_more_events(
    stores: tuple[RedisFeatureStore, RedisFeatureStore],
) -> None:
    live, shadow = stores
    live.write_states([write(7)])
    live.write_cards([CardWrite("c1", {"risk": "0.5"}, 0.5)])
    shadow.write_states([write(6, NEWER)])
    assert live.switch(["c1"], 1) == [False]
    shadow.write_states([write(7, NEWER)])
    assert list(live.shadow_ids()) == ["c1"]
    assert live.switch(["c1"], 1) == [True]
    assert live.read_customer("c1") == ({"risk": "0.5"}, Kept(NEWER, 3, 7, rebuilt=1))
    assert list(live.shadow_ids()) == []
    assert list(live.customer_ids()) == ["c1"]


def test_a_state_that_grew_from_before_a_rebuild_is_refused(
    stores: tuple[RedisFeatureStore, RedisFeatureStore],
) -> None:
    live, shadow = stores
    live.write_states([write(7)])
    shadow.write_states([write(7, NEWER)])
    live.switch(["c1"], 1)
    with pytest.raises(StoreUnavailable, match="REBUILT customer:c1"):
        live.write_states([write(8)])
    assert live.write_states([replace(write(8, NEWER), rebuilt=1)]) == {"c1"}


def test_what_a_rebuild_left_is_discarded(stores: tuple[RedisFeatureStore, RedisFeatureStore]) -> None:
    live, shadow = stores
    live.write_states([write(7)])
    shadow.write_states([write(7, NEWER)])
    live.discard_shadows(list(live.shadow_ids()))
    assert shadow.read_states(["c1"]) == {}
    assert live.read_states(["c1"])["c1"].state == EMPTY
