"""The commands that make new files of weights: what they write, where, what they say, and how mistakes are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from likewise import formats, kinds
from likewise.checkpoints import open_checkpoint
from likewise.cli import app
from likewise.formats import Saving
from likewise.operations.difference import diff
from likewise.operations.subjects import open_subject, write_subject
from likewise.weights import read_header
from likewise.weights.streaming import serialise_header
from tests.formats import whole_models
from tests.formats.adapters import change_error
from tests.formats.words import embedding
from tests.operations.changes import LINEAR, full, lora, random, tuned


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIKEWISE_TRACEBACK", raising=False)


def call(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words], prog_name="likewise")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def made_by(*words: object) -> dict:
    result = call(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def file(name: str, seed: int = 1, rank: int = 4) -> Path:
    return formats.write(lora(seed, rank), Path(name), "native", Saving("float32"))


@pytest.mark.parametrize("layout", ["kohya", "diffusers", "peft", "native"])
def test_a_lora_goes_to_any_layout_and_back(layout: str) -> None:
    found = made_by(
        "convert", file("dog.safetensors"), "--to", layout, "--out", f"made-{layout}", "--dtype", "float32"
    )
    assert found["layout"] == layout
    assert found["portability"]["likewise"] == "exact"
    back = made_by(
        "convert", found["path"], "--to", "native", "--out", "back.safetensors", "--dtype", "float32"
    )
    assert change_error(lora(1, 4), formats.read(Path(back["path"]))) <= 1e-6


def test_without_more_words_a_lora_becomes_kohyas_here() -> None:
    Path("other").mkdir()
    result = call("convert", file("other/dog.safetensors"))
    assert result.stdout.strip() == "dog.safetensors"
    header = read_header(Path("dog.safetensors"))
    assert set(header.dtypes.values()) <= {"F16", "F32"}
    assert "sshs_model_hash" in header.metadata
    plain = made_by("convert", "other/dog.safetensors", "--no-metadata", "--out", "plain.safetensors")
    assert not read_header(Path(plain["path"])).metadata


def test_whole_models_go_both_ways_in_their_own_precision() -> None:
    folder = whole_models.folder("sd1", Path("model"))
    file = made_by("convert", folder, "--to", "checkpoint", "--out", "model.safetensors")["path"]
    Path("tokenizer").symlink_to(folder / "tokenizer")
    back = made_by("convert", file, "--to", "diffusers_folder", "--out", "again")["path"]
    assert diff(open_checkpoint(folder), open_checkpoint(Path(back))).total == 0.0
    half = made_by("convert", folder, "--dtype", "float16", "--out", "half.safetensors")["path"]
    assert {dtype for dtype in read_header(Path(half)).dtypes.values() if dtype.startswith("F")} == {"F16"}


@pytest.mark.parametrize(
    ("mark", "subject", "layout", "place"),
    [
        ("comfy", lora(), "kohya", "models/loras/x.safetensors"),
        ("comfy", full(), "lycoris", "models/loras/x.safetensors"),
        ("comfy", embedding(token="a/b"), "embedding", "models/embeddings/a_b.safetensors"),
        ("models/Stable-diffusion", lora(), "kohya", "models/Lora/x.safetensors"),
        ("models/Stable-diffusion", embedding(), "embedding", "embeddings/sks.safetensors"),
        ("modules_forge", embedding(), "embedding", "embeddings/sks.safetensors"),
    ],
)
def test_files_are_put_where_programs_look_for_them(mark: str, subject, layout: str, place: str) -> None:
    (Path("program") / mark).mkdir(parents=True)
    source = formats.write(subject, Path("x.safetensors"), "native", Saving("float32"))
    found = made_by("convert", source, "--install", "program")
    assert (found["path"], found["layout"]) == (str(Path("program") / place), layout)
    assert Path(found["path"]).is_file()


def picture(path: Path, colour: str = "red") -> Path:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    path.parent.mkdir(parents=True, exist_ok=True)
    told = PngInfo()
    told.add_text("parameters", "a secret prompt")
    Image.new("RGB", (1024, 768), colour).save(path, pnginfo=told)
    return path


@pytest.mark.parametrize("program", ["modules_forge", "models/Stable-diffusion", "comfy"])
def test_an_installed_file_brings_its_runs_picture_and_for_web_uis_its_words(program: str) -> None:
    from PIL import Image

    (Path("program") / program).mkdir(parents=True)
    source = file("runs/one/dog.safetensors")
    plan = (
        'base = "tiny:sd"\nmethod = "lora"\n[[job]]\nconcept = {name = "dog", token = "sks1"}\nrecipe = {}\n'
    )
    Path("runs/one/run.toml").write_text(plan, encoding="utf-8")
    picture(Path("runs/one/samples/step000010/0000.png"))
    picture(Path("runs/one/samples/step000100/0000.png"), "blue")
    found = made_by("convert", source, "--install", "program")
    target = Path(found["path"])
    with Image.open(target.with_name("dog.preview.png")) as image:
        assert (image.size, image.getpixel((0, 0)), image.info) == ((512, 384), (0, 0, 255), {})
    notes = target.with_name("dog.json")
    assert notes.exists() == (program != "comfy")
    assert found["beside"] == [str(p) for p in (target.with_name("dog.preview.png"), notes) if p.exists()]
    if program != "comfy":
        told = json.loads(notes.read_text(encoding="utf-8"))
        assert (told["activation text"], told["sd version"]) == ("sks1 dog", "SD1")


def test_moving_averages_are_taken_on_request() -> None:
    from likewise.naming.single_file import UNET, averaged
    from likewise.weights import read_tensors, write_tensors

    folder = whole_models.folder("sd1", Path("model"))
    file = made_by("convert", folder, "--to", "checkpoint", "--out", "model.safetensors")["path"]
    tensors = read_tensors(Path(file))
    means = {averaged(name): tensor + 1 for name, tensor in tensors.items() if name.startswith(UNET)}
    write_tensors(Path("both.safetensors"), {**tensors, **means})
    Path("tokenizer").symlink_to(folder / "tokenizer")
    for words, more in ((["--averaged"], 1), ([], 0)):
        made = made_by("convert", "both.safetensors", "--out", f"{more}.safetensors", *words)["path"]
        found, name = read_tensors(Path(made)), f"{UNET}out.2.bias"
        assert found.keys() == tensors.keys()
        assert (found[name] == tensors[name] + more).all()
    for source in (file, folder):
        result = call("convert", source, "--averaged", "--out", "x.safetensors")
        assert result.exit_code == 1
        assert "no averaged weights" in result.stderr or "one set of weights" in result.stderr


def test_no_folder_of_ours_goes_along() -> None:
    from dataclasses import replace

    source = replace(lora(), base="/home/somebody/secret/sd15.safetensors")
    formats.write(source, Path("dog.safetensors"), "native")
    for layout in ("native", "kohya", "peft"):
        made = Path(made_by("convert", "dog.safetensors", "--to", layout, "--out", f"for-{layout}")["path"])
        files = [made] if made.is_file() else [path for path in made.rglob("*") if path.is_file()]
        assert all(b"somebody" not in path.read_bytes() for path in files), layout
    assert formats.read(Path("for-native.safetensors")).base == "sd15.safetensors"


def test_what_lies_beside_stays_and_a_broken_picture_ends_it_before_anything_is_written() -> None:
    source = file("dog.safetensors")
    Path("out").mkdir()
    Path("out/dog.preview.png").write_bytes(b"precious")
    Path("broken.png").write_bytes(b"no picture")
    result = call("convert", source, "--preview", "broken.png", "--out", "x.safetensors")
    assert (result.exit_code, Path("x.safetensors").exists()) == (1, False)
    assert "no picture" in result.stderr
    result = call("convert", source, "--preview", picture(Path("p.png")), "--out", "out")
    assert "stays as it is" in result.stderr
    assert Path("out/dog.preview.png").read_bytes() == b"precious"
    plain = made_by("convert", source, "--out", "plain.safetensors")
    assert plain["beside"] == []


def test_a_program_gets_nothing_that_it_cannot_read() -> None:
    (Path("program") / "comfy").mkdir(parents=True)
    source = file("dog.safetensors")
    for words, said in (
        (["--install", "program", "--to", "peft"], "ComfyUI does not read PEFT"),
        (["--install", "elsewhere"], "no program"),
        (["--to", "embedding"], "not lora"),
        (["--to", "koya"], "did you mean kohya?"),
        (["--out", source], "exists already"),
    ):
        result = call("convert", source, *words)
        assert result.exit_code == 1, words
        assert said in result.stderr, result.stderr
        assert len(result.stderr.strip().splitlines()) <= 2
    assert sorted(path.name for path in Path().iterdir()) == ["dog.safetensors", "program"]


def test_nothing_is_written_over() -> None:
    Path("kept").mkdir()
    Path("kept/precious.txt").write_text("x", encoding="utf-8")
    source = file("dog.safetensors")
    assert made_by("convert", source, "--to", "peft", "--out", "kept")["path"] == str(Path("kept/dog"))
    result = call("convert", source, "--to", "peft", "--out", "kept")
    assert "exists already" in result.stderr
    assert Path("kept/precious.txt").is_file()


def test_merge_and_its_weights() -> None:
    found = made_by(
        "merge", f"{file('a.safetensors', 1)}:0.5", file("b.safetensors", 2), "--dtype", "float32"
    )
    assert found["path"] == "a-b.safetensors"
    from likewise.operations.merging import merge

    assert (
        change_error(merge([(lora(1, 4), 0.5), (lora(2, 4), 1.0)]), formats.read(Path(found["path"]))) <= 1e-6
    )


def test_merge_into_a_model_and_extract_it_again() -> None:
    folder, source = whole_models.folder("sd1", Path("base")), file("dog.safetensors", 1, rank=3)
    merged = made_by("merge", source, "--into", folder, "--out", "merged.safetensors")
    assert merged["layout"] == "checkpoint"
    found = made_by("extract", merged["path"], "--base", folder, "--rank", 3, "--dtype", "float32")
    assert found["path"] == "merged-lora.safetensors"
    assert found["error"] < 1e-4
    assert found["left_out"] == {}
    assert change_error(lora(1, 3), formats.read(Path(found["path"]))) <= 1e-5
    shown = call("extract", merged["path"], "--base", folder, "--energy", "0.5", "--out", "less.safetensors")
    assert shown.exit_code == 0
    assert "% of the change" in shown.stderr
    assert "different by" in call("diff", found["path"], "less.safetensors").stdout


def test_what_training_changed_besides_is_told() -> None:
    base = open_checkpoint(whole_models.folder("sd1", Path("base")))
    after = tuned(base, {f"{LINEAR}.weight": random(32, 64), "backbone.conv_in.bias": random(32)})
    write_subject(after, Path("tuned.safetensors"), "checkpoint", Saving())
    result = call("extract", "tuned.safetensors", "--base", "base", "--rank", "64")
    assert "1 that no LoRA holds" in result.stderr
    assert "backbone.conv_in.bias" in result.stderr


def test_resize_and_diff() -> None:
    source = file("dog.safetensors", rank=8)
    found = made_by("resize", source, "--rank", "8", "--dtype", "float32")
    assert call("diff", source, found["path"]).stdout.startswith("equal in all 3 places")
    small = made_by("resize", source, "--rank", "2", "--dtype", "float32")
    assert (small["path"], set(small["ranks"].values())) == ("dog-rank2.safetensors", {2})
    apart = made_by("diff", source, small["path"])
    assert not apart["equal"]
    assert apart["total"] == pytest.approx(small["error"], rel=1e-3)
    table = call("diff", source, small["path"])
    assert LINEAR in table.stdout


def test_bake_keeps_the_kind_of_model_and_says_what_is_missed() -> None:
    formats.write(embedding(2, 64, "zork"), Path("zork.safetensors"), "embedding")
    whole_models.folder("sd1", Path("model"))
    found = made_by("bake", "zork.safetensors", "--into", "model")
    assert (found["path"], found["layout"]) == ("model-zork", "diffusers_folder")
    found = made_by("bake", "zork.safetensors", "--into", "model", "--to", "checkpoint", "--word", "dog cat")
    assert (found["path"], found["layout"]) == ("model-zork.safetensors", "checkpoint")
    assert read_header(Path(found["path"])).metadata["modelspec.merged_from"] == "model, zork"
    for words, said in (
        (["zork.safetensors", "--into", "model", "--rank", "4"], "which no LoRA holds"),
        (
            ["zork.safetensors", "--into", "model", "--to", "checkpoint", "--out", "x"],
            "no tokenizer to explain",
        ),
        (["model", "--into", "model"], "whole model already"),
        (["zork.safetensors", "--into", "zork.safetensors"], "no whole model"),
    ):
        result = call("bake", *words)
        assert result.exit_code == 1, words
        assert said in result.stderr
        assert len(result.stderr.strip().splitlines()) <= 2


def test_a_run_stands_for_its_file(tmp_path: Path) -> None:
    run = Path("runs/one")
    run.mkdir(parents=True)
    file(str(run / "dog.safetensors"))
    plan = 'base = "tiny:sd"\nmethod = "lora"\n[[job]]\nconcept = {name = "dog"}\nrecipe = {}\n'
    (run / "run.toml").write_text(plan, encoding="utf-8")
    result = {"status": "done", "files": ["dog.safetensors"]}
    (run / "result.json").write_text(json.dumps(result), encoding="utf-8")
    assert call("convert", "one", "--out", "x.safetensors").exit_code == 0
    assert isinstance(open_subject(Path("x.safetensors")), type(lora()))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["convert", "nowhere.safetensors"], "nowhere.safetensors"),
        (["convert", "broken.safetensors"], "broken.safetensors"),
        (["merge", "dog.safetensors:many"], "not a number"),
        (["merge", "model"], "--into"),
        (["merge", "dog.safetensors", "--into", "dog.safetensors"], "no whole model"),
        (["extract", "dog.safetensors", "--base", "model", "--rank", "4"], "no whole model"),
        (["extract", "model", "--base", "model"], "rank or an energy"),
        (["extract", "model", "--base", "model", "--rank", "4"], "nothing to extract"),
        (["resize", "model", "--rank", "4"], "likewise extract"),
        (["resize", "dog.safetensors", "--rank", "0"], "keeps nothing"),
        (["convert", "model", "--to", "kohya"], "likewise extract"),
        (["diff", "dog.safetensors", "word.safetensors"], "no layer in common"),
        (["merge", "dog.safetensors:1e40", "--out", "x"], "is not finite"),
        (["convert", "packed.safetensors"], "no tensor of real numbers but of F4"),
        (["convert", "dog.safetensors", "--base", "model", "--out", "x"], "needs no base"),
        (["convert", "dog.safetensors", "--out", "dog.safetensors"], "exists already"),
        (
            ["extract", "model", "--base", "model", "--rank", "4", "--out", "dog.safetensors"],
            "exists already",
        ),
        (
            ["resize", "dog.safetensors", "--rank", "2", "--out", "word.safetensors/x"],
            "nothing can be written",
        ),
        (["convert", "model", "--to", "diffusers_folder", "--out", "model"], "inside the model"),
        (["merge", "dog.safetensors", "--into", "model", "--out", "model/x.safetensors"], "inside the model"),
        (["bake", "word.safetensors", "--into", "model", "--prompt", "a cat"], "every prompt alike"),
    ],
)
def test_every_mistake_is_one_clear_line(words: list[str], said: str, shared: Path, monkeypatch) -> None:
    monkeypatch.chdir(shared)
    before = sorted(shared.iterdir())
    result = call(*words)
    assert result.exit_code in (1, 2, 3), result.output
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 2
    assert sorted(shared.iterdir()) == before, "nothing half-written"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a LoRA, an embedding, a model and a broken file."""
    folder = tmp_path_factory.mktemp("files")
    file(str(folder / "dog.safetensors"))
    formats.write(embedding(), folder / "word.safetensors", "embedding")
    (folder / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{")
    packed = serialise_header({"lora_unet_x.lora_down.weight": ("F4", (8,))}, {})
    (folder / "packed.safetensors").write_bytes(packed + bytes(4))
    whole_models.folder("sd1", folder / "model")
    return folder


def test_every_kind_has_a_usual_layout_that_takes_it() -> None:
    for kind in kinds.ALL:
        assert kind in formats.get(kind.layout).kinds


def test_a_base_is_named_in_one_way_by_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pocket` lies inside the package, and was taken for a file of that name in the current folder."""
    from safetensors.torch import save_file

    name = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q"
    save_file(
        {f"{name}.lora_A.weight": random(2, 96), f"{name}.lora_B.weight": random(96, 2)}, "x.safetensors"
    )
    merged = made_by("merge", "x.safetensors", "--into", "pocket", "--to", "diffusers_folder")["path"]
    assert Path(merged).name == "pocket-x"
    found = made_by("extract", merged, "--base", "pocket", "--rank", "2", "--out", "y.safetensors")
    assert found["layout"] == "kohya"
    compared = made_by("diff", "pocket", merged)
    assert not compared["equal"]
    words = formats.write(embedding(width=256), Path("word.pt"), "webui_embedding")
    assert Path(made_by("bake", words, "--into", "pocket")["path"]).name == "pocket-word"
    taught = formats.open_artifact(formats.examine(Path(merged)))
    formats.write(taught, Path("taught.safetensors"), "native", Saving("float16"))
    whole = made_by("convert", "taught.safetensors", "--base", "pocket", "--to", "diffusers_folder")["path"]
    assert made_by("diff", whole, merged)["total"] < 1e-3
    assert "there is no base 'nowhere'" in call("merge", "x.safetensors", "--into", "nowhere").stderr
    assert "random miniature" in call("merge", "x.safetensors", "--into", "tiny:sd").stderr
