"""exchange: traces of two rows that cross, and were taken to turn back where they meet.

Where the S wave of one row runs into the R wave of the row below, all their ink may be explained and yet be shared out
wrongly: each trace turns back where they meet, and has the other one's tip. Ink says nothing against that, but traces
seldom turn: what lies between such a place and another where they meet is given back if they turn less often then.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np

from .arrays import D, F
from .curves import Curve

_ROWS = 3  # apart, at most
_LONGEST = 0.16  # s between two meetings: a QRS
_DEEP = 1.5  # mm by which a trace turns back, at least
_ASIDE, _APART, _ACROSS = 0.35, 3.5, 1.5  # mm between tips that meet: sideways; of a gap; by which they overlap
_FEWER = 2  # turns
_INKED = 0.35  # coverage of the way from one tip to the other
_CLOSE = 4  # samples within which two meetings are one

_Meeting = tuple[int, int]  # sample of the one curve, and of the other


def exchanged(coverage: F, curves: list[Curve], seconds: float, kx: float, ky: float) -> list[Curve]:
    """The curves, with what two of them have exchanged given back; the others are the same objects.

    Args:
        coverage: (H, W) of the ink that they were read from.
        seconds: from a sample to the next. kx, ky: px per mm.
    """
    curves = list(curves)
    longest, deep = round(_LONGEST / seconds), _DEEP * ky
    for i, j in combinations(range(len(curves)), 2):
        upper, lower = (i, j) if curves[i].row < curves[j].row else (j, i)
        if not _are_near(curves[upper], curves[lower]):
            continue
        meetings, done = _meetings(coverage, curves[upper], curves[lower], kx, ky), -1
        for k, meeting in enumerate(meetings):
            if meeting[0] <= done:
                continue
            tips = [m for m in meetings[:k] + meetings[k + 1 :] if abs(m[0] - meeting[0]) < longest and m[0] > done]
            found = _given_back(coverage, curves[upper], curves[lower], meeting, tips, longest, deep, _APART * ky)
            if found is not None:
                curves[upper], curves[lower], done = found
    return curves


def _are_near(upper: Curve, lower: Curve) -> bool:
    """Whether two curves are of rows that may meet, and share some columns."""
    a, b = upper.columns, lower.columns
    return 0 < lower.row - upper.row <= _ROWS and max(a.start, b.start) < min(a.stop, b.stop)


def _meetings(coverage: F, upper: Curve, lower: Curve, kx: float, ky: float) -> list[_Meeting]:
    """Where a tip of the upper trace and one of the lower meet, from left to right."""
    out, others = [], _tips(-lower.y, _DEEP * ky)
    for p in _tips(upper.y, _DEEP * ky):
        near = [q for q in others if abs(_x(lower, q) - _x(upper, p)) < _ASIDE * kx]
        near = [q for q in near if -_ACROSS * ky < lower.y[q] - upper.y[p] < _APART * ky]
        nearest = min(near, key=lambda q: abs(float(lower.y[q] - upper.y[p])), default=-1)
        if nearest >= 0 and _is_inked(coverage, upper, lower, (p, nearest)):
            out.append((p, nearest))
    return out


def _given_back(
    coverage: F, upper: Curve, lower: Curve, meeting: _Meeting, tips: list[_Meeting], longest: int, deep: float,
    apart: float,
) -> tuple[Curve, Curve, int] | None:  # fmt: skip
    """Both curves, with what lies between a meeting and another place given back, and the last sample of that.

    The other place is one of the meetings ``tips``, or where they are not more than ``apart`` (px): that which takes
    away the most turns, and of those where they are least apart.
    """
    shift = round((lower.x0 - upper.x0) / upper.step)  # a rhythm strip's samples begin elsewhere
    p = meeting[0]
    a, b = max(0, shift, p - longest), min(upper.y.size, lower.y.size + shift, p + longest)
    wide = slice(max(0, a - longest), b + longest), slice(max(0, a - shift - longest), b - shift + longest)
    before = [v[part] for v, part in zip((upper.y, lower.y), wide, strict=True)]
    now = [_turns(v, deep) for v in before]
    near = a + np.flatnonzero(np.abs(upper.y[a:b] - lower.y[a - shift : b - shift]) < apart)
    best, most = None, (_FEWER, -np.inf)
    for place in [*tips, *((at, at - shift) for at in near.tolist())]:
        first, last = sorted((meeting, place))
        if abs(place[0] - p) < _CLOSE or last[1] <= first[1] or not _is_inked(coverage, upper, lower, place):
            continue
        tried = _with(upper, lower, first, last), _with(lower, upper, first[::-1], last[::-1])
        y, z = (one.y[part] for one, part in zip(tried, wide, strict=True))
        # Beats that go the same way keep their order: neither the upper trace's highest point nor the lower's lowest is
        # given away.
        if max(y.min() - before[0].min(), before[1].max() - z.max()) > deep:
            continue
        fewer = [n - _turns(v, deep) for n, v in zip(now, (y, z), strict=True)]
        gap = abs(float(lower.y[place[1]] - upper.y[place[0]]))
        if min(fewer) >= 0 and (sum(fewer), -gap) > most:
            best, most = (*tried, last[0]), (sum(fewer), -gap)
    return best


def _x(one: Curve, sample: int) -> float:
    return one.x0 + one.step * sample


def _is_inked(coverage: F, upper: Curve, lower: Curve, place: _Meeting) -> bool:
    """Whether there is ink all the way from one curve to the other. Tips that do not touch belong where they are."""
    p, q = place
    count = 2 + int(2 * abs(lower.y[q] - upper.y[p]))
    x = np.round(np.linspace(_x(upper, p), _x(lower, q), count)).astype(int)
    y = np.round(np.linspace(upper.y[p], lower.y[q], count)).astype(int)
    height, width = coverage.shape
    if x.min() < 1 or x.max() > width - 2 or y.min() < 0 or y.max() >= height:
        return False
    return bool(np.max([coverage[y, x + beside] for beside in (-1, 0, 1)], axis=0).min() > _INKED)


def _turns(y: D, deep: float) -> int:
    return len(_tips(y, deep)) + len(_tips(-y, deep))


def _tips(y: D, deep: float) -> list[int]:
    """Samples at which ``y`` is largest between two at which it is less by more than ``deep``."""
    extremes = np.flatnonzero(np.diff(np.sign(np.diff(y)), prepend=0, append=0))
    tips, top, low = [], -1, np.inf
    for k in extremes.tolist():
        value = float(y[k])
        if top < 0:
            low = min(low, value)
            top = k if value > low + deep else -1
        elif value > y[top]:
            top = k
        elif value < y[top] - deep:
            tips.append(top)
            top, low = -1, value
    return tips


def _with(one: Curve, other: Curve, first: _Meeting, last: _Meeting) -> Curve:
    """One of two curves, with what the other has between two meetings (each: the one's sample, the other's)."""
    end = one.y.size - 1
    # Tips do not meet at the very same place: what is between them is bridged.
    (a, b), (c, d) = (
        sorted((mine, min(max(round((_x(other, theirs) - one.x0) / one.step), 0), end)))
        for mine, theirs in (first, last)
    )
    y, seen = one.y.copy(), one.seen.copy()
    if b < c:
        at = np.asarray(one.x0 + one.step * np.arange(b, c + 1), np.float64)
        y[b : c + 1] = other.at(at)
        seen[b : c + 1] = other.seen[np.round((at - other.x0) / other.step).astype(int).clip(0, other.seen.size - 1)]
        y[a : b + 1] = np.linspace(y[a], y[b], b - a + 1)
        y[c : d + 1] = np.linspace(y[c], y[d], d - c + 1)
    return replace(one, seen=seen).led(y)
