"""Brings the saved objects into a running Kibana, through its HTTP API."""

import base64
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

from churn.logs import get_logger

REQUEST_TIMEOUT_S: Final = 60.0
WAIT_S: Final = 2.0
# Degraded: some plugin of Kibana complains, but dashboards can be imported and seen.
READY: Final = frozenset({"available", "degraded"})
_BOUNDARY: Final = "ebb-saved-objects-boundary"

log = get_logger(__name__)


class KibanaUnavailable(ConnectionError):
    """Kibana was not ready in time; says what it answered last."""


class ImportRefused(RuntimeError):
    """Kibana did not take the objects; says which and why."""


class KibanaApi:
    """Kibana at an address, asked as a user or, where security is off, as nobody."""

    def __init__(self, url: str, username: str | None = None, password: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"kbn-xsrf": "true"}
        if username:
            token = base64.b64encode(f"{username}:{password or ''}".encode()).decode()
            self._headers["authorization"] = f"Basic {token}"

    def wait_until_ready(self, timeout_s: float) -> None:
        """Return when Kibana says that it can work; raises `KibanaUnavailable` after the time-out."""
        deadline = time.monotonic() + timeout_s
        while True:
            state = self._state()
            if state in READY:
                return
            if time.monotonic() >= deadline:
                raise KibanaUnavailable(f"{self._url} was not ready after {timeout_s:.0f} s: {state}")
            log.info("waiting for Kibana", state=state)
            time.sleep(WAIT_S)

    def _state(self) -> str:
        try:
            return str(self._ask("GET", "/api/status")["status"]["overall"]["level"])
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        except (KeyError, TypeError):
            return "an answer without status.overall.level"

    def import_objects(self, ndjson: str) -> int:
        """Import the objects over those of the same id; returns how many. Raises `ImportRefused`."""
        body = (
            f"--{_BOUNDARY}\r\n"
            'Content-Disposition: form-data; name="file"; filename="dashboards.ndjson"\r\n'
            "Content-Type: application/x-ndjson\r\n\r\n"
            f"{ndjson}\r\n--{_BOUNDARY}--\r\n"
        )
        answer = self._change(
            "/api/saved_objects/_import?overwrite=true", body.encode(), f"multipart/form-data; boundary={_BOUNDARY}"
        )
        if not answer.get("success"):
            problems = "; ".join(
                f"{each.get('type')} {each.get('id')}: {json.dumps(each.get('error'))}"
                for each in answer.get("errors", [])
            )
            raise ImportRefused(f"{self._url} did not import everything: {problems or answer}")
        return int(answer["successCount"])

    def set_default_data_view(self, id: str) -> None:
        """Make this data view the one that Kibana opens first. Raises `ImportRefused`."""
        body = json.dumps({"data_view_id": id, "force": True}).encode()
        self._change("/api/data_views/default", body, "application/json")

    def change_settings(self, changes: Mapping[str, str]) -> None:
        """Change advanced settings, for everybody. Raises `ImportRefused`."""
        body = json.dumps({"changes": changes}).encode()
        self._change("/api/kibana/settings", body, "application/json")

    def _change(self, path: str, body: bytes, content_type: str) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._ask("POST", path, body, content_type)
            return answer
        except urllib.error.HTTPError as error:
            raise ImportRefused(f"{path}: {error.code} {error.read().decode(errors='replace')[:500]}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise KibanaUnavailable(f"{self._url}{path}: {type(error).__name__}: {error}") from error

    def _ask(self, method: str, path: str, body: bytes | None = None, content_type: str | None = None) -> Any:
        headers = self._headers | ({"content-type": content_type} if content_type else {})
        request = urllib.request.Request(f"{self._url}{path}", body, headers, method=method)
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:
            return json.loads(answer.read())
