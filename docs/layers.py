"""Draws docs/layers.svg from the code: `python docs/layers.py`.

The order of the layers is that of the import rules in pyproject.toml, which the checks enforce: a module imports only what
stands below it. Each box is a module or package of likewise. The largest of a row stands first, and its sentence behind it.
"""

from __future__ import annotations

import re
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = ROOT / "src" / "likewise"
SVG = Path(__file__).with_name("layers.svg")
WIDTH, ROW, GAP, MARGIN = 1000, 34, 6, 12
MOST = 84
"""Letters of such a sentence."""
TELL = 430
"""Where the sentence begins that says what the first module of a row is, in pixels."""
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1d2733}.told{fill:#5b6b7c}"
    "rect{fill:#e8eef5;stroke:#8fa3b8;rx:4}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.told{fill:#9fb0c0}rect{fill:#243240;stroke:#5c7288}}"
)


def layers() -> list[list[str]]:
    """The names of each layer's modules, from the top."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(c for c in rules["tool"]["importlinter"]["contracts"] if c["id"] == "layers")
    found = [re.findall(r"\w+", row) for row in contract["layers"]]
    return [[name for name in row if lines(name)] for row in found]


def lines(name: str) -> int:
    """Lines of a module or of all files of a package; 0 where there is none."""
    files = [CODE / f"{name}.py"] if (CODE / f"{name}.py").is_file() else sorted((CODE / name).rglob("*.py"))
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


def rows() -> list[list[tuple[str, float]]]:
    """Modules with the widths of their boxes; a layer that is too wide for one row has several."""
    room = WIDTH - 2 * MARGIN
    found: list[list[tuple[str, float]]] = []
    for layer in layers():
        row: list[tuple[str, float]] = []
        for name in sorted(layer, key=lines, reverse=True):
            width = 7.4 * len(name) + 18
            if sum(w + GAP for _, w in row) + width > room:
                found.append(row)
                row = []
            row.append((name, width))
        found.append(row)
    return [row for row in found if row]


def told(name: str) -> str:
    """The first sentence of a module's docstring, without its name."""
    path = CODE / f"{name}.py"
    text = (path if path.is_file() else CODE / name / "__init__.py").read_text(encoding="utf-8")
    sentence = text.split('"""')[1].split("\n")[0].partition(". ")[0].rstrip(".")
    sentence = sentence.partition(": ")[2] or sentence
    return sentence if len(sentence) <= MOST else f"{sentence[:MOST].rsplit(' ', 1)[0].rstrip(',')} …"


def drawn() -> str:
    """The picture as SVG."""
    made = []
    every = rows()
    for n, row in enumerate(every):
        x, y = float(MARGIN), MARGIN + n * (ROW + GAP)
        for name, width in row:
            made.append(f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{ROW}"/>')
            made.append(f'<text x="{x + 9:.0f}" y="{y + 21}">{escape(name)}</text>')
            x += width + GAP
        if x < TELL:
            made.append(f'<text class="told" x="{TELL}" y="{y + 21}">{escape(told(row[0][0]))}</text>')
    height = 2 * MARGIN + len(every) * (ROW + GAP)
    title = "The layers of likewise. A module imports only what stands below it."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
        f"<title>{title}</title><style>{STYLE}</style>{''.join(made)}</svg>\n"
    )


if __name__ == "__main__":
    SVG.write_text(drawn(), encoding="utf-8")
