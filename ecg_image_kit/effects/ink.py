"""Ink: where it is on a page, and how it fades, runs, and is too little or too much.

What is ink is seen in the image: it is darker than the paper around it in every colour, which a coloured grid is not.
Everything here makes ink paler, darker or wider by the same on all its sides, so that a line's centre stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from ..page import Box, Page, Trace
from . import fields as fl
from .base import Effect, Grows, Range, number
from .fields import U8, D, F, Some
from .hidden import with_lost
from .shapes import fixed, outline_of, shape_of, whole, window

_FAINTEST = 40  # grey levels from the paper to what may still be ink


@dataclass(frozen=True)
class Ink:
    """Where an image has ink.

    Attributes:
        share: (H, W) 255 where all is ink, 0 on paper and grid.
        paper: (h, w, 3) the bare paper behind it, on a coarse lattice.
    """

    share: U8
    paper: U8


def ink_of(page: Page, low: float = 0.16, high: float = 0.88) -> Ink:
    """The ink of a page, and the paper without ink and grid.

    What is darker than the paper by a part ``low`` of what black ink is counts as none, by ``high`` as all ink.
    """
    image = page.image
    k = page.px_per_mm
    step = max(1, round(0.4 * k))
    size = max(1, image.shape[1] // step), max(1, image.shape[0] // step)
    few = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
    wide = 2 * round(1.6 * k / step) + 1
    bare = cv2.blur(cv2.dilate(few, np.ones((wide, wide), np.uint8)), (wide, wide))
    bright = _brightest(bare)
    # Ink is what the darkest 2 in 1000 px are; a grid's colour keeps one channel bright.
    # (All rows, for a flat line has few of them.)
    some = cv2.resize(image, (max(1, image.shape[1] // (2 * step)), image.shape[0]), interpolation=cv2.INTER_NEAREST)
    dark = cv2.subtract(fl.over(bright, some), _brightest(some))
    counts = np.cumsum(cv2.calcHist([dark], [0], None, [256], [0, 256])[::-1])
    level = 255 - int(np.searchsorted(counts, max(4.0, 0.002 * counts[-1])))
    level = max(level, _FAINTEST)
    share = np.empty(shape_of(image), np.uint8)
    behind = fl.by_rows(bright, shape_of(image))
    for rows in fl.rows_of(image.shape[0]):
        share[rows] = fl.ramp(cv2.subtract(behind(rows), _brightest(image[rows])), low * level, high * level)
    return Ink(share, fl.u8(bare))


def _brightest(image: Some) -> U8:
    r, g, b = cv2.split(image)
    return fl.u8(cv2.max(cv2.max(r, g), b))


def spread(share: U8, px: float) -> U8:
    """Where ink is, and a soft rim around it."""
    wide = 2 * max(1, round(px)) + 1
    return fl.u8(cv2.dilate(share, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (wide, wide))))


def spread_rows(share: U8, rows: slice, px: float) -> U8:
    """``spread`` for some rows only."""
    reach = max(1, round(px))
    near = slice(max(0, rows.start - reach), rows.stop + reach)
    return spread(share[near], px)[rows.start - near.start :][: rows.stop - rows.start]


def lighten(image: U8, ink: Ink, amount: Callable[[slice], Some], k: float) -> None:
    """Take a share of the ink away in place, its soft edges included; ``amount`` gives it for some rows."""
    paper = fl.by_rows(ink.paper, shape_of(image))
    for rows in fl.rows_of(image.shape[0]):
        there = spread_rows(ink.share, rows, 0.06 * k)
        if cv2.countNonZero(there):
            fl.brighten(image[rows], paper(rows), fl.times(amount(rows), fl.scaled(there, 3.0)))


def image_mm(page: Page, trace: Trace) -> D:
    """(N, 2) mm of the image, from its top left corner, of a trace's samples; NaN where they are."""
    mm = page.mm(trace)
    px = page.mm_to_px(np.where(np.isfinite(mm), mm, 0.0))
    return np.asarray(np.where(np.isfinite(mm), (px + 0.5) / page.px_per_mm, np.nan), np.float64)


def _darkest(image: U8, px: int) -> U8:
    """(h, w, 3) the darkest within ``px`` of each place: on a lattice half as fine, for it looks like that anyway."""
    size = (image.shape[1] + 1) // 2, (image.shape[0] + 1) // 2
    small = cv2.resize(cv2.erode(image, np.ones((3, 3), np.uint8)), size, interpolation=cv2.INTER_NEAREST)
    return fl.u8(cv2.erode(small, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (px // 2) + 1,) * 2)))


@dataclass(frozen=True, kw_only=True)
class Fading(Effect):
    """All ink is paler than it was, unevenly: an empty cartridge, old ink, a worn ribbon."""

    stage: ClassVar[str] = "ink"
    amount: float = number(Grows(0.03, 0.82), 0, 0.95, "ink that is missing")
    uneven: float = number(Range(0.05, 0.5), 0, 1, "how much that differs over the page")
    warmth: float = number(Grows(0.0, 0.3), 0, 1, "how far old ink has turned brown")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        k = page.px_per_mm
        ink = ink_of(page)
        lattice = whole(page, 1.5)
        cloud = np.tanh(fl.fractal(rng, lattice.shape, lattice.cells(80.0), 4, 0.6))
        share = fl.eight(np.clip(self.amount * (1 - 0.5 * self.uneven * (1 - cloud)), 0, 0.95))
        lighten(image, ink, fl.by_rows(share, shape_of(image)), k)
        if self.warmth:
            curve = np.arange(256)[:, None] + self.warmth * np.array([60.0, 28.0, 0.0])
            for rows in fl.rows_of(image.shape[0]):
                fl.cover(image[rows], fl.table(image[rows], curve), ink.share[rows])
        return with_lost(page, image) if self.amount > 0.8 else replace(page, image=image)


@dataclass(frozen=True, kw_only=True)
class Bleed(Effect):
    """Ink that ran: every line is wider and softer than it was drawn."""

    stage: ClassVar[str] = "ink"
    spread: float = number(Grows(0.01, 0.3), 0, 2, "how much wider, on each side", "mm")
    softness: float = number(Range(0.1, 0.7), 0, 1, "how soft the new edges are")

    def paint(self, page: Page) -> Page:
        image = page.image.copy()
        px = self.spread * page.px_per_mm
        share = ink_of(page, 0.05, 1.0).share  # as the edges are, or the line would move by a part of a px
        reach = max(1, int(np.ceil(px)))
        # Between whole px, two widths are mixed.
        wide = cv2.addWeighted(spread(share, reach), px / reach, share, 1 - px / reach, 0)
        blurred = cv2.GaussianBlur(wide, (0, 0), max(0.2, px * (0.25 + 0.6 * self.softness)))
        darkest = fl.over(_darkest(page.image, 2 * reach + 1), image)
        strength = min(1.0, 0.35 + 4 * self.spread)
        for rows in fl.rows_of(image.shape[0]):
            alpha = cv2.max(fl.ramp(blurred[rows], 30, 219), share[rows])
            fl.cover(image[rows], darkest[rows], fl.scaled(alpha, strength))
        return replace(page, image=image)


@dataclass(frozen=True, kw_only=True)
class Dropouts(Effect):
    """Pieces of the traces are missing: the pen or the head gave no ink, the grid is seen there."""

    stage: ClassVar[str] = "ink"
    count: int = number(Grows(0, 32), 0, 1000, "missing pieces", whole=True)
    length: float = number(Range(1, 8), 0.3, 100, "of the longest piece, along the trace", "mm")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        k = page.px_per_mm
        drawn = [mm for mm in (image_mm(page, trace.upsampled()) for trace in page.traces) if len(mm) > 1]
        boxes = []
        for _ in range(self.count):
            piece = self._piece(page, drawn, rng)
            if len(piece) < 2:
                continue
            pen = float(page.style.get("pen_width", 0.3)) + 0.3
            low, high = piece.min(axis=0) - pen - 0.6, piece.max(axis=0) + pen + 0.6
            lattice = window(page, 1.0, (*low, *high))
            if lattice is None:
                continue
            view = image[lattice.part]
            corner = np.array([lattice.part[1].start, lattice.part[0].start])
            fine = max(1, int(np.ceil(16 / k)))
            shape = view.shape[0] * fine, view.shape[1] * fine
            px = (piece * k - 0.5 - corner + 0.5) * fine - 0.5
            gone = np.zeros(shape, np.uint8)
            cv2.polylines(gone, [fixed(px)], False, 255, max(1, round(pen * k * fine)), 8, 4)
            near = cv2.dilate(gone, np.ones((2 * round(0.15 * k * fine) + 1,) * 2, np.uint8))
            alpha = cv2.resize(near, view.shape[1::-1], interpolation=cv2.INTER_AREA)
            fl.cover(view, background(page, lattice.part), alpha)
            for contour in cv2.findContours(gone, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
                if len(contour) >= 3:
                    outline = (contour[:, 0].astype(np.float64) + 0.5) / fine - 0.5 + corner
                    boxes.append(Box("dropout", outline_of(page, (outline + 0.5) / k), hides=True))
        return replace(page, image=image, boxes=(*page.boxes, *boxes))

    def _piece(self, page: Page, drawn: list[D], rng: np.random.Generator) -> D:
        """(N, 2) mm of the image: a piece of a trace; of any row if there is none."""
        wanted = rng.uniform(0.3, 1.0) * self.length
        if not drawn:
            height, width = shape_of(page.image)
            x, y = rng.uniform(0, 1, 2) * (width, height) / page.px_per_mm
            return np.array([[x - wanted / 2, y], [x + wanted / 2, y]])
        mm = drawn[int(rng.integers(len(drawn)))]
        first = int(rng.integers(len(mm)))
        rest = mm[first:]
        known = np.isfinite(rest).all(axis=1)
        rest = rest[: int(np.argmin(known))] if not known.all() else rest
        if len(rest) < 2:
            return rest
        way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(rest, axis=0), axis=1))])
        return np.asarray(rest[: max(2, int(np.searchsorted(way, wanted)))], np.float64)


def background(page: Page, part: tuple[slice, slice]) -> U8:
    """What a part of the page (rows, columns) would look like without its ink: the grid as it is elsewhere.

    Grids repeat every 5 mm, so the same part is looked at some steps above, below and beside, and the brighter of what
    is found there is taken, pixel by pixel.
    """
    image, k = page.image, page.px_per_mm
    rows, columns = part
    height, width = shape_of(page.image)
    shape = rows.stop - rows.start, columns.stop - columns.start
    # Of the next multiples of 5 mm, those nearest to whole px.
    steps = sorted(range(1, 9), key=lambda n: abs(5 * n * k - round(5 * n * k)) + 0.02 * n)[:2]
    moves = [round(5 * n * k) for n in steps]
    found = []
    for m in moves:
        for dy, dx in ((m, 0), (-m, 0), (m, m), (m, -m), (-m, m), (-m, -m), (0, m), (0, -m)):
            top, left = rows.start + dy, columns.start + dx
            if top >= 0 and left >= 0 and top + shape[0] <= height and left + shape[1] <= width:
                found.append(image[top : top + shape[0], left : left + shape[1]])
    if len(found) < 3:
        return fl.over(ink_of(page).paper, image)[part]
    brightness = np.sort(np.stack(found), axis=0)
    return fl.u8(brightness[round(0.7 * (len(found) - 1))])


@dataclass(frozen=True, kw_only=True)
class TonerSpeckle(Effect):
    """Loose toner: dark dust over the page, holes in the ink, and marks that repeat with the drum's turn."""

    stage: ClassVar[str] = "ink"
    dust: float = number(Grows(0.005, 0.45), 0, 5, "specks", "per mm²")
    holes: float = number(Grows(0.0, 0.16), 0, 1, "share of the ink with holes")
    marks: int = number(Grows(0, 4), 0, 50, "spots that repeat down the page", whole=True)
    drum: float = number(Range(38, 95), 5, 400, "the drum's girth", "mm")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        k = page.px_per_mm
        height, width = shape_of(page.image)
        ink = ink_of(page)
        most = 256 * self.holes
        grain = fl.grain(rng, (height, width), 0.2 * k)
        lighten(image, ink, lambda rows: fl.ramp(grain[rows], most, most - 42), k)
        specks = np.zeros((height, width), np.uint8)
        n = min(int(self.dust * height * width / k**2), height * width // 4)
        # One px each, as dark as its share of the px; the larger ones come from the blur's sum.
        size = np.clip(rng.lognormal(-2.6, 0.5, n) * k, 0.15, 1.0)
        specks[rng.integers(0, height, n), rng.integers(0, width, n)] = (255 * size**1.5).astype(np.uint8)
        large = rng.random(n // 25)
        for x, y, s in zip(rng.uniform(0, width, large.size), rng.uniform(0, height, large.size), large, strict=True):
            cv2.circle(
                specks, (int(x * 16), int(y * 16)), round((0.05 + 0.12 * s**3) * k * 16), 230, -1, cv2.LINE_AA, 4
            )
        for _ in range(self.marks):
            x, y, r = rng.uniform(0, width), rng.uniform(0, self.drum) * k, rng.uniform(0.1, 0.4) * k
            while y < height:
                axes = (2 * r, 2 * r * 1.3)
                cv2.ellipse(specks, ((x, y), axes, 0.0), float(rng.uniform(90, 220)), -1, cv2.LINE_AA)
                y += self.drum * k
        fl.dye(image, (52, 52, 56), cv2.GaussianBlur(specks, (0, 0), max(0.3, 0.05 * k)))
        return replace(page, image=image)


@dataclass(frozen=True, kw_only=True)
class DoublePrint(Effect):
    """Printed twice, not quite in the same place: a fainter ghost beside all ink."""

    stage: ClassVar[str] = "ink"
    strength: float = number(Grows(0.02, 0.55), 0, 0.7, "how dark the ghost is")
    offset: float = number(Range(0.3, 1.0), 0, 10, "from the ink to its ghost", "mm")
    direction: float = number(Range(0, 360), -360, 360, "in which it lies, from the time axis", "degrees")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        k = page.px_per_mm
        height, width = shape_of(page.image)
        angle = np.deg2rad(self.direction)
        dx, dy = self.offset * k * np.cos(angle), self.offset * k * np.sin(angle)
        share = ink_of(page).share
        ghost = cv2.warpAffine(share, np.array([[1.0, 0.0, dx], [0.0, 1.0, dy]]), (width, height))
        lattice = whole(page, 2.0)
        uneven = fl.eight(np.clip(0.75 + 0.2 * fl.fractal(rng, lattice.shape, lattice.cells(60.0), 3), 0, 1))
        ghost = fl.times(ghost, fl.over(uneven, image), self.strength)
        fl.dye(image, (24, 24, 32), fl.times(ghost, 255 - share))
        return replace(page, image=image)


@dataclass(frozen=True, kw_only=True)
class GridFading(Effect):
    """The grid is paler than it was, or gone in places; ink stays."""

    stage: ClassVar[str] = "ink"
    amount: float = number(Grows(0.04, 1.0), 0, 1, "colour that is missing where most is")
    uneven: float = number(Range(0.1, 1.0), 0, 1, "how much that differs over the page")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        ink = ink_of(page)
        lattice = whole(page, 1.5)
        cloud: F = np.tanh(1.4 * fl.fractal(rng, lattice.shape, lattice.cells(70.0), 4, 0.6))
        share = fl.eight(self.amount * (1 - 0.5 * self.uneven * (1 - cloud)))
        ink_there = spread(ink.share, 1)
        missing, paper = fl.by_rows(share, shape_of(image)), fl.by_rows(ink.paper, shape_of(image))
        for rows in fl.rows_of(image.shape[0]):
            free = fl.ramp(ink_there[rows], 128, 0)
            fl.brighten(image[rows], paper(rows), fl.times(missing(rows), free))
        return replace(page, image=image)
