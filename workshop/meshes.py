"""Views of a three-dimensional model: a small z-buffer renderer, for the suite's objects.

It reads Wavefront OBJ as far as the suite's models need it (corners, texture coordinates, faces) and shades with
one lamp beside the camera. Everything is double precision on the CPU, so that a view is the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

FINE = 3  # rendered so many times larger, then averaged
CREASE = np.cos(np.radians(50))
LAMP = np.array([-0.35, 0.55, 0.76])  # x right, y up, z towards the camera


@dataclass(frozen=True)
class Mesh:
    """Triangles: corners (n, 3, 3), normals at them (n, 3, 3) and texture coordinates (n, 3, 2)."""

    corners: np.ndarray
    normals: np.ndarray
    texture: np.ndarray


def read(text: str, upright: np.ndarray) -> Mesh:
    """Triangles of an OBJ file; ``upright`` (3, 3) turns its axes into x right, y up, z to the front."""
    points: list[list[float]] = []
    places: list[list[float]] = []
    faces: list[list[tuple[int, int]]] = []
    for line in text.splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            points.append([float(w) for w in words[:3]])
        elif kind == "vt":
            places.append([float(w) for w in words[:2]])
        elif kind == "f":
            parts = [(word + "//").split("/") for word in words]
            ring = [(int(p[0]) - 1, int(p[1]) - 1 if p[1] else 0) for p in parts]
            faces += [[ring[0], ring[k], ring[k + 1]] for k in range(1, len(ring) - 1)]
    index = np.array(faces)
    corners = (np.array(points) @ upright.T)[index[..., 0]]
    corners = corners - (corners.min((0, 1)) + corners.max((0, 1))) / 2
    corners = corners / np.linalg.norm(corners, axis=2).max()
    texture = np.array(places)[index[..., 1]] if places else np.zeros((len(index), 3, 2))
    return Mesh(corners, _normals(corners, index[..., 0]), texture)


def _normals(corners: np.ndarray, index: np.ndarray) -> np.ndarray:
    """At each corner the mean of the adjoining faces that are not beyond a crease."""
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    unit = face / np.linalg.norm(face, axis=1, keepdims=True).clip(1e-12)
    around: dict[int, list[int]] = {}
    for number, ring in enumerate(index):
        for point in ring:
            around.setdefault(int(point), []).append(number)
    out = np.empty_like(corners)
    for number, ring in enumerate(index):
        for k, point in enumerate(ring):
            near = np.array(around[int(point)])
            near = near[unit[near] @ unit[number] > CREASE]
            out[number, k] = face[near].sum(0) if len(near) else unit[number]
    return out / np.linalg.norm(out, axis=2, keepdims=True).clip(1e-12)


def view(
    mesh: Mesh, turn: float, rise: float, paint: Image.Image | tuple[int, int, int], size: int
) -> Image.Image:
    """One view as RGBA: turned about the vertical and seen from above, both in degrees."""
    a, b = np.radians(turn), np.radians(rise)
    about = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    above = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    turned = above @ about
    corners, normals = mesh.corners @ turned.T, mesh.normals @ turned.T
    near = 4.0 / (4.0 - corners[..., 2])  # a little perspective
    side = size * FINE
    flat = (corners[..., :2] * near[..., None] * [0.46, -0.46] + 0.5) * side
    image = np.zeros((side, side, 4))
    depth = np.full((side, side), -np.inf)
    skin = (
        np.asarray(paint.convert("RGB"), float)
        if isinstance(paint, Image.Image)
        else np.array([[paint]], float)
    )
    for k in range(len(flat)):
        _fill(image, depth, (flat[k], corners[k, :, 2], normals[k], mesh.texture[k]), skin)
    shaded = image.reshape(size, FINE, size, FINE, 4).mean((1, 3))
    alpha = shaded[..., 3:].clip(1e-9)
    rgba = np.concatenate([shaded[..., :3] / alpha, shaded[..., 3:] * 255], 2)
    return Image.fromarray(np.rint(rgba.clip(0, 255)).astype(np.uint8), "RGBA")


def _fill(image: np.ndarray, depth: np.ndarray, triangle: tuple[np.ndarray, ...], skin: np.ndarray) -> None:
    """Paint one triangle where it is nearer than what is there."""
    flat, z, normal, place = triangle
    low = np.floor(flat.min(0)).astype(int).clip(0)
    high = np.ceil(flat.max(0)).astype(int).clip(max=len(image) - 1)
    (ax, ay), (bx, by), (cx, cy) = flat
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if abs(area) < 1e-9 or (high < low).any():
        return
    y, x = np.mgrid[low[1] : high[1] + 1, low[0] : high[0] + 1] + 0.5
    u = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
    v = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
    share = np.stack([1 - u - v, u, v], -1)
    window = depth[low[1] : high[1] + 1, low[0] : high[0] + 1]
    here = share @ z
    seen = (share >= 0).all(-1) & (here > window)
    window[seen] = here[seen]
    facing = share[seen] @ normal
    bright = 0.5 + 0.6 * np.abs(facing @ (LAMP / np.linalg.norm(LAMP)))
    at = share[seen] @ place % 1.0
    rows = ((1 - at[:, 1]) * len(skin)).astype(int).clip(0, len(skin) - 1)
    columns = (at[:, 0] * skin.shape[1]).astype(int).clip(0, skin.shape[1] - 1)
    colour = (skin[rows, columns] * bright[:, None]).clip(0, 255)
    image[low[1] : high[1] + 1, low[0] : high[0] + 1][seen] = np.concatenate(
        [colour, np.ones((len(colour), 1))], 1
    )
