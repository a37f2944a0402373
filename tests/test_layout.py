"""Layouts: the scale, every named pattern on every sheet, windows and gains, and clear refusals."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecg_image_kit import STANDARD_LEADS, Layout, Record, Strip, UsageError, render
from ecg_image_kit.layout import CABRERA_LEADS, NAMES, PULSES, SHEETS, auto_name, missing_leads

TWELVE = [name for name in NAMES if name not in ("1x1", "2x1", "3x1", "6x1")]


def leads_for(name: str) -> tuple[str, ...]:
    rows, columns = (int(part) for part in name.split("+")[0].split("x"))
    return STANDARD_LEADS[: rows * columns]


@given(
    st.floats(-60, 60), st.floats(-10, 10), st.floats(0, 300), st.floats(0, 300), st.floats(0, 20),
    st.sampled_from([12.5, 25.0, 50.0]), st.sampled_from([5.0, 10.0, 20.0]),
)  # fmt: skip
def test_the_scale_and_its_inverse(
    s: float, mv: float, x: float, y: float, start: float, speed: float, gain: float
) -> None:
    strip = Strip("II", start, start + 2.5, x, y, gain)
    layout = Layout(297, 210, (strip,), speed, 10.0)
    xy = layout.to_mm(strip, [start, s], [0.0, mv])
    np.testing.assert_allclose(xy[0], [x, y], atol=1e-9)
    # A second is `speed` mm to the right, a millivolt `gain` mm up.
    np.testing.assert_allclose(xy[1] - xy[0], [(s - start) * speed, -mv * gain], atol=1e-9)
    seconds, millivolts = layout.from_mm(strip, xy)
    np.testing.assert_allclose(seconds, [start, s], atol=1e-9)
    np.testing.assert_allclose(millivolts, [0, mv], atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_named_layouts_on_every_sheet(name: str) -> None:
    leads = leads_for(name)
    for sheet, speed, pulse in itertools.product((*SHEETS, "strip", (400.0, 300.0)), (12.5, 25.0, 50.0), PULSES):
        layout = Layout.named(name, leads, sheet=sheet, speed=speed, pulse=pulse)
        if isinstance(sheet, str) and sheet in SHEETS:
            assert (layout.width, layout.height) == SHEETS[sheet]
        rows = [[s for s in layout.strips if s.row == r] for r in range(layout.rows)]
        main = [s for s in layout.strips if not s.rhythm]
        assert {s.lead for s in main} == set(leads)
        assert len(main) == len(leads)
        assert np.ptp([s.stop - s.start for s in main]) < 1e-9
        assert layout.seconds * speed <= 250 + 1e-9
        for row in rows:
            assert len({s.y for s in row}) == 1
            ends = [(s.x, s.x + (s.stop - s.start) * speed) for s in row]
            # The next begins where the one before ends; in time too, so that a row shows every second once.
            assert all(a[1] == pytest.approx(b[0]) for a, b in itertools.pairwise(ends))
            assert all(a.stop == pytest.approx(b.start) for a, b in itertools.pairwise(row))
            assert ends[0][0] == rows[0][0].x
            assert row[0].start == 0
            assert ends[0][0] >= 7
            assert ends[-1][1] <= layout.width - 7
            assert layout.top <= row[0].y <= layout.height - 10
            for p in (p for p in layout.pulses if p.row == row[0].row):
                x, y = p.outline(speed).T
                assert (x.min() >= 7) and (x.max() <= layout.width - 7)
                assert x.max() < ends[0][0] - 0.5 or x.min() > ends[-1][1] + 0.5
                assert y.max() == row[0].y
                assert y.max() - y.min() == pytest.approx(p.gain)  # 1 mV
        baselines = [row[0].y for row in rows]
        assert np.ptp(np.diff(baselines)) <= 1 if len(rows) > 1 else True
        assert len(layout.pulses) == {"none": 0, "first": 1}.get(pulse, layout.rows)
        assert all(float(v).is_integer() for s in rows[0][:1] for v in (s.x, s.y))  # on the millimetre grid


@pytest.mark.parametrize("speed", [12.5, 25.0, 50.0])
def test_a_pulse_is_a_millivolt_for_a_fifth_of_a_second(speed: float) -> None:
    layout = Layout.named("3x4", speed=speed, gain=5.0)
    x, y = layout.pulses[0].outline(speed).T
    top = y < y.max() - 1e-9
    assert np.ptp(x[top]) == pytest.approx(0.2 * speed)
    assert y.max() - y.min() == 5.0
    assert (np.diff(x) >= 0).all()


def test_twelve_leads_read_down_the_columns() -> None:
    layout = Layout.named("3x4+1R")
    assert ",".join(s.lead for s in layout.strips) == "I,aVR,V1,V4,II,aVL,V2,V5,III,aVF,V3,V6,II"
    assert [s.start for s in layout.strips[:4]] == [0, 2.5, 5, 7.5]
    assert layout.strips[-1] == Strip("II", 0.0, 10.0, layout.strips[0].x, layout.strips[-1].y, 10.0, 3, True)
    assert [s.lead for s in Layout.named("3x4+3R").strips if s.rhythm] == ["II", "V1", "V5"]
    assert [s.lead for s in Layout.named("3x4+2R", rhythm=["v6", "aVF"]).strips if s.rhythm] == ["V6", "aVF"]


def test_simultaneous_columns_show_the_same_seconds() -> None:
    layout = Layout.named("3x4+1R", columns="simultaneous")
    assert {(s.start, s.stop) for s in layout.strips if not s.rhythm} == {(0.0, 2.5)}
    assert len({s.x for s in layout.strips}) == 4
    assert layout.seconds == 10


def test_cabrera_order_turns_avr_over() -> None:
    layout = Layout.named("12x1", order="cabrera")
    assert tuple(s.lead for s in layout.strips) == CABRERA_LEADS
    assert missing_leads(layout, STANDARD_LEADS) == []
    assert missing_leads(layout, ["I", "II", "III", "aVL", "aVF"]) == ["-aVR", "V1", "V2", "V3", "V4", "V5", "V6"]


@pytest.mark.parametrize("name", TWELVE)
def test_half_gain_precordials(name: str) -> None:
    layout = Layout.named(name, gain=10, precordial_gain=5)
    assert {(s.lead.startswith("V"), s.gain) for s in layout.strips if not s.rhythm} == {(False, 10.0), (True, 5.0)}
    for pulse in layout.pulses:
        assert pulse.gain == next(s.gain for s in layout.strips if s.row == pulse.row)


def test_a_minute_on_pages() -> None:
    layout = Layout.named("3x4+1R")
    pages = layout.pages(60)
    assert len(pages) == 6
    for lead in STANDARD_LEADS:
        windows = [(s.start, s.stop) for page in pages for s in page.strips if s.lead == lead and not s.rhythm]
        assert np.allclose(np.diff(windows, axis=0), 10)
    rhythm = [(s.start, s.stop) for page in pages for s in page.strips if s.rhythm]
    assert rhythm == [(10.0 * k, 10.0 * k + 10) for k in range(6)]
    assert pages[3] == layout.at(30)
    assert layout.at(30).at(0) == layout
    for duration, count in ((0.5, 1), (10, 1), (10.002, 2), (20, 2), (59.9, 6)):
        assert len(layout.pages(duration)) == count


@given(st.integers(1, 40))
def test_auto_holds_any_number_of_leads(n: int) -> None:
    rows, columns = (int(part) for part in auto_name(n).split("+")[0].split("x"))
    assert n <= rows * columns < n + columns
    record = Record(tuple(f"L{k}" for k in range(n)), np.zeros((n, 10)), 100)
    strips = Layout.for_record(record, sheet="strip").strips
    down = sorted((s for s in strips if not s.rhythm), key=lambda s: (s.x, s.y))
    assert tuple(s.lead for s in down) == record.leads


def test_the_twelve_leads_are_placed_in_their_own_order() -> None:
    mixed = Record(STANDARD_LEADS[::-1], np.zeros((12, 10)), 100)
    assert Layout.for_record(mixed) == Layout.named("3x4+1R")
    more = Record((*STANDARD_LEADS, "X", "Y", "Z"), np.zeros((15, 10)), 100)
    assert {s.lead for s in Layout.for_record(more).strips} == set(more.leads)
    assert Layout.for_record(more, "3x4") == Layout.named("3x4")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "3by4"}, "layout '3by4'; expected ROWSxCOLUMNS.*3x4"),
        ({"name": "0x4"}, "layout '0x4'; expected"),
        ({"name": "2x4"}, "12 leads on layout 2x4 with 8 cells. Use more cells, or select"),
        ({"order": "random"}, "lead order 'random'; expected standard or cabrera"),
        (
            {"order": "cabrera", "leads": ("I", "II")},
            "Cabrera order needs the 12.*there are I, II. Use order='standard'",
        ),
        ({"columns": "both"}, "columns 'both'; expected sequential or simultaneous"),
        ({"pulse": "top"}, "pulse 'top'; expected one of left, right, first, none"),
        ({"sheet": "A3"}, "sheet 'A3'; expected one of A4, .*strip, or"),
        ({"seconds": 20.0}, "rows of 20 s at 25 mm/s need 526 mm; the sheet is 297 mm wide. Use a wider sheet"),
        ({"sheet": (30.0, 100.0)}, "rows of 2 s at 25 mm/s need 76 mm; the sheet is 30 mm wide"),
        ({"seconds": -1.0}, "rows of -1 s"),
        ({"sheet": (297.0, 50.0)}, "4 rows on 10 mm of paper; expected at least 4 mm each. Use a taller sheet"),
        ({"sheet": (9000.0, 210.0)}, "sheet of 9000.0 x 210.0 mm; expected 1 to 5000"),
        ({"gain": 0.0}, "gain 0.0 mm/mV; expected positive"),
        ({"speed": -25.0}, "speed -25.0 mm/s"),
        ({"speed": 0.0}, "speed 0.0 mm/s"),
        ({"gain": float("nan")}, "gain nan mm/mV"),
        ({"name": "1x2+3R", "leads": ("I", "II")}, r"needs 3 rhythm leads; 2 given \(II, I\)"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Layout.named(**options)  # type: ignore[arg-type]


def test_strips_without_length_are_refused() -> None:
    strip = Strip("II", 0.0, 2.5, 10, 50)
    for bad in (replace(strip, stop=0.0), replace(strip, start=float("nan")), replace(strip, gain=-10.0)):
        with pytest.raises(UsageError, match=r"strip II from .*; expected a start before the stop"):
            Layout(297, 210, (strip, bad))
    with pytest.raises(UsageError, match="without strips; expected at least one lead"):  # as of a mere picture
        render(Record(("I",), np.zeros((1, 500), np.float32), 500.0), Layout(297, 210, ()))
