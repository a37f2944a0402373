"""Scale, layout and lead names of pages whose truth is known, and the words that say where they came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import digitizer
from digitizer import Reading, calibrate
from digitizer.segment import Ink, NameSeen
from digitizer.trace import Traced
from ecg_image_kit import STANDARD_LEADS, Layout, Page, Record, Strip, Style, open_source, render

DPI = 150
LIMB = STANDARD_LEADS[:6]


@cache
def sample(name: str) -> Record:
    return open_source("samples").load(name)


def printed(
    name: str, record: str = "00001", leads: tuple[str, ...] = (), style: Style | None = None, **options: Any
) -> Page:
    signals = sample(record).select(leads) if leads else sample(record)
    return render(signals, Layout.for_record(signals, name, **options), style, DPI)


def late_ms(page: Page, reading: Reading) -> list[float]:
    """How much later than on the page each strip was found to begin, ms at the page's speed."""
    found, true = reading.page, page
    out = []
    for a, b in zip(found.layout.strips, true.layout.strips, strict=True):
        (x,), (x0,) = found.mm_to_px(np.array([[a.x, a.y]])), true.mm_to_px(np.array([[b.x, b.y]]))
        out.append(float(x[0] - x0[0]) / (DPI / 25.4) / true.layout.speed * 1000)
    return out


def check(page: Page, name: str, late: float = 0.3) -> Reading:
    """Everything about the layout is right, and the strips begin where they do, to ``late`` ms."""
    reading = digitizer.read(page.image)
    found, true = reading.page.layout, page.layout
    assert found.name == name
    assert (found.speed, found.gain) == (true.speed, true.gain)
    key = [(s.lead, s.start, s.stop, s.row, s.rhythm) for s in true.strips]
    assert [(s.lead, s.start, s.stop, s.row, s.rhythm) for s in found.strips] == key
    assert np.abs(late_ms(page, reading)).max() < late
    assert reading.record.leads == page.record().leads
    assert reading.record.mv.shape == page.record().mv.shape
    return reading


CASES: tuple[tuple[str, Mapping[str, Any], str], ...] = (
    ("3x4", {}, "3x4"), ("3x4+1R", {}, "3x4+1R"), ("3x4+3R", {}, "3x4+3R"),
    ("6x2", {}, "6x2"), ("6x2+1R", {}, "6x2+1R"), ("12x1", {}, "12x1"), ("4x3", {}, "4x3"),
    ("3x4+1R", {"order": "cabrera"}, "3x4+1R Cabrera"),
    ("3x1", {"leads": ("I", "II", "III")}, "3x1"), ("6x1", {"leads": LIMB}, "6x1"),
    ("3x4+1R", {"rhythm": ("V1",)}, "3x4+1R"), ("3x4+1R", {"record": "00004", "sheet": "Letter"}, "3x4+1R"),
    ("3x4+1R", {"record": "00006", "sheet": "strip", "style": Style(label="left", header="none")}, "3x4+1R"),
)  # fmt: skip


@pytest.mark.parametrize(("layout", "options", "name"), CASES, ids=lambda v: v if isinstance(v, str) else "-".join(v))
def test_layouts(layout: str, options: Mapping[str, Any], name: str) -> None:
    reading = check(printed(layout, **options), name)
    assert reading.warnings == ()
    assert re.match(rf"{re.escape(name)}: law (1\.00|0\.9\d), labels ", reading.notes["layout"])
    assert reading.notes["columns"] == "sequential"


@pytest.mark.parametrize("layout", ["3x4+1R", "6x2"])
def test_simultaneous_columns(layout: str) -> None:
    reading = check(printed(layout, columns="simultaneous"), layout)
    assert reading.notes["columns"].startswith("simultaneous (")


@pytest.mark.parametrize(("pulse", "count"), [("left", 4), ("right", 4), ("first", 1)])
def test_pulses(pulse: str, count: int) -> None:
    page = printed("3x4+1R", "00002", pulse=pulse)
    reading = check(page, "3x4+1R")
    assert reading.warnings == ()
    for what, unit in (("speed", "25 mm/s"), ("gain", "10 mm/mV")):
        assert reading.notes[what].startswith(f"{unit}, from {count} calibration pulse")
    found = reading.page.layout.pulses
    assert len(found) == count
    for a, b in zip(found, page.layout.pulses, strict=True):
        at, true = (p.mm_to_px(np.array([[pulse.x, pulse.y]])) for p, pulse in ((reading.page, a), (page, b)))
        assert np.abs(at - true).max() < 0.4 * DPI / 25.4


def test_without_pulses_scale_is_assumed_and_said_to_be() -> None:
    reading = check(printed("3x4+1R", "00002", pulse="none"), "3x4+1R")
    assert reading.page.layout.pulses == ()
    for what, value in (("speed", "25 mm/s"), ("gain", "10 mm/mV")):
        assert reading.notes[what] == f"{value}, assumed: no calibration pulse was read"
        assert f"{what} {reading.notes[what]}" in reading.warnings


@pytest.mark.parametrize(("speed", "gain"), [(50, 10), (25, 5)])
def test_scale_from_pulses(speed: float, gain: float) -> None:
    # Where pulses run into all rows, as here at 50 mm/s, only a network tells where they begin: to a sixth of a px.
    reading = check(printed("3x4+1R", speed=speed, gain=gain), "3x4+1R", 0.3 if speed == 25 else 0.5)
    assert reading.notes["speed"].startswith(f"{speed} mm/s, from 4 calibration pulses (")
    assert reading.notes["gain"].startswith(f"{gain} mm/mV, from 4 calibration pulses (")


@pytest.mark.parametrize(
    ("heights", "gain", "why"),
    [
        ([9.7, 10.1, 9.9], 10.0, "from 3 calibration pulses"),
        ([8.1, 8.0, 8.05], 8.05, "not a usual value"),
        ([5.68], 10.0, "assumed: calibration pulses were read as 5.68"),  # the pale foot of one was lost
        ([4.39, 5.94, 9.98], 10.0, "assumed: calibration pulses were read as 4.39, 5.94, 9.98"),
        ([4.6, 6.5, 8.6], 5.0, "assumed"),
    ],
)
def test_pulses_that_disagree_do_not_make_a_gain_of_their_own(heights: list[float], gain: float, why: str) -> None:
    found, words, sure = calibrate._scale("mm/mV", None, heights, (5.0, 10.0, 20.0), 10.0, 0.12, usual_only=False)
    assert found == pytest.approx(gain) and why in words
    assert sure == ("assumed" not in why)


def test_a_scale_that_is_given_against_the_pulses_is_taken_and_warned_of() -> None:
    page = printed("3x4", "00002")
    reading = digitizer.read(page.image, gain=20)
    assert reading.page.layout.gain == 20
    said = reading.notes["gain"]
    told, _, pulses = said.partition(" read as ")
    assert told == "20 mm/mV, given, but calibration pulses were" and f"gain {said}" in reading.warnings
    assert [float(pulse) for pulse in pulses.split(", ")] == pytest.approx([10, 10, 10], rel=0.02)
    assert not any(warning.startswith("gain") for warning in digitizer.read(page.image, gain=10).warnings)


@pytest.mark.parametrize(("heights", "against"), [([10.1, 9.9, 20.2], False), ([10.0], False), ([9.9, 10.1], True)])
def test_one_pulse_that_is_misread_says_nothing_against_a_scale(heights: list[float], against: bool) -> None:
    given = 20.0 if against or len(heights) == 1 else 10.0
    _, words, sure = calibrate._scale("mm/mV", given, heights, (5.0, 10.0, 20.0), 10.0, 0.12, usual_only=False)
    assert sure is not against and ("but" in words) is against


@pytest.mark.parametrize(("speed", "gain"), [(25, 20), (50, 5)])
def test_scale_as_given(speed: float, gain: float) -> None:
    page = printed("3x4", "00002", speed=speed, gain=gain)
    reading = digitizer.read(page.image, speed=speed, gain=gain)
    found = reading.page.layout
    assert (found.name, found.speed, found.gain) == ("3x4", speed, gain)
    assert reading.notes["speed"] == f"{speed:g} mm/s, given"
    assert reading.notes["gain"] == f"{gain:g} mm/mV, given"
    assert np.abs(late_ms(page, reading)).max() < 0.6


def test_rhythm_strip_is_named_by_what_it_repeats() -> None:
    leads = ("V1", "III", "V2")
    reading = digitizer.read(printed("3x4+3R", rhythm=leads).image)
    assert tuple(s.lead for s in reading.page.layout.strips if s.rhythm) == leads
    for k, lead in enumerate(leads, start=1):
        why = reading.notes[f"rhythm strip {k}"]
        assert re.match(rf"lead {lead} \(likeness (1\.00|0\.9\d)(, and so it is named)?\)", why)


@pytest.mark.parametrize(
    ("noise", "odds", "lead"),
    [
        (0.0, {"V5": 0.2, "V6": 1.0}, "V5"),  # the same to a hair: whatever its name is taken for
        (0.0, {}, "V5"),
        (1.2, {"V5": 0.05, "V6": 1.0}, "V6"),  # as much like the one as like the other: its name says which
        (1.2, {}, "II"),  # nothing to go by
    ],
)
def test_a_rhythm_strip_is_the_lead_that_it_is_likeliest_to_be(noise: float, odds: dict[str, float], lead: str) -> None:
    rng = np.random.default_rng(0)
    t = np.arange(400) / 400
    beat = 8 * np.exp(-0.5 * ((t * 4 % 1 - 0.5) / 0.05) ** 2)
    like = beat + 0.8 * np.sin(2 * np.pi * 4 * t)  # 96 % alike
    levels = [beat, like, like + 0.1 * beat, beat + noise * rng.normal(0, 4, 400)]
    left, kx = 0.0, 4.0
    names = {3: [NameSeen("V6", 0.0, 0.0, 0.95, odds)]} if odds else {}
    sheet = calibrate._Sheet(levels, left, 100.0, kx, names, np.zeros(4))
    strips = [Strip(each, 0.0, 4.0, 0.0, 0.0, 10.0, k) for k, each in enumerate(("V5", "V6", "II"))]
    lines = [calibrate.Line(k, 0.0, 100.0, 0.0, 0.0) for k in range(4)]
    assert calibrate._which_lead(3, strips, lines, sheet, 25.0)[0] == lead


def test_time_is_told() -> None:
    page = printed("3x4", "00002", seconds=8.0)
    reading = check(page, "3x4")
    assert ": 8 s; they start" in reading.notes["time"]
    assert reading.page.layout.strips[-1].stop == 8


def test_rows_whose_first_beat_was_not_followed_begin_a_whole_time_before_their_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a beat stands at the very beginning, its first stroke may be missed, in each row more or less of it."""
    measure = calibrate.measure

    def late(ink: Ink, traced: Traced, row: int, kx: float, ky: float) -> calibrate.Line | None:
        line = measure(ink, traced, row, kx, ky)
        return line and replace(line, left=line.left + 0.25 + 0.15 * row)

    monkeypatch.setattr(calibrate, "measure", late)
    page = printed("3x4+1R")
    # By their ends alone, 0.05 px; by their beginnings they would be 19 ms late.
    assert np.abs(late_ms(page, digitizer.read(page.image))).max() < 0.8


@pytest.mark.parametrize("longer", [0.3, 0.7])
def test_ink_that_has_bled_beyond_the_ends_of_rows_is_not_time(longer: float, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = calibrate.measure

    def bled(ink: Ink, traced: Traced, row: int, kx: float, ky: float) -> calibrate.Line | None:
        line = measure(ink, traced, row, kx, ky)
        return line and replace(line, left=line.left - longer, right=line.right + longer)

    monkeypatch.setattr(calibrate, "measure", bled)
    check(printed("3x4+1R"), "3x4+1R")


def test_leads_that_do_not_fit_any_layout_are_doubted() -> None:
    """Six rows of chest leads: whatever they are taken for, Einthoven's law is not obeyed, and that is said."""
    rng = np.random.default_rng(3)
    t = np.arange(5000) / 500
    beats = [np.exp(-0.5 * (((t + rng.uniform()) % rng.uniform(0.6, 1.1) - 0.3) / 0.02) ** 2) for _ in STANDARD_LEADS]
    record = Record(STANDARD_LEADS, np.stack(beats).astype(np.float32), 500.0)
    image = render(record, Layout.for_record(record, "3x4"), dpi=DPI).image
    reading = digitizer.read(image, reader="analytic")
    assert any("is a guess" in warning and "Einthoven" in warning for warning in reading.warnings)
    named = digitizer.read(image)
    assert named.page.layout.name == "3x4"
    assert any("though named" in warning and "Einthoven" in warning for warning in named.warnings)


@pytest.mark.parametrize("label", ["above", "none"])
def test_rows_that_no_standard_layout_has_are_named_by_what_is_printed_or_by_row(label: str) -> None:
    record = sample("00002").select(("II", "V1"))
    reading = digitizer.read(render(record, style=Style(label=label), dpi=DPI).image)
    assert reading.record.leads == (("row1", "row2") if label == "none" else ("II", "V1"))
    assert any("no standard layout has 2 rows" in warning for warning in reading.warnings) == (label == "none")
    truth = record.mv[:, 500:4500] - record.mv[:, 500:4500].mean(axis=1, keepdims=True)
    found = reading.record.mv[:, 500:4500]
    assert np.corrcoef(truth[0], found[0])[0, 1] > 0.995
    assert np.corrcoef(truth[1], found[1])[0, 1] > 0.995


def test_names_that_could_be_others_name_nothing() -> None:
    def of(**names: Any) -> tuple[str, ...]:
        seen = {k: [NameSeen("II", 30.0, 50.0, *names[key])] for k, key in enumerate(names)}
        return calibrate._read_names(
            calibrate._Sheet([np.zeros(9)] * len(seen), 28.0, 250.0, 8.0, seen, np.zeros(len(seen)))
        )

    clear, like = {"II": 1.0, "I": 0.05}, {"II": 1.0, "aVL": 0.95}
    assert of(a=(0.9, clear)) == ("II",)
    assert of(a=(0.7, clear)) == ("row1",)
    assert of(a=(0.9, like)) == ("row1",)
    assert of(a=(0.9, clear), b=(0.9, clear)) == ("II", "row2")  # there is one lead II


def line_of(row: int, left: float, right: float) -> calibrate.Line:
    return calibrate.Line(row, left, right, 0.0, 0.0)


def test_rows_that_were_seen_whole_tell_where_all_begin() -> None:
    lines = [line_of(0, 90.0, 280.1), line_of(1, 30.1, 280.0), line_of(2, 30.0, 271.0)]
    assert calibrate._agreed(lines, 25.0, 0.8) == (10.0, 30.1, 280.0)


def test_ends_that_agree_across_the_page_tell_it_where_no_row_is_whole() -> None:
    lines = [line_of(0, 90.0, 280.1), line_of(1, 30.1, 250.0), line_of(2, 30.0, 271.0), line_of(3, 55.0, 280.0)]
    assert calibrate._agreed(lines, 25.0, 0.8) == pytest.approx((10.0, 30.05, 280.05))


def test_ends_that_agree_about_nothing_usual_tell_nothing() -> None:
    """Rows of 8 s, all whole: they are what they are."""
    lines = [line_of(k, 30.0, 230.0) for k in range(3)]
    assert calibrate._agreed(lines, 25.0, 0.8) is None


def test_rows_that_the_image_cuts_off_begin_where_their_ink_does() -> None:
    """Cut off 1.1 mm after nine and a half seconds, they are not rows of that time whose pen has round ends."""
    page = render(sample("00003"), Layout.for_record(sample("00003"), "4x3"), dpi=DPI)
    end = page.layout.strips[0].x + 9.5 * 25 + 1.1
    last = int(page.mm_to_px(np.array([[end, 50.0]]))[0, 0])
    reading = digitizer.read(np.ascontiguousarray(page.image[:, :last]))
    assert reading.page.layout.name == "4x3"
    assert "cut off" in reading.notes["time"]
    assert any("cut off" in warning for warning in reading.warnings)
    assert np.abs(late_ms(page, reading)).max() < 3  # by their ends they would be 20 ms late


def test_names_inside_their_cells_are_moved_but_not_those_at_the_rows_beginning() -> None:
    lines = [calibrate.Line(k, 10.0, 260.0, 0.0, 0.0, None, False, False) for k in range(4)]
    inside = [NameSeen("I", 30.0 + 62.5 * c, 20.0 * r, 0.9, {"I": 1.0}) for r in range(3) for c in range(4)]
    rhythm = NameSeen("II", 11.0, 60.0, 0.9, {"II": 1.0})
    odd = NameSeen("V1", 151.0, 10.0, 0.9, {"V1": 1.0})
    found = calibrate._at_beginnings((*inside, odd, rhythm), lines)
    assert [name.x for name in found[:12]] == pytest.approx(3 * [10.0, 72.5, 135.0, 197.5])
    assert found[-1] == rhythm
    for step, shift in (
        (62.5, 2.0),
        (80.0, 20.0),
        (30.0, 20.0),
    ):  # at their beginnings; of no even columns of these rows
        others = tuple(name._replace(x=10.0 + shift + step * c) for c, name in enumerate(4 * inside[:1])) * 2
        assert calibrate._at_beginnings(others, lines) == others
