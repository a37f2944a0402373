"""Recorder: what ECG machines leave out of a signal when they store it.

Most keep no noise that is small. In PTB-XL half of all samples lie on a line with their neighbours, to 1 uV; noise that
goes on evenly between the waves gives a drawn ECG away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

WIDTH = 9  # samples at 500 Hz, over which a mean is taken twice for a signal's smooth course
REACH = WIDTH - 1  # samples on either side that have a part in what is made of one
MOST = 0.01  # mV, of a tolerance


def cleaned(mv: Array, tolerance: float) -> Array:
    """(..., samples) mV at 500 Hz, without what lies beside its smooth course by less than ``tolerance`` mV.

    What lies beside it by twice as much is kept whole. No sample moves by more than ``tolerance``. The REACH samples at
    either end are compared with themselves in place of what was before or after.
    """
    if tolerance <= 0:
        return mv
    course = _mean(_mean(np.concatenate([mv[..., REACH - 1 :: -1], mv, mv[..., : -REACH - 1 : -1]], axis=-1)))
    beside = mv - course
    share = np.abs(beside)
    share *= 1 / tolerance
    share -= 1
    beside *= np.minimum(np.maximum(share, 0, out=share), 1, out=share)
    course += beside
    return course


def _mean(mv: Array) -> Array:
    """(..., samples - REACH) means of nine samples, which is WIDTH."""
    # By doubling, in half of the time of scipy's uniform_filter1d.
    two = mv[..., 1:] + mv[..., :-1]
    four = two[..., 2:] + two[..., :-2]
    nine = four[..., 4:-1] + four[..., :-5]
    nine += mv[..., 8:]
    nine *= 1 / WIDTH
    return np.asarray(nine)


def straightness(mv: Array) -> float:
    """Share of the samples of (leads, samples) mV, in whole uV, at which a lead bends by 1 uV at most."""
    return float((np.abs(np.diff(np.rint(1000 * mv), 2, axis=-1)) <= 1).mean())


def tolerance_for(straight: float, drawn: Sequence[Array]) -> float:
    """mV, with which ``drawn`` signals have to be cleaned for the median of them to be as ``straight`` as that.

    0 if they are so as they were drawn, MOST if that is not enough.
    """

    def median(tolerance: float) -> float:
        return float(np.median([straightness(cleaned(mv, tolerance)) for mv in drawn]))

    low, high = 0.0, MOST
    if not median(low) < straight:
        return low
    for _ in range(7):
        middle = (low + high) / 2
        low, high = (middle, high) if median(middle) < straight else (low, middle)
    return high
