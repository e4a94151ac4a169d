"""The benchmark suite: concepts that no base was trained on, prompts for them, and the true picture of each prompt.

``python -m workshop.suite`` builds all of it in ``workshop/build/suite`` and compares every picture with the frozen
card ``suite.json``. Pictures depend on the concept, the prompt and its number alone, so one may be drawn without
the others. ``--ship`` copies what licences allow into the package, for ``likewise examples``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from workshop import world
from workshop.common import POCKET, ROOT, options, settle
from workshop.compose import Composer
from workshop.fetch import sources
from workshop.plan import COLOURS, SCENES, Plan, sentence
from workshop.scenes import bank
from workshop.suite_art import Source, drawings

SIZE, VARIANTS, SCENE_SEED, SEED = 128, 8, 1201, 1202
TRUE = 3  # true pictures of a prompt
REFERENCES = ("garden", "yellow", "room", "gray", "city", "forest")
PLACES = ("beach", "snow", "underwater", "road", "night", "mountains", "purple")
ALONE = (*PLACES, "space", "desert", "white", "pink", "blue")
STYLES = ("twemoji", "noto", "fluent", "blob")
FROZEN = ROOT / "workshop" / "suite.json"
TILE = 8  # of the mosaic, in pixels of 128: four pixels of 64, half a cell of latents
TOKEN = "{token} "


@dataclass
class Ask:
    """One prompt: how it reads with the token, for the class and described, what it tells, and plans of its true pictures."""

    prompt: str
    class_prompt: str
    described_prompt: str
    told: dict[str, str]
    plans: list[Plan] = field(default_factory=list)


def table(file: str = "suite.toml") -> dict[str, Any]:
    """The concepts of suite.toml, or of candidates.toml with the sources that these have besides."""
    return tomllib.loads((ROOT / "workshop" / file).read_text(encoding="utf-8"))


def placed(plan: Plan, context: str) -> Plan:
    """Put a plan in front of a scene or a colour."""
    if context in SCENES:
        plan.scene = SCENES.index(context)
    else:
        plan.plain = COLOURS.index(context)
    return plan


def asks(concept: Source, names: list[str], rng: np.random.Generator) -> Iterator[Ask]:
    """The prompts of a concept, whose drawings are called ``names``; a style is asked for on twelve other things."""
    if concept["kind"] == "style":
        for cut, context in zip(range(len(REFERENCES), len(names)), ALONE, strict=True):
            plan = placed(Plan(cut, -1, 0), context)
            said = sentence(plan, names[cut])
            yield Ask(
                f"{said}, {{token}} style", said, f"{said}, {concept['description']}",
                told(plan) | {"thing": names[cut]}, [plan] * TRUE,
            )  # fmt: skip
        return
    noun, (one, other) = concept["noun"], concept["tints"]
    special = [
        ("space", {"small": True}), ("desert", {"count": 2}), ("pink", {"count": 3}),
        ("space", {"tint": world.TINTS.index(one)}), ("white", {"tint": world.TINTS.index(other)}),
    ]  # fmt: skip
    for context, more in [*((place, {}) for place in PLACES), *special]:
        views = rng.permutation(len(names))[:TRUE]
        plans = [placed(Plan(int(view), -1, 0, **more), context) for view in views]
        many = concept.get("plural", noun + "s") if plans[0].count > 1 else noun
        said = [sentence(plans[0], words) for words in (TOKEN + many, many, described(concept, plans[0]))]
        yield Ask(*said, told(plans[0]), plans)
    plan = placed(Plan(0, -1, 0), "white")
    said = [sentence(plan, words) for words in (TOKEN + noun, noun, described(concept, plan))]
    for style in STYLES:  # no true picture: whether the style is seen at all
        yield Ask(*(f"{words}, {style} style" for words in said), {"style": style})


def described(concept: Source, plan: Plan) -> str:
    """The object in words, without its own colour where another is asked for."""
    words = concept["description"]
    if plan.count > 1:
        return str(concept.get("described_plural", words + "s"))
    return str(concept.get("tinted", words) if plan.tint >= 0 else words)


def told(plan: Plan) -> dict[str, str]:
    """What a prompt says, by the judge's heads."""
    facts = {"scene": SCENES[plan.scene]} if plan.scene >= 0 else {"scene": "plain", "plain": plan.context()}
    facts |= {"count": world.NUMBERS[plan.count - 1]} if plan.count > 1 else {}
    facts |= {"tint": world.TINTS[plan.tint]} if plan.tint >= 0 else {}
    return facts | ({"small": "small"} if plan.small else {})


def caption(concept: Source, plan: Plan, name: str) -> str:
    """What a reference shows besides the concept, which would be learned with it: where it is, and for a style what is drawn."""
    return sentence(plan, "{}") if concept["kind"] != "style" else f"{sentence(plan, name)}, {{}}"


def mosaic(picture: np.ndarray) -> np.ndarray:
    """Square tiles in colours of five levels a channel."""
    side = len(picture) // TILE
    tiles = picture.reshape(side, TILE, side, TILE, 3).astype(np.int64).sum((1, 3)) // TILE**2
    coarse = (tiles * 4 + 127) // 255 * 255 // 4
    return coarse.repeat(TILE, 0).repeat(TILE, 1).astype(np.uint8)


class Studio:
    """Draws one concept's pictures, (128, 128, 3) bytes each."""

    def __init__(self, concept: Source, rows: dict[str, Source], folder: Path) -> None:
        self.filter = mosaic if concept.get("filter") == "mosaic" else None
        work = folder / ".work" / concept["name"]
        work.mkdir(parents=True, exist_ok=True)
        self.names, cuts = drawings(concept, rows, folder / ".work")
        facts = [{"part": "suite", "name": n, "code": n, "design": "none"} for n in self.names]
        np.save(work / "cutouts.npy", cuts)
        (work / "cutouts.json").write_text(json.dumps(facts), encoding="utf-8")
        bank(work.parent / f"scenes_{SIZE}_{VARIANTS}.npy", VARIANTS, SIZE, SCENE_SEED)
        (work / f"scenes_{SIZE}_{VARIANTS}.npy").write_bytes(
            (work.parent / f"scenes_{SIZE}_{VARIANTS}.npy").read_bytes()
        )
        self.composer = Composer(work, ("suite",), size=SIZE, variants=VARIANTS)

    def picture(self, plan: Plan, seed: list[int]) -> np.ndarray:
        pixels = self.composer.draw([plan], np.random.default_rng([SEED, *seed]))[0][0]
        drawn = ((pixels + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        return self.filter(drawn) if self.filter else drawn


def digest(picture: np.ndarray) -> str:
    """The digest of the pixels, not of the file, which depends on the compressor."""
    return hashlib.sha256(picture.tobytes()).hexdigest()[:24]


def build(concept: Source, rows: dict[str, Source], folder: Path) -> dict[str, Any]:
    """Draw and save a concept; its entry in the card."""
    studio = Studio(concept, rows, folder)
    number = int.from_bytes(hashlib.sha256(concept["name"].encode()).digest()[:4], "big")
    home, source = (
        folder / concept["name"],
        rows[concept["package"]] | concept,
    )  # a model may have its own licence
    shutil.rmtree(home, ignore_errors=True)
    (home / "references").mkdir(parents=True)
    (home / "true").mkdir()
    hashes: dict[str, str] = {}

    def keep(plan: Plan, path: str, *seed: int) -> str:
        picture = studio.picture(plan, [number, *seed])
        Image.fromarray(picture).save(home / path, optimize=True)
        hashes[path] = digest(picture)
        return path

    captions: dict[str, str] = {}
    for k, context in enumerate(concept.get("references", REFERENCES)):
        plan = placed(Plan(k, -1, 0), context)
        path = Path(keep(plan, f"references/{k + 1}.png", 0, k))
        captions[path.name] = caption(concept, plan, studio.names[k])
        (home / path.with_suffix(".txt")).write_text(captions[path.name] + "\n", encoding="utf-8")
    prompts = []
    for a, ask in enumerate(asks(concept, studio.names, np.random.default_rng([SEED, number])), 1):
        true = [keep(plan, f"true/{a:02d}-{k + 1}.png", a, k) for k, plan in enumerate(ask.plans)]
        words = {key: getattr(ask, key) for key in ("prompt", "class_prompt", "described_prompt")}
        prompts.append({**words, "told": ask.told, "true": true})
    entry = {key: concept[key] for key in ("name", "kind", "noun", "description")}
    entry |= {"source": f"{source['package']} {source['version']}"}
    entry |= {key: source[key] for key in ("licence", "credit", "url")}
    entry["changes"] = "scaled, turned, recoloured and placed on plain colours and drawn scenes"
    if studio.filter:
        entry["changes"] += ", then made a mosaic of square tiles in few colours"
    return {
        **entry,
        "captions": captions,
        "shipped": bool(source.get("ship")),
        "prompts": prompts,
        "pixels": hashes,
    }


def compare(card: dict[str, Any], frozen: dict[str, Any]) -> list[str]:
    """What differs from the frozen card: pictures by name, or a concept's words."""
    old = {entry["name"]: entry for entry in frozen["concepts"]}
    found = [] if card["id"] == frozen["id"] else ["the suite's id"]
    found += sorted({entry["name"] for entry in card["concepts"]} ^ set(old))
    for entry in card["concepts"]:
        before = old.get(entry["name"], entry)
        pictures = entry["pixels"].keys() | before["pixels"].keys()
        changed = sorted(p for p in pictures if entry["pixels"].get(p) != before["pixels"].get(p))
        found += [f"{entry['name']}/{path}" for path in changed]
        if {**entry, "pixels": 0} != {**before, "pixels": 0}:
            found.append(f"{entry['name']}: its card")
    return found


def written(card: dict[str, Any]) -> str:
    return json.dumps(card, indent=1, ensure_ascii=False) + "\n"


def ship(card: dict[str, Any], rows: dict[str, Source], folder: Path, out: Path) -> None:
    """Copy the concepts that may be in the package and what the demo shows, with a card of their own."""
    more = table("candidates.toml")
    rows, place = rows | {row["package"]: row for row in more["source"]}, folder.parent / "candidates"
    shown = [build(one, rows, place) | {"demo": True} for one in more["concept"] if one.get("demo")]
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    concepts = [*shown, *(entry for entry in card["concepts"] if entry["shipped"])]
    for entry in concepts:
        shutil.copytree((place if "demo" in entry else folder) / entry["name"], out / entry["name"])
    (out / "card.json").write_text(written({**card, "concepts": concepts}), encoding="utf-8")
    print(f"{len(concepts)} concepts, {sum(p.stat().st_size for p in out.rglob('*')) / 1e6:.2f} MB in {out}")


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--only", help="one concept, by name")
    parser.add_argument("--freeze", action="store_true", help="write suite.json instead of comparing with it")
    parser.add_argument("--ship", action="store_true", help="copy the freely licensed part into the package")
    args = settle(parser, argv)
    if (args.freeze or args.ship) and (args.only or args.smoke or args.world.name != "taught"):
        parser.error("--freeze and --ship are for the whole suite, of the world that the package has")
    folder, plan = args.folder / "suite", table()
    rows = {row["package"]: row for row in sources("suite_sources.toml")}
    chosen = [c for c in plan["concept"] if args.only in (None, c["name"])]
    card = {"id": plan["id"], "resolution": SIZE, "concepts": [build(c, rows, folder) for c in chosen]}
    if args.freeze:
        FROZEN.write_text(written(card), encoding="utf-8")
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    if args.only:
        frozen["concepts"] = [entry for entry in frozen["concepts"] if entry["name"] == args.only]
    wrong = compare(card, frozen)
    if wrong:
        raise SystemExit(f"{len(wrong)} things differ from {FROZEN.name}: {', '.join(wrong[:8])}")
    if args.ship:
        ship(card, rows, folder, POCKET / "suite")
    print(f"{plan['id']}: {sum(len(e['pixels']) for e in card['concepts'])} pictures as frozen, in {folder}")


if __name__ == "__main__":
    main()
