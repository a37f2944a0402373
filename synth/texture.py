"""Texture: what an ECG holds besides its beats: wandering baseline, muscle, mains, atrial waves of fibrillation.

Described per record by the power in bands of frequency and lead, and drawn as noise of that power whose leads are
correlated as they usually are in that band. The slowest of it and the mains hum evenly; the rest swells and ebbs, in
short bursts above 15 Hz, and from 4 Hz on there is more of it where the beats are steep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from scipy.signal import butter, sosfiltfilt

Floats: TypeAlias = NDArray[np.float64]
F32: TypeAlias = NDArray[np.float32]
Array: TypeAlias = NDArray[Any]

FS = 500.0  # Hz
# Edges in Hz: close together where fibrillation has its peak and where recorders filter the mains.
BANDS = np.array([
    0.0, 0.15, 0.25, 0.35, 0.5, 0.75, 1.1, 1.6, 2.3, 3.2, 4.2, 5.2, 6.2, 7.4, 9.0, 11.5, 15.0, 20.0, 27.0, 36.0, 47.5,
    52.5, 62.0, 80.0, 98.0, 102.0, 125.0, 148.0, 152.0, 180.0, 200.0, 220.0, 236.0, 250.0,
])  # fmt: skip
COUNT = BANDS.size - 1
FLOOR = 1e-12  # mV^2 / Hz; a microvolt spread over 250 Hz is 4e-9
CENTRES = np.concatenate([[0.1], np.sqrt(BANDS[1:-1] * BANDS[2:])])
MAINS = (BANDS[:-1] == 47.5) | (BANDS[:-1] == 98.0) | (BANDS[:-1] == 148.0)


class _Group(NamedTuple):
    """Bands that swell and ebb together, from ``hz`` on: in bursts of so many samples, SD of whose log amplitude is
    ``rest`` and, at slopes of WAVE, ``wave``; ``smooth``: samples over which the loudness is taken."""

    hz: float
    burst: int
    rest: float
    wave: float
    smooth: int = 1


# In all records alike: above 15 Hz recorders keep little between the waves, and that in pieces.
GROUPS = (
    _Group(1.6, 250, 0.35, 0.35),
    _Group(4.2, 60, 0.3, 0.3, 30),
    _Group(15, 12, 0.9, 0.5),
    _Group(60, 12, 1.5, 0.8),
)
# Which of them each band is drawn with, counted from 1; 0: evenly.
DRAWN_AS = np.where(MAINS, 0, np.searchsorted([group.hz for group in GROUPS], BANDS[:-1], side="right"))
# Half of a burst is a lead's own: of noise that is alike in two leads so much is alike afterwards.
ALIKE = np.exp(-0.5 * np.array([0.0, *(0.5 * (group.rest + group.wave) for group in GROUPS)])[DRAWN_AS] ** 2)
STEP, THIN = 250, 5  # samples over which the loudness of muscle noise is taken, and of which every so manieth is enough
# Recorders keep steep waves and smooth between them: how loud noise is, follows the beats' slope (mV per sample) in the
# lead. Up to QUIET it is as at rest; its log then rises in proportion to that of the slope, to WAVE and from there on.
QUIET, WAVE, STROKE = 0.7e-3, 5e-3, 0.1
LOUDEST = 1.4  # ways from WAVE to STROKE
USUALLY = np.array([[0.0, 0.45, 0.5], [0.5, 1.0, 1.1]])  # what `louder` is drawn to: a short record tells it badly


@dataclass(frozen=True)
class Texture:
    """Attributes:
    power: (bands, leads) log10 mV^2 / Hz, beside the QRS complexes.
    unsteady: SD of the muscle noise's log amplitude over time.
    louder: (2, 3) log of how much louder noise is at slopes of WAVE than at rest, and at those of STROKE than at WAVE,
        in each but the slowest of GROUPS. Beats that differ leave something there, too.
    """

    power: Floats
    unsteady: float
    louder: Floats


_EDGES = [group.hz for group in GROUPS[1:]]
_FILTERS = [
    *(butter(2, edges, "bandpass", fs=FS, output="sos") for edges in pairwise(_EDGES)),
    butter(2, _EDGES[-1], "highpass", fs=FS, output="sos"),
]
_CLASSES = 1e-3 * np.array([0.0, 0.7, 1.0, 1.5, 2.2, 3.3, 5.0, 8.0, 12.0, 20.0, 32.0, 50.0, 80.0, 130.0, np.inf])
_ENOUGH, _HOLD = 25, 0.2  # samples of a slope; how firmly USUALLY is held to
BESIDE, QRS, OTHER = range(3)  # phases of the heart's cycle


def phases(r: Floats, kinds: str, intervals: Floats, ectopic: tuple[float, float], count: int) -> NDArray[np.int8]:
    """(count,) which phase each sample at 500 Hz is in; see morphology.INTERVALS. Ectopic beats are OTHER."""
    phase = np.zeros(count, np.int8)
    _, before, after, _ = intervals
    usual = (-before - 0.008, after + 0.008)
    for what, (start, stop) in ((QRS, usual), (OTHER, ectopic)):
        for at, kind in zip(r, kinds, strict=True):
            if (what == OTHER) == (kind == "V"):
                phase[max(round((at + start) * FS), 0) : max(round((at + stop) * FS), 0)] = what
    return phase


def measure(rest: Floats, phase: NDArray[np.int8], beats: Floats) -> tuple[Texture, Floats]:
    """Of (leads, samples) mV at 500 Hz without beats, the phase of each sample, and the beats alone: the texture, and
    correlations of the leads, (bands, leads, leads). QRS is bridged, for there is more left of it than of all else.
    """
    hidden = phase >= QRS
    n = rest.shape[1]
    t = np.arange(n)
    x = rest - rest.mean(axis=1, keepdims=True)
    if hidden.any() and not hidden.all():
        x = np.stack([np.where(hidden, np.interp(t, t[~hidden], row[~hidden]), row) for row in x])
    window = np.hanning(n + 2)[1:-1]
    spectrum = np.fft.rfft(x * window, axis=1) * np.sqrt(2 / (FS * (window**2).sum()))
    f = np.fft.rfftfreq(n, 1 / FS)
    band = np.clip(np.searchsorted(BANDS, f, side="right") - 1, 0, COUNT - 1)
    power = np.empty((COUNT, x.shape[0]))
    likeness = np.empty((COUNT, x.shape[0], x.shape[0]))
    share = 1 - float((hidden * window**2).sum() / (window**2).sum())
    for k in range(COUNT):
        part = spectrum[:, (band == k) & (f > 0)]
        if part.shape[1] == 0:  # a short record knows nothing of the slowest
            power[k], likeness[k] = np.nan, np.nan
            continue
        cross = (part @ part.conj().T).real / part.shape[1]
        power[k] = np.diag(cross)
        size = np.sqrt(np.maximum(power[k], FLOOR))
        likeness[k] = cross / np.outer(size, size)
        if BANDS[k] > 15:
            power[k] /= max(share, 0.3)
    known = np.flatnonzero(np.isfinite(power[:, 0]))
    power = np.stack([np.interp(np.arange(COUNT), known, column[known]) for column in power.T], axis=1)
    fast = x - gaussian_filter1d(x, 5.0, axis=1)
    fast = np.where(hidden, np.nan, fast)[:, : n // STEP * STEP].reshape(x.shape[0], -1, STEP)
    seen = np.isfinite(fast).sum(axis=2)
    rms = np.sqrt(np.nansum(fast**2, axis=2) / np.maximum(seen, 1))
    rms[seen < STEP / 4] = np.nan
    usable = np.isfinite(rms).sum(axis=1) >= 4
    unsteady = float(np.median(np.nanstd(np.log(rms[usable] + 1e-5), axis=1))) if usable.any() else 0.1
    return Texture(np.log10(np.maximum(power, FLOOR)), unsteady, _louder(rest, beats, phase != OTHER)), likeness


def _louder(rest: Floats, beats: Floats, use: NDArray[np.bool_]) -> Floats:
    """What ``louder`` of a Texture is, by least squares over slopes and leads, held to what it usually is."""
    steep = np.sqrt(_steep(beats))[:, use]
    power = np.stack([sosfiltfilt(sos, rest, axis=1) ** 2 for sos in _FILTERS], axis=1)[..., use]
    left, right = 0.0, _HOLD * USUALLY
    for slopes, powers in zip(steep, power, strict=True):
        kind = np.searchsorted(_CLASSES, slopes, side="right") - 1
        count = np.bincount(kind, minlength=_CLASSES.size - 1)
        some = np.flatnonzero(count >= _ENOUGH)
        if some.size < 2:
            continue
        means = np.stack([np.bincount(kind, v, minlength=count.size)[some] / count[some] for v in (slopes, *powers)])
        weight = np.minimum(count[some] / STEP, 1.0)[:, None]
        ways, logs = np.stack(_ways(means[0]), axis=1), 0.5 * np.log(means[1:].T + 1e-9)
        ways = ways - (weight * ways).sum(axis=0) / weight.sum()
        left = left + (weight * ways).T @ ways
        right = right + (weight * ways).T @ logs
    return np.asarray(np.linalg.solve(left + _HOLD * np.eye(2), right))


def _ways(slope: Array) -> tuple[Array, Array]:
    """How far slopes, in mV per sample, are on the way from QUIET to WAVE, and from there to STROKE."""
    quiet, wave, stroke = (math.log(v) for v in (QUIET, WAVE, STROKE))
    log = np.log(np.maximum(slope, slope.dtype.type(QUIET)))
    return np.minimum((log - quiet) / (wave - quiet), 1), np.clip((log - wave) / (stroke - wave), 0, LOUDEST)


def _steep(beats: Floats) -> F32:
    """(leads, samples) squared slope in mV per sample, over 14 ms."""
    steep = uniform_filter1d(np.gradient(beats.astype(np.float32), axis=1) ** 2, 7, axis=1)
    return np.asarray(np.maximum(steep, 0.0), np.float32)  # a running sum may end below nothing


def draw(rng: np.random.Generator, texture: Texture, roots: Floats, phase: NDArray[np.int8], beats: Floats) -> Floats:
    """(leads, samples) mV at 500 Hz. roots: (bands, leads, leads), Cholesky factors of the correlations; beats: (leads,
    samples) mV of what the texture is for.
    """
    leads, count = beats.shape
    # Longer than asked for: a Fourier sum returns to its beginning.
    size = int(next_fast_len(count + 500, real=True))
    low, share, bounds = _bins(size)
    log = texture.power * (0.5 * np.log(10.0)) + 0.25 * np.log((FS * size / 2) ** 2 / 4)
    between = log[low].T * (1 - share) + log[low + 1].T * share
    noise = rng.standard_normal((leads, between.shape[1], 2), dtype=np.float32).view(np.complex64)[..., 0]
    gain = np.exp(between).astype(np.float32)

    def drawn(group: int) -> F32:
        part = np.zeros_like(noise)
        for k in np.flatnonzero(group == DRAWN_AS):
            columns = slice(int(bounds[k]), int(bounds[k + 1]))
            part[:, columns] = (roots[k].astype(np.float32) @ noise[:, columns]) * gain[:, columns]
        part[:, 0] = 0.0
        found: F32 = irfft(part, size, axis=1)[:, :count]
        return found

    out = drawn(0)
    slowest, *others = GROUPS
    sd = np.float32(slowest.rest)
    out += drawn(1) * np.exp(sd * _sway(rng, leads, count, slowest.burst) - sd**2)  # of the same mean power
    slowly = np.float32(2 * texture.unsteady) * _sway(rng, leads, count, STEP)
    quickly = {burst: _sway(rng, leads, count, burst) for burst in dict.fromkeys(group.burst for group in others)}
    beside = phase == BESIDE
    to_wave, to_stroke = _ways(np.sqrt(_steep(beats)))
    louder = texture.louder.T.astype(np.float32)
    for k, (group, (wave, stroke)) in enumerate(zip(others, louder, strict=True), start=2):
        at_rest = _bursts(quickly[group.burst], group.rest)
        in_waves = at_rest if group.wave == group.rest else _bursts(quickly[group.burst], group.wave)
        level = slowly + at_rest + (in_waves - at_rest) * to_wave + 2 * (wave * to_wave + stroke * to_stroke)
        level -= in_waves * np.minimum(to_stroke, 1)  # strokes come in no bursts
        np.exp(level, out=level)
        if group.smooth > 1:
            level = uniform_filter1d(level, group.smooth, axis=1)
        # Beside QRS the mean power is what `power` says.
        level /= level.mean(axis=1, keepdims=True, where=beside) if beside.any() else 1.0
        out += drawn(k) * np.sqrt(level)
    return np.asarray(out, np.float64)


def _bursts(sway: F32, sd: float) -> F32:
    """Log power of bursts. What half a second holds of them is always the same: that is for `unsteady` to say."""
    log: F32 = np.float32(2 * sd) * sway
    held = np.log(uniform_filter1d(np.exp(log[:, ::THIN]), STEP // THIN, axis=1))
    log -= np.repeat(held, THIN, axis=1)[:, : log.shape[1]]
    return log


def _sway(rng: np.random.Generator, leads: int, count: int, step: int) -> F32:
    """(leads, count) standard normal, on a new course every ``step`` samples; half of the variance is all leads'."""
    steps = rng.standard_normal((leads + 1, count // step + 2), dtype=np.float32)
    steps = np.float32(np.sqrt(0.5)) * (steps[:1] + steps[1:])
    share = np.arange(step, dtype=np.float32) / np.float32(step)
    size: F32 = np.sqrt(share**2 + (1 - share) ** 2)
    between: F32 = steps[:, :-1, None] * ((1 - share) / size) + steps[:, 1:, None] * (share / size)
    return between.reshape(leads, -1)[:, :count]


@lru_cache(maxsize=8)
def _bins(size: int) -> tuple[NDArray[np.intp], Floats, NDArray[np.intp]]:
    """Of each frequency: the band centre below it, how far it is to the next one; and where each band begins."""
    f = np.arange(size // 2 + 1) * FS / size
    at = np.interp(np.log(np.maximum(f, 0.05)), np.log(CENTRES), np.arange(COUNT, dtype=np.float64))
    low = np.minimum(at.astype(np.intp), COUNT - 2)
    band = np.clip(np.searchsorted(BANDS, f, side="right") - 1, 0, COUNT - 1)
    return low, at - low, np.searchsorted(band, np.arange(COUNT + 1))
