"""Beats: ECGs from a model of their parts, drawn with numpy alone, hundreds per second and of any length.

An ECG is described by its rhythm (see synth.rhythm), the shape of its beats on a common clock (synth.morphology) in
principal components for P, QRS and ST-T and how much fine detail these have besides, how the beats vary, and the
texture around them (synth.texture). All of that is one row of numbers; ``synth.fit_beats`` learns their joint density
(synth.density) from real records, and how likely each label, sex and age are for such a row. A condition is then
fulfilled as Bayes' rule says: rows are drawn from the density, given the heart rate, and one of many is chosen by its
probability of label, sex and age. What recorders do to an ECG is done last (synth.recorder).
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.special import ndtr, ndtri

from ecg_image_kit.errors import UsageError

from . import recorder, rhythm, texture
from .condition import CLASSES, LEADS8, Condition, Span
from .density import OF_MEMBERS, SCORES, Density, from_normal
from .morphology import PIECES, SAMPLES, clock, join, lay, without_p

Floats: TypeAlias = NDArray[np.float64]
Array: TypeAlias = NDArray[Any]

WEIGHTS = Path(__file__).parent / "weights" / "beats.npz"
FORMAT = 7  # 1: noise in QRS complexes was equally loud in all leads; 2: bursts made leads less alike
# 3: noise was as loud all over a wave; 4: the density had one member, shapes had no fine detail; 5: no recorder
# 6: calibrated by medians, noise by the same in all leads
SECONDS = (2.0, 86_400.0)
# Rows that a condition chooses from, at least and at most; how many of them have to be expected to fulfil it.
CANDIDATES, MOST, FULFIL = 100, 12_800, 3.0
AT_ONCE = 64  # rows that are drawn together, if one is enough for an ECG
TOGETHER = 20_000  # samples of ECGs that are drawn together: as much as a processor has at hand
TRIES = 20  # to draw so many, until there is one
ADULT = (18.0, 95.0)  # years, of whom the training records were
DENSITY = tuple(field.name for field in fields(Density))
# The first columns of a row; then how much fine detail P, QRS and ST-T have (log of its part of their rms), and the
# principal components of these and of the texture.
NAMES = (
    "log rr", "log spread", "chain", "ectopic", "early", "log p", "log q", "log r", "log t", "log qrs gain",
    "log lead gain", "log t gain", "unsteady", "log p size", "log qrs size", "log t size",
    "waves 4 Hz", "waves 15 Hz", "waves 60 Hz", "strokes 4 Hz", "strokes 15 Hz", "strokes 60 Hz",
)  # fmt: skip
# Kinds of record: what is between them does not exist.
KINDS = ("P waves", "no P waves, irregular", "no P waves, regular")
FIBRILLATES = 1  # the kind that atrial fibrillation is by its definition: some records called so seemed to have P waves
SHAPES = ("p", "qrs", "t")
PARTS = (*SHAPES, "texture")
FIRST = len(NAMES) + len(SHAPES)  # column of the components
FLOORS = np.array([0.015, 0.04, 0.03])  # mV; P, QRS and ST-T are described in units of their rms and this
MAIN = {"p": 16, "qrs": 40, "t": 30, "texture": 24}  # components whose joint density is learned
# More of them, drawn on their own: fine detail. Shapes have most of it where they are steep.
MINOR = {"p": 40, "qrs": 40, "t": 60, "texture": 16}
LEAST_DETAIL = 1e-3  # is added before the logarithm of its size is taken
STEEP, FLAT = 9, 0.25  # samples over which a shape's steepness is taken; how much detail is where it is flat
# Columns of the times between landmarks, see morphology.INTERVALS
_INTERVALS = [NAMES.index(f"log {name}") for name in "pqrt"]
# (SAMPLES,) how far a beat is on the way from P to QRS, and from QRS to T, in the pieces' overlaps
_TO_QRS, _TO_T = (
    np.clip((np.arange(SAMPLES) - after[0]) / (before[1] - after[0]), 0, 1) for before, after in pairwise(PIECES)
)
ECTOPIC_SPAN = (-0.16, 0.56)  # s around R
ECTOPIC_QRS = (-0.09, 0.11)
ADAPTS = 0.2  # power of the interval before a beat that its ST-T follows: repolarisation adapts slowly


@dataclass(frozen=True)
class Traits:
    """One ECG's description: what a row of numbers stands for.

    intervals: (4,) s, see morphology.INTERVALS. shape: (8, SAMPLES) mV. gains: SDs of the beats' QRS over all leads, of
    each lead's QRS, of T; fractions.
    """

    rhythm: rhythm.Rhythm
    irregular: bool
    intervals: Floats
    shape: Array
    gains: tuple[float, float, float]
    texture: texture.Texture
    meant: Floats  # the numbers called NAMES before calibration


class Beats:
    """A Generator (see synth.condition). Fast; the same bytes on processors with AVX2, others may differ by 0.25 uV.

    Args:
        arrays: as ``synth.fit_beats`` writes them.
        sha256: of the file they came from.

    Raises UsageError if something is missing in them.
    """

    name = "beats"
    fs = texture.FS
    shortest, longest = SECONDS
    at_once = 1  # several together take less time, but workers, who take turns, would all make them
    conditions: tuple[str, ...] = ("label", "hr", "sex", "age")

    def __init__(self, arrays: Mapping[str, NDArray[Any]], sha256: str = "") -> None:
        expected = {
            "format", "quantiles", "scores", "minor_quantiles", *DENSITY, "calibration", "textures", "tolerance",
            "coupling", "label", "sex", "age", "ectopic_mean", "ectopic_basis", "ectopic_sd", "columns",
            *(f"{part}_{what}" for part in PARTS for what in ("mean", "basis")),
        }  # fmt: skip
        if (found := int(arrays.get("format", FORMAT))) != FORMAT:
            raise UsageError(f"weights of 'beats' are of format {found}; expected {FORMAT}. Fit again.")
        if missing := sorted(expected - set(arrays)):
            raise UsageError(f"weights of 'beats' lack {', '.join(missing)}; expected what synth.fit_beats writes.")
        a = {key: np.asarray(value, np.float64) for key, value in arrays.items() if value.dtype.kind in "fi"}
        d = FIRST + sum(MAIN.values())
        if a["hidden"].shape[1:-1] != (d,) or a["quantiles"].shape != (SCORES.size, d):
            raise UsageError(
                f"weights of 'beats' have hidden layers of shape {a['hidden'].shape}; expected rows of {d} numbers. "
                "Fit again."
            )
        if len(members := {len(a[key]) for key in OF_MEMBERS}) > 1:
            raise UsageError(
                f"weights of 'beats' are of {sorted(members)} members; expected as many of each. Fit again."
            )
        self.sha256 = sha256
        self._a = a
        self._rows: dict[Condition, int] = {}
        self._density = Density(**{key: a[key] for key in DENSITY})
        self._plain = np.tile(SCORES[:, None], (1, sum(MINOR.values())))

    @classmethod
    def load(cls, path: str | Path = WEIGHTS) -> Beats:
        """The model of a file. Raises UsageError if it is not there or is something else."""
        path = Path(path)
        try:
            data = path.read_bytes()
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise UsageError(
                f"{path}: cannot be read as weights ({error}); expected a file of synth.fit_beats."
            ) from None
        return cls(arrays, hashlib.sha256(data).hexdigest())

    def sample(
        self, rngs: Sequence[np.random.Generator], seconds: float, condition: Condition
    ) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
        """(len(rngs), 8, round(seconds 500)) mV and what is known of each: label, hr, sex, age.

        Raises UsageError for less than 2 s or more than a day.
        """
        if not SECONDS[0] <= seconds <= SECONDS[1]:
            raise UsageError(f"{seconds:g} s; expected {SECONDS[0]:g} to {SECONDS[1]:g} s.")
        count = round(seconds * self.fs)
        out = np.empty((len(rngs), len(LEADS8), count), np.float32)
        known = []
        for mv, (one, _, meta) in zip(out, self._draw(rngs, condition, count), strict=True):
            mv[:] = one
            known.append(meta)
        return out, known

    def _draw(
        self, rngs: Sequence[np.random.Generator], condition: Condition, count: int
    ) -> Iterator[tuple[Array, Traits, dict[str, Any]]]:
        """Signals, what they were drawn from, and what is known of them."""
        n = self._needed(condition)
        together = AT_ONCE if n == 1 else 1
        for start in range(0, len(rngs), together):
            of_rows, of_rests = zip(*(rng.spawn(2) for rng in rngs[start : start + together]), strict=True)
            candidates = self._candidates(of_rows, condition.hr, n)
            chosen = [self._choose(of, rows, condition) for of, *rows in zip(of_rows, *candidates, strict=True)]
            rows, kinds, known = zip(*chosen, strict=True)
            traits = self._traits(np.stack(rows), kinds, of_rests, [meta["hr"] for meta in known])
            size = max(TOGETHER // count, 1)
            for k in range(0, len(traits), size):
                signals = self._render(of_rests[k : k + size], traits[k : k + size], count)
                yield from zip(signals, traits[k : k + size], known[k : k + size], strict=True)

    # Choosing a row

    def _choose(
        self, rng: np.random.Generator, rows: Sequence[Any], condition: Condition
    ) -> tuple[Floats, int, dict[str, Any]]:
        """Of rows (n, columns) of normal scores, their kinds and heart rates: one that fulfils the condition, its kind,
        and what is known of the ECG."""
        n = len(rows[0])
        for _ in range(TRIES):
            z, kind, hr = rows
            labels, female, age, weight = self._told(z, kind, condition)
            if weight.sum() > 0.5:  # seldom is there nothing to choose from
                break
            rows = [found[0] for found in self._candidates([rng], condition.hr, n)]
        k = int(np.searchsorted(np.cumsum(weight) / (weight.sum() + 1e-12), rng.random())) if n > 1 else 0
        k = min(k, n - 1)
        u = rng.random(3)
        if condition.label is not None:
            label: str | None = condition.label
        else:
            label = (*CLASSES, None)[int(np.searchsorted(np.cumsum(labels[k])[:-1], u[0], side="right"))]
        sex = condition.sex or ("F" if u[1] < female[k] else "M")
        low, high = _adult(condition.age)
        age_sd = float(self._a["age"][-1])
        a, b = (float(ndtr((v - age[k]) / age_sd)) for v in (low, high))
        years = age[k] + age_sd * float(ndtri(np.clip(a + (b - a) * u[2], 1e-9, 1 - 1e-9)))
        return z[k], int(kind[k]), {
            "label": label, "hr": float(hr[k]), "sex": sex, "age": float(np.clip(np.round(years), low, high))
        }  # fmt: skip

    def _needed(self, condition: Condition) -> int:
        """How many rows to choose one from, so that some can be expected to fulfil the condition.

        Judged by rows of its own, so that it is the same for every record. Raises UsageError if there are hardly any.
        """
        if not set(condition.asked) - {"hr"}:
            return 1
        if condition not in self._rows:
            rng, n = np.random.default_rng(0), CANDIDATES
            while (expected := self._expected(rng, condition, n)) < FULFIL and n < MOST:
                n *= 2
            if expected < 1.0:
                raise UsageError(
                    f"{condition.words}: of {n} ECGs that model {self.name} drew it expects {expected:.2g} to be like "
                    "that; expected at least one. Ask for less, or for a wider range."
                )
            self._rows[condition] = n
        return self._rows[condition]

    def _expected(self, rng: np.random.Generator, condition: Condition, n: int) -> float:
        """How many of ``n`` rows can be expected to fulfil the condition."""
        z, kind, _ = self._candidates([rng], condition.hr, n)
        return float(self._told(z[0], kind[0], condition)[-1].sum())

    def _candidates(
        self, rngs: Sequence[np.random.Generator], rate: Span | None, n: int
    ) -> tuple[Floats, NDArray[np.intp], Floats]:
        """(rngs, n, columns) normal scores, their kinds (rngs, n) and heart rates (rngs, n), within ``rate``."""
        table, scores = self._a["quantiles"][:, 0], self._a["scores"][:, 0]
        if rate is None:
            z, kind = self._density.draw(rngs, n)
            return z, kind, np.asarray(60.0 / np.exp(np.interp(z[..., 0], scores, table)))
        low, high = rate
        a, b = (float(ndtr(np.interp(np.log(60.0 / v), table, SCORES))) for v in (high, low))
        u = np.stack([rng.random(n) for rng in rngs])
        if b - a > 0.002:
            normal = ndtri(a + (b - a) * u)
            hr = np.clip(60.0 / np.exp(np.interp(normal, SCORES, table)), low, high)
            first = np.interp(normal, SCORES, scores)
        else:  # rarer than the model knows: any rate is as good
            hr = low + (high - low) * u
            first = np.interp(np.log(60.0 / hr), table, scores)
        z, kind = self._density.draw(rngs, n, first)
        return z, kind, np.asarray(hr)

    def _told(self, z: Floats, kind: NDArray[np.intp], condition: Condition) -> tuple[Floats, Floats, Floats, Floats]:
        """Of rows: probabilities of each label (n, classes + 1), of being a woman's, the age (n,) to be expected, and
        the probability that the condition is fulfilled."""
        features = _features(z, kind)
        labels = self._labels(features, kind)
        female = _logistic(features @ self._a["sex"])
        age, age_sd = features @ self._a["age"][:-1], float(self._a["age"][-1])
        weight = np.ones(len(z))
        if condition.label is not None:
            weight *= labels[:, CLASSES.index(condition.label)]
        if condition.sex is not None:
            weight *= female if condition.sex == "F" else 1 - female
        if condition.age is not None:
            low, high = _adult(condition.age)
            weight *= ndtr((high + 0.5 - age) / age_sd) - ndtr((low - 0.5 - age) / age_sd)
        return labels, female, age, weight

    def _labels(self, features: Floats, kind: NDArray[np.intp]) -> Floats:
        """(n, classes + 1) probabilities; the last column is none of the classes."""
        logits = features @ self._a["label"]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        odds[kind != FIBRILLATES, CLASSES.index("AF")] = 0.0
        out: Floats = odds / odds.sum(axis=1, keepdims=True)
        return out

    # From a row to a signal

    def _traits(
        self, z: Floats, kinds: Sequence[int], rngs: Sequence[np.random.Generator], rates: Sequence[float]
    ) -> list[Traits]:
        """Of rows (ECGs, columns) of normal scores, the kind and the heart rate of each."""
        a = self._a
        rows = from_normal(z, a["quantiles"], a["scores"])
        meant = rows[:, : len(NAMES)].copy()
        rows[:, : len(NAMES)] += a["calibration"]
        normal = np.stack([rng.standard_normal(sum(MINOR.values())) for rng in rngs])
        minor = from_normal(normal, a["minor_quantiles"], self._plain)
        shapes: list[Floats] = []
        at, more = FIRST, 0
        for k, part in enumerate(PARTS):
            basis, count = a[f"{part}_basis"], MAIN[part]
            # Of each ECG on its own: how sums are taken does not depend on how many there are.
            main = a[f"{part}_mean"] + np.matmul(rows[:, None, at : at + count], basis[:count])
            fine = np.matmul(minor[:, None, more : more + MINOR[part]], basis[count:])
            main, fine = (x.reshape(len(z), -1, len(LEADS8)) for x in (main, fine))
            if part == "texture":
                power = main + fine
            else:
                x = detailed(main, fine, np.exp(rows[:, len(NAMES) + k]) - LEAST_DETAIL)
                # A combination of components hardly ever has the size that it should have.
                log_size = rows[:, NAMES.index(f"log {part} size")]
                size = np.sqrt(np.maximum(np.exp(2 * log_size) - FLOORS[k] ** 2, 0.0))
                shapes.append(x.transpose(0, 2, 1) * (size / np.maximum(_rms(x), 1e-6))[:, None, None])
            at, more = at + count, more + MINOR[part]
        shape = join(shapes)
        absent = np.array(kinds) > 0
        shape[absent] = without_p(shape[absent])
        shape = shape.astype(np.float32)
        out = []
        for k, (row, kind) in enumerate(zip(rows[:, : len(NAMES)], kinds, strict=True)):
            of = dict(zip(NAMES, row.tolist(), strict=True))
            intervals = np.exp(row[_INTERVALS])
            rr = 60.0 / rates[k]
            # At rates that no training record had, ST-T goes on shortening with the cube root of RR (Fridericia).
            intervals[3] *= min(1.0, rr / math.exp(of["log rr"])) ** (1 / 3)
            out.append(Traits(
                rhythm.Rhythm(rr, math.exp(of["log spread"]), of["chain"], of["ectopic"], of["early"]),
                irregular=kind == FIBRILLATES,
                intervals=intervals,
                shape=shape[k],
                gains=(math.exp(of["log qrs gain"]), math.exp(of["log lead gain"]), math.exp(of["log t gain"])),
                texture=texture.Texture(power[k], max(of["unsteady"], 0.0), row[-6:].reshape(2, 3)),
                meant=meant[k],
            ))  # fmt: skip
        return out

    def _render(self, rngs: Sequence[np.random.Generator], traits: Sequence[Traits], count: int) -> Array:
        """(ECGs, 8, count) mV."""
        whole = count + 2 * recorder.REACH  # the recorder sees so much more at either end, or ends would be unlike
        mv = np.empty((len(rngs), len(LEADS8), whole), np.float32)
        phases = np.empty((len(rngs), whole), np.int8)
        for k, (rng, one) in enumerate(zip(rngs, traits, strict=True)):
            mv[k], phases[k] = self._beating(rng, one, count)
        mv += texture.draw(rngs, [one.texture for one in traits], self._a["textures"], phases, mv)
        return recorder.cleaned(mv, float(self._a["tolerance"]))[..., recorder.REACH : -recorder.REACH]

    def _beating(self, rng: np.random.Generator, traits: Traits, count: int) -> tuple[Array, NDArray[np.int8]]:
        """(8, samples) mV of beats alone, and the phase of the heart's cycle (samples,), REACH more at either end."""
        coupling = (float(self._a["coupling"][0]), float(self._a["coupling"][1]))
        r, kinds = rhythm.draw(rng, traits.rhythm, traits.irregular, coupling, count / self.fs)
        r, count = r + recorder.REACH / self.fs, count + 2 * recorder.REACH
        shapes, times = beats_of(rng, traits, r)
        if "V" in kinds:
            score = rng.standard_normal(self._a["ectopic_sd"].size) * self._a["ectopic_sd"]
            other = (self._a["ectopic_mean"] + score @ self._a["ectopic_basis"]).reshape(len(LEADS8), SAMPLES)
            where = np.array([kind == "V" for kind in kinds])
            shapes[where], times[where] = other, np.linspace(*ECTOPIC_SPAN, SAMPLES)
        phase = texture.phases(r, kinds, traits.intervals, ECTOPIC_QRS, count)
        return lay(shapes, times, r, self.fs, count), phase


def beats_of(rng: np.random.Generator, traits: Traits, r: Floats) -> tuple[Array, Floats]:
    """(beats, 8, SAMPLES) mV and (beats, SAMPLES) s relative to R of each, no two quite alike."""
    n = r.size
    breath = float(rng.uniform(0.18, 0.35))  # Hz
    wave = np.sqrt(2) * np.sin(2 * np.pi * (breath * r + rng.uniform()))
    all_leads, one_lead, t_gain = traits.gains

    def varied(sd: float, leads: int) -> Floats:
        """Half of it follows the breath, half is the beat's own."""
        sign = rng.normal(size=(1, leads))
        each: Floats = sd * (0.7 * sign * wave[:, None] + 0.7 * rng.standard_normal((n, leads)))
        return each

    qrs = 1 + varied(all_leads, 1) + varied(one_lead, len(LEADS8))
    return sized(traits.shape, qrs, 1 + varied(t_gain, 1)), clocks(traits.intervals, r)


def sized(shape: Array, qrs: Floats, t: Floats) -> Array:
    """(beats, leads, SAMPLES): a beat's shape with QRS (beats, leads) and T (beats, 1) times as large as usual, in the
    precision of the shape.

    Gains pass from P's, which is 1, to QRS's to T's where the pieces do."""
    kind = shape.dtype
    gain: Array = (qrs[:, :, None] - 1).astype(kind) * (_TO_QRS - _TO_T).astype(kind)
    gain += (t[:, :, None] - 1).astype(kind) * _TO_T.astype(kind)
    gain += 1
    gain *= shape
    return gain


def detailed(shape: Floats, detail: Floats, size: Floats) -> Floats:
    """(ECGs, samples, leads) of shapes with detail of that rms (ECGs,), most of which is found where a shape is
    steep."""
    step = shape[:, 1:] - shape[:, :-1]
    # Twice the slope: only proportions matter.
    slope = np.concatenate([2 * step[:, :1], step[:, 1:] + step[:, :-1], 2 * step[:, -1:]], axis=1)
    steep = uniform_filter1d(np.abs(slope), STEEP, axis=1)
    detail = detail * (steep + FLAT * steep.mean(axis=(1, 2), keepdims=True))
    return np.asarray(shape + detail * (size / np.maximum(_rms(detail), 1e-9))[:, None, None])


def _rms(x: Floats) -> Floats:
    """(ECGs,) of (ECGs, samples, leads)."""
    return np.asarray(np.sqrt(np.mean(x**2, axis=(1, 2))))


def clocks(intervals: Floats, r: Floats) -> Floats:
    """(beats, SAMPLES) s relative to R: ST-T of each follows the interval before it a little."""
    rr = np.empty(r.size)
    rr[1:] = r[1:] - r[:-1]
    rr[0] = (r[-1] - r[0]) / (r.size - 1) if r.size > 1 else 0.8
    each = np.repeat(intervals[None], r.size, axis=0)
    each[:, 3] *= np.minimum(np.maximum((rr / rr.mean()) ** ADAPTS, 0.85), 1.15)
    return clock(each)


def _features(z: Floats, kind: NDArray[np.intp]) -> Floats:
    """(n, features) that label, sex and age are told from: the row, squares of its first columns, its kind, and 1."""
    squares = z[:, : len(NAMES)] ** 2 - 1
    kinds = 3.0 * (kind[:, None] == np.arange(1, len(KINDS)))
    return np.concatenate([z, squares, kinds, np.ones((z.shape[0], 1))], axis=1)


def _adult(age: Span | None) -> Span:
    """The part of a range of ages that the model knows. Raises UsageError if there is none."""
    low, high = age or ADULT
    if high < ADULT[0] or low > ADULT[1]:
        raise UsageError(
            f"age {low:g}-{high:g}; expected some of {ADULT[0]:g} to {ADULT[1]:g} years: model beats knows adults."
        )
    return max(low, ADULT[0]), min(high, ADULT[1])


def _logistic(x: Floats) -> Floats:
    y: Floats = 1 / (1 + np.exp(-np.clip(x, -40, 40)))
    return y
