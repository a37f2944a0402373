"""trace: which ink is which row's. Rows are found by their spacing, each is followed from column to column."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ecg_image_kit.errors import EcgError

F = NDArray[np.float32]
I32 = NDArray[np.int32]


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
    """One row's trace. ``run`` (W,): index into Runs, -1 where there is none; ``shared`` (W,): the run is another row's too."""

    baseline: float
    run: I32
    shared: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Traced:
    """Runs of ink, the rows' paths through them, and what else was found on the way.

    ``pen``: px, height of ink on flat stretches. ``spacing``: px between rows. ``keep`` (runs,): ink connected over a
    long way. ``marks`` (N, 4): boxes x0, y0, x1, y1 px of letter-sized ink.
    """

    runs: Runs
    chains: Chains
    rows: tuple[RowPath, ...]
    pen: float
    spacing: float
    keep: NDArray[np.bool_]
    marks: NDArray[np.int32]


def find_runs(coverage: F, inked: NDArray[np.bool_]) -> Runs:
    """Runs of ``inked`` pixels, with edges placed by how much of the end pixels is covered."""
    inked = inked.T
    padded = np.zeros((inked.shape[0], inked.shape[1] + 2), np.int8)
    padded[:, 1:-1] = inked
    step = np.diff(padded, axis=1)
    column, top = np.nonzero(step > 0)
    _, bottom = np.nonzero(step < 0)
    height = coverage.shape[0]
    first = np.searchsorted(column, np.arange(inked.shape[0] + 1)).astype(np.int32)
    over = np.where(top > 0, coverage[np.maximum(top - 1, 0), column], 0)
    under = np.where(bottom < height, coverage[np.minimum(bottom, height - 1), column], 0)
    y0 = top + 0.5 - coverage[top, column] - over
    y1 = bottom - 1.5 + coverage[bottom - 1, column] + under
    return Runs(column.astype(np.int32), top.astype(np.int32), bottom.astype(np.int32), y0.astype(np.float32), y1.astype(np.float32), first)  # fmt: skip


def trace(coverage: F, kx: float, ky: float) -> Traced:
    """Find the rows of traces and follow each. ``kx, ky``: px per mm. Raises NoTrace.

    Ink is what is covered by more than 40 %. Where that leaves gaps in the rows (thin or pale strokes), paler ink that is
    connected to it over a long way counts as well, if it closes more than half of them.
    """
    label, long, marks, longest = _components((coverage > 0.3).astype(np.uint8), kx, ky)
    if longest < 20 * kx:
        raise NoTrace(f"the longest connected ink is {longest / kx:.0f} mm wide; expected 20 mm or more of a lead.")
    found = _trace(coverage, coverage > 0.4, long[label], marks, kx, ky)
    if _gaps(found) > 0.015:
        label, long, _, _ = _components((coverage > 0.16).astype(np.uint8), kx, ky)
        pale = long[label]
        again = _trace(coverage, (coverage > 0.4) | (pale & (coverage > 0.16)), pale, marks, kx, ky)
        if len(again.rows) == len(found.rows) and _gaps(again) < 0.5 * _gaps(found):
            return again
    return found


def _trace(
    coverage: F, inked: NDArray[np.bool_], long_ink: NDArray[np.bool_], marks: I32, kx: float, ky: float
) -> Traced:
    runs = find_runs(coverage, inked)
    keep = long_ink[runs.top, runs.column]
    if not keep.any():
        raise NoTrace("no ink that is connected over a long way is dark enough. Raise the contrast.")
    heights = runs.bottom - runs.top
    pen = _pen(runs, keep)
    flat = keep & (heights < pen + 0.6 * ky)
    centres, spacing = find_rows((runs.top + runs.bottom)[flat] / 2.0, runs.column[flat], coverage.shape[0], ky)
    chains = chain(runs)
    paths = follow_rows(runs, chains, keep, centres, spacing, pen, kx, ky, coverage.shape[1])
    return Traced(runs, chains, tuple(paths), pen, spacing, keep, marks)


def _gaps(found: Traced) -> float:
    """Share of columns without ink between each row's first and last."""
    missing = total = 0
    for row in found.rows:
        there = np.flatnonzero(row.run >= 0)
        if there.size:
            total += int(there[-1] - there[0]) + 1
            missing += int(there[-1] - there[0]) + 1 - there.size
    return missing / max(total, 1)


def _components(mask: NDArray[np.uint8], kx: float, ky: float) -> tuple[I32, NDArray[np.bool_], I32, float]:
    """Labels of connected ink, which of them are long (10 mm or more, or high as calibration pulses are; letters and
    marks are not), boxes (N, 4) x0, y0, x1, y1 of letter-sized ones, and the longest width in px."""
    _, label, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)
    stats[0] = 0
    x, y, width, height = (stats[:, k] for k in range(4))
    letter = (width >= 0.15 * kx) & (width <= 6 * kx) & (height >= 1.0 * ky) & (height <= 6 * ky)
    boxes = np.stack([x, y, x + width, y + height], axis=1)[letter]
    long = (width >= 10 * kx) | ((width >= 3.5 * kx) & (height >= 4.5 * ky))
    return label.astype(np.int32, copy=False), long, boxes.astype(np.int32), float(width.max())


def _pen(runs: Runs, keep: NDArray[np.bool_]) -> float:
    thickness = (runs.y1 - runs.y0)[keep]
    return float(np.percentile(thickness, 20))


def find_rows(y: NDArray[np.floating], column: I32, height: int, ky: float) -> tuple[NDArray[np.float64], float]:
    """Centres (px) and spacing of equally spaced rows, from the heights of flat ink.

    The spacing is the period at which that histogram has its strongest Fourier component among those that leave no
    row empty.
    """
    bins = int(np.ceil(height / ky * 4)) + 1
    density = np.bincount((y / ky * 4).astype(int), minlength=bins).astype(np.float64)
    density = cv2.GaussianBlur(density[None], (0, 0), 4.0)[0]
    position = (np.arange(bins) + 0.5) / 4  # mm
    total = density.sum()
    best: tuple[float, NDArray[np.float64], float] | None = None
    for d in np.arange(7.0, 90.0, 0.25):
        z = np.sum(density * np.exp(2j * np.pi * position / d)) / total
        phase = np.angle(z) / (2 * np.pi) * d
        cell = np.floor((position - phase) / d + 0.5).astype(int)
        mass = np.bincount(cell - cell.min(), density)
        # A row covers columns all along; a few lines of text in one place do not make one.
        of = np.floor((y / ky - phase) / d + 0.5).astype(int) - cell.min()
        pairs = np.unique(of * 4096 + column // 4)
        covered = np.bincount(pairs // 4096, minlength=mass.size)
        used = np.flatnonzero(covered > 0.4 * covered.max())
        count = used[-1] - used[0] + 1
        if len(used) < count or count > 16:
            continue
        score = abs(z) * mass[used].sum() / total
        if best is None or score > best[0] + 0.004:
            best = (score, (used + cell.min()) * d + phase, d)
    if best is None:
        raise NoTrace("no equally spaced rows of ink; expected 1 to 16 rows of leads.")
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


# Costs: per mm jumped, of a jump at all, at most for a jump; per mm without ink (inside, and before or after the trace);
# per mm that both edges of the ink move; per mm^2 away from the baseline.
_GAP, _SKIP, _FRESH, _ABSENT, _MARGIN, _EDGE, _AWAY = 1.0, 0.35, 2.0, 1.5, 0.6, 0.01, 0.02


def follow(
    runs: Runs, chains: Chains, keep: NDArray[np.bool_], baseline: float, reach: float, kx: float, ky: float,
    columns: tuple[int, int], extra: NDArray[np.float64] | float = 0.0,
) -> I32:  # fmt: skip
    """(columns,) run index per column of the trace around ``baseline`` (px), -1 where it has no ink.

    Args:
        keep: (runs,) ink connected over a long way; other ink counts only near the baseline (the rest is text).
        reach: px that the trace may leave its baseline. columns: [first, last) to look at.
        extra: (runs,) further cost, mm.
    """
    left, right = columns
    near = _distance(runs, baseline) < np.where(keep, reach, 0.2 * reach)
    near &= (runs.column >= left) & (runs.column < right)
    node = (_AWAY * _distance(runs, baseline) / ky + extra) / kx
    candidates = np.unique(chains.of[near])
    inside = np.isin(chains.of, candidates) & (runs.column >= left) & (runs.column < right)
    cost = np.bincount(chains.of[inside], np.where(near, node, 1.0 / kx)[inside], minlength=chains.count)[candidates]
    path = np.full(right - left, -1, np.int32)
    if not candidates.size:
        return path
    # Ends within the columns looked at: runs are sorted by column, so the first and last of each chain will do.
    within = np.flatnonzero(inside)
    _, at = np.unique(chains.of[within], return_index=True)
    _, at_end = np.unique(chains.of[within][::-1], return_index=True)
    first, last = within[at], within[::-1][at_end]
    start, end = runs.column[first], runs.column[last]
    order = np.argsort(start, kind="stable")
    candidates, first, last, start, end, cost = (v[order] for v in (candidates, first, last, start, end, cost))
    in_top, in_bottom, out_top, out_bottom = (
        runs.y0[first] / ky,
        runs.y1[first] / ky,
        runs.y0[last] / ky,
        runs.y1[last] / ky,
    )
    absent, margin = _ABSENT / kx, _MARGIN / kx
    total = np.empty(first.size)
    back = np.full(first.size, -1)
    for k in range(first.size):
        best, source = margin * (start[k] - left), -1
        # Neighbouring strips may share the column in which one ends and the next begins.
        before = np.flatnonzero((end[:k] < start[k] + 3) & (start[:k] < start[k]))
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
    k = int(np.argmin(total + margin * (right - 1 - end)))
    while k >= 0:
        of_chain = np.flatnonzero(inside & (chains.of == candidates[k]))
        path[runs.column[of_chain] - left] = of_chain
        k = int(back[k])
    return path


def follow_rows(
    runs: Runs,
    chains: Chains,
    keep: NDArray[np.bool_],
    centres: NDArray[np.float64],
    spacing: float,
    pen: float,
    kx: float,
    ky: float,
    width: int,
) -> list[RowPath]:
    """Follow every row, twice: the second time, ink that clearly belongs to another row costs extra, so that a deep S
    wave goes on through its neighbour instead of merging into it."""
    reach = 1.6 * spacing + 2 * ky
    paths = [follow(runs, chains, keep, c, reach, kx, ky, (0, width)) for c in centres]
    owner = claims(runs, paths, centres)
    single = (runs.y1 - runs.y0) < 2 * pen + 0.5 * ky  # taller ones may be two rows' strokes in one
    for k, c in enumerate(centres):
        extra = np.where((owner >= 0) & (owner != k) & single, 1.5, 0.0)
        paths[k] = follow(runs, chains, keep, c, reach, kx, ky, (0, width), extra)
    users = np.zeros(runs.column.size + 1, np.int32)
    for path in paths:
        users[path[path >= 0]] += 1
    return [RowPath(float(c), path, (path >= 0) & (users[path] > 1)) for c, path in zip(centres, paths, strict=True)]


def claims(runs: Runs, paths: list[I32], centres: NDArray[np.float64]) -> I32:
    """The row that owns each run: of those that pass through it, the one whose baseline is nearest. -1: none."""
    owner = np.full(runs.column.size, -1, np.int32)
    near = np.full(runs.column.size, np.inf)
    for k, path in enumerate(paths):
        used = path[path >= 0]
        distance = _distance(runs, float(centres[k]))[used]
        closer = distance < near[used]
        owner[used[closer]], near[used[closer]] = k, distance[closer]
    return owner


def _distance(runs: Runs, baseline: float) -> NDArray[np.float64]:
    """(runs,) px from the baseline to the nearest end of each run (0 if it crosses)."""
    d: NDArray[np.float64] = np.maximum(0.0, np.maximum(runs.y0 - baseline, baseline - runs.y1))
    return d
