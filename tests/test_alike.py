"""Beats of a lead that are shared out wrongly are led as the others are, if the ink allows it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from digitizer.alike import _beats, alike
from digitizer.curves import Curve, curve
from ecg_image_kit import raster

D = NDArray[np.float64]
K, PEN, STEP, N = 8.0, 2.0, 0.4, 2000  # px per mm, px, px per sample of 2 ms, samples
ROWS = (160.0, 270.0)
AT = (300, 680, 1100, 1480, 1800)  # beats, samples


def beats(height: float, at: tuple[int, ...] = AT) -> D:
    """Waves that go up by so many px, and come back."""
    k = np.arange(N)
    return np.asarray(sum((-height * np.exp(-0.5 * ((k - p) / 7.0) ** 2) for p in at), np.zeros(N)))


def coverage_of(*lines: D) -> NDArray[np.float32]:
    picture = np.zeros((420, 840), np.uint8)
    for y in lines:
        raster.draw_graph(picture, np.asarray(10 + STEP * np.arange(N), np.float64), y, PEN, "butt", 4)
    return np.asarray(picture / np.float32(255), np.float32)


def of(row: int, y: D) -> Curve:
    return curve(row, ROWS[row], 10.0, STEP, y, np.ones(N, bool), 10)


def led(ink: NDArray[np.float32], *read: D) -> list[Curve]:
    return alike(ink, [of(row, y) for row, y in enumerate(read)], PEN, K, K, 0.002)


def crossing() -> tuple[D, D]:
    """The S waves of the upper row run through the R waves of the lower one."""
    return ROWS[0] + beats(-100.0), ROWS[1] + beats(110.0)


@pytest.mark.parametrize("beat", [0, 2, 4])
def test_a_beat_that_is_shared_out_wrongly(beat: int) -> None:
    upper, lower = crossing()
    near = np.abs(np.arange(N) - AT[beat]) < 50
    read = np.where(near, np.minimum(upper, lower), upper), np.where(near, np.maximum(upper, lower), lower)
    assert np.abs(read[0] - upper).max() > 90
    one, other = led(coverage_of(upper, lower), *read)
    assert max(np.abs(one.y - upper).max(), np.abs(other.y - lower).max()) < 2 * PEN


def test_beats_may_be_out_of_step_and_differ_a_little() -> None:
    """As breathing makes them. Nothing is changed where nothing is wrong."""
    upper, lower = crossing()
    upper = upper + 0.25 * beats(-100.0, AT[2:3])
    lower = np.roll(lower, 3)
    curves = [of(0, upper), of(1, lower)]
    assert all(a is b for a, b in zip(alike(coverage_of(upper, lower), curves, PEN, K, K, 0.002), curves, strict=True))


def test_a_beat_that_is_different_stays() -> None:
    """Its ink is elsewhere than that of the others would be."""
    upper, lower = crossing()
    upper[1000:1200] = ROWS[0] + beats(90.0)[1000:1200]
    lower[1000:1200] = ROWS[1] + beats(-60.0)[1000:1200]
    one, other = led(coverage_of(upper, lower), upper, lower)
    assert np.array_equal(one.y, upper) and np.array_equal(other.y, lower)


def test_ink_must_not_be_left_over() -> None:
    """A lead that is always low but once, where its ink says so, although it could be led through another's."""
    upper, lower = crossing()
    upper[1000:1200] = ROWS[0] + beats(-155.0)[1000:1200]  # beyond the other row's baseline: nobody else explains that
    one, _ = led(coverage_of(upper, lower), upper, lower)
    assert np.array_equal(one.y, upper)


@pytest.mark.parametrize("count", [2, 3])
def test_so_few_beats_are_too_few(count: int) -> None:
    upper, lower = ROWS[0] + beats(-100.0, AT[:count]), ROWS[1] + beats(110.0, AT[:count])
    near = np.abs(np.arange(N) - AT[0]) < 50
    read = np.where(near, np.minimum(upper, lower), upper), np.where(near, np.maximum(upper, lower), lower)
    one, other = led(coverage_of(upper, lower), *read)
    assert np.array_equal(one.y, read[0]) and np.array_equal(other.y, read[1])


def test_what_is_not_seen_is_not_invented() -> None:
    upper, lower = crossing()
    ink = coverage_of(upper, lower)
    ink[:, 420:480] = 0.0  # a beat has been cut out
    flat = upper.copy()
    flat[1020:1180] = upper[1020]
    one, _ = led(ink, flat, lower)
    assert np.array_equal(one.y, flat)


def test_beats_are_put_in_step() -> None:
    """Also where something else is steep beside one of them."""
    upper, lower = crossing()
    other = ROWS[0] + 40.0 * (np.arange(N) > AT[2] + 25)
    found = _beats([of(0, upper), of(0, other), of(1, lower)], 0.002)
    assert found is not None
    assert np.ptp(found.first - np.array(AT)) <= 1
