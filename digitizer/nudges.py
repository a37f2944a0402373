"""nudges: how far beside its fit a trace runs, as a small network sees it.

The reader draws traces to a fifth of a pixel, and a fit to ink that is blurred, printed over, or black and white does
no better. A small network looks along each fitted trace, at the page across it, and says how likely each place on
either side is where the trace really runs. It sees colours, the grid, and how the traces of this page look;
the fit only tells it which trace is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ecg_image_kit.raster import draw_graph

from .arrays import I64, U8, B, D, F, smoothed, stretches
from .network import SMALL, Small

# What is looked at: red, green, blue, the trace as read, the others, its direction; places across it; px between them.
(CHANNELS, HIGH), _TAP = SMALL["nudges"], 0.6
# Px across, of which the network says how likely they are; the outermost stand for all that is further.
BINS = np.concatenate([np.arange(-8, -4, 0.5), np.arange(-4, 4, 0.25), np.arange(4, 8.5, 0.5)])
_FINE = 0.8  # px along a trace between places, at most
_STROKE = 2.0  # px, width of what is drawn of the traces for the network
_ROOM = 3  # traces that may cross in one px
_LONG, _REACH = 8192, 80  # places that are looked at at once, for the sake of memory; how far the network sees
# Looked at again, from where it is then, is what was moved by more than so many px, and samples beside it: a
# second time to see better, further times because tips of peaks that were lost are far away.
_AGAIN, _BESIDE = (0.3, 1.0, 1.0, 1.0, 1.0), 20
_SMOOTHED = 0.22  # share of each neighbour
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
    parts = [np.ones(py.size, np.bool_) for py in y]
    for least in (*_AGAIN, np.inf):
        if not any(part.any() for part in parts):
            break
        drawn = Drawing(image.shape[:2], x, y)
        for k, (px, py, part) in enumerate(zip(x, y, parts, strict=True)):
            if not part.any():
                continue
            at = places_of(px, py)
            beside = _beside(image, drawn, k, at, part, network)
            step = float(px[-1] - px[0]) / max(px.size - 1, 1)
            y[k] = np.where(part, smoothed(py + (beside / at.cosine)[at.samples], _SMOOTHED, step), py)
            moved = np.maximum.reduceat(np.abs(beside), at.samples) > least
            parts[k] = cv2.dilate(moved.astype(np.uint8)[:, None], np.ones((2 * _BESIDE + 1, 1)))[:, 0] > 0
    return y


def _beside(image: U8, drawn: Drawing, which: int, at: Places, part: B, network: Small) -> D:
    """px by which the trace is likely to run beside each place; 0 beside samples that are no ``part`` of what is looked
    at."""
    out = np.zeros(at.x.size)
    wanted = [(int(at.samples[begin]), int(at.samples[end - 1]) + 1) for begin, end in stretches(part)]
    spans = wanted[:1]
    for begin, end in wanted[1:]:
        if begin - spans[-1][1] < 2 * _REACH:  # it would be looked at twice as surroundings
            spans[-1] = spans[-1][0], end
        else:
            spans.append((begin, end))
    for begin, end in spans:
        for first in range(begin, end, _LONG):
            start, last = max(0, first - _REACH), min(end, first + _LONG)
            odds = network.odds(looked(image, drawn, which, at.part(slice(start, last + _REACH)))[None])[0]
            out[first:last] = (BINS @ odds)[first - start :][: last - first]
    asked = np.zeros(out.size, np.bool_)
    for begin, end in wanted:
        asked[begin:end] = True
    return np.where(asked, out, 0.0)


class Drawing:
    """The traces of a page as they have been read, together and each."""

    def __init__(self, shape: tuple[int, int], x: Sequence[D], y: Sequence[D]) -> None:
        """``shape``: of the page, px; ``x``, ``y``: px (samples,) of each trace."""
        self.all = np.zeros(shape, np.uint8)
        self.each: list[tuple[int, U8]] = []  # the first row of px that it is in, and its rows
        for px, py in zip(x, y, strict=True):
            top = int(np.clip(np.floor(py.min() - _STROKE), 0, shape[0] - 1))
            bottom = int(np.clip(np.ceil(py.max() + _STROKE) + 1, top + 1, shape[0]))
            own = np.zeros((bottom - top, shape[1]), np.uint8)
            draw_graph(own, px, py - top, _STROKE)
            own //= _ROOM
            self.all[top:bottom] = cv2.add(self.all[top:bottom], own)
            self.each.append((top, own))


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


def looked(image: U8, drawn: Drawing, which: int, at: Places) -> F:
    """(CHANNELS, HIGH, places) float32: what is seen across a trace, one of those ``drawn``."""
    across = (np.arange(HIGH) - (HIGH - 1) / 2)[:, None] * _TAP
    x, y = (at.x - across * at.sine).astype(np.float32), (at.y + across * at.cosine).astype(np.float32)
    top, own = drawn.each[which]

    def seen(part: U8, down: int, edge: int) -> F:
        taken = cv2.remap(part, x, y - np.float32(down), cv2.INTER_LINEAR, borderMode=edge)
        return np.asarray(taken.reshape(HIGH, at.x.size, -1).transpose(2, 0, 1), np.float32) / np.float32(255)

    of_its_own = seen(own, top, cv2.BORDER_CONSTANT)
    others = seen(drawn.all, 0, cv2.BORDER_CONSTANT) - of_its_own
    direction = np.broadcast_to(at.sine.astype(np.float32), (1, HIGH, at.x.size))
    return np.concatenate([seen(image, 0, cv2.BORDER_REPLICATE), _ROOM * of_its_own, _ROOM * others, direction])
