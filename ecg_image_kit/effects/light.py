"""Light: gradients, shadows, glare, colour, exposure. All of it from small fields, in fractions of the longer side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..page import Box, Page
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word

U8 = NDArray[np.uint8]
F = NDArray[np.float32]
D = NDArray[np.float64]

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
        shape = _SHADOWS[self.kind](rng, x.shape, self.size)
        dark: F = np.zeros(x.shape, np.float32)
        for share in rng.dirichlet([2.0] * self.lamps):
            turn = cv2.getRotationMatrix2D((x.shape[1] / 2, x.shape[0] / 2), float(rng.normal(0, 2)), 1.0)
            if self.lamps > 1:
                turn = turn + np.pad(rng.normal(0, 0.05 * _FINE, (2, 1)), ((0, 0), (2, 0)))
            cast = cv2.warpAffine(shape, turn, x.shape[::-1], borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
            sigma = self.softness * _FAR[self.kind] * max(x.shape) / 2
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
        dark = cv2.GaussianBlur(np.asarray(1.0 - lit * window, np.float32), (0, 0), 1.0)
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
        lit = fl.multiply(page.image, np.asarray(1.0 - self.fall * dark, np.float32))
        return _whitened(replace(page, image=lit), np.asarray(self.core * spot / 1.12, np.float32))


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
        return replace(
            page, image=fl.multiply(page.image, np.asarray(gain / gain.max(axis=-1, keepdims=True), np.float32))
        )


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
    return np.asarray(cv2.LUT(image, np.clip(np.round(255.0 * tone), 0, 255).astype(np.uint8)), np.uint8)


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
    dark = np.asarray(cv2.bitwise_not(page.image), np.uint8)
    veiled = fl.multiply(dark, np.clip(1.0 - share, 0.0, 1.0))
    boxes = hiding(page, share, _HIDDEN, "glare") if share.max() >= _HIDDEN else ()
    return replace(page, image=np.asarray(cv2.bitwise_not(veiled), np.uint8), boxes=(*page.boxes, *boxes))


def hiding(
    page: Page, alpha: F, level: float, kind: str, origin: tuple[int, int] = (0, 0), scale: float = 0.0, grow: int = 0
) -> tuple[Box, ...]:
    """Boxes around the parts of a field (h, w) that are at ``level`` or more, as what hides the sheet.

    Args:
        origin: (x, y) px of the field's corner in the image. scale: px of the image for each of the field; 0: the field
            covers the image, and is smoothly enlarged first.
        grow: px of the field by which the outlines are moved outwards.
    """
    if scale == 0.0:
        height, width = page.image.shape[:2]
        scale = max(1.0, max(height, width) / 1200)
        alpha = fl.resize(alpha, (max(1, round(height / scale)), max(1, round(width / scale))))
        steps = np.array([width / alpha.shape[1], height / alpha.shape[0]])
    else:
        steps = np.array([scale, scale])
    inside = np.pad((alpha >= level).astype(np.uint8), grow + 1)
    if grow:
        inside = np.asarray(cv2.dilate(inside, np.ones((2 * grow + 1,) * 2, np.uint8)), np.uint8)
    contours, tree = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = [cv2.approxPolyDP(c, 0.4, True).reshape(-1, 2).astype(np.float64) for c in contours]
    boxes = []
    for k, ring in enumerate(rings):
        if tree[0, k, 3] < 0 and len(ring) >= 3:
            # A hole is joined to the outline by a cut that is gone over twice, which the even-odd rule does not see.
            holes = [r for r, link in zip(rings, tree[0], strict=True) if link[3] == k and len(r) >= 3]
            corners = np.concatenate([ring, *(p for hole in holes for p in (ring[:1], hole, hole[:1])), ring[:1]])
            px = (corners - grow - 1 + 0.5) * steps - 0.5 + np.array(origin)
            boxes.append(Box(kind, page.mm_to_px.inverse(px), hides=True))
    return tuple(boxes)


# Shapes of shadows: (h, w) uint8, 255 in the dark, drawn in px of the small field


def _place(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> tuple[D, D, D, float]:
    """A point within the field, the direction to it from a border, one across, and the unit in px."""
    height, width = shape
    angle = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    middle = np.array([width, height]) / 2
    tip = middle + rng.uniform(-0.28, 0.28, 2) * [width, height]
    return tip, along, np.array([-along[1], along[0]]), size * max(shape)


def _stroke(out: U8, points: list[D], width: float) -> None:
    """A thick line with round ends."""
    px = np.round(np.array(points) * 16).astype(np.int32)
    cv2.polylines(out, [px], False, 255, max(1, round(width)), cv2.LINE_AA, 4)


def _fill(out: U8, points: D) -> None:
    cv2.fillPoly(out, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)


def _arm(out: U8, wrist: D, along: D, across: D, unit: float, bow: float) -> None:
    """A forearm from the wrist out of the picture, widening."""
    back = [wrist - along * unit * t + across * unit * bow * t**2 for t in (0.0, 0.3, 0.7, 1.6)]
    widths = np.array([0.042, 0.055, 0.07, 0.085]) * unit
    left = [p + across * w for p, w in zip(back, widths, strict=True)]
    right = [p - across * w for p, w in zip(back, widths, strict=True)]
    _fill(out, np.array(left + right[::-1]))


def _hand(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> U8:
    """A hand that points at something, or is spread, with its forearm."""
    out = np.zeros(shape, np.uint8)
    tip, along, across, unit = _place(rng, shape, 1.25 * size)
    palm = tip - along * 0.18 * unit
    cv2.ellipse(out, (np.round(palm).astype(int).tolist()), (round(0.1 * unit), round(0.075 * unit)),
                float(np.rad2deg(np.arctan2(along[1], along[0]))), 0, 360, 255, -1, cv2.LINE_AA)  # fmt: skip
    side, spread = rng.choice([-1.0, 1.0]), rng.uniform(0.0, 0.35)
    bent = rng.uniform(0.3, 1.0, 4) if rng.random() < 0.5 else np.full(4, 0.9)
    for k, length in enumerate((0.17, 0.19, 0.18, 0.14)):
        off = (k - 1.5) / 1.5
        root = palm + along * 0.06 * unit + across * side * off * 0.055 * unit
        lean = along + across * side * off * spread
        _stroke(out, [root, root + lean * length * max(bent[k], 0.9 if k == 0 else 0.0) * unit], 0.034 * unit)
    root = palm - along * 0.02 * unit - across * side * 0.06 * unit
    _stroke(out, [root, root + (along * 0.09 - across * side * 0.07) * unit], 0.04 * unit)
    _arm(out, palm - along * 0.06 * unit, along, across, unit, rng.uniform(-0.1, 0.1))
    return out


def _phone(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> U8:
    """A phone held over the sheet by one hand, or by two."""
    out = np.zeros(shape, np.uint8)
    tip, along, _, unit = _place(rng, shape, size)
    half = np.array([0.29, 0.145]) * unit
    turn = np.deg2rad(rng.choice([0.0, 90.0]) + rng.normal(0, 8))
    u, v = (np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)]))
    corners = [tip + a * u * half[0] * 0.92 + b * v * half[1] * 0.86 for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
    _fill(out, np.array(corners))
    _stroke(out, [*corners, corners[0]], 0.05 * unit)
    for sign in (1.0, -1.0)[: int(rng.integers(1, 3))]:
        grip = tip + sign * u * half[0] * 0.95
        out_of = sign * u + 0.5 * along
        out_of /= np.linalg.norm(out_of)
        cv2.circle(out, (round(float(grip[0])), round(float(grip[1]))), round(0.085 * unit), 255, -1, cv2.LINE_AA)
        _arm(out, grip + 0.05 * unit * out_of, -out_of, np.array([out_of[1], -out_of[0]]), unit, 0.0)
    return out


def _head(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> U8:
    """The head and shoulders of whoever takes the picture, from below or from a side."""
    out = np.zeros(shape, np.uint8)
    height, width = shape
    unit = 1.4 * size * max(shape)
    up = np.array([0.0, -1.0]) if rng.random() < 0.7 else np.array([rng.choice([-1.0, 1.0]), -0.3])
    up /= np.linalg.norm(up)
    across = np.array([-up[1], up[0]])
    middle = np.array([width, height]) / 2
    foot = (
        middle
        - up * np.abs(up @ [width, height]) / 2
        + across * rng.uniform(-0.3, 0.3) * np.abs(across @ [width, height])
    )
    head = foot + up * rng.uniform(0.1, 0.4) * unit
    tilt = float(np.rad2deg(np.arctan2(up[1], up[0])))
    cv2.ellipse(out, np.round(head).astype(int).tolist(), (round(0.16 * unit), round(0.125 * unit)),
                tilt, 0, 360, 255, -1, cv2.LINE_AA)  # fmt: skip
    chest = head - up * 0.33 * unit
    cv2.ellipse(out, np.round(chest).astype(int).tolist(), (round(0.21 * unit), round(0.36 * unit)),
                tilt, 0, 360, 255, -1, cv2.LINE_AA)  # fmt: skip
    _stroke(out, [head, chest], 0.17 * unit)
    return out


def _edge(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> U8:
    """All that lies beyond a nearly straight edge: of a wall, a screen, a bed rail."""
    out = np.zeros(shape, np.uint8)
    tip, along, across, _ = _place(rng, shape, size)
    tip = tip - along * (size - 1.0) * 0.2 * max(shape)
    t = np.linspace(-3, 3, 25)[:, None] * max(shape)
    bow = rng.normal(0, 0.03) * (t / max(shape)) ** 2 * max(shape)
    line = tip + across * t + along * bow
    _fill(out, np.concatenate([line, line[::-1] + along * 6 * max(shape)]))
    return out


_SHADOWS = {"hand": _hand, "phone": _phone, "head": _head, "edge": _edge}
_FAR = {"hand": 1.0, "phone": 1.3, "head": 2.2, "edge": 1.0}  # what is further from the paper has softer edges


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
