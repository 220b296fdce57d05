"""The events and the comparison that prove the stream processor exact would notice every mistake."""

import random
from collections import defaultdict

import pytest

from churn import topics

from ..stream_processing import Kept, Record, compare, fold_of, partition_of, some_events

MESSAGES = some_events(12_000, customers=150)


def records_of(order: list[int]) -> tuple[Record, ...]:
    """These messages as they would lie in the topic."""
    ends: dict[int, int] = defaultdict(int)
    records = []
    for key, value in (MESSAGES[number] for number in order):
        partition = partition_of(key)
        records.append(Record(partition, ends[partition], 2_000_000_000_000, key, value))
        ends[partition] += 1
    return tuple(records)


@pytest.fixture(scope="module")
def expected() -> dict[str, Kept]:
    return fold_of(records_of(list(range(len(MESSAGES)))))


def test_equal_is_equal(expected: dict[str, Kept]) -> None:
    assert compare(dict(expected), expected).is_equal
    assert {int((kept.applied or b"").split(b":")[0]) for kept in expected.values()} == set(range(topics.PARTITIONS))


def test_a_lost_tenth_is_noticed(expected: dict[str, Kept]) -> None:
    found = fold_of(records_of([number for number in range(len(MESSAGES)) if number % 10 != 3]))
    comparison = compare(found, expected)
    assert comparison.doubled == 0
    assert comparison.lost > 0.8 * len(MESSAGES) / 10, "some of them are repetitions, which count once anyhow"
    assert f"{comparison.lost} events lost" in str(comparison)


def test_a_replay_without_the_guard_is_noticed(expected: dict[str, Kept]) -> None:
    everything = list(range(len(MESSAGES)))
    comparison = compare(fold_of(records_of([*everything, *everything[-3_000:]])), expected)
    assert comparison.lost == 0
    assert comparison.doubled > 2_000


def test_another_order_of_a_customers_events_is_noticed(expected: dict[str, Kept]) -> None:
    order = list(range(len(MESSAGES)))
    for start in range(0, len(order), 2_000):
        order[start : start + 2_000] = random.Random(start).sample(order[start : start + 2_000], k=2_000)
    found, wanted = (
        {customer_id: kept.state for customer_id, kept in each.items()}
        for each in (fold_of(records_of(order)), expected)
    )
    assert sum(found[customer_id] != wanted[customer_id] for customer_id in wanted) > 0.9 * len(wanted)


def test_a_missing_customer_is_noticed(expected: dict[str, Kept]) -> None:
    found = {customer_id: kept for customer_id, kept in expected.items() if customer_id != "c7"}
    assert compare(found, expected).differing == ["c7"]
