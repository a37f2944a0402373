"""Fields and textures that effects are made of, and the few ways in which they meet an image.

Noise comes from tiles and low-resolution grids: drawing it pixel by pixel would take longer than the whole page. Fields
are float32 on a lattice that is coarser than the image; what covers or dyes becomes 8 bits before it is stretched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import erf
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F = NDArray[np.float32]
D = NDArray[np.float64]
Some = NDArray[Any]  # of any kind of number, as OpenCV returns it
RGB = tuple[float, float, float]
Shape = tuple[int, int]


def u8(image: object) -> U8:
    """As an array of uint8, which OpenCV does not promise to return."""
    return np.asarray(image, np.uint8)


# Noise


def smooth(rng: np.random.Generator, shape: Shape, cells: float) -> F:
    """(H, W) float32 smooth noise, mean 0, SD about 1, with about ``cells`` round bumps along the longer side."""
    # Blurred on a lattice finer than the bumps, or it would show in them.
    sigma, pad = 1.2, 3
    fine = 2.6 * cells / max(shape)
    small = [max(2, min(n, round(fine * n) + 1)) for n in shape]
    grid = rng.standard_normal((small[0] + 2 * pad, small[1] + 2 * pad), dtype=np.float32)
    grid = np.asarray(cv2.GaussianBlur(grid, (0, 0), sigma)[pad:-pad, pad:-pad], np.float32)
    return resize(grid * np.float32(2 * sigma * np.sqrt(np.pi)), shape, cv2.INTER_CUBIC)


def fractal(rng: np.random.Generator, shape: Shape, cells: float, octaves: int = 4, gain: float = 0.5) -> F:
    """(H, W) float32 sum of ``octaves`` of smooth noise, each twice as fine and ``gain`` as strong; SD about 1."""
    out = np.zeros(shape, np.float32)
    power = 0.0
    for k in range(octaves):
        out += gain**k * smooth(rng, shape, cells * 2**k)
        power += gain ** (2 * k)
    return np.asarray(out / np.sqrt(power), np.float32)


def white(rng: np.random.Generator, shape: Shape, channels: int = 1) -> F:
    """(H, W) or (H, W, channels) float32 white noise, SD 1: a tile drawn once, laid out from a place of its own."""
    return np.asarray(laid(_white_tile(channels), rng, shape, shifted=True), np.float32)


def grain(rng: np.random.Generator, shape: Shape, size: float) -> U8:
    """(H, W) noise with bumps ``size`` px wide, every level 0 to 255 as frequent: ``grain < n`` is true in n of 256."""
    octave = max(0, round(2 * np.log2(max(size, 1.0)))) / 2
    return u8(laid(_grain_tile(octave), rng, shape))


def rough(rng: np.random.Generator, shape: Shape, size: float) -> U8:
    """(H, W) shares 0.7 to 1 that vary as paper takes up what is on it, in grains of ``size`` px."""
    return scaled(grain(rng, shape, size), 0.3, 178.0)


def laid(tile: Some, rng: np.random.Generator, shape: Shape, shifted: bool = False) -> Some:
    """A square tile that goes on beyond its edges, laid over (H, W) from a place of its own, either side up.

    ``shifted``: each row of copies by another part of its width, or the eye finds the repeat; for noise without bumps.
    """
    size = tile.shape[0]
    top, left = (int(v) for v in rng.integers(0, size, 2))
    across, down = (bool(v) for v in rng.integers(0, 2, 2))
    if (across or down) and not shifted:
        tile = np.asarray(cv2.flip(tile, 1 if not down else -1 if across else 0), tile.dtype)
    out = np.empty((*shape, *tile.shape[2:]), tile.dtype)
    y = 0
    while y < shape[0]:
        rows = min(size - (top + y) % size, shape[0] - y)
        if shifted:
            left = int(rng.integers(size))
        x = 0
        while x < shape[1]:
            columns = min(size - (left + x) % size, shape[1] - x)
            at, begin = (top + y) % size, (left + x) % size
            out[y : y + rows, x : x + columns] = tile[at : at + rows, begin : begin + columns]
            x += columns
        y += rows
    return out


def blurred_tile(tile: F, sigma: float) -> F:
    """A tile blurred so that it still goes on beyond its edges."""
    if sigma < 0.3:
        return tile
    pad = int(np.ceil(4 * sigma))
    wide = cv2.copyMakeBorder(tile, pad, pad, pad, pad, cv2.BORDER_WRAP)
    return np.asarray(cv2.GaussianBlur(wide, (0, 0), sigma)[pad:-pad, pad:-pad], np.float32)


@lru_cache(maxsize=4)
def _white_tile(channels: int) -> F:
    tile = np.random.default_rng(20_21).standard_normal((512, 512, channels), dtype=np.float32)
    return tile[..., 0] if channels == 1 else tile


@lru_cache(maxsize=8)
def _grain_tile(octave: float) -> U8:
    rng = np.random.default_rng(int(octave * 2) + 4711)
    noise = rng.standard_normal((1024, 1024), dtype=np.float32)
    if octave:
        noise = blurred_tile(noise, 0.42 * 2**octave)
    level = np.clip(noise * np.float32(4096 / noise.std()) + np.float32(32768), 0, 65535).astype(np.uint16)
    share = [0.5 + 0.5 * erf((n + 0.5 - 128) / 16 / np.sqrt(2)) for n in range(256)]
    table = np.interp(np.arange(65536) / 256, np.arange(256) + 0.5, share)
    return u8(np.minimum(table * 256, 255).astype(np.uint8)[level])


# Sizes and shares


def resize(field: Some, shape: Shape, how: int = cv2.INTER_LINEAR) -> F:
    """A small field (h, w) or (h, w, c) stretched over (H, W)."""
    if field.shape[:2] == shape:
        return np.asarray(field, np.float32)
    return np.asarray(cv2.resize(np.asarray(field, np.float32), shape[::-1], interpolation=how), np.float32)


def over(field: Some, image: Some) -> U8:
    """Shares (h, w) or a small image (h, w, c), uint8, stretched over the image; floats become 8 bits first."""
    eight_bits = field if field.dtype == np.uint8 else eight(field)
    if field.shape[:2] == image.shape[:2]:
        return u8(eight_bits)
    return u8(cv2.resize(eight_bits, image.shape[1::-1], interpolation=cv2.INTER_LINEAR))


def by_rows(field: Some, shape: Shape) -> Callable[[slice], U8]:
    """``over`` for some rows of (H, W) at a time, of a smooth field: up to four rows next to each other are alike."""
    n = min(max(1, shape[0] // field.shape[0]), 4)
    tall = over(field, np.empty((-(-shape[0] // n), shape[1])))

    def part(rows: slice) -> U8:
        first = rows.start // n
        some = np.repeat(tall[first : (rows.stop - 1) // n + 1], n, axis=0)
        return u8(some[rows.start - first * n :][: rows.stop - rows.start])

    return part


def eight(share: Some) -> U8:
    """Shares 0 to 1 in 8 bits."""
    return u8(cv2.convertScaleAbs(np.maximum(share, 0.0), alpha=255.0)).reshape(share.shape)


def times(a: Some, b: Some, scale: float = 1.0) -> U8:
    """The product of two shares in 8 bits."""
    return u8(cv2.multiply(a, b, scale=scale / 255.0))


def scaled(share: Some, by: float, plus: float = 0.0) -> U8:
    """Shares in 8 bits times a number, plus levels."""
    return u8(cv2.convertScaleAbs(share, alpha=by, beta=plus))


def ramp(field: Some, low: float, high: float) -> U8:
    """A field in 8 bits, from 0 where it is ``low`` to 255 where it is ``high`` (which may be the lower of the two)."""
    if high - low > 16:  # faster, and as good
        return scaled(cv2.subtract(field, round(low)), 255.0 / (high - round(low)))  # type: ignore[call-overload]
    return table(field, (np.arange(256) - low) / (high - low) * 255.0)


def step(value: Some, width: float) -> F:
    """0 below 0, 1 above ``width``, smooth between."""
    t = np.clip(value / width, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


# On an image


def rows_of(height: int, some: int = 64) -> Iterator[slice]:
    """Rows of an image, some at a time: memory that stays in the cache is several times faster."""
    for top in range(0, height, some):
        yield slice(top, min(top + some, height))


def multiply(image: Some, field: Some) -> U8:
    """The image (H, W) or (H, W, 3) times a field (h, w) or (h, w, 3), stretched over it; 1 changes nothing.

    In 8 bits: on white paper that is one grey level, and several times as fast as in floats.
    """
    top = max(1.0, float(field.max()))
    full = over(eight(field / np.float32(top)), image)
    out = np.empty(image.shape, np.uint8)
    for rows in rows_of(image.shape[0]):
        out[rows] = cv2.multiply(image[rows], _alike(full[rows], image), scale=top / 255.0)
    return out


def add(image: Some, field: Some) -> U8:
    """The image (H, W, 3) plus a field (h, w) or (h, w, 3) in grey levels, stretched over it if it is smaller."""
    full = resize(field, image.shape[:2])
    out = np.empty(image.shape, np.uint8)
    for rows in rows_of(image.shape[0]):
        out[rows] = cv2.add(image[rows], _alike(full[rows], image), dtype=cv2.CV_8U)
    return out


def linear(image: Some, slope: Some, offset: Some) -> U8:
    """The image (H, W, 3) times a field (h, w), plus another one in grey levels, both stretched over it."""
    a, b = resize(slope, image.shape[:2]), resize(offset, image.shape[:2])
    out = np.empty(image.shape, np.uint8)
    for rows in rows_of(image.shape[0]):
        some = cv2.multiply(image[rows], _alike(a[rows], image), dtype=cv2.CV_32F)
        out[rows] = cv2.add(some, _alike(b[rows], image), dtype=cv2.CV_8U)
    return out


def _alike(field: Some, image: Some) -> Some:
    """A field (h, w) with as many channels as the image has."""
    return cv2.merge([field] * image.shape[2]) if image.ndim == 3 and field.ndim == 2 else field


def dye(view: U8, colour: RGB, amount: Some) -> None:
    """Stain a part of an image in place: where ``amount`` is 1 (in 8 bits 255), white takes on the colour, ink stays
    dark."""
    full = over(amount, view)
    for rows in _painted(full):
        tint = cv2.merge([cv2.convertScaleAbs(full[rows], alpha=c / 255.0 - 1.0, beta=255.0) for c in colour])
        view[rows] = cv2.multiply(view[rows], tint, scale=1 / 255)


def cover(view: U8, colour: RGB | Some, alpha: Some) -> None:
    """Paint over a part of an image in place, with a colour or with another image, as far as ``alpha`` says."""
    full = over(alpha, view)
    other = over(colour, view) if isinstance(colour, np.ndarray) else None
    for rows in _painted(full):
        some = full[rows]
        three = cv2.merge([some] * 3)
        if other is not None:
            added = cv2.multiply(other[rows], three, scale=1 / 255)
        else:
            added = cv2.merge([cv2.convertScaleAbs(some, alpha=float(c) / 255.0) for c in colour])
        view[rows] = cv2.add(cv2.multiply(view[rows], cv2.bitwise_not(three), scale=1 / 255), added)


def brighten(view: U8, other: Some, alpha: Some) -> None:
    """``cover`` with another image, but only where that is the brighter one."""
    full, other = over(alpha, view), over(other, view)
    for rows in _painted(full):
        more = cv2.multiply(cv2.subtract(other[rows], view[rows]), cv2.merge([full[rows]] * 3), scale=1 / 255)
        view[rows] = cv2.add(view[rows], more)


def _painted(mask: Some) -> Iterator[slice]:
    """Those rows of a mask (H, W) in which there is something."""
    return (rows for rows in rows_of(mask.shape[0]) if cv2.countNonZero(mask[rows]))


def table(image: Some, curve: Some) -> U8:
    """The image with every level 0 to 255 replaced by that of a curve (256,) or (256, 3)."""
    levels = np.clip(np.asarray(curve, np.float64) + 0.5, 0, 255).astype(np.uint8)
    return u8(cv2.LUT(image, levels[None] if levels.ndim == 2 else levels))
