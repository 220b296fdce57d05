"""The one file that knows how a customer lies in Redis.

`customer:<customer_id>` is a hash. The stream processor owns `state` (the packed fold) and `applied` (the last applied
Kafka offset); the scorer owns the readable fields of the risk card. `risk:ranking` sorts customers by risk, `risk:due`
by when they are to be rescored (epoch milliseconds).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from churn import state as states
from churn.state import State

RANKING: Final = "risk:ranking"
DUE: Final = "risk:due"
_STATE: Final = b"state"
_APPLIED: Final = b"applied"
_OWN_FIELDS: Final = (_STATE, _APPLIED)

# A writer that lost its partition, or replays, comes with an offset that is applied already: it writes nothing.
# A state holds everything up to its offset, so writing a newer one over an older one is always right.
_WRITE_IF_NEWER: Final = """
local applied = redis.call('HGET', KEYS[1], 'applied')
if applied then
  local partition, offset = string.match(applied, '^(%d+):(%d+)$')
  if partition ~= ARGV[1] then
    return redis.error_reply(
      'WRONGPARTITION ' .. KEYS[1] .. ' was kept by partition ' .. partition .. ', now by ' .. ARGV[1])
  end
  if tonumber(offset) >= tonumber(ARGV[2]) then return 0 end
end
redis.call('HSET', KEYS[1], 'state', ARGV[3], 'applied', ARGV[1] .. ':' .. ARGV[2])
return 1
"""


class StoreUnavailable(ConnectionError):
    """Redis did not answer, or answered with an error; nothing is known of the last write."""


class Kept(NamedTuple):
    """A customer's state with the partition and the last offset that it holds."""

    state: State
    partition: int
    offset: int


class StateWrite(NamedTuple):
    """A packed state to be kept under a customer, holding everything up to `offset` of `partition`."""

    customer_id: str
    partition: int
    offset: int
    packed: bytes


class CardWrite(NamedTuple):
    """The readable fields of a customer, the risk that ranks them (None: not ranked) and when to rescore."""

    customer_id: str
    fields: Mapping[str, str]
    risk: float | None
    due_ms: int


class Customer(NamedTuple):
    """What lies in Redis under a customer: the readable fields, and the fold's state where there is one."""

    fields: dict[str, str]
    kept: Kept | None


class FeatureStore(Protocol):
    """Read and write customers. `RedisFeatureStore` and `MemoryFeatureStore` pass the same tests."""

    def read_states(self, customer_ids: Sequence[str]) -> dict[str, Kept]:
        """States of those customers that have one."""

    def write_states(self, writes: Sequence[StateWrite]) -> int:
        """Write each state unless a newer or equal one is there; returns how many were written."""

    def write_cards(self, cards: Sequence[CardWrite]) -> None:
        """Write readable fields, ranking and due time; fields that are not named stay."""

    def read_customer(self, customer_id: str) -> Customer | None:
        """One customer, or None where nothing is known of them."""

    def top(self, count: int) -> list[tuple[str, float]]:
        """The customers with the highest risk, highest first."""

    def due(self, now_ms: int, limit: int) -> list[str]:
        """Customers whose time to be rescored has come, longest waiting first."""

    def unschedule(self, customer_ids: Sequence[str]) -> None:
        """Never rescore these customers again, until their next card says when."""

    def customer_ids(self) -> Iterable[str]:
        """All customers, in no order."""


def customer_key(customer_id: str) -> str:
    return f"customer:{customer_id}"


def _parse_kept(packed: bytes | None, applied: bytes | None) -> Kept | None:
    if packed is None or applied is None:
        return None
    partition, offset = applied.split(b":")
    return Kept(states.unpack(packed), int(partition), int(offset))


def _as_customer(raw: Mapping[bytes, bytes]) -> Customer | None:
    if not raw:
        return None
    readable = {name.decode(): value.decode() for name, value in raw.items() if name not in _OWN_FIELDS}
    return Customer(readable, _parse_kept(raw.get(_STATE), raw.get(_APPLIED)))


def connect(url: str, timeout_s: float = 10.0) -> redis.Redis:
    """A client that never hides an outage: no retry, no silent reconnect within a call."""
    client: redis.Redis = redis.Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
    )
    return client


class RedisFeatureStore:
    """The live feature store. Every method raises `StoreUnavailable` when Redis is away or refuses."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._write_if_newer = client.register_script(_WRITE_IF_NEWER)

    def run_id(self) -> str:
        """The id of the running server: another one means that Redis was restarted and may have come back older."""
        return str(self._guarded(lambda: self._client.info("server"))["run_id"])

    def read_states(self, customer_ids: Sequence[str]) -> dict[str, Kept]:
        pipeline = self._client.pipeline(transaction=False)
        for customer_id in customer_ids:
            pipeline.hmget(customer_key(customer_id), [_STATE, _APPLIED])
        rows = self._guarded(pipeline.execute)
        found = ((customer_id, _parse_kept(*row)) for customer_id, row in zip(customer_ids, rows, strict=True))
        return {customer_id: kept for customer_id, kept in found if kept is not None}

    def write_states(self, writes: Sequence[StateWrite]) -> int:
        pipeline = self._client.pipeline(transaction=False)
        for write in writes:
            self._write_if_newer(
                keys=[customer_key(write.customer_id)],
                args=[write.partition, write.offset, write.packed],
                client=pipeline,
            )
        return sum(self._guarded(pipeline.execute))

    def write_cards(self, cards: Sequence[CardWrite]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for card in cards:
            pipeline.hset(customer_key(card.customer_id), mapping=cast(dict[Any, Any], card.fields))
            pipeline.zadd(DUE, {card.customer_id: card.due_ms})
            if card.risk is None:
                pipeline.zrem(RANKING, card.customer_id)
            else:
                pipeline.zadd(RANKING, {card.customer_id: card.risk})
        self._guarded(pipeline.execute)

    def read_customer(self, customer_id: str) -> Customer | None:
        return _as_customer(self._guarded(lambda: self._client.hgetall(customer_key(customer_id))))

    def top(self, count: int) -> list[tuple[str, float]]:
        rows = self._guarded(lambda: self._client.zrevrange(RANKING, 0, count - 1, withscores=True))
        return [(member.decode(), score) for member, score in rows]

    def due(self, now_ms: int, limit: int) -> list[str]:
        rows = self._guarded(lambda: self._client.zrangebyscore(DUE, "-inf", now_ms, start=0, num=limit))
        return [member.decode() for member in rows]

    def unschedule(self, customer_ids: Sequence[str]) -> None:
        if customer_ids:
            self._guarded(lambda: self._client.zrem(DUE, *customer_ids))

    def customer_ids(self) -> Iterable[str]:
        prefix = len(customer_key(""))
        keys = self._client.scan_iter(match=customer_key("*"), count=1000)
        while (key := self._guarded(lambda: next(keys, None))) is not None:
            yield key[prefix:].decode()

    def _guarded(self, call: Any) -> Any:
        try:
            return call()
        except redis.RedisError as error:
            raise StoreUnavailable(f"Redis: {type(error).__name__}: {error}") from error


class MemoryFeatureStore:
    """The same store in memory, for tests and for the fold alone."""

    def __init__(self) -> None:
        self._customers: dict[str, dict[bytes, bytes]] = {}
        self._ranking: dict[str, float] = {}
        self._due: dict[str, int] = {}

    def read_states(self, customer_ids: Sequence[str]) -> dict[str, Kept]:
        found = ((customer_id, self.read_customer(customer_id)) for customer_id in customer_ids)
        return {customer_id: customer.kept for customer_id, customer in found if customer and customer.kept}

    def write_states(self, writes: Sequence[StateWrite]) -> int:
        return sum(self._write_state(write) for write in writes)

    def _write_state(self, write: StateWrite) -> bool:
        raw = self._customers.setdefault(write.customer_id, {})
        kept = _parse_kept(raw.get(_STATE), raw.get(_APPLIED))
        if kept is not None:
            if kept.partition != write.partition:
                raise StoreUnavailable(
                    f"WRONGPARTITION {customer_key(write.customer_id)} was kept by partition {kept.partition}, "
                    f"now by {write.partition}"
                )
            if kept.offset >= write.offset:
                return False
        raw[_STATE] = write.packed
        raw[_APPLIED] = f"{write.partition}:{write.offset}".encode()
        return True

    def write_cards(self, cards: Sequence[CardWrite]) -> None:
        for card in cards:
            raw = self._customers.setdefault(card.customer_id, {})
            raw.update({name.encode(): value.encode() for name, value in card.fields.items()})
            self._due[card.customer_id] = card.due_ms
            if card.risk is None:
                self._ranking.pop(card.customer_id, None)
            else:
                self._ranking[card.customer_id] = card.risk

    def read_customer(self, customer_id: str) -> Customer | None:
        return _as_customer(self._customers.get(customer_id, {}))

    def top(self, count: int) -> list[tuple[str, float]]:
        return sorted(self._ranking.items(), key=lambda item: (item[1], item[0]), reverse=True)[:count]

    def due(self, now_ms: int, limit: int) -> list[str]:
        waiting = sorted((due_ms, customer_id) for customer_id, due_ms in self._due.items() if due_ms <= now_ms)
        return [customer_id for _, customer_id in waiting[:limit]]

    def unschedule(self, customer_ids: Sequence[str]) -> None:
        for customer_id in customer_ids:
            self._due.pop(customer_id, None)

    def customer_ids(self) -> Iterable[str]:
        return iter(self._customers)
