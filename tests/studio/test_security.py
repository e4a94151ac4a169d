"""Every row of the table of attacks on local pages, tried on every route of the studio over loopback."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Mount, Route

from likewise.local import guard
from likewise.studio.app import Studio, app
from tests.local.served import Site

NAMES = {"kind": "runs", "name": "2026-01-02-dog-lora-1", "known": "x", "width": "320"}


def routes(root: Path) -> list[tuple[str, str]]:
    """(method, path) of every route that the application has, so that a new one is tried as well."""
    found = []
    for route in app(Studio(root)).routes:  # type: ignore[attr-defined]
        path = re.sub(r"\{(\w+)(:\w+)?\}", lambda at: NAMES.get(at[1], "x"), route.path)
        assert isinstance(route, Route | Mount)
        methods = getattr(route, "methods", None) or {"GET"}
        found.append(
            ("POST" if "POST" in methods else "GET", path + ("/" if isinstance(route, Mount) else ""))
        )
    return found


def ask(site: Site, method: str, path: str, **headers: Any) -> int:
    raw = path.startswith(("/upload/", "/import/"))
    own = {"Origin": f"http://{site.host}", "X_Likewise": "1",
           "Content_Type": guard.RAW if raw else "application/json"} if method == "POST" else {}  # fmt: skip
    return site.ask(path, method, b"{}" if method == "POST" else None, **{**own, **headers}).status


def test_every_route_wants_its_host_and_the_cookie(site: Site, root: Path) -> None:
    """Red where a route is served beside the guard, streams of events and uploads among them."""
    listed = routes(root)
    assert len(listed) > 35
    for method, path in listed:
        assert ask(site, method, path, Host=f"evil.example:{site.server.port}") == 403, path
        assert ask(site, method, path, Cookie=None) == 401, path
        assert ask(site, method, path, Cookie=f"likewise-{site.server.port}=guess") == 401, path


def test_every_write_wants_origin_header_and_type(site: Site, root: Path) -> None:
    """Red where a path that takes files is let through by its path alone."""
    writes = [path for method, path in routes(root) if method == "POST"]
    assert {"/upload/2026-01-02-dog-lora-1", "/import/file"} <= set(writes)
    for path in writes:
        for change in (
            {"Origin": None}, {"Origin": "http://evil.example"}, {"X_Likewise": None}, {"Content_Type": "text/plain"},
            {"Content_Type": "multipart/form-data; boundary=x"}, {"Content_Type": None},
        ):  # fmt: skip
            assert ask(site, "POST", path, **change) in (403, 415), (path, change)


def test_a_stream_takes_no_json_and_json_no_stream(site: Site) -> None:
    assert ask(site, "POST", "/upload/dog", Content_Type="application/json") == 415
    assert ask(site, "POST", "/api/concepts", Content_Type=guard.RAW) == 415


@pytest.mark.parametrize(
    "place", ["/runs/", "/comparisons/", "/concepts/", "/files/", "/static/", "/pictures/runs/x/"]
)
@pytest.mark.parametrize(
    "name", ["..", "%2e%2e%2fsecret", "..%5csecret", "%2fetc%2fpasswd", "%00", "a%2f..%2f..%2fsecret"]
)
def test_no_name_is_a_path(site: Site, root: Path, place: str, name: str) -> None:
    """Red where a name is joined to a folder instead of being looked up."""
    (root.parent / "secret").mkdir()
    found = site.ask(place + name)
    assert found.status in (404, 405), found.body[:200]


def test_links_are_not_followed(site: Site, root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "run.toml").write_text("x = 1")
    (root / "runs" / "linked").symlink_to(outside)
    (outside / "secret.safetensors").write_bytes(b"x")
    (root / "library").mkdir()
    (root / "library" / "linked.safetensors").symlink_to(outside / "secret.safetensors")
    assert site.ask("/runs/linked").status == 404
    assert site.ask("/files/~linked.safetensors").status == 404


def test_a_file_of_a_result_that_lies_elsewhere_is_not_given(site: Site, root: Path) -> None:
    """Red where result.json is believed."""
    (root / "secret.safetensors").write_bytes(b"x")
    result = root / "runs" / NAMES["name"] / "result.json"
    text = result.read_text()
    name = re.search(r'"files": \[\s*"([^"]+)"', text)
    assert name
    result.write_text(text.replace(name[1], "../../secret.safetensors"))
    assert site.ask(f"/files/{NAMES['name']}~secret.safetensors").status == 404


def test_the_first_pages_have_the_headers_and_no_inline_code(site: Site) -> None:
    """Red where a template brings a style, a script or a handler of its own."""
    for path in ("/", "/teach?concept=dog", "/compare?concept=dog", "/library", "/queue", "/draw", "/settings", "/survey",
                 "/concepts/dog", f"/runs/{NAMES['name']}", "/comparisons/2026-01-03-mug-1", "/nowhere",
                 "/comparisons/2026-01-03-mug-1/live", "/comparisons/2026-01-03-mug-1/choose"):  # fmt: skip
        found = site.ask(path)
        assert {name: found.headers[name] for name in guard.HEADERS} == guard.HEADERS, path
        text = found.body.decode()
        assert "<style" not in text, path
        assert not re.search(r"<script(?![^>]* (src=\"/static/|type=\"application/json\"))", text), path
        assert not re.search(r"<[^>]*\s(style|on\w+)=\"", re.sub(r"(?s)<script.*?</script>", "", text)), path


def test_words_of_people_are_escaped(site: Site) -> None:
    evil = "<img src=x onerror=alert(1)></script>"
    name = site.post("/api/concepts", {"noun": evil[:50]}).json["name"]
    for path in ("/", f"/concepts/{name}", f"/teach?concept={name}"):
        text = site.ask(path).body.decode()
        assert "<img src=x" not in text, path
        assert "onerror=alert(1)></script>" not in text, path


def test_no_value_becomes_an_option(site: Site) -> None:
    """Red where a value stands alone in a command: `--out=/etc` as a noun or a prompt."""
    asked = {
        "concept": "dog",
        "methods": ["lora"],
        "noun": "--out=/x",
        "previews": ["--base=/x"],
        "token": "--help",
    }
    (line,) = site.post("/api/teach/command", asked).json["commands"]
    assert "--noun=--out=/x" in line.replace("'", "")
    assert "--preview=--base=/x" in line.replace("'", "")
    assert site.post("/api/teach/command", {**asked, "settings": {"lora": {"--out": "/x"}}}).status == 400
    (drawn,) = site.post("/api/draw", {"prompts": ["--out=/x"], "only": "command"}).json["commands"]
    assert drawn.endswith("-- --out=/x")


@pytest.mark.parametrize("body", [None, [], "x", 1, {"concept": ["dog"]}, {"concept": {"a": 1}}, {"concept": "x" * 9999},
                                  {"methods": "lora"}, {"concept": "dog", "methods": [[]], "settings": [1]}])  # fmt: skip
def test_a_strange_body_is_refused_in_words(site: Site, root: Path, body: Any) -> None:
    """Red where what is sent is believed: nothing here may answer 500."""
    for method, path in routes(root):
        if (
            method == "POST"
            and not path.startswith(("/upload", "/import"))
            and path not in ("/api/doctor", "/api/queue/pause")
        ):
            status = site.post(path, body).status
            assert status < 500, path


def test_a_cookie_outlives_the_server_and_a_token_does_not(root: Path) -> None:
    """Red where a page that is open is shut out by a restart, or where the secret can be read by others."""
    from tests.studio.conftest import studio_of

    with studio_of(root) as first:  # type: ignore[attr-defined]
        first.enter()
        token, value = first.server.token, first.cookie.partition("=")[2]
    with studio_of(root) as second:  # type: ignore[attr-defined]
        assert second.server.token != token
        assert second.ask("/", Cookie=f"likewise-{second.server.port}={value}").status == 200
    (kept,) = (root.parent / "home" / "studio").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    assert value.encode() not in kept.read_bytes()
