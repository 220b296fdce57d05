"""Documents into Elasticsearch by bulk requests: each one is acknowledged, or refused for good, or tried again."""

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch

from churn.logs import get_logger
from churn.settings import ElasticsearchSettings
from es_ingest.documents import Document

REQUEST_TIMEOUT_S: Final = 30.0
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 10.0
_ANSWER: Final = "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"
_CONFLICT: Final = 409
_BAD_REQUEST: Final = 400
_TOO_LARGE: Final = 413
# A 400 that is not the document's fault: the cluster has as many shards as it may have.
_CLUSTER_IS_FULL: Final = "validation_exception"

log = get_logger(__name__)


class Refusal(NamedTuple):
    """A document that Elasticsearch will never take, and why."""

    document: Document
    reason: str


class Outcome(NamedTuple):
    """What became of documents: `written` by kind, `known` (repeated, or older than what is there) by kind."""

    written: Counter[str]
    known: Counter[str]
    refused: list[Refusal]


def connect(settings: ElasticsearchSettings) -> Elasticsearch:
    """A client that asks once: waiting and asking again is the indexer's, where it is counted and logged."""
    return Elasticsearch(
        **settings.connection(),
        request_timeout=REQUEST_TIMEOUT_S,
        max_retries=0,
        retry_on_timeout=False,
    )


class Indexer:
    """Writes documents and does not give up while Elasticsearch is away."""

    def __init__(self, client: Elasticsearch) -> None:
        self._client = client

    def write(self, documents: Sequence[Document], stop: threading.Event) -> Outcome | None:
        """Write all documents, waiting as long as it takes; None when `stop` was set before all were settled."""
        outcome = Outcome(Counter(), Counter(), [])
        wait_s = FIRST_WAIT_S
        while documents:
            left, problem = self._write_some(documents, outcome)
            if left:
                log.warning("waiting for Elasticsearch", documents=len(left), wait_s=wait_s, reason=problem)
                if stop.wait(wait_s):
                    return None
                wait_s = FIRST_WAIT_S if len(left) < len(documents) else min(2 * wait_s, LONGEST_WAIT_S)
            documents = left
        return outcome

    def _write_some(self, documents: Sequence[Document], outcome: Outcome) -> tuple[Sequence[Document], str]:
        """One bulk request; returns the documents to try again, and why."""
        try:
            answer = self._client.bulk(
                body=b"".join([document.lines for document in documents]),  # type: ignore[arg-type] # sent as it is
                filter_path=_ANSWER,
            )
        except ApiError as error:
            if error.status_code not in (_BAD_REQUEST, _TOO_LARGE):
                return documents, _short(error)
            return self._write_halves(documents, _short(error), outcome)
        except TransportError as error:
            return documents, _short(error)
        if not answer.get("errors"):
            outcome.written.update([document.kind for document in documents])
            return [], ""
        return _settle(documents, answer["items"], outcome)

    def _write_halves(
        self, documents: Sequence[Document], reason: str, outcome: Outcome
    ) -> tuple[Sequence[Document], str]:
        """Find the document for which Elasticsearch refuses a whole request."""
        if len(documents) == 1:
            outcome.refused.append(Refusal(documents[0], reason))
            return [], ""
        middle = len(documents) // 2
        first, problem = self._write_some(documents[:middle], outcome)
        second, other_problem = self._write_some(documents[middle:], outcome)
        return [*first, *second], problem or other_problem


def _settle(documents: Sequence[Document], items: list[Any], outcome: Outcome) -> tuple[list[Document], str]:
    left: list[Document] = []
    problem = ""
    for document, item in zip(documents, items, strict=True):
        ((_, result),) = item.items()
        status, error = result["status"], result.get("error")
        if error is None:
            outcome.written[document.kind] += 1
        elif status == _CONFLICT:
            outcome.known[document.kind] += 1
        elif status == _BAD_REQUEST and error["type"] != _CLUSTER_IS_FULL:
            outcome.refused.append(Refusal(document, _reason(error)))
        else:
            left.append(document)
            problem = _reason(error)
    return left, problem


def _reason(error: dict[str, Any]) -> str:
    cause = error.get("caused_by", {}).get("reason")
    text = f"{error['type']}: {error.get('reason')}" + (f" ({cause})" if cause else "")
    return text[:1000]


def _short(error: ApiError | TransportError) -> str:
    # A `TransportError` without an attempt before it tells no reason as text.
    said = error.message if isinstance(error, TransportError) else error
    return f"{type(error).__name__}: {said}"[:500]
