"""A training run as documents of Elasticsearch, one per compared model, in the index `analytics-models`."""

from collections.abc import Iterator
from typing import Any, Final

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch
from elasticsearch.helpers import BulkIndexError, bulk

from churn.evaluate import COMPARED
from churn.settings import ElasticsearchSettings
from training.gate import Verdict
from training.train import Trained

INDEX: Final = "analytics-models"
TIMEOUT_S: Final = 20


class NotIndexed(RuntimeError):
    """Elasticsearch did not take the documents; the model is kept all the same."""


def documents(trained: Trained, verdict: Verdict) -> Iterator[dict[str, Any]]:
    """One document per model; the same run gives the same ids, so that indexing again changes nothing."""
    about = trained.model.about
    for name, points in trained.points.items():
        bounds = {
            f"{metric}_{end}": value
            for metric in COMPARED
            for end, value in zip(("low", "high"), trained.intervals[name][metric], strict=True)
        }
        yield {
            "_index": INDEX,
            "_id": f"{trained.model.model_version} {name}",
            "@timestamp": about.cut_offs["test"][0].isoformat(),
            "model_version": trained.model.model_version,
            "model": name,
            "is_champion": name == trained.champion,
            "went_live": name == trained.champion and verdict.is_open,
            "reasons": list(verdict.reasons) if name == trained.champion else [],
            "customers": points["n"],
            **{metric: value for metric, value in points.items() if metric != "n"},
            **bounds,
        }


def write(trained: Trained, verdict: Verdict, settings: ElasticsearchSettings) -> int:
    """Index the documents; how many there were. Raises `NotIndexed`."""
    password = settings.elasticsearch_password
    user = settings.elasticsearch_username
    client = Elasticsearch(
        settings.elasticsearch_url,
        basic_auth=(user, password.get_secret_value()) if user and password else None,
        request_timeout=TIMEOUT_S,
    )
    try:
        written, _ = bulk(client, documents(trained, verdict), refresh=True)
    except (ApiError, TransportError, BulkIndexError) as error:
        raise NotIndexed(f"{INDEX}: {str(error)[:300]}; the model is kept, index again by training again") from error
    finally:
        client.close()
    return int(written)
