"""Plain tables: text files with one column per lead, and ``.npz`` files as ``Record.write_npz`` writes them."""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import RecordError, UsageError
from ..record import STANDARD_LEADS, Record, to_millivolts
from .files import FileSource

_TIME_COLUMNS = {"time_s": 1.0, "time": 1.0, "t": 1.0, "time_ms": 1e-3}  # name -> seconds per unit
_UNKNOWN = {"", "nan", "na", "n/a", "null"}


@dataclass(frozen=True)
class CSV(FileSource):
    """Text tables: comma, semicolon, tab or blanks between cells; an empty cell is an unknown sample.

    A header line names the leads, with or without a unit ("II (uV)"). A table without header must have the
    standard 12 columns, or ``leads`` must name them. A column ``time_s``, ``time``, ``t`` or ``time_ms`` gives ``fs``.

    Attributes:
        fs: Hz; needed where there is no time column.
        unit: of columns that do not say it themselves.
        leads: the columns' names, over those in the header.
    """

    fs: float | None = None
    unit: str = "mV"
    leads: tuple[str, ...] = ()

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".txt")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "leads", _names(self.leads))
        if self.fs is not None and not (math.isfinite(self.fs) and self.fs > 0):
            raise UsageError(f"fs is {self.fs!r}; expected a positive number of samples per second.")
        try:
            to_millivolts(self.unit)
        except RecordError as error:
            raise UsageError(str(error)) from None

    def read(self, file: Path, name: str) -> Record:
        header, rows = _parse(file)
        if self.leads:
            timed = bool(header) and header[0].lower() in _TIME_COLUMNS
            expected = len(self.leads) + timed
            if rows.shape[1] != expected:
                raise RecordError(
                    f"{file}: {rows.shape[1]} columns; expected {expected}, for the {len(self.leads)} leads given."
                )
            header = [*header[:timed], *self.leads]
        elif not header:
            if rows.shape[1] != len(STANDARD_LEADS):
                raise RecordError(
                    f"{file}: no header, and {rows.shape[1]} columns; expected the standard 12. Give leads."
                )
            header = list(STANDARD_LEADS)

        fs = self.fs
        signals: dict[str, NDArray[np.float64]] = {}
        for title, column in zip(header, rows.T, strict=True):
            lead, unit = _split_unit(title)
            if title.lower() in _TIME_COLUMNS:
                fs = _rate(column * _TIME_COLUMNS[title.lower()], self.fs, file)
            elif not title and (np.isnan(column).all() or np.array_equal(column, np.arange(column.size))):
                continue  # a trailing separator, or the row numbers that pandas writes
            elif not title or lead in signals:
                raise RecordError(
                    f"{file}: column {title!r} is unnamed or repeated; expected one name per lead. Correct the header."
                )
            else:
                signals[lead] = column * to_millivolts(unit or self.unit)
        if fs is None:
            raise RecordError(f"{file}: no time column, so the sampling rate is unknown. Give fs, in Hz.")
        if not signals:
            raise RecordError(f"{file}: no column but time; expected one per lead.")
        return Record(leads=tuple(signals), mv=np.stack(list(signals.values())), fs=fs, name=name)


@dataclass(frozen=True)
class NPZ(FileSource):
    """Numpy archives of ``leads``, ``mv`` (leads, samples) and ``fs`` (Hz), as ``Record.write_npz`` writes them."""

    suffixes: ClassVar[tuple[str, ...]] = (".npz",)

    def read(self, file: Path, name: str) -> Record:
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                if missing := sorted({"leads", "mv", "fs"} - set(archive.files)):
                    raise RecordError(
                        f"{file}: no {', '.join(missing)} among its arrays ({', '.join(archive.files) or 'none'}); "
                        "expected leads, mv (leads, samples) and fs. Record.write_npz writes such files."
                    )
                leads = tuple(str(lead) for lead in np.atleast_1d(archive["leads"]))
                title = str(archive["name"]) if "name" in archive.files else ""
                return Record(leads=leads, mv=archive["mv"], fs=float(archive["fs"]), name=title or name)
        except (ValueError, TypeError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            raise RecordError(
                f"{file}: not a readable npz file ({error}). Write it anew with Record.write_npz."
            ) from error


def _names(leads: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(lead for lead in re.split(r"[,\s]+", leads) if lead) if isinstance(leads, str) else tuple(leads)


def _parse(file: str | os.PathLike[str]) -> tuple[list[str], NDArray[np.float64]]:
    """A text table: its header (empty if none) and (rows, columns) numbers, NaN where a cell is empty."""
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise RecordError(f"{file}: not a text file ({error.reason}); expected a table in UTF-8.") from error
    separator = _separator(lines)
    header: list[str] = []
    rows: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = [cell.strip().strip('"').strip() for cell in line.split(separator)]
        values = _numbers(cells, decimal_comma=separator == ";")
        if values is None:
            if rows:
                raise RecordError(
                    f"{file}, line {number}: {line.strip()[:40]!r} is not a row of numbers. Correct or remove the line."
                )
            header = cells
        elif rows and len(values) != len(rows[0]):
            raise RecordError(
                f"{file}, line {number}: {len(values)} cells; expected {len(rows[0])}, as in the rows before."
            )
        else:
            rows.append(values)
    if not rows:
        raise RecordError(f"{file}: no rows of numbers; expected a table with one column per lead.")
    if len(header) != len(rows[0]):
        header = []  # a title above the table, not its header
    return header, np.array(rows)


def _separator(lines: Sequence[str]) -> str | None:
    """The cell separator; None for blanks."""
    head = [line for line in lines[:100] if line.strip()]
    for separator in (";", "\t", ","):
        if sum(separator in line for line in head) > len(head) / 2:
            return separator
    return None


def _numbers(cells: Sequence[str], decimal_comma: bool) -> list[float] | None:
    try:
        if decimal_comma:
            cells = [cell.replace(",", ".") for cell in cells]
        return [math.nan if cell.lower() in _UNKNOWN else float(cell) for cell in cells]
    except ValueError:
        return None


def _split_unit(title: str) -> tuple[str, str]:
    """'II (uV)' or 'II [uV]' -> ('II', 'uV'); a title without unit -> (title, '')."""
    match = re.fullmatch(r"(.*?)\s*[(\[]([munµμ]?V)[)\]]", title, re.IGNORECASE)
    return (match[1], match[2]) if match else (title, "")


def _rate(t: NDArray[np.float64], stated: float | None, file: str | os.PathLike[str]) -> float:
    """Samples per second from a time column in s. Raises RecordError if it is not evenly spaced, or not ``stated``."""
    if t.size < 2 or not np.isfinite(t).all() or t[-1] <= t[0]:
        raise RecordError(f"{file}: the time column has gaps or does not rise; expected seconds, evenly spaced.")
    fs = (t.size - 1) / float(t[-1] - t[0])
    off = float(np.abs((t - t[0]) * fs - np.arange(t.size)).max())
    if off > 0.5:
        raise RecordError(
            f"{file}: a time is {off:.3g} samples off an even spacing at {fs:.6g} Hz. Resample the table first."
        )
    if abs(fs - round(fs)) < 2e-5 * fs:  # times are written rounded
        fs = float(round(fs))
    if stated is not None and abs(fs - stated) > 1e-3 * stated:
        raise RecordError(f"{file}: the time column says {fs:.6g} Hz, the request {stated:.6g} Hz. Leave fs out.")
    return fs
