"""Record: a multi-lead ECG in millivolts. NaN marks samples that are not known."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ImplausibleAmplitude, RecordError

LIMB_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF")
STANDARD_LEADS = (*LIMB_LEADS, "V1", "V2", "V3", "V4", "V5", "V6")

# Names found in public databases -> the name printed on paper. Keys are upper case without separators.
_ALIASES = {
    **{name.upper(): name for name in (*STANDARD_LEADS, "V7", "V8", "V9")},
    **{f"V{n}R": f"V{n}R" for n in range(1, 10)},
    **{"MLI": "I", "MLII": "II", "MLIII": "III", "DI": "I", "DII": "II", "DIII": "III"},
    **{"D1": "I", "D2": "II", "D3": "III"},
    **{"L1": "I", "L2": "II", "L3": "III", "VR": "aVR", "VL": "aVL", "VF": "aVF", "VX": "X", "VY": "Y", "VZ": "Z"},
    **{"X": "X", "Y": "Y", "Z": "Z", "MCL1": "MCL1", "MCL6": "MCL6", "-AVR": "-aVR"},
}  # fmt: skip

# One row per limb lead, in terms of (I, II): Einthoven's law and Goldberger's augmented leads.
_FROM_I_II = {
    "I": (1.0, 0.0), "II": (0.0, 1.0), "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0),
}  # fmt: skip


def normalize_lead(name: str) -> str:
    """The standard spelling of a lead name (``AVR`` -> ``aVR``, ``MLII`` -> ``II``); others are only stripped."""
    key = re.sub(r"(^LEAD)|[\s_.]", "", name.strip().upper())
    return _ALIASES.get(key, name.strip())


def to_millivolts(unit: str) -> float:
    """Factor from ``unit`` (as files spell it: mV, uV, µV, nV, V) to millivolts."""
    factors = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6, "v": 1e3, "millivolt": 1.0, "microvolt": 1e-3}
    try:
        return factors[unit.strip().lower()]
    except KeyError:
        raise RecordError(
            f"unit {unit!r} is not a voltage; expected one of mV, uV, nV, V. Convert the file first."
        ) from None


@dataclass(frozen=True, eq=False)
class Record:
    """A multi-lead ECG.

    Attributes:
        leads: names, in the source's order, standard spelling.
        mv: (leads, samples) float32, millivolts, NaN where unknown. Read-only.
        fs: samples per second, Hz.
        name: what the source calls it.
        meta: anything else worth keeping (labels, age, sex; ``derived``: names of computed leads).
    """

    leads: tuple[str, ...]
    mv: NDArray[np.float32]
    fs: float
    name: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        mv = np.array(self.mv, dtype=np.float32, ndmin=2, copy=True)
        mv[~np.isfinite(mv)] = np.nan
        leads = tuple(normalize_lead(lead) for lead in self.leads)
        if mv.ndim != 2 or mv.shape[0] != len(leads):
            raise RecordError(
                f"{len(leads)} lead names for signals of shape {mv.shape}; expected ({len(leads)}, samples)."
            )
        if not leads or mv.shape[1] < 2:
            raise RecordError(
                f"record {self.name!r} has {len(leads)} leads of {mv.shape[1]} samples; expected at least 1 of 2."
            )
        if len(set(leads)) != len(leads):
            raise RecordError(
                f"record {self.name!r} has repeated lead names: {', '.join(leads)}. Rename or select leads first."
            )
        if not (np.isfinite(self.fs) and self.fs > 0):
            raise RecordError(f"sampling rate {self.fs!r} Hz of record {self.name!r}; expected a positive number.")
        mv.setflags(write=False)
        object.__setattr__(self, "leads", leads)
        object.__setattr__(self, "mv", mv)
        object.__setattr__(self, "fs", float(self.fs))

    @property
    def duration(self) -> float:
        """Length in seconds: samples / fs."""
        return int(self.mv.shape[1]) / self.fs

    def lead(self, name: str) -> NDArray[np.float32]:
        """(samples,) mV of one lead."""
        try:
            mv: NDArray[np.float32] = self.mv[self.leads.index(normalize_lead(name))]
        except ValueError:
            raise RecordError(f"no lead {name!r} in record {self.name!r}; it has {', '.join(self.leads)}.") from None
        return mv

    def select(self, leads: Iterable[str]) -> Record:
        """The named leads only, in the order asked for."""
        names = tuple(normalize_lead(lead) for lead in leads)
        return replace(self, leads=names, mv=np.stack([self.lead(name) for name in names]))

    def cut(self, start: float, stop: float) -> Record:
        """The window [start, stop) in seconds, clipped to the record."""
        a, b = (min(max(round(t * self.fs), 0), self.mv.shape[1]) for t in (start, stop))
        return replace(self, mv=self.mv[:, a:b])

    def resample(self, fs: float) -> Record:
        """Band-limited resampling to ``fs`` Hz. Unknown samples stay so (their neighbours see them interpolated)."""
        if fs == self.fs:
            return self
        return replace(self, mv=resample(self.mv, self.fs, fs), fs=fs)

    def derive_limb_leads(self) -> Record:
        """All six limb leads from any two of I, II, III; computed ones are listed in ``meta["derived"]``.

        Leads the record already has are never replaced. Raises RecordError if fewer than two of I, II, III are there.
        """
        missing = [lead for lead in LIMB_LEADS if lead not in self.leads]
        if not missing:
            return self
        known = [lead for lead in ("I", "II", "III") if lead in self.leads][:2]
        if len(known) < 2:
            raise RecordError(
                f"record {self.name!r} has {', '.join(self.leads)}; deriving limb leads needs two of I, II, III."
            )
        basis = np.linalg.inv(np.array([_FROM_I_II[lead] for lead in known]))
        one_two = basis @ np.stack([self.lead(lead) for lead in known]).astype(np.float64)
        added = np.array([_FROM_I_II[lead] for lead in missing]) @ one_two
        signals = {**dict(zip(self.leads, self.mv, strict=True)), **dict(zip(missing, added, strict=True))}
        order = [*LIMB_LEADS, *(lead for lead in self.leads if lead not in LIMB_LEADS)]
        derived = [*self.meta.get("derived", ()), *missing]
        return replace(
            self,
            leads=tuple(order),
            mv=np.stack([signals[lead] for lead in order]),
            meta={**self.meta, "derived": derived},
        )

    def check_amplitude(self) -> Record:
        """Warn if the median lead spans under 0.05 mV or over 20 mV, naming the likely unit error. Returns self."""
        known = np.isfinite(self.mv).any(axis=1)
        if known.any():
            spread = float(np.median(np.nanmax(self.mv[known], axis=1) - np.nanmin(self.mv[known], axis=1)))
            if spread > 20:
                guess = (
                    "microvolts read as millivolts"
                    if spread < 2e4
                    else "raw ADC counts or nanovolts read as millivolts"
                )
                hint = f"expected 0.05 to 20 mV; probably {guess}"
            elif 0 < spread < 0.05:
                hint = "expected 0.05 to 20 mV; probably volts read as millivolts, or a wrong ADC gain"
            else:
                return self
            warnings.warn(
                f"record {self.name!r}: the median lead spans {spread:.3g} mV; {hint}.",
                ImplausibleAmplitude,
                stacklevel=2,
            )
        return self

    # Files. Readers for whole data sets are in ecg_image_kit.sources.

    def write_wfdb(self, path: str | os.PathLike[str], comments: Sequence[str] = ()) -> None:
        """Write ``path``.hea and .dat (format 16, 1000 units/mV; NaN becomes WFDB's invalid sample).

        Raises RecordError if a sample is beyond ±32.7 mV, which format 16 cannot hold at this resolution.
        """
        path = Path(path)
        if np.nanmax(np.abs(self.mv), initial=0.0) > 32.7:
            raise RecordError(f"record {self.name!r} exceeds ±32.7 mV, the range of 16 bits at 1 uV. Check its units.")
        units = np.round(self.mv * 1000.0)
        digital = np.where(np.isnan(units), -32768, units).astype("<i2").T
        first, checksum = digital[0], digital.sum(axis=0, dtype=np.int64) & 0xFFFF
        fs = f"{self.fs:.12g}"
        lines = [f"{path.name} {len(self.leads)} {fs} {digital.shape[0]}"]
        for k, lead in enumerate(self.leads):
            check = int(checksum[k]) - (0x10000 if checksum[k] >= 0x8000 else 0)
            lines.append(f"{path.name}.dat 16 1000.0(0)/mV 16 0 {first[k]} {check} 0 {lead}")
        lines += [f"# {comment}" for comment in comments]
        atomic_write(path.with_name(path.name + ".dat"), digital.tobytes())
        atomic_write(path.with_name(path.name + ".hea"), ("\n".join(lines) + "\n").encode("ascii", "replace"))

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write ``time_s`` and one column per lead, mV; unknown samples are empty cells."""
        t = np.arange(self.mv.shape[1]) / self.fs
        rows = ["time_s," + ",".join(self.leads)]
        columns = [
            [f"{s:.9g}" for s in t],
            *([("" if np.isnan(v) else f"{v:.4f}") for v in lead] for lead in self.mv.tolist()),
        ]
        rows += [",".join(cells) for cells in zip(*columns, strict=True)]
        atomic_write(Path(path), ("\n".join(rows) + "\n").encode())

    def write_npz(self, path: str | os.PathLike[str]) -> None:
        """Write ``leads``, ``mv``, ``fs`` and ``name`` as a compressed npz."""
        import io

        buffer = io.BytesIO()
        np.savez_compressed(buffer, leads=np.array(self.leads), mv=self.mv, fs=self.fs, name=self.name)
        atomic_write(Path(path), buffer.getvalue())


def resample(x: NDArray[np.floating[Any]], fs: float, to: float) -> NDArray[np.float32]:
    """Band-limited resampling of (..., samples) from ``fs`` to ``to`` Hz; sample 0 keeps its time. NaN stays NaN."""
    from fractions import Fraction

    from scipy.signal import firwin, upfirdn  # slow to import, and seldom needed

    ratio = Fraction(to / fs).limit_denominator(10_000)
    known = np.isfinite(x)
    filled = np.array(x, dtype=np.float64)
    if not known.all():
        rows, masks = filled.reshape(-1, filled.shape[-1]), known.reshape(-1, filled.shape[-1])
        for row, ok in zip(rows, masks, strict=True):
            row[~ok] = np.interp(np.flatnonzero(~ok), np.flatnonzero(ok), row[ok]) if ok.any() else 0.0
    # A sinc of 32 zero crossings a side (scipy's resample_poly, of 10, takes 14 % off at 0.45 of the lower rate). The
    # ends are mirrored through their sample, which errs a third as much there as going on along a line.
    up, down = ratio.numerator, ratio.denominator
    half = 32 * max(up, down)
    early = -half % down  # so that sample 0 falls on one that is kept
    taps = up * firwin(2 * half + 1, 1 / max(up, down, 1 + 1e-9), window=("kaiser", 6.0))
    pad = down * math.ceil(half / (up * down))
    long = np.pad(filled, [(0, 0)] * (filled.ndim - 1) + [(pad, pad)], mode="reflect", reflect_type="odd")
    first, count = (pad * up + half + early) // down, math.ceil(filled.shape[-1] * up / down)
    y = np.asarray(upfirdn(np.append(np.zeros(early), taps), long, up, down, axis=-1))[..., first : first + count]
    if not known.all():
        nearest = np.minimum(np.round(np.arange(y.shape[-1]) / float(ratio)).astype(int), x.shape[-1] - 1)
        y[~known[..., nearest]] = np.nan
    out: NDArray[np.float32] = y.astype(np.float32)
    return out


def atomic_write(path: Path, data: bytes) -> None:
    """Write under a temporary name in the same folder, then rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
