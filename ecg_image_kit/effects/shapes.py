"""Shapes on the flat sheet: drawn in a window around them, or on a lattice that is coarser than the image.

Millimetres here are the image's own, from its top left corner; ``outline_of`` makes them the sheet's for the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..page import Page
from .fields import RGB, U8, D, F, Some


@dataclass(frozen=True)
class Window:
    """A part of an image and a coarse lattice over it.

    Attributes:
        part: rows and columns of the image.
        x, y: (1, w) and (h, 1) mm of the lattice's points.
    """

    part: tuple[slice, slice]
    x: F
    y: F

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of the lattice."""
        return self.y.shape[0], self.x.shape[1]

    @property
    def origin(self) -> tuple[int, int]:
        """(x, y) px of the part's first pixel."""
        return self.part[1].start, self.part[0].start

    def cells(self, size: float) -> float:
        """How many bumps of ``size`` mm lie along the longer side."""
        return max(float(np.ptp(self.x)), float(np.ptp(self.y)), 0.1) / size

    def about(self, centre: D, degrees: float = 0.0) -> tuple[F, F]:
        """mm of the lattice's points from a centre, along axes turned by ``degrees``."""
        x, y = self.x - float(centre[0]), self.y - float(centre[1])
        if not degrees:
            return x, y
        c, s = np.float32(np.cos(np.deg2rad(degrees))), np.float32(np.sin(np.deg2rad(degrees)))
        return c * x + s * y, c * y - s * x


def window(page: Page, step: float, box: Sequence[float]) -> Window | None:
    """A lattice with a point every ``step`` mm over the box (x0, y0, x1, y1) mm; None if it is off the image."""
    height, width = page.image.shape[:2]
    x0, y0, x1, y1 = (int(np.clip(v * page.px_per_mm, -1e6, 1e6)) for v in box)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1 + 1, width), min(y1 + 1, height)
    return _window(page.px_per_mm, step, x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def around(page: Page, step: float, centre: D, reach: float | D) -> Window | None:
    """A window that goes on for ``reach`` mm from a centre, both ways."""
    return window(page, step, (*(centre - reach), *(centre + reach)))


def whole(page: Page, step: float) -> Window:
    """A window over all of the image."""
    height, width = page.image.shape[:2]
    return _window(page.px_per_mm, step, 0, 0, width, height)


def _window(k: float, step: float, x0: int, y0: int, x1: int, y1: int) -> Window:
    wide, tall = (max(1, min(n, round(n / k / step))) for n in (x1 - x0, y1 - y0))
    x = (x0 + (np.arange(wide) + 0.5) * (x1 - x0) / wide) / k
    y = (y0 + (np.arange(tall) + 0.5) * (y1 - y0) / tall) / k
    return Window((slice(y0, y1), slice(x0, x1)), x[None].astype(np.float32), y[:, None].astype(np.float32))


def shape_of(image: Some) -> tuple[int, int]:
    """(H, W) of an image."""
    return image.shape[0], image.shape[1]


def size_of(page: Page) -> tuple[float, float]:
    """Width and height of the image, mm."""
    height, width = page.image.shape[:2]
    return width / page.px_per_mm, height / page.px_per_mm


def place(rng: np.random.Generator, page: Page, margin: float = 0.08) -> D:
    """A point somewhere on the page, mm; away from its edges by a share ``margin`` of its size."""
    return np.asarray(np.array(size_of(page)) * rng.uniform(margin, 1 - margin, 2), np.float64)


def outline_of(page: Page, points: D) -> D:
    """Points (N, 2) of the image's mm as the sheet's."""
    return np.asarray(page.mm_to_px.inverse(points * page.px_per_mm - 0.5), np.float64)


def paper_colour(image: U8) -> RGB:
    """The colour of bare paper: what is as bright as the brighter half of the page."""
    few = image[:: max(1, image.shape[0] // 200), :: max(1, image.shape[1] // 200)].reshape(-1, 3)
    r, g, b = np.percentile(few, 75, axis=0)
    return float(r), float(g), float(b)


# Points and lines


def fixed(px: NDArray[np.floating]) -> NDArray[np.int32]:
    """Points as OpenCV draws them with a shift of 4: in 1/16 px. Points far outside come nearer."""
    return np.asarray(np.round(np.clip(px, -1e5, 1e5) * 16), np.int32)


def turned(points: D, degrees: float, to: D | Sequence[float] = (0.0, 0.0)) -> D:
    """Points (N, 2+) turned about the origin (clockwise as seen), then moved."""
    a = np.deg2rad(degrees)
    out = np.array(points, np.float64)
    out[:, :2] = points[:, :2] @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + np.asarray(to)
    return out


def ring(centre: D, radius: float, n: int = 32) -> D:
    """(n, 2) points of a circle."""
    t = np.arange(n) * 2 * np.pi / n
    return np.asarray(centre + radius * np.stack([np.cos(t), np.sin(t)], axis=-1), np.float64)


def fill(mask: U8, px: NDArray[np.floating], value: int = 255, soft: bool = True) -> None:
    """Fill a polygon (N, 2) px in place, with soft edges or with hard ones."""
    cv2.fillPoly(mask, [fixed(px)], value, cv2.LINE_AA if soft else cv2.LINE_8, 4)


def polygon(shape: tuple[int, int], points: D, k: float, origin: tuple[int, int] = (0, 0)) -> U8:
    """(H, W) 255 inside a polygon (N, 2) mm; ``origin`` is the (x, y) px of the first pixel."""
    out = np.zeros(shape, np.uint8)
    fill(out, points * k - 0.5 - np.asarray(origin))
    return out


def lines(shape: tuple[int, int], strokes: Sequence[tuple[D, float, float]], k: float) -> U8:
    """(H, W) strokes, each of points (N, 2) mm, a width in mm and a strength 0 to 1; thin ones are drawn paler."""
    out = np.zeros(shape, np.uint8)
    for points, width, strength in strokes:
        thick, level = max(1, round(width * k)), 255 * strength * min(1.0, width * k)
        cv2.polylines(out, [fixed(points * k - 0.5)], False, level, thick, cv2.LINE_AA if thick < 4 else 8, 4)
    return out
