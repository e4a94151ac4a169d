"""Each way in which pages on one's own machine were attacked before, tried on the real server over loopback.

The page is that of a ballot, so that its routes are the ones that are tried. Each test says what turns it red.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

pytest.importorskip("uvicorn", reason="the studio extra")
pytest.importorskip("starlette", reason="the studio extra")

from likewise.comparison.voting import VOTES, Ballot
from likewise.errors import ServingError, StorageError
from likewise.local import guard, pictures
from likewise.local.server import Server
from likewise.reports import booth
from tests.comparison.ballots import comparison
from tests.local.served import Site, served

ROUTES = ["/", "/results", "/api/next", "/pictures/x", "/static/page.css", "/static/booth.js", "/nowhere"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return comparison(tmp_path / "mugs")


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    with served(booth.app(Ballot(folder))) as found:
        found.enter()
        yield found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site for tests that change nothing."""
    with served(booth.app(Ballot(comparison(tmp_path_factory.mktemp("mugs"))))) as found:
        found.enter()
        yield found


def vote(site: Site) -> dict[str, str]:
    return {"showing": site.ask("/api/next").json["showing"], "choice": "left"}


# DNS rebinding ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ROUTES)
def test_a_foreign_host_is_refused_on_every_route(shared: Site, path: str) -> None:
    """Red where `_host` answers None for a host that ends with the port: a name that resolves to this machine would do."""
    port = shared.server.port
    for host in (f"evil.example:{port}", "evil.example", f"127.0.0.1.evil.example:{port}", "127.0.0.1:1", ""):
        found = shared.ask(path, Host=host)
        assert (found.status, "not served" in found.body.decode()) == (403, True), host
    assert shared.ask(path, Host=f"localhost:{port}").status < 405
    assert shared.ask(path, Host=f"LOCALHOST:{port}").status < 405


def test_two_hosts_or_none_are_refused(shared: Site) -> None:
    """Red where the first of several Host headers decides. The server refuses them too, so the guard is also asked alone."""
    for lines in (f"Host: {shared.host}\r\nHost: evil.example\r\n", ""):
        with socket.create_connection(("127.0.0.1", shared.server.port), timeout=20) as raw:
            request = f"GET / HTTP/1.1\r\n{lines}Cookie: {shared.cookie}\r\nConnection: close\r\n\r\n"
            raw.sendall(request.encode())
            status = int(raw.makefile("rb").readline().split()[1])
        assert status in (400, 403)
    told: list[guard.Message] = []

    async def send(message: guard.Message) -> None:
        told.append(message)

    alone = guard.Guard(_nothing, hosts={"a:1"}, token="t", name="n")
    for hosts in ([b"a:1", b"evil.example"], [b"evil.example", b"a:1"], []):
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"token=t"}
        asyncio.run(alone({**scope, "headers": [(b"host", host) for host in hosts]}, _never, send))
    assert [message["status"] for message in told if "status" in message] == [403] * 3


async def _never() -> guard.Message:
    raise AssertionError("a refused request is not read")


def test_a_host_is_refused_even_with_the_token(shared: Site) -> None:
    """Red where the token is looked at before the host."""
    found = shared.ask(f"/?token={shared.server.token}", Host="evil.example", Cookie=None)
    assert (found.status, "set-cookie" in found.headers) == (403, False)


# Who may ask --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("cookie", [None, "likewise=1", "likewise-{port}=", "likewise-{port}=guess", "x"])
def test_no_route_is_exempt_from_the_cookie(shared: Site, path: str, cookie: str | None) -> None:
    """Red where `_known` lets static files or pictures pass."""
    given = cookie and cookie.format(port=shared.server.port)
    assert shared.ask(path, Cookie=given).status == 401


def test_the_first_address_gives_a_cookie_that_scripts_and_other_sites_never_see(site: Site) -> None:
    """Red where HttpOnly or SameSite is left out, or the token itself becomes the cookie."""
    found = site.enter()
    assert (found.status, found.headers["location"]) == (303, "/")
    cookie = found.headers["set-cookie"]
    assert {part.strip() for part in cookie.split(";")[1:]} == {"Path=/", "HttpOnly", "SameSite=Strict"}
    assert site.server.token not in cookie
    assert site.ask("/").status == 200
    assert site.ask("/", Cookie=f'theirs={{"a": 1}}; {site.cookie}; more=2').status == 200, "others' cookies"


def test_a_wrong_token_opens_nothing_and_the_right_one_only_the_first_page(shared: Site) -> None:
    """Red where `_opens` compares a prefix, or heeds the token on every path."""
    token = shared.server.token
    assert len(token) >= 32
    for wrong in ("", token[:-1], token + "x", token.upper(), f"x&token={token}"):
        assert shared.ask(f"/?token={wrong}", Cookie=None).status == 401
    assert shared.ask(f"/api/next?token={token}", Cookie=None).status == 401
    assert shared.ask(f"/?token={token}", "POST", b"", Cookie=None).status == 401


def test_two_servers_have_other_secrets(folder: Path) -> None:
    """Red where token or cookie is a constant."""
    with served(booth.app(Ballot(folder))) as first, served(booth.app(Ballot(folder))) as second:
        first.enter()
        second.enter()
        assert first.server.token != second.server.token
        value = first.cookie.partition("=")[2]
        assert second.ask("/", Cookie=f"likewise-{second.server.port}={value}").status == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "example.org"])
def test_an_address_that_others_reach_is_refused(host: str) -> None:
    """Red where `_check` asks for no token."""
    with pytest.raises(ServingError, match=r"every address|other machines") as caught:
        Server(_nothing, host=host, port=0)
    assert caught.value.hint
    if host in ("0.0.0.0", "::"):
        with pytest.raises(ServingError, match="every address"):
            Server(_nothing, host=host, port=0, token="t" * 32)


def test_a_short_token_is_refused() -> None:
    """Red where any token of one's own will do."""
    with pytest.raises(ServingError, match="guessed"):
        Server(_nothing, port=0, token="secret")


async def _nothing(scope: guard.Message, receive: guard.Receive, send: guard.Send) -> None: ...


# Requests that other sites cause ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"Origin": None},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "https://{host}"},
        {"Origin": "http://localhost:{port}"},
        {"X-Likewise": None},
        {"X-Likewise": "yes"},
        {"Content-Type": None},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Cookie": None},
    ],
)
def test_only_the_page_itself_writes(shared: Site, change: dict[str, str | None]) -> None:
    """Red where `_write` leaves out origin, header or type."""
    data = vote(shared)
    names = {"host": shared.host, "port": str(shared.server.port)}
    found = shared.post("/api/votes", data, **{k: v and v.format(**names) for k, v in change.items()})
    assert found.status in (401, 403, 415)
    assert shared.ask("/api/next").json["done"] == 0


def test_the_page_itself_writes(site: Site, folder: Path) -> None:
    """The counterpart: red where every write is refused."""
    assert site.post("/api/votes", vote(site)).status == 200
    assert site.post("/api/votes", vote(site), Content_Type="application/json; charset=utf-8").status == 200
    assert len((folder / VOTES).read_text().splitlines()) == 2


def test_no_other_method_passes(shared: Site) -> None:
    """Red where the guard knows POST alone as a write."""
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        found = shared.ask("/api/votes", method)
        assert found.status == 403
        assert not [name for name in found.headers if name.startswith("access-control")]
    assert shared.ask("/api/votes").status == 405


def test_a_large_or_strange_body_is_refused(site: Site, folder: Path) -> None:
    """Red where the body is read to its end, or what it holds is believed."""
    assert site.post("/api/votes", {"showing": "x" * guard.MOST_BYTES, "choice": "left"}).status == 413
    shown = vote(site)["showing"]
    for data in (
        None, [], "left", {}, {"showing": shown}, {"showing": shown, "choice": "best"}, {"showing": [], "choice": "left"},
        {"showing": "../../etc/passwd", "choice": "left"}, {"showing": shown, "choice": {"left": 1}},
    ):  # fmt: skip
        found = site.post("/api/votes", data)
        assert (found.status, "error" in found.json) == (400, True), data
    head = {"Origin": f"http://{site.host}", "X-Likewise": "1", "Content-Type": "application/json"}
    assert site.ask("/api/votes", "POST", b"{broken", **head).status == 400
    assert not (folder / VOTES).exists()


# Files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/pictures/../comparison.json", "/pictures/..%2fcomparison.json", "/pictures/%2e%2e/comparison.json",
        "/pictures/..%5ccomparison.json", "/pictures//etc/passwd", "/pictures/%2fetc%2fpasswd",
        "/pictures/trials%2flora%2fgallery%2f0000.png", "/pictures/C:%5cwindows%5cwin.ini", "/pictures/%00",
        "/static/../booth.py", "/static/..%2fbooth.py", "/static/booth.py", "/static/report.js", "/comparison.json",
        "//etc/passwd",
    ],
)  # fmt: skip
def test_no_address_is_a_path(shared: Site, path: str) -> None:
    """Red where an id that is not known is tried as a file's name."""
    assert shared.ask(path).status == 404


def test_pictures_come_by_ids_that_tell_nothing(site: Site, folder: Path) -> None:
    """Red where the file is sent as it lies there: its text names prompt and model."""
    for file in folder.glob("trials/*/gallery/*.png"):
        with Image.open(file) as image:
            text = PngInfo()
            text.add_text("parameters", "a photo of sks mug, Model: lora")
            image.save(file, pnginfo=text)
    state = site.ask("/api/next").json
    for side in ("a", "b"):
        found = site.ask(f"/pictures/{state[side]}")
        assert (found.status, found.headers["content-type"]) == (200, "image/png")
        assert re.fullmatch(r"[0-9a-f]{24}", state[side])
        assert b"sks" not in found.body
        with Image.open(io.BytesIO(found.body)) as sent:
            assert sent.info == {}
    with served(booth.app(Ballot(folder))) as other:
        other.enter()
        assert other.ask(f"/pictures/{state['a']}").status == 404, "ids are others in every process"


@pytest.mark.parametrize("kind", ["file", "folder", "inside"])
def test_a_symbolic_link_is_not_followed(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    """Red where `confined` asks `is_relative_to` of the path as it is written."""
    elsewhere = tmp_path_factory.mktemp("secret")
    Image.new("RGB", (8, 8)).save(elsewhere / "0.png")
    given = folder / "pictures" / "train"
    target = {"file": elsewhere / "0.png", "folder": elsewhere, "inside": given / "1.png"}[kind]
    if kind == "folder":
        given.rename(given.with_name("former"))
        given.symlink_to(target)
    else:
        (given / "0.png").unlink()
        (given / "0.png").symlink_to(target)
    with served(booth.app(Ballot(folder))) as site:
        site.enter()
        first = re.findall(r"/pictures/([0-9a-f]+)", site.ask("/").body.decode())[0]
        assert site.ask(f"/pictures/{first}").status == 404


@pytest.mark.parametrize(
    "file", ["../outside.png", "/etc/hostname", "pictures/train/../../../outside.png", "a\0b"]
)
def test_a_file_outside_that_a_comparison_names_is_not_read(folder: Path, file: str) -> None:
    """Red where `confined` resolves and does not look where it came out."""
    Image.new("RGB", (8, 8)).save(folder.parent / "outside.png")
    album = pictures.Pictures(folder)
    assert album.png(album.add(file)) is None
    assert album.png(album.add("pictures/train/0.png")) is not None


def test_what_is_no_picture_is_not_sent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red where bytes are sent unread, or a picture of any size is unpacked."""
    (folder / "page.png").write_bytes(b"<script>alert(1)</script>")
    album = pictures.Pictures(folder)
    assert album.png(album.add("page.png")) is None
    assert album.png(album.add("comparison.json")) is None
    assert album.png(album.add("pictures")) is None
    monkeypatch.setattr(pictures, "MOST_PIXELS", 15 * 15)
    assert album.png(album.add("pictures/train/0.png")) is None


# What comes back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*ROUTES, "/?token=wrong"])
@pytest.mark.parametrize("known", [True, False])
def test_every_answer_has_the_headers(shared: Site, path: str, known: bool) -> None:
    """Red where `_secured` is left out of answers of the guard's own, or of an error's."""
    headers = shared.ask(path, **({} if known else {"Cookie": None})).headers
    assert {name: headers[name] for name in guard.HEADERS} == guard.HEADERS
    assert "server" not in headers


def test_what_fails_has_the_headers_and_tells_the_terminal_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Red where an exception passes the guard: the server's own answer has none of the headers."""

    async def breaks(scope: guard.Message, receive: guard.Receive, send: guard.Send) -> None:
        raise ValueError("secret")

    with served(breaks) as site:
        site.enter()
        found = site.ask("/")
    assert (found.status, b"secret" in found.body) == (500, False)
    assert {name: found.headers[name] for name in guard.HEADERS} == guard.HEADERS
    assert "GET / failed: ValueError: secret" in caplog.text


def test_an_expected_error_is_the_line_that_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red where the page's application has no handler for `Error`."""
    ballot = Ballot(folder)

    def full(*answer: object) -> None:
        raise StorageError("no space is left", "free some")

    monkeypatch.setattr(ballot, "cast", full)
    with served(booth.app(ballot)) as site:
        site.enter()
        found = site.post("/api/votes", vote(site))
    assert (found.status, found.json["error"].startswith("no space is left")) == (500, True)


def test_the_policy_allows_no_inline_code_and_the_pages_have_none(site: Site) -> None:
    """Red where a page brings a style or script of its own, or the policy allows one."""
    assert "unsafe" not in guard.POLICY
    for directive in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert directive in guard.POLICY
    texts = [site.ask("/").body.decode()]
    while "showing" in site.ask("/api/next").json:
        site.post("/api/votes", vote(site))
    texts.append(site.ask("/results").body.decode())
    for text in texts:
        assert "<style" not in text
        assert not re.search(r"<script(?![^>]* src=\"/static/)", text)
        assert not re.search(r"\s(style|on\w+)=", text)
        assert not re.search(r"(src|href)=\"(?!/|data:,)", text)


def test_words_of_a_comparison_are_escaped(folder: Path) -> None:
    """Red where a template marks a text as safe."""
    book = json.loads((folder / "comparison.json").read_text())
    (folder / "comparison.json").write_text(json.dumps(book | {"noun": "<img src=x onerror=alert(1)>"}))
    with served(booth.app(Ballot(folder))) as site:
        site.enter()
        text = site.ask("/").body.decode()
        assert "<img src=x" not in text
        assert "&lt;img src=x" in text


def test_a_port_that_is_taken_is_said_in_one_line(shared: Site) -> None:
    """Red where the exception of the system passes."""
    with pytest.raises(ServingError, match=f"127.0.0.1:{shared.server.port} cannot be served on") as caught:
        Server(_nothing, port=shared.server.port)
    assert "--port" in str(caught.value.hint)
