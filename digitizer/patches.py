"""patches: what the digitizer's network learns from. Pieces of pages laid flat, and what is drawn on them.

    >>> rng = np.random.default_rng(0)
    >>> lesson = flatten_page(page, rng)
    >>> patch = next(cut(lesson, rng))

A page's truth is in millimetres, so it can be laid flat exactly; a small smooth error is then added, as a real page is
never laid flat exactly, and the targets are drawn with the same error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from ecg_image_kit import raster
from ecg_image_kit.effects import apply
from ecg_image_kit.errors import UsageError
from ecg_image_kit.layout import Layout, Strip
from ecg_image_kit.page import Page, Trace
from ecg_image_kit.recipes import recipe_of
from ecg_image_kit.record import STANDARD_LEADS, Record
from ecg_image_kit.render import Style, render

from .arrays import U8, B, D, F
from .network import LABEL_STRIDE, PX_PER_MM
from .rectify import through

PEN = 0.25  # mm; of the strokes it draws: the thinner, the less of a QRS they cover (2 px)
LABELS = ("", *STANDARD_LEADS, "-aVR")  # what its label classes mean
MARGIN = 5.0  # mm around the sheet that are looked at, too


@dataclass(frozen=True, eq=False)
class Lesson:
    """A page laid flat at PX_PER_MM, and what is drawn on it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        ink: (H, W, 2) uint8, 0 bare to 255 covered, of traces and pulses, by a pen PEN wide.
        labels: (H / 4, W / 4) uint8 index into LABELS.
        places: (N, 2) px x, y worth looking at: where labels are and strips begin.
    """

    image: U8
    ink: U8
    labels: U8
    places: D


@dataclass(frozen=True, eq=False)
class Patch:
    """A square piece of a lesson. ``turn``: quarter turns by which it was turned (anticlockwise).

    image (S, S, 3) and ink (S, S, 2) uint8, labels (S / 4, S / 4) uint8.
    """

    image: U8
    ink: U8
    labels: U8
    turn: int


@dataclass(frozen=True)
class Mixture:
    """What pages are drawn at random: recipe -> weight, and the range of severities and of resolutions."""

    recipes: tuple[tuple[str, float], ...] = (("clean", 1.0), ("random", 9.0))
    severity: tuple[float, float] = (0.0, 1.0)
    dpi: tuple[float, float] = (90.0, 300.0)
    layouts: tuple[str, ...] = ("3x4", "3x4+1R", "3x4+1R", "3x4+3R", "6x2", "6x2+1R", "12x1", "4x3", "4x3+1R", "3x4+2R")
    # mm by which rows may stand beside the grid's lines, and pulses beside where our layouts have them, either way; and
    # lead names from 4 times that further left to 6 times that further right: so that none tells where others are
    loose: float = 0.0

    def page(self, record: Record, rng: np.random.Generator) -> Page:
        """A page of a record of 12 leads, its waveforms varied."""
        record = varied(record, rng)
        names, weights = zip(*self.recipes, strict=True)
        recipe = recipe_of(str(rng.choice(names, p=np.array(weights) / sum(weights))))
        layout = Layout.for_record(
            record,
            str(rng.choice(self.layouts)),
            sheet=str(rng.choice(["A4", "Letter", "strip"], p=[0.6, 0.3, 0.1])),
            speed=float(rng.choice([25.0, 50.0, 12.5], p=[0.86, 0.11, 0.03])),
            gain=float(rng.choice([10.0, 5.0, 20.0], p=[0.86, 0.08, 0.06])),
            order=str(rng.choice(["standard", "cabrera"], p=[0.93, 0.07])),
            columns=str(rng.choice(["sequential", "simultaneous"], p=[0.9, 0.1])),
            pulse=str(rng.choice(["left", "right", "first", "none"], p=[0.6, 0.1, 0.15, 0.15])),
            top=float(rng.uniform(12, 45)),
            bottom=float(rng.uniform(5, 25)),
        )
        dpi, style = float(np.exp(rng.uniform(*np.log(self.dpi)))), Style.random(rng)
        if self.loose:
            layout = _moved(layout, *rng.uniform(-self.loose, self.loose, 3))
            style = replace(style, label_x=style.label_x + float(rng.uniform(-4, 6)) * self.loose)
        page = render(record, layout, style, dpi)
        return apply(page, recipe.draw(rng, float(rng.uniform(*self.severity))))


def _moved(layout: Layout, right: float, down: float, pulses: float) -> Layout:
    """The strips moved by mm, and the pulses beside them further right or left; the sheet and its grid stay."""
    strips = tuple(replace(strip, x=strip.x + right, y=strip.y + down) for strip in layout.strips)
    beside = tuple(replace(pulse, x=pulse.x + right + pulses, y=pulse.y + down) for pulse in layout.pulses)
    return replace(layout, strips=strips, pulses=beside)


def varied(record: Record, rng: np.random.Generator) -> Record:
    """A record made other than it was: amplitude, heart rate, wander, noise, flat, cut off and paced leads.

    So that the network learns to follow any line, not what ECGs usually look like.
    """
    mv = record.mv.astype(np.float32) * np.float32(np.exp(rng.normal(0, 0.25)))
    n = mv.shape[1]
    fs = record.fs * float(np.exp(rng.normal(0, 0.12)))  # played faster or slower
    mv = np.stack([np.interp(np.arange(n) * fs / record.fs % (n - 1), np.arange(n), row) for row in mv])
    s = np.arange(n) / record.fs
    if rng.random() < 0.3:
        phase, rate = rng.uniform(0, 2 * np.pi, len(mv)), rng.uniform(0.05, 0.6)
        mv += rng.uniform(0, 0.3, (len(mv), 1)) * np.sin(2 * np.pi * rate * s + phase[:, None])
    if rng.random() < 0.15:
        mv += rng.uniform(0.01, 0.06) * np.sin(2 * np.pi * rng.choice([50.0, 60.0]) * s)
    if rng.random() < 0.15:
        mv += rng.normal(0, rng.uniform(0.005, 0.05), mv.shape)
    if rng.random() < 0.08:  # spikes of a pacemaker
        beat = rng.uniform(0.6, 1.2)
        for at in np.arange(rng.uniform(0, beat), n / record.fs - 0.01, beat):
            mv[:, int(at * record.fs)] += rng.normal(0, 1.5, len(mv))
    if rng.random() < 0.08:
        mv[rng.integers(len(mv))] = 0.0
    if rng.random() < 0.05:
        limit = rng.uniform(0.5, 1.5)
        mv = np.clip(mv, -limit, limit)
    return replace(record, mv=mv.astype(np.float32))


def laid_flat(page: Page, rng: np.random.Generator | None = None) -> tuple[U8, Callable[[D], D]]:
    """The image (H, W, 3) of the page laid flat by its own truth, but for a small smooth error (SD up to 0.3 mm, tilt
    up to 1 degree); and the map from (N, 2) mm on the sheet to its px.

    Without ``rng`` there is no error: px are PX_PER_MM * (sheet mm + MARGIN).
    """
    width, height = (_multiple((side + 2 * MARGIN) * PX_PER_MM) for side in (page.layout.width, page.layout.height))
    wrong = _error((width, height), rng) if rng else np.zeros_like

    def to_mm(px: D) -> D:
        return px / PX_PER_MM - MARGIN + wrong(px)

    def to_px(mm: D) -> D:
        flat = (mm + MARGIN) * PX_PER_MM
        px = flat
        for _ in range(3):
            px = flat - PX_PER_MM * wrong(px)
        return px

    scale = page.px_per_mm / PX_PER_MM
    return through(page.image, lambda px: page.mm_to_px(to_mm(px)), (width, height), scale), to_px


def flatten_page(page: Page, rng: np.random.Generator | None = None) -> Lesson:
    """What is to be learned from a page ``laid_flat``."""
    image, to_px = laid_flat(page, rng)
    height, width = image.shape[:2]
    trace, pulse = np.zeros((2, height, width), np.uint8)
    places = []
    for drawn in page.traces:
        dense = drawn.upsampled()
        seen = page.visible(dense)
        if not np.isfinite(dense.mv).any():
            continue
        px = to_px(np.nan_to_num(page.mm(dense)))
        y = np.where(seen, px[:, 1], np.nan)
        raster.draw_graph(trace, np.maximum.accumulate(px[:, 0]), y, PEN * PX_PER_MM)
        places += [px[0], px[-1]]
    for mark in page.layout.pulses:
        mm = np.asarray(mark.outline(page.layout.speed), np.float64)
        px, clear = to_px(mm), _visible(page, mm)
        for k in range(len(px) - 1):
            if clear[k] and clear[k + 1]:
                _draw_edge(pulse, px[k : k + 2])
        places.append(px.mean(axis=0))
    labels = np.zeros((height // LABEL_STRIDE, width // LABEL_STRIDE), np.uint8)
    for box in page.boxes:
        if box.kind == "label" and box.text in LABELS:
            mm = np.asarray(box.outline, np.float64)
            if not _visible(page, mm.mean(axis=0, keepdims=True)).all():
                continue
            px = to_px(mm)
            corners = np.round((px - (LABEL_STRIDE - 1) / 2) / LABEL_STRIDE * 16).astype(np.int32)
            cv2.fillPoly(labels, [corners], LABELS.index(box.text), cv2.LINE_8, 4)
            places.append(px.mean(axis=0))
    return Lesson(image, np.stack([trace, pulse], axis=-1), labels, np.array(places).reshape(-1, 2))


def _visible(page: Page, mm: D) -> B:
    """(N,) whether each of (N, 2) mm can be seen."""
    dots = (Trace(Strip("", 0.0, 1.0, x, y), 0.0, 1.0, np.zeros(1, np.float32)) for x, y in mm.tolist())
    return np.array([page.visible(dot)[0] for dot in dots], np.bool_)


def _draw_edge(ink: U8, ends: D) -> None:
    """A straight stroke between two px, whatever its direction (an upright one is no graph of x)."""
    if abs(ends[1, 1] - ends[0, 1]) > abs(ends[1, 0] - ends[0, 0]):
        ink, ends = ink.T, ends[:, ::-1]
    ends = ends[np.argsort(ends[:, 0])]
    raster.draw_graph(ink, ends[:, 0], ends[:, 1], PEN * PX_PER_MM, "round")


def cut(
    lesson: Lesson, rng: np.random.Generator, count: int = 24, size: int = 256, turned: float = 0.2
) -> Iterator[Patch]:
    """``count`` pieces, half of them anywhere, half about places worth looking at; a share of them ``turned``."""
    height, width = lesson.image.shape[:2]
    if size % LABEL_STRIDE or not 0 < size <= min(height, width):
        raise UsageError(f"pieces of {size} px of a page of {width} x {height}; expected a multiple of {LABEL_STRIDE}.")
    for _ in range(count):
        x, y = rng.uniform(0, width - size), rng.uniform(0, height - size)
        if len(lesson.places) and rng.random() < 0.5:
            x, y = rng.choice(lesson.places) - size / 2 + rng.uniform(-0.45, 0.45, 2) * size
        left, top = (
            int(np.clip(v, 0, side - size)) // LABEL_STRIDE * LABEL_STRIDE for v, side in ((x, width), (y, height))
        )
        at = np.s_[top : top + size, left : left + size]
        i, j, side = top // LABEL_STRIDE, left // LABEL_STRIDE, size // LABEL_STRIDE
        turn = int(rng.integers(1, 4)) if rng.random() < turned else 0
        parts = lesson.image[at], lesson.ink[at], lesson.labels[i : i + side, j : j + side]
        image, ink, labels = (np.ascontiguousarray(np.rot90(part, turn)) for part in parts)
        yield Patch(image, ink, labels, turn)


def jitter(image: U8, rng: np.random.Generator) -> U8:
    """Other light, another colour balance, another camera: what recipes vary by page is varied by piece once more."""
    x: F = image.astype(np.float32) / np.float32(255)
    if rng.random() < 0.2:
        x = np.repeat(x @ rng.dirichlet([2, 3, 1]).astype(np.float32)[..., None], 3, axis=2)
    x = x ** np.float32(np.exp(rng.normal(0, 0.25)))
    x = (x - 0.5) * np.float32(np.exp(rng.normal(0, 0.2))) + np.float32(0.5 + rng.normal(0, 0.06))
    x *= np.exp(rng.normal(0, 0.06, 3)).astype(np.float32)
    if rng.random() < 0.15:
        x = np.asarray(cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.6)), np.float32)
    if rng.random() < 0.2:
        x = x + rng.normal(0, rng.uniform(0.01, 0.08), x.shape).astype(np.float32)
    return np.asarray(np.clip(x * 255 + 0.5, 0, 255), np.uint8)


def _multiple(px: float, of: int = 32) -> int:
    return int(np.ceil(px / of)) * of


def _error(size: tuple[int, int], rng: np.random.Generator) -> Callable[[D], D]:
    """A smooth displacement field: (N, 2) px -> (N, 2) mm."""
    amount = rng.choice([0.02, 0.3]) * abs(rng.normal())
    nodes = rng.normal(0, amount, (size[1] // 256 + 4, size[0] // 256 + 4, 2)).astype(np.float32)
    tilt = rng.normal(0, 0.006, (2, 2)) * rng.choice([0.2, 1.0])
    fine = cv2.resize(nodes, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)  # a value every 32 px
    centre = np.array(size) / 2

    def wrong(px: D) -> D:
        at = (px[:, ::-1] / 32 + 8).T
        field = np.stack([map_coordinates(fine[..., k], at, order=1, mode="nearest") for k in (0, 1)], axis=-1)
        return np.asarray(field + (px - centre) / PX_PER_MM @ tilt, np.float64)

    return wrong
