"""One scenario of the chaos suite: a topic of 200,000 events published in portions, so that every fault finds work in
progress on any machine, workers in a group of their own, and the comparison that every scenario ends with."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
from kafka.admin import KafkaAdminClient

from churn import topics
from stack.kafka_offsets import lag
from stack.ports import free_port
from stack.stack import Stack
from stack.waiting import wait_until
from stack.workers import StreamProcessor

from ..patience import PATIENCE_S
from ..stream_processing import (
    NOW,
    Comparison,
    Message,
    compare,
    folded_offline,
    kept_in_redis,
    publish,
    wait_until_done,
)
from .mutated_worker import MUTATION

SESSION_TIMEOUT_S = 6.0
EXIT_RESTART = 70
SENT_AT_MS = round(NOW.timestamp() * 1000)


class MutatedWorker(StreamProcessor):
    """A worker with one of its safeguards taken away."""

    @property
    def module(self) -> str:
        return "tests.chaos.mutated_worker"


class Scenario:
    """Kafka and Redis, emptied, with `messages` still to be published; `chance` decides when faults strike.

    `mutation` names the safeguard that its workers lack; none by default.
    """

    def __init__(
        self, stack: Stack, directory: Path, messages: Sequence[Message], *, mutation: str | None = None
    ) -> None:
        self.stack = stack
        self.directory = directory
        self.group = f"chaos-{uuid4()}"
        self.chance = random.Random(5)
        self.client = redis.Redis.from_url(stack.redis.url)
        self._messages = messages
        self._published = 0
        self._mutation = mutation
        self._workers: list[StreamProcessor] = []
        self._ports: dict[str, int] = {}

    def worker(self, name: str = "worker-1", variables: Mapping[str, str] | None = None) -> StreamProcessor:
        """Another worker of the group, started anew whenever it ends itself; not started yet."""
        return self._add_worker(name, variables, is_supervised=True)

    def bare_worker(self, name: str = "worker-1") -> StreamProcessor:
        """The same, but started by nobody but the test."""
        return self._add_worker(name, None, is_supervised=False)

    def _add_worker(self, name: str, variables: Mapping[str, str] | None, *, is_supervised: bool) -> StreamProcessor:
        kind = StreamProcessor if self._mutation is None else MutatedWorker
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": self.stack.kafka.address,
            "REDIS_URL": self.stack.redis.url,
            "STREAM_GROUP": self.group,
            "STREAM_GROUP_INSTANCE_ID": name,
            "STREAM_HOLD_ACKS_S": "1",
            "STREAM_SESSION_TIMEOUT_S": f"{SESSION_TIMEOUT_S:g}",
            MUTATION: self._mutation or "",
            **(variables or {}),
        }
        worker = kind(
            self.directory / name,
            environment,
            port=self._ports.setdefault(name, free_port()),
            is_supervised=is_supervised,
        )
        self._workers.append(worker)
        return worker

    def publish(self, share: float) -> None:
        """Send the next events, `share` of all."""
        until = self._published + round(share * len(self._messages))
        publish(self.stack.kafka.address, self._messages[self._published : until])
        self._published = min(until, len(self._messages))

    def publish_into_work(self, share: float) -> None:
        """Send the next events and return at a random moment while a worker is in the midst of them."""
        before = self.changes()
        self.publish(share)
        self.wait_for_changes(before + self.chance.randrange(100, 2_500))

    def wait_for_changes(self, count: int) -> None:
        """Return when Redis was changed so often."""
        is_seen = wait_until(lambda: self.changes() >= count, PATIENCE_S, poll_s=0.005)
        assert is_seen, f"{self.changes()} changes of Redis after {PATIENCE_S:g} s, {count} were expected"

    def changes(self) -> int:
        """How often anything was changed in Redis since it was started."""
        return int(self.client.info("persistence")["rdb_changes_since_last_save"])

    def lag(self) -> int:
        """Events that the group has not committed yet."""
        return lag(self.stack.kafka.address, self.group, topics.EVENTS)

    def wait_for_members(self, count: int) -> None:
        """Return when so many workers share the partitions, by the broker's word."""
        admin = KafkaAdminClient(bootstrap_servers=self.stack.kafka.address)

        def group() -> dict[str, Any]:
            return dict(admin.describe_groups([self.group])[self.group])

        def is_so() -> bool:
            told = group()
            return told["group_state"] == "Stable" and len(told["members"]) == count

        is_seen = wait_until(is_so, PATIENCE_S, poll_s=0.25)
        told = group()
        admin.close()
        assert is_seen, f"{count} workers were expected, the group is {told['group_state']}: {told['members']}"

    def wait_until_folded(self) -> None:
        """Return when the workers have committed everything that was published."""
        wait_until_done(self.stack.kafka.address, self.group, topics.EVENTS, timeout_s=PATIENCE_S)

    def finish(self) -> Comparison:
        """Publish what is left, let the workers come to its end, and compare Redis with the fold of the topic."""
        self.publish(1.0)
        self.wait_until_folded()
        # No event is from the future, so the moment of sending changes nothing, and most scenarios send the same.
        expected = folded_offline(self.stack.kafka.address, SENT_AT_MS)
        return compare(kept_in_redis(self.stack.redis.url), expected)

    def restarts(self) -> int:
        """How often workers ended themselves to replay what they had not acknowledged."""
        logs = (worker.log_file for worker in self._workers)
        return sum(log.read_text().count(f"ended with {EXIT_RESTART},") for log in logs)

    def wait_for_restart(self) -> None:
        """Return when a worker has ended itself."""
        assert wait_until(lambda: self.restarts() > 0, PATIENCE_S), "no worker noticed anything"

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
        self.client.close()
