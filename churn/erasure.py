"""Where a customer lies besides Redis, and how they are removed there: topics, indices, and files of tables.

The list of forgotten customers keeps them out (`churn.forgotten`); this removes what is there already.
"""

import csv
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch
from kafka import KafkaProducer
from pyarrow import parquet

from churn import dead_letters, letter_replay, topics
from churn.dead_letters import DeadLetter
from churn.kafka_access import OPEN, KafkaSecurity
from churn.truth import FOLDER as SIMULATED_TRUTH

INDICES: Final = ("events-*", "customers", "risk-*", "dead-letters-*", "analytics-*")
LETTERS: Final = "dead-letters-*"
CUSTOMER: Final = "customer_id"
FOUND_TOGETHER: Final = 5_000
KEPT_OPEN: Final = "2m"

IsGone = Callable[[str], bool]


class IndexUnavailable(ConnectionError):
    """Elasticsearch did not do what it was asked; what was removed before stays removed."""


# --- topics -----------------------------------------------------------------------------------------------------------


def remove_from_topics(bootstrap_servers: str, customer_ids: Collection[str], security: KafkaSecurity = OPEN) -> None:
    """Tombstones for their states and their cards; Kafka itself drops what was before when it compacts.

    Raises `KafkaError`.
    """
    keys = [customer_id.encode() for customer_id in customer_ids]
    _bury(bootstrap_servers, [(topic, key) for key in keys for topic in (topics.FEATURES, topics.RISK)], security)


def remove_letters(
    bootstrap_servers: str, customer_ids: Collection[str], security: KafkaSecurity = OPEN
) -> Counter[str]:
    """Tombstones for the letters about them, and their notes; how many letters. Raises `KafkaError`."""
    letters = letter_replay.read(bootstrap_servers, security=security)
    gone = [
        name for name, letter in letters.by_id.items() if not dead_letters.customers_in(letter).isdisjoint(customer_ids)
    ]
    notes = [letters.notes[name].letter_id for name in gone if name in letters.notes]
    _bury(bootstrap_servers, [(topics.DEAD_LETTERS, letter_id.encode()) for letter_id in [*gone, *notes]], security)
    return Counter({f"topic {topics.DEAD_LETTERS}": len(gone)})


def _bury(bootstrap_servers: str, keys: Sequence[tuple[str, bytes]], security: KafkaSecurity) -> None:
    producer: Any = KafkaProducer(
        bootstrap_servers=bootstrap_servers.split(","), acks="all", linger_ms=20, **security.client_options()
    )
    try:
        sent = [producer.send(topic, None, key=key) for topic, key in keys]
        producer.flush()
        for future in sent:
            future.get(timeout=0)
    finally:
        producer.close()


# --- indices ----------------------------------------------------------------------------------------------------------


def remove_from_indices(client: Elasticsearch, customer_ids: Collection[str]) -> Counter[str]:
    """Delete every document of these customers; how many, by index. Raises `IndexUnavailable`.

    By searches and bulk requests: nothing is asked of Elasticsearch that only some of its distributions have.
    """
    removed: Counter[str] = Counter()
    try:
        _refresh(client)
        for found in _search(client, INDICES, {"terms": {CUSTOMER: sorted(customer_ids)}}, source=False):
            removed += _delete(client, found)
        for letters in _search(client, [LETTERS], {"match_all": {}}, source=True):
            removed += _delete(client, [each for each in letters if _is_about(each["_source"], customer_ids)])
        _refresh(client)
    except (ApiError, TransportError) as error:
        raise IndexUnavailable(f"Elasticsearch: {error}") from error
    return removed


def customers_in_index(client: Elasticsearch) -> Iterator[str]:
    """Everybody who has a document in index `customers`. Raises `IndexUnavailable`."""
    try:
        for found in _search(client, ["customers"], {"match_all": {}}, source={"includes": [CUSTOMER]}):
            yield from (each["_source"][CUSTOMER] for each in found)
    except (ApiError, TransportError) as error:
        raise IndexUnavailable(f"Elasticsearch: {error}") from error


def _refresh(client: Elasticsearch) -> None:
    client.indices.refresh(index=list(INDICES), ignore_unavailable=True, allow_no_indices=True)


def _search(
    client: Elasticsearch, indices: Sequence[str], query: dict[str, Any], *, source: bool | dict[str, Any]
) -> Iterator[list[dict[str, Any]]]:
    """All hits, as they were when the search began."""
    answer = client.search(
        index=list(indices),
        query=query,
        source=source,
        size=FOUND_TOGETHER,
        sort=["_doc"],
        scroll=KEPT_OPEN,
        ignore_unavailable=True,
        allow_no_indices=True,
    )
    scroll_id = answer.get("_scroll_id")
    try:
        while hits := answer["hits"]["hits"]:
            yield hits
            answer = client.scroll(scroll_id=scroll_id, scroll=KEPT_OPEN)
    finally:
        if scroll_id:
            with suppress(ApiError, TransportError):
                client.clear_scroll(scroll_id=scroll_id)


def _delete(client: Elasticsearch, found: Sequence[dict[str, Any]]) -> Counter[str]:
    if not found:
        return Counter()
    answer = client.bulk(operations=[{"delete": {"_index": each["_index"], "_id": each["_id"]}} for each in found])
    results = [item["delete"] for item in answer["items"]]
    failed = [result for result in results if result["status"] not in (200, 404)]
    if failed:
        raise IndexUnavailable(f"Elasticsearch did not delete {len(failed)} documents: {failed[0].get('error')}")
    return Counter(f"index {result['_index']}" for result in results if result["status"] == 200)


def _is_about(source: dict[str, Any], customer_ids: Collection[str]) -> bool:
    letter = msgspec.convert({name: value for name, value in source.items() if name != "@timestamp"}, DeadLetter)
    return not dead_letters.customers_in(letter).isdisjoint(customer_ids)


# --- files ------------------------------------------------------------------------------------------------------------


def remove_from_files(directory: Path, is_gone: IsGone) -> Counter[str]:
    """Take the rows of those customers out of all tables below a directory (Parquet, CSV); how many, by directory.

    A file changes in one step, or not at all; one without any row left is removed. The hidden truth of a simulation
    is left alone: its rows name each other by their place, and nobody in it lives. Raises `OSError`.
    """
    removed = 0
    for path in sorted(directory.rglob("*")):
        if path.suffix in (".parquet", ".csv") and SIMULATED_TRUTH not in path.parts and path.is_file():
            removed += (_thin_parquet if path.suffix == ".parquet" else _thin_csv)(path, is_gone)
    return Counter({f"files below {directory}": removed})


def customers_in_files(directory: Path) -> set[str]:
    """Everybody who is named in the Parquet files below a directory. Raises `OSError`."""
    found: set[str] = set()
    for path in directory.rglob("*.parquet"):
        if SIMULATED_TRUTH not in path.parts and CUSTOMER in parquet.read_schema(path).names:
            found.update(map(str, pc.unique(parquet.read_table(path, columns=[CUSTOMER])[CUSTOMER]).to_pylist()))
    return found


def _thin_parquet(path: Path, is_gone: IsGone) -> int:
    if CUSTOMER not in parquet.read_schema(path).names:
        return 0
    # One file as it is: read as a data set it would take a column from the name of its folder.
    with parquet.ParquetFile(path) as file:
        ids = file.read(columns=[CUSTOMER])[CUSTOMER]
        gone = [each for each in pc.unique(ids).to_pylist() if is_gone(str(each))]
        if not gone:
            return 0
        table = file.read().filter(pc.invert(pc.is_in(ids, pa.array(gone, ids.type))))
    if table.num_rows:
        _put(path, lambda fresh: parquet.write_table(table, fresh))
    else:
        path.unlink()
    return len(ids) - int(table.num_rows)


def _thin_csv(path: Path, is_gone: IsGone) -> int:
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = list(csv.reader(file)) or [[]]
    if CUSTOMER not in head:
        return 0
    place = head.index(CUSTOMER)
    kept = [row for row in rows if len(row) <= place or not is_gone(row[place])]
    if len(kept) < len(rows):
        _put(path, lambda fresh: _write_csv(fresh, [head, *kept]))
    return len(rows) - len(kept)


def _write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _put(path: Path, write: Callable[[Path], object]) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    write(fresh)
    fresh.replace(path)
