"""Step 10: render what the judge learns individuals from, and what it is tried on.

Bodies are the thousand random objects of pybullet and eight kinds of our own (`bodies.py`), each from `VIEWS` sides as `surfaces.py` has
them. Portraits are avatars in companies of one colour scheme, with `VIEWS` expressions each. Cut-outs of the world are there
already (`rasterise`). What is held out is never taught: one body in `HELD`, one kind whole, and three styles of avatars.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from workshop import bodies, meshes
from workshop.common import options, settle
from workshop.fetch import obtain, sources
from workshop.portraits import Studio, company, moods
from workshop.surfaces import SIZE, of_mesh, view

SEED = 707
VIEWS = 8
HELD = 25
HELD_KIND = "swimmer"
HELD_STYLES = ("adventurer", "bottts", "notionists")
"""Of the suite, which nothing is taught with."""
OF_A_KIND, COMPANIES, COMPANY = 160, 6, 8


def random_objects(wheel: Path, few: int | None) -> Iterator[tuple[dict[str, Any], bodies.Surface]]:
    """pybullet's random objects, by number."""
    with zipfile.ZipFile(wheel) as files:
        names = sorted(
            n for n in files.namelist() if re.fullmatch(r"pybullet_data/random_urdfs/(\d+)/\1\.obj", n)
        )
        for number, name in enumerate(names[:few]):
            mesh = meshes.read(files.read(name).decode(), np.eye(3))
            if not np.isfinite(mesh.corners).all():  # a few of the files hold places that are no numbers
                continue
            row = {"kind": "object", "name": Path(name).stem, "held": number % HELD == 0}
            yield row, of_mesh(mesh)


def own_body(kind: str, number: int, step: float = bodies.STEP) -> bodies.Surface:
    """One body of a kind, by number."""
    rng = np.random.default_rng([SEED, list(bodies.KINDS).index(kind), number])
    return bodies.assembled(bodies.KINDS[kind](rng), step)


def our_own(few: int | None) -> Iterator[tuple[dict[str, Any], bodies.Surface]]:
    """Bodies put together by rule."""
    for kind in bodies.KINDS:
        for number in range(few or OF_A_KIND):
            held = kind == HELD_KIND or number % HELD == 0
            yield {"kind": kind, "name": str(number), "held": held}, own_body(kind, number)


def render_bodies(few: int | None) -> tuple[list[dict[str, Any]], np.ndarray]:
    """A row for each body, and its views one after another: (n * VIEWS, 6, 64, 64) bytes."""
    wheel = obtain(next(row for row in sources("judge_sources.toml") if row["form"] == "wheel"))
    rows, pictures = [], []
    for number, (row, surface) in enumerate(chain(random_objects(wheel, few), our_own(few))):
        rng = np.random.default_rng([SEED + 1, number])
        rows.append({"source": "body", **row})
        pictures += [view(surface, rng.uniform(0, 360), rng.uniform(-5, 40)) for _ in range(VIEWS)]
    return rows, np.stack(pictures)


def render_portraits(folder: Path) -> tuple[list[dict[str, Any]], np.ndarray]:
    """A row for each avatar, and its expressions one after another: (n * VIEWS, 64, 64, 4) bytes."""
    own, suite = (
        [r for r in sources(f) if r["form"] == "avatars"]
        for f in ("judge_sources.toml", "suite_sources.toml")
    )
    packages = {row["package"]: row for row in (*own, *suite)}
    studio, rows, pictures = Studio(list(packages.values()), folder), [], []
    styles = [name.removeprefix("@dicebear/") for name in packages if name != "@dicebear/core"]
    for place, style in enumerate(styles):
        schema, rng = studio.schema(style), np.random.default_rng([SEED + 2, place])
        for number in range(COMPANIES):
            members = company(schema, rng, COMPANY)
            facts = {"source": "portrait", "kind": f"{style} {number}", "held": style in HELD_STYLES}
            rows += [facts | {"name": str(k)} for k in range(len(members))]
            chosen = [who | mood for who in members for mood in moods(schema, style, rng, VIEWS)]
            pictures += studio.draw(style, chosen, SIZE)
    return rows, np.stack(pictures)


def main(argv: list[str] | None = None) -> None:
    args = settle(options(__doc__, smoke="three bodies of each kind, no avatars"), argv)
    few = 3 if args.smoke else None
    shapes, surfaces = render_bodies(few)
    nobody: tuple[list[dict[str, Any]], np.ndarray] = [], np.zeros((0, SIZE, SIZE, 4), np.uint8)
    people, portraits = nobody if args.smoke else render_portraits(args.folder)
    np.save(args.folder / "bodies.npy", surfaces)
    np.save(args.folder / "portraits.npy", portraits)
    (args.folder / "individuals.json").write_text(
        json.dumps({"bodies": shapes, "portraits": people}), encoding="utf-8"
    )
    print(f"{len(shapes)} bodies, {len(people)} portraits, {VIEWS} views of each")


if __name__ == "__main__":
    main()
