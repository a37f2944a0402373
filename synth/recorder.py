"""Recorder: what ECG machines make of a signal when they store it.

Many keep a straight line where that is near enough, to store less (AZTEC: Cox et al., IEEE Trans Biomed Eng 15:128,
1968; a survey: Jalaleddine et al., IEEE Trans Biomed Eng 37:329, 1990). In PTB-XL half of all samples lie within 1 uV
on the line between their neighbours. Noise that goes on evenly there gives a drawn ECG away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

PIECE, DOUBLED = 4, 2  # samples at 500 Hz of the shortest straight piece; how often one may be twice as long
BEND = 5e-3  # mV; samples at which a lead bends by no more count as straight
MOST = 0.02  # mV, of a tolerance


def straightened(mv: Array, tolerance: float) -> Array:
    """(leads, samples) mV in straight pieces of 4, 8 or 16 samples where such are within ``tolerance`` mV."""
    out = np.array(mv)
    whole = (out.shape[1] - 1) // (PIECE << DOUBLED) << DOUBLED
    if tolerance <= 0 or not whole:
        return out
    x = out[:, : whole * PIECE + 1]
    nodes = x[:, ::PIECE].copy()
    first, step = nodes[:, :-1], np.diff(nodes, axis=1) / PIECE
    away = np.zeros_like(step)  # mV, by which a lead is beside its piece at most
    for k in range(1, PIECE):
        np.maximum(away, np.abs(first + k * step - x[:, k::PIECE]), out=away)
    straight = away <= tolerance
    # Two pieces are nearly one if their common node is nearly on the line between the others.
    moves, apart = [], 1
    for _ in range(DOUBLED):
        middle = (nodes[:, : -2 * apart : 2 * apart] + nodes[:, 2 * apart :: 2 * apart]) / 2
        beside = np.abs(middle - nodes[:, apart :: 2 * apart])
        away = np.maximum(away[:, ::2], away[:, 1::2]) + beside
        moves.append((apart, away <= tolerance))
        apart *= 2
    for apart, one in reversed(moves):  # from the longest pieces to the shortest: their ends stay where they are
        middle = (nodes[:, : -2 * apart : 2 * apart] + nodes[:, 2 * apart :: 2 * apart]) / 2
        np.copyto(nodes[:, apart :: 2 * apart], middle, where=one)
    step = np.diff(nodes, axis=1) / PIECE
    x[:, ::PIECE] = nodes
    for k in range(1, PIECE):
        np.copyto(x[:, k::PIECE], nodes[:, :-1] + k * step, where=straight)
    return out


def straightness(mv: Array) -> float:
    """Share of the samples of (leads, samples) mV at 500 Hz at which a lead bends by BEND or less."""
    return float((np.abs(np.diff(np.asarray(mv, np.float64), 2, axis=-1)) <= BEND).mean())


def tolerance_for(straight: float, drawn: Sequence[Array]) -> float:
    """mV, within which ``drawn`` signals must be straightened for their median to be as ``straight`` as that; 0 if they
    are so as they were drawn, MOST if no straightening is enough."""

    def median(tolerance: float) -> float:
        return float(np.median([straightness(straightened(mv, tolerance)) for mv in drawn]))

    low, high = 0.0, MOST
    if median(low) >= straight:
        return low
    for _ in range(8):
        middle = (low + high) / 2
        low, high = (middle, high) if median(middle) < straight else (low, middle)
    return high
