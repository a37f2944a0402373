"""Where time begins: told by both ends of the rows' ink, whatever a pen's cap, blur and threshold make of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from digitizer.arrays import smoothed
from digitizer.curves import Curve, curve
from digitizer.ends import later
from ecg_image_kit import raster
from ecg_image_kit.layout import Strip

F32 = NDArray[np.float32]
K, SPEED, FS = 8.0, 25.0, 500.0  # px per mm, mm/s, Hz
STEP, N, X0 = SPEED * K / FS, 1250, 60.3  # of 2.5 s
ROWS = (80.0, 160.0, 240.0, 320.0)
STRIPS = [Strip("II", 0.0, N / FS, X0 / K, 0.0, 10.0, row) for row in range(len(ROWS))]
HAIR = 0.05  # px; 0.25 ms


def levels(seed: int, steep: float = 0.0) -> list[NDArray[np.float64]]:
    """Smooth rows that wander; ``steep``: px/px at which they begin."""
    rng = np.random.default_rng(seed)
    t = np.arange(N) / FS
    start = np.exp(-np.arange(N) * STEP / 12.0)
    return [y + 8 * np.sin(2 * np.pi * (rng.uniform(0.4, 1.0) * t + rng.random())) - steep * 12 * start for y in ROWS]


def ink(rows: list[NDArray[np.float64]], cap: str = "butt", pen: float = 2.4) -> F32:
    page = np.zeros((400, 650), np.uint8)
    for y in rows:
        raster.draw_graph(page, X0 + STEP * np.arange(N), y, pen, cap)
    return np.asarray(page / np.float32(255), np.float32)


def curves(rows: list[NDArray[np.float64]], early: float) -> list[Curve]:
    """The same rows, said to begin ``early`` px too early: at every x where they are."""
    at = X0 - early + STEP * np.arange(N)
    true = X0 + STEP * np.arange(N)
    return [
        curve(k, ROWS[k], X0 - early, STEP, np.interp(at, true, y), np.ones(N, bool), int(X0 - early + 0.5))
        for k, y in enumerate(rows)
    ]


def found(page: F32, rows: list[NDArray[np.float64]], early: float, pen: float = 2.4) -> float:
    return later(page, curves(rows, early), STRIPS, pen, K, 0.05)


@pytest.mark.parametrize("cap", ["butt", "round"])
@pytest.mark.parametrize("early", [-0.8, 0.0, 0.5, 1.0])
def test_either_cap_is_found_to_a_hair(cap: str, early: float) -> None:
    rows = levels(1)
    assert found(ink(rows, cap), rows, early) == pytest.approx(early, abs=HAIR)


@pytest.mark.parametrize("cap", ["butt", "round"])
def test_rows_that_begin_steeply_are_no_later(cap: str) -> None:
    rows = levels(2, steep=1.2)
    assert found(ink(rows, cap), rows, 0.4) == pytest.approx(0.4, abs=3 * HAIR)


def test_blur_and_threshold_cancel() -> None:
    rows = levels(3)
    soft = np.asarray(cv2.GaussianBlur(ink(rows), (0, 0), 1.0), np.float32)
    assert found(soft, rows, 0.6) == pytest.approx(0.6, abs=3 * HAIR)
    assert found(np.asarray(soft > 0.4, np.float32), rows, 0.6) == pytest.approx(0.6, abs=0.3)  # no finer than px


def test_what_was_known_before_holds_back_what_ink_says() -> None:
    rows = levels(1)
    page = ink(rows)
    free, held = (later(page, curves(rows, 0.8), STRIPS, 2.4, K, known) for known in (0.05, 0.002))
    assert 0.0 < held < 0.25 * free


def test_smoothing_takes_what_cannot_be_seen_and_nothing_else() -> None:
    k = np.arange(40.0)
    assert smoothed(3.0 + 0.2 * k, 0.25)[1:-1] == pytest.approx((3.0 + 0.2 * k)[1:-1])
    assert smoothed((-1.0) ** k, 0.25)[1:-1] == pytest.approx(0.0, abs=1e-12)
    slow = np.sin(2 * np.pi * k / 40)  # 12.5 Hz
    assert smoothed(slow, 0.25)[1:-1] == pytest.approx(slow[1:-1], abs=0.01)


def test_a_row_that_is_torn_does_not_count() -> None:
    rows = levels(4)
    page = ink(rows)
    page[60:100, :80] = 0.0  # 2.5 mm of the first one are gone
    assert found(page, rows, 0.4) == pytest.approx(0.4, abs=3 * HAIR)


def test_what_cannot_be_told_is_left_alone() -> None:
    rows = levels(5)
    page = ink(rows)
    cut = page.copy()
    cut[:, :90] = 0.0  # all rows' beginnings are gone: nobody knows where they were
    assert found(cut, rows, 0.5) == 0.0
    assert found(np.zeros_like(page), rows, 0.5) == 0.0
    joined = page.copy()
    for y in rows:
        joined[int(y[0]) - 2 : int(y[0]) + 3, 30:70] = 1.0  # something runs into them all
    assert found(joined, rows, 0.5) == 0.0


def test_rows_that_disagree_move_it_less() -> None:
    rows = levels(6)
    alike = found(ink(rows), rows, 0.8)
    page = np.zeros((400, 650), np.uint8)
    for y, off in zip(rows, (-2.0, -0.7, 0.9, 2.2), strict=True):
        raster.draw_graph(page, X0 + off + STEP * np.arange(N), y, 2.4)
    torn = found(np.asarray(page / np.float32(255), np.float32), rows, 0.8)
    assert 0 < torn < 0.9 * alike


def test_rows_that_are_too_long_were_run_into() -> None:
    """A foot of 0.6 mm before all rows: rows known to last 2.5 s cannot be so long."""
    rows = levels(7)
    page = ink(rows)
    for y in rows:
        raster.draw_graph(foot := np.zeros(page.shape, np.uint8), np.array([X0 - 0.6 * K, X0]), np.repeat(y[0], 2), 2.4)
        page = np.maximum(page, foot / np.float32(255))
    assert found(page, rows, 0.0) == 0.0
