"""Individuals of three-dimensional kinds: creatures, vehicles and household things put together from simple solids.

Every kind is a function from random numbers to parts. Two individuals of one kind have the same parts in other proportions, some of
them in other forms, so that only a look at the shape tells them apart when their colours agree. The judge learns from them what
makes an individual; nothing else is taught with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Random = np.random.Generator
STEP = 1 / 110
"""Distance of neighbouring points on a surface, where an individual has radius 1: less than a fine pixel of `surfaces`."""


@dataclass(frozen=True)
class Surface:
    """Points of a surface: places (n, 3), normals (n, 3) and the number of the part that each belongs to, (n,)."""

    points: np.ndarray
    normals: np.ndarray
    parts: np.ndarray


@dataclass(frozen=True)
class Solid:
    """One part: its form, half its sizes (3,), its middle (3,), turns about x, y, z in degrees, and what it is a part of."""

    form: str
    half: tuple[float, float, float]
    at: tuple[float, float, float]
    part: int = 0
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)


def assembled(solids: list[Solid], step: float = STEP) -> Surface:
    """All parts as one surface about its middle, of radius 1, with points every `step`."""
    scale = max(float(np.abs(s.at).max() + max(s.half)) for s in solids)
    pieces = [_placed(solid, step * scale) for solid in solids]
    points = np.concatenate([p for p, _ in pieces])
    low, high = points.min(0), points.max(0)
    points = points - (low + high) / 2
    parts = np.concatenate([np.full(len(p), s.part) for (p, _), s in zip(pieces, solids, strict=True)])
    return Surface(
        points / np.linalg.norm(points, axis=1).max(), np.concatenate([n for _, n in pieces]), parts
    )


def _placed(solid: Solid, step: float) -> tuple[np.ndarray, np.ndarray]:
    points, normals = FORMS[solid.form](np.array(solid.half), step)
    turn = turned(*solid.turn)
    return points @ turn.T + np.array(solid.at), normals @ turn.T


def turned(x: float, y: float, z: float) -> np.ndarray:
    """The matrix of turns about x, then y, then z, in degrees."""
    (a, b, c) = np.radians([x, y, z])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _ellipsoid(half: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    count = max(8, int(np.pi * half.max() / step))
    up, around = np.meshgrid(
        np.linspace(-np.pi / 2, np.pi / 2, count), np.linspace(-np.pi, np.pi, 2 * count), indexing="ij"
    )
    unit = np.stack([np.cos(up) * np.cos(around), np.sin(up), np.cos(up) * np.sin(around)], -1).reshape(-1, 3)
    normals = unit / half
    return unit * half, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _block(half: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """A box with rounded edges: where the sixth powers of its places add up to one."""
    points, _ = _box(half, step)
    unit = points / half
    unit /= (unit**6).sum(1, keepdims=True) ** (1 / 6)
    normals = unit**5 / half
    return unit * half, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _box(half: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    points, normals = [], []
    for axis in range(3):
        a, b = [k for k in range(3) if k != axis]
        u, v = np.meshgrid(*(np.linspace(-half[k], half[k], max(3, int(2 * half[k] / step))) for k in (a, b)))
        for side in (-1, 1):
            face = np.zeros((u.size, 3))
            face[:, a], face[:, b], face[:, axis] = u.ravel(), v.ravel(), side * half[axis]
            normal = np.zeros_like(face)
            normal[:, axis] = side
            points.append(face)
            normals.append(normal)
    return np.concatenate(points), np.concatenate(normals)


def _tapered(half: np.ndarray, step: float, top: float) -> tuple[np.ndarray, np.ndarray]:
    """A cylinder along y whose upper end is `top` times as wide as its lower."""
    around = np.linspace(-np.pi, np.pi, max(12, int(2 * np.pi * max(half[0], half[2]) / step)))
    up, angle = np.meshgrid(np.linspace(-1, 1, max(3, int(2 * half[1] / step))), around, indexing="ij")
    width = 1 + (top - 1) * (up + 1) / 2
    side = np.stack([np.cos(angle) * width * half[0], up * half[1], np.sin(angle) * width * half[2]], -1)
    slope = (1 - top) * max(half[0], half[2]) / (2 * half[1])
    out = np.stack(
        [np.cos(angle) / half[0], np.full_like(angle, slope / half[0]), np.sin(angle) / half[2]], -1
    )
    points, normals = [side.reshape(-1, 3)], [out.reshape(-1, 3)]
    for end, size in ((-1, 1.0), (1, top)):
        share = np.linspace(0, 1, max(2, int(size * max(half[0], half[2]) / step)))
        r, angle = np.meshgrid(share, around, indexing="ij")
        points.append(
            np.stack([np.cos(angle) * r * size * half[0], np.full_like(r, end * half[1]), np.sin(angle) * r * size * half[2]], -1).reshape(-1, 3)
        )  # fmt: skip
        normals.append(np.tile([0.0, end, 0.0], (r.size, 1)))
    found = np.concatenate(normals)
    return np.concatenate(points), found / np.linalg.norm(found, axis=1, keepdims=True).clip(1e-9)


def _ring(half: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """A torus about y: as wide as `half` says, and as thick as its height."""
    thick = half[1]
    a, b = np.meshgrid(
        np.linspace(-np.pi, np.pi, max(16, int(2 * np.pi * half[0] / step))),
        np.linspace(-np.pi, np.pi, max(8, int(2 * np.pi * thick / step))),
        indexing="ij",
    )
    normal = np.stack([np.cos(a) * np.cos(b), np.sin(b), np.sin(a) * np.cos(b)], -1).reshape(-1, 3)
    middle = np.stack([np.cos(a) * (half[0] - thick), 0 * a, np.sin(a) * (half[2] - thick)], -1).reshape(
        -1, 3
    )
    return middle + thick * normal, normal


FORMS: dict[str, Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]]] = {
    "ball": _ellipsoid,
    "block": _block,
    "box": _box,
    "tube": lambda half, step: _tapered(half, step, 1.0),
    "cup": lambda half, step: _tapered(half, step, 1.35),
    "cone": lambda half, step: _tapered(half, step, 0.05),
    "stump": lambda half, step: _tapered(half, step, 0.6),
    "ring": _ring,
}


def _in(r: Random, low: float, high: float) -> float:
    return float(r.uniform(low, high))


def _one(r: Random, *names: str) -> str:
    return str(r.choice(names))


def _mirrored(form: str, half: tuple, at: tuple, part: int, turn: tuple = (0.0, 0.0, 0.0)) -> list[Solid]:
    """A part on both sides of z."""
    x, y, z = at
    a, b, c = turn
    return [Solid(form, half, (x, y, z), part, (a, b, c)), Solid(form, half, (x, y, -z), part, (-a, -b, c))]


def creature(r: Random) -> list[Solid]:
    """Body, head, ears or horns, legs, tail: forwards is x, up is y."""
    long, high, wide = _in(r, 0.5, 1.0), _in(r, 0.28, 0.6), _in(r, 0.28, 0.5)
    head, leg = _in(r, 0.22, 0.48), _in(r, 0.15, 0.7)
    neck = _in(r, 0.0, 0.5)
    out = [Solid(_one(r, "ball", "block"), (long, high, wide), (0, 0, 0), 0)]
    at = (long * 0.85 + head * 0.4, high * 0.5 + neck, 0.0)
    out.append(Solid(_one(r, "ball", "block"), (head * _in(r, 0.9, 1.3), head, head), at, 1))
    if neck > 0.2:
        out.append(
            Solid("tube", (head * 0.5, neck * 0.8, head * 0.5), (long * 0.8, high * 0.4 + neck * 0.4, 0), 0)
        )
    ear = _one(r, "cone", "ball", "tube", "none")
    if ear != "none":
        tall = _in(r, 0.1, 0.45)
        out += _mirrored(ear, (0.1, tall, 0.1), (at[0] - head * 0.2, at[1] + head * 0.8 + tall * 0.5, head * 0.55), 2, (_in(r, 0, 40), 0, 0))  # fmt: skip
    if r.random() < 0.6:
        snout = _in(r, 0.1, 0.35)
        out.append(Solid(_one(r, "ball", "stump", "cone"), (head * 0.45, snout, head * 0.45), (at[0] + head, at[1] - head * 0.2, 0), 2, (0, 0, -90)))  # fmt: skip
    out += _mirrored("ball", (0.07, 0.09, 0.07), (at[0] + head * 0.8, at[1] + head * 0.3, head * 0.55), 4)
    thick = _in(r, 0.08, 0.17)
    for x in (-0.6, 0.6) if r.random() < 0.75 else (0.0,):
        out += _mirrored(
            _one(r, "tube", "stump"), (thick, leg, thick), (x * long, -high * 0.6 - leg, wide * 0.6), 3
        )
    tail = _one(r, "tube", "ball", "cone", "none")
    if tail != "none":
        size = _in(r, 0.12, 0.55)
        out.append(Solid(tail, (_in(r, 0.06, 0.18), size, 0.1), (-long - size * 0.4, high * 0.4 + size * 0.3, 0), 3, (0, 0, _in(r, 20, 110))))  # fmt: skip
    if r.random() < 0.3:
        out += [Solid("cone", (0.1, _in(r, 0.1, 0.25), 0.05), (x * long, high, 0), 2) for x in (-0.5, 0, 0.5)]
    return out


def vehicle(r: Random) -> list[Solid]:
    """Chassis, cabin, wheels, and what is on top."""
    long, high, wide = _in(r, 0.7, 1.1), _in(r, 0.14, 0.34), _in(r, 0.36, 0.55)
    wheel, body = _in(r, 0.14, 0.36), _one(r, "box", "block", "ball")
    out = [Solid(body, (long, high, wide), (0, 0, 0), 0)]
    cabin, place = _in(r, 0.22, 0.65), _in(r, -0.4, 0.5)
    top = _in(r, 0.14, 0.42)
    out.append(Solid(_one(r, "box", "block", "ball", "stump"), (long * cabin, top, wide * 0.85), (place * long * (1 - cabin), high + top * 0.8, 0), 1))  # fmt: skip
    axles = [(-0.65, 0.65), (-0.7, 0.0, 0.7), (-0.5, 0.75), (-0.75, -0.35, 0.7)][int(r.integers(4))]
    for x in axles:
        out += _mirrored("tube", (wheel, 0.09, wheel), (x * long, -high, wide), 2, (90, 0, 0))
    extra = _one(r, "none", "rack", "chimney", "ladder", "wing", "load", "none")
    if extra == "rack":
        out.append(Solid("box", (long * 0.4, 0.04, wide * 0.7), (place * long * 0.4, high + 2.0 * top, 0), 3))
    elif extra == "chimney":
        out.append(Solid("tube", (0.08, _in(r, 0.2, 0.4), 0.08), (-long * 0.6, high + 0.3, 0), 3))
    elif extra == "ladder":
        out.append(Solid("box", (long * 0.8, 0.05, 0.1), (0, high + 1.9 * top, 0), 3, (0, 0, _in(r, 5, 25))))
    elif extra == "wing":
        out.append(Solid("box", (0.12, 0.04, wide), (-long * 0.9, high + _in(r, 0.15, 0.35), 0), 3))
    elif extra == "load":
        out.append(Solid(_one(r, "ball", "tube"), (0.25, 0.22, wide * 0.7), (-long * 0.6, high + 0.2, 0), 3))
    if r.random() < 0.6:
        out.append(Solid("block", (0.06, high * 0.5, wide * 1.02), (long, -high * 0.3, 0), 3))
    out += _mirrored("ball", (0.06, 0.08, 0.08), (long, high * 0.2, wide * 0.65), 4)
    return out


def vessel(r: Random) -> list[Solid]:
    """Mugs, jugs, pots and vases."""
    wide, tall = _in(r, 0.35, 0.8), _in(r, 0.35, 1.0)
    out = [Solid(_one(r, "tube", "cup", "stump", "ball", "block"), (wide, tall, wide), (0, 0, 0), 0)]
    if r.random() < 0.7:
        size = _in(r, 0.2, 0.45)
        handle = Solid("ring", (size, 0.08, size * _in(r, 0.8, 1.4)), (wide + size * 0.4, _in(r, -0.2, 0.3), 0), 1, (90, 0, 0))  # fmt: skip
        out.append(handle)
        if r.random() < 0.25:
            out.append(Solid("ring", handle.half, (-handle.at[0], handle.at[1], 0), 1, (90, 0, 0)))
    if r.random() < 0.35:
        out.append(
            Solid(
                "stump", (0.1, _in(r, 0.2, 0.4), 0.1), (-wide - 0.1, tall * 0.3, 0), 1, (0, 0, _in(r, 20, 60))
            )
        )
    lid = _one(r, "none", "ball", "cone", "tube", "none")
    if lid != "none":
        size = _in(r, 0.08, 0.25)
        out.append(Solid(lid, (wide * _in(r, 0.5, 1.0), size, wide * 0.8), (0, tall + size * 0.6, 0), 2))
        out.append(Solid("ball", (0.09, 0.09, 0.09), (0, tall + size * 1.8, 0), 3))
    for k in range(int(r.integers(0, 3))):
        out.append(Solid("ring", (wide * 1.08, 0.05, wide * 1.08), (0, tall * (0.6 - 0.7 * k), 0), 3))
    if r.random() < 0.3:
        out.append(Solid("stump", (wide * 0.6, 0.12, wide * 0.6), (0, -tall - 0.08, 0), 2))
    return out


def seat(r: Random) -> list[Solid]:
    """Chairs, stools, tables."""
    wide, deep, leg = _in(r, 0.4, 0.8), _in(r, 0.4, 0.7), _in(r, 0.25, 0.7)
    out = [Solid(_one(r, "box", "block", "tube"), (wide, _in(r, 0.05, 0.18), deep), (0, 0, 0), 0)]
    form, thick = _one(r, "tube", "stump", "box"), _in(r, 0.05, 0.13)
    if r.random() < 0.75:
        for x in (-0.8, 0.8):
            out += _mirrored(form, (thick, leg, thick), (x * wide, -leg, deep * 0.8), 1)
    else:
        out += [Solid(form, (thick * 1.3, leg, thick * 1.3), (0, -leg, 0), 1), Solid("tube", (wide * 0.6, 0.05, deep * 0.6), (0, -2 * leg, 0), 1)]  # fmt: skip
    if r.random() < 0.7:
        back = _in(r, 0.3, 0.8)
        out.append(
            Solid(_one(r, "box", "block", "ball"), (0.07, back, deep * _in(r, 0.5, 1.0)), (-wide, back, 0), 2)
        )
    if r.random() < 0.35:
        out += _mirrored("box", (wide * 0.7, 0.05, 0.06), (0, _in(r, 0.2, 0.4), deep), 3)
    if r.random() < 0.4:
        out.append(Solid("block", (wide * 0.8, 0.12, deep * 0.8), (0, 0.18, 0), 3))
    return out


def figure(r: Random) -> list[Solid]:
    """Robots and dolls: upright, with head, arms and legs."""
    wide, tall = _in(r, 0.3, 0.6), _in(r, 0.35, 0.7)
    head, leg = _in(r, 0.2, 0.45), _in(r, 0.2, 0.55)
    out = [
        Solid(_one(r, "box", "block", "ball", "stump", "cup"), (wide, tall, _in(r, 0.25, 0.45)), (0, 0, 0), 0)
    ]
    out.append(Solid(_one(r, "box", "block", "ball", "tube"), (head, head * _in(r, 0.7, 1.1), head), (0, tall + head * 0.95, 0), 1))  # fmt: skip
    for side in (-1, 1):
        raised = _in(r, -20, 70)
        arm = _in(r, 0.25, 0.5)
        out.append(Solid(_one(r, "tube", "block"), (0.1, arm, 0.1), (side * (wide + 0.12), tall * 0.4, 0), 2, (0, 0, side * raised)))  # fmt: skip
        out.append(
            Solid(_one(r, "tube", "box"), (0.13, leg, 0.13), (side * wide * 0.5, -tall - leg * 0.9, 0), 2)
        )
        out.append(Solid("ball", (0.07, 0.08, 0.06), (side * head * 0.45, tall + head, head), 4))
    hat = _one(r, "none", "cone", "tube", "ball", "none")
    if hat != "none":
        size = _in(r, 0.1, 0.35)
        out.append(
            Solid(hat, (head * _in(r, 0.2, 1.0), size, head * 0.7), (0, tall + 2 * head + size * 0.7, 0), 3)
        )
    if r.random() < 0.5:
        out.append(Solid("block", (wide * 0.5, tall * 0.4, 0.1), (0, 0.1, 0.4), 3))
    return out


def building(r: Random) -> list[Solid]:
    """Houses and towers."""
    out, at = [], -0.5
    wide, deep = _in(r, 0.4, 0.8), _in(r, 0.3, 0.6)
    for level in range(int(r.integers(1, 4))):
        tall = _in(r, 0.2, 0.5)
        out.append(
            Solid(_one(r, "box", "box", "tube", "block"), (wide, tall, deep), (0, at + tall, 0), level % 2)
        )
        at, wide, deep = at + 2 * tall, wide * _in(r, 0.6, 1.0), deep * _in(r, 0.6, 1.0)
    roof = _one(r, "cone", "ball", "stump", "box")
    size = _in(r, 0.1, 0.5)
    out.append(
        Solid(
            roof, (wide * 1.15, size, deep * 1.15), (0, at + size * (0.2 if roof == "ball" else 0.95), 0), 2
        )
    )
    out.append(Solid("box", (0.12, 0.2, 0.05), (_in(r, -0.3, 0.3), -0.3, 0.62), 3))
    for _ in range(int(r.integers(0, 3))):
        out.append(Solid(_one(r, "tube", "box"), (0.12, _in(r, 0.2, 0.6), 0.12), (_in(r, -0.7, 0.7), 0.2, _in(r, -0.5, 0.5)), 4))  # fmt: skip
    return out


def flyer(r: Random) -> list[Solid]:
    """Aeroplanes and rockets: forwards is x."""
    long, thick = _in(r, 0.7, 1.1), _in(r, 0.13, 0.32)
    out = [Solid(_one(r, "ball", "tube", "stump"), (thick, long, thick), (0, 0, 0), 0, (0, 0, -90))]
    if r.random() < 0.7:
        out.append(
            Solid(_one(r, "cone", "ball"), (thick, _in(r, 0.15, 0.4), thick), (long, 0, 0), 1, (0, 0, -90))
        )
    span, sweep = _in(r, 0.4, 1.0), _in(r, -35, 35)
    out += _mirrored(_one(r, "box", "ball"), (_in(r, 0.12, 0.35), 0.05, span * 0.6), (_in(r, -0.3, 0.3), _in(r, -0.1, 0.15), span * 0.6), 2, (0, sweep, 0))  # fmt: skip
    out.append(
        Solid(_one(r, "box", "ball"), (_in(r, 0.1, 0.25), _in(r, 0.15, 0.4), 0.04), (-long * 0.85, 0.3, 0), 3)
    )
    out += _mirrored("box", (0.12, 0.04, _in(r, 0.15, 0.35)), (-long * 0.85, _in(r, 0.0, 0.5), 0.25), 3)
    if r.random() < 0.5:
        out += _mirrored("tube", (0.1, 0.2, 0.1), (0, -0.15, span * 0.6), 4, (0, 0, -90))
    return out


def swimmer(r: Random) -> list[Solid]:
    """Fish and boats of a sort: body, fins, tail, eyes."""
    long, high, wide = _in(r, 0.5, 1.0), _in(r, 0.25, 0.7), _in(r, 0.15, 0.4)
    out = [Solid(_one(r, "ball", "block"), (long, high, wide), (0, 0, 0), 0)]
    tail = _in(r, 0.2, 0.5)
    out.append(
        Solid(
            _one(r, "cone", "ball", "box"),
            (tail, _in(r, 0.2, 0.4), 0.06),
            (-long - 0.15, 0, 0),
            1,
            (0, 0, -90),
        )
    )
    out.append(Solid(_one(r, "cone", "ball", "box"), (_in(r, 0.15, 0.5), _in(r, 0.1, 0.4), 0.05), (_in(r, -0.3, 0.2), high, 0), 2))  # fmt: skip
    out += _mirrored(_one(r, "ball", "box"), (_in(r, 0.1, 0.3), 0.05, _in(r, 0.1, 0.35)), (_in(r, -0.1, 0.4), -high * 0.3, wide), 2, (25, 0, 0))  # fmt: skip
    out += _mirrored("ball", (0.08, 0.1, 0.06), (long * 0.65, high * 0.25, wide * 0.7), 4)
    if r.random() < 0.4:
        out.append(Solid("cone", (0.1, _in(r, 0.2, 0.5), 0.1), (long, 0, 0), 3, (0, 0, -90)))
    return out


KINDS: dict[str, Callable[[Random], list[Solid]]] = {
    kind.__name__: kind for kind in (creature, vehicle, vessel, seat, figure, building, flyer, swimmer)
}
