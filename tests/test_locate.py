"""Where the grid is: pitch, tilt and which lines are the 5 mm lines; and what is refused, in words."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from digitizer import GridNotFound
from digitizer.locate import Grid, locate
from ecg_image_kit import Homography, Layout, Page, Record, Style, open_source, render
from ecg_image_kit.effects import apply

RNG = np.random.default_rng(5)
Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def record() -> Record:
    return open_source("samples").load("00003")


def off_lattice(grid: Grid, page: Page) -> NDArray[np.float64]:
    """(N, 2) mm by which the page's true 5 mm crossings, all over the image, miss the multiples of 5 of the fit."""
    height, width = page.image.shape[:2]
    x, y = np.meshgrid(np.arange(0, page.layout.width, 5.0), np.arange(0, page.layout.height, 5.0))
    px = page.mm_to_px(np.stack([x.ravel(), y.ravel()], axis=-1))
    inside = (px > 0).all(axis=1) & (px < [width - 1, height - 1]).all(axis=1)
    mm = grid.px_to_mm(px[inside])
    return np.asarray((mm + 2.5) % 5 - 2.5)


def check(page: Page, pitch: float, tilt: float = 0.0, hint: float | None = None) -> Grid:
    """Pitch to 0.02 %, tilt to 0.02 degrees, every crossing to 0.1 px and to the right one of five lines."""
    grid = locate(page.image, hint)
    assert grid.px_per_mm == pytest.approx((pitch, pitch), rel=2e-4)
    assert grid.tilt == pytest.approx(tilt, abs=0.02)
    off = off_lattice(grid, page)
    assert len(off) > 100
    assert np.abs(off).max() * pitch < 0.1
    return grid


@pytest.mark.parametrize("dpi", [72, 100, 131, 200, 300])
def test_pitch_and_phase(record: Record, dpi: float) -> None:
    grid = check(render(record, dpi=dpi), dpi / 25.4)
    assert grid.contrast > 4
    assert grid.residual_mm * dpi / 25.4 < 1


@pytest.mark.parametrize("minor", ["line", "none"])
def test_noise_is_no_bend(record: Record, minor: str) -> None:
    page = render(record, style=Style(minor=minor), dpi=150)
    assert locate(page.image).flat
    assert locate(apply(page, ["SensorNoise(amount=6)", "Fibre"], seed=1).image).flat


def test_neighbouring_places_agree_on_a_bend(record: Record) -> None:
    page = render(record, dpi=150)
    assert not locate(apply(page, ["Curl(rise=5)"], seed=1).image).flat


@pytest.mark.parametrize(("dpi", "blur", "pen"), [(50, 0.8, 0.3), (60, 1.2, 0.5), (75, 1.2, 0.8), (75, 0.0, 1.0)])
def test_a_blurred_pen_is_no_wide_one(record: Record, dpi: float, blur: float, pen: float) -> None:
    """Where lines 1 mm apart are too fine to be seen, those 5 mm apart stay what they are."""
    image = render(record, style=Style(pen_width=pen), dpi=dpi).image
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur) if blur else image, np.uint8)
    assert locate(image).px_per_mm == pytest.approx((dpi / 25.4, dpi / 25.4), rel=0.01)


def test_a_large_page_is_searched_at_a_fraction_of_its_size(record: Record) -> None:
    check(render(record, dpi=450), 450 / 25.4)


@pytest.mark.parametrize(("angle", "dpi"), [(-4, 80), (4, 100), (-1.3, 130), (0.4, 130), (-5, 150), (5, 200)])
def test_tilt(record: Record, angle: float, dpi: float) -> None:
    page = render(record, dpi=dpi)
    height, width = page.image.shape[:2]
    turned = page.warp(Homography.rotation(angle, (width / 2, height / 2)), fill=(128, 120, 110))
    check(turned, dpi / 25.4, angle)


def test_pitch_differs_along_and_across(record: Record) -> None:
    page = render(record, dpi=150)
    height, width = page.image.shape[:2]
    page = page.warp(Homography.affine(0.985, 0, 0.2, 0, 1.015, 0.4), (round(width * 0.985), round(height * 1.015)))
    grid = locate(page.image)
    assert grid.px_per_mm == pytest.approx((0.985 * 150 / 25.4, 1.015 * 150 / 25.4), rel=2e-4)
    assert np.abs(off_lattice(grid, page)).max() * 6 < 0.1


@pytest.mark.parametrize(
    "style",
    [
        *(Style(grid=name) for name in ("pink", "orange", "brown", "blue", "green", "grey", "black")),
        Style(minor="dots"), Style(minor="none"), Style(paper=(250, 240, 214), grid="brown", minor="dots"),
        Style(grid_margin=7, header="none", label="none"), Style(code="qr", separator="line"),
    ],
    ids=lambda s: f"{s.grid}-{s.minor}-{s.header}-{s.separator}",
)  # fmt: skip
def test_looks(record: Record, style: Style) -> None:
    check(render(record, style=style, dpi=150), 150 / 25.4)


def test_evidence_tells_kinds_of_grid_apart(record: Record) -> None:
    assert locate(render(record, dpi=150).image).evidence.startswith("minor and major lines: 1 mm is ")
    assert locate(render(record, style=Style(minor="none"), dpi=150).image).evidence.startswith("major lines only")


def test_grey_noisy_and_dim(record: Record) -> None:
    """A grey copy in bad light, with the noise of a cheap sensor, saved as JPEG."""
    page = render(record, dpi=150)
    grey = page.image.mean(axis=2, keepdims=True).repeat(3, axis=2)
    shade = np.linspace(0.55, 0.95, grey.shape[1])[None, :, None]
    noisy = np.clip(grey * shade + RNG.normal(0, 5, grey.shape), 0, 255).astype(np.uint8)
    ok, data = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert ok
    image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    grid = locate(image)
    assert grid.px_per_mm == pytest.approx((150 / 25.4,) * 2, rel=3e-4)


def test_hint_decides_between_pitches(record: Record) -> None:
    page = render(record, dpi=150)
    true = 150 / 25.4
    for hint in (true * 0.98, true * 1.02):
        check(page, true, hint=hint)
    with pytest.raises(GridNotFound, match=rf"between {true * 1.6 * 5 * 0.97:.0f} and {true * 1.6 * 5 * 1.03:.0f} px"):
        locate(page.image, true * 1.6)


def test_the_same_grid_on_a_page_with_little_on_it() -> None:
    leads = Record(("II",), np.zeros((1, 5000), np.float32), 500.0)
    check(render(leads, Layout.for_record(leads, pulse="none"), Style(header="none"), dpi=120), 120 / 25.4)


def noise(shape: tuple[int, ...]) -> Image:
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


def gradient() -> Image:
    """Like a photograph: smooth light, and soft shapes of every size."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[0:600, 0:800]
    image = 90 + 100 * np.sin(x / 310) * np.cos(y / 270)
    for size in (5, 17, 60):
        image = image + 40 * cv2.resize(rng.normal(0, 1, (600 // size + 1, 800 // size + 1)), (800, 600))
    return np.clip(image, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


@pytest.mark.parametrize(
    "image",
    [noise((700, 900, 3)), np.full((700, 900, 3), 255, np.uint8), np.zeros((700, 900, 3), np.uint8), gradient()],
    ids=["noise", "white", "black", "photograph"],
)
def test_no_grid_is_refused_with_what_to_do(image: Image) -> None:
    with pytest.raises(GridNotFound) as caught:
        locate(image)
    message = str(caught.value)
    assert "--px-per-mm" in message
    assert "px (best " in message


def test_a_page_without_grid_is_refused(record: Record) -> None:
    with pytest.raises(GridNotFound):
        locate(render(record, style=Style(grid="none"), dpi=150).image)


@pytest.mark.parametrize("shape", [(1, 1, 3), (99, 2000, 3), (2000, 60, 3)])
def test_tiny_images_are_refused_with_their_size(shape: tuple[int, ...]) -> None:
    with pytest.raises(GridNotFound, match=rf"{shape[1]} x {shape[0]} px; expected at least 100"):
        locate(np.full(shape, 200, np.uint8))


def test_a_page_on_its_side_is_not_taken_for_tilted(record: Record) -> None:
    page = render(record, dpi=100)
    height, width = page.image.shape[:2]
    turned = page.warp(Homography.rotation(20, (width / 2, height / 2)))
    with pytest.raises(GridNotFound):
        locate(turned.image)


def dotted(record: Record, share: float, keep: tuple[bool, bool] = (True, True)) -> tuple[Page, Image]:
    """A black and white page of which a ``share`` of the grid's dots is left, and whole families if ``keep``."""
    page = render(record, style=Style(minor="none", pen_width=0.3), dpi=200)
    bare = render(record, style=Style(grid="none", pen_width=0.3), dpi=200).image
    grid = (page.image.min(axis=2) < bare.min(axis=2) - 10).astype(np.uint8)
    upright, level = (cv2.morphologyEx(grid, cv2.MORPH_OPEN, np.ones(size, np.uint8)) for size in ((25, 1), (1, 25)))
    lines = (upright if keep[0] else 0 * upright) | (level if keep[1] else 0 * level)
    left = (lines > 0) & (np.random.default_rng(8).random(grid.shape) < share)
    black = (bare.min(axis=2) < 128) | left
    return page, np.repeat(np.where(black, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def test_dots_that_are_left_of_a_grid_are_enough(record: Record) -> None:
    """4 % of them: no band of the page shows a line by itself."""
    page, image = dotted(record, 0.04)
    grid = locate(image)
    assert grid.px_per_mm == pytest.approx((200 / 25.4, 200 / 25.4), rel=5e-4)
    off = off_lattice(grid, page)
    assert np.percentile(np.abs(off), 95) < 0.15
    with pytest.raises(GridNotFound):
        locate(dotted(record, 0.0)[1])


@pytest.mark.parametrize("axis", [0, 1])
def test_lines_of_one_direction_give_the_pitch_of_both(record: Record, axis: int) -> None:
    page, image = dotted(record, 0.5, (axis == 0, axis == 1))
    grid = locate(image)
    assert "one direction" in grid.evidence
    assert grid.px_per_mm == pytest.approx((200 / 25.4, 200 / 25.4), rel=5e-4)
    assert abs(grid.tilt) < 0.05
    assert np.abs(off_lattice(grid, page)[:, axis]).max() < 0.1  # which lines there are, is known


@pytest.mark.parametrize(("dpi", "degrees"), [(100, 18), (150, 14), (150, 45), (200, 30), (200, 35)])
def test_the_lattices_other_lines_are_no_grid(record: Record, dpi: int, degrees: float) -> None:
    page = render(record, dpi=dpi)
    height, width = page.image.shape[:2]
    turned = page.warp(Homography.rotation(degrees, (width / 2, height / 2)))
    with pytest.raises(GridNotFound, match="tilted by"):
        locate(turned.image)


def test_paper_drawn_unevenly_is_followed_where_1_mm_lines_lose_count(record: Record) -> None:
    """The speed of paper varies by some per cent; lines 1 mm apart then run out of step, those 5 mm apart do not."""
    page = apply(render(record, dpi=200), ["Transport"], seed=3, severity=0.6)
    grid = locate(page.image)
    assert grid.uneven is not None
    x, y = np.meshgrid(np.arange(40, page.layout.width - 40, 5.0), np.arange(40, page.layout.height - 40, 5.0))
    flat = grid.px_to_mm(page.mm_to_px(np.stack([x.ravel(), y.ravel()], axis=-1)))
    mm = grid.uneven.inverse(flat)

    def off(at: NDArray[np.float64]) -> float:
        return float(np.abs((at[:, 0] + 2.5) % 5 - 2.5).max())

    assert off(mm) < 0.06
    assert off(flat) > 2 * off(mm)


@pytest.mark.parametrize(("shape", "every"), [((104, 1500), 40), ((160, 1500), 60), ((300, 1500), 100)])
def test_narrow_strips_of_paper(shape: tuple[int, int], every: int) -> None:
    """Three lines or so in one direction; read or refused, but in words."""
    image = np.full((*shape, 3), 255, np.uint8)
    image[::every], image[:, ::every] = 120, 120
    try:
        grid = locate(image)
    except GridNotFound:
        return
    assert grid.px_per_mm[0] * 5 / every == pytest.approx(round(grid.px_per_mm[0] * 5 / every), rel=0.01)


def test_a_long_blank_strip_is_refused() -> None:
    with pytest.raises(GridNotFound, match="no 5 mm period"):
        locate(np.full((150, 11400, 3), 255, np.uint8))
