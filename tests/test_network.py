"""What is made of the network's view: pulses and names in mm, views that keep their maps, and clear errors."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from digitizer import network, patches
from digitizer.network import PX_PER_MM, Seen, ink_of, joined
from digitizer.patches import LABELS, flatten_page
from digitizer.rectify import Upright, at_pitch, turned
from digitizer.segment import Ink
from ecg_image_kit import Chain, Homography, Layout, Page, Style, UsageError, open_source, raster, render

D = NDArray[np.float64]
MARGIN = 5.0  # mm around the sheet


def drawn(**options: Any) -> Page:
    record = open_source("samples").load("00001")
    return render(record, Layout.for_record(record, **options), Style(label_font="sans"), dpi=60)


def seen(page: Page, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What a perfect network would say of the page laid flat exactly: px are (mm + MARGIN) * PX_PER_MM."""
    monkeypatch.setattr(patches, "_error", lambda size, rng: np.zeros_like)
    lesson = flatten_page(page, np.random.default_rng(0))
    trace, pulse = (lesson.ink[..., k].astype(np.float32) / 255 for k in (0, 1))
    return Seen(trace, pulse, np.eye(len(LABELS), dtype=np.float32)[lesson.labels], LABELS, (0, 1, 2, 3), 1.0)


# What is seen, in mm


@pytest.mark.parametrize("pulse", ["left", "right", "first"])
@pytest.mark.parametrize(("speed", "gain"), [(25.0, 10.0), (50.0, 20.0), (12.5, 5.0)])
def test_pulses_have_their_true_place_and_size(
    pulse: str, speed: float, gain: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = drawn(name="3x4+1R", speed=speed, gain=gain, pulse=pulse)
    found = ink_of(seen(page, monkeypatch), PX_PER_MM, PX_PER_MM).pulses
    assert found is not None and len(found) == len(page.layout.pulses)
    for mark, it in zip(page.layout.pulses, sorted(found, key=lambda p: p.foot), strict=True):
        (x, _), (x1, y1) = mark.outline(speed)[[1, 3]]  # where it rises, and where it falls
        expected = x + MARGIN, x1 - x, gain, mark.y + MARGIN
        assert tuple(it) == pytest.approx(expected, abs=0.03)
        assert y1 == mark.y - gain


@pytest.mark.parametrize("pulse", ["left", "right"])
def test_a_pulse_of_which_a_stroke_was_taken_for_the_trace(pulse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = drawn(name="3x4+1R", pulse=pulse)
    view = seen(page, monkeypatch)
    trace, left = view.trace.copy(), view.pulse.copy()
    for mark in page.layout.pulses:
        (x, _), (x1, _) = mark.outline(25.0)[[1, 3]]
        near = round(((x if pulse == "right" else x1) + MARGIN) * PX_PER_MM)  # the stroke next to the row
        foot = round((mark.y + MARGIN) * PX_PER_MM)
        lower = np.s_[foot - round(7 * PX_PER_MM) : foot + 3, near - 4 : near + 5]
        trace[lower], left[lower] = np.maximum(trace[lower], left[lower]), 0.0
    found = ink_of(replace(view, trace=trace, pulse=left), PX_PER_MM, PX_PER_MM).pulses
    assert found is not None and len(found) == len(page.layout.pulses)
    assert [(p.width, p.height) for p in found] == [pytest.approx((5.0, 10.0), abs=0.1)] * len(found)


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.7])
def test_a_pulse_without_feet(shift: float) -> None:
    """Of coverage smeared over two pixels; in px that are not square."""
    kx, ky = 8.0, 10.0
    fine = np.zeros((1600, 1200), np.float32)  # ten for each px
    corners = np.array([[30.0, 130.0], [30.0, 30.0], [70.0, 30.0], [70.0, 130.0]]) + shift
    for (x0, y0), (x1, y1) in itertools.pairwise(corners):
        (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
        fine[int(10 * y0 - 10) : int(10 * y1 + 10), int(10 * x0 - 10) : int(10 * x1 + 10)] = 1.0
    coverage = cv2.resize(fine, (120, 160), interpolation=cv2.INTER_AREA)
    none = np.zeros((40, 30, 2), np.float32)
    (it,) = ink_of(Seen(0 * coverage, coverage, none, ("", "I"), (0, 1, 2, 3), 1.0), kx, ky).pulses or ()
    x, y = 30.0 + shift - 0.5, 130.0 + shift - 0.5  # px, whose centres are at integers
    assert tuple(it) == pytest.approx((x / kx, 40 / kx, 100 / ky, y / ky), abs=0.08)


def test_what_is_no_pulse() -> None:
    pulse = np.zeros((300, 400), np.float32)
    pulse[50:53, 20:300] = 1.0  # a line
    pulse[100:180, 40:42] = 1.0  # a stroke
    pulse[200:206, 200:206] = 1.0  # a speck
    none = np.zeros((75, 100, 2), np.float32)
    assert ink_of(Seen(0 * pulse, pulse, none, ("", "I"), (0, 1, 2, 3), 1.0), 8, 8).pulses == ()


@pytest.mark.parametrize("order", ["standard", "cabrera"])
def test_names_have_their_true_place(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = drawn(name="3x4+1R", order=order)
    found = ink_of(seen(page, monkeypatch), PX_PER_MM, PX_PER_MM).names
    boxes = [box for box in page.boxes if box.kind == "label"]
    assert found is not None and len(found) == len(boxes) == 13
    for box in boxes:
        left, middle = box.outline[:, 0].min() + MARGIN, box.outline[:, 1].mean() + MARGIN
        near = min(found, key=lambda name: abs(name.x - left) + abs(name.y - middle))
        assert near.lead == box.text
        assert (near.x, near.y, near.sure) == pytest.approx((left, middle, 1.0), abs=0.4)


def test_a_name_is_what_most_of_it_says() -> None:
    labels = np.zeros((20, 30, 3), np.float32)
    labels[..., 0] = 1.0
    labels[4:8, 5:15] = 0.1, 0.6, 0.3
    labels[4:8, 13:15] = 0.1, 0.1, 0.8  # its end says something else
    labels[12:16, 5:15] = 0.6, 0.4, 0.0  # more likely none than any
    labels[1, 1] = 0.0, 1.0, 0.0  # a speck
    labels[4:7, 25:27] = 0.1, 0.9, 0.0  # of a letter's size at most
    ink = np.zeros((80, 120), np.float32)
    name, other = ink_of(Seen(ink, ink, labels, ("", "I", "II"), (0, 1, 2, 3), 1.0), 8, 4).names or ()
    assert (name.lead, name.x) == ("I", 4 * 5 / 8)
    assert name.y == pytest.approx((4 * 5.5 + 1.5) / 4)
    assert name.sure == pytest.approx(0.9)  # that it is a name at all
    assert name.odds == pytest.approx({"I": 1.0, "II": (8 * 0.3 + 2 * 0.8) / (8 * 0.6 + 2 * 0.1)})
    assert other.lead == "I" and 0 < other.sure < 0.8


def test_the_traces_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    view = seen(drawn(name="6x2"), monkeypatch)
    ink = ink_of(view, PX_PER_MM, PX_PER_MM)
    assert np.array_equal(ink.coverage, view.trace)
    assert ink.drawn
    assert (ink.weight_y.size, ink.weight_x.size) == view.trace.shape
    assert (ink.weight_x == 1).all() and (ink.weight_y == 1).all() and not len(ink.rulings)


# Weights


def card(folder: Path, **changes: Any) -> Path:
    values = {"px_per_mm": PX_PER_MM, "labels": list(LABELS), **changes}
    (folder / "reader.json").write_text(json.dumps(values))
    return folder


def behind_a_name(letters: bool = True) -> tuple[Ink, Ink, Seen, NDArray[np.float32]]:
    """A beat of 12 mm, of which a network draws what is above and below a framed name; the page; the beat."""
    x = np.arange(0, 160, 0.5)
    picture = np.zeros((160, 160), np.uint8)
    raster.draw_graph(picture, x, 130 - 96 * np.exp(-0.5 * ((x - 80) / 6.0) ** 2), 2.2, "butt")
    beat = np.asarray(picture / np.float32(255), np.float32)
    page, drawn = beat.copy(), beat.copy()
    drawn[60:84] = 0.0
    if letters:
        page[58:60, 60:110] = page[84:86, 60:110] = 1.0  # its frame
        page[58:86, 60:62] = page[58:86, 108:110] = 1.0
        page[64:80, 66:68] = page[64:80, 96:99] = 1.0  # letters
        page[70:73, 66:78] = page[66:68, 82:99] = page[62:82, 88:92] = 1.0  # that touch the beat
    labels = np.zeros((40, 40, 2), np.float32)
    labels[..., 0] = 1.0
    labels[16:20, 16:25] = (0.0, 1.0)
    ones, none = np.ones(160, np.float32), np.zeros((0, 4), np.int32)
    own, ink = (Ink(coverage, ones, ones, none, drawn=c) for coverage, c in ((drawn, True), (page, False)))
    return own, ink, Seen(drawn, 0 * drawn, labels, ("", "V5"), (0, 1, 2, 3), 1.0), beat


@pytest.mark.parametrize("letters", [False, True])
def test_beats_go_on_behind_names(letters: bool) -> None:
    own, ink, look, beat = behind_a_name(letters)
    found = joined(own, ink, look, PX_PER_MM).coverage
    gap = slice(60, 84)
    # Both sides of the beat, and little of what touches it.
    assert (found[gap] * (beat[gap] > 0.5)).sum() > 0.85 * beat[gap][beat[gap] > 0.5].sum()
    assert found[gap, :70].max() == 0 and found[gap, 90:].max() == 0
    assert np.array_equal(found[90:], own.coverage[90:])


def test_what_is_not_named_or_stops_is_not_joined() -> None:
    own, ink, look, _ = behind_a_name()
    nameless = replace(look, labels=np.stack([np.ones((40, 40)), np.zeros((40, 40))], axis=2).astype(np.float32))
    assert joined(own, ink, nameless, PX_PER_MM) is own
    bare = ink.coverage.copy()
    bare[68:76] = 0.0  # nothing leads from below to above
    assert np.array_equal(joined(own, replace(ink, coverage=bare), look, PX_PER_MM).coverage, own.coverage)
    # A stroke that is drawn in full may be thinner than its ink.
    thick = cv2.dilate(look.trace, np.ones((1, 3)))
    whole = replace(own, coverage=behind_a_name()[3])
    assert np.array_equal(joined(whole, replace(ink, coverage=thick), look, PX_PER_MM).coverage, whole.coverage)


def test_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere.*cannot be read .*expected the card"):
        network.Network(tmp_path / "nowhere")
    (tmp_path / "reader.json").write_text("{")
    with pytest.raises(UsageError, match=r"reader\.json cannot be read"):
        network.Network(tmp_path)
    with pytest.raises(UsageError, match=r"px_per_mm 10; expected 8\. Train it again"):
        network.Network(card(tmp_path, px_per_mm=10))
    with pytest.raises(UsageError, match=r"reader\.onnx cannot be loaded .*Export it again"):
        network.Network(card(tmp_path))
    (tmp_path / "reader.onnx").write_bytes(b"not a network" * 100)
    with pytest.raises(UsageError, match=r"reader\.onnx cannot be loaded .*Export it again"):
        network.Network(card(tmp_path))


def write_network(path: Path) -> None:
    """Linear in the image: ink is red and green, the second label blue; a patch is turned as often as its red says."""
    onnx = pytest.importorskip("onnx")
    names = {"ink": (2, 1), "labels": (len(LABELS), 4), "turn": (4, 16)}
    weights = {name: np.zeros((channels, 3, side, side), np.float32) for name, (channels, side) in names.items()}
    weights["ink"][0, 0] = weights["ink"][1, 1] = 1.0
    weights["labels"][1, 2] = 1 / 16
    weights["turn"][2, 0] = weights["turn"][1, 2] = 1 / 256
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Conv", ["image", f"{name}_weights"], [name], strides=[side, side])
        for name, (_, side) in names.items()
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("image", real, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info(name, real, None) for name in names],
        [onnx.numpy_helper.from_array(value, f"{name}_weights") for name, value in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def test_see(tmp_path: Path) -> None:
    """Images need not be multiples of 32, and bare paper has no say in which way is up."""
    write_network(card(tmp_path) / "reader.onnx")
    net = network.load(str(tmp_path), 1)
    assert network.load(str(tmp_path), 1) is net
    image = np.zeros((70, 101, 3), np.uint8)
    image[10:30, 20:60, 0] = 255  # where there is ink the page is turned twice
    image[40:, :, 2] = 255  # elsewhere it looks as if it were turned once
    image[5:9, 5:9, 1] = 51
    view = net.see(image)
    np.testing.assert_allclose(view.trace, image[..., 0] / 255, atol=1e-6)
    np.testing.assert_allclose(view.pulse, image[..., 1] / 255, atol=1e-6)
    assert view.labels.shape == (18, 26, len(LABELS)) and view.names == LABELS
    np.testing.assert_allclose(view.labels[..., 1][:17, :25], image[:68:4, :100:4, 2] / 255, atol=1e-6)
    assert view.turns[0] == 2 and 0.4 < view.sure <= 1


def test_bands_are_seen_as_the_whole_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large pages are looked at in bands, for the sake of memory; at their seams nothing is to be seen of that."""
    image = flatten_page(drawn(), np.random.default_rng(0)).image
    net = network.load(str(network.WEIGHTS), 1)
    looks = []
    for band in (1000, 20, 9):
        monkeypatch.setattr(network, "_BAND", band)
        looks.append(net.see(image))
    whole = looks[0]
    for parts in looks[1:]:
        assert parts.trace.shape == whole.trace.shape and parts.labels.shape == whole.labels.shape
        assert parts.turns == whole.turns and parts.sure == pytest.approx(whole.sure, abs=0.02)
        for a, b in ((parts.trace, whole.trace), (parts.pulse, whole.pulse), (parts.labels, whole.labels)):
            assert np.abs(a - b).mean() < 1e-4 and np.mean(np.abs(a - b) > 0.1) < 1e-4


def test_only_what_is_in_doubt_is_looked_at() -> None:
    image = flatten_page(drawn(), np.random.default_rng(0)).image
    net = network.load(str(network.WEIGHTS), 1)
    whole = net.see(image)
    named = whole.labels[..., 1:].sum(axis=2) > 0.9
    where = cv2.resize(named.astype(np.uint8), image.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
    part = net.see(image, where)
    assert part.trace.shape == whole.trace.shape and part.labels.shape == whole.labels.shape
    there = cv2.erode(named.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert there.sum() > 50
    assert np.mean(part.labels[there].argmax(axis=1) == whole.labels[there].argmax(axis=1)) > 0.98
    far = cv2.dilate(where.astype(np.uint8), np.ones((2 * 32 + 1,) * 2, np.uint8)) == 0
    assert far.mean() > 0.3
    bare = far[:: network.LABEL_STRIDE, :: network.LABEL_STRIDE]
    corner = np.flatnonzero(bare.all(axis=1))  # rows without any name
    assert corner.size and (part.labels[corner, :, 0] == 1).all()
    assert part.upright and part.turns[0] == 0
    nothing = net.see(image, np.zeros(image.shape[:2], bool))
    assert nothing.trace.shape == whole.trace.shape and nothing.named < 0.5 and not nothing.trace[64:].any()


@pytest.mark.parametrize("seed", range(12))
def test_boxes_hold_all_that_is_in_doubt(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(20, 700, 2).tolist()
    where = np.zeros((height, width), bool)
    for _ in range(int(rng.integers(0, 9))):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        where[y : y + int(rng.integers(1, 60)), x : x + int(rng.integers(1, 90))] = True
    high, wide = -(-height // 32), -(-width // 32)
    boxes = network._boxes(where, high, wide)
    covered = np.zeros((high * 32, wide * 32), bool)
    for top, bottom, left, right in boxes:
        assert 0 <= top < bottom <= high * 32 and 0 <= left < right <= wide * 32
        assert all(side % 32 == 0 for side in (top, bottom, left, right))
        covered[top:bottom, left:right] = True
    assert boxes and covered[:height, :width][where].all()
    looked = sum((b - a + 64) * (d - c + 64) for a, b, c, d in boxes)
    assert looked <= (high * 32 + 64) * (wide * 32 + 64)  # never more than all


# Views


SPOTS = np.array([[120.0, 90.0], [300.0, 110.0], [200.0, 170.0], [130.0, 240.0], [290.0, 250.0]])  # px of a photograph


def photograph() -> NDArray[np.uint8]:
    y, x = np.mgrid[0:320, 0:400]
    far = np.min([np.hypot(x - a, y - b) for a, b in SPOTS], axis=0)
    return np.repeat((255 * np.clip(far - 5.5, 0, 1)).astype(np.uint8)[..., None], 3, axis=2)


def spots_of(image: NDArray[np.uint8]) -> D:
    """(N, 2) px of all the spots that there are, in no order."""
    ink = 255.0 - image[..., 0]
    ink[ink < 40] = 0
    _, label = cv2.connectedComponents((ink > 0).astype(np.uint8))
    y, x = np.mgrid[0 : ink.shape[0], 0 : ink.shape[1]]
    each = [ink * (label == k) for k in range(1, label.max() + 1)]
    return np.array([[(part * x).sum() / part.sum(), (part * y).sum() / part.sum()] for part in each])


@pytest.fixture
def view() -> Upright:
    """The photograph seen a little turned and moved, at 6 by 6.5 px per mm."""
    to_source = Homography.affine(0.98, 0.06, -12, -0.05, 0.97, 20)
    image = cv2.warpPerspective(
        photograph(), to_source.matrix, (430, 330), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderValue=(255,) * 3
    )
    return Upright(np.asarray(image, np.uint8), 6.0, 6.5, to_source, Homography.affine(1 / 6, 0, 3, 0, 1 / 6.5, -2))


def assert_map_is_kept(new: Upright, old: Upright) -> None:
    """Spots lie where the view's map has them, and its mm, along its rows and columns, are as long as the old one's."""
    found = spots_of(new.image)
    assert len(found) == len(SPOTS)
    source = np.asarray(new.to_source(found))
    order = [int(np.argmin(np.hypot(*(source - spot).T))) for spot in SPOTS]
    np.testing.assert_allclose(source[order], SPOTS, atol=0.12)
    assert isinstance(old.to_source, Homography)
    before = old.px_to_mm(old.to_source.inverse(SPOTS))
    after = np.asarray(new.px_to_mm(found[order]))
    for k in range(len(SPOTS)):
        np.testing.assert_allclose(np.hypot(*(after - after[k]).T), np.hypot(*(before - before[k]).T), atol=0.05)
    matrix = new.px_to_mm.matrix
    np.testing.assert_allclose(matrix[:2, :2], np.diag([1 / new.kx, 1 / new.ky]), atol=1e-12)


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_a_turned_view_keeps_its_map(view: Upright, turn: int) -> None:
    """``turned`` undoes that many quarter turns anticlockwise: it turns clockwise."""
    new = turned(view, turn)
    image = view.image
    for _ in range(turn):
        image = np.asarray(cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE))
    np.testing.assert_array_equal(new.image, image)
    assert_map_is_kept(new, view)
    back = turned(new, -turn)
    corners = np.array([[0.0, 0.0], [400.0, 30.0], [100.0, 300.0]])
    np.testing.assert_array_equal(back.image, view.image)
    np.testing.assert_allclose(back.to_source(corners), view.to_source(corners), atol=1e-9)
    np.testing.assert_allclose(back.px_to_mm(corners), view.px_to_mm(corners), atol=1e-9)


@pytest.mark.parametrize("px_per_mm", [4.0, 8.0, 12.0])
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_another_pitch_keeps_the_map(view: Upright, px_per_mm: float, turn: int) -> None:
    new = at_pitch(photograph(), turned(view, turn), px_per_mm)
    assert new.kx == new.ky == px_per_mm
    height, width = view.image.shape[:2]
    size = np.array([width / view.kx, height / view.ky])[:: -1 if turn % 2 else 1] * px_per_mm
    np.testing.assert_allclose(new.image.shape[1::-1], size, atol=0.51)
    assert_map_is_kept(new, view)
    assert_map_is_kept(turned(at_pitch(photograph(), view, px_per_mm), turn), view)


def test_a_wrong_map_would_be_seen(view: Upright) -> None:
    wrong = Upright(view.image, view.kx, view.ky, Chain((Homography.affine(1, 0, 0.5, 0, 1, 0), view.to_source)),
                    view.px_to_mm)  # fmt: skip
    with pytest.raises(AssertionError):
        assert_map_is_kept(wrong, view)
