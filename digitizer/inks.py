"""inks: what is written in another ink than the traces are is no trace.

A network tells a ball pen's stroke from a trace by its shape, and errs where they cross. But inks mix by the light that
each of them takes: wherever there is a trace, its own ink takes as much of every colour as it does elsewhere, whatever
is written or stamped over it. Where much less of one colour is taken, in a hue that is not the traces', there is none.
"""

from __future__ import annotations

import cv2
import numpy as np

from .arrays import U8, B, F, stretches
from .locate import local_paper
from .segment import INK

_TRACE, _CORE, _LEAST = 0.35, 0.8, 500  # drawn coverage of a trace's px, and of those that tell its ink; how many
_PALEST = 0.1  # optical density in the colour of which it takes least
_SMOOTH = 0.6  # mm about a px over which what is drawn is averaged: colours are blurred in JPEGs and by lenses
_LACKS, _HUE = 0.6, 0.3  # share of a colour of its ink; how different in hue, as a share of all that is taken
_CROSSED = 0.8  # share of every colour of its ink: there is some
_DARKER = 0.3  # optical density of another ink beyond that of the grid, which is seen through a trace's edges
_NEAR, _GRID = 3.0, 97  # mm from traces, in which this is looked at; percentile of bare paper that its lines have
_MOST = 0.05  # share of the traces in another ink: more is a row that is printed so
_GAP = 2.0  # mm between letters


def other_ink(image: U8, trace: F, ink: F, k: float) -> B:
    """(H, W) where what is drawn or written, on a page of ``k`` px per mm, is in another ink than most of the traces.

    ``trace``: (H, W), what a network draws of these; ``ink``: (H, W), coverage by any ink. Nowhere if there is hardly
    any trace, and not where fewer traces would be left than elsewhere: a lead may be printed in another ink.
    """
    nowhere = np.zeros(trace.shape, np.bool_)
    at = np.flatnonzero((trace > _TRACE) | (ink > INK))
    core = trace.flat[at] > _CORE
    if core.sum() < _LEAST:
        return nowhere
    density = np.log(np.arange(8.0, 264.0) / 8).astype(np.float32)  # of what light is left; noise is as dark as black
    # Of the sheet alone; beyond it may be anything.
    around = cv2.dilate((trace > _CORE)[::5, ::5].astype(np.uint8), np.ones((2 * round(_NEAR * k / 5) + 1,) * 2))
    bare = (around > 0) & (np.maximum(trace, ink) < _TRACE)[::5, ::5]
    taken, grid = np.empty((at.size, 3), np.float32), np.zeros(3, np.float32)
    for c in range(3):
        channel = np.ascontiguousarray(image[..., c])
        paper = np.log((local_paper(channel) + 8) / 8)
        taken[:, c] = np.clip(paper.flat[at] - density[channel.flat[at]], 0, None)
        if bare.any():
            grid[c] = np.percentile((paper[::5, ::5] - density[channel[::5, ::5]])[bare], _GRID)
    usual = np.median(taken[core], axis=0)
    if usual.min() <= _PALEST or not _differs(taken, usual, grid).any():
        return nowhere
    spread = np.zeros((*trace.shape, 4), np.float32)
    spread.reshape(-1, 4)[at] = np.column_stack([taken, np.ones(at.size, np.float32)])
    side = 2 * round(_SMOOTH * k / 2) + 1
    mean = np.asarray(cv2.blur(spread, (side, side)).reshape(-1, 4)[at], np.float32)
    # By itself, too: where a trace crosses what is written the mean is of both.
    other = _differs(mean[:, :3] / mean[:, 3:], usual, grid) & ((taken / usual).min(axis=1) < _CROSSED)
    drawn = trace > _TRACE
    if not np.sum(other & drawn.flat[at]) < _MOST * drawn.sum():
        return nowhere
    nowhere.flat[at[other]] = True
    return nowhere & ~_leads(nowhere & drawn, drawn & ~nowhere, k)


def _differs(taken: F, usual: F, grid: F) -> B:
    """Of each px (N, 3), by its optical density in three colours: whether an ink of density ``usual`` (3,) is not
    there, but another is, and not just a line of the ``grid``."""
    along = (taken @ usual / float(usual @ usual))[:, None] * usual
    hue = np.linalg.norm(taken - along, axis=1) > _HUE * np.linalg.norm(taken, axis=1)
    share = (taken / usual).min(axis=1)
    rest = (taken - share[:, None] * usual - grid).max(axis=1)
    return np.asarray(hue & (share < _LACKS) & (rest > _DARKER), np.bool_)


def _leads(other: B, own: B, k: float) -> B:
    """(W,) columns in which what is drawn in another ink seems to be a lead: fewer traces are there than elsewhere."""
    rows = np.asarray(np.count_nonzero(own[1:] & ~own[:-1], axis=0))
    written = np.asarray(other.any(axis=0))
    elsewhere = rows[~written & (rows > 0)]
    usual = float(np.median(elsewhere)) if elsewhere.size else np.inf
    wide = 2 * round(_GAP * k / 2) + 1
    together = cv2.morphologyEx(written[None].astype(np.uint8), cv2.MORPH_CLOSE, np.ones((1, wide), np.uint8))[0] > 0
    out = np.zeros(written.size, np.bool_)
    for start, stop in stretches(together):
        out[start:stop] = np.median(rows[start:stop]) < usual
    return out
