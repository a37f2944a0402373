"""Leads that begin within a beat: the tall stroke at their border, and what must not be taken for one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import digitizer
from digitizer.begins import begun
from digitizer.curves import Curve, curve
from ecg_image_kit import Style, open_source, raster, render

F32 = NDArray[np.float32]
K, STEP, X0, LEVEL, PEN = 8.0, 0.4, 100.2, 200.0, 2.4  # px per mm, px per sample, px
R_WAVE = LEVEL - np.array([150.0, 138, 110, 70, 30, 8, -4, -8, -6, -3])  # falling: only its end is in this lead
COLUMNS = np.arange(600)


def lead(start: NDArray[np.float64], samples: int = 500) -> NDArray[np.float64]:
    return np.concatenate([start, np.full(samples - start.size, LEVEL)])


def ink(y: NDArray[np.float64]) -> F32:
    page = np.zeros((400, 400), np.uint8)
    raster.draw_graph(page, X0 + STEP * np.arange(y.size), y, PEN, "butt")
    before = np.full(240, LEVEL)
    raster.draw_graph(page, X0 + STEP * np.arange(-240, 0), before, PEN, "butt")
    return np.asarray(page / np.float32(255), np.float32)


def drawn(y: NDArray[np.float64]) -> Curve:
    """What a network makes of it: the stroke is missing."""
    return curve(0, LEVEL, X0, STEP, np.clip(y, LEVEL - 12, LEVEL + 12), np.ones(y.size, bool), int(X0 + 0.5))


def tick(page: F32, height: int = 20) -> F32:
    """With a separator, as wide as the pen."""
    page = page.copy()
    page[int(LEVEL) - height : int(LEVEL) + height + 1, 99:102] = 1.0
    return page


@pytest.mark.parametrize("down", [1.0, -1.0])
@pytest.mark.parametrize("separated", [False, True])
def test_the_stroke_is_followed(down: float, separated: bool) -> None:
    y = lead(LEVEL + down * (R_WAVE - LEVEL))
    page = tick(ink(y)) if separated else ink(y)
    found = begun(page, drawn(y), PEN, K, K)
    assert np.abs(found.y - y)[:10].max() < 35  # a first guess: it falls by 40 px from sample to sample
    assert abs(found.y[0] - y[0]) < 12
    np.testing.assert_array_equal(found.y[15:], drawn(y).y[15:])


@pytest.mark.parametrize("what", ["nothing", "a separator", "a long separator", "the lead before", "a line", "text"])
def test_what_is_no_stroke(what: str) -> None:
    y = lead(np.full(10, LEVEL))
    page = ink(y)
    if what == "a separator":
        page = tick(page)
    elif what == "a long separator":
        page = tick(page, 120)
        page[int(LEVEL) + 3 :, 99:102] = 0  # of which only the upper half is left
    elif what == "the lead before":  # it ends on the way up
        other = np.zeros(page.shape, np.uint8)
        raster.draw_graph(other, X0 - STEP * np.arange(R_WAVE.size, 0, -1), R_WAVE[::-1].copy(), PEN, "butt")
        page = np.maximum(page, other / np.float32(255)).astype(np.float32)
    elif what == "a line":
        page[100:202, 96:160] = 1.0
    elif what == "text":
        page[120:160, 104:130] = 1.0
    one = drawn(y)
    assert begun(page, one, PEN, K, K) is one


def test_a_page_whose_leads_begin_within_a_beat() -> None:
    record = open_source("samples").load("00003")
    v4 = record.mv[record.leads.index("V4")]
    border = 3750  # of a 3x4 page
    record = replace(record, mv=np.roll(record.mv, border - int(np.argmax(v4[2000:3000])) - 2000 - 1, axis=1))
    page = render(record, style=Style(separator="tick"), dpi=200)
    reading = digitizer.read(page.image, reader="learned")
    truth = page.record()
    own, true = (r.mv[r.leads.index("V4")] for r in (reading.record, truth))
    first = np.flatnonzero(np.isfinite(true))[:12]
    assert np.ptp(true[first]) > 0.7
    assert np.abs(own[first] - true[first]).max() < 0.25
