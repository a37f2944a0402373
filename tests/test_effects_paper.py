"""Effects of paper and ink: they change how a page looks, not where its lines are, and say what they hide."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ecg_image_kit import Layout, Page, Record, Strip, Style, render
from ecg_image_kit.effects import EFFECTS, Effect, damage, draw, printers
from ecg_image_kit.effects import ink as inks

KINDS = [kind for kind in EFFECTS.values() if kind.stage in ("ink", "paper")]
EACH = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
# A quarter of a px apart, as the centroid of a few px itself is wrong by some hundredths.
PHASES = [25.0 + n * 25.4 / 200 / 4 for n in range(4)]
BLACK = Style(grid="none", header="none", label="none", ink=(0, 0, 0))


def drawn(kind: type[Effect], seed: int, severity: float, **fields: Any) -> Effect:
    return draw(kind(**fields), np.random.default_rng(seed), severity)


def page(dpi: float = 100.0, style: Style | None = None, flat: bool = False, rows: int = 1, y: float = 25.0) -> Page:
    """Strips of one lead: a flat line, or peaks."""
    t = np.arange(5000) / 500
    mv = 0 * t if flat else np.exp(-(((t % 0.8 - 0.4) / 0.03) ** 2)) + 0.1 * np.sin(5 * t)
    strips = tuple(Strip("II", 0, 10, 5, y + 25 * row, row=row, rhythm=row > 0) for row in range(rows))
    layout = Layout(260, 15 + 25.0 * rows, strips)
    return render(Record(("II",), mv[None].astype(np.float32), 500, "made"), layout, style, dpi)


@EACH
def test_the_same_drawn_effect_makes_the_same_bytes_and_leaves_its_input(kind: type[Effect]) -> None:
    before = page()
    copy = before.image.copy()
    effect = drawn(kind, 5, 0.8)
    one, two = effect.paint(before), effect.paint(before)
    np.testing.assert_array_equal(before.image, copy)
    assert one.image is not before.image and one.boxes[: len(before.boxes)] == before.boxes
    np.testing.assert_array_equal(one.image, two.image)
    assert one.image.dtype == np.uint8 and one.image.shape == copy.shape
    assert one.mm_to_px is before.mm_to_px and one.traces is before.traces
    assert [b.outline.tolist() for b in one.boxes] == [b.outline.tolist() for b in two.boxes]


@EACH
def test_severity_0_is_hardly_seen_and_1_is(kind: type[Effect]) -> None:
    before = page(style=Style(header="none"), rows=6)

    def change(severity: float) -> float:
        seen = [drawn(kind, seed, severity).paint(before).image for seed in range(3)]
        return float(np.mean([np.abs(image.astype(int) - before.image).mean() for image in seen]))

    mild, severe = change(0.0), change(1.0)
    assert severe > 0.03
    assert mild < 0.35 * severe


def offset(before: Page, after: Page, ghost: bool = False) -> NDArray[np.float64]:
    """(columns,) px that a flat line's ink has moved down, where it can be seen and little else is near."""
    y = float(before.mm_to_px(np.array([[0.0, before.layout.strips[0].y]]))[0, 1])
    x0, x1 = (round(v) for v in before.mm_to_px(np.array([[8.0, 0.0], [250.0, 0.0]]))[:, 0])
    middle, reach = round(y), 9
    window = after.image[middle - reach : middle + reach + 1, x0:x1].astype(float).max(axis=2)
    # The line's ink lies within 4 px of it; the paper's tone is a straight line between what is above and below.
    rows = np.arange(-reach, reach + 1)
    outside = np.abs(rows) > 5
    fit = np.polynomial.polynomial.polyfit(rows[outside], window[outside], 1)
    dark = np.clip(fit[0] + fit[1] * rows[:, None] - window, 0, None)
    dark[outside] = 0
    if any(box.hides for box in after.boxes):
        trace = after.traces[0]
        columns = np.arange(x0, x1)
        seen = np.interp(columns, after.px(trace)[:, 0], after.visible(trace).astype(float)) > 0.99
    else:
        seen = np.ones(x1 - x0, bool)
    if ghost:  # it is less dark than the line itself
        dark = np.where(dark > 0.62 * np.median(dark.max(axis=0)), dark, 0)
    total = dark.sum(axis=0)
    use = seen & (total > 0)
    assert use.mean() > 0.4
    moved: NDArray[np.float64] = (dark * rows[:, None]).sum(axis=0)[use] / total[use] + middle - y
    return moved


@EACH
def test_the_centre_of_a_line_stays(kind: type[Effect]) -> None:
    ghost = kind is inks.DoublePrint
    moved = []
    for seed, y in enumerate(PHASES):
        before = page(200.0, BLACK, flat=True, y=y)
        after = drawn(kind, seed, 0.6).paint(before)
        moved.append(offset(before, after, ghost).mean() - offset(before, before, ghost).mean())
    assert abs(float(np.median(moved))) < 0.03
    assert abs(float(np.mean(moved))) < 0.05


@pytest.mark.parametrize(
    "kind", [printers.Laser, printers.Inkjet, printers.ThermalHead, printers.PenPlotter, inks.Bleed, inks.Fading]
)
def test_every_share_of_the_ink_stays_symmetric(kind: type[Effect]) -> None:
    """All of the ink, soft edges too, about its centre: no part of it is cut off above only."""
    options: dict[str, Any] = {"along": "y"} if kind is printers.Inkjet else {}
    options |= {"dead": 0} if kind is printers.ThermalHead else {}

    def centre(image: NDArray[np.uint8], y: float) -> float:
        dark = 255.0 - image[round(y) - 14 : round(y) + 15, 100:-100].max(axis=2).mean(axis=1)
        return float((dark * np.arange(-14, 15)).sum() / dark.sum())

    moved = []
    for at in PHASES:
        before = page(200.0, replace(BLACK, pen_width=0.6), flat=True, y=at)
        after = drawn(kind, 3, 0.6, **options).paint(before)
        y = float(before.mm_to_px(np.array([[0.0, at]]))[0, 1])
        moved.append(centre(after.image, y) - centre(before.image, y))
        assert np.abs(after.image.astype(int) - before.image).mean() > 0.05
    assert abs(float(np.mean(moved))) < 0.02 and float(np.abs(moved).max()) < 0.06


HIDING: list[tuple[type[Effect], str, dict[str, Any]]] = [
    (inks.Dropouts, "dropout", {"count": 12}),
    (damage.Tear, "tear", {"size": 60}),
    (damage.PunchHoles, "hole", {"count": 3}),
    (damage.Staple, "staple", {"count": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "fields"), HIDING, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("dpi", [72.0, 200.0])
def test_what_is_hidden_is_gone_and_the_boxes_say_where(
    kind: type[Effect], name: str, fields: dict[str, Any], dpi: float
) -> None:
    style = Style(header="none", label="none", ink=(0, 0, 0))
    before = page(dpi, style, rows=3)
    for seed in range(3):
        after = drawn(kind, seed, 0.8, **fields).paint(before)
        found = [box for box in after.boxes if box.kind == name]
        assert found and all(box.hides for box in found)
        hidden = replace(after, boxes=tuple(found))
        for trace in after.traces:
            gone = before.visible(trace) & ~hidden.visible(trace)
            if gone.sum() < 5:
                continue
            x, y = np.round(after.px(trace)[gone]).astype(int).T
            # Nothing as dark as ink is left; a staple itself is grey.
            assert (after.image[y, x].max(axis=1) > (60 if name == "staple" else 120)).mean() > 0.95
        if kind is inks.Dropouts:
            assert sum((~after.visible(trace)).sum() for trace in after.traces) > 100


def test_dropouts_leave_the_grid() -> None:
    style = Style(header="none", label="none", grid="red")
    before = page(200.0, style, rows=3)
    bare = page(200.0, replace(style, pen_width=0.05, ink=(255, 255, 255)), rows=3).image.astype(int)
    after = drawn(inks.Dropouts, 1, 1.0, count=30).paint(before)
    changed = (after.image != before.image).any(axis=2)
    assert np.abs(after.image.astype(int) - bare)[changed].mean() < 14  # it was 160 and more


def test_a_dead_dot_as_wide_as_the_line_hides_it() -> None:
    before = page(200.0, BLACK, flat=True)
    found = 0
    for seed in range(12):
        after = drawn(printers.ThermalHead, seed, 0.8, dead=12, pitch=0.4).paint(before)
        trace = after.traces[0]
        gone = ~after.visible(trace)
        if gone.any():
            found += 1
            x, y = np.round(after.px(trace)[gone]).astype(int).T
            assert after.image[y, x].min(axis=1).mean() > 110
    assert found


def test_a_torn_part_goes_beyond_the_sheet() -> None:
    before = page(100.0, rows=6)
    for seed in range(6):
        after = drawn(damage.Tear, seed, 1.0).paint(before)
        outline = after.boxes[-2].outline
        assert (outline.min(axis=0) < -2).any() or (outline.max(axis=0) > (262, 167)).any()


@EACH
@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3), (9, 400), (8, 8)], ids=str)
def test_any_image_will_do(kind: type[Effect], shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    for severity in (0.0, 1.0):
        after = drawn(kind, 2, severity).paint(Page.of_image(image))
        assert after.image.shape == (*shape[:2], 3)


@EACH
def test_72_dpi_and_all_black_and_all_white(kind: type[Effect]) -> None:
    drawn(kind, 4, 1.0).paint(page(72.0))
    for tone in (0, 255):
        drawn(kind, 4, 1.0).paint(Page.of_image(np.full((120, 200), tone, np.uint8), 72))
