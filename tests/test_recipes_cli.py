"""Recipes and effects from files and flags: what is asked for is what happens to the pages, and can be done again."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecg_image_kit import Page, UsageError
from ecg_image_kit.cli import main
from ecg_image_kit.config import Config
from ecg_image_kit.effects import EFFECTS, STAGES, Effect, replay
from ecg_image_kit.export import EXPORTS
from ecg_image_kit.generate import generate, pages
from ecg_image_kit.recipes import RECIPES

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A recipe of one's own, in a file."""
    path = tmp_path / "mine.yaml"
    path.write_text("about: bent\nsteps:\n- Curl\n- Perspective: {tilt: [5, 20], pan: 3}\n- 0.5 Shadow | Gradient\n")
    return path


def made(**values: Any) -> list[Page]:
    return [page for _, page in pages(Config.of({"dpi": 40, "n": 4, **values}))]


def names(page: Page) -> list[str]:
    return [next(iter(entry)) for entry in page.history]


def drawn(page: Page, name: str) -> Mapping[str, Any]:
    return next(entry[name] for entry in page.history if name in entry)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_a_recipe_in_a_file_is_followed(mine: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    args = ["-n", "6", "--dpi", "40", "--recipe", str(mine), "--severity", "0.2-0.8", "--out", str(out)]
    assert main([*args, "--quiet"]) == 0
    loaded = [Page.load(path) for path in sorted(out.glob("*.png"))]
    assert len(loaded) == 6
    for page in loaded:
        assert set(names(page)) - {"Shadow", "Gradient"} == {"Curl", "Perspective"}
        assert (page.meta["recipe"], drawn(page, "Perspective")["pan"]) == ("mine", 3)
        assert 0.2 <= page.meta["severity"] == drawn(page, "Curl")["severity"] <= 0.8
    tilts = {drawn(page, "Perspective")["tilt"] for page in loaded}
    assert len(tilts) == 6
    assert all(5 <= tilt <= 20 for tilt in tilts)
    with (out / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["recipe"], float(row["severity"])) for row in rows] == [
        ("mine", page.meta["severity"]) for page in loaded
    ]
    assert str(tmp_path) not in (out / "config.json").read_text()


def test_pages_are_remade_from_what_their_files_say(mine: Path, tmp_path: Path) -> None:
    generate(Config(n=3, dpi=50, recipe=f"{mine},photo", severity=0.7, style="random", out=str(tmp_path / "out")))
    clean = made(n=3, dpi=50, style="random")
    for page in clean:
        saved = Page.load(tmp_path / "out" / f"{page.meta['record']}.png")
        again = replay(page, saved.history)
        np.testing.assert_array_equal(again.image, saved.image)
        assert list(again.history) == json.loads(json.dumps(saved.history))
        np.testing.assert_array_equal(again.px(again.traces[0]), saved.px(saved.traces[0]))


def test_effects_come_on_top_and_leave_the_draws_of_others_alone(mine: Path) -> None:
    plain = made(recipe=mine)
    more = made(recipe=mine, effect=["Rotation(degrees=2)", {"Lens": None}])
    for page, other in zip(plain, more, strict=True):
        assert drawn(other, "Rotation")["degrees"] == 2
        rest = [entry for entry in other.history if next(iter(entry)) not in ("Rotation", "Lens")]
        assert rest == list(page.history)
        assert page.style == other.style
    third = made(recipe=mine, effect=["Rotation(degrees=2)", "Lens", "Pad"])
    assert [drawn(page, "Lens") for page in third] == [drawn(page, "Lens") for page in more]
    assert made(effect="Rotation(degrees=2)")[0].history != ()


def test_one_of_several_recipes_for_each_page(mine: Path) -> None:
    found = made(n=12, recipe=[mine, "clean"])
    assert {page.meta["recipe"] for page in found} == {"mine", "clean"}
    assert {bool(page.history) for page in found} == {True, False}
    assert all(bool(page.history) == (page.meta["recipe"] == "mine") for page in found)


def test_severity_is_what_grows() -> None:
    low, high = (made(n=3, recipe="photo", severity=severity) for severity in (0, 1))
    tilt = [np.mean([abs(drawn(page, "Perspective")["tilt"]) for page in found]) for found in (low, high)]
    assert tilt[0] < 1 < 8 < tilt[1]


def test_a_file_that_changed_is_noticed(mine: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate(Config(n=1, dpi=40, recipe=mine, out=str(out)))
    before = contents(out)
    mine.write_text(mine.read_text().replace("20]", "25]"))
    with pytest.raises(UsageError, match=r"--recipe .*'mine'.* has changed.*--no-resume"):
        generate(Config(n=1, dpi=40, recipe=mine, out=str(out)))
    with pytest.raises(UsageError, match=r"--recipe was .*'mine'.*, is 'photo'; --effect was \[\], is \['Curl'\]"):
        generate(Config(n=1, dpi=40, recipe="photo", effect="Curl", out=str(out)))
    mine.write_text("# the same again\n" + mine.read_text().replace("25]", "20]"))
    assert generate(Config(n=2, dpi=40, recipe=mine, out=str(out))).kept == 1
    assert before.items() - contents(out).items() == {(name, before[name]) for name in ("config.json", "manifest.csv")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- Perspectiv", ["recipe mine", "did you mean Perspective?"]),
        ("- Perspective(tild=3)", ["recipe mine", "no 'tild'", "tilt"]),
        ("step: [Curl]", ["recipe mine", "expected steps"]),
        ("- 3 Curl", ["recipe mine", "0 to 1"]),
        ("just words", ["recipe mine", "list of steps"]),
        ("a: [", ["mine.yaml", "not YAML"]),
    ],
)
def test_wrong_recipes_are_refused_in_one_line(text: str, words: list[str], mine: Path, capsys: Capture) -> None:
    mine.write_text(text)
    assert main(["--recipe", str(mine), "--out", str(mine.parent / "out")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert not (mine.parent / "out").exists()


def test_python_yaml_and_command_line_mean_the_same(mine: Path, tmp_path: Path, capsys: Capture) -> None:
    data = {"about": "bent", "steps": ["Curl", {"Perspective": {"tilt": [5, 20], "pan": 3}}, "0.5 Shadow | Gradient"]}
    config = Config(recipe={"mine": data}, effect={"Lens": {"strength": 0.05}}, severity=(0.3, 0.5))
    assert config == Config(recipe=str(mine), effect=["Lens(strength = .05)"], severity="0.3,0.50")
    assert config == Config(recipe=[mine], effect=EFFECTS["Lens"](strength=0.05), severity="0.3,0.5")  # type: ignore[call-arg]
    args = ["--recipe", str(mine), "--effect", "Lens(strength=0.05)", "--severity", "0.3,0.5"]
    assert main([*args, "--dump-config"]) == 0
    (tmp_path / "set.yaml").write_text(capsys.readouterr().out)
    assert Config.load(tmp_path / "set.yaml") == config


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_makes_pages(recipe: str) -> None:
    for page in made(n=1, recipe=recipe, severity=1):
        assert page.image.ndim == 3
        assert page.meta["recipe"] == recipe
    assert RECIPES[recipe].about


def test_auto_format_follows_what_made_the_page(tmp_path: Path) -> None:
    recipe = {"half": ["0.5 SensorNoise"]}
    generate(Config(n=12, dpi=30, recipe=recipe, format="auto", quality=60, out=str(tmp_path)))
    with (tmp_path / "manifest.csv").open(newline="") as stream:
        images = [row["image"] for row in csv.DictReader(stream)]
    assert {Path(image).suffix for image in images} == {".jpg", ".png"}
    for image in images:
        page = Page.load(tmp_path / image)
        assert names(page) == (["SensorNoise"] if image.endswith(".jpg") else [])
    assert generate(Config(n=12, dpi=30, recipe=recipe, format="auto", quality=60, out=str(tmp_path))).kept == 12


def test_exports_cover_the_whole_folder(tmp_path: Path, capsys: Capture) -> None:
    args = ["--dpi", "40", "--effect", "Rotation(degrees=3)", "--out", str(tmp_path)]
    assert main(["-n", "2", *args]) == 0
    assert not (tmp_path / "coco.json").exists()
    assert main(["-n", "3", *args, "--export", "coco,yolo"]) == 0
    assert len(json.loads((tmp_path / "coco.json").read_text())["images"]) == 3
    before = contents(tmp_path)
    (tmp_path / "coco.json").unlink()
    assert main([*args, "-n", "3", "--export", "coco"]) == 0
    assert contents(tmp_path) == before
    assert "3 were there already" in capsys.readouterr().out


def test_nothing_is_exported_if_all_pages_failed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.csv").write_text("time_s,II\n0.0,what\n0.004,is\n0.008,this\n")
    assert main(["--src", str(tmp_path / "in"), "--export", "coco", "--quiet", "--out", str(tmp_path / "out")]) == 1


def test_lists(capsys: Capture) -> None:
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out and recipe.about in out for name, recipe in RECIPES.items())
    assert main(["--list-effects"]) == 0
    out = capsys.readouterr().out
    places = [out.index(f"\n  {name} ") for name in EFFECTS]
    stages = [STAGES.index(kind.stage) for kind in EFFECTS.values()]
    assert [s for _, s in sorted(zip(places, stages, strict=True))] == sorted(stages)
    assert main(["--list-effects", "paper"]) == 0
    out = capsys.readouterr().out
    assert all((f"  {name} " in out) == (kind.stage == "paper") for name, kind in EFFECTS.items())
    assert main(["--list-effects", "perspectiv"]) == 2
    assert "did you mean Perspective?" in capsys.readouterr().err


@pytest.mark.parametrize("kind", EFFECTS.values(), ids=EFFECTS)
def test_an_effect_says_what_it_is_and_what_it_takes(kind: type[Effect], capsys: Capture) -> None:
    assert main(["--list-effects", kind.__name__.lower()]) == 0
    out = capsys.readouterr().out
    assert (kind.__doc__ or "").split("\n")[0] in out
    for f in fields(kind):
        assert f"\n  {f.name} " in out
        assert f.metadata.get("help", "") in out
        assert f.metadata.get("unit", "") in out
    example = out.split('--effect "')[1].split('"')[0]
    assert Config(effect=example).effect == (example,)  # it can be given as it is shown


def test_export_names_are_in_the_help(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    out = " ".join(capsys.readouterr().out.split())
    for word in (*EXPORTS, "--list-effects", "--severity", "--effect", "0.2-0.8"):
        assert word in out
