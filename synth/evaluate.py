"""How real, how varied and how private a set of generated ECGs is: ``python -m synth.evaluate REAL FAKE``.

``describe`` reduces each record to numbers once; ``compare`` puts two such sets beside each other. Every value comes
with its 95 % interval and with the same value for real records in place of the fakes: the floor that sampling alone
leaves. See synth.scores for what each is.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ecg_image_kit import __version__
from ecg_image_kit.command import command
from ecg_image_kit.errors import EcgError, RecordError, UsageError
from ecg_image_kit.record import Record, atomic_write
from ecg_image_kit.sources import Source
from ecg_image_kit.sources.parts import open_part, split_part

from . import scores as sc
from .condition import CLASSES, LEADS8
from .delineate import Delineation, normal, try_delineate
from .encoder import FS, TRAINED, Encoder, OnnxEncoder, RandomEncoder, Space, principal
from .labels import classes_of
from .scores import Array, Estimate, Floats

LEAST = 40  # records a set must have: neighbours and folds mean nothing for fewer
BALLS = 5  # neighbours, of density and coverage
BANDS = ((0.5, 1.0), (1.0, 5.0), (5.0, 15.0), (15.0, 40.0), (40.0, 100.0), (100.0, 150.0), (150.0, 250.0))  # Hz
JUDGED = (0.5, 40.0)  # Hz, where spectra have to agree; above 40 Hz recorders' filters differ
PAIRS = 3  # closest pairs that are shown


def _of_lead(name: str, lead: str) -> Callable[[Delineation], float]:
    return lambda d: float(getattr(d, name)[d.leads.index(lead)]) if lead in d.leads else float("nan")


# key -> what it is, unit, how it is read
MEASURES: Mapping[str, tuple[str, str, Callable[[Delineation], float]]] = {
    "hr": ("heart rate", "bpm", lambda d: d.hr),
    "pr": ("PR", "ms", lambda d: d.pr),
    "qrs": ("QRS", "ms", lambda d: d.qrs),
    "qt": ("QT", "ms", lambda d: d.qt),
    "qtc": ("QTc", "ms", lambda d: d.qtc),
    "axis": ("QRS axis", "deg", lambda d: d.axis),
    "r_ii": ("R in II", "mV", _of_lead("r", "II")),
    "r_v5": ("R in V5", "mV", _of_lead("r", "V5")),
    "s_v2": ("S in V2", "mV", _of_lead("s", "V2")),
    "t_ii": ("T in II", "mV", _of_lead("t", "II")),
    "t_v5": ("T in V5", "mV", _of_lead("t", "V5")),
    "p_ii": ("P in II", "mV", _of_lead("p", "II")),
}
# Mean and SD of 121,977 Pulse2Pulse ECGs that a commercial program judged normal: Thambawita et al., Sci Rep 2021.
PUBLISHED: Mapping[str, tuple[float, float]] = {"hr": (69.8, 7.6), "pr": (158, 17), "qrs": (92, 9), "qt": (395, 21)}


@dataclass(frozen=True, eq=False)
class Described:
    """A set of records in numbers, one row per record in each array.

    Attributes:
        names: of the records. left_out: (name, why) of those that could not be used.
        embeddings: of each encoder, (records, its features): "random", "trained" and the user's "own" if there is one.
        hz: (bins,). psd: (records, 8, bins) dB re 1 mV²/Hz. correlation: (records, 8, 8).
        measures: (records, len(MEASURES)), NaN where a wave is not there. normal: whether the rules of normality hold.
        classes: of CLASSES, empty where not labelled. person: (records, 2) sex (1: female) and age, NaN if unknown.
        seconds: of each record, from its start. records: what it was made of, to show some again.
    """

    names: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    embeddings: Mapping[str, NDArray[np.float32]]
    hz: Floats
    psd: NDArray[np.float32]
    correlation: Floats
    measures: Floats
    normal: NDArray[np.bool_]
    classes: tuple[frozenset[str], ...]
    person: Floats
    seconds: float
    records: Sequence[Record] = field(repr=False)
    place: tuple[int, ...] = field(repr=False)  # of each row in `records`

    def __len__(self) -> int:
        return len(self.names)

    @property
    def features(self) -> NDArray[np.float32]:
        """Of the random encoder."""
        return self.embeddings["random"]

    def take(self, rows: Array) -> Described:
        """The rows with these numbers."""
        picked = {name: getattr(self, name)[rows] for name in ("psd", "correlation", "measures", "normal", "person")}
        return Described(
            **picked, embeddings={name: x[rows] for name, x in self.embeddings.items()}, left_out=self.left_out,
            hz=self.hz, seconds=self.seconds, records=self.records,
            names=tuple(self.names[k] for k in rows), classes=tuple(self.classes[k] for k in rows),
            place=tuple(self.place[k] for k in rows),
        )  # fmt: skip

    def signal(self, row: int) -> NDArray[np.float32]:
        """(8, samples) mV of a record at 500 Hz."""
        return _eight(self.records[self.place[row]], self.seconds).mv


def describe(
    records: Sequence[Record], seconds: float = 10.0, encoder: Encoder | None = None, what: str = "records",
    tell: Callable[[str], None] | None = None,
) -> Described:  # fmt: skip
    """Reduce records of any rate to numbers: their first ``seconds``, leads I, II, V1 to V6.

    Those that lack a lead, are shorter, or have unknown samples are left out and listed. Raises UsageError if fewer
    than 40 remain, or less than half, or if they can hardly be in millivolts.
    """
    if not 2.0 <= seconds <= 120.0:
        raise UsageError(f"seconds={seconds:g}; expected 2 to 120.")
    encoders: dict[str, Encoder] = {"random": RandomEncoder()}
    if TRAINED.is_file():
        encoders["trained"] = OnnxEncoder(TRAINED)
    if encoder is not None:
        encoders["own"] = encoder
    rows: list[tuple[Any, ...]] = []
    out: list[tuple[str, str]] = []
    spans: list[float] = []  # mV
    for k in range(len(records)):
        name = f"{what} {k}"
        try:
            record = records[k]
            name = record.name or name
            eight = _eight(record, seconds)
        except EcgError as error:
            out.append((name, str(error)))
            continue
        spans.append(float(np.median(np.ptp(eight.mv, axis=1))))
        hz, psd = sc.log_psd(eight.mv, FS)
        found = try_delineate(eight)
        rows.append((
            name, k, {key: embed(eight.mv[None])[0] for key, embed in encoders.items()}, psd,
            sc.correlations(eight.mv), _measured(found), found is not None and normal(found),
            classes_of(record.meta), _person(record),
        ))  # fmt: skip
        if tell and len(rows) % 100 == 0:
            tell(f"{what}: {len(rows)} of {len(records)}")
    if len(rows) < (least := max(LEAST, -(-len(records) // 2))):
        why = f" The first that cannot: {out[0][0]}: {out[0][1]}" if out else ""
        raise UsageError(f"{what}: {len(rows)} of {len(records)} records can be used; expected {least} at least.{why}")
    if not 0.005 <= (size := float(np.median(spans))) <= 100.0:  # wide limits: generators may fail, too
        raise UsageError(f"{what}: the median lead spans {size:.4g} mV; expected 0.005 to 100. Convert to mV first.")
    names, place, embedded, spectra, correlation, measures, good, classes, person = zip(*rows, strict=True)
    embeddings = {key: np.stack([of[key] for of in embedded]) for key in encoders}
    return Described(
        names, tuple(out), embeddings, hz, np.stack(spectra), np.stack(correlation), np.stack(measures),
        np.array(good, bool), classes, np.stack(person), seconds, records, place,
    )  # fmt: skip


def _eight(record: Record, seconds: float) -> Record:
    """The first ``seconds`` of LEADS8 at 500 Hz. Raises RecordError if they are not there in full."""
    if not {"I", "II"} <= set(record.leads):
        record = record.derive_limb_leads()
    record = record.select(LEADS8).resample(FS)
    n = round(seconds * FS)
    if record.mv.shape[1] < n:
        raise RecordError(
            f"record {record.name!r} has {record.duration:.4g} s; expected {seconds:g} s. Ask for fewer seconds."
        )
    record = record.cut(0.0, seconds)
    if unknown := int(np.isnan(record.mv).sum()):
        raise RecordError(f"record {record.name!r} has {unknown} unknown samples (NaN); expected none.")
    return record


def _measured(d: Delineation | None) -> Floats:
    if d is None:
        return np.full(len(MEASURES), np.nan)
    return np.array([read(d) for _, _, read in MEASURES.values()], np.float64)


def _person(record: Record) -> Floats:
    sex, age = record.meta.get("sex"), record.meta.get("age")
    return np.array([
        {"F": 1.0, "M": 0.0}.get(str(sex), np.nan),
        float(age) if isinstance(age, (int, float)) else np.nan,
    ])  # fmt: skip


@dataclass(frozen=True)
class Score:
    """One line of the table: a value of fake against real, its interval, and the value of real against real."""

    key: str
    group: str
    title: str
    unit: str
    value: float
    low: float
    high: float
    floor: float


@dataclass(frozen=True)
class Pair:
    """A generated record beside the training record nearest to it: (8, samples) mV at 500 Hz each."""

    fake: str
    train: str
    distance: float  # in units of the median distance of held-out real records to their nearest training record
    fake_mv: NDArray[np.float32] = field(repr=False)
    train_mv: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Report:
    """What ``evaluate`` found. ``report["hr.ks"]`` is one Score; ``text``, ``json`` and ``html`` are for looking at.

    Attributes:
        title: of the fakes. scores: all of them. real, fake, train: the sets.
        floor: how the floor was made, in words. spurs: (lead, Hz, dB), highest first.
        plane: (records, 2) of real and of fake, for a picture. pairs: closest ones, closest first.
    """

    title: str
    scores: tuple[Score, ...]
    real: Described
    fake: Described
    train: Described | None
    floor: str
    spurs: tuple[tuple[str, float, float], ...]
    plane: tuple[Floats, Floats]
    pairs: tuple[Pair, ...]
    seed: int

    def __getitem__(self, key: str) -> Score:
        for score in self.scores:
            if score.key == key:
                return score
        raise KeyError(key)

    def __contains__(self, key: str) -> bool:
        return any(score.key == key for score in self.scores)

    def text(self) -> str:
        """The table for a terminal."""
        return _text(self)

    def json(self) -> dict[str, Any]:
        """Plain data; what is not finite is None."""
        return _json(self)

    def html(self) -> str:
        """One page with plots that loads nothing from elsewhere."""
        from .webpage import webpage

        return webpage(self)

    def save(self, stem: str | Path) -> list[Path]:
        """Write ``stem``.json and ``stem``.html; returns their paths."""
        stem = Path(stem)
        if stem.suffix in (".json", ".html"):
            stem = stem.with_suffix("")
        paths = [stem.with_name(stem.name + ending) for ending in (".json", ".html")]
        atomic_write(paths[0], (json.dumps(self.json(), indent=1, allow_nan=False) + "\n").encode())
        atomic_write(paths[1], self.html().encode())
        return paths


def evaluate(
    real: Iterable[Record], fake: Iterable[Record], train: Iterable[Record] | None = None, seed: int = 0,
    seconds: float = 10.0, title: str = "fake", encoder: Encoder | None = None,
    tell: Callable[[str], None] | None = None,
) -> Report:  # fmt: skip
    """Describe and compare: held-out real records, generated ones, and those that the generator was trained on.

    Raises UsageError if a set is too small, see ``describe``. Without ``train`` there is nothing about privacy. What is
    no sequence, as ``synth.generate`` returns, is made one.
    """
    sets = [
        describe(records if isinstance(records, Sequence) else list(records), seconds, encoder, what, tell)
        for what, records in (("real", real), ("fake", fake), ("train", train))
        if records is not None
    ]
    return compare(sets[0], sets[1], sets[2] if len(sets) > 2 else None, seed, title)


def compare(
    real: Described, fake: Described, train: Described | None = None, seed: int = 0, title: str = "fake",
    times: int = 200,
) -> Report:  # fmt: skip
    """The report on sets that are described already. ``times``: bootstrap samples, 0 for no intervals.

    Raises UsageError if they were not described alike.
    """
    for other in (fake, train or fake):
        if (other.seconds, set(other.embeddings)) != (real.seconds, set(real.embeddings)):
            raise UsageError(
                f"sets of {real.seconds:g} s ({', '.join(real.embeddings)}) and {other.seconds:g} s "
                f"({', '.join(other.embeddings)}); expected equal lengths and encoders. Describe them anew."
            )
    rngs = np.random.default_rng(np.random.SeedSequence([seed, 0xE7A])).spawn(6)
    if train is not None and len(train) >= 2 * LEAST:
        # Those that stand in for the fakes are not those that the spaces are fitted to.
        order = rngs[0].permutation(len(train))
        n = min(len(fake), len(train) // 2)
        stand_in, fitted, against = train.take(order[:n]), train.take(order[n:]), real
        floor = f"{n} training records in place of the fakes"
    else:
        order = rngs[0].permutation(len(real))
        half = len(real) // 2
        stand_in, fitted, against = real.take(order[:half]), real, real.take(order[half:])
        floor = f"one half of the real records ({half}) against the other"
    views = _views(fitted)
    found = _distribution(real, fake, views, rngs[1], times)
    base = _distribution(against, stand_in, views, rngs[2], 0)
    found |= _classified(real, fake, train, rngs[3], times)
    base |= _classified(against, stand_in, fitted if train is not None else None, rngs[4], 0)
    if "labels.tstr" in found and "labels.trtr" in found:
        base["labels.tstr"] = base["labels.trts"] = found.pop("labels.trtr")
    pairs: tuple[Pair, ...] = ()
    if train is not None:
        private, private_floor, pairs = _private(real, fake, train, views["random"], rngs[5])
        found |= private
        base |= private_floor
    described = _titles(real)
    lines = [
        Score(key, *described[key], e.value, e.low, e.high, base[key].value if key in base else float("nan"))
        for key, e in found.items()
        if key in described
    ]
    view = principal(fitted.features, 2)
    lines_found = sc.spurs(fake.psd.mean(axis=0), real.psd.mean(axis=0), real.hz)
    return Report(
        title, tuple(lines), real, fake, train, floor, tuple((LEADS8[s.row], s.hz, s.db) for s in lines_found),
        (view(real.features), view(fake.features)), pairs, seed,
    )  # fmt: skip


View = Callable[[Described], Array]


def _views(fitted: Described) -> dict[str, View]:
    """The spaces that sets are compared in, one for each encoder."""

    def view(name: str) -> View:
        space = _whitened(fitted.embeddings[name])
        return lambda d: space(d.embeddings[name])

    return {name: view(name) for name in fitted.embeddings}


def _whitened(features: Array) -> Space:
    """Principal components of equal weight: what sets a fake apart is seldom what varies most among real ECGs."""
    space = principal(features)
    sd = np.maximum(space(features).std(axis=0), 1e-9)
    return Space(space.mean, space.scale, space.axes / sd)


def _distribution(
    real: Described, fake: Described, views: Mapping[str, View], rng: np.random.Generator, times: int
) -> dict[str, Estimate]:
    """All that compares the two sets as distributions."""
    found: dict[str, Estimate] = {}
    strap = partial(sc.bootstrap, rng=rng, times=times)
    for k, key in enumerate(MEASURES):
        a, b = real.measures[:, k], fake.measures[:, k]
        found[f"{key}.ks"] = strap(sc.ks, (a, b), span=(0, 1))
        found[f"{key}.wasserstein"] = strap(sc.wasserstein, (a, b), span=(0, np.inf))
        found[f"{key}.difference"] = strap(sc.mean_difference, (a, b))
        found[f"{key}.sd_ratio"] = strap(sc.sd_ratio, (a, b), span=(0, np.inf))
        found[f"{key}.missing"] = strap(lambda x: float(np.isnan(x).mean()), (b,), span=(0, 1))
    found["normal.share"] = strap(np.mean, (fake.normal,), span=(0, 1))
    found["normal.ratio"] = strap(_ratio, (fake.normal, real.normal), span=(0, np.inf))
    found["correlation.max"] = strap(partial(_correlation, worst=True), (real.correlation, fake.correlation))
    found["correlation.mean"] = strap(partial(_correlation, worst=False), (real.correlation, fake.correlation))
    found |= _spectra(real, fake, rng, times)
    size = min(len(real), len(fake))
    for name, view in views.items():
        a, b = view(real), view(fake)
        found[f"{name}.fid"] = strap(sc.frechet, (a, b), span=(0, np.inf))
        found[f"{name}.kid"] = sc.mmd(sc.polynomial(a, b), rng, times)
        found[f"{name}.mmd"] = sc.mmd(sc.gaussian(a, b), rng, times)
        for what in ("density", "coverage", "precision", "recall"):
            mean = partial(_balls, what=what, size=size)
            span = (0.0, np.inf if what == "density" else 1.0)
            found[f"{name}.{what}"] = sc.half_samples(mean, (a, b), rng, times // 5, span)
    return found


def _ratio(a: Array, b: Array) -> float:
    share = float(np.mean(b))
    return float(np.mean(a)) / share if share else float("nan")


def _correlation(real: Array, fake: Array, worst: bool) -> float:
    """Greatest or mean absolute difference of the mean correlations between leads."""
    difference = np.abs(sc.mean_of_known(fake) - sc.mean_of_known(real))
    values = sc.known(difference[np.triu_indices(len(difference), 1)])
    if not values.size:
        return float("nan")
    return float(values.max() if worst else values.mean())


def _balls(real: Array, fake: Array, what: str, size: int) -> float:
    """A value of ``sc.manifold``, averaged over sets of equal size cut from the larger of the two."""
    m = min(len(real), len(fake), size)
    return float(np.mean([getattr(sc.manifold(a, b, BALLS), what) for a in _cut(real, m) for b in _cut(fake, m)]))


def _cut(x: Array, m: int, at_most: int = 3) -> list[Array]:
    """Disjoint sets of m rows, each spread over all rows: archives are in the order of their recording."""
    step = len(x) // m
    return [x[k::step][:m] for k in range(min(step, at_most))]


def _spectra(real: Described, fake: Described, rng: np.random.Generator, times: int) -> dict[str, Estimate]:
    """Differences of the mean log-PSDs, fake less real, and the highest spur."""
    hz = real.hz
    # Bands are means of dB per record, so that resampling needs no spectra.
    found = {}
    for low, high in BANDS:
        rows = [d.psd[:, :, (hz >= low) & (hz < high)].mean(axis=(1, 2), dtype=np.float64) for d in (real, fake)]
        found[f"psd.{low:g}-{high:g}"] = sc.bootstrap(sc.mean_difference, rows, rng, times)
    near = hz <= JUDGED[1] + 1.0
    inside = (hz[near] >= JUDGED[0]) & (hz[near] <= JUDGED[1])
    spectra = [sc.smooth(d.psd[:, :, near], hz[near], 0.5)[:, :, inside].astype(np.float32) for d in (real, fake)]
    found["psd.worst"] = sc.bootstrap(_worst, spectra, rng, min(times, 50), (0, np.inf))
    lines = sc.spurs(fake.psd.mean(axis=0), real.psd.mean(axis=0), hz, threshold=0.0)
    found["psd.spur"] = Estimate(lines[0].db if lines else 0.0)
    return found


def _worst(real: Array, fake: Array) -> float:
    return float(np.abs(fake.mean(axis=0) - real.mean(axis=0)).max())


def _classified(
    real: Described, fake: Described, train: Described | None, rng: np.random.Generator, times: int
) -> dict[str, Estimate]:
    """What classifiers can tell: fake from real, and classes across the two."""
    found = {}
    coarse = RandomEncoder().columns_below(60.0)
    tables: Mapping[str, View] = {
        "c2st.signal": lambda d: d.features,
        "c2st.coarse": lambda d: d.features[:, coarse:],
        "c2st.measures": _of_measures(real, fake),
    }
    for key, of in tables.items():
        a, b = sc.two_sample(of(real), of(fake), rng)
        found[key] = sc.bootstrap(lambda r, f: sc.auroc(f, r), (a, b), rng, times, (0, 1))
    return found | _labelled(real, fake, train, rng, times)


def _of_measures(real: Described, fake: Described) -> Callable[[Described], Floats]:
    """Measures, their squares and products, and which are missing: enough for a linear model to see spread, too."""
    both = np.concatenate([real.measures, fake.measures])
    middle = np.nan_to_num(sc.mean_of_known(both))
    scale = np.sqrt(np.nan_to_num(sc.mean_of_known((both - middle) ** 2))) + 1e-6

    def features(d: Described) -> Floats:
        z = np.clip(np.nan_to_num((d.measures - middle) / scale), -6, 6)
        i, j = np.triu_indices(z.shape[1])
        return np.hstack([z, z[:, i] * z[:, j], np.isnan(d.measures)])

    return features


def _labelled(
    real: Described, fake: Described, train: Described | None, rng: np.random.Generator, times: int, least: int = 8
) -> dict[str, Estimate]:
    """Mean AUROC over classes of classifiers trained on fake and tested on real, and the other way round.

    Only classes with ``least`` records for and against in every set count. Nothing if fewer than two do.
    """
    sets = [real, fake, *([train] if train is not None else [])]
    tables = []
    for d in sets:
        rows = np.array([k for k, c in enumerate(d.classes) if c], int)
        tables.append(
            (
                d.features[rows],
                np.array([[n in d.classes[k] for n in CLASSES] for k in rows], bool).reshape(-1, len(CLASSES)),
            )
        )
    enough = np.all([np.minimum(y.sum(axis=0), (~y).sum(axis=0)) >= least for _, y in tables], axis=0)
    if enough.sum() < 2:
        return {}
    (xr, yr), (xf, yf) = ((x, y[:, enough]) for x, y in tables[:2])
    xt, yt = (tables[2][0], tables[2][1][:, enough]) if train is not None else (xr, yr)

    def of(x: Array, y: NDArray[np.bool_], xs: Array, ys: NDArray[np.bool_]) -> Estimate:
        out = sc.ridge(x, np.where(y, 1.0, -1.0))(xs)
        return sc.bootstrap(_mean_auroc, (np.hstack([out, ys]),), rng, times, (0, 1))

    found = {"labels.tstr": of(xf, yf, xr, yr), "labels.trts": of(xt, yt, xf, yf)}
    if train is not None:
        found["labels.trtr"] = of(xt, yt, xr, yr)
    return found


def _mean_auroc(table: Array) -> float:
    n = table.shape[1] // 2
    values = [sc.auroc(table[table[:, n + k] > 0, k], table[table[:, n + k] <= 0, k]) for k in range(n)]
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _private(
    real: Described, fake: Described, train: Described, view: View, rng: np.random.Generator
) -> tuple[dict[str, Estimate], dict[str, Estimate], tuple[Pair, ...]]:
    """Whether fakes lie nearer to training records than held-out ones do; the same for new records in their place."""
    f, t, h = view(fake), view(train), view(real)
    scale = sc.distances(h, t).min(axis=1)
    limit = np.quantile(scale, 0.05)

    def nearer(fake: Array, train: Array, held: Array) -> float:
        return sc.nearer_to_training(sc.distances(fake, train), sc.distances(fake, held))

    def member(fake: Array, train: Array, held: Array) -> float:
        return sc.membership(sc.distances(train, fake), sc.distances(held, fake))

    def copies(fake: Array, train: Array, held: Array) -> float:
        return sc.near_copies(sc.distances(fake, train), sc.distances(held, train))

    found = {
        "privacy.nearer": sc.half_samples(nearer, (f, t, h), rng, 20, (0, 1)),
        "privacy.membership": sc.half_samples(member, (f, t, h), rng, 20, (0, 1)),
        "privacy.copies": sc.bootstrap(
            lambda near: float((near <= limit).mean()), (sc.distances(f, t).min(axis=1),), rng, 200, (0, 1)
        ),
    }
    # The best generator draws new records as the training records were drawn, and those need not be quite like the
    # held-out ones: so one part of the training records plays the fakes of a generator that has seen only the rest.
    drawn = []
    for _ in range(5):
        order = rng.permutation(len(t))
        n = min(len(f), len(t) // 2)
        a, b = t[order[:n]], t[order[n:]]
        drawn.append((nearer(a, b, h), member(a, b, h), copies(a, b, h)))
    floor = {key: Estimate(value) for key, value in zip(found, np.mean(drawn, axis=0).tolist(), strict=True)}
    gap = sc.distances(f, t)
    closest = np.argsort(gap.min(axis=1))[:PAIRS]
    pairs = []
    for k in map(int, closest):
        j = int(gap[k].argmin())
        pairs.append(Pair(
            fake.names[k], train.names[j], float(gap[k, j] / max(float(np.median(scale)), 1e-12)),
            fake.signal(k), train.signal(j),
        ))  # fmt: skip
    return found, floor, tuple(pairs)


# What the values are called

SPACES = {
    "random": "random encoder", "trained": "trained encoder", "own": "own encoder",
}  # fmt: skip


def _titles(real: Described) -> dict[str, tuple[str, str, str]]:
    """Key -> (group, title, unit)."""
    titles: dict[str, tuple[str, str, str]] = {}
    for key, (title, unit, _) in MEASURES.items():
        for what, words, of in (
            ("ks", "KS", ""), ("wasserstein", "Wasserstein", unit), ("difference", "mean difference", unit),
            ("sd_ratio", "SD ratio", ""), ("missing", "not found", ""),
        ):  # fmt: skip
            titles[f"{key}.{what}"] = ("measures", f"{title}: {words}", of)
    titles["normal.share"] = ("normality", f"share that is normal by rules (real: {real.normal.mean():.3f})", "")
    titles["normal.ratio"] = ("normality", "the same over that of real", "")
    titles["correlation.max"] = ("leads", "correlation between leads, greatest difference", "")
    titles["correlation.mean"] = ("leads", "correlation between leads, mean difference", "")
    for low, high in BANDS:
        titles[f"psd.{low:g}-{high:g}"] = ("spectrum", f"log-PSD {low:g} to {high:g} Hz, fake less real", "dB")
    titles["psd.worst"] = ("spectrum", f"log-PSD, worst spot of any lead, {JUDGED[0]:g} to {JUDGED[1]:g} Hz", "dB")
    titles["psd.spur"] = ("spectrum", "highest line that real has not", "dB")
    for name, words in SPACES.items():
        for key, title in (("fid", "Fréchet distance"), ("kid", "kernel distance (KID)"), ("mmd", "MMD², Gaussian"),
                           ("density", "density"), ("coverage", "coverage"), ("precision", "precision"),
                           ("recall", "recall")):  # fmt: skip
            titles[f"{name}.{key}"] = (words, title, "")
    titles["c2st.signal"] = ("classifiers", "two-sample test on signals, AUROC", "")
    titles["c2st.coarse"] = ("classifiers", "two-sample test on signals below 60 Hz, AUROC", "")
    titles["c2st.measures"] = ("classifiers", "two-sample test on measures, AUROC", "")
    titles["labels.tstr"] = ("classifiers", "classes: trained on fake, tested on real, mean AUROC", "")
    titles["labels.trts"] = ("classifiers", "classes: trained on real, tested on fake, mean AUROC", "")
    titles["privacy.nearer"] = ("privacy", "share nearer to training than to held-out", "")
    titles["privacy.membership"] = ("privacy", "membership, AUROC", "")
    titles["privacy.copies"] = ("privacy", "share as near to training as 5 % of held-out are", "")
    return titles


def interval_table(report: Report) -> list[dict[str, Any]]:
    """One row per measure: mean and SD of real, fake and published, and the four distances as Scores."""
    rows = []
    for k, (key, (title, unit, _)) in enumerate(MEASURES.items()):
        of = {name: sc.known(d.measures[:, k]) for name, d in (("real", report.real), ("fake", report.fake))}
        rows.append({
            "key": key, "title": title, "unit": unit,
            **{name: (float(v.mean()), float(v.std(ddof=1))) if v.size > 1 else None for name, v in of.items()},
            "published": PUBLISHED.get(key),
            **{what: report[f"{key}.{what}"] for what in ("ks", "wasserstein", "difference", "sd_ratio", "missing")},
        })  # fmt: skip
    return rows


def number(value: float) -> str:
    """Three significant digits, without exponents where that can be read."""
    if not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    digits = min(4, max(0, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:.{digits}f}"


def mean_sd(pair: tuple[float, float] | None) -> str:
    """ "69.8 ± 7.6"; "-" for nothing."""
    return f"{number(pair[0])} ± {number(pair[1])}" if pair else "-"


def span(score: Score) -> str:
    """ "0.10 to 0.14"; empty if unknown."""
    return f"{number(score.low)} to {number(score.high)}" if math.isfinite(score.low) else ""


def _text(report: Report) -> str:
    lines = [summary(report), ""]
    head = f"{'':18}{'real':>16}{'fake':>17}{'published':>14}{'KS':>8}{'floor':>8}{'mean diff.':>12}{'SD ratio':>10}"
    lines.append(head)
    for row in interval_table(report):
        lines.append(
            f"{row['title'][:17]:18}{mean_sd(row['real']):>16}{mean_sd(row['fake']):>17}{mean_sd(row['published']):>14}"
            f"{number(row['ks'].value):>8}{number(row['ks'].floor):>8}{number(row['difference'].value):>12}"
            f"{number(row['sd_ratio'].value):>10}"
        )
    group = ""
    for score in report.scores:
        if score.group == "measures":
            continue
        if score.group != group:
            group = score.group
            lines += ["", f"{group:58}{'value':>9}{'95 % interval':>20}{'floor':>9}"]
        name = score.title + (f", {score.unit}" if score.unit else "")
        lines.append(f"  {name:56}{number(score.value):>9}{span(score):>20}{number(score.floor):>9}")
    lines.append("")
    lines.append(
        "spurs: " + (", ".join(f"{hz:g} Hz in {lead} (+{db:.1f} dB)" for lead, hz, db in report.spurs[:8]) or "none")
    )
    return "\n".join(lines)


def summary(report: Report) -> str:
    """What was compared with what, in a sentence or two."""
    counts = [f"{len(report.fake)} generated ({report.title})", f"{len(report.real)} held-out real"]
    if report.train is not None:
        counts.append(f"{len(report.train)} of training")
    left = sum(len(d.left_out) for d in (report.real, report.fake, report.train) if d is not None)
    return f"{', '.join(counts)} records{f', {left} left out' if left else ''}. Floor: {report.floor}."


def _json(report: Report) -> dict[str, Any]:
    sets = {"real": report.real, "fake": report.fake, "train": report.train}
    plain = {
        "evaluator": f"synth.evaluate {__version__}", "title": report.title, "seed": report.seed, "floor": report.floor,
        "records": {name: len(d) for name, d in sets.items() if d is not None},
        "left_out": {name: [list(x) for x in d.left_out] for name, d in sets.items() if d is not None},
        "measures": [
            {key: row[key] for key in ("key", "unit", "real", "fake", "published")} for row in interval_table(report)
        ],
        "scores": {
            s.key: {"title": s.title, "group": s.group, "unit": s.unit, "value": s.value, "interval": [s.low, s.high],
                    "floor": s.floor}
            for s in report.scores
        },
        "spurs": [{"lead": lead, "hz": hz, "db": db} for lead, hz, db in report.spurs],
        "closest_pairs": [{"fake": p.fake, "train": p.train, "distance": p.distance} for p in report.pairs],
    }  # fmt: skip
    result: dict[str, Any] = _plain(plain)
    return result


def _plain(value: Any) -> Any:
    """As JSON knows it; what is not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


# The command

_EPILOG = """\
REAL, FAKE and DIR are what ecg-image-gen reads: a file or folder, ptbxl:DIR, wfdb:DIR, csv:DIR, npz:DIR, ecgsyn, ...;
gan:MODEL generates. @START:STOP takes a part of them, counted as Python counts.

examples:
  python -m synth.evaluate ptbxl:DIR@-300: gan:beats --train ptbxl:DIR@:-300 --out report
      the last 300 records against generated ones; report.json, report.html
  python -m synth.evaluate real/ fake/
      two folders of records, without what needs the training records

exit status: 0 done, 1 something could not be read or written, 2 wrong request
"""


class _Records(Sequence[Record]):
    """Records of a source, read when asked for: signals of thousands of records are a gigabyte."""

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        self._source, self._names = source, names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, k: int) -> Record: ...
    @overload
    def __getitem__(self, k: slice) -> Sequence[Record]: ...
    def __getitem__(self, k: int | slice) -> Record | Sequence[Record]:
        if isinstance(k, slice):
            return _Records(self._source, self._names[k])
        return self._source.load(self._names[k])


def open_records(spec: str, limit: int | None = None, seed: int = 0, duration: float | None = None) -> Sequence[Record]:
    """The records that ``KIND:PATH@START:STOP`` names, at most ``limit``; ``gan:MODEL`` generates (1,000, or as many
    as the part needs, of ``duration`` s).

    Raises UsageError for an unknown kind, a missing path, or a part that is empty.
    """
    options: dict[str, Any] = {}
    place, part = split_part(spec)
    if place.partition(":")[0] == "gan":
        options = {"n": max(limit or 1000, part.stop or 0), "seed": seed, "duration": duration}
    source, names = open_part(spec, **options)
    return _Records(source, names[:limit])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(f"{message}. See {self.prog} --help.")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = _Parser(
        "python -m synth.evaluate",
        description="Compare generated ECGs with real ones: how real, how varied, how private.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = p.add_argument
    add("real", metavar="REAL", help="real records that the generator was not trained on, 300 or more")
    add("fake", metavar="FAKE", help="generated records, 1,000 or so")
    add("--train", metavar="DIR", help="records it was trained on, to see whether it keeps them to itself")
    add("--out", metavar="STEM", help="write STEM.json and STEM.html [print only]")
    add("--seed", type=int, default=0, help="of what is drawn at random [0]")
    add("--seconds", type=float, default=10.0, metavar="S", help="of each record, from its start [10]")
    add("--limit", type=int, metavar="N", help="records of each set at most [all; 1000 of gan:MODEL]")
    add("--encoder", metavar="FILE", help="an ONNX network, (records, 8, samples) mV at 500 Hz -> (records, features)")
    add("--quiet", action="store_true", help="print only errors")
    return p


@command()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = parser().parse_args(argv)
    if options.limit is not None and options.limit < LEAST:
        raise UsageError(f"--limit {options.limit}; expected {LEAST} or more.")
    if options.seed < 0:
        raise UsageError(f"--seed {options.seed}; expected 0 or more.")
    encoder = OnnxEncoder(options.encoder) if options.encoder else None
    specs = [options.real, options.fake, *([options.train] if options.train else [])]
    sets = [open_records(spec, options.limit, options.seed, options.seconds) for spec in specs]
    begin = time.perf_counter()
    tell = None if options.quiet or not sys.stderr.isatty() else partial(print, end="\r", file=sys.stderr)
    report = evaluate(
        sets[0], sets[1], sets[2] if len(sets) > 2 else None, options.seed, options.seconds, options.fake, encoder,
        tell,
    )  # fmt: skip
    if not options.quiet:
        print(report.text())
        print(f"{time.perf_counter() - begin:.0f} s")
    if options.out:
        for path in report.save(options.out):
            if not options.quiet:
                print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
