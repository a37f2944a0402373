"""Rows that cross, and have exchanged what lies between: it is given back, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from digitizer.curves import Curve, curve
from digitizer.exchange import exchanged
from ecg_image_kit import raster

D = NDArray[np.float64]
K, PEN, STEP, N = 8.0, 2.0, 0.4, 1000  # px per mm, px, px per sample of 2 ms, samples
ROWS = (160.0, 270.0)


def peak(at: int, height: float, wide: float = 8.0) -> D:
    """A wave that goes up by so many px; ``wide``: SD, samples."""
    return -height * np.exp(-0.5 * ((np.arange(N) - at) / wide) ** 2)


def coverage_of(*lines: D) -> NDArray[np.float32]:
    picture = np.zeros((420, 440), np.uint8)
    for y in lines:
        raster.draw_graph(picture, np.asarray(10 + STEP * np.arange(N), np.float64), y, PEN, "butt", 4)
    return np.asarray(picture / np.float32(255), np.float32)


def of(row: int, y: D) -> Curve:
    return curve(row, ROWS[row], 10.0, STEP, y, np.ones(N, bool), 10)


def put_right(upper: D, lower: D, read: tuple[D, D]) -> tuple[D, D]:
    """What is made of the curves ``read``, where the ink is that of the two lines."""
    one, other = exchanged(coverage_of(upper, lower), [of(0, read[0]), of(1, read[1])], 0.002, K, K)
    return one.y, other.y


@pytest.mark.parametrize("beats", [1, 4])
def test_what_two_rows_have_exchanged_is_given_back(beats: int) -> None:
    """The S wave of the upper row runs through the R wave of the lower one; each reading has the other's tip."""
    at = np.linspace(150, 850, beats).astype(int).tolist() if beats > 1 else [500]
    upper = ROWS[0] + sum((peak(k, -100.0) for k in at), np.zeros(N))
    lower = ROWS[1] + sum((peak(k, 110.0) for k in at), np.zeros(N))
    wrong = np.minimum(upper, lower), np.maximum(upper, lower)
    assert max(np.abs(wrong[0] - upper).max(), np.abs(wrong[1] - lower).max()) > 90
    one, other = put_right(upper, lower, wrong)
    assert np.abs(one - upper).max() < 2 * PEN and np.abs(other - lower).max() < 2 * PEN


def test_tips_that_touch_may_turn_back() -> None:
    """Once each: nothing can lie between two such places."""
    upper, lower = ROWS[0] + peak(500, -55.0), ROWS[1] + peak(500, 54.0)
    one, other = put_right(upper, lower, (upper, lower))
    assert np.array_equal(one, upper) and np.array_equal(other, lower)


def test_tips_need_not_be_read_at_the_same_place() -> None:
    """One of the two rows was read 3 samples too early: the way between both is bridged."""
    upper, lower = ROWS[0] + peak(500, -100.0), ROWS[1] + peak(500, 110.0)
    wrong = np.minimum(upper, lower), np.roll(np.maximum(upper, lower), -3)
    one, other = put_right(upper, lower, wrong)
    assert np.abs(one - upper).max() < 30 and np.abs(other - lower).max() < 30  # 3 samples of steep strokes
    assert max(np.abs(np.diff(y)).max() for y in (one, other)) < 2.5 * np.abs(np.diff(upper)).max()


def test_what_was_seen_goes_along() -> None:
    upper, lower = ROWS[0] + peak(500, -100.0), ROWS[1] + peak(500, 110.0)
    one, other = of(0, np.minimum(upper, lower)), of(1, np.maximum(upper, lower))
    one.seen[495:505] = False
    one, other = exchanged(coverage_of(upper, lower), [one, other], 0.002, K, K)
    assert one.seen.all() and not other.seen[496:504].any()


def test_tips_that_do_not_touch_belong_where_they_are() -> None:
    """A W over an M, 2 mm apart: exchanged, both would turn less often."""
    upper = ROWS[0] + peak(480, -45.0) + peak(520, -45.0)
    lower = ROWS[1] + peak(480, 45.0) + peak(520, 45.0)
    assert 1.5 * K < (lower - upper).min() < 2.5 * K
    one, other = put_right(upper, lower, (upper, lower))
    assert np.array_equal(one, upper) and np.array_equal(other, lower)


def test_beats_of_the_same_direction_keep_their_order() -> None:
    """Two R waves at once, with a Q and an S wave above that reach the row below: they would turn less often as one."""
    upper = ROWS[0] + peak(500, 90.0, 5.0) + peak(482, -62.0, 4.0) + peak(518, -107.0, 4.0)
    lower = ROWS[1] + peak(500, 60.0, 5.0) + peak(482, 50.0, 4.0)
    one, other = put_right(upper, lower, (upper, lower))
    assert np.array_equal(one, upper) and np.array_equal(other, lower)


def test_a_rhythm_strip_may_begin_elsewhere() -> None:
    """Its samples may lie between those of the row above."""
    upper, lower = ROWS[0] + peak(700, -100.0), ROWS[1] + peak(700, 110.0)
    wrong = np.minimum(upper, lower), np.maximum(upper, lower)
    x = 10 + STEP * np.arange(N)
    cell = curve(0, ROWS[0], 10 + 300.3 * STEP, STEP, np.interp(10 + STEP * (300.3 + np.arange(699)), x, wrong[0]),
                 np.ones(699, bool), 130)  # fmt: skip
    one, other = exchanged(coverage_of(upper, lower), [cell, of(1, wrong[1])], 0.002, K, K)
    assert np.abs(one.y - np.interp(one.x0 + STEP * np.arange(699), x, upper)).max() < 10
    assert np.abs(other.y - lower).max() < 10
