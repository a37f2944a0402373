"""fit_beats: learn the model of synth.beats from ECG records, in minutes on one core.

python -m synth.fit_beats --data ptbxl:PTBXL_ROOT --out weights
python -m synth.fit_beats --data ptbxl:PTBXL_ROOT@:-300 --also wfdb:OTHER --out weights

Writes ``beats.npz`` and its card ``beats.json`` to --out. Records need I, II and V1 to V6, 5 s at 100 Hz or more.
Labels (see synth.labels), sex and age are used where a record has them; the others teach shape and rhythm all the same.
ECGs will be like those of --data; those of --also, of other people and recorders, help to learn what ECGs have in
common.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, idct
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from scipy.optimize import minimize
from scipy.signal import detrend
from tqdm import tqdm

from ecg_image_kit import __version__
from ecg_image_kit.command import command
from ecg_image_kit.errors import EcgError, RecordError, UsageError
from ecg_image_kit.record import Record, atomic_write
from ecg_image_kit.sources.parts import open_part

from . import recorder, rhythm, texture
from .beats import (
    DENSITY,
    ECTOPIC_SPAN,
    FIRST,
    FLOORS,
    FORMAT,
    KINDS,
    LEAST_DETAIL,
    MAIN,
    MINOR,
    NAMES,
    PARTS,
    SHAPES,
    Beats,
    Floats,
    _features,
    _logistic,
    clocks,
    sized,
)
from .condition import CLASSES, LEADS8, Condition
from .delineate import Delineation, delineate
from .density import fit_density, from_normal, quantiles, to_normal
from .labels import classes_of
from .morphology import SAMPLES, lay, split, to_clock, without_p

FS = 500.0
LONGEST = 10.0  # s, of which a record is described
WINDOWS = 6  # of that length at most that a longer record is cut into
LEAST_RECORDS = 30
FARTHEST = 1.0  # samples that a beat may lie beside where delineation has it
GAINS = (0.3, 2.0)  # that a beat may have; what is beyond is an artefact
USUAL_PR = 0.16  # s; stands for the P wave's place where there is none
# Of the spread that components of shapes and texture have, given those before: a few thousand records leave open what
# more would tell, and what is drawn as wide as that lies too seldom among real ones (density 0.75).
COOL = 0.92
CORNERS = {"p": 4.0, "qrs": 8.0, "t": 6.0}  # half waves to the piece, see _shape_components
SMOOTH, ROUGH = 2.0, 0.012  # samples on the clock and mV, of ectopic beats
UNCALIBRATED = ("log rr", "chain", "ectopic", "early")


@dataclass(frozen=True, eq=False)
class Example:
    """A real record's traits. row: (len(NAMES),). shape: (8, SAMPLES) mV. power: (bands, 8). likeness: of the leads per
    band. ectopic: (8, SAMPLES) mV of its ectopic beats, or None; coupling of those, NaN without."""

    row: Floats
    kind: int
    shape: Floats
    power: Floats
    likeness: Floats
    straight: float
    ectopic: Floats | None
    coupling: float
    classes: frozenset[str]
    female: float
    age: float


def describe(record: Record) -> Example:
    """What the model learns from one record. Raises RecordError if it cannot be told."""
    if not {"I", "II"} <= set(record.leads):
        record = record.derive_limb_leads()
    ecg = record.select(LEADS8).cut(0.0, LONGEST).resample(FS)
    if np.isnan(ecg.mv).any():
        raise RecordError(
            f"record {record.name!r} has {int(np.isnan(ecg.mv).sum())} unknown samples (NaN); expected none in I, II "
            "and V1 to V6. Leave it out, or cut it."
        )
    if ecg.duration < 5.0:
        raise RecordError(f"record {record.name!r} has {ecg.duration:.3g} s; expected 5 s or more.")
    spans = np.ptp(ecg.mv, axis=1)
    if float(np.median(spans)) > 20 or float(spans.min()) < 0.02:
        raise RecordError(
            f"record {record.name!r}: leads span {spans.min():.3g} to {spans.max():.3g} mV; expected 0.02 to 20 mV. "
            "Check its units."
        )
    d = delineate(ecg)
    usual = np.array([kind != "V" for kind in d.kinds])
    if not np.isfinite(d.t_offset) or usual.sum() < 3 or usual.mean() < 0.5 or not 25 < d.hr < 230:
        raise RecordError(
            f"record {record.name!r}: {usual.sum()} usual beats of {usual.size}, T until {d.t_offset:.3g} s; "
            "expected 3 usual ones or more, half of all, and a T wave. Look at it."
        )
    if float(np.abs(d.beat).max()) > 8:
        raise RecordError(f"record {record.name!r} has beats of {np.abs(d.beat).max():.3g} mV; expected up to 8 mV.")
    mv = np.asarray(ecg.mv, np.float64)
    has_p = bool(np.isfinite(d.p_onset))
    pr = d.qrs_onset - d.p_onset if has_p else USUAL_PR
    intervals = np.array([pr, max(-d.qrs_onset, 0.006), max(d.qrs_offset, 0.006), max(d.t_offset - d.qrs_offset, 0.1)])
    r, beat, qrs, t, gains = _beat_by_beat(mv, d)
    shape = to_clock(beat, d.beat_start, FS, intervals)
    if not has_p:
        shape = without_p(shape)  # what is left of fibrillatory waves there belongs to the texture

    shapes = sized(shape, qrs, t)
    times = clocks(intervals, r)
    other = np.linspace(*ECTOPIC_SPAN, SAMPLES)
    true_ectopic, couplings = [], []
    rr = np.diff(d.r_peaks)
    for k in np.flatnonzero(~usual):
        own = _window(mv, d.r_peaks[k], other)
        own = own - own[:, :12].mean(axis=1, keepdims=True)
        shapes[k], times[k] = own, other
        early = rr[k - 1] / np.median(rr) if k > 0 else np.nan
        size = float(np.abs(own).max() / np.abs(beat).max())
        if 0.35 < early < 0.9 and 0.3 < size < 4:
            true_ectopic.append(own)
            couplings.append(early)
    beats = lay(shapes, times, r, FS, mv.shape[1])
    phase = texture.phases(d.r_peaks, d.kinds, intervals, ECTOPIC_SPAN, mv.shape[1])
    left, likeness = texture.measure(mv - beats, phase, beats)

    # What is odd but not early is taken for an artefact, and its place for a usual beat's.
    kinds = "".join("N" if kind == "V" and not true_ectopic else kind for kind in d.kinds)
    beat_times = rhythm.measure(d.r_peaks, kinds)
    irregular = not has_p and beat_times.spread > 0.07
    row = np.array([
        np.log(beat_times.rr), np.log(max(beat_times.spread, 1e-3)), beat_times.chain,
        0.0 if irregular else beat_times.ectopic, 0.0 if irregular else beat_times.early,
        *np.log(intervals), *np.log(np.maximum(gains, 1e-3)), left.unsteady, *np.log(sizes(shape)),
        *left.louder.ravel(),
    ])  # fmt: skip
    sex, age = record.meta.get("sex"), record.meta.get("age")
    return Example(
        row, 0 if has_p else 1 if irregular else 2, shape, left.power, likeness,
        recorder.straightness(mv) if record.fs == FS else np.nan,
        np.median(true_ectopic, axis=0) if true_ectopic else None,
        float(np.median(couplings)) if couplings else np.nan,
        classes_of(record.meta),
        {"F": 1.0, "M": 0.0}.get(str(sex), np.nan),
        float(age) if isinstance(age, (int, float)) else np.nan,
    )  # fmt: skip


def sizes(shape: Floats) -> Floats:
    """(3,) mV: rms of P, QRS and ST-T over their leads, with a floor, so that noise is not blown up."""
    return np.asarray(np.sqrt(np.array([np.mean(piece**2) for piece in split(shape)]) + FLOORS**2))


def _window(mv: Floats, r: float, times: Floats) -> Floats:
    at = np.clip((r + times) * FS, 0, mv.shape[1] - 1.0)
    low = np.minimum(at.astype(int), mv.shape[1] - 2)
    return np.asarray(mv[:, low] * (1 - (at - low)) + mv[:, low + 1] * (at - low))


class _Beating(NamedTuple):
    """r: (beats,) s, to a part of a sample. beat: (8, samples) mV, the median one. qrs: (beats, 8), t: (beats, 1) how
    much larger QRS and T of each are; 1 for ectopic ones, and for what the record's ends cut off. gains: SDs of the
    QRS over all leads, of a lead's beyond that, of T."""

    r: Floats
    beat: Floats
    qrs: Floats
    t: Floats
    gains: tuple[float, float, float]


def _beat_by_beat(mv: Floats, d: Delineation) -> _Beating:
    """How a record's usual beats differ from their median, whose QRS is taken again of beats that lie on each other."""
    beat = d.beat[[d.leads.index(lead) for lead in LEADS8]]
    start, middle, end = (round((at - d.beat_start) * FS) for at in (d.qrs_onset, d.qrs_offset, d.t_offset))
    end, first = max(end, middle + 10), max(start - 14, 0)
    near = slice(first, min(middle + 14, beat.shape[1]))  # QRS and a little more
    begin = (d.r_peaks + d.beat_start) * FS
    usual = np.array([kind != "V" for kind in d.kinds])
    usual &= (begin + near.start > FARTHEST) & (begin + near.stop < mv.shape[1] - FARTHEST)
    whole = usual & (begin + end < mv.shape[1] - FARTHEST)  # with its T
    qrs, t = np.ones((usual.size, len(LEADS8))), np.ones((usual.size, 1))
    if whole.sum() < 4:
        return _Beating(d.r_peaks, beat, qrs, t, (0.03, 0.03, 0.05))
    late = np.zeros(usual.size)  # samples
    between = CubicSpline(np.arange(mv.shape[1]), mv, axis=1)

    def windows(which: NDArray[np.bool_], stop: int) -> Floats:
        rows = np.stack([between(at + np.arange(first, stop)) for at in (begin + late)[which]])
        return np.asarray(rows - rows[:, :, max(start - 8, 0) - first : start - first].mean(axis=2, keepdims=True))

    anew = np.zeros(beat.shape[1])
    anew[near.start + 4 : near.stop - 4] = 1.0
    anew = uniform_filter1d(anew, 9)[near]
    rows = windows(usual, near.stop)
    for _ in range(2):
        slope = np.gradient(beat, axis=1)[:, near]
        late[usual] -= np.einsum("kln,ln->k", rows - beat[:, near], slope) / max(float((slope**2).sum()), 1e-9)
        late[usual] = np.clip(late[usual] - np.median(late[usual]), -FARTHEST, FARTHEST)
        rows = windows(usual, near.stop)
        beat[:, near] += anew * (np.median(rows, axis=0) - beat[:, near])
    noise = (
        float(np.median(np.diff(rows[:, :, : start - first], axis=2).std(axis=2))) / np.sqrt(2) if start > 3 else 0.0
    )

    def gains(rows: Floats, a: int, b: int) -> tuple[Floats, Floats, float, float]:
        """(beats, 1) of all leads, (beats, 8) of each beyond that, as far as they are no noise; and SDs of both."""
        model = detrend(beat[:, a:b], axis=1)  # a wandering baseline is no gain
        energy = (model**2).sum(axis=1) + 1e-9
        each = (rows[:, :, a - first : b - first] * model).sum(axis=2)
        common = each.sum(axis=1) / energy.sum()
        apart = each / energy - common[:, None]
        floor = noise**2 / energy.sum()
        all_leads = max(float(common.var()) - floor, 1e-6)
        one_lead = max(float((apart**2 * energy / energy.sum()).sum(axis=1).mean()) - floor * energy.size, 1e-6)
        common = common.mean() + (common - common.mean()) * all_leads / (all_leads + floor)
        apart = apart * one_lead / (one_lead + noise**2 / energy)
        return common[:, None], apart, np.sqrt(all_leads), np.sqrt(one_lead)

    common, apart, all_leads, one_lead = gains(rows, start, middle)
    qrs[usual] = np.clip(common + apart, *GAINS)
    common, _, t_gain, _ = gains(windows(whole, end), middle, end)
    t[whole] = np.clip(common, *GAINS)
    return _Beating(d.r_peaks + late / FS, beat, qrs, t, (min(all_leads, 0.3), min(one_lead, 0.3), min(t_gain, 0.4)))


def fit(
    examples: Sequence[Example],
    seed: int = 0,
    epochs: int = 80,
    draws: int = 1000,
    tell: Callable[[int, int], None] | None = None,
    also: Sequence[Example] = (),
) -> dict[str, NDArray[Any]]:
    """The arrays of ``Beats``. draws: ECGs that are drawn and measured to calibrate. also: examples from elsewhere,
    which teach what ECGs have in common. Rhythms, intervals, sizes and noise will be as in ``examples``; ectopic beats,
    and which label, sex and age go with what, are learned from both.

    Raises UsageError for too few examples.
    """
    if len(examples) < LEAST_RECORDS:
        besides = " besides those that only help" if also else ""
        raise UsageError(f"{len(examples)} usable records; expected {LEAST_RECORDS} or more{besides}.")
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0xBEA75]))
    own, examples = len(examples), [*examples, *also]
    n = len(examples)
    scaled = [[p / size for p, size in zip(split(e.shape), sizes(e.shape), strict=True)] for e in examples]
    pieces = [np.stack(piece) for piece in zip(*scaled, strict=True)]
    data = {
        **{name: piece.transpose(0, 2, 1).reshape(n, -1) for name, piece in zip(PARTS, pieces, strict=False)},
        "texture": np.stack([e.power for e in examples]).reshape(n, -1),
    }
    arrays: dict[str, NDArray[Any]] = {"format": np.array(FORMAT)}
    details, main, minor = [], [], []
    for part in PARTS:
        count = MAIN[part]
        if part in SHAPES:
            mean, basis, score = _shape_components(data[part], count + MINOR[part], CORNERS[part])
            left = data[part] - mean - score[:, :count] @ basis[:count]
            details.append(np.log(np.sqrt((left**2).mean(axis=1)) + LEAST_DETAIL))
        else:
            mean, basis, score = _components(data[part], count + MINOR[part])
        arrays[f"{part}_mean"], arrays[f"{part}_basis"] = mean.astype(np.float32), basis.astype(np.float16)
        main.append(score[:, :count])
        minor.append(score[:, count:])
    x = np.concatenate([np.stack([e.row for e in examples]), np.stack(details, axis=1), *main], axis=1)
    named = [*NAMES, *(f"log {part} detail" for part in SHAPES)]
    arrays["columns"] = np.array([*named, *(f"{part} {k}" for part in PARTS for k in range(MAIN[part]))])
    arrays["quantiles"] = quantiles(x[:own]).astype(np.float32)
    arrays["minor_quantiles"] = quantiles(np.concatenate(minor, axis=1)[:own]).astype(np.float32)
    z = to_normal(x, rng)
    kind = np.array([e.kind for e in examples], np.intp)
    # Those from elsewhere are of kinds of their own, which are learned, but never drawn.
    elsewhere = len(KINDS) * (np.arange(n) >= own)
    density = fit_density(z, kind + elsewhere, len(KINDS) * (2 if also else 1), rng, tell, epochs=epochs)
    density = density.of_kinds(slice(len(KINDS)))
    arrays.update({key: getattr(density, key).astype(np.float32) for key in DENSITY})
    arrays["out"] = density.out.astype(np.float16)
    rows = density.rows(rng, min(10_000, 20 * n))
    # Where the density's own quantiles are: not at SCORES, for normal scores are ranks among all examples.
    arrays["scores"] = quantiles(rows).astype(np.float32)
    means = from_normal(rows, arrays["quantiles"], arrays["scores"]).mean(axis=0)
    lack = (x[:own].mean(axis=0) - means)[: len(NAMES)]  # between quantiles, and beyond the last, it is not exact
    width = density.offset.shape[2] // 3
    arrays["offset"][:, FIRST:, width : 2 * width] += np.log(COOL)
    arrays["textures"] = _roots(np.stack([e.likeness for e in examples[:own]])).astype(np.float32)
    arrays.update(_ectopics(examples))
    features = _features(z, kind)
    arrays["label"] = _fit_labels(features, [e.classes for e in examples]).astype(np.float32)
    arrays["sex"] = _fit_sex(features, np.array([e.female for e in examples])).astype(np.float32)
    arrays["age"] = _fit_age(features, np.array([e.age for e in examples])).astype(np.float32)
    known = [e.straight for e in examples[:own] if np.isfinite(e.straight)]
    straight = float(np.median(known)) if known else 0.0
    return {**arrays, **calibrate(arrays, straight, lack, rng, draws)}


def calibrate(
    arrays: Mapping[str, NDArray[Any]],
    straight: float,
    lack: Floats,
    rng: np.random.Generator,
    count: int,
    rounds: int = 3,
) -> dict[str, NDArray[Any]]:
    """``calibration``, to be added to the numbers called NAMES, and a new ``texture_mean``, so that what is drawn, once
    described as a record is, is in the mean what was meant plus ``lack`` (names,), by which the records' means exceed
    the density's; and the recorder's ``tolerance``, mV, so that it is as ``straight`` as records are.

    A Gaussian density lets small parts of many components add up to a little movement where QRS should have ended, and
    of each number's spread a part is noise of its measurement, which comes again.
    """
    fixed = [NAMES.index(name) for name in UNCALIBRATED]
    seeds = rng.integers(2**63, size=count)
    mean = np.asarray(arrays["texture_mean"], np.float64).reshape(texture.COUNT, -1)
    shift, louder, tolerance = np.zeros(len(NAMES)), np.zeros_like(mean), 0.0
    for _ in range(rounds):
        told = {"calibration": shift, "texture_mean": (mean + louder).ravel(), "tolerance": np.zeros(())}
        model = Beats({**arrays, **told})
        rngs = [np.random.default_rng(s) for s in seeds]
        drawn = [(mv, traits) for mv, traits, _ in model._draw(rngs, Condition(), round(LONGEST * FS))]
        tolerance = recorder.tolerance_for(straight, [mv for mv, _ in drawn])
        errors, of_power = [], []
        for mv, traits in drawn:
            try:
                found = describe(Record(LEADS8, recorder.cleaned(mv, tolerance), FS, "drawn"))
            except EcgError:
                continue
            error = found.row - traits.meant - lack
            if found.kind > 0:
                error[NAMES.index("log p")] = np.nan
            errors.append(error)
            of_power.append(found.power - (traits.texture.power - louder))
        if len(errors) < count / 2:
            raise UsageError(
                f"{count - len(errors)} of {count} ECGs drawn cannot be measured; expected few. Give more records."
            )
        step = np.apply_along_axis(_mean, 0, np.array(errors))
        step[fixed] = 0.0
        shift -= step
        louder -= np.apply_along_axis(_mean, 0, np.array(of_power))
    return {
        "calibration": shift,
        "texture_mean": (mean + louder).ravel().astype(np.float32),
        "tolerance": np.array(tolerance),
    }


def _mean(errors: Floats) -> float:
    """Mean of what is known, 0 if nothing is. The lowest and the highest fiftieth count as what they begin with: some
    ECGs are measured badly."""
    known = errors[np.isfinite(errors)]
    return float(np.clip(known, *np.quantile(known, [0.02, 0.98])).mean()) if known.size else 0.0


def _components(x: Floats, count: int) -> tuple[Floats, Floats, Floats]:
    """Mean, basis (count, columns) and scores (records, count); zeros where there are fewer records than components."""
    mean = x.mean(axis=0)
    u, s, axes = np.linalg.svd(x - mean, full_matrices=False)
    k = min(count, s.size)
    basis = np.zeros((count, x.shape[1]))
    score = np.zeros((x.shape[0], count))
    basis[:k], score[:, :k] = axes[:k], u[:, :k] * s[:k]
    return mean, basis, score


def _shape_components(x: Floats, count: int, corner: float) -> tuple[Floats, Floats, Floats]:
    """The same of shapes, records of (samples, leads) in one row, where fine detail counts the more, the finer it is:
    beyond ``corner`` half waves to the piece in proportion to their number. There is little of it, but it shows."""

    def waves(rows: Floats) -> Floats:
        return rows.reshape(len(rows), -1, len(LEADS8))

    more = np.hypot(1.0, np.arange(waves(x).shape[1]) / corner)[:, None]
    mean, basis, score = _components((dct(waves(x), axis=1, norm="ortho") * more).reshape(x.shape), count)
    back = idct(waves(np.concatenate([mean[None], basis])) / more, axis=1, norm="ortho").reshape(count + 1, -1)
    return back[0], back[1:], score


def _roots(likeness: Floats) -> Floats:
    """(bands, leads, leads) Cholesky factors of the correlations that noise must have before it comes in bursts, for
    the usual ones after that."""
    one = np.eye(likeness.shape[-1])
    mean = np.nanmean(likeness, axis=0)
    mean = np.where(np.isfinite(mean), mean, one)
    mean = one + (mean / texture.ALIKE[:, None, None]) * (1 - one)
    values, axes = np.linalg.eigh(mean)
    mean = axes * np.maximum(values, 0.02)[:, None, :] @ axes.transpose(0, 2, 1)
    size = np.sqrt(np.einsum("kii->ki", mean))
    return np.asarray(np.linalg.cholesky(mean / size[:, :, None] / size[:, None, :]))


def _ectopics(examples: Sequence[Example], count: int = 16) -> dict[str, NDArray[Any]]:
    """Mean and components of ectopic beats, and when they come. Wide beats are smooth: what zigzags is noise, and would
    come again in every beat; those that zigzag most behind their QRS are artefacts."""
    shapes = []
    for e in examples:
        if e.ectopic is not None:
            smooth = gaussian_filter1d(e.ectopic, SMOOTH, axis=1)
            if float((e.ectopic - smooth)[:, SAMPLES // 2 :].std(axis=1).max()) < ROUGH:
                shapes.append(smooth.ravel())
    early = np.array([e.coupling for e in examples if np.isfinite(e.coupling)])
    if len(shapes) < 5:  # none to learn from: a wide copy of the usual beat's mean will hardly ever be drawn
        shapes = [np.mean([e.shape for e in examples], axis=0).ravel()] * 5
    mean, basis, score = _components(np.stack(shapes), count)
    return {
        "ectopic_mean": mean.astype(np.float32),
        "ectopic_basis": basis.astype(np.float16),
        "ectopic_sd": score.std(axis=0).astype(np.float32),
        "coupling": np.array([early.mean(), early.std()]) if early.size > 4 else np.array([0.65, 0.08]),
    }


def _fit_labels(features: Floats, classes: Sequence[frozenset[str]], ridge: float = 8.0) -> Floats:
    """(features, classes + 1) of a multinomial logistic model; a record of two classes counts half for each."""
    target = np.zeros((len(classes), len(CLASSES) + 1))
    labelled = np.array([bool(c) for c in classes])
    for row, names in zip(target, classes, strict=True):
        for name in names:
            # A rhythm and a diagnosis: the rhythm is what a page of it must show.
            row[CLASSES.index(name)] = float(name == "AF") if "AF" in names else 1 / len(names)
    if labelled.sum() < 20:
        weights = np.zeros((features.shape[1], len(CLASSES) + 1))
        weights[-1, -1] = 8.0
        return weights
    x, y = features[labelled], target[labelled]
    penalty = np.full(x.shape[1], ridge)
    penalty[-1] = 1e-3

    def loss(flat: Floats) -> tuple[float, Floats]:
        w = flat.reshape(x.shape[1], -1)
        logits = x @ w
        log = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        value = -(y * log).sum() + 0.5 * (penalty[:, None] * w**2).sum()
        slope = x.T @ (np.exp(log) - y) + penalty[:, None] * w
        return float(value), slope.ravel()

    start = np.zeros((x.shape[1], len(CLASSES) + 1))
    start[-1] = np.log(y.mean(axis=0) + 1e-4)
    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return np.asarray(found.x.reshape(x.shape[1], -1))


def _fit_sex(features: Floats, female: Floats, ridge: float = 8.0) -> Floats:
    known = np.isfinite(female)
    if known.sum() < 20:
        return np.zeros(features.shape[1])
    x, y = features[known], female[known]
    penalty = np.full(x.shape[1], ridge)
    penalty[-1] = 1e-3

    def loss(w: Floats) -> tuple[float, Floats]:
        p = _logistic(x @ w)
        value = -(y * np.log(p + 1e-12) + (1 - y) * np.log(1 - p + 1e-12)).sum() + 0.5 * (penalty * w**2).sum()
        return float(value), x.T @ (p - y) + penalty * w

    found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return np.asarray(found.x)


def _fit_age(features: Floats, age: Floats, ridge: float = 60.0) -> Floats:
    """(features + 1,): linear weights for years, and the SD of what they leave (by five folds)."""
    known = np.isfinite(age)
    if known.sum() < 20:
        return np.concatenate([np.zeros(features.shape[1] - 1), [60.0, 18.0]])
    x, y = features[known], age[known]
    penalty = ridge * np.eye(x.shape[1])
    penalty[-1, -1] = 1e-3

    def solve(rows: NDArray[np.bool_]) -> Floats:
        return np.asarray(np.linalg.solve(x[rows].T @ x[rows] + penalty, x[rows].T @ y[rows]))

    fold = np.arange(y.size) % 5
    left = np.concatenate([y[fold == k] - x[fold == k] @ solve(fold != k) for k in range(5)])
    return np.append(solve(np.ones(y.size, bool)), max(float(left.std()), 3.0))


# Reading, writing


def examples_of(
    specs: Sequence[str], limit: int | None = None, quiet: bool = False
) -> tuple[list[Example], list[tuple[str, str]], dict[str, int]]:
    """Examples of all records; (name, why) of those left out; how many were used of each source.

    Raises UsageError for sources that cannot be opened.
    """
    found: list[Example] = []
    left_out: list[tuple[str, str]] = []
    used: dict[str, int] = {}
    for text, (source, names) in [(text, open_part(text)) for text in specs]:
        key = text.partition(":")[0] if ":" in text else "records"
        for name in tqdm(names[:limit], desc=key, unit="record", disable=quiet):
            before = len(found)
            try:
                record = source.load(name)
                for k in range(min(max(int(record.duration / LONGEST + 1e-6), 1), WINDOWS)):
                    found.append(describe(record.cut(k * LONGEST, (k + 1) * LONGEST)))
            except EcgError as error:
                left_out.append((name, str(error)))
            used[key] = used.get(key, 0) + (len(found) > before)
    return found, left_out, used


def save(arrays: Mapping[str, NDArray[Any]], card: Mapping[str, Any], out: str | Path) -> Path:
    """Write ``beats.npz`` and ``beats.json`` to the folder ``out``; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    data = buffer.getvalue()
    out = Path(out)
    atomic_write(out / "beats.npz", data)
    full = {**card, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    atomic_write(out / "beats.json", (json.dumps(full, indent=1) + "\n").encode())
    return out / "beats.npz"


def card_of(
    examples: Sequence[Example], others: Sequence[Example], *, used: Mapping[str, int], also: Mapping[str, int],
    left_out: int, seed: int, minutes: float, compute: str, data: str,
) -> dict[str, Any]:  # fmt: skip
    """What users of the weights should know. used, also: records of each source of ``examples`` and ``others``."""
    both = [*examples, *others]
    count = Counter(name for e in both for name in e.classes)
    return {
        "name": "beats",
        "what": "ECGs from rhythm, beats in principal components, their variation and texture; see synth/beats.py",
        "output": "(8, samples) mV at 500 Hz, leads I, II, V1 to V6; any length from 2 s",
        "conditions": list(Beats.conditions),
        "data": data or "records of the user's own",
        "records": dict(used),
        "windows": len(examples),
        "also": dict(also),
        "also_windows": len(others),
        "counted_in_both": "left_out, labelled, with_sex, with_age",
        "left_out": left_out,
        "labelled": {name: count[name] for name in CLASSES},
        "with_sex": int(sum(np.isfinite(e.female) for e in both)),
        "with_age": int(sum(np.isfinite(e.age) for e in both)),
        "semi_supervised": "unlabelled records teach the density; labels, sex and age are a model on top of it",
        "seed": seed,
        "minutes": round(minutes, 1),
        "compute": compute,
        "version": __version__,
        "licence": "that of this project",
    }


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(f"{message}. See {self.prog} --help.")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = _Parser(
        "python -m synth.fit_beats", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    add = p.add_argument
    add(
        "--data",
        nargs="+",
        required=True,
        metavar="KIND:PATH",
        help="ptbxl:DIR, wfdb:DIR, csv:DIR, npz:DIR, or a path; @START:STOP takes a part, counted as Python counts",
    )
    add("--also", nargs="+", default=[], metavar="KIND:PATH", help="more to learn from, which ECGs will not be like")
    add("--out", default="weights", metavar="DIR", help="folder for beats.npz and beats.json [%(default)s]")
    add("--seed", type=int, default=0, help="of all that is random [0]")
    add("--limit", type=int, metavar="N", help="records of each source at most [all]")
    add("--epochs", type=int, default=80, metavar="N", help="of each member of the density at most [80]")
    add("--draws", type=int, default=1000, metavar="N", help="ECGs drawn and measured to calibrate [1000]")
    add("--about", default="", metavar="TEXT", help="the data, their licence and source, for the card")
    add("--compute", default="", metavar="TEXT", help="what it was trained on, for the card")
    add("--quiet", action="store_true", help="print only errors")
    return p


@command()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 done, 1 something failed, 2 wrong request."""
    options = parser().parse_args(argv)
    for name, least in (("seed", 0), ("limit", 1), ("epochs", 1), ("draws", 8)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UsageError(f"--{name.replace('_', '-')} {value}; expected {least} or more.")
    begin = time.monotonic()
    for text in options.also:
        open_part(text)  # what is wrong with it is said before minutes are spent on --data
    examples, left_out, used = examples_of(options.data, options.limit, options.quiet)
    others, more_left_out, also = examples_of(options.also, options.limit, options.quiet)
    left_out += more_left_out
    for name, why in left_out:
        print(f"left out {name}: {why}", file=sys.stderr)
    if options.also and not others:
        raise UsageError("--also has no usable record; expected one or more. See why they were left out.")
    with tqdm(desc="density", unit="epoch", disable=options.quiet) as bar:

        def tell(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        arrays = fit(examples, options.seed, options.epochs, options.draws, tell, others)
    minutes = (time.monotonic() - begin) / 60
    card = card_of(
        examples, others, used=used, also=also, left_out=len(left_out), seed=options.seed, minutes=minutes,
        compute=options.compute, data=options.about,
    )  # fmt: skip
    path = save(arrays, card, options.out)
    if not options.quiet:
        helped = f" and {sum(also.values())} that help" if also else ""
        print(f"{path}: {sum(used.values())} records{helped}, {len(left_out)} left out, {minutes:.1f} min")
    return 0


if __name__ == "__main__":
    sys.exit(main())
