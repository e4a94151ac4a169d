"""The run folder: its names, its files and its listing. The folder is the database; nothing else holds state.

run.toml          what was asked for, with every default filled in; enough to repeat the run
events.jsonl      what happened, as it happened; `journal` writes and reads it
checkpoint/       the newest resumable state
samples/          previews by step
*.safetensors     what was learned
result.json       what it cost, on which machine, and how it ended
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import tomlkit

from likewise import journal
from likewise.errors import RunError, StorageError
from likewise.events import Failed, Stopped
from likewise.files import encodable, expand, is_full, storing, write_text

logger = logging.getLogger(__name__)
STOP = "stop-asked"
Status = Literal["planned", "running", "stopped", "failed", "dead", "done"]
CLOCK_SECONDS = 2.0
"""By so much the beginning of one and the same process may seem to move, when the clock is corrected."""
_ELSEWHERE = "name another folder with --out"


def new_folder(root: Path, concept: str, method: str = "") -> Path:
    """`root/<date>-<concept>-<method>-<n>` with the first free n; created, so that two starts cannot share it.

    A comparison is of many methods, so its folder names none.
    """
    stem = "-".join(filter(None, (f"{datetime.date.today():%Y-%m-%d}", concept, method)))
    for n in range(1, 100_000):
        folder = Path(root) / f"{stem}-{n}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise _unwritable(Path(root), error) from None
        return folder
    raise RunError(f"{root} is full of folders called {stem}", _ELSEWHERE)


def check_writable(folder: Path) -> None:
    """Refuse, before minutes of work, a folder that could not be written after them; nothing is left behind.

    Whether one may write is tried, as permissions do not tell it of every filesystem. Raises `RunError`.
    """
    there = Path(folder).absolute()
    if not encodable(str(there)):
        raise RunError(f"{there} has bytes that are no letters in its name", _ELSEWHERE)
    try:
        while not there.exists():
            there = there.parent
        if not there.is_dir():
            raise RunError(f"{there} is a file, not a folder", _ELSEWHERE)
        tempfile.TemporaryDirectory(prefix=".likewise-", dir=there).cleanup()
    except OSError as error:
        raise _unwritable(there, error) from None


def _unwritable(folder: Path, error: OSError) -> RunError | StorageError:
    if is_full(error):
        return StorageError(f"no space is left in {folder}", "free some")
    return RunError(f"{folder} cannot be written: {error.strerror}", _ELSEWHERE)


class Moved:
    """Where things that a folder's files name by path may be now, had the folder been moved together with them."""

    def __init__(self, then: str | None, now: Path) -> None:
        self.then, self.now = then, str(Path(now).absolute())

    def places(self, path: str) -> list[str]:
        """The path itself, and the one that lies to the folder's new place as the path did to the old one."""
        if self.then in (None, self.now) or not os.path.isabs(path):
            return [path]
        try:
            beside = os.path.relpath(path, self.then)
        except ValueError:  # another drive, which does not move with the folder
            return [path]
        return [path, os.path.normpath(os.path.join(self.now, beside))]


def base_of(folder: Path) -> str:
    """The base that a run was taught on: its place now, where it lies on this disk, else its name."""
    plan = read_plan(folder)
    places = Moved(plan.get("folder"), Path(folder)).places(str(plan["base"]))
    return next((place for place in places if os.path.exists(place)), places[0])


def called(base: str) -> str:
    """What others may know of a base's name: no folders of the person who taught on it."""
    return Path(base).name if os.path.isabs(base) else base


def write_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Write run.toml; values that are empty are left out, as TOML has no null."""
    write_text(Path(folder) / "run.toml", tomlkit.dumps(without_none(plan)))


def read_plan(folder: Path) -> dict[str, Any]:
    """Read run.toml back; raises `RunError` where there is none, it is damaged or of another program."""
    path = Path(folder) / "run.toml"
    try:
        plan = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{folder} is not a run", "a run folder holds run.toml; `likewise runs` lists them"
        ) from None
    except (ValueError, OSError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None
    try:
        _ = plan["base"], plan["method"], plan["job"][0]
        _ = [(job["concept"]["name"], job["concept"]["token"], job["recipe"]) for job in plan["job"]]
    except (LookupError, TypeError):
        raise RunError(
            f"{path} does not say what to teach", "it is another program's, or was changed"
        ) from None
    return plan


def is_run(folder: Path) -> bool:
    """Whether a run folder lies here, finished or not."""
    return any((Path(folder) / name).is_file() for name in ("run.toml", "result.json"))


def read_result(folder: Path) -> dict[str, Any] | None:
    """result.json, or None while the run is not finished."""
    path = Path(folder) / "result.json"
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = result["status"], result["files"]
        return result
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError) as error:
        raise RunError(f"{path} cannot be read: {error}", "delete it and resume the run") from None
    except (LookupError, TypeError):
        raise RunError(f"{path} does not say how the run ended", "delete it and resume the run") from None


def finished(folder: Path) -> dict[str, Any]:
    """result.json of a finished run; raises `RunError` that says how the run stands where it left none."""
    result = read_result(folder)
    if result is not None:
        return result
    stands = status(folder)
    if stands == "running":
        raise RunError(f"{folder} is being taught now, and has left nothing yet", "wait until it is finished")
    raise RunError(
        f"{folder} is not finished: it is {stands}", f"go on with it: likewise teach --resume {folder}"
    )


def together(folder: Path, result: Mapping[str, Any]) -> list[Path]:
    """The files of a finished run that act together: one of each concept.

    Of a concept with several seeds that is the first seed's, which is logged: all of them would put it on a base several
    times over.
    """
    files = [Path(folder) / name for name in result["files"]]
    if len(files) == 1:
        return files
    jobs = read_plan(folder)["job"]
    if len(jobs) != len(files):
        raise RunError(f"{folder} has {len(files)} files of {len(jobs)} jobs", "name one of the files")
    of: dict[str, list[Path]] = {}
    for job, file in zip(jobs, files, strict=True):
        of.setdefault(job["concept"]["token"].lower(), []).append(file)
    for token, (first, *others) in of.items():
        if others:
            logger.warning(
                "%s taught %r with %d seeds, and %s is taken; name a file to take another, such as %s",
                Path(folder).name, token, 1 + len(others), first.name, others[0],
            )  # fmt: skip
    return [first for first, *_ in of.values()]


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write result.json, atomically."""
    write_text(Path(folder) / "result.json", json.dumps(result, indent=1, ensure_ascii=False))


def status(folder: Path) -> Status:
    """How a run stands, from what its folder holds. Raises `RunError` where no run lies there or it cannot be read.

    running  a living process holds it
    done     its result belongs to all steps that were asked for
    stopped  somebody asked it to stop, and it goes on when it is resumed
    failed   an error ended it; the last line of events.jsonl says which
    dead     it is not finished, and the process that worked on it is gone without a word
    planned  nothing has happened yet
    """
    lock = Path(folder) / "lock"
    if held(folder):
        return "running"
    if _is_done(read_plan(folder), read_result(folder)):
        return "done"
    match journal.last(folder):
        case Stopped():
            return "stopped"
        case Failed():
            return "failed"
        case None if not lock.exists():
            return "planned"
        case _ if _heeded(folder) and not lock.exists():
            return "stopped"
        case _:
            return "dead"


def held(folder: Path) -> bool:
    """Whether a living process works in this folder."""
    lock = Path(folder) / "lock"
    return lock.exists() and _owner(lock) is not None


def _is_done(plan: Mapping[str, Any], result: Mapping[str, Any] | None) -> bool:
    """A result may be that of the steps before more were asked for."""
    more = int(plan.get("more_steps", 0))
    if result is None or not more:
        return result is not None
    return int(result.get("steps", 0)) >= more + max(job["recipe"].get("steps", 0) for job in plan["job"])


def ask_to_stop(folder: Path) -> None:
    """Ask whoever trains in this folder, or is about to, to finish the step, save and stop."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / STOP).touch()


def stop_asked(folder: Path) -> bool:
    """Whether the run was asked to stop."""
    return (Path(folder) / STOP).exists()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, made if need be, for one process; a lock left by a dead process is taken over.

    What the dead one was asked goes with its lock. A wish to stop that came before the lock was taken stands, unless work
    went on after it: then an earlier start has heeded it.
    """
    lock, asked = Path(folder) / "lock", Path(folder) / STOP
    lock.parent.mkdir(parents=True, exist_ok=True)
    while not _take(lock):
        owner = _owner(lock)
        if owner is not None and owner != os.getpid():
            raise RunError(f"{folder} is being trained by process {owner}", "wait for it, or stop it")
        asked.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
    if _heeded(folder):
        asked.unlink(missing_ok=True)
    try:
        yield
    finally:
        for left in (asked, lock):
            with suppress(OSError):  # a disk that became read-only; a lock of the dead is taken over
                left.unlink(missing_ok=True)


def _heeded(folder: Path) -> bool:
    """Whether a wish to stop lies here that is older than the newest event; the first version 0.1 let it lie."""
    asked, written = Path(folder) / STOP, Path(folder) / "events.jsonl"
    try:
        return asked.stat().st_mtime_ns < written.stat().st_mtime_ns
    except OSError:
        return False


def _take(lock: Path) -> bool:
    """Make the lock with its content in one step, so that none is ever seen empty; False where there is one."""
    import psutil

    own = lock.with_name(f".lock.{os.getpid()}.tmp")
    try:
        with storing(lock):
            own.write_text(f"{os.getpid()} {psutil.Process().create_time()}", encoding="utf-8")
        os.link(own, lock)
    except FileExistsError:
        return False
    except OSError:  # a filesystem without links
        if lock.exists():
            return False
        own.replace(lock)
    finally:
        own.unlink(missing_ok=True)
    return True


def _owner(lock: Path) -> int | None:
    """The living process that took the lock. Its number alone says little: the system gives it to others later."""
    try:
        number, _, began = lock.read_text(encoding="utf-8").partition(" ")
        return int(number) if lives(int(number), float(began) if began else None) else None
    except (OSError, ValueError):
        return None


def lives(number: int, began: float | None) -> bool:
    """Whether the process lives that had this number and began then; one that has ended and is not waited for does not."""
    import psutil

    try:
        process = psutil.Process(number)
        theirs = began is None or abs(process.create_time() - began) < CLOCK_SECONDS
        return theirs and process.status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:  # another person's, so that its beginning cannot be asked for
        return True
    except psutil.NoSuchProcess:
        return False


def self_of(number: int) -> tuple[int, float]:
    """A living process as `lives` asks for it."""
    import psutil

    return number, psutil.Process(number).create_time()


def runs(root: Path) -> list[dict[str, Any]]:
    """The `row` of every run under `root`, newest first."""
    found = sorted(expand(root).glob("**/run.toml"), key=lambda p: p.stat().st_mtime, reverse=True)
    return [row(path.parent) for path in found]


def row(folder: Path) -> dict[str, Any]:
    """One run in short: folder, method, concept, token, base, status, number of files, steps, seconds, bytes.

    `concept`, `token` and `noun` are the first job's, and `jobs` has them and the seed of every one. `machine` is what the
    seconds were measured on; None in results of before it was kept.
    """
    try:
        plan, done, stands = read_plan(folder), read_result(folder) or {}, status(folder)
    except RunError as error:
        return {"folder": str(folder), "status": f"unreadable: {error.message}"}
    concept = plan["job"][0]["concept"]
    return {
        "folder": str(folder),
        "method": plan["method"],
        "concept": concept["name"],
        "token": concept["token"],
        "noun": concept["noun"],
        "jobs": [_brief(job) for job in plan["job"]],
        "base": called(str(plan["base"])),
        "status": stands,
        "files": len(done["files"]) if done else None,
        "steps": done.get("steps"),
        "seconds": done.get("seconds"),
        "bytes": done.get("bytes"),
        "machine": done.get("machine"),
    }


def _brief(job: Mapping[str, Any]) -> dict[str, Any]:
    concept = job["concept"]
    return {
        "concept": concept["name"],
        "token": concept["token"],
        "noun": concept["noun"],
        "seed": job["recipe"].get("seed"),
    }


def without_none(value: Any) -> Any:
    """`value` without its empty entries, which TOML cannot say."""
    if isinstance(value, Mapping):
        return {key: without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, (list, tuple)):
        return [without_none(inner) for inner in value if inner is not None]
    return value
