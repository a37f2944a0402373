"""Statistics that tell two sets of ECGs apart: pure functions of arrays, each with its source.

``real`` and ``fake`` are (records, features) unless said otherwise. A value by itself means little: compare it with the
same value for two sets of real records of the same sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ecg_image_kit.errors import UsageError

Floats: TypeAlias = NDArray[np.float64]
Array: TypeAlias = NDArray[Any]
Statistic: TypeAlias = Callable[..., float]

_FLOOR = 1e-9  # mV²/Hz, three times the noise of rounding to 1 uV at 500 Hz: less than that is silence
_ALPHAS = np.logspace(-4, 3, 15)  # of ridge, relative to the mean eigenvalue of the Gram matrix


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN where there was too little to measure."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


# Intervals


def bootstrap(
    statistic: Statistic, samples: Sequence[Array], rng: np.random.Generator, times: int = 200,
    span: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:  # fmt: skip
    """Value and normal bootstrap interval (Efron and Tibshirani 1993); each sample is resampled along its first axis.

    Around the value, because distances between distributions grow when records are drawn twice, and percentiles of
    what was drawn would take that over. ``span``: what the statistic can be at all.
    """
    value = float(statistic(*samples))
    if not times or not np.isfinite(value) or min(len(s) for s in samples) < 2:
        return Estimate(value)
    drawn = [statistic(*(s[rng.integers(len(s), size=len(s))] for s in samples)) for _ in range(times)]
    return _around(value, drawn, span)


def half_samples(
    statistic: Statistic, samples: Sequence[Array], rng: np.random.Generator, times: int = 40,
    span: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:  # fmt: skip
    """Value and normal interval from the spread over random halves (delete-half jackknife, Shao and Wu 1989).

    For what looks at nearest neighbours: a record that is drawn twice would be its own neighbour at distance 0.
    """
    value = float(statistic(*samples))
    if not times or not np.isfinite(value) or min(len(s) for s in samples) < 4:
        return Estimate(value)
    drawn = [statistic(*(s[rng.permutation(len(s))[: len(s) // 2]] for s in samples)) for _ in range(times)]
    return _around(value, drawn, span)


def _around(value: float, drawn: Sequence[float], span: tuple[float, float]) -> Estimate:
    reach = 1.96 * float(np.nanstd(np.asarray(drawn, float), ddof=1))
    return Estimate(value, *np.clip([value - reach, value + reach], *span).tolist())


# One number per record


def known(x: Array) -> Floats:
    """What is not NaN."""
    return np.asarray(x[np.isfinite(x)], np.float64)


def mean_of_known(x: Array) -> Floats:
    """Mean over the first axis of what is not NaN; NaN where nothing is."""
    there = np.isfinite(x)
    count = there.sum(axis=0)
    total = np.where(there, x, 0.0).sum(axis=0)
    result: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return result


def ks(a: Array, b: Array) -> float:
    """Kolmogorov-Smirnov distance of two samples, 0 to 1; NaN values are left out."""
    a, b = np.sort(known(a)), np.sort(known(b))
    if not (a.size and b.size):
        return float("nan")
    both = np.concatenate([a, b])
    gap = np.searchsorted(a, both, side="right") / a.size - np.searchsorted(b, both, side="right") / b.size
    return float(np.abs(gap).max())


def wasserstein(a: Array, b: Array) -> float:
    """Earth mover's distance of two samples in their unit; NaN values are left out."""
    a, b = np.sort(known(a)), np.sort(known(b))
    if not (a.size and b.size):
        return float("nan")
    both = np.sort(np.concatenate([a, b]))
    at = both[:-1]
    gap = np.searchsorted(a, at, side="right") / a.size - np.searchsorted(b, at, side="right") / b.size
    return float(np.abs(gap) @ np.diff(both))


def mean_difference(a: Array, b: Array) -> float:
    """Mean of b less mean of a."""
    a, b = known(a), known(b)
    return float(b.mean() - a.mean()) if a.size and b.size else float("nan")


def sd_ratio(a: Array, b: Array) -> float:
    """Standard deviation of b over that of a."""
    a, b = known(a), known(b)
    return float(b.std(ddof=1) / a.std(ddof=1)) if min(a.size, b.size) > 1 and np.ptp(a) > 0 else float("nan")


def auroc(positive: Array, negative: Array) -> float:
    """Area under the ROC curve: how often a positive scores above a negative, ties counting half."""
    if not (len(positive) and len(negative)):
        return float("nan")
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left") + np.searchsorted(ordered, positive, side="right")
    return float(below.mean() / (2 * len(negative)))


# Distributions in a feature space


def frechet(real: Array, fake: Array) -> float:
    """Fréchet distance of the Gaussians fitted to two samples (FID of Heusel et al. 2017). Biased upwards by 1/n."""
    a, b = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    ca, cb = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    values, vectors = np.linalg.eigh(ca)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cb @ root), 0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * cross)


@dataclass(frozen=True)
class Kernels:
    """Gram matrices of two samples, and how often each record counts: resampling needs no new kernels."""

    rr: Floats
    ff: Floats
    rf: Floats

    def mmd(self, real: NDArray[np.int64], fake: NDArray[np.int64]) -> float:
        """Unbiased squared MMD (Gretton et al., JMLR 2012) of the records with these numbers."""
        w = np.bincount(real, minlength=len(self.rr)).astype(float)
        v = np.bincount(fake, minlength=len(self.ff)).astype(float)
        return float(_pairs(self.rr, w) + _pairs(self.ff, v) - 2 * (w @ self.rf @ v) / (w.sum() * v.sum()))


def _pairs(gram: Floats, w: Floats) -> float:
    """Mean over pairs of different records, ``w`` saying how often each is there."""
    diagonal = np.diag(gram)
    return float((w @ gram @ w - (w * w) @ diagonal) / (w.sum() ** 2 - (w * w).sum()))


def polynomial(real: Array, fake: Array) -> Kernels:
    """The kernel of KID (Binkowski et al. 2018): (x y / d + 1)³."""
    a, b = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    d = a.shape[1]
    return Kernels(*((x @ y.T / d + 1) ** 3 for x, y in ((a, a), (b, b), (a, b))))


def gaussian(real: Array, fake: Array) -> Kernels:
    """Mean of three Gaussian kernels, of half, one and two times the median distance within ``real``."""
    rr, ff, rf = distances(real, real), distances(fake, fake), distances(real, fake)
    width = float(np.median(rr[np.triu_indices(len(rr), 1)])) or 1.0
    return Kernels(
        *(np.mean([np.exp(-((d / (s * width)) ** 2) / 2) for s in (0.5, 1, 2)], axis=0) for d in (rr, ff, rf))
    )


def mmd(kernels: Kernels, rng: np.random.Generator, times: int = 200) -> Estimate:
    """Unbiased squared MMD with its bootstrap interval; about 0, and as often below it, for equal distributions."""
    return bootstrap(kernels.mmd, [np.arange(len(kernels.rr)), np.arange(len(kernels.ff))], rng, times)


def distances(a: Array, b: Array) -> Floats:
    """(len(a), len(b)) Euclidean distances."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * (a @ b.T)
    result: Floats = np.sqrt(np.maximum(squares, 0.0))
    return result


@dataclass(frozen=True)
class Manifold:
    """How far two samples lie in each other, by balls that reach to each record's k-th neighbour in its own sample.

    density, coverage: Naeem et al., ICML 2020; precision, recall: Kynkäänniemi et al., NeurIPS 2019. All but density
    are 0 to 1. Equal distributions give a density of 1, a coverage of 1 - 2^-k, whatever the features.
    """

    density: float
    coverage: float
    precision: float
    recall: float


def manifold(real: Array, fake: Array, k: int = 5) -> Manifold:
    """Raises UsageError unless both hold as many records, and more than k: the values depend on the sizes."""
    if len(real) != len(fake) or len(real) <= k:
        raise UsageError(f"{len(real)} real and {len(fake)} fake records; expected equally many, more than {k}.")
    across = distances(real, fake)
    real_reach = np.partition(distances(real, real), k, axis=1)[:, k, None]  # its own distance of 0 comes first
    fake_reach = np.partition(distances(fake, fake), k, axis=1)[:, k]
    inside = across <= real_reach
    return Manifold(
        density=float(inside.sum(axis=0).mean() / k),
        coverage=float(inside.any(axis=1).mean()),
        precision=float(inside.any(axis=0).mean()),
        recall=float((across <= fake_reach).any(axis=1).mean()),
    )


# Classifiers


@dataclass(frozen=True)
class Linear:
    """A linear map of standardised features: (records, features) -> (records, outputs)."""

    mean: Floats
    scale: Floats
    weights: Floats
    offset: Floats

    def __call__(self, x: Array) -> Floats:
        result: Floats = (np.asarray(x, np.float64) - self.mean) / self.scale @ self.weights + self.offset
        return result


def ridge(x: Array, y: Array, counts: Array | None = None) -> Linear:
    """Ridge regression of y (records, outputs) on x, its penalty chosen by the leave-one-out error.

    Solved in the dual, as ridge on thousands of random convolution features is (Dempster et al., ROCKET, 2020).
    ``counts``: a weight for each record. The penalty is one for all outputs, which should be of one scale.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64).reshape(len(x), -1)
    w = np.ones(len(x)) if counts is None else np.asarray(counts, np.float64) * len(x) / np.sum(counts)
    mean = w @ x / len(x)
    scale = np.sqrt(w @ (x - mean) ** 2 / len(x))
    scale = np.where(scale > 1e-9, scale, 1.0)
    offset = w @ y / len(x)
    root = np.sqrt(w)[:, None]
    z, target = (x - mean) / scale * root, (y - offset) * root
    values, vectors = np.linalg.eigh(z @ z.T)
    values = np.maximum(values, 0.0)
    turned = vectors.T @ target
    best, chosen = np.inf, np.zeros_like(target)
    for alpha in _ALPHAS * max(values.mean(), 1e-12):
        dual = vectors @ (turned / (values + alpha)[:, None])
        left_out = dual / ((vectors**2) @ (1 / (values + alpha)))[:, None]
        if (error := float((left_out**2).sum())) < best:
            best, chosen = error, dual
    return Linear(mean, scale, z.T @ chosen, offset)


def two_sample(real: Array, fake: Array, rng: np.random.Generator, folds: int = 5) -> tuple[Floats, Floats]:
    """Cross-validated scores (of real, of fake) of a classifier taught to tell them apart; higher is more fake-like.

    Their ``auroc`` is the classifier two-sample test (Lopez-Paz and Oquab, ICLR 2017): 0.5 if nothing tells them
    apart, 1 if every record gives itself away. Both sets weigh the same whatever their sizes.
    """
    x = np.concatenate([real, fake])
    y = np.concatenate([np.full(len(real), -1.0), np.full(len(fake), 1.0)])
    weight = np.where(y > 0, 0.5 / len(fake), 0.5 / len(real))
    part = np.concatenate([rng.permutation(np.arange(len(s)) % folds) for s in (real, fake)])
    scores = np.empty(len(x))
    for fold in range(folds):
        seen = part != fold
        scores[~seen] = ridge(x[seen], y[seen], weight[seen])(x[~seen])[:, 0]
    return scores[: len(real)], scores[len(real) :]


# Privacy


def nearer_to_training(to_train: Array, to_held: Array) -> float:
    """Share of fakes whose nearest training record is nearer than the nearest of equally many held-out records.

    ``to_train`` (fakes, training), ``to_held`` (fakes, held-out): distances. The larger of the two sets is thinned to
    the size of the other, and the share is the expectation over all ways of doing that: 0.5 if fakes know nothing of
    the training records but their distribution, more if they are drawn towards them. After Yale et al., Neurocomputing
    416:244 (2020).
    """
    if to_train.shape[1] < to_held.shape[1]:
        return 1.0 - nearer_to_training(to_held, to_train)
    n, m = to_train.shape[1], to_held.shape[1]
    nearest = to_held.min(axis=1, keepdims=True)
    # That none of the `closer` ones is among m drawn from n: product of (n - m - i) / (n - i) for i below `closer`.
    steps = np.log(np.maximum(n - m - np.arange(n), 0) / (n - np.arange(n)), where=np.arange(n) < n - m,
                   out=np.full(n, -np.inf))  # fmt: skip
    none = np.exp(np.concatenate([[0.0], np.cumsum(steps)]))
    below, up_to = (to_train < nearest).sum(axis=1), (to_train <= nearest).sum(axis=1)
    return float(1.0 - (none[below] + none[up_to]).mean() / 2)


def membership(train_to_fake: Array, held_to_fake: Array) -> float:
    """AUROC of telling training records from held-out ones by their nearest fake; 0.5 is safe.

    The attack of GAN-Leaks (Chen et al., CCS 2020) without access to the model.

    ``train_to_fake`` (training, fakes), ``held_to_fake`` (held-out, fakes): distances.
    """
    return auroc(-train_to_fake.min(axis=1), -held_to_fake.min(axis=1))


def near_copies(fake_to_train: Array, held_to_train: Array, quantile: float = 0.05) -> float:
    """Share of fakes as near to a training record as only ``quantile`` of the held-out real records are.

    The distance to the closest record, as for tables (Zhao et al., CTAB-GAN, 2021), with real records as the measure.
    """
    limit = np.quantile(held_to_train.min(axis=1), quantile)
    return float((fake_to_train.min(axis=1) <= limit).mean())


# Spectra


def log_psd(mv: Array, fs: float, seconds: float = 4.0) -> tuple[Floats, NDArray[np.float32]]:
    """Frequencies in Hz, and (..., bins) dB re 1 mV²/Hz (Welch; Hann windows of ``seconds``, without their slope)."""
    from scipy.signal import welch

    n = min(round(seconds * fs), mv.shape[-1])
    hz, power = welch(mv, fs, nperseg=n, detrend="linear", axis=-1)
    db: NDArray[np.float32] = (10 * np.log10(power + _FLOOR)).astype(np.float32)
    return np.asarray(hz, np.float64), db


def smooth(db: Array, hz: Floats, width: float = 1.0) -> Floats:
    """Running mean over ``width`` Hz along the last axis, shorter at its ends."""
    half = max(0, round(width / 2 / (hz[1] - hz[0])))
    sums = np.cumsum(np.concatenate([np.zeros((*db.shape[:-1], 1)), np.asarray(db, np.float64)], axis=-1), axis=-1)
    at = np.arange(hz.size)
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, hz.size)
    result: Floats = (sums[..., high] - sums[..., low]) / (high - low)
    return result


@dataclass(frozen=True)
class Line:
    """A narrow line in a mean spectrum: its row, its frequency in Hz, and its height over its surroundings in dB."""

    row: int
    hz: float
    db: float


def excess(db: Array, hz: Floats, reach: float = 2.5) -> Floats:
    """dB over the median within ``reach`` Hz to both sides, along the last axis."""
    from numpy.lib.stride_tricks import sliding_window_view

    half = max(2, round(reach / (hz[1] - hz[0])))
    padded = np.pad(np.asarray(db, np.float64), [(0, 0)] * (db.ndim - 1) + [(half, half)], mode="reflect")
    result: Floats = db - np.median(sliding_window_view(padded, 2 * half + 1, axis=-1), axis=-1)
    return result


def spurs(
    fake: Array, real: Array, hz: Floats, low: float = 5.0, threshold: float = 3.0, reach: float = 2.5
) -> tuple[Line, ...]:  # fmt: skip
    """Lines in the mean spectra ``fake`` (rows, bins) of ``threshold`` dB and more that ``real`` does not have.

    Below ``low`` Hz the harmonics of the heart rate are lines of their own. A line of the mains that real recordings
    have too counts only by what it exceeds theirs. The highest bin of each line is returned, the highest line first.
    """
    over = excess(fake, hz, reach) - np.maximum(excess(real, hz, reach), 0.0)
    over = np.where(hz >= low, over, -np.inf)
    step = max(2, round(1.0 / (hz[1] - hz[0])))
    found = []
    for row, values in enumerate(over):
        values = values.copy()
        while (top := float(values.max())) >= threshold:
            at = int(values.argmax())
            found.append(Line(row, float(hz[at]), top))
            values[max(0, at - step) : at + step + 1] = -np.inf
    return tuple(sorted(found, key=lambda line: -line.db))


def correlations(mv: Array) -> Floats:
    """(records, leads, leads) Pearson correlations of (records, leads, samples); NaN for flat leads."""
    x = np.asarray(mv, np.float64)
    x = x - x.mean(axis=-1, keepdims=True)
    norm = np.sqrt((x * x).sum(axis=-1))
    norm = np.where(norm > 1e-9, norm, np.nan)
    result: Floats = (x @ x.swapaxes(-1, -2)) / (norm[..., None] * norm[..., None, :])
    return result
