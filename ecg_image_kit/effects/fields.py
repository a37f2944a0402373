"""Fields and textures that effects are made of, and the few ways in which they meet an image. All in uint8 and float32.

Noise comes from tiles and low-resolution grids: drawing it pixel by pixel would take longer than the whole page.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F = NDArray[np.float32]


def smooth(rng: np.random.Generator, shape: tuple[int, int], cells: float) -> F:
    """(H, W) float32 smooth noise, mean 0, SD about 1, with about ``cells`` bumps along the longer side."""
    longer = max(shape)
    small = [max(4, round(cells * n / longer) + 3) for n in shape]
    grid = rng.standard_normal(small).astype(np.float32) * 1.4
    return resize(grid, shape, cv2.INTER_CUBIC)


def fractal(rng: np.random.Generator, shape: tuple[int, int], cells: float, octaves: int = 4, gain: float = 0.5) -> F:
    """(H, W) float32 sum of ``octaves`` of smooth noise, each twice as fine and ``gain`` as strong; SD about 1."""
    out = np.zeros(shape, np.float32)
    power = 0.0
    for k in range(octaves):
        out += gain**k * smooth(rng, shape, cells * 2**k)
        power += gain ** (2 * k)
    return np.asarray(out / np.sqrt(power), np.float32)


def white(rng: np.random.Generator, shape: tuple[int, int], channels: int = 1) -> F:
    """(H, W) or (H, W, channels) float32 white noise, SD 1: a tile drawn once, laid out from a place of its own."""
    size = 512
    tile = _tile(channels)
    dy, dx = rng.integers(0, size, 2)
    flip = rng.integers(0, 2, 2) * 2 - 1
    rows = (dy + flip[0] * np.arange(shape[0])) % size
    # Every tile further down is shifted by a part of its width, or the eye finds the repeat.
    out = np.empty((*shape, channels), np.float32)
    for top in range(0, shape[0], size):
        part = slice(top, min(top + size, shape[0]))
        columns = (dx + int(rng.integers(size)) + flip[1] * np.arange(shape[1])) % size
        out[part] = tile[rows[part]][:, columns]
    return out[..., 0] if channels == 1 else out


@lru_cache(maxsize=4)
def _tile(channels: int) -> F:
    return np.random.default_rng(20_21).standard_normal((512, 512, channels), dtype=np.float32)


def resize(field: NDArray[np.generic], shape: tuple[int, int], how: int = cv2.INTER_LINEAR) -> F:
    """A small field (h, w) or (h, w, c) stretched over (H, W)."""
    if field.shape[:2] == shape:
        return np.asarray(field, np.float32)
    return np.asarray(cv2.resize(np.asarray(field, np.float32), shape[::-1], interpolation=how), np.float32)


def multiply(image: U8, field: F) -> U8:
    """The image (H, W, 3) times a field (h, w) or (h, w, 3), stretched over it if it is smaller; 1 changes nothing."""
    full = resize(field, image.shape[:2])
    if full.ndim == 2:
        full = np.asarray(cv2.merge([full, full, full]), np.float32)
    return np.asarray(cv2.multiply(image, full, dtype=cv2.CV_8U), np.uint8)


def add(image: U8, field: F) -> U8:
    """The image (H, W, 3) plus a field (h, w) or (h, w, 3) in grey levels, stretched over it if it is smaller."""
    full = resize(field, image.shape[:2])
    if full.ndim == 2:
        full = np.asarray(cv2.merge([full, full, full]), np.float32)
    return np.asarray(cv2.add(image, full, dtype=cv2.CV_8U), np.uint8)


def blend(image: U8, colour: tuple[float, float, float] | U8, alpha: F) -> U8:
    """The image (H, W, 3) covered by a colour, or by another image, as far as ``alpha`` (h, w), 0 to 1, says."""
    full = resize(alpha, image.shape[:2])[..., None]
    over = np.asarray(colour, np.float32)
    return np.asarray(np.clip(image + (over - image) * full + 0.5, 0, 255), np.uint8)


def dye(image: U8, colour: tuple[float, float, float], amount: F) -> U8:
    """The image seen through a transparent dye: at ``amount`` (h, w) 1, white takes on the colour. Ink stays dark."""
    tint = 1.0 - resize(amount, image.shape[:2])[..., None] * (1.0 - np.asarray(colour, np.float32) / 255.0)
    return np.asarray(cv2.multiply(image, np.asarray(tint, np.float32), dtype=cv2.CV_8U), np.uint8)
