"""Texture: what an ECG holds besides its beats: wandering baseline, muscle, mains, atrial waves of fibrillation.

Described per record by the power in bands of frequency and lead, and drawn as noise of that power whose leads are
correlated as they usually are in that band, in bursts above 15 Hz, with more of it where the beats are steep. The
mains hum evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from scipy.signal import butter, sosfiltfilt

Floats: TypeAlias = NDArray[np.float64]
F32: TypeAlias = NDArray[np.float32]

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
SPLIT = 60.0  # Hz, above which noise is told apart
# What each band is drawn with: what is even (the slow and the mains), in bursts up to SPLIT, or in bursts above it.
DRAWN_AS = np.where(MAINS | (BANDS[:-1] < 15.0), 0, np.where(BANDS[:-1] < SPLIT, 1, 2))
USUALLY = (np.array([-1.3, -2.2]), 0.3)  # strokes and waves where a fast heart has no rest to compare with
STEP = 250  # samples over which the loudness of muscle noise is taken
# Above 15 Hz noise comes in bursts, in all records alike: recorders keep little between the waves, and that in pieces.
BURST = 12  # samples
BURSTS = (0.7, 1.0)  # SD of their log amplitude at 15 to 60 Hz and above
# Half of a burst is a lead's own: of noise that is alike in two leads so much is alike afterwards.
ALIKE = np.exp(-0.5 * np.array([0.0, *BURSTS])[DRAWN_AS] ** 2)


@dataclass(frozen=True)
class Texture:
    """Attributes:
    power: (bands, leads) log10 mV^2 / Hz, beside the QRS complexes.
    unsteady: SD of the muscle noise's log amplitude over time.
    strokes: (2,) log of the noise that steep strokes bring with them, as a share of mV per sample, at 15 to 60 Hz and
        above. Beats that differ leave something there.
    waves: log of how much louder than at rest noise above 15 Hz is from P to T; recorders keep the waves and smooth
        between them.
    """

    power: Floats
    unsteady: float
    strokes: Floats
    waves: float


_FILTERS = [
    butter(2, band, kind, fs=FS, output="sos") for band, kind in (((15.0, SPLIT), "bandpass"), (SPLIT, "highpass"))
]
STROKES = (-5.0, 0.0)  # fewer are none
REST, WAVES, QRS, OTHER = range(4)  # phases of the heart's cycle


def phases(r: Floats, kinds: str, intervals: Floats, ectopic: tuple[float, float], count: int) -> NDArray[np.int8]:
    """(count,) which phase each sample at 500 Hz is in; see morphology.INTERVALS. Ectopic beats are OTHER."""
    phase = np.zeros(count, np.int8)
    p, q, to_offset, t = intervals
    for what, start, stop in ((WAVES, -q - p, to_offset + t), (QRS, -q - 0.008, to_offset + 0.008)):
        for at, kind in zip(r, kinds, strict=True):
            if kind != "V":
                phase[max(round((at + start) * FS), 0) : max(round((at + stop) * FS), 0)] = what
    for at, kind in zip(r, kinds, strict=True):
        if kind == "V":
            phase[max(round((at + ectopic[0]) * FS), 0) : max(round((at + ectopic[1]) * FS), 0)] = OTHER
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
    return Texture(np.log10(np.maximum(power, FLOOR)), unsteady, *_louder(rest, phase, beats)), likeness


def _louder(rest: Floats, phase: NDArray[np.int8], beats: Floats) -> tuple[Floats, float]:
    """Strokes and waves of a Texture."""
    if min((phase == k).sum() for k in (REST, WAVES, QRS)) <= 100:
        return USUALLY
    steep = float(_steep(beats)[:, phase == QRS].mean(axis=1).sum())
    strokes, waves = [], []
    for sos in _FILTERS:
        y = sosfiltfilt(sos, rest, axis=1) ** 2
        at_rest, in_waves, in_qrs = (y[:, phase == k].mean(axis=1).sum() for k in (REST, WAVES, QRS))
        strokes.append(0.5 * np.log(max(in_qrs - in_waves, 1e-9) / max(steep, 1e-9)))
        waves.append(0.5 * np.log((in_waves + 1e-8) / (at_rest + 1e-8)))
    return np.clip(strokes, *STROKES), float(np.mean(waves))


def _steep(beats: Floats) -> F32:
    """(leads, samples) squared slope in mV per sample, over 14 ms."""
    steep: F32 = uniform_filter1d(np.gradient(beats.astype(np.float32), axis=1) ** 2, 7, axis=1)
    return steep


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
    parts = np.zeros((3, *noise.shape), np.complex64)
    for k in range(COUNT):
        columns = slice(int(bounds[k]), int(bounds[k + 1]))
        parts[DRAWN_AS[k], :, columns] = (roots[k].astype(np.float32) @ noise[:, columns]) * gain[:, columns]
    parts[..., 0] = 0.0
    out, *uneven = irfft(parts, size, axis=2)[..., :count]
    # Beside QRS the mean power is what `power` says.
    waves = float((phase == WAVES).mean() / max(float((phase <= WAVES).mean()), 1e-3))
    base = -0.5 * np.log(waves * np.exp(2 * texture.waves) + 1 - waves)
    level = np.where(phase == REST, base, base + texture.waves)
    steep = _steep(beats)
    unsteady = np.float32(texture.unsteady)
    slowly = np.exp(
        2 * uniform_filter1d(level.astype(np.float32), 7) + 2 * unsteady * (_sway(rng, leads, count, STEP) - unsteady)
    )
    quickly = _sway(rng, leads, count, BURST)
    for noise, strokes, sd in zip(uneven, texture.strokes, BURSTS, strict=True):
        own = np.maximum((noise**2).mean(axis=1, keepdims=True), np.float32(FLOOR))
        bursts = np.exp(2 * sd * quickly)
        bursts /= uniform_filter1d(bursts, STEP, axis=1)  # what half a second holds is for `unsteady` to say
        power = slowly * bursts + steep * (np.float32(np.exp(2 * strokes)) / own)  # strokes come in no bursts
        out = out + noise * np.sqrt(power)
    return np.asarray(out, np.float64)


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
