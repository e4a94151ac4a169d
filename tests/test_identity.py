"""Identity: a run is the same run wherever its folder, its pictures and its base lie."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from likewise import formats, records
from likewise.cache import Cache
from likewise.cli import app
from likewise.comparison.preparing import prepare
from likewise.errors import BaseError, Interrupted, RunError
from likewise.events import Finished, Stepped
from likewise.families.sd import StableDiffusion
from likewise.planning import Subject, Way
from likewise.run import Run, plan
from likewise.sampling import sample
from likewise.weights import read_header, read_tensors, write_tensors
from tests.bases import pictures
from tests.families.miniatures import save_folder
from tests.metrics.judges import panel

pytestmark = pytest.mark.usefixtures("told_at_once")

SETTINGS = {"steps": 6, "rank": 2, "checkpoint_every": 2}


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(StableDiffusion.tiny(), tmp_path_factory.mktemp("base") / "mybase")


@pytest.fixture
def project(base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures, a base, and a run that was stopped after step 3; all were named by relative paths."""
    place = tmp_path / "project"
    pictures(place / "photos")
    shutil.copytree(base_folder, place / "mybase")
    monkeypatch.chdir(place)
    stopped(start("run"))
    monkeypatch.chdir(tmp_path)
    return place


def start(out: str) -> Run:
    run, _ = plan([Subject("photos", "dog", "sks")], Way("lora", SETTINGS), base="mybase", out=out)
    return Run(run.base, run.method, run.jobs, run.folder, cache=Cache(Path("cache")))


def stopped(run: Run) -> None:
    def begin() -> None:
        for event in run.start():
            if isinstance(event, Stepped) and event.step == 3:
                run.stop()

    with pytest.raises(Interrupted):
        begin()


def finished(run: Run) -> dict[str, tuple[bytes, dict[str, str]]]:
    """What the run leaves, by file: numbers, and all that the header says but for where the base lies.

    Only the steps after the third may be done for it.
    """
    events = list(run.start())
    assert [event.step for event in events if isinstance(event, Stepped)] == [4, 5, 6]
    assert isinstance(events[-1], Finished)
    found = {}
    for path in run.folder.glob("*.safetensors"):
        facts, content = dict(read_header(path).metadata), path.read_bytes()
        del facts["likewise.base"]
        found[path.name] = (content[8 + int.from_bytes(content[:8], "little") :], facts)
    return found


def test_a_renamed_parent_folder_changes_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(project, tmp_path / "copy")
    stayed = finished(Run.open(project / "run"))
    shutil.rmtree(project)
    (tmp_path / "copy").rename(tmp_path / "new name")
    monkeypatch.chdir(tmp_path / "new name" / "photos")
    assert finished(Run.open(Path("../run"))) == stayed
    assert len(stayed) == 1
    assert Run.open(Path("../run")).base == str(tmp_path / "new name" / "mybase")
    (only,) = Run.open(Path("../run")).start()
    assert isinstance(only, Finished)


def test_a_moved_run_moves_again(project: Path, tmp_path: Path) -> None:
    """After a start in the second place, the third is told from the second."""
    moved = project.rename(tmp_path / "two")
    run = Run.open(moved / "run")
    run.stop()
    with pytest.raises(Interrupted, match="step 4"):
        list(run.start())
    (tmp_path / "deeper").mkdir()
    moved = moved.rename(tmp_path / "deeper" / "three")
    *_, last = Run.open(moved / "run").start()
    assert isinstance(last, Finished)


def test_the_run_alone_may_move(project: Path, tmp_path: Path) -> None:
    assert finished(Run.open((project / "run").rename(tmp_path / "run")))


@pytest.mark.parametrize("packed", [False, True])
def test_pictures_that_moved_alone_are_found_by_what_is_in_them(
    packed: bool, project: Path, tmp_path: Path
) -> None:
    (project / "photos").rename(tmp_path / "far")
    with pytest.raises(RunError, match=r"4 pictures of .*run are not in .*photos any more") as told:
        Run.open(project / "run")
    assert told.value.hint == f"say where they are now: likewise teach --resume {project / 'run'} PICTURES"
    for n, path in enumerate(sorted((tmp_path / "far").iterdir(), reverse=True)):
        path.rename(path.with_name(f"renamed {n}.png"))
    place = tmp_path / "far"
    if packed:
        place = tmp_path / "far.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for path in (tmp_path / "far").iterdir():
                archive.write(path, f"inside/{path.name}")
    assert finished(Run.open(project / "run", pictures=place))


def test_pictures_that_changed_on_the_way_are_not_these(project: Path, tmp_path: Path) -> None:
    moved = project.rename(tmp_path / "two")
    Image.new("RGB", (72, 64), "red").save(moved / "photos" / "0.png")
    with pytest.raises(RunError, match="pictures have changed"):
        list(Run.open(moved / "run").start())


def test_a_base_that_moved_alone_is_asked_for_and_another_is_refused(project: Path, tmp_path: Path) -> None:
    (project / "mybase").rename(tmp_path / "far")
    with pytest.raises(BaseError, match="there is no base") as told:
        list(Run.open(project / "run").start())
    assert told.value.hint == (f"say where it is now: likewise teach --resume {project / 'run'} --base BASE")
    save_folder(StableDiffusion.tiny(seed=1), project / "mybase")
    with pytest.raises(RunError, match="is another base"):
        list(Run.open(project / "run").start())
    with pytest.raises(RunError, match="is another base"):
        list(Run.open(project / "run", base="tiny:sd:2").start())
    assert finished(Run.open(project / "run", base=str(tmp_path / "far")))


def test_a_run_goes_on_with_its_own_pictures_and_no_others(project: Path, tmp_path: Path) -> None:
    """Also where its own are still in their place: what is given is never dropped without a word."""
    others = pictures(tmp_path / "others", seed=9)
    with pytest.raises(RunError, match=r"4 of the 4 pictures of .* are not among those given"):
        Run.open(project / "run", pictures=others)
    finished(Run.open(project / "run"))
    run = Run.open(project / "run")
    (project / "photos").rename(tmp_path / "p")
    with pytest.raises(RunError, match=r"not in .*photos any more") as told:
        Run.open(project / "run").longer(2)
    assert "--more-steps 2" in str(told.value.hint)
    assert Run.open(project / "run", pictures=tmp_path / "p").longer(2).more == 2
    assert run.more == 0


def test_the_hints_of_the_command_line_work(project: Path, tmp_path: Path) -> None:
    """Both moved, each elsewhere; what the two hints say is typed."""
    from typer.testing import CliRunner

    def call(*words: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["teach", "--resume", str(project / "run"), *map(str, words)])
        return result.exit_code, result.stderr

    photos, base = (project / "photos").rename(tmp_path / "p"), (project / "mybase").rename(tmp_path / "b")
    assert "PICTURES" in call()[1]
    code, said = call(photos)
    assert (code, said.count("error:")) == (1, 1)
    assert "--base BASE" in said
    assert call(photos, "--base", base)[0] == 0


def test_a_taught_file_names_its_base_by_content_and_place_and_shared_layouts_tell_no_folder(
    project: Path, tmp_path: Path
) -> None:
    finished(Run.open(project / "run"))
    (path,) = (project / "run").glob("*.safetensors")
    facts = read_header(path).metadata
    assert facts["likewise.base"] == str(project / "mybase")
    assert facts["likewise.note.base_fingerprint"] == StableDiffusion.tiny().fingerprint()
    elsewhere = shutil.copy(path, tmp_path / "copied.safetensors")
    assert len(sample("a sks dog", concepts=elsewhere, seeds=1, out=tmp_path / "drawn")) == 1
    shared = formats.write(formats.read(path), tmp_path / "shared.safetensors", "kohya")
    assert str(project.parent) not in str(read_header(shared).metadata)
    (row,) = records.runs(project)
    assert row["base"] == "mybase"


def test_the_base_is_found_from_any_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    finished(Run.open(project / "run"))
    moved = project.rename(tmp_path / "two")
    (tmp_path / "x" / "y").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "x" / "y")
    (file,) = (moved / "run").glob("*.safetensors")
    for n, concept in enumerate((moved / "run", Path("../../two/run"), file)):
        assert len(sample("a sks dog", concepts=concept, seeds=1, out=f"g{n}")) == 1
    assert not caplog.records
    shared = shutil.copy(file, "shared.safetensors")
    with pytest.raises(
        BaseError, match=r"shared\.safetensors was taught on '.*mybase', and there is no base"
    ) as told:
        sample("a sks dog", concepts=shared, seeds=1, out="none")
    assert "--base" in str(told.value.hint)
    save_folder(StableDiffusion.tiny(seed=1), Path("mybase"))
    sample("a sks dog", concepts=shared, seeds=1, out="other")
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("shared.safetensors was taught on another base than mybase; ")
    caplog.clear()
    sample("a sks dog", concepts=shared, seeds=1, base=str(moved / "mybase"), out="right")
    assert not caplog.records


def test_a_gallery_goes_on_after_everything_was_moved(project: Path, tmp_path: Path) -> None:
    finished(Run.open(project / "run"))
    sample("a sks dog", concepts=project / "run", seeds=1, out=project / "drawn")
    first = (project / "drawn" / "0000.png").stat().st_mtime_ns
    moved = project.rename(tmp_path / "two")
    assert len(sample("a sks dog", concepts=moved / "run", seeds=2, out=moved / "drawn")) == 2
    assert (moved / "drawn" / "0000.png").stat().st_mtime_ns == first


def test_a_comparison_goes_on_after_everything_was_moved(project: Path, tmp_path: Path) -> None:
    def compare(place: Path) -> list[int]:
        comparison = prepare(
            place / "photos", noun="dog", token="sks", base=str(place / "mybase"), methods="lora",
            prompts="a {} at night", seeds=1, out=place / "compared", hold_out=1, **SETTINGS,
        )  # fmt: skip
        done = []
        for event in comparison.start(judges=panel()):
            inner = getattr(event, "inner", None)
            if isinstance(inner, Stepped):
                done.append(inner.step)
                if place == project and inner.step == 3:
                    comparison.stop()
        return done

    with pytest.raises(Interrupted):
        compare(project)
    moved = project.rename(tmp_path / "two")
    assert compare(moved) == [4, 5, 6]
    assert compare(moved) == []
    assert str(tmp_path) not in (moved / "compared" / "comparison.json").read_text()


def test_a_run_of_the_first_layout_goes_on(project: Path) -> None:
    """It knew its pictures by path, its base by name, and its checkpoint by a digest of both."""
    path, state = project / "run" / "run.toml", project / "run" / "checkpoint" / "state.safetensors"
    book = tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
    for name in ("identity", "folder", "base_fingerprint"):
        del book[name]
    for row in book["job"][0]["concept"]["examples"]:
        del row["sha256"]
    path.write_text(tomlkit.dumps({**book, "schema": 1}), encoding="utf-8")
    write_tensors(state, read_tensors(state), {"likewise.step": "3", "likewise.run": "as it was"})
    assert finished(Run.open(project / "run"))


NAMES = st.text("abc", min_size=1, max_size=2)
PLACES = st.lists(NAMES, min_size=1, max_size=4)


@given(PLACES, PLACES, PLACES, PLACES)
def test_what_moves_together_stays_together(
    before: list[str], after: list[str], run: list[str], thing: list[str]
) -> None:
    """For any two places of a project, and any two things in it, neither of which lies inside the other's way."""
    root = os.path.abspath(os.sep)
    then, now = (os.path.join(root, *parts, "project") for parts in (before, after))
    moved = records.Moved(os.path.join(then, *run), Path(now, *run))
    places = moved.places(os.path.join(then, *thing))
    assert places[0] == os.path.join(then, *thing)
    assert places[-1] == os.path.join(now, *thing)
    assert len(places) == (1 if then == now else 2)


@given(NAMES)
def test_a_name_that_is_no_path_stays(name: str) -> None:
    moved = records.Moved("/then/run", Path("/now/run"))
    assert moved.places(f"owner/{name}") == [f"owner/{name}"]
    assert records.called(f"owner/{name}") == f"owner/{name}"
    assert records.called(f"/home/somebody/{name}") == name
