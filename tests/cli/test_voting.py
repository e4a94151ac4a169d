"""`likewise vote`: what it prints, what it serves until Ctrl-C, and one clear line for each mistake."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from likewise.cli import app
from likewise.comparison.voting import VOTES, Ballot
from tests.comparison.ballots import MANY, TRIALS, comparison

SOURCE = Path(__file__).parents[1] / "src"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return comparison(tmp_path / "mugs", seeds=5, prompts=MANY)


def call(*words: object) -> Result:
    return CliRunner().invoke(app, ["vote", *map(str, words)])


def process(*words: object, code: str = "") -> subprocess.Popen[str]:
    """`likewise vote` in a Python of its own, after `code`."""
    run = f"import sys; {code}from likewise.cli import main; sys.argv.insert(1, 'vote'); sys.exit(main())"
    path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-c", run, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def vote_all(folder: Path) -> None:
    ballot = Ballot(folder)
    while (showing := ballot.next()) is not None:
        order = [name for name, *_ in TRIALS]
        first = order.index(showing.left.condition) < order.index(showing.right.condition)
        ballot.cast(showing.id, "left" if first else "right")


def test_results_are_a_table_and_sentences(folder: Path) -> None:
    vote_all(folder)
    found = call(folder, "--results")
    assert found.exit_code == 0, found.output
    assert re.search(r"^LoRA +\d+ % +\d+ % to \d+ % +80 +0$", found.stdout, re.MULTILINE)
    assert "LoRA is preferred to DreamBooth (40 to 0)." in found.stdout
    assert found.stdout.endswith("They never enter the measured verdict.\n")
    data = json.loads(call(folder, "--results", "--json").stdout)
    assert [one["name"] for one in data["conditions"]] == ["lora", "dreambooth", "aesthetic"]
    assert data["consistency"] == {"repeated": 12, "agreed": 12}


def test_results_of_no_votes_are_a_sentence(folder: Path) -> None:
    found = call(folder, "--results")
    assert (found.exit_code, found.stdout.splitlines()[0]) == (0, "No vote says which picture is better yet.")
    assert not (folder / "ballot.json").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere"], 3, "there is no folder nowhere"),
        (["nowhere", "--results"], 3, "there is no folder nowhere"),
        (["nowhere", "--json"], 2, "write --results --json"),
        (["nowhere", "--port", "70000"], 2, "give 65535 or less"),
    ],
)
def test_mistakes_are_one_line(words: list[str], code: int, said: str) -> None:
    pytest.importorskip("uvicorn", reason="the studio extra")
    found = call(*words)
    assert found.exit_code == code
    assert said in " ".join(found.stderr.split())
    assert "Traceback" not in found.output


def test_a_damaged_line_is_named(folder: Path) -> None:
    (folder / VOTES).write_text("{}\n")
    found = call(folder, "--results")
    assert (found.exit_code, "line 1, is no vote" in found.stderr) == (1, True)


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_the_extra_it_says_how_to_install_it(folder: Path, package: str) -> None:
    if package == "uvicorn":
        pytest.importorskip("starlette", reason="the studio extra")
    with process(folder, code=f"sys.modules['{package}'] = None; ") as run:
        out, err = run.communicate(timeout=120)
    assert run.returncode == 1
    assert out == ""
    assert err.splitlines() == [
        f"error: pages on this machine need {package}", "hint: pip install 'likewise[studio]' brings it",
    ]  # fmt: skip


def test_results_need_no_extra_and_no_torch(folder: Path) -> None:
    blocked = "".join(f"sys.modules['{name}'] = None; " for name in ("starlette", "uvicorn", "torch"))
    with process(folder, "--results", code=blocked) as run:
        out, err = run.communicate(timeout=120)
    assert (run.returncode, err) == (0, "")
    assert "No vote" in out


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C of a process is another thing there")
def test_it_serves_until_ctrl_c_and_keeps_every_vote(folder: Path) -> None:
    pytest.importorskip("uvicorn", reason="the studio extra")
    with process(folder, "--port", "0") as run:
        assert run.stdout is not None
        address = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/\?token=\S+)\n", run.stdout.readline())
        assert address
        connection = HTTPConnection("127.0.0.1", int(address[1]), timeout=60)
        connection.request("GET", address[2])
        opened = connection.getresponse()
        opened.read()
        cookie = str(opened.headers["set-cookie"]).partition(";")[0]
        connection.request("GET", "/api/next", headers={"Cookie": cookie})
        showing = json.loads(connection.getresponse().read())["showing"]
        head = {"Cookie": cookie, "Origin": f"http://127.0.0.1:{address[1]}", "X-Likewise": "1",
                "Content-Type": "application/json"}  # fmt: skip
        connection.request("POST", "/api/votes", json.dumps({"showing": showing, "choice": "tie"}), head)
        assert connection.getresponse().status == 200
        run.send_signal(signal.SIGINT)  # while the connection is open
        out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (0, "")
    assert "0 of 132 pairs are answered; Ctrl-C ends it" in err
    assert err.endswith("\n1 of 132 pairs are answered\n")
    assert "Traceback" not in err
    assert len((folder / VOTES).read_text().splitlines()) == 1


def test_open_opens_the_address_and_another_begins_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn", reason="the studio extra")
    import webbrowser

    from likewise.local.server import Server

    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(Server, "run", lambda server: server._socket.close())
    vote_all(folder)
    found = call(folder, "--port", 0, "--open")
    assert found.exit_code == 0, found.output
    assert found.stdout.splitlines() == opened
    assert "132 of 132 pairs are answered" in found.stderr
    assert "0 of 264 pairs" in call(folder, "--port", 0, "--another", "--with-base").stderr
