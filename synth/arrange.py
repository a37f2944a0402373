"""ECGs as images and back (Piacentino, Guarner and Angulo, Electronics 10:389, 2021): each arrangement has an inverse.

Images are (planes, rows, columns) float32 in [-1, 1]; nothing is lost but what lies beyond ``limit``, which is cut off.
Eight bits a pixel, as image files have, would lose more (2.3 % PRD in the adapted range, 28.5 % in the full one).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ecg_image_kit.errors import UsageError

F32: TypeAlias = NDArray[np.float32]

FULL = 32.767  # mV: all that 16 bits of 1 uV can say, the full range
ADAPTED = 2.5  # mV: beyond it lie 0.08 % of PTB-XL's samples, the adapted range


class Arrangement(Protocol):
    """An invertible map between ECGs and images; ``shape`` is (planes, rows, columns)."""

    @property
    def shape(self) -> tuple[int, int, int]: ...

    def encode(self, mv: F32) -> F32:
        """(leads, samples) mV -> (planes, rows, columns) in [-1, 1]."""
        ...

    def decode(self, image: F32) -> F32:
        """(planes, rows, columns) -> (leads, samples) mV."""
        ...


@dataclass(frozen=True)
class _Base:
    leads: int = 8
    samples: int = 5000
    fs: float = 500.0  # Hz
    limit: float = ADAPTED  # mV that become 1

    def __post_init__(self) -> None:
        if self.leads < 1 or self.samples < 2:
            raise UsageError(f"{self.leads} leads of {self.samples} samples; expected at least 1 of 2.")
        if not (self.limit > 0 and self.fs > 0):
            raise UsageError(f"a range of {self.limit} mV at {self.fs} Hz; expected more than 0.")

    def scaled(self, mv: F32) -> F32:
        """(leads, samples) mV -> [-1, 1]. Raises UsageError for another shape, or samples that are not known."""
        if mv.shape != (self.leads, self.samples):
            raise UsageError(f"an ECG of shape {mv.shape}; expected ({self.leads}, {self.samples}).")
        if not np.isfinite(mv).all():
            raise UsageError("an ECG with unknown samples (NaN) has no image; fill or leave it out first.")
        return np.asarray(np.clip(np.asarray(mv, np.float32) / np.float32(self.limit), -1, 1), np.float32)

    def unscaled(self, x: F32) -> F32:
        return np.asarray(x * np.float32(self.limit), np.float32)


@dataclass(frozen=True)
class Fold(_Base):
    """Lead after lead, row after row, in one grey plane: 8 x 5000 is 200 x 200 exactly."""

    @property
    def shape(self) -> tuple[int, int, int]:
        columns = _row(self.samples, self.leads * self.samples)
        return 1, self.leads * self.samples // columns, columns

    def encode(self, mv: F32) -> F32:
        return self.scaled(mv).reshape(self.shape)

    def decode(self, image: F32) -> F32:
        return self.unscaled(image.reshape(self.leads, self.samples))


@dataclass(frozen=True)
class Planes(_Base):
    """RGB: a third of the leads in each plane, folded; 0 mV where their number is not a multiple of three."""

    @property
    def shape(self) -> tuple[int, int, int]:
        each = -(-self.leads // 3) * self.samples
        columns = _row(self.samples, each)
        return 3, each // columns, columns

    def encode(self, mv: F32) -> F32:
        x = np.pad(self.scaled(mv), ((0, -self.leads % 3), (0, 0)))
        return x.reshape(self.shape)

    def decode(self, image: F32) -> F32:
        return self.unscaled(image.reshape(-1, self.samples)[: self.leads])


@dataclass(frozen=True)
class Concatenated(_Base):
    """Concatenated RGB: three samples that follow each other are a pixel's red, green and blue; 0 mV at the end."""

    @property
    def shape(self) -> tuple[int, int, int]:
        pixels = -(-self.leads * self.samples // 3)
        columns = math.isqrt(pixels - 1) + 1
        return 3, -(-pixels // columns), columns

    def encode(self, mv: F32) -> F32:
        planes, rows, columns = self.shape
        flat = self.scaled(mv).ravel()
        x = np.pad(flat, (0, planes * rows * columns - flat.size))
        return np.ascontiguousarray(x.reshape(rows, columns, planes).transpose(2, 0, 1))

    def decode(self, image: F32) -> F32:
        flat = image.transpose(1, 2, 0).ravel()[: self.leads * self.samples]
        return self.unscaled(flat.reshape(self.leads, self.samples))


@dataclass(frozen=True)
class Beats(_Base):
    """A row for each beat, R peaks below each other, a plane for each lead; the last plane says where samples are.

    A row goes from two fifths of the interval before its R peak to three fifths of the one after it. What is longer
    than a row goes on in the next one. A generated image is read wherever its last plane is above 0; if that makes
    fewer samples than asked for, the last one is repeated.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.leads + 1, math.ceil(4 * self.samples / self.fs) + 8, round(1.2 * self.fs)

    def encode(self, mv: F32, peaks: Sequence[int] | None = None) -> F32:
        """``peaks``: samples of the R peaks; looked for if None. Raises UsageError for more beats than rows."""
        x = self.scaled(mv)
        _, rows, columns = self.shape
        at = r_peaks(mv, self.fs) if peaks is None else list(peaks)
        image = np.zeros(self.shape, np.float32)
        image[-1] = -1
        row = 0
        for start, stop, peak in _segments(at, self.samples):
            first = round(0.4 * columns) - (peak - start)  # the column of the row's first sample
            if first < 0 or first + stop - start > columns:
                first = 0
            while start < stop:
                if row == rows:
                    raise UsageError(f"{len(at)} beats in {self.samples / self.fs:g} s; expected at most {rows} rows.")
                take = min(columns - first, stop - start)
                image[:-1, row, first : first + take] = x[:, start : start + take]
                image[-1, row, first : first + take] = 1
                start, first, row = start + take, 0, row + 1
        return image

    def decode(self, image: F32) -> F32:
        there = image[-1] > 0
        flat = image[:-1][:, there][:, : self.samples]
        if not flat.shape[1]:
            flat = np.zeros((self.leads, 1), np.float32)
        return self.unscaled(np.pad(flat, ((0, 0), (0, self.samples - flat.shape[1])), mode="edge"))


ARRANGEMENTS: dict[str, type[Any]] = {"fold": Fold, "beats": Beats, "planes": Planes, "concatenated": Concatenated}


def arrangement(
    name: str, leads: int = 8, samples: int = 5000, fs: float = 500.0, limit: float = ADAPTED
) -> Arrangement:
    """The arrangement called ``name``. Raises UsageError."""
    if name not in ARRANGEMENTS:
        raise UsageError(f"arrangement {name!r}; expected one of {', '.join(ARRANGEMENTS)}.")
    made: Arrangement = ARRANGEMENTS[name](leads, samples, fs, limit)
    return made


def r_peaks(mv: F32, fs: float) -> list[int]:
    """Samples of the R peaks of (leads, samples) mV: maxima of the leads' summed slopes, at least 0.25 s apart."""
    slope = np.abs(np.diff(mv.astype(np.float64), axis=1, append=mv[:, -1:])).sum(axis=0)
    width = max(1, round(0.08 * fs))
    energy = np.convolve(slope, np.ones(width) / width, mode="same")
    level = 0.35 * float(np.quantile(energy, 0.99))
    found: list[int] = []
    for k in np.argsort(-energy, kind="stable")[: len(energy) // 4]:
        if energy[k] < level or level <= 0:
            break
        if all(abs(int(k) - other) >= 0.25 * fs for other in found):
            found.append(int(k))
    return sorted(found)


def _row(samples: int, total: int) -> int:
    """The length of a row that divides a lead and makes ``total`` samples most nearly a square."""
    return min((d for d in range(1, samples + 1) if samples % d == 0), key=lambda d: abs(math.log(d * d / total)))


def _segments(peaks: Sequence[int], samples: int) -> list[tuple[int, int, int]]:
    """(start, stop, R peak) of each beat: they follow each other without gaps from 0 to ``samples``."""
    if not peaks:
        return [(0, samples, 0)]
    ends = [a + round(0.6 * (b - a)) for a, b in itertools.pairwise(peaks)]
    return list(zip([0, *ends], [*ends, samples], peaks, strict=True))
