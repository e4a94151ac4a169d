"""Step 1: fetch the artwork packages and check them against sources.toml.

A package already in the build folder with the right checksum is left as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import tomllib
from pathlib import Path

from workshop.common import PACKAGES, ROOT


def sources() -> list[dict[str, str]]:
    """The rows of sources.toml."""
    return tomllib.loads((ROOT / "workshop" / "sources.toml").read_text(encoding="utf-8"))["source"]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def obtain(row: dict[str, str]) -> Path:
    """Return the package file, downloading it with ``npm pack`` where it is missing."""
    PACKAGES.mkdir(parents=True, exist_ok=True)
    path = PACKAGES / row["file"]
    if not path.exists():
        subprocess.run(["npm", "pack", f"{row['package']}@{row['version']}"], cwd=PACKAGES, check=True)
    if digest(path) != row["sha256"]:
        raise SystemExit(f"{path.name}: checksum differs from sources.toml; delete the file and fetch again")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--smoke", action="store_true", help="accepted for symmetry; fetching has no small form"
    )
    parser.parse_args()
    for row in sources():
        print(f"{obtain(row).name}: {row['licence']}")


if __name__ == "__main__":
    main()
