"""calibrate: scale, layout and lead names, each with its evidence.

Speed and gain come from the calibration pulses (and the grid, which gives the millimetres). The layout is the standard one
whose lead labels stand where they should and whose leads obey Einthoven's law; rhythm strips are named by the lead they
repeat. Nothing is forced: what was only assumed is said to be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ecg_image_kit.layout import CABRERA_LEADS, Layout, Pulse, Strip
from ecg_image_kit.record import STANDARD_LEADS

from .segment import Ink
from .trace import NoTrace, RowPath, Traced

D = NDArray[np.float64]
F = NDArray[np.float32]

_SPEEDS, _GAINS = (12.5, 25.0, 50.0, 100.0), (2.5, 5.0, 10.0, 20.0, 40.0)


@dataclass(frozen=True)
class Line:
    """One row in mm: where its signal begins and ends (sub-pixel), and its calibration pulse, if any.

    ``left_slope``, ``right_slope``: how steep the trace is there, px/px. ``joined``: the pulse runs into the trace, so ``left`` (or ``right``) is only the pulse's end;
    ``left_ruled``: a ruled line stands there.
    """

    row: int
    left: float
    right: float
    left_slope: float
    right_slope: float
    pulse: tuple[float, float, float, float] | None = None  # x of rise, width, height, y of foot: mm
    left_joined: bool = False
    right_joined: bool = False
    left_ruled: bool = False


@dataclass(frozen=True)
class Calibration:
    """``layout`` in mm of the upright image (px / (kx, ky), so that (0, 0) is its first pixel's centre)."""

    layout: Layout
    score: float
    hidden: frozenset[int]  # rows whose beginning cannot be seen: a pulse or a ruled line runs into it
    notes: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Guess:
    """A pattern to try: rows x columns of ``leads`` (column by column), then rhythm rows."""

    name: str
    rows: int
    columns: int
    rhythm: int
    leads: tuple[str, ...]
    prior: float = 0.0


_I_II = {
    "I": (1, 0),
    "II": (0, 1),
    "III": (-1, 1),
    "aVR": (-0.5, -0.5),
    "aVL": (1, -0.5),
    "aVF": (-0.5, 1),
    "-aVR": (0.5, 0.5),
}


def calibrate(
    ink: Ink, traced: Traced, kx: float, ky: float, speed: float | None = None, gain: float | None = None
) -> Calibration:
    """Scale and layout of an upright page whose rows were followed.

    Args:
        ink: of the page. kx, ky: px per mm.
        speed: mm/s, gain: mm/mV, if known; else read from the pulses, else assumed to be 25 and 10 and said so.

    Raises:
        NoTrace: no row longer than a second.
    """
    pen = traced.pen / ky
    coverage = ink.coverage
    lines = [line for k, row in enumerate(traced.rows) if (line := measure(ink, traced, row, k, kx, ky)) is not None]
    if not lines:
        raise NoTrace("no row of ink is longer than 20 mm; expected at least a second of a lead.")
    notes: dict[str, str] = {}
    warnings: list[str] = []
    pulses = [line.pulse for line in lines if line.pulse]
    speed, notes["speed"] = _scale("speed", "mm/s", speed, [0.0 + p[1] / 0.2 for p in pulses], _SPEEDS, 25.0, 0.15)
    gain, notes["gain"] = _scale("gain", "mm/mV", gain, [p[2] for p in pulses], _GAINS, 10.0, 0.12)
    for name in ("speed", "gain"):
        if "assumed" in notes[name]:
            warnings.append(f"{name} {notes[name]}")

    left, right = _ends(lines, pen)
    seconds = (right - left) / speed
    # A record's last sample lies one sampling step before its end, so the ink is a little short of whole half seconds.
    whole = round(seconds * 2 + 0.02) / 2
    if whole > 0 and -0.03 < whole - seconds < 0.06 and abs(whole - seconds) * speed < 1.0 + pen:
        seconds = whole
    notes["time"] = (
        f"rows are {right - left:.2f} mm long: {seconds:g} s; they start {left:.2f} mm from the image's left edge"
    )

    signals = [row_levels(traced, line.row, kx, ky) for line in lines]
    guesses = _guesses(len(lines))
    scored = [(_score(g, lines, signals, left, seconds * speed, traced, kx, ky), g) for g in guesses]
    if scored:
        (score, parts), best = max(scored, key=lambda item: item[0][0])
        notes["layout"] = f"{best.name}: " + ", ".join(f"{k} {v:.2f}" for k, v in parts.items())
        if parts["law"] < 0.5:
            warnings.append(
                f"layout {best.name} is a guess: its leads do not obey Einthoven's law (agreement {parts['law']:.2f} of 1)"
            )
    else:
        score, best = 0.0, _Guess(f"{len(lines)}x1", len(lines), 1, 0, tuple(f"row{k + 1}" for k in range(len(lines))))
        notes["layout"] = f"{best.name}: no standard layout has {len(lines)} rows; leads are named by row"
        warnings.append(notes["layout"])

    cell = seconds / best.columns
    together = best.columns > 1 and _simultaneous(best, signals, left, cell * speed, kx, speed)
    notes["columns"] = "simultaneous (beats stand at the same places in every column)" if together else "sequential"
    strips = []
    for r in range(best.rows):
        for c in range(best.columns):
            start = 0.0 if together else c * cell
            strips.append(Strip(best.leads[c * best.rows + r], start, start + cell, left + c * cell * speed, _zero(lines[r], signals[r], ky), gain, lines[r].row))  # fmt: skip
    for r in range(best.rows, best.rows + best.rhythm):
        lead, similarity = _which_lead(signals[r], strips, signals, left, kx, speed)
        notes[f"rhythm strip {r - best.rows + 1}"] = f"lead {lead} (correlation {similarity:.2f})"
        strips.append(Strip(lead, 0.0, seconds, left, _zero(lines[r], signals[r], ky), gain, lines[r].row, rhythm=True))
    height, width = coverage.shape
    printed = tuple(
        Pulse(line.pulse[0] - min(1.5, 0.1 * speed), line.pulse[3], gain, line.row) for line in lines if line.pulse
    )
    layout = Layout(width / kx, height / ky, tuple(strips), speed, gain, printed, best.name, traced.spacing / ky)
    hidden = frozenset(line.row for line in lines if line.left_joined or line.left_ruled)
    return Calibration(layout, score, hidden, notes, tuple(warnings))


def _scale(
    what: str,
    unit: str,
    given: float | None,
    measured: list[float],
    usual: tuple[float, ...],
    default: float,
    tolerance: float,
) -> tuple[float, str]:
    """The nearest usual value to the pulses' median, with where it came from."""
    if given is not None:
        return given, f"{given:g} {unit}, given"
    if measured:
        value = float(np.median(measured))
        nearest = min(usual, key=lambda u: abs(np.log(value / u)))
        if abs(value / nearest - 1) < tolerance:
            return nearest, f"{nearest:g} {unit}, from {len(measured)} calibration pulses ({value:.2f})"
        if what == "gain":
            return value, f"{value:.2f} {unit}, from {len(measured)} calibration pulses (not a usual value)"
    return default, f"{default:g} {unit}, assumed: no calibration pulse was read"


def row_levels(traced: Traced, row: int, kx: float, ky: float) -> D:
    """(W,) mm, middle of the row's ink in each column (y down), NaN where there is none."""
    run = traced.rows[row].run
    middle = (traced.runs.y0[run] + traced.runs.y1[run]) / 2 / ky
    return np.where(run >= 0, middle, np.nan).astype(np.float64)


def measure(ink: Ink, traced: Traced, row: RowPath, number: int, kx: float, ky: float) -> Line | None:
    """Ends and calibration pulse of a row; None if it is shorter than 20 mm."""
    run = row.run
    there = np.flatnonzero(run >= 0)
    if there.size < 20 * kx:
        return None
    y0, y1 = traced.runs.y0[run] / ky, traced.runs.y1[run] / ky
    pen = traced.pen / ky
    # Pieces separated by more than 0.4 mm; crumbs before the first long one are not the trace.
    breaks = np.flatnonzero(np.diff(there) > max(2.0, 0.4 * kx))
    pieces = [(p[0], p[-1]) for p in np.split(there, breaks + 1)]
    pulse = None
    joined = [False, False]
    for side in (0, 1):
        found = _pulse(run, y0, y1, pen, kx, there[0], there[-1], side)
        if found is None:
            continue
        rise, fall, height, foot = found
        pulse = ((rise) / kx, (fall - rise) / kx, height, foot)
        beyond = [p for p in pieces if (p[0] > fall if side == 0 else p[1] < rise)]
        inside = [p for p in pieces if p[0] <= fall and p[1] >= rise]
        reach = 4 * kx
        # The pulse's own foot, then a gap, then the trace; or no gap.
        if side == 0:
            stop = max(p[1] for p in inside)
            if stop < fall + reach and beyond:
                pieces = beyond
            else:
                joined[0] = True
                pieces = [(int(fall) + 1, stop), *beyond]
        else:
            start = min(p[0] for p in inside)
            if start > rise - reach and beyond:
                pieces = beyond
            else:
                joined[1] = True
                pieces = [*beyond, (start, int(rise) - 1)]
        break
    while len(pieces) > 1 and pieces[0][1] - pieces[0][0] < 3 * kx and pieces[1][0] - pieces[0][1] > 1.0 * kx:
        pieces = pieces[1:]
    while len(pieces) > 1 and pieces[-1][1] - pieces[-1][0] < 3 * kx and pieces[-1][0] - pieces[-2][1] > 1.0 * kx:
        pieces = pieces[:-1]
    first, last = int(pieces[0][0]), int(pieces[-1][1])
    if last - first < 20 * kx:
        return None
    left, left_slope = _edge(ink.coverage, traced, run, first, 1)
    right, right_slope = _edge(ink.coverage, traced, run, last, -1)
    # A ruled line at the row's beginning stands where its time does, and hides the very first ink.
    ruled = ink.rulings[(ink.rulings[:, 1] < row.baseline) & (ink.rulings[:, 1] + ink.rulings[:, 3] > row.baseline)]
    middle = ruled[:, 0] + (ruled[:, 2] - 1) / 2
    at_line = middle[np.abs(middle - left) < 0.6 * kx]
    if at_line.size:
        left, left_slope = float(at_line[0]), 0.0
    return Line(number, left / kx, right / kx, left_slope, right_slope, pulse, joined[0], joined[1], bool(at_line.size))


def _pulse(
    run: NDArray[np.int32], y0: F, y1: F, pen: float, kx: float, first: int, last: int, side: int
) -> tuple[float, float, float, float] | None:
    """(rise px, fall px, height mm, foot mm) of a rectangle within 25 mm of the row's left (0) or right (1) end."""
    window = (
        range(first, min(last, first + int(25 * kx))) if side == 0 else range(max(first, last - int(25 * kx)), last + 1)
    )
    columns = np.array(window)
    tall = (run[columns] >= 0) & (y1[columns] - y0[columns] > pen + 1.6)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], tall, [False]]).astype(np.int8)))
    strokes = [
        (columns[a], columns[b - 1])
        for a, b in zip(edges[::2], edges[1::2], strict=True)
        if b - a <= (2 * pen + 0.5) * kx + 2
    ]
    for (a0, a1), (b0, b1) in zip(strokes, strokes[1:], strict=False):
        rise, fall = (a0 + a1) / 2, (b0 + b1) / 2
        top = slice(a1 + 1, b0)
        if not 1.5 <= (fall - rise) / kx <= 12 or b0 - a1 < 3 or (run[top] < 0).any():
            continue
        middle = (y0[top] + y1[top]) / 2
        level = float(np.median(middle))
        flat = np.abs(middle - level)[1:-1] if middle.size > 4 else np.abs(middle - level)
        feet = y1[a0 : a1 + 1].max(), y1[b0 : b1 + 1].max()
        tops = y0[a0 : a1 + 1].min(), y0[b0 : b1 + 1].min()
        if flat.max() > 0.25 or abs(feet[0] - feet[1]) > 0.6 or max(abs(t + pen / 2 - level) for t in tops) > 0.35:
            continue
        foot = float(np.mean(feet)) - pen / 2
        return float(rise), float(fall), foot - level, foot
    return None


def _edge(coverage: F, traced: Traced, run: NDArray[np.int32], column: int, way: int) -> tuple[float, float]:
    """px where the trace really begins (way 1) or ends (-1), from the covered shares of its last columns, and the
    slope there (px/px): the steeper, the less sure.

    On a slope the pen's disc lacks its outer half at the end; what is missing there is added (the disc's envelope
    integrated over its truncated part).
    """
    height, width = coverage.shape
    inner = [c for k in (1, 2, 3) if 0 <= (c := column + way * k) < width and run[c] >= 0]
    if len(inner) < 3:
        return column - 0.5 * way, 99.0
    top, bottom = traced.runs.top[run], traced.runs.bottom[run]
    radius = traced.pen / 2
    middle = (traced.runs.y0[run] + traced.runs.y1[run]) / 2
    slope = abs(float(middle[inner[2]] - middle[inner[0]])) / 2
    theta = np.arctan(slope)
    s, c = np.sin(theta), np.cos(theta)
    full = 2 * radius / c
    lost = radius**2 * (s / c - s**3 / (2 * c) - 0.5 * (s * c + theta))
    tall = max(bottom[column] - top[column], bottom[inner[0]] - top[inner[0]]) > traced.pen + 2.5
    covered = 0.0 if tall else lost / full
    for k in (column + way * k for k in (-2, -1, 0, 1)):
        if 0 <= k < width:
            near = column if run[k] < 0 else k
            ink = coverage[max(0, top[near] - 2) : min(height, bottom[near] + 2), k]
            # A nearly vertical stroke fills whole pixels by the covered share of their column.
            covered += min(1.0, float(ink.max(initial=0.0)) if tall else float(ink.sum()) / full)
    # ... and is as sure as a flat stretch; what lies between depends on how the slope goes on.
    return column + way * 1.5 - way * covered, 0.3 if tall else slope


def _ends(lines: list[Line], pen: float) -> tuple[float, float]:
    """Where the rows begin and end, mm: the median of the rows that agree, pulses that run into the trace left out."""

    def agree(values: list[tuple[float, float]]) -> float | None:
        if not values:
            return None
        v, slope = np.array(values).T
        near = max((np.abs(v - x) < 0.8 for x in v), key=np.count_nonzero)
        sure = near & (slope <= max(0.5, slope[near].min()))
        return float(np.median(v[sure]))

    left = agree([(line.left, line.left_slope) for line in lines if not line.left_joined])
    right = agree([(line.right, line.right_slope) for line in lines if not line.right_joined])
    if left is None and right is not None:
        loose = float(np.median([line.left for line in lines]))
        left = right - round((right - loose) / 12.5 - 0.3) * 12.5
    if right is None and left is not None:
        right = float(np.median([line.right for line in lines]))
    if left is None or right is None:
        return float(np.median([line.left for line in lines])), float(np.median([line.right for line in lines]))
    return left, right


def _guesses(rows: int) -> list[_Guess]:
    limb, chest = STANDARD_LEADS[:6], STANDARD_LEADS[6:]
    grids = [(3, 4), (4, 3), (6, 2), (12, 1)]
    out = []
    for r, c in grids:
        for name, leads in (("", STANDARD_LEADS), (" Cabrera", CABRERA_LEADS)):
            for rhythm in range(4):
                if r + rhythm == rows:
                    prior = 0.1 * (name == "") + 0.1 * (r == 3) + 0.05 * (rhythm == 1)
                    out.append(
                        _Guess(f"{r}x{c}" + (f"+{rhythm}R" if rhythm else "") + name, r, c, rhythm, leads, prior)
                    )
    if rows == 3:
        out.append(_Guess("3x1", 3, 1, 0, limb[:3]))
    if rows == 6:
        out += [_Guess("6x1", 6, 1, 0, limb), _Guess("6x1 chest", 6, 1, 0, chest, -0.5)]
    return out


def _cells(signal: D, left: float, width: float, columns: int, kx: float) -> list[D]:
    """The row's levels in each of its columns, resampled to 4 points per mm (NaN where there is no ink)."""
    out = []
    for c in range(columns):
        x = (left + c * width / columns + np.arange(2, int(width / columns * 4) - 2) / 4) * kx
        k = np.clip(np.round(x).astype(int), 0, signal.size - 1)
        out.append(signal[k])
    return out


def _score(
    guess: _Guess, lines: list[Line], signals: list[D], left: float, width: float, traced: Traced, kx: float, ky: float
) -> tuple[float, dict[str, float]]:
    """Sum of: Einthoven's law within columns (-1 to 1), labels found where cells begin (0 to 1), rhythm strips alike."""
    parts = {
        "law": _law(guess, signals, left, width, kx),
        "labels": _labels(guess, lines, signals, left, width, traced, kx, ky),
    }
    if guess.rhythm:
        parts["rhythm"] = _rhythm(guess, signals, left, width, kx)
    total = 1.5 * parts["law"] + 1.5 * parts["labels"] + 0.3 * parts.get("rhythm", 0.0) + guess.prior
    return total, parts


def _law(guess: _Guess, signals: list[D], left: float, width: float, kx: float) -> float:
    """1 minus the share of power by which leads of one column depart from what two others of it predict."""
    ratios = []
    for c in range(guess.columns):
        found = {
            guess.leads[c * guess.rows + r]: _cells(signals[r], left, width, guess.columns, kx)[c]
            for r in range(guess.rows)
        }
        limb = {lead: -x for lead, x in found.items() if lead in _I_II}
        for trio in combinations(limb, 3):
            basis = np.array([_I_II[lead] for lead in trio])
            # The combination of three limb leads that is always zero.
            a = np.cross(basis[:, 0], basis[:, 1])
            if np.abs(a).max() < 1e-9:
                continue
            x = np.stack([limb[lead] for lead in trio]) * a[:, None]
            x = x[:, np.isfinite(x).all(axis=0)]
            if x.shape[1] < 40:
                continue
            x = x - np.median(x, axis=1, keepdims=True)
            ratios.append(float(np.sum(x.sum(axis=0) ** 2) / (np.sum(x**2) + 1e-9)))
    return 1.0 - min(2.0, float(np.median(ratios))) if ratios else 0.0


def _labels(
    guess: _Guess, lines: list[Line], signals: list[D], left: float, width: float, traced: Traced, kx: float, ky: float
) -> float:
    """Share of cells with letter-sized ink at their beginning, less such ink where this layout has no cell."""
    marks = traced.marks / np.array([kx, ky, kx, ky])
    x, y = marks[:, 0], (marks[:, 1] + marks[:, 3]) / 2
    reach = traced.spacing / ky * 0.6
    hit, wrong, inner = [], 0, 0
    for r, line in enumerate(lines):
        base = float(np.nanmedian(signals[r]))
        near = np.abs(y - base) < reach
        columns = guess.columns if r < guess.rows else 1
        starts = left + np.arange(columns) * width / columns
        in_row = x[near & (x > left + 8) & (x < left + width - 2)]
        # The first column's label may stand left of the trace, where the pulse is too, so it tells less.
        for start in starts[1:]:
            hit.append(bool(np.any((in_row > start - 1.5) & (in_row < start + 9))))
        offset = (in_row[:, None] - starts[None, :]) if in_row.size else np.zeros((0, columns))
        wrong += int(np.sum(~((offset > -2) & (offset < 14)).any(axis=1)))
        inner += in_row.size
    share = float(np.mean(hit)) if hit else 0.5
    return share - (wrong / inner if inner else 0.0) * 0.5


def _rhythm(guess: _Guess, signals: list[D], left: float, width: float, kx: float) -> float:
    """Mean over rhythm rows of the best correlation with a cell of the rows above."""
    best = []
    for r in range(guess.rows, guess.rows + guess.rhythm):
        own = _cells(signals[r], left, width, guess.columns, kx)
        best.append(max(_correlation(own[c], _cells(signals[k], left, width, guess.columns, kx)[c]) for k in range(guess.rows) for c in range(guess.columns)))  # fmt: skip
    return float(np.mean(best))


def _which_lead(
    signal: D, strips: list[Strip], signals: list[D], left: float, kx: float, speed: float
) -> tuple[str, float]:
    """The lead that a rhythm strip repeats: the cell it agrees with best over the same seconds."""
    best, similarity = "II", -1.0
    for strip in strips:
        if strip.rhythm:
            continue
        span = (strip.stop - strip.start) * speed
        there = np.arange(4, int(span * 4) - 4) / 4
        own = signal[np.clip(np.round((left + strip.start * speed + there) * kx).astype(int), 0, signal.size - 1)]
        row = (
            signals[next(k for k in range(len(signals)) if k == strip.row)] if strip.row < len(signals) else signals[0]
        )
        cell = row[np.clip(np.round((strip.x + there) * kx).astype(int), 0, signal.size - 1)]
        value = _correlation(own, cell)
        if value > similarity + (0.02 if strip.lead != "II" else -0.02):
            best, similarity = strip.lead, value
    return best, similarity


def _correlation(a: D, b: D) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 40:
        return 0.0
    x, y = a[known] - a[known].mean(), b[known] - b[known].mean()
    return float(np.sum(x * y) / np.sqrt(np.sum(x**2) * np.sum(y**2) + 1e-12))


def _simultaneous(guess: _Guess, signals: list[D], left: float, cell: float, kx: float, speed: float) -> bool:
    """Whether all columns show the same seconds: the steepness summed over rows then peaks at the same places.

    Without a rhythm strip, a perfectly regular rhythm whose beats fit the column a whole number of times looks the same.
    """
    cells = [_cells(signals[r], left, cell * guess.columns, guess.columns, kx) for r in range(guess.rows)]
    activity = [np.sum([_steepness(row[c]) for row in cells], axis=0) for c in range(guess.columns)]
    if guess.rhythm:
        # The strip below shows all columns' seconds one after the other.
        strip = [_steepness(x) for x in _cells(signals[guess.rows], left, cell * guess.columns, guess.columns, kx)]
        after = np.mean([_correlation(strip[c], activity[c][: strip[c].size]) for c in range(1, guess.columns)])
        same = np.mean([_correlation(strip[0], activity[c][: strip[0].size]) for c in range(1, guess.columns)])
        return bool(same > after + 0.1)
    return min(_correlation(activity[0], other) for other in activity[1:]) > 0.8


def _steepness(x: D) -> D:
    """(N,) mm moved from point to point, limited, and spread over a millimetre: where the beats are."""
    level = float(np.nanmedian(x)) if np.isfinite(x).any() else 0.0
    step = np.abs(np.diff(np.nan_to_num(x, nan=level), prepend=level))
    step[0] = 0.0
    return np.convolve(np.minimum(step, 5.0), np.ones(5), "same")


def _zero(line: Line, signal: D, ky: float) -> float:
    """mm of 0 mV: the foot of the row's pulse, else the row's median level (a record's offset is not on paper)."""
    return line.pulse[3] if line.pulse else float(np.nanmedian(signal))
