"""The beat model: its parts each against what they should do, then fitted to a few ecgsyn records and sampled."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.signal import butter, sosfiltfilt

from ecg_image_kit import Record
from ecg_image_kit.errors import RecordError, UsageError
from ecg_image_kit.sources.ecgsyn import Ecgsyn
from synth import density, fit_beats, morphology, recorder, rhythm, texture
from synth.beats import ECTOPIC_SPAN, FIRST, FORMAT, NAMES, WEIGHTS, Beats, detailed
from synth.condition import CLASSES, LEADS8, Condition
from synth.delineate import delineate, try_delineate
from synth.fit_beats import (
    COOL,
    _beat_by_beat,
    _components,
    _ectopics,
    _roots,
    _shape_components,
    describe,
    examples_of,
    fit,
    main,
    save,
)  # fmt: skip

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def examples():
    source = Ecgsyn(n=40, seed=3)
    found = []
    for name in source.names():
        ecg = source.load(name)
        found.append(describe(dataclasses.replace(ecg, meta={**ecg.meta, "sex": "M" if len(found) % 2 else "F"})))
    return found


@pytest.fixture(scope="module")
def own(examples):
    return Beats(fit(examples, seed=1, epochs=3, draws=12))


@pytest.fixture(scope="module")
def shipped():
    return Beats.load()


def rngs(*seeds):
    return [np.random.default_rng(np.random.SeedSequence([7, seed])) for seed in seeds]


# Parts


def test_intervals_and_shape_are_apart():
    beat = np.sin(np.arange(570) / 40)[None] * np.ones((8, 1))
    intervals = np.array([0.16, 0.04, 0.05, 0.28])
    shape = morphology.to_clock(beat, -0.42, 500.0, intervals)
    back = morphology.lay(shape[None], morphology.clock(intervals)[None], np.array([0.5]), 500.0, 500)
    inside = slice(round((0.5 - 0.23) * 500), round((0.5 + 0.44) * 500))
    t = np.arange(500) / 500 - 0.5
    np.testing.assert_allclose(back[0, inside], np.sin(500 * (t + 0.42) / 40)[inside], atol=2e-3)
    np.testing.assert_allclose(morphology.join(morphology.split(shape)), shape, atol=1e-12)


def test_pieces_of_two_beats_make_a_smooth_one():
    one, other = np.zeros((2, 8, morphology.SAMPLES))
    other[:, 120:] = np.linspace(-0.3, 0.3, 8)[:, None]  # mV, from within QRS on
    mixed = morphology.join([*morphology.split(one)[:2], morphology.split(other)[2]])
    assert mixed[:, 156:] == pytest.approx(other[:, 156:])
    assert np.abs(np.diff(mixed, axis=1)).max() < 0.02  # 0.05 if each level gave way to the other's
    assert np.abs(mixed[:, :110]).max() < 1e-12


def beating(seconds=10.0, noise=0.005):
    """A record of beats that come between two samples, each of its own size; R, the beat, gains of QRS and of T. V6 is
    low."""
    rng = np.random.default_rng(0)
    count, at = round(500 * seconds), np.arange(570) - 210.0
    beat = np.array([0.4 + 0.2 * lead for lead in range(7)] + [0.005])[:, None] * (1 - (at / 5) ** 2)
    beat = beat * np.exp(-((at / 5) ** 2) / 2) + 0.3 * np.exp(-(((at - 150) / 25) ** 2) / 2)
    curve = CubicSpline(np.arange(570), beat, axis=1)
    r = np.arange(0.25, seconds - 0.3, 0.77)
    r = r + rng.uniform(-0.001, 0.001, r.size)
    common = rng.normal(0, 0.08, (r.size, 1))
    qrs, t = 1 + common + rng.normal(0, 0.05, (r.size, 8)), 1 + rng.normal(0, 0.1, (r.size, 1))
    mv = rng.normal(0, noise, (8, count))
    for k in range(r.size):
        where = np.arange(count) / 500 - r[k]
        share = np.clip((where - 0.06) / 0.05, 0, 1)  # of T
        own = curve(np.clip(where * 500 + 210, 0, 569))
        mv += np.where(np.abs(where - 0.15) < 0.5, own * (qrs[k][:, None] * (1 - share) + t[k] * share), 0)
    return mv, r, beat, qrs, t


def test_beats_are_laid_on_each_other_to_a_part_of_a_sample():
    mv, r, beat, qrs, t = beating()
    d = delineate(Record(LEADS8, mv, 500.0))
    found = _beat_by_beat(mv, d)
    assert len(d.r_peaks) == len(r)
    late = 500 * (found.r - r)
    assert 500 * np.std(d.r_peaks - r) > 0.15 and np.std(late) < 0.05
    high = slice(0, 7)
    for got, given in ((found.qrs[:, high], qrs[:, high]), (found.t[:-1], t[:-1])):
        assert got / got.mean(axis=0) == pytest.approx(given / given.mean(axis=0), abs=0.04)
    # Where there is more noise than QRS, it is as the other leads say.
    assert found.qrs[:, 7].std() < 1.3 * qrs.mean(axis=1).std()
    r_wave = slice(200, 221)
    at = round(-500 * d.beat_start) - 210
    sharp, blurred = (x[6, slice(200 + at, 221 + at)] for x in (found.beat, d.beat))
    moved = [np.interp(np.arange(200, 221) + s, np.arange(570), beat[6]) for s in np.arange(-1, 1.01, 0.02)]
    assert min(np.abs(sharp - m).max() for m in moved) < 0.6 * min(np.abs(blurred - m).max() for m in moved)
    assert np.ptp(beat[6, r_wave]) > 1.5
    assert found.gains == pytest.approx((0.08, 0.05, 0.1), rel=0.4)


@pytest.mark.parametrize("ectopic", [False, True])
def test_what_makes_beats_differ_is_no_noise(ectopic):
    """Noise is the same everywhere: none of it comes with the strokes, of the first and of the last beat either."""
    mv, r, _, _, _ = beating(30.0)
    if ectopic:
        for at in r[5:30:8]:
            where = np.arange(mv.shape[1]) / 500 - at
            mv += (
                np.where(np.abs(where) < 0.12, 2.5 * np.cos(where * np.pi / 0.24) ** 2, 0)
                * np.linspace(1, -1, 8)[:, None]
            )
    found = describe(Record(LEADS8, mv[:, :5000], 500.0))
    louder = found.row[-6:].reshape(2, 3)
    assert np.abs(louder[:, 1:]).max() < 0.35 and np.abs(louder[:, 0]).max() < 0.6
    gains = np.exp(found.row[[NAMES.index(f"log {name} gain") for name in ("qrs", "lead", "t")]])
    assert gains == pytest.approx((0.08, 0.05, 0.1), rel=0.5)


def test_slow_noise_swells_and_ebbs_in_its_own_time():
    roots = np.tile(np.eye(8), (texture.COUNT, 1, 1))
    for low, high, sd in ((1.6, 4.2, 0.35), (4.2, 15.0, 0.3)):
        inside = (texture.BANDS[:-1] >= low) & (texture.BANDS[1:] <= high)
        of = of_texture(np.where(inside[:, None], -4.0, -11.0) * np.ones(8))
        drawn = draw_texture(3, of, roots, *no_beats(400_000))
        # Of noise of Gaussians whose log amplitude has SD s, kurtosis is 3 exp(4 s^2).
        kurtosis = (drawn**4).mean(axis=1) / (drawn**2).mean(axis=1) ** 2
        assert kurtosis.mean() == pytest.approx(3 * np.exp(4 * sd**2), rel=0.2)
    of = of_texture(np.where(texture.BANDS[1:, None] <= 15, -4.0, -8.0) * np.ones(8), 0.3)
    drawn = draw_texture(4, of, roots, *no_beats(400_000))
    slow = (texture.BANDS[:-1] >= 0.5) & (texture.BANDS[1:] <= 9.0)
    power = texture.measure(drawn, *no_beats(400_000))[0].power[slow].mean(axis=1)
    assert power == pytest.approx(np.full(slow.sum(), -4.0), abs=0.05)  # there is as much of it as without


def test_noise_without_slopes_is_taken_to_be_as_usual():
    phase, beats = no_beats(5000)
    drawn = draw_texture(0, of_texture(), np.tile(np.eye(8), (texture.COUNT, 1, 1)), phase, beats)
    assert texture.measure(drawn, phase, beats)[0].louder == pytest.approx(texture.USUALLY)


def test_beats_give_way_to_each_other():
    # Whatever the rate, beats of level 1 everywhere make a line at 1.
    ones = np.ones((30, 2, morphology.SAMPLES))
    for rr in (0.3, 0.5, 0.8, 1.8):
        r = 0.2 + rr * np.arange(30)
        times = np.tile(morphology.clock(np.array([0.16, 0.04, 0.05, 0.28])), (30, 1))
        laid = morphology.lay(ones, times, r, 500.0, 4000)
        np.testing.assert_allclose(laid[:, : int(r[-1] * 500)], 1.0, atol=1e-9)


def test_beats_are_laid_as_one_by_one():
    """However short some are: early ones, of clocks of their own."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        n = int(rng.integers(4, 12))
        odd = rng.random(n) < 0.4
        r = np.cumsum(rng.uniform(0.24, 0.6, n)) - 0.5
        usual = morphology.clock(np.array([rng.uniform(0.15, 0.4), 0.04, 0.05, rng.uniform(0.2, 0.4)]))
        times = np.where(odd[:, None], np.linspace(*ECTOPIC_SPAN, morphology.SAMPLES), usual)
        shapes = rng.standard_normal((n, 2, morphology.SAMPLES))
        count = int(rng.integers(700, 1500))
        starts, ends = r + times[:, 0], r + times[:, -1]
        a, b = ends[:-1].copy(), starts[1:].copy()
        close = b - a < morphology.LEAST_GAP
        middle = np.clip(0.5 * (a + b), b, b + 0.06)
        a[close], b[close] = (middle[close] + s * morphology.LEAST_GAP / 2 for s in (-1, 1))
        t, expected = np.arange(count) / 500, np.zeros((2, count))
        for k in range(n):
            rises = 1.0 if k == 0 else np.sin(np.pi / 2 * np.clip((t - a[k - 1]) / (b[k - 1] - a[k - 1]), 0, 1)) ** 2
            falls = 0.0 if k == n - 1 else np.sin(np.pi / 2 * np.clip((t - a[k]) / (b[k] - a[k]), 0, 1)) ** 2
            one = [np.interp(t - r[k], times[k], lead) for lead in shapes[k]]
            expected += rises * (1 - falls) * np.array(one)
        laid = morphology.lay(shapes, times, r, 500.0, count)
        np.testing.assert_allclose(laid, expected, atol=1e-9)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_recorder_leaves_out_noise_that_is_small_and_keeps_what_is_not(kind):
    rng = np.random.default_rng(4)
    course = 0.3 * np.sin(np.arange(2000) / 120)
    noise = np.array([[0.002], [0.005], [0.02]]) * rng.standard_normal((3, 2000))
    mv = (course + noise + 0.8 * (np.arange(2000) % 200 == 150)).astype(kind)
    kept = recorder.cleaned(mv, 0.004)
    assert kept.dtype == kind and kept.shape == mv.shape
    moved = np.abs(kept - mv)
    assert 0.0035 < moved.max() <= 0.004 * (1 + 1e-3)
    assert moved[:, 150::200].max() < 1e-6  # spikes stay
    assert np.array_equal(recorder.cleaned(mv, 0.0), mv)
    # Independently: a mean of means over 9 samples, which is all that is left where everything beside it is small.
    smooth = np.apply_along_axis(lambda lead: np.convolve(lead, np.convolve(*[np.full(9, 1 / 9)] * 2), "same"), 1, mv)
    inner = np.zeros(mv.shape, bool)
    inner[:, 10:-10] = np.abs(mv - smooth)[:, 10:-10] < 0.0039
    assert inner.mean() > 0.2 and np.abs(kept - smooth)[inner].max() < 1e-4


def test_no_sample_of_a_recorders_is_unlike_the_others():
    """Nothing is done at fixed places: that would give every ECG away."""
    mv = 0.004 * np.random.default_rng(6).standard_normal((400, 1600))
    moved = np.abs(recorder.cleaned(mv, 0.004) - mv)[:, 40:-40].reshape(400, -1, 16).mean(axis=(0, 1))
    assert moved.max() / moved.min() < 1.05


def test_straight_is_what_bends_by_no_more_than_a_microvolt():
    assert recorder.straightness(np.outer(np.ones(2), np.arange(50.0))) == 1.0
    bent = np.zeros((1, 12))
    bent[0, 6:] = 0.0012 * np.arange(6)  # one bend of 1.2 uV, which is 1 in whole ones, and some of these by rounding
    assert recorder.straightness(bent) == 1.0 and recorder.straightness(2 * bent) < 1.0


def test_the_tolerance_is_what_makes_drawn_signals_as_straight_as_records():
    rng = np.random.default_rng(5)
    drawn = [0.002 * rng.standard_normal((8, 2000)) for _ in range(5)]
    assert recorder.tolerance_for(0.0, drawn) == 0.0
    share = float(np.median([recorder.straightness(recorder.cleaned(mv, 0.003)) for mv in drawn]))
    assert recorder.tolerance_for(share, drawn) == pytest.approx(0.003, abs=2e-4)
    assert recorder.tolerance_for(1.1, drawn) == recorder.MOST


def test_a_recorder_knows_no_more_than_what_is_near():
    mv = np.random.default_rng(0).normal(0, 0.004, (2, 3, 300)).astype(np.float32)
    whole, part = recorder.cleaned(mv, 0.004), recorder.cleaned(mv[..., 100:200], 0.004)
    near = slice(recorder.REACH, -recorder.REACH)
    assert np.array_equal(part[..., near], whole[..., 100:200][..., near])
    assert recorder.cleaned(np.full((8, 50), 0.003), 0.004) == pytest.approx(np.full((8, 50), 0.003))


def test_drawn_ecgs_do_not_begin_and_end_where_the_recorder_does(shipped, monkeypatch):
    seen = []
    cleaned = recorder.cleaned
    monkeypatch.setattr(recorder, "cleaned", lambda mv, tolerance: seen.append(mv.copy()) or cleaned(mv, tolerance))
    (kept,), _ = shipped.sample(rngs(3), 4.0, Condition())
    assert kept.shape[1] == 2000 and seen[0].shape[2] == 2000 + 2 * recorder.REACH
    assert np.abs(kept - seen[0][0][:, recorder.REACH : -recorder.REACH]).max() <= float(shipped._a["tolerance"]) + 1e-6


def test_drawn_ecgs_pass_a_recorder(shipped, monkeypatch):
    kept, _ = shipped.sample(rngs(0, 1, 2), 4.0, Condition())
    monkeypatch.setattr(recorder, "cleaned", lambda mv, tolerance: mv)
    drawn, _ = shipped.sample(rngs(0, 1, 2), 4.0, Condition())
    tolerance = float(shipped._a["tolerance"])
    assert 0.001 < tolerance < recorder.MOST
    assert 0.9 * tolerance < np.abs(kept - drawn).max() < 1.01 * tolerance


@pytest.mark.parametrize("irregular", [False, True])
def test_a_rhythm_has_the_rate_and_spread_asked_for(irregular):
    rates, spreads = [], []
    for k in range(40):
        want = rhythm.Rhythm(0.8, 0.1, 0.3, 0.0, 0.0)
        r, kinds = rhythm.draw(np.random.default_rng(k), want, irregular, (0.6, 0.05), 20.0)
        inside = r[(r >= 0) & (r < 20)]
        assert (np.diff(r) > 0.1).all()
        assert set(kinds) == {"N"}
        rates.append(np.diff(inside).mean())
        spreads.append(np.diff(inside).std() / 0.8)
    assert np.abs(np.array(rates) - 0.8).max() < 0.02
    assert 0.08 < np.mean(spreads) < 0.12


def test_ectopic_beats_are_early_and_pause():
    r, kinds = rhythm.draw(np.random.default_rng(0), rhythm.Rhythm(0.8, 0.02, 0, 0.15, 0), False, (0.6, 0.02), 60.0)
    at = [k for k in range(1, len(kinds) - 1) if kinds[k] == "V"]
    assert 0.05 < len(at) / len(kinds) < 0.25
    for k in at:
        assert r[k] - r[k - 1] < 0.6 < 0.95 < r[k + 1] - r[k]


def of_texture(power=None, unsteady=0.0, louder=((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))):
    power = np.full((texture.COUNT, 8), -7.0) if power is None else power
    return texture.Texture(power, unsteady, np.array(louder))


def no_beats(samples):
    return np.zeros(samples, np.int8), np.zeros((8, samples))


def draw_texture(seed, of, roots, phase, beats):
    return texture.draw([np.random.default_rng(seed)], [of], roots, phase[None], beats[None])[0]


def test_texture_is_measured_as_it_was_drawn():
    power = np.tile(np.linspace(-4.0, -7.0, texture.COUNT)[:, None], (1, 8))
    power[:, 3] += 1.0
    roots = _roots(np.full((1, texture.COUNT, 8, 8), 0.4))
    phase, beats = no_beats(100_000)
    drawn = draw_texture(0, of_texture(power), roots, phase, beats)
    found, likeness = texture.measure(drawn, phase, beats)
    np.testing.assert_allclose(found.power[14:], power[14:], atol=0.3)
    told = (texture.BANDS[:-1] >= 1.6) & ~texture.MAINS
    np.testing.assert_allclose(found.power[told].mean(axis=1), power[told].mean(axis=1), atol=0.2)
    pairs = np.median(likeness[:, ~np.eye(8, dtype=bool)], axis=1)
    assert pairs[5:] == pytest.approx(np.full(pairs.size - 5, 0.4), abs=0.1)


@pytest.mark.parametrize(
    "louder",
    [((0.0, 0.5, 0.6), (0.5, 1.0, 1.1)), ((0.0, 0.2, 1.0), (0.0, 1.6, 0.5)), ((0.3, 0.0, 0.0), (0.6, 0.0, 0.0))],
)
def test_noise_is_as_much_louder_as_the_beats_are_steep(louder):
    t = np.arange(500)
    bump = np.where(np.abs(t - 300) < 100, 1 + np.cos((t - 300) * np.pi / 100), 0)  # of slopes about WAVE
    spike = np.where(np.abs(t - 80) < 30, 1 + np.cos((t - 80) * np.pi / 30), 0)  # and STROKE
    beats = np.linspace(0.5, 1.5, 8)[:, None] * np.tile(0.25 * bump + 1.0 * spike, 200)
    phase = np.tile(np.where(spike > 0, texture.QRS, texture.BESIDE), 200)
    rest = np.tile((spike == 0) & (bump == 0), 200)
    roots = np.tile(np.eye(8), (texture.COUNT, 1, 1))
    of = of_texture(np.full((texture.COUNT, 8), -8.0), 0.2, louder)
    several = [draw_texture(seed, of, roots, phase.astype(np.int8), beats) for seed in range(6)]
    mean = np.mean([texture.measure(one, phase.astype(np.int8), beats)[0].louder for one in several], axis=0)
    drawn = np.concatenate(several, axis=1)
    phase, rest = np.tile(phase, 6), np.tile(rest, 6)
    assert mean[:, 1:] == pytest.approx(np.array(louder)[:, 1:], abs=0.2)
    if not any(louder[1][1:]):  # sharp bursts above 15 Hz reach below it
        assert mean[:, 0] == pytest.approx(np.array(louder)[:, 0], abs=0.25)
    if louder[1][1]:  # each lead follows its own slopes
        more = drawn[:, phase == texture.QRS].std(axis=1) / drawn[:, rest].std(axis=1)
        assert (np.diff(more) > 0).all()
    fast = sosfiltfilt(butter(4, 70, "highpass", fs=500, output="sos"), drawn, axis=1)[:, phase < texture.QRS]
    assert fast.var(axis=1) == pytest.approx(np.full(8, 1e-8 * 180), rel=0.3)


def test_several_ecgs_have_the_texture_that_each_has_alone():
    roots = _roots(np.full((1, texture.COUNT, 8, 8), 0.4))
    rng = np.random.default_rng(0)
    of = [of_texture(rng.normal(-6, 1, (texture.COUNT, 8)), u, rng.normal(0.5, 0.2, (2, 3))) for u in (0.0, 0.4, 0.2)]
    phases = rng.integers(0, 3, (3, 3001)).astype(np.int8)
    phases[1] = texture.OTHER
    beats = np.cumsum(rng.normal(0, 3e-3, (3, 8, 3001)), axis=2)
    together = texture.draw([np.random.default_rng(k) for k in range(3)], of, roots, phases, beats)
    for k in range(3):
        assert np.array_equal(together[k], draw_texture(k, of[k], roots, phases[k], beats[k]))


def test_nothing_happens_at_fixed_places_of_textures():
    """How loud noise is, is told at some samples, and is between them elsewhere: not at the same ones in all ECGs."""
    roots = np.tile(np.eye(8), (texture.COUNT, 1, 1))
    bends = []
    for first in range(0, 1600, 20):
        these = [np.random.default_rng(seed) for seed in range(first, first + 20)]
        drawn = texture.draw(these, [of_texture()] * 20, roots, np.zeros((20, 962), np.int8), np.zeros((20, 8, 962)))
        bends.append(np.sqrt(np.abs(np.diff(drawn, 2, axis=2))).mean(axis=1))
    of_ecgs = np.concatenate(bends)
    of_ecgs /= of_ecgs.mean(axis=1, keepdims=True)
    places = {count: of_ecgs.reshape(len(of_ecgs), -1, count).mean(axis=1) for count in (4, 12, 20, 60)}
    places["ends"] = np.stack(
        [of_ecgs[:, part].mean(axis=1) for part in np.split(np.arange(960), (12, 50, 910, 948))], 1
    )
    for where, found in places.items():
        apart = (found.mean(axis=0) - 1) / (found.std(axis=0) / np.sqrt(len(found)))
        assert np.abs(apart).max() < 4.5, where


def test_noise_is_loud_where_the_beats_are_steep_to_a_sample():
    roots = np.tile(np.eye(8), (texture.COUNT, 1, 1))
    steep = np.tile(0.05 * np.clip((np.arange(200) - 100) / 10, 0, 1), (300, 8, 1))  # of WAVE's slope about sample 105
    of = of_texture(louder=((0.0, 3.0, 3.0), (0.0, 0.0, 0.0)))
    drawn = texture.draw(rngs(*range(300)), [of] * 300, roots, np.zeros((300, 200), np.int8), steep)
    loud = np.sqrt(np.abs(drawn)).mean(axis=(0, 1))
    more = np.maximum(loud - 1.2 * np.median(loud), 0)
    assert (more @ np.arange(200)) / more.sum() == pytest.approx(105, abs=0.5)


def test_noise_comes_in_bursts_but_as_much_of_it():
    roots = np.tile(np.eye(8), (texture.COUNT, 1, 1))
    drawn = draw_texture(1, of_texture(), roots, *no_beats(200_000))
    fast = sosfiltfilt(butter(4, 60, "highpass", fs=500, output="sos"), drawn, axis=1)
    assert fast.var(axis=1) == pytest.approx(np.full(8, 1e-7 * 190), rel=0.1)
    parts = np.log(np.sqrt((fast.reshape(8, -1, 20) ** 2).mean(axis=2)))
    assert 0.4 < np.diff(parts, axis=1).std() / np.sqrt(2) < 0.8  # real records: 0.48 to 0.66; steady noise: 0.22
    hum = of_texture(np.where(texture.MAINS[:, None], -3.0, -9.0) * np.ones(8))
    drawn = draw_texture(1, hum, roots, *no_beats(20_000))
    parts = np.log(np.sqrt((drawn.reshape(8, -1, 20) ** 2).mean(axis=2)))
    assert np.diff(parts, axis=1).std() < 0.35


def test_how_unsteady_noise_is_shows_beside_its_bursts():
    roots = np.tile(np.eye(8), (texture.COUNT, 1, 1))

    def found(unsteady):
        of = of_texture(unsteady=unsteady)
        drawn = draw_texture(2, of, roots, *no_beats(50_000))
        return texture.measure(drawn, *no_beats(50_000))[0].unsteady

    steady = found(0.0)
    assert steady < 0.25  # of rest alone; real records, whose waves hold most of it, have 0.13 (5 % of them) and more
    for unsteady in (0.2, 0.5):  # of which means over half a second keep four fifths
        assert np.sqrt(found(unsteady) ** 2 - steady**2) == pytest.approx(0.8 * unsteady, rel=0.15)


def test_detail_is_where_a_shape_is_steep():
    at = np.arange(140.0)
    wave = np.exp(-(((at - 50) / 12) ** 2))[:, None] * np.linspace(0.5, 1.5, 8)
    detail = np.random.default_rng(0).standard_normal((140, 8))
    added, flat = detailed(np.stack([wave, 0 * wave]), np.stack([detail, detail]), np.array([0.02, 0.02]))
    added -= wave
    assert np.sqrt(np.mean(added**2)) == pytest.approx(0.02)
    assert added[100:].std() < 0.15 * added[38:62].std()
    assert (added[38:62] * detail[38:62] >= 0).all()
    assert not flat.any()


def test_fine_detail_of_shapes_counts_though_there_is_little_of_it():
    rng = np.random.default_rng(0)
    at = np.arange(81) + 0.5
    slow, fast = np.cos(np.pi * np.outer(range(5), at) / 81), np.cos(np.pi * 50 * at / 81)  # half waves to the piece
    x = np.einsum("nlk,ks->nsl", 0.3 * rng.standard_normal((300, 8, 5)), slow)
    x = (x + 0.08 * rng.standard_normal((300, 1, 1)) * fast[:, None]).reshape(300, -1)

    def left(mean, basis, score):
        """Of the fine detail, which is alike in all leads, with 20 of 41 components."""
        rest = (x - mean - score[:, :20] @ basis[:20]).reshape(-1, 81, 8)
        return np.abs(np.einsum("nsl,s->nl", rest, fast)).mean() / (fast**2).sum() / 0.08

    assert left(*_shape_components(x, 30, 4.0)) < 0.05 < 0.5 < left(*_components(x, 30))
    whole = _shape_components(x, 299, 4.0)
    assert whole[0] + whole[2] @ whole[1] == pytest.approx(x, abs=1e-9)


def test_normal_scores_stand_for_quantiles():
    rng = np.random.default_rng(0)
    x = rng.gamma(2.0, size=(4000, 3)) * [1.0, 10.0, 0.1]
    table = density.quantiles(x)
    scores = density.SCORES[:, None] + np.array([0.0, 0.1, -0.2])
    for z in (*rng.standard_normal((20, 3)), np.full(3, -9.0), np.full(3, 9.0), scores[0], scores[7], scores[-1]):
        expected = [np.interp(z[k], scores[:, k], table[:, k]) for k in range(3)]
        assert density.from_normal(z, table, scores) == pytest.approx(expected, rel=1e-12)


def test_the_density_is_the_one_that_was_drawn_from():
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=1500)
    x = rng.standard_normal((1500, 4))
    x[:, 1] = 0.9 * x[:, 0] + 0.4 * x[:, 1]
    x[:, 2] = x[:, 0] ** 2 - 1 + 0.2 * x[:, 2]  # no Gaussian
    x[:, 3] += 3 * kind
    z = density.to_normal(x, rng)
    fitted = density.fit_density(z, kind, 2, rng, epochs=15, hidden=32, dropout=0.1)
    drawn, kinds = (x[:, 0] for x in fitted.draw(rng.spawn(3000), 1))
    assert np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1] == pytest.approx(np.corrcoef(z[:, 0], z[:, 1])[0, 1], abs=0.06)
    assert np.corrcoef(drawn[:, 0] ** 2, drawn[:, 2])[0, 1] > 0.6
    assert drawn[kinds == 1, 3].mean() - drawn[kinds == 0, 3].mean() > 1
    given = fitted.draw(rng.spawn(500), 1, np.full((500, 1), 1.0))[0][:, 0]
    assert (given[:, 0] == 1.0).all()
    near = z[np.abs(z[:, 0] - 1) < 0.1, 1]
    assert given[:, 1].mean() == pytest.approx(near.mean(), abs=0.15)


def test_members_of_a_density_count_alike():
    """Each number is drawn from one of them, so that there is as much of it as their mean says."""

    def normal(mean, sd):
        """Two numbers; the second is ``mean`` above the first."""
        p = {
            "hidden": np.zeros((2, 3)),
            "start": np.zeros((1, 3)),
            "out": np.zeros((2, 3, 3)),
            "level": np.zeros((1, 2)),
        }
        p |= {"offset": np.array([[0.0, 0.0, 0.0], [mean, np.log(sd), 0.0]]), "linear": np.array([[0.0, 0], [1.0, 0]])}
        return p

    both = [normal(-1.0, 0.1), normal(1.0, 0.2)]
    members = density.Density(np.ones(1), **{key: np.stack([p[key] for p in both]) for key in both[0]})
    z = members.draw(np.random.default_rng(0).spawn(4000), 1)[0][:, 0]
    apart = z[:, 1] - z[:, 0]
    high = apart > 0
    assert high.mean() == pytest.approx(0.5, abs=0.03)
    assert (apart[~high].mean(), apart[high].mean()) == pytest.approx((-1, 1), abs=0.03)
    assert (apart[~high].std(), apart[high].std()) == pytest.approx((0.1, 0.2), rel=0.08)
    at = np.array([[0.5, 1.4], [0.0, -1.0]])
    first = np.exp(-(at[:, 0] ** 2) / 2) / np.sqrt(2 * np.pi)
    second = [
        np.exp(-0.5 * ((at[:, 1] - at[:, 0] - m) / s) ** 2) / s / np.sqrt(2 * np.pi) for m, s in ((-1, 0.1), (1, 0.2))
    ]
    assert members.log_density(at, np.zeros(2, int)) == pytest.approx(np.log(first * np.mean(second, axis=0)))


def test_slopes_are_those_of_the_loss():
    rng = np.random.default_rng(0)
    d, h, m = 5, 4, 2
    shapes = {"hidden": (d, h), "start": (2, h), "out": (d, h, 3 * m), "offset": (d, 3 * m), "linear": (d, d)}
    p = {key: rng.normal(size=shape) for key, shape in {**shapes, "level": (2, d)}.items()}
    z, kind, drop = rng.normal(size=(6, d)), rng.integers(2, size=6), np.ones((6, d, h))
    loss, slopes = density.loss_and_slopes(p, z, kind, drop)
    for key, at in {"hidden": (1, 2), "start": (0, 1), "out": (3, 1, 4), "offset": (2, 0), "linear": (4, 1)}.items():
        moved = {k: v.copy() for k, v in p.items()}
        moved[key][at] += 1e-5
        assert (density.loss_and_slopes(moved, z, kind, drop)[0] - loss) / 1e-5 == pytest.approx(
            slopes[key][at], rel=0.02
        )


# Fitting


def test_a_few_records_suffice_to_fit_and_sample(own):
    mv, known = own.sample(rngs(0, 1, 2, 3), 10.0, Condition())
    assert mv.shape == (4, 8, 5000)
    assert np.isfinite(mv).all()
    for signal, meta in zip(mv, known, strict=True):
        found = delineate(Record(LEADS8, signal, 500.0))
        assert found.hr == pytest.approx(meta["hr"], abs=8)


def test_ectopic_beats_are_smooth_and_artefacts_are_none(examples):
    rng = np.random.default_rng(0)
    at = np.arange(morphology.SAMPLES)
    wide = np.exp(-(((at - 64) / 20) ** 2)) * np.linspace(-1, 2, 8)[:, None]

    def learned(noise):
        sizes = np.linspace(0.8, 1.2, len(noise)).tolist()
        shapes = [k * wide + rng.normal(0, sd, wide.shape) for k, sd in zip(sizes, noise, strict=True)]
        some = [dataclasses.replace(e, ectopic=s) for e, s in zip(examples[: len(noise)], shapes, strict=True)]
        return _ectopics(some)

    found = learned([0.005] * 12 + [0.1] * 3)
    drawn = found["ectopic_mean"] + found["ectopic_sd"][0] * found["ectopic_basis"][0]
    rough = np.diff(drawn.reshape(wide.shape), 2, axis=1).std()
    assert rough < 0.003 < 0.1 < np.diff(wide + rng.normal(0, 0.1, wide.shape), 2, axis=1).std()
    # As large as those that are none: wide waves are not blunted.
    assert found["ectopic_mean"].max() == pytest.approx(2 * np.linspace(0.8, 1.2, 15)[:12].mean(), rel=0.02)
    # Where there are only artefacts, usual beats stand in.
    assert learned([0.1] * 12)["ectopic_mean"].max() < 1.9 * np.abs(examples[0].shape).max()


def test_the_same_seed_gives_the_same_weights(examples):
    one, two, other = (fit(examples, seed=seed, epochs=1, draws=8) for seed in (1, 1, 2))
    assert all((one[key] == two[key]).all() for key in one)
    assert any((one[key] != other[key]).any() for key in one)


def test_shapes_are_drawn_less_widely_given_what_came_before(examples, monkeypatch):
    cool = fit(examples, epochs=1, draws=8)
    monkeypatch.setattr("synth.fit_beats.COOL", 1.0)
    warm = fit(examples, epochs=1, draws=8)
    width = cool["offset"].shape[2] // 3
    change = cool["offset"].astype(float) - warm["offset"]
    assert change[:, FIRST:, width : 2 * width] == pytest.approx(np.log(COOL), abs=1e-6)
    change[:, FIRST:, width : 2 * width] = 0.0
    assert COOL < 1 and not change.any()
    assert (cool["scores"] == warm["scores"]).all()


def test_the_command_writes_weights_and_their_card(tmp_path):
    source = Ecgsyn(n=36, seed=5, condition="NORM")
    for name in source.names():
        source.load(name).write_wfdb(tmp_path / "data" / name)
    Record(("I", "II"), np.zeros((2, 5000)), 500.0).write_wfdb(tmp_path / "data" / "a-flat-one")
    out = tmp_path / "out"
    status = main(
        [
            "--data",
            f"wfdb:{tmp_path / 'data'}@:-3",
            "--also",
            f"wfdb:{tmp_path / 'data'}@-3:",
            "--out",
            str(out),
            "--epochs",
            "1",
            "--draws",
            "8",
            "--quiet",
        ]
    )
    assert status == 0
    card = json.loads((out / "beats.json").read_text())
    assert card["records"] == {"wfdb": 33} and card["left_out"] == 1 and card["seed"] == 0
    assert (card["windows"], card["also"], card["also_windows"]) == (33, {"wfdb": 3}, 3)
    model = Beats.load(out / "beats.npz")
    assert model.sha256 == card["sha256"]
    assert model.sample(rngs(0), 3.0, Condition())[0].shape == (1, 8, 1500)


def test_ecgs_are_like_the_data_and_not_like_what_helps_to_learn(examples, monkeypatch):
    faster = [
        dataclasses.replace(e, row=e.row - 0.5 * (np.arange(e.row.size) == 0), power=e.power + 2, kind=1)
        for e in examples
    ]
    alone, helped = (fit(examples, epochs=1, draws=8, also=also) for also in ((), faster))
    assert not np.array_equal(alone["linear"], helped["linear"])
    for key in ("shares", "textures"):
        assert helped[key] == pytest.approx(alone[key])
    names = slice(len(NAMES))
    assert helped["quantiles"][:, names] == pytest.approx(alone["quantiles"][:, names])
    assert helped["level"].shape == alone["level"].shape
    drawn = [traits for _, traits, _ in Beats(helped)._draw(rngs(*range(60)), Condition(), 1000)]
    usual = np.mean([e.power for e in examples])
    assert np.mean([traits.texture.power for traits in drawn]) == pytest.approx(usual, abs=0.5)
    assert np.mean([traits.irregular for traits in drawn]) < 0.5
    rng, told = np.random.default_rng(0), []
    rough = [dataclasses.replace(e, shape=e.shape + rng.normal(0, 0.05, e.shape.shape), straight=0.9) for e in examples]
    monkeypatch.setattr(fit_beats, "calibrate", lambda arrays, straight, *rest: told.append(straight) or {})
    spans = [np.ptp(fit(*of)["minor_quantiles"], axis=0).sum() for of in ((examples + rough, 0, 1), (examples, 0, 1))]
    helped = fit(examples, epochs=1, also=rough)
    assert told[2] == np.median([e.straight for e in examples])
    assert np.ptp(helped["minor_quantiles"], axis=0).sum() < 0.8 * spans[0]


def test_what_is_found_in_drawn_ecgs_is_in_the_mean_what_was_meant(monkeypatch):
    with np.load(WEIGHTS) as file:
        arrays = {key: file[key] for key in file.files}
    rng, found = np.random.default_rng(0), []
    bias, of_leads = rng.normal(0, 0.3, len(NAMES)), rng.normal(0, 0.3, (texture.COUNT, 8))
    lack = rng.normal(0, 0.1, len(NAMES))

    def draw(self, rngs, condition, count):
        for k, _ in enumerate(rngs):
            meant, left = rng.normal(size=len(NAMES)), rng.normal(size=(texture.COUNT, 8))
            power = self._a["texture_mean"].reshape(texture.COUNT, 8) + left
            row = meant + self._a["calibration"] + bias
            if k % 3 == 0:  # as without P waves
                row[NAMES.index("log p")] = 99.0
            found.append(SimpleNamespace(row=row, power=power + of_leads, kind=int(k % 3 == 0)))
            yield np.zeros((8, 500)), SimpleNamespace(meant=meant, texture=SimpleNamespace(power=power)), {}

    monkeypatch.setattr(Beats, "_draw", draw)
    monkeypatch.setattr(fit_beats, "describe", lambda record: found.pop(0))
    told = fit_beats.calibrate(arrays, 0.0, lack, rng, 30)
    expected = np.where(np.isin(NAMES, fit_beats.UNCALIBRATED), 0.0, lack - bias)
    assert told["calibration"] == pytest.approx(expected, abs=1e-6)
    assert told["texture_mean"] == pytest.approx(arrays["texture_mean"] - of_leads.ravel(), abs=1e-5)


def test_a_mean_hardly_minds_what_was_measured_badly():
    x = np.append(np.random.default_rng(0).gamma(1.0, 1.0, 999), [1e6, np.nan])
    assert fit_beats._mean(x) == pytest.approx(1.0, abs=0.1) and np.nanmedian(x) < 0.8
    assert fit_beats._mean(np.full(5, np.nan)) == 0


def test_several_ecgs_are_described_as_each_alone(shipped):
    z = np.random.default_rng(0).normal(0, 0.5, (3, shipped._a["quantiles"].shape[1]))
    together = shipped._traits(z, [0, 1, 2], rngs(1, 2, 3), [60.0, 70.0, 80.0])
    for k, traits in enumerate(together):
        (alone,) = shipped._traits(z[k : k + 1], [k], rngs(k + 1), [60.0 + 10 * k])
        assert np.array_equal(traits.shape, alone.shape) and np.array_equal(traits.intervals, alone.intervals)
        assert np.array_equal(traits.texture.power, alone.texture.power) and traits.irregular == (k == 1)
        assert np.abs(traits.shape[:, : morphology.EDGES[2] - 10]).max() > 0.01 if k == 0 else True
        assert not traits.shape[:, : morphology.EDGES[2] - 10].any() if k > 0 else True


def test_rates_within_a_range_are_as_frequent_as_without(shipped):
    """Though the numbers that stand for rates need not be standard normal."""
    with np.load(WEIGHTS) as file:
        arrays = {
            key: np.array(file[key], np.float64) if file[key].dtype.kind == "f" else file[key] for key in file.files
        }
    arrays["level"][:, :, 0] += 0.9
    arrays["scores"][:, 0] += 0.9
    moved = Beats(arrays)
    any_rate = moved._candidates(rngs(*range(3000)), None, 1)[2].ravel()
    asked = moved._candidates(rngs(*range(2000)), (65.0, 90.0), 1)[2].ravel()
    inside = any_rate[(any_rate >= 65) & (any_rate <= 90)]
    assert np.quantile(asked, [0.25, 0.5, 0.75]) == pytest.approx(np.quantile(inside, [0.25, 0.5, 0.75]), abs=0.8)


def test_too_little_to_learn_from_is_refused(examples, tmp_path, capsys):
    with pytest.raises(UsageError, match="expected 30"):
        fit(examples[:5])
    Ecgsyn(n=1).load("ecgsyn-000000").write_wfdb(tmp_path / "one")
    assert main(["--data", f"wfdb:{tmp_path}", "--quiet"]) == 2
    assert "1 usable records" in capsys.readouterr().err
    assert main(["--data", f"wfdb:{tmp_path}@9:", "--quiet"]) == 2
    assert "none of 1 records is in that part" in capsys.readouterr().err
    assert main(["--data", "nowhere:at-all", "--quiet"]) == 2
    assert main(["--data", str(tmp_path), "--epochs", "0"]) == 2
    assert main([]) == 2
    capsys.readouterr()
    assert main(["--data", f"wfdb:{tmp_path}", "--also", "nowhere:at-all", "--quiet"]) == 2
    assert "nowhere" in capsys.readouterr().err
    Record(("I", "II"), np.zeros((2, 5000)), 500.0).write_wfdb(tmp_path / "flat" / "line")
    assert main(["--data", f"wfdb:{tmp_path}", "--also", f"wfdb:{tmp_path / 'flat'}", "--quiet"]) == 2
    assert "--also has no usable record" in capsys.readouterr().err
    with pytest.raises(UsageError, match="expected 30 or more besides those that only help"):
        fit(examples[:5], also=examples)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda mv: np.where(np.arange(5000) == 77, np.nan, mv), "NaN"),
        (lambda mv: 1000 * mv, "units"),
        (lambda mv: mv / 1000, "units"),
        (lambda mv: mv[:, :2000], "5 s"),
    ],
)
def test_records_that_teach_nothing_are_refused(change, says):
    ecg = Ecgsyn(condition="NORM").load("ecgsyn-000000")
    with pytest.raises(RecordError, match=says):
        describe(dataclasses.replace(ecg, mv=change(ecg.mv)))
    with pytest.raises(RecordError, match="no lead"):
        describe(ecg.select(("I", "II", "V1")))


def test_those_left_out_are_named(tmp_path):
    ecg = Ecgsyn(condition="NORM").load("ecgsyn-000000")
    ecg.write_wfdb(tmp_path / "good")
    dataclasses.replace(ecg, mv=np.full_like(ecg.mv, np.nan)).write_wfdb(tmp_path / "unknown")
    found, left_out, used = examples_of([f"wfdb:{tmp_path}"], quiet=True)
    assert len(found) == 1 and used == {"wfdb": 1}
    assert [name for name, _ in left_out] == ["unknown"] and "NaN" in left_out[0][1]


# What ships


def test_an_ecg_depends_on_its_own_seed_only(shipped):
    for condition in (Condition(), Condition(hr=(60, 80)), Condition(label="MI", sex="F", hr=(60, 80))):
        together, known = shipped.sample(rngs(*range(70)), 2.502, condition)
        for some in ((1,), (69, 0, 31)):
            alone, of_some = shipped.sample(rngs(*some), 2.502, condition)
            assert (together[list(some)] == alone).all() and [known[k] for k in some] == of_some
        assert (together[0] != together[1]).any()


def test_threads_and_processors_make_no_difference():
    """A long one, in which sums are shared out among threads, and one that is chosen from many."""
    code = """
import hashlib
from synth import Condition, generate
records = [*generate(1, seconds=300), *generate(1, condition=Condition(label="MI", sex="F"))]
print(hashlib.sha256(b"".join(r.mv.tobytes() for r in records)).hexdigest())
"""
    found = set()
    for threads, processor in (("1", ""), ("2", ""), ("2", "Haswell")):
        chosen = {"OPENBLAS_NUM_THREADS": threads, **({"OPENBLAS_CORETYPE": processor} if processor else {})}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **chosen},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1


@pytest.mark.parametrize("seconds", [2.0, 2.502, 10.0, 61.0])
def test_any_length(shipped, seconds):
    mv, _ = shipped.sample(rngs(0), seconds, Condition(hr=(60, 90)))
    assert mv.shape == (1, 8, round(500 * seconds)) and np.isfinite(mv).all()
    assert 0.2 < np.ptp(mv, axis=2).max() < 15


@pytest.mark.parametrize("seconds", [1.9, 0.0, -3.0, 1e6, float("nan")])
def test_no_other_length(shipped, seconds):
    with pytest.raises(UsageError, match="expected 2"):
        shipped.sample(rngs(0), seconds, Condition())


@pytest.mark.parametrize("span", [(40.0, 50.0), (70.0, 72.0), (110.0, 130.0), (200.0, 205.0)])
def test_the_heart_rate_is_the_one_asked_for(shipped, span):
    mv, known = shipped.sample(rngs(*range(8)), 10.0, Condition(hr=span))
    assert all(span[0] <= meta["hr"] <= span[1] for meta in known)
    found = [d.hr for d in (try_delineate(Record(LEADS8, one, 500.0)) for one in mv) if d is not None]
    assert len(found) >= 7
    good = [span[0] - 2 < hr < span[1] + 2 for hr in found]
    assert sum(good) >= (6 if span[0] < 200 else 4)


def test_labels_sex_and_age_are_those_asked_for(shipped):
    for label in CLASSES:
        _, known = shipped.sample(rngs(0, 1), 2.0, Condition(label=label, sex="F", age=(30, 40)))
        assert {(meta["label"], meta["sex"]) for meta in known} == {(label, "F")}
        assert all(30 <= meta["age"] <= 40 for meta in known)
    _, known = shipped.sample(rngs(*range(40)), 2.0, Condition())
    assert len({meta["label"] for meta in known}) >= 4
    assert {meta["sex"] for meta in known} == {"F", "M"}


def test_what_is_asked_for_shows(shipped):
    def measured(condition):
        mv, _ = shipped.sample(rngs(*range(16)), 8.0, condition)
        return [d for d in (try_delineate(Record(LEADS8, one, 500.0)) for one in mv) if d is not None]

    norm, af, cd = (measured(Condition(label=label)) for label in ("NORM", "AF", "CD"))
    assert np.mean([np.isfinite(d.pr) for d in norm]) > 0.9 > 0.6 > np.mean([np.isfinite(d.pr) for d in af])
    assert np.median([d.rr_sd for d in af]) > 2 * np.median([d.rr_sd for d in norm])
    assert np.mean([d.qrs for d in cd]) > np.mean([d.qrs for d in norm]) + 5


def test_rare_conditions_hold_or_are_refused(shipped):
    """Of a hundred rows hardly one is a young woman in fibrillation: more are drawn, until some are to be expected."""
    mv, known = shipped.sample(rngs(*range(12)), 8.0, Condition("AF", sex="F", age=(30, 50)))
    found = [d for d in (try_delineate(Record(LEADS8, one, 500.0)) for one in mv) if d is not None]
    assert np.mean([np.isfinite(d.pr) for d in found]) < 0.3
    assert all(meta["label"] == "AF" and 30 <= meta["age"] <= 50 for meta in known)
    with pytest.raises(UsageError, match=r"AF, hr 60-80, sex F, age 18-25: of 12800 ECGs .* Ask for less"):
        shipped.sample(rngs(0), 8.0, Condition("AF", (60, 80), "F", (18, 25)))
    with pytest.raises(UsageError, match="age 0-5; expected some of 18 to 95 years"):
        shipped.sample(rngs(0), 8.0, Condition(age=(0, 5)))
    assert shipped.sample(rngs(0), 8.0, Condition(age=(10, 20)))[1][0]["age"] >= 18


def test_weights_are_what_their_card_says(shipped):
    card = json.loads(WEIGHTS.with_suffix(".json").read_text())
    assert card["sha256"] == shipped.sha256
    assert WEIGHTS.stat().st_size == card["bytes"] < 5_000_000


def test_wrong_weights_are_refused(tmp_path, shipped):
    with pytest.raises(UsageError, match="cannot be read"):
        Beats.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no weights")
    with pytest.raises(UsageError, match="cannot be read"):
        Beats.load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", format=np.array(FORMAT))
    with pytest.raises(UsageError, match="lack"):
        Beats.load(tmp_path / "other.npz")
    with np.load(WEIGHTS) as file:
        arrays = {key: file[key] for key in file.files}
    fewer = ({"hidden": arrays["hidden"][:, :-1]}, {"out": arrays["out"][:-1]})  # numbers of a row, members
    of_old = {key: value for key, value in arrays.items() if key != "tolerance"}  # format 5 had none
    save({**of_old, "format": np.array(FORMAT - 1)}, {}, tmp_path)
    with pytest.raises(UsageError, match=rf"of format {FORMAT - 1}; expected {FORMAT}\. Fit again"):
        Beats.load(tmp_path / "beats.npz")
    for change in ({"format": np.array(FORMAT - 1)}, {"format": np.array(99)}, *fewer):
        save({**arrays, **change}, {}, tmp_path)
        with pytest.raises(UsageError, match="Fit again"):
            Beats.load(tmp_path / "beats.npz")
