"""Paper: its fibres and colour, and how it ages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import cv2
import numpy as np

from ..page import Page
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word
from .fields import U8, D
from .shapes import fixed, lines, paper_colour, place, shape_of, size_of, whole


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
            texture = fl.laid(fibres(), rng, shape)
        else:
            at = max(2, round(shape[0] * _FIBRE_SCALE / k)), max(2, round(shape[1] * _FIBRE_SCALE / k))
            how = cv2.INTER_AREA if k < _FIBRE_SCALE else cv2.INTER_LINEAR
            texture = fl.u8(cv2.resize(fl.laid(fibres(), rng, at), shape[::-1], interpolation=how))
        factor = cv2.convertScaleAbs(texture, alpha=-self.depth / 80.0, beta=255.0)
        coarse = whole(page, 0.8)
        clouds = fl.eight(0.5 + 0.17 * fl.fractal(rng, coarse.shape, coarse.cells(7.0), 3, 0.7))
        factor = cv2.subtract(factor, cv2.convertScaleAbs(fl.over(clouds, image), alpha=self.clouds / 120.0))
        for rows in fl.rows_of(shape[0]):
            image[rows] = cv2.multiply(image[rows], cv2.merge([factor[rows]] * 3), scale=1 / 255)
        self._fleck(image, rng, k)
        return replace(page, image=image)

    def _fleck(self, image: U8, rng: np.random.Generator, k: float) -> None:
        height, width = shape_of(image)
        n = min(int(rng.poisson(self.flecks * height * width / k**2)), 20000)
        begin, angle = rng.uniform(0, 1, (n, 2)) * (width, height), rng.uniform(0, np.pi, n)
        way = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * rng.uniform(0.1, 0.8, (n, 1)) * k
        x, y = begin.astype(int).T
        tones = (image[y, x] * rng.uniform(0.55, 0.9, (n, 1))).tolist()
        for a, b, tone in zip(fixed(begin).tolist(), fixed(begin + way).tolist(), tones, strict=True):
            cv2.line(image, a, b, tone, 1, cv2.LINE_AA, 4)


_FIBRE_SCALE = 7.87  # px/mm of the tile


@lru_cache(maxsize=1)
def fibres() -> U8:
    """(1024, 1024) how dark the paper's texture is, about 90 on average; it goes on beyond its edges."""
    rng = np.random.default_rng(1609)
    size = 1024
    tile = 0.55 * rng.standard_normal((size, size), dtype=np.float32)
    tile += 1.2 * fl.blurred_tile(rng.standard_normal((size, size), dtype=np.float32), 0.9)
    tile += 3.0 * fl.blurred_tile(rng.standard_normal((size, size), dtype=np.float32), 3.0)
    pad = 64
    wide = np.zeros((size + 2 * pad, size + 2 * pad), np.float32)
    layer = np.zeros_like(wide, np.uint8)
    for sign in (1.0, -1.0):
        layer[:] = 0
        turn = rng.uniform(0, 2 * np.pi, (1800, 1)) + np.cumsum(rng.normal(0, 0.35, (1800, 9)), axis=1)
        steps = np.stack([np.cos(turn), np.sin(turn)], axis=-1) * rng.uniform(1.0, 3.0, (1800, 1, 1))
        paths = fixed(rng.uniform(0, size, (1800, 1, 2)) + pad + np.cumsum(steps, axis=1))
        for path, level in zip(paths, rng.integers(40, 190, 1800).tolist(), strict=True):
            cv2.polylines(layer, [path], False, level, 1, cv2.LINE_AA, 4)
        wide += sign * layer.astype(np.float32) / 100.0
    # What was drawn beyond an edge comes in again on the other side.
    for axis in (0, 1):
        wide = np.moveaxis(wide, axis, 0)
        wide[pad : 2 * pad] += wide[-pad:]
        wide[-2 * pad : -pad] += wide[:pad]
        wide = np.moveaxis(wide, 0, axis)
    tile += 1.1 * cv2.GaussianBlur(wide, (0, 0), 0.6)[pad:-pad, pad:-pad]
    tile *= 30.0 / tile.std()
    return fl.u8(np.clip(90.0 + tile, 0, 255))


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
        table = fl.eight(np.arange(256)[:, None, None] / 255.0 * left)
        return replace(page, image=fl.u8(cv2.LUT(page.image, table)))


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
        lattice = whole(page, 1.0)
        width, height = size_of(page)
        uneven = fl.fractal(rng, lattice.shape, lattice.cells(70.0), 5, 0.6)
        bump = fl.fractal(rng, lattice.shape, lattice.cells(25.0), 4, 0.6)
        strengths = rng.uniform(0.4, 1.0, 4)
        edge = np.zeros(lattice.shape, np.float32)
        for away, strength in zip(
            (lattice.x, width - lattice.x, lattice.y, height - lattice.y), strengths, strict=True
        ):
            edge = np.maximum(edge, strength * np.exp(-np.maximum(away + self.reach * 0.25 * bump, 0) / self.reach))
        amount = self.tone * (0.8 + 0.13 * uneven) + self.edge * edge * (0.9 + 0.15 * uneven)
        fl.dye(image, (234, 212, 160), fl.eight(amount))
        fl.dye(image, (205, 160, 105), fl.eight(0.8 * self.edge * (edge - 0.25)))
        if self.spots:
            self._spot(page, image, rng)
        return replace(page, image=image)

    def _spot(self, page: Page, image: U8, rng: np.random.Generator) -> None:
        lattice = whole(page, 0.25)
        spots = np.zeros(lattice.shape, np.uint8)
        for _ in range(self.spots):
            x, y = (int(v) for v in rng.uniform(0, 1, 2) * lattice.shape[::-1])
            cv2.circle(spots, (x, y), int(rng.gamma(1.6, 1.1)), float(rng.uniform(40, 150)), -1, cv2.LINE_AA)
        soft = cv2.GaussianBlur(spots, (0, 0), 2.0)
        fl.dye(image, (170, 110, 60), cv2.addWeighted(spots, 0.35, soft, 0.8, 0))


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
        lattice = whole(page, 0.7)
        width, height = size_of(page)
        cloud = fl.fractal(rng, lattice.shape, lattice.cells(90.0), 5, 0.55)
        if self.pattern == "uneven":
            share = 0.5 + 0.5 * np.tanh(0.9 * cloud)
        elif self.pattern == "edge":
            angle = rng.uniform(0, 2 * np.pi)
            along = np.cos(angle) * (lattice.x / width - 0.5) + np.sin(angle) * (lattice.y / height - 0.5)
            share = 0.45 + 1.1 * along + 0.18 * cloud
        else:  # it lay in the sun with another sheet, or a clip, on it
            centre = place(rng, page, 0.1)
            half = np.array([width, height]) * rng.uniform(0.15, 0.4, 2)
            u, v = lattice.about(centre, float(rng.normal(0, 6)))
            out = np.maximum(np.abs(u) - half[0], np.abs(v) - half[1]) + 0.5 * cloud
            share = 0.2 + 0.7 * fl.step(out + 1.0, 2.5) + 0.12 * cloud
        r, g, b = paper_colour(image)
        fl.cover(image, (r, g * 0.995, b * 0.98), fl.eight(self.amount * np.clip(share, 0.05, 1.0)))
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
        lattice = whole(page, 0.6)
        height, width = lattice.shape
        # Heat comes from somewhere: most of it lies on one side.
        a = rng.uniform(0, 2 * np.pi)
        side = np.cos(a) * (lattice.x / lattice.x[0, -1] - 0.5) + np.sin(a) * (lattice.y / lattice.y[-1, 0] - 0.5)
        cloud = fl.fractal(rng, lattice.shape, lattice.cells(90.0), 6, 0.48) + rng.uniform(0.5, 3.0) * side
        cut = float(np.quantile(cloud[::4, ::4], 1.0 - self.share))
        heat = 0.9 * fl.step(cloud - cut, 1.0 + float(rng.gamma(2.0, 0.5)))
        upright = rng.random() < 0.7
        for _ in range(self.streaks):
            across, along = (width, height) if upright else (height, width)
            centre = rng.uniform(0, across) + 1.5 * fl.smooth(rng, (along, 1), 3)[:, 0]
            wide = rng.uniform(0.5, 5.0) / 0.6
            strength = np.clip(0.5 + 0.5 * fl.smooth(rng, (along, 1), 6)[:, 0], 0, 1) * rng.uniform(0.2, 0.6)
            streak = strength[:, None] * np.exp(-(((np.arange(across)[None] - centre[:, None]) / wide) ** 2))
            heat = np.maximum(heat, streak if upright else streak.T)
        amount = fl.times(fl.over(fl.eight(heat), image), fl.rough(rng, shape_of(image), 0.2 * page.px_per_mm))
        k = page.px_per_mm
        scratches = lines(
            shape_of(image),
            [(scratch(rng, page), rng.uniform(0.1, 0.25), rng.uniform(0.15, 0.6)) for _ in range(self.scratches)],
            k,
        )
        amount = fl.u8(cv2.max(amount, scratches))
        fl.dye(image, (48, 46, 56), fl.scaled(amount, self.darkness))
        return replace(page, image=image)


def scratch(rng: np.random.Generator, page: Page) -> D:
    """(N, 2) mm: a slightly bent line."""
    length, n = float(rng.gamma(2.0, 12.0)) + 4.0, 12
    turn = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.05, n)) + rng.normal(0, 0.04) * np.arange(n)
    return np.asarray(
        place(rng, page, 0.0) + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], -1), axis=0) * length / n, np.float64
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
        mirrored = fl.u8(cv2.warpAffine(blurred, turn, (width, height)))
        lattice = whole(page, 1.0)
        uneven = fl.eight(0.75 + 0.15 * fl.fractal(rng, lattice.shape, lattice.cells(30.0), 4, 0.6))
        amount = fl.times(mirrored, fl.over(uneven, image), (2.8 if self.back == "page" else 1.7) * self.strength)
        fl.dye(image, (120, 122, 136), amount)
        return replace(page, image=image)

    def _text(self, page: Page, rng: np.random.Generator) -> U8:
        """(H, W) lines of what may be letters: nobody can read it through the paper."""
        shape = page.image.shape[0], page.image.shape[1]
        width, height = size_of(page)
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
        px = [fixed(s * k - 0.5) for s in strokes]
        cv2.polylines(out, px, False, 255, max(1, round(0.3 * k)), cv2.LINE_8, 4)
        return out
