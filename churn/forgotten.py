"""Who is to be forgotten: a list of keyed hashes. It names nobody, and yet says of a customer id that it is on it.

Whoever reads events asks it, so that neither a late event nor a replay brings a forgotten customer back. The list lies
on topic `forgotten` (`churn.forgotten_topic`); a copy for batch jobs, which know no Kafka, lies in a file.
"""

import hmac
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

SHORTEST_KEY: Final = 16
_WHICH_KEY: Final = b"which key is this"


class ForgetKeyMissing(ValueError):
    """There is a list of customers to be forgotten, and no key to tell who they are."""

    def __init__(self) -> None:
        super().__init__("FORGET_KEY is not set, and customers are to be forgotten: without it nobody can tell who")


class ForgetKeyWrong(ValueError):
    """The list was made with another key."""

    def __init__(self) -> None:
        super().__init__("FORGET_KEY is another one than the list of forgotten customers was made with: set that one")


class Forgotten:
    """The list; `customer_id in forgotten`. It may grow while it is asked: `version` grows with it.

    `fault` is what keeps it from being followed: `require_good` raises it.
    """

    def __init__(self, key: bytes = b"", digests: Iterable[str] = ()) -> None:
        self._key = key
        self._digests = set(digests)
        self.version = 0
        self.fault: Exception | None = None

    def __contains__(self, customer_id: object) -> bool:
        return bool(self._digests) and digest(self._key, str(customer_id)) in self._digests

    def __bool__(self) -> bool:
        return bool(self._digests)

    @property
    def digests(self) -> frozenset[str]:
        return frozenset(self._digests)

    def add(self, found: str) -> None:
        """One more, by the digest."""
        self._digests.add(found)
        self.version += 1

    def among(self, customer_ids: Iterable[str]) -> set[str]:
        """Those of these customers who are on the list."""
        return {customer_id for customer_id in customer_ids if customer_id in self} if self._digests else set()

    def require_good(self) -> None:
        """Raise what keeps the list from being followed, if anything does."""
        if self.fault is not None:
            raise self.fault


NOBODY: Final = Forgotten()


def digest(key: bytes, customer_id: str) -> str:
    """HMAC-SHA256 of a customer id, in hex."""
    return hmac.digest(key, customer_id.encode(), "sha256").hex()


def key_id(key: bytes) -> str:
    """Tells two keys apart, and says nothing else of them."""
    return hmac.digest(key, _WHICH_KEY, "sha256").hex()[:16]


class _File(msgspec.Struct, frozen=True):
    key_id: str
    digests: list[str]


def write_file(path: Path, key: bytes, digests: Collection[str]) -> None:
    """Put the list where batch jobs look for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.fresh")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(_File(key_id(key), sorted(digests)))))
    fresh.replace(path)


def read_file(path: Path, key: bytes) -> Forgotten:
    """The list in this file, empty where there is none. Raises `ForgetKeyMissing`, `ForgetKeyWrong`, `OSError`."""
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        return Forgotten(key)
    except msgspec.DecodeError as error:
        raise OSError(f"{path}: {error}; write it again with `python -m churn.forget --everybody`") from None
    if kept.digests:
        require_key(key, kept.key_id)
    return Forgotten(key, kept.digests)


def require_key(key: bytes, made_with: str) -> None:
    """Raise `ForgetKeyMissing` or `ForgetKeyWrong` unless the list was made with this key."""
    if not key:
        raise ForgetKeyMissing
    if key_id(key) != made_with:
        raise ForgetKeyWrong


def without(table: Any, forgotten: Forgotten) -> Any:
    """An Arrow table with a column `customer_id`, less the rows of those who are forgotten."""
    if not forgotten:
        return table
    import pyarrow.compute as pc  # only batch jobs have tables

    gone = forgotten.among(pc.unique(table["customer_id"]).to_pylist())
    return table.filter(pc.invert(pc.is_in(table["customer_id"], pc.cast(list(gone), "string")))) if gone else table
