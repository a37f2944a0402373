"""Every rule of every metric by hand, against slow reference implementations, and as properties."""

from __future__ import annotations

import csv
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import correlate

from digitizer import metrics
from digitizer.metrics import (
    Power,
    asci,
    challenge_score,
    challenge_shift,
    kaggle_power,
    kaggle_ratio,
    kaggle_score,
    ks,
    lag_and_gain,
    plain_power,
    pool,
    score,
    score_missing,
    summarise,
    weighted_difference,
)
from ecg_image_kit.errors import RecordError, UsageError
from ecg_image_kit.record import Record
from ecg_image_kit.render import render

NAN = float("nan")
Array = NDArray[np.float64]


def ecg(fs: float = 500.0, seconds: float = 2.5, delay: float = 0.0, rate: float = 74.0) -> Array:
    """(samples,) mV: P, QRS and T as Gaussians, at any delay in s; nothing is periodic in the sampling."""
    s = np.arange(round(seconds * fs)) / fs - delay
    y = np.zeros(s.size)
    for beat in np.arange(-1.0, seconds + 1.0, 60 / rate):
        for mv, at, width in (
            (0.12, -0.17, 0.025),
            (-0.1, -0.03, 0.009),
            (1.1, 0, 0.011),
            (-0.25, 0.03, 0.01),
            (0.3, 0.28, 0.05),
        ):
            y += mv * np.exp(-0.5 * ((s - beat - at) / width) ** 2)
    return y


def record(leads: tuple[str, ...], mv: ArrayLike, fs: float, name: str = "") -> Record:
    return Record(leads, np.array(mv, dtype=np.float32), fs, name)


def noise(n: int, sd: float, seed: int = 0) -> Array:
    return sd * np.random.default_rng(seed).standard_normal(n)


def page(fs: float = 500.0) -> Record:
    """A printed page: four columns of 2.5 s, lead II over the whole 10 s."""
    columns = [("I", "II", "III"), ("aVR", "aVL", "aVF"), ("V1", "V2", "V3"), ("V4", "V5", "V6")]
    quarter, whole = round(2.5 * fs), ecg(fs, 10.0)
    leads, rows = [], []
    for c, names in enumerate(columns):
        for k, name in enumerate(names):
            row = (0.6 + 0.1 * k + 0.15 * c) * whole + 0.02 * c
            if name != "II":
                row[: c * quarter] = np.nan
                row[(c + 1) * quarter :] = np.nan
            leads.append(name)
            rows.append(row)
    return record(tuple(leads), rows, fs, "page")


# Plain


def test_plain_by_hand() -> None:
    # mean 1: signal 1 + 0 + 1; the estimate is off by 0, 0, 3, so by -1, -1, 2 about the mean difference
    assert plain_power([0, 1, 2], [0, 1, 5]) == Power(2.0, 6.0)
    assert plain_power([0, 1, 2], [0, 1, 5]).db == pytest.approx(10 * math.log10(1 / 3))


def test_plain_unread_sample_counts_as_the_mean() -> None:
    # read: differences 4, 4 -> no error. Unread: 3 against the truth's mean of 1, not against 0 and not against 4.
    assert plain_power([0, 0, 3], [4, 4, NAN]) == Power(6.0, 4.0)
    assert plain_power([0, 0, 3], [4, 4, np.inf]) == Power(6.0, 4.0)


def test_plain_ignores_what_is_outside_the_window() -> None:
    assert plain_power([NAN, 0, 1, 2, NAN], [99, 0, 1, 5, NAN]) == Power(2.0, 6.0)


def test_plain_of_nothing_read_is_0_db() -> None:
    assert plain_power(ecg(), np.full(1250, NAN)).db == 0.0


def test_plain_does_not_align_in_time() -> None:
    truth = np.zeros(100)
    truth[50] = 1.0
    assert plain_power(truth, np.roll(truth, 1)).db == pytest.approx(10 * math.log10(0.99 / 2))


def test_power_without_error_or_without_signal() -> None:
    assert Power(2.0, 0.0).db == math.inf
    assert Power(0.0, 0.0).db == math.inf
    assert Power(0.0, 1.0).db == -math.inf
    assert pool([Power(1.0, 2.0), Power(3.0, 4.0)]) == Power(4.0, 6.0)
    assert plain_power([NAN, NAN], [1.0, 1.0]) == Power(0.0, 0.0)


@settings(deadline=None)
@given(offset=st.floats(-5, 5), seed=st.integers(0, 99))
def test_plain_does_not_see_an_offset(offset: float, seed: int) -> None:
    truth = ecg()
    estimate = truth + noise(truth.size, 0.02, seed)
    assert plain_power(truth, estimate + offset).db == pytest.approx(plain_power(truth, estimate).db, abs=1e-6)


@settings(deadline=None)
@given(error=st.floats(1e-4, 0.9), sign=st.sampled_from([-1, 1]))
def test_plain_of_a_gain_error(error: float, sign: int) -> None:
    assert plain_power(ecg(), (1 + sign * error) * ecg()).db == pytest.approx(-20 * math.log10(error), abs=1e-6)


def test_one_percent_of_gain_is_40_db_and_three_30() -> None:
    assert plain_power(ecg(), 1.01 * ecg()).db == pytest.approx(40.0)
    assert plain_power(ecg(), 1.03 * ecg()).db == pytest.approx(30.46, abs=0.01)


@settings(deadline=None)
@given(db=st.floats(0, 40), seed=st.integers(0, 1000))
def test_plain_of_noise_of_known_power(db: float, seed: int) -> None:
    truth = ecg(seconds=10)
    sd = truth.std() / 10 ** (db / 20)
    assert plain_power(truth, truth + noise(truth.size, sd, seed)).db == pytest.approx(
        db, abs=0.5
    )  # 5 sigma of 5000 samples


@settings(deadline=None)
@given(samples=st.integers(1, 8))
def test_plain_of_a_delay_of_a_sine(samples: int) -> None:
    truth = np.sin(2 * np.pi * 5 * np.arange(1000) / 500)  # whole periods: rolling is delaying
    expected = -10 * math.log10(2 - 2 * math.cos(2 * np.pi * 5 * samples / 500))
    assert plain_power(truth, np.roll(truth, samples)).db == pytest.approx(expected, abs=1e-6)


# Kaggle


def brute_kaggle(label: Array, prediction: Array, fs: float) -> tuple[float, float]:
    """The competition's rule by loops; fully known signals. Lag l pairs label[n + l] with prediction[n]."""
    n = len(label)
    a, b = label - label.mean(), prediction - prediction.mean()
    best, lag = -math.inf, 0
    for shift in sorted(range(-int(0.2 * fs), int(0.2 * fs) + 1), key=abs):
        if abs(shift) < n:
            c = math.fsum(a[k + shift] * b[k] for k in range(n) if 0 <= k + shift < n)
            if c > best + 1e-12:
                best, lag = c, shift
    pairs = [(label[k], prediction[k - lag] if 0 <= k - lag < n else None) for k in range(n)]
    shift = np.mean([x - y for x, y in pairs if y is not None])
    error = sum((x - (y + shift if y is not None else 0.0)) ** 2 for x, y in pairs)
    return float(sum(label**2)), float(error)


@settings(deadline=None)
@given(st.data())
def test_kaggle_against_loops(data: st.DataObject) -> None:
    n = data.draw(st.integers(3, 40))  # with 2, every lag ties but for rounding
    fs = data.draw(st.sampled_from([5.0, 14.9, 25.0, 100.0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    label, prediction = rng.standard_normal(n) + 1.0, rng.standard_normal(n)
    if data.draw(st.booleans()):
        prediction = np.roll(label, data.draw(st.integers(-5, 5))) + 0.1 * prediction
    assert kaggle_power(label, prediction, fs) == pytest.approx(brute_kaggle(label, prediction, fs))


def spike(n: int, at: int) -> Array:
    x = np.zeros(n)
    x[at] = 1.0
    return x


def test_kaggle_keeps_the_offset_of_the_label() -> None:
    label = ecg() + 3.0
    assert kaggle_power(label, label, 500).signal == pytest.approx(np.sum(label**2))
    assert kaggle_power(label, label - 3.0, 500).error == pytest.approx(0, abs=1e-20)


def test_kaggle_aligns_and_what_is_shifted_in_counts_as_zero_mv() -> None:
    label = 1.0 + spike(100, 50)
    power = kaggle_power(label, np.roll(label, 3), 100)  # 3 late: moved back, the last 3 samples are lost
    assert power == pytest.approx(Power(99 + 4, 3.0))


@pytest.mark.parametrize(("late", "found"), [(20, True), (21, False), (-20, True), (-21, False)])
def test_kaggle_shift_limit(late: int, found: bool) -> None:
    error = kaggle_power(spike(200, 100), np.roll(spike(200, 100), late), 100).error
    assert (error < 0.1) == found


def test_kaggle_shift_limit_is_cut_to_whole_samples() -> None:
    label = spike(60, 30)
    assert kaggle_power(label, np.roll(label, 2), 14.9).error < 0.1  # int(2.98) = 2
    assert kaggle_power(label, np.roll(label, 3), 14.9).error > 0.5


def test_kaggle_ties_go_to_the_smallest_lag() -> None:
    label = np.array([0, 0, 1, 0, 0, 1, 0, 0, 0, 0], dtype=float)  # spikes at 2 and 5, one at 4 in the prediction
    power = kaggle_power(label, spike(10, 4), 50)  # lags -2 and +1 correlate equally; +1 leaves out one sample only
    shift = (2 - 1) / 9
    assert power.error == pytest.approx((1 - shift) ** 2 + 8 * shift**2 + 0 - 0 * shift)


def test_kaggle_tie_of_plus_and_minus_goes_to_the_earlier() -> None:
    label = np.array([1, -1, 4, -6, -6, -6, 5, 4, 5], dtype=float)
    power = kaggle_power(label, 9 * spike(9, 4), 10)  # moved to 2, 9 * 4 + (4 + 5); moved to 6, 9 * 5 + (1 - 1)
    overlap = label[:7] - 9 * spike(7, 2)
    assert power.error == pytest.approx(np.sum((overlap - overlap.mean()) ** 2) + 4**2 + 5**2)


def test_kaggle_flat_prediction_is_not_shifted() -> None:
    label = ecg() + 1.0
    assert kaggle_power(label, np.full(label.size, 0.1), 500).error == pytest.approx(label.size * label.var())


def test_kaggle_unread_samples_are_zero_mv_and_outside_does_not_count() -> None:
    nothing = np.full(5, NAN)
    assert kaggle_power([NAN, 1, 2, 3, NAN], nothing, 500) == Power(14.0, 14.0)
    assert kaggle_power(nothing, [1, 2, 3, 4, 5], 500) == Power(0.0, 0.0)
    label = ecg() + 0.2
    read = label - 0.7
    read[100:150] = NAN
    assert kaggle_power(label, read, 500).error == pytest.approx(np.sum(label[100:150] ** 2))
    infinite = np.where(np.isnan(read), np.inf, read)
    assert kaggle_power(label, infinite, 500) == kaggle_power(label, read, 500)
    wide = np.concatenate([np.full(40, NAN), label, np.full(70, NAN)])
    estimate = np.concatenate([np.full(40, 9.0), read, np.full(70, -9.0)])
    assert kaggle_power(wide, estimate, 500) == pytest.approx(kaggle_power(label, read, 500))


def test_kaggle_page_value_and_score() -> None:
    assert kaggle_ratio(Power(3.0, 2.0)) == 1.5
    assert kaggle_ratio(Power(385.0, 1.0)) == 384.0
    assert kaggle_ratio(Power(5.0, 0.0)) == 384.0
    assert kaggle_ratio(Power(0.0, 0.0)) == 384.0  # no error comes before no signal
    assert kaggle_ratio(Power(0.0, 1.0)) == 0.0
    assert kaggle_score([10.0, 1000.0]) == pytest.approx(10 * math.log10(505))  # of the mean, not the mean of dB
    assert kaggle_score([384.0, 384.0]) == pytest.approx(25.8433, abs=1e-4)
    assert kaggle_score([0.0, 0.0]) == -384.0
    assert kaggle_score([1e-60]) == -384.0


# Challenge 2024


def brute_shift(t: Array, e: Array) -> tuple[int, float]:
    """The Challenge's alignment on whole arrays, by scipy: full correlation, its peak against the centre."""
    low, high = np.nanmin([t, e]), np.nanmax([t, e])
    images = []
    for x in (t, e):
        image = np.zeros((256, x.size))
        for k in np.flatnonzero(np.isfinite(x)):
            image[int(np.round(255 * (x[k] - low) / (high - low) + 1)) - 1, k] = 1
        images.append(gaussian_filter(image, 0.5))
    cross = correlate(images[0], images[1], mode="full")
    dy, dx = np.unravel_index(np.argmax(cross), cross.shape)
    return int(dx) - (t.size - 1), float((int(dy) - 255) * (high - low) / 255)


@settings(max_examples=12, deadline=None)
@given(samples=st.integers(-60, 60), offset=st.floats(-0.8, 0.8), first=st.integers(0, 150), seed=st.integers(0, 99))
def test_challenge_shift_against_scipy(samples: int, offset: float, first: int, seed: int) -> None:
    t = ecg(100, 4)
    e = np.roll(t, samples) + offset + noise(t.size, 0.01, seed)
    t[:first] = NAN  # the window starts at the array's edge only sometimes
    t[first + 200 :] = NAN
    e[:20] = NAN
    dx, dy = challenge_shift(t, e)
    assert (dx, dy) == pytest.approx(brute_shift(t, e), abs=1e-9)


def test_challenge_picture() -> None:
    x = np.array([0, 0.5, 1.5, NAN, 100, 254, 255, 255])
    image = np.zeros((256, 8))
    image[[0, 1, 1, 100, 254, 255, 255], [0, 1, 2, 4, 5, 6, 7]] = 1  # counting from 1, levels 1.5 and 2.5 are both 2
    assert metrics._picture(x, 0, 255) == pytest.approx(gaussian_filter(image, 0.5), abs=1e-12)


def test_challenge_counts_printed_samples_only() -> None:
    t, e = ecg(100, 4), ecg(100, 4) + noise(400, 0.02)
    e[200:220] = NAN
    outside = np.full(150, NAN)
    wide = challenge_score(np.concatenate([outside, t, outside]), np.concatenate([outside, e, outside]), 100)
    assert wide.challenge == pytest.approx(challenge_score(t, e, 100).challenge)
    assert wide.shift == 0


def test_challenge_undoes_a_shift_in_time_and_voltage() -> None:
    t = ecg()
    moved = np.full(t.size, NAN)
    moved[9:] = t[:-9] - 0.4
    found = challenge_score(t, moved, 500)
    assert found.shift == -9
    assert found.offset == pytest.approx(0.4, abs=(t.max() - t.min() + 0.4) / 255)
    aligned, truth = moved[9:] + found.offset, t[:-9]
    assert found.challenge == pytest.approx(
        10 * np.log10(np.mean(truth**2) / np.mean((truth - aligned) ** 2)) * (1 - 9 / t.size)
    )


@pytest.mark.parametrize(("late", "applied"), [(10, True), (11, False)])
def test_challenge_time_limit_is_rounded(late: int, applied: bool) -> None:
    t = ecg(100, 4)
    e = np.full(t.size, NAN)
    e[late:] = t[:-late]
    assert challenge_score(t, e, 20.8).shift == (-late if applied else 0)  # round(10.4) = 10


@pytest.mark.parametrize(("offset", "applied"), [(0.95, True), (1.05, False)])
def test_challenge_voltage_limit(offset: float, applied: bool) -> None:
    found = challenge_score(ecg(), ecg() + offset, 500)
    assert found.offset == pytest.approx(-offset if applied else 0.0, abs=0.02)
    if not applied:
        assert found.challenge == pytest.approx(10 * np.log10(np.mean(ecg() ** 2) / offset**2))


def test_challenge_snr_by_hand() -> None:
    # The common peak of 2 and the zeros fix the alignment at (0, 0). Joint: 2, 0, 0, 0, 1 against 2, 0, 0, 0, 0.5
    t = np.array([0, 2, 0, 0, 0, 1.0])
    e = np.array([NAN, 2, 0, 0, 0, 0.5])
    found = challenge_score(t, e, 500)
    assert (found.shift, found.offset) == (0, 0.0)
    assert found.challenge == pytest.approx(10 * math.log10(5 / 0.25) * 5 / 6)
    assert found.median == math.inf  # four of five errors are 0
    assert found.asci == pytest.approx((4 - 1) / 5)
    assert found.ks == pytest.approx(1 - (2 / 2.5 - 2 / 3))


def test_challenge_missing_perfect_and_flat() -> None:
    t = ecg()
    nothing = challenge_score(t, np.full(t.size, NAN), 500)
    assert (nothing.challenge, nothing.median, nothing.asci, nothing.ks) == (0.0, 0.0, -1.0, 0.0)
    assert math.isnan(nothing.wad)
    assert challenge_score(t, t, 500).challenge == math.inf  # not clipped
    assert math.isnan(challenge_score(np.zeros(300), 0.1 * ecg(100, 3), 500).challenge)  # no reference power
    assert challenge_score(np.ones(50), np.ones(50), 500).shift == 0
    plain = challenge_score(t, t, 500, extras=False)
    assert np.isnan([plain.asci, plain.ks, plain.wad]).all()


def test_asci_threshold() -> None:
    t = np.array([-1.0, 1.0, -1.0, 1.0])  # SD 1: errors up to 0.05 count as none
    assert asci(t, t + np.array([0.049, -0.049, 0.051, 0])) == 0.5
    assert asci(t, t + np.array([0.2, 0.2, 0.2, NAN]), beta=0.3) == 1.0


def test_ks_of_running_sums() -> None:
    assert ks([1, 1, 1, 1], [-2, 2, 2, -2]) == pytest.approx(1.0)
    assert ks([1, 0, 0, 1], [0, 0, 0, 1]) == pytest.approx(0.5)
    assert ks([0, 0], [0, 0]) == 1.0


def test_weighted_difference_weighs_peaks_half() -> None:
    fs = 100.0  # the average is over 10 samples
    t = np.concatenate([np.zeros(200), np.ones(200)])
    low, high = np.zeros(400), np.zeros(400)
    low[50:150] = high[250:350] = 1.0
    weights = 200 * 1.0 + 200 * 0.5
    assert weighted_difference(t, t + low, fs) == pytest.approx(100 / weights, rel=0.01)
    assert weighted_difference(t, t - high, fs) == pytest.approx(50 / weights, rel=0.01)
    assert math.isnan(weighted_difference(-1 - t, t, fs))
    assert math.isnan(weighted_difference(t[:10], t[:10], fs))


# Lag and gain


@settings(deadline=None)
@given(delay=st.floats(-0.15, 0.15), gain=st.floats(0.5, 2), fs=st.sampled_from([100.0, 250.0, 360.0, 500.0, 1000.0]))
def test_lag_and_gain_of_a_true_delay(delay: float, gain: float, fs: float) -> None:
    late, factor = lag_and_gain(ecg(fs), gain * ecg(fs, delay=delay) - 0.3, fs)
    assert late == pytest.approx(1000 * delay, abs=0.1)
    assert factor == pytest.approx(gain, rel=0.03)  # the window holds other samples when shifted


def test_lag_of_a_perfect_reading_is_zero() -> None:
    late, gain = lag_and_gain(ecg(), ecg(), 500)
    assert late == pytest.approx(0, abs=1e-6)
    assert gain == pytest.approx(1, abs=1e-9)


@settings(deadline=None)
@given(seed=st.integers(0, 500))
def test_lag_under_noise(seed: int) -> None:
    late, _ = lag_and_gain(ecg(), ecg(delay=0.0047) + noise(1250, 0.03, seed), 500)
    assert late == pytest.approx(4.7, abs=0.5)  # the Cramer-Rao bound is 0.07 ms


def test_lag_with_unread_samples() -> None:
    estimate = ecg(delay=0.0123)
    estimate[300:420] = NAN
    assert lag_and_gain(ecg(), estimate, 500)[0] == pytest.approx(12.3, abs=0.1)


@pytest.mark.parametrize(
    "estimate", [np.full(1250, NAN), np.full(1250, 0.4), np.append(ecg()[:30], np.full(1220, NAN))]
)
def test_lag_is_unknown_without_a_signal(estimate: Array) -> None:
    assert all(math.isnan(x) for x in lag_and_gain(ecg(), estimate, 500))


# Records


def test_score_pools_energy_over_leads() -> None:
    truth = record(("I", "II"), [[0, 1, 2, NAN], [NAN, 0, 10, 20]], 500)
    estimate = record(("II", "I"), [[7, 0, 10, 50], [0, 1, 5, 7]], 500)
    page = score(truth, estimate)
    assert [lead.lead for lead in page.leads] == ["I", "II"]
    assert [lead.plain for lead in page.leads] == [Power(2.0, 6.0), Power(200.0, 600.0)]
    assert page.value("plain") == pytest.approx(10 * math.log10(202 / 606))
    assert page.leads[0].rmse_mv == pytest.approx(math.sqrt(2))
    assert page.leads[0].offset_mv == pytest.approx(1.0)
    assert page.leads[0].correlation == pytest.approx(np.corrcoef([0, 1, 2], [0, 1, 5])[0, 1])


def test_score_of_a_page() -> None:
    truth = page()
    estimate = record(truth.leads, 1.01 * truth.mv + 0.05, truth.fs)
    result = score(truth, estimate)
    assert result.name == "page"
    assert len(result.leads) == 12
    assert result.value("plain") == pytest.approx(40, abs=1e-3)
    assert result.value("kaggle") == pytest.approx(10 * math.log10(384))
    assert result.lag_ms == pytest.approx(0, abs=1e-3)
    assert result.gain == pytest.approx(1.01, abs=1e-4)
    assert result.unread == 0
    assert result.value("challenge") == pytest.approx(np.mean([lead.challenge for lead in result.leads]))
    assert math.isnan(result.value("asci"))  # not asked for
    assert 0 < score(truth, estimate, ["asci"]).value("asci") <= 1


def test_score_counts_missing_leads_and_ignores_unprinted_ones() -> None:
    truth = page()
    silent = record((*truth.leads, "V7"), np.vstack([truth.mv, np.full(truth.mv.shape[1], NAN)]), truth.fs)
    read = record(("aVR", "II", "V9"), np.stack([truth.lead("aVR"), truth.lead("II"), truth.lead("II")]), truth.fs)
    result = score(silent, read, ["plain"])
    assert [lead.lead for lead in result.leads] == list(truth.leads)
    assert result.unread == pytest.approx(1 - (5000 + 1250) / (5000 + 11 * 1250))
    energy = {lead: plain_power(truth.lead(lead), truth.lead(lead)).signal for lead in truth.leads}
    lost = sum(energy.values()) - energy["II"] - energy["aVR"]
    assert result.value("plain") == pytest.approx(10 * math.log10(sum(energy.values()) / lost))


@pytest.mark.parametrize("fs", [250.0, 1000.0, 499.9999])
def test_score_at_another_rate(fs: float) -> None:
    truth = record(("I", "II"), [ecg(500, 10), ecg(500, 10, rate=60)], 500)
    estimate = record(("I", "II"), [ecg(fs, 10), ecg(fs, 10, rate=60)], fs)
    result = score(truth, estimate, ["plain"])
    assert result.value("plain") > 40
    assert result.lag_ms == pytest.approx(0, abs=0.05)


def test_score_of_shorter_and_longer_estimates() -> None:
    truth = page()
    long = record(truth.leads, np.hstack([truth.mv, np.ones((12, 100))]), truth.fs)
    assert score(truth, long, ["plain"]).value("plain") == math.inf
    short = record(truth.leads, truth.mv[:, :4900], truth.fs)
    assert score(truth, short, ["plain"]).leads[1].read == 4900


def test_missing_page_follows_the_rules() -> None:
    result = score_missing(page(), metrics.METRICS)
    assert result.missing
    assert result.unread == 1
    assert [result.value(m) for m in ("plain", "kaggle", "challenge", "median")] == pytest.approx([0, 0, 0, 0])
    assert all(math.isnan(lead.lag_ms) for lead in result.leads)


def test_score_refuses() -> None:
    with pytest.raises(RecordError, match="no known sample"):
        score(record(("I",), [[NAN, NAN]], 500), record(("I",), [[1, 2]], 500))
    with pytest.raises(UsageError, match="unknown metric snr"):
        score(page(), page(), ["snr"])
    with pytest.raises(RecordError, match="shape"):
        plain_power([1, 2], [1, 2, 3])


def test_summarise() -> None:
    truth = page()
    errors = [0.1, 0.01]
    pages = [score(truth, record(truth.leads, (1 + e) * truth.mv, 500)) for e in errors]
    plain = summarise(pages, "plain")
    assert plain == pytest.approx((30, math.sqrt(200)), abs=1e-3)
    assert summarise([*pages, score_missing(truth)], "plain").mean == pytest.approx(20, abs=1e-3)
    linear = [10 ** (p.value("kaggle") / 10) for p in pages]
    assert summarise(pages, "kaggle").mean == pytest.approx(10 * math.log10(np.mean(linear)))
    every = [lead.challenge for p in pages for lead in p.leads]
    assert summarise(pages, "challenge").mean == pytest.approx(np.mean(every))
    assert summarise(pages, "gain").mean == pytest.approx(1.055, abs=1e-3)
    perfect = summarise([score(truth, truth), pages[0]], "plain")
    assert perfect.mean == math.inf
    assert math.isnan(perfect.sd)
    assert math.isnan(summarise(pages[:1], "plain").sd)


# The command


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Truth a (WFDB), b (CSV), c (npz), d (WFDB); readings of a, b and c, of which c's is broken, and one too many."""
    truth, result = tmp_path / "truth", tmp_path / "result"
    page().write_wfdb(truth / "a")
    page().write_csv(truth / "b.csv")
    page().write_npz(truth / "c.npz")
    page().write_wfdb(truth / "d")
    (truth / "a.json").write_text("{}")
    (truth / "a.png").write_bytes(b"")
    (truth / "index.csv").write_text("name,fs\na,500\n")
    for name, factor in (("a", 1.1), ("b", 1.01), ("x", 1.0)):
        record(page().leads, factor * page().mv, 500).write_csv(result / f"{name}.csv")
    (result / "c.csv").write_text("time_s,I\n0,what\n")
    return truth, result


def test_command_prints_and_writes(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table = tmp_path / "new" / "scores.csv"
    assert metrics.main([str(folders[0]), str(folders[1]), "--csv", str(table), "--metric", "plain,kaggle"]) == 0
    out, err = capsys.readouterr()
    lines = {line.split("  ")[0]: line for line in out.splitlines()}
    kaggle = score(page(), record(page().leads, 1.1 * page().mv, 500)).value("kaggle")
    assert lines["a"].split()[1:2] + lines["a"].split()[3:] == ["20.00", "0.00", "1.100", "0.00"]
    assert float(lines["a"].split()[2]) == pytest.approx(kaggle, abs=0.02)  # files hold 1 uV
    assert lines["b"].split()[1] == "40.00"
    assert lines["c"].split()[1:] == ["0.00", "0.00", "-", "-", "100.00", "missing"]
    assert lines["mean, 2 read"].split()[3] == "30.00"
    assert lines["SD, 2 read"].split()[3] == "14.14"
    assert lines["mean, 4 all"].split()[3] == "15.00"
    assert lines["V6, 2"].split()[2] == "30.00"
    assert "missing d: no result" in err
    assert re.search(r"missing c: .*c\.csv", err)
    assert "1 results have no truth" in err

    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 4 * 13
    by = {(row["page"], row["lead"]): row for row in rows}
    assert float(by["a", "all"]["plain_db"]) == pytest.approx(20, abs=0.01)
    assert float(by["b", "V6"]["rmse_mv"]) == pytest.approx(0.01 * np.nanstd(page().lead("V6")), rel=0.01)
    assert (by["d", "II"]["status"], by["d", "II"]["plain_db"], by["d", "II"]["lag_ms"]) == ("missing", "0", "")


def test_command_all_metrics(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert metrics.main([str(folders[0]), str(folders[1]), "--metric", ",".join(metrics.METRICS)]) == 0
    out = capsys.readouterr().out
    widths = {
        len(line) for line in out.splitlines() if line.startswith(("page", "a ", "b ", "mean", "SD", "lead", "V6"))
    }
    assert len(widths) == 1  # one aligned table
    assert "nan" not in out


def test_command_with_results_inside_the_truth_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page().write_wfdb(tmp_path / "a")
    page().write_csv(tmp_path / "read" / "a.csv")
    assert metrics.main([str(tmp_path), str(tmp_path / "read"), "--metric", "plain"]) == 0
    assert "mean, 1 read" in capsys.readouterr().out


def test_command_reads_pages_as_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = record(page().leads, [ecg(500, 10, rate=60 + k) for k in range(12)], 500)
    drawn = render(whole, dpi=60)
    drawn.save(tmp_path / "truth" / "p.png")  # image, .json and .npz only
    drawn.record().write_csv(tmp_path / "read" / "p.csv")
    assert metrics.main([str(tmp_path / "truth"), str(tmp_path / "read"), "--metric", "plain"]) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[0] == "p"
    assert float(row[1]) > 70  # a CSV holds 0.1 uV
    assert row[2:] == ["0.00", "1.000", "0.00"]


def test_command_failures(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, result = map(str, folders)
    empty = tmp_path / "empty"
    empty.mkdir()

    def fails(code: int, message: str, *args: str) -> None:
        assert metrics.main(args) == code
        assert message in capsys.readouterr().err

    fails(1, "none of 4 pages", truth, str(empty), "--metric", "plain")
    fails(1, "no record in", str(empty), result)
    fails(2, "no folder", truth, str(tmp_path / "nowhere"))
    fails(2, "unknown metric 'snr'", truth, result, "--metric", "plain,snr")
    fails(2, "same folder", truth, truth)
    page().write_csv(folders[0] / "again" / "b.csv")
    fails(2, "two records are called 'b'", truth, result)


def test_module_runs_and_stays_light() -> None:
    code = "import sys, digitizer.metrics; print([m for m in ('scipy.signal', 'torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    done = subprocess.run([sys.executable, "-m", "digitizer.metrics"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "TRUTH_DIR" in done.stderr
