"""What the page asks for, as an OpenAPI description that is made from the routes, and asked in every way: nothing fails.

No description is published, as the page's requests are no interface to rely on. This one says no more than the application
knows: paths, methods, which bodies are JSON and which are files. So schemathesis sends what the description allows and much
that it does not.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

schemathesis = pytest.importorskip(
    "schemathesis", reason="schemathesis is not installed: pip install schemathesis"
)

from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from starlette.routing import Mount, Route  # noqa: E402

from likewise.local.guard import RAW  # noqa: E402
from likewise.studio import facts, work  # noqa: E402
from likewise.studio.app import STREAMS, Studio, app  # noqa: E402
from tests.local.served import Site  # noqa: E402

ENDLESS = ("/events",)
"""A stream has no end to wait for; `test_stream.py` asks it."""
FIELDS = {
    "noun": "string", "token": "string", "concept": "string", "methods": "array", "conditions": "array", "size": "string",
    "previews": "array", "seeds": "integer", "settings": "object", "captions": "object", "remove": "array",
    "prompts": "array", "with": "array", "axes": "array", "count": "integer", "seed": "integer", "more": "integer",
    "place": "integer", "by": "integer", "id": "string", "ids": "array", "given": "object", "only": "string",
    "base": "string",
}  # fmt: skip
"""What bodies have in them, none of it needed."""
QUERY = ("find", "from", "concept", "base", "with", "at_most", "within", "memory", "must_load", "pictures")
EXAMPLES = {"name": ["dog", "2026-01-02-dog-lora-1", "2026-01-03-mug-1"], "kind": ["runs", "comparisons", "concepts"],
            "known": ["x"], "width": [320]}  # fmt: skip


def description(studio: Studio) -> dict[str, Any]:
    """OpenAPI 3.0 of every route that answers and ends."""
    paths: dict[str, Any] = {}
    for route in app(studio).routes:  # type: ignore[attr-defined]
        assert isinstance(route, Route | Mount)
        if isinstance(route, Mount) or route.path.endswith(ENDLESS):
            continue
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
        wanted = re.findall(r"\{(\w+)\}", path)
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": _named(name)} for name in wanted
        ]
        method = "post" if "POST" in (route.methods or ()) else "get"
        if method == "get":
            parameters += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in QUERY]
        operation: dict[str, Any] = {
            "parameters": parameters,
            "responses": {"default": {"description": "an answer"}},
        }
        if method == "post":
            operation["requestBody"] = {"content": _body(path)}
        paths.setdefault(path, {})[method] = operation
    return {"openapi": "3.0.3", "info": {"title": "the studio's page", "version": "1"}, "paths": paths}


def _named(name: str) -> dict[str, Any]:
    if name == "width":
        return {"type": "integer"}
    return {"anyOf": [{"type": "string", "enum": EXAMPLES[name]}, {"type": "string", "minLength": 1}]} \
        if name in EXAMPLES else {"type": "string", "minLength": 1}  # fmt: skip


def _body(path: str) -> dict[str, Any]:
    if path.startswith(tuple(STREAMS)):
        return {RAW: {"schema": {"type": "string", "format": "binary"}}}
    return {
        "application/json": {
            "schema": {"type": "object", "properties": {k: {"type": t} for k, t in FIELDS.items()}}
        }
    }


@pytest.mark.slow
def test_no_request_makes_the_studio_fail(site: Site, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red where an answer is 500: a route that believes what it is sent. Nothing that is asked for is really begun."""
    monkeypatch.setattr(work, "_alone", lambda *_: None)
    monkeypatch.setattr(facts, "run", lambda *_: {"error": "nothing is asked here"})
    operations = [
        found.ok() for found in schemathesis.openapi.from_dict(description(Studio(root))).get_all_operations()
    ]
    assert len(operations) > 35
    failed: set[str] = set()
    for operation in operations:
        for mode in schemathesis.GenerationMode:
            try:
                _ask(site, operation, mode, failed)
            except Exception as error:  # a path without a body cannot be wrong
                if type(error).__name__ not in ("Unsatisfiable", "SkipTest", "SerializationNotPossible"):
                    raise
    assert not failed


def _ask(site: Site, operation: Any, mode: Any, failed: set[str]) -> None:
    @settings(max_examples=12, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(operation.as_strategy(generation_mode=mode))
    def every(case: Any) -> None:
        path = quote(case.formatted_path, safe="/%")
        if case.query:
            path += "?" + urlencode(case.query, doseq=True, errors="replace")
        raw = operation.path.startswith(tuple(STREAMS))
        kind = RAW if raw else "application/json"
        head = {"Origin": f"http://{site.host}", "X_Likewise": "1", "Content_Type": kind}
        body = None if case.method == "GET" else b"not a picture" if raw else _bytes(case.body)
        status = site.ask(path, case.method, body, **head).status
        if status >= 500:
            failed.add(f"{case.method} {path} {body!r}"[:400])

    every()


def _bytes(body: Any) -> bytes:
    try:
        return json.dumps(body).encode()
    except (TypeError, ValueError):  # a body that is not set
        return b""
