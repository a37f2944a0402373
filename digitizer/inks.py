"""inks: what is written in another ink than the traces are is no trace.

A network tells a ball pen's stroke from a trace by its shape, and errs where they cross. But inks mix by the light that
each of them takes: wherever there is a trace, its own ink takes as much of every colour as it does elsewhere, whatever
is written or stamped over it. Where much less of one colour is taken, in a hue that is not the traces', there is none.
"""

from __future__ import annotations

import cv2
import numpy as np

from .arrays import U8, B, F
from .locate import local_paper
from .segment import INK

_TRACE, _CORE, _LEAST = 0.35, 0.8, 500  # drawn coverage of a trace's px, and of those that tell its ink; how many
_PALEST = 0.1  # optical density in the colour of which it takes least
_SMOOTH = 0.6  # mm about a px over which traces are averaged: colours are blurred in JPEGs and by lenses
_LACKS, _HUE = 0.6, 0.3  # share of a colour of its ink; how different in hue, as a share of all that is taken
_CROSSED = 0.8  # share of every colour of its ink: there is some
_MOST = 0.05  # share of the traces in another ink: more is a lead that is printed so


def other_ink(image: U8, trace: F, ink: F, k: float) -> B:
    """(H, W) where what is drawn or written, on a page of ``k`` px per mm, is in another ink than most of the traces.

    ``trace``: (H, W), what a network draws of these; ``ink``: (H, W), coverage by any ink. Nowhere if there is hardly
    any trace, or so much of it is in another ink that it may be a lead.
    """
    nowhere = np.zeros(trace.shape, np.bool_)
    at = np.flatnonzero((trace > _TRACE) | (ink > INK))
    drawn = trace.flat[at]
    if np.sum(drawn > _CORE) < _LEAST:
        return nowhere
    density = np.log(np.arange(8.0, 264.0) / 8).astype(np.float32)  # of what light is left; noise is as dark as black
    taken = np.empty((at.size, 3), np.float32)
    for c in range(3):
        channel = np.ascontiguousarray(image[..., c])
        paper = local_paper(channel).flat[at]
        taken[:, c] = np.clip(np.log((paper + 8) / 8) - density[channel.flat[at]], 0, None)
    usual = np.median(taken[drawn > _CORE], axis=0)
    if usual.min() <= _PALEST or not _differs(taken, usual).any():
        return nowhere
    spread = np.zeros((*trace.shape, 4), np.float32)
    spread.reshape(-1, 4)[at] = np.column_stack([taken, np.ones(at.size, np.float32)])
    side = 2 * round(_SMOOTH * k / 2) + 1
    mean = np.asarray(cv2.blur(spread, (side, side)).reshape(-1, 4)[at], np.float32)
    # By itself, too: where a trace crosses what is written the mean is of both.
    other = _differs(mean[:, :3] / mean[:, 3:], usual) & ((taken / usual).min(axis=1) < _CROSSED)
    if np.sum(other & (drawn > _TRACE)) < _MOST * np.sum(drawn > _TRACE):
        nowhere.flat[at[other]] = True
    return nowhere


def _differs(taken: F, usual: F) -> B:
    """Of each px (N, 3), by its optical density in three colours: whether an ink of density ``usual`` (3,) is not
    there."""
    along = (taken @ usual / float(usual @ usual))[:, None] * usual
    hue = np.linalg.norm(taken - along, axis=1) > _HUE * np.linalg.norm(taken, axis=1)
    return np.asarray(hue & ((taken / usual).min(axis=1) < _LACKS), np.bool_)
