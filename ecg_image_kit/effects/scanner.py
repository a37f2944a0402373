"""Scanners: their light, their dirt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from ..page import Page
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word
from .fields import U8, D, F, Some
from .shapes import fixed

# How much of red, green and blue a scanner sees. A red grid is white in red light and nearly black in green light.
LAMPS = {
    "white": (0.30, 0.59, 0.11),
    "red": (0.92, 0.06, 0.02),
    "green": (0.06, 0.90, 0.04),
    "blue": (0.02, 0.16, 0.82),
}


def grey_of(image: U8, lamp: str = "white") -> U8:
    """(H, W) as seen in the light of a lamp."""
    if lamp == "white":
        return fl.u8(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    red, green, blue = LAMPS[lamp]
    out = np.empty(image.shape[:2], np.uint8)
    for rows in fl.rows_of(image.shape[0]):  # five times as fast as cv2.transform
        r, g, b = cv2.split(image[rows])
        out[rows] = cv2.addWeighted(cv2.addWeighted(r, red, b, blue, 0), 1.0, g, green, 0)
    return out


def rgb_of(grey: Some) -> U8:
    """(H, W) as (H, W, 3)."""
    return fl.u8(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))


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
    new = part + (colour - part) * a
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


@dataclass(frozen=True, kw_only=True)
class Greyscale(Effect):
    """Scanned in grey: the lamp's colour decides whether a red grid is dark or nearly gone."""

    stage: ClassVar[str] = "sensor"
    lamp: str = word(OneOf(("white", "white", "green", "red", "blue")), LAMPS, "colour of the light")

    def paint(self, page: Page) -> Page:
        return replace(page, image=rgb_of(grey_of(page.image, self.lamp)))


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
        across, along = np.linspace(-1, 1, 64), np.arange(0, longer, max(1, longer // 800)) / page.px_per_mm
        side = rng.choice([-1.0, 1.0])
        dim = 0.7 * np.clip(0.5 + 0.5 * side * across, 0, 1) ** rng.uniform(1.5, 5)
        dim += 0.3 * np.clip(0.5 - 0.5 * side * across, 0, 1) ** rng.uniform(3, 8)
        wave = np.sin(2 * np.pi * along / self.period + 1.5 * np.sin(along / self.period / 2.3 + rng.uniform(0, 6)))
        drift = np.cumsum(rng.standard_normal(along.size))
        drift -= np.linspace(drift[0], drift[-1], along.size)
        band = 1.0 + self.flicker * (wave + 0.7 * drift / max(float(np.abs(drift).max()), 1e-6))
        tint = 1.0 - self.falloff * dim[:, None] * np.array([1.0, 1.0, 1.0 + rng.uniform(-0.15, 0.15)])
        field = np.asarray(np.minimum(band, 1.0 + 2 * self.flicker)[:, None, None] * tint, np.float32)
        if self.direction == "horizontal":
            field = field.swapaxes(0, 1)
        return replace(page, image=fl.multiply(page.image, field))


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
