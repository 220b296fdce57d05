"""The import waits for Kibana, reads its answer and says what went wrong."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from kibana import importing
from kibana.__main__ import generated, main

Answer = tuple[int, Any]


class FakeKibana:
    """Answers as a test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: dict[str, Callable[[], Answer]] = {
            "/api/status": lambda: (200, {"status": {"overall": {"level": "available"}}}),
            "/api/saved_objects/_import?overwrite=true": lambda: (200, {"success": True, "successCount": 5}),
            "/api/data_views/default": lambda: (200, {"acknowledged": True}),
            "/api/kibana/settings": lambda: (200, {"settings": {}}),
        }
        self.asked: list[tuple[str, dict[str, str], bytes]] = []

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]


@pytest.fixture
def kibana(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKibana]:
    fake = FakeKibana()
    monkeypatch.setattr(importing, "WAIT_S", 0.001)
    for name in ("ELASTICSEARCH_USERNAME", "ELASTICSEARCH_PASSWORD"):
        monkeypatch.delenv(name, raising=False)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            fake.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            status, answer = fake.answers[self.path]()
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_boards_are_imported_over_the_old_ones_and_customers_become_the_default(kibana: FakeKibana) -> None:
    assert main(["import", "--url", kibana.url]) == 0
    assert kibana.paths() == list(kibana.answers)
    _, headers, body = kibana.asked[1]
    assert headers["kbn-xsrf"] == "true"
    assert "authorization" not in headers
    head, _, rest = body.decode().partition("\r\n\r\n")
    boundary = headers["content-type"].partition("boundary=")[2]
    assert head.startswith(f"--{boundary}\r\n")
    assert 'name="file"' in head
    assert rest == f"{generated()}\r\n--{boundary}--\r\n"
    assert json.loads(kibana.asked[2][2]) == {"data_view_id": "customers", "force": True}


def test_kibana_opens_with_the_first_board_and_counts_days_as_the_boards_do(kibana: FakeKibana) -> None:
    assert main(["import", "--url", kibana.url]) == 0
    settings = {"defaultRoute": "/app/dashboards#/view/churn-risk", "dateFormat:tz": "UTC"}
    assert json.loads(kibana.asked[3][2]) == {"changes": settings}


def test_it_asks_as_the_user_of_elasticsearch(kibana: FakeKibana, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTICSEARCH_USERNAME", "elastic")
    monkeypatch.setenv("ELASTICSEARCH_PASSWORD", "secret")
    assert main(["import", "--url", kibana.url]) == 0
    assert {headers["authorization"] for _, headers, _ in kibana.asked} == {"Basic ZWxhc3RpYzpzZWNyZXQ="}


@pytest.mark.parametrize(
    "not_ready",
    [
        (503, {"status": {"overall": {"level": "critical"}}}),
        (200, {"status": {"overall": {"level": "unavailable"}}}),
        (200, b"Kibana server is not ready yet"),
        (200, {}),
        (200, []),
    ],
)
def test_it_waits_until_kibana_is_ready(kibana: FakeKibana, not_ready: Answer) -> None:
    ready = (200, {"status": {"overall": {"level": "degraded"}}})
    kibana.answers["/api/status"] = lambda: not_ready if len(kibana.asked) < 3 else ready
    assert main(["import", "--url", kibana.url]) == 0
    assert kibana.paths()[:4] == ["/api/status"] * 3 + ["/api/saved_objects/_import?overwrite=true"]


def test_a_kibana_that_never_gets_ready_ends_the_command(
    kibana: FakeKibana, capsys: pytest.CaptureFixture[str]
) -> None:
    kibana.answers["/api/status"] = lambda: (200, {"status": {"overall": {"level": "unavailable"}}})
    assert main(["import", "--url", kibana.url, "--timeout", "0"]) == 1
    assert f"{kibana.url} was not ready after 0 s: unavailable" in capsys.readouterr().err


def test_a_kibana_that_is_not_there_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "--url", "http://127.0.0.1:9", "--timeout", "0"]) == 1
    assert "http://127.0.0.1:9 was not ready after 0 s" in capsys.readouterr().err


def test_an_answer_of_200_that_is_no_success_is_an_error(
    kibana: FakeKibana, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = {"type": "dashboard", "id": "churn-risk", "error": {"type": "missing_references"}}
    kibana.answers["/api/saved_objects/_import?overwrite=true"] = lambda: (200, {"success": False, "errors": [problem]})
    assert main(["import", "--url", kibana.url]) == 1
    assert 'dashboard churn-risk: {"type": "missing_references"}' in capsys.readouterr().err
    assert "/api/data_views/default" not in kibana.paths()


@pytest.mark.parametrize(
    "path", ["/api/saved_objects/_import?overwrite=true", "/api/data_views/default", "/api/kibana/settings"]
)
def test_a_refusal_is_said_with_its_status(kibana: FakeKibana, capsys: pytest.CaptureFixture[str], path: str) -> None:
    kibana.answers[path] = lambda: (422, {"message": "belongs to a more recent version of Kibana"})
    assert main(["import", "--url", kibana.url]) == 1
    error = capsys.readouterr().err
    assert "422" in error
    assert "more recent version" in error
