"""The one file that knows how a customer lies in Redis.

`customer:<customer_id>` is a hash. The stream processor owns `state` (the packed fold), `applied` (the last applied
offset of Kafka) and `rebuilt` (which rebuild made the state, if any); the scorer owns the readable fields of the card.
`risk:ranking` sorts customers by risk, `risk:due` by when they are to be rescored (epoch milliseconds).
Every call and script touches one customer's key, so that the same code works on a Redis Cluster.

For readers there are three calls of `RedisFeatureStore(url)`: `read_customer(id)` and `read_customers(ids)` give the
readable fields, `status(now)` and `features(now)` of customers in one round trip, `top(count)` the highest risks.
"""

import hashlib
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast
from urllib.parse import urlsplit

import hiredis
import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from churn import state as states
from churn.features import FeatureRow, feature_row
from churn.risk_card import Status
from churn.settings import RedisSettings
from churn.state import InvalidState, State

RANKING: Final = "risk:ranking"
DUE: Final = "risk:due"
_STATE: Final = b"state"
_APPLIED: Final = b"applied"
_REBUILT: Final = b"rebuilt"
_OWN_FIELDS: Final = (_STATE, _APPLIED, _REBUILT)
_SENT_TOGETHER: Final = 500

# A writer that lost its partition, or replays, comes with an offset that is applied already: it writes nothing.
# A state holds everything up to its offset, so writing a newer one over an older one is always right, unless it grew
# from a state that a rebuild has replaced since.
_WRITE_IF_NEWER: Final = """
local kept = redis.call('HMGET', KEYS[1], 'applied', 'rebuilt')
if (kept[2] or '0') ~= ARGV[4] then
  return redis.error_reply('REBUILT ' .. KEYS[1] .. ' has a rebuilt state since it was read')
end
if kept[1] then
  local partition, offset = string.match(kept[1], '^(%d+):(%d+)$')
  if partition ~= ARGV[1] then
    return redis.error_reply(
      'WRONGPARTITION ' .. KEYS[1] .. ' was kept by partition ' .. partition .. ', now by ' .. ARGV[1])
  end
  if tonumber(offset) >= tonumber(ARGV[2]) then return 0 end
end
redis.call('HSET', KEYS[1], 'state', ARGV[3], 'applied', ARGV[1] .. ':' .. ARGV[2])
return 1
"""
_WRITE_SHA: Final = hashlib.sha1(_WRITE_IF_NEWER.encode(), usedforsecurity=False).hexdigest()
# A card that another scorer has written since the last one was read stays: the loser reads it and scores again.
_WRITE_CARD: Final = """
if (redis.call('HGET', KEYS[1], 'as_of') or '') ~= ARGV[1] then return 0 end
if #ARGV > 1 then redis.call('HSET', KEYS[1], unpack(ARGV, 2)) end
return 1
"""
_CARD_SHA: Final = hashlib.sha1(_WRITE_CARD.encode(), usedforsecurity=False).hexdigest()
# The rebuilt state takes the place of the live one as soon as it holds as many events.
_SWITCH: Final = """
local rebuilt = redis.call('HMGET', KEYS[2], 'state', 'applied')
local applied = redis.call('HGET', KEYS[1], 'applied')
if applied then
  if tonumber(string.match(applied, ':(%d+)$')) > tonumber(string.match(rebuilt[2], ':(%d+)$')) then return 0 end
end
redis.call('HSET', KEYS[1], 'state', rebuilt[1], 'applied', rebuilt[2], 'rebuilt', ARGV[1])
redis.call('DEL', KEYS[2])
return 1
"""


W = TypeVar("W", "StateWrite", "CardWrite", str)
Command = tuple[str | bytes | int, ...]


class StoreUnavailable(ConnectionError):
    """Redis did not answer, or answered with an error; nothing is known of the last write."""


class StoreRefused(StoreUnavailable):
    """Redis does not let us in or do this, or is not the one it says it is."""


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A customer's state with the partition and the last offset that it holds, and the rebuild that it grew from."""

    state: State
    partition: int
    offset: int
    rebuilt: int = 0


class StateWrite(msgspec.Struct, frozen=True, gc=False):
    """A packed state to be kept under a customer, holding everything up to `offset` of `partition`."""

    customer_id: str
    partition: int
    offset: int
    packed: bytes
    rebuilt: int = 0


class CardWrite(NamedTuple):
    """Readable fields of a customer, the risk that ranks them (None: not ranked), and `as_of` of the card before.

    `read_as_of` is that field as it was read, empty where there was no card.
    """

    customer_id: str
    fields: Mapping[str, str]
    risk: float | None
    read_as_of: str = ""


class Customer(NamedTuple):
    """What lies in Redis under a customer: the readable fields, and the fold's state where there is one."""

    fields: dict[str, str]
    kept: Kept | None

    def status(self, now: datetime) -> Status:
        """What the card is worth at `now` (aware): a card too old is `stale`, whatever it says of itself."""
        until = self.fields.get("fresh_until")
        if not until or self.fields.get("status") == Status.INSUFFICIENT_DATA:
            return Status.INSUFFICIENT_DATA
        try:
            is_stale = now > datetime.fromisoformat(until)
        except (ValueError, TypeError):  # no moment, or one without its offset: nothing to rely on
            is_stale = True
        return Status.STALE if is_stale else Status.FRESH

    def features(self, now: datetime) -> FeatureRow | None:
        """Every feature as of `now` (aware), not as of the card; None without a state.

        As of the last settled event, where the clock that stamped it runs ahead of ours.
        """
        if self.kept is None:
            return None
        settled = datetime.fromtimestamp(self.kept.state.settled_ms / 1000, UTC)
        return feature_row(self.kept.state, max(now, settled))


class FeatureStore(Protocol):
    """Read and write customers. `RedisFeatureStore` and `MemoryFeatureStore` pass the same tests."""

    def read_states(self, customer_ids: Sequence[str]) -> dict[str, Kept]:
        """States of those customers that have one."""

    def write_states(self, writes: Sequence[StateWrite]) -> set[str]:
        """Write each state unless a newer or equal one is there; returns the customers whose state was written.

        Raises `StoreUnavailable`, also for a customer of another partition and for a state rebuilt since it was read.
        """

    def write_cards(self, cards: Sequence[CardWrite]) -> list[bool]:
        """Write readable fields and ranking, unless the card is another one than was read; which were written.

        Fields that are not named stay.
        """

    def schedule(self, due_ms: Mapping[str, int]) -> None:
        """When customers are to be scored again, in epoch milliseconds."""

    def read_customer(self, customer_id: str) -> Customer | None:
        """One customer, or None where nothing is known of them."""

    def read_customers(self, customer_ids: Sequence[str]) -> dict[str, Customer]:
        """Those of these customers of whom something is known."""

    def top(self, count: int, start: int = 0) -> list[tuple[str, float]]:
        """The customers with the highest risk, highest first, without the first `start` of them."""

    def due(self, now_ms: int, limit: int) -> list[str]:
        """Customers whose time to be rescored has come, longest waiting first."""

    def unschedule(self, customer_ids: Sequence[str]) -> None:
        """Never rescore these customers again, until their next card says when."""

    def erase(self, customer_ids: Sequence[str]) -> int:
        """Remove everything of these customers; how many entries that was."""

    def customer_ids(self) -> Iterable[str]:
        """All customers, in no order."""


def customer_key(customer_id: str) -> str:
    return f"customer:{customer_id}"


def shadow_key(customer_id: str) -> str:
    """Where a rebuild prepares a customer: by its hash tag in the same slot of a Redis Cluster as the live key."""
    return f"rebuild:{{{customer_key(customer_id)}}}"


def _parse_kept(packed: bytes | None, applied: bytes | None, rebuilt: bytes | None) -> Kept | None:
    if packed is None or applied is None:
        return None
    try:
        partition, offset = map(int, applied.split(b":"))
        number = int(rebuilt or 0)
    except ValueError:
        raise InvalidState(f"applied {applied!r}, rebuilt {rebuilt!r}: no offset and no number") from None
    return Kept(states.unpack(packed), partition, offset, number)


def _pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Names and values of a hash as the older protocol gives them."""
    return zip(flat[::2], flat[1::2], strict=True)


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _as_customer(raw: Mapping[bytes, bytes]) -> Customer | None:
    if not raw:
        return None
    readable = {_text(name): _text(value) for name, value in raw.items() if name not in _OWN_FIELDS}
    return Customer(readable, _parse_kept(raw.get(_STATE), raw.get(_APPLIED), raw.get(_REBUILT)))


class RedisFeatureStore:
    """The live feature store. Every method raises `StoreUnavailable` when Redis is away or refuses.

    It connects at the first call and never hides an outage: no retry, no silent reconnect within a call. With
    `is_shadow` states are read and written where a rebuild prepares them. Threads may share one.
    """

    def __init__(
        self,
        url: str,
        *,
        is_cluster: bool = False,
        timeout_s: float = 10.0,
        is_shadow: bool = False,
        ca_file: Path | None = None,
    ) -> None:
        """`ca_file` names who must have signed the certificate behind `rediss://`; else those the system trusts."""
        self._url = url
        self._ca_file = ca_file
        self._is_cluster = is_cluster
        self._timeout_s = timeout_s
        self._key_of = shadow_key if is_shadow else customer_key
        self._knows_script: set[int] = set()

    @cached_property
    def _client(self) -> Any:
        kind = redis.RedisCluster if self._is_cluster else redis.Redis
        return kind.from_url(
            self._url,
            socket_timeout=self._timeout_s,
            socket_connect_timeout=self._timeout_s,
            retry=Retry(NoBackoff(), 0),
            **({"ssl_ca_certs": str(self._ca_file)} if self._ca_file else {}),
        )

    def run_id(self) -> str:
        """The id of the running server: another one means that Redis was restarted and may have come back older.

        Of a cluster, those of all primaries.
        """
        if not self._is_cluster:
            return str(self._guarded(lambda: self._client.info("server"))["run_id"])
        nodes = self._guarded(lambda: self._client.info("server", target_nodes=redis.RedisCluster.PRIMARIES))
        return ",".join(sorted(str(server["run_id"]) for server in nodes.values()))

    def require_run(self, run_id: str) -> None:
        """Raise `StoreUnavailable` when another Redis answers than the one with this id."""
        if self.run_id() != run_id:
            raise StoreUnavailable("Redis was restarted and may have come back without its latest writes")

    def read_states(self, customer_ids: Sequence[str]) -> dict[str, Kept]:
        rows = self._ask(customer_ids, lambda each: ("HMGET", self._key_of(each), _STATE, _APPLIED, _REBUILT))
        found = ((customer_id, _parse_kept(*row)) for customer_id, row in rows)
        return {customer_id: kept for customer_id, kept in found if kept is not None}

    def _ask(self, customer_ids: Sequence[str], command: Callable[[str], Command]) -> Iterable[tuple[str, Any]]:
        """Each customer with the reply to their command, those of a node in one round trip."""
        for pool, part in self._guarded(lambda: self._by_node(customer_ids)):
            commands = [command(customer_id) for customer_id in part]
            replies = self._guarded(lambda pool=pool, commands=commands: self._exchange(pool, commands))
            yield from zip(part, replies, strict=True)

    def write_states(self, writes: Sequence[StateWrite]) -> set[str]:
        written: set[str] = set()
        for node, part in self._guarded(lambda: self._by_node(writes)):
            replies = self._guarded(lambda node=node, part=part: self._write_to(node, part))
            written |= {write.customer_id for write, is_written in zip(part, replies, strict=True) if is_written}
        return written

    def _by_node(self, items: Sequence[W]) -> list[tuple[Any, Sequence[W]]]:
        """Writes, or ids of customers, by the connections that lead to them."""
        if not self._is_cluster:
            return [(self._client.connection_pool, items)]
        nodes: dict[str, tuple[Any, list[W]]] = {}
        for item in items:
            customer_id = item if isinstance(item, str) else item.customer_id
            node = self._client.get_node_from_key(self._key_of(customer_id))
            pool = self._client.get_redis_connection(node).connection_pool
            nodes.setdefault(node.name, (pool, []))[1].append(item)
        return list(nodes.values())

    def _write_to(self, pool: Any, writes: Sequence[StateWrite | CardWrite]) -> list[int]:
        """One connection, commands packed together: a pipeline of redis-py costs three times as much per write."""
        if id(pool) not in self._knows_script:
            self._exchange(pool, [("SCRIPT", "LOAD", script) for script in (_WRITE_IF_NEWER, _WRITE_CARD)])
            self._knows_script.add(id(pool))
        try:
            return self._exchange(pool, [self._command(write) for write in writes])
        except redis.RedisError:
            self._knows_script.discard(id(pool))  # a server that was restarted has forgotten it
            raise

    def _exchange(self, pool: Any, commands: Sequence[Command]) -> list[Any]:
        """The replies to these commands, of which Redis always has the next ones. Raises the first that is an error."""
        connection = pool.get_connection()
        replies: list[Any] = []
        before: Sequence[Command] = ()
        try:
            for start in range(0, len(commands), _SENT_TOGETHER):
                part = commands[start : start + _SENT_TOGETHER]
                connection.send_packed_command([b"".join(map(hiredis.pack_command, part))])
                replies += [connection.read_response() for _ in before]
                before = part
            replies += [connection.read_response() for _ in before]
        except BaseException:
            connection.disconnect()  # replies that nobody read must not become those of the next caller
            raise
        finally:
            pool.release(connection)
        return replies

    def _command(self, write: StateWrite | CardWrite) -> Command:
        key = self._key_of(write.customer_id)
        if isinstance(write, CardWrite):
            fields = (part for field in write.fields.items() for part in field)
            return ("EVALSHA", _CARD_SHA, 1, key, write.read_as_of, *fields)
        return ("EVALSHA", _WRITE_SHA, 1, key, write.partition, write.offset, write.packed, write.rebuilt)

    def switch(self, customer_ids: Sequence[str], rebuilt: int) -> list[bool]:
        """Put each customer's shadow state in the place of the live one, in one step, and say for whom that was done.

        Nothing is done where the live state holds more events. `rebuilt` is the number of the rebuild.
        """
        pipeline = self._guarded(lambda: self._client.pipeline(transaction=False))
        for customer_id in customer_ids:
            pipeline.execute_command("EVAL", _SWITCH, 2, customer_key(customer_id), shadow_key(customer_id), rebuilt)
        return [bool(done) for done in self._guarded(pipeline.execute)]

    def shadow_ids(self) -> Iterable[str]:
        """Customers that a rebuild has prepared and not switched."""
        return self._ids(shadow_key)

    def discard_shadows(self, customer_ids: Sequence[str]) -> None:
        """Remove what a rebuild prepared for these customers."""
        pipeline = self._guarded(lambda: self._client.pipeline(transaction=False))
        for customer_id in customer_ids:
            pipeline.delete(shadow_key(customer_id))
        self._guarded(pipeline.execute)

    def write_cards(self, cards: Sequence[CardWrite]) -> list[bool]:
        written: dict[str, bool] = {}
        for node, part in self._guarded(lambda: self._by_node(cards)):
            replies = self._guarded(lambda node=node, part=part: self._write_to(node, part))
            written |= {card.customer_id: bool(reply) for card, reply in zip(part, replies, strict=True)}
        ranked = [card for card in cards if written[card.customer_id]]
        self._rank({card.customer_id: card.risk for card in ranked if card.risk is not None})
        self._forget(RANKING, [card.customer_id for card in ranked if card.risk is None])
        return [written[card.customer_id] for card in cards]

    def _rank(self, risks: dict[str, float]) -> None:
        if risks:
            self._guarded(lambda: self._client.zadd(RANKING, cast(dict[Any, Any], risks)))

    def _forget(self, name: str, customer_ids: Sequence[str]) -> None:
        if customer_ids:
            self._guarded(lambda: self._client.zrem(name, *customer_ids))

    def schedule(self, due_ms: Mapping[str, int]) -> None:
        if due_ms:
            self._guarded(lambda: self._client.zadd(DUE, cast(dict[Any, Any], due_ms)))

    def read_customer(self, customer_id: str) -> Customer | None:
        return _as_customer(self._guarded(lambda: self._client.hgetall(customer_key(customer_id))))

    def read_customers(self, customer_ids: Sequence[str]) -> dict[str, Customer]:
        found: dict[str, Customer] = {}
        for customer_id, reply in self._ask(customer_ids, lambda each: ("HGETALL", customer_key(each))):
            customer = _as_customer(reply if isinstance(reply, dict) else dict(_pairs(reply)))
            if customer is not None:
                found[customer_id] = customer
        return {customer_id: found[customer_id] for customer_id in customer_ids if customer_id in found}

    def top(self, count: int, start: int = 0) -> list[tuple[str, float]]:
        rows = self._guarded(lambda: self._client.zrevrange(RANKING, start, start + count - 1, withscores=True))
        return [(member.decode(), score) for member, score in rows]

    def due(self, now_ms: int, limit: int) -> list[str]:
        rows = self._guarded(lambda: self._client.zrangebyscore(DUE, "-inf", now_ms, start=0, num=limit))
        return [member.decode() for member in rows]

    def unschedule(self, customer_ids: Sequence[str]) -> None:
        self._forget(DUE, customer_ids)

    def erase(self, customer_ids: Sequence[str]) -> int:
        """Remove everything of these customers, also what a rebuild prepared; how many keys and ranks that was."""
        return self._sum_over(customer_ids, self._client.delete, self._client.zrem)

    def entries(self, customer_ids: Sequence[str]) -> int:
        """How many keys and ranks there are of these customers: what `erase` would remove."""
        return self._sum_over(
            customer_ids, self._client.exists, lambda name, member: self._client.zscore(name, member) is not None
        )

    def _sum_over(
        self, customer_ids: Sequence[str], of_key: Callable[[str], int], of_rank: Callable[[str, str], int]
    ) -> int:
        """The sum of what these say of each key and of each place in a ranking that a customer may have."""
        total = 0
        for customer_id in customer_ids:
            for key in (customer_key(customer_id), shadow_key(customer_id)):
                total += self._guarded(lambda key=key: of_key(key))
            for name in (RANKING, DUE):
                total += self._guarded(lambda name=name, member=customer_id: of_rank(name, member))
        return total

    def customer_ids(self) -> Iterable[str]:
        return self._ids(customer_key)

    def _ids(self, key_of: Callable[[str], str]) -> Iterable[str]:
        before, after = key_of("*").split("*")
        keys = self._guarded(lambda: self._client.scan_iter(match=key_of("*"), count=1000))
        while (key := self._guarded(lambda: next(keys, None))) is not None:
            yield key.decode().removeprefix(before).removesuffix(after)

    def _guarded(self, call: Any) -> Any:
        try:
            return call()
        except redis.RedisError as error:
            raise _as_ours(error, self._url) from error


def _as_ours(error: redis.RedisError, url: str) -> StoreUnavailable:
    address = urlsplit(url)
    said = f"Redis at {address.hostname}:{address.port or ''} (REDIS_URL): {type(error).__name__}: {error}"
    if isinstance(error, redis.exceptions.NoPermissionError):
        return StoreRefused(f"{said}; connect as a user who may")
    if isinstance(error, redis.AuthenticationError):
        return StoreRefused(f"{said}; check user and password in REDIS_URL")
    if isinstance(error.__cause__ or error.__context__, ssl.SSLCertVerificationError):
        return StoreRefused(f"{said}; check the server's certificate, and REDIS_CA_FILE, which names who signed it")
    return StoreUnavailable(said)


def from_settings(settings: RedisSettings, *, timeout_s: float = 10.0, is_shadow: bool = False) -> RedisFeatureStore:
    """The store that the environment names."""
    return RedisFeatureStore(
        settings.redis_url.get_secret_value(),
        is_cluster=settings.redis_is_cluster,
        timeout_s=timeout_s,
        is_shadow=is_shadow,
        ca_file=settings.redis_ca_file,
    )


class MemoryFeatureStore:
    """The same store in memory, for tests and for the fold alone."""

    def __init__(self) -> None:
        self._customers: dict[str, dict[bytes, bytes]] = {}
        self._ranking: dict[str, float] = {}
        self._due: dict[str, int] = {}

    def read_states(self, customer_ids: Sequence[str]) -> dict[str, Kept]:
        found = ((customer_id, self.read_customer(customer_id)) for customer_id in customer_ids)
        return {customer_id: customer.kept for customer_id, customer in found if customer and customer.kept}

    def write_states(self, writes: Sequence[StateWrite]) -> set[str]:
        return {write.customer_id for write in writes if self._write_state(write)}

    def _write_state(self, write: StateWrite) -> bool:
        raw = self._customers.setdefault(write.customer_id, {})
        kept = _parse_kept(raw.get(_STATE), raw.get(_APPLIED), raw.get(_REBUILT))
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

    def write_cards(self, cards: Sequence[CardWrite]) -> list[bool]:
        return [self._write_card(card) for card in cards]

    def _write_card(self, card: CardWrite) -> bool:
        raw = self._customers.setdefault(card.customer_id, {})
        if raw.get(b"as_of", b"").decode() != card.read_as_of:
            return False
        raw.update({name.encode(): value.encode() for name, value in card.fields.items()})
        if card.risk is None:
            self._ranking.pop(card.customer_id, None)
        else:
            self._ranking[card.customer_id] = card.risk
        return True

    def schedule(self, due_ms: Mapping[str, int]) -> None:
        self._due.update(due_ms)

    def read_customer(self, customer_id: str) -> Customer | None:
        return _as_customer(self._customers.get(customer_id, {}))

    def read_customers(self, customer_ids: Sequence[str]) -> dict[str, Customer]:
        found = ((customer_id, self.read_customer(customer_id)) for customer_id in customer_ids)
        return {customer_id: customer for customer_id, customer in found if customer is not None}

    def top(self, count: int, start: int = 0) -> list[tuple[str, float]]:
        ranked = sorted(self._ranking.items(), key=lambda item: (item[1], item[0]), reverse=True)
        return ranked[start : start + count]

    def due(self, now_ms: int, limit: int) -> list[str]:
        waiting = sorted((due_ms, customer_id) for customer_id, due_ms in self._due.items() if due_ms <= now_ms)
        return [customer_id for _, customer_id in waiting[:limit]]

    def unschedule(self, customer_ids: Sequence[str]) -> None:
        for customer_id in customer_ids:
            self._due.pop(customer_id, None)

    def erase(self, customer_ids: Sequence[str]) -> int:
        places: tuple[dict[str, Any], ...] = (self._customers, self._ranking, self._due)
        return sum(place.pop(customer_id, None) is not None for place in places for customer_id in customer_ids)

    def customer_ids(self) -> Iterable[str]:
        return iter(self._customers)
