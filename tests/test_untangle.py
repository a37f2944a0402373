"""Ink that no row explains: whose it is, and whose it is not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from digitizer.curves import Curve, curve, grown, looked, windows_of
from digitizer.segment import Ink
from digitizer.untangle import _led, mended, untangle
from ecg_image_kit import raster

D = NDArray[np.float64]
K, PEN, STEP, N = 8.0, 2.0, 0.4, 1200  # px per mm, px, px, samples
ROWS = (160.0, 270.0)


def wave(at: float, height: float) -> D:
    """An R wave of so many px, some 5 mm wide at its foot."""
    x = np.arange(N) * STEP
    return -height * np.exp(-0.5 * ((x - at) / 6.0) ** 2)


def drawn(*lines: D) -> NDArray[np.float32]:
    picture = np.zeros((400, 500), np.uint8)
    for y in lines:
        raster.draw_graph(picture, 10 + STEP * np.arange(N), y, PEN, "butt", 4)
    return np.asarray(picture / np.float32(255), np.float32)


def of(row: int, y: D, seen: NDArray[np.bool_] | None = None) -> Curve:
    return curve(row, ROWS[row], 10.0, STEP, y, np.ones(N, bool) if seen is None else seen, 10)


def led(coverage: NDArray[np.float32], *curves: Curve) -> list[Curve]:
    return untangle(coverage, list(curves), PEN, ROWS[1] - ROWS[0], K, K)


def test_a_tip_beyond_the_row_above_is_given_back() -> None:
    """The lower row's R wave crosses the upper row, and was cut off there."""
    upper, lower = np.full(N, ROWS[0]), ROWS[1] + wave(240.0, 180.0)
    cut = np.maximum(lower, ROWS[0] + 4)
    one, other = led(drawn(upper, lower), of(0, upper), of(1, cut))
    assert np.abs(one.y - upper).max() < 1.0
    assert np.abs(cut - lower).max() > 60  # what was to be mended
    assert np.abs(other.y.min() - lower.min()) < 2.5
    assert np.sqrt(np.mean((other.y - lower) ** 2)) < 3.0


def test_rows_keep_their_order() -> None:
    """Waves of both rows stand in the same columns: the higher tip is the upper row's."""
    upper, lower = ROWS[0] + wave(240.0, 90.0), ROWS[1] + wave(240.0, 120.0)
    cut = np.maximum(upper, ROWS[0] - 30)
    one, other = led(drawn(upper, lower), of(0, cut), of(1, lower))
    assert np.abs(one.y.min() - upper.min()) < 2.5
    assert np.abs(other.y.min() - lower.min()) < 2.5


def test_a_streak_that_no_trace_leads_to_is_nobodys() -> None:
    upper, lower = np.full(N, ROWS[0]), np.full(N, ROWS[1])
    coverage = drawn(upper, lower)
    coverage[190:250, 240:242] = 1.0
    one, other = led(coverage, of(0, upper), of(1, lower))
    assert np.abs(one.y - upper).max() < 1.0 and np.abs(other.y - lower).max() < 1.0


def test_a_ruled_line_where_a_strip_begins_is_no_beat() -> None:
    lower = np.full(N, ROWS[1])
    coverage = drawn(lower)
    coverage[200:340, 10:12] = 1.0
    (one,) = led(coverage, of(1, lower))
    assert np.abs(one.y - lower).max() < 2.0 * K + 1


def test_a_gap_is_closed_along_pale_ink_only() -> None:
    line = ROWS[1] + 20 * np.sin(np.arange(N) / 150.0)
    coverage = drawn(line)
    coverage[:, 200:220] *= 0.15
    seen = np.ones(N, bool)
    seen[480:525] = False
    bridged = np.where(seen, line, line[479])  # as a fit that sees nothing there leaves it
    (one,) = led(coverage, of(1, bridged, seen))
    assert one.seen.all() and np.abs(one.y - line).max() < 2.5
    coverage[:, 200:220] = 0.0
    (one,) = led(coverage, of(1, bridged, seen))
    assert not one.seen[485:520].any()  # nothing is invented


def test_a_gap_is_not_closed_along_another_row() -> None:
    """What is hidden for some mm, beside a row that is not: that one's ink leads there and back again."""
    upper, lower = np.full(N, ROWS[0]), ROWS[1] + wave(190.0, 105.0) + wave(320.0, 105.0)
    ink = drawn(upper, lower)
    ink[200:, 205:315] = 0.0
    seen = np.abs(np.arange(N) * STEP - 250) > 60
    _, other = led(ink, of(0, upper), of(1, np.where(seen, lower, ROWS[1]), seen))
    hidden = np.abs(np.arange(N) * STEP - 250) < 45
    assert other.y[hidden].min() > ROWS[1] - 40
    assert not other.seen[hidden].any()


def test_a_long_gap_is_closed_along_ink_that_lasts_and_not_along_letters() -> None:
    y = np.full(N, ROWS[1])
    own = drawn(y + wave(250.0, 60.0))
    gap = np.abs(np.arange(N) * STEP - 250) < 60
    (closed,) = mended(own, [of(0, y, ~gap)], PEN, K, K, 0.4)
    assert closed.seen.all() and closed.y.min() < ROWS[1] - 55
    letters = own.copy()
    letters[:, 215:295] = 0.0
    letters[200:225, 230:233] = letters[200:225, 240:243] = 1.0
    (left,) = mended(letters, [of(0, y, ~gap)], PEN, K, K, 0.4)
    assert np.array_equal(left.y, y) and not left.seen[np.abs(np.arange(N) * STEP - 245) < 35].any()


def test_what_is_seen_grows_along_ink_without_a_break() -> None:
    """To the end of a row whose last millimetre was seen faintly; not across bare paper."""
    y = np.full(N, ROWS[1])
    ink, seen = drawn(y), np.arange(N) < 1000
    assert grown(ink, of(0, y, seen), 0.4).seen[:-1].all()
    ink[:, 440:446] = 0.0  # some samples further on
    found = grown(ink, of(0, y, seen), 0.4).seen
    assert found[1060] and not found[1080:].any()
    whole = of(0, y)
    assert grown(ink, whole, 0.4) is whole


def test_curves_of_samples_of_which_some_are_unknown() -> None:
    y = np.full(N, ROWS[0])
    y[100:120] = np.nan
    one = of(0, y)
    assert np.isfinite(one.y).all() and not one.seen[100:120].any() and one.seen[:100].all()
    moved = one.moved(2.0)
    assert moved.x0 == one.x0 + 2.0 and np.allclose(moved.at(np.array([50.0])), one.at(np.array([50.0])))
    assert looked(drawn(np.full(N, ROWS[0])), one).seen.all()


def test_pixels_of_another_row_count_for_nothing() -> None:
    upper, lower = np.full(N, ROWS[0]), ROWS[1] + wave(240.0, 180.0)
    coverage = drawn(upper, lower)
    ink = Ink(
        coverage, np.ones(500, np.float32), np.ones(400, np.float32), np.zeros((0, 4), np.int32), drawn=True
    )  # fmt: skip
    first, second = windows_of(ink, [of(0, upper), of(1, lower)], PEN)
    for window, level in ((first, None), (second, ROWS[0])):
        columns = np.repeat(np.arange(window.top.size), np.diff(window.start))
        rows = np.arange(window.values.size) - window.start[columns] + window.top[columns]
        assert np.allclose(window.values, coverage[rows, columns + window.left])
        if level is not None:
            on_other = np.abs(rows - level) < 1
            assert on_other.any() and (window.weight[on_other] == 0).all()
    assert (first.weight > 0).mean() > 0.9


def test_a_row_beside_the_image_is_led_nowhere() -> None:
    """Its heights at the columns' sides all lie beyond the last row of pixels."""
    below = curve(0, 405.0, 10.0, STEP, np.full(N, 405.0), np.ones(N, bool), 10)
    path, gain = _led(np.full((400, 500), -0.4), [below], 0, slice(100, 140), slice(300, 340), PEN, K, K)
    assert gain == 0.0 and np.abs(path - 405.0).max() < 1e-9
