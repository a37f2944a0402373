"""Which ink is whose: traces that leave their row and cross their neighbours are followed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

import digitizer
from digitizer import NoTrace, Reading
from digitizer.metrics import plain_power
from digitizer.segment import _together, join_breaks
from digitizer.trace import find_rows
from ecg_image_kit import Layout, Page, Record, Style, open_source, render

FS = 500.0
F = NDArray[np.float32]


def wave(t: NDArray[np.float64], at: float, sd: float, mv: float) -> NDArray[np.float64]:
    return mv * np.exp(-0.5 * ((t - at) / sd) ** 2)


def crossing(deep: float, offset: float) -> Record:
    """I, II, III (which obey Einthoven's law): II has S waves of ``deep`` mV, III complexes ``offset`` s later."""
    t = np.arange(5000) / FS
    two, three = 0.03 * np.sin(2 * np.pi * t / 4.1), 0.03 * np.cos(2 * np.pi * t / 3.7)
    for beat in np.arange(0.5, 9.8, 0.87):
        two += wave(t, beat - 0.02, 0.008, 0.9) + wave(t, beat + 0.012, 0.011, -deep) + wave(t, beat + 0.28, 0.05, 0.3)
        three += wave(t, beat + offset, 0.012, 0.8) + wave(t, beat + offset + 0.26, 0.05, 0.2)
    return Record(("I", "II", "III"), np.stack([two - three, two, three]).astype(np.float32), FS, "crossing")


@cache
def read(deep: float, offset: float, height: float) -> tuple[Page, Reading]:
    record = crossing(deep, offset)
    layout = Layout.named("3x1", record.leads, sheet=(297.0, height), top=20)
    page = render(record, layout, Style(header="none"), 150)
    return page, digitizer.read(page.image)


def db(page: Page, reading: Reading, lead: str) -> float:
    return plain_power(page.record().lead(lead), reading.record.lead(lead)).db


@pytest.mark.parametrize("deep", [2.0, 2.7])
def test_a_deep_wave_down_to_the_next_row(deep: float) -> None:
    """Rows are 28 mm apart: II's S waves come down to the trace of the row below, whose own complexes come later."""
    page, reading = read(deep, 0.35, 114)
    assert np.diff([strip.y for strip in page.layout.strips]) == pytest.approx(28, abs=1)
    assert reading.page.layout.name == "3x1"
    for lead in ("II", "III"):
        truth, found = page.record().lead(lead), reading.record.lead(lead)
        assert np.nanmin(found) == pytest.approx(truth.min(), abs=0.03)
        assert np.nanmax(found) == pytest.approx(truth.max(), abs=0.03)
    assert db(page, reading, "II") > 34
    assert db(page, reading, "III") > 34


def test_tall_waves_into_the_row_above_and_letters_on_the_way() -> None:
    t = np.arange(5000) / FS
    two = 0.02 * np.sin(t)
    for beat in np.arange(0.4, 9.9, 0.9):
        two += wave(t, beat, 0.012, 3.2) + wave(t, beat + 0.25, 0.05, 0.5)
    mv = np.stack([0.4 * np.roll(two, 225), two, -0.3 * np.roll(two, 225)]).astype(np.float32)
    record = Record(("I", "II", "III"), mv, FS, "tall")
    layout = Layout.named("3x1", record.leads, sheet=(297.0, 129.0), top=20)
    page = render(record, layout, Style(), 150)
    reading = digitizer.read(page.image)
    for k, lead in enumerate(record.leads):
        signal = reading.page.traces[k].mv
        assert np.nanmax(signal) == pytest.approx(mv[k].max(), abs=0.03)
        assert plain_power(mv[k], signal).db > 30, lead


def test_rows_keep_their_order_and_place() -> None:
    page, reading = read(2.7, 0.35, 114)
    for a, b in zip(reading.page.layout.strips, page.layout.strips, strict=True):
        assert a.lead == b.lead
        at, true = (p.mm_to_px(np.array([[s.x, s.y]])) for p, s in ((reading.page, a), (page, b)))
        assert np.abs(at - true).max() < 3


@pytest.mark.parametrize(("rows", "spacing"), [(1, 40.0), (3, 28.0), (4, 41.5), (12, 13.0)])
def test_equally_spaced_rows(rows: int, spacing: float) -> None:
    """From heights of flat ink alone, with a few lines of text above."""
    rng = np.random.default_rng(rows)
    ky, width = 6.0, 1500
    column = np.tile(np.arange(width, dtype=np.int32), rows)
    base = 40 + spacing * np.arange(rows)
    y = np.repeat(base, width) + rng.normal(0, 1.0, rows * width)
    text_column = np.tile(np.arange(100, 260, dtype=np.int32), 2)
    text = np.repeat([8.0, 13.0], 160)
    height = int((base[-1] + 40) * ky)
    centres, found = find_rows(np.append(y, text) * ky, np.append(column, text_column), height, ky)
    assert centres == pytest.approx(base * ky, abs=0.5 * ky)
    if rows > 1:
        assert found == pytest.approx(spacing * ky, rel=0.01)


def test_letters_are_no_trace() -> None:
    record = Record(("II",), np.full((1, 5000), np.nan, np.float32), FS)
    page = render(record, Layout.named("3x4", ("II",), pulse="none"), Style(minor_width=0.05, major_width=0.1), 150)
    with pytest.raises(NoTrace, match=r"longest connected ink is \d+ mm wide"):
        digitizer.read(page.image)


def test_strokes_that_a_dead_dot_has_cut_are_joined() -> None:
    """A white line half a millimetre high cuts every R wave of a row; beyond it they would be lost."""
    record = crossing(0.5, 0.35)
    page = render(record, Layout.named("3x1", record.leads), Style(header="none"), 200)
    strip = next(strip for strip in page.layout.strips if strip.lead == "II")
    middle = round(float(page.mm_to_px(np.array([[0.0, strip.y - 4.0]]))[0, 1]))  # 0.4 mV above the row's level
    image = page.image.copy()
    image[middle - 2 : middle + 2] = 255
    reading = digitizer.read(image)
    assert np.nanmax(reading.record.lead("II")) == pytest.approx(page.record().lead("II").max(), abs=0.05)
    assert db(page, reading, "II") > 24


def test_a_gap_at_one_place_is_no_break() -> None:
    """Two strokes end to end, such as an S wave above an R wave: nothing else is cut at that height."""
    coverage = np.zeros((200, 400), np.float32)
    coverage[20:90, 100:103] = coverage[94:180, 100:103] = 1.0
    coverage[150:153, :] = 1.0
    before = coverage.copy()
    join_breaks(coverage, 8.0)
    assert (coverage == before).all()
    coverage[20:90, 300:303] = coverage[94:180, 300:303] = 1.0  # and now two are
    join_breaks(coverage, 8.0)
    assert coverage[20:180, [100, 101, 102, 300, 301, 302]].min() > 0.9
    assert (coverage[:, 104:299] == before[:, 104:299]).all()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 100, 400])
def test_breaks_at_one_height_are_those_that_comparing_each_with_each_finds(count: int) -> None:
    rng = np.random.default_rng(count)
    for heights in (40, 400, 3000):
        column = np.sort(rng.integers(0, 500, 2 * count + 3))
        middle = rng.integers(0, heights, column.size) / 2
        broken = np.sort(rng.choice(column.size, count, replace=False))
        y, x = middle[broken], column[broken]
        near = np.abs(y[:, None] - y) < 0.3 * 7.9
        apart = np.abs(x[:, None] - x) > 3 * 7.9
        expected = broken[(near.sum(axis=1) >= 3) & (near & apart).any(axis=1)]
        np.testing.assert_array_equal(_together(broken, column, middle, 7.9), expected)


@pytest.mark.parametrize("layout", ["4x3", "3x4"])
def test_cells_that_begin_between_two_samples(layout: str) -> None:
    """A third of ten seconds is no whole number of samples: time must not slip by half a one in the later cells."""
    record = open_source("samples").load("00001")
    page = render(record, Layout.named(layout, record.leads), Style(), 200)
    reading = digitizer.read(page.image)
    for strip in page.layout.strips:
        truth, found = page.record().lead(strip.lead), reading.record.lead(strip.lead)
        assert np.flatnonzero(np.isfinite(truth))[0] == np.flatnonzero(np.isfinite(found))[0]
        assert db(page, reading, strip.lead) > 20
