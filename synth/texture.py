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

Floats: TypeAlias = NDArray[np.float64]
F32: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.intp]
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
    ``rest`` and, at slopes of WAVE, ``wave``."""

    hz: float
    burst: int
    rest: float
    wave: float


# In all records alike: above 15 Hz recorders keep little between the waves, and that in pieces. From the third on they
# share their courses of loudness, for their bursts are equally long.
GROUPS = (
    _Group(1.6, 250, 0.35, 0.35),
    _Group(4.2, 60, 0.3, 0.3),
    _Group(15, 12, 0.9, 0.5),
    _Group(60, 12, 1.5, 0.8),
)
# Which of them each band is drawn with, counted from 1; 0: evenly.
DRAWN_AS = np.where(MAINS, 0, np.searchsorted([group.hz for group in GROUPS], BANDS[:-1], side="right"))
# Half of a burst is a lead's own: of noise that is alike in two leads so much is alike afterwards.
ALIKE = np.exp(-0.5 * np.array([0.0, *(0.5 * (group.rest + group.wave) for group in GROUPS)])[DRAWN_AS] ** 2)
STEP = 250  # samples over which the loudness of muscle noise is taken
SMOOTH = 25  # and that of the slow group
THIN = 5  # one sample of so many is enough for what changes slowly,
QUICK = 4  # and for the loudness of quick bursts; STEP and bursts are multiples of THIN or QUICK
EARLIEST = 1500  # courses begin up to so many samples before an ECG: a common multiple of STEP and all bursts
MARGIN = 500  # samples more than asked for are drawn: a Fourier sum returns to its beginning
# Complex numbers of equal probability, whose parts are normal with variance 1: to look them up is fast.
_STEPS = (np.arange(256) + 0.5) / 256
NORMAL = np.outer(np.sqrt(-2 * np.log(_STEPS)), np.exp(2j * np.pi * _STEPS)).ravel()
NORMAL = (NORMAL / NORMAL.real.std()).astype(np.complex64)
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
    from scipy.signal import butter, sosfiltfilt  # only what learns from records needs it, and it takes 1 s to import

    edges = [group.hz for group in GROUPS[1:]]
    filters = [butter(2, pair, "bandpass", fs=FS, output="sos") for pair in pairwise(edges)]
    filters.append(butter(2, edges[-1], "highpass", fs=FS, output="sos"))
    steep = np.sqrt(_steep(beats))[:, use]
    power = np.stack([sosfiltfilt(sos, rest, axis=1) ** 2 for sos in filters], axis=1)[..., use]
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
    """(..., samples) squared slope in mV per sample, over 14 ms."""
    one = np.asarray(beats[..., 2:] - beats[..., :-2], np.float32)
    one *= one
    one *= 0.25 / 7
    two = one[..., 1:] + one[..., :-1]
    seven = two[..., 4:-1] + one[..., 6:]
    seven += two[..., :-5]
    seven += two[..., 2:-3]
    out = np.empty(beats.shape, np.float32)
    out[..., 4:-4] = seven
    out[..., :4], out[..., -4:] = seven[..., :1], seven[..., -1:]
    return out


def draw(
    rngs: Sequence[np.random.Generator],
    textures: Sequence[Texture],
    roots: Array,
    phases: NDArray[np.int8],
    beats: Array,
) -> F32:
    """(ECGs, leads, samples) mV at 500 Hz, each from its own generator.

    roots: (bands, leads, leads), Cholesky factors of the correlations; phases: (ECGs, samples); beats: (ECGs, leads,
    samples) mV of what the textures are for.
    """
    leads, count = beats.shape[1:]
    thin_size = int(next_fast_len(-(-(count + MARGIN) // THIN), real=True))
    size, thin_count = thin_size * THIN, -(-count // THIN)
    spectrum = _spectrum(rngs, np.stack([texture.power for texture in textures]), roots, size)

    def part(groups: Sequence[int], bins: int) -> NDArray[np.complex64]:
        """(groups, ECGs, leads, bins) of the spectrum, what is drawn with each."""
        out = np.zeros((len(groups), *spectrum.shape[:2], bins), np.complex64)
        for k, group in enumerate(groups):
            for columns in _columns(size)[group]:
                out[k, ..., columns] = spectrum[..., columns]
        return out

    steep = _steep(beats)
    beside = (phases == BESIDE).astype(np.float32)
    louder = np.stack([texture.louder.T for texture in textures], axis=1).astype(np.float32)
    slowest, slow, *quick = GROUPS
    # How long courses of loudness have been under way: otherwise their points were at the same samples in all ECGs.
    early = np.array([rng.integers(EARLIEST) for rng in rngs])
    courses = [_course(rngs, leads, count, group.burst) for group in (slowest, slow, quick[0])]
    unsteady = np.array([texture.unsteady for texture in textures], np.float32)[:, None, None]
    unsteady = unsteady * _course(rngs, leads, count, STEP)

    sd = np.float32(slowest.rest)
    sway = np.exp(sd * _between(courses[0], slowest.burst, THIN, early, thin_count) - sd**2)
    bursts = _bursts([slow], courses[1], THIN, early, thin_count)
    level = _between(unsteady, STEP, THIN, early, thin_count)
    power = np.exp(2 * _log_loud(louder[:1], level, bursts, _ways(steep[..., ::THIN])))
    loud = np.sqrt(uniform_filter1d(power, SMOOTH // THIN))
    louds = np.concatenate([sway[None], _levelled(loud, beside[:, ::THIN])])  # both of mean power 1
    back = np.linspace(0, 1, thin_size - thin_count, dtype=np.float32)  # they, too, return to their beginning
    louds = np.concatenate([louds, louds[..., -1:] * (1 - back) + louds[..., :1] * back], axis=-1)
    low = irfft(part((1, 2), thin_size // 2 + 1), thin_size)
    low *= louds
    evenly = part((0,), size // 2 + 1)[0]
    evenly[..., : thin_size // 2 + 1] += rfft(low[0] + low[1])  # it joins the sum of what hums evenly
    out: F32 = irfft(evenly, size)[..., :count]

    at = np.arange(0, count + 2 * QUICK, QUICK) - early[:, None] % QUICK
    at = np.minimum(np.maximum(at, 0), count - 1)[:, None]
    bursts = _bursts(quick, courses[2], QUICK, early, at.shape[2])
    level = np.take_along_axis(_between(unsteady, STEP, 1, early, count), at, axis=2)  # STEP is no multiple of QUICK
    logs = _log_loud(louder[1:], level, bursts, _ways(np.take_along_axis(steep, at, axis=2)))
    for k, log in enumerate(logs, start=3):
        fine = _mixed([log], _ramps(QUICK), early % QUICK, count)  # on straight lines
        noise = irfft(part((k,), size // 2 + 1)[0], size)[..., :count]
        noise *= _levelled(np.exp(fine, out=fine), beside)
        out += noise
    return out


def _spectrum(rngs: Sequence[np.random.Generator], power: Floats, roots: Array, size: int) -> NDArray[np.complex64]:
    """(ECGs, leads, size // 2 + 1) of noise, see ``draw``; power: (ECGs, bands, leads)."""
    low, share, bounds = _bins(size)
    leads = power.shape[2]
    words = -(-leads * low.size // 4)  # each for four
    which = np.stack([rng.integers(0, 2**64, words, np.uint64) for rng in rngs]).view(np.uint16)
    # Nothing is clipped, but it is faster so.
    apart = NORMAL.take(which[:, : leads * low.size], mode="clip").reshape(-1, leads, low.size)
    spectrum: NDArray[np.complex64] = np.empty_like(apart)
    # Of complex numbers: how their sums are taken does not depend on threads and processors.
    for root, (start, stop) in zip(roots.astype(np.complex64), pairwise(bounds), strict=True):
        np.matmul(root, apart[..., start:stop], out=spectrum[..., start:stop])
    log = power.transpose(0, 2, 1) * (0.5 * np.log(10.0)) + 0.25 * np.log((FS * size / 2) ** 2 / 4)
    log = log.astype(np.float32)
    gain = np.take(np.diff(log), low, axis=2)
    gain *= share
    gain += np.take(log, low, axis=2)
    spectrum *= np.exp(gain, out=gain)
    spectrum[..., 0] = 0.0
    return spectrum


def _log_loud(louder: F32, unsteady: F32, bursts: tuple[F32, F32], ways: tuple[Array, Array]) -> F32:
    """(groups, ECGs, leads, samples) logs of how loud their noise is. louder: (groups, ECGs, 2). Takes ``bursts`` for
    its own."""
    to_wave, to_stroke = ways
    log, in_waves = bursts
    log *= 1 - to_wave
    in_waves *= to_wave - np.minimum(to_stroke, 1)  # strokes come in no bursts
    log += in_waves
    for k, way in enumerate(ways):
        log += np.multiply(louder[..., k, None, None], way, out=in_waves)
    log += unsteady
    return log


def _levelled(loud: F32, beside: F32) -> F32:
    """(..., ECGs, leads, samples) with a mean square of 1 where ``beside`` (ECGs, samples) is 1: there the mean power
    is what a Texture's ``power`` says."""
    total = (loud * loud) @ beside[..., None]
    loud *= np.sqrt(np.where(total > 0, beside.sum(axis=1)[:, None, None] / np.maximum(total, 1e-30), 1.0))
    return loud


def _bursts(groups: Sequence[_Group], course: F32, every: int, early: Ints, count: int) -> tuple[F32, F32]:
    """(groups, ECGs, leads, count) logs of how loud bursts are at rest and in waves, at one of ``every`` samples.

    The groups' bursts are equally long. What half a second holds of them is always the same: that is for `unsteady`.
    """
    burst = groups[0].burst
    finer = np.repeat(course, 2, axis=-1)[..., :-1]  # bursts may be loudest between two points
    finer[..., 1::2] = np.float32(np.sqrt(0.5)) * (course[..., 1:] + course[..., :-1])
    sd = np.array([[g.rest for g in groups], [g.wave for g in groups]], np.float32)[..., None, None, None]
    power = uniform_filter1d(np.exp(2 * sd * finer), round(2 * STEP / burst))[..., ::2].copy()
    level = -0.5 * np.log(power, out=power)
    at_rest, in_waves = _between(sd * course, burst, every, early, count, level)
    return at_rest, in_waves


def _course(rngs: Sequence[np.random.Generator], leads: int, count: int, step: int) -> F32:
    """(ECGs, leads, points) standard normal, one every ``step`` of ``count`` samples, and some before and after them;
    half of the variance is all leads'."""
    # Four more: the last one's successor, and what it takes to be early.
    shape = leads + 1, count // step + 4 + 2 * _before(step)
    points = np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in rngs])
    return np.asarray(np.float32(np.sqrt(0.5)) * (points[:, :1] + points[:, 1:]))


def _before(step: int) -> int:
    """Points of a course before the first sample: half a second of them, for `_bursts` to know how loud it was."""
    return -(-STEP // step)


def _between(course: F32, step: int, every: int, early: Ints, count: int, level: F32 | None = None) -> F32:
    """(..., ECGs, leads, count) of a course (..., points), one every ``step`` samples, at one of ``every`` samples, of
    the variance that it has at its points. ``level`` (..., points) is added, on straight lines between its points."""
    ramps = _ramps(step // every)
    weights = ramps / np.sqrt((ramps**2).sum(axis=0))
    first = (_before(step) * step + early % step) // every
    if level is None:
        return _mixed([course], weights, first, count)
    return _mixed([course, level], np.concatenate([weights, ramps]), first, count)


def _mixed(parts: Sequence[F32], weights: F32, first: Ints, count: int) -> F32:
    """(..., ECGs, leads, count) of courses (..., points), with weights (2 courses, samples between points) of the point
    before and the point after. ``first`` (ECGs,): the sample after the courses' first point with which to begin."""
    ends = np.stack([end for part in parts for end in (part[..., :-1], part[..., 1:])], axis=-1)
    whole: F32 = (ends.reshape(-1, len(weights)) @ weights).reshape(*parts[0].shape[:-1], -1)
    return np.stack([whole[..., k, :, i : i + count] for k, i in enumerate(first.tolist())], axis=-3)


@lru_cache(maxsize=16)
def _ramps(step: int) -> F32:
    """(2, step) how near the samples from a point to the next are to the one and the other."""
    share = np.arange(step, dtype=np.float32) / np.float32(step)
    return np.stack([1 - share, share])


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
