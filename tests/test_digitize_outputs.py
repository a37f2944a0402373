"""What a reading leaves on disk beyond samples and picture: DICOM, a web page, and gaps filled in plain sight."""

from __future__ import annotations

import base64
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from digitizer.dicom import write_dicom
from digitizer.fill import filled
from digitizer.pipeline import Reading
from ecg_image_kit import STANDARD_LEADS, Layout, Page, Record, Style, open_source, render
from ecg_image_kit.errors import RecordError, UsageError

GAPS = {"I": (0, 40), "V1": (300, 425), "aVF": (100, 150)}  # samples of a lead's own window


def page_of(record: Record, form: str) -> Page:
    layout = Layout.for_record(record, form, sheet="strip", top=10, bottom=5)
    return render(record, layout, Style(header="none"), 80)


def reading(form: str = "3x4+1R", gaps: dict[str, tuple[int, int]] = GAPS) -> Reading:
    """A page as if it had been read, but for some gaps."""
    page = page_of(open_source("samples").load("00005"), form)
    traces = []
    for trace in page.traces:
        mv = trace.mv.copy()
        if trace.strip.lead in gaps:
            a, b = gaps[trace.strip.lead]
            mv[a:b] = np.nan
        traces.append(replace(trace, mv=mv))
    page = replace(page, traces=tuple(traces), meta={"record": "scan", "file": "<b>scan & co.png"})
    return Reading(page, page.record(), dict.fromkeys(page.record().leads, 0.9) | {"V1": 0.2}, {"speed": "25 <mm/s>"})


def test_filled_gaps_are_straight_and_said(tmp_path: Path) -> None:
    before = reading()
    after = filled(before)
    fs = before.record.fs
    expected = {  # lead: [start, stop) samples of the record
        "V1": [round(5.0 * fs) + 300, round(5.0 * fs) + 425], "aVF": [round(2.5 * fs) + 100, round(2.5 * fs) + 150],
    }  # fmt: skip
    for lead in before.record.leads:
        old, new = before.record.lead(lead), after.record.lead(lead)
        changed = np.flatnonzero(np.isnan(old) & ~np.isnan(new))
        assert changed.tolist() == (list(range(*expected[lead])) if lead in expected else [])
        assert np.array_equal(old[~np.isnan(old)], new[~np.isnan(old)])
        if lead in expected:
            a, b = expected[lead]
            assert np.abs(np.diff(new[a - 1 : b + 1], 2)).max() < 1e-6
    assert np.isnan(after.record.lead("I")[:40]).all()  # nothing before it to draw a line from
    assert np.isnan(after.record.lead("V1")[: round(5.0 * fs)]).all()  # not printed there
    assert np.isnan(after.page.traces[2].mv).any()
    report = json.loads(after.save(tmp_path / "scan", ("json",))[0].read_text())
    for lead, status in report["leads"].items():
        a, b = expected.get(lead, (0, 0))
        assert status["filled_s"] == ([[a / fs, b / fs]] if b else [])
        assert status["filled_share"] == pytest.approx((b - a) / (2.5 * fs), rel=0.01)
    assert report["leads"]["V1"]["read_share"] == pytest.approx(1 - 125 / (2.5 * fs), rel=0.01)
    assert after.warnings == (f"filled by straight lines, not read: V1 {125 / fs:g} s, aVF {50 / fs:g} s",)
    plain = json.loads(before.save(tmp_path / "plain", ("json",))[0].read_text())
    assert "filled" not in json.dumps(plain)
    assert filled(reading(gaps={})).warnings == ()
    unread = filled(reading("3x4", gaps={"V2": (0, 10_000)}))
    assert np.isnan(unread.record.lead("V2")).all()


def test_filled_gaps_do_not_reach_across_what_is_not_printed() -> None:
    """A lead that is printed at the beginning and at the end has no gap between."""
    one = reading("3x4", {})
    first = next(trace for trace in one.page.traces if trace.strip.lead == "I")
    last = replace(first, start=7.5, strip=replace(first.strip, start=7.5, stop=10.0))
    page = replace(one.page, traces=(*one.page.traces, last))
    both = filled(Reading(page, page.record(), {}, {}))
    fs = both.record.fs
    assert np.isnan(both.record.lead("I")[round(2.6 * fs) : round(7.4 * fs)]).all()
    assert not np.isnan(both.record.lead("I")[round(7.6 * fs) : round(9.9 * fs)]).any()


@pytest.mark.parametrize("form", ["3x4", "12x1"])
def test_dicom_round_trip(form: str, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    one = reading(form)
    (path,) = one.save(tmp_path / "scan", ("dicom",))
    assert path == tmp_path / "scan.dcm"
    back = open_source("dicom", path=path).load(path.name)
    assert back.leads == one.record.leads
    assert back.fs == one.record.fs
    assert np.array_equal(np.isnan(back.mv), np.isnan(one.record.mv))
    assert np.nanmax(np.abs(back.mv - one.record.mv)) < 0.00051
    ds = pydicom.dcmread(path)
    assert ds.SOPClassUID == pydicom.uid.TwelveLeadECGWaveformStorage
    assert ds.Modality == "ECG"
    assert not any(str(ds[name].value) for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate"))
    assert ds.WaveformSequence[0].WaveformOriginality == "DERIVED"
    assert ds.WaveformAnnotationSequence[0].UnformattedTextValue == "digitized from paper"
    assert "WaveformPaddingValue" in ds.WaveformSequence[0]


def test_dicom_of_what_was_filled_says_so(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    (path,) = filled(reading()).save(tmp_path / "scan", ("dicom",))
    texts = [item.UnformattedTextValue for item in pydicom.dcmread(path).WaveformAnnotationSequence]
    assert any(text.startswith("filled by straight lines, not read: V1 ") for text in texts)


def test_general_dicom_of_other_leads(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    mv = np.random.default_rng(1).normal(0, 0.5, (5, 600)).astype(np.float32)
    few = Record(("I", "V3R", "-aVR", "X", "MCL1"), mv, 250.0, "few")
    write_dicom(few, tmp_path / "few.dcm")
    back = open_source("dicom", path=tmp_path / "few.dcm").load("few.dcm")
    assert back.leads == few.leads
    assert np.abs(back.mv - few.mv).max() < 0.00051
    ds = pydicom.dcmread(tmp_path / "few.dcm")
    assert ds.SOPClassUID == pydicom.uid.GeneralECGWaveformStorage
    assert "WaveformPaddingValue" not in ds.WaveformSequence[0]
    long = Record(STANDARD_LEADS, np.zeros((12, 20_000), np.float32), 500.0)  # more than a 12-lead ECG may have
    write_dicom(long, tmp_path / "long.dcm")
    assert pydicom.dcmread(tmp_path / "long.dcm").SOPClassUID == pydicom.uid.GeneralECGWaveformStorage


def test_dicom_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydicom")
    with pytest.raises(RecordError, match=r"exceeds ±32.7 mV"):
        write_dicom(Record(("I",), np.full((1, 10), 40.0, np.float32), 500.0, "r"), tmp_path / "a.dcm")
    for fs in (100.0, 2000.0):
        with pytest.raises(UsageError, match="expected 200 to 1000 for DICOM"):
            write_dicom(Record(("I",), np.zeros((1, 10), np.float32), fs), tmp_path / "a.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UsageError, match=r"writing DICOM needs pydicom: pip install .*\[formats\]"):
        write_dicom(Record(("I",), np.zeros((1, 10), np.float32), 500.0), tmp_path / "a.dcm")
    assert not list(tmp_path.iterdir())


class Elements(HTMLParser):
    """The elements of a page, and its text; every element must be closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.cells.append(data.strip())


def test_web_page(tmp_path: Path) -> None:
    one = filled(replace(reading(), warnings=("gain 10 <script>alert(1)</script> & assumed",)))
    (path,) = one.save(tmp_path / "scan", ("html",))
    text = path.read_text("utf-8")
    page = Elements(text)
    assert not page.open
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "b"})
    assert not re.findall(r"https?:|//\w|url\(|@import", re.sub(r"base64,[^\"]+", "", text))
    assert ("title", {}) in page.tags
    assert "<b>scan & co.png" in page.cells  # as text
    assert "gain 10 <script>alert(1)</script> & assumed" in page.cells
    assert "25 <mm/s>" in page.cells
    for lead in STANDARD_LEADS:
        assert page.cells.count(lead) == 1
    assert ("td", {"class": "n bad"}) in page.tags  # the doubtful lead
    assert sum(attrs == {"class": "n bad"} for _, attrs in page.tags) == 1
    (image,) = [attrs for tag, attrs in page.tags if tag == "img"]
    start, data = str(image["src"]).split(",")
    assert start == "data:image/jpeg;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert picture.shape == one.page.image.shape
    assert np.abs(picture.astype(int) - one.overlay()).mean() < 4


def test_the_web_pages_picture_is_not_larger_than_a_screen_needs() -> None:
    from digitizer.webpage import _jpeg

    data = _jpeg(np.full((1000, 6000, 3), 200, np.uint8))
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (400, 2400, 3)
