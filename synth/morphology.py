"""Beats on a common clock: waves of one ECG stretched so that their bounds fall on those of every other ECG.

Between the landmarks P onset, QRS onset, R, QRS offset and T offset time runs linearly, so that a beat's shape and its
intervals can be described, learned and drawn apart, and a faster heart gets an earlier P wave and a shorter ST-T.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Array: TypeAlias = NDArray[Any]

EARLY, LATE = 0.04, 0.12  # s, that belong to the beat before the P onset and after the T offset
# Samples before P, P and PQ, onset to R, R to QRS offset, ST-T, after T.
SEGMENTS = (12, 64, 40, 40, 110, 24)
EDGES = tuple(int(k) for k in np.cumsum((0, *SEGMENTS)))
SAMPLES = EDGES[-1] + 1
INTERVALS = ("P onset to QRS onset", "QRS onset to R", "R to QRS offset", "QRS offset to T offset")  # s
FADE = 5  # samples, half of what two pieces share
PIECES = ((0, EDGES[2] + FADE), (EDGES[2] - FADE, EDGES[4] + FADE), (EDGES[4] - FADE, SAMPLES))  # P, QRS, ST-T
_RAMP = np.sin(0.5 * np.pi * (np.arange(2 * FADE) + 0.5) / (2 * FADE)) ** 2
# (samples of QRS,) how much of the level at which ST-T begins is there already
_LEADS_TO = np.cos(0.5 * np.pi * np.clip((PIECES[2][0] - np.arange(*PIECES[1])) / 30, 0, 1)) ** 2
_LEADS_TO[-2 * FADE :] *= 1 - _RAMP
LEAST_GAP = 0.04  # s, over which one beat gives way to the next
# (landmarks, SAMPLES) how near each sample is to the landmarks beside it
_BETWEEN = np.stack([np.interp(np.arange(SAMPLES), EDGES, one) for one in np.eye(len(EDGES))])
# (intervals, SAMPLES) what each of INTERVALS adds to the samples' times after R; and what EARLY and LATE do.
_OF_INTERVALS = (
    np.array([[-1, -1, 0, 0, 0, 0, 0], [-1, -1, -1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1, 1]])
    @ _BETWEEN
)
_OF_MARGINS = np.array([-EARLY, 0, 0, 0, 0, 0, LATE]) @ _BETWEEN


def clock(intervals: Floats) -> Floats:
    """(..., SAMPLES) s relative to R of the common clock's samples, for (..., 4) INTERVALS in s."""
    return np.asarray(np.asarray(intervals, np.float64) @ _OF_INTERVALS + _OF_MARGINS)


def to_clock(beat: Floats, start: float, fs: float, intervals: Floats) -> Floats:
    """(leads, SAMPLES) of a (leads, samples) beat that starts ``start`` s after R (so, negative); a smooth curve
    between its samples, or R would be blunted."""
    from scipy.interpolate import CubicSpline  # only what learns from records needs it, and it takes 80 ms to import

    at = (clock(intervals) - start) * fs
    n = beat.shape[1]
    shape: Floats = CubicSpline(np.arange(n), beat, axis=1)(np.clip(at, 0.0, n - 1.0))
    return shape


def split(shape: Floats) -> list[Floats]:
    """P, QRS and ST-T of (..., leads, SAMPLES), each faded out where the next begins. Of QRS what leads to the level at
    which ST-T begins is left out: pieces of two beats, too, make a smooth one."""
    pieces = []
    for k, (a, b) in enumerate(PIECES):
        piece = np.array(shape[..., a:b])
        if k > 0:
            piece[..., : 2 * FADE] *= _RAMP
        if k < len(PIECES) - 1:
            piece[..., -2 * FADE :] *= 1 - _RAMP
        pieces.append(piece)
    pieces[1] -= _level(pieces[2]) * _LEADS_TO
    return pieces


def join(pieces: list[Floats]) -> Floats:
    """(..., leads, SAMPLES) of ``split``'s pieces."""
    out = np.zeros((*pieces[0].shape[:-1], SAMPLES))
    for piece, (a, b) in zip(pieces, PIECES, strict=True):
        out[..., a:b] += piece
    out[..., slice(*PIECES[1])] += _level(pieces[2]) * _LEADS_TO
    return out


def _level(st: Floats) -> Floats:
    """(..., leads, 1) at which ST-T begins."""
    level: Floats = st[..., : 2 * FADE] @ (_RAMP / (_RAMP**2).sum())
    return level[..., None]


def without_p(shape: Floats) -> Floats:
    """(..., leads, SAMPLES) with nothing before the QRS complex."""
    pieces = split(shape)
    return join([np.zeros_like(pieces[0]), *pieces[1:]])


def lay(shapes: Array, times: Floats, r: Floats, fs: float, count: int) -> Array:
    """(leads, count) mV of beats one after the other, in the precision of their shapes.

    shapes: (beats, leads, samples) mV; times: (beats, samples) s of those relative to each beat's R, increasing;
    r: (beats,) s, increasing. From the end of one beat to the start of the next the level of the one gives way to
    that of the other; where they overlap, within 40 ms around the middle, as near to the later one's start as may be.
    """
    a, b = (r + times[:, -1])[:-1], (r + times[:, 0])[1:]
    close = b - a < LEAST_GAP
    middle = np.minimum(np.maximum(0.5 * (a[close] + b[close]), b[close]), b[close] + 0.06)
    a[close], b[close] = middle - LEAST_GAP / 2, middle + LEAST_GAP / 2
    first = np.maximum(np.ceil(np.append(0.0, a) * fs).astype(int), 0)
    last = np.minimum(np.floor(np.append(b, count / fs) * fs).astype(int) + 1, count)
    # All beats in one piece, one after the other: where in its beat each sample is.
    lengths = np.maximum(last - first, 0)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    apart = float(np.ptp(times)) + 1.0  # s between the beats' clocks, so that they follow each other
    clocks = times + apart * np.arange(r.size)[:, None]
    at = np.arange(ends[-1]) / fs + np.repeat((first - starts) / fs - r + apart * np.arange(r.size), lengths)
    at = np.minimum(np.maximum(at, np.repeat(clocks[:, 0], lengths)), np.repeat(clocks[:, -1], lengths))
    at = np.interp(at, clocks.ravel(), np.arange(clocks.size))
    low = np.minimum(at.astype(np.intp), clocks.size - 2)
    # What a beat shares with the next one, though it may be shorter: how much each counts there.
    shared = np.maximum(last[:-1] - first[1:], 0)
    pair = np.repeat(np.arange(r.size - 1), shared)
    sample = np.arange(pair.size) + (first[1:] - np.cumsum(shared) + shared)[pair]
    rise = np.sin(0.5 * np.pi * np.minimum(np.maximum((sample / fs - a[pair]) / (b - a)[pair], 0), 1)) ** 2
    weight = np.ones(at.size, shapes.dtype)
    for own, part in ((pair + 1, rise), (pair, 1 - rise)):
        there = (sample >= first[own]) & (sample < last[own])
        place = (sample + (starts - first)[own])[there]
        weight[place] *= part[there]
    flat = shapes.transpose(1, 0, 2).reshape(shapes.shape[1], -1)
    laid = np.take(np.diff(flat, axis=1), low, axis=1, mode="clip")  # which is not needed, but faster
    laid *= (at - low).astype(shapes.dtype)
    laid += np.take(flat, low, axis=1, mode="clip")
    laid *= weight
    out = np.zeros((shapes.shape[1], count), shapes.dtype)
    for start, stop, at_start, at_stop in zip(
        *(x.tolist() for x in (first, first + lengths, starts, ends)), strict=True
    ):
        out[:, start:stop] += laid[:, at_start:at_stop]
    return out
