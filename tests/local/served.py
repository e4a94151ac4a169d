"""A page that is really served in a thread of the tests, and plain requests to it in which every header is chosen."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from likewise.local.guard import App
from likewise.local.server import Server


@dataclass(frozen=True)
class Answer:
    """Status, headers in lower case, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Site:
    """A server that runs, and a browser's cookie once `enter` was called."""

    def __init__(self, server: Server) -> None:
        self.server, self.cookie = server, ""
        self.host = f"127.0.0.1:{server.port}"

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str | None) -> Answer:
        """One request. `headers` replace the usual ones; None leaves one out; `_` in a name is a dash."""
        usual: dict[str, str | None] = {"Host": self.host, "Cookie": self.cookie or None}
        sent = usual | {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            found = connection.getresponse()
            return Answer(
                found.status, {name.lower(): value for name, value in found.getheaders()}, found.read()
            )
        finally:
            connection.close()

    def enter(self) -> Answer:
        """Open the printed address, and keep the cookie."""
        address = urlsplit(self.server.address)
        found = self.ask(f"{address.path}?{address.query}", Cookie=None)
        self.cookie = found.headers["set-cookie"].partition(";")[0]
        return found

    def post(self, path: str, data: Any, **headers: str | None) -> Answer:
        """What the page's own script sends, unless `headers` say otherwise."""
        own: dict[str, str | None] = {
            "Origin": f"http://{self.host}", "X-Likewise": "1", "Content-Type": "application/json",
        }  # fmt: skip
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask(path, "POST", json.dumps(data).encode(), **own | named)


@contextmanager
def served(app: App, **options: Any) -> Iterator[Site]:
    """`app` on a free port until the block ends."""
    server = Server(app, **{"port": 0, **options})
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield Site(server)
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive(), "the server did not stop"
