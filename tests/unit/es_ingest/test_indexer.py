"""What becomes of documents that Elasticsearch takes, knows already, refuses or cannot take now."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

from churn.settings import ElasticsearchSettings
from es_ingest import indexer
from es_ingest.documents import Document
from es_ingest.indexer import Indexer

Answer = tuple[int, dict[str, Any]]
TAKEN = {"create": {"status": 201}}
KNOWN = {"create": {"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": "there"}}}
BUSY = {"create": {"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "queue full"}}}
BAD = {
    "create": {
        "status": 400,
        "error": {"type": "document_parsing_exception", "reason": "field [n]", "caused_by": {"reason": "no number"}},
    }
}
FULL = {"create": {"status": 400, "error": {"type": "validation_exception", "reason": "1000 shards"}}}


class Message(NamedTuple):
    topic: str = "events"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = b""


class ScriptedServer:
    """Answers bulk requests as a test says, and remembers the ids of each request."""

    def __init__(self) -> None:
        self.answer: Callable[[list[str]], Answer] = lambda ids: (200, items(*[TAKEN] * len(ids)))
        self.requests: list[list[str]] = []


def items(*found: dict[str, Any]) -> dict[str, Any]:
    return {"errors": any(item is not TAKEN for item in found), "items": list(found)}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            lines = self.rfile.read(int(self.headers["content-length"])).splitlines()
            ids = [json.loads(line)["create"]["_id"] for line in lines[::2]]
            scripted.requests.append(ids)
            status, body = scripted.answer(ids)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("x-elastic-product", "Elasticsearch")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    scripted.url = f"http://127.0.0.1:{http.server_port}"  # type: ignore[attr-defined]
    yield scripted
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def write(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    monkeypatch.setattr(indexer, "FIRST_WAIT_S", 0.001)
    client = indexer.connect(ElasticsearchSettings(elasticsearch_url=server.url))  # type: ignore[attr-defined]

    def write_them(*ids: str, stop: threading.Event | None = None) -> Any:
        return Indexer(client).write([document(each) for each in ids], stop or threading.Event())

    yield write_them
    client.close()


def document(document_id: str) -> Document:
    lines = json.dumps({"create": {"_index": "events-2026.01", "_id": document_id}}) + "\n{}\n"
    return Document("events", lines.encode(), Message())


def test_what_is_taken_is_counted_by_kind(server: ScriptedServer, write: Callable[..., Any]) -> None:
    outcome = write("a", "b")
    assert (outcome.written, outcome.known, outcome.refused) == ({"events": 2}, {}, [])
    assert server.requests == [["a", "b"]]


def test_a_document_that_is_there_already_is_no_error(server: ScriptedServer, write: Callable[..., Any]) -> None:
    server.answer = lambda _: (200, items(TAKEN, KNOWN))
    outcome = write("a", "b")
    assert (outcome.written, outcome.known) == ({"events": 1}, {"events": 1})


def test_a_document_that_does_not_fit_is_refused_with_its_reason(
    server: ScriptedServer, write: Callable[..., Any]
) -> None:
    server.answer = lambda _: (200, items(TAKEN, BAD))
    (refusal,) = write("a", "b").refused
    assert refusal.document.lines == document("b").lines
    assert refusal.reason == "document_parsing_exception: field [n] (no number)"


@pytest.mark.parametrize("busy", [BUSY, FULL])
def test_only_what_was_not_taken_is_sent_again(
    server: ScriptedServer, write: Callable[..., Any], busy: dict[str, Any]
) -> None:
    server.answer = lambda ids: (200, items(busy, TAKEN, busy) if len(server.requests) == 1 else items(TAKEN, TAKEN))
    outcome = write("a", "b", "c")
    assert server.requests == [["a", "b", "c"], ["a", "c"]]
    assert outcome.written == {"events": 3}


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_a_server_that_refuses_everything_is_asked_until_it_takes(
    server: ScriptedServer, write: Callable[..., Any], status: int
) -> None:
    server.answer = lambda ids: (status, {}) if len(server.requests) < 4 else (200, items(TAKEN))
    assert write("a").written == {"events": 1}
    assert server.requests == [["a"]] * 4


@pytest.mark.parametrize("status", [400, 413])
def test_one_document_that_spoils_a_whole_request_is_found(
    server: ScriptedServer, write: Callable[..., Any], status: int
) -> None:
    server.answer = lambda ids: (status, {}) if "bad" in ids else (200, items(*[TAKEN] * len(ids)))
    outcome = write("a", "b", "bad", "c", "d")
    assert outcome.written == {"events": 4}
    assert [refusal.document.lines for refusal in outcome.refused] == [document("bad").lines]


def test_a_stop_ends_the_waiting(server: ScriptedServer, write: Callable[..., Any]) -> None:
    stop = threading.Event()

    def busy_and_stopping(_: list[str]) -> Answer:
        stop.set()
        return 503, {}

    server.answer = busy_and_stopping
    assert write("a", stop=stop) is None


def test_a_server_that_is_away_is_waited_for(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    monkeypatch.setattr(indexer, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(stop, "wait", lambda _: stop.set() or True)
    client = indexer.connect(ElasticsearchSettings(elasticsearch_url="http://127.0.0.1:9"))
    assert Indexer(client).write([document("a")], stop) is None
    client.close()
