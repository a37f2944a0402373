"""Marks: what is added lies within its boxes, hides only if it is opaque, and is the same for the same drawn effect."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ecg_image_kit import Box, Layout, Page, Record, Style, render
from ecg_image_kit.effects import EFFECTS, Effect, apply, draw, effect_of
from ecg_image_kit.effects import handwriting as hw
from ecg_image_kit.effects.phrases import phrase
from ecg_image_kit.effects.writing import _peaks

NAMES = [name for name, kind in EFFECTS.items() if kind.stage == "marks"]
OPAQUE = {"Sticker", "StickyNote", "Redaction"}


def ecg(leads: tuple[str, ...], seconds: float = 10.0) -> Record:
    t = np.arange(round(seconds * 250)) / 250
    beat = np.exp(-(((t % 0.8 - 0.3) / 0.012) ** 2)) + 0.25 * np.exp(-(((t % 0.8 - 0.55) / 0.04) ** 2))
    return Record(leads, np.stack([beat * (1 - 0.1 * k) for k in range(len(leads))]), 250.0, "made")


@lru_cache(maxsize=4)
def sheet(dpi: float = 100.0) -> Page:
    leads = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    return render(ecg(leads), style=Style(header="columns"), dpi=dpi)


@lru_cache(maxsize=1)
def strip() -> Page:
    return render(ecg(("II",)), Layout.named("1x1", leads=("II",)), Style(header="none"), 100)


def drawn(name: str, seed: int, severity: float = 1.0) -> Effect:
    return draw(EFFECTS[name](), np.random.default_rng(seed), severity)


def changed(before: Page, after: Page, by: int = 24) -> NDArray[np.bool_]:
    """(H, W) pixels that clearly differ."""
    return np.asarray(cv2.absdiff(before.image, after.image).max(axis=2) > by)


def inside(page: Page, boxes: list[Box]) -> NDArray[np.bool_]:
    """(H, W) pixels whose centres are in a box, or half a pixel from it."""
    out = np.zeros(page.image.shape[:2], np.uint8)
    for box in boxes:
        cv2.fillPoly(out, [np.rint(page.mm_to_px(box.outline) * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    return out.astype(bool)


def added(before: Page, after: Page) -> list[Box]:
    assert after.boxes[: len(before.boxes)] == before.boxes
    return list(after.boxes[len(before.boxes) :])


@pytest.mark.parametrize("name", NAMES)
def test_every_mark_is_boxed_and_repeats(name: str) -> None:
    page = sheet()
    before = page.image.copy()
    seen = set()
    for seed in range(3):
        effect = drawn(name, seed)
        after = effect.paint(page)
        assert (page.image == before).all()
        assert (effect_of(effect.to_json()).paint(page).image == after.image).all()  # type: ignore[arg-type]
        boxes = added(page, after)
        differs = changed(page, after, 32)
        assert boxes and differs.any()
        within = inside(page, boxes)
        # The shadow beside a sticky note is the only thing that may reach beyond.
        assert (differs & within).sum() >= (0.9 if name == "StickyNote" else 0.97) * differs.sum()
        for box in boxes:
            assert np.isfinite(box.outline).all() and len(box.outline) >= 3
            on = ((box.outline >= -1) & (box.outline <= [page.layout.width + 1, page.layout.height + 1])).all(axis=1)
            assert on.mean() > 0.7, box.kind
            assert (changed(page, after, 6) & inside(page, [box])).any(), box.kind
        seen.add(after.image.tobytes())
        assert (apply(page, [effect]).image == after.image).all()
    assert len(seen) == 3


@pytest.mark.parametrize("name", NAMES)
def test_only_opaque_marks_hide(name: str) -> None:
    page = sheet(72)
    for seed in range(3):
        after = drawn(name, seed).paint(page)
        hiding = [box for box in added(page, after) if box.hides]
        assert bool(hiding) == (name in OPAQUE)
        if not hiding:  # what is transparent makes nothing brighter
            dark = Page(np.zeros_like(page.image), page.layout, page.traces, page.boxes, page.mm_to_px)
            assert not drawn(name, seed).paint(dark).image.any()


def test_outlines_of_stickers_are_what_they_cover() -> None:
    """What hides leaves nothing of the page within its outline, and the rest as it was."""
    page = sheet()
    noise = np.random.default_rng(3).integers(0, 2, page.image.shape[:2], np.uint8)[..., None] * np.full(
        3, 255, np.uint8
    )
    noisy = Page(noise, page.layout, page.traces, page.boxes, page.mm_to_px)
    for name in ("Sticker", "Redaction"):
        after = drawn(name, 1).paint(noisy)
        hidden = inside(noisy, [box for box in added(noisy, after) if box.hides]).astype(np.uint8)
        core = cv2.erode(hidden, np.ones((5, 5))).astype(bool)
        rest = ~cv2.dilate(hidden, np.ones((11, 11))).astype(bool)
        assert core.sum() > 500
        assert (after.image[core] == noise[core]).mean() < 0.55  # as alike as two coins
        assert np.abs(after.image[rest].astype(int) - noise[rest]).mean() < 2.0


@pytest.mark.parametrize("name", NAMES)
def test_severity_is_how_much(name: str) -> None:
    page = sheet(72)
    none = drawn(name, 5, 0.0).paint(page)
    amounts = [sum(int(changed(page, drawn(name, seed, s).paint(page)).sum()) for seed in range(6)) for s in (0.4, 1.0)]
    assert changed(page, none).mean() < 0.0005
    assert amounts[1] > amounts[0]


@pytest.mark.parametrize("name", NAMES)
def test_any_page_will_do(name: str) -> None:
    grey = np.random.default_rng(0).integers(180, 255, (48, 64), np.uint8)
    pages = (
        Page.of_image(grey),
        Page.of_image(grey[:9, :11]),
        Page.of_image(np.full((300, 200, 3), 240, np.uint8), 20),
    )
    for page in (*pages, strip(), sheet(72)):
        for seed in range(2):
            after = drawn(name, seed).paint(page)
            assert after.image.shape == page.image.shape and after.image.dtype == np.uint8
            assert changed(page, after, 3).any()


def test_a_millimetre_is_one_at_every_resolution() -> None:
    """The same effect draws the same marks at 72 and at 200 dpi."""
    coarse, fine = sheet(72), sheet(200)
    for name in ("Handwriting", "Circled", "Redaction"):
        effect = drawn(name, 2)
        a, b = (added(page, effect.paint(page)) for page in (coarse, fine))
        assert [(box.kind, box.text) for box in a] == [(box.kind, box.text) for box in b]
        sizes = [np.array([np.ptp(box.outline, axis=0) for box in boxes]) for boxes in (a, b)]
        assert np.abs(sizes[0] - sizes[1]).max() < 1.2


def test_hands_differ_and_keep_their_habits() -> None:
    rng = np.random.default_rng(0)
    for family in hw.FAMILIES:
        one, other = hw.hand_of(family, rng), hw.hand_of(family, rng)
        shapes = [hw.write("mind", hand, np.random.default_rng(seed))[0] for hand, seed in
                  ((one, 1), (one, 2), (other, 1))]  # fmt: skip
        width = [float(np.ptp(np.vstack(strokes)[:, 0])) for strokes in shapes]
        assert abs(width[0] - width[1]) < 0.25 * width[0]
        for strokes in shapes:
            p = np.vstack(strokes)
            assert p.shape[1] == 3 and (p[:, 2] > 0).all() and (p[:, 2] <= 1).all()
        assert len(shapes[0]) != len(shapes[2]) or not np.allclose(shapes[0][0][:3], shapes[2][0][:3])


def test_cursive_letters_are_joined() -> None:
    strokes = {}
    for family in ("print", "cursive"):
        counts = [len(hw.write("nun", hw.hand_of(family, np.random.default_rng(k)), np.random.default_rng(k))[0])
                  for k in range(12)]  # fmt: skip
        strokes[family] = np.mean(counts)
    assert strokes["cursive"] < 2 < 2.5 < strokes["print"]


def test_phrases_are_many_and_filled() -> None:
    rng = np.random.default_rng(0)
    phrases = [phrase(rng) for _ in range(500)]
    assert len(set(phrases)) > 250
    assert not any("{" in text or "}" in text for text in phrases)
    assert all(len(phrase(rng, longest=8, lines=1)) <= 8 for _ in range(50))


def test_peaks_are_the_beats() -> None:
    page = strip()
    trace = page.traces[0]
    at = trace.s[_peaks(trace)]
    assert len(at) >= 10 and np.abs((at - 0.3 + 0.4) % 0.8 - 0.4).max() < 0.02
