"""The stream of a run's journal: every line once, from wherever the page was, while the run goes on."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from likewise import journal
from likewise.events import Warned
from tests.local.served import Site

NAME = "2026-01-02-dog-lora-1"


def messages(site: Site, path: str, last: str | None = None) -> Iterator[tuple[str, str, str]]:
    """(event, id, data) of each message, as a browser reads them."""
    connection = http.client.HTTPConnection("127.0.0.1", site.server.port, timeout=20)
    headers = {"Host": site.host, "Cookie": site.cookie} | ({"Last-Event-ID": last} if last else {})
    connection.request("GET", path, headers=headers)
    found = connection.getresponse()
    assert found.getheader("content-type", "").startswith("text/event-stream")
    fields: dict[str, str] = {}
    try:
        for raw in found:
            line = raw.decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                yield fields.get("event", ""), fields.get("id", ""), fields["data"]
                fields = {}
    finally:
        connection.close()


def lines_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_every_line_comes_once_and_a_cut_stream_goes_on_behind_the_last(site: Site, root: Path) -> None:
    """Red where the id is not the place behind the last line: a page that comes back loses lines, or has them twice."""
    folder = root / "runs" / NAME
    stream = messages(site, f"/runs/{NAME}/events")
    heard, last = [], ""
    for event, place, data in stream:
        if event == "lines":
            heard, last = json.loads(data), place
            break
    stream.close()
    assert heard == lines_of(folder)
    journal.append(folder, Warned("one more"))
    for event, place, data in messages(site, f"/runs/{NAME}/events", last):
        if event == "lines":
            assert [one["text"] for one in json.loads(data)] == ["one more"]
            assert int(place) == (folder / "events.jsonl").stat().st_size
            break


def test_a_line_that_is_not_whole_yet_waits_and_a_journal_begun_anew_is_told(site: Site, root: Path) -> None:
    folder = root / "runs" / NAME
    path = folder / "events.jsonl"
    place = str(path.stat().st_size)
    with path.open("ab") as file:
        file.write(b'{"event": "war')
    stream = messages(site, f"/runs/{NAME}/events", place)
    threading.Timer(1.0, lambda: path.open("ab").write(b'ned", "time": 1, "text": "whole"}\n')).start()
    (data,) = (data for event, _, data in [next(m for m in stream if m[0] == "lines")])
    assert json.loads(data)[0]["text"] == "whole"
    path.write_bytes(b"")
    assert next(m for m in stream if m[0] == "anew")[1] == "0"


def test_many_pages_watch_one_run_and_each_hears_all(site: Site, root: Path) -> None:
    """Fifty at once, while lines are written. Red where who follows shares what was read."""
    folder, heard = root / "runs" / NAME, [list[object]() for _ in range(50)]
    total = len(lines_of(folder)) + 60

    def watch(mine: list[object]) -> None:
        for event, _, data in messages(site, f"/runs/{NAME}/events"):
            mine += json.loads(data) if event == "lines" else []
            if len(mine) >= total:
                return

    threads = [threading.Thread(target=watch, args=(mine,), daemon=True) for mine in heard]
    for thread in threads:
        thread.start()
    for number in range(60):
        journal.append(folder, Warned(str(number)))
        time.sleep(0.01)
    for thread in threads:
        thread.join(40)
    assert all(mine == lines_of(folder) for mine in heard)


def test_a_strange_place_begins_at_the_beginning(site: Site, root: Path) -> None:
    for last in ("-1", "x", "1e9", "9" * 40, "²"):
        event, _, _ = next(
            m
            for m in messages(site, f"/runs/{NAME}/events", last.encode().decode("latin-1"))
            if m[0] == "lines"
        )
        assert event == "lines"
