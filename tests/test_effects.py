"""All effects together: exact truth, replay, and any page they may meet."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest

from ecg_image_kit import STANDARD_LEADS, Layout, Page, PageError, Record, Style, UsageError, open_source, render
from ecg_image_kit.effects import EFFECTS, STAGES, Effect, Grows, OneOf, Range, apply, draw, effect_of, replay
from ecg_image_kit.effects.base import number
from ecg_image_kit.effects.geometry import Crop, Curl, Folds, GeometryEffect, Lamp, Perspective, Rotation
from ecg_image_kit.page import _within
from ecg_image_kit.recipes import RECIPES, Recipe, recipe_of
from ecg_image_kit.warp import Homography

NAMES = list(EFFECTS)
MOVING = [name for name, kind in EFFECTS.items() if issubclass(kind, GeometryEffect)]


def _load(path: str) -> ModuleType:
    file = Path(__file__).resolve().parents[1] / path
    spec = importlib.util.spec_from_file_location(file.stem + "_benchmark", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


truth = _load("benchmarks/truth.py")


@pytest.fixture(scope="module")
def record() -> Record:
    source = open_source("samples")
    return source.load(next(iter(source.names())))


@pytest.fixture(scope="module")
def steps() -> Record:
    """Twelve leads that keep a level for 0.4 s at a time, where the ink's middle is beyond doubt."""
    levels = np.random.default_rng(0).uniform(-0.6, 0.6, (12, 26))
    t = np.arange(5000) / 500
    place = np.clip((t % 0.4 - 0.36) / 0.04, 0, 1)
    at = (t / 0.4).astype(int)
    return Record(STANDARD_LEADS, (levels[:, at] * (1 - place) + levels[:, at + 1] * place).astype(np.float32), 500.0)


@pytest.fixture(scope="module")
def page(record: Record) -> Page:
    return render(record, dpi=100)


@pytest.fixture(scope="module")
def strip(record: Record) -> Page:
    """One lead on a narrow sheet."""
    return render(record, Layout.named("1x1", ["II"], sheet="strip"), dpi=72)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_drawn_effect_makes_the_same_page_and_alters_nothing_it_was_given(name: str, page: Page) -> None:
    before = page.image.copy(), len(page.boxes)
    effect = draw(EFFECTS[name](), np.random.default_rng(4), 0.7)
    assert effect.is_drawn
    one, two = apply(page, [effect]), apply(page, [effect])
    assert np.array_equal(page.image, before[0]) and len(page.boxes) == before[1]
    assert np.array_equal(one.image, two.image) and one.image.dtype == np.uint8 and one.image.ndim == 3
    assert len(one.boxes) >= len(page.boxes) and one.boxes[: len(page.boxes)] == page.boxes
    again = replay(page, json.loads(json.dumps(one.history)))
    assert np.array_equal(again.image, one.image) and again.history == one.history
    if not issubclass(EFFECTS[name], GeometryEffect):
        assert one.mm_to_px is page.mm_to_px and one.image.shape == page.image.shape


@pytest.mark.parametrize("name", NAMES)
def test_every_effect_survives_strips_and_pictures_of_which_nothing_is_known(name: str, strip: Page) -> None:
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((48, 64), (90, 70, 3), (200, 33, 4))]
    for some in (strip, *map(Page.of_image, pictures)):
        for severity in (0.0, 1.0):
            out = apply(some, [name], seed=2, severity=severity)
            assert out.image.ndim == 3 and min(out.image.shape[:2]) >= 8
            assert len(out.traces) == len(some.traces)
            for trace in out.traces:
                assert out.visible(trace).shape == trace.mv.shape


@pytest.mark.parametrize("name", NAMES)
def test_every_effect_says_what_it_is(name: str) -> None:
    kind = EFFECTS[name]
    assert kind.stage in STAGES and kind.__doc__
    line = kind.__doc__.splitlines()[0]
    assert not line.startswith(f"{name}(") and 10 < len(line) <= 100  # dataclass's own docstring is no help
    for f in fields(kind):
        if f.name not in ("severity", "seed"):
            assert f.metadata["help"], f"{name}.{f.name}"


# Truth


@pytest.mark.parametrize("name", MOVING)
def test_truth_stays_on_the_ink(name: str, steps: Record) -> None:
    for seed in (1, 2):
        level, lines, back = truth.measure(steps, truth.geometry_of(name, seed, 1.0))
        assert level.size > 20 and lines.size > 300
        assert abs(lines.mean()) < truth.BIAS and lines.std() < truth.SPREAD
        assert abs(level.mean()) < truth.BIAS and level.std() < truth.SPREAD
        assert back.max() < truth.RETURN


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_recipes_keep_the_truth_on_the_ink(recipe: str, record: Record) -> None:
    _level, lines, back = truth.measure(record, truth.geometry_of(recipe, 5, 1.0))
    if lines.size > 100:  # little may be left on a page cut to a corner
        assert abs(lines.mean()) < truth.BIAS and lines.std() < truth.SPREAD
    assert back.max() < truth.RETURN


def test_a_planted_error_of_half_a_pixel_fails(steps: Record) -> None:
    right = apply(truth.lines_only(steps), [Curl(rise=10.0), Lamp(strength=0.0)])
    moved = replace(right, mm_to_px=right.mm_to_px.then(Homography.affine(1, 0, 0.5, 0, 1, 0.5)))
    good, bad = truth.line_errors(right), truth.line_errors(moved)
    assert good.std() < truth.SPREAD and abs(good.mean()) < truth.BIAS
    assert abs(bad.mean()) > truth.BIAS or bad.std() > truth.SPREAD
    flat = truth.traces_only(steps)
    off = replace(flat.warp(Homography.affine(1, 0, 0, 0, 1, 0.5)), mm_to_px=flat.mm_to_px)
    assert abs(truth.level_errors(flat).mean()) < truth.BIAS < 0.4 < abs(truth.level_errors(off).mean())


def test_what_leaves_the_picture_or_is_covered_is_not_visible(page: Page) -> None:
    cut = apply(page, [Crop(left=0.3, right=0.0, top=0.0, bottom=0.0)])
    left = 0.3 * page.layout.width
    for trace in cut.traces:
        assert (cut.visible(trace) == (cut.mm(trace)[:, 0] > left)).mean() > 0.995
    for name in NAMES:
        out = apply(page, [name], seed=3, severity=1.0)
        for box in out.boxes[len(page.boxes) :]:
            assert box.outline.ndim == 2 and box.outline.shape[1] == 2 and len(box.outline) >= 3
            assert np.isfinite(box.outline).all()


def test_visibility_and_boxes_survive_the_file(tmp_path: Path, page: Page) -> None:
    bent = apply(page, [Folds(), Perspective(tilt=15.0, margin=0.05)], seed=2)
    bent = replace(bent, boxes=(*bent.boxes, _square("sticker", 60, 60, 40)))
    bent.save(tmp_path / "p.png")
    back = Page.load(tmp_path / "p.png")
    assert [b.hides for b in back.boxes] == [b.hides for b in bent.boxes]
    saved = np.load(tmp_path / "p.npz")
    for k, (trace, again) in enumerate(zip(bent.traces, back.traces, strict=True)):
        seen = bent.visible(trace)
        assert np.array_equal(back.visible(again), seen) and np.array_equal(saved[f"visible{k}"], seen)
        assert np.abs(back.px(again)[seen] - bent.px(trace)[seen]).max() < 1e-6
    assert not all(bent.visible(trace).all() for trace in bent.traces)


def _square(kind: str, x: float, y: float, size: float) -> Any:
    from ecg_image_kit import Box

    corners = np.array([[x, y], [x + size, y], [x + size, y + size], [x, y + size]], dtype=np.float64)
    return Box(kind, corners, "", hides=True)


def test_what_lies_under_something_opaque_is_not_visible(page: Page) -> None:
    for kind in ("StickyNote", "Tear", "Finger"):
        for seed in range(4):
            out = apply(page, ["Perspective(margin=0.05)", f"{kind}"], seed=seed, severity=1.0)
            hidden = [box for box in out.boxes if box.hides]
            inside = sum(int(_within(out.mm(t), box.outline).sum()) for t in out.traces for box in hidden)
            covered = sum(int((~out.visible(t)).sum()) for t in out.traces)
            assert hidden and covered >= 0.3 * inside > -1
    note = apply(page, ["StickyNote(count=3)"], seed=1, severity=1.0)
    assert any(not note.visible(trace).all() for trace in note.traces)


def test_lost_ink_is_as_lost_in_the_file(tmp_path: Path, page: Page) -> None:
    for seed in range(3):
        out = apply(page, ["BlackWhite(dark=-0.3, lamp=white, method=fixed)", "Fax(errors=0.02)"], seed=seed)
        out.save(tmp_path / "p.png")
        back = Page.load(tmp_path / "p.png")
        for trace, again in zip(out.traces, back.traces, strict=True):
            assert np.array_equal(out.visible(trace), back.visible(again))


def test_two_calls_are_replayed_as_two(page: Page) -> None:
    once = apply(apply(page, ["Jpeg(quality=30)"], seed=1), ["Rotation(degrees=5)", "Shadow"], seed=2)
    again = replay(page, json.loads(json.dumps(once.history)))
    assert np.array_equal(again.image, once.image) and again.history == once.history
    with pytest.raises(UsageError, match="no effect 'warp'"):
        replay(page, page.warp(Homography.rotation(2)).history)


@pytest.mark.parametrize("other", ["Wrinkles", "Curl", "Lamp"])
def test_a_sheet_folded_over_itself_is_refused(page: Page, other: str) -> None:
    with pytest.raises(PageError, match="fold the sheet over itself"):
        apply(page, ["Stretch(drift=10, period=10)", other], seed=1)


@pytest.mark.parametrize("strength", [-0.2, -0.06, 0.2])
def test_lenses_of_any_strength_see_beyond_the_sheet(page: Page, strength: float) -> None:
    out = apply(page, [f"Lens(strength={strength})", "Pad(left=0.5, right=1, top=0.5, bottom=0.2)"], seed=1)
    mm = page.mm(page.traces[0])
    mm = mm[np.isfinite(mm).all(axis=1)]
    assert np.abs(out.mm_to_px.inverse(out.mm_to_px(mm)) - mm).max() < 1e-4


def test_effects_on_the_flat_sheet_come_before_it_is_bent(page: Page) -> None:
    flat = next((name for name, kind in EFFECTS.items() if kind.stage == "paper"), "")
    bent = apply(page, [Curl()], seed=1)
    with pytest.raises(PageError, match=f"{flat} is painted on the flat sheet"):
        apply(bent, [flat])


# What an effect is


def test_draws_lie_in_their_ranges_and_follow_severity() -> None:
    rng = np.random.default_rng(0)
    tilts = np.array([abs(draw(Perspective(), rng, s).tilt) for s in (0.0, 0.25, 0.5, 1.0) for _ in range(50)])
    mild, low, middle, high = tilts.reshape(4, 50)
    assert not mild.any() and low.max() <= 8 and low.min() >= 4 and middle.max() <= 16 and high.min() >= 16
    signs = {np.sign(draw(Perspective(), rng, 1.0).tilt) for _ in range(30)}
    assert signs == {-1.0, 1.0}
    ranged = [draw(Perspective(tilt=Range(3, 4)), rng, 1.0).tilt for _ in range(20)]
    assert min(ranged) >= 3 and max(ranged) <= 4
    assert {draw(Folds(), rng).pattern for _ in range(60)} == {"half", "quarters", "letter", "free"}
    assert isinstance(draw(Folds(), rng).count, int)
    assert draw(Folds(severity=1.0), rng, 0.0).angle >= 7


def test_the_same_bytes_with_one_core_and_with_several() -> None:
    code = """
import hashlib, numpy as np
from ecg_image_kit import open_source, render
from ecg_image_kit.effects import apply
from ecg_image_kit.recipes import RECIPES
page = render(open_source("samples").load("00002"), dpi=120)
pages = [apply(page, RECIPES[name].draw(np.random.default_rng(k), 0.7)) for k, name in enumerate(("photo", "crumpled"))]
print(hashlib.sha256(b"".join(p.image.tobytes() for p in pages)).hexdigest(), repr(pages[0].px(page.traces[0])[::99]))
"""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
    found = set()
    for threads in ("1", "4"):
        environment = {**os.environ, **dict.fromkeys(names, threads)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1


def test_one_more_effect_or_field_leaves_the_other_draws_alone(page: Page) -> None:
    alone = apply(page, [Rotation()], seed=9).history
    among = apply(page, ["Lens", Rotation(), "Curl"], seed=9).history
    assert alone[0] in among
    twice = apply(page, [Rotation(), Rotation()], seed=9).history
    assert alone[0] == twice[0] != twice[1]


@pytest.mark.parametrize(
    "text, effect",
    [
        ("Folds", Folds()),
        ("Folds(pattern=half)", Folds(pattern="half")),
        ("Folds(pattern='half', angle=[3, 5])", Folds(pattern="half", angle=Range(3, 5))),
        ("Perspective(tilt=-20, severity=0.3)", Perspective(tilt=-20, severity=0.3)),
        ({"Folds": {"pattern": ["half", "letter"]}}, Folds(pattern=OneOf(("half", "letter")))),
        ({"Folds": None}, Folds()),
    ],
)
def test_an_effect_has_one_meaning_in_python_text_and_files(text: Any, effect: Effect) -> None:
    assert effect_of(text) == effect
    assert effect_of(json.loads(json.dumps(effect.to_json()))) == effect


@pytest.mark.parametrize(
    "wrong, message",
    [
        ("Perspectiv", "did you mean Perspective"),
        ("Perspective(tilt=500)", r"Perspective\(tilt=500\); expected -60 to 60 degrees"),
        ("Perspective(tilt=up)", "expected -60 to 60"),
        ("Perspective(tilt=[9, 3])", "expected the lower number first"),
        ("Perspective(slope=5)", "has no 'slope'; expected some of"),
        ("Perspective(20)", "expected Name or Name"),
        ("Perspective(tilt=__import__('os'))", "expected Name or Name"),
        ("Perspective(severity=2)", "expected 0 to 1"),
        ("Perspective(severity=[0, 1])", "expected 0 to 1"),
        ("Perspective(seed=-1)", "expected a whole number, 0 or more"),
        ("Folds(count=2.5)", "expected a whole number"),
        ({"Folds": 4}, "expected {Name: {field: value}}"),
        ("Folds(pattern=crooked)", "expected one of half, quarters, letter, free"),
        ({"Folds": {}, "Curl": {}}, "expected a name"),
        (7, "expected a name"),
    ],
)
def test_wrong_effects_are_refused(wrong: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        effect_of(wrong)


def test_an_effect_of_ones_own(page: Page) -> None:
    try:

        @dataclass(frozen=True, kw_only=True)
        class Dim(Effect):
            """Dims the picture."""

            stage: ClassVar[str] = "light"
            by: float = number(Grows(0.0, 0.5), 0, 1, "how much")

            def paint(self, page: Page) -> Page:
                return replace(page, image=np.asarray(page.image * (1 - self.by), np.uint8))

        out = apply(page, ["Dim(by=0.5)"])
        assert out.image.mean() == pytest.approx(page.image.mean() / 2, abs=1)
        assert Recipe.of(["1 Dim"]).draw(np.random.default_rng(0))[0].by > 0  # type: ignore[attr-defined]
    finally:
        EFFECTS.pop("Dim", None)


# Recipes


def test_recipes_draw_the_same_effects_from_the_same_seed() -> None:
    for recipe in RECIPES.values():
        one, two = (recipe.draw(np.random.default_rng(3), 0.6) for _ in range(2))
        assert one == two and all(effect.is_drawn for effect in one)
        assert recipe.about


def test_chances_picks_and_alternatives() -> None:
    recipe = Recipe.of({"about": "x", "steps": ["0.5 Curl | Folds", {"pick": {"Lens": 3, "Rotation(degrees=4)": 1}}]})
    counts: dict[str, int] = {}
    for seed in range(300):
        for effect in recipe.draw(np.random.default_rng(seed), 0.5):
            counts[type(effect).__name__] = counts.get(type(effect).__name__, 0) + 1
    assert 110 < counts["Curl"] + counts["Folds"] < 190 and min(counts["Curl"], counts["Folds"]) > 40
    assert counts["Lens"] + counts["Rotation"] == 300 and 190 < counts["Lens"] < 260
    mild = sum(len(recipe.draw(np.random.default_rng(seed), 0.0)) for seed in range(300)) - 300
    assert 25 < mild < 85


def test_recipes_from_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "about: mine\nsteps:\n  - Crumple\n  - 0.3 Curl(rise=[1, 2])\n  - Folds: {angle: 4}\n  - pick: {photo: 1}\n"
    )
    recipe = recipe_of(str(path))
    assert recipe.name == "mine" and recipe.about == "mine" and len(recipe.steps) == 4
    names = [type(effect).__name__ for effect in recipe.draw(np.random.default_rng(1), 1.0)]
    assert names[0] == "Crumple" and "Perspective" in names  # photo's


@pytest.mark.parametrize(
    "text, message",
    [
        ("steps: [Crumpel]", "did you mean Crumple"),
        ("steps: ['2 Crumple']", "expected a chance of 0 to 1"),
        ("steps: [5]", "step 5; expected text"),
        ("steps: Crumple", "expected a list of steps"),
        ("effects: [Crumple]", "expected steps, and about"),
        ("steps: [{pick: {Crumple: -1}}]", "weight above 0"),
        ("steps: [{Crumple: {angle: 99}}]", "expected 0 to 40 degrees"),
        ("steps: [", "cannot be read"),
    ],
)
def test_wrong_recipes_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        recipe_of(str(path))


def test_unknown_recipes_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean crumpled"):
        recipe_of("crumpld")
    with pytest.raises(UsageError, match="cannot be read"):
        recipe_of("nowhere.yaml")


@pytest.mark.parametrize("dpi", [72, 300])
def test_recipes_work_at_any_resolution(dpi: int, record: Record) -> None:
    style: Callable[[int], Style] = lambda k: Style.random(np.random.default_rng(k))  # noqa: E731
    for k, recipe in enumerate(RECIPES.values()):
        page = render(record, None, style(k), dpi)
        out = apply(page, recipe.draw(np.random.default_rng(k), 0.8))
        assert out.image.std() > 1 and len(out.history) >= (recipe.name != "clean")
