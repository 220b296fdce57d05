"""A consumer that got lost between two generations of its group joins again, one that is fine is left alone."""

from typing import Any, NamedTuple

from kafka.structs import MemberState

from churn.membership import Membership

TOPICS = ("events", "risk")


class Metadata(NamedTuple):
    state: str


class Consumer:
    """Kafka's consumer as far as it is used: remembers what it was told."""

    def __init__(self) -> None:
        self.state = MemberState.STABLE
        self.calls: list[Any] = []

    def group_metadata(self) -> Metadata:
        return Metadata(self.state)

    def subscribe(self, topics: tuple[str, ...]) -> None:
        self.calls.append(("subscribe", topics))

    def unsubscribe(self) -> None:
        self.calls.append("unsubscribe")

    def partitions_for_topic(self, topic: str) -> set[int]:
        self.calls.append(topic)
        return {0}


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def joined() -> tuple[Consumer, Clock, Membership]:
    consumer, clock = Consumer(), Clock()
    membership = Membership(consumer, TOPICS, patience_s=15, now_s=clock)
    membership.join()
    consumer.calls.clear()
    return consumer, clock, membership


def test_the_partitions_are_known_before_the_first_join() -> None:
    consumer = Consumer()
    Membership(consumer, TOPICS).join()
    assert consumer.calls == [("subscribe", TOPICS), "events", "risk"]


def test_a_member_is_left_alone_however_long() -> None:
    consumer, clock, membership = joined()
    for state in (MemberState.STABLE, MemberState.UNJOINED):
        consumer.state = state
        clock.now_s += 1_000
        membership.keep()
    assert consumer.calls == []


def test_a_rebalance_may_take_its_time() -> None:
    consumer, clock, membership = joined()
    for state in (MemberState.REBALANCING, MemberState.STABLE, MemberState.REBALANCING):
        consumer.state = state
        clock.now_s += 10
        membership.keep()
    assert consumer.calls == []


def test_a_rebalance_without_end_is_begun_anew_and_then_waited_for_again() -> None:
    consumer, clock, membership = joined()
    consumer.state = MemberState.REBALANCING
    clock.now_s += 16
    membership.keep()
    membership.keep()
    assert consumer.calls == ["unsubscribe", ("subscribe", TOPICS), "events", "risk"]
