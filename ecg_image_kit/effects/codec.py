"""Screens, files and programs: moire, tone corrections, fewer colours, lower resolution, compression."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..page import Page
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word
from .fields import U8, F
from .scanner import behind, fills, fixed, gain, sheet_outline, table

CHROMA = {
    "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "422": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}


@dataclass(frozen=True, kw_only=True)
class Gamma(Effect):
    """Lighter or darker in the middle, as scanner software and screens set it."""

    stage: ClassVar[str] = "sensor"
    gamma: float = number(Grows(0.0, 0.9, signed=True), -2, 2, "above 0 darker, below lighter", "octaves")

    def paint(self, page: Page) -> Page:
        curve = 255 * (np.arange(256) / 255) ** (2.0**self.gamma)
        return replace(page, image=table(page.image, curve))


@dataclass(frozen=True, kw_only=True)
class AutoContrast(Effect):
    """Levels stretched until some share of the pixels is clipped to black and to white."""

    stage: ClassVar[str] = "sensor"
    dark: float = number(Grows(0.0, 0.02), 0, 0.3, "clipped to black", "of the pixels")
    bright: float = number(Grows(0.0, 0.5), 0, 0.9, "clipped to white", "of the pixels")
    amount: float = number(Grows(0.1, 1.0), 0, 1, "of the way to full contrast")
    channels: str = word(
        OneOf(("together", "each")), ("together", "each"), "each channel on its own turns tinted paper white"
    )

    def paint(self, page: Page) -> Page:
        step = max(1, min(page.image.shape[:2]) // 400)
        sample = page.image[::step, ::step].reshape(-1, 3)
        if self.channels == "together":
            sample = np.repeat(sample.reshape(-1, 1), 3, axis=1)
        low, high = np.quantile(sample, [self.dark, 1 - self.bright], axis=0)
        high = np.maximum(high, low + 30)
        level = np.arange(256)[:, None]
        full = np.clip((level - low) / (high - low) * 255, 0, 255)
        return replace(page, image=table(page.image, level + self.amount * (full - level)))


@dataclass(frozen=True, kw_only=True)
class ColourDepth(Effect):
    """Reduced to a palette of few colours, as in GIF files and old scanner software."""

    stage: ClassVar[str] = "sensor"
    bits: float = number(Grows(0.0, 4.6), 0, 6, "2^(8 - this) colours: 0 is 256, 4 is 16")
    dither: str = word(OneOf(("none", "diffused")), ("none", "diffused"), "how other colours are shown")

    def paint(self, page: Page) -> Page:
        step = max(1, min(page.image.shape[:2]) // 300)
        few = np.ascontiguousarray(page.image[::step, ::step])
        colours = max(4, round(2 ** (8 - self.bits)))
        palette = Image.fromarray(few).quantize(colours, method=Image.Quantize.MEDIANCUT)
        how = Image.Dither.FLOYDSTEINBERG if self.dither == "diffused" else Image.Dither.NONE
        reduced = Image.fromarray(page.image).quantize(palette=palette, dither=how)
        return replace(page, image=np.array(reduced.convert("RGB"), np.uint8))


def rescaled(image: U8, size: tuple[int, int], filter: str) -> U8:
    """The image reduced to (width, height) and enlarged to its old size; both ways about pixel centres."""
    width, height = image.shape[1::-1]
    small = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR if filter == "linear" else cv2.INTER_AREA)
    if filter == "nearest":
        # Whole blocks first, then their exact share of each pixel: rounded block by block, lines would move.
        whole = -(-width // size[0]), -(-height // size[1])
        small = cv2.resize(small, (size[0] * whole[0], size[1] * whole[1]), interpolation=cv2.INTER_NEAREST)
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    how = cv2.INTER_CUBIC if filter == "area" else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(small, (width, height), interpolation=how), np.uint8)


@dataclass(frozen=True, kw_only=True)
class Downscale(Effect):
    """Reduced to a lower resolution and enlarged again; what is finer is lost."""

    stage: ClassVar[str] = "sensor"
    dpi: float = number(Grows(190.0, 56.0), 10, 1200, "resolution that is left, about the sheet's middle")
    filter: str = word(
        OneOf(("area", "linear", "nearest")), ("area", "linear", "nearest"), "smooth, jagged, or in blocks"
    )

    def paint(self, page: Page) -> Page:
        factor = self.dpi / 25.4 / page.px_per_mm
        if factor >= 1:
            return page
        height, width = page.image.shape[:2]
        size = max(4, round(width * factor)), max(4, round(height * factor))
        return replace(page, image=rescaled(page.image, size, self.filter))


def jpeg(image: U8, quality: int, chroma: str, corner: tuple[int, int] = (0, 0)) -> U8:
    """The image as JPEG leaves it, its blocks of 8 px beginning ``corner`` (x, y) px outside it."""
    x, y = corner
    padded = cv2.copyMakeBorder(image, y, 0, x, 0, cv2.BORDER_REPLICATE) if x or y else image
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, CHROMA[chroma]]
    data = cv2.imencode(".jpg", cv2.cvtColor(padded, cv2.COLOR_RGB2BGR), flags)[1]
    back = cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8), cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(back[y:, x:], np.uint8)


@dataclass(frozen=True, kw_only=True)
class Jpeg(Effect):
    """Compressed as JPEG, perhaps several times with blocks that do not align."""

    stage: ClassVar[str] = "codec"
    quality: int = number(Grows(96, 14), 1, 100, "of the last compression", whole=True)
    chroma: str = word(OneOf(("420", "420", "422", "444")), CHROMA, "resolution of the colours")
    times: int = number(Grows(1, 3), 1, 8, "compressions", whole=True)

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        image = page.image
        for k in range(self.times):
            last = k == self.times - 1
            quality = self.quality if last else int(np.clip(self.quality + rng.integers(-10, 25), 5, 98))
            corner = (0, 0) if last else (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
            image = jpeg(image, quality, self.chroma, corner)
        return replace(page, image=image)


@dataclass(frozen=True, kw_only=True)
class WebP(Effect):
    """Compressed as WebP: smeared rather than blocky."""

    stage: ClassVar[str] = "codec"
    quality: int = number(Grows(95, 3), 0, 100, "of the compression", whole=True)

    def paint(self, page: Page) -> Page:
        buffer = io.BytesIO()
        # Method 0 is the fastest by far, and differs little to the eye.
        Image.fromarray(page.image).save(buffer, "webp", quality=self.quality, method=0)
        data = np.frombuffer(buffer.getvalue(), np.uint8)
        back = cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8), cv2.COLOR_BGR2RGB)
        return replace(page, image=np.asarray(back, np.uint8))


@dataclass(frozen=True, kw_only=True)
class Messenger(Effect):
    """Sent through a chat app: reduced, sharpened, compressed; then enlarged to its old size."""

    stage: ClassVar[str] = "codec"
    longer: int = number(Range(1080, 1600), 64, 8000, "longer side of what is sent", "px", whole=True)
    quality: int = number(Grows(92, 40), 1, 100, "of the compression", whole=True)
    sharpen: float = number(Grows(0.0, 0.8), 0, 3, "halo around lines after reducing")

    def paint(self, page: Page) -> Page:
        height, width = page.image.shape[:2]
        factor = min(1.0, self.longer / max(height, width))
        size = max(4, round(width * factor)), max(4, round(height * factor))
        small = page.image if factor == 1 else cv2.resize(page.image, size, interpolation=cv2.INTER_AREA)
        if self.sharpen:
            soft = cv2.GaussianBlur(small, (0, 0), 0.8)
            small = cv2.addWeighted(small, 1 + self.sharpen, soft, -self.sharpen, 0)
        sent = jpeg(np.asarray(small, np.uint8), self.quality, "420")
        if factor < 1:
            sent = np.asarray(cv2.resize(sent, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
        return replace(page, image=sent)


# Screens


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
        outline = sheet_outline(page)
        glass = outline.mean(axis=0) + (outline - outline.mean(axis=0)) * rng.uniform(1.02, 1.06)
        viewer = rng.choice([38, 70, 235])  # the background beside the sheet, on the screen
        framed = self.bezel == "dark" and not fills(page)
        if framed:
            image = behind(image, outline, np.full(image.shape, viewer, np.uint8))
        shown = (max(8, round(width / self.pitch)), max(8, round(height / self.pitch)))
        seen = cv2.resize(cv2.resize(image, shown, interpolation=cv2.INTER_AREA), (width, height))
        white = 255.0 * (1 - 0.9 * self.moire) * np.array([1 - self.cold, 1 - 0.25 * self.cold, 1 + 0.35 * self.cold])
        floor = self.black * np.array([0.9, 0.95, 1.15])
        curve = floor + (np.minimum(white, 255) - floor) * (np.arange(256)[:, None] / 255) ** 1.08
        seen = table(np.asarray(seen, np.uint8), curve)
        seen = gain(seen, self._bands(rng, (height, width)))
        seen = self._pixels(seen, rng, shown)
        if framed:
            seen = behind(seen, glass, self._bezel(page.image, glass, rng))
        return replace(page, image=seen)

    def _bezel(self, image: U8, glass: NDArray[np.float64], rng: np.random.Generator) -> U8:
        """The dark frame around the glass (N, 2) px; beyond it, what there was, as dim as a room with a screen on."""
        dim = table(image, np.arange(256) * rng.uniform(0.2, 0.6))
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
        gap = table(down, 200 - 140 * self.stripes * wave[:, 1])
        stripes = [table(across, 200 + 200 * self.stripes * wave[:, c]) for c in range(3)]
        full = cv2.merge([cv2.multiply(stripe, gap, scale=1 / 200) for stripe in stripes])
        return np.asarray(cv2.multiply(image, full, scale=1 / 200), np.uint8)
