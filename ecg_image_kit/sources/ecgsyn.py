"""Ecgsyn: 12-lead ECGs from a dynamical model, with conditions, noise and known intervals.

The heart is one moving dipole. Each wave is a Gaussian of the beat's phase times a vector in Frank's frame (x to the
left arm, y to the feet, z to the back), after McSharry et al., IEEE TBME 50:289 (2003) in its three-dimensional form,
Sameni et al., EURASIP J Adv Signal Process 2007:043407. Dower's matrix (Dower et al., J Electrocardiol 13:81, 1980)
projects it onto I, II, V1 to V6; the other limb leads follow from I and II. The vectors were set by hand
until amplitudes and intervals in each lead looked like those of PTB-XL (Wagner et al., Sci Data 7:154, 2020).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import RecordError, UsageError
from ..record import STANDARD_LEADS, Record

Floats: TypeAlias = NDArray[np.float64]
Vector: TypeAlias = tuple[float, float, float]  # mV along x (left), y (down), z (back)
Span: TypeAlias = tuple[float, float]  # drawn uniformly between
Rhythm: TypeAlias = Literal["sinus", "fibrillation", "flutter", "bigeminy", "extrasystoles", "paced"]

# Rows I, II, V1 to V6; columns x, y, z.
DOWER = np.array([
    [0.632, -0.235, 0.059], [0.235, 1.066, -0.132], [-0.515, 0.157, -0.917], [0.044, 0.164, -1.387],
    [0.882, 0.098, -1.277], [1.213, 0.127, -0.601], [1.125, 0.127, -0.086], [0.831, 0.076, 0.230],
])  # fmt: skip

# With Dower's rows alone, vectors that fit the other leads leave I too small, and V1 too large beside V2.
LEAD_FIELD: Floats = DOWER * np.array([1.25, 1.0, 0.85, 1.25, 1.0, 1.0, 1.0, 1.0])[:, None]

P_DURATION = 0.105  # s
RATES: Span = (30, 180)  # beats per minute
REACH = 5.0  # widths after which a Gaussian is cut; 4e-6 of its height is left there


@dataclass(frozen=True)
class Wave:
    """A Gaussian: its centre and its width (standard deviation) as fractions of its segment, and its vector, mV."""

    at: float
    width: float
    xyz: Vector


@dataclass(frozen=True)
class Beat:
    """The waves of one kind of beat, each group in its segment: P wave, QRS complex, J point to end of T."""

    qrs: tuple[Wave, ...]
    t: tuple[Wave, ...]
    st: Vector = (-0.01, -0.01, -0.04)
    p: tuple[Wave, ...] = ()
    spike: Vector | None = None


@dataclass(frozen=True)
class Heart:
    """One condition: a beat, a rhythm, and the ranges its numbers are drawn from.

    Attributes:
        scp: SCP-ECG statements that fit, with PTB-XL's likelihoods (0 for form and rhythm). SR stands for whichever
            of SBRAD, SR and STACH the rate makes it.
        rate: beats per minute, usual; rates: all that the name allows.
        pr, qrs, qtc: s; qtc is QT at 60 / min (Fridericia's cube root gives it at others).
        variation: standard deviation of RR as a fraction of its mean.
        turn: standard deviation of the frontal axis, degrees.
        gain: factor on all vectors.
    """

    scp: Mapping[str, float]
    beat: Beat
    rhythm: Rhythm = "sinus"
    rate: Span = (60, 95)
    rates: Span = RATES
    pr: Span = (0.135, 0.185)
    qrs: Span = (0.084, 0.104)
    qtc: Span = (0.385, 0.425)
    variation: float = 0.035
    turn: float = 17.0
    gain: float = 1.0


@dataclass(frozen=True)
class Noise:
    """Typical rms of each kind of noise at an electrode, mV; each record has more or less of it."""

    wander: float = 0.03  # below 0.5 Hz: breathing, electrodes
    mains: float = 0.002
    emg: float = 0.004  # mostly 15 to 80 Hz, in bursts
    white: float = 0.001
    mains_hz: float = 50.0

    def __post_init__(self) -> None:
        for kind in ("wander", "mains", "emg", "white"):
            if not 0 <= getattr(self, kind) < 10:
                raise UsageError(f"noise {kind}={getattr(self, kind)!r} mV; expected 0 to 10. 0 switches it off.")
        if not 10 <= self.mains_hz <= 400:
            raise UsageError(f"mains_hz={self.mains_hz!r} Hz; expected 10 to 400, usually 50 or 60.")


QUIET = Noise(wander=0.0, mains=0.0, emg=0.0, white=0.0)

# Right atrium first (forwards), left atrium after it (backwards): hence the late negative half in V1.
_P = (Wave(0.36, 0.150, (0.035, 0.060, -0.035)), Wave(0.64, 0.160, (0.055, 0.045, 0.040)))
_T = (Wave(0.52, 0.170, (0.090, 0.035, -0.110)), Wave(0.70, 0.145, (0.240, 0.105, -0.110)))
_SEPTUM = Wave(0.20, 0.080, (-0.120, -0.030, -0.240))

_NORMAL = Beat(
    p=_P,
    qrs=(
        _SEPTUM,  # left to right and forwards: r in V1, q in V6
        Wave(0.36, 0.085, (0.620, 0.300, -0.140)),  # apex
        Wave(0.46, 0.085, (0.750, 0.420, 0.360)),  # free wall of the left ventricle
        Wave(0.58, 0.085, (0.000, 0.120, 0.620)),
        Wave(0.74, 0.095, (-0.140, -0.080, 0.180)),  # base
    ),
    t=_T,
)
_LEFT_BLOCK = Beat(
    p=_P,
    qrs=(
        Wave(0.13, 0.055, (0.100, 0.060, -0.260)),
        Wave(0.27, 0.080, (0.620, 0.300, 0.640)),
        Wave(0.44, 0.085, (0.220, 0.120, 1.550)),
        Wave(0.61, 0.085, (0.660, -0.060, 1.150)),
        Wave(0.80, 0.080, (0.100, -0.220, 0.300)),
    ),
    st=(-0.080, -0.020, -0.260),
    t=(Wave(0.48, 0.170, (-0.060, -0.010, -0.290)), Wave(0.66, 0.130, (-0.070, 0.020, -0.380))),
)
_RIGHT_BLOCK = Beat(
    p=_P,
    qrs=(
        Wave(0.13, 0.050, (-0.120, -0.040, -0.240)),
        Wave(0.24, 0.055, (0.660, 0.200, -0.100)),
        Wave(0.32, 0.055, (0.660, 0.120, 0.180)),
        Wave(0.41, 0.055, (0.000, -0.040, 0.220)),
        Wave(0.60, 0.085, (-0.340, -0.130, -0.600)),
        Wave(0.77, 0.085, (-0.200, -0.060, -0.360)),
    ),
    st=(0.000, 0.000, 0.060),
    t=(Wave(0.52, 0.170, (0.080, 0.030, 0.080)), Wave(0.70, 0.145, (0.190, 0.080, 0.060))),
)
_LEFT_ANTERIOR_BLOCK = Beat(
    p=_P,
    qrs=(
        Wave(0.20, 0.080, (-0.140, 0.240, -0.220)),
        Wave(0.36, 0.085, (0.640, 0.060, -0.060)),
        Wave(0.47, 0.085, (0.680, -0.440, 0.340)),
        Wave(0.59, 0.085, (0.200, -0.580, 0.580)),
        Wave(0.73, 0.090, (-0.040, -0.240, 0.220)),
    ),
    t=_T,
)
_LEFT_HYPERTROPHY = Beat(
    p=(Wave(0.34, 0.150, (0.025, 0.060, -0.040)), Wave(0.66, 0.170, (0.060, 0.045, 0.060))),
    qrs=(
        Wave(0.19, 0.080, (-0.120, -0.030, -0.260)),
        Wave(0.35, 0.085, (0.950, 0.300, 0.050)),
        Wave(0.46, 0.085, (1.280, 0.420, 0.760)),
        Wave(0.58, 0.085, (0.160, 0.100, 1.150)),
        Wave(0.74, 0.095, (-0.160, -0.100, 0.300)),
    ),
    st=(-0.080, -0.040, -0.090),
    t=(Wave(0.48, 0.170, (-0.100, -0.040, -0.150)), Wave(0.68, 0.140, (-0.110, -0.040, -0.130))),
)
_ANTERIOR_STEMI = Beat(
    p=_P,
    qrs=(Wave(0.20, 0.080, (0.020, -0.030, 0.080)), *_NORMAL.qrs[1:]),  # the septum is silent: QS or tiny r in V1 to V3
    st=(0.120, -0.060, -0.240),
    t=(Wave(0.46, 0.170, (0.160, -0.020, -0.260)), Wave(0.66, 0.145, (0.220, 0.000, -0.300))),
)
_INFERIOR_STEMI = Beat(
    p=_P,
    qrs=(
        Wave(0.20, 0.100, (-0.040, -0.300, -0.180)),  # nothing pulls down at first: Q in II, III and aVF
        Wave(0.36, 0.085, (0.560, 0.040, -0.140)),
        Wave(0.47, 0.085, (0.560, 0.440, 0.360)),
        *_NORMAL.qrs[3:],
    ),
    st=(-0.020, 0.230, 0.070),
    t=(Wave(0.46, 0.170, (0.020, 0.200, -0.010)), Wave(0.66, 0.145, (0.070, 0.190, -0.060))),
)
_ISCHAEMIA = Beat(
    p=_P,
    qrs=_NORMAL.qrs,
    st=(-0.110, -0.070, 0.020),
    t=(Wave(0.52, 0.150, (-0.120, -0.050, 0.040)), Wave(0.70, 0.120, (-0.170, -0.070, 0.060))),
)
_PREEXCITED = Beat(
    p=_P,
    qrs=(
        Wave(0.26, 0.110, (0.300, 0.170, -0.180)),  # the delta wave
        *(Wave(w.at + 0.10, w.width * 0.8, w.xyz) for w in _NORMAL.qrs[1:]),
    ),
    st=(-0.030, -0.020, 0.010),
    t=(Wave(0.52, 0.170, (0.020, 0.000, -0.040)), Wave(0.70, 0.145, (0.100, 0.060, -0.060))),
)
_PACED = Beat(  # from the apex of the right ventricle: to the left, upwards and backwards
    qrs=(
        Wave(0.18, 0.075, (0.300, -0.200, 0.200)),
        Wave(0.34, 0.090, (0.380, -0.620, 0.640)),
        Wave(0.52, 0.095, (0.420, -0.680, 0.800)),
        Wave(0.72, 0.095, (0.340, -0.420, 0.420)),
    ),
    st=(-0.080, 0.120, -0.150),
    t=(Wave(0.48, 0.170, (-0.140, 0.220, -0.240)), Wave(0.67, 0.135, (-0.140, 0.240, -0.260))),
    spike=(0.250, 0.550, 0.350),
)
_ECTOPIC = (
    Beat(  # from the outflow tract of the right ventricle
        qrs=(
            Wave(0.20, 0.090, (0.000, 0.350, 0.200)),
            Wave(0.40, 0.105, (0.100, 0.950, 0.850)),
            Wave(0.58, 0.100, (0.250, 0.800, 0.900)),
            Wave(0.77, 0.085, (-0.020, 0.150, 0.250)),
        ),
        st=(-0.020, -0.140, -0.170),
        t=(Wave(0.46, 0.170, (-0.060, -0.250, -0.260)), Wave(0.66, 0.135, (-0.080, -0.260, -0.270))),
    ),
    Beat(  # from the inferior wall of the left ventricle
        qrs=(
            Wave(0.20, 0.090, (-0.100, -0.250, -0.350)),
            Wave(0.40, 0.105, (-0.050, -0.850, -0.800)),
            Wave(0.58, 0.100, (-0.450, -0.750, -0.500)),
            Wave(0.77, 0.085, (-0.350, -0.150, -0.100)),
        ),
        st=(0.060, 0.140, 0.120),
        t=(Wave(0.46, 0.170, (0.140, 0.240, 0.170)), Wave(0.66, 0.135, (0.160, 0.260, 0.160))),
    ),
)
_NO_P = Beat(qrs=_NORMAL.qrs, t=_T)
_WIDE, _WIDE_QTC = (0.136, 0.160), (0.430, 0.460)

CONDITIONS: Mapping[str, Heart] = {
    "NORM": Heart({"NORM": 100.0, "SR": 0.0}, _NORMAL),
    "SBRAD": Heart({"NORM": 100.0, "SR": 0.0}, _NORMAL, rate=(40, 52), rates=(30, 59.9), variation=0.045),
    "STACH": Heart(
        {"NORM": 80.0, "SR": 0.0}, _NORMAL, "sinus", (105, 140), (100.1, 180), (0.12, 0.145), variation=0.012
    ),
    "SARRH": Heart({"NORM": 100.0, "SARRH": 0.0}, _NORMAL, rate=(60, 80), variation=0.11),
    "AFIB": Heart({"AFIB": 0.0}, _NO_P, "fibrillation", rate=(65, 130), variation=0.22),
    "AFLT": Heart({"AFLT": 0.0}, _NO_P, "flutter", (68, 80), (30, 170), variation=0.0),
    "1AVB": Heart({"1AVB": 100.0, "SR": 0.0}, _NORMAL, rate=(50, 80), pr=(0.220, 0.300)),
    "PVC": Heart({"PVC": 0.0, "SR": 0.0}, _NORMAL, "extrasystoles", (60, 85), (40, 110), variation=0.025),
    "BIGU": Heart({"BIGU": 0.0, "PVC": 0.0}, _NORMAL, "bigeminy", (65, 85), (40, 110), variation=0.02),
    "PACE": Heart(
        {"PACE": 0.0}, _PACED, "paced", (60, 75), (40, 130), qrs=(0.150, 0.175), qtc=(0.440, 0.475), variation=0.0
    ),
    "CLBBB": Heart({"CLBBB": 100.0, "SR": 0.0}, _LEFT_BLOCK, rate=(60, 88), qrs=_WIDE, qtc=_WIDE_QTC),
    "CRBBB": Heart(
        {"CRBBB": 100.0, "SR": 0.0}, _RIGHT_BLOCK, rate=(58, 88), qrs=(0.128, 0.150), qtc=(0.41, 0.44), turn=10
    ),
    "LAFB": Heart({"LAFB": 100.0, "SR": 0.0}, _LEFT_ANTERIOR_BLOCK, qrs=(0.092, 0.112), turn=7, gain=0.75),
    "LVH": Heart(
        {"LVH": 100.0, "VCLVH": 0.0, "SR": 0.0}, _LEFT_HYPERTROPHY, qrs=(0.092, 0.110), qtc=(0.400, 0.435), gain=1.1
    ),
    "AMI": Heart({"AMI": 100.0, "STE_": 0.0, "SR": 0.0}, _ANTERIOR_STEMI, rate=(65, 100)),
    "IMI": Heart({"IMI": 100.0, "STE_": 0.0, "SR": 0.0}, _INFERIOR_STEMI, rate=(50, 80)),
    "ISCAL": Heart({"ISCAL": 100.0, "STD_": 0.0, "INVT": 0.0, "SR": 0.0}, _ISCHAEMIA, rate=(60, 95)),
    "LNGQT": Heart({"LNGQT": 100.0, "SR": 0.0}, _NORMAL, rate=(55, 75), qtc=(0.490, 0.540)),
    "WPW": Heart({"WPW": 100.0, "SR": 0.0}, _PREEXCITED, pr=(0.090, 0.110), qrs=(0.120, 0.140)),
    "LVOLT": Heart({"LVOLT": 0.0, "SR": 0.0}, _NORMAL, gain=0.30),
}
"""Conditions by their SCP-ECG code, as PTB-XL spells them."""


@dataclass(frozen=True)
class Ecgsyn:
    """A source of ``n`` synthetic records, "ecgsyn-000000" onwards.

    Record i depends on ``(seed, i)`` and the arguments below, never on what was loaded before.

    Args:
        n: number of records. seed: non-negative. fs: Hz. duration: s.
        condition: a key of CONDITIONS; None draws one per record, half of them NORM.
        rate: beats per minute; None draws it from the condition's range.
        noise: see Noise; QUIET for none.

    Raises UsageError for arguments out of range.
    """

    n: int = 1000
    seed: int = 0
    fs: float = 500.0
    duration: float = 10.0
    condition: str | None = None
    rate: float | None = None
    noise: Noise = field(default_factory=Noise)

    def __post_init__(self) -> None:
        for name, value, least in (("n", self.n, 1), ("seed", self.seed, 0)):
            if not isinstance(value, (int, np.integer)) or value < least:
                raise UsageError(f"{name}={value!r}; expected an integer of at least {least}.")
        _check(self.condition, self.rate, self.fs, self.duration)

    def names(self) -> Iterator[str]:
        """ "ecgsyn-000000" to n - 1."""
        return (f"ecgsyn-{i:06d}" for i in range(self.n))

    def load(self, name: str) -> Record:
        """The record of that name. Raises RecordError if it is not one of ``names()``."""
        number = re.fullmatch(r"ecgsyn-(\d{6,})", name, re.ASCII)
        if number is None or int(number[1]) >= self.n or f"ecgsyn-{int(number[1]):06d}" != name:
            raise RecordError(
                f"no record {name!r}; expected ecgsyn-000000 to ecgsyn-{self.n - 1:06d}. Raise n for more."
            )
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, int(number[1])]))
        return synthesize(rng, self.condition, self.rate, self.fs, self.duration, self.noise, name)


def synthesize(
    rng: np.random.Generator,
    condition: str | None = None,
    rate: float | None = None,
    fs: float = 500.0,
    duration: float = 10.0,
    noise: Noise | None = None,
    name: str = "ecgsyn",
) -> Record:
    """One record of the 12 standard leads, (12, round(duration fs)) mV; the arguments are those of Ecgsyn.

    Its ``meta`` says what was set: ``condition``, ``scp_codes``, ``rate`` (beats / min), ``pr_ms`` (None without P
    waves), ``qrs_ms``, ``qt_ms`` (at that rate), ``axis_deg`` (of QRS, frontal), ``qrs_onsets`` (s, one per beat within
    the record), ``beats`` ("N", or "V" where ectopic, one letter each) and ``synthetic``: True.

    Raises UsageError for arguments out of range.
    """
    _check(condition, rate, fs, duration)
    # One stream per part: more noise or another lead position leaves the heart as it was.
    of_heart, of_rhythm, of_leads, of_noise = rng.spawn(4)
    code = _draw_condition(of_heart, rate) if condition is None else condition
    heart = CONDITIONS[code]
    drawn_rate, pr, qrs, qtc = (float(of_heart.uniform(*span)) for span in (heart.rate, heart.pr, heart.qrs, heart.qtc))
    rate = drawn_rate if rate is None else float(rate)
    if rate > 100 and pr < 0.2:
        pr = min(pr, 0.16)  # conduction quickens with the rate, and P must stay clear of the T wave before it
    qt = qtc * (60.0 / rate) ** (1 / 3)
    count = round(duration * fs)
    breath = float(of_rhythm.uniform(0.2, 0.3))  # Hz

    onsets, ectopic = _beats(of_rhythm, heart, rate, duration, breath)
    t_gain = float(np.clip(70.0 / rate, 0.5, 1.2) ** 0.5)  # T is lower when the heart runs
    pattern = _vary(of_heart, heart.beat, heart.gain, t_gain, heart.turn)
    other = _vary(of_heart, _ECTOPIC[int(of_heart.integers(2))], 1.0, 1.0, 17.0)
    # QT follows the last interval a little and the mean rate mostly: repolarisation adapts over a minute, not at once.
    before = np.diff(onsets, prepend=onsets[0] - 60.0 / rate)
    qts = qt * (0.85 + 0.15 * np.clip(before * rate / 60.0, 0.4, 1.8)) ** (1 / 3)
    parts = [_lay_out(pattern, onsets[~ectopic], pr, qrs, qts[~ectopic], fs)]
    if ectopic.any():
        parts.append(_lay_out(other, onsets[ectopic], pr, 0.15, np.maximum(qts[ectopic], qt) + 0.03, fs))
    centres, widths, vectors = (np.concatenate(part) for part in zip(*parts, strict=True))
    dipole = _sum_of_gaussians(centres, widths, vectors, fs, count)
    t = np.arange(count) / fs
    dipole += _atria(of_rhythm, heart.rhythm, rate, t)
    # Breathing turns the heart by a few degrees in the frontal plane, and changes its distance to the chest wall.
    turn = np.deg2rad(of_rhythm.uniform(1.0, 4.0)) * np.sin(2 * np.pi * (breath * t + of_rhythm.uniform()))
    x, y, z = dipole * (1.0 + 0.5 * turn)
    dipole = np.stack([x - turn * y, y + turn * x, z])

    eight = _leads(of_leads) @ dipole + _noise(of_noise, noise or Noise(), fs, count, breath)
    mv = _twelve(eight).astype(np.float32)
    area = np.sum([np.multiply(w.width, w.xyz) for w in pattern.qrs], axis=0)
    one, two = LEAD_FIELD[:2] @ area
    sinus = "SBRAD" if rate < 60 else "STACH" if rate > 100 else "SR"
    inside = (onsets >= 0) & (onsets < duration)
    meta: dict[str, Any] = {
        "synthetic": True,
        "condition": code,
        "scp_codes": {sinus if key == "SR" else key: value for key, value in heart.scp.items()},
        "rate": rate,
        "pr_ms": 1000 * pr if pattern.p else None,
        "qrs_ms": 1000 * qrs,
        "qt_ms": 1000 * qt,
        "axis_deg": float(np.rad2deg(np.arctan2(2 * (two - one / 2), np.sqrt(3) * one))),
        "qrs_onsets": tuple(onsets[inside].tolist()),
        "beats": "".join(np.where(ectopic[inside], "V", "N").tolist()),
    }
    return Record(STANDARD_LEADS, mv, fs, name, meta)


def rr_intervals(rng: np.random.Generator, count: int, mean: float, sd: float, breath: float = 0.25) -> Floats:
    """(count,) RR intervals in s of a healthy sinus node, their spectrum bimodal as in McSharry et al. 2003.

    A Mayer wave at 0.1 Hz and respiratory arrhythmia at ``breath`` Hz, LF/HF power 0.5; sd in s.
    """
    f = np.arange(0.01, 0.5, 0.01)
    power = 0.5 * np.exp(-0.5 * ((f - 0.1) / 0.01) ** 2) + np.exp(-0.5 * ((f - breath) / 0.01) ** 2)
    phase = 2 * np.pi * (f[:, None] * mean * np.arange(count) + rng.uniform(size=(f.size, 1)))
    series: Floats = mean + sd * (np.sqrt(2 * power / power.sum()) @ np.cos(phase))
    return series


def _check(condition: str | None, rate: float | None, fs: float, duration: float) -> None:
    if condition is not None and condition not in CONDITIONS:
        raise UsageError(f"condition={condition!r}; expected one of {', '.join(CONDITIONS)}, or None for a mixture.")
    rates, whose = (RATES, "") if condition is None else (CONDITIONS[condition].rates, f" for {condition}")
    for name, value, low, high, unit in (
        ("rate", rate, *rates, f"beats per minute{whose}, or None to draw it"),
        ("fs", fs, 100, 20_000, "Hz. Resample the record for other rates"),
        ("duration", duration, 1, 3600, "s. Cut the record for less"),
    ):
        if value is not None and not low <= value <= high:
            raise UsageError(f"{name}={value!r}; expected {low} to {high} {unit}.")


def _draw_condition(rng: np.random.Generator, rate: float | None) -> str:
    """A condition that allows the rate, half the time NORM."""
    others = [
        code
        for code, heart in CONDITIONS.items()
        if code != "NORM" and (rate is None or heart.rates[0] <= rate <= heart.rates[1])
    ]
    return "NORM" if rng.uniform() < 0.5 else others[int(rng.integers(len(others)))]


def _beats(
    rng: np.random.Generator, heart: Heart, rate: float, duration: float, breath: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """QRS onsets in s and which of them are ectopic, (beats,) each; a beat or two more at either end.

    The intervals within the record are scaled to the mean asked for, so that ``rate`` is what one would count.
    """
    mean = 60.0 / rate
    count = int(np.ceil(duration / mean * 1.6)) + 4
    if heart.rhythm == "fibrillation":  # the node passes what it can: independent intervals, skewed, never very short
        shape = heart.variation**-2
        rr = np.maximum(rng.gamma(shape, mean / shape, count), 0.55 * mean)
    else:
        rr = rr_intervals(rng, count, mean, heart.variation * mean, breath)
    first = mean * float(rng.uniform(0.25, 0.95))
    whole = int((duration - first) / mean)
    if whole > 0:
        rr[1 : whole + 1] *= mean / rr[1 : whole + 1].mean()
    onsets = first - rr[0] + np.concatenate([[0.0], np.cumsum(rr)])
    onsets = onsets[: np.searchsorted(onsets, duration) + 2]
    ectopic = np.zeros(onsets.size, bool)
    if heart.rhythm == "bigeminy":
        ectopic[int(rng.integers(2)) :: 2] = True
    elif heart.rhythm == "extrasystoles":
        gaps = rng.integers(3, 7, onsets.size)  # every third to sixth beat
        places = np.cumsum(gaps) - 1
        ectopic[places[places < onsets.size]] = True
    # Early by a fixed coupling, while the sinus node keeps its beat: that is the compensatory pause.
    onsets[ectopic] -= mean * float(rng.uniform(0.34, 0.42))
    return onsets, ectopic


def _vary(rng: np.random.Generator, beat: Beat, gain: float, t_gain: float, turn: float) -> Beat:
    """Another person's beat: axis, amplitudes and widths somewhat different, alike within P, QRS and ST-T."""
    size = gain * float(_factor(rng, 0.18))
    angle = np.deg2rad(np.multiply((6.0, 9.0, turn), np.log(_factor(rng, 1.0, 3))))  # about x, y, z

    def group(waves: tuple[Wave, ...], angle: Floats, spread: float) -> tuple[Wave, ...]:
        turned = _rotation(angle)
        scale = size * float(_factor(rng, spread))
        out = []
        for wave in waves:
            width, height = _factor(rng, np.array([0.04, 0.10]), 2)
            x, y, z = (scale * float(height)) * (turned @ np.array(wave.xyz))
            out.append(Wave(wave.at, wave.width * float(width), (float(x), float(y), float(z))))
        return tuple(out)

    # The ST plateau is Gaussians too, spaced 1.45 widths: flat on top, and without a corner at J.
    plateau = tuple(Wave(at, 0.11, tuple(np.multiply(beat.st, 1 / 1.73).tolist())) for at in (0.12, 0.28, 0.44))
    t = tuple(Wave(w.at, w.width, tuple(np.multiply(w.xyz, t_gain).tolist())) for w in beat.t)
    st_t = group((*plateau, *t), 0.6 * angle, 0.25)
    return Beat(group(beat.qrs, angle, 0.04), st_t, p=group(beat.p, 0.4 * angle, 0.20), spike=beat.spike)


def _factor(rng: np.random.Generator, sd: float | Floats, size: int | tuple[int, ...] = ()) -> Floats:
    """Random factors around 1, log-normal; cut at 1.6 standard deviations, beyond which NORM would not be normal."""
    factor: Floats = np.exp(sd * np.clip(rng.standard_normal(size), -1.6, 1.6))
    return factor


def _rotation(angle: Floats) -> Floats:
    """(3, 3) rotation about x, then y, then z, by (3,) radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angle), np.sin(angle)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    turned: Floats = about_z @ about_y @ about_x
    return turned


def _lay_out(
    beat: Beat, onsets: Floats, pr: float, qrs: float, qts: Floats, fs: float
) -> tuple[Floats, Floats, Floats]:
    """Every wave of every beat: centres and widths in s, (waves,) each, and vectors in mV, (waves, 3).

    In the paper the point circles with dtheta/dt = 2 pi / RR and dz/dt pulls z over Gaussians of theta. RR is constant
    within a beat, so theta = 2 pi (t - t_k) / RR, and on the limit cycle a Gaussian of phase is a Gaussian of time.
    Summing those is the same solution without stepping an ODE (and without its transient), and lets each wave keep
    its physiological time: PR and QRS hardly change with the rate, QT does.
    """
    groups = [
        (beat.p, onsets - pr, np.full_like(onsets, P_DURATION)),
        (beat.qrs, onsets, np.full_like(onsets, qrs)),
        (beat.t, onsets + qrs, qts - qrs),
    ]
    centres = [start + wave.at * length for waves, start, length in groups for wave in waves]
    widths = [wave.width * length for waves, _, length in groups for wave in waves]
    vectors = [np.tile(wave.xyz, (onsets.size, 1)) for waves, _, _ in groups for wave in waves]
    if beat.spike is not None:  # half a millisecond in truth; as wide as the sampling needs to see it every time
        centres.append(onsets - 0.004)
        widths.append(np.full_like(onsets, max(0.0008, 0.4 / fs)))
        vectors.append(np.tile(beat.spike, (onsets.size, 1)))
    return np.concatenate(centres), np.concatenate(widths), np.concatenate(vectors)


def _sum_of_gaussians(centres: Floats, widths: Floats, vectors: Floats, fs: float, count: int) -> Floats:
    """(3, count) dipole in mV: each wave is evaluated only where it is not nil, a few thousand waves at a time."""
    dipole = np.zeros((3, count))
    for a in range(0, centres.size, 2000):
        centre, width, xyz = (part[a : a + 2000] for part in (centres, widths, vectors))
        half = int(np.ceil(REACH * width.max() * fs))
        at = np.round(centre * fs).astype(np.int64)[:, None] + np.arange(-half, half + 1)
        values = np.exp(-0.5 * ((at / fs - centre[:, None]) / width[:, None]) ** 2)
        inside = (at >= 0) & (at < count)
        for k in range(3):
            dipole[k] += np.bincount(at[inside], (values * xyz[:, k, None])[inside], count)
    return dipole


def _atria(rng: np.random.Generator, rhythm: Rhythm, rate: float, t: Floats) -> Floats:
    """(3, samples) mV of atria that never rest: fibrillatory or flutter waves, else zeros."""
    size, start = float(_factor(rng, 0.25)), float(rng.uniform())
    if rhythm == "fibrillation":  # two wandering wavelets, each a narrow band around 5 to 7.5 / s: never twice alike
        f = rng.normal(rng.uniform(5.0, 7.5), 0.9, (16, 2))
        waves = np.zeros((2, t.size))
        for pair, shift in zip(f, rng.uniform(size=f.shape), strict=True):
            waves += np.sin(2 * np.pi * (np.outer(pair, t) + shift[:, None])) / 4
        one, two = waves
        return size * (np.outer((-0.034, 0.024, -0.028), one) + np.outer((0.014, 0.012, -0.006), two))
    if rhythm == "flutter":  # locked to the ventricles, 240 to 340 / min: a saw-tooth, downwards in the inferior leads
        phase = 2 * np.pi * (max(1, round(300.0 / rate)) * rate / 60.0 * t + start)
        k = np.arange(1, 6)
        saw = np.exp(-0.08 * k**2) / k @ np.sin(np.outer(k, phase))
        return size * np.outer((0.010, -0.085, -0.050), saw)
    return np.zeros((3, t.size))


def _leads(rng: np.random.Generator) -> Floats:
    """(8, 3) lead field of one chest: Dower's, its electrodes moved a little along the row, nearer or farther."""
    chest = LEAD_FIELD.copy()
    place = np.clip(np.arange(6) + rng.normal(0.0, 0.2) + rng.normal(0.0, 0.1, 6), 0, 5)
    moved = np.stack([np.interp(place, np.arange(6), column) for column in chest[2:].T], axis=1)
    chest[2:] = moved * _factor(rng, 0.13, (6, 1))
    return chest


def _noise(rng: np.random.Generator, noise: Noise, fs: float, count: int, breath: float) -> Floats:
    """(8, count) mV: drawn at the nine electrodes and subtracted as a recorder does, so Einthoven's law holds."""
    t = np.arange(count) / fs
    more = _factor(rng, 0.5, 4)  # each record has its own share of each kind
    f = np.fft.rfftfreq(count, 1 / fs)

    def band(shape: Floats, rms: float) -> Floats:
        spectrum = shape * (rng.normal(size=(9, f.size)) + 1j * rng.normal(size=(9, f.size)))
        # irfft divides by count; a line of unit real and imaginary parts carries 4 / count^2 of power
        spectrum *= rms * count / (2 * np.sqrt(max(float(np.sum(shape**2)), 1e-12)))
        signal: Floats = np.fft.irfft(spectrum, count, axis=1)
        return signal

    slow = np.where((f > 0) & (f < 0.5), 1.0 / np.maximum(f, 0.08), 0.0)
    electrodes = band(slow, 0.8 * noise.wander * more[0])
    sizes = rng.normal(0.0, 0.6 * np.sqrt(2) * noise.wander * more[0], (9, 1))
    electrodes += sizes * np.sin(2 * np.pi * (breath * t + rng.uniform()))
    muscle = band(np.exp(-0.5 * ((np.log(np.maximum(f, 1.0)) - np.log(35.0)) / 0.6) ** 2), noise.emg * more[1])
    burst = np.exp(0.6 * np.sin(2 * np.pi * (rng.uniform(0.05, 0.3, (9, 1)) * t + rng.uniform(size=(9, 1)))))
    electrodes += muscle * burst
    hum, phase = rng.normal(0.0, np.sqrt(2) * noise.mains * more[2], (9, 1)), rng.normal(0.0, 0.3, (9, 1))
    if noise.mains_hz < 0.45 * fs:  # otherwise the recorder's own filter has taken it out
        electrodes += hum * np.sin(2 * np.pi * noise.mains_hz * t + phase)
    electrodes += noise.white * more[3] * rng.standard_normal((9, count))
    right, left, foot = electrodes[:3]
    eight: Floats = np.concatenate([[left - right, foot - right], electrodes[3:] - (right + left + foot) / 3])
    return eight


def _twelve(eight: Floats) -> Floats:
    """(12, samples) of the standard leads from I, II, V1 to V6, (8, samples)."""
    one, two = eight[:2]
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.concatenate([limb, eight[2:]])
