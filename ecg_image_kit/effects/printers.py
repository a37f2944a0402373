"""Printers: how toner, ink jets, thermal heads and pens put the page on paper."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from ..page import Box, Page
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word
from .fields import U8, Some
from .ink import image_mm, ink_of, lighten, spread_rows
from .shapes import around, outline_of, shape_of, whole


@dataclass(frozen=True, kw_only=True)
class Laser(Effect):
    """Laser printer: uneven toner with tiny holes, and specks of it around the lines."""

    stage: ClassVar[str] = "ink"
    holes: float = number(Grows(0.02, 0.75), 0, 1, "toner that is missing in spots")
    scatter: float = number(Grows(0.0, 0.05), 0, 1, "share of the paper beside lines that has specks")
    uneven: float = number(Grows(0.01, 0.35), 0, 1, "toner that is missing over larger parts")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        k = page.px_per_mm
        ink = ink_of(page)
        lattice = whole(page, 1.0)
        cloud = fl.fractal(rng, lattice.shape, lattice.cells(40.0), 4, 0.6)
        pale = fl.by_rows(self.uneven * np.clip(0.5 + 0.35 * cloud, 0, 1), shape_of(image))
        grain = fl.grain(rng, shape_of(image), 0.16 * k)

        def missing(rows: slice) -> Some:
            return cv2.max(pale(rows), fl.scaled(fl.ramp(grain[rows], _FEW, 263), self.holes))

        lighten(image, ink, missing, k)
        specks, most = fl.grain(rng, shape_of(image), 0.1 * k), 256 * self.scatter
        for rows in fl.rows_of(image.shape[0]):
            near = cv2.subtract(spread_rows(ink.share, rows, 0.35 * k), ink.share[rows])
            if cv2.countNonZero(near):
                fl.dye(image[rows], (70, 70, 74), fl.times(near, fl.ramp(specks[rows], most, most - 1), 0.9))
        return replace(page, image=image)


_FEW = 190  # of 255: grain above it makes a hole


@dataclass(frozen=True, kw_only=True)
class Inkjet(Effect):
    """Inkjet printer: ink creeps into the fibres, and the head's passes leave pale bands."""

    stage: ClassVar[str] = "ink"
    feather: float = number(Grows(0.01, 0.3), 0, 2, "how far ink creeps", "mm")
    banding: float = number(Grows(0.02, 0.6), 0, 1, "how pale the bands are")
    swath: float = number(Range(4, 16), 1, 60, "from one pass of the head to the next", "mm")
    along: str = word(OneOf(("x", "y")), ("x", "y"), "which way the head goes")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        k = page.px_per_mm
        ink = ink_of(page)
        bands = fl.over(self._bands(page, rng), image)
        lighten(image, ink, lambda rows: bands[rows], k)
        wide = cv2.GaussianBlur(ink.share, (0, 0), max(0.3, 0.55 * self.feather * k))
        grain = fl.grain(rng, shape_of(image), 0.14 * k)
        darkest = cv2.erode(image, np.ones((3, 3), np.uint8), iterations=max(1, round(self.feather * k)))
        strength = min(1.0, 0.25 + 2.5 * self.feather)
        for rows in fl.rows_of(image.shape[0]):
            crept = cv2.subtract(fl.times(wide[rows], fl.scaled(grain[rows], 0.75, 32), 2.6), ink.share[rows])
            fl.cover(image[rows], darkest[rows], fl.scaled(crept, 0.8 * strength))
        return replace(page, image=image)

    def _bands(self, page: Page, rng: np.random.Generator) -> U8:
        """(n, 1) or (1, n) how pale each row or column is: a pale seam at each pass, and passes that differ a little.

        They change over 1 mm and more, or a line's upper half would be paler than its lower.
        """
        height, width = shape_of(page.image)
        n = height if self.along == "x" else width
        mm = np.arange(max(2, round(n / page.px_per_mm / 0.25))) * 0.25 + rng.uniform(0, self.swath)
        phase = np.abs((mm / self.swath + 0.5) % 1.0 - 0.5) * self.swath
        which = (mm / self.swath + 0.5).astype(int)
        seam = np.exp(-((phase / 0.9) ** 2)) * rng.uniform(0.3, 1.0, which.max() + 1)[which]
        passes = np.interp(mm, np.arange(which.max() + 3) * self.swath, rng.uniform(0, 0.4, which.max() + 3))
        share = fl.eight(self.banding * (0.8 * seam + passes))
        return share[:, None] if self.along == "x" else share[None, :]


@dataclass(frozen=True, kw_only=True)
class ThermalHead(Effect):
    """Thermal print head: dots in rows, uneven heat, dead dots that leave white lines."""

    stage: ClassVar[str] = "ink"
    dots: float = number(Grows(0.02, 0.8), 0, 1, "how much its single dots can be seen")
    banding: float = number(Grows(0.02, 0.5), 0, 1, "ink missing where the head is colder or the paper faster")
    dead: int = number(Grows(0, 9), 0, 200, "places with dead dots", whole=True)
    pitch: float = number(0.125, 0.05, 1, "from dot to dot", "mm")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        k = page.px_per_mm
        height, width = shape_of(page.image)
        ink = ink_of(page)
        along = fl.fractal(rng, (1, max(8, round(width / k))), max(4.0, width / k / 12), 4, 0.7)
        across = fl.fractal(rng, (max(8, round(height / k)), 1), max(4.0, height / k / 60), 2, 0.5)
        share = self.banding * np.clip(0.35 + 0.3 * along + 0.25 * across, 0, 1)
        bands = fl.by_rows(share, (height, width))
        grain = fl.grain(rng, (height, width), self.pitch * k)
        lines, widths = self._dead(page, rng)

        def missing(rows: slice) -> Some:
            rough = fl.scaled(grain[rows], self.dots)
            return np.maximum(cv2.add(bands(rows), fl.times(rough, rough, 0.9)), lines[rows, None])

        lighten(image, ink, missing, k)
        boxes = _cut_off(page, widths)
        return replace(page, image=image, boxes=(*page.boxes, *boxes))

    def _dead(self, page: Page, rng: np.random.Generator) -> tuple[U8, list[tuple[float, float]]]:
        """(H,) how much of each row is missing, and the (y, width) mm of the lines."""
        height, k = page.image.shape[0], page.px_per_mm
        edges = (np.arange(height + 1)) / k
        missing = np.zeros(height)
        found = []
        for _ in range(self.dead):
            wide = self.pitch * float(rng.choice([1, 1, 1, 2, 3]))
            top = float(rng.uniform(0, height / k))
            inside = np.clip(edges, top, top + wide)
            missing = np.maximum(missing, np.diff(inside) * k)
            found.append((top + wide / 2, wide))
        return fl.eight(missing), found


def _cut_off(page: Page, lines: list[tuple[float, float]]) -> list[Box]:
    """Boxes around the stretches of traces that lose most of their ink to white lines, (y, width) mm of the image."""
    pen = float(page.style.get("pen_width", 0.3))
    boxes = []
    for trace in page.traces if lines else ():
        mm = image_mm(page, trace)
        slope = np.abs(np.gradient(mm[:, 1])) / max(float(np.median(np.diff(mm[:, 0]))), 1e-6) if len(mm) > 1 else 0.0
        half = 0.5 * pen * np.sqrt(1 + np.square(slope))
        above, below = mm[:, 1] - half, mm[:, 1] + half
        for y, wide in lines:
            lost = np.minimum(below, y + wide / 2) - np.maximum(above, y - wide / 2)
            gone = np.flatnonzero(np.nan_to_num(lost / (2 * half)) > 0.5)
            for run in np.split(gone, np.flatnonzero(np.diff(gone) > 3) + 1):
                if run.size:
                    (x0, x1), reach = mm[run[[0, -1]], 0] + (-0.02, 0.02), wide / 2 + 0.02
                    outline = np.array([[x0, y - reach], [x1, y - reach], [x1, y + reach], [x0, y + reach]])
                    boxes.append(Box("dropout", outline_of(page, outline), hides=True))
    return boxes


@dataclass(frozen=True, kw_only=True)
class PenPlotter(Effect):
    """Pen recorder: pale where the pen is fast, dark where it is slow, blobs where it rests."""

    stage: ClassVar[str] = "ink"
    thinning: float = number(Grows(0.03, 0.75), 0, 0.9, "ink missing in the fastest strokes")
    flow: float = number(Grows(0.02, 0.4), 0, 1, "ink missing where the pen does not flow well")
    blob: float = number(Grows(0.0, 0.75), 0, 4, "wider than the line where the pen rests", "mm")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        k = page.px_per_mm
        ink = ink_of(page)
        steep = fl.over(self._steep(ink.share, k), image)
        lattice = whole(page, 0.5)
        cloud = fl.fractal(rng, lattice.shape, lattice.cells(14.0), 4)
        flow = fl.by_rows(self.flow * np.clip(0.4 + 0.4 * cloud, 0, 1), shape_of(image))
        grain = fl.grain(rng, shape_of(image), 0.12 * k)
        core = cv2.GaussianBlur(ink.share, (0, 0), max(0.3, 0.1 * k))

        def missing(rows: slice) -> Some:
            thin = fl.scaled(steep[rows], self.thinning)
            uneven = fl.times(flow(rows), fl.scaled(grain[rows], 0.5, 127))
            # A fast line loses most at its edges.
            return cv2.add(cv2.max(thin, uneven), fl.times(thin, fl.ramp(core[rows], 212, 0)))

        lighten(image, ink, missing, k)
        self._rest(page, image, rng)
        return replace(page, image=image)

    def _steep(self, share: U8, k: float) -> U8:
        """(H, W) 255 where the ink runs up or down, 0 where it runs along; at half the resolution if that will do."""
        if k > 6:
            share, k = fl.u8(cv2.resize(share, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)), k / 2
        along = cv2.convertScaleAbs(cv2.Sobel(share, cv2.CV_16S, 1, 0, scale=0.2))
        across = cv2.convertScaleAbs(cv2.Sobel(share, cv2.CV_16S, 0, 1, scale=0.2))
        wide = (2 * max(1, round(0.25 * k)) + 1,) * 2
        x, y = cv2.blur(along, wide), cv2.blur(across, wide)
        half_x, half_y = (fl.scaled(v, 0.5) for v in (x, y))
        share_up = fl.u8(cv2.divide(half_x, cv2.add(half_x, half_y), scale=255))
        return fl.ramp(share_up, 128, 235)

    def _rest(self, page: Page, image: U8, rng: np.random.Generator) -> None:
        k = page.px_per_mm
        pen = float(page.style.get("pen_width", 0.3))
        colour = tuple(float(c) for c in page.style.get("ink", (20, 20, 28)))
        for trace in page.traces:
            mm = image_mm(page, trace)
            known = mm[np.isfinite(mm).all(axis=1)]
            for end in (0, -1):
                if not len(known):
                    continue
                wide = pen + self.blob * rng.uniform(0.3, 1.0)
                centre, reach = known[end], wide / 2 + 0.4
                lattice = around(page, 1.0, centre, reach)
                if lattice is None:
                    continue
                view = image[lattice.part]
                alpha = np.zeros(view.shape[:2], np.uint8)
                corner = np.array([lattice.part[1].start, lattice.part[0].start])
                x, y = np.round((centre * k - 0.5 - corner) * 16).astype(int)
                cv2.circle(alpha, (int(x), int(y)), round(wide / 2 * k * 16), 235, -1, cv2.LINE_AA, 4)
                fl.cover(view, (colour[0], colour[1], colour[2]), alpha)
