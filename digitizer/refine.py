"""refine: the trace whose drawing reproduces the ink (inverse rendering).

So the pen's width and the pixels' size do not blur the QRS. The forward model is the renderer's own
(ecg_image_kit.raster): a disc that slides along the trace covers one interval [upper, lower] per sub-column. Each edge
depends on one point of the trace (where the extremum is attained) and lies in one pixel, so the Jacobian has a handful
of entries per sub-column, the normal equations are banded, and a Gauss-Newton step over a whole page costs some 20 ms.
Against the centroid of the ink in each column this gains 5 to 15 dB on clean pages.

The fit starts soft and ends sharp: ink and model are first compared under a vertical blur, which lets an edge feel ink
several pixels away, and the prior on the trace's curvature starts stiff and is relaxed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from .arrays import I64, B, D, F, stretches

_BLUR = (9, 9, 9, 7, 7, 7, 5, 5, 5, 3, 3, 3, 1, 1, 1, 1, 1, 1)  # px, by iteration
_WARM = 10  # the iteration from which fits are polished
_HEAT = 10.0  # how much stiffer the prior is at first
_NOISE = 0.03  # coverage, of a pixel
_BEND = 0.004  # mV, second difference at 500 Hz that costs nothing; a QRS bends more, and pays only logarithmically
_ROBUST = 0.35  # coverage; ink that the model misses by more (a letter on the trace) loses its pull


@dataclass(frozen=True, eq=False)
class Window:
    """The pixels that belong to one strip: in column ``left`` + c, rows [top[c], top[c] + start[c + 1] - start[c]).

    ``values`` are their coverages, one column after the other, ``weight`` their trust. A column without rows is
    unknown.
    """

    left: int
    top: I64
    start: I64
    values: D
    weight: D


@dataclass(frozen=True, eq=False)
class Guess:
    """Where a strip's samples are (x0 + k step, px) and a first guess of them: ``y`` (N,) px within [low, high].

    ``spread``: SD, px, of what the guess (or each sample of it) is wrong by, if it is more than a guess.
    """

    x0: float
    step: float
    y: D
    low: D
    high: D
    spread: float | D = np.inf


@dataclass(frozen=True, eq=False)
class Fit:
    """``y`` (N,) px at every sample; ``seen`` (N,): there is ink in its column; ``residual``: RMS error of coverage."""

    y: D
    seen: B
    residual: float


@dataclass(frozen=True, eq=False)
class _Problem:
    """All strips of a page laid end to end: fine sub-columns, the pixels under them, the samples they depend on."""

    sub: int
    knot: I64  # (fine,) sample left of each sub-column
    part: D  # (fine,) way to the next sample, 0 to 1
    share: D  # (fine,) how much of it lies within its strip and its caps
    centred: B  # (fine,) the pen's centre passes it
    used: B  # (fine,) some of it does, and its column has pixels
    top: I64
    first: I64
    count: I64  # (fine,) its column's pixels: first image row, first index, number
    values: D
    weight: D
    column: I64  # (pixels,) of each pixel
    slim: I64  # columns with flat ink
    start: I64  # (columns + 1,)
    size: int  # samples
    broken: I64  # second differences that span two strips


def fit(
    windows: list[Window], guesses: list[Guess], pen: float, px_per_mv: float, cap: float = 0.0, warm: bool = False
) -> tuple[list[Fit], float]:
    """Fit all strips of a page.

    Args:
        windows, guesses: one of each per strip. pen: pen width, px, roughly.
        cap: px that the pen's ends add before the first and after the last sample (0: cut straight).
        px_per_mv: scale of the prior, which is stated in mV.
        warm: the guesses are fits already, and only need a last polish.

    Returns:
        One Fit per strip, and the pen's width in px.
    """
    problem = _assemble(windows, guesses, pen, cap)
    y = np.concatenate([g.y for g in guesses])
    low, high = np.concatenate([g.low for g in guesses]), np.concatenate([g.high for g in guesses])
    held = 1 / np.concatenate([np.broadcast_to(g.spread, g.y.shape) for g in guesses]) ** 2
    hold = (held, y) if held.any() else None
    usual = radius = pen / 2
    first, cooling = _WARM if warm else 0, len(_BLUR) - 3
    for iteration in range(first, len(_BLUR)):
        blur, heat = _BLUR[iteration], max(1.0, _HEAT ** (1 - iteration / cooling))
        change, rest = _step(problem, y, radius, blur, _NOISE * heat, px_per_mv, hold)
        y = np.clip(y + np.clip(change, -2.5 * blur, 2.5 * blur), low, high)
        if iteration >= first + 2 and problem.slim.size > 50:
            # On flat stretches the ink's height is the pen's width.
            missing = np.add.reduceat(np.append(rest, 0.0), problem.start[:-1])[problem.slim]
            radius = float(np.clip(radius + 0.5 * np.median(missing), 0.6 * usual, 1.6 * usual))
        if blur == 1 and np.abs(change).max() < 0.02:
            break
    error = (problem.values - _model(problem, y, radius, 1)[0]) ** 2
    return _split(problem, windows, guesses, y, error), 2 * radius


def _step(
    problem: _Problem, y: D, radius: float, blur: int, noise: float, px_per_mv: float,
    hold: tuple[D, D] | None = None,
) -> tuple[D, D]:  # fmt: skip
    """A Gauss-Newton step: the change of every sample, px, and what the model leaves of every pixel's coverage.

    ``hold``: (samples,) 1/px^2, how firmly each is held, and px, where: against ink as noisy as what is left.
    """
    from scipy.linalg import solveh_banded  # a third of the program's start, and not needed before the first image

    model, edges = _model(problem, y, radius, blur)
    rest = _blurred(problem, blur) - model
    matrix, gradient = _normal(problem, edges, rest * problem.weight)
    _add_prior(matrix, gradient, y, problem.broken, noise, _BEND * px_per_mv)
    if hold is not None:
        firmly, where = hold
        left = max(noise**2, float(np.sum(problem.weight * rest**2) / max(problem.weight.sum(), 1.0)))
        matrix[0] += left * firmly
        gradient += left * firmly * (where - y)
    change = solveh_banded(matrix, gradient, lower=True, overwrite_ab=True, overwrite_b=True, check_finite=False)
    return np.asarray(change, np.float64), rest


def _smooth(y: D, width: float) -> D:
    """Mean over about ``width`` samples; the ends are repeated."""
    n = 2 * max(1, round(width / 2)) + 1
    return np.convolve(np.pad(y, n // 2, "edge"), np.full(n, 1 / n), "valid")


def start_shift(
    windows: list[Window], guesses: list[Guess], pen: float, px_per_mv: float, bare: int, cap: float = 0.0
) -> float:
    """px to add to every ``x0`` so that the strips' beginnings, drawn with such ends, reproduce the ink.

    ``windows`` begin ``bare`` columns before x0. If x0 is late, ink is left over there; if it is early, the model draws
    where there is none. Each shift is tried with the traces re-fitted. Returns NaN if no shift within 2 px (two
    thirds of a ``pen``, if that is more) is a clear minimum.
    """
    ends = np.cumsum([0] + [w.values.size for w in windows])[:-1]
    first = [int(w.start[min(bare + 3, w.top.size)]) for w in windows]

    def error(shift: float) -> D:
        tried = [moved(g, g.y, shift) for g in guesses]
        problem = _assemble(windows, tried, pen, cap, edges=True)
        y = np.concatenate([g.y for g in tried])
        for blur in (3, 1, 1):
            change, _ = _step(problem, y, pen / 2, blur, _NOISE, px_per_mv)
            y = y + np.clip(change, -2.5 * blur, 2.5 * blur)
        rest = (problem.values - _model(problem, y, pen / 2, 1)[0]) ** 2
        return np.array([rest[a : a + n].sum() for a, n in zip(ends, first, strict=True)])

    best, unit = 0.0, max(1.0, pen / 3)
    for step, reach in ((0.4 * unit, 6), (0.13 * unit, 3)):
        shifts = best + step * np.arange(-reach, reach + 1)
        errors = np.array([error(v) for v in shifts])
        # A strip that no shift explains (a letter, a branch) says little; one that fits perfectly somewhere says all.
        trust = 1.0 / (errors.min(axis=0) + 0.02) ** 2
        total = np.minimum(errors, 1.0) @ (trust / trust.sum())
        k = int(np.argmin(total))
        if not 0 < k < shifts.size - 1:
            return float("nan")
        best = float(shifts[k])
    a, b, c = total[k - 1 : k + 2]
    return best + 0.065 * unit * float((a - c) / max(a - 2 * b + c, 1e-9))


def guess(x0: float, step: float, count: int, y0: F, y1: F, known: B, left: int, pen: float) -> Guess:
    """First guess at ``count`` samples from the ink's edges ``y0``, ``y1`` (columns,) px, where ``known``.

    The pen's disc must fit inside the ink, which bounds the trace from above (a) and below (b). On flat and steep
    stretches the bounds meet; inside a spike, whose strokes run together, an upward one follows a, a downward one b.
    """
    columns = np.arange(y0.size)
    fine = np.arange(0, y0.size - 1 + 1e-9, 0.25)
    top = np.interp(fine, columns[known], y0[known])
    bottom = np.interp(fine, columns[known], y1[known])
    radius = pen / 2
    reach = int(radius / 0.25)
    a, b = top + radius, bottom - radius
    for k in range(-reach, reach + 1):
        h = np.sqrt(max(radius**2 - (k * 0.25) ** 2, 0.0))
        to, of = slice(max(0, -k), fine.size - max(0, k)), slice(max(0, k), fine.size - max(0, -k))
        np.maximum(a[to], top[of] + h, out=a[to])
        np.minimum(b[to], bottom[of] - h, out=b[to])
    y = (a + b) / 2
    middle = y.copy()
    for start, stop in stretches((b - a) > max(0.6 * pen, 1.0)):
        sides = [middle[k] for k in (start - 1, stop) if 0 <= k < fine.size] or [middle[start]]
        up, down = min(sides) - a[start:stop].min(), b[start:stop].max() - max(sides)
        y[start:stop] = a[start:stop] if up >= down else b[start:stop]
        if min(up, down) > pen:  # an R and an S wave in one: first the one, then the other
            summit, foot = start + int(np.argmin(a[start:stop])), start + int(np.argmax(b[start:stop]))
            turn = (summit + foot + 1) // 2
            first, second = (a, b) if summit < foot else (b, a)
            y[start:turn], y[turn:stop] = first[start:turn], second[turn:stop]
    around = np.ones((9, 1), np.uint8)
    low = np.minimum(cv2.erode(top[:, None], around)[:, 0] + 0.3 * pen, middle)
    high = np.maximum(cv2.dilate(bottom[:, None], around)[:, 0] - 0.3 * pen, middle)
    at, grid = x0 + step * np.arange(count), left + fine
    y = np.interp(at, grid, y)
    # Rounded by about a pixel: sharp corners in the guess would survive as wiggles.
    return Guess(x0, step, _smooth(y, 0.8 / step), np.interp(at, grid, low), np.interp(at, grid, high))


def moved(g: Guess, y: D, shift: float) -> Guess:
    """The curve ``y`` at samples that lie ``shift`` px further right than in ``g``."""
    old = g.x0 + g.step * np.arange(g.y.size)
    y, low, high = (np.interp(old + shift, old, v) for v in (y, g.low, g.high))
    return Guess(g.x0 + shift, g.step, y, np.minimum(low, y), np.maximum(high, y))


def _assemble(windows: list[Window], guesses: list[Guess], pen: float, cap: float, edges: bool = False) -> _Problem:
    """The strips end to end. Columns of which less than half lies in the strip count only if ``edges``."""
    sub = max(3, int(np.ceil(1.6 / guesses[0].step)))
    guard = int(np.ceil(pen)) + 2  # empty columns between strips: a disc never reaches across
    knots, parts, shares, centred, tops, counts, weights = [], [], [], [], [], [], []
    size = 0
    for window, g in zip(windows, guesses, strict=True):
        knot, part, share, centre = _sub_columns(window, g, sub, cap)
        pad = np.zeros(guard * sub)
        knots += [knot + size, np.full(pad.size, size, np.int64)]
        parts += [part, pad]
        shares += [share, pad]
        centred += [centre, pad > 0]
        rows = np.diff(window.start)
        tops += [window.top, np.zeros(guard, np.int64)]
        counts += [rows, np.zeros(guard, np.int64)]
        whole = share.reshape(-1, sub).mean(axis=1) >= 0.5
        weights.append(window.weight * np.repeat(whole | edges, rows))
        size += g.y.size
    rows, weight, share = np.concatenate(counts), np.concatenate(weights), np.concatenate(shares)
    start = np.concatenate([[0], np.cumsum(rows)])
    column = np.repeat(np.arange(rows.size), sub)
    total = np.add.reduceat(np.append(weight, 0.0), start[:-1])
    ends = np.cumsum([g.y.size for g in guesses])[:-1]
    return _Problem(
        sub=sub,
        knot=np.concatenate(knots),
        part=np.concatenate(parts),
        share=share,
        centred=np.concatenate(centred),
        used=(share > 0) & (rows[column] > 0),
        top=np.concatenate(tops)[column],
        first=start[:-1][column],
        count=rows[column],
        values=np.concatenate([window.values for window in windows]),
        weight=weight,
        column=np.repeat(np.arange(rows.size), rows),
        slim=np.flatnonzero((rows > 0) & (rows <= pen + 6) & (total >= rows - 0.5)),
        start=start,
        size=size,
        broken=np.concatenate([ends - 2, ends - 1]).astype(np.int64),
    )


def _sub_columns(window: Window, g: Guess, sub: int, cap: float) -> tuple[I64, D, D, B]:
    """Of each sub-column: the sample left of it, the way to the next, how much of it lies within the strip
    and its caps, and whether the pen's centre passes it."""
    columns = window.top.size
    centre = window.left - 0.5 + (np.arange(columns * sub) + 0.5) / sub
    position = (centre - g.x0) / g.step
    knot = np.clip(np.floor(position).astype(np.int64), 0, g.y.size - 2)
    # To a hair: a butt cap ends inside a pixel.
    end = g.x0 + (g.y.size - 1) * g.step
    inner = np.minimum(centre - g.x0, end - centre) + 0.5 / sub
    share = np.clip((inner + cap) * sub, 0.0, 1.0)
    return knot, np.clip(position - knot, 0.0, 1.0), share, inner > 0


def _blurred(problem: _Problem, size: int) -> D:
    """Values under a vertical box blur within each column (its end pixels repeat)."""
    if size == 1:
        return problem.values
    rows = np.diff(problem.start)
    low, high = np.repeat(problem.start[:-1], rows), np.repeat(problem.start[1:], rows) - 1
    index = np.arange(problem.values.size)
    shifts = range(-(size // 2), size // 2 + 1)
    return np.asarray(sum(problem.values[np.clip(index + k, low, high)] for k in shifts) / size)


def _envelope(fine: D, radius: float, sub: int) -> tuple[D, I64, D, I64]:
    """Upper and lower edge of the stroke along ``fine`` (NaN outside the strips), and the point that makes each."""
    size = fine.size
    reach = int(np.ceil(radius * sub))
    high, low = np.where(np.isnan(fine), np.inf, fine), np.where(np.isnan(fine), -np.inf, fine)
    upper, lower = np.full(size, np.inf), np.full(size, -np.inf)
    index = np.arange(size)
    at_upper, at_lower = index.copy(), index.copy()
    for k in range(-reach, reach + 1):
        if abs(k) >= radius * sub and k:
            continue
        h = np.sqrt(max(radius**2 - (k / sub) ** 2, 0.0))
        to, of = slice(max(0, -k), size - max(0, k)), slice(max(0, k), size - max(0, -k))
        value = high[of] - h
        win = value < upper[to]
        np.copyto(upper[to], value, where=win)
        np.copyto(at_upper[to], index[of], where=win)
        value = low[of] + h
        win = value > lower[to]
        np.copyto(lower[to], value, where=win)
        np.copyto(at_lower[to], index[of], where=win)
    return upper, at_upper, lower, at_lower


class _Edges(NamedTuple):
    """Pieces of the stroke's edges, one per sub-column and side, that move pixels of the strips.

    ``low, high``: the pixels that one moves, [low, high), at least one. ``weight``: by how much of their coverage, per
    px down. ``at``: the sub-column whose point makes it.
    """

    low: I64
    high: I64
    weight: D
    at: I64


def _model(problem: _Problem, y: D, radius: float, blur: int) -> tuple[D, _Edges]:
    """Coverage of every pixel under a vertical blur of ``blur`` px, and what each edge of the stroke does to it."""
    fine = y[problem.knot] * (1 - problem.part) + y[problem.knot + 1] * problem.part
    fine[~problem.centred] = np.nan
    upper, at_upper, lower, at_lower = _envelope(fine, radius, problem.sub)
    used = np.flatnonzero(problem.used & (upper < lower))
    first, count, top = problem.first[used], problem.count[used], problem.top[used]
    share = problem.share[used] / problem.sub
    # Columns are drawn with so many px more above and below as the blur reaches.
    reach = blur // 2
    start = first + 2 * reach * (used // problem.sub)
    out = np.zeros(problem.values.size + 2 * reach * (problem.start.size - 1) + 2)
    sides = []
    for edge, at, sign in ((upper, at_upper, 1.0), (lower, at_lower, -1.0)):
        e = edge[used] + 0.5 - top
        inside = np.clip(e + reach, 0.0, count + 2 * reach)
        cell = np.minimum(inside.astype(np.int64), count + 2 * reach - 1)
        pixel, weight = start + cell, sign * share * (inside - cell)
        out[:-1] += np.bincount(pixel, sign * share - weight, minlength=out.size - 1)
        out[1:] += np.bincount(pixel, weight, minlength=out.size - 1)
        low = np.maximum(cell - 2 * reach, 0)
        high = np.minimum(cell + 1, count)
        moves = np.flatnonzero((low < high) & (inside > 0) & (inside < count + 2 * reach))
        # Coverage falls as the upper edge moves down (+y) and grows as the lower one does.
        begin, move = first[moves], -sign / blur * share[moves]
        sides.append(_Edges(begin + low[moves], begin + high[moves], move, at[used[moves]]))
    # An edge at a column's end spills into the next column's first pixel, where the other edge takes it away again.
    cover = np.cumsum(out)[:-2]
    if reach:
        sums = np.concatenate([[0.0], np.cumsum(cover)])
        here = np.arange(problem.values.size) + 2 * reach * problem.column
        cover = (sums[here + blur] - sums[here]) / blur
    return cover, _Edges(*(np.concatenate(parts) for parts in zip(*sides, strict=True)))


def _normal(problem: _Problem, edges: _Edges, rest: D) -> tuple[D, D]:
    """J'WJ (lower banded form, at least 3 rows) and J'W rest."""
    from scipy.sparse import csr_matrix

    trust = problem.weight / (1.0 + (rest / _ROBUST) ** 2)
    # An edge does the same to all pixels that it moves.
    low, high, weight, at = edges
    knot, part = problem.knot[at], problem.part[at]
    before, after = weight * (1 - part), weight * part
    pixel, sample, value = [], [], []
    for k in range(int((high - low).max(initial=1))):
        moved = np.flatnonzero(low + k < high) if k else slice(None)
        pixel += 2 * [low[moved] + k]
        sample += [knot[moved], knot[moved] + 1]
        value += [before[moved], after[moved]]
    shape = (trust.size, problem.size)
    j = csr_matrix((np.concatenate(value), (np.concatenate(pixel), np.concatenate(sample))), shape=shape)
    gradient = np.asarray(j.T @ (trust * rest), np.float64)
    weighted = j.copy()
    weighted.data *= np.repeat(trust, np.diff(j.indptr))
    product = (j.T @ weighted).tocoo()
    below = product.row >= product.col
    diagonal, column = (product.row - product.col)[below], product.col[below]
    matrix = np.zeros((max(3, int(diagonal.max(initial=0)) + 1), problem.size))
    matrix[diagonal, column] = product.data[below]
    return matrix, gradient


def _add_prior(matrix: D, gradient: D, y: D, broken: I64, noise: float, bend: float) -> None:
    """Add in place: second differences are small (``bend`` px), except where they are not. A Student-like prior."""
    second = np.diff(y, 2)
    second[broken] = 0.0
    local = cv2.blur((second**2)[:, None], (1, 5))[:, 0]
    prior = noise**2 / (bend**2 + local)
    prior[broken] = 0.0
    force = prior * second
    for i, a in enumerate((1.0, -2.0, 1.0)):
        stop = y.size - 2 + i
        gradient[i:stop] -= a * force
        for j, b in enumerate((1.0, -2.0, 1.0)):
            if j >= i:
                matrix[j - i, i:stop] += a * b * prior
    matrix[0] += 1e-6


def _split(problem: _Problem, windows: list[Window], guesses: list[Guess], y: D, error: D) -> list[Fit]:
    """Each strip's own part of the samples ``y`` and of the pixels' squared ``error``."""
    out, sample, pixel = [], 0, 0
    for window, g in zip(windows, guesses, strict=True):
        count, pixels = g.y.size, window.values.size
        weight = problem.weight[pixel : pixel + pixels]
        rows = np.diff(window.start)
        at = np.round(g.x0 + g.step * np.arange(count)).astype(int) - window.left
        column = np.clip(at, 0, rows.size - 1)
        inside = (at >= -1) & (
            at <= rows.size
        )  # an end may lie on the last pixel's edge; beyond it the image is cut off
        known = np.add.reduceat(np.append(weight, 0.0), window.start[:-1]) * (rows > 0) > 0
        residual = float(np.sqrt(np.sum(weight * error[pixel : pixel + pixels]) / max(weight.sum(), 1.0)))
        out.append(Fit(y[sample : sample + count], known[column] & inside, residual))
        sample, pixel = sample + count, pixel + pixels
    return out
