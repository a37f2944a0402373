"""Delineate: where the waves of an ECG begin and end, measured as electrocardiographs do, on its median beat.

QRS complexes are found from all leads together. Those of the dominant shape are aligned by cross-correlation, freed of
their baseline and reduced to one median beat. On it the waves' bounds are global: the earliest onset to the latest
offset in any lead, found where the velocity of the heart's vector over all leads (mV/s) rises from its resting level
and returns to it. That is how standard programs measure, and the recommendation of Kligfield et al., Circulation
115:1306 (2007). ``benchmarks/delineate.py`` compares with the marks of experts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_dilation,
    gaussian_filter1d,
    maximum_filter1d,
    median_filter,
    minimum_filter1d,
    uniform_filter1d,
)
from scipy.signal import butter, find_peaks, sosfiltfilt

from ecg_image_kit.errors import EcgError, RecordError
from ecg_image_kit.record import STANDARD_LEADS, Record

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

FS = 500.0  # Hz, at which everything is measured; other records are resampled
BEFORE, AFTER = 0.42, 0.72  # s, of the median beat before and after R
LEAST = 2.0  # s; shorter records may hold a beat, but no rate
FLAT = 0.02  # mV; a lead whose QRS spans less is not used
ALIKE = 0.85  # correlation over all leads of a beat's QRS with that of the dominant ones


@dataclass(frozen=True, eq=False)
class Delineation:
    """What is measured of a record. NaN: not there (P in fibrillation) or not to be told.

    Attributes:
        leads: the leads measured; the augmented and third limb leads are added where I and II are there.
        r_peaks: (beats,) s; of all beats that were found.
        kinds: one letter per beat: "N" of the dominant shape, "S" premature but of that shape, "V" of another shape.
        beat: (leads, samples) mV at 500 Hz; median of the "N" beats, 0 mV at its QRS onset.
        beat_start: s relative to R of the median beat's first sample (negative).
        p_onset, p_offset, qrs_onset, qrs_offset, t_offset: s relative to R.
        hr: beats per minute, of the mean RR interval. rr_sd: ms, of the RR intervals.
        pr, qrs, qt, qtc: ms; QTc after Fridericia (QT over the cube root of RR in s).
        axis: degrees, of the QRS in the frontal plane, from its areas in I and aVF; -180 to 180.
        r, s, t: (leads,) mV from the level at the QRS onset: the highest point of QRS (at least 0), the lowest at or
            after it (at most 0; the lowest of all in a QS complex), the T wave's extreme, signed.
        st: (leads,) mV, 60 ms after the QRS offset.
        p: (leads,) mV, the P wave's extreme, signed.
    """

    leads: tuple[str, ...]
    r_peaks: Floats
    kinds: str
    beat: Floats
    beat_start: float
    p_onset: float
    p_offset: float
    qrs_onset: float
    qrs_offset: float
    t_offset: float
    hr: float
    rr_sd: float
    axis: float
    r: Floats
    s: Floats
    t: Floats
    st: Floats
    p: Floats

    @property
    def pr(self) -> float:
        return 1000 * (self.qrs_onset - self.p_onset)

    @property
    def qrs(self) -> float:
        return 1000 * (self.qrs_offset - self.qrs_onset)

    @property
    def qt(self) -> float:
        return 1000 * (self.t_offset - self.qrs_onset)

    @property
    def qtc(self) -> float:
        return float(self.qt * (self.hr / 60.0) ** (1 / 3))

    @property
    def qrs_onsets(self) -> Floats:
        """(beats,) s; of the ectopic ones only roughly, for the dominant beat's onset is taken."""
        return self.r_peaks + self.qrs_onset


def delineate(record: Record) -> Delineation:
    """Measure a record of any leads (best 8 or 12), at least 100 Hz and 2 s; NaN marks what is not known.

    Raises RecordError if it is too short, too slow or flat, or if no two beats are to be found.
    """
    leads, mv = _prepare(record)
    known = np.isfinite(mv)
    x = _without_spikes(_fill(mv, known))
    r = _detect(x, known)
    if r.size < 2:
        raise RecordError(
            f"record {record.name!r}: {r.size} beats found in {record.duration:.3g} s; expected at least 2. "
            "Look at it: it may hold noise only."
        )
    smooth = gaussian_filter1d(x, 0.002 * FS, axis=1)
    r = _refine(smooth, known, r)
    flat = _level(x, known, r, -0.11, -0.07)
    r, same = _cluster(x - flat, known, r)
    rr = np.diff(r) / FS
    kinds = _kinds(same, rr)
    use = kinds == "N"
    beat, _ = _median_beat(x - flat, known, r[use], float(np.median(rr)))
    onset, offset = _qrs(beat)
    # Once the onset is known, so is where each beat's own level is best taken.
    flat = _level(x, known, r, onset - 0.016, onset - 0.002)
    beat, stack = _median_beat(x - flat, known, r[use], float(np.median(rr)))
    onset, offset = _qrs(beat)
    beat = beat - _span(beat, onset - 0.012, onset).mean(axis=1, keepdims=True)
    t_offset = _t(beat, onset, offset, float(np.median(rr)))
    p_onset, p_offset = _p(beat, stack, onset, t_offset, float(np.median(rr)))
    return _measure(leads, r, kinds, beat, (p_onset, p_offset, onset, offset, t_offset), rr)


def normal(d: Delineation) -> bool:
    """Whether an adult's ECG passes simple rules of normality.

    Rate 50 to 100 / min; PR 115 to 210 ms; QRS below 120 ms; QTc 350 to 460 ms; axis -30 to 100 degrees (limits of
    Surawicz et al., Circulation 119:e235, 2009; Rautaharju et al., Circulation 119:e241, 2009; Hancock et al.,
    Circulation 119:e251, 2009, with a little room for the measurement); P waves; RR intervals alike, at most one beat
    in ten ectopic; ST at most 0.12 mV above and 0.08 mV below the level at the QRS onset (0.35 mV above in V1 to V4,
    where healthy young men have as much: Thygesen et al., Circulation 138:e618, 2018); T upright in I, II, V4 to V6
    and not deep in V1 to V3; R taller in V4 than in V1 and present in V3 and V4; Sokolow-Lyon voltage below 4.5 mV
    (3.5 mV is for adults above 40). The answer is for shares of many ECGs; it is no diagnosis.
    """
    if d.kinds.count("N") < 0.9 * len(d.kinds) or not np.isfinite((d.pr, d.qrs, d.qt, d.axis)).all():
        return False
    r, s, t, st = ({lead: float(v) for lead, v in zip(d.leads, of, strict=True)} for of in (d.r, d.s, d.t, d.st))
    inner = ("V1", "V2", "V3", "V4")
    high = max((v for lead, v in st.items() if lead != "aVR" and lead not in inner), default=0.0)
    chest = max((st[lead] for lead in inner if lead in st), default=0.0)
    low = min((v for lead, v in st.items() if lead != "aVR"), default=0.0)
    rules = (
        50 <= d.hr <= 100,
        d.rr_sd <= 0.15 * 60_000 / d.hr,
        115 <= d.pr <= 210,
        d.qrs < 120,
        350 <= d.qtc <= 460,
        -30 <= d.axis <= 100,
        high <= 0.12 and chest <= 0.35 and low >= -0.08,
        all(t[lead] > 0.03 for lead in ("I", "II", "V4", "V5", "V6") if lead in t),
        all(t[lead] > -0.3 for lead in ("V1", "V2", "V3") if lead in t),
        not {"V1", "V4"} <= r.keys() or r["V4"] > r["V1"],
        all(r[lead] >= 0.08 for lead in ("V3", "V4") if lead in r),
        not {"V1", "V5"} <= r.keys() or r["V5"] - s["V1"] < 4.5,
    )
    return all(rules)


# Preparing


def _prepare(record: Record) -> tuple[tuple[str, ...], Floats]:
    """Leads and (leads, samples) mV at 500 Hz; those without a signal are left out."""
    if record.fs < 100 or record.duration < LEAST:
        raise RecordError(
            f"record {record.name!r} has {record.duration:.3g} s at {record.fs:g} Hz; expected at least {LEAST:g} s "
            "at 100 Hz."
        )
    if {"I", "II"} <= set(record.leads):
        record = record.derive_limb_leads()
    record = record.resample(FS)
    mv = np.asarray(record.mv, np.float64)
    share = np.isfinite(mv).mean(axis=1)
    spans = [float(np.ptp(row[np.isfinite(row)])) if part > 0.02 else 0.0 for row, part in zip(mv, share, strict=True)]
    keep = [k for k, span in enumerate(spans) if span > FLAT]
    if not keep:
        raise RecordError(
            f"record {record.name!r} is flat: no lead spans {FLAT:g} mV. Check its units (mV) and its signals."
        )
    if max(spans) > 100:
        raise RecordError(
            f"record {record.name!r} spans {max(spans):.3g} mV; expected millivolts, a few of them. Check its units."
        )
    order = sorted(keep, key=lambda k: STANDARD_LEADS.index(n) if (n := record.leads[k]) in STANDARD_LEADS else 99)
    return tuple(record.leads[k] for k in order), mv[order]


def _fill(mv: Floats, known: Bools) -> Floats:
    x = mv.copy()
    t = np.arange(x.shape[1])
    for row, ok in zip(x, known, strict=True):
        if not ok.all():
            row[~ok] = np.interp(t[~ok], t[ok], row[ok])
    return x


def _without_spikes(x: Floats) -> Floats:
    """Pacemaker spikes bridged by straight lines: they are no part of any wave, and too steep to measure beside.

    A spike is what a median of 10 ms takes away, if that is 40 % of the beats' vector and lasts a few samples.
    """
    soft = median_filter(x, (1, 5), mode="nearest")
    rest = np.sqrt(((x - soft) ** 2).sum(axis=0))
    size = np.sqrt(((soft - np.median(soft, axis=1, keepdims=True)) ** 2).sum(axis=0))
    spike = rest > max(0.4 * float(np.percentile(size, 99.5)), 0.4)
    if not spike.any() or spike.mean() > 0.02:
        return x
    spike = binary_dilation(spike, iterations=4)
    return _fill(x, np.broadcast_to(~spike, x.shape))


# Finding beats


def _detect(x: Floats, known: Bools) -> NDArray[np.intp]:
    """Samples of the QRS complexes, roughly: peaks of the energy between 8 and 30 Hz over all leads.

    The band is that of Benitez et al. and Elgendi, PLoS ONE 8:e73557 (2013).
    """
    sos = butter(2, (8.0, 30.0), "bandpass", fs=FS, output="sos")
    y = np.asarray(sosfiltfilt(sos, x, axis=1, padlen=min(x.shape[1] - 1, int(0.4 * FS))))
    # A filled stretch has kinks at its ends that are no beats.
    y[~known | (minimum_filter1d(known.astype(np.uint8), int(0.1 * FS), axis=1, mode="nearest") == 0)] = 0.0
    sizes = []
    for row, ok in zip(np.abs(y), known, strict=True):
        high, mid = np.percentile(row[ok], (98, 50)) if ok.any() else (0.0, 0.0)
        # Leads weigh alike, but a lead of noise has no peaks above its usual level.
        sizes.append(min(1.0, high / (8 * mid + 1e-9)) ** 2 / (high + 0.02))
    weighed = y * np.array(sizes)[:, None]
    present = np.maximum(known.sum(axis=0), 1)
    energy = np.sqrt(np.maximum(uniform_filter1d((weighed**2).sum(axis=0) / present, int(0.07 * FS)), 0.0))
    tops = maximum_filter1d(energy, int(1.6 * FS), mode="nearest")
    usual = float(np.median(tops))
    if usual <= 0:
        return np.zeros(0, np.intp)
    # The level follows the record slowly (half of it), so that a burst of noise hides few beats.
    level = 0.32 * np.sqrt(np.minimum(uniform_filter1d(tops, int(2 * FS)), 2.5 * usual) * usual)
    at, _ = find_peaks(energy, height=0.4 * level, distance=int(0.2 * FS))
    heights = energy[at]
    strong = list(at[heights > level[at]])
    kept: list[int] = []
    for peak in strong:
        if kept and peak - kept[-1] < 0.36 * FS:  # a T wave, unless it is nearly as strong
            if energy[peak] < 0.55 * energy[kept[-1]]:
                continue
            if energy[kept[-1]] < 0.45 * energy[peak]:
                kept[-1] = int(peak)
                continue
        kept.append(int(peak))
    # Where a beat is missing, a weaker peak will do.
    if len(kept) > 2:
        usual_rr = float(np.median(np.diff(kept)))
        for a, b in list(pairwise(kept)):
            if b - a > 1.6 * usual_rr:
                inside = at[(at > a + 0.36 * FS) & (at < b - 0.36 * FS)]
                if inside.size:
                    kept.append(int(inside[np.argmax(energy[inside])]))
    return np.array(sorted(kept), np.intp)


def _refine(x: Floats, known: Bools, r: NDArray[np.intp]) -> NDArray[np.intp]:
    """Each beat's R: the largest vector (after its mean) within 70 ms."""
    reach = int(0.07 * FS)
    out = []
    for at in r:
        a, b = max(at - reach, 0), min(at + reach + 1, x.shape[1])
        part = x[:, a:b] - x[:, a:b].mean(axis=1, keepdims=True)
        part = np.where(known[:, a:b], part, 0.0)
        out.append(a + int(np.argmax((part**2).sum(axis=0))))
    return np.unique(np.array(out, np.intp))


def _level(x: Floats, known: Bools, r: NDArray[np.intp], start: float, stop: float) -> Floats:
    """(leads, samples) baseline: straight lines through each beat's mean from ``start`` to ``stop`` s after R."""
    a, b = round(start * FS), max(round(stop * FS), round(start * FS) + 1)
    n = x.shape[1]
    index = np.clip(r[:, None] + np.arange(a, b), 0, n - 1)
    inside = (r + a >= 0) & (r + b <= n)
    values = x[:, index].mean(axis=2)
    ok = known[:, index].all(axis=2) & inside
    out = np.empty_like(x)
    t = np.arange(n)
    for row, value, good, level in zip(x, values, ok, out, strict=True):
        if good.any():
            level[:] = np.interp(t, r[good] + (a + b) / 2, value[good])
        else:
            level[:] = np.median(row)
    return out


def _windows(x: Floats, known: Bools, r: NDArray[np.intp], a: int, b: int) -> Floats:
    """(beats, leads, b - a) around each R; NaN where unknown."""
    n = x.shape[1]
    index = r[:, None] + np.arange(a, b)
    inside = (index >= 0) & (index < n)
    index = np.clip(index, 0, n - 1)
    out = np.where(known[:, index] & inside[None], x[:, index], np.nan)
    return np.ascontiguousarray(out.transpose(1, 0, 2))


def _cluster(x: Floats, known: Bools, r: NDArray[np.intp]) -> tuple[NDArray[np.intp], Bools]:
    """R of all beats aligned with the dominant ones' template, and which beats are of that shape."""
    a, b, most = -int(0.09 * FS), int(0.13 * FS), int(0.05 * FS)
    wide = _windows(x, known, r, a - most, b + most)
    seen = (np.isfinite(wide).mean(axis=2) > 0.7).astype(np.float64)  # (beats, leads)
    wide = np.where((seen[:, :, None] > 0) & np.isfinite(wide), wide, 0.0)
    wide -= np.median(wide, axis=2, keepdims=True)
    core = wide[:, :, most:-most]
    some = np.unique(np.linspace(0, r.size - 1, min(r.size, 60)).astype(int))  # of hours, 60 beats are enough
    flat = core[some].reshape(some.size, -1)
    power = (core[some] ** 2).sum(axis=2)
    both = np.sqrt(
        np.maximum((power @ seen[some].T) * (seen[some] @ power.T), 0.0)
    )  # over the leads that two beats share
    likeness = np.where(both > 0, flat @ flat.T / np.maximum(both, 1e-12), 1.0)
    friends = (likeness > ALIKE) & (power.sum(axis=1) > 0)  # one cut off by the record's end says nothing
    # Many friends make a beat the model. In bigeminy both kinds have half: the premature kind is not the model.
    before = np.diff(r, prepend=r[0])[some] / max(float(np.median(np.diff(r))), 1.0)
    before[0] = 1.0
    votes = np.array(
        [row.sum() + 0.5 * row.size * min(float(before[row].mean()), 1.3) if row.any() else 0.0 for row in friends]
    )
    votes += np.where(power.sum(axis=1) > 0, 0.1 * likeness.sum(axis=1) / some.size, -np.inf)
    chosen = some[friends[int(np.argmax(votes))]]
    moved = np.array(r)
    best = np.zeros(r.size)
    template = _template(core[chosen], seen[chosen])
    length = template.shape[1]
    for _ in range(2):
        power = (template**2).sum(axis=1)
        model = wide if power.all() else wide[:, power > 0]
        own = np.cumsum(np.pad((model**2).sum(axis=1), ((0, 0), (1, 0))), axis=1)
        size = np.sqrt(np.maximum((own[:, length:] - own[:, :-length]) * (seen @ power)[:, None], 0.0))
        flat = template[power > 0].ravel()
        product = np.stack([model[:, :, k : k + length].reshape(r.size, -1) @ flat for k in range(size.shape[1])], 1)
        # A beat that shares no lead with the template may be one of them.
        scores = np.where(size > 0, product / np.maximum(size, 1e-9), 1.0 - 1e-3 * np.abs(np.arange(-most, most + 1)))
        lag = np.argmax(scores, axis=1)
        best = scores[np.arange(r.size), lag]
        alike = best > ALIKE
        if alike.sum() < 2:
            break
        few = np.flatnonzero(alike)[:200]
        template = _template(np.stack([wide[k, :, lag[k] : lag[k] + length] for k in few]), seen[few])
        moved = r + np.where(alike, lag - most, 0)
    same = best > ALIKE
    if not same.any():
        same[chosen] = True
    # All beats keep one R: where the template's vector is largest.
    top = int(np.argmax((template**2).sum(axis=0))) + a
    moved = np.where(same, np.clip(moved + top, 0, x.shape[1] - 1), moved)
    keep = np.concatenate([[True], np.diff(moved) > 0.12 * FS])
    return moved[keep].astype(np.intp), same[keep]


def _template(parts: Floats, seen: Floats) -> Floats:
    """(leads, samples) median of (beats, leads, samples) over the beats where the lead is known; 0 where none is."""
    if seen.all():
        return np.asarray(np.median(parts, axis=0))
    return _nanmedian(np.where(seen[:, :, None] > 0, parts, np.nan))


def _kinds(same: Bools, rr: Floats) -> NDArray[np.str_]:
    kinds = np.where(same, "N", "V")
    usual = float(np.median(rr))
    quiet = np.abs(rr - usual) < 0.12 * usual
    if rr.size >= 4 and quiet.mean() >= 0.5:  # in fibrillation every beat is early or late: none is premature
        for k in range(1, kinds.size):
            after = rr[k] if k < rr.size else np.inf
            if kinds[k] == "N" and rr[k - 1] < 0.8 * usual and after > 0.95 * usual and kinds[k - 1] == "N":
                kinds[k] = "S"
    if (kinds == "N").sum() < 1:
        kinds[same] = "N"
    return kinds


def _median_beat(x: Floats, known: Bools, r: NDArray[np.intp], rr: float) -> tuple[Floats, Floats]:
    """(leads, samples) median beat, and the (beats, leads, samples) it is of."""
    a, b = -round(BEFORE * FS), round(AFTER * FS)
    if r.size > 400:
        r = r[np.linspace(0, r.size - 1, 400).astype(int)]
    stack = _windows(x, known, r, a, b)
    complete = np.isfinite(stack).all(axis=(1, 2))
    with np.errstate(all="ignore"):
        beat = np.median(stack, axis=0) if complete.all() else _nanmedian(stack)
    return beat, stack


def _nanmedian(stack: Floats) -> Floats:
    count = np.isfinite(stack).sum(axis=0)
    ranked = np.sort(stack, axis=0)  # NaN last
    low = np.maximum((count - 1) // 2, 0)[None]
    high = np.minimum(count // 2, stack.shape[0] - 1)[None]
    value = 0.5 * (np.take_along_axis(ranked, low, 0) + np.take_along_axis(ranked, high, 0))[0]
    value[count == 0] = np.nan
    # Where no beat is known (a lead's window at the ends of the record): as its nearest known sample.
    for row in value:
        ok = np.isfinite(row)
        row[~ok] = np.interp(np.flatnonzero(~ok), np.flatnonzero(ok), row[ok]) if ok.any() else 0.0
    out: Floats = value
    return out


# Measuring the median beat


def _index(at: float) -> int:
    return round((at + BEFORE) * FS)


def _time(index: float) -> float:
    return index / FS - BEFORE


def _span(beat: Floats, start: float, stop: float) -> Floats:
    a = max(_index(start), 0)
    return beat[:, a : max(_index(stop), a + 1)]


def _velocity(beat: Floats, sigma: float) -> Floats:
    """(samples,) mV/s: length of the derivative over all leads of the beat smoothed by ``sigma`` s."""
    d = gaussian_filter1d(beat, sigma * FS, axis=1, order=1, mode="nearest") * FS
    v: Floats = np.sqrt((d**2).sum(axis=0))
    return v


def _run(below: Bools, start: int, step: int, length: int, stop: int) -> int | None:
    """First sample, going by ``step`` from ``start``, of ``length`` in a row below; None if none to ``stop``."""
    count = 0
    k = start
    while (k - stop) * step <= 0 and 0 <= k < below.size:
        count = count + 1 if below[k] else 0
        if count == length:
            return k - step * (length - 1)
        k += step
    return None


@dataclass(frozen=True)
class Tuning:
    """Thresholds, set on a quarter of LUDB (its records with odd numbers up to 99)."""

    qrs_sigma: float = 0.005  # s
    on: float = 0.04  # of the velocity's peak
    off: float = 0.02
    core: float = 0.25  # of that peak: QRS for sure
    reach: float = 0.08  # s, from there to the offset at most
    slack: float = 1.5  # times the ST segment's own velocity
    on_shift: float = -0.009  # s
    off_shift: float = 0.0
    p_on_sigma: float = 0.008
    p_off_sigma: float = 0.010
    p_core: float = 0.5
    p_on: float = 0.18
    p_off: float = 0.12
    p_on_shift: float = -0.001
    p_off_shift: float = -0.009
    t_sigma: float = 0.011
    t_reach: float = 1.0  # of the way from T's steepest descent to the tangent's foot
    t_shift: float = 0.018


TUNING = Tuning()


def _qrs(beat: Floats, tuning: Tuning | None = None) -> tuple[float, float]:
    """QRS onset and offset, s after R."""
    c = tuning or TUNING
    v = _velocity(beat, c.qrs_sigma)
    r = _index(0.0)
    a, b = r - int(0.08 * FS), r + int(0.1 * FS)
    peak = float(v[a:b].max())
    mean = uniform_filter1d(v, int(0.02 * FS))
    first, last = r - int(0.14 * FS), r + int(0.22 * FS)
    rest = float(mean[first : r - int(0.02 * FS)].min())
    threshold = rest + c.on * (peak - rest)
    left = a + int(np.flatnonzero(v[a:b] > 0.4 * peak)[0])
    at = _run(v < threshold, left, -1, int(0.014 * FS), first)
    onset = at if at is not None else first + int(np.argmin(mean[first:left]))
    right = a + int(np.flatnonzero(v[a:b] > c.core * peak)[-1])
    last = min(last, right + int(c.reach * FS))
    rest = float(mean[right : last + 1].min())
    threshold = c.slack * rest + c.off * (peak - rest)
    at = _run(v < threshold, right, 1, int(0.014 * FS), last)
    offset = at if at is not None else right + int(np.argmin(mean[right : last + 1]))
    return _time(onset) + c.on_shift, _time(offset) + c.off_shift


def _p(
    beat: Floats, stack: Floats, onset: float, t_offset: float, rr: float, tuning: Tuning | None = None
) -> tuple[float, float]:
    """P onset and offset, s after R; NaN without a P wave."""
    c = tuning or TUNING
    before = t_offset - rr if np.isfinite(t_offset) else -BEFORE  # where the T wave before it ends
    start = max(-BEFORE + 0.01, onset - 0.32, min(before, onset - 0.14))
    stop = onset - 0.012
    a, b = max(_index(start), 0), _index(stop)
    if b - a < int(0.08 * FS):
        return np.nan, np.nan
    soft = gaussian_filter1d(beat, 0.006 * FS, axis=1, mode="nearest")[:, a:b]
    # The line under the wave: through the level at the QRS onset; a T wave before it may still be falling.
    line = soft - soft[:, -3:].mean(axis=1, keepdims=True)
    size = np.sqrt((line**2).mean(axis=0))
    peaks, info = find_peaks(size, prominence=0.008)
    if not peaks.size:
        return np.nan, np.nan
    # The last clear peak: an earlier one is the T wave's (or U).
    good = peaks[info["prominences"] > 0.35 * info["prominences"].max()]
    top = int(good[-1]) if good.size else int(peaks[-1])
    height = float(size[top])
    wave = slice(max(top - int(0.05 * FS), 0), top + int(0.05 * FS))
    if height < 0.012 or not _repeats(stack[:, :, a:b], wave):
        return np.nan, np.nan
    v = _velocity(beat, c.p_on_sigma)[a:b]
    near = slice(max(top - int(0.07 * FS), 0), min(top + int(0.07 * FS), v.size))
    peak = float(v[near].max())
    up = near.start + int(np.flatnonzero(v[near] > c.p_core * peak)[0])
    low = max(up - int(0.09 * FS), 0)
    mean = uniform_filter1d(v, int(0.016 * FS))
    rest = float(mean[low : up + 1].min())
    at = _run(v < rest + c.p_on * (peak - rest), up, -1, int(0.012 * FS), low)
    first = at if at is not None else low + int(np.argmin(mean[low : up + 1]))
    v = _velocity(beat, c.p_off_sigma)[a:b]
    near = slice(top, min(top + int(0.08 * FS), v.size))
    peak = float(v[near].max())
    down = near.start + int(np.flatnonzero(v[near] > c.p_core * peak)[-1])
    high = min(down + int(0.09 * FS), v.size - 1)
    mean = uniform_filter1d(v, int(0.016 * FS))
    rest = float(mean[down : high + 1].min())
    at = _run(v < rest + c.p_off * (peak - rest), down, 1, int(0.010 * FS), high)
    last = at if at is not None else down + int(np.argmin(mean[down : high + 1]))
    return _time(a + first) + c.p_on_shift, min(_time(a + last) + c.p_off_shift, onset)


def _repeats(stack: Floats, wave: slice) -> bool:
    """Whether a wave is in every beat: fibrillatory waves survive the median of few beats, but no two are alike."""
    part = np.nan_to_num(stack[:, :, wave])
    if part.shape[0] < 3:
        return True
    part = gaussian_filter1d(part, 0.008 * FS, axis=2, mode="nearest")
    part = part - part.mean(axis=2, keepdims=True)
    flat = part.reshape(part.shape[0], -1)
    total = flat.sum(axis=0)
    # Each beat against the mean of the others: their own noise has no share in it.
    others = (total - flat) / (flat.shape[0] - 1)
    likeness = (flat * others).sum(axis=1) / (np.linalg.norm(flat, axis=1) * np.linalg.norm(others, axis=1) + 1e-9)
    return float(np.median(likeness)) > 0.4


def _t(beat: Floats, onset: float, offset: float, rr: float, tuning: Tuning | None = None) -> float:
    """T offset, s after R: where the tangent at the last steep descent of the leads' vector meets its resting level.

    The tangent is Lepeschkin and Surawicz's, Circulation 6:378 (1952), on the vector's length instead of one lead.
    """
    c = tuning or TUNING
    start = offset + 0.06
    stop = min(AFTER - 0.02, onset + rr - 0.08, onset + 0.62)
    a, b = _index(start), _index(stop)
    if b - a < int(0.08 * FS):
        return np.nan
    soft = gaussian_filter1d(beat, c.t_sigma * FS, axis=1, mode="nearest")
    # The resting level after T is where the beat is quietest, not where QRS began.
    v = _velocity(beat, c.t_sigma)
    quiet = uniform_filter1d(v, int(0.04 * FS))
    guess = onset + min(0.40 * np.sqrt(max(rr, 0.3)), 0.5)
    m = min(max(_index(guess), a), b - int(0.03 * FS))
    calm = m + int(np.argmin(quiet[m:b]))
    level = soft[:, max(calm - 10, 0) : calm + 10].mean(axis=1, keepdims=True)
    length = np.sqrt(((soft - level) ** 2).mean(axis=0))
    part = length[a : calm + 1]
    if part.size < 20 or float(part.max()) < 0.015:
        return np.nan
    peaks, _ = find_peaks(np.concatenate([[0.0], part, [0.0]]), prominence=0.1 * float(part.max()))
    peaks = peaks - 1
    if not peaks.size:
        return np.nan
    centre = np.array([_time(a + p) - onset for p in peaks])
    usual = 0.30 * np.sqrt(max(rr, 0.3))
    weight = part[peaks] * np.exp(-0.5 * ((centre - usual) / 0.12) ** 2)
    top = int(peaks[np.argmax(weight)])
    slope = np.gradient(part) * FS
    k = top + int(np.argmin(slope[top : top + int(0.16 * FS)]))  # not the next P wave's
    if slope[k] >= 0:
        return np.nan
    foot = k + c.t_reach * float(part[k] / -slope[k]) * FS
    return float(min(_time(a + foot) + c.t_shift, AFTER))


def _measure(
    leads: tuple[str, ...],
    r: NDArray[np.intp],
    kinds: NDArray[np.str_],
    beat: Floats,
    bounds: tuple[float, float, float, float, float],
    rr: Floats,
) -> Delineation:
    p_onset, p_offset, onset, offset, t_offset = bounds
    complex_ = _span(beat, onset, offset)
    tallest = complex_.argmax(axis=1)
    high = np.maximum(complex_.max(axis=1), 0.0)
    after = np.where(np.arange(complex_.shape[1]) >= tallest[:, None], complex_, np.inf).min(axis=1)
    low = np.minimum(np.where(high < 0.03, complex_.min(axis=1), after), 0.0)
    end = t_offset if np.isfinite(t_offset) else min(offset + 0.3, AFTER)
    nothing = np.full(len(leads), np.nan)
    has_p = np.isfinite(p_onset)
    index = {lead: k for k, lead in enumerate(leads)}
    axis = np.nan
    if {"I", "aVF"} <= index.keys():
        area = complex_.sum(axis=1)
        axis = float(np.rad2deg(np.arctan2(2 * area[index["aVF"]], np.sqrt(3) * area[index["I"]])))
    return Delineation(
        leads=leads,
        r_peaks=r / FS,
        kinds="".join(kinds.tolist()),
        beat=beat,
        beat_start=-round(BEFORE * FS) / FS,
        p_onset=p_onset,
        p_offset=p_offset,
        qrs_onset=onset,
        qrs_offset=offset,
        t_offset=t_offset,
        hr=60.0 / float(rr.mean()),
        rr_sd=1000 * float(rr.std()),
        axis=axis,
        r=high,
        s=low,
        t=_extreme(_span(beat, offset + 0.04, end)),
        st=_span(beat, offset + 0.056, offset + 0.064).mean(axis=1),
        p=_extreme(_span(beat, p_onset, p_offset)) if has_p else nothing,
    )


def _extreme(part: Floats) -> Floats:
    at = np.abs(part).argmax(axis=1)
    out: Floats = np.take_along_axis(part, at[:, None], axis=1)[:, 0]
    return out


def try_delineate(record: Record) -> Delineation | None:
    """As ``delineate``, or None where it cannot be done."""
    try:
        return delineate(record)
    except EcgError:
        return None
