"""segment: how much of every pixel is covered by ink, with the grid taken away."""

from __future__ import annotations

from dataclasses import dataclass

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


def segment(image: NDArray[np.uint8]) -> Ink:
    """Ink coverage of an upright page.

    The channel is the one in which ink stands out best from the grid (a red grid nearly vanishes in red). What is left
    of the grid is separable, so its column and row medians predict it everywhere. Raises NoInk.
    """
    channel = _best_channel(image)
    paper = local_paper(channel)
    light = channel / np.maximum(paper, 1.0)
    sample = light[::3, ::3]
    ink = float(np.percentile(sample, 0.4))
    if ink > 0.85:
        raise NoInk(f"the darkest ink is at {ink:.0%} of the paper's brightness; expected 85 % or less. Raise the contrast.")
    dark: F = ((1.0 - light) / (1.0 - ink)).astype(np.float32)
    columns = np.median(dark[::4], axis=0).astype(np.float32)
    rows = np.median(dark[:, ::4] - np.median(columns), axis=1).astype(np.float32)
    columns, rows = np.clip(columns, 0, 0.9), np.clip(rows, 0, 0.9)
    floor = float(np.median(dark[::5, ::5]))
    columns, rows = np.maximum(columns, floor), np.maximum(rows, 0)
    grid = np.maximum(columns[None, :], rows[:, None])
    coverage = (dark - grid) / (1.0 - grid)
    spread = float(np.std(coverage[::5, ::5][coverage[::5, ::5] < 0.3]))
    return Ink(np.clip(coverage, 0, 1, out=coverage), 1 - columns, 1 - rows, 1.0 / max(spread, 1e-3))


def _best_channel(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8: red, green, blue or their mean, by Fisher's ratio of ink against everything that is not ink."""
    small = image[::4, ::4].reshape(-1, 3).astype(np.float32)
    mean = small.mean(axis=1)
    paper, ink = np.percentile(mean, 75), np.percentile(mean, 0.4)
    inked, bare = mean < ink + 0.25 * (paper - ink), mean > ink + 0.5 * (paper - ink)
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
