"""Wear: old folds, worn edges and corners, scratches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from ..page import Page
from . import fields as fl
from .base import Effect, Grows, Range, number
from .fields import U8
from .paper import scratch
from .shapes import (
    around,
    fixed,
    lines,
    paper_colour,
    place,
    ring,
    shape_of,
    size_of,
    window,
)


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
        width, height = size_of(page)
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
        # Little changes along the line: a point each half mm will do.
        n = max(2, round(wide / max(1.0, 0.5 * k)))
        columns = (np.arange(n) + 0.5) * wide / n - 0.5
        sway = 0.12 * k * fl.fractal(rng, (1, n), max(3.0, wide / k / 15), 4, 0.6)[0]
        path = at * tall - top + slope * (columns - wide / 2) + sway
        off = ((np.arange(len(band))[:, None] - path[None]) / k).astype(np.float32)
        worn = np.clip(0.7 + 0.45 * fl.fractal(rng, (1, n), max(3.0, wide / k / 8), 4, 0.7), 0, 1)
        soft = np.exp(-((off / (0.5 * self.width)) ** 2)) * worn
        side = rng.choice([-1.0, 1.0])
        dirt = np.exp(-np.abs(off - 0.4 * side * self.width) / 0.5)
        dirt += 0.45 * np.exp(-np.maximum(off * side, 0) / 2.0) * (off * side > 0)
        dark = fl.over(0.42 * self.wear * dirt * (0.5 + 0.5 * worn), band)
        fl.dye(band, (122, 116, 108), fl.times(dark, fl.rough(rng, shape_of(band), 0.2 * k)))
        rubbed = cv2.subtract(fl.over(1.15 * soft, band), fl.grain(rng, shape_of(band), 0.18 * k))
        pale = cv2.add(fl.over(0.3 * self.wear * soft, band), fl.scaled(fl.scaled(rubbed, 2.0), 0.5 * self.wear))
        r, g, b = paper_colour(page.image)
        fl.cover(band, (0.4 * r + 0.6 * 252, 0.4 * g + 0.6 * 252, 0.4 * b + 0.6 * 250), pale)
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
        width, height = size_of(page)
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
            bump = fl.fractal(rng, lattice.shape, lattice.cells(12.0), 5, 0.65)
            near = np.maximum(away + 0.35 * self.reach * bump, 0) / self.reach
            dark = np.exp(-1.6 * near) * np.clip(0.6 + 0.3 * bump, 0, 1.2) * np.clip(2 - near, 0, 1)
            view = image[lattice.part]
            fl.dye(
                view,
                (104, 92, 76),
                fl.times(fl.over(fl.eight(self.darkness * dark), view), fl.rough(rng, shape_of(view), 0.2 * k)),
            )
        frayed = np.zeros(image.shape[:2], np.uint8)
        for k_corner in rng.permutation(4)[: self.corners]:
            self._corner(page, image, rng, int(k_corner))
        for _ in range(int(self.darkness * 60)):
            edge = int(rng.integers(4))
            at = rng.uniform(0, 1, 2) * (width, height)
            at[edge % 2] = (width, height)[edge % 2] * (edge // 2)
            axes = np.array([rng.uniform(0.2, 1.4), rng.uniform(0.1, 0.35)])[:: 1 if edge % 2 else -1]
            nick = ring(np.zeros(2), 1.0, 14) * axes * rng.uniform(0.6, 1.4, (14, 1)) + at
            cv2.fillPoly(frayed, [fixed(nick * k - 0.5)], 255, cv2.LINE_AA, 4)
        fl.cover(image, (250, 249, 246), frayed)
        return replace(page, image=image)

    def _corner(self, page: Page, image: U8, rng: np.random.Generator, which: int) -> None:
        k = page.px_per_mm
        size = np.array(size_of(page))
        legs = rng.uniform(6, 22) * rng.uniform(0.7, 1.3, 2)
        legs = np.minimum(legs, 0.4 * size)
        corner = size * (which % 2, which // 2)
        sign = np.where(corner > 0, -1.0, 1.0)
        reach = corner + legs * sign * 1.4
        lattice = window(page, 0.3, (*np.minimum(corner, reach), *np.maximum(corner, reach)))
        if lattice is None:
            return
        normal = np.array([1 / legs[0], 1 / legs[1]])
        scale = float(np.linalg.norm(normal))
        x, y = (lattice.x - float(corner[0])) * sign[0], (lattice.y - float(corner[1])) * sign[1]
        bump = fl.fractal(rng, lattice.shape, lattice.cells(6.0), 4, 0.6)
        off = np.asarray((1 - x * normal[0] - y * normal[1]) / scale + 0.06 * bump, np.float32)  # > 0 on the flap
        view = image[lattice.part]
        shade = 0.16 * fl.step(off, 0.5) + 0.3 * np.exp(-np.abs(off + 0.5) / 0.7)
        fl.dye(view, (110, 106, 100), fl.eight((0.3 + self.darkness) * shade))
        rub = fl.eight((0.2 + 0.8 * self.darkness) * np.exp(-((off / 0.3) ** 2)) * np.clip(0.6 + 0.4 * bump, 0, 1))
        rough = cv2.convertScaleAbs(fl.grain(rng, shape_of(view), 0.18 * k), alpha=0.8)
        fl.cover(view, (250, 249, 247), cv2.subtract(fl.over(rub, view), rough))


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
            (scratch(rng, page), float(rng.uniform(0.08, 0.3)), float(rng.uniform(0.3, 1.0))) for _ in range(self.count)
        ]
        pale = lines(shape, strokes[::2], k)
        grey = lines(shape, strokes[1::2], k)  # these took up dirt
        for _ in range(self.scuffs):
            centre, reach = place(rng, page, 0.0), rng.uniform(4, 14)
            lattice = around(page, 0.5, centre, reach)
            if lattice is None:
                continue
            r = np.hypot(lattice.x - float(centre[0]), lattice.y - float(centre[1]))
            bump = fl.fractal(rng, lattice.shape, lattice.cells(4.0), 4, 0.7)
            dense = fl.eight(fl.step(1 - r / reach, 1.0) * np.clip(0.3 + 0.35 * bump, 0, 0.8))
            part = pale[lattice.part]
            dots = cv2.subtract(fl.over(dense, part), fl.grain(rng, shape_of(part), 0.25 * k))
            part[:] = cv2.max(part, cv2.convertScaleAbs(dots, alpha=1.6))
        r0, g0, b0 = paper_colour(image)
        rough = fl.u8(cv2.convertScaleAbs(fl.grain(rng, shape, 0.4 * k), alpha=0.8, beta=51.0))
        fl.dye(image, (120, 114, 106), fl.times(grey, rough, 0.8 * self.depth))
        alpha = fl.times(pale, rough, self.depth)
        fl.cover(image, (0.3 * r0 + 178, 0.3 * g0 + 178, 0.3 * b0 + 178), alpha)
        return replace(page, image=image)
