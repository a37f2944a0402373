"""Whole pages, from pixels to millivolts: how exact, how honest, and pages drawn by another program."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import digitizer
from digitizer import Reading
from digitizer.metrics import PageScore, plain_power, pool, score
from ecg_image_kit import EcgError, Homography, Layout, Page, Record, Style, open_source, render

Image = NDArray[np.uint8]


@cache
def sample(name: str) -> Record:
    return open_source("samples").load(name)


@cache
def printed(name: str = "00002", dpi: float = 150, style: Style | None = None, layout: str = "3x4+1R") -> Page:
    return render(sample(name), Layout.for_record(sample(name), layout), style, dpi)


@cache
def reading_of(name: str = "00002", dpi: float = 150) -> Reading:
    return digitizer.read(printed(name, dpi).image)


def scored(page: Page, reading: Reading) -> PageScore:
    return score(page.record(), reading.record, ("plain",))


# How exact. Floors lie 3 dB or more below what was measured.

FLOORS = {100: 25.0, 150: 33.0, 200: 35.0, 300: 36.0}


@pytest.mark.parametrize(("dpi", "floor"), FLOORS.items())
def test_plain_snr(dpi: float, floor: float) -> None:
    page, reading = printed("00005", dpi), reading_of("00005", dpi)
    result = scored(page, reading)
    assert result.value("plain") > floor
    assert min(lead.plain.db for lead in result.leads) > floor - 6
    assert abs(result.lag_ms) < (0.3 if dpi < 150 else 0.15)
    assert result.gain == pytest.approx(1, abs=0.01)
    assert result.unread == 0
    assert min(reading.confidence.values()) > 0.6


@pytest.mark.parametrize("dpi", [150, 200, 300])
def test_floors_would_notice_a_millisecond(dpi: float) -> None:
    """The same reading, printed 1 ms later (band-limited), falls below its floor."""
    page, record = printed("00005", dpi), reading_of("00005", dpi).record
    n = record.mv.shape[1]
    late = []
    for row in record.mv:
        known = np.isfinite(row)
        at = np.arange(n, dtype=np.float64)
        late.append(np.where(known, np.interp(at - 0.5, at[known], row[known]), np.nan))
    shifted = replace(record, mv=np.array(late, np.float32))
    assert score(page.record(), shifted, ("plain",)).value("plain") < FLOORS[round(dpi)] - 3


@pytest.mark.parametrize("angle", [-3, 3])
def test_rotated(angle: float) -> None:
    page = printed("00005", 150)
    height, width = page.image.shape[:2]
    page = page.warp(Homography.rotation(angle, (width / 2, height / 2)), fill=(235, 232, 228))
    reading = digitizer.read(page.image)
    result = scored(page, reading)
    assert result.value("plain") > 18
    assert abs(result.lag_ms) < 1
    assert reading.notes["grid"]["tilt_degrees"] == pytest.approx(angle, abs=0.01)
    assert off_ink(page, reading) < 0.35


@pytest.mark.parametrize(
    ("style", "floor"),
    [(Style(grid="grey", ink=(0, 0, 0)), 30), (Style(grid="black", minor_width=0.07, major_width=0.14), 30),
     (Style(grid="orange", ink=(20, 20, 120), separator="tick", code="qr", pen_width=0.4), 31)],
    ids=["grey", "black", "blue ink"],
)  # fmt: skip
def test_looks(style: Style, floor: float) -> None:
    page = printed("00005", 150, style)
    assert scored(page, digitizer.read(page.image)).value("plain") > floor


@pytest.mark.parametrize(("reader", "floor"), [("analytic", 32), ("learned", 27)])
@pytest.mark.parametrize("separator", ["tick", "line"])
def test_separators_do_not_lead_traces_astray(separator: str, reader: str, floor: float) -> None:
    page = printed("00005", 150, Style(separator=separator))
    assert scored(page, digitizer.read(page.image, reader=reader)).value("plain") > floor


@pytest.mark.parametrize(
    ("name", "style", "pulse"),
    [("00010", Style(separator="line"), "right"), ("00013", Style(separator="line"), "right"),
     ("00002", Style(separator="line", grid="black", minor_width=0.07, major_width=0.14), "left")],
)  # fmt: skip
def test_what_is_left_of_a_separator_is_no_beginning(name: str, style: Style, pulse: str) -> None:
    layout = Layout.for_record(sample(name), "3x4+1R", pulse=pulse)
    page = render(sample(name), layout, style, 200)
    assert scored(page, digitizer.read(page.image, reader="analytic")).value("plain") > 33


@pytest.mark.parametrize(("gain", "pen"), [(5, 0.12), (5, 0.15), (10, 0.12), (20, 0.12)])
def test_pulses_of_thin_pens_are_no_separators(gain: float, pen: float) -> None:
    layout = Layout.for_record(sample("00002"), "3x4+1R", gain=gain)
    page = render(sample("00002"), layout, Style(pen_width=pen), 300)
    reading = digitizer.read(page.image, reader="analytic")
    assert reading.page.layout.gain == gain and len(reading.page.layout.pulses) == len(page.layout.pulses)


@pytest.mark.parametrize("with_pulse", [(), (3,), (1,)])
def test_a_rhythm_strip_is_as_high_as_its_cell(with_pulse: tuple[int, ...]) -> None:
    """Without two pulses only their common seconds tell that both are the same lead's: no step where they meet. One
    pulse, in whichever row, tells where both have their zero."""
    layout = Layout.for_record(sample("00003"), "3x4+1R")
    layout = replace(layout, pulses=tuple(pulse for pulse in layout.pulses if pulse.row in with_pulse))
    page = render(sample("00003"), layout, dpi=150)
    reading = digitizer.read(page.image, reader="analytic")
    true, read = (record.lead("II").astype(np.float64) for record in (page.record(), reading.record))
    begin, rest = (np.nanmedian((read - true)[part]) for part in (slice(1200), slice(1300, None)))
    assert abs(begin - rest) < 0.005
    assert not with_pulse or max(abs(begin), abs(rest)) < 0.01


@pytest.mark.parametrize(("by", "reader"), [(0.25, "analytic"), (-0.12, "learned"), (0.0, "learned")])
def test_rows_printed_askew_to_the_grid(by: float, reader: str) -> None:
    """Each row begins ``by`` mm later than the one above, as on sheets that went askew through the recorder."""
    layout = Layout.for_record(sample("00005"), "3x4+1R")
    strips = tuple(replace(strip, x=strip.x + by * strip.row) for strip in layout.strips)
    pulses = tuple(replace(pulse, x=pulse.x + by * pulse.row) for pulse in layout.pulses)
    page = render(sample("00005"), replace(layout, strips=strips, pulses=pulses), dpi=150)
    reading = digitizer.read(page.image, reader=reader)
    assert scored(page, reading).value("plain") > 26
    begins = [strip.x for strip in reading.page.layout.strips if strip.start == 0]
    assert np.ptp(begins) == pytest.approx(3 * abs(by), abs=0.05)
    assert ("askew" in reading.notes["time"]) == (by != 0)


@pytest.mark.parametrize("reader", ["analytic", "learned"])
@pytest.mark.parametrize("share", [0.97, 0.85])
def test_nothing_is_read_beyond_the_image(share: float, reader: str) -> None:
    image = printed("00005", 150).image
    image = np.ascontiguousarray(image[:, : round(share * image.shape[1])])
    reading = digitizer.read(image, reader=reader)
    for trace in reading.page.traces:
        x = reading.page.mm_to_px(reading.page.mm(replace(trace, mv=np.zeros_like(trace.mv))))[:, 0]
        assert np.isnan(trace.mv[x > image.shape[1] + 1]).all()


def test_grey_copy() -> None:
    page = printed("00005", 150)
    grey = np.round(page.image @ [0.299, 0.587, 0.114]).astype(np.uint8)
    reading = digitizer.read(np.repeat(grey[..., None], 3, axis=2))
    assert scored(page, reading).value("plain") > 31


def test_jpeg_and_sensor_noise(tmp_path: Path) -> None:
    page = printed("00005", 150)
    noisy = page.image + np.random.default_rng(2).normal(0, 6, page.image.shape)
    file = tmp_path / "scan.jpg"
    assert cv2.imwrite(str(file), np.clip(noisy, 0, 255).astype(np.uint8)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    reading = digitizer.read(file)
    assert scored(page, reading).value("plain") > 24
    assert reading.record.name == "scan"


# What a reading is.


def off_ink(page: Page, reading: Reading) -> float:
    """RMS mm between the recovered traces and the true ones, both put on the image by their own maps."""
    total, count = 0.0, 0
    for trace in reading.page.traces:
        true = next(t for t in page.traces if (t.strip.row, t.strip.lead) == (trace.strip.row, trace.strip.lead))
        a, b = reading.page.px(trace), page.px(true)
        n = min(len(a), len(b))
        known = np.isfinite(a[:n]).all(axis=1)
        total += float(np.sum((a[:n][known] - b[:n][known]) ** 2))
        count += int(known.sum())
    pitch = np.mean(reading.notes["grid"]["px_per_mm"])
    return math.sqrt(total / count) / float(pitch)


def test_page_lies_on_the_ink() -> None:
    page, reading = printed("00005", 200), reading_of("00005", 200)
    assert isinstance(reading.page, Page)
    assert np.array_equal(reading.page.image, page.image)
    assert off_ink(page, reading) < 0.05
    # Its paper is the grid's: 5 mm lines of the picture lie at multiples of 5.
    lines = reading.page.mm_to_px.inverse(page.mm_to_px(np.array([[50.0, 40.0], [100.0, 155.0]])))
    assert np.abs((lines + 2.5) % 5 - 2.5).max() < 0.02
    assert reading.page.style["pen_width"] == pytest.approx(0.3, rel=0.05)
    saved = reading.page.record()
    assert np.array_equal(saved.mv, reading.record.mv, equal_nan=True)


def test_record_has_each_lead_in_its_own_window() -> None:
    record = reading_of("00005", 200).record
    assert record.fs == 500
    assert record.mv.shape == (12, 5000)
    for lead, column in (("I", 0), ("aVR", 1), ("aVF", 1), ("V2", 2), ("V6", 3)):
        known = np.flatnonzero(np.isfinite(record.lead(lead)))
        assert (known[0], known[-1]) == (1250 * column, 1250 * column + 1249)
    assert np.isfinite(record.lead("II")).all()  # its rhythm strip


@pytest.mark.parametrize("fs", [1000.0])
def test_rate_as_asked_for(fs: float) -> None:
    page = printed("00005", 150)
    record = digitizer.read(page.image, fs=fs).record
    assert record.fs == fs
    assert record.mv.shape == (12, round(10 * fs))
    known = np.flatnonzero(np.isfinite(record.lead("V1")))
    assert (known[0], known[-1]) == (round(5 * fs), round(7.5 * fs) - 1)
    assert score(page.record(), record, ("plain",)).value("plain") > 28


def test_same_image_same_reading() -> None:
    a, b = reading_of("00005", 150), digitizer.read(printed("00005", 150).image)
    assert np.array_equal(a.record.mv, b.record.mv, equal_nan=True)
    assert (a.confidence, a.notes, a.warnings) == (b.confidence, b.notes, b.warnings)


def test_image_is_not_written_to() -> None:
    image = printed("00005", 150).image.copy()
    before = image.copy()
    digitizer.read(image)
    assert np.array_equal(image, before)


# What is not there is not made up.


def blanked(page: Page, lead: str, start: float, stop: float, up: float = 12.0) -> tuple[Image, slice]:
    """The page with white paper over seconds [start, stop) of a lead's cell, and which samples that hides."""
    trace = next(t for t in page.traces if t.strip.lead == lead)
    corners = page.layout.to_mm(trace.strip, np.array([start, stop]), np.array([up, -up]) / trace.strip.gain)
    (x0, y0), (x1, y1) = np.round(page.mm_to_px(corners)).astype(int)
    image = page.image.copy()
    image[y0:y1, x0:x1] = 255
    return image, slice(round(start * trace.fs), round(stop * trace.fs))


def test_hidden_ink_is_nan_and_the_rest_is_as_good_as_before() -> None:
    page = printed("00005", 150)
    image, hidden = blanked(page, "aVF", 3.6, 3.9)
    reading = digitizer.read(image)
    mv = reading.record.lead("aVF")
    assert np.isnan(mv[hidden.start + 10 : hidden.stop - 10]).all()
    assert np.isfinite(mv[1250 : hidden.start - 10]).all()
    assert np.isfinite(mv[hidden.stop + 10 : 2500]).all()
    assert reading.confidence["aVF"] < 0.95 * reading_of("00005", 150).confidence["aVF"]
    whole, part = scored(page, reading_of("00005", 150)), scored(page, reading)
    for before, after in zip(whole.leads, part.leads, strict=True):
        if before.lead != "aVF":
            assert after.unread == 0
            assert after.plain.db > before.plain.db - 3


def test_a_hidden_lead_is_nan_throughout() -> None:
    page = printed("00005", 150)
    image, _ = blanked(page, "V5", 7.45, 10.05)
    reading = digitizer.read(image)
    assert reading.page.layout.name == "3x4+1R"
    assert np.isnan(reading.record.lead("V5")).all()
    assert reading.confidence["V5"] == 0
    assert np.isfinite(reading.record.lead("V4")).sum() == 1250


def test_a_flat_lead_is_read_as_flat() -> None:
    record = sample("00005")
    mv = record.mv.copy()
    mv[record.leads.index("V3")] = 0.0
    page = render(replace(record, mv=mv), dpi=150)
    reading = digitizer.read(page.image)
    flat = reading.record.lead("V3")[2500:3750]
    assert np.isfinite(flat).all()
    assert np.ptp(flat) < 0.02
    assert reading.confidence["V3"] > 0.6


def test_a_short_record_leaves_later_leads_unread() -> None:
    """Paper without ink after 8.6 s: the last column's second half is NaN, not a flat line."""
    record = sample("00005").cut(0, 8.6)
    page = render(record, Layout.named("3x4+1R"), dpi=150)
    reading = digitizer.read(page.image)
    v4 = reading.record.lead("V4")
    assert np.isnan(v4[4320:]).all()
    assert reading.record.mv.shape[1] <= 5000


def test_no_ecg_is_refused() -> None:
    page = printed("00005", 150)
    letters = np.full((900, 700, 3), 255, np.uint8)
    for y in range(40, 880, 23):
        cv2.putText(letters, "lorem ipsum dolor sit amet consectetur", (30, y), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 0, 1)
    for image in (letters, page.image[:300, :300], np.full((500, 500, 3), 77, np.uint8)):
        with pytest.raises(EcgError) as caught:
            digitizer.read(image)
        assert len(str(caught.value)) > 30


# Another program's page.


@dataclass(frozen=True)
class Sheet:
    """A page drawn here with OpenCV at ``over`` times its size and averaged down, nothing taken from the renderer.

    Convention: paper mm (0, 0) is the outer corner of the image, so that mm (x, y) has its place at (x k, y k) counted
    from that corner, in pixels, and the centre of pixel (column c, row r) lies at (c + 0.5, r + 0.5). OpenCV puts the
    centres of the large canvas's own pixels at integers: hence the -0.5 below.
    """

    dpi: float
    x0: float  # mm where the first column starts
    over: int = 8
    pen: float = 0.3

    @property
    def k(self) -> float:
        return self.dpi / 25.4

    def draw(self, record: Record, height: float = 120.0, rows: int = 3, columns: int = 4, gap: float = 32.0) -> Image:
        k, n = self.k, self.over
        size = round(height * k) * n, round((250 + 2 * self.x0) * k) * n
        ink = np.zeros(size, np.uint8)
        for index in range(rows * columns):
            c, r = divmod(index, rows)
            s = np.arange(c * 1250, (c + 1) * 1250 + (c < columns - 1))
            x = (self.x0 + s / record.fs * 25.0) * k * n - 0.5
            y = (24.0 + r * gap - 10.0 * record.mv[index, s]) * k * n - 0.5
            own = np.zeros(size, np.uint8)
            points = np.round(np.stack([x, y], axis=-1) * 256).astype(np.int32)
            cv2.polylines(own, [points], False, 255, round(self.pen * k * n), cv2.LINE_8, 8)
            own[:, : max(0, round(x[0] + 0.5))] = 0  # OpenCV's ends are round; these are cut off straight
            own[:, round(x[-1] + 0.5) :] = 0
            np.maximum(ink, own, out=ink)
            at = round((self.x0 + c * 62.5 + 1.5) * k * n), round((24.0 + r * gap - 11.0) * k * n)
            cv2.putText(ink, record.leads[index], at, cv2.FONT_HERSHEY_SIMPLEX, 0.12 * k * n, 255, round(0.3 * k * n))
        self._pulses(ink, rows, gap)
        grid = np.zeros(size, np.uint8)
        for axis, length in ((1, 250 + 2 * self.x0), (0, height)):
            for mm in range(int(length) + 1):
                wide = 0.2 if mm % 5 == 0 else 0.1
                a, b = (max(0, round((mm + d) * k * n)) for d in (-wide / 2, wide / 2))
                view = grid[:, a:b] if axis else grid[a:b]
                np.maximum(view, 255 if mm % 5 == 0 else 130, out=view)
        small = [cv2.resize(m, (size[1] // n, size[0] // n), interpolation=cv2.INTER_AREA) / 255.0 for m in (ink, grid)]
        paper = 255 - small[1][..., None] * np.array([15.0, 110.0, 120.0])
        return np.round(paper * (1 - small[0][..., None]) + 15 * small[0][..., None]).astype(np.uint8)

    def _pulses(self, ink: Image, rows: int, gap: float) -> None:
        k, n = self.k, self.over
        for r in range(rows):
            y = 24.0 + r * gap
            foot_to_foot = np.array([(-9, 0), (-7.5, 0), (-7.5, -10), (-2.5, -10), (-2.5, 0), (-1.2, 0)])
            points = np.round(((foot_to_foot + np.array([self.x0, y])) * k * n - 0.5) * 256).astype(np.int32)
            cv2.polylines(ink, [points], False, 255, round(self.pen * k * n), cv2.LINE_8, 8)


@pytest.mark.parametrize(("dpi", "x0"), [(120, 15.0), (150, 14.63)])
def test_convention_on_another_programs_page(dpi: float, x0: float) -> None:
    """No time shift: half a pixel, the usual mistake, would be 4.2 ms at 120 dpi and 3.4 ms at 150."""
    record = sample("00005")
    sheet = Sheet(dpi, x0)
    reading = digitizer.read(sheet.draw(record))
    layout = reading.page.layout
    assert layout.name == "3x4"
    assert reading.warnings == ()
    truth = np.full((12, 5000), np.nan, np.float32)
    for index in range(12):
        window = slice(index // 3 * 1250, (index // 3 + 1) * 1250)
        truth[index, window] = record.mv[index, window]
    result = score(replace(record, mv=truth), reading.record, ("plain",))
    assert abs(result.lag_ms) < 0.5
    assert result.value("plain") > 24
    # And on the image: the first strip's zero line starts where it was drawn, in px with centres at integers.
    strip = layout.strips[0]
    x = reading.page.mm_to_px(np.array([[strip.x, strip.y]]))[0, 0]
    assert x == pytest.approx(x0 * sheet.k - 0.5, abs=0.1)


def test_an_r_and_an_s_wave_whose_strokes_run_together_are_both_read() -> None:
    """A pen of half a millimetre fills what lies between them; they were once taken for one wave."""
    record = open_source("samples").load("00001")
    page = render(record, Layout.for_record(record, "12x1"), Style(pen_width=0.55), 200)
    reading = digitizer.read(page.image, reader="analytic")
    assert score(page.record(), reading.record, ("plain",)).value("plain") > 28


# Real files.


def dicom_snr(folder: Path) -> tuple[float, float, Reading]:
    """Plain SNR of a picture that another program drew of a DICOM file: against the file's own samples at 500 Hz, and
    against those samples as that program drew them.

    It draws through a causal second-order 40 Hz low-pass, which delays the picture by 6 ms and takes 3 % off the QRS:
    nothing a reader could know.
    """
    from scipy.signal import butter, lfilter

    pytest.importorskip("pydicom")
    file = folder / "formats" / "dicom_anonymous_ecg.dcm"
    record = open_source("dicom", path=file).load(file.name)
    reading = digitizer.read(folder / "formats" / "dicom_anonymous_ecg_3x4.png")
    drawn = replace(record, mv=lfilter(*butter(2, 40 / (record.fs / 2)), record.mv, axis=1))
    figures = []
    for truth in (record.resample(500), drawn.resample(500)):
        powers = []
        for lead in truth.leads:
            read = reading.record.lead(lead) if lead in reading.record.leads else np.full(5000, np.nan)
            printed = np.isfinite(read)
            powers.append(plain_power(np.where(printed, truth.lead(lead)[: read.size], np.nan), read))
        figures.append(pool(powers).db)
    return figures[0], figures[1], reading


def test_dicom_picture(shared_data: Path) -> None:
    own, drawn, reading = dicom_snr(shared_data)
    print(f"plain SNR {own:.2f} dB against the file, {drawn:.2f} dB against what was drawn of it")
    assert len(reading.record.leads) == 12
    assert own > 7 and drawn > 18


def test_real_scans_are_read_or_refused(shared_data: Path) -> None:
    files = sorted((shared_data / "scans").iterdir(), key=lambda file: file.stat().st_size)
    assert files
    for file in files[:21:5]:  # benchmarks/scans.py takes them all
        try:
            reading = digitizer.read(file)
        except EcgError:
            continue
        assert reading.record.leads
        assert all(0 <= value <= 1 for value in reading.confidence.values())
