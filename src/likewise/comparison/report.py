"""The page of a comparison: one self-contained HTML file made from a comparison folder.

It reads what is on disk and computes no score of its own; an unfinished folder, or one with failed trials,
gives a page that says so. Words and layout live in `report.html.j2`, `report.css` and `report.js`, drawings
in `charts.py`, the wording of numbers in `wording.py`.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape
from PIL import Image

from likewise import page
from likewise.comparison import charts, support
from likewise.errors import RunError
from likewise.files import expand, write_with
from likewise.page.wording import (
    MISSING,
    Row,
    count_text,
    finite,
    interval,
    score_text,
    size_text,
    time_text,
)

NO_TRAINING = "no training"
_CAP = 15_000_000  # characters of pictures in one page; a larger set goes to a folder beside it
_LEVELS = ((1024, 90), (640, 84), (512, 76), (384, 66))  # longest side and WebP quality, tried in turn
_STATUS = {"failed": "failed", "unsupported": "not supported", "skipped": "skipped", "done": "done"}
_METRICS = {
    "fidelity": ("Likeness", "how much the pictures resemble the held-out ones"),
    "prompt": ("Prompt following", "how well the pictures show what the prompt says"),
    "diversity": ("Diversity", "how much pictures of one prompt differ from seed to seed"),
}


def build(folder: Path, out: Path | None = None, *, survey: Path | None = None) -> Path:
    """Write the page of a comparison to `out` (`report.html` in its folder); RunError if it is unreadable.

    With `survey`, a store of the community survey, it also says how common each kind of file is.
    """
    folder = expand(folder)
    out = expand(out) if out else folder / "report.html"
    comparison, rows = _read(folder)
    album = _Album(folder)
    view = _view(folder, comparison, rows, album)
    view |= _support(view["methods"], survey) | {"beside": album.encode(out)}
    return page.write(Path(__file__).parent, view, out)


def summary(folder: Path, *, survey: Path | None = None) -> Row:
    """What the page says, as plain data: comparison.json, the trials in order, how many ended how, who reads the files."""
    comparison, rows = _read(expand(folder))
    counts = {status: sum(row["status"] == status for row in rows) for status in _STATUS}
    facts = {"finished": bool(comparison.get("finished")), "counts": counts, "trials": rows}
    return {**comparison, **facts, **_support(_methods(rows), survey)}


def table(folder: Path) -> list[Row]:
    """One row of short words per trial, for a terminal: title, status, each score, each cost, reason."""
    comparison, rows = _read(expand(folder))
    metrics = _metrics(comparison, rows)
    return [
        {
            "trial": row["title"],
            "status": row["said"],
            **{metric["title"]: score_text(row["scores"].get(metric["name"])) for metric in metrics},
            **{title: text for (_, title, *_), text in zip(_COSTS, _costs(row), strict=True)},
            "reason": row["reason"],
        }
        for row in rows
    ]


def _read(folder: Path) -> tuple[Row, list[Row]]:
    path = folder / "comparison.json"
    try:
        comparison = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        said = f"{folder} holds no comparison.json" if folder.is_dir() else f"there is no folder {folder}"
        raise RunError(said, "name one that `likewise compare` wrote") from None
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read: {error}", "name a folder that `likewise compare` wrote"
        ) from None
    if not isinstance(comparison, dict) or comparison.get("schema", 1) != 1:
        raise RunError(f"{path} is no comparison that this likewise knows (schema 1)", "update likewise")
    file = folder / "results.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    rows: dict[str, Row] = {}  # a trial that was tried again counts as its latest row
    for number, line in enumerate(lines, 1):
        try:
            row: Row = {"kind": "method", "status": "done", "reason": None, "gallery": None, "steps": None}
            row |= json.loads(line) if line.strip() else {}
            row |= {key: dict(row.get(key) or {}) for key in ("scores", "cost", "recipe")}
        except (ValueError, TypeError):
            if number == len(lines):  # torn: a row that is still being written
                break
            raise RunError(f"{file}, line {number}, is no row", "remove it to redo that trial") from None
        if "trial" in row:
            row |= {"title": str(row.get("title") or row["trial"]), "strip": row.get("strip") or []}
            rows[str(row["trial"])] = row | {"said": _STATUS.get(row["status"], str(row["status"]))}
    return comparison, sorted(
        rows.values(), key=lambda row: {"floor": 0, "description": 1}.get(row["kind"], 2)
    )


def _methods(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["kind"] not in ("floor", "description")]


def _metrics(comparison: Row, rows: list[Row]) -> list[Row]:
    """The three metrics the page always shows, in the comparison's words where it has some, then others."""
    known = {str(metric["name"]): metric for metric in comparison.get("metrics") or []}
    metrics = []
    for name in dict.fromkeys([*_METRICS, *known, *(name for row in rows for name in row["scores"])]):
        title, meaning = _METRICS.get(name, (name.replace("_", " ").capitalize(), ""))
        metrics.append({"title": title, "meaning": meaning, "name": name, **known.get(name, {})})
    return metrics


def _date(value: Any) -> str:
    try:
        day = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value or "")
    return f"{day.day} {day:%B} {day.year}"


def _costs(row: Row) -> list[str]:
    """The costs of a trial in words; what was never trained has none of training."""
    texts = [(key, write(row["cost"].get(key))) for key, _, _, write in _COSTS]
    untrained = row["kind"] in ("floor", "description")
    return [NO_TRAINING if untrained and key != "sample_seconds" else text for key, text in texts]


_COSTS: tuple[tuple[str, str, str, Callable[[Any], str]], ...] = (
    ("bytes", "File size", "what you keep, copy and share", size_text),
    ("seconds", "Training time", "on the machine named below", time_text),
    ("peak_bytes", "Peak memory", "the most that training held at once", size_text),
    ("trainable", "Trained parameters", "the numbers that training may change", count_text),
    ("sample_seconds", "Time per picture", "drawing with what was learned", time_text),
)


class _Album:
    """The pictures of a page, each content once, by number. Files outside the folder are not opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.files: list[Path] = []
        self._known: dict[str, int] = {}
        self._sources: list[str] = []
        self._placed: set[int] = set()

    def add(self, file: str | Path) -> int | None:
        """The number of a picture, or None where it is missing or no picture."""
        path = (self.folder / file).resolve()
        try:
            if not path.is_relative_to(self.folder):
                return None
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest not in self._known:
                with Image.open(path) as image:
                    image.verify()
                self.files.append(path)
                self._known[digest] = len(self.files) - 1
        except (
            OSError,
            SyntaxError,
            ValueError,
            Image.DecompressionBombError,
        ):  # Pillow has many words for it
            return None
        return self._known[digest]

    def encode(self, out: Path) -> bool:
        """Make every picture a WebP in the page, or (True) a file beside it where it would be too large."""
        probe = self.files[:: max(1, len(self.files) // 16)]  # spares encoding a large set at every level
        for level in _LEVELS:
            sizes = [len(_webp(file, *level)) for file in probe]
            if sum(sizes) * len(self.files) > 0.9 * _CAP * len(sizes):
                continue
            texts = [base64.b64encode(_webp(file, *level)).decode() for file in self.files]
            if sum(map(len, texts)) <= _CAP:
                self._sources = [f"data:image/webp;base64,{text}" for text in texts]
                return False
        beside = out.with_name(f"{out.stem}_files")
        names = [f"{number:05d}.webp" for number in range(len(self.files))]

        def fill(target: Path) -> None:
            target.mkdir()
            for name, file in zip(names, self.files, strict=True):
                (target / name).write_bytes(_webp(file, *_LEVELS[0]))

        write_with(beside, fill)
        self._sources = [f"{quote(beside.name)}/{name}" for name in names]
        return True

    def place(self, number: int) -> Markup:
        """The attributes that give an <img> its picture: the data once, then where the script finds it."""
        if number in self._placed:
            return Markup(f'data-same="i{number}"')
        self._placed.add(number)
        return Markup(f'id="i{number}" src="{escape(self._sources[number])}"')


def _webp(file: Path, side: int, quality: int) -> bytes:
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    small = max(image.size) <= 128  # lossy WebP halves the resolution of colours
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=small, quality=50 if small else quality, method=2 if small else 4)
    return buffer.getvalue()


def _view(folder: Path, comparison: Row, rows: list[Row], album: _Album) -> Row:
    metrics, seeds = _metrics(comparison, rows), list(comparison.get("seeds") or [])
    methods = _methods(rows)
    for number, row in enumerate(rows):
        row["number"], row["tone"] = number, "method" if row in methods else row["kind"]
        row["hue"] = methods.index(row) % 8 if row in methods else None
        row |= {"pictures": _gallery(row, album, seeds), "frames": _frames(row, album), "costs": _costs(row)}
    noun = str(comparison.get("noun") or "")
    prompts = {str(p["id"]): str(p["text"]).replace("{}", noun) for p in comparison.get("prompts") or []}
    for (role, _), picture in (item for row in rows for item in row["pictures"].items()):
        prompts.setdefault(role, picture["prompt"])  # whatever was drawn is shown
    ceilings = comparison.get("ceiling") or {}
    return {
        "c": comparison, "rows": rows, "methods": methods, "metrics": metrics, "seeds": seeds,
        "prompts": [{"id": key, "text": text} for key, text in prompts.items()],
        **{key: [album.add(str(f)) for f in comparison.get(key) or []] for key in ("train", "held_out")},
        "planes": [charts.plane(rows, ceilings, *size) for size in ((720, 500), (380, 420))],
        "panels": [charts.bars(methods, *cost) for cost in _COSTS], "ceilings": ceilings,
        "spreads": [(m, charts.span(row["scores"].get(m["name"]) for row in rows)) for m in metrics[2:]],
        "scale": page.scale, "ends": interval, "missing": MISSING, "created": _date(comparison.get("created")),
        "picture": album.place, "score_text": score_text, "size_text": size_text, "number": finite,
        "count_text": count_text, "date": _date,
        "words": lambda value: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),
        "folder": folder.name, "command": comparison.get("command") or f"likewise compare {folder.name}",
    }  # fmt: skip


def _support(methods: list[Row], survey: Path | None) -> Row:
    """Who reads each method's files, and how common they are: beside the cost, and part of nothing else."""
    names = [str(row["trial"]) for row in methods]
    return {
        "programs": {name: support.programs(name) for name in names},
        "common": support.common(survey, names) if survey else None,
    }


def _gallery(row: Row, album: _Album, seeds: list[Any]) -> dict[tuple[str, int], Row]:
    """The pictures of a trial by prompt's id and turn: the turn of its seed, or where it stands in its prompt."""
    index = album.folder / str(row["gallery"]) / "gallery.json"
    found: dict[tuple[str, int], Row] = {}
    turns: Counter[str] = Counter()
    try:
        for p in json.loads(index.read_text(encoding="utf-8")) if row["gallery"] and index.exists() else []:
            role, seed, number = str(p["role"]), p["seed"], album.add(index.parent / p["file"])
            turn = seeds.index(seed) if seed in seeds else turns[role]
            turns[role] += 1
            seeds += [seed] * (turn == len(seeds))
            if number is not None:
                found[role, turn] = {"number": number, "prompt": str(p["prompt"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{index} cannot be read: {error}", "delete the folder to draw it again") from None
    return found


def _frames(row: Row, album: _Album) -> list[Row]:
    """At most twelve pictures of a trial's training, evenly spaced, with the first and the last."""
    frames = [{"step": f.get("step"), "number": album.add(str(f.get("file")))} for f in row["strip"]]
    frames = [frame for frame in frames if frame["number"] is not None]
    last = len(frames) - 1
    return frames if last < 12 else [frames[round(k * last / 11)] for k in range(12)]
