"""rectify: turn the page so that its grid lines run along rows and columns. Resamples once, and only if it must."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ecg_image_kit.warp import Chain, Homography, Warp

from .arrays import U8, B, D
from .locate import Grid

_NODES = 16  # px between the points at which a map is evaluated


@dataclass(frozen=True, eq=False)
class Upright:
    """An image whose columns are times and whose rows are voltages.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        kx, ky: px per mm.
        to_source: its px -> the photographed image's px.
        px_to_mm: its px -> paper mm (the grid's lattice); diagonal up to the grid fit's error.
    """

    image: U8
    kx: float
    ky: float
    to_source: Warp
    px_to_mm: Homography


def rectify(image: U8, grid: Grid) -> Upright:
    """Undo tilt, skew and unevenness. A page that is straight to 0.1 px over its width is passed on untouched."""
    height, width = image.shape[:2]
    kx, ky = grid.px_per_mm
    m = grid.px_to_mm.matrix
    drift = max(abs(m[0, 1]) * height * kx, abs(m[1, 0]) * width * ky)
    if drift < 0.1 and grid.uneven is None:
        return Upright(image, 1 / m[0, 0], 1 / m[1, 1], Homography(np.eye(3)), grid.px_to_mm)
    # New px = mm * pitch, moved so that all of the old image is inside.
    scale = Homography.affine(kx, 0, 0, 0, ky, 0)
    forward = scale.matrix @ m
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], dtype=np.float64)
    moved = Homography(forward)(corners)
    low, high = np.floor(moved.min(axis=0)), np.ceil(moved.max(axis=0))
    forward = Homography.affine(1, 0, -low[0], 0, 1, -low[1]).matrix @ forward
    size = (int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1)
    if grid.uneven is not None:
        to_mm = Homography.affine(1 / kx, 0, low[0] / kx, 0, 1 / ky, low[1] / ky)
        to_source = Chain((to_mm, grid.uneven, grid.px_to_mm.inverse))
        return Upright(through(image, to_source, size, 1.0), kx, ky, to_source, to_mm)
    upright = cv2.warpPerspective(image, forward, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    back = Homography(forward).inverse
    return Upright(np.asarray(upright, np.uint8), kx, ky, back, Homography(m @ back.matrix))


def at_pitch(image: U8, upright: Upright, px_per_mm: float) -> Upright:
    """The same view of the photographed ``image`` at another pitch, resampled once from the photograph itself."""
    sx, sy = upright.kx / px_per_mm, upright.ky / px_per_mm
    height, width = upright.image.shape[:2]
    size = max(32, round(width / sx)), max(32, round(height / sy))
    pitch = Homography.affine(sx, 0, (sx - 1) / 2, 0, sy, (sy - 1) / 2)
    to_source = Chain((pitch, upright.to_source))
    ends = to_source(np.array([[size[0] / 2 - 1, size[1] / 2], [size[0] / 2 + 1, size[1] / 2]]))
    scale = float(np.linalg.norm(ends[1] - ends[0])) / 2
    flat = through(image, to_source, size, scale)
    return Upright(flat, px_per_mm, px_per_mm, to_source, Homography(upright.px_to_mm.matrix @ pitch.matrix))


def through(image: U8, to_source: Callable[[D], D], size: tuple[int, int], scale: float) -> U8:
    """An image of ``size`` (width, height) whose px come from ``to_source``(px) of ``image``; beyond it, its edges.

    The map is evaluated every 16 px, and is linear between. ``scale``: px of ``image`` for one of the new ones.
    """
    width, height = size
    nodes = _on_nodes(to_source, size).astype(np.float32)
    if scale > 1.25:  # or thin lines come and go
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.45 * np.sqrt(scale**2 - 1)), np.uint8)
    out, none = np.empty((height, width, 3), np.uint8), np.empty(0, np.float32)
    across = np.arange(width, dtype=np.float32) / _NODES
    for top in range(0, height, 256):  # the map of all pixels would take more memory than the image
        down = np.arange(top, min(top + 256, height), dtype=np.float32) / _NODES
        source = cv2.remap(nodes, *np.meshgrid(across, down), cv2.INTER_LINEAR)
        out[top : top + 256] = cv2.remap(image, source, none, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return out


def _on_nodes(to_source: Callable[[D], D], size: tuple[int, int]) -> D:
    """(rows, columns, 2) px of the source at every ``_NODES`` px of a view of ``size`` (width, height)."""
    x, y = (np.arange(0, side + _NODES, _NODES) for side in size)
    grid = np.stack(np.meshgrid(x, y), axis=-1).astype(np.float64)
    return to_source(grid.reshape(-1, 2)).reshape(grid.shape)


def offset(view: Upright, upright: Upright) -> tuple[float, float]:
    """mm by which all lies further right and further down in ``upright`` than in another ``view`` of the same page.

    Both count mm from their first pixel's middle, which are not at the same place of the page.
    """
    corner = np.zeros((1, 2))
    right, down = (view.px_to_mm(corner) - upright.px_to_mm(corner))[0]
    return float(right), float(down)


def stretched(upright: Upright, x: float, y: float) -> Upright:
    """The same view, of a sheet that is so many times larger along and down than thought."""
    to_mm = Homography.affine(1 / x, 0, 0, 0, 1 / y, 0)
    return replace(
        upright, kx=upright.kx * x, ky=upright.ky * y, px_to_mm=Homography(to_mm.matrix @ upright.px_to_mm.matrix)
    )


def inside(upright: Upright, size: tuple[int, int]) -> B:
    """(H, W) which of the view's px lie within a source of ``size`` (width, height); the others repeat its edges."""
    height, width = upright.image.shape[:2]
    at = _on_nodes(upright.to_source, (width, height))
    depth = np.minimum(at, np.array(size) - 1.0 - at).min(axis=2).astype(np.float32)
    grid = np.meshgrid(np.arange(width, dtype=np.float32) / _NODES, np.arange(height, dtype=np.float32) / _NODES)
    return np.asarray(cv2.remap(depth, *grid, cv2.INTER_LINEAR) > -0.5, np.bool_)


def turned(upright: Upright, turn: int) -> Upright:
    """The view of a page that lies ``turn`` quarter turns anticlockwise, set upright."""
    turn %= 4
    if not turn:
        return upright
    height, width = upright.image.shape[:2]
    back = {
        1: Homography.affine(0, 1, 0, -1, 0, height - 1),
        2: Homography.affine(-1, 0, width - 1, 0, -1, height - 1),
        3: Homography.affine(0, -1, width - 1, 1, 0, 0),
    }[turn]
    axes = {1: (0, -1, 1, 0), 2: (-1, 0, 0, -1), 3: (0, 1, -1, 0)}[turn]
    a, b, c, d = axes
    px_to_mm = Homography(Homography.affine(a, b, 0, c, d, 0).matrix @ upright.px_to_mm.matrix @ back.matrix)
    kx, ky = (upright.kx, upright.ky) if turn == 2 else (upright.ky, upright.kx)
    image = np.ascontiguousarray(np.rot90(upright.image, -turn))
    return Upright(image, kx, ky, Chain((back, upright.to_source)), px_to_mm)
