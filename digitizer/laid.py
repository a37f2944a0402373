"""laid: what is stuck on a sheet and hides it, such as a coloured note. What is written there is no trace.

A note is a rectangle of another colour than the paper, in which the grid that is seen all around cannot be seen. Stains
and highlighter leave the grid, glare is not coloured, and shadows have neither corners nor a colour of their own.
"""

from __future__ import annotations

import cv2
import numpy as np

from .arrays import U8, B, D, F
from .locate import local_paper

_COARSE = 2.0  # px per mm at which colours are looked at
_SMOOTH = 4.5  # mm, of a median that leaves paper alone
_COLOUR = 9.0  # of 255, in CIELAB's a and b, from that of most of the paper
_SMALLEST, _LARGEST = 12.0, 0.35  # mm of a side; share of the page
_NARROW, _FILLED = 10.0, 0.85  # mm across which it is a note's; share of the smallest rectangle about it
_TILE = 10.0  # mm: whole periods of both kinds of lines
_UNSEEN, _LEAST = 0.55, 25  # of the contrast of the grid elsewhere; percentile of its tiles: some are written on
_BEYOND = 0.8  # mm about a note that are not looked at, either


def notes_of(image: U8, k: float) -> B:
    """(H, W) where notes hide the sheet, on an upright view of it with ``k`` px per mm."""
    height, width = image.shape[:2]
    scale = _COARSE / k
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    smooth = cv2.medianBlur(small, 2 * round(_SMOOTH * _COARSE / 2) + 1)
    colour = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)[..., 1:].astype(np.float32)
    other = np.linalg.norm(colour - np.median(colour.reshape(-1, 2), axis=0), axis=2) > _COLOUR
    # Highlighter and handwriting may touch a note; they are narrower.
    square = np.ones((round(_NARROW * _COARSE),) * 2, np.uint8)
    other = cv2.morphologyEx(other.astype(np.uint8), cv2.MORPH_OPEN, square)
    hidden = np.zeros((height, width), np.uint8)
    count, label, stats, _ = cv2.connectedComponentsWithStats(other, connectivity=4)
    contrast: F | None = None
    for n in range(1, count):
        area = int(stats[n, cv2.CC_STAT_AREA])
        if not (_SMALLEST * _COARSE) ** 2 <= area <= _LARGEST * other.size:
            continue
        its = np.asarray(label == n, np.bool_)
        box = cv2.minAreaRect(np.argwhere(its)[:, ::-1].astype(np.float32))
        if min(box[1]) < _SMALLEST * _COARSE or area < _FILLED * box[1][0] * box[1][1]:
            continue
        if contrast is None:
            contrast = np.max([_contrast(_lines(image[..., c]), k) for c in range(3)], axis=0)
        if _hides(its, contrast):
            larger = tuple(side + 2 * _BEYOND * _COARSE for side in box[1])
            corners = (cv2.boxPoints((box[0], larger, box[2])) + 0.5) / scale - 0.5
            cv2.fillPoly(hidden, [np.round(corners).astype(np.int32)], 1)
    return hidden > 0


def _hides(its: B, contrast: F) -> bool:
    """Whether less of the grid is seen in a coarse part of the page than around it."""
    side = _TILE * _COARSE
    rows, columns = contrast.shape
    part = its[: round(rows * side), : round(columns * side)].astype(np.float32)
    tiles = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    within, around = contrast[tiles > 0.9], contrast[tiles == 0]
    if not within.size or not around.size:
        return False
    return bool(np.percentile(within, _LEAST) < _UNSEEN * np.median(around))


def _lines(channel: U8) -> F:
    """Share of the light that each px lacks of its surroundings in one channel: a grid is seen through a tint in some.

    What is darker than nearly everything else is ink, and counts no more than that.
    """
    paper = local_paper(channel).astype(np.float32)
    dark = np.clip(1 - channel / np.maximum(paper, 1.0), 0, None)
    return np.asarray(np.minimum(dark, max(0.02, float(np.percentile(dark[::3, ::3], 93)))), np.float32)


def _contrast(dark: F, k: float) -> F:
    """How much of a grid there is in each tile of ``dark``: the strongest of its 5 mm and 1 mm lines."""
    tile = round(_TILE * k)
    rows, columns = (n // tile for n in dark.shape)
    part = dark[: rows * tile, : columns * tile]
    height, width = part.shape
    across = part.reshape(rows, tile, width).mean(axis=1)  # (rows, width): what upright lines leave
    down = part.reshape(height, columns, tile).mean(axis=2)
    found: list[D] = []
    for period in (5.0, 1.0):
        wave = np.exp(2j * np.pi * np.arange(max(height, width)) / (period * k))
        found.append(np.abs((across * wave[:width]).reshape(rows, columns, tile).mean(axis=2)))
        found.append(np.abs((down * wave[:height, None]).reshape(rows, tile, columns).mean(axis=1)))
    return np.asarray(np.max(found, axis=0), np.float32)
