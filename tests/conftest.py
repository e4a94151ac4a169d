"""What holds for every test: one thread, no network, and no trace in the home of whoever runs them.

With more threads, tiny models get ten to forty times slower as soon as another job shares the cores; and a
test that quietly reaches a server passes only where there is one. Bases and concepts: see tests/contracts.
"""

import ipaddress
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # read once, when torch is imported
os.environ["HF_HUB_OFFLINE"] = "1"

NETWORK = os.environ.get("LIKEWISE_TEST_NETWORK") == "1"


def pytest_configure(config: pytest.Config) -> None:
    """Give likewise a home of its own: set before any module is imported that may look it up."""
    home = tempfile.TemporaryDirectory(prefix="likewise-tests-", ignore_cleanup_errors=True)
    os.environ["LIKEWISE_HOME"] = home.name
    config.add_cleanup(home.cleanup)
    # A test runner in the background may ignore Ctrl-C, and every process that it starts would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("network") and not NETWORK:
            item.add_marker(pytest.mark.skip(reason="needs the network: LIKEWISE_TEST_NETWORK=1"))
        if item.get_closest_marker("gpu") and not has_accelerator():
            item.add_marker(pytest.mark.skip(reason="needs an accelerator"))


def has_accelerator() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Keep torch, where a test module has imported it, to one thread whatever the test before it set."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Refuse every connection and name that is not this machine's own, with an error that says so."""
    if NETWORK:
        yield
        return
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        refuse_unless_local(self.family, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        refuse_unless_local(self.family, address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_unless_local(socket.AF_INET, (host,))
        return getaddrinfo(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield


class NetworkBlocked(ConnectionRefusedError):
    """A test tried to leave this machine. An OSError, which is what code meets that is really offline."""


def refuse_unless_local(family: int, address: Any) -> None:
    if family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple):
        return
    host = address[0].decode() if isinstance(address[0], bytes) else address[0]
    if host not in (None, "", "localhost") and not is_loopback(host):
        raise NetworkBlocked(f"tests may not reach {host!r}: mark the test `network`, or use a local server")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture
def told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is an event of its own as soon as it is taken, so that a test can stop at a certain one."""
    monkeypatch.setattr("likewise.telling.SECONDS", -1.0)
