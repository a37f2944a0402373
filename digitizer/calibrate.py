"""calibrate: scale, layout and lead names, each with its evidence.

Speed and gain come from the calibration pulses (and the grid, which gives the millimetres). The layout is the standard
one whose lead labels stand where they should and whose leads obey Einthoven's law; rhythm strips are named by the lead
they repeat. Nothing is forced: what was only assumed is said to be.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise

import numpy as np

from ecg_image_kit.layout import CABRERA_LEADS, Layout, Pulse, Strip
from ecg_image_kit.record import STANDARD_LEADS

from .arrays import I32, D, F, stretches
from .segment import Ink, NameSeen, PulseSeen
from .trace import NoTrace, Traced
from .trust import FROM_I_II

_USUAL_STEP = 1 / 500  # s
_SPEEDS, _GAINS = (12.5, 25.0, 50.0, 100.0), (2.5, 5.0, 10.0, 20.0, 40.0)
_PULSE_SECONDS, _PULSE_FOOT = 0.2, 1.5  # width; mm of its foot, where there is room
_SHORTEST = 20.0  # mm of a row that is worth reading
_POINTS = 4  # per mm, at which rows are compared with each other
_NAME_BEFORE, _NAME_AFTER = 3.0, 13.0  # mm of a cell's beginning at which its name may begin
_LONGEST_END, _CUT = 0.8, 0.1  # mm that ink reaches beyond a row's end, at most; that it may fall short of it
_LOST = 0.2  # mm by which rows are shorter than their time if one of their ends was not found
_STEEPER = 0.15  # px/px
# mm per mm of height by which rows may begin later and later; departure from Einthoven's law, and of rhythm strips from
# their cells, where nothing needs to be mended; and what share of it may be left.
_MOST_ASKEW, _LAWFUL, _BETTER = 0.015, 0.03, 0.5
_ALIKE = 0.03  # by which pulses of a gain that is not usual may differ
_AT_RULING = 0.6  # mm about a row's end in which a ruled line is taken to stand at it
_ALIGNED = 0.1  # mm within which ends of rows agree
_AT_EDGE = 1.5  # mm
_SIDES = ("left", "right")
_USUAL_SECONDS = (2.5, 5.0, 10.0)  # of rows
_BESIDE, _EVENLY = 15.0, 3.0  # mm between names of two columns, at least; by which their distances may differ
_FIFTEEN = ("V4R", "V8", "V9")  # of the fifteen leads, those beside the twelve
_READ = 0.5  # how sure a name must be to be relied on by itself
_CLEARLY, _OTHERS = 0.8, 0.2  # ... with nothing else to go by; how likely other names may be, against it
_STRAIGHT = 0.4  # mm, SD about a straight line, of what is no trace
_SHORTER = 0.6  # of the usual row, of what is dirt
_LOST_END = 5.0  # mm that rows may be too short or too long, if they then last as long as rows usually do
# Of the lead of a rhythm strip: odds of a name that is not read at least; what of a likeness reading errors take away;
# how many independent errors it counts as; and the logarithm of the odds of II, before anything is seen.
_NEVER, _NOISE, _POWER, _USUAL = 0.02, 0.005, 2.0, 0.7
_ENOUGH = 40  # such points that two rows must have in common

_Piece = tuple[int, int]  # first and last column of unbroken ink


@dataclass(frozen=True)
class Line:
    """One row in mm.

    Attributes:
        row: its number among the rows followed.
        left, right: where its signal begins and ends (sub-pixel).
        left_slope, right_slope: how steep the trace is there, px/px.
        pulse: its calibration pulse, if any.
        left_joined, right_joined: the pulse runs into the trace, so this is only the pulse's end.
        left_ruled: a ruled line stands at ``left``.
    """

    row: int
    left: float
    right: float
    left_slope: float
    right_slope: float
    pulse: PulseSeen | None = None
    left_joined: bool = False
    right_joined: bool = False
    left_ruled: bool = False


@dataclass(frozen=True)
class Calibration:
    """How to read the rows.

    Attributes:
        layout: in mm of the upright image (px / (kx, ky), so that (0, 0) is its first pixel's centre).
        cap: mm by which the pen's round or square ends lengthen the traces on either side; 0: cut straight.
        settled: where the rows begin is told already, by their length or by borders.timed; else it is to be fitted.
        late: mm by which they begin later if their ink is too poor for that, by their length.
        hidden: rows whose beginning cannot be seen: a pulse or a ruled line runs into it.
        notes: where each part of it comes from.
        warnings: what was only assumed.
    """

    layout: Layout
    cap: float
    settled: bool
    late: float
    hidden: frozenset[int]
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


@dataclass(frozen=True, eq=False)
class _Sheet:
    """The rows in mm: their ``levels`` (W,), one per image column; where they all begin, and how long they are.

    ``names``: row -> lead names read beside it. ``late``: (rows,) mm by which each is further right than the others.
    """

    levels: list[D]
    left: float
    width: float
    kx: float
    names: dict[int, list[NameSeen]]
    late: D

    def at(self, row: int, x: D) -> D:
        """Levels of a row at ``x`` (N,) mm, but for ``late``; NaN where there is no ink."""
        level, x = self.levels[row], x + self.late[row]
        return np.asarray(level[np.clip(np.round(x * self.kx).astype(int), 0, level.size - 1)], np.float64)

    def cells(self, row: int, columns: int) -> list[D]:
        """The row's levels in each of its columns, without their outer half millimetres."""
        wide = self.width / columns
        inner = np.arange(2, int(wide * _POINTS) - 2) / _POINTS
        return [self.at(row, self.left + c * self.width / columns + inner) for c in range(columns)]


def calibrate(
    ink: Ink, traced: Traced, kx: float, ky: float, speed: float | None = None, gain: float | None = None
) -> Calibration:
    """Scale and layout of an upright page whose rows were followed.

    Args:
        ink: of the page.
        kx, ky: px per mm.
        speed: mm/s, gain: mm/mV, if known; else read from the pulses, else assumed to be 25 and 10 and said so.

    Raises:
        NoTrace: no row longer than 20 mm, or none that the others agree with.
    """
    lines = [line for k in range(len(traced.rows)) if (line := measure(ink, traced, k, kx, ky)) is not None]
    if not lines:
        raise NoTrace(f"no row of ink is longer than {_SHORTEST:g} mm; expected at least a second of a lead.")
    baselines = np.array([traced.rows[line.row].baseline / ky for line in lines])
    if ink.names:
        printed = _at_beginnings(ink.names, lines)
        ink = replace(ink, names=printed)
        lines = _without_edges(lines, baselines, traced, printed, ky)
        baselines = np.array([traced.rows[line.row].baseline / ky for line in lines])
    if ink.pulses is not None:
        lines = _with_pulses(lines, baselines, ink.pulses, traced.spacing / ky)
    notes: dict[str, str] = {}
    warnings: list[str] = []
    pulses = [line.pulse for line in lines if line.pulse]
    widths, heights = [p.width / _PULSE_SECONDS for p in pulses], [p.height for p in pulses]
    speed, notes["speed"], sure = _scale("mm/s", speed, widths, _SPEEDS, 25.0, 0.15, usual_only=True)
    if not sure:
        warnings.append(f"speed {notes['speed']}")
    gain, notes["gain"], sure = _scale("mm/mV", gain, heights, _GAINS, 10.0, 0.12, usual_only=False)
    if not sure:
        warnings.append(f"gain {notes['gain']}")

    pen = traced.pen / ky
    (left, left_share), (right, right_share) = _ends(lines)
    if right - left < _SHORTEST / 2:
        raise NoTrace(
            f"most rows begin {left:.0f} mm from the image's left edge, and most end {right:.0f} mm from it; expected "
            "rows that begin and end together. Crop the image to one ECG."
        )
    length = right - left
    most = max(1.2 * pen, _LONGEST_END)
    seconds = _seconds(length / speed, speed, pen, most)
    spanning = sum(abs(line.left - left) < most and abs(line.right - right) < most for line in lines)
    odd = not is_whole(seconds) or length - span(seconds, speed) < -_LOST
    odd |= seconds not in _USUAL_SECONDS and spanning < 2
    if ink.names is not None and odd:  # some rows' ends were not seen; those of others may have been
        agreed = _agreed(lines, speed, most)
        if agreed is not None:
            seconds, left, right = agreed
            length = right - left
        elif not is_whole(seconds):  # the better end counts
            nearest = min(_USUAL_SECONDS, key=lambda s: abs(s * speed - length))
            seconds = nearest if abs(nearest * speed - length) < _LOST_END else seconds
    cut_off = _cut_off(ink, lines, baselines, ky)
    # Where rows end with the photograph, after a time that no rows last, their length does not tell where they begin.
    told = is_whole(seconds) and (seconds in _USUAL_SECONDS or not cut_off)
    beyond = length - span(seconds, speed) if told else 0.0
    extra, cap, settled = 0.0, 0.0, False
    amiss = beyond < -_LOST or beyond > 2 * most
    if (amiss and right_share > left_share) or (beyond > 0 and left < _AT_EDGE / 2):
        # A beat stands at the very beginning, and was not followed to its foot; something else than the rows was seen
        # before them; or the image begins within a cell.
        left, settled = left + beyond, True
    elif -_CUT < beyond / 2 < most:
        # Ends that are round, and those that the network draws, are too long (or too short) alike on both sides,
        # unless only the right ones are worn.
        extra = 0.0 if beyond < 0 and left_share > right_share else beyond / 2
        if ink.drawn and beyond < 0 and _steepness_of(lines, "left") > _steepness_of(lines, "right") + _STEEPER:
            extra = beyond  # where a row ends on a level is sure; where it begins within a beat is not
        cap = extra if extra > 0.25 * pen else 0.0
        settled = cap > 0 or (ink.drawn and extra != 0.0)
        if settled or ink.names is not None:
            left, extra = left + extra, 0.0
    notes["time"] = (
        f"rows are {length:.2f} mm long: {seconds:g} s; they start {left:.2f} mm from the image's left edge"
        + (f"; the pen's ends lengthen them by {cap:.2f} mm on either side" if cap else "")
    )
    names = _by_row(ink.names or (), baselines, traced.spacing / ky)
    levels = [row_levels(traced, line.row, ky) for line in lines]
    sheet = _Sheet(levels, left, seconds * speed, kx, names, np.zeros(len(lines)))
    if cut_off and (guesses := _guesses(len(lines))):
        longer = [s for s in _USUAL_SECONDS if s > seconds + 0.02]
        sheets = [sheet, *(replace(sheet, width=s * speed) for s in longer)]
        fit = [max(_agreement(g, tried) for g in guesses) + 0.1 * (tried is not sheet) for tried in sheets]
        sheet = sheets[int(np.argmax(fit))]
        if sheet.width > seconds * speed:
            seconds = sheet.width / speed
            cut = f"they are cut off by the image's edge, and taken for {seconds:g} s"
            notes["time"] += f"; {cut}"
            warnings.append(f"rows are {length:.0f} mm long: {cut}")
    best, notes["layout"], doubt = _choose(sheet, traced, ky)
    if doubt:
        warnings.append(doubt)
    if best.leads[-3:] == _FIFTEEN:
        more = ", ".join(_FIFTEEN)
        warnings.append(f"the fifth column is taken for {more}, as with fifteen leads it usually is; check the names")
    sheet = replace(sheet, late=_askew(best, sheet, baselines))
    if sheet.late.any():
        notes["time"] += f"; printed askew to the grid, by {np.ptp(sheet.late):.2f} mm from the first row to the last"
    together = best.columns > 1 and _simultaneous(best, sheet)
    notes["columns"] = "simultaneous (beats stand at the same places in every column)" if together else "sequential"

    if together and not best.rhythm:
        warnings.append("columns are taken for simultaneous because their beats coincide; no rhythm strip confirms it")

    strips = _strips(best, lines, sheet, seconds, speed, gain, together)
    for k, r in enumerate(range(best.rows, best.rows + best.rhythm), start=1):
        lead, why = _which_lead(r, strips[: best.rows * best.columns], lines, sheet, speed)
        notes[f"rhythm strip {k}"] = f"lead {lead} ({why})"
        zero = _zero(lines[r], sheet.levels[r])
        strips.append(Strip(lead, 0.0, seconds, left, zero, gain, lines[r].row, rhythm=True))
    late = {line.row: float(by) for line, by in zip(lines, sheet.late, strict=True)}
    strips = [replace(strip, x=strip.x + late[strip.row]) for strip in strips]
    height, width = ink.coverage.shape
    foot = min(_PULSE_FOOT, 0.1 * speed)
    marks = tuple(Pulse(p.x - foot, p.foot, gain, line.row) for line in lines if (p := line.pulse))
    layout = Layout(width / kx, height / ky, tuple(strips), speed, gain, marks, best.name, traced.spacing / ky)
    hidden = frozenset(line.row for line in lines if line.left_joined or line.left_ruled)
    return Calibration(layout, cap, settled, extra, hidden, notes, tuple(warnings))


def _at_beginnings(names: tuple[NameSeen, ...], lines: list[Line]) -> tuple[NameSeen, ...]:
    """Names that are printed further inside their cells, all alike, moved to where those begin."""
    every = np.sort([name.x for name in names if name.sure > _READ])
    # Of a column of names there are two or more.
    groups = [x for x in np.split(every, np.flatnonzero(np.diff(every) > _BESIDE) + 1) if x.size > 1]
    if len(groups) < 3:
        return names
    at = np.array([np.median(x) for x in groups])
    left, right = (float(np.median([getattr(line, side) for line in lines])) for side in _SIDES)
    steps, width = np.diff(at), (right - left) / len(at)
    inside = float(at[0]) - left
    even = np.ptp(steps) < _EVENLY and abs(float(np.mean(steps)) / width - 1) < 0.1
    if not even or not _NAME_AFTER < inside < width - _NAME_BEFORE:
        return names
    first = left + inside - _NAME_BEFORE  # what is before it stands where its row begins
    return tuple(name._replace(x=name.x - inside) if name.x > first else name for name in names)


def _without_edges(
    lines: list[Line], baselines: D, traced: Traced, names: tuple[NameSeen, ...], ky: float
) -> list[Line]:
    """The lines without a first or last one that is straight, or short, and has no name where it begins: the edge of
    the sheet, a ruled line, dirt along the edge of the glass."""
    named = _by_row(tuple(name for name in names if name.sure > _READ), baselines, traced.spacing / ky)
    if len(lines) < 3 or len(named) < 2:
        return lines
    usual = float(np.median([line.right - line.left for line in lines]))
    for k in (0, len(lines) - 1):
        line, own = lines[k], named.get(k, [])
        if len(own) > 1 or any(abs(name.x - line.left) < _NAME_AFTER for name in own):
            continue
        level = row_levels(traced, line.row, ky)
        x = np.flatnonzero(np.isfinite(level))
        bend = level[x] - np.polyval(np.polyfit(x, level[x], 1), x)
        if float(np.std(bend)) < _STRAIGHT or line.right - line.left < _SHORTER * usual:
            return _without_edges([*lines[:k], *lines[k + 1 :]], np.delete(baselines, k), traced, names, ky)
    return lines


def _cut_off(ink: Ink, lines: list[Line], baselines: D, ky: float) -> bool:
    """Whether most rows end where the photograph does."""
    if ink.edge is None:
        return False
    at = np.clip(baselines / (ink.coverage.shape[0] / ky) * ink.edge.size, 0, ink.edge.size - 1).astype(int)
    right = np.array([line.right for line in lines])
    return bool(np.mean(right > ink.edge[at] - _AT_EDGE) > 0.5)


def span(seconds: float, speed: float) -> float:
    """mm from the first to the last sample of so many seconds: that lies one step before their end."""
    return (seconds - _USUAL_STEP) * speed


def is_whole(seconds: float) -> bool:
    """Whether rows of so many seconds last whole half seconds, as those that were read from end to end do."""
    return abs(2 * seconds - round(2 * seconds)) < 1e-6


def _scale(
    unit: str,
    given: float | None,
    measured: list[float],
    usual: tuple[float, ...],
    default: float,
    tolerance: float,
    usual_only: bool,
) -> tuple[float, str, bool]:
    """The nearest usual value to the pulses' median, or that given; where it came from, and whether nothing is to be
    said against it."""
    if given is not None:
        against = [value for value in measured if abs(value / given - 1) > tolerance]
        if len(against) > 1 and 2 * len(against) > len(measured):
            read = ", ".join(f"{value:.2f}" for value in against)
            return given, f"{given:g} {unit}, given, but calibration pulses were read as {read}", False
        return given, f"{given:g} {unit}, given", True
    if not measured:
        return default, f"{default:g} {unit}, assumed: no calibration pulse was read", False
    seen, values = float(np.median(measured)), np.array(measured)
    nearest = min(usual, key=lambda u: abs(np.log(seen / u)))
    if abs(seen / nearest - 1) < tolerance:
        return nearest, f"{nearest:g} {unit}, from {len(measured)} calibration pulses ({seen:.2f})", True
    alike = len(measured) > 1 and bool((np.abs(values / seen - 1) < _ALIKE).all())
    if alike and not usual_only:
        return seen, f"{seen:.2f} {unit}, from {len(measured)} calibration pulses (not a usual value)", True
    told = max(usual, key=lambda u: (int(np.sum(np.abs(values / u - 1) < tolerance)), u == default))
    value = told if (np.abs(values / told - 1) < tolerance).any() else default
    read = ", ".join(f"{v:.2f}" for v in measured)
    return value, f"{value:g} {unit}, assumed: calibration pulses were read as {read}", False


def _seconds(measured: float, speed: float, pen: float, most: float) -> float:
    """Whole half seconds, if the ink (with a ``pen`` of so many mm) is nearly that long.

    A record's last sample lies one sampling step before its end, so the ink is a little short of them; the pen's ends
    lengthen it by at most ``most`` mm on either side.
    """
    whole = round(measured * 2 + 0.02) / 2
    missing = whole - measured
    longer = max(0.03, 2 * most / speed)
    return whole if whole > 0 and -longer < missing < 0.06 and missing * speed < 1.0 + pen else measured


def row_levels(traced: Traced, row: int, ky: float) -> D:
    """(W,) mm, middle of the row's ink in each column (y down), NaN where there is none."""
    run = traced.rows[row].run
    middle = (traced.runs.y0[run] + traced.runs.y1[run]) / 2 / ky
    return np.where(run >= 0, middle, np.nan).astype(np.float64)


def measure(ink: Ink, traced: Traced, row: int, kx: float, ky: float) -> Line | None:
    """Ends and calibration pulse of a row; None if it is shorter than 20 mm."""
    run, baseline = traced.rows[row].run, traced.rows[row].baseline
    there = np.flatnonzero(run >= 0)
    if there.size < _SHORTEST * kx:
        return None
    breaks = np.flatnonzero(np.diff(there) > max(2.0, 0.4 * kx))
    pieces = [(int(p[0]), int(p[-1])) for p in np.split(there, breaks + 1)]
    pulse, joined = None, [False, False]
    for side in (0, 1) if ink.pulses is None else ():
        found = _pulse(traced, run, kx, ky, pieces[0][0], pieces[-1][1], side)
        if found is not None:
            rise, fall, pulse = found
            pieces, joined[side] = _without_pulse(pieces, rise, fall, side, 4 * kx)
            break
    pieces = _without_crumbs(pieces, kx)
    first, last = pieces[0][0], pieces[-1][1]
    if last - first < _SHORTEST * kx:
        return None
    left, left_slope = _edge(ink.coverage, traced, run, first, 1)
    right, right_slope = _edge(ink.coverage, traced, run, last, -1)
    # A ruled line at either end stands where the row's time begins or is over, and hides the ink there.
    ruled = ink.rulings[(ink.rulings[:, 1] < baseline) & (ink.rulings[:, 1] + ink.rulings[:, 3] > baseline)]
    middle = ruled[:, 0] + (ruled[:, 2] - 1) / 2
    nearest = [float(middle[np.argmin(np.abs(middle - end))]) if middle.size else np.inf for end in (left, right)]
    begins, ends = (abs(at - end) < _AT_RULING * kx for at, end in zip(nearest, (left, right), strict=True))
    if begins:
        left, left_slope = nearest[0], 0.0
    if ends:
        right, right_slope = nearest[1] - 25.0 * _USUAL_STEP * kx, 0.0  # the last sample, at the usual speed
    return Line(row, left / kx, right / kx, left_slope, right_slope, pulse, joined[0], joined[1], begins)


def _with_pulses(lines: list[Line], baselines: D, pulses: tuple[PulseSeen, ...], spacing: float) -> list[Line]:
    """The lines with pulses seen by themselves, each given to the row on whose level it stands."""
    own: dict[int, PulseSeen] = {}
    for pulse in pulses:
        k = int(np.argmin(np.abs(baselines - pulse.foot)))
        if abs(baselines[k] - pulse.foot) < 0.6 * spacing:
            own[k] = pulse
    return [replace(line, pulse=own.get(k)) for k, line in enumerate(lines)]


def _by_row(names: tuple[NameSeen, ...], baselines: D, spacing: float) -> dict[int, list[NameSeen]]:
    """Names by row. They all stand equally high above their rows' baselines: however high fits them best."""
    if not names:
        return {}
    y, sure = np.array([name.y for name in names]), np.array([name.sure for name in names])

    def misfit(up: float) -> float:
        away = np.abs(y[:, None] + up - baselines[None, :]).min(axis=1)
        return float(np.sum(sure * np.minimum(away, 0.3 * spacing))) + 0.02 * up * float(sure.sum())

    up = min((share * spacing for share in (-0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5)), key=misfit)
    out: dict[int, list[NameSeen]] = {}
    for name in names:
        out.setdefault(int(np.argmin(np.abs(name.y + up - baselines))), []).append(name)
    return out


def _without_pulse(
    pieces: list[_Piece], rise: float, fall: float, side: int, reach: float
) -> tuple[list[_Piece], bool]:
    """The pieces of the trace, and whether the pulse runs into it. ``side``: the pulse stands left (0) or right (1).

    A pulse's own foot is shorter than ``reach`` px, and a gap separates it from the trace; otherwise there is no gap,
    and what comes after the pulse's last stroke is taken for the trace.
    """
    touching = [p for p in pieces if p[0] <= fall and p[1] >= rise]
    if side == 0:
        end = max(stop for _, stop in touching)
        apart, beyond, own = end < fall + reach, [p for p in pieces if p[0] > fall], (int(fall) + 1, end)
    else:
        end = min(start for start, _ in touching)
        apart, beyond, own = end > rise - reach, [p for p in pieces if p[1] < rise], (end, int(rise) - 1)
    if apart and beyond:
        return beyond, False
    return sorted([own, *beyond]), True


def _without_crumbs(pieces: list[_Piece], kx: float) -> list[_Piece]:
    """Without pieces under 3 mm at either end that are more than 1 mm away from the next: they are not the trace."""
    while len(pieces) > 1 and pieces[0][1] - pieces[0][0] < 3 * kx and pieces[1][0] - pieces[0][1] > 1.0 * kx:
        pieces = pieces[1:]
    while len(pieces) > 1 and pieces[-1][1] - pieces[-1][0] < 3 * kx and pieces[-1][0] - pieces[-2][1] > 1.0 * kx:
        pieces = pieces[:-1]
    return pieces


def _pulse(
    traced: Traced, run: I32, kx: float, ky: float, first: int, last: int, side: int
) -> tuple[float, float, PulseSeen] | None:
    """A rectangle within 25 mm of the row's left (0) or right (1) end: px of its two strokes, and itself in mm."""
    y0, y1 = traced.runs.y0[run] / ky, traced.runs.y1[run] / ky
    pen = traced.pen / ky
    near = int(25 * kx)
    start, stop = (first, min(last, first + near)) if side == 0 else (max(first, last - near), last + 1)
    window = slice(start, stop)
    tall = (run[window] >= 0) & (y1[window] - y0[window] > pen + 1.6)
    widest = (2 * pen + 0.5) * kx + 2
    strokes = [(start + a, start + b - 1) for a, b in stretches(tall) if b - a <= widest]
    for (a0, a1), (b0, b1) in pairwise(strokes):
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
        return rise, fall, PulseSeen(rise / kx, (fall - rise) / kx, foot - level, foot)
    return None


def _edge(coverage: F, traced: Traced, run: I32, column: int, way: int) -> tuple[float, float]:
    """px where the trace really begins (way 1) or ends (-1), and the slope there (px/px): the steeper, the less sure.

    It is found from the covered shares of the last columns. On a slope the pen's disc lacks its outer half at the end;
    what is missing there is added (the disc's envelope integrated over its truncated part).
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
    return float(column + way * 1.5 - way * covered), 0.3 if tall else slope


def _ends(lines: list[Line]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the rows begin and end: mm, and the share of rows that say so to within ``_ALIGNED``.

    The median of the rows that agree roughly, pulses that run into the trace left out.
    """

    def agree(values: list[tuple[float, float]]) -> tuple[float, float] | None:
        if not values:
            return None
        v, slope = np.array(values).T
        near = max((np.abs(v - x) < 0.8 for x in v), key=np.count_nonzero)
        sure = near & (slope <= max(0.5, slope[near].min()))
        middle = float(np.median(v[sure]))
        return middle, float(np.mean(np.abs(v - middle) < _ALIGNED))

    left = agree([(line.left, line.left_slope) for line in lines if not line.left_joined])
    right = agree([(line.right, line.right_slope) for line in lines if not line.right_joined])
    if left is None:
        middle = float(np.median([line.left for line in lines]))
        if right is not None:  # whole half seconds before the end
            middle = right[0] - round((right[0] - middle) / 12.5 - 0.3) * 12.5
        left = middle, 0.0
    return left, right or (float(np.median([line.right for line in lines])), 0.0)


def _agreed(lines: list[Line], speed: float, most: float) -> tuple[float, float, float] | None:
    """Seconds, beginning and end, mm, of the rows that were seen from end to end, if there are any; else such that most
    of the ends that were seen agree with them, on both sides. ``most``: mm by which ink is longer on either side."""
    spans = {s: span(s, speed) for s in _USUAL_SECONDS}
    whole = [(s, e) for e in lines for s, long in spans.items() if -_CUT < e.right - e.left - long < 2 * most]
    if whole:
        seconds = max(s for s, _ in whole)
        left, right = (float(np.median([getattr(e, side) for s, e in whole if s == seconds])) for side in _SIDES)
        return seconds, left, right
    lefts, rights = (np.array([getattr(line, side) for line in lines]) for side in _SIDES)
    best, found = max(2, len(lines) - 1), None  # half of all ends, at least, have to agree
    for seconds, long in spans.items():
        for start in np.concatenate([lefts, rights - long]):
            early, late = lefts[np.abs(lefts - start) < most], rights[np.abs(rights - long - start) < most]
            if min(early.size, late.size) and early.size + late.size > best:
                best, found = early.size + late.size, (seconds, float(np.median(early)), float(np.median(late)))
    return found


def _steepness_of(lines: list[Line], side: str) -> float:
    """px/px, of the median row's end."""
    return float(np.median([getattr(line, f"{side}_slope") for line in lines]))


def _guesses(rows: int) -> list[_Guess]:
    """The standard layouts of so many rows."""
    limb, chest = STANDARD_LEADS[:6], STANDARD_LEADS[6:]
    out = []
    for r, c in ((3, 4), (4, 3), (6, 2), (12, 1)):
        rhythm = rows - r
        if 0 <= rhythm <= 3:
            for order, leads in (("", STANDARD_LEADS), (" Cabrera", CABRERA_LEADS)):
                prior = 0.1 * (not order) + 0.1 * (r == 3) + 0.05 * (rhythm == 1)
                out.append(_Guess(_called(r, c, rhythm) + order, r, c, rhythm, leads, prior))
    if 3 <= rows <= 6:
        out.append(_Guess(_called(3, 5, rows - 3), 3, 5, rows - 3, (*STANDARD_LEADS, *_FIFTEEN), -0.5))
    if rows == 3:
        out.append(_Guess("3x1", 3, 1, 0, limb[:3]))
    if rows == 6:
        out += [_Guess("6x1", 6, 1, 0, limb), _Guess("6x1 chest", 6, 1, 0, chest, -0.5)]
    return out


def _called(rows: int, columns: int, rhythm: int) -> str:
    """The name of a layout, as ``Layout.named`` takes it."""
    return f"{rows}x{columns}" + (f"+{rhythm}R" if rhythm else "")


def _choose(sheet: _Sheet, traced: Traced, ky: float) -> tuple[_Guess, str, str]:
    """The layout that fits best, why, and why it may be wrong ("" if nothing speaks against it)."""
    rows = len(sheet.levels)
    guesses = _guesses(rows) + _named(sheet)
    if not guesses:
        name = f"{rows}x1"
        leads = _read_names(sheet)
        unnamed = [lead for lead in leads if lead.startswith("row")]
        why = f"{name}: no standard layout has {rows} row{'s' * (rows > 1)}; leads are named by " + (
            f"row ({', '.join(unnamed)})" if unnamed else "what is printed at their beginning"
        )
        return _Guess(name, rows, 1, 0, leads), why, why if unnamed else ""
    scored = [(*_score(guess, sheet, traced, ky), guess) for guess in guesses]
    _, parts, best = max(scored, key=lambda item: item[0])
    why = f"{best.name}: " + ", ".join(f"{k} {v:.2f}" for k, v in parts.items())
    law = parts["law"]
    if parts.get("names", 0.0) > 0.6:
        broken = f"leads do not obey Einthoven's law (agreement {law:.2f} of 1), though named as in layout {best.name}"
        return best, why, broken if law < 0.5 and _lawful(best) else ""
    doubt = f"layout {best.name} is a guess: its leads do not obey Einthoven's law (agreement {law:.2f} of 1)"
    if law < 0.5:
        return best, why, doubt
    # Leads of another layout may obey the law by chance, but their names do not stand where this one's would.
    if best.columns > 1 and parts["labels"] < 0.1:
        return best, why, f"layout {best.name} is a guess: no lead names stand where its columns begin; check the names"
    return best, why, ""


def _read_names(sheet: _Sheet) -> tuple[str, ...]:
    """Of every row the name that can be read at its beginning; row1 and so on where there is none, or another's.

    Nothing else speaks for it, so it must be clear, and like no other.
    """
    leads: list[str] = []
    for k in range(len(sheet.levels)):
        names = [n for n in sheet.names.get(k, []) if n.sure > _CLEARLY and n.x < sheet.left + _NAME_AFTER]
        names = [n for n in names if sum(odds > _OTHERS for odds in n.odds.values()) == 1]
        best = max(names, key=lambda n: n.sure).lead if names else ""
        leads.append(best if best and best not in leads else f"row{k + 1}")
    return tuple(leads)


def _lawful(guess: _Guess) -> bool:
    """Whether some column holds three limb leads, so that Einthoven's law says something about them."""
    columns = (guess.leads[c * guess.rows : (c + 1) * guess.rows] for c in range(guess.columns))
    return any(sum(lead in FROM_I_II for lead in leads) >= 3 for leads in columns)


def _score(guess: _Guess, sheet: _Sheet, traced: Traced, ky: float) -> tuple[float, dict[str, float]]:
    """A guess's score, and its parts, each at most 1: Einthoven's law within columns, labels, rhythm strips alike."""
    cells = [sheet.cells(r, guess.columns) for r in range(guess.rows + guess.rhythm)]
    parts = {"law": _law(guess, cells), "labels": _labels(guess, sheet, traced, ky)}
    if guess.rhythm:
        parts["rhythm"] = _rhythm(guess, cells)
    total = 1.5 * parts["law"] + 1.5 * parts["labels"] + 0.3 * parts.get("rhythm", 0.0) + guess.prior
    if sum(map(len, sheet.names.values())) >= 3:
        parts["names"] = _agreement(guess, sheet)
        total += 6.0 * parts["names"]
    return total, parts


def _agreement(guess: _Guess, sheet: _Sheet) -> float:
    """1 if every name that was read stands where this layout has that lead, -1 if none does."""
    starts = sheet.left + np.arange(guess.columns) * sheet.width / guess.columns
    good = total = 0.0
    for r, names in sheet.names.items():
        for name in names:
            total += name.sure
            if r >= guess.rows:  # a rhythm strip may be any lead's, but is named once
                good += name.sure if name.x < sheet.left + _NAME_AFTER else -name.sure
                continue
            c = max(0, int(np.searchsorted(starts, name.x + _NAME_BEFORE, side="right")) - 1)
            inside = name.x < starts[c] + _NAME_AFTER
            good += name.sure * (2 * name.odds.get(guess.leads[c * guess.rows + r], 0.0) - 1 if inside else -1)
    # Cells without a name speak against a layout of more cells, but only a little: names may be hidden.
    cells = guess.rows * guess.columns + guess.rhythm
    return good / max(total, 1e-9) - 0.2 * max(0.0, 1 - total / cells)


def _named(sheet: _Sheet) -> list[_Guess]:
    """The layout that the names themselves spell, if every cell of a regular arrangement is named."""
    sure = {r: [name for name in names if name.sure > _READ] for r, names in sheet.names.items()}
    every = sorted(name.x for names in sure.values() for name in names)
    if len(every) < 3:
        return []
    columns = 1 + int(np.sum(np.diff(every) > _BESIDE))
    rows = len(sheet.levels)
    rhythm = 0
    while rhythm < rows and columns > 1 and len(sure.get(rows - 1 - rhythm, [])) < columns:
        rhythm += 1
    rows -= rhythm
    grid = [sorted(sure.get(r, []), key=lambda name: name.x) for r in range(rows)]
    if rows < 1 or rhythm > 3 or any(len(names) != columns for names in grid):
        return []
    # Each lead has one cell: of two that look like V6, one may be the V5 that is missing.
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching  # scipy.optimize takes half a second to import

    cells = [grid[r][c] for c in range(columns) for r in range(rows)]
    known = sorted({lead for cell in cells for lead in cell.odds})
    if len(cells) > len(known):
        return []
    odds = np.array([[cell.odds.get(lead, 0.0) for lead in known] for cell in cells])
    _, match = min_weight_full_bipartite_matching(csr_matrix(1.0 - np.log(odds + 1e-3)))  # above 0: 0 is no edge
    leads = tuple(known[k] for k in match)
    return [_Guess(_called(rows, columns, rhythm), rows, columns, rhythm, leads)]


def _law(guess: _Guess, cells: list[list[D]]) -> float:
    """1 minus the share of power by which leads of one column depart from what two others of it predict."""
    ratios = []
    for c in range(guess.columns):
        leads = guess.leads[c * guess.rows : (c + 1) * guess.rows]
        limb = {lead: -cells[r][c] for r, lead in enumerate(leads) if lead in FROM_I_II}
        for trio in combinations(limb, 3):
            basis = np.array([FROM_I_II[lead] for lead in trio])
            # The combination of three limb leads that is always zero.
            a = np.cross(basis[:, 0], basis[:, 1])
            if np.abs(a).max() < 1e-9:
                continue
            x = np.stack([limb[lead] for lead in trio]) * a[:, None]
            x = x[:, np.isfinite(x).all(axis=0)]
            if x.shape[1] < _ENOUGH:
                continue
            x = x - np.median(x, axis=1, keepdims=True)
            ratios.append(float(np.sum(x.sum(axis=0) ** 2) / (np.sum(x**2) + 1e-9)))
    return 1.0 - min(2.0, float(np.median(ratios))) if ratios else 0.0


def _askew(guess: _Guess, sheet: _Sheet, baselines: D) -> D:
    """(rows,) mm by which each begins later than their mean, in proportion to its height on the sheet: what is printed
    need not be square to the grid. Told by Einthoven's law and by rhythm strips, which agree with the rows above at one
    time only; 0 unless much speaks for it.
    """

    def broken(slope: float) -> D:
        """(2,) departure from the law, and of rhythm strips from their cells."""
        tried = replace(sheet, late=slope * (baselines - baselines.mean()))
        cells = [tried.cells(r, guess.columns) for r in range(guess.rows + guess.rhythm)]
        return np.array([1.0 - _law(guess, cells), 1.0 - _rhythm(guess, cells) if guess.rhythm else 0.0])

    if len(baselines) < 3 or not _lawful(guess) or (square := broken(0.0)).sum() < _LAWFUL:
        return np.zeros(len(baselines))
    slopes = np.linspace(-_MOST_ASKEW, _MOST_ASKEW, 61)
    askew = [broken(float(slope)) for slope in slopes]
    k = int(np.argmin([both.sum() for both in askew]))
    better = askew[k].sum() < _BETTER * square.sum() and (askew[k] < square + _LAWFUL).all()
    if not better or not 0 < k < slopes.size - 1:
        return np.zeros(len(baselines))
    return np.asarray(slopes[k] * (baselines - baselines.mean()), np.float64)


def _labels(guess: _Guess, sheet: _Sheet, traced: Traced, ky: float) -> float:
    """Share of cells with letter-sized ink at their beginning, less such ink where this layout has no cell."""
    x, y = traced.marks[:, 0] / sheet.kx, (traced.marks[:, 1] / ky + traced.marks[:, 3] / ky) / 2
    reach = traced.spacing / ky * 0.6
    hit, wrong, inner = [], 0, 0
    for r, level in enumerate(sheet.levels):
        near = np.abs(y - float(np.nanmedian(level))) < reach
        columns = guess.columns if r < guess.rows else 1
        starts = sheet.left + np.arange(columns) * sheet.width / columns
        in_row = x[near & (x > sheet.left + 8) & (x < sheet.left + sheet.width - 2)]
        # The first column's label may stand left of the trace, where the pulse is too, so it tells less.
        for start in starts[1:]:
            hit.append(bool(np.any((in_row > start - 1.5) & (in_row < start + 9))))
        offset = in_row[:, None] - starts[None, :]
        wrong += int(np.sum(~((offset > -2) & (offset < 14)).any(axis=1)))
        inner += in_row.size
    share = float(np.mean(hit)) if hit else 0.3
    return share - (wrong / inner if inner else 0.0) * 0.5


def _rhythm(guess: _Guess, cells: list[list[D]]) -> float:
    """Mean over rhythm rows of the best correlation with a cell of the rows above."""
    above, below = cells[: guess.rows], cells[guess.rows :]
    best = [max(_correlation(own[c], row[c]) for row in above for c in range(guess.columns)) for own in below]
    return float(np.mean(best))


def _simultaneous(guess: _Guess, sheet: _Sheet) -> bool:
    """Whether all columns show the same seconds: the steepness summed over rows then peaks at the same places.

    Without a rhythm strip, a perfectly regular rhythm whose beats fit the column a whole number of times looks the
    same.
    """
    cells = [sheet.cells(r, guess.columns) for r in range(guess.rows)]
    activity = [np.asarray(np.sum([_steepness(row[c]) for row in cells], axis=0)) for c in range(guess.columns)]
    if guess.rhythm:
        # The strip below shows all columns' seconds one after the other.
        strip = [_steepness(x) for x in sheet.cells(guess.rows, guess.columns)]
        after = np.mean([_correlation(strip[c], activity[c]) for c in range(1, guess.columns)])
        same = np.mean([_correlation(strip[0], activity[c]) for c in range(1, guess.columns)])
        return bool(same > after + 0.1)
    return min(_correlation(activity[0], other) for other in activity[1:]) > 0.85


def _strips(
    guess: _Guess, lines: list[Line], sheet: _Sheet, seconds: float, speed: float, gain: float, together: bool
) -> list[Strip]:
    """The cells of a layout, row by row; ``together``: all columns show the same seconds."""
    cell = seconds / guess.columns
    out = []
    for r in range(guess.rows):
        zero = _zero(lines[r], sheet.levels[r])
        for c in range(guess.columns):
            lead, start = guess.leads[c * guess.rows + r], 0.0 if together else c * cell
            out.append(Strip(lead, start, start + cell, sheet.left + c * cell * speed, zero, gain, lines[r].row))
    return out


def _zero(line: Line, level: D) -> float:
    """mm of 0 mV: the foot of the row's pulse, else the row's median level (a record's offset is not on paper)."""
    return line.pulse.foot if line.pulse else float(np.nanmedian(level))


def _which_lead(row: int, strips: list[Strip], lines: list[Line], sheet: _Sheet, speed: float) -> tuple[str, str]:
    """The lead of a rhythm strip, and why: the likeliest, judged by its name and by how it agrees with each cell over
    the same seconds.

    Neighbouring chest leads are much alike, and so are their names; but the same lead twice is the same but for noise.
    """
    number = {line.row: k for k, line in enumerate(lines)}
    alike = {}
    for strip in strips:
        there = np.arange(4, int((strip.stop - strip.start) * speed * _POINTS) - 4) / _POINTS
        own = sheet.at(row, sheet.left + strip.start * speed + there)
        alike[strip.lead] = max(0.0, _likeness(own, sheet.at(number[strip.row], strip.x + there)))
    names = [name for name in sheet.names.get(row, []) if name.x < sheet.left + _NAME_AFTER]
    name = max(names, key=lambda name: name.sure, default=None)

    def odds(lead: str) -> float:  # logarithmic
        by_name = name.sure * np.log(max(_NEVER, name.odds.get(lead, 0.0))) if name else 0.0
        usual = _USUAL * (lead == "II")  # and some leads look like it
        return float(by_name - _POWER * np.log(1 - alike[lead] + _NOISE) + usual)

    best = max(alike, key=odds)
    return best, f"likeness {alike[best]:.2f}" + (", and so it is named" if name and name.lead == best else "")


def _likeness(a: D, b: D) -> float:
    """1 if both are the same but for their level, 0 if they have nothing in common; size counts, too."""
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < _ENOUGH:
        return 0.0
    x, y = a[known] - np.median(a[known]), b[known] - np.median(b[known])
    return float(2 * np.sum(x * y) / (np.sum(x**2 + y**2) + 1e-12))


def _correlation(a: D, b: D) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < _ENOUGH:
        return 0.0
    x, y = a[known] - a[known].mean(), b[known] - b[known].mean()
    return float(np.sum(x * y) / np.sqrt(np.sum(x**2) * np.sum(y**2) + 1e-12))


def _steepness(x: D) -> D:
    """(N,) mm moved from point to point, limited, and spread over 0.75 mm: where the beats are."""
    level = float(np.nanmedian(x)) if np.isfinite(x).any() else 0.0
    step = np.abs(np.diff(np.nan_to_num(x, nan=level), prepend=level))
    step[0] = 0.0
    return np.convolve(np.minimum(step, 5.0), np.ones(3), "same")
