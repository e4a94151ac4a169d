"""Identity: what makes a run the same run, wherever its folder, its pictures and its base lie.

Pictures count by their bytes, the base by its weights, the recipe by its settings. Paths are only where to look first: a run
that was moved, renamed or copied together with its pictures and its base finds them again.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import likewise
from likewise import intake, methods, records
from likewise.cache import key
from likewise.concept import Concept
from likewise.errors import RunError
from likewise.files import expand
from likewise.intake.listing import READ_ERRORS
from likewise.lengthening import is_finished, lengthened
from likewise.picture import Example
from likewise.resuming import SavedState
from likewise.stack import Job

SCHEMA = 2
"""The version of run.toml's layout. Version 1 knew pictures by their paths and the base by its name."""


def described(jobs: Sequence[Job], method: str, base: str, fingerprint: str) -> dict[str, Any]:
    """What run.toml says of who a run is: its jobs with pictures by place and content, its method, its base."""
    pictures = [_digest(job.concept) for job in jobs]
    plan: dict[str, Any] = {
        "schema": SCHEMA,
        "likewise": likewise.__version__,
        "base": base,
        "base_fingerprint": fingerprint,
        "method": method,
        "pictures": None if None in pictures else pictures,
        "job": [
            {"recipe": job.recipe.model_dump(mode="json"), "concept": _placed(job.concept)} for job in jobs
        ],
    }
    essence = [fingerprint, pictures, _settings(plan)]
    return plan | {"identity": key(json.dumps(essence, sort_keys=True, default=str))}


def keep(folder: Path, asked: dict[str, Any]) -> None:
    """Write what is asked for into run.toml. An earlier plan that produced nothing gives way to it; else another run's
    raises `RunError`, and the same run's is told anew where things lie."""
    if (folder / "run.toml").exists():
        stored, begun = (
            records.read_plan(folder),
            SavedState(folder).path.exists() or records.read_result(folder),
        )
        try:
            refuse_other(folder, stored, asked)
            if asked["pictures"] is None:
                return  # nothing is known of them now that would not be known already
            if "identity" in stored or begun:
                asked = {**asked, "identity": stored.get("identity")}  # the checkpoint's, whatever made it
        except RunError:
            if begun:
                raise
            shutil.rmtree(folder / "samples", ignore_errors=True)
            (folder / "events.jsonl").unlink(missing_ok=True)
    records.write_plan(folder, asked)


def refuse_other(folder: Path, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise `RunError` unless the run that is `stored` in `folder` is the one that is `asked` for."""
    if _settings(stored) != _settings(asked):
        raise RunError(f"{folder} holds another run", "use another --out folder")
    if base_differs(stored, asked):
        raise RunError(
            f"{folder} was taught on {stored['base']}, and {asked['base']} is another base",
            "name its own with --base, or use another --out folder",
        )
    then, now = stored.get("pictures"), asked.get("pictures")
    if then and now and then != now:
        raise RunError(
            f"the pictures have changed since the run in {folder} began",
            "use another --out folder, or put the pictures back",
        )


def base_differs(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether these are two different bases. Weights decide; a run of version 1 knows only a name."""
    then, now = stored.get("base_fingerprint"), asked.get("base_fingerprint")
    return then != now if then and now else bool(stored["base"] != asked["base"])


def opened(folder: Path, pictures: intake.Source | None = None) -> tuple[dict[str, Any], tuple[Job, ...]]:
    """The plan that a folder was made for, and its jobs with their pictures where they are now.

    They are looked for where they were, then where they would be had the folder been moved with them. Where `pictures` are
    given, they are found there by their content and nowhere else. Raises `RunError` where the run is not finished and some
    are not found, or where `pictures` do not hold them.
    """
    plan, there = records.read_plan(folder), _by_content(pictures)
    moved = records.Moved(plan.get("folder"), Path(folder))
    jobs = tuple(
        Job(
            Concept.from_json(_found(job["concept"], moved, there)),
            methods.get(plan["method"]).recipe().stored(job["recipe"]),
        )
        for job in plan["job"]
    )
    if pictures is not None:
        every = [example for job in jobs for example in _pictures(job.concept)]
        if other := [example for example in every if _digest(example) not in there]:
            raise RunError(
                f"{len(other)} of the {len(every)} pictures of {folder} are not among those given ({other[0].name})",
                "a run goes on with its own pictures; teach others in a new run",
            )
    if not is_finished(records.read_result(folder), lengthened(jobs, int(plan.get("more_steps", 0)))):
        refuse_lost(folder, jobs, "--resume")
    return plan, jobs


def refuse_lost(folder: Path, jobs: Sequence[Job], option: str) -> None:
    """Raise `RunError` where pictures of the jobs are not there, with the option that says where they are now."""
    if lost := [e for job in jobs for e in _pictures(job.concept) if not e.path.exists()]:
        raise RunError(
            f"{len(lost)} pictures of {folder} are not in {lost[0].path.parent} any more",
            f"say where they are now: likewise teach {option} {shlex.quote(str(folder))} PICTURES",
        )


def _settings(plan: Mapping[str, Any]) -> Any:
    """Method and recipes with every default of today filled in, and what the concepts are called."""
    recipe = methods.get(plan["method"]).recipe()
    jobs = [
        (
            recipe.stored(job["recipe"]).model_dump(mode="json"),
            job["concept"]["token"],
            job["concept"]["noun"],
        )
        for job in plan["job"]
    ]
    return [plan["method"], jobs]


def _digest(of: Concept | Example) -> str | None:
    """None where pictures cannot be read, of which training says more."""
    try:
        return of.digest()
    except (*READ_ERRORS, LookupError):
        return None


def _placed(concept: Concept) -> dict[str, Any]:
    """The concept for run.toml: where each picture lies, absolutely, and the SHA-256 of its bytes."""
    head = concept.to_json()
    for part, rows in _rows(head):
        for row, example in zip(rows, getattr(concept, part), strict=True):
            row["path"] = str(expand(row["path"]).absolute())
            row["sha256"] = row.get("sha256") or _digest(example)
    return head


def _found(head: Mapping[str, Any], moved: records.Moved, there: Mapping[str, Example]) -> dict[str, Any]:
    """The same with each picture where it is now."""
    head = {
        name: [dict(row) for row in value] if isinstance(value, list) else value
        for name, value in head.items()
    }
    known = {field.name for field in fields(Example)}
    for _, rows in _rows(head):
        for row in rows:
            places = [(Path(path), row.get("member")) for path in moved.places(row["path"])]
            if (given := there.get(row.get("sha256", ""))) is not None:
                places.insert(0, (given.path, given.member))
            same = (
                place for place in places if _digest(Example(place[0], member=place[1])) == row.get("sha256")
            )
            existing = (place for place in places if place[0].exists())
            path, row["member"] = next(same, None) or next(existing, places[0])
            row["path"] = str(path)
            for name in row.keys() - known:
                del row[name]
    return head


def _rows(head: Mapping[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The parts of a concept that list pictures."""
    yield from ((name, value) for name, value in head.items() if isinstance(value, list))


def _pictures(concept: Concept) -> list[Example]:
    return [example for part, _ in _rows(concept.to_json()) for example in getattr(concept, part)]


def _by_content(pictures: intake.Source | None) -> dict[str, Example]:
    if pictures is None:
        return {}
    found = intake.read(pictures)
    every = (*found.examples, *found.class_pictures)
    return {digest: replace(e, caption=None) for e in every if (digest := _digest(e))}
