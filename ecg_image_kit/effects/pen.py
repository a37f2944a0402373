"""Pens: what they are like, and how their strokes become ink on a picture.

>>> ink(image, strokes, page.mm_to_px, page.px_per_mm, pen_of("blue", "ballpoint", rng), rng)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from . import fields as fl
from .fields import D

INKS = ("blue", "black", "red", "pencil")
TIPS = ("ballpoint", "felt")


@dataclass(frozen=True)
class Pen:
    """What writes: its colour, its width in mm, how dark it covers at most, and how its line looks.

    Attributes:
        thin: share of the width left at no pressure; pale: the same of the darkness.
        grain: how much the paper's grain shows; wet: mm by which ink spreads.
    """

    colour: tuple[float, float, float]
    width: float
    cover: float
    thin: float
    pale: float
    grain: float
    wet: float = 0.0


_COLOURS = {
    "blue": ((26, 44, 150), (38, 62, 170), (20, 30, 110), (60, 80, 180)),
    "black": ((28, 28, 34), (40, 40, 44), (22, 24, 40)),
    "red": ((196, 30, 40), (176, 24, 52), (210, 50, 50)),
    "pencil": ((66, 66, 72), (82, 82, 86), (54, 54, 60)),
}


def pen_of(colour: str, tip: str, rng: np.random.Generator) -> Pen:
    """One pen of that colour; a pencil has one kind of tip only."""
    shades = _COLOURS[colour]
    r, g, b = np.clip(np.array(shades[rng.integers(len(shades))]) + rng.normal(0, 6, 3), 0, 255)
    rgb = (float(r), float(g), float(b))
    if colour == "pencil":
        return Pen(rgb, rng.uniform(0.3, 0.55), rng.uniform(0.7, 0.95), 0.65, 0.35, 0.75)
    if tip == "felt":
        return Pen(rgb, rng.uniform(0.5, 1.1), rng.uniform(0.85, 0.97), 0.75, 0.85, 0.08, rng.uniform(0.02, 0.08))
    return Pen(rgb, rng.uniform(0.28, 0.48), rng.uniform(0.82, 0.96), 0.6, 0.5, 0.3)


def ink(
    image: fl.U8, strokes: Sequence[D], to_px: Callable[[D], D], px_per_mm: float, pen: Pen, rng: np.random.Generator
) -> None:
    """Draw strokes (N, 3), mm and pressure, into ``image`` (H, W, 3) itself."""
    lines = [to_px(stroke[:, :2]) for stroke in strokes]
    if not lines:
        return
    room = pen.width * px_per_mm + 2
    every = np.vstack(lines)
    x0, y0 = np.maximum(np.floor(every.min(axis=0) - room), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(every.max(axis=0) + room) + 1, image.shape[1::-1]).astype(int)
    if x1 <= x0 or y1 <= y0:
        return
    alpha = _covered(lines, strokes, (x0, y0), (y1 - y0, x1 - x0), px_per_mm, pen)
    if pen.wet * px_per_mm > 0.25:
        alpha = fl.u8(cv2.GaussianBlur(alpha, (0, 0), pen.wet * px_per_mm))
    if pen.grain:
        alpha = _grained(alpha, px_per_mm, pen, rng)
    fl.dye(image[y0:y1, x0:x1], pen.colour, alpha)


def _covered(
    lines: Sequence[D],
    strokes: Sequence[D],
    origin: tuple[int, int],
    shape: tuple[int, int],
    px_per_mm: float,
    pen: Pen,
) -> fl.U8:
    """(h, w) the ink of each pixel of a patch, drawn finer and area-reduced."""
    fine = int(np.clip(np.ceil(10 / (pen.width * px_per_mm)), 2, 8))
    big: fl.U8 = np.zeros((shape[0] * fine, shape[1] * fine), np.uint8)
    levels = 7
    groups: list[list[NDArray[np.int32]]] = [[] for _ in range(levels + 1)]
    for line, stroke in zip(lines, strokes, strict=True):
        points = np.rint((line - origin + 0.5) * fine * 16 - 8).astype(np.int32)
        level = np.rint(stroke[:, 2] * levels).astype(int)
        cuts = np.append(np.append(0, np.flatnonzero(np.diff(level)) + 1), len(level))
        for a, b in pairwise(cuts):
            groups[level[a]].append(points[a : b + 1] if b < len(points) else points[max(0, a - 1) : b])
    for k, runs in enumerate(groups):  # from the lightest on: where lines cross, the heavier one is seen
        if runs:
            p = k / levels
            wide = pen.width * px_per_mm * fine * (pen.thin + (1 - pen.thin) * p)
            dark = 255 * pen.cover * (pen.pale + (1 - pen.pale) * p)
            # With fractional points OpenCV draws thick lines 2 px too wide (measured, 4.8 and 5.0).
            cv2.polylines(big, runs, False, dark, max(1, round(wide) - 2), cv2.LINE_8, 4)
    return fl.u8(cv2.resize(big, shape[::-1], interpolation=cv2.INTER_AREA))


def _grained(alpha: fl.U8, px_per_mm: float, pen: Pen, rng: np.random.Generator) -> fl.U8:
    """Less ink in the paper's valleys, most where little is given."""
    noise = fl.grain(rng, (alpha.shape[0], alpha.shape[1]), 0.22 * px_per_mm)
    missing = fl.times(fl.ramp(noise, 46, 235), fl.scaled(alpha, -1.0, 293.0), 1.2 * pen.grain)
    return fl.times(alpha, 255 - missing)


def hull(points: D, room: float) -> D:
    """(N, 2) convex outline of points, ``room`` away from them, mm."""
    angle = np.arange(8) * (np.pi / 4)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * room / np.cos(np.pi / 8)
    corners = cv2.convexHull(points[:, :2].astype(np.float32)).reshape(-1, 2)
    wide = (corners[:, None, :] + ring).reshape(-1, 2).astype(np.float32)
    return np.asarray(cv2.convexHull(wide).reshape(-1, 2), np.float64)
