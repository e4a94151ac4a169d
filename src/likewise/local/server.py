"""Server: one application on one address of this machine, behind the guard, until somebody stops it.

Only a loopback address is served without a token of one's own; any other would be open to the network.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from likewise.errors import ServingError
from likewise.local import HOST, PORT, missing
from likewise.local.guard import App, Guard

if TYPE_CHECKING:
    import uvicorn

SHORTEST_TOKEN = 16
_GRACE_SECONDS = 1


class Server:
    """`app` at `address`, which it listens on from now on, though nothing is answered before `run`.

    `port` 0 is any free one. Raises `ServingError` for an address that is taken, not this machine's or not safe, and where
    uvicorn is not installed. `more` goes to the guard.
    """

    def __init__(
        self, app: App, *, host: str = HOST, port: int = PORT, token: str | None = None, **more: Any
    ) -> None:
        try:
            import uvicorn
        except ModuleNotFoundError:
            raise missing("uvicorn") from None
        _check(host, token)
        self._socket = _listen(host, port)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        self.token = token or secrets.token_urlsafe(24)
        names = {_named(name) for name in {host, *(_LOOPBACK if is_loopback(host) else ())}}
        hosts = {f"{name}:{self.port}" for name in names} | (names if self.port == 80 else set())
        guard = Guard(app, hosts=hosts, token=self.token, name=f"likewise-{self.port}", **more)
        settings = uvicorn.Config(
            guard, http="h11", ws="none", lifespan="off", log_level="critical", access_log=False,
            proxy_headers=False, server_header=False, timeout_graceful_shutdown=_GRACE_SECONDS,
        )  # fmt: skip
        self._server: uvicorn.Server = uvicorn.Server(settings)

    @property
    def address(self) -> str:
        """What to open in a browser. It holds the token, so it is for this person alone."""
        return f"http://{_named(self.host)}:{self.port}/?token={quote(self.token)}"

    def run(self) -> None:
        """Answer until `stop` or Ctrl-C, which raises KeyboardInterrupt once the requests at hand are answered."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Let `run` return, from another thread."""
        self._server.should_exit = True


_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check(host: str, token: str | None) -> None:
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise ServingError(f"a token of {len(token)} letters can be guessed", f"{SHORTEST_TOKEN} at least")
    if host in ("", "0.0.0.0", "::"):
        raise ServingError(
            f"{host or 'an empty address'} stands for every address of this machine",
            "name the one to serve on",
        )
    if token is None and not is_loopback(host):
        raise ServingError(
            f"{host} can be reached from other machines", f"serve on {HOST}, or give a token of your own"
        )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ServingError(
            f"{host}:{port} cannot be served on: {error.strerror}",
            "name another with --port; 0 is any free one",
        ) from None


def _named(host: str) -> str:
    """A host as an address writes it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host.lower()
