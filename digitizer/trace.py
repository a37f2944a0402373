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
class RowPath:
    """One row's trace. ``run`` (W,): index into Runs, -1 where there is none; ``shared`` (W,): the run is another row's too."""

    baseline: float
    run: I32
    shared: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Traced:
    runs: Runs
    rows: tuple[RowPath, ...]
    pen: float  # px, height of ink on flat stretches
    spacing: float  # px between rows


def find_runs(coverage: F, level: float = 0.4) -> Runs:
    """Runs of coverage above ``level``, with edges placed by how much of the end pixels is covered."""
    inked = (coverage > level).T
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
    """Find the rows of traces and follow each. ``kx, ky``: px per mm. Raises NoTrace."""
    mask = (coverage > 0.3).astype(np.uint8)
    long_ink, widths = _long_components(mask, kx)
    if widths < 25 * kx:
        raise NoTrace(f"the longest connected ink is {widths / kx:.0f} mm wide; expected 25 mm or more of a lead.")
    runs = find_runs(coverage)
    keep = long_ink[runs.top, runs.column]
    heights = runs.bottom - runs.top
    pen = _pen(runs, keep)
    flat = keep & (heights < pen + 0.6 * ky)
    centres, spacing = find_rows((runs.top + runs.bottom)[flat] / 2.0, runs.column[flat], coverage.shape[0], ky)
    paths = follow(runs, keep, centres, spacing, pen, kx, ky, coverage.shape[1])
    return Traced(runs, tuple(paths), pen, spacing)


def _long_components(mask: NDArray[np.uint8], kx: float) -> tuple[NDArray[np.bool_], float]:
    """Ink connected over at least 10 mm (letters and marks are not), and the longest width in px."""
    _, label, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)
    width = stats[:, cv2.CC_STAT_WIDTH].copy()
    width[0] = 0
    return (width >= 10 * kx)[label], float(width.max())


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


def follow(
    runs: Runs, keep: NDArray[np.bool_], centres: NDArray[np.float64], spacing: float, pen: float, kx: float, ky: float, width: int
) -> list[RowPath]:
    """Follow every row through the runs by dynamic programming, twice: the second time, ink that clearly belongs to
    another row costs extra, so that a deep S wave goes on through its neighbour instead of merging into it."""
    first = [_follow_one(runs, keep, c, spacing, kx, ky, width, None) for c in centres]
    claimed = _claims(runs, first, centres)
    paths = [_follow_one(runs, keep, c, spacing, kx, ky, width, _others(runs, claimed, k, pen, ky)) for k, c in enumerate(centres)]
    users = np.zeros(runs.column.size + 1, np.int32)
    for path in paths:
        users[path[path >= 0]] += 1
    return [RowPath(float(c), path, (path >= 0) & (users[path] > 1)) for c, path in zip(centres, paths, strict=True)]


def _claims(runs: Runs, paths: list[I32], centres: NDArray[np.float64]) -> I32:
    """The row that owns each run: of those that pass through it, the one whose baseline is nearest. -1: none."""
    owner = np.full(runs.column.size, -1, np.int32)
    near = np.full(runs.column.size, np.inf)
    for k, path in enumerate(paths):
        used = path[path >= 0]
        distance = _distance(runs, used, float(centres[k]))
        closer = distance < near[used]
        owner[used[closer]], near[used[closer]] = k, distance[closer]
    return owner


def _others(runs: Runs, owner: I32, k: int, pen: float, ky: float) -> NDArray[np.float64]:
    """Extra cost (mm) of runs that another row owns. Tall ones may be two rows' strokes in one, and cost nothing."""
    single = (runs.y1 - runs.y0) < 2 * pen + 0.5 * ky
    return np.where((owner >= 0) & (owner != k) & single, 1.5, 0.0)


def _distance(runs: Runs, which: NDArray[np.integer], baseline: float) -> NDArray[np.float64]:
    """px from the baseline to the nearest end of each run (0 if it crosses)."""
    d: NDArray[np.float64] = np.maximum(0.0, np.maximum(runs.y0[which] - baseline, baseline - runs.y1[which]))
    return d


# Costs: per mm jumped, of a jump at all, per mm without ink (inside and before or after the trace), per mm that both
# edges move.
_GAP, _SKIP, _ABSENT, _MARGIN, _EDGE = 1.0, 0.35, 1.5, 0.25, 0.01


def _follow_one(
    runs: Runs, keep: NDArray[np.bool_], baseline: float, spacing: float, kx: float, ky: float, width: int, extra: NDArray[np.float64] | None
) -> I32:
    """(W,) run index per column, -1 where the row has no ink."""
    reach = 1.6 * spacing + 2 * ky
    # Far from the baseline only ink connected over a long way can be the trace; the rest is text.
    far = np.where(keep, reach, 0.3 * spacing)
    near = np.flatnonzero((runs.y1 > baseline - far) & (runs.y0 < baseline + far))
    column = runs.column[near]
    node = 0.02 * _distance(runs, near, baseline) / ky / kx
    if extra is not None:
        node = node + extra[near] / kx
    y0, y1 = runs.y0[near] / ky, runs.y1[near] / ky
    bounds = np.searchsorted(column, np.arange(width + 1))
    # State: runs of the last inked column, plus their cost; columns without candidates cost _ABSENT each.
    total = np.zeros(near.size)
    back = np.full(near.size, -1, np.int32)
    live = np.zeros(0, np.int64)
    absent, margin = _ABSENT / kx, _MARGIN / kx
    memory = max(2, round(1.0 * kx))  # columns that a break may last before the row is taken up afresh
    end_cost = 0.0  # cost of having no ink so far
    closed, closed_at = 0.0, -1  # best cost of a path that ended earlier
    for c in range(width):
        a, b = bounds[c], bounds[c + 1]
        if live.size:
            total_live = total[live] + absent * (c - 1 - column[live])
            k = int(np.argmin(total_live))
            if closed_at < 0 or total_live[k] < closed + absent:
                closed, closed_at = float(total_live[k]), int(live[k])
            else:
                closed += absent
        else:
            closed += absent if closed_at >= 0 else 0.0
        end_cost = margin * c
        if a == b:
            continue
        new = np.arange(a, b)
        fresh = (closed if closed_at >= 0 else end_cost) + 2.0
        cost, source = np.full(b - a, fresh), np.full(b - a, closed_at, np.int32)
        if live.size:
            jump = np.maximum(0.0, np.maximum(y0[new][:, None] - y1[live][None], y0[live][None] - y1[new][:, None]))
            # A graph's ink goes on at its upper or at its lower edge; ink that does so at neither is something else.
            edge = np.minimum(np.abs(y0[new][:, None] - y0[live][None]), np.abs(y1[new][:, None] - y1[live][None]))
            step = total_live[None] + _GAP * jump + _SKIP * (jump > 0.15) + _EDGE * edge
            k = np.argmin(step, axis=1)
            better = step[np.arange(b - a), k]
            source = np.where(better < cost, live[k], source).astype(np.int32)
            cost = np.minimum(better, cost)
        total[a:b] = cost + node[a:b]
        back[a:b] = source
        live = np.concatenate([live[column[live] >= c - memory], new])
        if live.size > 24:
            live = live[np.argsort(total[live] - absent * column[live])[:24]]
    path = np.full(width, -1, np.int32)
    if not near.size:
        return path
    last = int(np.argmin(total + margin * (width - 1 - column)))
    while last >= 0:
        path[column[last]] = near[last]
        last = int(back[last])
    return path
