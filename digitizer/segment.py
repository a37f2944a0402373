"""segment: how much of every pixel is covered by ink, with the grid taken away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from ecg_image_kit.errors import EcgError

from .arrays import I32, I64, U8, D, F, runs_of, stretches
from .locate import local_paper

INK = 0.4  # coverage of what counts as ink
_PALEST_INK = 0.85  # of the paper's brightness
_DARKEST_GRID = 0.9  # of the ink's darkness: what is darker all along a row or column is not grid
_SHORTEST_RULING = 4.0  # mm, of verticals that separate leads
_COLUMN = 20.0  # mm: of the narrowest columns of leads
_BESIDE = 0.25  # coverage, next to a ruled line, of a trace
_WIDEST_BREAK = 0.75  # mm, of a stroke, where a dot of the printer's head is dead
_ONE_HEIGHT, _APART = 0.3, 3.0  # mm within which breaks are equally high; beyond which they are other strokes
_LONG_STUMP, _SHORT_STUMP = 1.2, 0.3  # mm of the stroke on either side of it, beyond the pen's width


class NoInk(EcgError):
    """Nothing on the page is clearly darker than its grid."""


class PulseSeen(NamedTuple):
    """A calibration pulse, mm: x of its rising stroke, width and height, y of its foot."""

    x: float
    width: float
    height: float
    foot: float


class NameSeen(NamedTuple):
    """A lead's name: where it begins and the middle of its height, mm; how sure it is a name at all, 0 to 1.

    ``odds``: how likely it is each lead's, against the likeliest ``lead``.
    """

    lead: str
    x: float
    y: float
    sure: float
    odds: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Ink:
    """What is printed over the grid.

    Attributes:
        coverage: (H, W), 0 bare to 1 covered.
        weight_x, weight_y: (W,) and (H,), 0 to 1: how much the grid lines along each column and row leave to be seen.
        rulings: (N, 4) x, y, width, height px of ruled verticals that were taken away (of a drawing: from the page).
        pulses, names: what stands beside the traces, if the coverage is theirs alone; None: it is in the coverage.
        edge: (rows of an image of equal height in mm,) mm at which the photograph ends on the right, if that is known.
        drawn: the coverage is a drawing of what a network sees, not the page's own ink.
    """

    coverage: F
    weight_x: F
    weight_y: F
    rulings: I32 | D
    pulses: tuple[PulseSeen, ...] | None = None
    names: tuple[NameSeen, ...] | None = None
    edge: D | None = None
    drawn: bool = False


def segment(image: U8, kx: float, ky: float) -> Ink:
    """Ink coverage of an upright page of ``kx, ky`` px per mm, without grid, frames and ruled separators.

    The channel is the one in which ink stands out best from the grid (a red grid nearly vanishes in red). What is left
    of the grid is separable, so its column and row medians predict it everywhere. Raises NoInk.
    """
    channel = _best_channel(image)
    paper = local_paper(channel)
    light = channel / np.maximum(paper, 1.0)
    ink = float(np.percentile(light[::3, ::3], 0.4))
    if ink > _PALEST_INK:
        raise NoInk(
            f"the darkest ink is at {ink:.0%} of the paper's brightness; expected {_PALEST_INK:.0%} or less. "
            "Raise the contrast."
        )
    dark = np.asarray((1.0 - light) / (1.0 - ink), np.float32)
    columns = np.median(dark[::4], axis=0)
    rows = np.median(dark[:, ::4] - np.median(columns), axis=1)
    columns = np.maximum(np.clip(columns, 0, _DARKEST_GRID), min(float(np.median(dark[::5, ::5])), _DARKEST_GRID))
    rows = np.clip(rows, 0, _DARKEST_GRID)
    grid = np.maximum(columns[None, :], rows[:, None])
    coverage = np.asarray((dark - grid) / (1.0 - grid), np.float32)
    np.clip(coverage, 0, 1, out=coverage)
    off_grid = coverage[rows < 0.8][:, columns < 0.8]
    if not off_grid.size:
        raise NoInk("most of the image is as dark as its ink; expected bright paper. Crop what is not paper.")
    if float(np.mean(off_grid[::2, ::2] > 0.5)) < 1e-4:
        raise NoInk("nothing on the page is darker than its grid; expected the traces of an ECG. Is the sheet empty?")
    rulings = _erase_rulings(coverage, kx, ky)
    join_breaks(coverage, ky)
    return Ink(coverage, 1 - columns, 1 - rows, rulings)


def _erase_rulings(coverage: F, kx: float, ky: float) -> I32:
    """Set frames and separators to bare, in place, but for what a trace that crosses them covers.

    Returns the verticals, (N, 4) x, y, width, height px.
    """
    mask = (coverage > 0.3).astype(np.uint8)
    frames, verticals = _ruled_verticals(mask, kx, ky)
    erase(coverage, _ruled_horizontals(mask, frames, kx, ky))
    erase_verticals(coverage, verticals)
    return verticals


def erase(coverage: F, boxes: I32 | D) -> None:
    """Set boxes, (N, 4) x, y, width, height px, and a pixel around them to bare, in place."""
    for x, y, w, h in boxes.astype(int).tolist():
        coverage[max(0, y - 1) : y + h + 1, max(0, x - 1) : x + w + 1] = 0.0


def erase_verticals(coverage: F, rulings: I32 | D) -> None:
    """Set ruled verticals, (N, 4) x, y, width, height px, to bare, in place.

    Ink beside one is that of a trace, which ends in its middle, or crosses it: that much is left.
    """
    height, width = coverage.shape
    for x, y, w, h in np.concatenate([np.floor(rulings[:, :2]), np.ceil(rulings[:, 2:])], axis=1).astype(int).tolist():
        rows, first, last = slice(max(0, y - 1), min(height, y + h + 1)), max(0, x - 1), min(width - 1, x + w)
        middle = (first + last + 1) // 2
        for beside, half in ((first - 1, slice(first, middle)), (last + 1, slice(middle, last + 1))):
            inked = np.zeros((rows.stop - rows.start, 1), np.uint8)
            if 0 <= beside < width:
                inked[:, 0] = coverage[rows, beside] > _BESIDE
            coverage[rows, half] *= cv2.dilate(inked, np.ones((3, 1), np.uint8))


def join_breaks(coverage: F, ky: float) -> None:
    """Close gaps of under a millimetre in upright strokes, in place.

    A dead dot of a thermal head, or a row that a scanner lost, cuts several strokes at one height, and what lies beyond
    is no longer connected to its trace. Only ink whose both ends are taller than a pen's line is a stroke: letters and
    flat traces that come near a QRS are not joined to it.
    """
    column, top, bottom = runs_of(coverage > INK)
    if column.size < 2:
        return
    tall = bottom - top
    pen = float(np.percentile(tall, 20))
    gap = top[1:] - bottom[:-1]
    ends = np.stack([tall[:-1], tall[1:]]) - pen
    broken = (column[1:] == column[:-1]) & (gap <= _WIDEST_BREAK * ky)
    broken &= (ends.max(axis=0) > _LONG_STUMP * ky) & (ends.min(axis=0) > _SHORT_STUMP * ky)
    for k in _together(np.flatnonzero(broken), column, (bottom[:-1] + top[1:]) / 2, ky):
        # From two pixels inside either end: the last ones are partly covered.
        a, b = bottom[k] - 2, top[k + 1] + 1
        strip = coverage[a : b + 1, column[k]]
        np.maximum(strip, np.linspace(strip[0], strip[-1], strip.size, dtype=np.float32), out=strip)


def _together(broken: I64, column: I64, middle: D, ky: float) -> I64:
    """Those breaks at whose height there are others, in all three or more columns in at least two places."""
    order = np.argsort(middle[broken], kind="stable")
    y, x = middle[broken][order], column[broken][order]
    first = np.searchsorted(y, y - _ONE_HEIGHT * ky, side="right")
    stop = np.searchsorted(y, y + _ONE_HEIGHT * ky, side="left")
    # Each is near itself, so that no stretch is empty; one more makes the end of the last a place, too.
    stretch, padded = np.stack([first, stop], axis=1).ravel(), np.append(x, x[-1:])
    most, least = (ends.reduceat(padded, stretch)[::2] for ends in (np.maximum, np.minimum))
    return np.sort(broken[order[(stop - first >= 3) & (np.maximum(most - x, x - least) > _APART * ky)]])


def _ruled_verticals(mask: U8, kx: float, ky: float) -> tuple[I32, I32]:
    """Sides of frames, and all ruled verticals (frames among them): thin, straight, and long (over 60 mm) or repeated.

    Repeated means: equally high lines at the same x in another row, three or more in all, or one or two others over
    the same rows (paced beats are more), whose ends are free on both sides (a QRS hangs on its baseline by one end), or
    that reach as far as such lines do.
    """
    lines = _thin_lines(_opened(mask, 1, max(3, round(_SHORTEST_RULING * ky))), 0.8 * kx + 2, vertical=True)
    frames = lines[lines[:, 3] > 60 * ky]
    repeated = []
    for line in lines:
        x, y, w, h = line
        same = lines[(np.abs(lines[:, 3] - h) <= 2) & (np.abs(lines[:, 2] - w) <= 2)]
        beside = same[(np.abs(same[:, 0] - x) <= 2) & (np.abs(same[:, 1] - y) > 10 * ky)]
        row = same[(np.abs(same[:, 1] - y) <= 2) & (np.abs(same[:, 0] - x) > _COLUMN * kx)]
        if not ((len(same) >= 3 and len(beside)) or 1 <= len(row) <= 2):
            continue
        if _free_ends(mask, x, y, w, h, ky):
            repeated.append(line)
    seen = np.array(repeated, np.int32).reshape(-1, 4)
    return frames, np.concatenate([frames, seen, _as_high_as(seen, mask)])


def _as_high_as(seen: I32, mask: U8) -> I32:
    """Other verticals that reach over exactly the same rows as those ``seen``, in two such places or more."""
    if not len(seen):
        return seen
    rows: list[tuple[int, int, int]] = []
    for _, y, w, h in seen.tolist():
        if all(abs(y - other) > 2 for other, _, _ in rows):
            rows.append((y, w, h))
    solid = np.array([mask[y + 2 : y + h - 2].min(axis=0, initial=1) for y, _, h in rows])
    ends = np.array([mask[max(0, y - 3)] | mask[min(len(mask) - 1, y + h + 2)] for y, _, h in rows])
    alone, solid = (cv2.dilate(np.asarray(m, np.uint8), np.ones((1, 3), np.uint8)) for m in (solid & (1 - ends), solid))
    found = []
    # Two places, because a beat may be as high by chance; each stretch is a pixel wider on either side than its line.
    for x, stop in stretches(alone.sum(axis=0) >= 2):
        for k, (y, w, h) in enumerate(rows):
            known = (np.abs(seen[:, 0] - x) <= 3) & (np.abs(seen[:, 1] - y) <= 2)
            if abs(stop - x - 2 - w) <= 1 and solid[k, x:stop].any() and not known.any():
                found.append((x + 1, y, stop - x - 2, h))
    return np.array(found, np.int32).reshape(-1, 4)


def _ruled_horizontals(mask: U8, frames: I32, kx: float, ky: float) -> I32:
    """Thin lines over 100 mm long that end at the side of a frame (a flat lead does not)."""
    if not len(frames):
        return frames
    lines = _thin_lines(_opened(mask, max(3, round(100 * kx)), 1), 0.8 * ky + 2, vertical=False)
    left, right, top, bottom = frames[:, 0], frames[:, 0] + frames[:, 2], frames[:, 1], frames[:, 1] + frames[:, 3]
    ends = [
        bool(
            np.any((np.minimum(np.abs(left - x), np.abs(right - x - w)) <= 3) & (top <= y + h + 3) & (bottom >= y - 3))
        )
        for x, y, w, h in lines
    ]
    return np.asarray(lines[np.array(ends, bool)], np.int32)


def _free_ends(mask: U8, x: int, y: int, w: int, h: int, ky: float) -> bool:
    """Whether a vertical line stands alone: no ink beside its upper and lower millimetre, nor beyond its ends."""
    beside = mask[y : y + h, [max(0, x - 2), min(mask.shape[1] - 1, x + w + 1)]]
    end, reach = max(1, round(ky)), max(2, round(1.5 * ky))
    around = mask[:, max(0, x - 2) : x + w + 2]
    beyond = around[max(0, y - 2 - reach) : max(0, y - 2)].any() or around[y + h + 2 : y + h + 2 + reach].any()
    return bool(not beyond and not beside[:end].any() and not beside[-end:].any())  # a pulse's foot may be that thin


def _opened(mask: U8, wide: int, high: int) -> U8:
    """``mask`` where a rectangle of this size fits into it."""
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((high, wide), np.uint8)), np.uint8)


def _thin_lines(mask: U8, thick: float, vertical: bool) -> I32:
    """(N, 4) x, y, width, height of solid components at most ``thick`` px across."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count <= 1:
        return np.zeros((0, 4), np.int32)
    boxes, area = np.asarray(stats[1:, :4], np.int32), stats[1:, 4]
    wide, high = boxes[:, 2], boxes[:, 3]
    return boxes[((wide if vertical else high) <= thick) & (area > 0.85 * wide * high)]


def _best_channel(image: U8) -> U8:
    """(H, W) uint8: red, green, blue or their mean, by Fisher's ratio of ink against everything that is not ink."""
    small = image[::4, ::4].reshape(-1, 3).astype(np.float32)
    mean = small.mean(axis=1)
    paper, ink = np.percentile(mean, 75), np.percentile(mean, 0.4)
    inked, bare = mean < ink + 0.25 * (paper - ink), mean > ink + 0.5 * (paper - ink)
    if not inked.any() or not bare.any():
        raise NoInk("the page has one brightness only; expected ink on paper.")
    best, choice = -1.0, 3
    for k, values in enumerate((*small.T, mean)):
        background = values[bare]
        gap = float(np.percentile(background, 75) - values[inked].mean())
        ratio = gap / (float(np.sqrt(np.mean((np.percentile(background, 75) - background) ** 2))) + 3.0)
        if ratio > best * 1.05:
            best, choice = ratio, k
    if choice < 3:
        return np.ascontiguousarray(image[:, :, choice])
    return np.asarray(image.mean(axis=2), np.uint8)
