"""The learned reader with the shipped weights: which way is up, pages without a grid, photographs, what is cut off."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

import digitizer
from digitizer import network, pipeline
from digitizer.gridless import without_grid
from digitizer.locate import GridNotFound
from digitizer.metrics import score
from ecg_image_kit import Layout, Page, Record, Style, open_source, render
from ecg_image_kit.effects import apply
from ecg_image_kit.errors import UsageError


def page_of(name: str = "00005", layout: str = "3x4+1R", style: Style | None = None) -> Page:
    record = open_source("samples").load(name)
    return render(record, Layout.for_record(record, layout), style or Style(), 150)


def plain(page: Page, reading: digitizer.Reading) -> float:
    return score(page.record(), reading.record).value("plain")


def test_weights_are_those_of_their_card() -> None:
    card = json.loads((network.WEIGHTS / "reader.json").read_text("utf-8"))
    model = network.WEIGHTS / "reader.onnx"
    assert hashlib.sha256(model.read_bytes()).hexdigest() == card["sha256"]
    assert model.stat().st_size < 30e6
    assert card["compute"] and card["steps"] > 0


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_pages_on_their_side_and_upside_down(turn: int) -> None:
    page = page_of()
    reading = digitizer.read(np.ascontiguousarray(np.rot90(page.image, turn)))
    assert reading.page.layout.name == "3x4+1R"
    assert plain(page, reading) > 20


def test_the_map_leads_back_to_the_image_as_it_lay() -> None:
    page = page_of()
    reading = digitizer.read(np.ascontiguousarray(np.rot90(page.image, 2)), reader="learned")
    height, width = page.image.shape[:2]
    mine = {trace.strip.lead: page.px(trace) for trace in page.traces if not trace.strip.rhythm}
    for trace in reading.page.traces:
        if not trace.strip.rhythm:
            found = [width - 1, height - 1] - reading.page.px(trace)
            n = min(len(found), len(mine[trace.strip.lead]))
            assert np.nanmedian(np.abs(found[:n] - mine[trace.strip.lead][:n])) < 0.5


def test_a_page_without_a_grid_is_scaled_by_its_rows_and_pulses() -> None:
    page = page_of(style=Style(grid="none"))
    with pytest.raises(GridNotFound):
        digitizer.read(page.image, reader="analytic")
    reading = digitizer.read(page.image)
    evidence = reading.notes["grid"]["evidence"]
    assert "no grid" in evidence
    assert f"taken for {round(page.px_per_mm * 25.4)}" in evidence  # a usual resolution
    assert reading.notes["grid"]["px_per_mm"][0] == pytest.approx(page.px_per_mm, rel=1e-6)
    assert plain(page, reading) > 15


def test_a_tilted_page_without_a_grid() -> None:
    page = apply(page_of(style=Style(grid="none")), ["Rotation(degrees=2)"], seed=1)
    grid, view = without_grid(page.image, network.load(str(network.WEIGHTS)))
    assert abs(grid.tilt) == pytest.approx(2, abs=0.1)
    ends = page.px(page.traces[-1])[[0, -1]]
    left, right = view.to_source.inverse(ends) / network.PX_PER_MM
    assert right[0] - left[0] == pytest.approx(250, abs=0.1)


def test_an_empty_sheet_is_refused() -> None:
    blank = np.full((800, 1100, 3), 250, np.uint8)
    with pytest.raises(digitizer.GridNotFound):
        digitizer.read(blank)


def test_a_line_that_nothing_says_is_an_ecg_is_refused() -> None:
    """The edge of a stain, say. With its name and pulse a lead is read, whatever the paper."""
    blank = np.full((600, 800, 3), 250, np.uint8)
    cv2.ellipse(blank, (400, 250), (110, 40), 0, 10, 170, (60, 50, 40), 2, cv2.LINE_AA)
    with pytest.raises(digitizer.GridNotFound, match="nothing says"):
        digitizer.read(blank)
    record = open_source("samples").load("00003")
    record = Record(("II",), record.mv[record.leads.index("II")][None], record.fs)
    page = render(record, style=Style(grid="none"), dpi=150)
    assert digitizer.read(page.image).record.leads == ("II",)


def test_a_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    # However even its pixels are: a sheet that had to be laid flat is no page as it was drawn.
    monkeypatch.setattr(pipeline, "even", lambda image: True)
    monkeypatch.setattr(pipeline, "plainly", lambda *_: pytest.fail("read without a network"))
    page = apply(
        page_of(), ["Curl", "Perspective(tilt=12)", "Desk", "Shadow", "SensorNoise", "Jpeg"], seed=3, severity=0.4
    )
    reading = digitizer.read(page.image)
    assert reading.page.layout.name == "3x4+1R"
    assert reading.page.meta["reader"] == "learned"
    assert plain(page, reading) > 12


def test_names_that_stand_further_inside_their_cells() -> None:
    """Some machines print them over the middle, and the pulses behind the rows."""
    record = open_source("samples").load("00005")
    order = ("V1", "V2", "V3", "I", "II", "III", "V4", "V5", "V6")
    layout = Layout.named("3x3+1R", order, pulse="right", rhythm=("II",))
    page = render(record, layout, Style(label_x=20.0), dpi=150)
    reading = digitizer.read(page.image, reader="learned")
    assert [strip.lead for strip in reading.page.layout.strips] == [strip.lead for strip in page.layout.strips]
    assert plain(page, reading) > 15


@pytest.mark.parametrize(("seconds", "every"), [(2.5, 1.0), (10.0, 1.0), (10.0, 5.0)])
def test_a_lead_cut_out_of_a_page(seconds: float, every: float) -> None:
    """Of lines that are all alike the pen's width tells whether they are 1 or 5 mm apart."""
    record = open_source("samples").load("00005").select(("II",)).cut(0.0, seconds)
    k = 20.0 if every == 1 else 6.0
    layout = Layout.named("1x1", ("II",), sheet="strip", seconds=seconds, pulse="none")
    page = render(record, layout, Style(grid="none", header="none"), dpi=k * 25.4)
    (strip,) = page.layout.strips
    width = page.image.shape[1]
    x0, x1 = (int(page.mm_to_px(np.array([[x, strip.y]]))[0, 0]) for x in (strip.x, strip.x + 25 * seconds))
    image = page.image.copy()
    for lines in (image.transpose(1, 0, 2), image):
        for at in np.arange(3, len(lines), every * k):
            lines[int(at) : int(at) + max(1, round(0.08 * k))] = np.minimum(lines[int(at)], 200)
    cut = np.ascontiguousarray(image[:, max(x0, 0) : min(x1, width)])
    reading = digitizer.read(cut)
    assert reading.page.layout.name == "1x1"
    assert np.median(reading.notes["grid"]["px_per_mm"]) == pytest.approx(k, rel=0.01)
    assert reading.page.layout.strips[0].stop == pytest.approx(seconds, abs=0.1)


def test_fifteen_leads() -> None:
    record = open_source("samples").load("00005")
    more = Record((*record.leads, "V4R", "V8", "V9"), np.concatenate([record.mv, -0.5 * record.mv[-3:]]), record.fs)
    page = render(more, Layout.named("3x5+1R", more.leads, rhythm=("II",)), dpi=150)
    reading = digitizer.read(page.image)
    assert [strip.lead for strip in reading.page.layout.strips] == [strip.lead for strip in page.layout.strips]
    assert any("taken for V4R, V8, V9" in warning for warning in reading.warnings)
    assert plain(page, reading) > 20


def test_names_decide_the_layout() -> None:
    """A layout that is not among the usual ones is read off its names."""
    record = open_source("samples").load("00005")
    order = ("V1", "V2", "V3", "V4", "V5", "V6")
    page = render(record, Layout.named("3x2", order), dpi=150)
    reading = digitizer.read(page.image)
    assert [strip.lead for strip in reading.page.layout.strips] == [strip.lead for strip in page.layout.strips]


def test_rows_that_the_photograph_cuts_off() -> None:
    page = page_of(layout="3x4")
    cut = replace(page, image=np.ascontiguousarray(page.image[:, : round(page.image.shape[1] * 0.88)]))
    reading = digitizer.read(cut.image, reader="learned")
    assert reading.page.layout.name == "3x4"
    starts = {strip.lead: strip.start for strip in reading.page.layout.strips}
    assert starts == {strip.lead: strip.start for strip in page.layout.strips}


def test_unknown_reader_and_missing_weights_are_told() -> None:
    image = page_of().image
    with pytest.raises(UsageError, match="expected one of auto, learned, analytic"):
        digitizer.read(image, reader="magic")
    with pytest.raises(UsageError, match=r"reader\.json"):
        digitizer.read(image, weights="nowhere")


def test_a_scan_in_black_and_white() -> None:
    """Its grid is dots, or gone; the traces' own edges say where they run, and where time begins."""
    page = apply(page_of(), ["Rotation(degrees=1.2)", "Defocus(radius=0.08)", "BlackWhite"], seed=4, severity=0.4)
    reading = digitizer.read(page.image)
    assert reading.page.layout.name == "3x4+1R"
    assert plain(page, reading) > 15
    assert abs(score(page.record(), reading.record).lag_ms) < 1.5
