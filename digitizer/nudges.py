"""nudges: how far beside its fit a trace runs, as a small network sees it.

The reader draws traces to a fifth of a pixel, and a fit to ink that is blurred, printed over, or black and white does
no better. A small network looks along each fitted trace, at the page across it, and says how likely every quarter of a
pixel on either side is where the trace really runs. It sees colours, the grid, and how the traces of this page look;
the fit only tells it which trace is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ecg_image_kit.raster import draw_graph

from .arrays import I64, U8, D, F, smoothed
from .network import Small

HIGH, _TAP = 24, 0.6  # places across a trace that are looked at, px apart
BINS = np.arange(-16, 17) / 4  # px across, of which the network says how likely they are
_FINE = 0.8  # px along a trace between places, at most
_STROKE = 2.0  # px, width of what is drawn of the traces for the network
_LONG, _REACH = 8192, 40  # places that are looked at at once, for the sake of memory; how far the network sees
_TIMES = 2  # the second time it looks from where it said the first time
_SMOOTHED = 0.15  # share of each neighbour
_STEEPEST = 0.05  # cosine, of what is taken for the direction of a trace


class Places(NamedTuple):
    """Along a trace: px ``x``, ``y``, the sine and cosine of its direction, and which of them are its samples."""

    x: D
    y: D
    sine: D
    cosine: D
    samples: I64

    def part(self, part: slice) -> Places:
        """Some of the places; which of them are samples is no longer known."""
        return Places(self.x[part], self.y[part], self.sine[part], self.cosine[part], self.samples[:0])


def nudged(image: U8, x: Sequence[D], y: Sequence[D], network: Small) -> list[D]:
    """The samples' px y, where the network sees them.

    Args:
        image: (H, W, 3) of the page laid flat at the network's pitch.
        x, y: of every trace, px (samples,), finite.
    """
    y = list(y)
    for _ in range(_TIMES):
        drawn = drawing(image.shape[:2], x, y)
        for k, (px, py) in enumerate(zip(x, y, strict=True)):
            at = places_of(px, py)
            beside = _beside(image, drawn, at, network)
            step = float(px[-1] - px[0]) / max(px.size - 1, 1)
            y[k] = smoothed(py + (beside / at.cosine)[at.samples], _SMOOTHED, step)
    return y


def _beside(image: U8, drawn: U8, at: Places, network: Small) -> D:
    """px by which the trace is likely to run beside each place."""
    out = np.empty(at.x.size)
    for first in range(0, at.x.size, _LONG):
        start = max(0, first - _REACH)
        odds = network.odds(looked(image, drawn, at.part(slice(start, first + _LONG + _REACH)))[None])[0]
        out[first : first + _LONG] = (BINS @ odds)[first - start :][:_LONG]
    return out


def drawing(shape: tuple[int, int], x: Sequence[D], y: Sequence[D]) -> U8:
    """(H, W) of all traces."""
    drawn = np.zeros(shape, np.uint8)
    for px, py in zip(x, y, strict=True):
        draw_graph(drawn, px, py, _STROKE)
    return drawn


def places_of(x: D, y: D) -> Places:
    """Places along a trace of (N,) samples: these, and between them where it is steep."""
    length = np.hypot(np.diff(x), np.diff(y))
    parts = np.maximum(1, np.ceil(length / _FINE)).astype(np.int64)
    samples = np.concatenate([[0], np.cumsum(parts)])
    at = np.interp(np.arange(samples[-1] + 1), samples, np.arange(x.size))
    px, py = np.interp(at, np.arange(x.size), x), np.interp(at, np.arange(x.size), y)
    way = np.concatenate([[0.0], np.cumsum(length)])
    arc = np.interp(at, np.arange(x.size), way)
    after, before = np.minimum(arc + _FINE, way[-1]), np.maximum(arc - _FINE, 0.0)
    dx, dy = (np.interp(after, way, v) - np.interp(before, way, v) for v in (x, y))
    far = np.maximum(np.hypot(dx, dy), 1e-6)
    cosine = np.maximum(dx / far, _STEEPEST)
    return Places(px, py, dy / far, cosine, samples)


def looked(image: U8, drawn: U8, at: Places) -> F:
    """(5, HIGH, places) float32: RGB across the trace, what is ``drawn`` of all traces there, and its direction."""
    across = (np.arange(HIGH) - (HIGH - 1) / 2)[:, None] * _TAP
    x, y = (at.x - across * at.sine).astype(np.float32), (at.y + across * at.cosine).astype(np.float32)
    parts = []
    for part in (image, drawn):
        seen = cv2.remap(part, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        parts.append(seen.reshape(HIGH, at.x.size, -1).transpose(2, 0, 1))
    look = np.concatenate(parts).astype(np.float32) / np.float32(255)
    return np.concatenate([look, np.broadcast_to(at.sine.astype(np.float32), (1, HIGH, at.x.size))])
