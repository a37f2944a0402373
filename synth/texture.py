"""Texture: what an ECG holds besides its beats: wandering baseline, muscle, mains, atrial waves of fibrillation.

Described per record by the power in bands of frequency and lead, and drawn as noise of that power whose leads are
correlated as they usually are in that band. The slowest of it and the mains hum evenly; the rest swells and ebbs, in
short bursts above 15 Hz, and from 4 Hz on there is more of it where the beats are steep.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from scipy.signal import butter, sosfiltfilt
from scipy.special import ndtri

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
    _Group(4.2, 60, 0.3, 0.3, 25),
    _Group(15, 12, 0.9, 0.5),
    _Group(60, 12, 1.5, 0.8),
)
# Which of them each band is drawn with, counted from 1; 0: evenly.
DRAWN_AS = np.where(MAINS, 0, np.searchsorted([group.hz for group in GROUPS], BANDS[:-1], side="right"))
# Half of a burst is a lead's own: of noise that is alike in two leads so much is alike afterwards.
ALIKE = np.exp(-0.5 * np.array([0.0, *(0.5 * (group.rest + group.wave) for group in GROUPS)])[DRAWN_AS] ** 2)
STEP = 250  # samples over which the loudness of muscle noise is taken
THIN = 5  # every so manieth sample is enough for what changes slowly
HELD = 2  # samples over which the loudness of bursts is held
MARGIN = 500  # samples more than asked for are drawn: a Fourier sum returns to its beginning
# Values of equal probability of a standard normal distribution: to look them up takes a third of the time.
NORMAL = ndtri((np.arange(2**16) + 0.5) / 2**16).astype(np.float32)
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
    odd = np.array([kind == "V" for kind in kinds], bool)
    for what, (start, stop), which in ((QRS, usual, ~odd), (OTHER, ectopic, odd)):
        spans = np.maximum(np.rint((r[which, None] + (start, stop)) * FS), 0).astype(int)
        for i, j in spans.tolist():
            phase[i:j] = what
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
        ways, logs = np.stack(_ways(means[0] ** 2), axis=1), 0.5 * np.log(means[1:].T + 1e-9)
        ways = ways - (weight * ways).sum(axis=0) / weight.sum()
        left = left + (weight * ways).T @ ways
        right = right + (weight * ways).T @ logs
    return np.asarray(np.linalg.solve(left + _HOLD * np.eye(2), right))


def _ways(steep: Array) -> tuple[Array, Array]:
    """How far squared slopes, in mV per sample, are on the way from QUIET to WAVE, and from there to STROKE."""
    quiet, wave, stroke = (2 * math.log(v) for v in (QUIET, WAVE, STROKE))
    log = np.maximum(steep, steep.dtype.type(QUIET**2))
    np.log(log, out=log)
    to_wave, to_stroke = (log - quiet) * (1 / (wave - quiet)), (log - wave) * (1 / (stroke - wave))
    np.minimum(np.maximum(to_stroke, 0, out=to_stroke), LOUDEST, out=to_stroke)
    return np.minimum(to_wave, 1, out=to_wave), to_stroke


def _steep(beats: Array) -> F32:
    """(leads, samples) squared slope in mV per sample, over 14 ms."""
    one = np.asarray(beats[:, 2:] - beats[:, :-2], np.float32)
    one *= one
    one *= 0.25 / 7
    two = one[:, 1:] + one[:, :-1]
    seven = two[:, 4:-1] + one[:, 6:]
    seven += two[:, :-5]
    seven += two[:, 2:-3]
    out = np.empty(beats.shape, np.float32)
    out[:, 4:-4] = seven
    out[:, :4], out[:, -4:] = seven[:, :1], seven[:, -1:]
    return out


def draw(rng: np.random.Generator, texture: Texture, roots: Array, phase: NDArray[np.int8], beats: Array) -> F32:
    """(leads, samples) mV at 500 Hz. roots: (bands, leads, leads), Cholesky factors of the correlations; beats: (leads,
    samples) mV of what the texture is for.
    """
    leads, count = beats.shape
    thin_size = int(next_fast_len(-(-(count + MARGIN) // THIN), real=True))
    size, thin_count = thin_size * THIN, -(-count // THIN)
    spectrum = _spectrum(rng, texture.power, np.asarray(roots, np.float32), size)

    def part(group: int, bins: int) -> NDArray[np.complex64]:
        """Of the spectrum what is drawn with a group."""
        out = np.zeros((leads, bins), np.complex64)
        for columns in _columns(size)[group]:
            out[:, columns] = spectrum[:, columns]
        return out

    def swelling(group: int, loud: F32) -> F32:
        """(leads, thin_size) of a slow group, as loud as that; its loudness, too, returns to its beginning."""
        back = np.linspace(0, 1, thin_size - thin_count, dtype=np.float32)
        loud = np.concatenate([loud, loud[:, -1:] * (1 - back) + loud[:, :1] * back], axis=1)
        out: F32 = irfft(part(group, thin_size // 2 + 1), thin_size, axis=1)
        out *= loud
        return out

    steep = _steep(beats)
    beside = (phase == BESIDE).astype(np.float32)
    louder = texture.louder.T.astype(np.float32)
    slowest, slow, *quick = GROUPS
    courses = [_course(rng, leads, count, group.burst) for group in (slowest, slow, quick[0])]
    unsteady = np.float32(texture.unsteady) * _course(rng, leads, count, STEP)

    sd = np.float32(slowest.rest)
    sway = _between(courses[0], slowest.burst // THIN, thin_count)
    low = swelling(1, np.exp(sd * sway - sd**2))  # of the same mean power
    bursts = _bursts([slow], courses[1], THIN, thin_count)
    level = _between(unsteady, STEP // THIN, thin_count)
    low += swelling(2, _loud([slow], louder[:1], level, bursts, _ways(steep[:, ::THIN]), beside[::THIN])[0])
    evenly = part(0, size // 2 + 1)
    evenly[:, : thin_size // 2 + 1] += rfft(low, axis=1)  # it joins the sum of what hums evenly
    out: F32 = irfft(evenly, size, axis=1)[:, :count]
    held_count = -(-count // HELD)
    bursts = _bursts(quick, courses[2], HELD, held_count)
    level = _between(unsteady, STEP // HELD, held_count)
    louds = _loud(quick, louder[1:], level, bursts, _ways(steep[:, ::HELD]), beside[::HELD])
    for k, loud in enumerate(louds, start=3):
        noise: F32 = irfft(part(k, size // 2 + 1), size, axis=1)[:, :count]
        noise *= np.repeat(loud, HELD, axis=1)[:, :count]
        out += noise
    return out


def _spectrum(rng: np.random.Generator, power: Floats, roots: F32, size: int) -> NDArray[np.complex64]:
    """(leads, size // 2 + 1) of noise, see ``draw``."""
    low, share, bounds = _bins(size)
    leads = power.shape[1]
    which = rng.integers(0, 2**64, -(-leads * low.size // 2), np.uint64).view(np.uint16)  # four at a time
    values = NORMAL.take(which[: 2 * leads * low.size], mode="clip")  # which is not needed, but faster
    apart = values.view(np.complex64).reshape(leads, low.size)
    spectrum: NDArray[np.complex64] = np.empty_like(apart)
    # Of complex numbers: how their sums are taken does not depend on threads and processors.
    for root, (start, stop) in zip(roots.astype(np.complex64), pairwise(bounds), strict=True):
        np.matmul(root, apart[:, start:stop], out=spectrum[:, start:stop])
    log = (power.T * (0.5 * np.log(10.0)) + 0.25 * np.log((FS * size / 2) ** 2 / 4)).astype(np.float32)
    gain = np.take(np.diff(log, axis=1), low, axis=1)
    gain *= share
    gain += np.take(log, low, axis=1)
    spectrum *= np.exp(gain, out=gain)
    spectrum[:, 0] = 0.0
    return spectrum


def _loud(
    groups: Sequence[_Group],
    louder: F32,
    unsteady: F32,
    bursts: tuple[F32, F32],
    ways: tuple[Array, Array],
    beside: F32,
) -> F32:
    """(groups, leads, samples) factors of the groups' noise. Where ``beside`` is 1 their mean square is: there the mean
    power is what ``power`` says. Takes ``bursts`` for its own."""
    to_wave, to_stroke = ways
    log, in_waves = bursts
    log *= 1 - to_wave
    in_waves *= to_wave - np.minimum(to_stroke, 1)  # strokes come in no bursts
    log += in_waves
    for how, way in zip(louder.T, ways, strict=True):
        log += np.multiply(how[:, None, None], way, out=in_waves)
    log += unsteady
    loud: F32 = np.exp(log, out=log)
    if groups[0].smooth > 1:
        loud = np.sqrt(uniform_filter1d(loud**2, groups[0].smooth // THIN, axis=2))
    if (count := beside.sum()) > 0:
        loud *= np.sqrt(count / ((loud * loud) @ beside))[..., None]
    return loud


def _bursts(groups: Sequence[_Group], course: F32, every: int, count: int) -> tuple[F32, F32]:
    """(groups, leads, count) logs of how loud bursts are at rest and in waves, at every so manieth sample; of groups
    whose bursts are equally long. What half a second holds of them is always the same: that is for `unsteady` to say.
    """
    burst = groups[0].burst
    finer = np.repeat(course, 2, axis=1)[:, :-1]  # bursts may be loudest between two points
    finer[:, 1::2] = np.float32(np.sqrt(0.5)) * (course[:, 1:] + course[:, :-1])
    sd = np.array([[g.rest for g in groups], [g.wave for g in groups]], np.float32)[..., None, None]
    power = uniform_filter1d(np.exp(2 * sd * finer), round(2 * STEP / burst), axis=3)[..., ::2]
    at_rest, in_waves = _between(sd * course, burst // every, count, -0.5 * np.log(power))
    return at_rest, in_waves


def _course(rng: np.random.Generator, leads: int, count: int, step: int) -> F32:
    """(leads, points) standard normal, one every ``step`` of ``count`` samples; half of the variance is all leads'."""
    points = rng.standard_normal((leads + 1, count // step + 2), dtype=np.float32)
    return np.asarray(np.float32(np.sqrt(0.5)) * (points[:1] + points[1:]))


def _between(course: F32, step: int, count: int, level: F32 | None = None) -> F32:
    """(..., count) of a course (..., points), everywhere of the variance that it has at its points; ``level``
    (..., points), if there is one, is added as it is."""
    parts = [course] if level is None else [course, level]
    ends = np.stack([end for part in parts for end in (part[..., :-1], part[..., 1:])], axis=-1)
    between: F32 = ends.reshape(-1, 2 * len(parts)) @ _weights(step)[: 2 * len(parts)]
    return between.reshape(*course.shape[:-1], -1)[..., :count]


@lru_cache(maxsize=16)
def _weights(step: int) -> F32:
    """(4, step) of the two points beside a sample: those that keep the variance, and those of a straight line."""
    share = np.arange(step, dtype=np.float32) / np.float32(step)
    ramps = np.stack([1 - share, share])
    return np.concatenate([ramps / np.sqrt((ramps**2).sum(axis=0)), ramps])


@lru_cache(maxsize=8)
def _bins(size: int) -> tuple[NDArray[np.intp], F32, list[int]]:
    """Of each frequency: the band centre below it, how far it is to the next one; and where each band begins."""
    f = np.arange(size // 2 + 1) * FS / size
    at = np.interp(np.log(np.maximum(f, 0.05)), np.log(CENTRES), np.arange(COUNT, dtype=np.float64))
    low = np.minimum(at.astype(np.intp), COUNT - 2)
    band = np.clip(np.searchsorted(BANDS, f, side="right") - 1, 0, COUNT - 1)
    return low, (at - low).astype(np.float32), np.searchsorted(band, np.arange(COUNT + 1)).tolist()


@lru_cache(maxsize=8)
def _columns(size: int) -> list[list[slice]]:
    """Of each of GROUPS, and before them of what hums evenly: where in a spectrum its bands are."""
    bounds, starts = _bins(size)[2], [0, *(np.flatnonzero(np.diff(DRAWN_AS)) + 1).tolist(), COUNT]
    runs = [(int(DRAWN_AS[a]), slice(bounds[a], bounds[b])) for a, b in pairwise(starts)]
    return [[columns for of, columns in runs if of == group] for group in range(len(GROUPS) + 1)]
