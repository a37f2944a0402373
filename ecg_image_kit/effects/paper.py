"""Paper: fibres, age, stains, holes, tears.

Shapes are drawn on a lattice much coarser than the image, turned into 8 bits and only then stretched over it; or in a
window around them. Millimetres here are the image's own, from its top left corner; ``outline_of`` turns them into the
sheet's for the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..page import Box, Page
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word

U8 = NDArray[np.uint8]
F = NDArray[np.float32]
D = NDArray[np.float64]
RGB = tuple[float, float, float]
SIDES = ("left", "right", "top", "bottom")


# Tools


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

    def cells(self, size: float) -> float:
        """How many bumps of ``size`` mm lie along the longer side."""
        return max(float(np.ptp(self.x)), float(np.ptp(self.y)), 0.1) / size


def window(page: Page, step: float, box: Sequence[float] | None = None) -> Window | None:
    """A lattice with a point every ``step`` mm over the box (x0, y0, x1, y1) mm, or over all; None if it is outside."""
    k = page.px_per_mm
    height, width = page.image.shape[:2]
    x0, y0, x1, y1 = (0, 0, width, height) if box is None else (int(np.clip(v * k, -1e6, 1e6)) for v in box)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1 + 1, width), min(y1 + 1, height)
    if x1 <= x0 or y1 <= y0:
        return None
    wide, tall = (max(1, min(n, round(n / k / step))) for n in (x1 - x0, y1 - y0))
    x = (x0 + (np.arange(wide) + 0.5) * (x1 - x0) / wide) / k
    y = (y0 + (np.arange(tall) + 0.5) * (y1 - y0) / tall) / k
    return Window((slice(y0, y1), slice(x0, x1)), x[None].astype(np.float32), y[:, None].astype(np.float32))


def soft(rng: np.random.Generator, shape: tuple[int, int], cells: float) -> F:
    """(H, W) smooth noise, SD about 1, with about ``cells`` bumps along the longer side; round ones, unlike those of
    ``fields.smooth``, whose lattice shows when a stain has its shape."""
    sigma, pad = 1.2, 3
    fine = 2.6 * cells / max(shape)
    small = [max(2, min(n, round(fine * n) + 1)) for n in shape]
    grid = rng.standard_normal((small[0] + 2 * pad, small[1] + 2 * pad), dtype=np.float32)
    grid = np.asarray(cv2.GaussianBlur(grid, (0, 0), sigma)[pad:-pad, pad:-pad], np.float32)
    return fl.resize(grid * np.float32(2 * sigma * np.sqrt(np.pi)), shape, cv2.INTER_CUBIC)


def fractal(rng: np.random.Generator, shape: tuple[int, int], cells: float, octaves: int = 4, gain: float = 0.5) -> F:
    """(H, W) sum of ``octaves`` of soft noise, each twice as fine and ``gain`` as strong; SD about 1."""
    out = np.zeros(shape, np.float32)
    power = 0.0
    for k in range(octaves):
        out += gain**k * soft(rng, shape, cells * 2**k)
        power += gain ** (2 * k)
    return np.asarray(out / np.sqrt(power), np.float32)


def eight(share: F | D) -> U8:
    """Shares 0 to 1 in 8 bits."""
    return np.asarray(cv2.convertScaleAbs(np.clip(share, 0.0, 1.0).astype(np.float32), alpha=255.0), np.uint8)


def over(field: U8, image: U8) -> U8:
    """A coarse field (h, w) or (h, w, c) stretched over the image."""
    if field.shape[:2] == image.shape[:2]:
        return field
    return np.asarray(cv2.resize(field, image.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def ramp(field: U8, low: float, high: float) -> U8:
    """A field in 8 bits, from 0 where it is ``low`` to 255 where it is ``high`` (which may be the lower of the two)."""
    return np.asarray(cv2.LUT(field, eight((np.arange(256) - low) / (high - low))), np.uint8)


def rows_of(height: int) -> Iterator[slice]:
    """Rows of an image, some at a time: memory that stays in the cache is several times faster."""
    for top in range(0, height, 64):
        yield slice(top, min(top + 64, height))


def dye(view: U8, colour: RGB, amount: U8) -> None:
    """Stain a part of an image in place: where ``amount`` is 255, white takes on the colour. Ink stays dark."""
    full = over(amount, view)
    for rows in rows_of(view.shape[0]):
        tint = cv2.merge([cv2.convertScaleAbs(full[rows], alpha=c / 255.0 - 1.0, beta=255.0) for c in colour])
        view[rows] = cv2.multiply(view[rows], tint, scale=1 / 255)


def cover(view: U8, colour: RGB | U8, alpha: U8) -> None:
    """Paint over a part of an image in place, with a colour or with another image, as far as ``alpha`` says."""
    full = over(alpha, view)
    other = over(colour, view) if isinstance(colour, np.ndarray) else None
    table = None if other is not None else eight(np.linspace(0, 1, 256)[:, None, None] * np.divide(colour, 255.0))
    for rows in rows_of(view.shape[0]):
        three = cv2.merge([full[rows]] * 3)
        added = cv2.LUT(three, table) if other is None else cv2.multiply(other[rows], three, scale=1 / 255)  # type: ignore[arg-type]
        view[rows] = cv2.add(cv2.multiply(view[rows], 255 - three, scale=1 / 255), added)


def times(a: U8, b: U8, scale: float = 1.0) -> U8:
    """The product of two shares in 8 bits."""
    return np.asarray(cv2.multiply(a, b, scale=scale / 255.0), np.uint8)


def grain(rng: np.random.Generator, shape: tuple[int, int], size: float) -> U8:
    """(H, W) noise with bumps ``size`` px wide, every level 0 to 255 as frequent: ``grain < n`` is true in n of 256."""
    octave = max(0, round(2 * np.log2(max(size, 1.0)))) / 2
    return laid(_grain_tile(octave), rng, shape)


@lru_cache(maxsize=8)
def _grain_tile(octave: float) -> U8:
    rng = np.random.default_rng(int(octave * 2) + 4711)
    noise = rng.standard_normal((1024, 1024), dtype=np.float32)
    if octave:
        noise = _wrapped_blur(noise, 0.42 * 2**octave)
    cuts = np.quantile(noise[::4, ::4], np.arange(1, 256) / 256)
    return np.searchsorted(cuts, noise).astype(np.uint8)


def _wrapped_blur(tile: F, sigma: float) -> F:
    pad = int(np.ceil(4 * sigma))
    wide = cv2.copyMakeBorder(tile, pad, pad, pad, pad, cv2.BORDER_WRAP)
    return np.asarray(cv2.GaussianBlur(wide, (0, 0), sigma)[pad:-pad, pad:-pad], np.float32)


def laid(tile: U8, rng: np.random.Generator, shape: tuple[int, int]) -> U8:
    """A tile that goes on beyond its edges, laid over (H, W) from a place of its own."""
    size = tile.shape[0]
    dy, dx = (int(v) for v in rng.integers(0, size, 2))
    turned = tile[:: int(rng.integers(2) * 2 - 1), :: int(rng.integers(2) * 2 - 1)]
    out = np.empty(shape, np.uint8)
    top = 0
    while top < shape[0]:
        rows = min(size - (dy + top) % size, shape[0] - top)
        left = 0
        while left < shape[1]:
            columns = min(size - (dx + left) % size, shape[1] - left)
            y, x = (dy + top) % size, (dx + left) % size
            out[top : top + rows, left : left + columns] = turned[y : y + rows, x : x + columns]
            left += columns
        top += rows
    return out


def paper_colour(image: U8) -> RGB:
    """The colour of bare paper: what is as bright as the brighter half of the page."""
    few = image[:: max(1, image.shape[0] // 200), :: max(1, image.shape[1] // 200)].reshape(-1, 3)
    r, g, b = np.percentile(few, 75, axis=0)
    return float(r), float(g), float(b)


def polygon(shape: tuple[int, int], points: D, k: float, origin: tuple[int, int] = (0, 0)) -> U8:
    """(H, W) 255 inside a polygon (N, 2) mm; ``origin`` is the (x, y) px of the first pixel."""
    out = np.zeros(shape, np.uint8)
    px = np.clip(points * k - 0.5 - np.asarray(origin), -1e5, 1e5)
    cv2.fillPoly(out, [np.round(px * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return out


def lines(shape: tuple[int, int], strokes: Sequence[tuple[D, float, float]], k: float) -> U8:
    """(H, W) strokes, each of points (N, 2) mm, a width in mm and a strength 0 to 1; thin ones are drawn paler."""
    out = np.zeros(shape, np.uint8)
    for points, width, strength in strokes:
        px = np.round(np.clip(points * k - 0.5, -1e5, 1e5) * 16).astype(np.int32)
        thick = max(1, round(width * k))
        cv2.polylines(
            out, [px], False, float(255 * strength * min(1.0, width * k)), thick, cv2.LINE_AA if thick < 4 else 8, 4
        )
    return out


def outline_of(page: Page, points: D) -> D:
    """Points (N, 2) of the image's mm as the sheet's."""
    return np.asarray(page.mm_to_px.inverse(points * page.px_per_mm - 0.5), np.float64)


def _size(page: Page) -> tuple[float, float]:
    """Width and height of the image, mm."""
    height, width = page.image.shape[:2]
    return width / page.px_per_mm, height / page.px_per_mm


def _ring(centre: D, radius: float, n: int = 32) -> D:
    """(n, 2) points of a circle."""
    t = np.arange(n) * 2 * np.pi / n
    return np.asarray(centre + radius * np.stack([np.cos(t), np.sin(t)], axis=-1), np.float64)


def _place(rng: np.random.Generator, page: Page, margin: float = 0.08) -> D:
    """A point somewhere on the page, mm; away from its edges by a share ``margin`` of its size."""
    return np.asarray(np.array(_size(page)) * rng.uniform(margin, 1 - margin, 2), np.float64)


def _turn(points: D, degrees: float, centre: D) -> D:
    """Points about 0 turned, then brought to ``centre``."""
    a = np.deg2rad(degrees)
    return np.asarray(points @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + centre, np.float64)


def _step(value: F, width: float) -> F:
    """0 below 0, 1 above ``width``, smooth between."""
    t = np.clip(value / width, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


def _dried(inside: F, low: float, high: float, profile: Callable[[F], F], image: U8) -> U8:
    """Over the image: ``profile`` of how far inside a stain (mm, from ``low`` to ``high``) each pixel lies.

    The depth is stretched over the image and the profile looked up after that, so that tide marks are sharp.
    """
    depth = over(eight((inside - low) / (high - low)), image)
    table = eight(profile(np.linspace(low, high, 256, dtype=np.float32)))
    return np.asarray(cv2.LUT(depth, table), np.uint8)


# The sheet as it was made, and how it ages


@dataclass(frozen=True, kw_only=True)
class Fibre(Effect):
    """The paper's texture: fibres, fine grain, and the clouds that are seen against the light."""

    stage: ClassVar[str] = "paper"
    depth: float = number(Grows(0.5, 16.0), 0, 60, "contrast of fibres and grain", "grey levels")
    clouds: float = number(Grows(0.2, 5.0), 0, 30, "contrast of the clouds", "grey levels")
    flecks: float = number(Grows(0.0, 0.02), 0, 1, "dark flecks, as in recycled paper", "per mm²")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        k = page.px_per_mm
        shape = image.shape[0], image.shape[1]
        if 0.75 <= k / _FIBRE_SCALE <= 1.33:
            texture = laid(_fibre_tile(), rng, shape)
        else:
            at = max(2, round(shape[0] * _FIBRE_SCALE / k)), max(2, round(shape[1] * _FIBRE_SCALE / k))
            how = cv2.INTER_AREA if k < _FIBRE_SCALE else cv2.INTER_LINEAR
            texture = np.asarray(cv2.resize(laid(_fibre_tile(), rng, at), shape[::-1], interpolation=how), np.uint8)
        factor = cv2.convertScaleAbs(texture, alpha=-self.depth / 80.0, beta=255.0)
        coarse = window(page, 0.8)
        assert coarse is not None
        clouds = eight(0.5 + 0.17 * fractal(rng, coarse.shape, coarse.cells(7.0), 3, 0.7))
        factor = cv2.subtract(factor, cv2.convertScaleAbs(over(clouds, image), alpha=self.clouds / 120.0))
        for rows in rows_of(shape[0]):
            image[rows] = cv2.multiply(image[rows], cv2.merge([factor[rows]] * 3), scale=1 / 255)
        self._fleck(image, rng, k)
        return replace(page, image=image)

    def _fleck(self, image: U8, rng: np.random.Generator, k: float) -> None:
        n = rng.poisson(self.flecks * image.shape[0] * image.shape[1] / k**2)
        for x, y in rng.uniform(0, 1, (min(int(n), 20000), 2)) * (image.shape[1], image.shape[0]):
            angle, length = rng.uniform(0, np.pi), rng.uniform(0.1, 0.8) * k
            dx, dy = length * np.cos(angle), length * np.sin(angle)
            ends = [round(v * 16) for v in (x, y, x + dx, y + dy)]
            tone = rng.uniform(0.55, 0.9)
            at = image[min(int(y), image.shape[0] - 1), min(int(x), image.shape[1] - 1)]
            cv2.line(image, tuple(ends[:2]), tuple(ends[2:]), (at * tone).tolist(), 1, cv2.LINE_AA, 4)


_FIBRE_SCALE = 7.87  # px/mm of the tile


@lru_cache(maxsize=1)
def _fibre_tile() -> U8:
    """(1024, 1024) how dark the paper's texture is, about 90 on average; it goes on beyond its edges."""
    rng = np.random.default_rng(1609)
    size = 1024
    tile = 0.55 * rng.standard_normal((size, size), dtype=np.float32)
    tile += 1.2 * _wrapped_blur(rng.standard_normal((size, size), dtype=np.float32), 0.9)
    tile += 3.0 * _wrapped_blur(rng.standard_normal((size, size), dtype=np.float32), 3.0)
    pad = 64
    wide = np.zeros((size + 2 * pad, size + 2 * pad), np.float32)
    layer = np.zeros_like(wide, np.uint8)
    for sign in (1.0, -1.0):
        layer[:] = 0
        for _ in range(1800):
            at, angle = rng.uniform(0, size, 2) + pad, rng.uniform(0, 2 * np.pi)
            turn = angle + np.cumsum(rng.normal(0, 0.35, 9))
            path = at + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], -1) * rng.uniform(1.0, 3.0), axis=0)
            cv2.polylines(
                layer, [np.round(path * 16).astype(np.int32)], False, int(rng.integers(40, 190)), 1, cv2.LINE_AA, 4
            )
        wide += sign * layer.astype(np.float32) / 100.0
    # What was drawn beyond an edge comes in again on the other side.
    for axis in (0, 1):
        wide = np.moveaxis(wide, axis, 0)
        wide[pad : 2 * pad] += wide[-pad:]
        wide[-2 * pad : -pad] += wide[:pad]
        wide = np.moveaxis(wide, 0, axis)
    tile += 1.1 * cv2.GaussianBlur(wide, (0, 0), 0.6)[pad:-pad, pad:-pad]
    tile *= 30.0 / tile.std()
    return np.asarray(np.clip(90.0 + tile, 0, 255), np.uint8)


@dataclass(frozen=True, kw_only=True)
class PaperTint(Effect):
    """The colour of the paper stock, as thermal papers and copy papers differ."""

    stage: ClassVar[str] = "paper"
    stock: str = word(
        OneOf(("white", "cream", "pink", "green", "blue", "grey")),
        ("white", "cream", "pink", "green", "blue", "grey"),
        "the paper",
    )
    strength: float = number(Grows(0.05, 1.0), 0, 1, "how far towards the stock's full colour")

    def paint(self, page: Page) -> Page:
        full = {
            "white": (246, 248, 250), "cream": (248, 240, 216), "pink": (250, 226, 228), "green": (226, 240, 226),
            "blue": (222, 233, 245), "grey": (218, 219, 216),
        }[self.stock]  # fmt: skip
        left = 1.0 - self.strength * (1.0 - np.divide(full, 255.0))
        table = eight(np.arange(256)[:, None, None] / 255.0 * left)
        return replace(page, image=np.asarray(cv2.LUT(page.image, table), np.uint8))


@dataclass(frozen=True, kw_only=True)
class Yellowing(Effect):
    """Age: paper turns yellow and brown, unevenly and from its edges, and gets rusty spots."""

    stage: ClassVar[str] = "paper"
    tone: float = number(Grows(0.02, 0.62), 0, 1, "how far the middle has turned")
    edge: float = number(Grows(0.02, 0.6), 0, 1, "how much further the edges have")
    reach: float = number(Range(6, 30), 1, 200, "how far edges reach in", "mm")
    spots: int = number(Grows(0, 60), 0, 1000, "rusty spots", whole=True)

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        lattice = window(page, 1.0)
        assert lattice is not None
        width, height = _size(page)
        uneven = fractal(rng, lattice.shape, lattice.cells(70.0), 5, 0.6)
        bump = fractal(rng, lattice.shape, lattice.cells(25.0), 4, 0.6)
        strengths = rng.uniform(0.4, 1.0, 4)
        edge = np.zeros(lattice.shape, np.float32)
        for away, strength in zip(
            (lattice.x, width - lattice.x, lattice.y, height - lattice.y), strengths, strict=True
        ):
            edge = np.maximum(edge, strength * np.exp(-np.maximum(away + self.reach * 0.25 * bump, 0) / self.reach))
        amount = self.tone * (0.8 + 0.13 * uneven) + self.edge * edge * (0.9 + 0.15 * uneven)
        dye(image, (234, 212, 160), eight(amount))
        dye(image, (205, 160, 105), eight(0.8 * self.edge * (edge - 0.25)))
        if self.spots:
            self._spot(page, image, rng)
        return replace(page, image=image)

    def _spot(self, page: Page, image: U8, rng: np.random.Generator) -> None:
        lattice = window(page, 0.25)
        assert lattice is not None
        spots = np.zeros(lattice.shape, np.uint8)
        for _ in range(self.spots):
            x, y = (int(v) for v in rng.uniform(0, 1, 2) * lattice.shape[::-1])
            cv2.circle(spots, (x, y), int(rng.gamma(1.6, 1.1)), float(rng.uniform(40, 150)), -1, cv2.LINE_AA)
        soft = cv2.GaussianBlur(spots, (0, 0), 2.0)
        dye(image, (170, 110, 60), np.asarray(cv2.addWeighted(spots, 0.35, soft, 0.8, 0), np.uint8))


@dataclass(frozen=True, kw_only=True)
class ThermalFading(Effect):
    """Thermal print that fades in light and warmth: ink and grid go towards the paper, unevenly."""

    stage: ClassVar[str] = "paper"
    amount: float = number(Grows(0.03, 0.85), 0, 0.95, "contrast that is lost where most is")
    pattern: str = word(
        OneOf(("uneven", "edge", "covered")),
        ("uneven", "edge", "covered"),
        "where: anywhere, from a side, around a sheet",
    )

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        lattice = window(page, 0.7)
        assert lattice is not None
        width, height = _size(page)
        cloud = fractal(rng, lattice.shape, lattice.cells(90.0), 5, 0.55)
        if self.pattern == "uneven":
            share = 0.5 + 0.5 * np.tanh(0.9 * cloud)
        elif self.pattern == "edge":
            angle = rng.uniform(0, 2 * np.pi)
            along = np.cos(angle) * (lattice.x / width - 0.5) + np.sin(angle) * (lattice.y / height - 0.5)
            share = 0.45 + 1.1 * along + 0.18 * cloud
        else:  # it lay in the sun with another sheet, or a clip, on it
            centre = _place(rng, page, 0.1)
            half = np.array([width, height]) * rng.uniform(0.15, 0.4, 2)
            angle = np.deg2rad(rng.normal(0, 6))
            x, y = lattice.x - centre[0], lattice.y - centre[1]
            u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
            out = np.maximum(np.abs(u) - half[0], np.abs(v) - half[1]) + 0.5 * cloud
            share = 0.2 + 0.7 * _step(np.asarray(out + 1.0, np.float32), 2.5) + 0.12 * cloud
        r, g, b = paper_colour(image)
        cover(image, (r, g * 0.995, b * 0.98), eight(self.amount * np.clip(share, 0.05, 1.0)))
        return replace(page, image=image)


@dataclass(frozen=True, kw_only=True)
class ThermalBlackening(Effect):
    """Thermal paper that was heated: dark clouds, streaks, and lines where something scratched it."""

    stage: ClassVar[str] = "paper"
    darkness: float = number(Grows(0.03, 0.8), 0, 1, "of the darkest places")
    share: float = number(Grows(0.03, 0.4), 0, 1, "of the sheet that was heated")
    streaks: int = number(Grows(0, 5), 0, 50, "dark streaks across", whole=True)
    scratches: int = number(Grows(0, 14), 0, 200, "dark scratches", whole=True)

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        lattice = window(page, 0.6)
        assert lattice is not None
        height, width = lattice.shape
        # Heat comes from somewhere: most of it lies on one side.
        a = rng.uniform(0, 2 * np.pi)
        side = np.cos(a) * (lattice.x / lattice.x[0, -1] - 0.5) + np.sin(a) * (lattice.y / lattice.y[-1, 0] - 0.5)
        cloud = fractal(rng, lattice.shape, lattice.cells(90.0), 6, 0.48) + rng.uniform(0.5, 3.0) * side
        cut = float(np.quantile(cloud[::4, ::4], 1.0 - self.share))
        heat = 0.9 * _step(np.asarray(cloud - cut, np.float32), 1.0 + float(rng.gamma(2.0, 0.5)))
        upright = rng.random() < 0.7
        for _ in range(self.streaks):
            across, along = (width, height) if upright else (height, width)
            centre = rng.uniform(0, across) + 1.5 * soft(rng, (along, 1), 3)[:, 0]
            wide = rng.uniform(0.5, 5.0) / 0.6
            strength = np.clip(0.5 + 0.5 * soft(rng, (along, 1), 6)[:, 0], 0, 1) * rng.uniform(0.2, 0.6)
            streak = strength[:, None] * np.exp(-(((np.arange(across)[None] - centre[:, None]) / wide) ** 2))
            heat = np.maximum(heat, streak if upright else streak.T)
        amount = times(over(eight(heat), image), _rough(rng, image, page.px_per_mm))
        k = page.px_per_mm
        scratches = lines(
            (image.shape[0], image.shape[1]),
            [(_scratch(rng, page), rng.uniform(0.1, 0.25), rng.uniform(0.15, 0.6)) for _ in range(self.scratches)],
            k,
        )
        amount = np.asarray(cv2.max(amount, scratches), np.uint8)
        dye(image, (48, 46, 56), np.asarray(cv2.convertScaleAbs(amount, alpha=self.darkness), np.uint8))
        return replace(page, image=image)


def _rough(rng: np.random.Generator, image: U8, k: float) -> U8:
    """Shares 0.7 to 1 as rough as paper."""
    noise = grain(rng, (image.shape[0], image.shape[1]), 0.2 * k)
    return np.asarray(cv2.convertScaleAbs(noise, alpha=0.3, beta=178.0), np.uint8)


def _scratch(rng: np.random.Generator, page: Page) -> D:
    """(N, 2) mm: a slightly bent line."""
    length, n = float(rng.gamma(2.0, 12.0)) + 4.0, 12
    turn = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.05, n)) + rng.normal(0, 0.04) * np.arange(n)
    return np.asarray(
        _place(rng, page, 0.0) + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], -1), axis=0) * length / n, np.float64
    )


@dataclass(frozen=True, kw_only=True)
class BleedThrough(Effect):
    """What is printed on the back shines through, mirrored and blurred: such a page, or text."""

    stage: ClassVar[str] = "paper"
    strength: float = number(Grows(0.01, 0.36), 0, 1, "how dark the back's ink looks")
    back: str = word(OneOf(("page", "text")), ("page", "text"), "what is on the back")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        k = page.px_per_mm
        ink = self._text(page, rng) if self.back == "text" else 255 - cv2.cvtColor(page.image, cv2.COLOR_RGB2GRAY)
        height, width = ink.shape
        dx, dy = rng.uniform(-6, 6, 2) * k
        angle = np.deg2rad(rng.normal(0, 0.5))
        turn = np.array([[-np.cos(angle), np.sin(angle), width + dx], [np.sin(angle), np.cos(angle), dy]])
        blurred = cv2.GaussianBlur(ink, (0, 0), max(0.3, 0.22 * k))
        mirrored = np.asarray(cv2.warpAffine(blurred, turn, (width, height)), np.uint8)
        lattice = window(page, 1.0)
        assert lattice is not None
        uneven = eight(0.75 + 0.15 * fractal(rng, lattice.shape, lattice.cells(30.0), 4, 0.6))
        amount = times(mirrored, over(uneven, image), (2.8 if self.back == "page" else 1.7) * self.strength)
        dye(image, (120, 122, 136), amount)
        return replace(page, image=image)

    def _text(self, page: Page, rng: np.random.Generator) -> U8:
        """(H, W) lines of what may be letters: nobody can read it through the paper."""
        shape = page.image.shape[0], page.image.shape[1]
        width, height = _size(page)
        pitch, size = rng.uniform(4.2, 6.5), rng.uniform(1.5, 2.2)
        left, right = 0.08 * width, 0.92 * width
        strokes: list[D] = []
        for y in np.arange(0.1 * height, 0.9 * height, pitch):
            end = right if rng.random() < 0.8 else rng.uniform(left, right)
            x = left
            while x < end:
                for _ in range(int(rng.integers(2, 10))):
                    tall = size * (1.5 if rng.random() < 0.25 else 1.0)
                    points = rng.uniform(0, 1, (4, 2)) * (0.75 * size, tall)
                    points[::2, 1] = (0.0, tall)
                    strokes.append((x, y) - points * (1, 1) + (0, 0))
                    x += size * 0.95
                x += size * 0.9
        out = np.zeros(shape, np.uint8)
        k = page.px_per_mm
        px = [np.round((s * k - 0.5) * 16).astype(np.int32) for s in strokes]
        cv2.polylines(out, px, False, 255, max(1, round(0.3 * k)), cv2.LINE_8, 4)
        return out


# Stains


@dataclass(frozen=True, kw_only=True)
class CoffeeStain(Effect):
    """Coffee: the ring of a mug, or a blot, with a dark rim where it dried, and splashes."""

    stage: ClassVar[str] = "paper"
    strength: float = number(Grows(0.02, 0.95), 0, 1, "how brown")
    shape: str = word(OneOf(("ring", "blot", "splashes")), ("ring", "blot", "splashes"), "what was spilt")
    radius: float = number(Range(32, 44), 2, 200, "of the ring; blots have half of it", "mm")
    splashes: int = number(Grows(0, 24), 0, 300, "drops around", whole=True)

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        centre = _place(rng, page)
        if self.shape == "ring":
            self._ring(page, image, rng, centre)
            if rng.random() < 0.35:  # it was put down twice
                self._ring(page, image, rng, centre + rng.normal(0, 0.5 * self.radius, 2))
        elif self.shape == "blot":
            for size in (0.5, rng.uniform(0.1, 0.3)):
                self._blot(page, image, rng, centre, self.radius * size)
                centre = centre + rng.normal(0, 0.6 * self.radius, 2)
        for _ in range(self.splashes * (2 if self.shape == "splashes" else 1)):
            at = centre + rng.normal(0, 1.1 * self.radius, 2)
            self._blot(page, image, rng, at, float(np.clip(rng.lognormal(-0.1, 0.7), 0.3, 6)))
        return replace(page, image=image)

    def _colour(self) -> RGB:
        return (128, 78, 34)

    def _ring(self, page: Page, image: U8, rng: np.random.Generator, centre: D) -> None:
        reach = self.radius * 1.12 + 4
        lattice = window(page, 0.25, (*(centre - reach), *(centre + reach)))
        if lattice is None:
            return
        x, y = lattice.x - float(centre[0]), lattice.y - float(centre[1])
        r = cv2.magnitude(*np.broadcast_arrays(x, y)) if lattice.shape != (1, 1) else np.hypot(x, y)
        turn = np.asarray(np.arctan2(y, x) * (180 / np.pi / 4) + 45, np.float32)  # 4 degrees to a step
        wet, wide, sway = (_around(rng, bumps)[turn.astype(np.uint8)] for bumps in (5, 7, 6))
        bump = fractal(rng, lattice.shape, lattice.cells(6.0), 4, 0.6)
        half = 0.5 * np.clip(1.6 + 1.3 * wide + 0.25 * bump, 0.35, 6.0)
        inside = half - np.abs(r - self.radius - 0.35 * sway + 0.1 * bump)
        body = _step(np.asarray(inside, np.float32), 0.35)
        rim = body * np.exp(-np.maximum(inside - 0.3, 0) / 0.35)
        spread = np.clip(0.6 + 0.55 * wet, 0.0, 1.1)
        amount = self.strength * spread * (0.4 * body * (1 + 0.25 * bump) + 0.6 * rim)
        # A thin film was left inside the ring here and there.
        film = _step(np.asarray(self.radius - r, np.float32), 3.0) * np.clip(0.5 * bump - 0.2, 0, 1) * 0.06
        soft = np.asarray(
            cv2.GaussianBlur(np.asarray(amount + self.strength * film, np.float32), (0, 0), 0.7), np.float32
        )
        dye(image[lattice.part], self._colour(), eight(soft))

    def _blot(self, page: Page, image: U8, rng: np.random.Generator, centre: D, radius: float) -> None:
        reach = radius * 1.6 + 1
        lattice = window(page, min(0.4, radius / 5), (*(centre - reach), *(centre + reach)))
        if lattice is None:
            return
        x, y = lattice.x - float(centre[0]), lattice.y - float(centre[1])
        stretch = rng.uniform(0.8, 1.25)
        bump = fractal(rng, lattice.shape, lattice.cells(max(1.0, radius * 1.2)), 5, 0.42)
        inside = radius * (1 + 0.09 * bump) - np.hypot(x * stretch, y / stretch)
        rim, strength = 0.12 + 0.03 * radius, self.strength * rng.uniform(0.6, 1.0)
        view = image[lattice.part]
        low, high = -0.5 - 0.05 * radius, 1.2 + 0.9 * radius

        def profile(depth: F) -> F:
            edge = _step(depth, 0.3)
            dark = np.exp(-np.maximum(depth - 0.25, 0) / rim)
            return np.asarray(edge * (0.3 + 0.1 * np.exp(-depth / (0.3 * radius)) + 0.55 * dark) * strength, np.float32)

        amount = _dried(np.asarray(inside, np.float32), low, high, profile, view)
        dye(view, self._colour(), times(amount, over(eight(0.75 + 0.12 * bump), view)))


def _around(rng: np.random.Generator, bumps: int) -> F:
    """(91,) noise around a circle, one value each 4 degrees, SD about 1."""
    t = np.arange(91) * (2 * np.pi / 90)
    out = np.zeros(91)
    for k in range(1, bumps + 1):
        out += rng.normal() * np.cos(k * t + rng.uniform(0, 2 * np.pi)) / k**0.7
    return np.asarray(out / 1.3, np.float32)


@dataclass(frozen=True, kw_only=True)
class WaterStain(Effect):
    """Water that soaked in and dried: brown tide marks, buckled paper, ink that has run a little."""

    stage: ClassVar[str] = "paper"
    strength: float = number(Grows(0.02, 0.7), 0, 1, "how brown the tide marks are")
    size: float = number(Range(35, 110), 2, 500, "of the soaked part", "mm")
    marks: int = number(Range(1, 3), 1, 9, "tide marks, one inside the other", whole=True)
    buckling: float = number(Grows(0.004, 0.09), 0, 0.5, "light and shade on the buckled part")
    run: float = number(Grows(0.01, 0.22), 0, 1, "how far the ink has run", "mm")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        width, height = _size(page)
        centre = _place(rng, page, 0.1)
        if rng.random() < 0.75:  # from an edge
            axis = int(rng.random() * width / (width + height) < 0.5)
            centre[axis] = rng.choice([-0.1, 1.1]) * (width, height)[axis]
        reach = 1.7 * self.size
        lattice = window(page, 0.5, (*(centre - reach), *(centre + reach)))
        if lattice is None:
            return replace(page, image=image)
        x, y = lattice.x - float(centre[0]), lattice.y - float(centre[1])
        bump = fractal(rng, lattice.shape, lattice.cells(0.9 * self.size), 5, 0.36)
        inside = np.asarray(self.size * (0.85 + 0.17 * bump) - np.hypot(x, y), np.float32)
        view = image[lattice.part]
        soaked = over(eight(_step(inside, 2.0)), view)
        if self.run > 0.015:
            sigma = self.run * page.px_per_mm
            cover(view, np.asarray(cv2.GaussianBlur(view, (0, 0), max(sigma, 0.2)), np.uint8), soaked)
        # Buckles run more or less together: lit and dark sides of waves across one direction.
        a = rng.uniform(0, np.pi)
        sway = fractal(rng, lattice.shape, lattice.cells(45.0), 3, 0.5)
        waves = np.sin((np.cos(a) * x + np.sin(a) * y) * (2 * np.pi / rng.uniform(14, 26)) + 2.2 * sway)
        deep = np.clip(0.5 + 0.4 * fractal(rng, lattice.shape, lattice.cells(40.0), 2), 0, 1.4)
        dye(view, (90, 90, 96), eight(self.buckling * deep * (1 + waves) * _step(inside + 4.0, 12.0)))
        levels = np.concatenate([[0.0], np.cumsum(rng.uniform(1.5, 0.16 * self.size, self.marks - 1))])
        strengths = rng.uniform(0.45, 1.0, self.marks)
        strengths[0] = 1.0

        def profile(depth: F) -> F:
            out = 0.13 * _step(depth, 1.0)
            for level, strength in zip(levels, strengths, strict=True):
                away = depth - level
                out = out + strength * _step(away, 0.5) * (
                    0.8 * np.exp(-np.maximum(away - 0.4, 0) / 0.45) + 0.34 * np.exp(-np.maximum(away, 0) / 3.5)
                )
            return np.asarray(self.strength * out, np.float32)

        amount = _dried(inside, -2.0, 30.0, profile, view)
        uneven = eight(0.7 + 0.22 * fractal(rng, lattice.shape, lattice.cells(20.0), 4, 0.6))
        dye(view, (164, 122, 70), times(amount, over(uneven, view)))
        return replace(page, image=image)


@dataclass(frozen=True, kw_only=True)
class Mould(Effect):
    """Mould: clusters of grey-green and black speckled colonies with soft halos, mostly from a damp edge."""

    stage: ClassVar[str] = "paper"
    strength: float = number(Grows(0.04, 0.95), 0, 1, "how dark the colonies are")
    clusters: int = number(Grows(1, 12), 0, 50, "groups of colonies", whole=True)
    colonies: int = number(Range(60, 220), 1, 1000, "in each group", whole=True)
    spread: float = number(Range(8, 30), 1, 200, "of a group", "mm")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        size = np.array(_size(page))
        damp = int(rng.integers(4))  # left, top, right, bottom
        kinds = (84, 94, 70), (42, 44, 42), (120, 112, 66)
        favourite = int(rng.integers(3))
        for _ in range(self.clusters):
            centre = _place(rng, page, 0.0)
            if rng.random() < 0.7:
                centre[damp % 2] = size[damp % 2] * (damp // 2) + rng.normal(0, 0.4 * self.spread)
            colour = kinds[favourite if rng.random() < 0.6 else int(rng.integers(2))]
            self._cluster(page, image, rng, centre, colour)
        return replace(page, image=image)

    def _cluster(self, page: Page, image: U8, rng: np.random.Generator, centre: D, colour: RGB) -> None:
        k = page.px_per_mm
        spread = self.spread * rng.uniform(0.5, 1.0, 2)
        lattice = window(page, 0.25, (*(centre - 2.2 * spread - 4), *(centre + 2.2 * spread + 4)))
        if lattice is None:
            return
        view = image[lattice.part]
        core = self._grow(lattice, rng, centre, spread)
        halo = cv2.GaussianBlur(cv2.dilate(core, np.ones((5, 5), np.uint8)), (0, 0), 7.0)
        dye(view, (150, 148, 112), np.asarray(cv2.convertScaleAbs(halo, alpha=0.5 * self.strength), np.uint8))
        # Where a colony is dense most of its grains are dark, towards its rim and around it few are.
        x, y = (lattice.x - float(centre[0])) / float(spread[0]), (lattice.y - float(centre[1])) / float(spread[1])
        strewn = eight(0.09 * np.exp(-0.9 * (x**2 + y**2)))
        dense = cv2.add(cv2.add(core, cv2.convertScaleAbs(halo, alpha=0.4)), strewn)
        speckle = grain(rng, (view.shape[0], view.shape[1]), 0.22 * k)
        dots = cv2.convertScaleAbs(cv2.subtract(over(np.asarray(dense, np.uint8), view), speckle), alpha=2.6)
        body = cv2.addWeighted(dots, 0.8, over(core, view), 0.35, 0)
        dye(view, colour, np.asarray(cv2.convertScaleAbs(body, alpha=self.strength), np.uint8))

    def _grow(self, lattice: Window, rng: np.random.Generator, centre: D, spread: D) -> U8:
        """How dense the colonies are, on the lattice: many small ones, a few large ones near the middle."""
        out = np.zeros(lattice.shape, np.uint8)
        step = float(np.ptp(lattice.y)) / max(lattice.shape[0] - 1, 1) or 0.25
        away = rng.standard_normal((self.colonies, 2)) * 0.75
        at = (centre + away * spread - (lattice.x[0, 0], lattice.y[0, 0])) / step
        radius = rng.lognormal(-0.5, 0.8, self.colonies) * np.exp(-0.5 * np.linalg.norm(away, axis=1))
        tones = rng.uniform(90, 255, self.colonies)
        for (x, y), r, tone in zip(np.clip(at, -1e3, 1e5) * 16, np.clip(radius, 0.12, 4.5) / step, tones, strict=True):
            cv2.circle(out, (round(x), round(y)), round(r * 16), float(tone), -1, cv2.LINE_AA, 4)
        return np.asarray(cv2.GaussianBlur(out, (0, 0), 1.3), np.uint8)


@dataclass(frozen=True, kw_only=True)
class Dirt(Effect):
    """Handling: grey smudges, specks, smears of a finger and finger prints."""

    stage: ClassVar[str] = "paper"
    smudges: float = number(Grows(0.01, 0.3), 0, 1, "how dark smudges are")
    specks: int = number(Grows(3, 260), 0, 5000, "dark specks", whole=True)
    smears: int = number(Grows(0, 5), 0, 50, "smears of a finger", whole=True)
    prints: int = number(Grows(0, 5), 0, 50, "finger prints", whole=True)

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        k = page.px_per_mm
        lattice = window(page, 1.0)
        assert lattice is not None
        cloud = fractal(rng, lattice.shape, lattice.cells(45.0), 5, 0.6)
        smudge = over(eight(self.smudges * _step(np.asarray(cloud - 0.7, np.float32), 2.0)), image)
        dye(image, (88, 82, 74), times(smudge, _rough(rng, image, k)))
        for _ in range(self.smears):
            self._smear(page, image, rng)
        for _ in range(self.prints):
            self._print(page, image, rng)
        if self.specks:
            size = image.shape[1::-1]
            specks = np.zeros(image.shape[:2], np.uint8)
            for x, y in rng.uniform(0, 1, (self.specks, 2)) * size:
                axes = np.clip(rng.lognormal(-2.3, 0.55, 2) * k, 0.3, 2 * k)
                tone = rng.uniform(60, 230) * min(1.0, float(axes.min()) * 1.5)
                box = ((float(x), float(y)), (2 * float(axes[0]), 2 * float(axes[1])), float(rng.uniform(0, 180)))
                cv2.ellipse(specks, box, tone, -1, cv2.LINE_AA)
            dye(image, (70, 62, 52), specks)
        return replace(page, image=image)

    def _smear(self, page: Page, image: U8, rng: np.random.Generator) -> None:
        centre, angle = _place(rng, page, 0.0), np.deg2rad(rng.uniform(0, 180))
        length, wide = rng.uniform(12, 40), rng.uniform(4, 9)
        lattice = window(page, 0.35, (*(centre - 0.7 * length), *(centre + 0.7 * length)))
        if lattice is None:
            return
        x, y = lattice.x - float(centre[0]), lattice.y - float(centre[1])
        u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        v = v + 0.004 * u**2 * rng.normal()
        rows = _lookup(fractal(rng, (1, 64), 24, 3, 0.7)[0], v, 0.35)
        start = np.clip(u / length + 0.5, 0, 1)
        fade = _step(np.asarray(start, np.float32), 0.15) * (1.0 - start) ** 0.8
        amount = fade * np.exp(-((v / (0.5 * wide)) ** 4)) * np.clip(0.6 + 0.3 * rows, 0, 1.3)
        view = image[lattice.part]
        dark = over(eight(0.25 * rng.uniform(0.4, 1.0) * (0.4 + self.smudges) * amount), view)
        dye(view, (74, 66, 60), times(dark, _rough(rng, view, page.px_per_mm), 1.2))

    def _print(self, page: Page, image: U8, rng: np.random.Generator) -> None:
        centre, turn = _place(rng, page, 0.0), rng.uniform(0, 2 * np.pi)
        lattice = window(page, 0.11, (*(centre - 13), *(centre + 13)))
        if lattice is None:
            return
        x, y = lattice.x - float(centre[0]), lattice.y - float(centre[1])
        u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
        sway = soft(rng, lattice.shape, lattice.cells(6.0))
        fine = fractal(rng, lattice.shape, lattice.cells(2.5), 3, 0.7)
        # Ridges lie around a core above the middle, and flatten to arches below it.
        r = np.sqrt(u**2 * 1.5 + (v + 2.0 - 0.06 * u**2) ** 2) + 0.55 * sway
        ridges = _step(np.asarray(0.5 + 0.5 * np.sin(2 * np.pi * r / 0.52) + 0.25 * fine - 0.3, np.float32), 0.5)
        pad = _step(np.asarray(1.0 - np.sqrt((u / 7.5) ** 2 + (v / 10.5) ** 2) + 0.08 * sway, np.float32), 0.35)
        amount = pad * (0.12 + 0.88 * ridges * np.clip(0.6 + 0.45 * fine, 0, 1))
        dye(image[lattice.part], (70, 62, 58), eight(rng.uniform(0.5, 1.0) * (0.08 + 0.8 * self.smudges) * amount))


def _lookup(table: F, at: Any, step: float) -> F:
    """Values of a table with an entry each ``step``, its middle at 0."""
    places = np.asarray(at, np.float64) / step + table.size / 2
    return np.interp(places, np.arange(table.size), table).astype(np.float32)


# Damage


@dataclass(frozen=True, kw_only=True)
class Tear(Effect):
    """Torn: a corner or a piece of an edge is missing, with a white fibrous rim along the tear."""

    stage: ClassVar[str] = "paper"
    size: float = number(Grows(0.5, 75.0), 0, 400, "of the missing part, along the edge", "mm")
    where: str = word(OneOf(("corner", "edge")), ("corner", "edge"), "what is missing")
    rim: float = number(Range(0.4, 1.6), 0.1, 6, "width of the white rim", "mm")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        width, height = _size(page)
        # Drawn for the top left corner or the top edge, then turned over to another one.
        flip, swap = rng.integers(0, 2, 2).astype(bool), bool(rng.random() < height / (width + height))
        w, h = (height, width) if swap else (width, height)
        reach = min(self.size, 0.6 * w)
        if self.where == "corner":
            depth = min(self.size * rng.uniform(0.45, 1.0), 0.6 * h)
            ends = np.array([[-1.0, depth], [reach, -1.0]])
            bulge = rng.normal(0, 0.12)
        else:
            left = rng.uniform(0, max(w - reach, 0.1))
            ends = np.array([[left, -1.0], [left + reach, -1.0]])
            bulge = -rng.uniform(0.12, 0.4) * min(1.0, 0.8 * h / max(reach, 1.0))
        line = _torn(rng, ends, bulge)
        away = np.stack([np.gradient(line[:, 1]), -np.gradient(line[:, 0])], axis=-1)
        away /= np.linalg.norm(away, axis=1, keepdims=True) + 1e-9
        inward = -away if self.where == "corner" else away
        inward = (
            inward if inward[len(inward) // 2] @ ([1.0, 1.0] if self.where == "corner" else [0, 1.0]) > 0 else -inward
        )
        n = len(line)
        uneven = np.abs(fractal(rng, (1, n), max(2.0, n / 12), 4, 0.7)[0])
        wide = self.rim * np.clip(0.25 + 0.8 * uneven, 0.1, 3.0) * min(1.0, 0.1 * self.size)
        inner = line + inward * wide[:, None]
        beyond = self.size + 5.0
        missing = np.vstack(
            [line, [[line[-1, 0], -beyond], [-beyond if self.where == "corner" else line[0, 0], -beyond]]]
        )
        if self.where == "corner":
            missing = np.vstack([missing, [[-beyond, line[0, 1]]]])
        rim = np.vstack([line, inner[::-1]])

        def placed(points: D) -> D:
            out = np.where(flip, np.array([w, h]) - points, points)
            return np.asarray(out[:, ::-1] if swap else out, np.float64)

        missing, rim = placed(missing), placed(rim)
        self._fill(page, image, rng, missing, rim)
        boxes = (
            Box("tear", outline_of(page, missing), hides=True),
            Box("torn edge", outline_of(page, rim), hides=True),
        )
        return replace(page, image=image, boxes=(*page.boxes, *boxes))

    def _fill(self, page: Page, image: U8, rng: np.random.Generator, missing: D, rim: D) -> None:
        k = page.px_per_mm
        both = np.vstack([missing, rim])
        lattice = window(page, 1.0, (*(both.min(axis=0) - 3), *(both.max(axis=0) + 3)))
        if lattice is None:
            return
        view = image[lattice.part]
        shape, origin = (view.shape[0], view.shape[1]), (lattice.part[1].start, lattice.part[0].start)
        torn, gone = polygon(shape, rim, k, origin), polygon(shape, missing, k, origin)
        dark = cv2.GaussianBlur(cv2.max(torn, gone), (0, 0), max(0.4, 0.35 * k))
        dye(view, (150, 146, 140), np.asarray(cv2.convertScaleAbs(dark, alpha=0.5), np.uint8))
        paper = np.array(paper_colour(page.image))
        fibres = laid(_fibre_tile(), rng, shape)
        pulp = cv2.merge([cv2.convertScaleAbs(fibres, alpha=-0.22, beta=float(c)) for c in 0.3 * paper + 0.7 * 255])
        cover(view, np.asarray(pulp, np.uint8), torn)
        cover(view, (255, 255, 255), gone)


def _torn(rng: np.random.Generator, ends: D, bulge: float) -> D:
    """(N, 2) mm from one end to the other, as paper tears: long swings, and small ones along its fibres."""
    length = float(np.linalg.norm(ends[1] - ends[0]))
    n = int(np.clip(length / 0.35, 12, 600))
    t = np.linspace(0, 1, n)
    across = np.array([ends[1, 1] - ends[0, 1], ends[0, 0] - ends[1, 0]]) / max(length, 1e-6)
    swing = fractal(rng, (1, n), 3.0, 3, 0.5)[0] * 0.035 * length
    fibre = fractal(rng, (1, n), max(4.0, length / 4.0), 4, 0.75)[0] * min(0.45, 0.02 * length)
    skew = t ** rng.uniform(0.7, 1.4)
    profile = np.sin(np.pi * skew) ** rng.uniform(0.7, 1.3)
    off = bulge * length * profile + (swing * np.minimum(1, 6 * t * (1 - t))) + fibre
    return np.asarray(ends[0] + (ends[1] - ends[0]) * t[:, None] + across * off[:, None], np.float64)


@dataclass(frozen=True, kw_only=True)
class PunchHoles(Effect):
    """Round holes along an edge, as for a ring binder."""

    stage: ClassVar[str] = "paper"
    count: int = number(Grows(0, 5), 0, 60, "holes", whole=True)
    side: str = word(OneOf(SIDES), SIDES, "the edge")
    diameter: float = number(Range(5.0, 7.0), 1, 20, "of a hole", "mm")
    spacing: float = number(Range(78, 82), 2, 200, "between two; less if they would not fit", "mm")
    inset: float = number(Range(8, 14), 1, 60, "from the edge to the centre", "mm")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        k = page.px_per_mm
        width, height = _size(page)
        along = 0 if self.side in ("top", "bottom") else 1
        long, across = (width, height) if along == 0 else (height, width)
        spacing = min(self.spacing, long / max(self.count, 1))
        inset = min(self.inset, across / 2)
        inset = across - inset if self.side in ("right", "bottom") else inset
        middle = long / 2 + rng.normal(0, 0.01 * long)
        boxes = []
        for k_hole in range(self.count):
            place = middle + (k_hole - (self.count - 1) / 2) * spacing, inset + rng.normal(0, 0.15)
            centre = np.array(place if along == 0 else place[::-1])
            hole = _ring(centre, self.diameter / 2, 40)
            reach = self.diameter
            lattice = window(page, 1.0, (*(centre - reach), *(centre + reach)))
            if lattice is None:
                continue
            view = image[lattice.part]
            shape, origin = (view.shape[0], view.shape[1]), (lattice.part[1].start, lattice.part[0].start)
            inside = polygon(shape, hole, k, origin)
            lip = polygon(shape, _ring(centre, self.diameter / 2 + 0.3, 40), k, origin)
            dye(view, (160, 158, 154), np.asarray(cv2.convertScaleAbs(lip, alpha=0.3), np.uint8))
            cover(view, (255, 255, 255), inside)
            lit = polygon(shape, hole + np.array([0.35, 0.45]), k, origin)
            shadow = cv2.GaussianBlur(cv2.subtract(inside, lit), (0, 0), max(0.4, 0.15 * k))
            dye(view, (120, 120, 124), times(np.asarray(shadow, np.uint8), inside, 0.5))
            boxes.append(Box("hole", outline_of(page, hole), hides=True))
        return replace(page, image=image, boxes=(*page.boxes, *boxes))


@dataclass(frozen=True, kw_only=True)
class Staple(Effect):
    """Metal staples near a corner, or the holes and rust that they left."""

    stage: ClassVar[str] = "paper"
    count: int = number(Grows(0, 1.9), 0, 20, "staples", whole=True)
    state: str = word(OneOf(("closed", "removed")), ("closed", "removed"), "whether they are still there")
    length: float = number(Range(9, 13), 3, 30, "of a staple", "mm")
    inset: float = number(Range(5, 16), 1, 60, "from the corner", "mm")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        width, height = _size(page)
        boxes: list[Box] = []
        right = rng.random() < 0.2
        for _ in range(self.count):
            inset = self.inset + rng.normal(0, 2.0, 2) + 0.3 * self.length
            centre = np.minimum(inset, (0.5 * width, 0.5 * height))
            centre[0] = width - centre[0] if right else centre[0]
            angle = float(rng.choice([0.0, 45.0, 90.0]) + rng.normal(0, 7)) * (1 if right else -1)
            boxes += self._one(page, image, rng, centre, angle)
        return replace(page, image=image, boxes=(*page.boxes, *boxes))

    def _one(self, page: Page, image: U8, rng: np.random.Generator, centre: D, angle: float) -> list[Box]:
        k = page.px_per_mm
        lattice = window(page, 1.0, (*(centre - self.length), *(centre + self.length)))
        if lattice is None:
            return []
        view = image[lattice.part]
        shape, origin = (view.shape[0], view.shape[1]), (lattice.part[1].start, lattice.part[0].start)
        half, thick = self.length / 2, 0.28
        feet = _turn(np.array([[-half, 0.0], [half, 0.0]]), angle, centre)
        for foot in feet:  # the paper is pressed in, and a little rusty
            dent = polygon(shape, _ring(foot, 0.8, 16), k, origin)
            soft = cv2.GaussianBlur(dent, (0, 0), max(0.4, 0.5 * k))
            dye(view, (150, 118, 84), np.asarray(cv2.convertScaleAbs(soft, alpha=0.7), np.uint8))
        if self.state == "removed":
            boxes = []
            trail = polygon(shape, _bar(half, 0.3, angle, centre), k, origin)
            soft = cv2.GaussianBlur(trail, (0, 0), max(0.4, 0.3 * k))
            dye(view, (168, 140, 110), np.asarray(cv2.convertScaleAbs(soft, alpha=0.35), np.uint8))
            for foot in feet:
                hole = _ring(foot, rng.uniform(0.3, 0.55), 12)
                cover(view, (62, 54, 48), polygon(shape, hole, k, origin))
                boxes.append(Box("staple", outline_of(page, hole), hides=True))
            return boxes
        bar = _bar(half, thick, angle, centre)
        shadow = cv2.GaussianBlur(polygon(shape, bar + np.array([0.35, 0.45]), k, origin), (0, 0), max(0.4, 0.3 * k))
        dye(view, (70, 70, 76), np.asarray(cv2.convertScaleAbs(shadow, alpha=0.65), np.uint8))
        bright = rng.uniform(150, 195)
        for low, high, tone in ((-1.0, 1.0, 0.5), (-0.8, 0.7, 1.0), (-0.5, 0.0, 1.28), (0.55, 1.0, 0.62)):
            strip = _turn(
                np.array([[-half, low], [half, low], [half, high], [-half, high]]) * (1.0, thick), angle, centre
            )
            grey = bright * tone
            cover(view, (grey, grey, min(255.0, grey * 1.02)), polygon(shape, strip, k, origin))
        return [Box("staple", outline_of(page, bar), hides=True)]


def _bar(half: float, thick: float, angle: float, centre: D) -> D:
    """(4, 2) mm: a turned bar."""
    return _turn(np.array([[-half, -thick], [half, -thick], [half, thick], [-half, thick]]), angle, centre)


@dataclass(frozen=True, kw_only=True)
class Tape(Effect):
    """Clear adhesive tape, yellowed and glossy, with jagged ends; what is under it can be seen."""

    stage: ClassVar[str] = "paper"
    pieces: int = number(Grows(1, 3.4), 0, 20, "strips of tape", whole=True)
    age: float = number(Grows(0.02, 0.65), 0, 1, "how yellow it is")
    gloss: float = number(Grows(0.02, 0.75), 0, 1, "how much it shines")
    width: float = number(Range(12, 25), 3, 80, "of the tape", "mm")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        boxes = []
        for _ in range(self.pieces):
            centre, angle = _place(rng, page, 0.02), float(rng.choice([0.0, 90.0]) + rng.normal(0, 9))
            half = float(rng.uniform(18, 48))
            outline = _turn(self._shape(rng, half), angle, centre)
            self._stick(page, image, rng, outline, centre, angle)
            boxes.append(Box("tape", outline_of(page, outline)))
        return replace(page, image=image, boxes=(*page.boxes, *boxes))

    def _shape(self, rng: np.random.Generator, half: float) -> D:
        """Straight sides; ends as the cutter's teeth leave them."""
        n = max(5, round(self.width / 1.4)) * 2 + 1
        v = np.linspace(-self.width / 2, self.width / 2, n)
        ends = []
        for _ in range(2):
            teeth = 0.45 * (np.arange(n) % 2) + rng.normal(0, 0.1, n)
            ends.append(half + teeth + rng.normal(0, 0.08) * v)
        return np.vstack([np.stack([ends[0], v], -1), np.stack([-ends[1], v], -1)[::-1]])

    def _stick(self, page: Page, image: U8, rng: np.random.Generator, outline: D, centre: D, angle: float) -> None:
        k = page.px_per_mm
        lattice = window(page, 0.4, (*(outline.min(axis=0) - 1), *(outline.max(axis=0) + 1)))
        if lattice is None:
            return
        view = image[lattice.part]
        shape, origin = (view.shape[0], view.shape[1]), (lattice.part[1].start, lattice.part[0].start)
        inside = polygon(shape, outline, k, origin)
        a = np.deg2rad(angle)
        x, y = lattice.x - float(centre[0]), lattice.y - float(centre[1])
        u, v = np.cos(a) * x + np.sin(a) * y, np.cos(a) * y - np.sin(a) * x
        ridges = _lookup(fractal(rng, (1, 160), 50, 3, 0.8)[0], v, 0.25)
        cloud = fractal(rng, lattice.shape, lattice.cells(18.0), 4, 0.6)
        yellow = eight(self.age * np.clip(0.55 + 0.05 * ridges + 0.1 * cloud + 0.3 * np.abs(v) / self.width, 0, 1))
        dye(view, (224, 188, 116), times(over(yellow, view), inside))
        edge = cv2.subtract(inside, cv2.erode(inside, np.ones((3, 3), np.uint8), iterations=max(1, round(0.12 * k))))
        dye(view, (120, 108, 88), np.asarray(cv2.convertScaleAbs(edge, alpha=0.12 + 0.35 * self.age), np.uint8))
        # Gloss lies in bands across it, broken by bubbles where it does not stick.
        bands = np.clip(fractal(rng, lattice.shape, lattice.cells(26.0), 2, 0.5) + 0.15 * ridges, 0, 2)
        slope = np.exp(-(((u * 0.6 + v + rng.uniform(-15, 15)) / rng.uniform(4, 9)) ** 2))
        bubbles = _step(np.asarray(fractal(rng, lattice.shape, lattice.cells(5.0), 3, 0.6) - 1.6, np.float32), 0.3)
        shine = self.gloss * np.clip(0.2 * bands + 0.55 * slope * (0.8 + 0.15 * ridges) + 0.2 * bubbles + 0.06, 0, 0.75)
        cover(view, (252, 252, 250), times(over(eight(shine), view), inside))


@dataclass(frozen=True, kw_only=True)
class FoldLine(Effect):
    """The line of an old fold: ink and grid rubbed off along it, a grey trace of dirt beside it."""

    stage: ClassVar[str] = "paper"
    count: int = number(Grows(1, 4), 0, 20, "folds", whole=True)
    wear: float = number(Grows(0.04, 1.0), 0, 1, "ink that is rubbed off")
    width: float = number(Range(0.25, 0.8), 0.05, 5, "of the worn line", "mm")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        width, height = _size(page)
        # First along the long side's middle or thirds, then across, then between.
        long = bool(rng.random() < width / (width + height))
        thirds = rng.random() < 0.4
        places = ((1 / 3, True), (2 / 3, True), (0.5, False)) if thirds else ((0.5, True), (0.5, False), (0.25, True))
        for n in range(self.count):
            at, along = places[n] if n < len(places) else (float(rng.uniform(0.1, 0.9)), bool(rng.random() < 0.5))
            self._line(page, image, rng, along == long, at + float(rng.normal(0, 0.015)))
        return replace(page, image=image)

    def _line(self, page: Page, image: U8, rng: np.random.Generator, upright: bool, at: float) -> None:
        k = page.px_per_mm
        turned = image.transpose(1, 0, 2) if upright else image  # a view: the line runs along its rows
        tall, wide = turned.shape[:2]
        slope = rng.normal(0, 0.006)
        lean = abs(slope) * wide / 2 + 9 * k
        top, bottom = max(0, int(at * tall - lean)), min(tall, int(at * tall + lean) + 1)
        if bottom - top < 2:
            return
        band = np.ascontiguousarray(turned[top:bottom])
        shape = band.shape[0], band.shape[1]
        columns = np.arange(wide)
        sway = 0.12 * k * fractal(rng, (1, wide), max(3.0, wide / k / 15), 4, 0.6)[0]
        path = at * tall - top + slope * (columns - wide / 2) + sway
        off = ((np.arange(shape[0])[:, None] - path[None]) / k).astype(np.float32)
        worn = np.clip(0.7 + 0.45 * fractal(rng, (1, wide), max(3.0, wide / k / 8), 4, 0.7)[0], 0, 1)[None]
        soft = np.exp(-((off / (0.5 * self.width)) ** 2)) * worn
        rough = grain(rng, shape, 0.18 * k)
        rubbed = np.asarray(cv2.convertScaleAbs(cv2.subtract(eight(1.15 * soft), rough), alpha=2.0), np.uint8)
        side = rng.choice([-1.0, 1.0])
        dirt = np.exp(-np.abs(off - 0.4 * side * self.width) / 0.5) + 0.45 * np.exp(
            -np.maximum(off * side, 0) / 2.0
        ) * (off * side > 0)
        dye(band, (122, 116, 108), times(eight(0.42 * self.wear * dirt * (0.5 + 0.5 * worn)), _rough(rng, band, k)))
        r, g, b = paper_colour(page.image)
        glow = np.asarray(cv2.convertScaleAbs(eight(soft), alpha=0.3 * self.wear), np.uint8)
        pale = cv2.add(glow, cv2.convertScaleAbs(rubbed, alpha=0.5 * self.wear))
        cover(band, (0.4 * r + 0.6 * 252, 0.4 * g + 0.6 * 252, 0.4 * b + 0.6 * 250), np.asarray(pale, np.uint8))
        turned[top:bottom] = band


@dataclass(frozen=True, kw_only=True)
class EdgeWear(Effect):
    """Worn edges: dark with handling, frayed in places, with bent corners."""

    stage: ClassVar[str] = "paper"
    darkness: float = number(Grows(0.02, 0.85), 0, 1, "of the very edge")
    reach: float = number(Range(2, 7), 0.3, 60, "how far it reaches in", "mm")
    corners: int = number(Grows(0, 3), 0, 4, "corners that were bent", whole=True)

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        k = page.px_per_mm
        width, height = _size(page)
        deep = 4.0 * self.reach
        for side in range(4):
            box = (
                (0, 0, deep, height), (width - deep, 0, width, height), (0, 0, width, deep),
                (0, height - deep, width, height),
            )[side]  # fmt: skip
            lattice = window(page, 0.5, box)
            if lattice is None:
                continue
            away = (lattice.x, width - lattice.x, lattice.y, height - lattice.y)[side]
            bump = fractal(rng, lattice.shape, lattice.cells(12.0), 5, 0.65)
            near = np.maximum(away + 0.35 * self.reach * bump, 0) / self.reach
            dark = np.exp(-1.6 * near) * np.clip(0.6 + 0.3 * bump, 0, 1.2) * np.clip(2 - near, 0, 1)
            view = image[lattice.part]
            dye(view, (104, 92, 76), times(over(eight(self.darkness * dark), view), _rough(rng, view, k)))
        frayed = np.zeros(image.shape[:2], np.uint8)
        for k_corner in rng.permutation(4)[: self.corners]:
            self._corner(page, image, rng, int(k_corner))
        for _ in range(int(self.darkness * 60)):
            edge = int(rng.integers(4))
            at = rng.uniform(0, 1, 2) * (width, height)
            at[edge % 2] = (width, height)[edge % 2] * (edge // 2)
            axes = np.array([rng.uniform(0.2, 1.4), rng.uniform(0.1, 0.35)])[:: 1 if edge % 2 else -1]
            nick = _ring(np.zeros(2), 1.0, 14) * axes * rng.uniform(0.6, 1.4, (14, 1)) + at
            cv2.fillPoly(frayed, [np.round((nick * k - 0.5) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        cover(image, (250, 249, 246), frayed)
        return replace(page, image=image)

    def _corner(self, page: Page, image: U8, rng: np.random.Generator, which: int) -> None:
        k = page.px_per_mm
        size = np.array(_size(page))
        legs = rng.uniform(6, 22) * rng.uniform(0.7, 1.3, 2)
        legs = np.minimum(legs, 0.4 * size)
        corner = size * (which % 2, which // 2)
        sign = np.where(corner > 0, -1.0, 1.0)
        ends = corner + np.diag(legs * sign)
        reach = corner + legs * sign * 1.4
        lattice = window(page, 0.3, (*np.minimum(corner, reach), *np.maximum(corner, reach)))
        if lattice is None:
            return
        normal = np.array([1 / legs[0], 1 / legs[1]])
        scale = float(np.linalg.norm(normal))
        x, y = (lattice.x - float(corner[0])) * sign[0], (lattice.y - float(corner[1])) * sign[1]
        bump = fractal(rng, lattice.shape, lattice.cells(6.0), 4, 0.6)
        off = np.asarray((1 - x * normal[0] - y * normal[1]) / scale + 0.06 * bump, np.float32)  # > 0 on the flap
        assert ends.shape == (2, 2)
        view = image[lattice.part]
        shade = 0.16 * _step(off, 0.5) + 0.3 * np.exp(-np.abs(off + 0.5) / 0.7)
        dye(view, (110, 106, 100), eight((0.3 + self.darkness) * shade))
        rub = eight((0.2 + 0.8 * self.darkness) * np.exp(-((off / 0.3) ** 2)) * np.clip(0.6 + 0.4 * bump, 0, 1))
        rough = cv2.convertScaleAbs(grain(rng, (view.shape[0], view.shape[1]), 0.18 * k), alpha=0.8)
        cover(view, (250, 249, 247), np.asarray(cv2.subtract(over(rub, view), rough), np.uint8))


@dataclass(frozen=True, kw_only=True)
class Scratches(Effect):
    """Scuffs and scratches: thin pale lines, and patches where the print was rubbed."""

    stage: ClassVar[str] = "paper"
    count: int = number(Grows(1, 70), 0, 1000, "scratches", whole=True)
    depth: float = number(Grows(0.05, 0.8), 0, 1, "ink that they took away")
    scuffs: int = number(Grows(0, 8), 0, 100, "rubbed patches", whole=True)

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        k = page.px_per_mm
        shape = image.shape[0], image.shape[1]
        strokes = [
            (_scratch(rng, page), float(rng.uniform(0.08, 0.3)), float(rng.uniform(0.3, 1.0)))
            for _ in range(self.count)
        ]
        pale = lines(shape, strokes[::2], k)
        grey = lines(shape, strokes[1::2], k)  # these took up dirt
        for _ in range(self.scuffs):
            centre, reach = _place(rng, page, 0.0), rng.uniform(4, 14)
            lattice = window(page, 0.5, (*(centre - reach), *(centre + reach)))
            if lattice is None:
                continue
            r = np.hypot(lattice.x - float(centre[0]), lattice.y - float(centre[1]))
            bump = fractal(rng, lattice.shape, lattice.cells(4.0), 4, 0.7)
            dense = eight(_step(np.asarray(1 - r / reach, np.float32), 1.0) * np.clip(0.3 + 0.35 * bump, 0, 0.8))
            part = pale[lattice.part]
            dots = cv2.subtract(over(dense, part), grain(rng, (part.shape[0], part.shape[1]), 0.25 * k))
            part[:] = cv2.max(part, cv2.convertScaleAbs(dots, alpha=1.6))
        r0, g0, b0 = paper_colour(image)
        rough = np.asarray(cv2.convertScaleAbs(grain(rng, shape, 0.4 * k), alpha=0.8, beta=51.0), np.uint8)
        dye(image, (120, 114, 106), times(grey, rough, 0.8 * self.depth))
        alpha = times(pale, rough, self.depth)
        cover(image, (0.3 * r0 + 178, 0.3 * g0 + 178, 0.3 * b0 + 178), alpha)
        return replace(page, image=image)
