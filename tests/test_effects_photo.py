"""Scene, light, optics and sensor: nothing moves, what is hidden is known, the sheet stays what it was."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from ecg_image_kit import Page, open_source, render
from ecg_image_kit.effects import EFFECTS, Range, apply, draw
from ecg_image_kit.effects.geometry import Pad, Perspective
from ecg_image_kit.effects.light import Flash, Glare, Shadow
from ecg_image_kit.effects.optics import Defocus, MotionBlur
from ecg_image_kit.effects.scene import Desk, OtherSheet, ScannerBed
from ecg_image_kit.effects.things import Clip, Finger
from ecg_image_kit.page import Box, _within

MODULES = ("scene", "things", "light", "optics")
NAMES = [name for name, kind in EFFECTS.items() if kind.__module__.split(".")[-1] in MODULES]
STILL = [name for name in NAMES if EFFECTS[name].stage != "scene"]
AROUND = [Desk(surface=s) for s in ("wood", "cloth", "plain", "laminate", "steel", "keyboard", "papers", "dark")]
AROUND += [ScannerBed(lid=s) for s in ("white", "grey", "black")] + [OtherSheet(paper=s) for s in ("ecg", "text")]


@pytest.fixture(scope="module")
def page():
    source = open_source("samples")
    return render(source.load(next(iter(source.names()))), dpi=60)


@pytest.fixture(scope="module")
def framed(page):
    """A sheet seen at a slant, with something around it."""
    return apply(page, [Perspective(tilt=10, pan=5, margin=0.2, zoom=1.0)], seed=1)


def drawn(effect, severity=0.6, seed=3):
    return draw(effect, np.random.default_rng(seed), severity)


def within(page, box):
    """(H, W) bool: the pixels whose centres lie in a box."""
    y, x = np.indices(page.image.shape[:2])
    mm = page.mm_to_px.inverse(np.stack([x.ravel(), y.ravel()], axis=-1))
    return _within(mm, box.outline).reshape(page.image.shape[:2])


@pytest.mark.parametrize("name", NAMES)
def test_a_drawn_effect_gives_the_same_bytes_and_leaves_its_input(framed, name):
    effect = drawn(EFFECTS[name]())
    before, boxes = framed.image.copy(), len(framed.boxes)
    first, second = effect.paint(framed), effect.paint(framed)
    assert np.array_equal(first.image, second.image)
    assert [b.outline.tolist() for b in first.boxes] == [b.outline.tolist() for b in second.boxes]
    assert np.array_equal(framed.image, before) and len(framed.boxes) == boxes
    assert first.image.shape == before.shape and first.image.dtype == np.uint8
    assert not np.array_equal(first.image, before)
    assert first.mm_to_px is framed.mm_to_px
    other = replace(effect, seed=effect.seed + 1).paint(framed).image
    if any(f.name == "amount" for f in fields(effect)) and effect.stage == "sensor" and "Noise" in name:
        assert not np.array_equal(first.image, other)


def offset(name, severity, seed):
    """Mean px by which an effect moves the ink of a nearly horizontal line, over all phases of the pixel grid."""
    width, height, fine = 1400, 240, 8
    large = np.full((height * fine, width), 255, np.uint8)
    centre = 118.0 + 0.013 * np.arange(width)
    rows = (np.arange(height * fine) + 0.5) / fine - 0.5
    large[np.abs(rows[:, None] - centre) < 1.2] = 20
    clean = Page.of_image(cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA), 200)
    image = drawn(EFFECTS[name](), severity, seed).paint(clean).image
    reach = 26 if EFFECTS[name].stage == "optics" else 9
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)
    around = np.arange(-reach, reach + 1)
    middle = np.round(centre).astype(int)
    window = grey[middle + around[:, None], np.arange(width)]
    edge = np.clip((around / reach + 1) / 2, 0, 1)[:, None]
    ink = window[:2].mean(axis=0) * (1 - edge) + window[-2:].mean(axis=0) * edge - window
    inner = slice(100, -100)
    total = ink.sum(axis=0)[inner]
    seen = total > 0.4 * np.median(total)
    moved = middle + (ink * around[:, None]).sum(axis=0) / np.maximum(ink.sum(axis=0), 1e-6) - centre
    return float(moved[inner][seen].mean())


@pytest.mark.parametrize("name", STILL)
def test_ink_stays_where_it_is(name):
    assert max(abs(offset(name, 0.6, seed)) for seed in (1, 2)) < 0.05


@pytest.mark.parametrize("effect", [Defocus(radius=1.5, uneven=0.0), MotionBlur(length=4.0, direction=90.0),
                                    MotionBlur(length=4.0, direction=31.0)])  # fmt: skip
def test_large_kernels_are_centred(effect):
    image = np.zeros((161, 161, 3), np.uint8)
    image[79:84, 76:81] = 255
    soft = drawn(effect).paint(Page.of_image(image, 200)).image[..., 0].astype(float)
    y, x = np.indices(soft.shape)
    # The light stays, and so does its centre.
    assert soft.sum() == pytest.approx(25 * 255, rel=0.06)
    assert (soft * x).sum() / soft.sum() == pytest.approx(78, abs=0.05)
    assert (soft * y).sum() / soft.sum() == pytest.approx(81, abs=0.05)
    along = np.hypot(x - 78, y - 81)
    spread = 4.0 if isinstance(effect, MotionBlur) else 1.5
    assert along[soft > 3].max() > 0.35 * spread * 200 / 25.4


@pytest.mark.parametrize("effect", AROUND, ids=lambda e: "-".join(map(str, e.to_json()[type(e).__name__].values())))
def test_what_is_around_leaves_the_sheet_alone(framed, effect):
    out = drawn(effect).paint(framed)
    inner = np.zeros(out.image.shape[:2], np.uint8)
    w, h = framed.layout.width, framed.layout.height
    corners = framed.mm_to_px(np.array([[0, 0], [w, 0], [w, h], [0, h]]))
    cv2.fillPoly(inner, [np.round(corners).astype(np.int32)], 255)
    core = cv2.erode(inner, np.ones((7, 7), np.uint8)) > 0
    assert np.array_equal(out.image[core], framed.image[core])
    outside = cv2.dilate(inner, np.ones((5, 5), np.uint8)) == 0
    assert np.any(out.image[outside] != framed.image[outside])
    if isinstance(effect, Desk):
        assert (out.image[outside] != 255).any(axis=1).mean() > 0.99
    assert drawn(effect).paint(replace(framed, image=framed.image[80:200, 100:300],
                                       mm_to_px=framed.mm_to_px)).image.shape == (120, 200, 3)  # fmt: skip


def test_a_sheet_that_fills_the_picture_has_no_desk(page):
    for effect in (Desk(), ScannerBed(), OtherSheet()):
        assert drawn(effect).paint(page).image is page.image


def test_the_desk_shows_through_holes_and_tears(page):
    hole = np.array([[30.0, 30.0], [50.0, 30.0], [50.0, 45.0], [30.0, 45.0]])
    for kind in ("hole", "tear"):
        torn = replace(page, boxes=(*page.boxes, Box(kind, hole, hides=True)))
        dark = drawn(Desk(surface="dark")).paint(torn).image
        x, y = np.round(page.mm_to_px(np.array([[40.0, 37.0]]))[0]).astype(int)
        assert dark[y, x].max() < 80
        x, y = np.round(page.mm_to_px(np.array([[60.0, 37.0]]))[0]).astype(int)
        assert np.array_equal(dark[y - 5 : y + 5, x - 5 : x + 5], page.image[y - 5 : y + 5, x - 5 : x + 5])


@pytest.mark.parametrize("effect", [Finger(reach=25, count=1), Finger(reach=15, count=2),
                                    Clip(kind="paperclip", reach=18), Clip(kind="binder", reach=20)])  # fmt: skip
def test_boxes_cover_what_lies_on_the_sheet(framed, effect):
    white = replace(framed, image=np.full_like(framed.image, 255))
    black = replace(framed, image=np.zeros_like(framed.image))
    for seed in (1, 2, 3):
        one = drawn(effect, seed=seed)
        on_white, on_black = one.paint(white), one.paint(black)
        # Opaque is what looks the same whatever is under it.
        opaque = np.abs(on_white.image.astype(int) - on_black.image).max(axis=2) < 8
        boxes = on_white.boxes[len(framed.boxes) :]
        assert boxes and all(b.hides and b.kind in ("finger", "clip") for b in boxes)
        hidden = np.any([within(framed, b) for b in boxes], axis=0)
        assert opaque.sum() > 20
        assert not (opaque & ~hidden).any()
        # ... and not much more than that.
        touched = np.abs(on_white.image.astype(int) - on_black.image).max(axis=2) < 250
        assert (hidden & ~cv2.dilate(touched.astype(np.uint8), np.ones((5, 5))).astype(bool)).sum() == 0


@pytest.mark.parametrize("effect", [Glare(strength=1.2, kind="window"), Glare(strength=1.2, kind="lamp"),
                                    Flash(core=1.2, size=0.1)])  # fmt: skip
def test_where_glare_saturates_there_is_a_box(framed, effect):
    black = replace(framed, image=np.zeros_like(framed.image))
    out = drawn(effect).paint(black)
    boxes = [b for b in out.boxes if b.kind == "glare"]
    assert boxes and all(b.hides for b in boxes)
    hidden = np.any([within(framed, b) for b in boxes], axis=0)
    lost, seen = out.image.min(axis=2) > 250, out.image.max(axis=2) < 200
    assert lost.sum() > 50 and (lost & hidden).sum() > 0.98 * lost.sum()
    assert not (seen & hidden).any()
    faint = drawn(replace(effect, **{"strength" if isinstance(effect, Glare) else "core": 0.5})).paint(black)
    assert len(faint.boxes) == len(framed.boxes)


def test_no_thumb_comes_from_nowhere(page):
    """Nobody holds a sheet whose edge is further from the picture's than a hand is long."""
    far = apply(page, [Pad(left=0.5, right=0.5, top=0.5, bottom=0.5)], seed=1)
    assert drawn(Finger(reach=25, count=2)).paint(far).image is far.image


def test_traces_under_a_thumb_cannot_be_seen(page):
    counts = []
    for seed in range(4):
        out = drawn(Finger(reach=60, count=2), seed=seed).paint(page)
        counts.append(sum(int(out.visible(t).sum()) for t in out.traces))
    assert min(counts) < sum(int(page.visible(t).sum()) for t in page.traces)


# What lies around the sheet, and clips, are there or not, whatever the severity.
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("Desk", "OtherSheet", "ScannerBed", "Clip")])
def test_severity_counts(page, name):
    change = [
        np.mean([np.abs(drawn(EFFECTS[name](), s, seed).paint(page).image.astype(int) - page.image).mean()
                 for seed in (1, 2, 3)])
        for s in (0.0, 1.0)
    ]  # fmt: skip
    assert change[0] < 0.35 * change[1]
    assert change[0] < 6


@pytest.mark.parametrize("name", NAMES)
def test_any_image_will_do(name):
    rng = np.random.default_rng(0)
    small = Page.of_image(rng.integers(0, 255, (48, 64), dtype=np.uint8), 72)
    strip = Page.of_image(rng.integers(0, 255, (113, 737, 3), dtype=np.uint8), 72)
    for start in (small, strip):
        for around in ([], [Pad(left=0.2, top=0.3)], [Perspective(tilt=20, pan=-10, margin=0.2)]):
            out = apply(start, [*around, name], seed=5, severity=1.0)
            assert out.image.dtype == np.uint8 and out.image.ndim == 3


def test_softness_and_lamps_blur_a_shadow(page):
    white = replace(page, image=np.full_like(page.image, 255))
    sharp = drawn(Shadow(depth=0.6, kind="edge", softness=0.01, lamps=1)).paint(white).image
    soft = drawn(Shadow(depth=0.6, kind="edge", softness=0.08, lamps=3)).paint(white).image
    steepest = [max(np.abs(np.diff(i[..., 1].astype(int), axis=a)).max() for a in (0, 1)) for i in (sharp, soft)]
    assert sharp.min() < 115 and soft.min() < 115
    assert steepest[1] < 0.5 * steepest[0]


def test_uneven_defocus_is_sharp_somewhere(page):
    out = drawn(Defocus(radius=Range(0.7, 0.7), uneven=1.0), seed=5).paint(page).image
    lost = np.abs(out.astype(int) - page.image).mean(axis=2)
    cells = cv2.resize(lost.astype(np.float32), (12, 8), interpolation=cv2.INTER_AREA)
    assert cells.min() < 0.1 * cells.max()
