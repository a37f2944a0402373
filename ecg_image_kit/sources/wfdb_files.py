"""WFDB records: the databases of PhysioNet, and the ``.mat`` + ``.hea`` pairs of its Challenges.

The plain common case (one file, format 16) is read here, three times faster than by the wfdb package (0.8 instead of
2.4 ms) and without the 0.3 s of its import; everything else (other formats, several files or segments, skew, frames)
is left to wfdb.
Format: WFDB Applications Guide, header(5) and signal(5).
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import RecordError, UsageError
from ..record import Record, normalize_lead, resample, to_millivolts
from .files import FileSource, sex_letter, years

# Signals that are recorded beside an ECG, some of them in mV too.
_NOT_ECG = re.compile(r"^(RESP|PLETH|PPG|ABP|ART|BP|PAP|CVP|ICP|SPO2|SO2|CO2|EEG|EMG|EOG)\b", re.IGNORECASE)

_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"

# NAME[/SEGMENTS] SIGNALS [RATE[/COUNTER RATE AND BASE] [SAMPLES [TIME DATE]]]
_RECORD = re.compile(rf"\S+?(?:/(\d+))?\s+(\d+)(?:\s+({_NUMBER})(?:/\S*)?(?:\s+(\d+))?)?(?:\s|$)")

# FILE FORMAT[xFRAME][:SKEW][+OFFSET] GAIN[(BASELINE)][/UNIT] RESOLUTION ZERO FIRST CHECKSUM BLOCK DESCRIPTION
_SIGNAL = re.compile(
    r"(?P<file>\S+)\s+(?P<format>\d+)(?P<frames>x\d+)?(?P<skew>:\d+)?(?:\+(?P<offset>\d+))?"
    rf"(?:\s+(?P<gain>{_NUMBER})(?:\((?P<baseline>-?\d+)\))?(?:/(?P<unit>\S+))?"
    r"(?:\s+\d+(?:\s+(?P<zero>-?\d+)(?:\s+-?\d+(?:\s+-?\d+(?:\s+\d+(?:\s+(?P<name>\S.*))?)?)?)?)?)?)?\s*$"
)


@dataclass(frozen=True)
class Header:
    """A ``.hea`` file: the record line's fields, and the signal lines as matches of ``_SIGNAL`` (None: not understood).

    A header of several segments has no signal lines.
    """

    signals: int
    fs: float  # Hz; frames per second, where a frame may hold several samples
    samples: int | None
    lines: tuple[re.Match[str] | None, ...]
    comments: tuple[str, ...]


@dataclass(frozen=True)
class WFDB(FileSource):
    """WFDB records: one (``.hea``, ``.dat``, ``.mat`` or the bare name), or all under a folder.

    Signals which are no ECG are left out and listed in ``meta["left_out"]``. ``meta`` has the header's comments:
    ``age`` (years), ``sex`` ("M" or "F"), ``dx`` (codes) and other ``key: value`` lines; free lines in ``comments``.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".hea",)

    def __post_init__(self) -> None:
        path = Path(self.path)
        if not path.is_dir():
            header = _header_path(path)
            if not header.is_file():
                hint = f"expected the header {header.name} beside it" if path.exists() else "no such record or folder"
                raise UsageError(f"{path}: {hint}. Check the path.")
            object.__setattr__(self, "path", header)
        super().__post_init__()

    def names(self) -> Iterator[str]:
        """Record names without suffix, lazily, in sorted order."""
        return (name.removesuffix(".hea") for name in super().names())

    def file_of(self, name: str) -> str:
        return name + ".hea"

    def accepts(self, file: Path) -> bool:
        return file.suffix == ".hea"  # as WFDB has it; .HEA could not be found again by the record's name

    def read(self, file: Path, name: str) -> Record:
        return read_record(file, name)


def _header_path(path: Path) -> Path:
    if path.suffix.lower() == ".hea":
        return path
    return path.with_suffix(".hea") if path.suffix.lower() in (".dat", ".mat") else path.with_name(path.name + ".hea")


def read_record(path: Path, name: str) -> Record:
    """The ECG signals of the record whose header is ``path``, in mV. Raises RecordError, naming the file."""
    header = read_header(path)
    plain = _read_plain(header, path)
    signals, notes = _convert(*plain) if plain is not None else _read_with_wfdb(header, path)
    if not signals:
        raise RecordError(
            f"{path}: no ECG among its signals ({', '.join(notes['left_out'])}); expected a unit of voltage."
        )
    leads, fs, rows = _align(signals, notes)
    return Record(leads=leads, mv=rows, fs=fs, name=name, meta={**parse_comments(header.comments), **notes})


def read_header(path: Path) -> Header:
    """Parse a ``.hea`` file. Raises RecordError if its first line is not that of a record."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RecordError(
            f"{path}: header cannot be read ({error.strerror or error}). Check that the record is complete."
        ) from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    comments = tuple(line[1:].strip() for line in lines if line.startswith("#"))
    lines = [line for line in lines if not line.startswith("#")]
    first = _RECORD.match(lines[0]) if lines else None
    if first is None:
        raise RecordError(f"{path}: not a WFDB header; expected a first line like 'NAME 12 500 5000'.")
    segments, signals, fs, samples = first.groups()
    rate = float(fs or 250)  # 250 Hz is what header(5) says an absent rate means
    matches = () if segments else tuple(_SIGNAL.match(line) for line in lines[1 : 1 + int(signals)])
    return Header(int(signals), rate, int(samples) if samples else None, matches, comments)


@dataclass(frozen=True)
class _Signal:
    """One channel as stored: physical values in ``unit``, NaN where unknown, at ``fs`` Hz."""

    name: str
    values: NDArray[np.float64]
    unit: str
    fs: float
    calibrated: bool


def _read_plain(header: Header, path: Path) -> tuple[_Signal, ...] | None:
    """The signals of a record of one format-16 file, or None if it is anything else.

    The arithmetic is wfdb's own, (digital - baseline) / gain in float64, so that both ways give the same bits.
    """
    lines = [line for line in header.lines if line is not None]
    if not lines or len(lines) != header.signals or len({(line["file"], line["offset"]) for line in lines}) != 1:
        return None
    if "/" in lines[0]["file"] or "\\" in lines[0]["file"]:  # header(5) wants all files in one folder
        return None
    if any(line["format"] != "16" or line["frames"] or line["skew"] or not line["name"] for line in lines):
        return None
    file, offset, n = path.with_name(lines[0]["file"]), int(lines[0]["offset"] or 0), len(lines)
    try:
        digital = np.fromfile(file, "<i2", offset=offset, count=-1 if header.samples is None else header.samples * n)
    except OSError as error:
        raise RecordError(
            f"{file}: signal file cannot be read ({error.strerror or error}). Check that the record is complete."
        ) from error
    samples = digital.size // n if header.samples is None else header.samples
    if digital.size < samples * n or samples == 0:
        raise RecordError(
            f"{file}: {digital.size // n} samples of {n} signals; the header says {samples}. The file is cut short."
        )
    by_lead = digital[: samples * n].reshape(samples, n).T
    gains = [_gain(line)[0] for line in lines]
    baselines = [int(line["baseline"] or line["zero"] or 0) for line in lines]
    values = (by_lead.astype(np.float64) - np.array(baselines)[:, None]) / np.array(gains)[:, None]
    values[by_lead == -32768] = np.nan
    return tuple(
        _Signal(line["name"].strip(), row, line["unit"] or "mV", header.fs, _gain(line)[1])
        for line, row in zip(lines, values, strict=True)
    )


def _gain(line: re.Match[str]) -> tuple[float, bool]:
    """Units per physical unit, and whether the header says so: a gain of 0 means 'uncalibrated, take 200'."""
    gain = float(line["gain"] or 0)
    return (gain, True) if gain else (200.0, False)


def _read_with_wfdb(header: Header, path: Path) -> tuple[list[_Signal], dict[str, Any]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # wfdb's own use of pandas; nothing that a user could act on
            wfdb: Any = importlib.import_module("wfdb")  # slow to import (0.3 s), and most records never need it
            record = wfdb.rdrecord(str(path.with_suffix("")), smooth_frames=False)
        if record.e_p_signal is None:
            raise ValueError("no signals")
    except Exception as error:  # wfdb raises whatever a broken file happens to cause, from ValueError to IndexError
        raise RecordError(
            f"{path}: wfdb cannot read this record ({type(error).__name__}: {error}). Check that it is complete."
        ) from error
    signals = []
    for k, values in enumerate(record.e_p_signal):
        # wfdb drops letters that are not ASCII, which would turn µV into V: units are taken from our own reading.
        line = header.lines[k] if k < len(header.lines) else None
        unit = line["unit"] if line is not None else record.units[k]
        fs = header.fs * (record.samps_per_frame[k] or 1)
        calibrated = line is None or _gain(line)[1]
        signals.append(_Signal(record.sig_name[k] or f"signal {k + 1}", values, unit or "mV", fs, calibrated))
    return _convert(*signals)


def _convert(*signals: _Signal) -> tuple[list[_Signal], dict[str, Any]]:
    """The ECG signals in mV, and notes on what was left out, renamed or not calibrated."""
    kept: list[_Signal] = []
    seen: Counter[str] = Counter()
    notes: dict[str, dict[str, str]] = {"left_out": {}, "renamed": {}}
    uncalibrated = []
    for signal in signals:
        try:
            factor = to_millivolts(signal.unit)
        except RecordError:
            factor = 0.0  # not a voltage
        if not factor or _NOT_ECG.match(signal.name):
            notes["left_out"][signal.name] = signal.unit
            continue
        name = signal.name
        seen[normalize_lead(name)] += 1
        if (count := seen[normalize_lead(name)]) > 1:  # some databases call both channels "ECG"
            name = f"{signal.name}-{count}"
            notes["renamed"][name] = signal.name
        if not signal.calibrated:
            uncalibrated.append(name)
        kept.append(replace(signal, name=name, values=signal.values * factor, unit="mV"))
    return kept, {key: value for key, value in {**notes, "uncalibrated": uncalibrated}.items() if value}


def _align(
    signals: Sequence[_Signal], notes: dict[str, Any]
) -> tuple[tuple[str, ...], float, NDArray[np.floating[Any]]]:
    """Bring all signals to the highest sampling rate among them (noted in ``notes["resampled"]``)."""
    fs = max(signal.fs for signal in signals)
    rows = [s.values if s.fs == fs else resample(s.values, s.fs, fs) for s in signals]
    if slower := {s.name: s.fs for s in signals if s.fs != fs}:
        notes["resampled"] = slower
    samples = min(row.size for row in rows)
    return tuple(s.name for s in signals), fs, np.stack([row[:samples] for row in rows])


def parse_comments(lines: Sequence[str]) -> dict[str, Any]:
    """Header comments as a dictionary. ``Age``, ``Sex`` and ``Dx`` are interpreted, other pairs kept as text."""
    meta: dict[str, Any] = {}
    free = []
    for line in lines:
        if pair := re.match(r"<?([A-Za-z][\w ()/-]*?)>?\s*:\s*(.*)$", line):
            meta[pair[1].lower().replace(" ", "_")] = pair[2]
        elif who := re.match(r"(\d{1,3}|-1) ([MF])\b", line):  # MIT-BIH: "69 M 1085 1629 x1"
            meta["age"], meta["sex"] = who.groups()
            free.append(line)
        elif line:
            free.append(line)
    _interpret(meta)
    if free:
        meta["comments"] = free
    return meta


def _interpret(meta: dict[str, Any]) -> None:
    if "age" in meta:
        meta["age"] = years(meta["age"])
    if "sex" in meta:
        meta["sex"] = sex_letter(meta["sex"])
    if "dx" in meta:
        meta["dx"] = [code.strip() for code in meta["dx"].split(",") if code.strip()]
