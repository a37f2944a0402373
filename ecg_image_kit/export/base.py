"""What exports have in common: which things can be seen on a page, and where."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import PageError
from ..page import Box, Page, Trace, _within
from ..record import atomic_write
from ..warp import Points

# What things are called, in every export and in this order whatever a folder holds: a model that was trained on one
# folder means the same on another. ``lead`` is the ink of one strip, ``page`` the sheet; kinds of boxes that are not
# listed are ``other``. New kinds go to the end.
CLASSES = (
    "lead", "page", "other", "label", "header", "footer", "calibration", "measurement", "text", "pulse", "code",
    "handwriting", "signature", "arrow", "circle", "underline", "caliper", "stamp", "highlighter", "sticker", "note",
    "redaction", "tape", "staple", "hole", "tear", "torn edge", "clip", "finger", "dropout",
    "glare",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Thing:
    """Something that can be seen: class, outline (N, 2) px from the image's corner, text; whether an edge cuts it."""

    name: str
    outline: Points
    text: str = ""
    cut: bool = False
    trace: Trace | None = None
    box: Box | None = None

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        (x0, y0), (x1, y1) = self.outline.min(axis=0), self.outline.max(axis=0)
        return float(x0), float(y0), float(x1), float(y1)


@dataclass(frozen=True, eq=False)
class Item:
    """A page to export: its number from 1, its image, and what can be seen on it."""

    number: int
    image: Path
    page: Page

    @cached_property
    def things(self) -> tuple[Thing, ...]:
        return tuple(things_of(self.page))

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px."""
        height, width = self.page.image.shape[:2]
        return width, height


class Exporter:
    """Takes pages one at a time; ``close`` finishes what is common to all of them."""

    def __init__(self, folder: Path, copy_images: bool) -> None:
        self.folder = folder
        self.copy_images = copy_images
        self.paths: list[Path] = []

    def add(self, item: Item) -> None:
        """Write what belongs to one page."""
        raise NotImplementedError

    def close(self) -> None:
        """Write what belongs to all."""

    def discard(self) -> None:
        """Leave nothing half-written."""

    def write(self, path: Path, text: str | bytes) -> None:
        atomic_write(path, text.encode() if isinstance(text, str) else text)
        self.paths.append(path)

    def copy(self, item: Item, stem: Path, png: bool = False) -> None:
        """If images are wanted: a hard link to it (a copy where there are none), or the same picture as a PNG."""
        if not self.copy_images:
            return
        path = stem.with_name(stem.name + (".png" if png else item.image.suffix))
        if png and item.image.suffix != ".png":
            self.write(path, png_of(item.page.image))
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        try:
            os.link(item.image, path)
            self.paths.append(path)
        except OSError:
            self.write(path, item.image.read_bytes())


def things_of(page: Page) -> Iterator[Thing]:
    """The sheet, strips and boxes of a page, as far as they can be seen."""
    sheet = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]) * [page.layout.width, page.layout.height]
    found = [thing_of(page, "page", sheet)]
    pen = float(page.style.get("pen_width", 0.3)) / 2
    for trace in page.traces:
        mm = page.mm(trace)[page.visible(trace)]
        if len(mm):
            (x0, y0), (x1, y1) = mm.min(axis=0) - pen, mm.max(axis=0) + pen
            window = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
            found.append(thing_of(page, "lead", window, trace.strip.lead, trace=trace))
    for k, box in enumerate(page.boxes):
        if not _covered(box, page.boxes[k + 1 :]):
            name = box.kind if box.kind in CLASSES else "other"
            found.append(thing_of(page, name, box.outline, box.text, box=box))
    return (thing for thing in found if thing is not None)


def thing_of(page: Page, name: str, outline: Points, text: str = "", **of: Any) -> Thing | None:
    """The thing with this outline (N, 2) mm, if more than a sliver of it is in the image."""
    height, width = page.image.shape[:2]
    whole = np.clip(page.outline(Box(name, outline)) + 0.5, -1e6, 1e6)
    whole = cv2.approxPolyDP(whole.astype(np.float32), 0.03, True)[:, 0].astype(np.float64)
    seen = _clipped(whole, width, height)
    if len(seen) < 3 or area_of(seen) < 1 or np.ptp(seen, axis=0).min() < 1:
        return None
    cut = bool((whole < -1).any() or (whole > [width + 1, height + 1]).any())  # a sheet need not be whole pixels
    return Thing(name, seen, text, cut, **of)


def _clipped(polygon: Points, width: float, height: float) -> Points:
    """The part of a polygon (N, 2) within an image (Sutherland and Hodgman, CACM 1974)."""
    for axis, end, sign in ((0, 0.0, 1.0), (0, width, -1.0), (1, 0.0, 1.0), (1, height, -1.0)):
        inside = sign * (polygon[:, axis] - end)  # how far
        if (inside >= 0).all():
            continue
        points = []
        for p, q, a, b in zip(polygon, np.roll(polygon, -1, 0), inside, np.roll(inside, -1), strict=True):
            if a >= 0:
                points.append(p)
            if (a >= 0) != (b >= 0):
                points.append(p + (q - p) * (a / (a - b)))
        polygon = np.array(points).reshape(-1, 2)
    return np.clip(polygon, 0.0, [width, height])


def _covered(box: Box, later: Iterable[Box]) -> bool:
    """Whether nothing of a box is to be seen, for what was put on it later."""
    low, high = box.outline.min(axis=0), box.outline.max(axis=0)
    hiding = [
        other.outline
        for other in later
        if other.hides and (other.outline.min(axis=0) < high).all() and (other.outline.max(axis=0) > low).all()
    ]
    if not hiding:
        return False
    grid = np.stack(np.meshgrid(*(np.linspace(0.02, 0.98, 12),) * 2), axis=-1).reshape(-1, 2) * (high - low) + low
    grid = np.concatenate([grid[_within(grid, box.outline)], box.outline.mean(axis=0, keepdims=True)])
    return bool(np.any([_within(grid, outline) for outline in hiding], axis=0).all())


def states_of(page: Page, mm: Points) -> NDArray[np.int64]:
    """(N,) as COCO counts: 0 outside the image, 1 covered, 2 visible."""
    height, width = page.image.shape[:2]
    px = page.mm_to_px(mm)
    inside = ((px > -0.5) & (px < [width - 0.5, height - 0.5])).all(axis=1)
    covered = np.zeros(len(mm), np.bool_)
    for box in page.boxes:
        if box.hides:
            covered |= _within(mm, box.outline)
    return np.where(inside, np.where(covered, 1, 2), 0)


def area_of(outline: Points) -> float:
    x, y = outline.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def rounded(values: Any) -> list[float]:
    return [round(float(v), 2) for v in np.ravel(values)]


def csv_of(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def png_of(image: NDArray[np.uint8]) -> bytes:
    """A PNG file of (H, W) labels or (H, W, 3) RGB."""
    blue_first = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".png", blue_first, [cv2.IMWRITE_PNG_COMPRESSION, 2])
    if not ok:
        raise PageError(f"image of shape {image.shape} cannot be written as png.")
    return data.tobytes()
