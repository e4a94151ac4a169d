"""The twelve scenes, drawn as small SVG pictures with randomised shapes and colours.

A scene is a function from a random generator to SVG elements on a 64 x 64 canvas; ``bank`` draws many
of each once, so that composing a picture only has to pick one.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

from likewise.files import write_with
from workshop.world import SCENES

Rng = np.random.Generator


def shade(rng: Rng, colour: str, spread: int = 10) -> str:
    """A colour near the given one."""
    base = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    light = rng.integers(-spread, spread + 1)
    return "#" + "".join(f"{int(np.clip(c + light + rng.integers(-4, 5), 0, 255)):02x}" for c in base)


def band(rng: Rng, name: str, top: str, bottom: str, y: float, height: float) -> str:
    """A full-width rectangle with a vertical gradient."""
    return (
        f'<linearGradient id="{name}" x1="0" y1="0" x2="0" y2="1"><stop offset="0" stop-color="{shade(rng, top)}"/>'
        f'<stop offset="1" stop-color="{shade(rng, bottom)}"/></linearGradient>'
        f'<rect x="-1" y="{y:.1f}" width="66" height="{height:.1f}" fill="url(#{name})"/>'
    )


def disc(x: float, y: float, r: float, colour: str, opacity: float = 1.0) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.2f}" fill="{colour}" opacity="{opacity:.2f}"/>'


def oval(x: float, y: float, rx: float, ry: float, colour: str, opacity: float = 1.0) -> str:
    return f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{rx:.1f}" ry="{ry:.1f}" fill="{colour}" opacity="{opacity:.2f}"/>'


def block(x: float, y: float, w: float, h: float, colour: str, opacity: float = 1.0) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" fill="{colour}" opacity="{opacity:.2f}"/>'


def shape(points: list[tuple[float, float]], colour: str, opacity: float = 1.0) -> str:
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polygon points="{text}" fill="{colour}" opacity="{opacity:.2f}"/>'


def hill(rng: Rng, y: float, rise: float, colour: str) -> str:
    """Rolling ground from a random wave down to the lower edge."""
    phase, wave = rng.uniform(0, 6.3), rng.uniform(0.06, 0.13)
    points = [(float(x), y + rise * np.sin(wave * x + phase)) for x in range(-1, 67, 2)]
    return shape([*points, (66, 65), (-1, 65)], shade(rng, colour))


def cloud(rng: Rng, x: float, y: float, colour: str = "#ffffff", opacity: float = 0.85) -> str:
    width = rng.uniform(4, 7)
    return "".join(
        oval(x + dx * width, y + dy, width * 0.6, width * 0.38, colour, opacity)
        for dx, dy in ((-0.6, 0.4), (0, -0.8), (0.6, 0.4))
    )


def clouds(rng: Rng, top: float = 16) -> str:
    return "".join(cloud(rng, rng.uniform(2, 62), rng.uniform(3, top)) for _ in range(rng.integers(0, 3)))


def sun(rng: Rng, top: float = 14) -> str:
    x, y, r = rng.uniform(6, 58), rng.uniform(5, top), rng.uniform(3.5, 5.5)
    return disc(x, y, r * 1.8, "#fff3b0", 0.35) + disc(x, y, r, shade(rng, "#ffe05a"))


def stars(rng: Rng, count: int, bottom: float) -> str:
    return "".join(
        disc(
            rng.uniform(0, 64), rng.uniform(0, bottom), rng.uniform(0.25, 0.8), "#fffbe6", rng.uniform(0.5, 1)
        )
        for _ in range(count)
    )


def pine(rng: Rng, x: float, y: float, h: float, colour: str, snow: bool = False) -> str:
    """A pine tree standing at (x, y)."""
    tint, parts = shade(rng, colour), block(x - h * 0.05, y - h * 0.2, h * 0.1, h * 0.2, "#6b4a2f")
    for k in range(3):
        top, half = y - h + k * h * 0.24, h * (0.16 + 0.06 * k)
        parts += shape([(x, top), (x - half, top + h * 0.36), (x + half, top + h * 0.36)], tint)
        if snow:
            parts += shape(
                [(x, top), (x - half * 0.5, top + h * 0.18), (x + half * 0.5, top + h * 0.18)], "#ffffff", 0.9
            )
    return parts


def beach(rng: Rng) -> str:
    sea, sand = rng.uniform(22, 28), rng.uniform(36, 42)
    out = band(rng, "a", "#5db9f2", "#c9ecfb", 0, sea + 1) + sun(rng, 12) + clouds(rng, 12)
    out += band(rng, "b", "#1b86c9", "#45c4d8", sea, sand - sea + 4)
    for _ in range(6):
        y = rng.uniform(sea + 2, sand - 2)
        out += block(rng.uniform(-4, 60), y, rng.uniform(4, 12), 0.6, "#e8fbff", 0.7)
    out += hill(rng, sand - 1.2, 1.2, "#ffffff") + hill(rng, sand + 0.6, 1.2, "#f3d692")
    out += "".join(
        disc(rng.uniform(0, 64), rng.uniform(sand + 3, 63), 0.5, "#d9b56c", 0.8) for _ in range(14)
    )
    if rng.random() < 0.6:
        x, lean = (rng.uniform(3, 9), 3.0) if rng.random() < 0.5 else (rng.uniform(55, 61), -3.0)
        out += shape([(x, sand + 6), (x + 1.6, sand + 6), (x + lean + 1, 14), (x + lean, 14)], "#8a5a33")
        out += "".join(
            f'<ellipse cx="{x + lean + 4 * np.cos(a):.1f}" cy="{14 + 3 * np.sin(a):.1f}" rx="5" ry="1.5" fill="{shade(rng, "#2f9e4f")}"'
            f' transform="rotate({np.degrees(a):.0f} {x + lean + 4 * np.cos(a):.1f} {14 + 3 * np.sin(a):.1f})"/>'
            for a in (0.4, 1.0, 2.2, 2.8, 3.6, 4.7, 5.8)
        )
    return out


def snow(rng: Rng) -> str:
    y = rng.uniform(32, 38)
    out = band(rng, "a", "#a9c7e4", "#e6f0f8", 0, 64) + hill(rng, y - 5, 3, "#dbe8f4")
    out += "".join(
        pine(rng, rng.uniform(0, 64), y + rng.uniform(-2, 3), rng.uniform(12, 22), "#3f7f6a", True)
        for _ in range(rng.integers(3, 7))
    )
    out += hill(rng, y + 3, 2, "#f4f9fe") + hill(rng, y + 14, 2, "#ffffff")
    return out + "".join(
        disc(rng.uniform(0, 64), rng.uniform(0, 62), rng.uniform(0.5, 1.1), "#ffffff", 0.95)
        for _ in range(45)
    )


def forest(rng: Rng) -> str:
    y = rng.uniform(42, 47)
    out = band(rng, "a", "#bfe3b0", "#7fbf7a", 0, 64)
    for depth, colour in ((0, "#5f9e62"), (3, "#3f8048")):
        out += "".join(
            oval(
                x + rng.uniform(-2, 2),
                rng.uniform(8, 20) + depth,
                rng.uniform(7, 10),
                rng.uniform(8, 13),
                shade(rng, colour),
            )
            + block(x - 1, 20, 2.4, y - 18, shade(rng, "#5b3d27"))
            for x in np.arange(2, 66, 11) + rng.uniform(-3, 3)
        )
    out += "".join(
        block(x, 0, rng.uniform(3.5, 6), y + 3, shade(rng, "#6a452a"))
        for x in (rng.uniform(-1, 5), rng.uniform(56, 61))
    )
    out += "".join(
        oval(
            rng.uniform(0, 64),
            rng.uniform(-2, 4),
            rng.uniform(7, 12),
            rng.uniform(5, 8),
            shade(rng, "#2c6b37"),
        )
        for _ in range(8)
    )
    out += hill(rng, y, 1.5, "#3d6e2f")
    return out + "".join(
        shape([(x, y + d), (x + 1.2, y + d - 4), (x + 2.4, y + d)], shade(rng, "#5a9a3e"))
        for x, d in rng.uniform((0, 2), (62, 18), (16, 2))
    )


def mountains(rng: Rng) -> str:
    out = band(rng, "a", "#6fb2e8", "#dcedf8", 0, 64) + clouds(rng, 12)
    for base, colour, low, high in ((44, "#8fa3bd", 4, 12), (48, "#66788f", 10, 20)):
        for x in np.arange(4, 70, 20) + rng.uniform(-6, 6, 4):
            top, half = rng.uniform(low, high), rng.uniform(16, 22)
            tint, cap = shade(rng, colour), (base - top) * 0.28
            slope = half / (base - top) * cap
            out += shape([(x, top), (x - half, base), (x + half, base)], tint)
            out += shape([(x, top), (x + half, base), (x + half * 0.2, base)], "#26364a", 0.18)
            out += shape(
                [
                    (x, top),
                    (x - slope, top + cap),
                    (x - slope * 0.3, top + cap * 0.75),
                    (x + slope * 0.2, top + cap * 1.2),
                    (x + slope, top + cap),
                ],
                "#ffffff",
            )
    return out + hill(rng, 46, 2, "#7fae5c") + hill(rng, 54, 2, "#639a4a")


def city(rng: Rng) -> str:
    warm = rng.random() < 0.4
    out = band(rng, "a", "#f3b27a" if warm else "#8cc4ec", "#fbe3c4" if warm else "#e3f1fa", 0, 50)
    x = -2.0
    while x < 64:
        w, top = rng.uniform(8, 14), rng.uniform(4, 24)
        tint = shade(rng, str(rng.choice(["#7d8797", "#5e6b80", "#a08472", "#8d6f86", "#5b7f99"])), 12)
        out += block(x, top, w, 50 - top, tint)
        glass = str(rng.choice(["#fde9a0", "#d6ecfa"]))
        out += "".join(
            block(wx, wy, 1.6, 2.2, glass, 0.9)
            for wx in np.arange(x + 1.4, x + w - 2, 3)
            for wy in np.arange(top + 2, 45, 4.2)
        )
        x += w + rng.uniform(0, 1.2)
    out += (
        band(rng, "b", "#b9bcc4", "#a3a7b0", 46, 6)
        + block(-1, 51, 66, 1, "#7d818a")
        + band(rng, "c", "#62666f", "#4b4f58", 52, 13)
    )
    return out + "".join(block(k, 58, 6, 1.2, "#f4f4ee", 0.9) for k in np.arange(rng.uniform(-6, 2), 64, 12))


def space(rng: Rng) -> str:
    out = band(rng, "a", "#0b0b26", "#1c1140", 0, 64)
    for _ in range(4):
        out += oval(
            rng.uniform(0, 64),
            rng.uniform(0, 64),
            rng.uniform(10, 22),
            rng.uniform(6, 14),
            str(rng.choice(["#5a2a8a", "#2a3f9a", "#8a2a6a"])),
            0.22,
        )
    out += stars(rng, 70, 64)
    x, y, r = rng.choice([rng.uniform(6, 14), rng.uniform(50, 58)]), rng.uniform(7, 18), rng.uniform(5, 9)
    tint = str(rng.choice(["#e0875a", "#d9b36a", "#6aa8d9", "#b06ad0"]))
    out += disc(x, y, r, tint) + oval(x - r * 0.2, y - r * 0.3, r * 0.6, r * 0.2, "#ffffff", 0.25)
    if rng.random() < 0.6:
        out += f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{r * 1.7:.1f}" ry="{r * 0.4:.1f}" fill="none" stroke="#f0dcae" stroke-width="1.1" transform="rotate(-18 {x:.1f} {y:.1f})"/>'
    return out + disc(rng.uniform(4, 60), rng.uniform(46, 60), rng.uniform(2, 4), shade(rng, "#9aa0b4"))


def underwater(rng: Rng) -> str:
    out = band(rng, "a", "#4fd0ea", "#0a4f93", 0, 64)
    for _ in range(3):
        x = rng.uniform(0, 56)
        out += shape([(x, -1), (x + 5, -1), (x + 14, 56), (x - 2, 56)], "#e8ffff", 0.14)
    out += hill(rng, 56, 1.5, "#cdb583")
    for x in rng.uniform(0, 64, 5):
        h, bend = rng.uniform(8, 22), rng.uniform(-4, 4)
        out += f'<path d="M{x:.1f} 60 Q{x + bend:.1f} {58 - h / 2:.1f} {x - bend / 2:.1f} {58 - h:.1f}" stroke="{shade(rng, "#2fae6a")}" stroke-width="2.2" fill="none" stroke-linecap="round"/>'
    for x in rng.uniform(0, 64, 2):
        tint = str(rng.choice(["#ff7f8f", "#ff9a5a", "#d77be0"]))
        out += "".join(
            disc(x + dx, 57 - dy, 2.2, tint) for dx, dy in ((-3, 0), (0, 3), (3, 1), (-1, 6), (2, 6))
        )
    for _ in range(12):
        out += f'<circle cx="{rng.uniform(0, 64):.1f}" cy="{rng.uniform(2, 52):.1f}" r="{rng.uniform(0.7, 2):.1f}" fill="#ffffff" fill-opacity="0.2" stroke="#e8ffff" stroke-width="0.5"/>'
    return out


def desert(rng: Rng) -> str:
    y = rng.uniform(30, 35)
    out = band(rng, "a", "#f7a85a", "#fde6b4", 0, 64) + sun(rng, 12)
    for x in rng.uniform(0, 64, rng.integers(1, 3)):
        w, h = rng.uniform(6, 11), rng.uniform(6, 12)
        out += shape(
            [(x - w, y + 3), (x - w * 0.7, y - h), (x + w * 0.6, y - h), (x + w, y + 3)],
            shade(rng, "#c96f3f"),
        )
    out += (
        hill(rng, y + 2, 2.5, "#e9b866") + hill(rng, y + 10, 3, "#dfa550") + hill(rng, y + 20, 2.5, "#d4953f")
    )
    for x in rng.uniform(2, 62, rng.integers(1, 4)):
        base, h, tint = y + rng.uniform(4, 10), rng.uniform(8, 13), shade(rng, "#3f8f4f")
        out += f'<path d="M{x:.1f} {base:.1f} V{base - h:.1f} M{x:.1f} {base - h * 0.4:.1f} h{h * 0.28:.1f} v{-h * 0.3:.1f} M{x:.1f} {base - h * 0.3:.1f} h{-h * 0.28:.1f} v{-h * 0.3:.1f}" stroke="{tint}" stroke-width="{h * 0.16:.1f}" fill="none" stroke-linecap="round" stroke-linejoin="round"/>'
    return out


def night(rng: Rng) -> str:
    out = band(rng, "a", "#0d1f4f", "#35559c", 0, 64) + stars(rng, 28, 34)
    x, y = rng.uniform(8, 56), rng.uniform(7, 13)
    out += (
        disc(x, y, 8, "#cfe0ff", 0.18)
        + disc(x, y, 4.6, "#fdf6d0")
        + disc(x - 1.4, y - 1, 1, "#e4d9a4")
        + disc(x + 1.6, y + 1.2, 0.7, "#e4d9a4")
    )
    out += hill(rng, 40, 3, "#1f3a63")
    for hx in rng.uniform(0, 58, 2):
        out += (
            block(hx, 36, 7, 6, "#14233f")
            + shape([(hx - 1, 36), (hx + 3.5, 32), (hx + 8, 36)], "#0e1a30")
            + block(hx + 2.6, 37.6, 2, 2.2, "#ffd966")
        )
    return out + hill(rng, 46, 2, "#1b4a3f") + hill(rng, 55, 1.5, "#143a33")


def garden(rng: Rng) -> str:
    y = rng.uniform(28, 33)
    out = band(rng, "a", "#7cc8f5", "#dff3fb", 0, y + 6) + sun(rng, 9) + clouds(rng, 11)
    out += "".join(disc(x, y, rng.uniform(4, 7), shade(rng, "#4fa34a")) for x in rng.uniform(0, 64, 5))
    for x in np.arange(rng.uniform(-3, 0), 66, 5):
        out += shape(
            [(x, y + 6), (x, y - 5), (x + 1.6, y - 7), (x + 3.2, y - 5), (x + 3.2, y + 6)], "#fbf6ea"
        )
    out += block(-1, y - 2.5, 66, 1.2, "#e9e0cb") + block(-1, y + 2, 66, 1.2, "#e9e0cb")
    out += band(rng, "b", "#7ccb57", "#4fa53c", y + 4, 64 - y)
    for x, d in rng.uniform((1, y + 7), (63, 62), (18, 2)):
        tint = str(rng.choice(["#ff5f7a", "#ffd84a", "#ffffff", "#c77be8", "#ff9a4a"]))
        out += "".join(
            disc(x + dx, d + dy, 0.9, tint) for dx, dy in ((-0.9, 0), (0.9, 0), (0, -0.9), (0, 0.9))
        ) + disc(x, d, 0.6, "#f7b500")
    return out


def room(rng: Rng) -> str:
    wall = str(rng.choice(["#f2d9b8", "#cfe0d4", "#e8cdd2", "#d5dcea", "#efe3a8"]))
    y = rng.uniform(42, 46)
    out = (
        band(rng, "a", wall, wall, 0, y)
        + block(-1, y - 1.6, 66, 2, "#fffaf0")
        + band(rng, "b", "#b9804f", "#9a6638", y, 65 - y)
    )
    out += "".join(block(-1, k, 66, 0.5, "#7d4f28", 0.6) for k in np.arange(y + 4, 64, 5))
    x = rng.uniform(3, 8) if rng.random() < 0.5 else rng.uniform(38, 44)
    out += block(x - 1, 5, 19, 20, "#ffffff") + block(x, 6, 17, 18, "#9fd8f7")
    out += (
        shape([(x, 24), (x, 18), (x + 8, 15), (x + 17, 19), (x + 17, 24)], "#7fbf6a")
        + block(x + 8, 6, 1, 18, "#ffffff")
        + block(x, 14.5, 17, 1, "#ffffff")
    )
    far = 64 - x - 8
    if rng.random() < 0.5:
        out += (
            block(far - 6, 9, 12, 10, "#6b4a35")
            + block(far - 5, 10, 10, 8, shade(rng, "#f0c987"))
            + disc(far, 14, 2.2, shade(rng, "#e0705a"))
        )
    else:
        out += block(far - 0.5, 20, 1.2, y - 20, "#5a5a62") + shape(
            [(far - 3, 12), (far + 3.2, 12), (far + 5.5, 21), (far - 5.3, 21)], shade(rng, "#ffd27a")
        )
    return out + oval(
        32,
        rng.uniform(54, 57),
        rng.uniform(18, 26),
        6,
        shade(rng, str(rng.choice(["#c0504d", "#4f81bd", "#7a9a4a", "#8064a2"]))),
        0.9,
    )


def road(rng: Rng) -> str:
    y, vanish = rng.uniform(24, 28), rng.uniform(24, 40)
    dusk = rng.random() < 0.5
    out = band(rng, "a", "#6f7fd0" if dusk else "#7cc4f2", "#ffc28a" if dusk else "#e6f5fc", 0, y + 2)
    out += disc(vanish, y, 6, "#ffd76a") if dusk else sun(rng, 9) + clouds(rng, 10)
    out += hill(rng, y, 2, "#6f9a5a") + band(rng, "b", "#92b85a", "#6f9a40", y + 3, 64 - y)
    left, right = rng.uniform(-14, -4), rng.uniform(68, 78)
    out += shape([(vanish - 2, y + 3), (vanish + 2, y + 3), (right, 65), (left, 65)], shade(rng, "#5a5d66"))
    out += shape([(vanish - 2, y + 3), (vanish - 1.6, y + 3), (left + 5, 65), (left + 1.5, 65)], "#f6f3e6")
    out += shape([(vanish + 2, y + 3), (vanish + 1.6, y + 3), (right - 5, 65), (right - 1.5, 65)], "#f6f3e6")
    middle = (left + right) / 2
    for a, b in ((0.05, 0.15), (0.24, 0.38), (0.5, 0.68), (0.82, 1.0)):
        ya, yb = (y + 3 + t * (62 - y) for t in (a, b))
        xa, xb = (vanish + t * (middle - vanish) for t in (a, b))
        out += shape(
            [(xa - 0.2 - a, ya), (xa + 0.2 + a, ya), (xb + 0.2 + b, yb), (xb - 0.2 - b, yb)], "#ffe27a"
        )
    return out


PAINTERS: dict[str, Callable[[Rng], str]] = {
    f.__name__: f
    for f in (beach, snow, forest, mountains, city, space, underwater, desert, night, garden, room, road)
}


def draw(name: str, rng: Rng, size: int) -> np.ndarray:
    """One picture of a scene as (size, size, 3) bytes."""
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" fill="#888"/>{PAINTERS[name](rng)}</svg>'
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGB"))


def bank(path: Path, count: int, size: int, seed: int = 11) -> np.ndarray:
    """``count`` drawings of every scene, made once and kept: (12, count, size, size, 3) bytes."""
    if not path.exists():
        rng = np.random.default_rng(seed)
        drawn = np.stack([np.stack([draw(name, rng, size) for _ in range(count)]) for name in SCENES])
        stream = io.BytesIO()
        np.save(stream, drawn)
        write_with(path, lambda part: part.write_bytes(stream.getbuffer()))
    return np.load(path, mmap_mode="r")
