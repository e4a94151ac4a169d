"""The page of a comparison: one self-contained HTML file made from a comparison folder.

It reads what is on disk and computes no score of its own; a folder that is unfinished, or that holds failed trials, gives a
page that says so. Words and layout live in `report.html.j2`, `report.css` and `report.js` beside this file. No torch.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape
from PIL import Image

from likewise.errors import RunError
from likewise.files import write_text, write_with

Row = dict[str, Any]

MISSING = "not measured"
_CAP = 15_000_000  # characters of pictures in one page; a larger set goes to a folder beside it
_LEVELS = ((1024, 90), (640, 84), (512, 76), (384, 66))  # longest side and WebP quality, tried in turn
_FRAMES = 12  # of one film strip
_ORDER = {"floor": 0, "description": 1, "method": 2}
_STATUS = {"failed": "failed", "unsupported": "not supported", "skipped": "skipped", "done": "done"}
_METRICS: list[Row] = [
    {"name": "fidelity", "title": "Likeness", "meaning": "how much the pictures resemble the held-out ones"},
    {"name": "prompt", "title": "Prompt following", "meaning": "how well the pictures show what the prompt says"},
    {"name": "diversity", "title": "Diversity", "meaning": "how much pictures of one prompt differ from seed to seed"},
]


def build(folder: Path, out: Path | None = None) -> Path:
    """Write the page of the comparison in `folder` to `out` (`report.html` in it) and give its path.

    Raises RunError where there is no readable comparison.json, or results.jsonl is damaged.
    """
    folder = Path(folder)
    out = Path(out) if out else folder / "report.html"
    comparison, rows = _read(folder)
    album = _Album(folder)
    view = _view(folder, comparison, rows, album)
    view["picture"] = _placer(album.sources(out))
    here = Path(__file__).parent
    for name in ("css", "js"):
        text = (here / f"report.{name}").read_text(encoding="utf-8")
        view[name], view[f"{name}_hash"] = Markup(text), _digest(text)
    loader = jinja2.FileSystemLoader(here)
    engine = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return write_text(out, engine.get_template("report.html.j2").render(view) + "\n")


def summary(folder: Path) -> Row:
    """What the page says, as plain data: the comparison, its trials in the page's order, how many ended how."""
    comparison, rows = _read(Path(folder))
    kept = ("name", "base", "token", "noun", "created", "version", "digest", "ceiling", "verdict", "verdict_note")
    fields = ("trial", "title", "kind", "status", "reason", "scores", "cost", "steps")
    return {
        **{key: comparison.get(key) for key in kept},
        "finished": bool(comparison.get("finished")),
        "counts": {status: sum(row["status"] == status for row in rows) for status in _STATUS},
        "trials": [{key: row.get(key) for key in fields} for row in rows],
    }


def table(folder: Path) -> list[Row]:
    """One row of short words per trial, for a terminal: title, status, each score, each cost, reason."""
    comparison, rows = _read(Path(folder))
    return [
        {
            "trial": row["title"],
            "status": _STATUS[row["status"]],
            **{metric["title"]: score_text(row["scores"].get(metric["name"])) for metric in _metrics(comparison, rows)},
            **{title: write(row["cost"].get(key)) for key, title, _, write in _COSTS},
            "reason": row["reason"],
        }
        for row in rows
    ]


# ---------------------------------------------------------------------------------------------- reading


def _read(folder: Path) -> tuple[Row, list[Row]]:
    path = folder / "comparison.json"
    try:
        comparison = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is not there", "name the folder that `likewise compare` wrote") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}", "run the comparison again to rewrite it") from None
    if not isinstance(comparison, dict):
        raise RunError(f"{path} does not describe a comparison", "run the comparison again to rewrite it")
    if comparison.get("schema", 1) != 1:
        raise RunError(f"{path} has schema {comparison['schema']}, and this likewise reads 1", "update likewise")
    rows: dict[str, Row] = {}  # a trial that was tried again counts as its latest row
    for raw in _lines(folder / "results.jsonl"):
        row = {"kind": "method", "status": "done", "reason": None, "gallery": None, "steps": None, **raw}
        row["title"] = str(row.get("title") or row["trial"])
        row |= {key: dict(row.get(key) or {}) for key in ("scores", "cost", "recipe")}
        row["strip"] = list(row.get("strip") or [])
        row["status"] = row["status"] if row["status"] in _STATUS else "failed"
        rows[str(row["trial"])] = row
    return comparison, sorted(rows.values(), key=lambda row: _ORDER.get(row["kind"], 2))


def _lines(path: Path) -> Iterable[Row]:
    """The rows of a file of JSON lines. A torn last line is a row still being written, and left out."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError:
            if number == len(lines):
                return
            raise RunError(f"{path}, line {number}, is no JSON", "remove the line to redo that trial") from None
        if isinstance(row, dict) and "trial" in row:
            yield row


def _metrics(comparison: Row, rows: list[Row]) -> list[Row]:
    """The metrics of the page: the three it always shows, described by the comparison where it does, then others."""
    known = {str(metric["name"]): metric for metric in comparison.get("metrics") or []}
    names = [metric["name"] for metric in _METRICS] + list(known) + [name for row in rows for name in row["scores"]]
    usual = {metric["name"]: metric for metric in _METRICS}
    blank = {"meaning": "", "card": "", "better": ""}
    return [
        {"title": str(name).capitalize(), **blank, **usual.get(name, {}), **known.get(name, {}), "name": name}
        for name in dict.fromkeys(names)
    ]


# ---------------------------------------------------------------------------------------------- words


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _short(value: float, units: Sequence[str]) -> str:
    """Three digits at most and a unit, each a thousand of the one before: 28 MB, 4.1 kB."""
    size, unit = float(value), 0
    while abs(size) >= 999.5 and unit < len(units) - 1:
        size, unit = size / 1000, unit + 1
    text = f"{size:.0f}" if unit == 0 or abs(size) >= 9.95 else f"{size:.1f}"
    return f"{text.removesuffix('.0')} {units[unit]}".strip()


def size_text(value: Any) -> str:
    """Bytes for people: 28 MB."""
    number = _number(value)
    return MISSING if number is None else _short(number, ("B", "kB", "MB", "GB", "TB"))


def count_text(value: Any) -> str:
    """A number of parameters for people: 797 k, 1.2 M."""
    number = _number(value)
    return MISSING if number is None else _short(number, ("", "k", "M", "B"))


def time_text(value: Any) -> str:
    """Seconds for people: 0.42 s, 41 s, 3 min 20 s, 2 h 5 min."""
    number = _number(value)
    if number is None:
        return MISSING
    if number < 99.5:
        return f"{number:.3g} s" if number < 9.95 else f"{number:.0f} s"
    minutes, seconds = divmod(round(number), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    hours, minutes = divmod(round(number / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def score_text(score: Row | None) -> str:
    """A score with its interval: 0.62 [0.55, 0.69]."""
    low, mean, high = _score(score)
    if mean is None:
        return MISSING
    return f"{mean:.2f}" if low is None or high is None else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def _score(score: Row | None) -> tuple[float | None, float | None, float | None]:
    low, mean, high = (_number((score or {}).get(key)) for key in ("low", "mean", "high"))
    return low, mean, high


def _date(value: Any) -> str:
    try:
        day = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value or "")
    return f"{day.day} {day:%B} {day.year}"


def _words(value: Any) -> str:
    """A setting's value as one would type it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_COSTS: tuple[tuple[str, str, str, Callable[[Any], str]], ...] = (
    ("bytes", "File size", "what you keep, copy and share", size_text),
    ("seconds", "Training time", "on the machine named below", time_text),
    ("peak_bytes", "Peak memory", "the most that training held at once", size_text),
    ("trainable", "Trained parameters", "the numbers that training may change", count_text),
    ("sample_seconds", "Time per picture", "drawing with what was learned", time_text),
)

# ---------------------------------------------------------------------------------------------- pictures


class _Album:
    """The pictures of a page: each content once, by number. Files outside the comparison's folder are not opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.files: list[Path] = []
        self._known: dict[str, int] = {}

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
        except (OSError, SyntaxError):  # Pillow's word for a broken PNG
            return None
        return self._known[digest]

    def sources(self, out: Path) -> list[str]:
        """An address for every picture: WebP in the page, or files beside `out` where the page would grow too large."""
        for level in _LEVELS:
            probe = self.files[:: max(1, len(self.files) // 16)]  # spares encoding a large set at every level
            if sum(len(_webp(file, level)) for file in probe) * len(self.files) > 0.9 * _CAP * max(1, len(probe)):
                continue
            texts = [base64.b64encode(_webp(file, level)).decode() for file in self.files]
            if sum(map(len, texts)) <= _CAP:
                return [f"data:image/webp;base64,{text}" for text in texts]
        beside = out.with_name(f"{out.stem}_files")

        def fill(target: Path) -> None:
            target.mkdir()
            for number, file in enumerate(self.files):
                (target / f"{number:05d}.webp").write_bytes(_webp(file, _LEVELS[0]))

        write_with(beside, fill)
        return [f"{beside.name}/{number:05d}.webp" for number in range(len(self.files))]


def _webp(file: Path, level: tuple[int, int]) -> bytes:
    side, quality = level
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    small = max(image.size) <= 128  # lossy WebP halves the colours' resolution, which shows in a small picture
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4, lossless=small)
    return buffer.getvalue()


def _placer(sources: list[str]) -> Callable[[int], Markup]:
    """The attributes that give an <img> its picture: the data the first time, then where the script finds it."""
    seen: set[int] = set()

    def place(number: int) -> Markup:
        if number in seen:
            return Markup(f'data-same="i{number}"')
        seen.add(number)
        return Markup(f'id="i{number}" src="{escape(sources[number])}"')

    return place


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# ---------------------------------------------------------------------------------------------- the page's parts


def _view(folder: Path, comparison: Row, rows: list[Row], album: _Album) -> Row:
    metrics = _metrics(comparison, rows)
    hues = iter(range(len(rows)))
    for number, row in enumerate(rows):
        row["number"], row["tone"] = number, row["kind"] if row["kind"] in ("floor", "description") else "method"
        row["hue"] = next(hues) % 8 if row["tone"] == "method" else None
        row["said"] = _STATUS[row["status"]]
        row["pictures"] = _gallery(folder, row, album)
        row["frames"] = _frames(row, album)
        row["cells"] = [_cell(metric, row["scores"].get(metric["name"])) for metric in metrics]
        row["costs"] = [write(row["cost"].get(key)) for key, _, _, write in _COSTS]
    prompts = [{"id": str(p["id"]), "text": str(p["text"])} for p in comparison.get("prompts") or []]
    roles = {str(role): p["prompt"] for row in rows for (role, _), p in row["pictures"].items()}
    prompts += [{"id": r, "text": text} for r, text in roles.items() if r not in {p["id"] for p in prompts}]
    seeds = list(dict.fromkeys([*(comparison.get("seeds") or []), *(s for row in rows for _, s in row["pictures"])]))
    ceilings = comparison.get("ceiling") or {}
    planes = [_plane(rows, metrics, ceilings, width, height) for width, height in ((720, 500), (380, 420))]
    return {
        "c": comparison, "rows": rows, "metrics": metrics, "prompts": prompts, "seeds": seeds, "planes": planes,
        "methods": [row for row in rows if row["tone"] == "method"],
        "troubled": [row for row in rows if row["status"] != "done"],
        "train": _photos(comparison.get("train"), album), "held_out": _photos(comparison.get("held_out"), album),
        "ceilings": [_cell(metric, ceilings.get(metric["name"])) for metric in metrics],
        "costs": [_bars(rows, *cost) for cost in _COSTS],
        "spreads": [_spread(rows, m, ceilings) for m in metrics if m["name"] not in ("fidelity", "prompt")],
        "created": _date(comparison.get("created")), "words": _words, "shapes": _SHAPES, "folder": folder.name,
        "command": comparison.get("command") or f"likewise compare {folder.name}",
    }  # fmt: skip


def _photos(files: Any, album: _Album) -> list[int | None]:
    return [album.add(str(file)) for file in files or []]


def _gallery(folder: Path, row: Row, album: _Album) -> dict[tuple[str, Any], Row]:
    """The pictures of a trial by prompt's id and seed; those not drawn yet are not in it."""
    index = folder / str(row["gallery"]) / "gallery.json"
    if not row["gallery"] or not index.exists():
        return {}
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))
        pairs = [((str(p["role"]), p["seed"]), p, album.add(index.parent / str(p["file"]))) for p in listed]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{index} cannot be read: {error}", "delete the folder to draw it again") from None
    return {place: {"number": number, "prompt": str(p["prompt"])} for place, p, number in pairs if number is not None}


def _frames(row: Row, album: _Album) -> list[Row]:
    """At most `_FRAMES` pictures of a trial's training, evenly spaced, the first and last always among them."""
    frames = [{"step": f.get("step"), "number": album.add(str(f.get("file")))} for f in row["strip"]]
    frames = [frame for frame in frames if frame["number"] is not None]
    last = len(frames) - 1
    return frames if last < _FRAMES else [frames[round(k * last / (_FRAMES - 1))] for k in range(_FRAMES)]


def _cell(metric: Row, score: Row | None) -> Row:
    share = _number((score or {}).get("normalised"))
    return {
        "title": metric["title"],
        "text": score_text(score),
        "n": (score or {}).get("n"),
        "share": None if share is None else f"{100 * share:.0f} %",
    }


def _bars(rows: list[Row], key: str, title: str, note: str, write: Callable[[Any], str]) -> Row:
    """One cost of every method as bars on a logarithmic scale that starts and ends at a power of ten."""
    shown = [row for row in rows if row["tone"] == "method" or (key == "sample_seconds" and key in row["cost"])]
    values = [_number(row["cost"].get(key)) for row in shown]
    logs = [math.log10(value) for value in values if value and value > 0]
    low = math.floor(min(logs, default=0) - 0.2)
    high = max(math.ceil(max(logs, default=1)), low + 1)
    scale = [math.log10(value) if value and value > 0 else None for value in values]
    return {
        "title": title, "note": note, "decades": [100 * k / (high - low) for k in range(high - low + 1)],
        "ends": [f"{10.0**end:g} s" if write is time_text else write(10.0**end) for end in (low, high)],
        "bars": [
            {"row": row, "text": write(value), "width": None if at is None else round(100 * (at - low) / (high - low), 2)}
            for row, value, at in zip(shown, values, scale, strict=True)
        ],
    }  # fmt: skip


def _range(scores: Iterable[Row | None]) -> tuple[float, float] | None:
    """The span of all means and intervals, with some air; None without any."""
    values = [value for score in scores if _score(score)[1] is not None for value in _score(score) if value is not None]
    if not values:
        return None
    air = 0.08 * (max(values) - min(values)) or 0.05
    return min(values) - air, max(values) + air


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two ends, at most `most` of them."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _spread(rows: list[Row], metric: Row, ceilings: Row) -> Row:
    """One metric of every trial as dots with intervals on one line each."""
    ceiling = ceilings.get(metric["name"])
    span = _range([ceiling, *(row["scores"].get(metric["name"]) for row in rows)])
    low, high = span or (0.0, 1.0)
    dots = []
    for row in rows:
        ends = [None if v is None else round(100 * (v - low) / (high - low), 2) for v in _score(row["scores"].get(metric["name"]))]
        dots.append({"row": row, "low": ends[0], "mean": ends[1], "high": ends[2], "text": score_text(row["scores"].get(metric["name"]))})
    ticks = [(round(100 * (tick - low) / (high - low), 2), f"{tick:.4g}") for tick in _ticks(low, high, 4)]
    return {"metric": metric, "dots": dots, "ticks": ticks, "any": span is not None}


def _plane(rows: list[Row], metrics: list[Row], ceilings: Row, width: int, height: int) -> Row | None:
    """Likeness (up) against prompt following (right) in the pixels of one drawing; None where no trial has both."""
    both = [row for row in rows if all(_score(row["scores"].get(name))[1] is not None for name in ("fidelity", "prompt"))]
    across = _range(row["scores"]["prompt"] for row in both)
    up = _range([ceilings.get("fidelity"), *(row["scores"]["fidelity"] for row in both)])
    if not across or not up:
        return None
    left, top, right, bottom = 56, 14, width - 14, height - 52

    def x(value: float | None) -> float | None:
        return None if value is None else round(left + (right - left) * (value - across[0]) / (across[1] - across[0]), 1)

    def y(value: float | None) -> float | None:
        return None if value is None else round(bottom - (bottom - top) * (value - up[0]) / (up[1] - up[0]), 1)

    floor = next((row["scores"]["fidelity"] for row in both if row["tone"] == "floor"), None)
    lines = [
        {"kind": kind, "text": text, "low": y(low), "y": y(mean), "high": y(high)}
        for kind, text, (low, mean, high) in (
            ("ceiling", "ceiling: real against real", _score(ceilings.get("fidelity"))),
            ("floor", "floor: before any training", _score(floor)),
        )
        if mean is not None
    ]
    points = []
    for row in both:
        (x0, px, x1), (y0, py, y1) = (map(f, _score(row["scores"][n])) for f, n in ((x, "prompt"), (y, "fidelity")))
        points.append({"row": row, "x": px, "x0": x0, "x1": x1, "y": py, "y0": y0, "y1": y1})
    _label(points, lines, (left, top, right, bottom))
    ticks = width // 110
    return {
        "width": width, "height": height, "left": left, "top": top, "right": right, "bottom": bottom,
        "xticks": [(x(tick), f"{tick:.4g}") for tick in _ticks(*across, ticks)],
        "yticks": [(y(tick), f"{tick:.4g}") for tick in _ticks(*up, 5)],
        "lines": lines, "points": points, "left_out": [row for row in rows if row not in both],
        "across": metrics[1], "up": metrics[0],
    }  # fmt: skip


def _label(points: list[Row], lines: list[Row], frame: tuple[int, int, int, int]) -> None:
    """Give every point's name the place beside it that covers least of what is drawn already."""
    left, top, right, bottom = frame
    boxes = [(p["x"] - 9, p["y"] - 9, p["x"] + 9, p["y"] + 9, 6.0) for p in points]  # left, top, right, bottom, weight
    boxes += [(p["x0"], p["y"] - 2, p["x1"], p["y"] + 2, 3.0) for p in points if p["x0"] and p["x1"]]
    boxes += [(p["x"] - 2, p["y1"], p["x"] + 2, p["y0"], 3.0) for p in points if p["y0"] and p["y1"]]
    boxes += [(right - 190, line["y"] - 18, right, line["y"] + 2, 4.0) for line in lines]
    boxes += [(left, line["y"] - 2, right, line["y"] + 2, 1.0) for line in lines]
    for point in points:
        wide, best = 7.4 * len(point["row"]["title"]), math.inf
        for dx, dy in ((12, -10), (12, 18), (-12 - wide, -10), (-12 - wide, 18), (12, 36), (-12 - wide, -28), (12, -28)):
            x, y = point["x"] + dx, point["y"] + dy
            box = (x, y - 13, x + wide, y + 4)
            cost = sum(
                weight * max(0, min(box[2], b[2]) - max(box[0], b[0])) * max(0, min(box[3], b[3]) - max(box[1], b[1]))
                for *b, weight in boxes
            )
            cost += 1e5 * (box[0] < left or box[1] < top or box[2] > right or box[3] > bottom) + abs(dy)
            if cost < best:
                best, point["lx"], point["ly"], kept = cost, round(x, 1), round(y, 1), box
        boxes.append((*kept, 6.0))


_SHAPES = (  # one mark per method, around (0, 0), so that the plane can be read without colour
    "M0-7A7 7 0 1 1 0 7 7 7 0 1 1 0-7Z", "M-6-6H6V6H-6Z", "M0-8 8 6H-8Z", "M0-8 8 0 0 8-8 0Z",
    "M0 8-8-6H8Z", "M-2.5-7.5h5v5h5v5h-5v5h-5v-5h-5v-5h5Z", "M0-8 7.6-2.5 4.7 6.5H-4.7L-7.6-2.5Z", "M-4-7H4L8 0 4 7H-4L-8 0Z",
)  # fmt: skip
