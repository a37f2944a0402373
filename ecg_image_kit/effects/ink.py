"""Ink: how printers and pens put the page on paper.

What is ink is seen in the image: it is darker than the paper around it in every colour, which a coloured grid is not.
Everything here makes ink paler, darker or wider by the same on all its sides, so that a line's centre stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from ..page import Box, Page, Trace
from .base import Effect, Grows, OneOf, Range, number, word
from .paper import U8, D, F, cover, dye, eight, fractal, grain, outline_of, over, ramp, rows_of, times, window

_FAINTEST = 40  # grey levels from the paper to what may still be ink


@dataclass(frozen=True)
class Ink:
    """Where an image has ink.

    Attributes:
        share: (H, W) 255 where all is ink, 0 on paper and grid.
        paper: (H, W, 3) the bare paper behind it.
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
    few = np.ascontiguousarray(image[::step, ::step])
    wide = 2 * round(1.6 * k / step) + 1
    bare = cv2.blur(cv2.dilate(few, np.ones((wide, wide), np.uint8)), (wide, wide))
    paper = over(np.asarray(bare, np.uint8), image)
    dark = over(_brightest(np.asarray(bare, np.uint8)), image)
    for rows in rows_of(image.shape[0]):
        dark[rows] = cv2.subtract(dark[rows], _brightest(image[rows]))
    # Ink is what the darkest 2 in 1000 px are; a grid's colour keeps one channel bright.
    # (All rows, for a flat line has few of them.)
    counts = np.cumsum(np.bincount(dark[:, :: 2 * step].ravel(), minlength=256)[::-1])
    level = 255 - int(np.searchsorted(counts, max(4.0, 0.002 * counts[-1])))
    level = max(level, _FAINTEST)
    return Ink(ramp(dark, low * level, high * level), paper)


def _brightest(image: U8) -> U8:
    r, g, b = cv2.split(image)
    return np.asarray(cv2.max(cv2.max(r, g), b), np.uint8)


def _around(share: U8, px: float) -> U8:
    """Where ink is, and a soft rim around it."""
    wide = 2 * max(1, round(px)) + 1
    return np.asarray(cv2.dilate(share, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (wide, wide))), np.uint8)


def _scaled(share: U8, by: float, plus: float = 0.0) -> U8:
    return np.asarray(cv2.convertScaleAbs(share, alpha=by, beta=plus), np.uint8)


def _lighten(image: U8, ink: Ink, amount: U8, k: float) -> None:
    """Take a share of the ink away, its soft edges included; ``amount`` is for each px of the image."""
    cover(image, ink.paper, times(amount, _around(_scaled(ink.share, 3.0), 0.06 * k)))


def _shape(page: Page) -> tuple[int, int]:
    return page.image.shape[0], page.image.shape[1]


# Printers


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
        lattice = window(page, 1.0)
        assert lattice is not None
        cloud = fractal(rng, lattice.shape, lattice.cells(40.0), 4, 0.6)
        pale = over(eight(self.uneven * np.clip(0.5 + 0.35 * cloud, 0, 1)), image)
        spots = _scaled(ramp(grain(rng, _shape(page), 0.16 * k), _FEW, 263), self.holes)
        _lighten(image, ink, np.asarray(cv2.max(pale, spots), np.uint8), k)
        near = cv2.subtract(_around(ink.share, 0.35 * k), ink.share)
        specks = grain(rng, _shape(page), 0.1 * k)
        dots = ramp(specks, 256 * self.scatter, 256 * self.scatter - 1)
        dye(image, (70, 70, 74), times(np.asarray(near, np.uint8), dots, 0.9))
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
        _lighten(image, ink, over(self._bands(page, rng), image), k)
        spread = cv2.GaussianBlur(ink.share, (0, 0), max(0.3, 0.55 * self.feather * k))
        rough = _scaled(grain(rng, _shape(page), 0.14 * k), 0.75, 32)
        crept = cv2.subtract(times(np.asarray(spread, np.uint8), rough, 2.6), ink.share)
        darkest = cv2.erode(image, np.ones((3, 3), np.uint8), iterations=max(1, round(self.feather * k)))
        strength = min(1.0, 0.25 + 2.5 * self.feather)
        cover(image, np.asarray(darkest, np.uint8), _scaled(np.asarray(crept, np.uint8), 0.8 * strength))
        return replace(page, image=image)

    def _bands(self, page: Page, rng: np.random.Generator) -> U8:
        """(n, 1) or (1, n) how pale each row or column is: a pale seam at each pass, and passes that differ a little.

        They change over 1 mm and more, or a line's upper half would be paler than its lower.
        """
        height, width = _shape(page)
        n = height if self.along == "x" else width
        mm = np.arange(max(2, round(n / page.px_per_mm / 0.25))) * 0.25 + rng.uniform(0, self.swath)
        phase = np.abs((mm / self.swath + 0.5) % 1.0 - 0.5) * self.swath
        which = (mm / self.swath + 0.5).astype(int)
        seam = np.exp(-((phase / 0.9) ** 2)) * rng.uniform(0.3, 1.0, which.max() + 1)[which]
        passes = np.interp(mm, np.arange(which.max() + 3) * self.swath, rng.uniform(0, 0.4, which.max() + 3))
        share = eight(self.banding * (0.8 * seam + passes))
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
        height, width = _shape(page)
        ink = ink_of(page)
        along = fractal(rng, (1, max(8, round(width / k))), max(4.0, width / k / 12), 4, 0.7)
        across = fractal(rng, (max(8, round(height / k)), 1), max(4.0, height / k / 60), 2, 0.5)
        share = self.banding * np.clip(0.35 + 0.3 * along + 0.25 * across, 0, 1)
        bands = over(eight(share), image)
        rough = _scaled(grain(rng, (height, width), self.pitch * k), self.dots)
        amount = cv2.add(_scaled(bands, 1.0), times(rough, rough, 0.9))
        lines, widths = self._dead(page, rng)
        dead = cv2.resize(lines[:, None], (width, height), interpolation=cv2.INTER_NEAREST)
        _lighten(image, ink, np.asarray(cv2.max(amount, dead), np.uint8), k)
        boxes = [box for y, wide in widths for box in _cut_off(page, y, wide)]
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
        return eight(missing), found


def _cut_off(page: Page, y: float, wide: float) -> Iterator[Box]:
    """Boxes around the stretches of traces that lose most of their ink to a white line at ``y`` mm of the image."""
    pen = float(page.style.get("pen_width", 0.3))
    for trace in page.traces:
        mm = _image_mm(page, trace)
        slope = np.abs(np.gradient(mm[:, 1])) / max(float(np.median(np.diff(mm[:, 0]))), 1e-6) if len(mm) > 1 else 0.0
        half = 0.5 * pen * np.sqrt(1 + np.square(slope))
        lost = np.minimum(mm[:, 1] + half, y + wide / 2) - np.maximum(mm[:, 1] - half, y - wide / 2)
        gone = np.flatnonzero(np.nan_to_num(lost / (2 * half)) > 0.5)
        for run in np.split(gone, np.flatnonzero(np.diff(gone) > 3) + 1):
            if run.size:
                (x0, x1), reach = mm[run[[0, -1]], 0] + (-0.02, 0.02), wide / 2 + 0.02
                outline = np.array([[x0, y - reach], [x1, y - reach], [x1, y + reach], [x0, y + reach]])
                yield Box("dropout", outline_of(page, outline), hides=True)


def _image_mm(page: Page, trace: Trace) -> D:
    """(N, 2) mm of the image, from its top left corner, of a trace's samples; NaN where they are."""
    mm = page.mm(trace)
    px = page.mm_to_px(np.where(np.isfinite(mm), mm, 0.0))
    return np.asarray(np.where(np.isfinite(mm), (px + 0.5) / page.px_per_mm, np.nan), np.float64)


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
        steep = self._steep(ink.share, k)
        lattice = window(page, 0.5)
        assert lattice is not None
        flow = over(
            eight(self.flow * np.clip(0.4 + 0.4 * fractal(rng, lattice.shape, lattice.cells(14.0), 4), 0, 1)), image
        )
        amount = cv2.max(
            _scaled(steep, self.thinning), times(flow, _scaled(grain(rng, _shape(page), 0.12 * k), 0.5, 127))
        )
        # A fast line loses most at its edges.
        core = cv2.GaussianBlur(ink.share, (0, 0), max(0.3, 0.1 * k))
        rim = times(_scaled(steep, self.thinning), ramp(np.asarray(core, np.uint8), 212, 0))
        _lighten(image, ink, np.asarray(cv2.add(amount, rim), np.uint8), k)
        self._rest(page, image, rng)
        return replace(page, image=image)

    def _steep(self, share: U8, k: float) -> U8:
        """(H, W) 255 where the ink runs up or down, 0 where it runs along."""
        along = cv2.convertScaleAbs(cv2.Sobel(share, cv2.CV_16S, 1, 0, scale=0.2))
        across = cv2.convertScaleAbs(cv2.Sobel(share, cv2.CV_16S, 0, 1, scale=0.2))
        wide = (2 * max(1, round(0.25 * k)) + 1,) * 2
        x, y = cv2.blur(along, wide), cv2.blur(across, wide)
        half_x, half_y = (_scaled(np.asarray(v, np.uint8), 0.5) for v in (x, y))
        share_up = np.asarray(cv2.divide(half_x, cv2.add(half_x, half_y), scale=255), np.uint8)
        return ramp(share_up, 128, 235)

    def _rest(self, page: Page, image: U8, rng: np.random.Generator) -> None:
        k = page.px_per_mm
        pen = float(page.style.get("pen_width", 0.3))
        colour = tuple(float(c) for c in page.style.get("ink", (20, 20, 28)))
        for trace in page.traces:
            mm = _image_mm(page, trace)
            known = mm[np.isfinite(mm).all(axis=1)]
            for end in (0, -1):
                if not len(known):
                    continue
                wide = pen + self.blob * rng.uniform(0.3, 1.0)
                centre, reach = known[end], wide / 2 + 0.4
                lattice = window(page, 1.0, (*(centre - reach), *(centre + reach)))
                if lattice is None:
                    continue
                view = image[lattice.part]
                alpha = np.zeros(view.shape[:2], np.uint8)
                corner = np.array([lattice.part[1].start, lattice.part[0].start])
                x, y = np.round((centre * k - 0.5 - corner) * 16).astype(int)
                cv2.circle(alpha, (int(x), int(y)), round(wide / 2 * k * 16), 235, -1, cv2.LINE_AA, 4)
                cover(view, (colour[0], colour[1], colour[2]), alpha)


# Ink that is too little or too much


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
        lattice = window(page, 1.5)
        assert lattice is not None
        cloud = np.tanh(fractal(rng, lattice.shape, lattice.cells(80.0), 4, 0.6))
        share = eight(np.clip(self.amount * (1 - 0.5 * self.uneven * (1 - cloud)), 0, 0.95))
        _lighten(image, ink, over(share, image), k)
        if self.warmth:
            table = eight((np.arange(256)[:, None, None] + self.warmth * np.array([60.0, 28.0, 0.0])) / 255)
            cover(image, np.asarray(cv2.LUT(image, table), np.uint8), ink.share)
        return replace(page, image=image)


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
        wide = cv2.addWeighted(_around(share, reach), px / reach, share, 1 - px / reach, 0)
        blurred = cv2.GaussianBlur(wide, (0, 0), max(0.2, px * (0.25 + 0.6 * self.softness)))
        firm = ramp(np.asarray(blurred, np.uint8), 30, 219)
        alpha = cv2.max(firm, share)
        size = 2 * (2 * reach + 1) + 1
        darkest = cv2.erode(image, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
        cover(
            image, np.asarray(darkest, np.uint8), _scaled(np.asarray(alpha, np.uint8), min(1.0, 0.35 + 4 * self.spread))
        )
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
        drawn = [mm for mm in (_image_mm(page, trace.upsampled()) for trace in page.traces) if len(mm) > 1]
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
            cv2.polylines(gone, [np.round(px * 16).astype(np.int32)], False, 255, max(1, round(pen * k * fine)), 8, 4)
            near = cv2.dilate(gone, np.ones((2 * round(0.15 * k * fine) + 1,) * 2, np.uint8))
            alpha = cv2.resize(near, view.shape[1::-1], interpolation=cv2.INTER_AREA)
            cover(view, background(page, lattice.part), np.asarray(alpha, np.uint8))
            for contour in cv2.findContours(gone, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
                if len(contour) >= 3:
                    outline = (contour[:, 0].astype(np.float64) + 0.5) / fine - 0.5 + corner
                    boxes.append(Box("dropout", outline_of(page, (outline + 0.5) / k), hides=True))
        return replace(page, image=image, boxes=(*page.boxes, *boxes))

    def _piece(self, page: Page, drawn: list[D], rng: np.random.Generator) -> D:
        """(N, 2) mm of the image: a piece of a trace; of any row if there is none."""
        wanted = rng.uniform(0.3, 1.0) * self.length
        if not drawn:
            height, width = _shape(page)
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
    height, width = _shape(page)
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
        bare = ink_of(page).paper
        return np.asarray(bare[part], np.uint8)
    brightness = np.sort(np.stack(found), axis=0)
    return np.asarray(brightness[round(0.7 * (len(found) - 1))], np.uint8)


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
        height, width = _shape(page)
        ink = ink_of(page)
        most = 256 * self.holes
        holes = ramp(grain(rng, (height, width), 0.2 * k), most, most - 42)
        _lighten(image, ink, holes, k)
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
        dye(image, (52, 52, 56), np.asarray(cv2.GaussianBlur(specks, (0, 0), max(0.3, 0.05 * k)), np.uint8))
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
        height, width = _shape(page)
        angle = np.deg2rad(self.direction)
        dx, dy = self.offset * k * np.cos(angle), self.offset * k * np.sin(angle)
        share = ink_of(page).share
        ghost = cv2.warpAffine(share, np.array([[1.0, 0.0, dx], [0.0, 1.0, dy]]), (width, height))
        lattice = window(page, 2.0)
        assert lattice is not None
        uneven = eight(np.clip(0.75 + 0.2 * fractal(rng, lattice.shape, lattice.cells(60.0), 3), 0, 1))
        ghost = times(np.asarray(ghost, np.uint8), over(uneven, image), self.strength)
        dye(image, (24, 24, 32), times(ghost, np.asarray(255 - share, np.uint8)))
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
        lattice = window(page, 1.5)
        assert lattice is not None
        cloud: F = np.tanh(1.4 * fractal(rng, lattice.shape, lattice.cells(70.0), 4, 0.6))
        share = eight(self.amount * (1 - 0.5 * self.uneven * (1 - cloud)))
        free = ramp(_around(ink.share, 0.01), 128, 0)
        cover(image, ink.paper, times(over(share, image), free))
        return replace(page, image=image)
