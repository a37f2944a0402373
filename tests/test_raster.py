"""Strokes against brute force: 16 x 16 points in every pixel, inked if they lie within half a pen of the polyline."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecg_image_kit.raster import draw_graph

D = NDArray[np.float64]
SHAPE = (24, 32)
FINE = 16
# Drawn and sampled coverage differ by the samples' own error (1/16 of a pixel along an edge) and 1/sub/2 along x.
CLOSE = 0.07


def drawn(x: D, y: D, width: float, cap: str, shape: tuple[int, int] = SHAPE, sub: int = 16) -> D:
    coverage = np.zeros(shape, np.uint8)
    draw_graph(coverage, x, y, width, cap, sub)
    return coverage / 255.0


def reference(x: D, y: D, width: float, cap: str, shape: tuple[int, int] = SHAPE) -> D:
    height, wide = shape
    py, px = ((np.indices((height * FINE, wide * FINE)) + 0.5) / FINE) - 0.5
    coverage = np.zeros(shape)
    known = np.flatnonzero(np.isfinite(y))
    for piece in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
        near = np.full(px.shape, np.inf)
        for a, b in itertools.pairwise(piece):
            dx, dy = x[b] - x[a], y[b] - y[a]
            t = np.clip(((px - x[a]) * dx + (py - y[a]) * dy) / (dx * dx + dy * dy), 0, 1)
            near = np.minimum(near, np.hypot(px - x[a] - t * dx, py - y[a] - t * dy))
        if piece.size == 1:
            near = np.hypot(px - x[piece[0]], py - y[piece[0]])
        covered = near <= width / 2
        if cap == "butt" and piece.size > 1:
            covered &= (px >= x[piece[0]]) & (px <= x[piece[-1]])
        coverage = np.maximum(coverage, covered.reshape(height, FINE, wide, FINE).mean(axis=(1, 3)))
    return coverage


def signal(kind: str, rng: np.random.Generator) -> tuple[D, D]:
    wide = np.linspace(3.3, 27.7, 60)
    fine = np.linspace(3.3, 27.7, 240)  # ten samples a pixel, as at 72 dpi
    at = 15 + rng.uniform(0, 1)
    return {
        "flat": lambda: (np.linspace(-3, 34, 40), 12 + np.cumsum(rng.normal(0, 0.2, 40))),
        "noise": lambda: (wide, 12 + rng.normal(0, 1.5, 60)),
        "steep": lambda: (wide, 12 + rng.uniform(-9, 9, 60)),
        "long segments": lambda: (np.linspace(3.3, 27.7, 7), 12 + rng.uniform(-9, 9, 7)),
        "peak": lambda: (wide, 20 - wide / 15 - 17 * np.clip(1 - np.abs(wide - at) / 1.2, 0, 1)),
        "peak under a pixel": lambda: (fine, 20 - fine / 15 - 17 * np.clip(1 - np.abs(fine - at) / 0.35, 0, 1)),
        "gaps": lambda: (wide, np.where(rng.random(60) < 0.2, np.nan, 12 + rng.normal(0, 1.0, 60))),
        "off the canvas": lambda: (np.linspace(-20, 50, 90), 12 + rng.uniform(-30, 30, 90)),
    }[kind]()


@pytest.mark.parametrize("cap", ["butt", "round"])
@pytest.mark.parametrize(
    "kind", ["flat", "noise", "steep", "long segments", "peak", "peak under a pixel", "gaps", "off the canvas"]
)
def test_coverage_is_exact(kind: str, cap: str) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x, y = signal(kind, rng)
        width = rng.uniform(0.7, 3.5)
        ink, truth = drawn(x, y, width, cap), reference(x, y, width, cap)
        assert truth.sum() > 10
        assert np.abs(ink - truth).max() < CLOSE
        assert ink.sum() == pytest.approx(truth.sum(), rel=0.015)
        # The check can fail: a tenth of a pen more, or a quarter pixel aside, does not pass it.
        assert np.abs(drawn(x, y, 1.1 * width + 0.1, cap) - truth).max() > CLOSE
        assert np.abs(drawn(x, y + 0.25, width, cap) - truth).max() > CLOSE


def test_fewer_sub_columns_are_less_exact_but_keep_the_mass() -> None:
    x, y = signal("steep", np.random.default_rng(1))
    truth = reference(x, y, 2.0, "butt")
    errors = [np.abs(drawn(x, y, 2.0, "butt", sub=sub) - truth).max() for sub in (2, 4, 16)]
    assert errors[0] > errors[1] > errors[2]
    assert drawn(x, y, 2.0, "butt", sub=4).sum() == pytest.approx(truth.sum(), rel=0.01)


@given(
    st.floats(0.3, 6), st.floats(8, 16), st.floats(2, 10), st.floats(20, 29), st.floats(-0.3, 0.3),
    st.sampled_from(["butt", "round"]),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_a_straight_stroke_has_the_area_of_its_outline(
    width: float, y0: float, x0: float, x1: float, slope: float, cap: str
) -> None:
    shape = (32, 36)
    x = np.array([x0, x1])
    ink = drawn(x, y0 + slope * (x - x0), width, cap, shape)
    run = x1 - x0
    # Cut vertically, a slanted band is width / cos high; the round pen's ends add what is left of two half discs.
    length = np.hypot(run, slope * run)
    round_area = width * length + np.pi * width**2 / 4
    if cap == "round":
        assert ink.sum() == pytest.approx(round_area, rel=0.01, abs=0.1)
    else:
        # The triangles that the vertical cuts take off one side of each end are missing on the other, up to the disc.
        assert width * run < ink.sum() + 0.05 * width + 0.05
        assert ink.sum() < round_area
        assert (ink[:, : int(np.floor(x0 + 0.5))] == 0).all()
        assert (ink[:, int(np.ceil(x1 + 0.5)) :] == 0).all()


def test_a_vertical_edge_is_a_straight_stroke() -> None:
    # A calibration pulse: x does not increase along its flanks.
    x, y = np.array([4.0, 8, 8, 20, 20, 24]), np.array([18.0, 18, 5, 5, 18, 18])
    for cap in ("butt", "round"):
        assert np.abs(drawn(x, y, 2.0, cap) - reference(x, y, 2.0, cap)).max() < CLOSE
    twice = np.repeat(x, 2), np.repeat(y, 2)
    np.testing.assert_array_equal(drawn(*twice, 2.0, "butt"), drawn(x, y, 2.0, "butt"))


def test_the_ends_of_a_butt_cap_are_where_they_should_be() -> None:
    ink = drawn(np.array([5.25, 20.75]), np.array([12.0, 12.0]), 3.0, "butt")
    np.testing.assert_allclose(ink[12, [4, 5, 6, 20, 21, 22]], [0, 0.25, 1, 1, 0.25, 0], atol=0.01)
    np.testing.assert_allclose(ink[[10, 11, 12, 13, 14], 12], [0, 1, 1, 1, 0], atol=0.01)
    half = drawn(np.array([5.25, 20.75]), np.array([12.5, 12.5]), 2.0, "butt")
    np.testing.assert_allclose(half[10:16, 12], [0, 0, 1, 1, 0, 0], atol=0.01)


def test_a_gap_is_not_bridged_and_a_lone_sample_is_a_dot() -> None:
    x = np.arange(30.0)
    y = np.full(30, 12.0)
    y[8:14], y[15:22] = np.nan, np.nan
    ink = drawn(x, y, 2.0, "butt")
    assert ink[:, 9:13].sum() == 0
    assert ink[:, 16:21].sum() == 0
    assert ink[:, 13:16].sum() == pytest.approx(np.pi, abs=0.1)
    assert drawn(x, np.full(30, np.nan), 2.0, "round").sum() == 0


@pytest.mark.parametrize("where", ["left", "right", "above", "below"])
def test_ink_that_misses_the_canvas(where: str) -> None:
    x, y = np.linspace(5, 25, 50), np.full(50, 12.0)
    x = x + {"left": -60, "right": 60}.get(where, 0)
    y = y + {"above": -60, "below": 60}.get(where, 0)
    assert drawn(x, y, 3.0, "round").sum() == 0


@pytest.mark.parametrize("size", [1e-6, 1e3, 1e9, 1e30])
def test_absurd_amplitudes_are_clipped(size: float) -> None:
    x = np.linspace(2, 30, 100)
    y = 12 + size * np.sign(np.sin(np.arange(100)))
    ink = drawn(x, y, 2.0, "butt")
    if size < 1:
        np.testing.assert_allclose(ink, drawn(x, np.full(100, 12.0), 2.0, "butt"), atol=0.01)
    else:
        assert (ink == reference(x, np.clip(y, -1e4, 1e4), 2.0, "butt")).mean() > 0.5
        assert ink[:, 4:28].max() == 1


def test_ink_is_laid_over_ink_by_maximum() -> None:
    coverage = np.full(SHAPE, 100, np.uint8)
    draw_graph(coverage, np.array([5.0, 25]), np.array([12.0, 12]), 2.0)
    assert coverage.min() == 100
    assert coverage[12, 15] == 255
    assert coverage[11, 15] == coverage[13, 15] == 128
