"""Beats on a common clock: waves of one ECG stretched so that their bounds fall on those of every other ECG.

Between the landmarks P onset, QRS onset, R, QRS offset and T offset time runs linearly, so that a beat's shape and its
intervals can be described, learned and drawn apart, and a faster heart gets an earlier P wave and a shorter ST-T.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

EARLY, LATE = 0.04, 0.12  # s, that belong to the beat before the P onset and after the T offset
# Samples before P, P and PQ, onset to R, R to QRS offset, ST-T, after T.
SEGMENTS = (12, 64, 40, 40, 110, 24)
EDGES = tuple(int(k) for k in np.cumsum((0, *SEGMENTS)))
SAMPLES = EDGES[-1] + 1
INTERVALS = ("P onset to QRS onset", "QRS onset to R", "R to QRS offset", "QRS offset to T offset")  # s
FADE = 5  # samples, half of what two pieces share
PIECES = ((0, EDGES[2] + FADE), (EDGES[2] - FADE, EDGES[4] + FADE), (EDGES[4] - FADE, SAMPLES))  # P, QRS, ST-T
LEAST_GAP = 0.04  # s, over which one beat gives way to the next


def clock(intervals: Floats) -> Floats:
    """(..., SAMPLES) s relative to R of the common clock's samples, for (..., 4) INTERVALS in s."""
    p, q, r, t = np.moveaxis(np.asarray(intervals, np.float64), -1, 0)
    zero = np.zeros_like(q)
    marks = np.stack([-q - p - EARLY, -q - p, -q, zero, r, r + t, r + t + LATE], axis=-1)
    at = np.arange(SAMPLES)
    segment = np.clip(np.searchsorted(EDGES, at, side="right") - 1, 0, len(SEGMENTS) - 1)
    share = (at - np.array(EDGES)[segment]) / np.array(SEGMENTS)[segment]
    times: Floats = marks[..., segment] * (1 - share) + marks[..., segment + 1] * share
    return times


def to_clock(beat: Floats, start: float, fs: float, intervals: Floats) -> Floats:
    """(leads, SAMPLES) of a (leads, samples) beat that starts ``start`` s after R (so, negative); a smooth curve
    between its samples, or R would be blunted."""
    from scipy.interpolate import CubicSpline  # only what learns from records needs it, and it takes 80 ms to import

    at = (clock(intervals) - start) * fs
    n = beat.shape[1]
    shape: Floats = CubicSpline(np.arange(n), beat, axis=1)(np.clip(at, 0.0, n - 1.0))
    return shape


def split(shape: Floats) -> list[Floats]:
    """P, QRS and ST-T of (leads, SAMPLES), each faded out where the next begins: they add up to the whole."""
    pieces = []
    for k, (a, b) in enumerate(PIECES):
        piece = np.array(shape[:, a:b])
        ramp = np.sin(0.5 * np.pi * (np.arange(2 * FADE) + 0.5) / (2 * FADE)) ** 2
        if k > 0:
            piece[:, : 2 * FADE] *= ramp
        if k < len(PIECES) - 1:
            piece[:, -2 * FADE :] *= 1 - ramp
        pieces.append(piece)
    return pieces


def join(pieces: list[Floats]) -> Floats:
    """(..., leads, SAMPLES), the sum of ``split``'s pieces."""
    out = np.zeros((*pieces[0].shape[:-1], SAMPLES))
    for piece, (a, b) in zip(pieces, PIECES, strict=True):
        out[..., a:b] += piece
    return out


def without_p(shape: Floats) -> Floats:
    """(leads, SAMPLES) with nothing before the QRS complex."""
    pieces = split(shape)
    return join([np.zeros_like(pieces[0]), *pieces[1:]])


def lay(shapes: Floats, times: Floats, r: Floats, fs: float, count: int) -> Floats:
    """(leads, count) mV of beats one after the other.

    shapes: (beats, leads, samples) mV; times: (beats, samples) s of those relative to each beat's R, increasing;
    r: (beats,) s, increasing. From the end of one beat to the start of the next the level of the one gives way to
    that of the other; where they overlap, within 40 ms around the middle, as near to the later one's start as may be.
    """
    out = np.zeros((shapes.shape[1], count))
    starts, ends = r + times[:, 0], r + times[:, -1]
    a, b = ends[:-1].copy(), starts[1:].copy()
    close = b - a < LEAST_GAP
    middle = np.clip(0.5 * (a + b), b, b + 0.06)
    a[close], b[close] = middle[close] - LEAST_GAP / 2, middle[close] + LEAST_GAP / 2
    for k in range(r.size):
        first = 0.0 if k == 0 else a[k - 1]
        last = count / fs if k == r.size - 1 else b[k]
        i, j = max(int(np.ceil(first * fs)), 0), min(int(np.floor(last * fs)) + 1, count)
        if j <= i:
            continue
        t = np.arange(i, j) / fs
        weight = np.ones(j - i)
        if k > 0:
            weight *= _rise((t - a[k - 1]) / (b[k - 1] - a[k - 1]))
        if k < r.size - 1:
            weight *= 1 - _rise((t - a[k]) / (b[k] - a[k]))
        at = np.interp(t - r[k], times[k], np.arange(times.shape[1], dtype=np.float64))
        out[:, i:j] += weight * _between(shapes[k], at)
    return out


def _rise(x: Floats) -> Floats:
    y: Floats = np.sin(0.5 * np.pi * np.clip(x, 0.0, 1.0)) ** 2
    return y


def _between(values: Floats, at: Floats) -> Floats:
    """(leads, n) of (leads, samples) at fractional samples ``at``, linearly."""
    low = np.minimum(at.astype(np.intp), values.shape[1] - 2)
    share = at - low
    out: Floats = values[:, low] * (1 - share) + values[:, low + 1] * share
    return out
