"""Forgetting the oldest months: whole monthly indices are deleted, which costs nothing, never single documents."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch

from es_ingest.templates import DEAD_LETTERS, EVENTS, PIPELINE, RISK, IndexUnavailable

MONTHLY: Final = (EVENTS, RISK, DEAD_LETTERS, PIPELINE)
_NAME: Final = re.compile(r"(?P<kind>.+)-(?P<year>\d{4})\.(?P<month>0[1-9]|1[0-2])")


class Expired(NamedTuple):
    """A monthly index that is older than what is to be kept."""

    name: str
    documents: int
    size_bytes: int


def find(client: Elasticsearch, months: Mapping[str, int], now: datetime) -> list[Expired]:
    """The indices, oldest first, that lie outside the last `months` of their kind; the current month (UTC) counts.

    `now` is aware; kinds that `months` lacks are kept for ever. Raises `IndexUnavailable`.
    """
    if not months:
        return []
    try:
        rows: Any = client.cat.indices(
            index=",".join(f"{kind}-*" for kind in months),
            h="index,docs.count,store.size",
            bytes="b",
            format="json",
        )
    except (ApiError, TransportError) as error:
        raise IndexUnavailable(f"Elasticsearch: {error}") from error
    found = [
        Expired(row["index"], int(row["docs.count"] or 0), int(row["store.size"] or 0))
        for row in rows
        if is_expired(row["index"], months, now)
    ]
    return sorted(found, key=lambda each: each.name.rpartition("-")[2])


def is_expired(index: str, months: Mapping[str, int], now: datetime) -> bool:
    """Whether the month in the name of this index is over for so long; False for a name without a month."""
    named = _NAME.fullmatch(index)
    if named is None or named["kind"] not in months:
        return False
    age = 12 * (now.year - int(named["year"])) + now.month - int(named["month"])
    return age >= months[named["kind"]]


def delete(client: Elasticsearch, expired: Expired) -> None:
    """Delete the index, if it is still there. Raises `IndexUnavailable`."""
    try:
        client.indices.delete(index=expired.name, ignore_unavailable=True)
    except (ApiError, TransportError) as error:
        raise IndexUnavailable(f"Elasticsearch: {error}") from error
