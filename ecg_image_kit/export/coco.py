"""COCO (Lin et al., ECCV 2014): instances and key points in one JSON file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ..page import Page, Trace
from ..warp import Points
from .base import CLASSES, Exporter, Item, area_of, rounded, states_of, thing_of

_CROSSING = "crossing"  # of the grid, a key point every _APART mm
_APART = 25


class Coco(Exporter):
    """coco.json: boxes, polygons and key points of everything that can be seen."""

    def __init__(self, folder: Path, copy_images: bool) -> None:
        super().__init__(folder, copy_images)
        self.images: list[dict[str, Any]] = []
        self.count = 0
        self.stream: TextIO | None = None
        self.part = folder / f".coco.json.{os.getpid()}.part"

    def add(self, item: Item) -> None:
        width, height = item.size
        self.images.append({"id": item.number, "file_name": item.image.name, "width": width, "height": height})
        for thing in item.things:
            more: dict[str, Any] = {"attributes": {"text": thing.text}}
            if thing.trace is not None:
                more["attributes"] = {"lead": thing.trace.strip.lead, "rhythm": thing.trace.strip.rhythm}
                more |= _keypoints(item.page, _ends(item.page, thing.trace))
            elif thing.box is not None:
                more["attributes"]["kind"] = thing.box.kind
            self._annotate(item, CLASSES.index(thing.name) + 1, thing.outline, more)
        for point, outline in _crossings(item.page):
            self._annotate(item, len(CLASSES) + 1, outline, point)

    def _annotate(self, item: Item, category: int, outline: Points, more: Mapping[str, Any]) -> None:
        if self.stream is None:  # a data set's annotations need not fit into memory
            self.stream = self.part.open("w", encoding="utf-8", newline="\n")
        (x0, y0), (x1, y1) = outline.min(axis=0), outline.max(axis=0)
        entry = {
            "id": self.count + 1, "image_id": item.number, "category_id": category, "iscrowd": 0,
            "area": round(area_of(outline), 2), "bbox": rounded([x0, y0, x1 - x0, y1 - y0]),
            "segmentation": [rounded(outline)], **more,
        }  # fmt: skip
        self.stream.write((",\n" if self.count else '{"annotations": [\n') + json.dumps(entry))
        self.count += 1

    def close(self) -> None:
        categories: list[dict[str, Any]] = [{"id": k + 1, "name": name} for k, name in enumerate(CLASSES)]
        categories[0] |= {"keypoints": ["start", "end"], "skeleton": [[1, 2]]}
        categories.append({"id": len(categories) + 1, "name": _CROSSING, "keypoints": [_CROSSING], "skeleton": []})
        rest = {"images": self.images, "categories": categories, "licenses": [], "info": {"version": "1.0"}}
        if self.stream is None:
            self.stream = self.part.open("w", encoding="utf-8", newline="\n")
            self.stream.write('{"annotations": [')
        self.stream.write("\n],\n" + json.dumps(rest)[1:] + "\n")
        self.stream.close()
        os.replace(self.part, self.folder / "coco.json")
        self.paths.append(self.folder / "coco.json")

    def discard(self) -> None:
        if self.stream is not None:
            self.stream.close()
        self.part.unlink(missing_ok=True)


def _ends(page: Page, trace: Trace) -> Points:
    """(2, 2) mm of a trace's first and last sample."""
    mm = page.mm(trace)
    known = np.flatnonzero(np.isfinite(mm).all(axis=1))
    return mm[known[[0, -1]]]


def _crossings(page: Page) -> Iterator[tuple[dict[str, Any], Points]]:
    """The grid's key points that can be seen, each with the outline of the 5 mm about it."""
    if page.style.get("grid", "none") == "none":
        return
    x, y = (np.arange(math.ceil(a / _APART), math.floor(b / _APART) + 1) * float(_APART)
            for a, b in (page._grid_range(axis) for axis in (0, 1)))  # fmt: skip
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    square = np.array([[-2.5, -2.5], [2.5, -2.5], [2.5, 2.5], [-2.5, 2.5]])
    points = points[states_of(page, points) == 2]
    for point, px in zip(points, page.mm_to_px(points), strict=True):
        thing = thing_of(page, _CROSSING, point + square)
        if thing is not None:
            yield {"keypoints": [*rounded(px), 2], "num_keypoints": 1}, thing.outline


def _keypoints(page: Page, mm: Points) -> dict[str, Any]:
    """COCO's key points of (N, 2) mm: pixel indices, and whether each can be seen."""
    states = states_of(page, mm)
    px = np.round(np.where(states[:, None] > 0, page.mm_to_px(mm), 0.0), 2)
    flat = [value for (x, y), v in zip(px.tolist(), states.tolist(), strict=True) for value in (x, y, v)]
    return {"keypoints": flat, "num_keypoints": int((states > 0).sum())}
