"""What the network learns from: everything that is drawn lies where the picture has it, and nothing else is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from digitizer import patches
from digitizer.network import LABEL_STRIDE, PX_PER_MM
from digitizer.patches import LABELS, Lesson, Mixture, Patch, cut, flatten_page, jitter, varied
from ecg_image_kit import Layout, Page, Record, Style, UsageError, open_source, render
from ecg_image_kit.effects import apply
from ecg_image_kit.page import Box
from ecg_image_kit.recipes import RECIPES

D = NDArray[np.float64]
BARE = Style(grid="none", header="none")
MARGIN = 5.0  # mm around the sheet


@pytest.fixture(scope="module")
def record() -> Record:
    return open_source("samples").load("00001")


@pytest.fixture(scope="module")
def page(record: Record) -> Page:
    """Black on white: traces, pulses and lead names."""
    return render(record, Layout.for_record(record, "3x4+1R"), BARE, dpi=200)


@pytest.fixture(scope="module")
def lesson(page: Page) -> Lesson:
    return flatten_page(page, np.random.default_rng(3))  # one with a large error


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are laid flat without an error: mm on the sheet are where they should be."""
    monkeypatch.setattr(patches, "_error", lambda size, rng: np.zeros_like)


def dark(lesson: Lesson) -> D:
    return np.asarray(255.0 - lesson.image.mean(axis=2), np.float64)


def centre(ink: NDArray[np.number]) -> D:
    """x, y px of an image's ink."""
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]]
    return np.array([(x * ink).sum(), (y * ink).sum()]) / ink.sum()


def offsets(target: NDArray[np.number], ink: D, side: int = 32) -> D:
    """(N, 2) px from the ink's centroid to the target's in every square of a page that has enough of both."""
    found = []
    for top in range(0, ink.shape[0], side):
        for left in range(0, ink.shape[1], side):
            at = np.s_[top : top + side, left : left + side]
            if target[at].sum() > 20 * 255 and ink[at].sum() > 20 * 255:
                found.append(centre(target[at]) - centre(ink[at]))
    return np.array(found)


@pytest.mark.parametrize("bent", [False, True])
def test_targets_lie_on_the_ink(record: Record, bent: bool) -> None:
    drawn = render(record, Layout.for_record(record, "3x4+1R"), replace(BARE, label="none"), dpi=200)
    if bent:  # without shading, which moves centroids
        drawn = apply(drawn, ["Curl(shape=wave)", "Lamp(strength=0)", "Perspective(tilt=15)", "Rotation(degrees=3)"])
    for seed in range(3):
        flat = flatten_page(drawn, np.random.default_rng(seed))
        target = flat.ink.max(axis=2)
        off = offsets(target, dark(flat))
        assert len(off) > 300
        assert (np.abs(np.median(off, axis=0)) < 0.03).all()
        for axis in (0, 1):  # a planted error of half a pixel, which lines show only in part
            moved = cv2.warpAffine(target, np.float32([[1, 0, 0.5 * (axis == 0)], [0, 1, 0.5 * (axis == 1)]]), None)
            assert np.median(offsets(moved, dark(flat)), axis=0)[axis] > 0.12
        near = cv2.GaussianBlur(target.astype(np.float64), (0, 0), 2.0) > 5
        assert dark(flat)[~near].sum() < 0.01 * dark(flat).sum()  # nothing is left out, and nothing invented
        assert target[cv2.GaussianBlur(dark(flat), (0, 0), 2.0) < 5].sum() < 0.01 * target.sum()


def test_targets_are_drawn_by_a_pen_of_standard_width(record: Record) -> None:
    flat = record.mv.copy()
    flat[:] = 0.0
    for pen in (0.2, 0.6):
        layout = Layout.for_record(record, "12x1", pulse="none")
        made = render(replace(record, mv=flat), layout, replace(BARE, label="none", pen_width=pen), dpi=200)
        ink = flatten_page(made, np.random.default_rng(0)).ink[..., 0]
        columns = ink[:, 400:1900].sum(axis=0) / 255 / 12 / PX_PER_MM  # mm of ink for each trace
        assert float(np.median(columns)) == pytest.approx(patches.PEN, abs=0.01)


def pulse_boxes(page: Page) -> Iterator[tuple[slice, slice]]:
    """Where each pulse is, px, and a millimetre more."""
    for mark in page.layout.pulses:
        mm = mark.outline(page.layout.speed)
        (x0, y0), (x1, y1) = (mm.min(axis=0) - 1 + MARGIN) * PX_PER_MM, (mm.max(axis=0) + 1 + MARGIN) * PX_PER_MM
        yield np.s_[int(y0) : int(y1), int(x0) : int(x1)]


@pytest.mark.usefixtures("exact")
def test_pulses_and_traces_are_apart(page: Page) -> None:
    flat = flatten_page(page, np.random.default_rng(0))
    trace, pulse = flat.ink[..., 0], flat.ink[..., 1]
    boxes = list(pulse_boxes(page))
    assert len(boxes) == 4
    inside = np.zeros(trace.shape, bool)
    for box in boxes:
        inside[box] = True
        assert pulse[box].any()
    assert not pulse[~inside].any()
    assert not (trace[inside & (pulse > 0)] > 0).any()
    no_traces = replace(page, traces=())
    np.testing.assert_array_equal(flatten_page(no_traces, np.random.default_rng(0)).ink[..., 1], pulse)
    assert not flatten_page(no_traces, np.random.default_rng(0)).ink[..., 0].any()


@pytest.mark.parametrize("lean", [-0.02, 0.02])
def test_leaning_pulses_lie_on_the_ink(page: Page, lean: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page laid flat a little askew has pulses whose strokes are not upright."""

    rows, columns = next(pulse_boxes(page))
    rows = slice(rows.start + 16, rows.stop - 16)  # of the strokes alone
    middle = (columns.start + columns.stop) // 2

    def wrong(px: D) -> D:
        return np.stack([lean * (px[:, 1] - (rows.start + rows.stop) / 2) / PX_PER_MM, np.zeros(len(px))], axis=-1)

    monkeypatch.setattr(patches, "_error", lambda size, rng: wrong)
    flat = flatten_page(page, np.random.default_rng(0))
    ink, target = dark(flat), flat.ink[..., 1]
    for side in (slice(columns.start, middle), slice(middle, columns.stop)):
        tops = []
        for part in (slice(rows.start, rows.start + 8), slice(rows.stop - 8, rows.stop)):
            tops.append(centre(target[part, side])[0])
            assert tops[-1] == pytest.approx(centre(ink[part, side])[0], abs=0.1)
        assert tops[0] - tops[1] == pytest.approx(lean * (rows.stop - rows.start - 8), abs=0.15)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("order", ["standard", "cabrera"])
def test_labels_have_the_right_class_at_the_right_place(record: Record, order: str) -> None:
    made = render(record, Layout.for_record(record, "6x2", order=order), replace(BARE, label_font="serif"), dpi=100)
    flat = flatten_page(made, np.random.default_rng(0))
    assert flat.labels.shape == (flat.image.shape[0] // LABEL_STRIDE, flat.image.shape[1] // LABEL_STRIDE)
    boxes = [box for box in made.boxes if box.kind == "label"]
    assert len(boxes) == 12 and {LABELS[k] for k in np.unique(flat.labels)} == {"", *(box.text for box in boxes)}
    for box in boxes:
        mine = flat.labels == LABELS.index(box.text)
        middle = (box.outline.mean(axis=0) + MARGIN) * PX_PER_MM
        # A cell's middle is that of the pixels it stands for.
        np.testing.assert_allclose(centre(mine) * LABEL_STRIDE + (LABEL_STRIDE - 1) / 2, middle, atol=LABEL_STRIDE / 2)
        wide, tall = np.ptp(box.outline, axis=0) * PX_PER_MM / LABEL_STRIDE
        assert wide * tall * 0.7 < mine.sum() < (wide + 2) * (tall + 2)


def test_labels_lie_on_the_letters(page: Page, lesson: Lesson) -> None:
    """With an error in laying it flat, too."""
    letters = dark(lesson) * (cv2.dilate(lesson.ink.max(axis=2), np.ones((15, 15))) == 0)
    fine = cv2.resize(lesson.labels, letters.shape[::-1], interpolation=cv2.INTER_NEAREST)
    assert letters[fine > 0].sum() > 0.9 * letters.sum()
    for k in range(1, 13):
        y, x = np.nonzero(fine == k)
        at = np.s_[y.min() - 8 : y.max() + 9, x.min() - 8 : x.max() + 9]
        if k != LABELS.index("II"):  # it stands there twice
            assert (np.abs(centre(letters[at]) - centre(fine[at] == k)) < 4).all(), LABELS[k]


@pytest.mark.usefixtures("exact")
def test_what_is_hidden_is_not_drawn(page: Page) -> None:
    first = next(box for box in page.boxes if box.kind == "label" and box.text == "I")
    (x0, y0), (x1, y1) = page.layout.pulses[0].outline(25.0).min(axis=0) - 6, first.outline.max(axis=0) + 15
    sticker = Box("sticker", np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), hides=True)
    whole = flatten_page(page, np.random.default_rng(0))
    part = flatten_page(replace(page, boxes=(*page.boxes, sticker)), np.random.default_rng(0))
    left, top, right, bottom = (round((v + MARGIN) * PX_PER_MM) for v in (x0, y0, x1, y1))
    under, rim = np.s_[top + 2 : bottom - 1, left + 2 : right - 1], np.s_[top - 2 : bottom + 3, left - 2 : right + 3]
    assert whole.ink[under][..., 0].any() and whole.ink[under][..., 1].any()
    assert not part.ink[under].any()
    for lesson, other in ((whole, part), (part, whole)):
        lesson.ink[rim] = other.ink[rim]
    np.testing.assert_allclose(whole.ink, part.ink.astype(float), atol=1)
    one = LABELS.index("I")
    assert (whole.labels == one).any() and not (part.labels == one).any()
    np.testing.assert_array_equal(np.where(whole.labels == one, 0, whole.labels), part.labels)


def test_what_is_cut_off_is_not_drawn(page: Page) -> None:
    cropped = apply(page, ["Crop(left=0.4, right=0, top=0, bottom=0)"])
    flat, whole = (flatten_page(p, np.random.default_rng(0)) for p in (cropped, page))
    edge = round((0.4 * page.layout.width + MARGIN) * PX_PER_MM)
    assert flat.image.shape == whole.image.shape
    assert not flat.ink[:, : edge - 40].any() and not flat.labels[:, : (edge - 40) // LABEL_STRIDE].any()
    np.testing.assert_allclose(flat.ink[:, edge + 40 :], whole.ink[:, edge + 40 :].astype(float), atol=1)
    np.testing.assert_array_equal(flat.labels[:, edge // 4 + 10 :], whole.labels[:, edge // 4 + 10 :])


def test_same_seed_same_bytes(record: Record) -> None:
    def made(seed: int) -> list[bytes]:
        rng = np.random.default_rng(seed)
        lesson = flatten_page(Mixture(dpi=(60, 90)).page(record, rng), rng)
        pieces = list(cut(lesson, rng, count=3, size=64))
        return [lesson.image.tobytes(), *(jitter(p.image, rng).tobytes() + p.ink.tobytes() for p in pieces)]

    assert made(5) == made(5)
    assert made(5) != made(6)


def coded(height: int = 320, width: int = 384) -> Lesson:
    """Every pixel says where it is."""
    y, x = np.mgrid[:height, :width]
    ink = np.stack([y // 2, x // 2], axis=-1).astype(np.uint8)
    labels = (7 * y + x)[::LABEL_STRIDE, ::LABEL_STRIDE].astype(np.uint8)
    return Lesson(np.concatenate([ink, 0 * ink[..., :1]], axis=-1), ink, labels, np.array([[300.0, 20.0]]))


def upright(piece: Patch) -> Patch:
    """Turned back, clockwise."""
    image, ink, labels = piece.image, piece.ink, piece.labels
    for _ in range(piece.turn):
        image, ink = (np.asarray(cv2.rotate(part, cv2.ROTATE_90_CLOCKWISE)) for part in (image, ink))
        labels = np.asarray(cv2.rotate(labels, cv2.ROTATE_90_CLOCKWISE))
    return Patch(image, ink, labels, 0)


def test_pieces_are_turned_alike() -> None:
    lesson = coded()
    pieces = list(cut(lesson, np.random.default_rng(1), count=40, size=128, turned=0.8))
    assert {piece.turn for piece in pieces} == {0, 1, 2, 3}
    corners = set()
    for piece in map(upright, pieces):
        top, left = (2 * int(v) for v in piece.ink[0, 0])
        assert top % LABEL_STRIDE == left % LABEL_STRIDE == 0
        at = np.s_[top : top + 128, left : left + 128]
        small = np.s_[top // 4 : top // 4 + 32, left // 4 : left // 4 + 32]
        np.testing.assert_array_equal(piece.image, lesson.image[at])
        np.testing.assert_array_equal(piece.ink, lesson.ink[at])
        np.testing.assert_array_equal(piece.labels, lesson.labels[small])
        corners.add((top, left))
    assert len(corners) > 20  # anywhere
    seen = [left + 128 > 300 and top < 20 for top, left in corners]
    assert np.mean(seen) > 0.2  # and often about the place worth looking at


def test_pieces_that_do_not_fit() -> None:
    for size in (0, 30, 512):
        with pytest.raises(UsageError, match=f"pieces of {size} px of a page of 384 x 320"):
            next(cut(coded(), np.random.default_rng(0), size=size))


def test_jitter() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    before = image.copy()
    results = [jitter(image, np.random.default_rng(seed)) for seed in range(20)]
    np.testing.assert_array_equal(image, before)
    assert all(made.shape == image.shape and made.dtype == np.uint8 for made in results)
    assert len({made.tobytes() for made in results}) == 20
    # Light on dark stays light on dark: what was brightest is not now darkest.
    grey = image.mean(axis=2).ravel()
    assert all(np.corrcoef(grey, made.mean(axis=2).ravel())[0, 1] > 0.3 for made in results)


def test_varied(record: Record) -> None:
    before = record.mv.copy()
    made = [varied(record, np.random.default_rng(seed)) for seed in range(60)]
    np.testing.assert_array_equal(record.mv, before)
    for other in made:
        assert other.mv.shape == record.mv.shape and other.mv.dtype == np.float32
        assert (other.leads, other.fs) == (record.leads, record.fs)
        assert np.isfinite(other.mv).all() and np.abs(other.mv).max() < 20
    assert len({other.mv.tobytes() for other in made}) == 60
    assert any((other.mv == 0).all(axis=1).any() for other in made)  # a lead that came off
    np.testing.assert_array_equal(varied(record, np.random.default_rng(7)).mv, made[7].mv)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_makes_a_lesson(record: Record, recipe: str) -> None:
    rng = np.random.default_rng(2)
    made = Mixture(recipes=((recipe, 1.0),), severity=(0.9, 1.0), dpi=(50, 60)).page(record, rng)
    flat = flatten_page(made, rng)
    height, width = flat.image.shape[:2]
    assert height % 32 == width % 32 == 0
    assert width >= (made.layout.width + 2 * MARGIN) * PX_PER_MM > width - 32
    assert flat.image.dtype == flat.ink.dtype == flat.labels.dtype == np.uint8
    assert flat.ink.shape == (height, width, 2) and flat.labels.shape == (height // 4, width // 4)
    assert flat.labels.max() < len(LABELS) and flat.ink[..., 0].max() > 200
    assert flat.places.shape[1] == 2 and np.isfinite(flat.places).all()
    for piece in cut(flat, rng, count=4):
        assert (piece.image.shape, piece.ink.shape, piece.labels.shape) == ((256, 256, 3), (256, 256, 2), (64, 64))


def test_own_mixture(record: Record) -> None:
    own = Mixture(recipes=(("clean", 1.0),), dpi=(80, 80), layouts=("12x1",))
    for seed in range(3):
        made = own.page(record, np.random.default_rng(seed))
        assert made.layout.name == "12x1" and made.meta["dpi"] == pytest.approx(80) and made.history == ()
    with pytest.raises(UsageError, match="recipe 'fotos'"):
        Mixture(recipes=(("fotos", 1.0),)).page(record, np.random.default_rng(0))
