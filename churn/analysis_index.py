"""Rows of the analyses into Elasticsearch: the one way, by id, without leaving rows behind that no longer exist."""

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any, Final

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch
from elasticsearch.helpers import BulkIndexError, bulk, scan

from churn.analysis_tables import Table, row_id
from churn.settings import ElasticsearchSettings

TIMEOUT_S: Final = 30


class NotIndexed(RuntimeError):
    """Elasticsearch did not take the rows; what was computed is kept all the same."""


def connect(settings: ElasticsearchSettings) -> Elasticsearch:
    """A client; it connects with the first request. Close it."""
    return Elasticsearch(**settings.connection(), request_timeout=TIMEOUT_S)


def write(client: Elasticsearch, table: Table, rows: Iterable[Mapping[str, Any]]) -> int:
    """Put the rows into the table's index and remove the old rows that they replace; how many rows there are.

    What is replaced is the whole table, or with `part_by` the rows of the same parts. The template must be there
    (`python -m es_ingest templates`). Raises `NotIndexed`, `RowDoesNotFit`.
    """
    kept = {row_id(table, row): row for row in rows}
    documents = ({"_index": table.index, "_id": name, **_document(row)} for name, row in kept.items())
    try:
        bulk(client, documents, refresh=True)
        bulk(client, _removals(client, table, kept), refresh=True)
    except (ApiError, TransportError, BulkIndexError) as error:
        raise NotIndexed(
            f"{table.index}: {str(error)[:300]}; run the command again when Elasticsearch is well"
        ) from error
    return len(kept)


def _removals(client: Elasticsearch, table: Table, kept: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    parts = {tuple(str(_value(row[name])) for name in table.part_by) for row in kept.values()}
    query = {"bool": {"should": [_is_of_part(table, part) for part in sorted(parts)], "minimum_should_match": 1}}
    found = scan(
        client,
        index=table.index,
        query={"query": query if table.part_by else {"match_all": {}}, "_source": False},
        ignore_unavailable=True,
    )
    for document in found:
        if document["_id"] not in kept:
            yield {"_op_type": "delete", "_index": document["_index"], "_id": document["_id"]}


def _is_of_part(table: Table, part: tuple[str, ...]) -> dict[str, Any]:
    return {"bool": {"filter": [{"term": {name: value}} for name, value in zip(table.part_by, part, strict=True)]}}


def _document(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, cell in row.items() if (value := _value(cell)) is not None}


def _value(cell: Any) -> Any:
    """As JSON has it; None for what is no number."""
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell
