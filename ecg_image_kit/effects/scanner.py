"""Scanners, copiers and fax machines: what they make of a page. Screens, files and programs are in ``codec``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..page import Box, Page
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word
from .fields import U8, F

D = NDArray[np.float64]

# How much of red, green and blue a scanner sees. A red grid is white in red light and nearly black in green light.
LAMPS = {
    "white": (0.30, 0.59, 0.11),
    "red": (0.92, 0.06, 0.02),
    "green": (0.06, 0.90, 0.04),
    "blue": (0.02, 0.16, 0.82),
}
_LEAST_GAP = 0.8  # mm of trace that must be lost before it is called hidden
FAX_DOTS, FAX_LINES = 8.03, {"standard": 3.85, "fine": 7.7}  # per mm, ITU-T T.4


# Parts


def grey_of(image: U8, lamp: str = "white") -> U8:
    """(H, W) as seen in the light of a lamp."""
    if lamp == "white":
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    return np.asarray(cv2.transform(image, np.array([LAMPS[lamp]], np.float32)), np.uint8)


def rgb_of(grey: NDArray[np.generic]) -> U8:
    """(H, W) as (H, W, 3)."""
    return np.asarray(cv2.cvtColor(np.asarray(grey, np.uint8), cv2.COLOR_GRAY2RGB), np.uint8)


def gain(image: U8, field: F) -> U8:
    """The image, (H, W) or (H, W, 3), times a smooth field, (h, w) or (h, w, 3) and up to 1.27, stretched over it."""
    coarse = np.asarray(np.clip(field * 200 + 0.5, 0, 255), np.uint8)
    full = cv2.resize(coarse, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    if image.ndim == 3 and full.ndim == 2:
        full = cv2.merge([full, full, full])
    return np.asarray(cv2.multiply(image, full, scale=1 / 200), np.uint8)


def table(image: U8, curve: NDArray[np.generic]) -> U8:
    """The image with every level 0 to 255 replaced by that of a curve (256,) or (256, 3)."""
    levels = np.clip(np.asarray(curve, np.float64) + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, levels[None] if levels.ndim == 2 else levels), np.uint8)


def grain(rng: np.random.Generator, shape: tuple[int, int]) -> F:
    """(H, W) float32 white noise, SD 1, from a tile whose rows of copies are shifted: four times as fast as drawn."""
    size = 512
    tile = fl.white(rng, (size, size))
    wide = np.tile(tile, (1, shape[1] // size + 2))
    out = np.empty(shape, np.float32)
    for top in range(0, shape[0], size):
        left = int(rng.integers(size))
        part = out[top : top + size]
        part[:] = wide[: part.shape[0], left : left + shape[1]]
    return out


def speckled(rng: np.random.Generator, grey: U8, sd: float) -> U8:
    """With noise of ``sd`` grey levels, some of it in clumps of a few pixels, as the surface of paper gives it."""
    height, width = grey.shape
    noise = grain(rng, (height // 3 + 1, width // 3 + 1)) * np.float32(1.1 * sd)
    clumps = fl.resize(noise, (height, width))
    return np.asarray(cv2.add(grey, cv2.scaleAdd(grain(rng, (height, width)), 0.8 * sd, clumps), dtype=cv2.CV_8U))


def soft(grey: U8, sigma: float) -> U8:
    """Blurred by ``sigma`` px, if that can be seen at all."""
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), np.uint8) if sigma > 0.25 else grey


def levels_of(grey: U8) -> tuple[float, float]:
    """(ink, paper): the levels of what is darkest on the page and of the empty sheet."""
    step = max(1, min(grey.shape) // 400)
    ink, paper = np.percentile(grey[::step, ::step], [0.5, 75.0])
    return float(min(ink, paper - 40)), float(paper)


def dithered(grey: U8, ink: float, paper: float, dark: float, pattern: U8) -> U8:
    """Black and white by comparing with a pattern of thresholds, laid out as tiles: unlike error diffusion, it does not
    move lines. From ``dark`` 0 on the paper itself gets dots; below it faint lines go."""
    white = paper + (paper - ink) * ((0.28 if dark > 0 else 0.8) * dark - 0.03)
    stretched = table(grey, (np.arange(256) - ink) / (white - ink) * 255)
    down, across = (-(-n // m) for n, m in zip(grey.shape, pattern.shape, strict=True))
    tiled = np.tile(pattern, (down, across))[: grey.shape[0], : grey.shape[1]]
    return np.asarray(cv2.compare(stretched, tiled, cv2.CMP_GT), np.uint8)


@lru_cache(maxsize=1)
def scattered(size: int = 256) -> U8:
    """(256, 256) thresholds 0 to 254, each equally often, none like its neighbours: high-passed noise, made even."""
    noise = fl.white(np.random.default_rng(7), (size, size))
    for _ in range(6):
        wrapped = cv2.copyMakeBorder(noise, 8, 8, 8, 8, cv2.BORDER_WRAP)
        noise = noise - np.asarray(cv2.GaussianBlur(wrapped, (0, 0), 1.5), np.float32)[8:-8, 8:-8]
        rank = np.argsort(np.argsort(noise, axis=None)).reshape(size, size)
        noise = np.asarray(rank / size**2, np.float32)
    return np.asarray(noise * 255, np.uint8)


def ordered() -> U8:
    """(8, 8) thresholds in the regular pattern that fax machines halftone with. After Bayer, ICC 1973."""
    rank = np.zeros((1, 1), np.int64)
    for _ in range(3):
        rank = np.block([[4 * rank, 4 * rank + 2], [4 * rank + 3, 4 * rank + 1]])
    return (rank * 4 + 2).astype(np.uint8)


def dropouts(page: Page, image: U8) -> tuple[Box, ...]:
    """Boxes around the stretches of trace that could be seen in the page's image and cannot in this one."""
    grey = grey_of(page.image), grey_of(image)
    width = max(3, round(0.4 * page.px_per_mm) // 2 * 2 + 1)
    boxes: list[Box] = []
    dark = [cv2.erode(g, np.ones((width, width), np.uint8)) for g in grey]
    around = [_surroundings(g, page.px_per_mm) for g in grey]
    for trace in page.traces:
        mm = page.mm(trace)[:: max(1, round(trace.fs / 160))]
        mm = mm[np.isfinite(mm).all(axis=1)]
        px = np.round(page.mm_to_px(mm)) if len(mm) else mm
        inside = ((px >= 0) & (px < image.shape[1::-1])).all(axis=1)
        mm, (x, y) = mm[inside], px[inside].astype(np.int64).T
        row, column = y // _COARSE, x // _COARSE
        before, after = (a[row, column].astype(np.float32) - d[y, x] for a, d in zip(around, dark, strict=True))
        boxes += _stretches(mm, (before > 30) & (after < np.minimum(0.3 * before, 25)))
    return tuple(boxes)


_COARSE = 8  # px


def _surroundings(grey: U8, px_per_mm: float) -> U8:
    """(H / 8, W / 8) the level of the paper around each point: the brightest of the means nearby."""
    height, width = grey.shape
    padded = cv2.copyMakeBorder(grey, 0, -height % _COARSE, 0, -width % _COARSE, cv2.BORDER_REPLICATE)
    small = cv2.resize(padded, None, fx=1 / _COARSE, fy=1 / _COARSE, interpolation=cv2.INTER_AREA)
    reach = max(3, round(3 * px_per_mm / _COARSE) // 2 * 2 + 1)
    return np.asarray(cv2.dilate(small, np.ones((reach, reach), np.uint8)), np.uint8)


def _stretches(mm: D, lost: NDArray[np.bool_]) -> list[Box]:
    """A box around each run of lost points (N, 2) mm; shorter gaps between runs are lost with them."""
    at = np.flatnonzero(lost)
    if not at.size:
        return []
    boxes = []
    jumps = np.linalg.norm(np.diff(mm[at], axis=0), axis=1) > _LEAST_GAP
    for run in np.split(at, np.flatnonzero(jumps) + 1):
        part = mm[run[0] : run[-1] + 1]
        if len(run) < 2 or np.linalg.norm(np.diff(part, axis=0), axis=1).sum() < _LEAST_GAP:
            continue
        # Its envelope in steps of 1/4 mm: an outline that never crosses itself, however steep the trace is.
        bins = ((part[:, 0] - part[0, 0]) / 0.25).astype(np.int64)
        first = np.flatnonzero(np.diff(bins, prepend=-1))
        x = np.append(part[first, 0], part[-1, 0] + 0.01)
        low = np.append(np.minimum.reduceat(part[:, 1], first), part[-1, 1]) - 0.3
        high = np.append(np.maximum.reduceat(part[:, 1], first), part[-1, 1]) + 0.3
        outline = np.concatenate([np.stack([x, low], 1), np.stack([x, high], 1)[::-1]])
        boxes.append(Box("dropout", outline, hides=True))
    return boxes


def with_lost(page: Page, image: U8) -> Page:
    """The page with this image, and boxes around what of its traces was lost on the way."""
    return replace(page, image=image, boxes=(*page.boxes, *dropouts(page, image)))


def streak(
    image: U8, at: float, width: float, colour: tuple[float, ...], alpha: F, direction: str = "vertical"
) -> None:
    """Draw, in place, a straight line ``width`` px wide at px ``at``, as dense along it as ``alpha`` (n,) says."""
    lines = image.swapaxes(0, 1) if direction == "vertical" else image
    begin, end = max(0, int(np.floor(at - width / 2))), min(len(lines), int(np.ceil(at + width / 2)) + 1)
    if begin >= end:
        return
    index = np.arange(begin, end)
    covered = np.clip(
        np.minimum(index + 0.5, at + width / 2) - np.maximum(index - 0.5, at - width / 2), 0, 1
    )  # of each row of pixels
    along = cv2.resize(alpha.reshape(1, -1), (lines.shape[1], 1)).ravel()
    a = (covered[:, None] * along)[:, :, None].astype(np.float32)
    part = lines[begin:end].reshape(end - begin, lines.shape[1], -1)
    new = part + (np.asarray(colour, np.float32) - part) * a
    lines[begin:end] = (new + 0.5).astype(np.uint8).reshape(lines[begin:end].shape)


def specks(image: U8, rng: np.random.Generator, at: D, radius: D, level: Callable[[D], D]) -> None:
    """Draw, in place, a small ellipse at each point (N, 2) px of an image (H, W); ``level`` of 0 to 1 is its grey."""
    n = len(at)
    # Those smaller than a pixel are drawn as pale pixels.
    seen = np.minimum(1.0, radius / 0.56) ** 2 * rng.uniform(0.5, 1.0, n)
    axes = np.maximum(radius[:, None] * rng.uniform([0.8, 0.4], [1.4, 1.0], (n, 2)), 0.35)
    turn = rng.uniform(0, 180, n)
    for centre, axis, angle, grey in zip(
        fixed(at).tolist(), fixed(axes).tolist(), turn.tolist(), level(seen).tolist(), strict=True
    ):
        cv2.ellipse(image, centre, axis, angle, 0, 360, grey, -1, cv2.LINE_AA, 4)


# Scanners


@dataclass(frozen=True, kw_only=True)
class Greyscale(Effect):
    """Scanned in grey: the lamp's colour decides whether a red grid is dark or nearly gone."""

    stage: ClassVar[str] = "sensor"
    lamp: str = word(OneOf(("white", "white", "green", "red", "blue")), LAMPS, "colour of the light")

    def paint(self, page: Page) -> Page:
        return replace(page, image=rgb_of(grey_of(page.image, self.lamp)))


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
            lower = table(np.asarray(mean), np.arange(256) - (paper - cut))
            bits = np.asarray(cv2.compare(noisy, lower, cv2.CMP_GT), np.uint8)
        else:
            bits = np.asarray(cv2.threshold(noisy, cut, 255, cv2.THRESH_BINARY)[1], np.uint8)
        return with_lost(page, rgb_of(bits))


@dataclass(frozen=True, kw_only=True)
class LampFalloff(Effect):
    """Brightness that varies across the scan: a dim end of the lamp, flicker along the way."""

    stage: ClassVar[str] = "sensor"
    falloff: float = number(Grows(0.01, 0.35), 0, 0.9, "darker at the dim end", "of the brightness")
    flicker: float = number(Grows(0.002, 0.035), 0, 0.5, "of bands along the way, SD", "of the brightness")
    period: float = number(Range(2, 25), 0.3, 300, "of the bands", "mm")
    direction: str = word(OneOf(("vertical", "horizontal")), ("vertical", "horizontal"), "way the lamp goes")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        height, width = page.image.shape[:2]
        longer = max(height, width)
        across, along = np.linspace(-1, 1, 64), np.arange(0, longer, max(1, longer // 1200)) / page.px_per_mm
        side = rng.choice([-1.0, 1.0])
        dim = 0.7 * np.clip(0.5 + 0.5 * side * across, 0, 1) ** rng.uniform(1.5, 5)
        dim += 0.3 * np.clip(0.5 - 0.5 * side * across, 0, 1) ** rng.uniform(3, 8)
        wave = np.sin(2 * np.pi * along / self.period + 1.5 * np.sin(along / self.period / 2.3 + rng.uniform(0, 6)))
        drift = np.cumsum(rng.standard_normal(along.size))
        drift -= np.linspace(drift[0], drift[-1], along.size)
        band = 1.0 + self.flicker * (wave + 0.7 * drift / max(float(np.abs(drift).max()), 1e-6))
        tint = 1.0 - self.falloff * dim[:, None] * np.array([1.0, 1.0, 1.0 + rng.uniform(-0.15, 0.15)])
        field = np.minimum(band, 1.0 + 2 * self.flicker)[:, None, None] * tint
        if self.direction == "horizontal":
            field = field.swapaxes(0, 1)
        return replace(page, image=gain(page.image, np.asarray(field, np.float32)))


@dataclass(frozen=True, kw_only=True)
class ScannerStreaks(Effect):
    """Straight lines from dirt on a sheet-fed scanner's sensor: dark, bright or coloured."""

    stage: ClassVar[str] = "sensor"
    count: int = number(Grows(1, 9), 0, 100, "lines", whole=True)
    density: float = number(Grows(0.05, 1.0), 0, 1, "of the densest")
    width: float = number(Range(0.08, 0.4), 0.01, 5, "of the widest", "mm")
    direction: str = word(OneOf(("vertical", "horizontal")), ("vertical", "horizontal"), "way the paper is fed")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        size = image.shape[1] if self.direction == "vertical" else image.shape[0]
        # Dirt lies together.
        places = rng.uniform(0, size, 3)
        for _ in range(self.count):
            at = rng.choice(places) + rng.normal(0, 0.02) * size if rng.random() < 0.5 else rng.uniform(0, size)
            shade = rng.uniform(0, 110)
            colour = (shade, shade, shade)
            if rng.random() < 0.3:  # one row of the sensor's three
                colour = tuple(rng.permutation([shade, 235.0, 240.0]).tolist())
            elif rng.random() < 0.25:
                colour = (255.0, 255.0, 255.0)
            alpha = rng.uniform(0.35, 1.0) * self.density * (1 + 0.25 * rng.standard_normal(90))
            if rng.random() < 0.35:  # the dirt came loose, or on
                step = np.arange(90) > rng.uniform(10, 80)
                alpha = alpha * (step if rng.random() < 0.5 else ~step)
            thick = max(0.7, self.width * rng.uniform(0.4, 1.0) * page.px_per_mm)
            streak(image, float(at), thick, colour, np.clip(alpha, 0, 1).astype(np.float32), self.direction)
        return replace(page, image=image)


@dataclass(frozen=True, kw_only=True)
class Dust(Effect):
    """Specks, lint and hairs on the scanner's glass."""

    stage: ClassVar[str] = "sensor"
    specks: float = number(Grows(0.1, 5.0), 0, 50, "specks on", "each square cm")
    hairs: int = number(Grows(0, 20), 0, 200, "hairs and bits of lint", whole=True)
    size: float = number(Range(0.12, 0.35), 0.02, 3, "of larger specks", "mm")
    density: float = number(Grows(0.2, 1.0), 0, 1, "of the densest")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image.copy()
        height, width = image.shape[:2]
        k = page.px_per_mm
        count = min(20000, round(self.specks * height * width / k**2 / 100))
        at = np.stack([rng.uniform(0, width, count), rng.uniform(0, height, count)], 1)
        radius = 0.5 * self.size * k * np.clip(rng.lognormal(-0.8, 0.7, count), 0.05, 5)
        kind = rng.choice(3, count, p=[0.5, 0.38, 0.12])
        for which, level in enumerate((45.0, 110.0, 250.0)):
            mask = np.zeros((height, width), np.uint8)
            chosen = kind == which
            specks(mask, rng, at[chosen], radius[chosen], lambda seen: 255 * self.density * seen)
            _stain(image, mask, level)
        for _ in range(self.hairs):
            self._hair(image, rng, k)
        return replace(page, image=image)

    def _hair(self, image: U8, rng: np.random.Generator, k: float) -> None:
        n, length = 24, rng.uniform(1.5, 14) * k
        bend = np.cumsum(rng.normal(0, 0.12, n)) * rng.uniform(0.3, 3.0) + np.linspace(0, rng.normal(0, 1.2), n)
        angle = rng.uniform(0, 2 * np.pi) + bend
        path = np.cumsum(np.stack([np.cos(angle), np.sin(angle)], 1) * length / n, axis=0)
        path += rng.uniform(0, 1, 2) * image.shape[1::-1]
        part, offset = _patch(image, path.min(axis=0), path.max(axis=0), 3)
        if not part.size:  # it curls out of the picture
            return
        mask = np.zeros(part.shape[:2], np.uint8)
        thick = rng.uniform(0.05, 0.12) * k
        alpha = 255 * min(1.0, thick) * self.density * rng.uniform(0.5, 1)
        cv2.polylines(mask, [fixed(path - offset)], False, int(alpha), max(1, round(thick)), cv2.LINE_AA, 4)
        _stain(part, mask, rng.uniform(30, 130))


def _patch(image: U8, low: D, high: D, margin: float) -> tuple[U8, D]:
    """The part of the image between two points, and where it begins (x, y)."""
    x0, y0 = np.maximum(np.floor(low - margin), 0).astype(int).tolist()
    x1, y1 = np.ceil(high + margin).astype(int).tolist()
    return image[y0 : max(y1, y0), x0 : max(x1, x0)], np.array([x0, y0], np.float64)


def _stain(image: U8, mask: U8, level: float) -> None:
    """Cover the image, in place, with a grey level as far as the mask (H, W) says, which is empty almost everywhere."""
    found = cv2.findNonZero(mask) if mask.size else None
    if found is not None:
        x, y = found.reshape(-1, 2).T
        alpha = mask[y, x, None] * np.float32(1 / 255)
        image[y, x] = (image[y, x] + (np.float32(level) - image[y, x]) * alpha + 0.5).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class ScannerLid(Effect):
    """What a flatbed scanner shows beside the sheet: its lid, and the sheet's shadow on it."""

    stage: ClassVar[str] = "scene"
    lid: str = word(OneOf(("white", "white", "grey", "black")), ("white", "grey", "black"), "its colour")
    shadow: float = number(Grows(0.08, 0.6), 0, 1, "of the sheet's edge on it")
    width: float = number(Range(0.6, 2.5), 0.1, 20, "of the shadow", "mm")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        if fills(page):
            return page
        outline = sheet_outline(page)
        height, width = page.image.shape[:2]
        level = {"white": rng.uniform(232, 252), "grey": rng.uniform(120, 200), "black": rng.uniform(6, 40)}[self.lid]
        reach = max(0.5, self.width * page.px_per_mm)
        turn = rng.uniform(0, 2 * np.pi)
        move = np.array([np.cos(turn), np.sin(turn)]) * 0.6 * reach
        cast = np.zeros((height // 4 + 1, width // 4 + 1), np.uint8)
        cv2.fillPoly(cast, [fixed((outline + move) / 4)], 255, cv2.LINE_AA, 4)
        cast = np.asarray(cv2.GaussianBlur(cast, (0, 0), max(reach / 8, 0.3)), np.uint8)
        colour = level * np.clip(1 + rng.normal(0, 0.012, 3), 0, 1.02)
        shade = 1.0 - self.shadow * cast[..., None].astype(np.float32) / 255
        shade *= 1.0 + 0.01 * fl.smooth(rng, cast.shape, 5)[..., None]
        bed = cv2.resize(np.clip(shade * colour, 0, 255).astype(np.uint8), (width, height))
        return replace(page, image=behind(page.image, outline, np.asarray(bed, np.uint8)))


def sheet_outline(page: Page, steps: int = 48) -> D:
    """(4 * steps, 2) px along the sheet's edge, as it lies in the image."""
    t = np.arange(steps) / steps
    z, o = np.zeros(steps), np.ones(steps)
    edge = np.concatenate([np.stack(s, 1) for s in ((t, z), (o, t), (1 - t, o), (z, 1 - t))])
    return page.mm_to_px(edge * [page.layout.width, page.layout.height])


def fills(page: Page) -> bool:
    """Whether nothing but the sheet is in the image."""
    height, width = page.image.shape[:2]
    corners = page.mm_to_px.inverse(np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1.0]]))
    return bool(((corners > -0.5) & (corners < [page.layout.width + 0.5, page.layout.height + 0.5])).all())


def behind(image: U8, outline: D, back: U8) -> U8:
    """The image within an outline (N, 2) px, and another one outside it."""
    within = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(within, [fixed(outline)], 255, cv2.LINE_AA, 4)
    out = np.asarray(cv2.copyTo(image, within, back.copy()), np.uint8)
    partly = cv2.findNonZero(cv2.inRange(within, 1, 254))
    if partly is not None:
        x, y = partly.reshape(-1, 2).T
        a = within[y, x, None] * np.float32(1 / 255)
        out[y, x] = (image[y, x] * a + back[y, x] * (1 - a) + 0.5).astype(np.uint8)
    return out


def fixed(xy: D) -> NDArray[np.int32]:
    """Points as OpenCV draws them with a shift of 4: in 1/16 px. Points far outside come nearer."""
    return np.round(np.clip(xy, -1e5, 1e5) * 16).astype(np.int32)


# Copiers and fax machines


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
            grey = table(grey, 255 * _s_curve(unit, middle, self.contrast if copy else 0.5 + 0.5 * self.contrast))
            grey = soft(grey, self.spread * k)
            unit = np.arange(256) / 255.0
        grey = self._toner(grey, rng, k)
        return with_lost(page, rgb_of(grey))

    def _toner(self, grey: U8, rng: np.random.Generator, k: float) -> U8:
        height, width = grey.shape
        dark = np.asarray(255 - grey, np.uint8)
        coarse = (max(4, height // 8), max(4, width // 8))
        # Large dark areas wash out inside, for toner gathers at their edges.
        solid = cv2.blur(
            cv2.resize(dark, coarse[::-1], interpolation=cv2.INTER_AREA), (max(1, round(2 * k / 8)),) * 2
        ).astype(np.float32)
        thin = np.clip(0.55 * fl.fractal(rng, coarse, 6, 3) + 0.45 * fl.smooth(rng, (coarse[0], 1), 9), -1.2, 2) / 2
        keep = 1.0 - self.toner * np.clip(thin + 0.2, 0, 1) - 0.5 * self.toner * np.clip(solid / 255 - 0.35, 0, 1)
        dark = gain(dark, np.asarray(np.clip(keep, 0, 1), np.float32))
        # Grains of toner: strong where there is some, and a faint haze of it everywhere.
        noise = grain(rng, grey.shape[:2])
        if k > 12:
            noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), k / 16), np.float32) * np.float32(k / 5)
        amount = np.asarray(cv2.LUT(dark, (np.sqrt(np.arange(256) / 255) * 255 * self.grain + 1).astype(np.float32)))
        dark = np.asarray(cv2.add(dark, cv2.multiply(noise, amount), dtype=cv2.CV_8U), np.uint8)
        grey = np.asarray(255 - dark, np.uint8)
        self._dirt(grey, rng, k)
        if self.border > 0:
            grey = gain(grey, self._borders(rng, coarse, k / 8))
        return table(grey, 8 + np.arange(256) * (244 / 255))

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
        small = np.asarray(cv2.resize(padded, dots, interpolation=cv2.INTER_AREA), np.uint8)
        # A line of the fax is as high as a trace is wide: seen through it ink is paler than it was, by about a third.
        ink += (paper - ink) * 0.3
        if self.method == "dither":
            bits = dithered(small, ink, paper, self.dark, ordered())
        else:
            noisy = speckled(rng, small, 0.03 * (paper - ink))
            cut = paper - (0.5 - self.dark) * (paper - ink)
            bits = np.asarray(cv2.threshold(noisy, cut, 255, cv2.THRESH_BINARY)[1], np.uint8)
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
