"""found: the rows of a page followed, what they say, and a fit of each of their strips.

trace -> calibrate -> borders -> refine, of whatever ink: a page's own, or what a network draws of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ecg_image_kit.layout import Layout

from . import borders, network
from .calibrate import Calibration, calibrate
from .rectify import Upright
from .refine import Fit
from .segment import Ink
from .strips import fit_strips
from .trace import Traced, trace

_SAME_GAIN = 0.03


@dataclass(frozen=True, eq=False)
class Found:
    """Calibration, a fit of each of its strips, the pen's width in px; by how many mm time was moved."""

    calibration: Calibration
    fits: list[Fit]
    pen: float
    timed: borders.Shift = borders.UNSEEN

    @property
    def residual(self) -> float:
        """RMS error of coverage with which the median fit draws the ink."""
        return float(np.median([fit.residual for fit in self.fits]))


class Rows(NamedTuple):
    """Rows that were followed, and what they say."""

    traced: Traced
    calibration: Calibration


def follow(ink: Ink, upright: Upright, speed: float | None, gain: float | None) -> Rows:
    """trace -> calibrate."""
    traced = trace(ink.coverage, upright.kx, upright.ky, ink.drawn)
    return Rows(traced, calibrate(ink, traced, upright.kx, upright.ky, speed, gain))


def find(ink: Ink, upright: Upright, speed: float | None, gain: float | None) -> Found:
    """trace -> calibrate -> refine, without looking at where leads begin."""
    return fit_rows(ink, upright, follow(ink, upright, speed, gain), None)


def fit_rows(ink: Ink, upright: Upright, rows: Rows, timer: network.Small | None) -> Found:
    """borders -> refine. ``timer``: sees where leads begin on a view at its pitch."""
    (traced, calibration), shift = rows, borders.UNSEEN
    if timer is not None:
        calibration, shift = borders.timed(calibration, traced, upright, ink.edge, timer)
    strips, fits, pen = fit_strips(ink, traced, calibration, upright)
    calibration = replace(calibration, layout=replace(calibration.layout, strips=strips))
    return Found(calibration, fits, pen, shift)


def alike(layout: Layout, other: Layout) -> bool:
    """Whether both have the same strips, as to leads and seconds, and the same scales."""
    scales = layout.speed == other.speed and abs(layout.gain / other.gain - 1) < _SAME_GAIN
    return scales and _cells(layout) == _cells(other)


def _cells(layout: Layout) -> list[tuple[str, float]]:
    """Lead and second of beginning of every strip."""
    return [(strip.lead, round(strip.start, 1)) for strip in layout.strips]
