"""Ticks between leads: found by standing at every border, and what they cover."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import digitizer
from digitizer import strips
from digitizer.curves import Box, curve, windows_of
from digitizer.metrics import score
from digitizer.segment import Ink
from digitizer.ticks import Tick, hiding, ticks_of
from ecg_image_kit import Style, open_source, render
from ecg_image_kit.layout import Strip

F = NDArray[np.float32]
K, PEN = 8.0, 3.0
BORDERS = [(25.0, 10.0), (50.0, 10.0), (25.0, 35.0), (50.0, 35.0)]  # mm
STRIPS = [Strip("I", 0.0, 1.0, x, y, 10.0, int(y > 20)) for x, y in [(0.5, 10.0), (0.5, 35.0), *BORDERS]]
NONE = np.zeros((0, 4), np.int32)


def sheet(up: int = 20, down: int = 20, places: list[tuple[float, float]] = BORDERS) -> F:
    coverage = np.zeros((400, 640), np.float32)
    for _, y in BORDERS:
        coverage[int(y * K) - 1 : int(y * K) + 2] = 1.0
    for x, y in places:
        coverage[int(y * K) - up : int(y * K) + down, int(x * K) - 1 : int(x * K) + 2] = 1.0
    return coverage


def ink(coverage: F, rulings: NDArray[np.int32] = NONE) -> Ink:
    return Ink(coverage, np.ones(coverage.shape[1], np.float32), np.ones(coverage.shape[0], np.float32), rulings)


def test_ticks_stand_at_every_border() -> None:
    found = ticks_of(ink(sheet()), STRIPS, K, K, PEN)
    assert [tick.gone for tick in found] == [False] * 4
    for tick, (x, y) in zip(found, BORDERS, strict=True):
        left, top, wide, high = tick.box
        assert left <= x * K - 2 and left + wide >= x * K + 3 and wide <= 8
        assert (top, top + high) == (y * K - 22, y * K + 22)


def test_a_beat_that_runs_through_some_does_not_hide_them() -> None:
    coverage = sheet()
    coverage[20:200, 198:206] = 1.0  # over the first row's first border, and on to the next row's
    assert len(ticks_of(ink(coverage), STRIPS, K, K, PEN)) == 4


def test_those_that_were_taken_away_are_known() -> None:
    x, y = BORDERS[0]
    taken = np.array([[int(x * K) - 1, int(y * K) - 20, 3, 40]], np.int32)
    found = ticks_of(ink(sheet(places=BORDERS[1:]), taken), STRIPS, K, K, PEN)
    assert [tick.gone for tick in found] == [True, False, False, False]  # not of the row below, at the same x


@pytest.mark.parametrize(
    ("coverage", "layout"),
    [
        (sheet(places=[]), STRIPS),
        (sheet(places=BORDERS[:2]), STRIPS),  # a beat in every row, at one of the borders
        (sheet(8, 8), STRIPS),  # too short: a trace may be that thick
        (sheet(80, 80), STRIPS),  # a line
        (sheet(40, 4), STRIPS),  # R waves, if all borders are at the same instant
        (sheet(), STRIPS[:4]),  # too few borders to say
        (sheet(), STRIPS[:2]),
    ],
)
def test_what_are_no_ticks(coverage: F, layout: list[Strip]) -> None:
    assert ticks_of(ink(coverage), layout, K, K, PEN) == []


def test_ticks_beyond_the_image() -> None:
    moved = [replace(s, x=s.x + 60.0, y=s.y - 12.0) for s in STRIPS]
    assert ticks_of(ink(sheet()), moved, K, K, PEN) == []


def test_what_a_tick_covers_says_nothing_and_what_is_around_it_does() -> None:
    one = curve(0, 80.0, 100.2, 0.4, np.full(250, 80.0), np.ones(250, bool), 100)
    box = Box(97, 60, 6, 40)
    here = ink(sheet())
    (window,) = windows_of(here, [one], PEN, [[box]])
    column = np.repeat(np.arange(window.top.size), np.diff(window.start)) + window.left
    row = np.arange(window.values.size) - window.start[column - window.left] + window.top[column - window.left]
    within = (column < 103) & (row >= 60) & (row < 100)
    np.testing.assert_array_equal(window.weight, np.where(within, 0.0, 1.0))
    assert row[column < 103].min() < 60 and row[column < 103].max() >= 100
    assert row[column >= 103].min() > 70


def test_a_tick_hides_the_leads_beside_it() -> None:
    tick = Tick(Box(97, 60, 6, 40), False)
    begins = curve(0, 80.0, 100.2, 0.4, np.full(250, 80.0), np.ones(250, bool), 100)
    ends = curve(0, 80.0, 100.2 - 249 * 0.4, 0.4, np.full(250, 80.0), np.ones(250, bool), 0)
    other = curve(1, 280.0, 100.2, 0.4, np.full(250, 280.0), np.ones(250, bool), 100)
    far = curve(0, 80.0, 300.2, 0.4, np.full(250, 80.0), np.ones(250, bool), 300)
    assert [hiding([tick], one) for one in (begins, ends, other, far)] == [[tick], [tick], [], []]


def test_a_page_whose_beats_run_through_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    record = open_source("samples").load("00003")
    peak = 2000 + int(np.argmax(record.mv[record.leads.index("II")][2000:2500]))
    record = replace(record, mv=np.roll(record.mv, 1250 - peak, axis=1))
    page = render(record, style=Style(separator="tick", pen_width=0.4), dpi=200)

    def snr() -> float:
        reading = digitizer.read(page.image, reader="analytic")
        return score(page.record(), reading.record, ("plain",)).value("plain")

    told = snr()
    monkeypatch.setattr(strips, "ticks_of", lambda *_: [])
    assert told > snr() + 3
