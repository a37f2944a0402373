"""The statistics of synth.scores against independent references, and on sets made so that the answer is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from ecg_image_kit import UsageError
from synth import scores as sc


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# One number per record


@pytest.mark.parametrize("seed", range(5))
def test_distances_of_samples_are_scipys(seed):
    of = rng(seed)
    a, b = np.round(of.normal(0, 1, 57), 1), np.round(of.normal(0.3, 1.5, 203), 1)  # with ties
    assert sc.ks(a, b) == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12)
    assert sc.wasserstein(a, b) == pytest.approx(stats.wasserstein_distance(a, b), rel=1e-12)
    holes = np.concatenate([a, [np.nan] * 9])
    assert sc.ks(holes, b) == sc.ks(a, b) and sc.wasserstein(b, holes) == pytest.approx(sc.wasserstein(a, b))
    assert sc.sd_ratio(holes, b) == pytest.approx(b.std(ddof=1) / a.std(ddof=1))
    assert sc.mean_difference(holes, b) == pytest.approx(b.mean() - a.mean())


def test_nothing_is_nan():
    none = np.full(4, np.nan)
    some = np.arange(5.0)
    for of in (sc.ks, sc.wasserstein, sc.sd_ratio, sc.mean_difference):
        assert math.isnan(of(none, some))
    assert math.isnan(sc.auroc(some, np.empty(0)))
    assert math.isnan(sc.bootstrap(sc.ks, (none, some), rng()).low)


def test_auroc_counts_pairs():
    a, b = np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.0, 2.0, 3.0])
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p, n in itertools.product(a, b)]
    assert sc.auroc(a, b) == pytest.approx(np.mean(pairs))
    assert sc.auroc(a, a) == 0.5 and sc.auroc(a + 9, a) == 1.0 and sc.auroc(a - 9, a) == 0.0


# Intervals


def test_bootstrap_covers_as_often_as_it_says():
    """Of 200 samples of a known mean, about 95 % have it in their interval."""
    of = rng(1)
    hits = 0
    for _ in range(200):
        e = sc.bootstrap(lambda x: float(x.mean()), (of.exponential(1.0, 60),), of, 100)
        hits += e.low <= 1.0 <= e.high
    assert 0.87 <= hits / 200 <= 0.99


def test_half_samples_have_the_spread_of_the_mean():
    x = rng(2).normal(0, 3.0, 400)
    e = sc.half_samples(lambda x: float(x.mean()), (x,), rng(3), 400)
    assert e.high - e.low == pytest.approx(2 * 1.96 * 3.0 / 20, rel=0.2)
    assert e.value == pytest.approx(x.mean())


def test_intervals_stay_within_what_is_possible():
    a = np.arange(30.0)
    e = sc.bootstrap(sc.ks, (a, a), rng(), span=(0, 1))
    assert e.value == 0 and e.low == 0 and 0 < e.high < 1


# Distributions


def test_frechet_of_gaussians():
    """Against the closed form for commuting covariances: |m|² + sum (s1 - s2)²."""
    of = rng(4)
    s1, s2, m = np.array([1.0, 2.0, 0.5]), np.array([2.0, 1.0, 0.5]), np.array([1.0, 0.0, -1.0])
    turn = np.linalg.qr(of.normal(size=(3, 3)))[0]
    x, y = (of.standard_normal((200_000, 3)) * s for s in (s1, s2))
    expected = (m**2).sum() + ((s1 - s2) ** 2).sum()
    assert sc.frechet(x @ turn, (y + m) @ turn) == pytest.approx(expected, rel=0.02)
    assert sc.frechet(x, x) == pytest.approx(0, abs=1e-6)


def test_mmd_is_the_sum_over_pairs():
    of = rng(5)
    a, b = of.normal(0, 1, (12, 3)), of.normal(0.5, 1, (9, 3))
    kernels = sc.polynomial(a, b)

    def k(x, y):
        return (x @ y / 3 + 1) ** 3

    within = [np.mean([k(x, y) for x, y in itertools.permutations(s, 2)]) for s in (a, b)]
    across = np.mean([k(x, y) for x in a for y in b])
    assert kernels.mmd(np.arange(12), np.arange(9)) == pytest.approx(sum(within) - 2 * across)


@pytest.mark.parametrize("kernel", [sc.polynomial, sc.gaussian])
def test_mmd_is_zero_for_one_distribution_and_not_for_two(kernel):
    of = rng(6)
    draws = [sc.mmd(kernel(of.normal(size=(60, 4)), of.normal(size=(80, 4))), of, 0).value for _ in range(40)]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / np.sqrt(40)
    e = sc.mmd(kernel(of.normal(size=(60, 4)), of.normal(0.8, 1, size=(80, 4))), of, 100)
    assert e.low > 0


def test_manifold_by_hand():
    """Real at 0, 1, 2, 10; fakes at 0.4, 0.6, 11, 50; k = 1: worked out on paper."""
    real, fake = (np.array([v]).T for v in ([0.0, 1.0, 2.0, 10.0], [0.4, 0.6, 11.0, 50.0]))
    m = sc.manifold(real, fake, 1)
    # Balls of real: radius 1, 1, 1, 8. 0.4 and 0.6 are in those of 0 and 1; 11 in that of 10; 50 in none.
    assert m.density == 5 / 4 and m.precision == 3 / 4 and m.coverage == 3 / 4
    # Balls of fake: 0.2, 0.2, 10.4, 39. 11 holds 1, 2 and 10; 0 is in none, and neither does 50 reach 10 by 39.
    assert m.recall == 3 / 4


def test_manifold_of_one_distribution_and_of_poorer_ones():
    """Coverage of one distribution is 1 - 2^-k in any dimension (Naeem et al. 2020), density is 1."""
    of = rng(7)
    same = [sc.manifold(of.normal(size=(300, 6)), of.normal(size=(300, 6))) for _ in range(8)]
    assert np.mean([m.coverage for m in same]) == pytest.approx(1 - 2**-5, abs=0.01)
    assert np.mean([m.density for m in same]) == pytest.approx(1, abs=0.05)
    real = of.normal(size=(300, 6))
    collapsed = sc.manifold(real, 0.05 * of.normal(size=(300, 6)))
    assert collapsed.recall < 0.05 and collapsed.coverage < 0.3 and collapsed.precision > 0.95
    elsewhere = sc.manifold(real, of.normal(9, 1, size=(300, 6)))
    assert (elsewhere.density, elsewhere.coverage, elsewhere.precision, elsewhere.recall) == (0, 0, 0, 0)
    with pytest.raises(UsageError, match="300 real and 200 fake"):
        sc.manifold(real, real[:200])


# Classifiers


def test_ridge_leaves_one_out_as_refitting_would():
    """The penalty it takes is the one that refitting without each record in turn finds best."""
    of = rng(8)
    x = of.normal(size=(25, 40))
    y = x[:, :1] + of.normal(size=(25, 1))
    z = (x - x.mean(0)) / x.std(0)
    t = y - y.mean()
    base = np.linalg.eigvalsh(z @ z.T).mean()
    errors = []
    for alpha in np.logspace(-4, 3, 15) * base:
        left = []
        for i in range(25):
            keep = np.arange(25) != i
            w = np.linalg.solve(z[keep].T @ z[keep] + alpha * np.eye(40), z[keep].T @ t[keep])
            left.append(t[i] - z[i] @ w)
        errors.append(np.square(left).sum())
    alpha = np.logspace(-4, 3, 15)[int(np.argmin(errors))] * base
    w = np.linalg.solve(z.T @ z + alpha * np.eye(40), z.T @ t)
    assert sc.ridge(x, y).weights == pytest.approx(w, abs=1e-8)
    assert sc.ridge(x, y)(x) == pytest.approx(z @ w + y.mean(), abs=1e-8)


def test_ridge_weights_count_as_copies():
    of = rng(9)
    x, y = of.normal(size=(30, 3)), of.normal(size=30)
    counts = of.integers(1, 4, 30)
    weighted, copied = sc.ridge(x, y, counts), sc.ridge(np.repeat(x, counts, 0), np.repeat(y, counts))
    assert weighted.mean == pytest.approx(copied.mean) and weighted.scale == pytest.approx(copied.scale)
    assert weighted.offset == pytest.approx(copied.offset)


def test_two_sample():
    of = rng(10)
    same = [sc.auroc(f, r) for r, f in (sc.two_sample(of.normal(size=(90, 20)), of.normal(size=(150, 20)), of)
                                        for _ in range(10))]  # fmt: skip
    assert np.mean(same) == pytest.approx(0.5, abs=0.05)
    real = of.normal(size=(90, 20))
    r, f = sc.two_sample(real, real + of.normal(0, 1e-9, real.shape), of)
    assert sc.auroc(f, r) < 0.6  # below 0.5, for the twin of a record that is left out has the other label
    shifted = of.normal(size=(90, 20)) + np.eye(20)[3] * 1.5
    r, f = sc.two_sample(real, shifted, of)
    # The best any classifier can do: Phi(1.5 / sqrt 2) = 0.856.
    assert 0.7 < sc.auroc(f, r) < 0.93


# Privacy


def nearer_by_drawing(to_train, to_held, of):
    m = to_held.shape[1]
    nearest = to_held.min(axis=1)
    share = []
    for _ in range(400):
        seen = to_train[:, of.permutation(to_train.shape[1])[:m]].min(axis=1)
        share.append(np.mean((seen < nearest) + 0.5 * (seen == nearest)))
    return np.mean(share)


def test_nearer_to_training_is_the_mean_over_draws():
    of = rng(11)
    to_train, to_held = np.round(of.exponential(size=(50, 40)), 1), np.round(of.exponential(size=(50, 9)), 1)
    assert sc.nearer_to_training(to_train, to_held) == pytest.approx(nearer_by_drawing(to_train, to_held, of), abs=0.02)
    assert sc.nearer_to_training(to_held, to_train) == pytest.approx(1 - sc.nearer_to_training(to_train, to_held))
    equal = to_train[:, :9]
    plain = np.mean(equal.min(1) < to_held.min(1)) + 0.5 * np.mean(equal.min(1) == to_held.min(1))
    assert sc.nearer_to_training(equal, to_held) == pytest.approx(plain)


def test_privacy_of_new_records_and_of_copies():
    of = rng(12)
    train, held, new = (of.normal(size=(n, 8)) for n in (600, 200, 300))
    copies = train[of.integers(600, size=300)] + of.normal(0, 0.02, (300, 8))
    d = sc.distances
    assert sc.nearer_to_training(d(new, train), d(new, held)) == pytest.approx(0.5, abs=0.08)
    assert sc.membership(d(train, new), d(held, new)) == pytest.approx(0.5, abs=0.06)
    assert sc.near_copies(d(new, train), d(held, train)) == pytest.approx(0.05, abs=0.04)
    # A third of the training records are drawn, to equal the held-out ones: often a copy's original is not among them.
    assert sc.nearer_to_training(d(copies, train), d(copies, held)) > 0.6
    assert sc.membership(d(train, copies), d(held, copies)) > 0.65
    assert sc.near_copies(d(copies, train), d(held, train)) == 1.0


# Spectra


def noise(of, shape=(40, 3, 5000)):
    """Brownian-like noise, whose spectrum falls by 20 dB per decade, of records that differ in loudness."""
    x = np.cumsum(of.normal(0, 0.01, shape), axis=-1)
    return (x - x.mean(axis=-1, keepdims=True)) * np.exp(of.normal(0, 0.3, (*shape[:-1], 1)))


def test_log_psd_of_a_sine_and_of_white_noise():
    t = np.arange(5000) / 500
    hz, db = sc.log_psd(rng().normal(0, 0.1, (200, 5000)), 500.0)
    flat = (hz > 2) & (hz < 248)
    # 0.01 mV² over 250 Hz; the mean logarithm of an average of 4 overlapping windows is 0.5 to 0.8 dB below.
    assert db[:, flat].mean() == pytest.approx(10 * np.log10(0.01 / 250) - 0.65, abs=0.25)
    hz, db = sc.log_psd(np.sin(2 * np.pi * 30 * t), 500.0)
    assert hz[db.argmax()] == 30 and hz[1] == 0.25
    assert 10 * np.log10((10 ** (db / 10)).sum() * 0.25) == pytest.approx(10 * np.log10(0.5), abs=0.1)


def test_silence_has_a_floor():
    _, db = sc.log_psd(np.zeros(5000), 500.0)
    assert np.isfinite(db).all() and db.max() == pytest.approx(-90)


def test_a_planted_spur_is_found_and_nothing_else():
    of = rng(13)
    real, fake = noise(of), noise(of)
    t = np.arange(5000) / 500
    hz, clean = sc.log_psd(real, 500.0)
    assert sc.spurs(sc.log_psd(fake, 500.0)[1].mean(0), clean.mean(0), hz) == ()
    fake[:, 1] += 0.004 * np.sin(2 * np.pi * 100 * t)
    fake[:, 2] += 0.002 * np.cos(2 * np.pi * 250 * t)  # the highest frequency there is
    found = sc.spurs(sc.log_psd(fake, 500.0)[1].mean(0), clean.mean(0), hz)
    assert sorted((line.row, line.hz) for line in found) == [(1, 100.0), (2, 250.0)]
    assert all(line.db > 3 for line in found)


def test_mains_that_real_has_too_is_no_spur():
    of = rng(14)
    t = np.arange(5000) / 500
    mains = 0.005 * np.sin(2 * np.pi * 50 * t)
    hz, real = sc.log_psd(noise(of) + mains, 500.0)
    assert sc.spurs(sc.log_psd(noise(of) + mains, 500.0)[1].mean(0), real.mean(0), hz) == ()
    louder = sc.spurs(sc.log_psd(noise(of) + 4 * mains, 500.0)[1].mean(0), real.mean(0), hz)
    assert {line.hz for line in louder} == {50.0} and louder[0].db == pytest.approx(12, abs=1.5)


def test_smooth_is_a_running_mean():
    hz = np.arange(0, 20, 0.25)
    x = rng(15).normal(size=(2, hz.size))
    y = sc.smooth(x, hz, 1.0)
    assert y[:, 10] == pytest.approx(x[:, 8:13].mean(axis=1)) and y[:, 0] == pytest.approx(x[:, :3].mean(axis=1))


def test_correlations_are_numpys():
    x = rng(16).normal(size=(3, 4, 50)).cumsum(axis=-1)
    x[1, 2] = 0.7  # a flat lead
    found = sc.correlations(x)
    assert found[0] == pytest.approx(np.corrcoef(x[0])) and found[2] == pytest.approx(np.corrcoef(x[2]))
    assert np.isnan(found[1, 2]).all() and np.isfinite(np.delete(np.delete(found[1], 2, 0), 2, 1)).all()
