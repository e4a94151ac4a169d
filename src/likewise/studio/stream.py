"""Stream: the journal of a run or comparison as server-sent events, from wherever the page was cut off.

The id of a message is the place in events.jsonl behind its last line, so that `Last-Event-ID` alone says what comes next:
the server remembers nothing of who follows, and no line is lost or sent twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from likewise import journal
from likewise.errors import RunError

EVERY = 0.4
"""Seconds between two looks at the file."""
ALIVE = 15.0
"""Seconds after which something is said, so that nobody takes the connection for dead."""
MOST = 400
"""Lines of one message."""


async def follow(folder: Path, offset: int, stands: Callable[[], str]) -> AsyncIterator[str]:
    """Messages without end: `lines` (a JSON list of events as written), `state` when it changes, `anew` when begun anew."""
    known, quiet, turn = "", 0.0, 0
    yield "retry: 1500\n\n"
    while True:
        try:
            found, behind = journal.lines(folder, offset)
        except RunError:
            offset = 0
            yield "event: anew\nid: 0\ndata: {}\n\n"
            continue
        for start in range(0, len(found), MOST):
            part = found[start : start + MOST]
            offset += sum(len(line) + 1 for line in part)
            yield f"event: lines\nid: {offset}\ndata: {_list(part)}\n\n"
        offset = behind
        now = stands() if found or turn % 4 == 0 else known
        if now != known:
            known = now
            yield f"event: state\ndata: {json.dumps(known)}\n\n"
            quiet = 0.0
        turn, quiet = turn + 1, 0.0 if found else quiet + EVERY
        if quiet >= ALIVE:
            quiet = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(EVERY)


def _list(lines: list[bytes]) -> str:
    """The lines as one JSON list; one that is no JSON, such as what a crash cut off, is left to the terminal."""
    texts = []
    for line in lines:
        text = line.decode("utf-8", "replace").strip()
        if text.startswith("{") and text.endswith("}") and "\r" not in text:
            texts.append(text)
    return f"[{','.join(texts)}]"


def answer(request: Request, folder: Path, stands: Callable[[], str]) -> Response:
    """The journal of a folder as it grows, from where the browser says that it was."""
    last = request.headers.get("last-event-id") or request.query_params.get("from", "0")
    offset = int(last) if last.isdecimal() and len(last) < 16 else 0
    return StreamingResponse(follow(folder, offset, stands), media_type="text/event-stream")
