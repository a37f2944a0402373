"""Screens: a page photographed from one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from ..page import Page
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word
from .beneath import sheet_of, sheet_outline
from .fields import U8, D, F
from .shapes import fill, fixed


@dataclass(frozen=True, kw_only=True)
class ScreenPhoto(Effect):
    """Photographed from a screen: moire, pixel stripes, flicker, grey blacks, cold white."""

    stage: ClassVar[str] = "sensor"
    pitch: float = number(Grows(1.0, 3.2), 1, 12, "of the screen's pixels", "px of the camera")
    stripes: float = number(Grows(0.01, 0.13), 0, 1, "contrast of the screen's pixels")
    moire: float = number(Grows(0.01, 0.11), 0, 1, "contrast of the moire")
    period: float = number(Range(0.009, 0.05), 0.005, 2, "of the moire", "of the longer side")
    black: float = number(Grows(8, 52), 0, 150, "level of the screen's black")
    cold: float = number(Grows(0.01, 0.13), -0.3, 0.5, "less red and more blue than white")
    flicker: float = number(Grows(0.0, 0.16), 0, 0.8, "of dark bands from the shutter")
    bezel: str = word(OneOf(("none", "dark")), ("none", "dark"), "frame around the sheet, if there is room")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image, width, height = page.image, page.image.shape[1], page.image.shape[0]
        outline, sheet = sheet_outline(page), sheet_of(page)
        glass = outline.mean(axis=0) + (outline - outline.mean(axis=0)) * rng.uniform(1.02, 1.06)
        viewer = float(rng.choice([38, 70, 235]))  # the background beside the sheet, on the screen
        framed = self.bezel == "dark" and sheet is not None
        if framed and sheet is not None:
            image = image.copy()
            fl.cover(image, (viewer, viewer, viewer), 255 - sheet)
        shown = (max(8, round(width / self.pitch)), max(8, round(height / self.pitch)))
        seen = cv2.resize(cv2.resize(image, shown, interpolation=cv2.INTER_AREA), (width, height))
        white = 255.0 * (1 - 0.9 * self.moire) * np.array([1 - self.cold, 1 - 0.25 * self.cold, 1 + 0.35 * self.cold])
        floor = self.black * np.array([0.9, 0.95, 1.15])
        curve = floor + (np.minimum(white, 255) - floor) * (np.arange(256)[:, None] / 255) ** 1.08
        seen = fl.table(seen, curve)
        seen = fl.multiply(seen, self._bands(rng, (height, width)))
        seen = self._pixels(seen, rng, shown)
        if framed:
            screen = np.zeros((height, width), np.uint8)
            fill(screen, glass)
            fl.cover(seen, self._bezel(page.image, glass, rng), 255 - screen)
        return replace(page, image=seen)

    def _bezel(self, image: U8, glass: D, rng: np.random.Generator) -> U8:
        """The dark frame around the glass (N, 2) px; beyond it, what there was, as dim as a room with a screen on."""
        dim = fl.table(image, np.arange(256) * rng.uniform(0.2, 0.6))
        level, wide = rng.uniform(8, 34), rng.uniform(0.02, 0.06)
        centre = glass.mean(axis=0)
        for out, grey in ((wide, level), (0.006, level * 1.7), (0.003, level * 0.6)):
            edge = centre + (glass - centre) * (1 + 2 * out)
            cv2.fillPoly(dim, [fixed(edge)], (grey, grey, grey * 1.04), cv2.LINE_AA, 4)
        return dim

    def _bands(self, rng: np.random.Generator, shape: tuple[int, int]) -> F:
        """(h, w, 3) brightness by moire, flicker and the angle of view, on a grid of 4 px."""
        small = max(4, shape[0] // 4), max(4, shape[1] // 4)
        y, x = np.mgrid[0 : small[0], 0 : small[1]].astype(np.float32) * np.float32(1 / max(small))
        out = np.ones((*small, 3), np.float32)
        for share in (1.0, 0.55):
            turn, period = rng.uniform(0, np.pi), self.period * rng.uniform(0.6, 1.4)
            phase = (np.cos(turn) * x + np.sin(turn) * y) / period
            # The screen is not square to the camera, and lenses bend: the rings open and close.
            cx, cy = rng.uniform(-0.3, 1.3, 2)
            phase += rng.uniform(0.2, 0.8) / period * ((x - cx) ** 2 + (y - cy) ** 2)
            phase += 0.25 * fl.smooth(rng, small, 4)
            strength = np.clip(0.55 + 0.45 * fl.smooth(rng, small, 3), 0.1, 1.2) * np.float32(share * self.moire)
            shift = rng.uniform(0.03, 0.22)
            for c in range(3):
                turns = np.asarray((phase + c * shift) * (2 * np.pi), np.float32)
                out[..., c] += cv2.polarToCart(strength, turns)[0]
        rows = y[:, :1]
        band = 0.5 + 0.5 * np.sin(2 * np.pi * (rows / rng.uniform(0.15, 0.6) + rng.random()))
        out *= (1.0 - self.flicker * band**2)[..., None]
        out *= (1.0 + 0.03 * fl.smooth(rng, small, 1.5))[..., None]
        return np.asarray(out / (1 + 0.4 * self.moire), np.float32)

    def _pixels(self, image: U8, rng: np.random.Generator, shown: tuple[int, int]) -> U8:
        """The image under stripes of red, green and blue and the dark lines between the screen's rows."""
        height, width = image.shape[:2]
        small = fl.smooth(rng, (max(4, height // 8), max(4, width // 8)), 2) * 200
        # Phases in 1/256 turns, which wrap as they should in uint8.
        bent = cv2.resize(small.astype(np.int16), (width, height)).astype(np.uint8)
        x, y = np.arange(width) * 256.0, np.arange(height) * 256.0
        lean = rng.normal(0, 0.01, 2) / self.pitch
        across = bent + (x * shown[0] / width).astype(np.int64).astype(np.uint8)
        across += (y * lean[0]).astype(np.int64).astype(np.uint8)[:, None]
        down = bent + (y * shown[1] / height).astype(np.int64).astype(np.uint8)[:, None]
        down += (x * lean[1]).astype(np.int64).astype(np.uint8)
        wave = np.cos(2 * np.pi * (np.arange(256)[:, None] / 256 - (np.arange(3) + 0.5) / 3))
        gap = fl.table(down, 200 - 140 * self.stripes * wave[:, 1])
        stripes = [fl.table(across, 200 + 200 * self.stripes * wave[:, c]) for c in range(3)]
        full = cv2.merge([cv2.multiply(stripe, gap, scale=1 / 200) for stripe in stripes])
        return fl.u8(cv2.multiply(image, full, scale=1 / 200))
