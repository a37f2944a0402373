"""Hidden: what can no longer be seen on a page, as boxes for the truth."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..page import Box, Page
from . import fields as fl
from .fields import U8, D, Some

_LEAST_GAP = 0.8  # mm of trace that must be lost before it is called hidden
_COARSE = 8  # px


def with_lost(page: Page, image: U8) -> Page:
    """The page with this image, and boxes around what of its traces was lost on the way."""
    return replace(page, image=image, boxes=(*page.boxes, *_dropouts(page, image)))


def _dropouts(page: Page, image: U8) -> tuple[Box, ...]:
    """Boxes around the stretches of trace that could be seen in the page's image and cannot in this one."""
    if not page.traces:
        return ()
    grey = [fl.u8(cv2.cvtColor(i, cv2.COLOR_RGB2GRAY)) for i in (page.image, image)]
    width = max(3, round(0.4 * page.px_per_mm) // 2 * 2 + 1)
    boxes: list[Box] = []
    dark = [cv2.erode(g, np.ones((width, width), np.uint8)) for g in grey]
    around = [_surroundings(g, page.px_per_mm) for g in grey]
    for trace in page.traces:
        mm = page.mm(trace)[:: max(1, round(trace.fs / 160))]
        mm = mm[np.isfinite(mm).all(axis=1)]
        px = np.round(page.mm_to_px(mm)) if len(mm) else mm
        inside = ((px >= 0) & (px < image.shape[1::-1])).all(axis=1)
        mm, (x, y) = mm[inside], px[inside].astype(np.int64).T
        row, column = y // _COARSE, x // _COARSE
        before, after = (a[row, column].astype(np.float32) - d[y, x] for a, d in zip(around, dark, strict=True))
        boxes += _stretches(mm, (before > 30) & (after < np.minimum(0.3 * before, 25)))
    return tuple(boxes)


def _surroundings(grey: U8, px_per_mm: float) -> U8:
    """(H / 8, W / 8) the level of the paper around each point: the brightest of the means nearby."""
    height, width = grey.shape
    padded = cv2.copyMakeBorder(grey, 0, -height % _COARSE, 0, -width % _COARSE, cv2.BORDER_REPLICATE)
    small = cv2.resize(padded, None, fx=1 / _COARSE, fy=1 / _COARSE, interpolation=cv2.INTER_AREA)
    reach = max(3, round(3 * px_per_mm / _COARSE) // 2 * 2 + 1)
    return fl.u8(cv2.dilate(small, np.ones((reach, reach), np.uint8)))


def _stretches(mm: D, lost: NDArray[np.bool_]) -> list[Box]:
    """A box around each run of lost points (N, 2) mm; shorter gaps between runs are lost with them."""
    at = np.flatnonzero(lost)
    if not at.size:
        return []
    boxes = []
    jumps = np.linalg.norm(np.diff(mm[at], axis=0), axis=1) > _LEAST_GAP
    for run in np.split(at, np.flatnonzero(jumps) + 1):
        part = mm[run[0] : run[-1] + 1]
        if len(run) < 2 or np.linalg.norm(np.diff(part, axis=0), axis=1).sum() < _LEAST_GAP:
            continue
        # Its envelope in steps of 1/4 mm: an outline that never crosses itself, however steep the trace is.
        bins = ((part[:, 0] - part[0, 0]) / 0.25).astype(np.int64)
        first = np.flatnonzero(np.diff(bins, prepend=-1))
        x = np.append(part[first, 0], part[-1, 0] + 0.01)
        x[0] -= 0.01  # a sample on the very edge would be in or out as the last digit is rounded
        low = np.append(np.minimum.reduceat(part[:, 1], first), part[-1, 1]) - 0.3
        high = np.append(np.maximum.reduceat(part[:, 1], first), part[-1, 1]) + 0.3
        outline = np.concatenate([np.stack([x, low], 1), np.stack([x, high], 1)[::-1]])
        boxes.append(Box("dropout", outline, hides=True))
    return boxes


def hiding(
    page: Page,
    alpha: Some,
    level: float,
    kind: str,
    origin: tuple[int, int] = (0, 0),
    scale: float = 0.0,
    grow: int = 0,
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
        inside = fl.u8(cv2.dilate(inside, np.ones((2 * grow + 1,) * 2, np.uint8)))
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
