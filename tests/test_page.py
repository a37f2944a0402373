"""Pages: files, masks, maps, the printed record, and truth that stays on the ink when the pixels move."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from ecg_image_kit import STANDARD_LEADS, Homography, Layout, Page, PageError, Record, Style, UsageError, render
from ecg_image_kit.page import read_image
from ecg_image_kit.warp import Points

BARE = Style(grid="none", header="none", label="none", ink=(0, 0, 0))


def ecg(leads: tuple[str, ...] = STANDARD_LEADS, seconds: float = 10.0, fs: float = 500.0) -> Record:
    t = np.arange(round(seconds * fs)) / fs
    peak = np.exp(-(((t % 0.8 - 0.3) / 0.012) ** 2)) + 0.2 * np.sin(2 * np.pi * t)
    return Record(leads, np.stack([peak * (1 - 0.15 * k) for k in range(len(leads))]), fs, "made", {"age": 61})


def with_gaps() -> Record:
    mv = ecg().mv.copy()
    mv[0, 100:200] = np.nan
    mv[5] = np.nan
    return Record(STANDARD_LEADS, mv, 500, "gaps")


@pytest.fixture(scope="module")
def page() -> Page:
    return render(with_gaps(), Layout.named("3x4+1R", order="cabrera"), Style(code="qr", label_box=True), 75)


def same_truth(one: Page, two: Page) -> None:
    assert one.layout == two.layout
    for trace, other in zip(one.traces, two.traces, strict=True):
        assert (trace.strip, trace.start, trace.fs) == (other.strip, other.start, other.fs)
        assert trace.mv.dtype == other.mv.dtype
    for a, b in zip(one.traces, two.traces, strict=True):
        np.testing.assert_array_equal(a.mv, b.mv)
        np.testing.assert_array_equal(one.px(a), two.px(b))
    assert [(box.kind, box.text) for box in one.boxes] == [(box.kind, box.text) for box in two.boxes]
    for c, d in zip(one.boxes, two.boxes, strict=True):
        np.testing.assert_allclose(c.outline, d.outline, atol=1e-4)
    assert Style.of(one.style) == Style.of(two.style)
    assert list(one.history) == list(two.history)
    assert dict(one.meta) == dict(two.meta)


# Files


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp"])
def test_load_gives_the_page_back(tmp_path: Path, page: Page, suffix: str) -> None:
    page.save(tmp_path / f"a.{suffix}")
    assert sorted(os.listdir(tmp_path)) == sorted(["a.json", "a.npz", f"a.{suffix}"])
    for name in (f"a.{suffix}", "a.json"):
        again = Page.load(tmp_path / name)
        same_truth(page, again)
        if suffix == "png":
            np.testing.assert_array_equal(again.image, page.image)
        else:
            assert 0 < np.abs(again.image.astype(float) - page.image).mean() < 6


def test_a_moved_page_is_loaded_with_its_map(tmp_path: Path, page: Page) -> None:
    moved = page.warp(Homography.rotation(3, (400, 300))).warp(
        Homography(np.array([[1, 0.02, 3], [0, 1, 0], [1e-5, 0, 1]]))
    )
    moved.save(tmp_path / "a.png")
    again = Page.load(tmp_path / "a.png")
    same_truth(moved, again)
    assert len(again.history) == 2
    np.testing.assert_array_equal(again.image, moved.image)


def test_the_truth_file_speaks_for_itself(tmp_path: Path, page: Page) -> None:
    page.save(tmp_path / "a.png", record="wfdb,csv", masks=("leads", "grid", "text"))
    truth = json.loads((tmp_path / "a.json").read_text())
    assert (truth["width"], truth["height"]) == page.image.shape[1::-1]
    assert truth["grid"]["px_per_mm"] == pytest.approx(75 / 25.4)
    for entry, strip, trace in zip(truth["traces"], page.layout.strips, page.traces, strict=True):
        known = np.flatnonzero(np.isfinite(trace.mv)) + round(strip.start * 500)
        assert entry["lead"] == strip.lead
        assert entry["samples"] == ([known[0], known[-1] + 1] if known.size else [round(strip.start * 500)] * 2)
        if known.size:
            (x0, y0), _, (x1, y1), _ = entry["box"]
            mm = page.mm(trace)[np.isfinite(trace.mv)]
            assert x0 <= mm[:, 0].min() <= mm[:, 0].max() <= x1
            assert y0 <= mm[:, 1].min() <= mm[:, 1].max() <= y1
        else:
            assert entry["box"] is None
    written = sorted(os.listdir(tmp_path))
    assert written == ["a.csv", "a.dat", "a.grid.png", "a.hea", "a.json", "a.leads.png", "a.npz", "a.png", "a.text.png"]
    for kind in ("leads", "grid", "text"):
        mask = cv2.imread(str(tmp_path / f"a.{kind}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, page.mask(kind))
    page.save(tmp_path / "only" / "b.png", truth=False)
    assert os.listdir(tmp_path / "only") == ["b.png"]


def test_names_with_dots(tmp_path: Path, page: Page) -> None:
    for name in ("rec.1", "rec.2"):
        page.save(tmp_path / f"{name}.png", record="csv")
    assert sorted(os.listdir(tmp_path)) == [f"rec.{k}.{s}" for k in (1, 2) for s in ("csv", "json", "npz", "png")]
    same_truth(Page.load(tmp_path / "rec.2.png"), page)


@pytest.mark.parametrize("fails_at", range(3))
def test_a_failing_write_leaves_no_half_page(
    tmp_path: Path, page: Page, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    calls = iter(range(99))
    real = os.replace

    def replace_(source: str, target: str) -> None:
        if next(calls) == fails_at:
            raise OSError("disk full")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace_)
    with pytest.raises(OSError, match="disk full"):
        page.save(tmp_path / "a.png")
    left = os.listdir(tmp_path)
    assert len(left) == fails_at
    assert "a.png" not in left  # the image comes last: where it is, everything is
    assert not [name for name in left if name.endswith(".part")]


def test_what_cannot_be_loaded_is_said(tmp_path: Path, page: Page) -> None:
    page.save(tmp_path / "a.png")
    text = (tmp_path / "a.json").read_text()

    def broken(message: str) -> None:
        with pytest.raises(PageError, match=message):
            Page.load(tmp_path / "a.png")

    (tmp_path / "a.json").write_text(text.replace('"schema": 1', '"schema": 99'))
    broken("schema 99; this version reads 1")
    (tmp_path / "a.json").write_text(text[:500])
    broken("unreadable truth .* Was it written completely?")
    (tmp_path / "a.json").write_text(text)
    (tmp_path / "a.png").write_bytes(b"no image")
    broken(r"a.png: not an image that can be decoded \(8 bytes\); expected png")
    for name in ("a.png", "a.npz", "a.json"):
        page.save(tmp_path / "a.png")
        (tmp_path / name).unlink()
        broken(f"{name}.*(missing|cannot be read)")
    page.save(tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"image format '.gif'; expected one of png, jpg, webp"):
        page.save(tmp_path / "a.gif")
    with pytest.raises(UsageError, match="record format 'edf'; expected wfdb or csv"):
        page.save(tmp_path / "a.png", record="edf")
    with pytest.raises(UsageError, match="mask 'trace'; expected one of leads, grid, text"):
        page.mask("trace")


def test_images_are_read_as_rgb(tmp_path: Path) -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, :10, 0], image[:, 10:20, 1], image[:, 20:, 2] = 255, 200, 150
    cv2.imwrite(str(tmp_path / "a.bmp"), image[:, :, ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "a.bmp"), image)
    cv2.imwrite(str(tmp_path / "g.png"), image[:, :, 0])
    np.testing.assert_array_equal(read_image(tmp_path / "g.png"), np.repeat(image[:, :, :1], 3, axis=2))
    with pytest.raises(PageError, match="cannot be read"):
        read_image(tmp_path / "none.png")


# The printed record


@pytest.mark.parametrize("name", ["3x4+1R", "3x4", "12x1", "6x2", "4x3"])
@pytest.mark.parametrize("order", ["standard", "cabrera"])
def test_the_printed_record(name: str, order: str) -> None:
    record = ecg(fs=360)
    page = render(record, Layout.named(name, order=order), BARE, 50)
    printed = page.record()
    assert set(printed.leads) == set(STANDARD_LEADS)
    assert printed.fs == 360
    n = np.arange(printed.mv.shape[1]) / 360
    for lead in STANDARD_LEADS:
        windows = [s for s in page.layout.strips if s.lead.lstrip("-") == lead]
        shown = np.any([(n >= s.start - 1e-9) & (n < s.stop - 1e-9) for s in windows], axis=0)
        row = printed.lead(lead)
        np.testing.assert_array_equal(row[shown], record.lead(lead)[: n.size][shown])
        assert np.isnan(row[~shown]).all()
        assert shown.any()


def test_later_sheets_know_when_they_begin() -> None:
    record = ecg(seconds=25.0)
    sheets = Layout.named("3x4+1R").pages(record.duration)
    assert len(sheets) == 3
    for k, layout in enumerate(sheets):
        page = render(record, layout, BARE, 40)
        printed = page.record()
        assert printed.meta["printed_from_s"] == 10.0 * k
        ii = printed.lead("II")
        np.testing.assert_array_equal(ii, record.lead("II")[5000 * k : 5000 * k + ii.size])
        assert ii.size == (5000, 5000, 2500)[k]


# Masks and maps


def ink(page: Page) -> NDArray[np.float64]:
    return (255.0 - page.image[..., 0]) / 255.0


@dataclass(frozen=True)
class Bow:
    """A warp that is no homography: the middle of the page moves down."""

    depth: float
    span: float

    def __call__(self, xy: ArrayLike) -> Points:
        p = np.array(xy, dtype=np.float64)
        p[..., 1] += self.depth * np.sin(np.pi * p[..., 0] / self.span)
        return p

    @property
    def inverse(self) -> Bow:
        return Bow(-self.depth, self.span)

    def to_json(self) -> dict[str, Any]:
        return {"bow": [self.depth, self.span]}


WARPS = {
    "none": None,
    "rotation": Homography.rotation(7.0, (500.0, 300.0)),
    "quarter turn": Homography.affine(0, -1, 950, 1, 0, 0),
    "perspective": Homography(np.array([[0.95, 0.03, 12], [-0.02, 0.97, 20], [2e-5, -1e-5, 1]])),
    "bow": Bow(12.0, 1100.0),
}


def seen(page: Page, warp: str) -> Page:
    w = WARPS[warp]
    return page if w is None else page.warp(w, (1400, 1400) if warp == "quarter turn" else None)


@pytest.mark.parametrize("warp", WARPS)
@pytest.mark.parametrize(("fs", "pen"), [(500.0, 0.45), (100.0, 0.45), (500.0, 0.7)])
def test_lead_masks_lie_on_the_ink(warp: str, fs: float, pen: float) -> None:
    page = render(ecg(fs=fs), Layout.named("6x2", pulse="none"), replace(BARE, pen_width=pen), 100)
    page = seen(page, warp)
    mask, drawn = page.mask("leads"), ink(page) > 0.5
    assert set(np.unique(mask)) == set(range(13))
    overlap = (drawn & (mask > 0)).sum() / (drawn | (mask > 0)).sum()
    assert overlap > 0.8
    aside = page.warp(Homography.affine(1, 0, 0, 0, 1, 1))  # a mask that is one pixel off does not pass
    assert (drawn & (aside.mask("leads") > 0)).sum() / (drawn | (aside.mask("leads") > 0)).sum() < 0.8
    for k, trace in enumerate(page.traces):  # and every label is on its own lead
        px = np.round(page.px(trace)).astype(int)
        at = mask[px[:, 1], px[:, 0]]
        assert (at == k + 1).mean() > 0.9


@pytest.mark.parametrize("warp", WARPS)
def test_truth_stays_on_the_ink(warp: str) -> None:
    """Along the normal of every flat stretch, the ink's centroid against the claimed line."""
    t = np.arange(5000) / 500
    record = Record(("II",), 0.3 * np.sin(2 * np.pi * 0.2 * t)[None], 500)
    layout = Layout.named("1x1", ["II"], sheet=(280.0, 60.0), pulse="none", top=10.0)
    page = seen(render(record, layout, replace(BARE, pen_width=0.5), 100), warp)

    def offset(page: Page) -> tuple[float, float]:
        px = page.px(page.traces[0])[50:-50:20]
        along = np.gradient(px, axis=0)
        normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.linalg.norm(along, axis=1)[:, None]
        step = np.arange(-5, 5.01, 0.1)
        points = (px[:, None] + step[:, None] * normal[:, None]).astype(np.float32)
        ink_there = cv2.remap(ink(page).astype(np.float32), points, None, cv2.INTER_LINEAR)
        errors = (ink_there * step).sum(axis=1) / ink_there.sum(axis=1)
        return float(np.abs(errors.mean())), float(errors.std())

    bias, spread = offset(page)
    assert bias < 0.01
    assert spread < 0.04
    half = replace(page, mm_to_px=page.mm_to_px.then(Homography.affine(1, 0, 0.35, 0, 1, 0.35)))
    assert max(offset(half)) > 0.2


@pytest.mark.parametrize("warp", WARPS)
def test_the_dense_map_is_the_inverse_of_the_map(page: Page, warp: str) -> None:
    page = seen(page, warp)
    height, width = page.image.shape[:2]
    for step in (1, 7):
        mm = page.dense_map(step)
        y, x = np.mgrid[0:height:step, 0:width:step]
        assert mm.shape == (*y.shape, 2)
        np.testing.assert_allclose(page.mm_to_px(mm), np.stack([x, y], -1), atol=1e-3)


@pytest.mark.parametrize("minor", ["line", "dots", "none"])
@pytest.mark.parametrize("warp", ["none", "rotation", "perspective"])
def test_grid_masks_lie_on_the_grid(minor: str, warp: str) -> None:
    style = Style(
        grid="black", minor=minor, minor_width=0.2, major_width=0.4, grid_margin=3.0, header="none", label="none"
    )
    layout = Layout.named("1x1", ["II"], pulse="none", sheet=(120.0, 60.0), top=10.0)
    page = seen(render(Record(("II",), np.full((1, 5000), np.nan), 500), layout, style, 150), warp)
    mask = page.mask("grid")
    dark = 255.0 - page.image.mean(axis=2)
    inside = np.zeros(mask.shape, np.uint8)
    sheet = page.mm_to_px([[3.5, 3.5], [116.5, 3.5], [116.5, 56.5], [3.5, 56.5]])
    cv2.fillPoly(inside, [np.round(sheet).astype(np.int32)], 1)
    use = inside > 0
    paper, fine, bold = (dark[use & (mask == value)].mean() if (mask[use] == value).any() else 0 for value in range(3))
    assert bold > 120 > 25 > paper
    assert (fine > 40) if minor != "none" else fine == 0
    border = np.round(page.mm_to_px([[1.5, 20.0], [40.0, 1.5], [50.0, 58.5]])).astype(int)
    assert not mask[border[:, 1], border[:, 0]].any()
    assert not replace(page, style={**asdict(style), "grid": "none"}).mask("grid").any()


def test_text_masks_cover_the_text(page: Page) -> None:
    mask = page.mask("text")
    assert set(np.unique(mask)) == set(range(len(page.boxes) + 1))
    plain = render(with_gaps(), page.layout, Style(label="none", header="none"), 75)
    changed = (plain.image != page.image).any(axis=2)
    assert changed.sum() > 1000
    assert (mask[changed] > 0).mean() > 0.999  # whatever text and code painted is in a box


def test_masks_and_files_of_a_short_record(tmp_path: Path) -> None:
    page = render(ecg(seconds=4.0), Layout.named("3x4+1R"), Style(), 50)
    page.save(tmp_path / "a.png", masks=("leads", "grid", "text"), record="wfdb,csv")
    same_truth(page, Page.load(tmp_path / "a.png"))
    printed = {k + 1 for k, trace in enumerate(page.traces) if trace.mv.size}
    assert len(printed) == 7  # two columns and the rhythm strip
    assert set(np.unique(page.mask("leads"))) == {0} | printed


def test_warping_resamples_and_fills() -> None:
    page = render(ecg(("I",)), Layout.named("1x1", ["I"]), Style(), 50)
    before = page.image.copy()
    moved = page.warp(Homography.affine(1, 0, 30, 0, 1, 10), (700, 500), (10, 20, 30))
    assert moved.image.shape == (500, 700, 3)
    np.testing.assert_array_equal(moved.image[:10], np.broadcast_to((10, 20, 30), (10, 700, 3)))
    np.testing.assert_array_equal(moved.image[10 : 10 + 400, 30 : 30 + 500], page.image[:400, :500])
    np.testing.assert_array_equal(page.image, before)
    bowed = page.warp(Bow(0.0, 100.0))  # by the way that any warp takes
    np.testing.assert_array_equal(bowed.image, page.image)


def test_an_empty_page_has_no_record(page: Page) -> None:
    for nothing in (replace(page, traces=()), render(ecg(), page.layout.at(30.0), BARE, 40)):
        with pytest.raises(PageError, match="nothing is printed on this page"):
            nothing.record()


def test_transparent_paper_is_white(tmp_path: Path) -> None:
    image = np.zeros((40, 60, 4), np.uint8)
    image[10:20, 10:20] = (0, 0, 255, 255)  # blue, green, red, opaque; all else transparent black
    cv2.imwrite(str(tmp_path / "clear.png"), image)
    read = read_image(tmp_path / "clear.png")
    assert read.shape == (40, 60, 3) and (read[0, 0] == 255).all() and (read[15, 15] == (255, 0, 0)).all()
