"""Step 1: fetch the artwork packages and check them against sources.toml.

A package already in the build folder with the right checksum is left as it is.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

from workshop.common import PACKAGES, ROOT, options, settle

LICENCES = {
    "MIT": "https://opensource.org/license/mit",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "Zlib": "https://opensource.org/license/zlib",
}
"""All that training art may have."""


def sources(file: str = "sources.toml") -> list[dict[str, str]]:
    """The rows of sources.toml, or of suite_sources.toml."""
    return tomllib.loads((ROOT / "workshop" / file).read_text(encoding="utf-8"))["source"]


def attribution(title: str, *files: str) -> str:
    """Credits of every source of a training, as Markdown; `files` are those that list them."""
    rows = [
        f"- **{row['package']} {row['version']}** ([{row['licence']}]({LICENCES[row['licence']]})): "
        f"{row['credit']}. {row['url']}"
        for file in files or ("sources.toml",)
        for row in sources(file)
    ]
    head = [
        f"# Attribution of the {title}",
        "",
        "Trained only on pictures composed from the artwork below; cut-outs were",
        "scaled, turned, mirrored, recoloured and placed on drawn scenes.",
        "",
    ]
    return "\n".join([*head, *rows]) + "\n"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def obtain(row: dict[str, str]) -> Path:
    """Return the package file, downloading it with ``npm pack`` or ``pip download`` where it is missing."""
    PACKAGES.mkdir(parents=True, exist_ok=True)
    path = PACKAGES / row["file"]
    if not path.exists():
        subprocess.run(command(row), cwd=PACKAGES, check=True)
    if digest(path) != row["sha256"]:
        raise SystemExit(
            f"{path.name}: checksum differs from the pinned one; delete the file and fetch again"
        )
    return path


def unpack(package: Path, place: Path) -> None:
    """The files of an npm package, without the folder that npm puts around them."""
    with tarfile.open(package) as tar:
        files = [member for member in tar if member.isfile()]
        for member in files:
            member.name = member.name.removeprefix("package/")
        tar.extractall(place, members=files, filter="data")


def command(row: dict[str, str]) -> list[str]:
    """What fetches a package into the current folder; a wheel is the same one on every machine."""
    if row["form"] != "wheel":
        return ["npm", "pack", f"{row['package']}@{row['version']}"]
    same = ["--no-deps", "--only-binary=:all:", "--python-version=3.11", "--platform=manylinux2014_x86_64"]
    return [sys.executable, "-m", "pip", "download", *same, f"{row['package']}=={row['version']}"]


def main(argv: list[str] | None = None) -> None:
    settle(options(__doc__, smoke="accepted for symmetry; fetching has no small form"), argv)
    for row in sources():
        print(f"{obtain(row).name}: {row['licence']}")


if __name__ == "__main__":
    main()
