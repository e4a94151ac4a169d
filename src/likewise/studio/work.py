"""Work: what is asked for on the page, as commands of likewise in processes of their own, one at a time.

`queue/` below the root has a file per command that waits, named in the order in which they are done. Whoever holds its lock
(`python -m likewise.studio.work ROOT`, started by the server and living on without it) takes the first, does it, and takes
the next one. A folder that something was asked for in has `asked.json` and `output.log`.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from likewise import records
from likewise.errors import RunError
from likewise.files import write_text

ASKED, OUTPUT, QUEUE, PAUSED, NOW = "asked.json", "output.log", "queue", "paused", "now.json"
_ALONE: dict[str, Any] = (
    {"creationflags": 0x00000008 | 0x00000200} if os.name == "nt" else {"start_new_session": True}
)
"""How a process is started that outlives this one; on Windows detached and in a group of its own."""
TRIES = 8
"""How often a new worker looks whether the one before it is done, half a second apart."""


def environment() -> dict[str, str]:
    """Variables of a command: the package from where this process has it, and plain text as in a file."""
    path = os.pathsep.join(part for part in sys.path if part)
    return {**os.environ, "PYTHONPATH": path, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}


def ask(folder: Path, command: Sequence[str], **facts: Any) -> None:
    """Note in a folder what is to be done there; `facts` describe it until the work does so itself."""
    asked = {"command": list(command), "facts": facts, "time": time.time()}
    write_text(folder / ASKED, json.dumps(asked, ensure_ascii=False))


def read(folder: Path) -> dict[str, Any]:
    """What was asked for in a folder; empty where nothing was."""
    try:
        found = json.loads((folder / ASKED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def state(folder: Path) -> str:
    """How something stands that has written nothing of its own yet: waiting, starting, done or failed."""
    asked = read(folder)
    if asked.get("withdrawn"):
        return "stopped"
    if "code" in asked:
        return "done" if asked["code"] == 0 else "failed"
    if "process" in asked:
        return "starting" if records.lives(*asked["process"]) else "failed"
    return "waiting"


def said(folder: Path, lines: int = 12) -> str:
    """The last lines that the command printed."""
    try:
        with (folder / OUTPUT).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8000))
            return "\n".join(file.read().decode("utf-8", "replace").strip().splitlines()[-lines:])
    except OSError:
        return ""


def shell(command: Sequence[str]) -> str:
    """The command as a person would type it."""
    return shlex.join(["likewise", *command])


def perform(folder: Path, command: Sequence[str], root: Path) -> int:
    """Do a command for a folder, whose number and end go into its asked.json; returns the exit code."""
    process = _start(folder, command, root)
    code = process.wait()
    write_text(folder / ASKED, json.dumps({**read(folder), "code": code}, ensure_ascii=False))
    return code


def begin(folder: Path, commands: Sequence[Sequence[str]], root: Path, **facts: Any) -> None:
    """Do commands one after the other, at once and beside the queue, in a process that lives on without this one."""
    ask(folder, commands[0], commands=[list(one) for one in commands], **facts)
    _alone([str(root), str(folder)], root)


def _start(folder: Path, command: Sequence[str], root: Path) -> subprocess.Popen[bytes]:
    with (folder / OUTPUT).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "likewise", *command],
            cwd=root, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, **_ALONE,
        )  # fmt: skip
    known = {**read(folder), "command": list(command), "process": records.self_of(process.pid)}
    known = {key: value for key, value in known.items() if key not in ("code", "withdrawn")}
    write_text(folder / ASKED, json.dumps(known, ensure_ascii=False))
    return process


# The queue ----------------------------------------------------------------------------------------------


def enqueue(root: Path, folder: Path, command: Sequence[str], title: str) -> None:
    """Put a command at the end of the queue, and see to it that somebody does it."""
    last = max([number for number, _ in waiting(root)], default=0)
    item = {"folder": str(folder), "command": list(command), "title": title}
    write_text(root / QUEUE / f"{last + 10:08d}.json", json.dumps(item, ensure_ascii=False))
    wake(root)


def waiting(root: Path) -> list[tuple[int, dict[str, Any]]]:
    """(place, what) of everything that waits, in order."""
    found = []
    for path in sorted((root / QUEUE).glob("[0-9]*.json")):
        try:
            found.append((int(path.stem), json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError):
            continue
    return found


def current(root: Path) -> dict[str, Any] | None:
    """What is being done."""
    try:
        found: dict[str, Any] = json.loads((root / QUEUE / NOW).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def reorder(root: Path, place: int, by: int) -> None:
    """Let an item change places with the one before (-1) or after it (1)."""
    places = [number for number, _ in waiting(root)]
    if place not in places or not 0 <= (other := places.index(place) + by) < len(places):
        return
    one, two, spare = (root / QUEUE / f"{number:08d}.json" for number in (place, places[other], 99_999_999))
    one.rename(spare)
    two.rename(one)
    spare.rename(two)


def withdraw(root: Path, place: int) -> None:
    """Take an item out of the queue, and note in its folder that it is not wanted any more."""
    item = dict(waiting(root)).get(place)
    (root / QUEUE / f"{place:08d}.json").unlink(missing_ok=True)
    if item and (asked := read(folder := Path(item["folder"]))):
        write_text(folder / ASKED, json.dumps({**asked, "withdrawn": True}, ensure_ascii=False))


def place_of(root: Path, folder: Path) -> int | None:
    """Where something waits; None where it does not."""
    return next((place for place, item in waiting(root) if item.get("folder") == str(folder)), None)


def pause(root: Path, yes: bool) -> None:
    """Begin nothing new, or go on. What is being done is not touched."""
    flag = root / QUEUE / PAUSED
    if yes:
        flag.parent.mkdir(parents=True, exist_ok=True)
        flag.touch()
    else:
        flag.unlink(missing_ok=True)
        wake(root)


def paused(root: Path) -> bool:
    """Whether nothing new is begun."""
    return (root / QUEUE / PAUSED).exists()


def wake(root: Path) -> None:
    """Start somebody who does what waits; whoever is there already goes on, and the new one goes away."""
    _alone([str(root)], root)


def _alone(arguments: Sequence[str], root: Path) -> None:
    """A worker of its own. This process waits for it only so that it does not seem to live on once it has ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "likewise.studio.work", *arguments],
        cwd=root, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        **_ALONE,
    )  # fmt: skip
    threading.Thread(target=process.wait, daemon=True).start()


def main(root: Path, folder: Path | None = None) -> None:
    """Do what waits, until nothing does or somebody pauses the queue: one process per root does so. Or, for a `folder`, the
    commands that are asked for there, until one fails."""
    if folder is not None:
        for command in read(folder).get("facts", {}).get("commands", ()):
            if perform(folder, command, root):
                return
        return
    for _ in range(TRIES):
        try:
            with records.locked(root / QUEUE):
                _settle(root)
                while not paused(root) and (first := next(iter(waiting(root)), None)):
                    _take(root, *first)
                return
        except RunError:
            time.sleep(0.5)


def _take(root: Path, place: int, item: dict[str, Any]) -> None:
    try:
        (root / QUEUE / f"{place:08d}.json").rename(root / QUEUE / NOW)
    except OSError:  # withdrawn meanwhile
        return
    try:
        perform(Path(item["folder"]), item["command"], root)
    except OSError:  # its folder is gone
        pass
    finally:
        (root / QUEUE / NOW).unlink(missing_ok=True)


def _settle(root: Path) -> None:
    """Wait for what a worker before began, if that was ended and its work lives on."""
    while item := current(root):
        if "code" in (asked := read(Path(item["folder"]))) or not (
            "process" in asked and records.lives(*asked["process"])
        ):
            (root / QUEUE / NOW).unlink(missing_ok=True)
            return
        time.sleep(1)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
