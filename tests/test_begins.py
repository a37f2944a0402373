"""Leads that begin within a beat: the tall stroke at their border, and what must not be taken for one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import digitizer
from digitizer import begins
from digitizer.begins import Tick, _tick_of, all_begun, begun
from digitizer.curves import Curve, curve
from digitizer.segment import Ink, _ruled_verticals
from ecg_image_kit import Style, open_source, raster, render

F32, D = NDArray[np.float32], NDArray[np.float64]
K, STEP, X0, LEVEL, PEN = 8.0, 0.4, 100.2, 200.0, 2.4  # px per mm, px per sample, px
FALLING = np.array([150.0, 138, 110, 70, 30, 8, -4, -8, -6, -3])  # px above the level: the second half of an R wave


def lead(up: D, samples: int = 500) -> D:
    return LEVEL - np.concatenate([up, np.zeros(samples - up.size)])


def line(page: NDArray[np.uint8], x0: float, y: D) -> None:
    raster.draw_graph(page, x0 + STEP * np.arange(y.size), y, PEN, "butt")


def ink(y: D) -> F32:
    """A lead, and a level one before it."""
    page = np.zeros((400, 400), np.uint8)
    line(page, X0, y)
    line(page, X0 - 240 * STEP, np.full(240, LEVEL))
    return np.asarray(page / np.float32(255), np.float32)


def drawn(y: D) -> Curve:
    """What a network makes of it: the stroke is missing."""
    return curve(0, LEVEL, X0, STEP, np.clip(y, LEVEL - 12, LEVEL + 12), np.ones(y.size, bool), int(X0 + 0.5))


def tick(page: F32, up: int = 20, down: int = 20) -> F32:
    """With a separator, as wide as the pen."""
    page = page.copy()
    page[int(LEVEL) - up : int(LEVEL) + down + 1, 99:102] = 1.0
    return page


def wedge(first: int, *heights: int) -> F32:
    """A level lead, and ink that stands so high on it in these columns."""
    page = ink(lead(np.zeros(1)))
    for k, height in enumerate(heights):
        page[int(LEVEL) - height : int(LEVEL), first + k] = 1.0
    return page


@pytest.mark.parametrize("turn", [1.0, -1.0])
@pytest.mark.parametrize("separated", [False, True])
def test_the_stroke_is_followed(turn: float, separated: bool) -> None:
    y = lead(turn * FALLING)
    page = tick(ink(y)) if separated else ink(y)
    found = begun(page, drawn(y), [drawn(y)], PEN, K, K)
    assert np.abs(found.y - y)[:10].max() < 35  # a first guess: it falls by 40 px from sample to sample
    assert abs(found.y[0] - y[0]) < 12
    np.testing.assert_array_equal(found.y[15:], drawn(y).y[15:])


# Each of these would be followed, if it were not for the limit named and (where it stands on the border) _BEFORE.
NO_STROKES: dict[str, tuple[str, Any, Any]] = {
    "a mark that stands upright": (
        "_LEANS",
        (-1.0, 2.0),
        lambda: np.roll(tick(ink(lead(np.zeros(1))), 60, 0), 1, axis=1),
    ),
    "as much on the other side": ("_OTHER", 9.0, lambda: tick(ink(lead(FALLING)), 0, 90)),
    "a low one": ("_TALL", 0.05, lambda: wedge(100, 8, 6, 4, 2)),
}


@pytest.mark.parametrize("what", NO_STROKES)
def test_what_is_no_stroke(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, none, make = NO_STROKES[what]
    page = make()
    one = drawn(lead(np.zeros(1)))
    assert begun(page, one, [one], PEN, K, K) is one
    monkeypatch.setattr(begins, limit, none)
    monkeypatch.setattr(begins, "_BEFORE", 9.0)
    assert begun(page, one, [one], PEN, K, K) is not one


def test_a_wide_pens_peak_is_no_stroke_of_its_own() -> None:
    """It is drawn half its width before the peak, in the first columns of the lead."""
    up = np.array([0.0, 0, 1, 0, -2, -1, 3, 10, 19, 32, 46, 60, 75, 82, 80, 70, 58, 46, 34, 22, 12, 5])
    y, pen = lead(up), 8.0
    page = np.zeros((400, 400), np.uint8)
    raster.draw_graph(page, X0 + STEP * np.arange(y.size), y, pen, "butt")
    one = curve(0, LEVEL, X0, STEP, y, np.ones(y.size, bool), int(X0 + 0.5))
    assert begun(np.asarray(page / np.float32(255), np.float32), one, [one], pen, K, K) is one


def test_a_stroke_on_the_border_may_be_the_lead_before(monkeypatch: pytest.MonkeyPatch) -> None:
    one, cover = drawn(lead(np.zeros(1))), wedge(97, 90, 80, 70, 60, 40, 20)
    assert begun(cover, one, [one], PEN, K, K) is one
    monkeypatch.setattr(begins, "_BEFORE", 9.0)
    assert begun(cover, one, [one], PEN, K, K) is not one


def test_a_known_tick_says_nothing() -> None:
    """Neither how far it reaches below the trace, nor that half of it stands before the border."""
    y = lead(FALLING)
    page, one = tick(ink(y), 20, 70), drawn(y)
    assert begun(page, one, [one], PEN, K, K) is one
    found = begun(page, one, [one], PEN, K, K, Tick(LEVEL - 22, LEVEL + 72, 3.5))
    assert abs(found.y[0] - y[0]) < 12
    flat = drawn(lead(np.zeros(1)))
    alone = tick(ink(lead(np.zeros(1))), 70, 20)
    assert begun(alone, flat, [flat], PEN, K, K, Tick(LEVEL - 72, LEVEL + 22, 3.5)) is flat


def test_ticks_are_known_by_those_of_their_row() -> None:
    ticks = np.array([[700, 180, 3, 40], [700, 480, 3, 40], [100, 0, 3, 900]])
    edge = np.array([[50, 0, 2, 29]])  # of the sheet
    one = drawn(lead(np.zeros(1)))
    found = all_begun(Ink(ink(one.y), *np.ones((2, 400), np.float32), ticks), [one], PEN, K, K)
    assert found[0] is one  # the first of its row
    below = curve(1, 0.0, X0, STEP, one.y + 304.0, one.seen, one.first)
    assert _tick_of(one, [one, below], ticks[:2], K) == Tick(178.0, 222.0, 3.5)
    assert _tick_of(one, [one, below], ticks[1:2], K) == Tick(176.0 - K, 216.0 + K, 3.5)  # as the other row's
    assert _tick_of(one, [one], ticks[1:2], K) is None  # of no row that is known
    assert _tick_of(one, [one, below], np.concatenate([edge, ticks[1:2]]), K) == Tick(176.0 - K, 216.0 + K, 3.5)


def test_a_curve_that_leaves_the_image() -> None:
    """As one of a page that is cut off below does."""
    page = ink(lead(FALLING))[: int(LEVEL) + 40]
    for away in (20, 40, 60):
        y = np.concatenate([LEVEL + np.linspace(away + 30, 0, 25), np.full(475, LEVEL)])
        one = curve(0, LEVEL, X0, STEP, y, np.ones(500, bool), int(X0 + 0.5))
        assert begun(page, one, [one], PEN, K, K).y.size == 500


def test_the_lead_before_may_end_in_a_beat() -> None:
    """Which is then not the stroke of the one that begins; unless it may be half a tick that it follows."""
    y, before = lead(FALLING), curve(0, LEVEL, X0 - 100 * STEP, STEP, lead(FALLING)[:100][::-1], np.ones(100, bool), 60)
    page = (255 * ink(y)).astype(np.uint8)
    line(page, X0 - 100 * STEP, before.y)
    both, one = np.asarray(page / np.float32(255), np.float32), drawn(y)
    known = Tick(LEVEL - 5, LEVEL + 5, 3.5)
    assert begun(both, one, [one], PEN, K, K, known) is one
    assert begun(both, one, [before, one], PEN, K, K) is one
    assert abs(begun(both, one, [before, one], PEN, K, K, known).y[0] - y[0]) < 12


@pytest.mark.parametrize(("count", "known"), [(1, False), (2, True), (3, True), (6, False)])
def test_ticks_of_one_row_are_ruled_and_paced_beats_are_not(count: int, known: bool) -> None:
    mask = np.zeros((400, 1900), np.uint8)
    mask[200:203] = 1
    for k in range(count):
        mask[180:222, 300 * (k + 1) : 300 * (k + 1) + 3] = 1
    assert len(_ruled_verticals(mask, K, K)[1]) == (count if known else 0)


def test_another_rows_beat_is_its_own() -> None:
    """Rows change leads at the same place, and a tall R wave of the row below may reach up to this one's."""
    below = LEVEL + 150 - np.concatenate([np.linspace(0, 148, 4), np.linspace(138, 0, 8), np.zeros(488)])
    page = (255 * ink(lead(np.zeros(1)))).astype(np.uint8)
    line(page, X0, below)
    one, cover = drawn(lead(np.zeros(1))), np.asarray(page / np.float32(255), np.float32)
    other = curve(1, LEVEL + 150, X0, STEP, below, np.ones(500, bool), int(X0 + 0.5))
    assert begun(cover, one, [one], PEN, K, K) is not one  # as long as nothing is known of that row
    assert begun(cover, one, [one, other], PEN, K, K) is one


def test_a_page_whose_leads_begin_within_a_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    record = open_source("samples").load("00003")
    v4 = record.mv[record.leads.index("V4")]
    border = 3750  # of a 3x4 page
    record = replace(record, mv=np.roll(record.mv, border - int(np.argmax(v4[2000:3000])) - 2000 - 1, axis=1))
    page = render(record, style=Style(separator="tick"), dpi=200)
    looked: list[float] = []

    def look(coverage: F32, one: Curve, *rest: Any) -> Curve:
        looked.append(one.x0)
        return begun(coverage, one, *rest)

    monkeypatch.setattr(begins, "begun", look)
    reading = digitizer.read(page.image, reader="learned")
    truth = page.record()
    own, true = (r.mv[r.leads.index("V4")] for r in (reading.record, truth))
    first = np.flatnonzero(np.isfinite(true))[:12]
    assert np.ptp(true[first]) > 0.7
    assert np.abs(own[first] - true[first]).max() < 0.25
    # Before a row's first lead stand pulses and names: there it is not looked for.
    assert len(looked) == 9 and min(looked) > 0.25 * page.image.shape[1]
