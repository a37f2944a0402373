"""Inverse rendering, on strips of ink whose curve is known exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from digitizer import refine
from digitizer.metrics import plain_power
from ecg_image_kit import open_source, raster

D = NDArray[np.float64]
FS, SPEED, GAIN, PEN = 500.0, 25.0, 10.0, 0.3  # Hz, mm/s, mm/mV, mm


@dataclass(frozen=True)
class Strip:
    """A curve and its picture: sample k lies at (x0 + k step, y[k]) px."""

    coverage: D
    x0: float
    step: float
    y: D
    pen: float
    px_per_mv: float

    def edges(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Upper and lower edge of the ink in each column, px, from how much of its end pixels is covered."""
        known = self.coverage.max(axis=0) > 0.4
        inked = self.coverage > 0.4
        top = np.where(known, inked.argmax(axis=0), 0)
        last = np.where(known, inked.shape[0] - 1 - inked[::-1].argmax(axis=0), 0)
        c = np.arange(known.size)
        y0 = top + 0.5 - self.coverage[top, c] - self.coverage[top - 1, c]
        y1 = last - 0.5 + self.coverage[last, c] + self.coverage[last + 1, c]
        return y0.astype(np.float32), y1.astype(np.float32), known

    def window(self, hidden: slice = slice(0, 0)) -> refine.Window:
        """All columns with ink, two bare pixels on either side of it; ``hidden`` columns are unknown."""
        inked = self.coverage > 0.4
        low = inked.argmax(axis=0) - 2
        rows = np.where(inked.any(axis=0), inked.shape[0] - inked[::-1].argmax(axis=0) + 2 - low, 0)
        rows[hidden] = 0
        values = np.concatenate([self.coverage[a : a + n, c] for c, (a, n) in enumerate(zip(low, rows, strict=True))])
        start = np.concatenate([[0], np.cumsum(rows)])
        return refine.Window(0, low.astype(np.int64), start, values, np.ones(values.size))

    def guess(self, shift: float = 0.0, pen: float = 1.0) -> refine.Guess:
        y0, y1, known = self.edges()
        return refine.guess(self.x0 + shift, self.step, self.y.size, y0, y1, known, 0, self.pen * pen)

    def db(self, y: D) -> float:
        return plain_power(self.y, y).db

    def centroid(self) -> D:
        """The usual read-out: the middle of the ink in every column."""
        rows = np.arange(len(self.coverage))[:, None]
        total = self.coverage.sum(axis=0)
        columns = np.flatnonzero(total > 0.3)
        middle = (self.coverage * rows).sum(axis=0)[columns] / total[columns]
        return np.interp(self.x0 + self.step * np.arange(self.y.size), columns, middle)


def draw(dpi: float, lead: str = "V3", seconds: float = 4.0, pen: float = PEN, x0: float = 12.3) -> Strip:
    mv = open_source("samples").load("00005").lead(lead)[: round(seconds * FS) + 1].astype(np.float64)
    k = dpi / 25.4
    step = SPEED / FS * k
    y = -mv * GAIN * k
    y += 0.37 - y.min() + 4 * pen * k
    ink = np.zeros((int(y.max() + 5 * pen * k), int(x0 + step * y.size + 12)), np.uint8)
    raster.draw_graph(ink, x0 + step * np.arange(y.size), y, pen * k, sub=32)
    return Strip(ink / 255.0, x0, step, y, pen * k, GAIN * k)


def fitted(strip: Strip, pen: float = 1.0, hidden: slice = slice(0, 0)) -> tuple[refine.Fit, float]:
    fits, found = refine.fit([strip.window(hidden)], [strip.guess(pen=pen)], strip.pen * pen, strip.px_per_mv)
    return fits[0], found


@pytest.mark.parametrize(("dpi", "least", "gained"), [(100, 32, 20), (200, 35, 20), (300, 35, 20)])
def test_undoes_the_pen(dpi: float, least: float, gained: float) -> None:
    """Far above the centroid, which the pen blurs; and its own guess is improved."""
    for lead in ("II", "V3"):
        strip = draw(dpi, lead)
        fit, _ = fitted(strip)
        assert strip.db(fit.y) > max(least, strip.db(strip.centroid()) + gained, strip.db(strip.guess().y) + 5)
        assert fit.seen.mean() > 0.99
        assert fit.residual < 0.05


def test_fits_in_place(dpi: float = 200) -> None:
    """No offset: neither in time (a tenth of a sample would show) nor in height."""
    strip = draw(dpi)
    fit, _ = fitted(strip)
    assert np.mean(fit.y - strip.y) == pytest.approx(0, abs=0.03)
    slope = np.gradient(strip.y)
    late = -np.sum((fit.y - strip.y) * slope) / np.sum(slope**2)  # samples
    assert abs(late) < 0.1


@pytest.mark.parametrize("error", [0.85, 1.0, 1.15])
def test_finds_the_pen(error: float) -> None:
    strip = draw(200, pen=0.4)
    _, pen = fitted(strip, error)
    assert pen == pytest.approx(strip.pen, rel=0.03)


def test_several_strips_are_fitted_as_if_alone() -> None:
    strips = [draw(150, "II", 2.5), draw(150, "V3", 3.0), draw(150, "aVL", 2.5)]
    windows, guesses = [s.window() for s in strips], [s.guess() for s in strips]
    together, _ = refine.fit(windows, guesses, strips[0].pen, strips[0].px_per_mv)
    for strip, fit in zip(strips, together, strict=True):
        alone, _ = fitted(strip)
        assert fit.y.size == strip.y.size
        assert strip.db(fit.y) > strip.db(alone.y) - 1


def test_what_is_hidden_is_not_seen_and_disturbs_nothing() -> None:
    strip = draw(200)
    whole, _ = fitted(strip)
    fit, _ = fitted(strip, hidden=slice(100, 140))
    x = strip.x0 + strip.step * np.arange(strip.y.size)
    inside = (x > 100) & (x < 139)
    assert inside.sum() > 40
    assert not fit.seen[inside].any()
    assert fit.seen[(x < 98) | (x > 141)][1:-1].all()
    apart = (x < 90) | (x > 150)
    assert strip.db(np.where(apart, fit.y, strip.y)) > strip.db(np.where(apart, whole.y, strip.y)) - 1


def test_noise_is_not_followed() -> None:
    strip = draw(200)
    noisy = np.clip(strip.coverage + np.random.default_rng(1).normal(0, 0.05, strip.coverage.shape), 0, 1)
    fit, pen = fitted(Strip(noisy, strip.x0, strip.step, strip.y, strip.pen, strip.px_per_mv))
    assert strip.db(fit.y) > 33
    assert pen == pytest.approx(strip.pen, rel=0.05)


@pytest.mark.parametrize("late", [-0.45, -0.1, 0.0, 0.3])
def test_start_is_found_to_a_few_hundredths_of_a_pixel(late: float) -> None:
    """The beginnings of several strips, drawn with a butt cap, say where x0 is."""
    windows, guesses = [], []
    bare = 3
    for lead in ("I", "II", "V3", "V5"):
        strip = draw(150, lead, 0.14, x0=20.26)
        window = strip.window()
        first = int(np.flatnonzero(np.diff(window.start))[0]) - bare
        top, rows = window.top[first:].copy(), np.diff(window.start)[first:]
        top[:bare], rows[:bare] = top[bare], rows[bare]
        pick = [strip.coverage[a : a + n, first + c] for c, (a, n) in enumerate(zip(top, rows, strict=True))]
        values = np.concatenate(pick)
        windows.append(refine.Window(first, top, np.concatenate([[0], np.cumsum(rows)]), values, np.ones(values.size)))
        guesses.append(refine.moved(strip.guess(), strip.y, late))
    shift = refine.start_shift(windows, guesses, strip.pen, strip.px_per_mv, bare)
    assert shift == pytest.approx(-late, abs=0.06)


@pytest.mark.parametrize("blur", [1, 3, 9])
def test_a_step_follows_the_slopes_of_the_drawing(blur: int) -> None:
    strip = draw(200)
    window, g = strip.window(), strip.guess()
    problem = refine._assemble([window], [g], strip.pen, 0.0)
    y, radius = g.y + 0.3, strip.pen / 2
    model, edges = refine._model(problem, y, radius, blur)
    rest = refine._blurred(problem, blur) - model
    matrix, gradient = refine._normal(problem, edges, rest)
    trust = problem.weight / (1.0 + (rest / refine._ROBUST) ** 2)

    def slope(k: int) -> D:
        there = y.copy()
        there[k] += 1e-6
        return np.asarray((refine._model(problem, there, radius, blur)[0] - model) / 1e-6)

    some = np.arange(3, y.size - 1, 9)
    own, other = (np.stack([slope(k) for k in some + later]) for later in (0, 1))
    np.testing.assert_allclose(gradient[some], own @ (trust * rest), atol=1e-6)
    np.testing.assert_allclose(matrix[0, some], (own**2 * trust).sum(axis=1), atol=1e-6)
    np.testing.assert_allclose(matrix[1, some], (own * other * trust).sum(axis=1), atol=1e-6)
    assert (matrix[0][np.abs(gradient) > 1e-9] > 0).all()


@pytest.mark.parametrize("dpi", [100, 150, 200])
def test_bounds_that_are_wider_than_the_window_do_no_harm(dpi: float) -> None:
    for lead in ("II", "V3"):
        strip = draw(dpi, lead)
        g = strip.guess()
        wide = replace(g, y=g.y + 1.5, low=g.low - 10, high=g.high + 10)
        narrow, there = (refine.fit([strip.window()], [each], strip.pen, strip.px_per_mv)[0][0] for each in (g, wide))
        assert strip.db(there.y) > strip.db(narrow.y) - 3
