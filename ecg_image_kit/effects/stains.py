"""Stains: coffee, water, mould, dirt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import cv2
import numpy as np

from ..page import Page
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word
from .fields import RGB, U8, D, F
from .shapes import Window, around, place, shape_of, size_of, whole, window


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
        centre = place(rng, page)
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
        lattice = around(page, 0.25, centre, reach)
        if lattice is None:
            return
        x, y = lattice.about(centre)
        r = cv2.magnitude(*np.broadcast_arrays(x, y)) if lattice.shape != (1, 1) else np.hypot(x, y)
        turn = np.asarray(np.arctan2(y, x) * (180 / np.pi / 4) + 45, np.float32)  # 4 degrees to a step
        wet, wide, sway = (_wavy(rng, bumps)[turn.astype(np.uint8)] for bumps in (5, 7, 6))
        bump = fl.fractal(rng, lattice.shape, lattice.cells(6.0), 4, 0.6)
        half = 0.5 * np.clip(1.6 + 1.3 * wide + 0.25 * bump, 0.35, 6.0)
        inside = half - np.abs(r - self.radius - 0.35 * sway + 0.1 * bump)
        body = fl.step(inside, 0.35)
        rim = body * np.exp(-np.maximum(inside - 0.3, 0) / 0.35)
        spread = np.clip(0.6 + 0.55 * wet, 0.0, 1.1)
        amount = self.strength * spread * (0.4 * body * (1 + 0.25 * bump) + 0.6 * rim)
        # A thin film was left inside the ring here and there.
        film = fl.step(self.radius - r, 3.0) * np.clip(0.5 * bump - 0.2, 0, 1) * 0.06
        soft = np.asarray(cv2.GaussianBlur(amount + self.strength * film, (0, 0), 0.7), np.float32)
        fl.dye(image[lattice.part], self._colour(), fl.eight(soft))

    def _blot(self, page: Page, image: U8, rng: np.random.Generator, centre: D, radius: float) -> None:
        reach = radius * 1.6 + 1
        lattice = window(page, min(0.4, radius / 5), (*(centre - reach), *(centre + reach)))
        if lattice is None:
            return
        x, y = lattice.about(centre)
        stretch = rng.uniform(0.8, 1.25)
        bump = fl.fractal(rng, lattice.shape, lattice.cells(max(1.0, radius * 1.2)), 5, 0.42)
        inside = radius * (1 + 0.09 * bump) - np.hypot(x * stretch, y / stretch)
        rim, strength = 0.12 + 0.03 * radius, self.strength * rng.uniform(0.6, 1.0)
        view = image[lattice.part]
        low, high = -0.5 - 0.05 * radius, 1.2 + 0.9 * radius

        def profile(depth: F) -> F:
            edge = fl.step(depth, 0.3)
            dark = np.exp(-np.maximum(depth - 0.25, 0) / rim)
            return np.asarray(edge * (0.3 + 0.1 * np.exp(-depth / (0.3 * radius)) + 0.55 * dark) * strength, np.float32)

        amount = _dried(inside, low, high, profile, view)
        fl.dye(view, self._colour(), fl.times(amount, fl.over(fl.eight(0.75 + 0.12 * bump), view)))


def _wavy(rng: np.random.Generator, bumps: int) -> F:
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
        width, height = size_of(page)
        centre = place(rng, page, 0.1)
        if rng.random() < 0.75:  # from an edge
            axis = int(rng.random() * width / (width + height) < 0.5)
            centre[axis] = rng.choice([-0.1, 1.1]) * (width, height)[axis]
        reach = 1.7 * self.size
        lattice = around(page, 0.5, centre, reach)
        if lattice is None:
            return replace(page, image=image)
        x, y = lattice.about(centre)
        bump = fl.fractal(rng, lattice.shape, lattice.cells(0.9 * self.size), 5, 0.36)
        inside = np.asarray(self.size * (0.85 + 0.17 * bump) - np.hypot(x, y), np.float32)
        view = image[lattice.part]
        soaked = fl.over(fl.eight(fl.step(inside, 2.0)), view)
        if self.run > 0.015:
            sigma = self.run * page.px_per_mm
            fl.cover(view, cv2.GaussianBlur(view, (0, 0), max(sigma, 0.2)), soaked)
        # Buckles run more or less together: lit and dark sides of waves across one direction.
        a = rng.uniform(0, np.pi)
        sway = fl.fractal(rng, lattice.shape, lattice.cells(45.0), 3, 0.5)
        waves = np.sin((np.cos(a) * x + np.sin(a) * y) * (2 * np.pi / rng.uniform(14, 26)) + 2.2 * sway)
        deep = np.clip(0.5 + 0.4 * fl.fractal(rng, lattice.shape, lattice.cells(40.0), 2), 0, 1.4)
        fl.dye(view, (90, 90, 96), fl.eight(self.buckling * deep * (1 + waves) * fl.step(inside + 4.0, 12.0)))
        levels = np.concatenate([[0.0], np.cumsum(rng.uniform(1.5, 0.16 * self.size, self.marks - 1))])
        strengths = rng.uniform(0.45, 1.0, self.marks)
        strengths[0] = 1.0

        def profile(depth: F) -> F:
            out = 0.13 * fl.step(depth, 1.0)
            for level, strength in zip(levels, strengths, strict=True):
                away = depth - level
                out = out + strength * fl.step(away, 0.5) * (
                    0.8 * np.exp(-np.maximum(away - 0.4, 0) / 0.45) + 0.34 * np.exp(-np.maximum(away, 0) / 3.5)
                )
            return np.asarray(self.strength * out, np.float32)

        amount = _dried(inside, -2.0, 30.0, profile, view)
        uneven = fl.eight(0.7 + 0.22 * fl.fractal(rng, lattice.shape, lattice.cells(20.0), 4, 0.6))
        fl.dye(view, (164, 122, 70), fl.times(amount, fl.over(uneven, view)))
        return replace(page, image=image)


def _dried(inside: F, low: float, high: float, profile: Callable[[F], F], image: U8) -> U8:
    """Over the image: ``profile`` of how far inside a stain (mm, from ``low`` to ``high``) each pixel lies.

    The depth is stretched over the image and the profile looked up after that, so that tide marks are sharp.
    """
    depth = fl.over(fl.eight((inside - low) / (high - low)), image)
    table = fl.eight(profile(np.linspace(low, high, 256, dtype=np.float32)))
    return fl.u8(cv2.LUT(depth, table))


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
        size = np.array(size_of(page))
        damp = int(rng.integers(4))  # left, top, right, bottom
        kinds = (84, 94, 70), (42, 44, 42), (120, 112, 66)
        favourite = int(rng.integers(3))
        for _ in range(self.clusters):
            centre = place(rng, page, 0.0)
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
        fl.dye(view, (150, 148, 112), fl.scaled(halo, 0.5 * self.strength))
        # Where a colony is dense most of its grains are dark, towards its rim and around it few are.
        x, y = (lattice.x - float(centre[0])) / float(spread[0]), (lattice.y - float(centre[1])) / float(spread[1])
        strewn = fl.eight(0.09 * np.exp(-0.9 * (x**2 + y**2)))
        dense = cv2.add(cv2.add(core, cv2.convertScaleAbs(halo, alpha=0.4)), strewn)
        speckle = fl.grain(rng, shape_of(view), 0.22 * k)
        dots = cv2.convertScaleAbs(cv2.subtract(fl.over(dense, view), speckle), alpha=2.6)
        body = cv2.addWeighted(dots, 0.8, fl.over(core, view), 0.35, 0)
        fl.dye(view, colour, fl.scaled(body, self.strength))

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
        return fl.u8(cv2.GaussianBlur(out, (0, 0), 1.3))


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
        lattice = whole(page, 1.0)
        cloud = fl.fractal(rng, lattice.shape, lattice.cells(45.0), 5, 0.6)
        smudge = fl.over(fl.eight(self.smudges * fl.step(cloud - 0.7, 2.0)), image)
        fl.dye(image, (88, 82, 74), fl.times(smudge, fl.rough(rng, shape_of(image), 0.2 * k)))
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
            fl.dye(image, (70, 62, 52), specks)
        return replace(page, image=image)

    def _smear(self, page: Page, image: U8, rng: np.random.Generator) -> None:
        centre, angle = place(rng, page, 0.0), float(rng.uniform(0, 180))
        length, wide = rng.uniform(12, 40), rng.uniform(4, 9)
        lattice = around(page, 0.35, centre, 0.7 * length)
        if lattice is None:
            return
        u, v = lattice.about(centre, angle)
        v = v + 0.004 * u**2 * rng.normal()
        rows = lookup(fl.fractal(rng, (1, 64), 24, 3, 0.7)[0], v, 0.35)
        start = np.clip(u / length + 0.5, 0, 1)
        fade = fl.step(start, 0.15) * (1.0 - start) ** 0.8
        amount = fade * np.exp(-((v / (0.5 * wide)) ** 4)) * np.clip(0.6 + 0.3 * rows, 0, 1.3)
        view = image[lattice.part]
        dark = fl.over(fl.eight(0.25 * rng.uniform(0.4, 1.0) * (0.4 + self.smudges) * amount), view)
        fl.dye(view, (74, 66, 60), fl.times(dark, fl.rough(rng, shape_of(view), 0.2 * page.px_per_mm), 1.2))

    def _print(self, page: Page, image: U8, rng: np.random.Generator) -> None:
        centre, turn = place(rng, page, 0.0), float(rng.uniform(0, 360))
        lattice = around(page, 0.11, centre, 13)
        if lattice is None:
            return
        u, v = lattice.about(centre, turn)
        sway = fl.smooth(rng, lattice.shape, lattice.cells(6.0))
        fine = fl.fractal(rng, lattice.shape, lattice.cells(2.5), 3, 0.7)
        # Ridges lie around a core above the middle, and flatten to arches below it.
        r = np.sqrt(u**2 * 1.5 + (v + 2.0 - 0.06 * u**2) ** 2) + 0.55 * sway
        ridges = fl.step(0.5 + 0.5 * np.sin(2 * np.pi * r / 0.52) + 0.25 * fine - 0.3, 0.5)
        pad = fl.step(1.0 - np.sqrt((u / 7.5) ** 2 + (v / 10.5) ** 2) + 0.08 * sway, 0.35)
        amount = pad * (0.12 + 0.88 * ridges * np.clip(0.6 + 0.45 * fine, 0, 1))
        fl.dye(
            image[lattice.part], (70, 62, 58), fl.eight(rng.uniform(0.5, 1.0) * (0.08 + 0.8 * self.smudges) * amount)
        )


def lookup(table: F, at: Any, step: float) -> F:
    """Values of a table with an entry each ``step``, its middle at 0."""
    places = np.asarray(at, np.float64) / step + table.size / 2
    return np.interp(places, np.arange(table.size), table).astype(np.float32)
