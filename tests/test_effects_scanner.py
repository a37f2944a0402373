"""Scanners, copiers, faxes, screens and codecs: they change what is seen, and never where it is."""

import cv2
import numpy as np
import pytest

from ecg_image_kit import Layout, Record, render
from ecg_image_kit.effects import EFFECTS, apply, draw, replay, scanner
from ecg_image_kit.effects.geometry import Pad, Rotation
from ecg_image_kit.effects.hidden import with_lost
from ecg_image_kit.layout import Strip
from ecg_image_kit.page import Page

MODULES = ("scanner", "copier", "codec", "screen")
NAMES = [n for n, kind in EFFECTS.items() if kind.__module__.split(".")[-1] in MODULES]
COLUMNS = 1200


def line_at() -> np.ndarray:
    """(1200,) px where the test line is, in each column: it crosses 16 lines of a standard fax, two of its patterns."""
    return 45.3 + 0.02667 * np.arange(COLUMNS)


def line_page(move: float = 0.0) -> Page:
    """A black line 2.4 px (0.3 mm) wide on white, as at 200 dpi."""
    y = np.arange(130)[:, None]
    at = line_at() + move
    covered = np.clip(np.minimum(y + 0.5, at + 1.2) - np.maximum(y - 0.5, at - 1.2), 0, 1)
    return Page.of_image(np.round(250 - 230 * covered).astype(np.uint8), dpi=200)


def offsets(image: np.ndarray) -> np.ndarray:
    """(columns,) px by which the line is lower than it was drawn; columns that lost it are left out."""
    grey = image.astype(np.float64).mean(axis=2)
    rows = np.round(line_at()).astype(int) + np.arange(-7, 8)[:, None]
    near = grey[rows, np.arange(COLUMNS)]
    ink = np.clip(np.quantile(near, 0.75, axis=0) - 12 - near, 0, None)
    seen = ink.sum(axis=0) > 60
    assert seen.mean() > 0.7
    found = (ink * rows).sum(axis=0)[seen] / ink.sum(axis=0)[seen]
    return found - line_at()[seen]


def colour_page(size: tuple[int, int] = (300, 400)) -> Page:
    """Pink paper with a red grid and dark lines in uneven light, at 200 dpi."""
    image = np.full((*size, 3), (252, 240, 238), np.uint8)
    image[::4], image[:, ::4] = (250, 190, 190), (250, 190, 190)
    image[::20], image[:, ::20] = (235, 130, 130), (235, 130, 130)
    for y in range(30, size[0], 60):
        cv2.line(image, (5, y), (size[1] - 5, y + 7), (25, 22, 30), 2, cv2.LINE_AA)
    light = np.linspace(1.0, 0.8, size[1]) * np.linspace(1.0, 0.9, size[0])[:, None]
    return Page.of_image((image * light[..., None]).astype(np.uint8), dpi=200)


def strip_page(dpi: float) -> Page:
    t = np.arange(2000) / 400
    record = Record(("II",), np.sin(6 * t).astype(np.float32)[None] * 0.3, 400.0)
    return render(record, Layout(160, 40, (Strip("II", 0.0, 5.0, 15.0, 22.0),)), dpi=dpi)


def painted(name: str, page: Page, severity: float, seed: int = 0, **fields: object) -> Page:
    return draw(EFFECTS[name](**fields), np.random.default_rng(seed), severity).paint(page)


def test_the_measure_finds_a_planted_shift():
    assert np.mean(offsets(line_page(0.25).image)) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_lines_stay_where_they_are(name):
    binary = name in ("BlackWhite", "Fax")
    # What a lost fax line or a streak along the trace takes with it cannot be measured.
    fields = {"Fax": {"errors": 0.0}, "ScannerStreaks": {"direction": "vertical"}}.get(name, {})
    for seed in range(4):
        found = offsets(painted(name, line_page(), 0.5, seed, **fields).image)
        # Dirt that lies on the line moves a few columns by much.
        kept = found[np.abs(found - np.median(found)) < 2.5]
        assert kept.size > 0.97 * found.size
        assert abs(np.mean(kept)) < (0.05 if binary else 0.06), seed
        if binary:
            blocks = kept[: kept.size // 40 * 40].reshape(-1, 40).mean(axis=1)
            assert np.mean(np.abs(blocks)) < 0.25, seed


@pytest.mark.parametrize(
    "fields",
    [{"name": "Fax", "method": m, "resolution": r} for m in ("threshold", "dither") for r in ("standard", "fine")]
    + [{"name": "BlackWhite", "method": m} for m in ("fixed", "adaptive", "dither")],
    ids=lambda fields: "-".join(fields.values()),
)
def test_black_and_white_does_not_move_lines(fields):
    if fields["name"] == "Fax":
        fields = {**fields, "errors": 0.0, "feed": "vertical"}
    found = [offsets(painted(page=line_page(), severity=0.5, seed=k, **fields).image) for k in range(4)]
    assert abs(np.mean([f.mean() for f in found])) < 0.05


@pytest.mark.parametrize("name", NAMES)
def test_same_bytes_again_and_input_untouched(name):
    page = apply(colour_page(), [Pad(right=0.1)], seed=1)
    before = page.image.copy()
    effect = draw(EFFECTS[name](), np.random.default_rng(5), 0.8)
    once, again = effect.paint(page), effect.paint(page)
    np.testing.assert_array_equal(once.image, again.image)
    np.testing.assert_array_equal(page.image, before)
    assert once.image.dtype == np.uint8 and once.image.shape == before.shape
    assert (once.image != before).any()
    history = apply(colour_page(), [EFFECTS[name]()], seed=2)
    np.testing.assert_array_equal(replay(colour_page(), history.history).image, history.image)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("severity", [0.0, 1.0])
def test_small_and_odd_pages(name, severity):
    grey = Page.of_image(np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1)), dpi=200)
    flat = Page.of_image(np.full((48, 64), 255, np.uint8), dpi=72)
    black = Page.of_image(np.zeros((40, 50, 3), np.uint8), dpi=300)
    for page in (grey, flat, black, strip_page(72), apply(strip_page(100), [Rotation(degrees=8)], seed=0)):
        out = painted(name, page, severity)
        assert out.image.shape == page.image.shape
        assert out.image.flags["C_CONTIGUOUS"]


def test_large_page():
    page = strip_page(600)
    for name in NAMES:
        assert painted(name, page, 0.7).image.shape == page.image.shape


# Greyscale is what it is: severity does not change it.
@pytest.mark.parametrize("name", [n for n in NAMES if n != "Greyscale"])
def test_severity_grows(name):
    page = colour_page((420, 560))

    def change(severity: float) -> float:
        total = 0.0
        for seed in range(4):
            clean = page.image
            fields: dict[str, object] = {}
            if name in ("BlackWhite", "Fax"):  # against black and white at its best
                fields = {"method": "fixed" if name == "BlackWhite" else "threshold"}
                best = {"dark": 0.0, **({"noise": 0.0} if name == "BlackWhite" else {"errors": 0.0})}
                clean = painted(name, page, severity, seed, **fields, **best).image
            seen = painted(name, page, severity, seed, **fields).image
            total += float(np.abs(seen.mean(axis=2) - clean.mean(axis=2)).mean())
        return total

    assert change(0.0) < 0.6 * change(1.0)


def test_greyscale_has_equal_channels_and_lamps_differ():
    page = colour_page()
    grid, paper = (20, 43), (22, 43)
    level = {}
    for lamp in scanner.LAMPS:
        out = painted("Greyscale", page, 0.5, lamp=lamp).image
        assert (out[..., 0] == out[..., 1]).all() and (out[..., 1] == out[..., 2]).all()
        level[lamp] = int(out[paper][0]) - int(out[grid][0])
    assert level["red"] < 25 and level["green"] > 90


@pytest.mark.parametrize("method", ["fixed", "adaptive", "dither"])
def test_black_white_has_two_levels(method):
    for dark in (-0.3, 0.4):
        out = painted("BlackWhite", colour_page(), 0.5, method=method, dark=dark, lamp="white").image
        assert set(np.unique(out)) == {0, 255}
        assert (out == out[..., :1]).all()


@pytest.mark.parametrize("method", ["fixed", "dither"])
def test_a_dark_threshold_keeps_the_grid(method):
    black = {dark: (painted("BlackWhite", colour_page(), 0.2, method=method, dark=dark, lamp="green").image == 0).mean()
             for dark in (-0.3, 0.4)}  # fmt: skip
    assert black[0.4] > 2 * black[-0.3] > 0


def test_fax_has_fewer_lines():
    noise = np.random.default_rng(0).integers(0, 2, (300, 200), np.uint8) * 255
    for dpi, resolution in ((200, "standard"), (400, "fine")):
        page = Page.of_image(noise, dpi=dpi)
        out = painted("Fax", page, 0.0, resolution=resolution, feed="vertical", method="threshold").image[..., 0]
        changes = (np.diff(out.astype(int), axis=0) != 0).any(axis=1).sum()
        assert changes <= 150
        assert set(np.unique(out)) <= {0, 255}


def test_lost_trace_is_marked_hidden():
    page = strip_page(200)
    trace = page.traces[0]
    assert page.visible(trace).all()
    blank = page.image.copy()
    blank[:, 400:500] = 255
    gone = with_lost(page, blank)
    seen = gone.visible(trace)
    x = page.px(trace)[:, 0]
    assert not seen[(x > 405) & (x < 495)].any()
    assert seen[(x < 395) | (x > 505)].all()
    assert {box.kind for box in gone.boxes[len(page.boxes) :]} == {"dropout"}
    assert len(with_lost(page, page.image).boxes) == len(page.boxes)


def test_fax_errors_hide_only_what_is_lost():
    page = strip_page(200)
    few = painted("Fax", page, 0.5, 3, errors=0.0, method="threshold", resolution="fine", dark=0.0)
    assert few.visible(page.traces[0]).all()
    many = painted("Fax", page, 0.5, 3, errors=0.3, method="threshold", resolution="standard", feed="vertical")
    assert 0.02 < (~many.visible(page.traces[0])).mean() < 0.9


def test_dark_borders_hide_the_trace_below_them():
    page = strip_page(200)
    out = painted("Photocopy", page, 0.5, 1, border=35.0)
    seen = out.visible(page.traces[0])
    assert 0.2 < seen.mean() < 0.9
    assert painted("Photocopy", page, 0.5, 1, border=0.0).visible(page.traces[0]).all()


@pytest.mark.parametrize("filter", ["area", "linear", "nearest"])
def test_downscale_loses_detail_and_not_position(filter):
    found = offsets(painted("Downscale", line_page(), 0.5, dpi=80.0, filter=filter).image)
    assert abs(found.mean()) < 0.05
    fine = np.repeat(np.tile(np.array([0, 255], np.uint8), (60, 60))[..., None], 3, axis=2)
    out = painted("Downscale", Page.of_image(fine, dpi=200), 0.5, dpi=60.0, filter="area")
    assert out.image.std() < 0.3 * fine.std()
    same = painted("Downscale", line_page(), 0.5, dpi=300.0, filter=filter)
    np.testing.assert_array_equal(same.image, line_page().image)


def test_jpeg_generations_add_up_and_stay_in_place():
    page = colour_page()
    error = [cv2.norm(painted("Jpeg", page, 0.5, quality=40, chroma="420", times=n).image, page.image, cv2.NORM_L2)
             for n in (1, 3)]  # fmt: skip
    assert error[1] > error[0]
    assert abs(offsets(painted("Jpeg", line_page(), 0.5, quality=40, chroma="420", times=3).image).mean()) < 0.03


def test_colour_depth_leaves_few_colours():
    out = painted("ColourDepth", colour_page(), 0.5, bits=4.0, dither="diffused").image
    assert len(np.unique(out.reshape(-1, 3), axis=0)) <= 16


def test_auto_contrast_fills_the_range():
    dull = Page.of_image(np.clip(line_page().image // 3 + 90, 0, 255).astype(np.uint8), dpi=200)
    out = painted("AutoContrast", dull, 1.0, amount=1.0, dark=0.001, bright=0.001, channels="together").image
    assert out.min() < 5 and out.max() > 250


def test_the_lid_and_the_bezel_stay_beside_the_sheet():
    page = apply(colour_page(), [Pad(left=0.2, right=0.2, top=0.2, bottom=0.2, grey=255)], seed=0)
    inside = (slice(65, -65), slice(85, -85))
    lid = painted("ScannerBed", page, 0.8, lid="black").image
    np.testing.assert_array_equal(lid[inside], page.image[inside])
    assert lid[:40].mean() < 60
    plain, framed = (painted("ScreenPhoto", page, 0.8, bezel=b).image for b in ("none", "dark"))
    # The frame changes what is around the sheet, and the sheet itself only through the viewer's white beside it.
    assert np.abs(plain[inside].astype(int) - framed[inside]).mean() < 1
    assert framed[52].min() < 45 < plain[52].min()
    assert (painted("ScannerBed", colour_page(), 0.8).image == colour_page().image).all()
