"""plain: pages as programs draw them, read from their own ink.

Such ink is exact to a hundredth of a pixel where the network's drawing of it is to a fifth, and needs no network, which
takes most of the time. What it cannot tell is whether what no trace explains is text, or a trace that is pale or red:
there, and only there, a network looks. Pages in black and white are not read like that.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from . import borders, network
from .arrays import I32, U8, B, D
from .found import Found, alike, find, fit_rows, follow
from .locate import local_paper
from .polish import uncovered
from .rectify import Upright, inside
from .segment import INK, Ink, NoInk, segment
from .ticks import ticks_of
from .trace import NoTrace
from .tracks import FS

# What says nothing: a difference of RMS errors of coverage, and of shares of ink that are left unexplained.
_ALIKE, _LEFT = 0.01, 0.002
_MISSED = 0.004  # share of the traces' ink that is much
_DRAWN = 0.12  # RMS error of coverage below which a page may be as it was drawn, so that its ink alone is enough
# RMS error of coverage: of a page that is as it was drawn, where ink says to a hundredth of a px how a trace runs; and
# of one that cannot be read better. Of that no piece of a trace may be left that is so large, mm2: a peak's tip is.
AS_DRAWN, _PERFECT, _PIECE = 0.065, 0.06, 0.75
_PALE = 0.08  # of the paper's brightness, by which what may be a trace is darker than it and its grid
_EVEN = 0.35  # share of pixels that are like the next one: cameras and scanners hardly leave so many


class Plain(NamedTuple):
    """A page's own ink, and what was found in it without a network."""

    ink: Ink
    found: Found


def plainly(image: U8, upright: Upright, hidden: B, speed: float | None, gain: float | None) -> Plain | None:
    """A page that came straight from a program, read from its own ink, but for what is ``hidden`` on a view of it; None
    if nothing can be read like that."""
    with contextlib.suppress(NoInk, NoTrace):
        ink = own_ink(image, upright, hidden)
        return Plain(ink, find(ink, upright, speed, gain))
    return None


def is_all(
    plain: Plain, upright: Upright, view: Upright, paper: B, hidden: B, net: network.Network, speed: float | None,
    gain: float | None,
) -> bool:  # fmt: skip
    """Whether a network that looks at what ``plain`` leaves unexplained finds the same strips, and no more of a trace.

    ``view``: ``upright`` at the network's pitch; ``paper``, ``hidden`` (H, W): where there is any on it, and
    where notes hide that.
    """
    ink, there = plain
    if not there.residual <= _PERFECT:
        return False
    bare, size = _bare(ink, there, upright, ticks=True), view.image.shape[1::-1]
    doubtful = bare & ((ink.coverage > INK) | _dark(upright.image))
    if not doubtful.any():
        return False  # not even a name says that it is the right way up
    seen = net.see(view.image, cv2.resize(doubtful.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0)
    if not seen.upright:
        return False
    drawn = cv2.resize(ink.coverage * ~bare, size, interpolation=cv2.INTER_AREA)
    seen = replace(seen, trace=np.maximum(seen.trace, drawn)).within(paper).less(hidden)
    own = network.unruled(network.ink_of(seen, view.kx, view.ky), moved(ink.rulings, upright, view))
    try:
        layout = follow(own, view, speed, gain).calibration.layout
    except NoTrace:
        return False
    trace = cv2.resize(own.coverage, bare.shape[::-1], interpolation=cv2.INTER_LINEAR) > INK
    left = np.asarray(doubtful & trace, np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(left, connectivity=8)
    pieces = stats[1:, cv2.CC_STAT_AREA] / (upright.kx * upright.ky)
    return alike(there.calibration.layout, layout) and bool(pieces.max(initial=0) < _PIECE)


def _dark(image: U8) -> B:
    """(H, W) what is darker than the paper and the grid in any channel, be it much paler than the ink, or red."""
    low = image.min(axis=2)
    dark = 1 - low / np.maximum(local_paper(low), 1.0).astype(np.float32)
    columns = np.median(dark[::4], axis=0)
    rows = np.median(dark[:, ::4], axis=1)
    crossed = columns + rows[:, None] - columns * rows[:, None]  # lines may be darker where they cross
    return np.asarray(dark - crossed > _PALE, np.bool_)


def own_ink(image: U8, upright: Upright, hidden: B) -> Ink:
    """The ink of a page, but that which is ``hidden`` on a view of it (at any pitch). Raises NoInk."""
    ink = segment(upright.image, upright.kx, upright.ky)
    # Beyond the photograph its edges are repeated: traces that it cuts off would go on there.
    shown = cv2.resize(hidden.astype(np.uint8), upright.image.shape[1::-1], interpolation=cv2.INTER_NEAREST) == 0
    return replace(ink, coverage=ink.coverage * inside(upright, image.shape[1::-1]) * shown)


def moved(rulings: I32 | D, upright: Upright, view: Upright) -> D:
    """Boxes on ``upright`` in px of a ``view`` of the same page."""
    sx, sy = view.kx / upright.kx, view.ky / upright.ky
    return np.asarray(rulings * np.array([sx, sy, sx, sy]), np.float64)


def second_look(
    ink: Ink, there: Found, own: Ink, upright: Upright, speed: float | None, gain: float | None
) -> Plain | None:
    """What is read without a network in the ``ink`` of an image that is not straight from a program.

    None unless what is ``there``, read with one, leaves much of the traces unexplained, or if other strips are seen.

    ``own``: what the network draws of the traces.
    """
    if there.residual > _DRAWN:
        return None
    bare = _bare(ink, there, upright)
    traces = _traces(ink, bare, own)
    if not traces.any() or np.mean(bare[traces]) < _MISSED:
        return None
    with contextlib.suppress(NoTrace):
        rows = follow(ink, upright, speed, gain)
        if alike(rows.calibration.layout, there.calibration.layout):
            return Plain(ink, fit_rows(ink, upright, rows, None))
    return None


def is_better(plain: Plain, there: Found, own: Ink, upright: Upright, drawn: bool) -> bool:
    """Whether what was read without a network suits a page better than what is ``there``, read with one.

    It must see the same strips. On a page as it was ``drawn`` it may draw the ink a little worse if it leaves no more
    of the traces unexplained; on any, somewhat worse if it explains more. ``own``: what the network draws of them.
    """
    ink, other = plain
    if there.residual > _DRAWN or not alike(other.calibration.layout, there.calibration.layout):
        return False
    bare = _bare(ink, there, upright)
    traces = _traces(ink, bare, own)
    more = (
        float(np.mean(_bare(ink, other, upright, ticks=True)[traces])) - float(np.mean(bare[traces]))
        if traces.any()
        else 0.0
    )
    worse = other.residual - there.residual
    if drawn and worse < _ALIKE and more < _LEFT:
        return True
    return worse < 2 * _ALIKE and more < -(_LEFT if drawn else _MISSED)


def _traces(ink: Ink, bare: B, own: Ink) -> B:
    """(H, W) which px of the ink are the traces', as a network or fits that leave others ``bare`` have them."""
    return np.asarray((network.narrowed(ink, own).coverage > INK) | ((ink.coverage > INK) & ~bare), np.bool_)


def _bare(ink: Ink, there: Found, upright: Upright, ticks: bool = False) -> B:
    """(H, W) which of the ink's px these fits do not explain; nor ``ticks``, if these were looked for."""
    layout, kx, ky = there.calibration.layout, upright.kx, upright.ky
    bare = uncovered(ink, layout, there.fits, there.pen, kx)
    for (x, y, width, height), _ in ticks_of(ink, layout.strips, kx, ky, there.pen) if ticks else ():
        bare[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = False
    return bare


def timed_as(found: Found, plain: Found) -> Found:
    """``plain``, the same strips read without a network, with time beginning where networks have ``found`` it to.

    Of a page as it was drawn the ink itself tells it better.
    """
    if plain.residual < AS_DRAWN or found.timed == borders.UNSEEN:
        return plain
    layout, strips = plain.calibration.layout, found.calibration.layout.strips
    by = float(np.median([there.x - here.x for here, there in zip(layout.strips, strips, strict=True)]))
    later = replace(layout, strips=tuple(replace(strip, x=strip.x + by) for strip in layout.strips))
    fits = []
    for fit in plain.fits:
        samples = np.arange(fit.y.size, dtype=np.float64)
        at = samples + by * FS / layout.speed
        nearest = np.round(at).astype(np.int64)
        inside = nearest.clip(0, fit.y.size - 1)
        seen = (nearest == inside) & fit.seen[inside]
        fits.append(replace(fit, y=np.interp(at, samples, fit.y), seen=seen))
    notes = {**plain.calibration.notes, "time": found.calibration.notes["time"]}
    return replace(plain, calibration=replace(plain.calibration, layout=later, notes=notes), fits=fits)


def even(image: U8) -> bool:
    """Whether an image looks as if it came straight from a program, uncompressed; not if it is black and white."""
    some = image[::3, :, 1]
    return bool(np.mean(some[:, 1:] == some[:, :-1]) > _EVEN) and not black_and_white(image)


def black_and_white(image: U8) -> bool:
    """Whether hardly any pixel is between black and white."""
    some = image[::3, ::3, 1]
    return bool(np.mean((some > 50) & (some < 205)) < 0.02)
