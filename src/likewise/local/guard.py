"""Guard: what every request to a page on this machine must be, before any route sees it.

A browser also carries out what other sites tell it to. So the Host is on a list (DNS rebinding), a cookie that only the
printed address gives out must come along, and what changes something must come from a script of the page itself. No route is
exempt. It is plain ASGI, and knows no page.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs

logger = logging.getLogger(__name__)
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

HEADER = "x-likewise"
"""Must be `1` on a write: no form and no link can set it, and no other site may without being asked about it first."""
MOST_BYTES = 64_000
"""The largest body of a request, but for files that are sent as they are."""
RAW = "application/octet-stream"
"""What a file is sent as: no form of another site can say so."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_READS = ("GET", "HEAD")


class Guard:
    """`app` behind every check. `hosts` are the allowed Host headers, port included; `name` is the cookie's.

    The page opens at `/?token=...`: that gives the cookie and leads to `/`, so that no address on screen keeps the token.
    `streams` has paths' beginnings below which a file may be sent as it is, and how many bytes of it: only there is a body
    not JSON, and it is passed on piece by piece. `cookie` is a secret that outlives this process, else there is a new one.
    """

    def __init__(
        self,
        app: App,
        *,
        hosts: Collection[str],
        token: str,
        name: str,
        streams: Mapping[str, int] = MappingProxyType({}),
        cookie: str | None = None,
    ) -> None:
        self.app, self.hosts, self.name = app, frozenset(hosts), name
        self.streams = streams
        self._token, self._cookie = token, cookie or secrets.token_urlsafe(32)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request; websockets are closed, as no page here uses them."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        headers = _headers(scope)
        refused = self._host(headers)
        if refused is None and self._opens(scope, headers):
            cookie = f"{self.name}={self._cookie}; Path=/; HttpOnly; SameSite=Strict"
            await _answer(send, 303, "", {"location": "/", "set-cookie": cookie})
            return
        most = self._streamed(scope)
        refused = refused or self._known(headers) or self._write(scope["method"], headers, most is not None)
        if refused is not None:
            await _answer(send, *refused)
            return
        if most is None and scope["method"] not in _READS:
            body = await _body(receive)
            if body is None:
                await _answer(send, 413, f"a request has {MOST_BYTES} bytes at most")
                return
            receive = _again(body, receive)
        await self._pass(scope, receive, send, most)

    async def _pass(self, scope: Message, receive: Receive, send: Send, most: int | None) -> None:
        """Let the application answer. What it fails with is logged, and told to nobody else.

        Of a streamed body it hears no more than `most` bytes. What it would say of one that is longer is not sent.
        """
        begun, size = False, 0

        async def watched(message: Message) -> None:
            nonlocal begun
            if begun or most is None or size <= most:
                begun = True
                await send(message)

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if most is not None and size > most:
                raise _TooLongError(f"a file here has {most:,} bytes at most")
            return message

        try:
            await self.app(scope, counted, _secured(watched))
        except _TooLongError as error:
            if not begun:
                await _answer(send, 413, str(error))
        except Exception as error:
            logger.error("%s %s failed: %s: %s", scope["method"], scope["path"], type(error).__name__, error)
            if not begun:
                await _answer(send, 500, "this failed; the terminal says why")

    def _host(self, headers: dict[str, list[str]]) -> tuple[int, str] | None:
        if len(headers.get("host", ())) == 1 and headers["host"][0].lower() in self.hosts:
            return None
        return 403, "this address is not served here"

    def _opens(self, scope: Message, headers: dict[str, list[str]]) -> bool:
        if scope["method"] != "GET" or scope["path"] != "/":
            return False
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
        return len(given) == 1 and _same(given[0], self._token)

    def _known(self, headers: dict[str, list[str]]) -> tuple[int, str] | None:
        # Cookies of other programs on this machine come along too, in whatever form.
        for cookie in ";".join(headers.get("cookie", ())).split(";"):
            name, _, value = cookie.strip().partition("=")
            if name == self.name and _same(value, self._cookie):
                return None
        return 401, "open the address that likewise printed in the terminal; it ends with a token"

    def _streamed(self, scope: Message) -> int | None:
        """The most bytes of the file that is sent to this path; None where a body must be JSON."""
        if scope["method"] != "POST":
            return None
        return next((most for start, most in self.streams.items() if scope["path"].startswith(start)), None)

    def _write(self, method: str, headers: dict[str, list[str]], raw: bool = False) -> tuple[int, str] | None:
        """Whether it only reads, or was sent by a script of the page and nothing else."""
        if method in _READS:
            return None
        if headers.get("origin") != [f"http://{headers['host'][0].lower()}"]:
            return 403, "only the page itself may change something"
        if headers.get(HEADER) != ["1"]:
            return 403, f"the header {HEADER} is missing"
        kinds = [kind.partition(";")[0].strip().lower() for kind in headers.get("content-type", ())]
        if raw:
            return None if kinds == [RAW] else (415, f"a file is sent as {RAW}")
        return None if kinds == ["application/json"] else (415, "only JSON is taken")


class _TooLongError(Exception):
    """A streamed body beyond its limit."""


def _headers(scope: Message) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _same(given: str, wanted: str) -> bool:
    """Compared in a time that does not tell how much of it is right."""
    return secrets.compare_digest(given.encode(), wanted.encode())


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None where it is too long, of which no more is read."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            return None
        if not message.get("more_body"):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body, and then whatever else comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return waiting.pop() if waiting else await receive()

    return give


def _secured(send: Send) -> Send:
    """A `send` that puts `HEADERS` on every answer; a route may set its own caching, and nothing else of them."""

    async def pass_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = [(name.lower(), value) for name, value in message.get("headers", ())]
            caches = any(name == b"cache-control" for name, _ in given)
            ours = {
                name.encode(): value.encode()
                for name, value in HEADERS.items()
                if not (caches and name == "cache-control")
            }
            message["headers"] = [pair for pair in given if pair[0] not in ours] + list(ours.items())
        await send(message)

    return pass_on


async def _answer(send: Send, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    """An answer of the guard's own, one line of plain text."""
    body = f"{text}\n".encode() if text else b""
    named = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **(headers or {})}
    pairs = [(name.encode(), value.encode()) for name, value in named.items()]
    send = _secured(send)
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
