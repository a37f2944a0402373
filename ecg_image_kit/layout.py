"""Layout: which lead, which seconds, where on the sheet. Positions are mm, x right, y down from the top left corner."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .errors import UsageError
from .record import STANDARD_LEADS, Record, normalize_lead
from .warp import Points

SHEETS = {
    "A4": (297.0, 210.0),
    "Letter": (279.4, 215.9),
    "Legal": (355.6, 215.9),
    "A5": (210.0, 148.0),
}  # landscape, mm
CABRERA_LEADS = ("aVL", "I", "-aVR", "II", "aVF", "III", "V1", "V2", "V3", "V4", "V5", "V6")
NAMES = ("3x4", "3x4+1R", "3x4+3R", "6x2", "6x2+1R", "12x1", "4x3", "1x1", "2x1", "3x1", "6x1")
PULSES = ("left", "right", "first", "none")

_PULSE_SECONDS, _PULSE_FOOT = 0.2, 1.5  # the pulse's width; the length of each of its feet, mm, if there is room


@dataclass(frozen=True)
class Strip:
    """One lead's window on the sheet: the record's seconds [start, stop), printed from (x, y) to the right.

    ``(x, y)`` mm is where (start, 0 mV) lies; ``gain`` mm/mV. ``-aVR`` is aVR turned over. A rhythm strip repeats a
    lead.
    """

    lead: str
    start: float
    stop: float
    x: float
    y: float
    gain: float = 10.0
    row: int = 0
    rhythm: bool = False


@dataclass(frozen=True)
class Pulse:
    """A calibration pulse: 1 mV for 0.2 s with short feet (IEC 60601-2-25); its first foot starts at (x, y) mm."""

    x: float
    y: float
    gain: float = 10.0
    row: int = 0

    def outline(self, speed: float) -> Points:
        """(6, 2) mm: foot, 1 mV up, 0.2 s across, down, foot; at ``speed`` mm/s."""
        wide, foot = _PULSE_SECONDS * speed, min(_PULSE_FOOT, 0.1 * speed)
        x = self.x + np.array([0, foot, foot, foot + wide, foot + wide, 2 * foot + wide])
        y = self.y - np.array([0, 0, 1, 1, 0, 0]) * self.gain
        return np.stack([x, y], axis=-1)


@dataclass(frozen=True)
class Layout:
    """A printed sheet: its size, its strips and the scale that joins seconds and millivolts to millimetres.

    Attributes:
        width, height: the sheet, mm.
        strips: in reading order; none if nothing is known of what is printed.
        speed: mm/s.
        gain: mm/mV, nominal (a strip may have its own, as half-gain precordials have).
        pulses: calibration pulses.
        name: the pattern it was made from.
        row_height: mm between baselines.
        top: mm above the rows that belong to the header.
    """

    width: float
    height: float
    strips: tuple[Strip, ...]
    speed: float = 25.0
    gain: float = 10.0
    pulses: tuple[Pulse, ...] = ()
    name: str = "custom"
    row_height: float = 40.0
    top: float = 30.0

    def __post_init__(self) -> None:
        _check_scale(self.speed, self.gain)
        if not (1 <= self.width <= 5000 and 1 <= self.height <= 5000):
            raise UsageError(f"sheet of {self.width} x {self.height} mm; expected 1 to 5000 mm a side.")
        for strip in self.strips:
            if not (strip.start < strip.stop < math.inf and strip.gain > 0):
                raise UsageError(
                    f"strip {strip.lead} from {strip.start} to {strip.stop} s at {strip.gain} mm/mV; expected a start "
                    "before the stop, and a positive gain."
                )

    def to_mm(self, strip: Strip, s: ArrayLike, mv: ArrayLike) -> Points:
        """(N, 2) mm on the sheet of times ``s`` (N,) seconds in the record and values ``mv`` (N,)."""
        x = strip.x + (np.asarray(s, dtype=np.float64) - strip.start) * self.speed
        y = strip.y - np.asarray(mv, dtype=np.float64) * strip.gain
        return np.stack([x, y], axis=-1)

    def from_mm(self, strip: Strip, xy: ArrayLike) -> tuple[Points, Points]:
        """Seconds in the record and millivolts of (N, 2) mm on the sheet; the inverse of ``to_mm``."""
        p = np.asarray(xy, dtype=np.float64)
        return strip.start + (p[..., 0] - strip.x) / self.speed, (strip.y - p[..., 1]) / strip.gain

    @property
    def seconds(self) -> float:
        """Seconds from the first printed sample to the last."""
        return max(s.stop for s in self.strips) - min(s.start for s in self.strips)

    @property
    def rows(self) -> int:
        return max((strip.row + 1 for strip in self.strips), default=0)

    def at(self, start: float) -> Layout:
        """The same sheet for a later part of the record: all windows moved so that the first begins at ``start`` s."""
        move = start - min(strip.start for strip in self.strips)
        strips = tuple(replace(s, start=s.start + move, stop=s.stop + move) for s in self.strips)
        return replace(self, strips=strips)

    def pages(self, duration: float) -> list[Layout]:
        """One layout for each sheet that a record of ``duration`` s fills."""
        step = self.seconds
        count = max(1, math.ceil((duration - 1e-9) / step))
        return [self.at(k * step) for k in range(count)]

    @classmethod
    def named(
        cls,
        name: str = "3x4+1R",
        leads: Sequence[str] = STANDARD_LEADS,
        *,
        sheet: str | tuple[float, float] = "A4",
        speed: float = 25.0,
        gain: float = 10.0,
        precordial_gain: float | None = None,
        order: str = "standard",
        columns: str = "sequential",
        rhythm: Sequence[str] = (),
        seconds: float | None = None,
        pulse: str = "left",
        margin: float = 8.0,
        top: float = 30.0,
        bottom: float = 10.0,
    ) -> Layout:
        """A regular layout: ``RxC`` cells filled column by column, ``+kR`` for k full-width rhythm strips below.

        Args:
            name: such as 3x4, 3x4+1R, 6x2, 12x1, 4x3, 1x1.
            leads: the leads to place, at most R * C.
            sheet: A4, Letter, Legal, A5 (landscape), ``strip`` (cut to the rows), or (width, height) mm.
            speed: mm/s. gain: mm/mV. precordial_gain: mm/mV of V1 to V9 if it differs (half gain).
            order: ``standard`` (as given) or ``cabrera`` (aVL I -aVR II aVF III, V1 to V6).
            columns: ``sequential`` (each column shows the seconds after the one before) or ``simultaneous``.
            rhythm: leads of the rhythm strips; II, V1, V5 if not given.
            seconds: printed per row; as many as fit up to 250 mm if None.
            pulse: ``left`` or ``right`` of every row, ``first`` (left of the first row), or ``none``.
            margin: empty mm around the rows; top, bottom: mm for header and footer.

        Raises:
            UsageError: unknown name, too many leads, or rows that do not fit the sheet.
        """
        _check_scale(speed, gain)
        match = re.fullmatch(r"(\d{1,2})x(\d{1,2})(?:\+(\d)R)?", name)
        if not match or int(match[1]) * int(match[2]) == 0:
            raise UsageError(
                f"layout {name!r}; expected ROWSxCOLUMNS, with +1R to +3R for rhythm strips. Usual: {', '.join(NAMES)}."
            )
        n_rows, n_columns, n_rhythm = int(match[1]), int(match[2]), int(match[3] or 0)
        if order == "cabrera":
            if set(leads) != set(STANDARD_LEADS):
                raise UsageError(
                    f"Cabrera order needs the 12 standard leads; there are {', '.join(leads)}. Use order='standard'."
                )
            leads = CABRERA_LEADS
        elif order != "standard":
            raise UsageError(f"lead order {order!r}; expected standard or cabrera.")
        if columns not in ("sequential", "simultaneous"):
            raise UsageError(f"columns {columns!r}; expected sequential or simultaneous.")
        if pulse not in PULSES:
            raise UsageError(f"pulse {pulse!r}; expected one of {', '.join(PULSES)}.")
        if len(leads) > n_rows * n_columns:
            raise UsageError(
                f"{len(leads)} leads on layout {name} with {n_rows * n_columns} cells. Use more cells, or select leads."
            )
        if n_rhythm and not rhythm:
            rhythm = list(dict.fromkeys([*(lead for lead in ("II", "V1", "V5") if lead in leads), *leads]))[:n_rhythm]
        if len(rhythm) < n_rhythm:
            raise UsageError(f"layout {name} needs {n_rhythm} rhythm leads; {len(rhythm)} given ({', '.join(rhythm)}).")
        rows = n_rows + n_rhythm

        room = 0.0 if pulse == "none" else max(10.0, _PULSE_SECONDS * speed + 2 * _PULSE_FOOT + 2.0)
        cut = sheet == "strip"
        if cut:
            seconds = seconds or 250.0 / speed
            width, height = 2 * margin + room + seconds * speed, top + bottom + rows * 35.0
        elif isinstance(sheet, str):
            if sheet not in SHEETS:
                raise UsageError(
                    f"sheet {sheet!r}; expected one of {', '.join(SHEETS)}, strip, or (width, height) in mm."
                )
            width, height = SHEETS[sheet]
        else:
            width, height = sheet
        available = width - 2 * margin - room
        if seconds is None:
            # 250 mm; where they do not fit, whole half seconds per column, so that columns start on the grid.
            step = 0.5 * n_columns * 25.0 / speed if speed > 25 else 0.5 * n_columns
            seconds = min(250.0 / speed, max(1, math.floor(available / speed / step + 1e-9)) * step)
        if seconds <= 0 or seconds * speed > available + 1e-6:
            raise UsageError(
                f"rows of {seconds:g} s at {speed:g} mm/s need {seconds * speed + room + 2 * margin:.0f} mm; the sheet "
                f"is {width:g} mm wide. Use a wider sheet (--sheet strip cuts it to fit), fewer seconds or less speed."
            )
        row_height = (height - top - bottom) / rows
        if row_height < 4:
            raise UsageError(
                f"{rows} rows on {height - top - bottom:.0f} mm of paper; expected at least 4 mm each. "
                "Use a taller sheet."
            )

        # Rows and pulses stand on whole millimetres of the grid, as printers place them.
        x0 = float(math.floor((width - room - seconds * speed) / 2 + 0.5))
        x = x0 + (room if pulse in ("left", "first") else 0.0)
        baselines = [float(math.floor(top + (r + 0.5) * row_height + 0.5)) for r in range(rows)]
        cell = seconds / n_columns

        def gain_of(lead: str) -> float:
            return precordial_gain if precordial_gain and re.fullmatch(r"V\d\w?", lead) else gain

        strips = []
        for r in range(n_rows):
            for c in range(n_columns):
                k = c * n_rows + r
                if k < len(leads):
                    start = c * cell if columns == "sequential" else 0.0
                    strips.append(
                        Strip(leads[k], start, start + cell, x + c * cell * speed, baselines[r], gain_of(leads[k]), r)
                    )
        for r, lead in enumerate(rhythm[:n_rhythm], start=n_rows):
            strips.append(Strip(normalize_lead(lead), 0.0, seconds, x, baselines[r], gain_of(lead), r, rhythm=True))
        pulse_x = x0 if pulse in ("left", "first") else x + seconds * speed + 1.0
        pulsed = {"left": range(rows), "right": range(rows), "first": range(1), "none": range(0)}[pulse]
        gains = {strip.row: strip.gain for strip in reversed(strips)}
        pulses = tuple(Pulse(pulse_x, baselines[r], gains.get(r, gain), r) for r in pulsed)
        return cls(width, height, tuple(strips), speed, gain, pulses, name, row_height, top)

    @classmethod
    def for_record(cls, record: Record, name: str = "auto", **options: Any) -> Layout:
        """``named`` for a record's leads: the 12 standard leads if it has them all, else all of its leads in order.

        ``auto`` is 3x4+1R for 12 leads, one row per lead up to 6, else two columns or more.
        """
        leads: Sequence[str] = record.leads
        if set(STANDARD_LEADS) <= set(leads) and (name != "auto" or len(leads) == 12):
            leads = STANDARD_LEADS
        return cls.named(auto_name(len(leads)) if name == "auto" else name, leads, **options)


def _check_scale(speed: float, gain: float) -> None:
    if not (0 < speed < 1000 and 0 < gain < 1000):
        raise UsageError(f"speed {speed} mm/s, gain {gain} mm/mV; expected positive (usual: 12.5, 25, 50; 5, 10, 20).")


def auto_name(n: int) -> str:
    """The layout for n leads: 3x4+1R for 12, one row per lead up to 6, else two columns or more."""
    return (
        "3x4+1R" if n == 12 else f"{n}x1" if n <= 6 else f"{math.ceil(n / 2)}x2" if n <= 12 else f"{math.ceil(n / 3)}x3"
    )


def missing_leads(layout: Layout, leads: Iterable[str]) -> list[str]:
    """Leads that the layout prints and that are not among ``leads``."""
    have = set(leads)
    return sorted({strip.lead for strip in layout.strips if strip.lead.lstrip("-") not in have})
