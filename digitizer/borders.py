"""borders: where leads begin and end, as a small network sees it; and so where time begins.

The time axis dominates the error of a page: 1 ms of offset caps it at 22.7 dB. Where a lead begins is not simply where
its ink begins: a pulse may run into it, a separator or the lead before may stand there, a fax may have lost it. A
network looks at every place where a lead is thought to begin or to end, and says how likely each px about it is. All
leads of a page were printed together, so that one shift must suit them all: their odds are multiplied. A round pen, or
a threshold, that makes leads begin early makes them end late, which cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ecg_image_kit.layout import Layout, Strip

from .arrays import U8, D, F
from .calibrate import Calibration, row_levels
from .network import SMALL, Small
from .rectify import Upright
from .trace import Traced
from .tracks import FS, count_of, drawn_of, first_x

_, HIGH, WIDE = SMALL["borders"]  # px of what is looked at: 6 mm by 8 mm
INNER = 10  # px that a border may lie further in than thought: from there on the lead's way is known
BINS = (np.arange(2 * WIDE) + 0.5) / 2 - 0.5  # px in the patch, of which the network says how likely they are
_STROKE = 1.0  # px: half the width of the lead's way, as it is drawn for the network
# px that are searched on either side, and how finely. Further away, a sheet from elsewhere was led 2.6 mm astray.
_REACH, _FINE, _COARSE = 11.0, 0.05, 0.25
_ONE = 1.5  # px about the likeliest place that are one with it
_FLOOR = 0.01  # per px: how likely any place is, whatever the network says
_LONGER = 0.5  # px, SD, by which all leads may look longer on both sides than they are
_AT_EDGE = 1.5  # mm from the photograph's edge in which leads are cut off, rather than end
_USUAL, _RARE = 2.0, 0.01  # px, SD, by which leads begin elsewhere than thought; what any other place is worth
_SURE = 0.6  # how likely the likeliest place must be: more than by what was thought before alone
_TOGETHER = 0.3  # what the odds of one border are worth: those of one page err alike
# Share by which a scale that no grid tells may be off, at most, and by which it must be to be worth mending; looks that
# this takes, so that no border lies further from its place than is searched; and how much better borders must then fit.
_MOST, _WORTH, _LOOKS, _CLEARLY = 0.025, 0.003, 11, 4.0


class Shift(NamedTuple):
    """px, or mm, by which all leads begin later than thought, and its standard error: infinite if it cannot be told."""

    by: float
    error: float


UNSEEN = Shift(0.0, 0.14)  # mm: how well is known where time begins if it was not looked at


class Border(NamedTuple):
    """Where a lead is thought to begin (``inwards`` 1) or to end (-1): px ``x``, and its ``way``, px y at (N,) px x."""

    x: float
    inwards: int
    way: Callable[[D], D]


def timed(
    calibration: Calibration, traced: Traced, view: Upright, edge: D | None, network: Small
) -> tuple[Calibration, Shift]:
    """The calibration, with its strips moved to where leads are seen to begin; and that shift, in mm.

    Args:
        traced: the rows, followed on ``view``, which is at the network's pitch.
        edge: as in segment.Ink: where the photograph ends on the right, leads need not. On the left that is not known:
            what ``view`` shows there counts.
    """
    layout, kx = calibration.layout, view.kx
    places = _places(calibration, traced, view, edge)
    shift = later(view.image, places, network) if places else Shift(0.0, np.inf)
    if not np.isfinite(shift.error):
        return calibration, UNSEEN
    strips = tuple(replace(strip, x=strip.x + shift.by / kx) for strip in layout.strips)
    moved = f"; leads are seen to begin {shift.by / kx:+.2f} mm from there (± {shift.error / kx:.2f})"
    notes = {**calibration.notes, "time": calibration.notes["time"] + moved}
    layout = replace(layout, strips=strips)
    return replace(calibration, layout=layout, settled=True, notes=notes), Shift(shift.by / kx, shift.error / kx)


def scale_off(calibration: Calibration, traced: Traced, view: Upright, edge: D | None, network: Small) -> float:
    """Share by which the page is longer than its scale says, as its borders have it. Arguments as for ``timed``.

    Where no grid is seen the rows' length makes the scale of time, and they may be worn, or begin with something else.
    """
    places = _places(calibration, traced, view, edge)
    return further_apart(view.image, places, network) if places else 0.0


def _places(calibration: Calibration, traced: Traced, view: Upright, edge: D | None) -> list[Border]:
    """The borders of all strips that lie within the photograph."""
    layout, kx, ky = calibration.layout, view.kx, view.ky
    return [
        border
        for border, strip in borders_of(layout, [_way(traced, strip.row, ky) for strip in layout.strips], kx)
        if _AT_EDGE < border.x / kx < _last(edge, strip.y / layout.height) - _AT_EDGE
    ]


def _way(traced: Traced, row: int, ky: float) -> Callable[[D], D]:
    """Of a row; what is missing is bridged."""
    level = row_levels(traced, row, ky) * ky
    known = np.flatnonzero(np.isfinite(level))
    return lambda x: np.asarray(np.interp(x, known, level[known]), np.float64)


def _last(edge: D | None, share: float) -> float:
    """mm at which the photograph ends on the right, at that ``share`` of its height."""
    return np.inf if edge is None else float(edge[int(np.clip(share * edge.size, 0, edge.size - 1))])


def borders_of(layout: Layout, ways: Sequence[Callable[[D], D]], kx: float) -> Iterator[tuple[Border, Strip]]:
    """Both borders of every strip. ``ways``: of each; ``kx``: px per mm."""
    step, end = layout.speed * kx / FS, max(strip.stop for strip in layout.strips)
    for strip, way in zip(layout.strips, ways, strict=True):
        x = first_x(strip, layout.speed, kx)
        yield Border(x, 1, way), strip
        # Leads are drawn to their window's very end if the record goes on, which it is not known to do after the last.
        count = count_of(strip) if strip.stop > end - 1 / FS else drawn_of(strip)
        yield Border(x + step * (count - 1), -1, way), strip


def later(image: U8, places: Sequence[Border], network: Small) -> Shift:
    """px by which all leads begin (and end) later than thought.

    Args:
        image: (H, W, 3) of the page, laid flat at the network's pitch.
    """
    shifts = np.arange(-_REACH, _REACH + _FINE / 2, _FINE)
    extra = np.linspace(-2 * _LONGER, 2 * _LONGER, 9)[:, None]
    total = np.log(np.exp(-0.5 * (shifts / _USUAL) ** 2) + _RARE) - 0.5 * (extra / _LONGER) ** 2
    total = total + _evidence(image, places, network, [shifts - place.inwards * extra for place in places])
    likely = np.exp(total - total.max()).sum(axis=0)
    likely /= likely.sum()
    near = np.abs(shifts - shifts[likely.argmax()]) < _ONE  # where there are two, the middle is neither
    middle = float(np.average(shifts[near], weights=likely[near]))
    error = float(np.sqrt(np.average((shifts[near] - middle) ** 2, weights=likely[near])))
    return Shift(middle, error if likely[near].sum() > _SURE else np.inf)


def further_apart(image: U8, places: Sequence[Border], network: Small) -> float:
    """Share by which all places are further apart than thought, if they say so clearly; else 0. As for ``later``."""
    first = min(place.x for place in places)
    shifts = np.arange(-_REACH, _REACH + _COARSE / 2, _COARSE)
    looks = np.linspace(-_MOST, _MOST, _LOOKS)
    near = np.linspace(-0.5, 0.5, 21) * (looks[1] - looks[0])
    evidence = []
    for by in looks:
        there = [place._replace(x=first + (place.x - first) * (1 + by)) for place in places]
        further = [shifts + near[:, None] * (place.x - first) for place in places]
        evidence.append(_evidence(image, there, network, further).max(axis=1))
    share, fit = np.add.outer(looks, near).ravel(), np.concatenate(evidence)
    best, usual = int(fit.argmax()), float(fit[np.abs(share) < _WORTH].max())
    clear = fit[best] > usual + _CLEARLY and abs(share[best]) < _MOST  # at the end of what was searched is no maximum
    return float(share[best]) if clear else 0.0


def _evidence(image: U8, places: Sequence[Border], network: Small, further: Sequence[D]) -> D:
    """How likely (logarithm) all borders are to lie ``further`` right than thought: px, for each an array alike."""
    odds = network.odds(np.stack([stacked(*patch(image, *place)) for place in places]))
    total = np.zeros_like(further[0])
    for place, each, px in zip(places, odds, further, strict=True):
        at = within(place.x, place.x, place.inwards) + place.inwards * px
        total += _TOGETHER * np.log(np.interp(at, BINS, 2 * each) + _FLOOR)
    return total


def within(border: float, thought: float, inwards: int) -> float:
    """px, from the left, of a border in the patch about where it was thought to be."""
    return float(WIDE // 2 + inwards * (border - np.round(thought)))


def patch(image: U8, x: float, inwards: int, way: Callable[[D], D], down: int = 0) -> tuple[U8, F]:
    """What is seen (HIGH, WIDE, 3) about a place where a lead begins or ends; its way (HIGH, WIDE) from INNER px on.

    Args:
        x, inwards, way: of a Border; what ends here is mirrored, so that it begins.
        down: px by which the patch lies lower than it would.
    """
    columns = int(np.round(x)) + inwards * (np.arange(WIDE) - WIDE // 2)
    y = way(columns.astype(np.float64))
    top = int(np.round(y[WIDE // 2 + INNER])) - HIGH // 2 + down
    rows = top + np.arange(HIGH)
    height, width = image.shape[:2]
    seen = image[np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)]
    return np.asarray(seen, np.uint8), _drawn(y - top)


def stacked(seen: U8, way: F) -> F:
    """(4, HIGH, WIDE) for the network."""
    return np.concatenate([seen.transpose(2, 0, 1) / np.float32(255), way[None]])


def _drawn(y: D) -> F:
    """(HIGH, WIDE) coverage by a line through rows ``y`` (WIDE,), where it is known."""
    between = (y[1:] + y[:-1]) / 2
    before, after = np.append(y[0], between), np.append(between, y[-1])
    low, high = np.minimum(np.minimum(before, after), y), np.maximum(np.maximum(before, after), y)
    row = np.arange(HIGH)[:, None]
    covered = np.minimum(row + 0.5, high + _STROKE) - np.maximum(row - 0.5, low - _STROKE)
    covered[:, : WIDE // 2 + INNER] = 0.0
    return np.asarray(np.clip(covered, 0.0, 1.0), np.float32)
