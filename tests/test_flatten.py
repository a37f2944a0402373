"""Sheets that are bent or seen at an angle: the map found from the grid, against the exact one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import digitizer
from digitizer import GridNotFound, network
from digitizer import flatten as module
from digitizer.flatten import _sheet, flatten
from digitizer.locate import darkness, locate
from digitizer.metrics import score
from ecg_image_kit import Layout, Page, Record, Style, open_source, render
from ecg_image_kit.effects import apply
from ecg_image_kit.recipes import recipe_of
from ecg_image_kit.warp import Homography


@pytest.fixture(scope="module")
def record() -> Record:
    return open_source("samples").load("00003")


def errors(
    page: Page, ink: Callable[[NDArray[np.uint8], float], NDArray[np.uint8]] | None = None
) -> NDArray[np.float64]:
    """(N,) mm between true places of the traces and those in the flattened image, but for where that begins."""
    flat = flatten(page.image, ink)
    mm = np.concatenate([page.mm(t)[page.visible(t)][::10] for t in page.traces])
    found = (flat.to_source.inverse(page.mm_to_px(mm)) + 0.5) / flat.px_per_mm
    off = found - mm
    # Which line is 0 is arbitrary, but it is one of the 5 mm lines.
    start = np.median(off, axis=0)
    assert np.abs((start + 2.5) % 5 - 2.5).max() < 0.15
    return np.linalg.norm(off - start, axis=1)


@pytest.mark.parametrize(
    "effects",
    [
        ["Perspective(tilt=25, pan=-12)"],
        ["Curl(rise=15, shape=arch)", "Perspective(tilt=10)"],
        ["Curl(rise=12, shape=s)", "Lens(strength=-0.04)", "Rotation(degrees=6)", "Desk"],
        ["Folds(pattern=quarters, angle=5)", "Perspective(tilt=-15)", "Shadow", "Desk(surface=wood)"],
    ],
    ids=["seen at an angle", "arched", "bent in an S, turned, distorted", "folded, in shadow"],
)
def test_the_map_of_a_bent_sheet(record: Record, effects: list[str]) -> None:
    page = apply(render(record, dpi=150), [*effects, "Lamp"], seed=3, severity=0.4)
    off = errors(page)
    assert np.median(off) < 0.06
    assert np.percentile(off, 90) < 0.25


@pytest.mark.parametrize("style", [Style(minor="none"), Style(grid="blue"), Style(grid="grey", minor="dots")])
def test_grids_of_every_kind(record: Record, style: Style) -> None:
    page = apply(render(record, style=style, dpi=130), ["Curl(rise=8)", "Perspective(tilt=15)"], seed=1)
    assert np.median(errors(page)) < 0.12


def test_beats_above_each_other_are_no_lines_of_the_grid(record: Record) -> None:
    """Twelve rows whose beats stand in columns bend the map by whole millimetres, unless it is told where ink is."""
    page = render(record, Layout.for_record(record, "12x1"), Style(grid="blue", minor="dots", pen_width=0.5), 150)
    page = apply(page, recipe_of("photo-hard").draw(np.random.default_rng(2), 0.5))
    assert np.percentile(errors(page), 90) > 0.5
    off = errors(page, partial(network.traces, net=network.load(network.WEIGHTS, 1)))
    assert np.median(off) < 0.04
    assert np.percentile(off, 99) < 0.2


def test_a_large_photograph_is_searched_at_a_fraction_of_its_size(record: Record) -> None:
    page = apply(render(record, dpi=300), ["Curl(rise=10)", "Perspective(tilt=15)"], seed=2)
    flat = flatten(page.image)
    assert 9 < flat.px_per_mm < 14
    assert np.median(errors(page)) < 0.06


@pytest.mark.parametrize("right", ["_LONGER_FIRST", "_LONGER"])
def test_the_search_takes_what_more_of_the_picture_agrees_on(
    record: Record, monkeypatch: pytest.MonkeyPatch, right: str
) -> None:
    """A screen's pixels may pass for a grid at one size of the picture, and not at another."""
    page = apply(render(record, dpi=200), ["Perspective(tilt=12)"], seed=1)
    small, shrink = module._reduced(page.image, module._LONGER)
    true = module._surfaces

    def look(dark: NDArray[np.float32], *smaller: float) -> Any:
        return (*true(dark, *smaller)[:2], 0.4) if max(dark.shape) == getattr(module, right) else ([], 1.0, 0.3)

    monkeypatch.setattr(module, "_surfaces", look)
    (surfaces, k, share), other = module._searched(page.image, darkness(small), shrink)
    assert share == 0.4 and other[2] == 0.3
    # Whichever size was looked at, the map is one of ``small``: as wide as the part of the sheet that is seen.
    ends = np.array([[0.3, 0.5], [0.7, 0.5]]) * small.shape[1::-1]
    wide = np.diff(surfaces[0](ends[:, 0], ends[:1, 1])[0])[0]
    assert abs(wide) == pytest.approx(abs(np.diff(page.mm_to_px.inverse(ends * shrink)[:, 0])[0]), rel=0.02)
    assert k == pytest.approx(abs(0.4 * small.shape[1] / wide), rel=0.1)


def test_what_most_of_the_smaller_picture_agrees_on_suffices(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    page = apply(render(record, dpi=200), ["Perspective(tilt=12)"], seed=1)
    true, sizes = module._surfaces, []

    def look(dark: NDArray[np.float32], *smaller: float) -> Any:
        sizes.append(max(dark.shape))
        return true(dark, *smaller)

    monkeypatch.setattr(module, "_surfaces", look)
    assert np.median(errors(page)) < 0.06
    assert sizes == [module._LONGER_FIRST]


def test_a_map_that_leads_nowhere_gives_way_to_the_other(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    page = apply(render(record, dpi=200), ["Perspective(tilt=12)"], seed=1)
    true = module._surfaces

    def look(dark: NDArray[np.float32], *smaller: float) -> Any:
        surfaces, k, _ = true(dark, *smaller)
        if max(dark.shape) == module._LONGER:
            return surfaces, k, 0.3
        return [replace(s, coefficients=50 * s.coefficients) for s in surfaces], k / 50, 0.4  # a sheet of 10 metres

    monkeypatch.setattr(module, "_surfaces", look)
    assert np.median(errors(page)) < 0.06


@pytest.mark.parametrize("share", [0.36, 0.42, 0.6])
def test_a_sheet_on_a_wide_desk(record: Record, share: float) -> None:
    """Where it fills little of the picture its grid is fine there, and twice or three times its pitch seems to fit."""
    page = apply(render(record, dpi=150), ["Curl(rise=8)", "Perspective(tilt=15)", "Lamp"], seed=3, severity=0.4)
    height, width = page.image.shape[:2]
    desk = np.random.default_rng(1).normal((120, 100, 80), 6, (round(height / share), round(width / share), 3))
    desk = cv2.GaussianBlur(desk.clip(0, 255).astype(np.uint8), (0, 0), 2)
    top, left = (desk.shape[0] - height) // 2, (desk.shape[1] - width) // 2
    desk[top : top + height, left : left + width] = page.image
    moved = Homography.affine(1, 0, left, 0, 1, top)
    assert np.median(errors(replace(page, image=desk, mm_to_px=page.mm_to_px.then(moved)))) < 0.1


def test_a_screen_seen_at_an_angle_is_not_taken_for_flat(record: Record) -> None:
    """Of its grid only lines 5 mm apart are seen at first; they are nearly, but not quite, evenly spaced."""
    effects = ["Perspective(tilt=5, pan=-6)", "ScreenPhoto", "Defocus(radius=0.2)"]
    page = apply(render(record, style=Style(grid="grey"), dpi=170), effects, seed=0)
    grid = locate(page.image)
    assert grid.period_mm == 5.0 and grid.share > 0.8 and not grid.flat
    assert np.percentile(errors(page), 90) < 0.1


def bends(rng: np.random.Generator, rms: float, reach: float) -> NDArray[np.float64]:
    """(240, 320) mm, smooth over so many mm, on nodes 0.8 mm apart."""
    field = cv2.GaussianBlur(rng.normal(size=(240, 320)), (0, 0), reach / 0.8)
    return np.asarray(rms * field / np.sqrt(np.mean(field**2)), np.float64)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("bent", "better"), [(0.0, 0.2), (0.03, 0.65), (0.3, 1.0)])
def test_noise_of_the_map_goes_and_the_bends_of_the_sheet_stay(bent: float, better: float, seed: int) -> None:
    """Of a sheet on a screen, in the hand, and crumpled: what is left of the noise, as a share of it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:240, :320] / 300.0
    true = 250 * x + 9 * y - 4 * x * y + 2 * x**2 * y + bends(rng, bent, 9.0 if bent < 0.1 else 7.0)
    noise = bends(rng, 0.015, 2.4)
    after = module._quiet(true + noise, np.ones((240, 320), np.float32), 1 / 0.8) - true
    assert np.sqrt(np.mean(after**2)) < better * 0.015


def test_where_no_grid_is_seen_a_bent_map_goes_on_as_it_did() -> None:
    """Not as a polynomial, which leads anywhere from there."""
    rng = np.random.default_rng(0)
    x = np.mgrid[:240, :320][1] / 300.0
    true, seen = 250 * x + bends(rng, 0.3, 7.0), np.ones((240, 320), np.float32)
    true[:, 220:] += 0.02 * np.arange(100)  # mm
    seen[:, 220:] = 0
    after = module._quiet(true + bends(rng, 0.015, 2.4), seen, 1 / 0.8)
    assert np.abs(after - true).max() < 0.15


def test_a_map_that_folds_when_it_is_made_smooth_stays_as_it_was(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = apply(render(record, dpi=120), ["Perspective(tilt=20)"], seed=1)
    monkeypatch.setattr(module, "_quiet", lambda field, *_: np.abs(field - np.median(field)))
    assert np.median(errors(page)) < 0.06


def test_the_map_of_a_flat_screen_is_exact_to_a_few_micrometres(record: Record) -> None:
    """Although its pixels make moire of the grid's lines."""
    page = render(record, Layout.for_record(record, "6x2"), dpi=180)
    page = apply(page, recipe_of("photo-screen").draw(np.random.default_rng(5), 0.3))
    assert np.percentile(errors(page), 80) < 0.03


def test_what_has_no_grid_is_refused() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (600, 800, 3), dtype=np.uint8)
    white = np.full((600, 800, 3), 255, np.uint8)
    for image in (noise, white, noise[:150, :150], np.repeat(white[:1], 20, axis=1)):
        with pytest.raises(GridNotFound):
            flatten(image)


def test_a_bent_sheet_is_read(record: Record) -> None:
    """What the reader of flat sheets alone refuses, or reads at no more than noise."""
    bend = ["Curl(rise=10, shape=arch)", "Perspective(tilt=14)", "Lamp(strength=0.5)"]
    page = apply(render(record, dpi=200), bend, seed=5)
    reading = digitizer.read(page.image)
    assert "laid flat" in reading.notes["grid"]["evidence"]
    assert reading.page.layout.name == page.layout.name
    assert score(page.record(), reading.record).value("plain") > 14
    # The map leads back to the photograph: the traces found lie on those that were drawn.
    found = reading.page.px(reading.page.traces[0])
    true = page.px(page.traces[0])
    near = np.nanmin(np.linalg.norm(found[::50, None] - true[None], axis=2), axis=1)
    assert np.nanmedian(near) < 1.0


@pytest.mark.parametrize("row", [198, 199, 200, 201])
def test_traces_lead_from_one_part_in_which_the_grid_is_seen_to_another(row: int) -> None:
    """Glare hides it between them. Where it is not seen nothing is known; what stands elsewhere is another sheet."""
    seen = np.zeros((100, 200), np.float32)
    seen[20:80, 20:120] = seen[20:80, 140:180] = seen[85:98, 140:180] = 1.0
    traces = np.zeros((400, 800), bool)
    first = seen.copy()
    first[:, 120:] = first[80:] = 0
    assert np.array_equal(_sheet(seen, traces), first > 0)
    traces[row : row + 2, 300:700] = True  # from column 75 of the nodes to 175
    both = seen.copy()
    both[80:] = 0
    assert np.array_equal(_sheet(seen, traces), both > 0)
