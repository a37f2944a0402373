"""Rendering: what is drawn lies where the truth says, to a few hundredths of a pixel, at any dpi."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ecg_image_kit import STANDARD_LEADS, Box, Chain, Homography, Layout, Page, Record, Strip, Style, UsageError, render
from ecg_image_kit.headers import ARRANGEMENTS
from ecg_image_kit.raster import draw_graph
from ecg_image_kit.render import GRIDS, draw_grid

D = NDArray[np.float64]

BARE = Style(grid="none", header="none", label="none", ink=(0, 0, 0))


def ecg(leads: tuple[str, ...] = STANDARD_LEADS, seconds: float = 10.0, fs: float = 500.0) -> Record:
    """Something with narrow peaks, a different one in each lead."""
    t = np.arange(round(seconds * fs)) / fs
    peak = np.exp(-(((t % 0.8 - 0.3) / 0.012) ** 2)) + 0.2 * np.sin(2 * np.pi * t)
    return Record(leads, np.stack([peak * (1 - 0.15 * k) for k in range(len(leads))]), fs, "made")


def ink(page: Page) -> D:
    """(H, W) coverage of a page drawn in black on white."""
    return (255.0 - page.image[..., 0]) / 255.0


# The line's centre


def slopes(seconds: float = 10.0, fs: float = 500.0) -> Record:
    """Straight pieces of a second: 0, +0.1, -0.3, ... mV/s."""
    corners = np.array([0.0, 0.0, 0.1, -0.2, 0.15, 0.4, 0.2, -0.1, -0.05, -0.35, 0.0])
    t = np.arange(round(seconds * fs)) / fs
    return Record(("II",), np.interp(t, np.arange(11), corners)[None], fs)


def centroid(coverage: D) -> D:
    """px down to the ink's centre of mass in every column. A pixel counts at its centre, so this errs by hundredths."""
    return np.asarray((coverage * np.arange(len(coverage))[:, None]).sum(axis=0) / coverage.sum(axis=0))


def balance(coverage: D) -> D:
    """px down to the ink's middle in every column, without that error: from a full pixel, as much above as below."""
    full = coverage.argmax(axis=0)
    assert coverage.max(axis=0).min() > 0.99  # the line is wide enough for this
    rows = np.arange(len(coverage))[:, None]
    return np.asarray(full + ((coverage * (rows > full)).sum(axis=0) - (coverage * (rows < full)).sum(axis=0)) / 2)


def centre_errors(page: Page, measure: Callable[[D], D]) -> D:
    """px by which the ink's centre is below the claimed line, in every column away from corners and ends."""
    (trace,) = page.traces
    xy = page.px(trace)
    columns = np.arange(page.image.shape[1])
    second = page.layout.speed * np.diff(page.mm_to_px([[0.0, 0.0], [1.0, 0.0]])[:, 0])[0]
    corner = np.abs((columns - xy[0, 0]) / second - np.round((columns - xy[0, 0]) / second)) * second
    use = (corner > 4) & (columns > xy[0, 0] + 4) & (columns < xy[-1, 0] - 4)
    assert use.sum() > 0.8 * (xy[-1, 0] - xy[0, 0])
    # A straight piece's mean over the column is its value at the column's centre.
    return measure(ink(page)[:, use]) - np.interp(columns[use], xy[:, 0], xy[:, 1])


def flat_page(dpi: float, pen: float) -> Page:
    return render(
        slopes(), Layout.named("1x1", ["II"], sheet="strip", pulse="none"), replace(BARE, pen_width=pen), dpi
    )  # fmt: skip


def moved(page: Page, right: float, down: float) -> Page:
    """The same page, with a truth that is wrong by so many px."""
    return replace(page, mm_to_px=page.mm_to_px.then(Homography.affine(1, 0, right, 0, 1, down)))


@pytest.mark.parametrize("pen", [0.3, 0.45, 0.7])
def test_the_lines_centroid_at_200_dpi(pen: float) -> None:
    def good(page: Page) -> bool:
        errors = centre_errors(page, centroid)
        return bool(errors.std() < 0.03 and abs(errors.mean()) < 0.005)

    page = flat_page(200, pen)
    assert good(page)
    for wrong in ((0.0, 0.5), (0.5, 0.0), (0.0, 0.01)):  # the check can fail
        assert not good(moved(page, *wrong))


@pytest.mark.parametrize(("dpi", "pen"), [(100, 0.7), (150, 0.5), (200, 0.35), (300, 0.3), (600, 0.3)])
def test_the_lines_middle_at_any_dpi(dpi: float, pen: float) -> None:
    def good(page: Page) -> bool:
        errors = centre_errors(page, balance)
        return bool(np.abs(errors).max() < 0.01 and errors.std() < 0.003 and abs(errors.mean()) < 0.001)

    page = flat_page(dpi, pen)
    assert good(page)
    for wrong in ((0.0, 0.5), (0.5, 0.0), (0.0, 0.002)):
        assert not good(moved(page, *wrong))


@pytest.mark.parametrize("dpi", [72, 150, 200, 600])
def test_the_strokes_edges_are_where_the_pen_was(dpi: float) -> None:
    """The whole of a page's ink against the rasteriser, which has its own tests, fed with the truth."""
    record = ecg(("II",), 4.0)
    layout = Layout.named("1x1", ["II"], sheet="strip", pulse="none", seconds=4.0)
    page = render(record, layout, BARE, dpi)
    xy = page.px(page.traces[0])
    expected = np.zeros(page.image.shape[:2], np.uint8)
    draw_graph(expected, xy[:, 0], xy[:, 1], 0.3 * dpi / 25.4, sub=40)
    assert np.abs(ink(page) - expected / 255.0).max() < 0.09
    assert (expected > 128).sum() > 100


DPIS = [72, 100, 150, 200, 254.3, 300, 600]


def grid_image(dpi: float, axis: int, style: Style) -> D:
    """(H, W) darkness of a sheet 297 mm long along ``axis``, turned so that the lines across it go down."""
    size = (297.0, 12.0) if axis == 0 else (12.0, 297.0)
    image = draw_grid(Layout(*size, (Strip("II", 0.0, 1.0, 2.0, 6.0),)), style, dpi)[..., 1]
    return 255.0 - (image if axis == 0 else image.T)


@pytest.mark.parametrize("dpi", DPIS)
@pytest.mark.parametrize("axis", [0, 1])
def test_the_grids_pitch_is_exact(dpi: float, axis: int) -> None:
    k = dpi / 25.4
    lines = np.arange(5, 297, 5)
    # Wide enough for every line to fill a pixel, so that both edges are seen.
    dark = grid_image(dpi, axis, Style(grid="black", minor="none", major_width=max(0.3, 2.2 / k)))
    # Between the lines of the other kind; the sheet's last row may lie half off it.
    profile = dark[round(7.5 * k) - 1] / dark.max()
    at = []
    for line in lines:
        window = np.arange(round((line - 2) * k), round((line + 1.5) * k))
        at.append(window[0] + balance(profile[window][:, None])[0])
    pitch, origin = np.polyfit(lines, at, 1)
    assert pitch == pytest.approx(k, rel=1e-5)
    assert origin == pytest.approx(-0.5, abs=0.005)  # the sheet's edge is the outer edge of the first pixel
    assert np.abs(np.polyval((pitch, origin), lines) - at).max() < 0.02
    rounded = np.round(at)  # what most plotting programs do would not pass
    assert np.abs(np.polyval(np.polyfit(lines, rounded, 1), lines) - rounded).max() > 0.02


@pytest.mark.parametrize("minor", ["line", "dots", "none"])
@pytest.mark.parametrize("dpi", DPIS)
def test_every_pixel_of_the_grid(dpi: float, minor: str) -> None:
    style = Style(grid="blue", paper=(250, 245, 235), minor=minor, minor_width=0.12, major_width=0.25, grid_margin=3.0)
    width, height = 40.0, 23.0
    image = draw_grid(Layout(width, height, (Strip("II", 0.0, 1.0, 2.0, 6.0),)), style, dpi)

    def shares(n: int, length: float) -> tuple[D, ...]:
        """Sampled at 200 points in every pixel: are we on a minor line, a major one, a dot, the grid's area?"""
        mm = (np.arange(n * 200) + 0.5) / 200 / dpi * 25.4
        near = np.round(mm)
        on = (near >= 3.0) & (near <= length - 3.0)
        kinds = (on & (near % 5 != 0) & (np.abs(mm - near) < 0.06), on & (near % 5 == 0) & (np.abs(mm - near) < 0.125))
        rest = (on & (np.abs(mm - near) < 0.12), (mm >= 3.0) & (mm <= length - 3.0))
        return tuple(kind.reshape(n, 200).mean(axis=1) for kind in (*kinds, *rest))

    (fine_x, bold_x, dot_x, in_x), (fine_y, bold_y, dot_y, in_y) = (
        shares(n, length) for n, length in ((image.shape[1], width), (image.shape[0], height))
    )
    if minor == "line":
        fine = np.maximum(np.outer(in_y, fine_x), np.outer(fine_y, in_x))
    else:
        fine = np.outer(dot_y, dot_x) if minor == "dots" else np.zeros(image.shape[:2])
    bold = np.maximum(np.outer(in_y, bold_x), np.outer(bold_y, in_x))[..., None]
    paper = np.array(style.paper, float)
    light, dark = (np.array(colour) * paper / 255 for colour in GRIDS["blue"])
    expected = paper + (light - paper) * fine[..., None]
    expected += (dark - expected) * bold
    assert np.abs(image - expected).max() < 2.0  # of 255: the samples' error and the rounding


def test_slow_records_are_drawn_band_limited() -> None:
    def curve(t: D) -> D:
        return np.asarray(sum(0.3 * np.sin(2 * np.pi * f * t + f) for f in (1.0, 7.0, 23.0, 36.0)))

    t = np.arange(1000) / 100
    record = Record(("II",), curve(t)[None], 100)
    page = render(record, Layout.named("1x1", ["II"], sheet="strip", pulse="none"), BARE, 200)
    strip = page.layout.strips[0]

    def difference(s: D, mv: D) -> float:
        xy = page.mm_to_px(page.layout.to_mm(strip, s, mv))
        expected = np.zeros(page.image.shape[:2], np.uint8)
        draw_graph(expected, xy[:, 0], xy[:, 1], 0.3 * 200 / 25.4, sub=16)
        inner = slice(int(xy[0, 0]) + 50, int(xy[-1, 0]) - 50)  # a quarter of a second: nobody knows what lies outside
        return float(np.abs(ink(page) - expected / 255.0)[:, inner].max())

    fine = np.arange(0, 9.99, 1 / 5000)
    assert difference(fine, curve(fine)) < 0.2
    assert difference(t, curve(t)) > 0.8  # as the polyline through the samples would be
    np.testing.assert_array_equal(page.traces[0].mv, record.mv[0])  # the truth is what is known: the samples


# Truth


@pytest.mark.parametrize("fs", [100.0, 257.0, 360.0, 500.0, 1000.0])
def test_the_truth_is_every_sample_where_it_is(fs: float) -> None:
    record = ecg(fs=fs)
    layout = Layout.named("3x4+1R", gain=5.0, speed=50.0, sheet="Letter")
    page = render(record, layout, BARE, 90.5)
    for strip, trace in zip(layout.strips, page.traces, strict=True):
        n = np.arange(record.mv.shape[1])
        inside = (n / fs >= strip.start - 1e-9) & (n / fs < strip.stop - 1e-9)
        np.testing.assert_array_equal(trace.mv, record.lead(strip.lead)[inside])
        np.testing.assert_allclose(trace.s, n[inside] / fs, atol=1e-12)
        x = (strip.x + (n[inside] / fs - strip.start) * 50.0) * 90.5 / 25.4 - 0.5
        y = (strip.y - record.lead(strip.lead)[inside].astype(float) * 5.0) * 90.5 / 25.4 - 0.5
        np.testing.assert_allclose(page.px(trace), np.stack([x, y], 1), atol=1e-6)


def test_gaps_stay_empty() -> None:
    mv = ecg(("II",)).mv.copy()
    mv[0, 2000:2600] = np.nan
    page = render(
        Record(("II",), mv, 500), Layout.named("1x1", ["II"], sheet="strip", pulse="none"), BARE, 120
    )  # fmt: skip
    np.testing.assert_array_equal(page.traces[0].mv, mv[0])
    columns = np.arange(page.image.shape[1])
    xy = page.mm_to_px(page.layout.to_mm(page.layout.strips[0], np.array([1999, 2600]) / 500, np.zeros(2)))
    drawn = ink(page).sum(axis=0) > 0
    assert not drawn[(columns > xy[0, 0] + 1) & (columns < xy[1, 0] - 1)].any()
    assert drawn[int(xy[0, 0]) - 20 : int(xy[0, 0])].all()
    assert drawn[int(xy[1, 0]) + 2 : int(xy[1, 0]) + 20].all()


def test_short_records_leave_paper_empty() -> None:
    record = ecg(seconds=4.0)
    layout = Layout.named("3x4+1R", pulse="none")
    page = render(record, layout, BARE, 100)
    end = page.mm_to_px(layout.to_mm(layout.strips[-1], [4.0], [0.0]))[0, 0]
    assert ink(page)[:, int(end) + 3 :].sum() == 0
    begin = page.mm_to_px([[layout.strips[0].x, 0.0]])[0, 0]
    assert ink(page)[:, int(begin) + 1 : int(end)].any(axis=0).all()
    sizes = [trace.mv.size for trace in page.traces[:4]]
    assert sizes == [1250, 750, 0, 0]
    with_nothing = render(record, layout.at(30.0), BARE, 100)
    assert ink(with_nothing).sum() == 0
    assert all(trace.mv.size == 0 for trace in with_nothing.traces)


def test_cabrera_prints_avr_upside_down() -> None:
    record = Record(STANDARD_LEADS, np.ones((12, 5000)) * np.arange(1, 13)[:, None] / 20, 500)
    layout = Layout.named("12x1", order="cabrera", pulse="none")
    page = render(record, layout, BARE, 100)
    k, strip = next((k, s) for k, s in enumerate(layout.strips) if s.lead == "-aVR")
    np.testing.assert_array_equal(page.traces[k].mv, np.full(5000, -0.2, np.float32))
    row = page.mm_to_px([[0.0, strip.y + 2.0]])[0, 1]  # 0.2 mV below the baseline
    column = ink(page)[:, page.image.shape[1] // 2]
    near = slice(int(row) - 6, int(row) + 8)
    centroid = (column * np.arange(column.size))[near].sum() / column[near].sum()
    assert centroid == pytest.approx(row, abs=0.05)
    np.testing.assert_array_equal(page.record().lead("aVR"), record.lead("aVR"))
    assert "-aVR" not in page.record().leads


@pytest.mark.parametrize("factor", [1e-6, 1e2, 1e5, 1e30])
def test_amplitudes_beyond_the_sheet_are_clipped(factor: float) -> None:
    record = Record(STANDARD_LEADS, ecg().mv * np.float32(factor), 500)
    page = render(record, None, Style(), 100)
    np.testing.assert_array_equal(page.traces[0].mv, record.mv[0, :1250])
    high = Record(STANDARD_LEADS, np.full((12, 5000), 100.0), 500)
    assert ink(render(high, Layout.named("3x4", pulse="none"), BARE, 100)).sum() == 0


# Style


def texts(page: Page, kind: str) -> list[str]:
    return [box.text for box in page.boxes if box.kind == kind]


@pytest.mark.parametrize(
    "change",
    [{"grid": name} for name in (*GRIDS, "none") if name != "red"]
    + [{"minor": "dots"}, {"minor": "none"}, {"minor_width": 0.2}, {"major_width": 0.4}, {"grid_margin": 5.0}]
    + [{"pen_width": 0.6}, {"cap": "round"}, {"ink": (0, 0, 120)}, {"text_ink": (90, 0, 0)}, {"paper": (250, 240, 230)}]
    + [{"label": "left"}, {"label": "none"}, {"label_size": 4.0}, {"label_font": "serif"}, {"label_bold": True}]
    + [{"label_box": True}, {"separator": "tick"}, {"separator": "line"}, {"font": "stroke"}, {"font": "plain"}]
    + [{"text_size": 2.0}, {"code": "qr"}, {"code": "bar"}, {"seed": 5}]
    + [{"header": name} for name in ARRANGEMENTS if name != "classic"],
    ids=str,
)  # fmt: skip
def test_every_option_shows_and_leaves_the_truth(change: dict[str, Any]) -> None:
    record, layout = ecg(), Layout.named("3x4+1R")
    before, after = render(record, layout, Style(), 80), render(record, layout, replace(Style(), **change), 80)
    assert (before.image != after.image).any()
    assert after.style == {**asdict(Style()), **change}
    for a, b in zip(before.traces, after.traces, strict=True):
        np.testing.assert_array_equal(before.px(a), after.px(b))


def test_leads_that_begin_after_the_record_ended_have_no_name() -> None:
    record = ecg(seconds=4.0)
    page = render(record, Layout.for_record(record, "3x4"), Style(header="none"), 100)
    names = {box.text for box in page.boxes if box.kind == "label"}
    assert names == set(STANDARD_LEADS[:6])  # columns begin at 0, 2.5, 5 and 7.5 s


def test_labels_name_their_strips() -> None:
    page = render(ecg(), Layout.named("3x4+1R"), Style(), 100)
    assert texts(page, "label") == [strip.lead for strip in page.layout.strips]
    for strip, box in zip(page.layout.strips, (b for b in page.boxes if b.kind == "label"), strict=True):
        (x0, y0), (x1, y1) = box.outline.min(axis=0), box.outline.max(axis=0)
        assert strip.x <= x0 < x1 < strip.x + 25
        assert strip.y - page.layout.row_height / 2 < y0 < y1 < strip.y
        assert y1 - y0 == pytest.approx(Style().label_size, abs=0.6)
    left = render(ecg(), Layout.named("6x2"), Style(label="left"), 100)
    for strip, box in zip(left.layout.strips, (b for b in left.boxes if b.kind == "label"), strict=True):
        (x0, y0), (x1, y1) = box.outline.min(axis=0), box.outline.max(axis=0)
        if strip.start == 0:  # the first column; left of the pulses
            assert 0 < x0 < x1 < left.layout.pulses[0].x
            assert y0 < strip.y < y1
        else:
            assert x0 > strip.x


def test_half_gain_is_written_on_the_page() -> None:
    layout = Layout.named("3x4", precordial_gain=5)
    (scale,) = [t for t in texts(render(ecg(), layout, Style(header="minimal"), 60), "calibration")]
    assert "10/5 mm/mV" in scale
    assert "25 mm/s" in scale
    (scale,) = texts(render(ecg(), layout, Style(header="columns"), 60), "calibration")
    assert "Limb: 10 mm/mV" in scale
    assert "Chest: 5 mm/mV" in scale


def test_the_pulse_is_drawn_where_its_box_is() -> None:
    flat = Record(("I",), np.zeros((1, 500)), 500)
    layout = Layout.named("1x1", ["I"], sheet="strip", seconds=1.0, gain=20.0)
    page = render(flat, layout, BARE, 200)
    (box,) = [b for b in page.boxes if b.kind == "pulse"]
    (x0, y0), (x1, y1) = page.mm_to_px(box.outline)[[0, 2]]
    coverage = ink(page)
    top = coverage[: round((y0 + y1) / 2), [round((x0 + x1) / 2)]]
    assert balance(top)[0] == pytest.approx(y0, abs=0.01)  # 1 mV
    assert y1 - y0 == pytest.approx(20 * 200 / 25.4)
    flanks = coverage[[round((y0 + y1) / 2)]].T
    foot = 1.5 * 200 / 25.4
    for side in (x0 + foot, x1 - foot):
        begin = int(side) - 10
        assert begin + balance(flanks[begin : begin + 20])[0] == pytest.approx(side, abs=0.01)


def rectangle(box: Box) -> tuple[float, float, float, float]:
    (x0, y0), (x1, y1) = box.outline.min(axis=0), box.outline.max(axis=0)
    return x0, y0, x1, y1


def test_random_styles_are_valid_varied_and_repeatable() -> None:
    styles = [Style.random(np.random.default_rng(seed)) for seed in range(200)]
    assert styles == [Style.random(np.random.default_rng(seed)) for seed in range(200)]
    for style in styles:
        assert 0.2 <= style.pen_width <= 0.7
        assert np.mean(style.ink) < 90 < np.mean(style.paper)
        assert max(style.text_ink) < 160
        assert Style.of(asdict(style)) == style
    for name, at_least in {
        "grid": 7,
        "minor": 3,
        "label": 2,
        "separator": 3,
        "header": 7,
        "code": 3,
        "font": 4,
    }.items():
        assert len({getattr(style, name) for style in styles}) >= at_least
    assert len({style.seed for style in styles}) == 200


def test_nothing_is_printed_over_anything_else() -> None:
    """Texts, codes and pulses keep clear of one another, and page text keeps clear of the traces."""
    names = itertools.cycle(["3x4+1R", "3x4", "6x2", "12x1", "3x4+3R", "4x3", "6x2+1R"])
    for seed, name in zip(range(60), names):  # noqa: B905
        rng = np.random.default_rng(seed)
        style = replace(Style.random(rng), label_box=seed % 9 == 0)
        style = replace(style, code=("none", "qr", "bar")[seed % 3])
        layout = Layout.named(name, pulse=str(rng.choice(["left", "right", "none"])))
        record = Record(STANDARD_LEADS, ecg().mv * np.float32(rng.uniform(0.5, 4)), 500)
        page = render(record, layout, style, 60)
        boxes = [(box.kind, rectangle(box)) for box in page.boxes]
        for (kind, a), (other, b) in itertools.combinations(boxes, 2):
            # Outlines are of whole pixels, 0.4 mm here.
            apart = min(a[2] - b[0], b[2] - a[0], a[3] - b[1], b[3] - a[1]) <= 0.45
            assert apart or {kind, other} <= {"label", "pulse"}, (seed, kind, other, a, b)
        free = [box for kind, box in boxes if kind not in ("label", "pulse")]
        lines = np.concatenate([page.mm(trace) for trace in page.traces])
        for x0, y0, x1, y1 in free:
            assert 0 <= x0 < x1 <= layout.width
            assert 0 <= y0 < y1 <= layout.height
            hit = (lines[:, 0] > x0) & (lines[:, 0] < x1) & (lines[:, 1] > y0) & (lines[:, 1] < y1)
            assert not hit.any(), (seed, x0, y0, x1, y1)


@pytest.mark.parametrize("dpi", [72, 300])
def test_random_styles_render(dpi: float) -> None:
    for seed in range(6 if dpi < 100 else 2):
        page = render(ecg(), None, Style.random(np.random.default_rng(seed)), dpi)
        assert page.image.shape == (round(210 * dpi / 25.4), round(297 * dpi / 25.4), 3)
        assert page.image.std() > 5


def test_codes_can_be_scanned() -> None:
    import cv2

    page = render(ecg(), Layout.named("3x4"), Style(code="qr", grid="none", seed=77), 300)
    (box,) = [b for b in page.boxes if b.kind == "code"]
    found, *_ = cv2.QRCodeDetector().detectAndDecode(np.ascontiguousarray(page.image[:400, -800:]))
    assert found == box.text == "SYN-0000000077"


def test_the_same_request_makes_the_same_page() -> None:
    style = Style.random(np.random.default_rng(3))
    one, two = (render(ecg(), Layout.named("6x2"), style, 100) for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)
    assert [(b.kind, b.text, b.outline.tolist()) for b in one.boxes] == [
        (b.kind, b.text, b.outline.tolist()) for b in two.boxes
    ]
    one.image[:] = 0  # a page's pixels are its own: the next page is not drawn on them
    np.testing.assert_array_equal(render(ecg(), Layout.named("6x2"), style, 100).image, two.image)
    assert (render(ecg(), Layout.named("6x2"), replace(style, seed=style.seed + 1), 100).image != two.image).any()


def test_a_pages_size_and_map() -> None:
    for dpi in (30.0, 72.0, 123.4, 600.0):
        layout = Layout(100.0, 40.0, (Strip("I", 0.0, 2.0, 10.0, 20.0),))
        page = render(ecg(("I",), 2.0), layout, Style(header="none"), dpi)
        assert page.image.shape == (round(40 * dpi / 25.4), round(100 * dpi / 25.4), 3)
        assert isinstance(page.mm_to_px, Chain)
        np.testing.assert_allclose(page.mm_to_px([[25.4, 0]]), [[dpi - 0.5, -0.5]])
        assert page.meta["dpi"] == dpi


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"grid": "purple"}, "style grid 'purple'; expected one of red, .*none"),
        ({"header": "ge"}, "style header 'ge'; expected one of"),
        ({"pen_width": 0.0}, "style pen_width 0.0 mm; expected 0.05 to 2"),
        ({"pen_width": float("nan")}, "style pen_width nan"),
        ({"ink": (0, 0)}, r"style ink \(0, 0\); expected \(R, G, B\)"),
        ({"paper": (0, 0, 300)}, "style paper"),
        ({"colour": "red"}, "style has no colour; expected some of cap"),
    ],
)
def test_styles_that_are_none(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Style.of(wrong)


def test_what_cannot_be_rendered_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"layout 3x4\+1R prints V6, which record 'made' does not have \(it has I, .*--derive"
    ):
        render(ecg(STANDARD_LEADS[:11]), Layout.named("3x4+1R"))
    for dpi in (10, 5000, float("nan")):
        with pytest.raises(UsageError, match=f"{dpi} dpi; expected 30 to 2400"):
            render(ecg(), None, None, dpi)
