"""Files and programs: tone corrections, fewer colours, lower resolution, compression."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np
from PIL import Image

from ..page import Page
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word
from .fields import U8

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
        return replace(page, image=fl.table(page.image, curve))


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
        return replace(page, image=fl.table(page.image, level + self.amount * (full - level)))


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
        return fl.u8(cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA))
    how = cv2.INTER_CUBIC if filter == "area" else cv2.INTER_LINEAR
    return fl.u8(cv2.resize(small, (width, height), interpolation=how))


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
    back = cv2.cvtColor(fl.u8(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(back[y:, x:], np.uint8)


@dataclass(frozen=True, kw_only=True)
class Jpeg(Effect):
    """Compressed as JPEG, perhaps several times with blocks that do not align."""

    stage: ClassVar[str] = "codec"
    quality: int = number(Grows(96, 14), 1, 100, "of the last compression", whole=True)
    chroma: str = word(OneOf(("420", "420", "422", "444")), CHROMA, "resolution of the colours")
    times: int = number(Grows(1, 2.4), 1, 8, "compressions", whole=True)

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
        back = cv2.cvtColor(fl.u8(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
        return replace(page, image=fl.u8(back))


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
        sent = jpeg(fl.u8(small), self.quality, "420")
        if factor < 1:
            sent = fl.u8(cv2.resize(sent, (width, height), interpolation=cv2.INTER_CUBIC))
        return replace(page, image=sent)
