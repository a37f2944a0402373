"""segment: how much of every pixel is covered by ink, with the grid taken away."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ecg_image_kit.errors import EcgError

from .locate import local_paper

F = NDArray[np.float32]


class NoInk(EcgError):
    """Nothing on the page is clearly darker than its grid."""


@dataclass(frozen=True, eq=False)
class Ink:
    """``coverage`` (H, W) float32, 0 bare to 1 covered; ``weight`` (W,) and (H,): how much grid lines leave to be seen."""

    coverage: F
    weight_x: F
    weight_y: F
    contrast: float  # ink against the grid's own spread
    rulings: NDArray[np.int32]  # (N, 4) x, y, width, height px of ruled verticals that were taken away


def segment(image: NDArray[np.uint8], kx: float, ky: float) -> Ink:
    """Ink coverage of an upright page of ``kx, ky`` px per mm, without grid, frames and ruled separators.

    The channel is the one in which ink stands out best from the grid (a red grid nearly vanishes in red). What is left
    of the grid is separable, so its column and row medians predict it everywhere. Raises NoInk.
    """
    channel = _best_channel(image)
    paper = local_paper(channel)
    light = channel / np.maximum(paper, 1.0)
    sample = light[::3, ::3]
    ink = float(np.percentile(sample, 0.4))
    if ink > 0.85:
        raise NoInk(
            f"the darkest ink is at {ink:.0%} of the paper's brightness; expected 85 % or less. Raise the contrast."
        )
    dark: F = ((1.0 - light) / (1.0 - ink)).astype(np.float32)
    columns = np.median(dark[::4], axis=0).astype(np.float32)
    rows = np.median(dark[:, ::4] - np.median(columns), axis=1).astype(np.float32)
    columns, rows = np.clip(columns, 0, 0.9), np.clip(rows, 0, 0.9)
    floor = float(np.median(dark[::5, ::5]))
    columns, rows = np.maximum(columns, floor), np.maximum(rows, 0)
    grid = np.maximum(columns[None, :], rows[:, None])
    coverage = (dark - grid) / (1.0 - grid)
    spread = float(np.std(coverage[::5, ::5][coverage[::5, ::5] < 0.3]))
    np.clip(coverage, 0, 1, out=coverage)
    rulings = _erase_rulings(coverage, kx, ky)
    return Ink(coverage, 1 - columns, 1 - rows, 1.0 / max(spread, 1e-3), rulings)


def _erase_rulings(coverage: F, kx: float, ky: float) -> NDArray[np.int32]:
    """Set frames and separators to bare, in place; a trace that crosses one is then interrupted, not led astray.
    Returns the verticals.

    A ruled vertical is thin, straight and long (over 60 mm), or repeats: equally high lines at the same x in another
    row, three or more in all, whose ends are free on both sides (a QRS hangs on its baseline by one end). A ruled
    horizontal ends at a ruled vertical (a flat lead does not).
    """
    mask = (coverage > 0.3).astype(np.uint8)
    tall = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((max(3, round(12 * ky)), 1), np.uint8))
    lines = _thin_lines(tall, 0.8 * kx + 2, vertical=True)
    frames = lines[lines[:, 3] > 60 * ky]
    ruled = list(frames)
    for x, y, w, h in lines:
        same = lines[(np.abs(lines[:, 3] - h) <= 2) & (np.abs(lines[:, 2] - w) <= 2)]
        beside = same[(np.abs(same[:, 0] - x) <= 2) & (np.abs(same[:, 1] - y) > 10 * ky)]
        if len(same) >= 3 and len(beside) and _free_ends(mask, x, y, w, h, ky):
            ruled.append(np.array([x, y, w, h]))
    for x, y, w, h in ruled:
        coverage[max(0, y - 1) : y + h + 1, max(0, x - 1) : x + w + 1] = 0.0
    if len(frames):
        wide = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((1, max(3, round(100 * kx))), np.uint8))
        for x, y, w, h in _thin_lines(wide, 0.8 * ky + 2, vertical=False):
            ends = np.minimum(np.abs(frames[:, 0] - x), np.abs(frames[:, 0] + frames[:, 2] - x - w))
            if np.any((ends <= 3) & (frames[:, 1] <= y + h + 3) & (frames[:, 1] + frames[:, 3] >= y - 3)):
                coverage[max(0, y - 1) : y + h + 1, max(0, x - 1) : x + w + 1] = 0.0
    return np.array(ruled, np.int32).reshape(-1, 4)


def _free_ends(mask: NDArray[np.uint8], x: int, y: int, w: int, h: int, ky: float) -> bool:
    """Whether a vertical line stands alone: no ink beside its upper and lower fifth, nor beyond its ends."""
    beside = mask[y : y + h, [max(0, x - 2), min(mask.shape[1] - 1, x + w + 1)]]
    fifth, reach = max(1, h // 5), max(2, round(1.5 * ky))
    around = mask[:, max(0, x - 2) : x + w + 2]
    beyond = around[max(0, y - 2 - reach) : max(0, y - 2)].any() or around[y + h + 2 : y + h + 2 + reach].any()
    return bool(not beyond and beside[:fifth].mean() < 0.1 and beside[-fifth:].mean() < 0.1)


def _thin_lines(mask: NDArray[np.uint8], thick: float, vertical: bool) -> NDArray[np.int32]:
    """(N, 4) x, y, width, height of solid components at most ``thick`` px across."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count <= 1:
        return np.zeros((0, 4), np.int32)
    x, y, w, h, area = stats[1:].T
    keep = ((w if vertical else h) <= thick) & (area > 0.85 * w * h)
    return stats[1:][keep][:, :4]


def _best_channel(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
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
    return image.mean(axis=2).astype(np.uint8)
