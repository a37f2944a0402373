"""trace: which ink is which row's. Rows are found by their spacing, each is followed from column to column."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ecg_image_kit.errors import EcgError

from .arrays import I32, I64, B, D, F, runs_of
from .segment import INK

_PALE_INK = 0.16  # coverage of what counts as ink if it helps to close gaps
_MANY_GAPS = 0.015  # share of columns without ink that makes pale ink worth a try
_MOST_ROWS = 16


class NoTrace(EcgError):
    """There is ink, but no row of it that looks like a recorded lead."""


@dataclass(frozen=True, eq=False)
class Runs:
    """Vertical runs of ink: run k covers rows [top, bottom) of ``column``. Sorted by column, then row.

    ``first[c]`` is the first run of column c (W + 1 entries). ``y0, y1``: sub-pixel upper and lower edge, px.
    """

    column: I32
    top: I32
    bottom: I32
    y0: F
    y1: F
    first: I32


@dataclass(frozen=True, eq=False)
class Chains:
    """Runs joined where ink neither branches, merges nor ends: the pieces that tracing has to put in order.

    ``of`` (runs,): chain of each run, numbered 0 to ``count`` - 1 by starting column.
    """

    of: I32
    count: int


@dataclass(frozen=True, eq=False)
class RowPath:
    """One row's trace: ``baseline`` px, and ``run`` (W,), its run in each column (-1 where there is none)."""

    baseline: float
    run: I32


@dataclass(frozen=True, eq=False)
class Traced:
    """Runs of ink, the rows' paths through them, and what else was found on the way.

    Attributes:
        pen: height of ink on flat stretches, px.
        spacing: of the rows, px.
        keep: (runs,) ink that may be a row's: connected over a long way, or, of a drawing, over 1 mm.
        marks: (N, 4) boxes x0, y0, x1, y1 px of letter-sized ink.
    """

    runs: Runs
    chains: Chains
    rows: tuple[RowPath, ...]
    pen: float
    spacing: float
    keep: B
    marks: I32


def find_runs(coverage: F, inked: B) -> Runs:
    """Runs of ``inked`` pixels, with edges placed by how much of the end pixels is covered."""
    column, top, bottom = runs_of(inked)
    first = np.searchsorted(column, np.arange(inked.shape[1] + 1)).astype(np.int32)
    height = coverage.shape[0]
    over = np.where(top > 0, coverage[np.maximum(top - 1, 0), column], 0)
    under = np.where(bottom < height, coverage[np.minimum(bottom, height - 1), column], 0)
    y0 = top + 0.5 - coverage[top, column] - over
    y1 = bottom - 1.5 + coverage[bottom - 1, column] + under
    return Runs(
        column.astype(np.int32), top.astype(np.int32), bottom.astype(np.int32),
        y0.astype(np.float32), y1.astype(np.float32), first,
    )  # fmt: skip


def trace(coverage: F, kx: float, ky: float, drawn: bool = False) -> Traced:
    """Find the rows of traces and follow each. Raises NoTrace.

    Args:
        kx, ky: px per mm.
        drawn: it is a drawing of the traces alone, without letters: also its short pieces are theirs.

    Ink is what is covered by more than 40 %. Where that leaves gaps in the rows (thin or pale strokes), paler ink that
    is connected to it over a long way counts as well, if it closes more than half of them.
    """
    found, marks = _components(coverage > 0.3, kx, ky, drawn)
    if found.longest < 20 * kx:
        raise NoTrace(
            f"the longest connected ink is {found.longest / kx:.0f} mm wide; expected 20 mm or more of a lead."
        )
    usual = _trace(coverage, coverage > INK, found, marks, kx, ky)
    if _gaps(usual) > _MANY_GAPS:
        pale, _ = _components(coverage > _PALE_INK, kx, ky, drawn)
        inked = (coverage > INK) | (pale.own[pale.label] & (coverage > _PALE_INK))
        try:
            again = _trace(coverage, inked, pale, marks, kx, ky)
        except NoTrace:
            return usual
        if len(again.rows) == len(usual.rows) and _gaps(again) < 0.5 * _gaps(usual):
            return again
    return usual


def _trace(coverage: F, inked: B, pieces: _Pieces, marks: I32, kx: float, ky: float) -> Traced:
    runs = find_runs(coverage, inked)
    piece = pieces.label[runs.top, runs.column]
    keep = pieces.own[piece]
    if not pieces.long[piece].any():
        raise NoTrace("no ink that is connected over a long way is dark enough. Raise the contrast.")
    pen = float(np.percentile((runs.y1 - runs.y0)[keep], 20))
    flat = keep & (runs.bottom - runs.top < pen + 0.6 * ky)
    middle = np.asarray((runs.top + runs.bottom)[flat] / 2.0, np.float64)
    centres, spacing = find_rows(middle, runs.column[flat], coverage.shape[0], ky)
    chains = chain(runs)
    rows = follow_rows(runs, chains, keep, centres, spacing, pen, kx, ky)
    return Traced(runs, chains, tuple(rows), pen, spacing, keep, marks)


def _gaps(found: Traced) -> float:
    """Share of columns without ink between each row's first and last."""
    missing = total = 0
    for row in found.rows:
        there = np.flatnonzero(row.run >= 0)
        if there.size:
            total += int(there[-1] - there[0]) + 1
            missing += int(there[-1] - there[0]) + 1 - there.size
    return missing / max(total, 1)


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Connected ink: ``label`` (H, W); by label, which are ``long``, and which may be of a row's ``own``; and the
    ``longest`` width, px."""

    label: I32
    long: B
    own: B
    longest: float


def _components(mask: B, kx: float, ky: float, drawn: bool) -> tuple[_Pieces, I32]:
    """Connected ink, and boxes (N, 4) x0, y0, x1, y1 of letter-sized pieces.

    Long means 10 mm or more, or high as calibration pulses are; letters and marks are not. Where nothing but traces is
    ``drawn``, 1 mm is enough to belong to one (an upright piece may be a ruled line).
    """
    _, label, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    stats[0] = 0
    x, y, width, height = (stats[:, k] for k in range(4))
    letter = (width >= 0.15 * kx) & (width <= 6 * kx) & (height >= 1.0 * ky) & (height <= 6 * ky)
    boxes = np.stack([x, y, x + width, y + height], axis=1)[letter]
    long = (width >= 10 * kx) | ((width >= 3.5 * kx) & (height >= 4.5 * ky))
    own = long | (width >= kx) if drawn else long
    return _Pieces(np.asarray(label, np.int32), long, own, float(width.max())), boxes.astype(np.int32)


def find_rows(y: D, column: I32, height: int, ky: float) -> tuple[D, float]:
    """Centres (px) and spacing of equally spaced rows, from the heights ``y`` px and columns of flat ink.

    The spacing is the period at which that histogram has its strongest Fourier component among those that leave no
    row empty.
    """
    if not y.size:
        raise NoTrace("no flat ink, only tall strokes; expected rows of leads.")
    bins = int(np.ceil(height / ky * 4)) + 1
    density = np.bincount((y / ky * 4).astype(int), minlength=bins).astype(np.float64)
    density = np.asarray(cv2.GaussianBlur(density[None], (0, 0), 4.0)[0], np.float64)
    position = (np.arange(bins) + 0.5) / 4  # mm
    total = density.sum()
    best: tuple[float, D, float] | None = None
    quarters = column // 4
    stride = int(quarters.max()) + 1
    for d in np.arange(7.0, 90.0, 0.25).tolist():  # mm
        z = np.sum(density * np.exp(2j * np.pi * position / d)) / total
        phase = np.angle(z) / (2 * np.pi) * d
        cell = np.floor((position - phase) / d + 0.5).astype(int)
        mass = np.bincount(cell - cell.min(), density)
        # A row covers columns all along; a few lines of text in one place do not make one.
        of = np.clip(np.floor((y / ky - phase) / d + 0.5).astype(int) - cell.min(), 0, mass.size - 1)
        there = np.zeros(mass.size * stride, np.bool_)
        there[of * stride + quarters] = True
        covered = there.reshape(mass.size, stride).sum(axis=1)
        used = np.flatnonzero(covered > 0.4 * covered.max())
        count = used[-1] - used[0] + 1
        if len(used) < count or count > _MOST_ROWS:
            continue
        score = abs(z) * mass[used].sum() / total
        if best is None or score > best[0] + 0.004:
            best = (score, (used + cell.min()) * d + phase, d)
    if best is None:
        raise NoTrace(f"no equally spaced rows of ink; expected 1 to {_MOST_ROWS} rows of leads.")
    _, centres, d = best
    # Each row's own level: the median of its flat ink.
    level = np.array([np.median(near) if (near := (y / ky)[np.abs(y / ky - c) < d / 2]).size else c for c in centres])
    spacing = float(np.median(np.diff(level))) if len(level) > 1 else d
    return level * ky, spacing * ky


def chain(runs: Runs) -> Chains:
    """Join each run to the one it touches in the next column, where either touches no other."""
    size = runs.column.size
    big = np.int64(runs.bottom.max(initial=0) + 2)
    tops, bottoms = runs.column * big + runs.top, runs.column * big + runs.bottom
    # Runs j of the next column touch run i (also diagonally) if top_j <= bottom_i and bottom_j >= top_i.
    low = np.searchsorted(bottoms, tops + big)
    count = np.searchsorted(tops, bottoms + big, side="right") - low
    back = np.searchsorted(tops, bottoms - big, side="right") - np.searchsorted(bottoms, tops - big)
    following = np.where(count == 1, low, -1)
    single = np.flatnonzero((following >= 0) & (back[np.minimum(following, size - 1)] == 1))
    root = np.arange(size)
    root[following[single]] = single
    while True:  # pointer doubling: log2(columns) rounds
        further = root[root]
        if np.array_equal(further, root):
            break
        root = further
    first, of = np.unique(root, return_inverse=True)
    return Chains(of.astype(np.int32), first.size)


# Costs of a path, in mm:
_GAP, _SKIP, _FRESH = 1.0, 0.35, 2.0  # per mm jumped; of a jump at all; at most for a jump
_OVERLAP = 0.6  # mm by which the ink of neighbouring strips may overlap
_ABSENT, _MARGIN = 1.5, 0.6  # per mm without ink inside the trace; before or after it
_EDGE = 0.01  # per mm that both edges of the ink move
_AWAY = 0.02  # per mm of trace and mm away from the baseline
_AWAY_MOST = 15.0  # mm; further away costs no more, or it would be cheaper to give the trace up
_FAR = 1.0  # per mm of a chain that leaves the reach
FOREIGN = 1.5  # of ink that is another row's, where it is added
_BLOCK = 128  # chains after which those that are of no use any more are dropped


def follow(
    runs: Runs, chains: Chains, keep: B, baseline: float, reach: float, kx: float, ky: float,
    columns: tuple[int, int], extra: D | float = 0.0,
) -> I32:  # fmt: skip
    """(columns,) run index per column of the trace around ``baseline`` (px), -1 where it has no ink.

    Args:
        keep: (runs,) ink connected over a long way; other ink counts only near the baseline (the rest is text).
        reach: px that the trace may leave its baseline.
        columns: [first, last) to look at.
        extra: (runs,) further cost, mm.
    """
    left, right = columns
    path = np.full(right - left, -1, np.int32)
    within = (runs.column >= left) & (runs.column < right)
    distance = _distance(runs, baseline)
    near = within & (distance < np.where(keep, reach, 0.2 * reach))
    candidates = np.flatnonzero(np.bincount(chains.of[near], minlength=chains.count))
    if not candidates.size:
        return path
    members = np.flatnonzero(within & np.isin(chains.of, candidates))
    price = np.where(near, (_AWAY * np.minimum(distance / ky, _AWAY_MOST) + extra) / kx, _FAR / kx)
    cost = np.asarray(np.bincount(chains.of[members], price[members], chains.count)[candidates], np.float64)
    # Each candidate's runs within the columns: a chain's runs are in the order of their columns.
    members = members[np.argsort(chains.of[members], kind="stable")]
    begin = np.searchsorted(chains.of[members], candidates)
    stop = np.append(begin[1:], members.size)
    order = np.argsort(runs.column[members[begin]], kind="stable")
    begin, stop, cost = begin[order], stop[order], cost[order]
    for k in _cheapest(runs, members[begin], members[stop - 1], cost, kx, ky, columns):
        piece = members[begin[k] : stop[k]]
        path[runs.column[piece] - left] = piece
    return path


def _cheapest(runs: Runs, first: I64, last: I64, cost: D, kx: float, ky: float, columns: tuple[int, int]) -> list[int]:
    """The cheapest sequence of chains, from right to left. ``first``, ``last``: their end runs, by starting column."""
    left, right = columns
    start, end = runs.column[first], runs.column[last]
    in_top, in_bottom = runs.y0[first] / ky, runs.y1[first] / ky
    out_top, out_bottom = runs.y0[last] / ky, runs.y1[last] / ky
    absent, margin, overlap = _ABSENT / kx, _MARGIN / kx, 3 + round(_OVERLAP * kx)
    total = np.empty(first.size)
    back = np.full(first.size, -1)
    earlier: I64 = np.arange(0)
    for k in range(first.size):
        best, source = margin * (start[k] - left), -1
        if k and k % _BLOCK == 0:
            # A chain that another one undercuts by more than any jump costs is of no use further on. Without this the
            # time grows with the square of the number of chains, and specks are chains, too.
            earlier = np.append(earlier, np.arange(k - _BLOCK, k))
            price, ended = total[earlier] - absent * end[earlier], end[earlier] < start[k]
            if ended.any():
                earlier = earlier[~ended | (price <= price[ended].min() + _FRESH + 1e-6)]
        before = np.append(earlier, np.arange(k - k % _BLOCK, k))
        # Where one strip ends and the next begins their ink may overlap, by a pen's width if its ends are round.
        before = before[(end[before] < start[k] + overlap) & (start[before] < start[k])]
        if before.size:
            jump = np.maximum(0.0, np.maximum(in_top[k] - out_bottom[before], out_top[before] - in_bottom[k]))
            # A graph's ink goes on at its upper or at its lower edge; ink that does so at neither is something else.
            edge = np.minimum(np.abs(in_top[k] - out_top[before]), np.abs(in_bottom[k] - out_bottom[before]))
            step = np.minimum(_GAP * jump + _SKIP * (jump > 0.15) + _EDGE * edge, _FRESH)
            step += total[before] + absent * np.maximum(0, start[k] - 1 - end[before])
            j = int(np.argmin(step))
            if step[j] < best:
                best, source = float(step[j]), int(before[j])
        total[k], back[k] = best + cost[k], source
    sequence = [int(np.argmin(total + margin * (right - 1 - end)))]
    while back[sequence[-1]] >= 0:
        sequence.append(int(back[sequence[-1]]))
    return sequence


def follow_rows(
    runs: Runs, chains: Chains, keep: B, centres: D, spacing: float, pen: float, kx: float, ky: float
) -> list[RowPath]:
    """Follow every row, twice.

    The second time, ink that clearly belongs to another row costs extra, so that a deep S wave goes on through its
    neighbour instead of merging into it.
    """
    reach, columns = reach_of(spacing, ky), (0, runs.first.size - 1)
    paths = [follow(runs, chains, keep, c, reach, kx, ky, columns) for c in centres]
    owner = claims(runs, paths, centres)
    single = slim(runs, pen, ky)
    for k, c in enumerate(centres):
        extra = np.where((owner >= 0) & (owner != k) & single, FOREIGN, 0.0)
        paths[k] = follow(runs, chains, keep, c, reach, kx, ky, columns, extra)
    return [RowPath(float(c), path) for c, path in zip(centres, paths, strict=True)]


def reach_of(spacing: float, ky: float) -> float:
    """px that a trace may leave its baseline."""
    return 1.6 * spacing + 2 * ky


def slim(runs: Runs, pen: float, ky: float) -> B:
    """(runs,) one stroke only; taller runs may be two rows' strokes in one."""
    return (runs.y1 - runs.y0) < 2 * pen + 0.5 * ky


def claims(runs: Runs, paths: list[I32], centres: D) -> I32:
    """The row that owns each run: of those that pass through it, the one whose baseline is nearest. -1: none."""
    owner = np.full(runs.column.size, -1, np.int32)
    near = np.full(runs.column.size, np.inf)
    for k, path in enumerate(paths):
        used = path[path >= 0]
        distance = _distance(runs, float(centres[k]))[used]
        closer = distance < near[used]
        owner[used[closer]], near[used[closer]] = k, distance[closer]
    return owner


def _distance(runs: Runs, baseline: float) -> D:
    """(runs,) px from the baseline to the nearest end of each run (0 if it crosses)."""
    distance: D = np.maximum(0.0, np.maximum(runs.y0 - baseline, baseline - runs.y1))
    return distance
