"""Server: the rehearsal site over HTTP on this machine, which fails in the ways of the real one when told to.

It listens on the loopback address only, and remembers what it was asked, so that a test can see both ends.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from likewise.errors import SurveyError
from likewise.survey.civitai import MODELS
from rehearsal.catalogue import Catalogue
from rehearsal.site import Site

FAULTS = {
    "429": "too many requests, with Retry-After",
    "429-pages": "too many pages; by cursor they could be had",
    "503": "not available, with Retry-After",
    "500-html": "an error as a page of HTML",
    "cut-json": "half of an answer",
    "html": "a page of HTML that says it is fine",
    "slow": "a body that drips",
    "hang-up": "the connection closes in the middle",
    "400-cursor": "a cursor that cannot be read",
    "401": "a key is wanted",
    "451": "not in this country",
    "redirect": "to another host",
    "loop": "the next page is the one before",
    "treadmill": "the next page is this one, under a new cursor",
    "hollow": "an empty page, and so on under ever new cursors",
    "deploy": "from here on, cursors of before cannot be read",
}
RETRY_AFTER = "1"
"""Seconds; the real site says 2."""
_HTML = b"<!doctype html><title>error</title><h1>Application error</h1>"
_STATUS: dict[str, tuple[int, bytes]] = {
    "429": (429, b'{"error":"Too many requests"}'),
    "429-pages": (429, b'{"error":"You\'ve requested too many pages, please use cursors instead"}'),
    "503": (503, b'{"message":"overloaded","code":"UNAVAILABLE"}'),
    "500-html": (500, _HTML),
    "html": (200, _HTML),
    "400-cursor": (400, b'{"error":"Invalid cursor"}'),
    "401": (401, b'{"error":"Unauthorized"}'),
    "451": (451, b'{"error":"Not available in your region"}'),
}
_DRIP = 0.1
_TURNS = {"loop": "", "treadmill": "0", "hollow": "0"}
"""What is put before a cursor where the next page is the same place: zeros change a cursor, but not what it means."""

Script = Callable[[int], str | None]


@dataclass(frozen=True)
class Request:
    """What came in: `at` is seconds of `time.monotonic`."""

    at: float
    host: str
    pairs: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]


class Rehearsal:
    """A site of its own thread inside `with`; `url` is where. `script` names the fault of the n-th request, from 1."""

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        quirks: Collection[str] = (),
        script: Script = lambda number: None,
        port: int = 0,
    ) -> None:
        self.site, self.script = Site(catalogue, quirks), script
        self.requests: list[Request] = []
        handler = type("Handler", (_Handler,), {"rehearsal": self})
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError as error:
            raise SurveyError(f"port {port} cannot be had: {error.strerror}", "try another --port") from None
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self) -> None:
        """Serve until interrupted."""
        self._thread.join()

    def take(self, request: Request) -> tuple[str | None, int, bytes]:
        """The fault of this request, if any, with status and body."""
        self.requests.append(request)
        fault = self.script(len(self.requests))
        if fault == "deploy":
            self.site.deployed += 1
        if fault in _STATUS:
            return fault, *_STATUS[fault]
        status, body = self.site.answer(request.pairs, "Authorization" in request.headers)
        cursor = dict(request.pairs).get("cursor")
        if cursor and status == 200 and fault in _TURNS:
            items = b"[" if fault == "hollow" else body[body.index(b"[") : body.rindex(b"]")]
            turn = json.dumps({"nextCursor": _TURNS[fault] + cursor, "rehearsal": True}).encode()
            body = b'{"items":' + items + b'],"metadata":' + turn + b"}"
        return fault, status, body


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    rehearsal: Rehearsal
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        host = self.headers.get("Host", "").partition(":")[0]
        pairs = tuple(parse_qsl(parts.query, keep_blank_values=True))
        if parts.path != MODELS:
            self._send(404, b'{"error":"Not found"}')
            return
        request = Request(time.monotonic(), host, pairs, dict(self.headers.items()))
        fault, status, body = self.rehearsal.take(request)
        if fault == "redirect" and host != "localhost":
            self._send(302, b"", {"Location": f"http://localhost:{self.rehearsal.port}{self.path}"})
        elif fault == "cut-json":
            self._send(status, body[: len(body) // 2])
        elif fault == "hang-up":
            self.wfile.write(self._head(status, len(body)) + body[: len(body) // 2])
            self.close_connection = True
        elif fault == "slow":
            self._drip(status, body)
        else:
            wait = {"Retry-After": RETRY_AFTER} if status in (429, 503) else {}
            self._send(status, body, wait)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """All in one write: two would wait for each other."""
        self.wfile.write(self._head(status, len(body), headers) + body)

    def _drip(self, status: int, body: bytes) -> None:
        self.wfile.write(self._head(status, len(body)))
        try:
            for start in range(len(body)):
                self.wfile.write(body[start : start + 1])
                time.sleep(_DRIP)
        except OSError:  # the client has had enough
            self.close_connection = True

    def _head(self, status: int, length: int, headers: Mapping[str, str] | None = None) -> bytes:
        """The date is that of the catalogue: the counts of a site stand at its own clock."""
        date = format_datetime(self.rehearsal.site.catalogue.date, usegmt=True)
        kind = {"Content-Type": "application/json", "Content-Length": str(length), "Date": date}
        lines = [
            f"HTTP/1.1 {status} -",
            *(f"{name}: {value}" for name, value in {**kind, **(headers or {})}.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: `requests` has it all."""
