"""A checkout whose pip, likewise and pytest only write down that they were called."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

GO = Path(__file__).parents[2] / "go.py"

FAKE_PIP = """
import os, sys, time

def main():
    with open(os.environ["PIP_CALLS"], "a") as calls:
        print(*sys.argv[1:], file=calls)
    print(os.environ.get("PIP_SAYS", "Successfully installed nothing"), flush=True)
    if os.environ.get("PIP_HANGS"):
        open(os.environ["PIP_HANGS"], "w").close()
        time.sleep(60)
    return int(os.environ.get("PIP_EXITS", "0"))

if __name__ == "__main__":
    sys.exit(main())
"""

FAKE_LIKEWISE = """
import os, sys

print("likewise", *sys.argv[1:], "in", os.path.basename(os.environ["VIRTUAL_ENV"]))
sys.exit(int(os.environ.get("LIKEWISE_EXITS", "0")))
"""

FAKE_PYTEST = """
import os, sys

print("pytest", *sys.argv[1:], "threads", os.environ["OMP_NUM_THREADS"])
sys.exit(5)
"""


class Checkout:
    """A copy of go.py beside a small pyproject, and the calls that its pip got."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.variables: dict[str, str] = {}
        (root / "go.py").write_bytes(GO.read_bytes())
        (root / "pyproject.toml").write_text("[project]\nname = 'likewise'\n")
        (root / "constraints.txt").write_text("torch==2.13.0\n")

    def make_venv(self) -> None:
        """A real environment, but for pip, likewise and pytest."""
        venv.create(self.venv, with_pip=False, symlinks=os.name != "nt")
        packages = next(self.venv.rglob("site-packages"))
        for name, code in ("pip", FAKE_PIP), ("likewise", FAKE_LIKEWISE), ("pytest", FAKE_PYTEST):
            packages.joinpath(f"{name}.py").write_text(code)

    def environment(self) -> dict[str, str]:
        kept = {
            k: v
            for k, v in os.environ.items()
            if k not in ("CI", "LIKEWISE_TORCH", "PYTHONPATH", "PYTHONPYCACHEPREFIX")
        }
        # Which build of torch a machine gets by itself depends on its devices; tests that ask for it say so.
        return {**kept, "LIKEWISE_TORCH": "pip", "PIP_CALLS": str(self.root / "calls"), **self.variables}

    def go(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "go.py", *arguments],
            cwd=self.root,
            env={**self.environment(), **variables},
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )

    def calls(self) -> list[str]:
        """pip's command lines, oldest first."""
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def note(self) -> dict[str, Any]:
        return json.loads((self.venv / "go.json").read_text())
