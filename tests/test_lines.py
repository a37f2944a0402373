"""Unevenly spaced grid lines: found line by line, undone, and left alone where there is nothing to undo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from digitizer.lines import PERIOD, Departures, measure
from digitizer.locate import Grid, locate
from digitizer.rectify import rectify
from ecg_image_kit import Homography, Page, Record, Style, open_source, render
from ecg_image_kit.effects import apply

FIVE = Style(minor="none")


@pytest.fixture(scope="module")
def record() -> Record:
    return open_source("samples").load("00003")


def profiles(off: NDArray[np.float64], k: float, seed: int | None = None) -> tuple[NDArray[np.float64], ...]:
    """Bands (bands, W) in which line n is drawn ``off``[band, n] mm beyond 5 n mm, and the bands' rows px."""
    bands, lines = off.shape
    x = np.arange(int(PERIOD * k * (lines + 1)))
    out = np.zeros((bands, x.size))
    for n in range(lines):
        at = (PERIOD * (n + 1) + off[:, n]) * k
        out += np.exp(-0.5 * ((x[None, :] - at[:, None]) / 1.2) ** 2)
    if seed is not None:
        out += np.random.default_rng(seed).normal(0, 0.05, out.shape)
    return out, np.arange(bands) * 16.0 + 7.5


def measured(off: NDArray[np.float64], k: float = 8.0, seed: int | None = None) -> tuple[float, float, Departures]:
    bands, rows = profiles(off, k, seed)
    vector, offset, lines = measure(bands, rows, np.array([1 / k, 0.0]), 0.0)
    assert lines is not None
    return 1 / float(vector[0]), offset, lines


def test_even_lines_are_even() -> None:
    k, offset, lines = measured(np.zeros((100, 50)), seed=1)
    assert k == pytest.approx(8.0, rel=1e-5)
    assert offset == pytest.approx(0.0, abs=0.005)
    assert lines.rms < 0.006
    assert lines.left < 0.01


def test_smooth_departures_are_found_to_hundredths_of_a_millimetre() -> None:
    n, band = np.arange(50), np.arange(100)[:, None]
    off = 0.3 * np.sin(2 * np.pi * n / 12) + 0.1 * np.cos(band / 40)
    off -= off.mean()
    _, _, lines = measured(off, seed=2)
    got = lines.off[:, 1:]  # the line at 0 mm is the image's edge
    plain = np.stack([np.ones(off.size), np.tile(n, 100), np.repeat(band[:, 0], 50)], axis=1)

    def bent(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Without the plane, which is the flat map's."""
        return np.asarray(values - (plain @ np.linalg.lstsq(plain, values.ravel(), rcond=None)[0]).reshape(off.shape))

    rest = (bent(got) - bent(off))[:, 3:-3]
    assert np.sqrt(np.mean(rest**2)) < 0.02
    assert np.sqrt(np.mean(bent(off) ** 2)) > 0.2


def test_a_trace_along_a_line_does_not_move_it() -> None:
    off = np.zeros((100, 50))
    off[40:52, 20] = 0.35  # twelve bands say otherwise, those beyond and beside them do not
    _, _, lines = measured(off)
    assert np.abs(lines.off).max() < 0.06


def test_too_few_lines_say_nothing() -> None:
    bands, rows = profiles(np.zeros((4, 2)), 8.0)
    assert measure(bands, rows, np.array([1 / 8, 0.0]), 0.0)[2] is None
    blank = np.zeros((40, 800))
    assert measure(blank, np.arange(40) * 8.0, np.array([1 / 8, 0.0]), 0.0)[2] is None


def time_error(page: Page, grid: Grid) -> float:
    """RMS ms by which the true traces' points are misplaced along time, but for a constant."""
    upright = rectify(page.image, grid)
    inverse, wrong = upright.to_source.inverse, []
    for trace in page.traces:
        mm = page.mm(trace)
        mm = mm[np.isfinite(mm[:, 1])][::20]
        wrong.append(inverse(page.mm_to_px(mm))[:, 0] / upright.kx - mm[:, 0])
    error = np.concatenate(wrong)
    return float(np.std(error)) * 1000 / page.layout.speed


@pytest.mark.parametrize("effect", ["Transport(drift=0.4, period=60)", "ScannerSpeed(drift=0.4, period=60, along=x)"])
def test_uneven_paper_and_scanners_are_undone(record: Record, effect: str) -> None:
    page = apply(render(record, style=FIVE, dpi=150), [effect, "Rotation(degrees=1)"], seed=3)
    grid = locate(page.image)
    assert grid.uneven is not None
    assert time_error(page, replace(grid, uneven=None)) > 3.0
    assert time_error(page, grid) < 1.3


def test_a_flat_page_is_not_touched(record: Record) -> None:
    page = render(record, style=FIVE, dpi=150)
    grid = locate(page.image)
    assert grid.uneven is None
    upright = rectify(page.image, grid)
    assert upright.image is page.image
    assert isinstance(upright.to_source, Homography)


def test_lines_on_whole_pixels_are_even() -> None:
    """A program that rounds lines to whole pixels has not moved the paper: the traces are where they were drawn."""
    k, n = 59.04 / 5, np.arange(48)
    rounded = np.round(PERIOD * (n + 1) * k) / k - PERIOD * (n + 1)
    got, offset, lines = measured(np.tile(rounded, (100, 1)), k=k, seed=3)
    assert np.abs(rounded).max() * k > 0.4
    assert got == pytest.approx(k, rel=3e-5)
    assert offset == pytest.approx(0.0, abs=0.1 / k)
    assert lines.rms == 0.0
    # The same departures, off whole pixels, and larger ones on them, are the paper's.
    _, _, lines = measured(np.tile(rounded + 0.3 / k * np.sin(n), (100, 1)), k=k, seed=3)
    assert lines.rms > 0.01
    _, _, lines = measured(np.tile(3 * rounded, (100, 1)), k=k, seed=3)
    assert lines.rms > 0.05
