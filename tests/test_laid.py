"""Coloured notes that hide a part of a sheet, and what must not be taken for one."""

from __future__ import annotations

import numpy as np
import pytest

import digitizer
from digitizer.laid import notes_of
from ecg_image_kit import Layout, Page, Style, open_source, render
from ecg_image_kit.effects import apply

K = 5.9  # px per mm of 150 dpi


def page_of(style: Style | None = None) -> Page:
    record = open_source("samples").load("00005")
    return render(record, Layout.for_record(record, "3x4+1R"), style or Style(), 150)


def inside(page: Page, kind: str) -> np.ndarray:
    """(H, W) what the outline of a box of that kind encloses."""
    import cv2

    mask = np.zeros(page.image.shape[:2], np.uint8)
    for box in page.boxes:
        if box.kind == kind:
            cv2.fillPoly(mask, [np.round(page.mm_to_px(np.asarray(box.outline))).astype(np.int32)], 1)
    return mask > 0


@pytest.mark.parametrize("colour", ["yellow", "pink", "blue"])
def test_a_note_is_found_where_it_is(colour: str) -> None:
    page = apply(page_of(), [f"StickyNote(count=1, size=45, over=1, colour={colour})"], seed=4)
    found, true = notes_of(page.image, 150 / 25.4), inside(page, "note")
    assert found[true].mean() > 0.97
    assert found[~true].mean() < 0.01


@pytest.mark.parametrize(
    "effects",
    [[], ["Highlighter(count=6)"], ["CoffeeStain"], ["Shadow"], ["Stamp"], ["Handwriting"], ["Glare"], ["Vignette"]],
)
def test_what_is_no_note(effects: list[str]) -> None:
    page = apply(page_of(), effects, seed=2, severity=0.7)
    assert not notes_of(page.image, page.px_per_mm).any()


@pytest.mark.parametrize("tint", [(1.0, 0.95, 0.5), (1.0, 1.0, 0.4), (0.6, 1.0, 0.7), (1.0, 0.6, 0.8)])
@pytest.mark.parametrize("grid", ["red", "grey", "blue"])
def test_a_coloured_field_with_the_grid_in_it_is_no_note(grid: str, tint: tuple[float, float, float]) -> None:
    image = page_of(Style(grid=grid)).image.astype(np.float32)
    image[300:700, 400:900] *= np.array(tint, np.float32)  # the paper's own, or a transparent foil
    assert not notes_of(image.astype(np.uint8), 150 / 25.4).any()
    image[300:700, 400:900] = 240 * np.array(tint)
    assert notes_of(image.astype(np.uint8), 150 / 25.4)[320:680, 420:880].all()


@pytest.mark.parametrize("x", [30, 180, 272])
@pytest.mark.parametrize("y", [20, 178])
def test_a_note_may_lie_anywhere(x: int, y: int) -> None:
    """Pages are no whole number of tiles wide."""
    image, k = page_of().image.copy(), 150 / 25.4
    part = slice(int(y * k), int((y + 24) * k)), slice(int(x * k), int((x + 22) * k))
    image[part] = (250, 230, 90)
    assert notes_of(image, k)[part].mean() > 0.97


def test_pages_that_are_too_small_to_tell() -> None:
    image, k = page_of().image, 150 / 25.4
    for wide, tall in ((8, 8), (30, 39), (300, 9)):
        small = image[: int(tall * k), : int(wide * k)].copy()
        small[small.shape[0] // 4 :, small.shape[1] // 4 :, 2] //= 2
        assert not notes_of(small, k).any()


def test_what_is_written_on_a_note_is_not_read() -> None:
    page = apply(page_of(), ["StickyNote(count=1, size=45, over=1, colour=yellow, pen=black)"], seed=4)
    hidden, reading = inside(page, "note"), digitizer.read(page.image)
    for trace in reading.page.traces:
        px = reading.page.px(trace)
        x, y = np.round(px[np.isfinite(px).all(axis=1)]).astype(int).T
        on = hidden[y.clip(0, hidden.shape[0] - 1), x.clip(0, hidden.shape[1] - 1)]
        assert on.sum() < 25  # samples, at its edges
