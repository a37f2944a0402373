"""How near a reading is to the truth: three signal-to-noise ratios that are in use, and what the error consists of.

A page's truth is a Record of full length with NaN outside each lead's printed window; a reading has the same form, NaN
where nothing was read. The three ratios treat the same pair differently, so a number means little without its name:

=============  =================  ================  ======================  ================  =======================
name           time alignment     baseline          signal power            an unread sample  over pages
=============  =================  ================  ======================  ================  =======================
``plain``      none               mean difference   about each lead's mean  is the mean       mean of dB
``kaggle``     best within 0.2 s  mean difference   raw, offset included    is 0 mV           dB of the mean, <= 25.84
``challenge``  best within 0.5 s  best within 1 mV  raw, offset included    lowers a factor   mean of all leads' dB
=============  =================  ================  ======================  ================  =======================

Everything works on (samples,) arrays in mV; sample k is at k / fs seconds. From the command line::

    python -m digitizer.metrics TRUTH_DIR RESULT_DIR [--csv FILE] [--metric plain,kaggle,challenge]
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import zipfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecg_image_kit.command import command
from ecg_image_kit.errors import EcgError, RecordError, UsageError
from ecg_image_kit.record import Record, atomic_write
from ecg_image_kit.sources import open_source

Array = NDArray[np.float64]

METRICS = {"plain": "dB", "kaggle": "dB", "challenge": "dB", "median": "dB", "asci": "", "ks": "", "wad": "mV"}  # units
DEFAULT_METRICS = ("plain", "kaggle", "challenge")
KAGGLE_CAP = 384.0  # linear; 25.84 dB. The same number, negated, is the floor in dB.
KAGGLE_SHIFT = 0.2  # s
CHALLENGE_SHIFT = 0.5  # s
CHALLENGE_OFFSET = 1.0  # mV
CHALLENGE_LEVELS = 256
NAN = float("nan")


class Power(NamedTuple):
    """Energy of a signal and of the error made in reading it: sums of squares, mV^2."""

    signal: float
    error: float

    @property
    def db(self) -> float:
        """10 log10(signal / error); inf without an error (even of a flat signal), -inf for an error on a flat one."""
        if self.error == 0:
            return float("inf")
        return float(10 * np.log10(self.signal / self.error)) if self.signal > 0 else float("-inf")


def pool(powers: Iterable[Power]) -> Power:
    """Energies added up, so that leads weigh by what they carry."""
    powers = tuple(powers)
    return Power(sum(p.signal for p in powers), sum(p.error for p in powers))


# Plain SNR: the primary figure.


def plain_power(truth: ArrayLike, estimate: ArrayLike) -> Power:
    """Signal (about its mean) and error of one lead over its printed window, where ``truth`` is finite.

    truth, estimate: (samples,) mV. The mean difference over the samples read is removed; nothing is shifted in time.
    An unread sample counts as the truth's mean, so that a lead that was not read at all scores exactly 0 dB.
    """
    t, e = _pair(truth, estimate)
    if not t.size:
        return Power(0.0, 0.0)
    signal = t - t.mean()
    error = signal.copy()
    read = np.isfinite(e)
    if read.any():
        difference = e[read] - t[read]
        error[read] = difference - difference.mean()
    return Power(_energy(signal), _energy(error))


# Kaggle 2025, "PhysioNet - Digitization of ECG Images".


def kaggle_power(label: ArrayLike, prediction: ArrayLike, fs: float) -> Power:
    """Raw label energy (offset kept) and error energy of one lead after the competition's alignment.

    label, prediction: (samples,) mV at ``fs`` Hz, of which the window from the first to the last finite label is used.
    The prediction is shifted by the lag of the largest full cross-correlation of the mean-free signals within
    int(0.2 fs) samples (ties: the smallest lag), what is shifted in is unread, the mean difference over the overlap is
    removed, and unread samples then count as 0 mV. The competition refused predictions with NaN; here they are left out
    of the means and treated like samples shifted in.
    """
    t, e = _window(label, prediction)
    if not t.size:
        return Power(0.0, 0.0)
    aligned = _shift(e, -_best_lag(t, e, int(KAGGLE_SHIFT * fs)))
    printed = np.isfinite(t)
    overlap = printed & np.isfinite(aligned)
    if overlap.any():
        aligned += (t[overlap] - aligned[overlap]).mean()
    return Power(_energy(t[printed]), _energy((t - np.nan_to_num(aligned))[printed]))


def kaggle_ratio(page: Power) -> float:
    """A page's linear value: min(signal / error, 384); 384 without error, 0 without signal."""
    if page.error == 0:
        return KAGGLE_CAP
    return min(page.signal / page.error, KAGGLE_CAP)


def kaggle_score(ratios: Iterable[float]) -> float:
    """The competition's score, dB: of the mean of the pages' linear values, floored at -384. At most 25.84."""
    mean = float(np.mean(list(ratios)))
    return max(float(10 * np.log10(mean)), -KAGGLE_CAP) if mean > 0 else -KAGGLE_CAP


# PhysioNet Challenge 2024.


@dataclass(frozen=True)
class ChallengeScore:
    """One lead under the rules of the PhysioNet Challenge 2024, after its alignment in time and voltage.

    Attributes:
        challenge: SNR, dB, times the share of the printed samples that was read; 0 if none was, NaN for zeros.
        median: the same with the median instead of the mean error power.
        asci, ks, wad: see the functions; NaN unless the extras were asked for.
        shift, offset: what was added to the estimate, samples (positive: later) and mV.
    """

    challenge: float
    median: float
    asci: float
    ks: float
    wad: float
    shift: int
    offset: float


def challenge_score(truth: ArrayLike, estimate: ArrayLike, fs: float, extras: bool = True) -> ChallengeScore:
    """Score one lead, (samples,) mV at ``fs`` Hz, as the PhysioNet Challenge 2024 did.

    The estimate is moved by (dx, dy) from ``challenge_shift``, if |dx| <= round(0.5 fs) samples and |dy| <= 1 mV; then
    SNR = 10 log10(mean truth^2 / mean (truth - estimate)^2) * joint / printed, over jointly known samples, not clipped.
    The last factor penalises unread samples only while the SNR is positive; that is the Challenge's rule.
    """
    t, e = _arrays(truth, estimate)
    shift, offset = challenge_shift(t, e)
    if abs(shift) > round(CHALLENGE_SHIFT * fs) or abs(offset) > CHALLENGE_OFFSET:
        shift, offset = 0, 0.0
    moved = _shift(e, shift) + offset
    a, b = _joint(t, moved)
    share = a.size / max(int(np.isfinite(t).sum()), 1)

    def snr(middle: Callable[[Array], Any]) -> float:
        if not a.size:
            return 0.0
        power = Power(float(np.mean(a**2)), float(middle((a - b) ** 2)))
        return NAN if power.signal == 0 < power.error else power.db * share

    more = (asci(a, b), ks(a, b), weighted_difference(a, b, fs)) if extras else (NAN, NAN, NAN)
    return ChallengeScore(snr(np.mean), snr(np.median), *more, shift, offset)


def challenge_shift(truth: ArrayLike, estimate: ArrayLike) -> tuple[int, float]:
    """How the estimate must be moved to lie on the truth: (samples, positive = later; mV).

    Each signal becomes a binary image of 256 levels over their common range, one pixel per known sample, blurred by a
    Gaussian of 0.5 px; the shift is the peak of the images' cross-correlation (2-D FFT). Signals without a known sample
    or without a range are not moved.
    """
    t, e = _arrays(truth, estimate)
    known = np.flatnonzero(np.isfinite(t) | np.isfinite(e))
    if not (np.isfinite(t).any() and np.isfinite(e).any()):
        return 0, 0.0
    low, high = min(np.nanmin(t), np.nanmin(e)), max(np.nanmax(t), np.nanmax(e))
    if high == low:
        return 0, 0.0
    # Columns without ink do not change the correlation; two are kept because the blur reaches that far.
    columns = slice(max(known[0] - 2, 0), known[-1] + 3)
    shape = (_fast_size(2 * CHALLENGE_LEVELS - 1), _fast_size(2 * t[columns].size - 1))
    ref, est = (np.fft.rfft2(_picture(x[columns], low, high), shape) for x in (t, e))
    cross = np.fft.irfft2(ref * np.conj(est), shape)
    dy, dx = (int(k) for k in np.unravel_index(int(np.argmax(cross)), shape))
    dy, dx = (k - n if k > n // 2 else k for k, n in zip((dy, dx), shape, strict=True))
    return dx, float(dy * (high - low) / (CHALLENGE_LEVELS - 1))


def asci(truth: ArrayLike, estimate: ArrayLike, beta: float = 0.05) -> float:
    """Adaptive signed correlation index, -1 to 1: the mean of +1 where |error| <= beta SD(truth), else -1.

    Over jointly known samples; -1 without any. After Lian et al., Signal Processing 90, 2010.
    """
    t, e = _joint(truth, estimate)
    return float(np.mean(np.where(np.abs(t - e) <= beta * t.std(), 1.0, -1.0))) if t.size else -1.0


def ks(truth: ArrayLike, estimate: ArrayLike) -> float:
    """1 - the largest difference of the two normalised running sums of |signal| (Kolmogorov-Smirnov), 0 to 1.

    Over jointly known samples; 0 without any.
    """
    t, e = _joint(truth, estimate)
    if not t.size:
        return 0.0
    sums = [np.cumsum(np.abs(x)) for x in (t, e)]
    sums = [s / s[-1] if s[-1] > 0 else s for s in sums]
    return float(1 - np.max(np.abs(sums[0] - sums[1])))


def weighted_difference(truth: ArrayLike, estimate: ArrayLike, fs: float) -> float:
    """Mean |error| in mV, weighted by 1 - m / (2 max m), m being the truth's zero-phase moving average over 0.1 s.

    So low-lying stretches weigh up to twice as much as peaks. Over jointly known samples; NaN without any, or if the
    average is nowhere positive (the Challenge's formula then has no meaning).
    """
    from scipy.signal import filtfilt  # slow to import, and needed by this figure alone

    t, e = _joint(truth, estimate)
    width = max(round(0.1 * fs), 1)
    if t.size <= width:
        return NAN
    smooth = filtfilt(np.full(width, 1 / width), np.ones(1), t, method="gust")
    if smooth.max() <= 0:
        return NAN
    return float(np.average(np.abs(t - e), weights=1 - 0.5 * smooth / smooth.max()))


def _picture(x: Array, low: float, high: float) -> Array:
    """(256, samples) image of a signal, blurred by a Gaussian of 0.5 px that mirrors at the edges."""
    image = np.zeros((CHALLENGE_LEVELS, x.size))
    column = np.flatnonzero(np.isfinite(x))
    # Levels are rounded counting from 1, as the Challenge does: halves go to the even number.
    level = np.round((CHALLENGE_LEVELS - 1) * (x[column] - low) / (high - low) + 1).astype(int) - 1
    image[level, column] = 1.0
    kernel = np.exp(-0.5 * (np.arange(-2, 3) / 0.5) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        wide = np.pad(image, [(2, 2) if k == axis else (0, 0) for k in (0, 1)], mode="symmetric")
        image = np.asarray(np.lib.stride_tricks.sliding_window_view(wide, 5, axis) @ kernel)
    return image


def _fast_size(n: int) -> int:
    """The smallest 2^a 3^b 5^c >= n: lengths that the FFT likes."""
    size = n
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 1


# What the error consists of.


def lag_and_gain(truth: ArrayLike, estimate: ArrayLike, fs: float) -> tuple[float, float]:
    """(delay of the estimate in ms, positive = late; its gain at that delay, 1 = right).

    The whole-sample delay of the largest correlation within 0.2 s is refined, by up to a sample, to where the truth's
    correlation coefficient with the estimate interpolated between its samples is largest: good to 0.1 ms on a clean QRS
    at 100 to 1000 Hz. The gain is the least-squares slope of that interpolated estimate over the truth. NaN for a flat
    lead, one that is nowhere positively correlated, or one with under 32 usable samples.
    """
    t, e = _window(truth, estimate)
    if not np.isfinite(e).any():
        return NAN, NAN
    lag = _best_lag(t, e, int(KAGGLE_SHIFT * fs))
    reach = 8  # samples of the estimate on either side that the interpolation sees
    near = np.lib.stride_tricks.sliding_window_view(
        np.pad(_shift(e, -lag), reach, constant_values=np.nan), 2 * reach + 1
    )
    usable = np.isfinite(t) & np.isfinite(near).all(axis=1)
    t, near = _centred(t[usable]), near[usable]
    if t.size < 32 or not t.any() or np.ptp(near[:, reach]) == 0:
        return NAN, NAN
    fine: Array = np.linspace(-1, 1, 65, dtype=np.float64)
    # The variance is interpolated too, not taken of the interpolated estimate: there noise is smaller between samples.
    r = t @ near @ _sinc(fine, reach) / np.sqrt(np.maximum(near.var(axis=0) @ _sinc(fine, reach), 1e-9))
    k = min(max(int(np.argmax(r)), 1), fine.size - 2)
    if r[k] <= 0:
        return NAN, NAN
    bend = r[k - 1] - 2 * r[k] + r[k + 1]
    at = fine[k] + (fine[1] - fine[0]) * (0.5 * (r[k - 1] - r[k + 1]) / bend if bend < 0 else 0.0)
    return float(1000 * (lag + at) / fs), float(t @ near @ _sinc(np.array([at]), reach)[:, 0] / _energy(t))


def _sinc(at: Array, reach: int) -> Array:
    """(2 reach + 1, n) weights that interpolate at the offsets ``at``, |at| <= 1: a sinc under a cosine bell."""
    d = at - np.arange(-reach, reach + 1)[:, None]
    weight = np.sinc(d) * np.cos(0.5 * np.pi * np.clip(d / reach, -1, 1)) ** 2
    return np.asarray(weight / weight.sum(axis=0))


def _best_lag(t: Array, e: Array, limit: int) -> int:
    """By how many samples the estimate is late: the largest cross-correlation without means; ties: the smallest lag."""
    limit = min(limit, t.size - 1)
    # Direct sums instead of an FFT: only few lags are wanted, and exact ties stay exact.
    late = np.correlate(np.pad(np.nan_to_num(_centred(e)), limit), np.nan_to_num(_centred(t)), "valid")
    ties = np.flatnonzero(late == late.max())[::-1] - limit  # of +k and -k the competition's code takes the late one
    return int(ties[np.argmin(np.abs(ties))])


# Small parts.


def _arrays(truth: ArrayLike, estimate: ArrayLike) -> tuple[Array, Array]:
    t, e = np.array(truth, dtype=np.float64), np.array(estimate, dtype=np.float64)
    if t.ndim != 1 or t.shape != e.shape:
        raise RecordError(f"truth of shape {t.shape} and estimate of {e.shape}; expected twice the same (samples,).")
    t[~np.isfinite(t)] = np.nan
    e[~np.isfinite(e)] = np.nan
    return t, e


def _pair(truth: ArrayLike, estimate: ArrayLike) -> tuple[Array, Array]:
    """Both signals where the truth is known."""
    t, e = _arrays(truth, estimate)
    return t[np.isfinite(t)], e[np.isfinite(t)]


def _joint(truth: ArrayLike, estimate: ArrayLike) -> tuple[Array, Array]:
    """Both signals where both are known."""
    t, e = _pair(truth, estimate)
    return t[np.isfinite(e)], e[np.isfinite(e)]


def _window(truth: ArrayLike, estimate: ArrayLike) -> tuple[Array, Array]:
    """Both signals from the first to the last known sample of the truth."""
    t, e = _arrays(truth, estimate)
    known = np.flatnonzero(np.isfinite(t))
    window = slice(known[0], known[-1] + 1) if known.size else slice(0)
    return t[window], e[window]


def _centred(x: Array) -> Array:
    """x without its mean; exactly 0 if x is flat, where rounding would leave a pattern that correlates."""
    known = x[np.isfinite(x)]
    if not known.size:
        return x
    return x - float(known[0] if np.ptp(known) == 0 else known.mean())


def _energy(x: Array) -> float:
    return float(np.dot(x, x))


def _shift(x: Array, lag: int) -> Array:
    """x delayed by ``lag`` samples, NaN where nothing was shifted in."""
    out = np.full_like(x, np.nan)
    if lag >= 0:
        out[lag:] = x[: max(x.size - lag, 0)]
    else:
        out[:lag] = x[-lag:]
    return out


# Records.


@dataclass(frozen=True)
class LeadScore:
    """How one printed lead was read. NaN where a figure was not asked for or has no meaning.

    Attributes:
        lead: its name.
        printed, read: samples in the printed window, and how many of them the reading knows.
        plain, kaggle: energies; a page pools them. ``.db`` is the lead's own ratio (Kaggle's without its cap).
        challenge, median, asci, ks, wad: see ChallengeScore.
        lag_ms, gain: see lag_and_gain.
        correlation, rmse_mv: of the samples read, not shifted; for the RMSE the mean difference is removed.
        offset_mv: the mean difference, estimate - truth.
    """

    lead: str
    printed: int
    read: int
    plain: Power
    kaggle: Power
    challenge: float
    median: float
    asci: float
    ks: float
    wad: float
    lag_ms: float
    gain: float
    correlation: float
    rmse_mv: float
    offset_mv: float

    @property
    def unread(self) -> float:
        """Share of the printed samples that was not read."""
        return 1 - self.read / self.printed

    def value(self, metric: str) -> float:
        """One of METRICS, in its unit; Kaggle's rule is applied to this lead alone."""
        if metric == "plain":
            return self.plain.db
        if metric == "kaggle":
            return kaggle_score([kaggle_ratio(self.kaggle)])
        return float(getattr(self, metric))


@dataclass(frozen=True)
class PageScore:
    """How one page was read: its printed leads, in the truth's order. ``missing``: there was no reading at all."""

    name: str
    leads: tuple[LeadScore, ...]
    missing: bool = False

    @property
    def lag_ms(self) -> float:
        """Median over the leads: they share the page's time axis."""
        return _mean([lead.lag_ms for lead in self.leads], np.median)

    @property
    def gain(self) -> float:
        """Median over the leads."""
        return _mean([lead.gain for lead in self.leads], np.median)

    @property
    def unread(self) -> float:
        """Share of the page's printed samples that was not read."""
        return 1 - sum(lead.read for lead in self.leads) / sum(lead.printed for lead in self.leads)

    def value(self, metric: str) -> float:
        """One of METRICS, in its unit: energies are pooled over the leads, the Challenge's figures are their mean."""
        if metric == "plain":
            return pool(lead.plain for lead in self.leads).db
        if metric == "kaggle":
            return kaggle_score([kaggle_ratio(pool(lead.kaggle for lead in self.leads))])
        return _mean([lead.value(metric) for lead in self.leads])


def score(truth: Record, estimate: Record, metrics: Collection[str] = DEFAULT_METRICS) -> PageScore:
    """Score a reading of one page against its truth. ``plain`` and ``kaggle`` are always computed, others if asked for.

    Leads are paired by name, and every printed lead of the truth counts: one that the estimate lacks is unread. Both
    records start at 0 s; an estimate at another rate is resampled to the truth's, then cut or padded with NaN to its
    length. What the estimate holds outside a lead's printed window is ignored (except by the Challenge's alignment).
    Raises RecordError if the truth holds no known sample, UsageError for an unknown metric.
    """
    if unknown := sorted(set(metrics) - set(METRICS)):
        raise UsageError(f"unknown metric {', '.join(unknown)}; expected some of {', '.join(METRICS)}.")
    if not np.isclose(estimate.fs, truth.fs, rtol=1e-6):  # the rounded times of a CSV may miss the rate by a little
        estimate = estimate.resample(truth.fs)
    leads = []
    for lead, t in zip(truth.leads, truth.mv, strict=True):
        if np.isfinite(t).any():
            e = np.full(t.shape, np.nan)
            if lead in estimate.leads:
                known = estimate.lead(lead)[: t.size]
                e[: known.size] = known
            leads.append(_score_lead(lead, t, e, truth.fs, metrics))
    if not leads:
        raise RecordError(f"the truth of {truth.name!r} has no known sample, so there is nothing to score.")
    return PageScore(truth.name, tuple(leads))


def score_missing(truth: Record, metrics: Collection[str] = DEFAULT_METRICS) -> PageScore:
    """The score of a page without a reading: every rule applied to an estimate that is unknown throughout.

    So 0 dB in plain, Kaggle (its mean is of linear values: 1) and the Challenge's ratios.
    """
    nothing = replace(truth, mv=np.full_like(truth.mv, np.nan))
    return replace(score(truth, nothing, metrics), missing=True)


def _score_lead(lead: str, t: ArrayLike, e: ArrayLike, fs: float, metrics: Collection[str]) -> LeadScore:
    a, b = _joint(t, e)
    offset = float(np.mean(b - a)) if a.size else NAN
    rmse = float(np.std(b - a)) if a.size else NAN
    a, b = _centred(a), _centred(b)
    spread = np.sqrt(_energy(a) * _energy(b))
    asked = set(metrics) - {"plain", "kaggle"}  # the others' alignment costs a hundred times more
    extras = bool(asked & {"asci", "ks", "wad"})
    rules = challenge_score(t, e, fs, extras) if asked else ChallengeScore(NAN, NAN, NAN, NAN, NAN, 0, 0.0)
    lag, gain = lag_and_gain(t, e, fs)
    return LeadScore(
        lead=lead,
        printed=int(np.isfinite(t).sum()),
        read=a.size,
        plain=plain_power(t, e),
        kaggle=kaggle_power(t, e, fs),
        challenge=rules.challenge,
        median=rules.median,
        asci=rules.asci,
        ks=rules.ks,
        wad=rules.wad,
        lag_ms=lag,
        gain=gain,
        correlation=float(a @ b / spread) if spread > 0 else NAN,
        rmse_mv=rmse,
        offset_mv=offset,
    )


class Summary(NamedTuple):
    """One metric over many scores: its mean as the metric's own rules define it, and the SD (n - 1) of the scores."""

    mean: float
    sd: float


def summarise(scores: Sequence[PageScore | LeadScore], metric: str) -> Summary:
    """``metric`` (one of METRICS, or lag_ms, gain, unread) over pages, or over one lead's scores on many pages.

    plain: mean of dB. kaggle: dB of the mean linear value. The Challenge's: mean over every (page, lead). Scores that
    are NaN are left out. One score without any error is infinite in plain and challenge, and then so is the mean: a
    cap would be arbitrary, and only a file compared with itself gets there. The SD is NaN then, and of one score.
    """
    if metric not in METRICS:
        values = [float(getattr(s, metric)) for s in scores]
        return Summary(_mean(values), _sd(values))
    values = [s.value(metric) for s in scores]
    if metric == "kaggle":
        return Summary(kaggle_score([10 ** (v / 10) for v in values]), _sd(values))
    if metric == "plain":
        return Summary(_mean(values), _sd(values))
    every = [x.value(metric) for s in scores for x in (s.leads if isinstance(s, PageScore) else (s,))]
    return Summary(_mean(every), _sd(values))


def _mean(values: Iterable[float], middle: Callable[[Array], Any] = np.mean) -> float:
    known = np.array([v for v in values if not np.isnan(v)])
    return float(middle(known)) if known.size else NAN


def _sd(values: Iterable[float]) -> float:
    known = np.array([v for v in values if not np.isnan(v)])
    return float(np.std(known, ddof=1)) if known.size > 1 and np.isfinite(known).all() else NAN


# The command.

_SUFFIXES = (".hea", ".csv", ".npz", ".json")
_SHOWN = {"lag_ms": 1.0, "gain": 1.0, "unread": 100.0}  # beside the metrics, and in which multiple


@command()
def main(argv: Sequence[str] | None = None) -> int:
    """``python -m digitizer.metrics``: 0 if something was scored, 1 if nothing could be, 2 for a wrong request."""
    parser = argparse.ArgumentParser(
        prog="python -m digitizer.metrics",
        description="Score readings of ECG pages against their truth, paired by file name without its ending.",
    )
    parser.add_argument(
        "truth", type=Path, metavar="TRUTH_DIR", help="records (NAME.hea, .csv, .npz) or pages as saved"
    )
    parser.add_argument(
        "result", type=Path, metavar="RESULT_DIR", help="readings, NAME.csv as ecg-digitize writes, or alike"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write one row per page and lead")
    parser.add_argument(
        "--metric",
        default=",".join(DEFAULT_METRICS),
        metavar="NAME[,NAME...]",
        help=f"which of {', '.join(METRICS)} to give (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    _compare(args.truth, args.result, [name.strip() for name in args.metric.split(",")], args.csv)
    return 0


def _compare(truth_dir: Path, result_dir: Path, metrics: Sequence[str], table: Path | None) -> None:
    """Score every page, print the tables, write the CSV."""
    if unknown := [name for name in metrics if name not in METRICS]:
        raise UsageError(f"unknown metric {', '.join(unknown)!r}; expected some of {', '.join(METRICS)}.")
    for folder in (truth_dir, result_dir):
        if not folder.is_dir():
            raise UsageError(f"no folder {str(folder)!r}.")
    if truth_dir.resolve() == result_dir.resolve():
        raise UsageError(f"truth and results are the same folder {str(truth_dir)!r}; write the results elsewhere.")
    truths, results = _find(truth_dir, beside=result_dir), _find(result_dir, beside=truth_dir)
    if not truths:
        raise RecordError(f"nothing to score: no record in {str(truth_dir)!r}; expected {', '.join(_SUFFIXES)} files.")

    columns = [*metrics, *_SHOWN]
    width = max(len(name) for name in [*truths, "lead, pages read"])
    print(f"{'page':{width}}" + "".join(f"{_title(c):>14}" for c in columns))
    pages, failures = [], {}
    for name, path in truths.items():
        truth, page = _read(path), None
        if name not in results:
            failures[name] = "no result"
        else:
            try:
                page = score(truth, _read(results[name]), metrics)
            except EcgError as error:
                failures[name] = str(error)
        page = replace(page or score_missing(truth, metrics), name=name)
        pages.append(page)
        row = [page.value(c) if c in METRICS else getattr(page, c) for c in columns]
        print(f"{name:{width}}" + _cells(columns, row) + ("  missing" if page.missing else ""), flush=True)

    read = [page for page in pages if not page.missing]
    if read:
        print()
        for label, group in [("read", read), *([("all", pages)] if failures else [])]:
            stats = [summarise(group, c) for c in columns]
            print(f"{f'mean, {len(group)} {label}':{width}}" + _cells(columns, [s.mean for s in stats]))
            print(f"{f'SD, {len(group)} {label}':{width}}" + _cells(columns, [s.sd for s in stats]))
        print(f"\n{'lead, pages read':{width}}" + "".join(f"{_title(c):>14}" for c in columns))
        for lead in dict.fromkeys(lead.lead for page in read for lead in page.leads):
            same = [x for page in read for x in page.leads if x.lead == lead]
            print(f"{f'{lead}, {len(same)}':{width}}" + _cells(columns, [summarise(same, c).mean for c in columns]))
    if "kaggle" in metrics:
        print("\nkaggle: means are the competition's score, the dB of the mean linear value (at most 25.84).")
    for name, reason in failures.items():
        print(f"missing {name}: {reason}", file=sys.stderr)
    if extra := len(set(results) - set(truths)):
        print(f"{extra} results have no truth and were left out.", file=sys.stderr)
    if table is not None:
        atomic_write(table, _csv(pages, metrics).encode())
    if not read:
        raise RecordError(
            f"nothing to score: none of {len(truths)} pages has a readable result in {str(result_dir)!r}; "
            f"expected files named like {next(iter(truths))}.csv."
        )


def _find(folder: Path, beside: Path) -> dict[str, Path]:
    """Name -> record file, anywhere under ``folder``, but not under ``beside`` where that lies within.

    A page stored in several formats counts once, in the order of _SUFFIXES.
    """
    other = beside.resolve()
    nested = folder.resolve() in other.parents
    found: dict[str, Path] = {}
    for suffix in _SUFFIXES:
        for path in sorted(folder.rglob(f"*{suffix}")):
            if path.name.startswith(".") or (nested and other in path.resolve().parents):
                continue
            if not _is_record(path):
                continue
            if (known := found.setdefault(path.stem, path)).parent != path.parent:
                raise UsageError(
                    f"two records are called {path.stem!r}: {known} and {path}. Score the folders one by one."
                )
    return dict(sorted(found.items()))


def _is_record(path: Path) -> bool:
    """Whether a file is a record or a page's truth, and not just something else that ends alike."""
    if path.suffix == ".csv":
        with path.open("rb") as stream:
            return stream.read(6) == b"time_s"
    if path.suffix == ".npz":  # of a record; the samples of a page go with its .json
        try:
            with zipfile.ZipFile(path) as archive:
                return "leads.npy" in archive.namelist()
        except zipfile.BadZipFile:
            return True  # the reader says what is wrong with it
    return path.suffix != ".json" or (path.with_suffix(".npz").is_file() and b'"mm_to_px"' in path.read_bytes())


def _title(column: str) -> str:
    unit = {"lag_ms": "lag ms", "unread": "unread %"}.get(column, f"{column} {METRICS.get(column, '')}")
    return unit.strip()


def _cells(columns: Sequence[str], values: Sequence[float]) -> str:
    """One table row: what is not known is a dash, ratios without a unit have three decimals."""
    text = []
    for column, value in zip(columns, values, strict=True):
        digits = 3 if column in ("gain", "asci", "ks", "wad") else 2
        text.append("-" if np.isnan(value) else f"{value * _SHOWN.get(column, 1.0):.{digits}f}")
    return "".join(f"{cell:>14}" for cell in text)


def _csv(pages: Sequence[PageScore], metrics: Sequence[str]) -> str:
    """One row per page and lead, and before them one for the page, whose lead is called ``all``. Unknown is empty."""
    names = [f"{name}_{METRICS[name].lower()}".rstrip("_") for name in metrics]
    more = ["lag_ms", "gain", "unread", "correlation", "rmse_mv", "offset_mv"]  # a page has only the first three
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["page", "lead", "status", *names, *more])
    for page in pages:
        rows: list[tuple[str, PageScore | LeadScore]] = [("all", page), *((lead.lead, lead) for lead in page.leads)]
        for lead, row in rows:
            values = [*(row.value(name) for name in metrics), *(getattr(row, name, NAN) for name in more)]
            cells = ["" if np.isnan(v) else f"{v:.6g}" for v in values]
            writer.writerow([page.name, lead, "missing" if page.missing else "read", *cells])
    return out.getvalue()


def _read(path: Path) -> Record:
    """The record in a file that _find found. Raises RecordError, naming the file."""
    if path.suffix == ".json":
        from ecg_image_kit.page import Page  # brings OpenCV

        return Page.load(path).record()
    source = open_source(str(path))
    return source.load(next(source.names()))


if __name__ == "__main__":
    sys.exit(main())
