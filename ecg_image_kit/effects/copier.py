"""Copiers and fax machines, and scans in black and white: what they make of a page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..page import Page
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word
from .fields import U8, D, F
from .hidden import with_lost
from .scanner import LAMPS, grey_of, rgb_of, specks, streak
from .shapes import shape_of

FAX_DOTS, FAX_LINES = 8.03, {"standard": 3.85, "fine": 7.7}  # per mm, ITU-T T.4


def speckled(rng: np.random.Generator, grey: U8, sd: float) -> U8:
    """With noise of ``sd`` grey levels, some of it in clumps of a few pixels, as the surface of paper gives it."""
    height, width = grey.shape
    clumps = fl.resize(fl.white(rng, (height // 3 + 1, width // 3 + 1)) * np.float32(1.1 * sd), (height, width))
    out = np.empty_like(grey)
    for rows in fl.rows_of(height):
        noise = cv2.scaleAdd(fl.white(rng, shape_of(grey[rows])), 0.8 * sd, clumps[rows])
        out[rows] = cv2.add(grey[rows], noise, dtype=cv2.CV_8U)
    return out


def soft(grey: U8, sigma: float) -> U8:
    """Blurred by ``sigma`` px, if that can be seen at all."""
    return fl.u8(cv2.GaussianBlur(grey, (0, 0), sigma)) if sigma > 0.25 else grey


def levels_of(grey: U8) -> tuple[float, float]:
    """(ink, paper): the levels of what is darkest on the page and of the empty sheet."""
    step = max(1, min(grey.shape) // 400)
    ink, paper = np.percentile(grey[::step, ::step], [0.5, 75.0])
    return float(min(ink, paper - 40)), float(paper)


def dithered(grey: U8, ink: float, paper: float, dark: float, pattern: U8) -> U8:
    """Black and white by comparing with a pattern of thresholds, laid out as tiles: unlike error diffusion, it does not
    move lines. From ``dark`` 0 on the paper itself gets dots; below it faint lines go."""
    white = paper + (paper - ink) * ((0.28 if dark > 0 else 0.8) * dark - 0.03)
    stretched = fl.table(grey, (np.arange(256) - ink) / (white - ink) * 255)
    down, across = (-(-n // m) for n, m in zip(grey.shape, pattern.shape, strict=True))
    tiled = np.tile(pattern, (down, across))[: grey.shape[0], : grey.shape[1]]
    return fl.u8(cv2.compare(stretched, tiled, cv2.CMP_GT))


@lru_cache(maxsize=1)
def scattered(size: int = 256) -> U8:
    """(256, 256) thresholds 0 to 254, each equally often, none like its neighbours: high-passed noise, made even."""
    noise = fl.white(np.random.default_rng(7), (size, size))
    for _ in range(6):
        wrapped = cv2.copyMakeBorder(noise, 8, 8, 8, 8, cv2.BORDER_WRAP)
        noise = noise - np.asarray(cv2.GaussianBlur(wrapped, (0, 0), 1.5), np.float32)[8:-8, 8:-8]
        rank = np.argsort(np.argsort(noise, axis=None)).reshape(size, size)
        noise = np.asarray(rank / size**2, np.float32)
    return fl.u8(noise * 255)


def ordered() -> U8:
    """(8, 8) thresholds in the regular pattern that fax machines halftone with. After Bayer, ICC 1973."""
    rank = np.zeros((1, 1), np.int64)
    for _ in range(3):
        rank = np.block([[4 * rank, 4 * rank + 2], [4 * rank + 3, 4 * rank + 1]])
    return (rank * 4 + 2).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class BlackWhite(Effect):
    """Scanned in black and white: every pixel is one or the other, by threshold or dither."""

    stage: ClassVar[str] = "sensor"
    method: str = word(
        OneOf(("fixed", "adaptive", "dither")),
        ("fixed", "adaptive", "dither"),
        "one threshold, one for each neighbourhood, or dots",
    )
    lamp: str = word(OneOf(("white", "green", "red")), LAMPS, "colour of the light")
    dark: float = number(
        Grows(0.0, 0.36, signed=True), -0.4, 0.45, "above 0 the grid turns black; below, thin lines break",
        "of the way from paper to ink",
    )  # fmt: skip
    noise: float = number(Grows(0.004, 0.11), 0, 0.5, "before the threshold, SD", "of the contrast")
    window: float = number(Range(4, 15), 0.5, 100, "neighbourhood of the local threshold", "mm")

    def paint(self, page: Page) -> Page:
        grey = grey_of(page.image, self.lamp)
        ink, paper = levels_of(grey)
        noise = self.noise * (paper - ink) * (0.4 if self.method == "dither" else 1.0)  # dots show noise best
        noisy = speckled(self.rng(), soft(grey, 0.05 * page.px_per_mm), noise)
        cut = paper - (0.5 - self.dark) * (paper - ink)
        if self.method == "dither":
            bits = dithered(noisy, ink, paper, self.dark, scattered())
        elif self.method == "adaptive":
            size = round(self.window * page.px_per_mm) // 2 * 2 + 1
            mean = cv2.blur(grey, (min(size, 999), min(size, 999)), borderType=cv2.BORDER_REPLICATE)
            lower = fl.table(np.asarray(mean), np.arange(256) - (paper - cut))
            bits = fl.u8(cv2.compare(noisy, lower, cv2.CMP_GT))
        else:
            bits = fl.u8(cv2.threshold(noisy, cut, 255, cv2.THRESH_BINARY)[1])
        return with_lost(page, rgb_of(bits))


@dataclass(frozen=True, kw_only=True)
class Photocopy(Effect):
    """Copied, perhaps many times: hard contrast, uneven toner, dark borders, specks, streaks."""

    stage: ClassVar[str] = "sensor"
    generations: int = number(Grows(1, 5), 1, 12, "copies of copies", whole=True)
    contrast: float = number(Grows(1.05, 2.6), 1, 8, "of each copy")
    dark: float = number(Grows(0.0, 0.16, signed=True), -0.4, 0.4, "above 0 darker, below lighter than it should be")
    spread: float = number(Range(0.04, 0.08), 0, 0.5, "blur of each copy, SD", "mm")
    toner: float = number(Grows(0.03, 0.5), 0, 1, "missing where it is thinnest")
    grain: float = number(Grows(0.01, 0.09), 0, 0.5, "of the toner, SD", "of black")
    specks: float = number(Grows(0.1, 6.0), 0, 100, "of toner on the paper, on", "each square cm")
    streaks: int = number(Grows(0, 7), 0, 60, "lines of the drum", whole=True)
    border: float = number(Grows(0.0, 5.0), 0, 40, "width of the dark borders", "mm")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        k = page.px_per_mm
        grey = grey_of(page.image, "green" if rng.random() < 0.4 else "white")
        ink, paper = levels_of(grey)
        grey = speckled(rng, grey, (paper - ink) * self.grain)
        # The first copy takes the paper for white; each one pushes levels away from the middle.
        unit = (np.arange(256) - ink) / (paper + 4 - ink)
        for copy in range(self.generations):
            middle = 0.55 + (self.dark if copy == 0 else 0.25 * self.dark)
            grey = fl.table(grey, 255 * _s_curve(unit, middle, self.contrast if copy else 0.5 + 0.5 * self.contrast))
            grey = soft(grey, self.spread * k)
            unit = np.arange(256) / 255.0
        grey = self._toner(grey, rng, k)
        return with_lost(page, rgb_of(grey))

    def _toner(self, grey: U8, rng: np.random.Generator, k: float) -> U8:
        height, width = grey.shape
        dark = fl.u8(255 - grey)
        coarse = (max(4, height // 8), max(4, width // 8))
        # Large dark areas wash out inside, for toner gathers at their edges.
        few = cv2.resize(cv2.blur(dark, (8, 8)), coarse[::-1], interpolation=cv2.INTER_NEAREST)
        solid = cv2.blur(few, (max(1, round(2 * k / 8)),) * 2).astype(np.float32)
        thin = np.clip(0.55 * fl.fractal(rng, coarse, 6, 3) + 0.45 * fl.smooth(rng, (coarse[0], 1), 9), -1.2, 2) / 2
        keep = 1.0 - self.toner * np.clip(thin + 0.2, 0, 1) - 0.5 * self.toner * np.clip(solid / 255 - 0.35, 0, 1)
        dark = fl.multiply(dark, np.clip(keep, 0, 1))
        # Grains of toner: strong where there is some, and a faint haze of it everywhere.
        amount = (np.sqrt(np.arange(256) / 255) * 255 * self.grain + 1).astype(np.float32)
        tile = fl.white(rng, (512, 512))
        if k > 12:
            tile = fl.blurred_tile(tile, k / 16) * np.float32(k / 5)
        for rows in fl.rows_of(height):
            noise = cv2.multiply(fl.laid(tile, rng, shape_of(dark[rows]), shifted=True), cv2.LUT(dark[rows], amount))
            dark[rows] = cv2.add(dark[rows], noise, dtype=cv2.CV_8U)
        grey = fl.u8(255 - dark)
        self._dirt(grey, rng, k)
        if self.border > 0:
            grey = fl.multiply(grey, self._borders(rng, coarse, k / 8))
        return fl.table(grey, 8 + np.arange(256) * (244 / 255))

    def _dirt(self, grey: U8, rng: np.random.Generator, k: float) -> None:
        height, width = grey.shape
        count = min(20000, round(self.specks * height * width / k**2 / 100))
        at = np.stack([rng.uniform(0, width, count), rng.uniform(0, height, count)], 1)
        # A mark on the drum comes again every turn.
        marks = [np.stack([np.full(9, rng.uniform(0, width)), rng.uniform(0, 75 * k) + 75 * k * np.arange(9)], 1)
                 for _ in range(min(6, round(self.specks)))]  # fmt: skip
        radii = 0.045 * k * np.clip(rng.lognormal(0, 0.75, count), 0.1, 8)
        at = np.concatenate([at, *marks])
        radii = np.concatenate([radii, *(np.full(9, rng.uniform(0.1, 0.3) * k) for _ in marks)])
        specks(grey, rng, at, radii, lambda seen: 255 - 225 * seen)
        for _ in range(self.streaks):
            alpha = np.clip(rng.uniform(0.1, 0.45) + 0.2 * rng.standard_normal(60), 0, 0.8).astype(np.float32)
            level = 255.0 if rng.random() < 0.3 else rng.uniform(40, 150)
            streak(grey, rng.uniform(0, width), rng.uniform(0.08, 0.35) * k, (level,), alpha)

    def _borders(self, rng: np.random.Generator, shape: tuple[int, int], k: float) -> F:
        """(H / 8, W / 8) brightness: black where the sheet did not cover the glass, fading inwards."""
        y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
        out = np.ones(shape, np.float32)
        for distance in (x, y, shape[1] - 1 - x, shape[0] - 1 - y):
            if rng.random() < 0.55:
                wide = self.border * k * rng.uniform(0.3, 1.0)
                wavy = distance + 0.3 * wide * fl.smooth(rng, shape, 5) + (x - y) * rng.normal(0, 0.002)
                out *= 1.0 - 0.93 / (1.0 + np.exp(np.clip((wavy - wide) / (0.18 * wide + 0.3), -30, 30)))
        return out


def _s_curve(t: NDArray[np.floating], middle: float, slope: float) -> D:
    """Levels 0 to 1 steeper by ``slope`` about the middle; 0 and 1 stay."""
    t = np.clip(t, 0, 1)
    s = 1 / (1 + np.exp(-4 * slope * (t - middle)))
    low, high = 1 / (1 + np.exp(4 * slope * middle)), 1 / (1 + np.exp(-4 * slope * (1 - middle)))
    curved = (s - low) / (high - low)
    return np.asarray(t + (curved - t) * min(1.0, slope - 0.9 if slope < 1.9 else 1.0), np.float64)


@dataclass(frozen=True, kw_only=True)
class Fax(Effect):
    """Sent by fax: few lines, in black and white, some lost or repeated on the way.

    Dots and lines are whole pixels, so that nothing moves; their number per mm is the nearest that this allows.
    """

    stage: ClassVar[str] = "sensor"
    resolution: str = word(OneOf(("standard", "fine")), FAX_LINES, "3.85 or 7.7 lines per mm")
    method: str = word(OneOf(("threshold", "dither")), ("threshold", "dither"), "how grey becomes black and white")
    dark: float = number(Grows(0.0, 0.28, signed=True), -0.4, 0.45, "above 0 the grid turns black; below, lines break")
    errors: float = number(Grows(0.0, 0.02), 0, 0.3, "lines lost, repeated or garbled", "of all")
    feed: str = word(OneOf(("vertical", "horizontal")), ("vertical", "horizontal"), "way the paper is fed")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        grey = grey_of(page.image, "green")
        if self.feed == "horizontal":
            grey = np.ascontiguousarray(grey.T)
        height, width = grey.shape
        ink, paper = levels_of(grey)
        k = page.px_per_mm
        # Whole pixels for each dot and line: rounded one by one, they would move lines by up to half a pixel.
        tall, wide = (max(1, round(k / per_mm)) for per_mm in (FAX_LINES[self.resolution], FAX_DOTS))
        padded = cv2.copyMakeBorder(grey, 0, -height % tall, 0, -width % wide, cv2.BORDER_REPLICATE)
        dots = padded.shape[1] // wide, padded.shape[0] // tall
        small = fl.u8(cv2.resize(padded, dots, interpolation=cv2.INTER_AREA))
        # A line of the fax is as high as a trace is wide: seen through it ink is paler than it was, by about a third.
        ink += (paper - ink) * 0.3
        if self.method == "dither":
            bits = dithered(small, ink, paper, self.dark, ordered())
        else:
            noisy = speckled(rng, small, 0.03 * (paper - ink))
            cut = paper - (0.5 - self.dark) * (paper - ink)
            bits = fl.u8(cv2.threshold(noisy, cut, 255, cv2.THRESH_BINARY)[1])
        self._corrupt(bits, rng)
        full = cv2.resize(bits, padded.shape[::-1], interpolation=cv2.INTER_NEAREST)[:height, :width]
        return with_lost(page, rgb_of(np.ascontiguousarray(full.T if self.feed == "horizontal" else full)))

    def _corrupt(self, bits: U8, rng: np.random.Generator) -> None:
        """Lines replaced, in place, in short bursts; none moves what comes after it."""
        left = round(self.errors * len(bits))
        while left > 0:
            burst = min(left, int(rng.integers(1, 5)))
            left -= burst
            at = int(rng.integers(1, max(2, len(bits) - burst)))
            kind = rng.choice(["repeated", "lost", "garbled"])
            for line in range(at, min(at + burst, len(bits))):
                begin = int(rng.integers(0, bits.shape[1]))
                if kind == "repeated":
                    bits[line] = bits[at - 1]
                elif kind == "lost":
                    bits[line] = 255
                else:  # from the error to its end the line is read with the wrong run lengths
                    runs = rng.geometric(1 / 14, bits.shape[1] // 10 + 2)
                    level = np.where(np.arange(runs.size) % 2, 0, 255).astype(np.uint8)
                    wrong = np.repeat(level, runs)[: bits.shape[1] - begin]
                    bits[line, begin : begin + wrong.size] = wrong
