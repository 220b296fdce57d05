"""The index templates: what Elasticsearch is told of every field, made from the schemas of the domain.

A field that no template names is refused (`dynamic: strict`), so a document never decides what an index looks like.
"""

from collections.abc import Mapping
from datetime import date, datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

import msgspec
from elastic_transport import TlsError, TransportError
from elasticsearch import ApiError, AuthenticationException, AuthorizationException, BadRequestError, Elasticsearch
from pydantic import AwareDatetime

from churn import analysis_tables
from churn.dead_letters import DeadLetter
from churn.events import EventSchema
from churn.features import FEATURES
from churn.refusal import AccessRefused

Properties = dict[str, dict[str, Any]]

EVENTS: Final = "events"
CUSTOMERS: Final = "customers"
RISK: Final = "risk"
PIPELINE: Final = "pipeline"
DEAD_LETTERS: Final = "dead-letters"

MAX_FIELDS: Final = 500
REFRESH_INTERVAL: Final = "5s"
# Above the templates that a full Elasticsearch ships for patterns of its own.
PRIORITY: Final = 200

_DATE: Final = {"type": "date"}
_KEYWORD: Final = {"type": "keyword"}
_LONG: Final = {"type": "long"}
_DOUBLE: Final = {"type": "double"}
# A file's path and a letter's id have no bound: past this many characters they are kept but not found by search.
_UNBOUNDED: Final = {"type": "keyword", "ignore_above": 1024}
_FLAG: Final = {"type": "boolean"}
_ONLY_KEPT: Final = {"type": "keyword", "index": False, "doc_values": False}

_BY_TYPE: Final[dict[Any, dict[str, Any]]] = {
    str: _KEYWORD,
    int: _LONG,
    float: _DOUBLE,
    datetime: _DATE,
    date: _DATE,
    AwareDatetime: _DATE,
}
_BY_UNIT: Final = {
    "days": _DOUBLE,
    "seconds": _DOUBLE,
    "count": _LONG,
    "money": _DOUBLE,
    "ratio": _DOUBLE,
    "time": _DATE,
    "flag": _LONG,
    "text": _KEYWORD,
}


_BY_KIND: Final[dict[analysis_tables.Kind, dict[str, Any]]] = {
    "time": _DATE,
    "keyword": _KEYWORD,
    "count": _LONG,
    "money": _DOUBLE,
    "number": _DOUBLE,
    "flag": _FLAG,
    "text": _UNBOUNDED,
}


class Template(NamedTuple):
    """One index template: the indices whose names match `pattern` have exactly these fields."""

    name: str
    pattern: str
    properties: Properties


class MappingConflict(RuntimeError):
    """An index that is there already has a field of another type than its template says."""


class IndexRefused(AccessRefused):
    """Elasticsearch does not let us in or do this, or is not the one it says it is."""


class IndexUnavailable(ConnectionError):
    """Elasticsearch is away, refuses everybody or is overloaded; nothing is known of the last request."""


def _field_of(annotation: Any) -> dict[str, Any]:
    """The mapping of a field with this type; optional fields and bounded types map like the plain ones."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _field_of(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return _field_of(next(member for member in get_args(annotation) if member is not NoneType))
    return _KEYWORD if origin is Literal else _BY_TYPE[annotation]


def _event_properties() -> Properties:
    of_schema = {name: _field_of(field.annotation) for name, field in EventSchema.model_fields.items()}
    return {"@timestamp": _DATE, "ingested_at": _DATE, **of_schema, "revenue": _DOUBLE, "delay_s": _DOUBLE}


def _card_properties() -> Properties:
    said = {
        "@timestamp": _DATE,
        "as_of": _DATE,
        "scored_at": _DATE,
        "customer_id": _KEYWORD,
        "status": _KEYWORD,
        "risk": _DOUBLE,
        "risk_band": _KEYWORD,
        "band_before": _KEYWORD,
        "band_changed_at": _DATE,
        "band_change_why": _KEYWORD,
        "trend_7d": _DOUBLE,
        "trend_28d": _DOUBLE,
        "segment": _KEYWORD,
        "tier": _KEYWORD,
        "lifecycle": _KEYWORD,
        "action": _KEYWORD,
        "counterfactual": _KEYWORD,
        "counterfactual_risk": _DOUBLE,
        "days_late": _DOUBLE,
        "drivers": _KEYWORD,
        "top_driver": _KEYWORD,
        "top_reason": _KEYWORD,
        "money_at_stake": _DOUBLE,
        "predicted_value": _DOUBLE,
        "model_version": _KEYWORD,
        "feature_version": _KEYWORD,
    }
    # Nearly a hundred fields a card, seldom searched by: a scan of their columns finds them, too, and an index of each
    # would take Elasticsearch long for every card.
    return said | {feature.name: {**_BY_UNIT[feature.unit], "index": False} for feature in FEATURES}


def _health_properties() -> Properties:
    words = dict.fromkeys(("part", "worker", "kind"), _KEYWORD)
    counts = dict.fromkeys(("documents", "refused", "lag"), _LONG)
    numbers = dict.fromkeys(("interval_s", "documents_per_s", "freshness_p50_s", "freshness_p99_s"), _DOUBLE)
    return {"@timestamp": _DATE, **words, **counts, **numbers}


def _letter_properties() -> Properties:
    of_struct = {field.name: _field_of(field.type) for field in msgspec.structs.fields(DeadLetter)}
    special: Properties = {"letter_id": _UNBOUNDED, "file": _UNBOUNDED, "detail": {"type": "text"}, "raw": _ONLY_KEPT}
    return {"@timestamp": _DATE, **of_struct, **special}


def _table_properties(table: analysis_tables.Table) -> Properties:
    return {"@timestamp": _DATE, **{column.name: _BY_KIND[column.kind] for column in table.columns}}


ALL: Final = (
    Template(f"ebb-{EVENTS}", f"{EVENTS}-*", _event_properties()),
    Template(f"ebb-{CUSTOMERS}", CUSTOMERS, _card_properties()),
    Template(f"ebb-{RISK}", f"{RISK}-*", _card_properties()),
    Template(f"ebb-{PIPELINE}", f"{PIPELINE}-*", _health_properties()),
    Template(f"ebb-{DEAD_LETTERS}", f"{DEAD_LETTERS}-*", _letter_properties()),
    *(Template(f"ebb-{table.index}", table.index, _table_properties(table)) for table in analysis_tables.ALL),
)


def body(template: Template, replicas: int) -> dict[str, Any]:
    """What Elasticsearch is sent for one template."""
    settings: Mapping[str, Any] = {
        "number_of_shards": 1,
        "number_of_replicas": replicas,
        "refresh_interval": REFRESH_INTERVAL,
        "mapping.total_fields.limit": MAX_FIELDS,
    }
    return {
        "index_patterns": [template.pattern],
        "priority": PRIORITY,
        "template": {
            "settings": {"index": settings},
            "mappings": {"dynamic": "strict", "properties": template.properties},
        },
    }


def put(client: Elasticsearch, replicas: int) -> list[str]:
    """Put all templates, and add their new fields to indices that are there already; returns the templates' names.

    Raises `MappingConflict` when an index has a field of another type, `IndexRefused` when we may not, and
    `IndexUnavailable` when nothing can be said.
    """
    for template in ALL:
        try:
            client.indices.put_index_template(name=template.name, **body(template, replicas))
            client.indices.put_mapping(
                index=template.pattern,
                properties=template.properties,
                allow_no_indices=True,
                ignore_unavailable=True,
            )
        except BadRequestError as error:
            reason = error.body["error"]["reason"] if isinstance(error.body, dict) else str(error)
            raise MappingConflict(
                f"{template.pattern}: {reason}; copy its documents into an index with the new mapping, or remove it "
                "and let es_ingest read the topic again"
            ) from error
        except (AuthenticationException, AuthorizationException, TlsError) as error:
            raise IndexRefused(_refusal(client, error)) from error
        except (ApiError, TransportError) as error:
            raise IndexUnavailable(f"Elasticsearch at {_url(client)} (ELASTICSEARCH_URL): {_said(error)}") from error
    return [template.name for template in ALL]


def _refusal(client: Elasticsearch, error: ApiError | TransportError) -> str:
    if isinstance(error, TlsError):
        check = "the server's certificate, and ELASTICSEARCH_CA_FILE, which names who signed it"
    elif isinstance(error, AuthenticationException):
        check = "ELASTICSEARCH_USERNAME and ELASTICSEARCH_PASSWORD"
    else:
        check = "the roles of ELASTICSEARCH_USERNAME"
    return f"Elasticsearch at {_url(client)} (ELASTICSEARCH_URL): {_said(error)}; check {check}"


def _said(error: ApiError | TransportError) -> str:
    """With its reason: a `TransportError` without an attempt before it tells none as text."""
    return str(error.message) if isinstance(error, TransportError) else str(error)


def _url(client: Elasticsearch) -> str:
    return ", ".join(node.base_url for node in client.transport.node_pool.all())
