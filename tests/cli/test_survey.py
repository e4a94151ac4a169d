"""`survey fetch`, `import` and `export`, against the rehearsal site."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from likewise.cli import app
from likewise.survey import store as stores
from rehearsal.catalogue import Catalogue, generate
from rehearsal.server import Rehearsal
from rehearsal.site import QUIRKS

Call = Callable[..., Result]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return generate(1200, seed=1)


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in an empty folder, in this process; nothing that is raised may get out."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Result:
        result = CliRunner().invoke(app, ["survey", *map(str, words)], prog_name="likewise")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def test_fetch_says_what_it_will_do_then_does_it(catalogue: Catalogue, call: Call) -> None:
    with Rehearsal(catalogue, quirks=QUIRKS) as site:
        result = call("fetch", "--sample", 300, "--url", site.url, "--pause", 0)
        again = call("fetch", "--panel", "--url", site.url, "--pause", 0)
    assert result.exit_code == again.exit_code == 0, result.output + again.output
    first = result.stderr.splitlines()[0]
    assert f"asking {site.url}: about 7 requests, at most 30" in first
    assert result.stdout.strip() == "survey.duckdb"
    assert "this panel shows no demand" in again.stderr
    with stores.open("survey.duckdb", read_only=True) as store:
        assert [one.mode for one in store.snapshots()] == ["sample", "panel"]
        assert store.ids(1) == store.ids(2)


def test_kept_pages_fill_another_store(catalogue: Catalogue, call: Call) -> None:
    with Rehearsal(catalogue) as site:
        call("fetch", "--census", "Hypernetwork", "--url", site.url, "--pause", 0)
    (folder,) = Path("survey.pages").iterdir()
    result = call("import", folder, "--store", "again.duckdb")
    assert f"snapshot 1 (census): {catalogue.totals()['Hypernetwork']} models" in result.stderr


def test_what_is_no_store_is_said_before_the_first_request(catalogue: Catalogue, call: Call) -> None:
    Path("survey.duckdb").write_text("not a database, " * 1000)
    with Rehearsal(catalogue) as site:
        result = call("fetch", "--sample", 500, "--url", site.url, "--pause", 0)
    assert (result.exit_code, "is not a store" in result.stderr, site.requests) == (1, True, [])


def test_a_limit_ends_a_fetch_and_the_same_command_goes_on(catalogue: Catalogue, call: Call) -> None:
    with Rehearsal(catalogue) as site:
        words = ("fetch", "--sample", 500, "--url", site.url, "--pause", 0)
        stopped = call(*words, "--requests", 3)
        assert stopped.exit_code == 1
        assert "the same command goes on" in stopped.stderr
        assert call(*words).exit_code == 0
    asked = [request.pairs for request in site.requests]
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize("kind", ["xlsx", "csv", "parquet"])
def test_export_makes_the_file(call: Call, kind: str) -> None:
    with stores.open("survey.duckdb") as store:
        generate(50).write(store)
    assert call("export", "--to", kind).stdout.strip() == f"survey.{kind}"
    assert Path(f"survey.{kind}").stat().st_size > 500


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["fetch"], 2, "choose one of --sample"),
        (["fetch", "--sample", "5", "--panel"], 2, "choose one of --sample"),
        (["fetch", "--panel"], 3, "there is no survey.duckdb"),
        (["export", "--to", "docx"], 2, "choose one of xlsx"),
        (["export"], 3, "there is no survey.duckdb"),
        (["import", "none.csv"], 3, "there is no none.csv"),
    ],
)
def test_mistakes_are_one_line(call: Call, words: list[str], code: int, said: str) -> None:
    result = call(*words)
    assert result.exit_code == code
    assert said in result.stderr
    assert not list(Path().iterdir())
