"""Optics and sensor: defocus, motion, veiling glare; noise, and what a phone's software does about it.

Every kernel is symmetric about its pixel, so that nothing moves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from ..page import Page
from . import fields as fl
from .base import Effect, Grows, Range, number
from .fields import U8
from .shapes import shape_of

_DIRECT = 120  # taps up to which OpenCV filters directly; above, it takes Fourier transforms, ten times as slow
_TILE = 512  # px, of the noise that is laid out over the picture


# Optics


@dataclass(frozen=True, kw_only=True)
class Defocus(Effect):
    """Out of focus, all over or towards one side."""

    stage: ClassVar[str] = "optics"
    radius: float = number(Grows(0.03, 0.75), 0, 5, "of the disc that a point becomes, on the sheet", "mm")
    uneven: float = number(Range(0.0, 1.0), 0, 1, "0: blurred alike all over; 1: the best part is sharp")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        radius = self.radius * page.px_per_mm
        soft = _disc_blur(page.image, radius)
        if self.uneven == 0:
            return replace(page, image=soft)
        sharp = _disc_blur(page.image, radius * (1.0 - self.uneven))
        shape = _small(page.image, 64)
        y, x = ((np.arange(n, dtype=np.float32) + 0.5 - n / 2) / max(shape) for n in shape)
        angle = rng.uniform(0, 2 * np.pi)
        along = np.cos(angle) * x[None, :] + np.sin(angle) * y[:, None]
        # The plane of focus cuts the sheet along a line, somewhere.
        away = np.abs(along - rng.uniform(-0.5, 0.2)) * 1.6 + 0.06 * fl.smooth(rng, shape, 2)
        image = sharp.copy()
        fl.cover(image, soft, np.minimum(away - 0.1, 1.0))
        return replace(page, image=image)


@dataclass(frozen=True, kw_only=True)
class MotionBlur(Effect):
    """The camera moved while the picture was taken."""

    stage: ClassVar[str] = "optics"
    length: float = number(Grows(0.05, 1.5), 0, 10, "of the way, on the sheet", "mm")
    direction: float = number(Range(0, 180), 0, 180, "of the way, clockwise from the right", "degrees")

    def paint(self, page: Page) -> Page:
        return replace(page, image=_line_blur(page.image, self.length * page.px_per_mm, self.direction))


@dataclass(frozen=True, kw_only=True)
class Haze(Effect):
    """A smeared lens: light spills over from bright parts, black turns grey."""

    stage: ClassVar[str] = "optics"
    veil: float = number(Grows(0.01, 0.3), 0, 0.9, "share of the light that goes astray")
    reach: float = number(Range(0.02, 0.2), 0.005, 1, "how far it goes", "of the longer side")

    def paint(self, page: Page) -> Page:
        over = _wide_blur(page.image, self.reach * max(page.image.shape))
        return replace(page, image=fl.u8(cv2.addWeighted(page.image, 1.0 - self.veil, over, self.veil, 0.0)))


# Sensor


@dataclass(frozen=True, kw_only=True)
class SensorNoise(Effect):
    """Noise of the sensor: shot noise everywhere, read noise in the dark."""

    stage: ClassVar[str] = "sensor"
    amount: float = number(Grows(0.4, 10.0), 0, 60, "standard deviation at middle grey", "grey levels")
    grain: float = number(Range(0.4, 1.1), 0, 5, "blur of the noise by demosaicing and scaling", "px")
    read: float = number(Range(0.005, 0.1), 0, 1, "variance of read noise, of that of shot noise in white")
    colour: float = number(Range(0.1, 0.65), 0, 1, "how much of it differs between the colours")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        tile = fl.blurred_tile(fl.white(rng, (_TILE, _TILE), 3), self.grain)
        tile = np.asarray((1.0 - self.colour) * tile[..., :1] + self.colour * tile, np.float32)
        tile = np.asarray(tile * (self.amount / max(float(tile[..., 1].std()), 1e-6)), np.float32)
        linear = (np.arange(256, dtype=np.float32) / 255.0) ** 2.2
        # Shot and read noise in linear light, through the slope of the tone curve.
        spread = np.sqrt(linear + self.read) / (linear + 0.02) ** (1.0 - 1 / 2.2)
        table = (spread / spread[128]).astype(np.float32)
        out = np.empty_like(page.image)
        for rows in fl.rows_of(page.image.shape[0], 32):
            part = page.image[rows]
            noise = cv2.multiply(fl.laid(tile, rng, shape_of(part), shifted=True), cv2.LUT(part, table))
            out[rows] = cv2.add(part, noise, dtype=cv2.CV_8U)
        return replace(page, image=out)


@dataclass(frozen=True, kw_only=True)
class ChromaNoise(Effect):
    """Blotches of colour, as small sensors have in dim light."""

    stage: ClassVar[str] = "sensor"
    amount: float = number(Grows(0.3, 4.5), 0, 60, "standard deviation", "grey levels")
    size: float = number(Range(3, 12), 1, 200, "of the blotches", "px")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        height, width = page.image.shape[:2]
        cell = self.size / 2
        shape = (max(2, round(height / cell)), max(2, round(width / cell)))
        blue, red = (fl.blurred_tile(fl.white(rng, (_TILE, _TILE)), 0.7) for _ in range(2))
        # As far as the eye goes, brightness stays: green makes up for red and blue.
        strength = 1.4 * self.amount / max(float(red.std()), 1e-6)
        tile = np.asarray(np.stack([red, -0.51 * red - 0.19 * blue, blue], axis=-1) * strength, np.float32)
        return replace(page, image=fl.add(page.image, fl.laid(tile, rng, shape, shifted=True)))


@dataclass(frozen=True, kw_only=True)
class Demosaic(Effect):
    """Colour fringes on thin lines, from a sensor that sees one colour at each pixel."""

    stage: ClassVar[str] = "sensor"
    strength: float = number(Grows(0.05, 1.0), 0, 1, "of the fringes")

    def paint(self, page: Page) -> Page:
        image = page.image
        mosaic = np.array(image[..., 1])
        mosaic[::2, ::2], mosaic[1::2, 1::2] = image[::2, ::2, 0], image[1::2, 1::2, 2]
        fringed = _demosaiced(mosaic)
        # Only the colours are taken from it: its brightness would shift by a tenth of a pixel with the mosaic's phase.
        lost = cv2.subtract(_grey(image), _grey(fringed), dtype=cv2.CV_16S)
        whole = cv2.add(fringed, cv2.merge([lost, lost, lost]), dtype=cv2.CV_8U)
        return replace(page, image=fl.u8(cv2.addWeighted(image, 1.0 - self.strength, whole, self.strength, 0.0)))


@dataclass(frozen=True, kw_only=True)
class Denoise(Effect):
    """A phone's noise reduction: fine and faint texture is smeared, strong edges stay."""

    stage: ClassVar[str] = "sensor"
    threshold: float = number(Grows(1.0, 26.0), 0, 100, "contrast below which texture goes", "grey levels")
    radius: float = number(Range(0.8, 1.8), 0.3, 10, "over which it is smeared (standard deviation)", "px")

    def paint(self, page: Page) -> Page:
        calm = cv2.GaussianBlur(page.image, (0, 0), self.radius)
        # Half the difference, about 128, through a table that takes small ones away; then twice that back.
        detail = cv2.addWeighted(page.image, 0.5, calm, -0.5, 128.0)
        half = np.arange(256) - 128.0
        kept = half * (1.0 - np.exp(-((half / max(self.threshold / 2, 0.05)) ** 2)))
        table = np.clip(np.round(kept + 128.0), 0, 255).astype(np.uint8)
        return replace(page, image=fl.u8(cv2.addWeighted(calm, 1.0, cv2.LUT(detail, table), 2.0, -256.0)))


@dataclass(frozen=True, kw_only=True)
class Sharpen(Effect):
    """A phone's sharpening: bright halos beside dark lines."""

    stage: ClassVar[str] = "sensor"
    amount: float = number(Grows(0.05, 1.6), 0, 8, "how far edges are overdone")
    radius: float = number(Range(0.7, 2.2), 0.3, 20, "of the halos (standard deviation)", "px")

    def paint(self, page: Page) -> Page:
        soft = cv2.GaussianBlur(page.image, (0, 0), self.radius)
        return replace(page, image=fl.u8(cv2.addWeighted(page.image, 1.0 + self.amount, soft, -self.amount, 0.0)))


@dataclass(frozen=True, kw_only=True)
class LocalContrast(Effect):
    """A phone's high dynamic range: dark parts are lifted, contrast within each part is raised."""

    stage: ClassVar[str] = "sensor"
    level: float = number(Grows(0.02, 0.6), 0, 1, "how far the parts become equally bright")
    contrast: float = number(Grows(0.02, 0.7), 0, 3, "added within each part")
    size: float = number(Range(0.03, 0.12), 0.005, 1, "of a part", "of the longer side")

    def paint(self, page: Page) -> Page:
        small = cv2.resize(page.image, _small(page.image, 128)[::-1], interpolation=cv2.INTER_AREA)
        around = _grey(fl.u8(small)).astype(np.float32)
        around = cv2.GaussianBlur(around, (0, 0), max(0.8, self.size * max(around.shape))) + 8.0
        bright = float(np.quantile(around, 0.8))
        gain = (bright / around) ** self.level
        # image -> gain * (around + (1 + contrast) * (image - around)), in one multiplication and one sum.
        slope, offset = (1.0 + self.contrast) * gain, -self.contrast * gain * around
        return replace(page, image=fl.linear(page.image, slope, offset))


def _demosaiced(mosaic: U8) -> U8:
    """(H, W, 3) RGB of a mosaic with red at even rows and columns, blue at odd ones, green elsewhere."""
    if min(mosaic.shape) < 4:
        return np.repeat(mosaic[..., None], 3, axis=2)
    return fl.u8(cv2.cvtColor(mosaic, cv2.COLOR_BayerRGGB2RGB))


def _disc_blur(image: U8, radius: float) -> U8:
    """The image with each point spread over a disc of ``radius`` px."""
    if radius < 0.3:
        return image
    if radius < 3:
        return fl.u8(cv2.GaussianBlur(image, (0, 0), radius / 2))
    if min(image.shape[:2]) < 16:
        reach = int(np.ceil(min(radius, 5)))
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0.0, 1.0)
        return fl.u8(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE))
    # A step of the pyramid adds a variance of 2 px^2, without moving anything; the disc's is its radius^2 / 4.
    small = _disc_blur(fl.u8(cv2.pyrDown(image)), np.sqrt(radius**2 / 4 - 2.0))
    return fl.u8(cv2.pyrUp(small, dstsize=image.shape[1::-1]))


def _wide_blur(image: U8, sigma: float) -> U8:
    """The image under a wide Gaussian blur, done on a small copy that lies exactly over the image."""
    height, width = image.shape[:2]
    if sigma < 12 or min(height, width) < 16:
        return fl.u8(cv2.GaussianBlur(image, (0, 0), sigma))
    whole = cv2.copyMakeBorder(image, 0, -height % 8, 0, -width % 8, cv2.BORDER_REPLICATE)
    small = cv2.resize(whole, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA)
    # In floats: rounded in between, one side of a line's halo comes out wider than the other.
    soft = cv2.GaussianBlur(small.astype(np.float32), (0, 0), sigma / 8)
    return fl.u8(cv2.resize(np.round(soft).astype(np.uint8), whole.shape[1::-1])[:height, :width])


def _line_blur(image: U8, length: float, degrees: float) -> U8:
    """The image with each point spread over a line of ``length`` px, centred on it."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    wide, tall = (int(np.ceil(length / 2 * abs(part) + 0.5)) for part in (c, s))
    if (2 * wide + 1) * (2 * tall + 1) > _DIRECT:
        # A line is three lines of a third of its length, end to end.
        third = _line_blur(image, length / 3, degrees)
        return _three(third, round(length / 3 * c), round(length / 3 * s))
    y, x = np.mgrid[-tall : tall + 1, -wide : wide + 1]
    along, across = np.abs(c * x + s * y), np.abs(c * y - s * x)
    kernel = np.clip(length / 2 + 0.5 - along, 0.0, 1.0) * np.clip(1.0 - across, 0.0, 1.0)
    return fl.u8(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE))


def _three(image: U8, dx: int, dy: int) -> U8:
    """The mean of the image and of it moved by (dx, dy) px both ways."""
    width = image.shape[1]
    right, down = abs(dx), abs(dy)
    wide = cv2.copyMakeBorder(image, down, down, right, right, cv2.BORDER_REPLICATE)
    out = np.empty_like(image)
    for rows in fl.rows_of(image.shape[0]):
        tall = rows.stop - rows.start
        moved = (wide[rows.start + down + k * dy :][:tall, right + k * dx : right + k * dx + width] for k in (-1, 0, 1))
        total = np.zeros((tall, width, 3), np.uint16)
        for part in moved:
            cv2.add(total, part, dst=total, dtype=cv2.CV_16U)
        out[rows] = cv2.convertScaleAbs(total, alpha=1 / 3)
    return out


def _small(image: U8, cells: int) -> tuple[int, int]:
    """(h, w) of a small copy of the image with ``cells`` px along its longer side."""
    height, width = image.shape[:2]
    scale = min(1.0, cells / max(height, width))
    return max(2, round(height * scale)), max(2, round(width * scale))


def _grey(image: U8) -> U8:
    return fl.u8(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
