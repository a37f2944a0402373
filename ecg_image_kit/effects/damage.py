"""Damage: torn, punched, stapled and taped paper."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from ..page import Box, Page
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word
from .fields import U8, D
from .paper import fibres
from .shapes import (
    around,
    outline_of,
    paper_colour,
    place,
    polygon,
    ring,
    shape_of,
    size_of,
    turned,
    window,
)
from .stains import lookup

SIDES = ("left", "right", "top", "bottom")


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
        width, height = size_of(page)
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
        uneven = np.abs(fl.fractal(rng, (1, n), max(2.0, n / 12), 4, 0.7)[0])
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
        shape, origin = shape_of(view), lattice.origin
        torn, gone = polygon(shape, rim, k, origin), polygon(shape, missing, k, origin)
        dark = cv2.GaussianBlur(cv2.max(torn, gone), (0, 0), max(0.4, 0.35 * k))
        fl.dye(view, (150, 146, 140), fl.scaled(dark, 0.5))
        paper = np.array(paper_colour(page.image))
        texture = fl.laid(fibres(), rng, shape)
        pulp = cv2.merge([fl.scaled(texture, -0.22, float(c)) for c in 0.3 * paper + 0.7 * 255])
        fl.cover(view, pulp, torn)
        fl.cover(view, (255, 255, 255), gone)


def _torn(rng: np.random.Generator, ends: D, bulge: float) -> D:
    """(N, 2) mm from one end to the other, as paper tears: long swings, and small ones along its fibres."""
    length = float(np.linalg.norm(ends[1] - ends[0]))
    n = int(np.clip(length / 0.35, 12, 600))
    t = np.linspace(0, 1, n)
    across = np.array([ends[1, 1] - ends[0, 1], ends[0, 0] - ends[1, 0]]) / max(length, 1e-6)
    swing = fl.fractal(rng, (1, n), 3.0, 3, 0.5)[0] * 0.035 * length
    fibre = fl.fractal(rng, (1, n), max(4.0, length / 4.0), 4, 0.75)[0] * min(0.45, 0.02 * length)
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
        width, height = size_of(page)
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
            hole = ring(centre, self.diameter / 2, 40)
            reach = self.diameter
            lattice = around(page, 1.0, centre, reach)
            if lattice is None:
                continue
            view = image[lattice.part]
            shape, origin = shape_of(view), lattice.origin
            inside = polygon(shape, hole, k, origin)
            lip = polygon(shape, ring(centre, self.diameter / 2 + 0.3, 40), k, origin)
            fl.dye(view, (160, 158, 154), fl.scaled(lip, 0.3))
            fl.cover(view, (255, 255, 255), inside)
            lit = polygon(shape, hole + np.array([0.35, 0.45]), k, origin)
            shadow = cv2.GaussianBlur(cv2.subtract(inside, lit), (0, 0), max(0.4, 0.15 * k))
            fl.dye(view, (120, 120, 124), fl.times(shadow, inside, 0.5))
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
        width, height = size_of(page)
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
        lattice = around(page, 1.0, centre, self.length)
        if lattice is None:
            return []
        view = image[lattice.part]
        shape, origin = shape_of(view), lattice.origin
        half, thick = self.length / 2, 0.28
        feet = turned(np.array([[-half, 0.0], [half, 0.0]]), angle, centre)
        for foot in feet:  # the paper is pressed in, and a little rusty
            dent = polygon(shape, ring(foot, 0.8, 16), k, origin)
            soft = cv2.GaussianBlur(dent, (0, 0), max(0.4, 0.5 * k))
            fl.dye(view, (150, 118, 84), fl.scaled(soft, 0.7))
        if self.state == "removed":
            boxes = []
            trail = polygon(shape, _bar(half, 0.3, angle, centre), k, origin)
            soft = cv2.GaussianBlur(trail, (0, 0), max(0.4, 0.3 * k))
            fl.dye(view, (168, 140, 110), fl.scaled(soft, 0.35))
            for foot in feet:
                hole = ring(foot, rng.uniform(0.3, 0.55), 12)
                fl.cover(view, (62, 54, 48), polygon(shape, hole, k, origin))
                boxes.append(Box("staple", outline_of(page, hole), hides=True))
            return boxes
        bar = _bar(half, thick, angle, centre)
        shadow = cv2.GaussianBlur(polygon(shape, bar + np.array([0.35, 0.45]), k, origin), (0, 0), max(0.4, 0.3 * k))
        fl.dye(view, (70, 70, 76), fl.scaled(shadow, 0.65))
        bright = rng.uniform(150, 195)
        for low, high, tone in ((-1.0, 1.0, 0.5), (-0.8, 0.7, 1.0), (-0.5, 0.0, 1.28), (0.55, 1.0, 0.62)):
            strip = turned(
                np.array([[-half, low], [half, low], [half, high], [-half, high]]) * (1.0, thick), angle, centre
            )
            grey = bright * tone
            fl.cover(view, (grey, grey, min(255.0, grey * 1.02)), polygon(shape, strip, k, origin))
        return [Box("staple", outline_of(page, bar), hides=True)]


def _bar(half: float, thick: float, angle: float, centre: D) -> D:
    """(4, 2) mm: a turned bar."""
    return turned(np.array([[-half, -thick], [half, -thick], [half, thick], [-half, thick]]), angle, centre)


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
            centre, angle = place(rng, page, 0.02), float(rng.choice([0.0, 90.0]) + rng.normal(0, 9))
            half = float(rng.uniform(18, 48))
            outline = turned(self._shape(rng, half), angle, centre)
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
        shape, origin = shape_of(view), lattice.origin
        inside = polygon(shape, outline, k, origin)
        u, v = lattice.about(centre, angle)
        ridges = lookup(fl.fractal(rng, (1, 160), 50, 3, 0.8)[0], v, 0.25)
        cloud = fl.fractal(rng, lattice.shape, lattice.cells(18.0), 4, 0.6)
        yellow = fl.eight(self.age * np.clip(0.55 + 0.05 * ridges + 0.1 * cloud + 0.3 * np.abs(v) / self.width, 0, 1))
        fl.dye(view, (224, 188, 116), fl.times(fl.over(yellow, view), inside))
        edge = cv2.subtract(inside, cv2.erode(inside, np.ones((3, 3), np.uint8), iterations=max(1, round(0.12 * k))))
        fl.dye(view, (120, 108, 88), fl.scaled(edge, 0.12 + 0.35 * self.age))
        # Gloss lies in bands across it, broken by bubbles where it does not stick.
        bands = np.clip(fl.fractal(rng, lattice.shape, lattice.cells(26.0), 2, 0.5) + 0.15 * ridges, 0, 2)
        slope = np.exp(-(((u * 0.6 + v + rng.uniform(-15, 15)) / rng.uniform(4, 9)) ** 2))
        bubbles = fl.step(fl.fractal(rng, lattice.shape, lattice.cells(5.0), 3, 0.6) - 1.6, 0.3)
        shine = self.gloss * np.clip(0.2 * bands + 0.55 * slope * (0.8 + 0.15 * ridges) + 0.2 * bubbles + 0.06, 0, 0.75)
        fl.cover(view, (252, 252, 250), fl.times(fl.over(fl.eight(shine), view), inside))
