"""Light: gradients, shadows, glare, colour, exposure. All of it from small fields, in fractions of the longer side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..page import Page
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word
from .fields import U8, D, F
from .hidden import hiding
from .shadows import FAR, SHADOWS

_CELLS = 96  # along the longer side, of smooth fields
_FINE = 360  # of those with edges
_HIDDEN = 0.92  # share of white light from which ink cannot be told from paper


@dataclass(frozen=True, kw_only=True)
class Gradient(Effect):
    """Uneven light: one side is nearer to the lamp or the window."""

    stage: ClassVar[str] = "light"
    depth: float = number(Grows(0.02, 0.6), 0, 0.95, "darkening of the darkest part")
    direction: float = number(Range(0, 360), 0, 360, "of the dark part; 0 is right, 90 below", "degrees")
    height: float = number(Range(0.5, 2.0), 0.05, 20, "of the lamp above the table", "of the longer side")
    warmth: float = number(Range(-0.1, 0.14), -1, 1, "of the dark part: warmer above 0, cooler below it")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        x, y = _grid(page.image, _CELLS)
        angle = np.deg2rad(self.direction)
        away = rng.uniform(0.35, 0.8)
        distance = (x + away * np.cos(angle)) ** 2 + (y + away * np.sin(angle)) ** 2
        dark = 1.0 - 1.0 / (1.0 + distance / self.height**2) ** 1.5
        dark = (dark - dark.min()) / max(float(np.ptp(dark)), 1e-6)
        dark = np.clip(dark + 0.03 * fl.smooth(rng, dark.shape, 2), 0.0, 1.0)
        return replace(page, image=fl.multiply(page.image, _shade(self.depth * dark, self.warmth)))


@dataclass(frozen=True, kw_only=True)
class Shadow(Effect):
    """The shadow of a hand, the phone, the person's head or an edge falls on the sheet."""

    stage: ClassVar[str] = "light"
    depth: float = number(Grows(0.04, 0.62), 0, 0.95, "darkening in its core")
    kind: str = word(
        OneOf(("hand", "phone", "head", "edge")), ("hand", "phone", "head", "edge"), "what the shadow is of"
    )
    softness: float = number(Range(0.008, 0.08), 0.001, 0.5, "width of the penumbra", "of the longer side")
    size: float = number(Range(0.7, 1.5), 0.1, 5, "of the object, 1 being usual")
    lamps: int = number(Range(1, 3), 1, 4, "each lamp casts it at another place", whole=True)
    warmth: float = number(Range(-0.09, 0.07), -1, 1, "of the shadow: warmer above 0, cooler below it")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        x, y = _grid(page.image, _FINE)
        # Where the object is further from the paper, its shadow's edge is softer.
        angle = rng.uniform(0, 2 * np.pi)
        far = np.clip(0.5 + np.cos(angle) * x + np.sin(angle) * y, 0.0, 1.0)
        shape = SHADOWS[self.kind](rng, x.shape, self.size)
        dark: F = np.zeros(x.shape, np.float32)
        for share in rng.dirichlet([2.0] * self.lamps):
            turn = cv2.getRotationMatrix2D((x.shape[1] / 2, x.shape[0] / 2), float(rng.normal(0, 2)), 1.0)
            if self.lamps > 1:
                turn = turn + np.pad(rng.normal(0, 0.05 * _FINE, (2, 1)), ((0, 0), (2, 0)))
            cast = cv2.warpAffine(shape, turn, x.shape[::-1], borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
            sigma = self.softness * FAR[self.kind] * max(x.shape) / 2
            near, soft = (cv2.GaussianBlur(cast, (0, 0), max(0.7, sigma * k)) for k in (0.6, 1.8))
            dark = np.asarray(dark + share / 255.0 * (near + (soft - near) * far), np.float32)
        return replace(page, image=fl.multiply(page.image, _shade(self.depth * dark, self.warmth)))


@dataclass(frozen=True, kw_only=True)
class Blinds(Effect):
    """Light through a window's blinds: soft stripes."""

    stage: ClassVar[str] = "light"
    depth: float = number(Grows(0.02, 0.45), 0, 0.95, "darkening between the stripes")
    period: float = number(Range(0.04, 0.12), 0.01, 1, "from stripe to stripe", "of the longer side")
    direction: float = number(Range(-60, 60), -90, 90, "of the stripes, from the image's rows", "degrees")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        x, y = _grid(page.image, _FINE)
        angle = np.deg2rad(self.direction)
        along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        # Stripes converge a little, and are soft on one side where the window is far.
        phase = across / (self.period * (1.0 + rng.uniform(-0.35, 0.35) * along)) + rng.random()
        steep = rng.uniform(1.2, 4.0)
        lit = 0.5 + 0.5 * np.tanh(steep * (np.cos(2 * np.pi * phase) + rng.uniform(-0.3, 0.3)))
        window = 0.5 + 0.5 * np.tanh((rng.uniform(0.2, 0.6) - np.abs(along - rng.uniform(-0.3, 0.3))) / 0.02)
        dark = cv2.GaussianBlur(1.0 - lit * window, (0, 0), 1.0)
        return replace(page, image=fl.multiply(page.image, _shade(self.depth * dark, -0.08)))


@dataclass(frozen=True, kw_only=True)
class Glare(Effect):
    """A window, lamp or tube mirrored by glossy paper; where it saturates, ink is lost."""

    stage: ClassVar[str] = "light"
    strength: float = number(Grows(0.04, 1.25), 0, 3, "share of white light in its middle; from 0.92 on ink is lost")
    kind: str = word(
        OneOf(("window", "lamp", "tube", "sheen")), ("window", "lamp", "tube", "sheen"), "what is reflected"
    )
    size: float = number(Range(0.06, 0.2), 0.01, 2, "of the reflection", "of the longer side")
    softness: float = number(Range(0.1, 0.6), 0.01, 2, "of its edges", "of its size")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        x, y = _grid(page.image, _FINE)
        low, high = 0.42 * np.array([x.min(), y.min()]), 0.42 * np.array([x.max(), y.max()])
        centre = rng.uniform(2 * low, 2 * high)
        shape = _reflection(rng, x - centre[0], y - centre[1], self.kind, self.size)
        mask = cv2.GaussianBlur(shape, (0, 0), max(0.8, self.softness * self.size * max(x.shape) / 2))
        mask = np.asarray(mask / max(float(mask.max()), 1e-6), np.float32)
        coarse = cv2.resize(mask, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        halo = fl.resize(cv2.GaussianBlur(coarse, (0, 0), max(0.8, 0.4 * self.size * max(x.shape))), mask.shape)
        # Paper's own grain breaks the reflection up a little; no reflection is quite even.
        uneven = 1.0 + 0.1 * fl.smooth(rng, x.shape, 6)
        return _whitened(page, self.strength * (0.9 * mask * uneven + 0.1 * halo / max(float(halo.max()), 1e-6)))


@dataclass(frozen=True, kw_only=True)
class Flash(Effect):
    """The phone's flash: a hot spot, and light that falls off towards the corners."""

    stage: ClassVar[str] = "light"
    fall: float = number(Grows(0.03, 0.6), 0, 0.95, "darkening at the corners")
    core: float = number(Grows(0.0, 1.15), 0, 3, "share of white light in the hot spot; from 0.92 on ink is lost")
    size: float = number(Range(0.04, 0.12), 0.01, 1, "of the hot spot", "of the longer side")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        x, y = _grid(page.image, _FINE)
        centre = rng.normal(0, 0.1, 2)
        distance = np.hypot(x - centre[0], y - centre[1])
        dark = 1.0 - 1.0 / (1.0 + (distance / 0.45) ** 2) ** 1.5
        dark /= max(float(dark.max()), 1e-6)
        spot = np.exp(-((distance / self.size) ** 2)) + 0.12 * np.exp(-distance / (3 * self.size))
        lit = fl.multiply(page.image, 1.0 - self.fall * dark)
        return _whitened(replace(page, image=lit), self.core * spot / 1.12)


@dataclass(frozen=True, kw_only=True)
class Vignette(Effect):
    """Corners darker than the middle, by the lens."""

    stage: ClassVar[str] = "light"
    depth: float = number(Grows(0.02, 0.55), 0, 0.95, "darkening at the corners")

    def paint(self, page: Page) -> Page:
        x, y = _grid(page.image, _CELLS)
        square = (x**2 + y**2) / float((x**2 + y**2).max())
        lit = np.asarray(1.0 - self.depth * (0.35 * square + 0.65 * square**2), np.float32)
        return replace(page, image=fl.multiply(page.image, lit))


@dataclass(frozen=True, kw_only=True)
class ColourCast(Effect):
    """The light's colour, as far as white balance leaves it; it may differ from side to side."""

    stage: ClassVar[str] = "light"
    temperature: float = number(Range(2700, 9000), 1500, 20000, "of the light; 6500 is neutral", "K")
    left: float = number(Grows(0.02, 0.7), 0, 1, "share of the cast that white balance leaves")
    tint: float = number(Grows(0.0, 0.08, signed=True), -0.5, 0.5, "green above 0, magenta below it")
    mixed: float = number(Grows(0.0, 0.7), 0, 1, "how much of the cast is missing on one side, lit by another lamp")

    def paint(self, page: Page) -> Page:
        rng = self.rng()
        x, y = _grid(page.image, _CELLS)
        angle = rng.uniform(0, 2 * np.pi)
        ramp = 0.5 + np.cos(angle) * x + np.sin(angle) * y + 0.15 * fl.smooth(rng, x.shape, 2)
        share = 1.0 - self.mixed * np.clip(ramp, 0.0, 1.0)
        cast = np.log(_black_body(self.temperature) / _black_body(6500.0)) / 2.2 * self.left
        cast = cast + np.log1p(self.tint) * np.array([-0.5, 0.5, -0.5])
        gain = np.exp(share[..., None] * cast)
        # The camera meters for the paper, so a cast must not clip it: the strongest colour keeps its level.
        return replace(page, image=fl.multiply(page.image, gain / gain.max(axis=-1, keepdims=True)))


@dataclass(frozen=True, kw_only=True)
class Exposure(Effect):
    """Exposed too short, and toned by the phone: grey paper, lifted black, other contrast."""

    stage: ClassVar[str] = "light"
    stops: float = number(Grows(-0.05, -1.7), -6, 6, "of light, against white paper being white")
    contrast: float = number(Grows(0.0, 0.45, signed=True), -0.9, 0.5, "added in the middle tones")
    black: float = number(Grows(0.0, 0.12), 0, 0.6, "level of black")

    def paint(self, page: Page) -> Page:
        return replace(page, image=_toned(page.image, self.stops, self.contrast, self.black))


@dataclass(frozen=True, kw_only=True)
class Overexposure(Effect):
    """Exposed too long: paper and a pale grid burn out to white, ink turns grey."""

    stage: ClassVar[str] = "light"
    stops: float = number(Grows(0.05, 1.6), 0, 6, "of light too much")
    black: float = number(Grows(0.0, 0.1), 0, 0.6, "level of black")

    def paint(self, page: Page) -> Page:
        return replace(page, image=_toned(page.image, self.stops, 0.0, self.black))


def _toned(image: U8, stops: float, contrast: float, black: float) -> U8:
    """The image with ``stops`` more light, clipped at white, a steeper middle, and black lifted."""
    tone = (np.arange(256) / 255.0) * 2.0 ** (stops / 2.2)
    tone = np.minimum(tone, 1.0)
    tone = tone + 2.0 * contrast * tone * (1.0 - tone) * (2.0 * tone - 1.0)
    tone = black + (1.0 - black) * tone
    return fl.u8(cv2.LUT(image, np.clip(np.round(255.0 * tone), 0, 255).astype(np.uint8)))


def _black_body(kelvin: float) -> D:
    """(3,) light of a black body in red, green and blue (Planck's law at 610, 545 and 465 nm)."""
    nm = np.array([610.0, 545.0, 465.0])
    return np.asarray(1.0 / np.expm1(1.4388e7 / (nm * kelvin)), np.float64)


def _grid(image: U8, cells: int) -> tuple[F, F]:
    """x and y (h, w) of a small field over the image, from its middle, in parts of the longer side."""
    height, width = image.shape[:2]
    longer = max(height, width)
    h, w = (max(4, round(n * min(1.0, cells / longer))) for n in (height, width))
    x, y = (((np.arange(n) + 0.5) / n - 0.5) * size / longer for n, size in ((w, width), (h, height)))
    across, down = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    return across, down


def _shade(dark: NDArray[np.floating], warmth: float) -> F:
    """(h, w, 3) factors for a darkening (h, w), in which the colours differ by ``warmth``."""
    lit = np.log(np.maximum(1.0 - np.asarray(dark, np.float32), 0.03))
    return np.asarray(np.exp(np.stack([lit * (1.0 - warmth), lit, lit * (1.0 + warmth)], axis=-1)), np.float32)


def _whitened(page: Page, share: F) -> Page:
    """The page under white light (h, w): at 1 it is white, as far as it reaches; a box where ink is lost."""
    image = page.image.copy()
    fl.cover(image, (255, 255, 255), share)
    boxes = hiding(page, share, _HIDDEN, "glare") if share.max() >= _HIDDEN else ()
    return replace(page, image=image, boxes=(*page.boxes, *boxes))


def _reflection(rng: np.random.Generator, x: F, y: F, kind: str, size: float) -> F:
    """(h, w) what is mirrored, 0 to 1; x and y (h, w) from its middle, in parts of the longer side."""
    angle = rng.normal(0, 0.35) + (np.pi / 2 if rng.random() < 0.3 else 0.0)
    # Curled paper bends the mirror image a little.
    u = np.cos(angle) * x + np.sin(angle) * y
    v = np.cos(angle) * y - np.sin(angle) * x + rng.normal(0, 0.8) * u**2
    if kind == "lamp":
        return np.asarray(np.hypot(u / size, v / (size * rng.uniform(0.6, 1.0))) < 1.0, np.float32)
    if kind == "tube":
        return np.asarray(np.maximum(np.abs(u) / (3.0 * size), np.abs(v) / (0.3 * size)) < 1.0, np.float32)
    if kind == "sheen":
        wide, long = size * rng.uniform(0.7, 1.3), size * rng.uniform(2.0, 4.0)
        return np.asarray(np.exp(-((v / wide) ** 2) - (u / long) ** 2), np.float32)
    wide, tall = size * rng.uniform(0.8, 1.3), size * rng.uniform(0.8, 1.3)
    u = u + 0.25 * v * rng.normal(0, 1)
    out = (np.abs(u) < wide) & (np.abs(v) < tall)
    bars = (np.abs(u) < 0.06 * wide) | (np.abs(v - rng.uniform(-0.2, 0.2) * tall) < 0.06 * tall)
    return np.asarray(out & ~bars, np.float32)
