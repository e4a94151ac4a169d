"""The benchmark suite: its frozen card, and how it is drawn, on packages that are made here."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("resvg_py", reason="the workshop draws its artwork with resvg")

from likewise import methods
from workshop import meshes, styling, suite, world
from workshop.plan import COLOURS, SCENES

CARD = json.loads(suite.FROZEN.read_text(encoding="utf-8"))
CUBE = "".join(f"v {x} {y} {z}\n" for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)) + "".join(
    f"f {' '.join(map(str, face))}\n"
    for face in ((1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4))
)
BODY = '<path fill="#c33" d="M2 30L16 2l14 28z"/><circle cx="16" cy="20" r="5" fill="#36c"/>'
THINGS = [*"abcdefghijklmnopqr"]


def row(path: Path, form: str, **more: Any) -> dict[str, Any]:
    facts = {"package": path.stem, "version": "1.0.0", "file": path.name, "form": form, "licence": "MIT"}
    facts |= {"credit": "drawn for the test", "url": "https://example.org", "ship": True}
    return facts | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()} | more


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work folder with two packages, and a suite of a cube and a style that is frozen nowhere yet."""
    with zipfile.ZipFile(tmp_path / "models.whl", "w") as wheel:
        wheel.writestr("cube.obj", CUBE)
    icons = {"width": 32, "height": 32, "icons": {name: {"body": BODY} for name in THINGS}}
    data = json.dumps(icons).encode()
    with tarfile.open(tmp_path / "icons.tgz", "w:gz") as tar:
        info = tarfile.TarInfo("package/icons.json")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    rows = [row(tmp_path / "models.whl", "wheel"), row(tmp_path / "icons.tgz", "iconify", ship=False)]
    views = [[30 * k, 20] for k in range(6)]
    cube = {"name": "cube", "kind": "object", "noun": "box", "plural": "boxes", "description": "a red box"}
    cube |= {
        "package": "models",
        "mesh": "cube.obj",
        "paint": [200, 30, 30],
        "views": views,
        "tints": ["blue", "green"],
    }
    tiles = {"name": "tiles", "kind": "style", "noun": "style", "description": "tiles", "package": "icons"}
    tiles |= {"filter": "mosaic", "drawings": {name: name for name in THINGS}}
    monkeypatch.setattr("workshop.common.BUILD", tmp_path / "build")
    monkeypatch.setattr("workshop.fetch.PACKAGES", tmp_path)
    shown = {"source": [], "concept": [{**cube, "name": "other"}, {**cube, "name": "shown", "demo": True}]}
    files = {"suite.toml": {"id": "drawn-v1", "concept": [cube, tiles]}, "candidates.toml": shown}
    monkeypatch.setattr(suite, "table", lambda file="suite.toml": files[file])
    monkeypatch.setattr(suite, "sources", lambda file: rows)
    monkeypatch.setattr(suite, "FROZEN", tmp_path / "suite.json")
    monkeypatch.setattr(suite, "VARIANTS", 2)
    monkeypatch.setattr(suite, "POCKET", tmp_path / "pocket")
    return tmp_path


def test_a_suite_is_built_frozen_shipped_and_checked(built: Path) -> None:
    suite.main(["--freeze", "--ship"])
    folder = built / "build" / "suite"
    card = json.loads((built / "suite.json").read_text(encoding="utf-8"))
    assert [len(entry["pixels"]) for entry in card["concepts"]] == [42, 42]
    assert all((folder / e["name"] / path).is_file() for e in card["concepts"] for path in e["pixels"])
    assert {p.name for p in (built / "pocket" / "suite").iterdir() if p.is_dir()} == {"cube", "shown"}
    shipped = json.loads((built / "pocket" / "suite" / "card.json").read_text(encoding="utf-8"))["concepts"]
    assert [(entry["name"], "demo" in entry) for entry in shipped] == [("shown", True), ("cube", False)]
    said = [
        (folder / "tiles" / "references" / f"{k}.txt").read_text(encoding="utf-8").strip() for k in (1, 2)
    ]
    assert said == [card["concepts"][1]["captions"][f"{k}.png"] for k in (1, 2)]
    assert said[0] == "an a in a garden, {}"
    assert card["concepts"][0]["captions"]["1.png"] == "a {} in a garden"
    suite.main(["--only", "cube"])
    for words in (
        ["--only", "cube", "--freeze"],
        ["--only", "cube", "--ship"],
        ["--freeze", "--world", "whole"],
    ):
        with pytest.raises(SystemExit, match="2"):
            suite.main(words)
    assert json.loads((built / "suite.json").read_text(encoding="utf-8")) == card, (
        "the other concept is still there"
    )
    card["concepts"][0]["pixels"]["true/01-1.png"] = "0"
    (built / "suite.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"cube/true/01-1\.png"):
        suite.main(["--only", "cube"])


def test_a_style_is_taught_by_six_by_more_or_by_what_is_asked_for(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(styling.Atelier, "_others", lambda self: {"mug": "c"})
    (tiles,) = [one for one in suite.table()["concept"] if one["kind"] == "style"]
    rows = {one["package"]: one for one in suite.sources("")}
    atelier = styling.Atelier(tiles, rows, built / "styles")
    names = {
        kind: {p.stem[3:] for p in atelier.references(kind).glob("*.png")}
        for kind in ("six", "more", "asked")
    }
    assert names == {"six": set("abcdef"), "more": {*"abcdef", "mug"}, "asked": set(THINGS)}
    for kind in names:
        texts = [path.read_text(encoding="utf-8") for path in atelier.references(kind).glob("*.txt")]
        assert len(texts) == len(names[kind])
        assert all(text.endswith(", {}") for text in texts)


@pytest.mark.parametrize("title", styling.CASES)
def test_every_case_of_the_style_experiment_can_be_taught(title: str) -> None:
    case = styling.CASES[title]
    methods.get(case.method).recipe().override(case.settings)


def test_a_mosaic_has_even_tiles_in_few_colours() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    tiles = suite.mosaic(picture)
    assert len(np.unique(tiles)) <= 5
    assert np.array_equal(tiles, tiles[:: suite.TILE, :: suite.TILE].repeat(8, 0).repeat(8, 1))


def test_a_cube_from_the_front_is_a_lit_square() -> None:
    mesh = meshes.read(CUBE, np.eye(3))
    assert mesh.corners.shape == (12, 3, 3)
    front = np.asarray(meshes.view(mesh, 0, 0, (200, 30, 30), 64))
    box = Image.fromarray(front).getchannel("A").getbbox()
    assert box is not None
    assert abs((box[2] - box[0]) - (box[3] - box[1])) <= 1
    assert (front[32, 32, :3] > (100, 10, 10)).all()
    turned = np.asarray(meshes.view(mesh, 40, 25, (200, 30, 30), 64))
    assert len(np.unique(turned[turned[..., 3] == 255][:, 0])) >= 3  # three sides, each lit in its own way


def test_the_frozen_suite_is_what_the_tables_say() -> None:
    plan = suite.table()
    rows = {row["package"]: row for row in suite.sources("suite_sources.toml")}
    assert plan["id"] == CARD["id"]
    assert [concept["name"] for concept in plan["concept"]] == [entry["name"] for entry in CARD["concepts"]]
    for concept, entry in zip(plan["concept"], CARD["concepts"], strict=True):
        assert entry["licence"] == concept.get("licence", rows[concept["package"]]["licence"])
        assert all("{}" in caption for caption in entry["captions"].values())
        assert entry["shipped"] == (rows[concept["package"]].get("ship", False))
        names = list(concept.get("drawings", range(6)))
        asks = list(suite.asks(concept, names, np.random.default_rng(1)))
        for key in ("prompt", "class_prompt", "described_prompt"):
            assert [getattr(ask, key) for ask in asks] == [ask[key] for ask in entry["prompts"]]


@pytest.mark.parametrize("entry", CARD["concepts"], ids=lambda entry: entry["name"])
def test_each_concept_has_what_a_benchmark_needs(entry: dict[str, Any]) -> None:
    references = [path for path in entry["pixels"] if path.startswith("references/")]
    with_truth = [ask for ask in entry["prompts"] if ask["true"]]
    assert 5 <= len(references) <= 6
    assert len(with_truth) >= 12
    assert all(
        "{token}" in ask["prompt"] and "{token}" not in ask["class_prompt"] for ask in entry["prompts"]
    )
    assert len(set(entry["pixels"].values())) == len(entry["pixels"])
    if entry["kind"] == "style":
        shown = list(next(c for c in suite.table()["concept"] if c["name"] == entry["name"])["drawings"])
        assert not {ask["told"]["thing"] for ask in with_truth} & set(shown[:6])
        assert set(shown) <= set(world.TAUGHT)


def test_prompts_stand_where_no_reference_does() -> None:
    asked = {*suite.ALONE, "space", "desert", "pink", "white"}
    assert not asked & set(suite.REFERENCES)
    assert asked | set(suite.REFERENCES) <= {*SCENES, *COLOURS}
    told = [ask["told"] for entry in CARD["concepts"] for ask in entry["prompts"] if ask["true"]]
    assert {facts.get("scene") for facts in told} | {facts.get("plain") for facts in told} <= {
        *asked,
        "plain",
        None,
    }


def test_no_picture_of_the_suite_was_trained_on() -> None:
    """Sources of the suite and of the training are apart, but for the one that a filter changes beyond reading."""
    trained = {row["package"] for row in suite.sources("sources.toml")}
    filtered = {c["package"] for c in suite.table()["concept"] if "filter" in c}
    assert {c["package"] for c in suite.table()["concept"]} & trained == filtered
