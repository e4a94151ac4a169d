"""Views of surfaces for the judge: light and place of every point, so that colours and patterns can be put on later.

A view is six bytes per pixel: brightness, place on the body (x, y, z), part, and how much of the pixel is covered. One rendering
serves any number of individuals, since what is painted on the body follows from the places.
"""

from __future__ import annotations

import numpy as np

from workshop.bodies import STEP, Surface
from workshop.meshes import LAMP, Mesh

SIZE, FINE = 64, 2
CHANNELS = ("light", "x", "y", "z", "part", "cover")


def of_mesh(mesh: Mesh) -> Surface:
    """Points at every `STEP` on the triangles of a mesh, all of one part."""
    found = [_filled(corners, normals) for corners, normals in zip(mesh.corners, mesh.normals, strict=True)]
    points = np.concatenate([p for p, _ in found])
    return Surface(points, np.concatenate([n for _, n in found]), np.zeros(len(points), np.int64))


def _filled(corners: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A triangle as points on a grid of its own."""
    longest = np.linalg.norm(corners - np.roll(corners, 1, 0), axis=1).max()
    steps = int(np.ceil(longest / STEP)) + 1
    u, v = (k.ravel() / steps for k in np.mgrid[0 : steps + 1, 0 : steps + 1])
    u, v = u[u + v <= 1 + 1e-9], v[u + v <= 1 + 1e-9]
    share = np.stack([1 - u - v, u, v], 1)
    return share @ corners, share @ normals


def view(surface: Surface, turn: float, rise: float, size: int = SIZE) -> np.ndarray:
    """(6, size, size) bytes as `CHANNELS` has them: turned about the vertical and seen from above, in degrees."""
    a, b = np.radians(turn), np.radians(rise)
    about = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    above = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    points, normals = surface.points @ (above @ about).T, surface.normals @ (above @ about).T
    side = size * FINE
    near = 4.0 / (4.0 - points[:, 2])  # a little perspective, as `meshes.view` has it
    column, row = (
        ((points[:, k] * sign * near * 0.46 + 0.5) * side).astype(int).clip(0, side - 1)
        for k, sign in ((0, 1), (1, -1))
    )
    pixel = row * side + column
    order = np.lexsort((points[:, 2], pixel))
    last = order[
        np.append(np.flatnonzero(np.diff(pixel[order])), len(order) - 1)
    ]  # the nearest of each pixel
    values = np.zeros((side * side, 6))
    normal = normals[last] / np.linalg.norm(normals[last], axis=1, keepdims=True).clip(1e-9)
    values[pixel[last], 0] = (0.45 + 0.55 * np.abs(normal @ (LAMP / np.linalg.norm(LAMP)))) * 255
    values[pixel[last], 1:4] = (surface.points[last].clip(-1, 1) + 1) * 127.5
    values[pixel[last], 4] = surface.parts[last]
    values[pixel[last], 5] = 255
    grid = values.reshape(size, FINE, size, FINE, 6).transpose(4, 0, 2, 1, 3).reshape(6, size, size, FINE**2)
    there = (grid[5] > 0).sum(-1).clip(1)
    out = grid.sum(-1) / there
    out[4] = grid[4].max(-1)
    out[5] = grid[5].mean(-1)
    return np.rint(out).clip(0, 255).astype(np.uint8)
