"""The two pages of a service, on a thread of their own: /healthz for who restarts it, /metrics for Prometheus."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

MAX_SILENCE_S: Final = 30.0


class PageUnavailable(OSError):
    """The pages cannot be shown at this address."""


class Health(NamedTuple):
    """Alive: its loop turns. Progressing: nothing waits, or something was done in the last half minute."""

    is_alive: bool
    is_progressing: bool
    seconds_since_turn: float
    waiting: int

    @property
    def is_good(self) -> bool:
        return self.is_alive and self.is_progressing


class Progress:
    """Told by the loop of a service after every turn, asked by its page. `now_s` gives seconds that only grow."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._turned_s = self._done_s = now_s()
        self._waiting = 0

    def turn(self, *, waiting: int, has_done: bool) -> None:
        """One turn of the loop is over: so much waits still, and whether any of it was done."""
        self._turned_s, self._waiting = self._now_s(), waiting
        if has_done or not waiting:
            self._done_s = self._turned_s

    def health(self) -> Health:
        now = self._now_s()
        silence_s = now - self._turned_s
        is_progressing = not self._waiting or now - self._done_s < MAX_SILENCE_S
        return Health(silence_s < MAX_SILENCE_S, is_progressing, round(silence_s, 3), self._waiting)


@contextmanager
def shown(bind: str, port: int, registry: CollectorRegistry, progress: Progress) -> Iterator[int]:
    """Show the pages while the context lasts; gives their port, a free one for port 0. Raises `PageUnavailable`."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif self.path == "/healthz":
                health = progress.health()
                status = HTTPStatus.OK if health.is_good else HTTPStatus.SERVICE_UNAVAILABLE
                self._answer(status, "application/json", json.dumps(health._asdict()).encode())
            else:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"/healthz or /metrics\n")

        def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *values: object) -> None:
            """Not a line per request."""

    try:
        server = ThreadingHTTPServer((bind, port), Page)
    except OSError as error:
        raise PageUnavailable(f"/healthz and /metrics on {bind}:{port}: {error.strerror}; set another port") from None
    thread = Thread(target=server.serve_forever, name="pages", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
