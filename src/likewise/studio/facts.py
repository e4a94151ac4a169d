"""Facts: what only torch or a slow look can tell, asked of processes of their own and kept in memory.

`python -m likewise.studio.facts BASE` prints what the methods are, the schema of their settings and what the base advises;
`likewise doctor` and `likewise estimate` are the commands that people type.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from likewise.studio.work import environment

SECONDS = 900


class Facts:
    """Answers of commands by what was asked, each asked once at a time; what is wrong is an `error`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[tuple[str, ...], Any] = {}
        self._locks: dict[tuple[str, ...], threading.Lock] = {}

    def methods(self, base: str = "pocket") -> dict[str, Any]:
        """`methods` (name, title, summary, kind, settings) and `advice` of the base by method; or an `error`."""
        return self.ask(["-m", "likewise.studio.facts", base])

    def doctor(self) -> Any:
        """What `likewise doctor` finds."""
        return self.ask(["-m", "likewise", "doctor", "--json"])

    def ask(self, arguments: Sequence[str], signature: str = "", *, anew: bool = False) -> Any:
        """The JSON that a Python command prints; `signature` tells apart what the arguments do not."""
        key = (*arguments, signature)
        with self._locks.setdefault(key, threading.Lock()):
            if anew or key not in self._known:
                answer = run(arguments, self.root)
                if isinstance(answer, dict) and "error" in answer:
                    return answer
                self._known[key] = answer
            return self._known[key]

    def known(self, arguments: Sequence[str], signature: str = "") -> Any:
        """The answer if it is there already."""
        return self._known.get((*arguments, signature))

    def ahead(self, *what: Callable[[], Any]) -> None:
        """Ask in the background, so that nobody has to wait for it later."""
        threading.Thread(target=lambda: [one() for one in what], daemon=True).start()


def run(arguments: Sequence[str], root: Path) -> Any:
    """The JSON that a Python command prints, or `{"error": its last lines}`."""
    try:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=root, capture_output=True, text=True, timeout=SECONDS, check=False,
            stdin=subprocess.DEVNULL, env=environment(),
        )  # fmt: skip
        return json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"error": "this took longer than a quarter of an hour"}
    except ValueError:
        lines = [
            line for line in done.stderr.strip().splitlines() if not line.startswith(("note:", "loading"))
        ]
        return {"error": "\n".join(lines[-4:]) or f"it ended with code {done.returncode}"}


def _methods() -> list[dict[str, Any]]:
    from likewise import methods
    from likewise.recipe import Recipe, TrainingRecipe

    found = []
    for name in methods.names():
        method = methods.get(name)
        fields = method.recipe.model_json_schema()["properties"]
        plain, training = Recipe.model_fields, TrainingRecipe.model_fields
        own = [key for key in fields if key not in plain and key not in training]
        settings = [
            {"key": key, "own": key in own, **{k: v for k, v in schema.items() if k != "title"}}
            for key, schema in fields.items()
        ]
        found.append(
            {
                "name": name,
                "title": method.title,
                "paper": method.paper,
                "summary": " ".join(method.summary.split()),
                "trains": method.trains,
                "stackable": method.stackable,
                "kind": method.kind.title,
                "for": method.kind.choose,
                "settings": settings,
            }
        )
    return found


def _advice(base: str) -> dict[str, Any]:
    """Settings by method that the maker of a base on this disk advises."""
    from likewise import families
    from likewise.errors import Error
    from likewise.families._advice import advice

    try:
        return {name: dict(table) for name, table in advice(families.locate(base)).recipes.items()}
    except (Error, OSError):
        return {}


if __name__ == "__main__":
    print(json.dumps({"methods": _methods(), "advice": _advice(sys.argv[1])}))
