"""Recipes: named ways from a printed page to what a computer gets to see, as lists of effects left partly to chance.

A recipe is data, here and in a YAML file alike (``--recipe my.yaml``)::

    about: photographs of crumpled sheets
    steps:
      - Crumple                              # always, its fields drawn by severity
      - Perspective(tilt=[5, 20])            # this field from a range of one's own
      - 0.7 Shadow | Glare                   # one of these, in 7 of 10 pages (at severity 0.5; in fewer below that)
      - Jpeg: {quality: [40, 80]}            # the same as Jpeg(quality=[40, 80])
      - pick: {scan-grey: 2, photo: 1}       # one of several steps or recipes, by weight
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .effects import Effect, children, draw, effect_of
from .errors import UsageError


@dataclass(frozen=True)
class Step:
    """With chance ``p``, one of ``options``: (weight, an effect or a recipe)."""

    options: tuple[tuple[float, Effect | Recipe], ...]
    p: float = 1.0

    @property
    def key(self) -> str:
        """By which the step is drawn."""
        return "|".join(o.name if isinstance(o, Recipe) else type(o).__name__ for _, o in self.options)


@dataclass(frozen=True)
class Recipe:
    """Steps that are drawn anew for each page. ``about``: one line for people who choose among recipes."""

    name: str
    steps: tuple[Step, ...]
    about: str = ""

    def draw(self, rng: np.random.Generator, severity: float = 0.5) -> list[Effect]:
        """Drawn effects for one page; more of the occasional ones at a higher severity."""
        chosen: list[Effect] = []
        for step, child in zip(self.steps, children(rng, [step.key for step in self.steps]), strict=True):
            # At severity 0.5 the chances are as written; at 0 they are a third of that.
            if step.p < 1 and child.random() >= min(1.0, step.p * (1 / 3 + 4 / 3 * severity)):
                continue
            weights = np.array([weight for weight, _ in step.options], dtype=np.float64)
            option = step.options[int(child.choice(len(weights), p=weights / weights.sum()))][1]
            if isinstance(option, Recipe):
                chosen += option.draw(child, severity)
            else:
                chosen.append(draw(option, child, severity))
        return chosen

    @classmethod
    def of(cls, data: object, name: str = "custom") -> Recipe:
        """The recipe in plain data: a list of steps, or a mapping with ``steps`` and perhaps ``about``.

        Raises:
            UsageError: naming the step that cannot be understood.
        """
        about = ""
        if isinstance(data, Mapping):
            unknown = sorted(set(map(str, data)) - {"steps", "about"})
            if unknown or "steps" not in data:
                raise UsageError(
                    f"recipe {name} has keys {', '.join(map(str, data))}; expected steps, and about if wanted."
                )
            about, data = str(data.get("about", "")), data["steps"]
        if not isinstance(data, Sequence) or isinstance(data, str):
            raise UsageError(f"recipe {name} holds {type(data).__name__}; expected a list of steps such as 'Crumple'.")
        return cls(name, tuple(_step(part, name) for part in data), about)


def _step(data: object, recipe: str) -> Step:
    if isinstance(data, Mapping) and set(data) == {"pick"}:
        choices = data["pick"]
        if not isinstance(choices, Mapping) or not choices or not all(_positive(w) for w in choices.values()):
            raise UsageError(f"recipe {recipe}: pick {choices!r}; expected {{step or recipe: weight above 0, ...}}.")
        return Step(tuple((float(w), _option(str(part), recipe)) for part, w in choices.items()))
    if isinstance(data, Mapping):
        return Step(((1.0, _effect(data, recipe)),))
    if not isinstance(data, str):
        raise UsageError(
            f"recipe {recipe}: step {data!r}; expected text such as '0.5 Shadow | Glare', or {{Name: {{...}}}}."
        )
    match = re.match(r"\s*(\d*\.?\d+)\s+(?=\S)", data)
    p = float(match[1]) if match else 1.0
    if not 0 <= p <= 1:
        raise UsageError(f"recipe {recipe}: step {data!r}; expected a chance of 0 to 1 before the effect.")
    options = data[match.end() :].split("|") if match else data.split("|")
    return Step(tuple((1.0, _option(part.strip(), recipe)) for part in options), p)


def _positive(weight: object) -> bool:
    return isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight < np.inf


def _option(text: str, recipe: str) -> Effect | Recipe:
    return RECIPES[text] if text in RECIPES else _effect(text, recipe)


def _effect(data: str | Mapping[str, Any], recipe: str) -> Effect:
    try:
        return effect_of(data)
    except UsageError as error:
        raise UsageError(f"recipe {recipe}: {error}") from None


def recipe_of(name: str) -> Recipe:
    """The recipe of that name, or in that YAML file.

    Raises:
        UsageError: neither, or a file that holds no recipe.
    """
    if name in RECIPES:
        return RECIPES[name]
    path = Path(name)
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        import yaml

        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UsageError(f"recipe {name}: cannot be read ({' '.join(str(error).split())}).") from None
        return Recipe.of(data, path.stem)
    close = difflib.get_close_matches(name, RECIPES, 1)
    raise UsageError(
        f"recipe {name!r}; expected {', '.join(RECIPES)}, or the path of a YAML file"
        + (f"; did you mean {close[0]}?" if close else ".")
    )


RECIPES: dict[str, Recipe] = {}

# What recipes have in common: how it was printed, what people did to it, how it was kept, how it got into a computer.
_PRINTED = [
    "0.6 Laser | Inkjet | ThermalHead | ThermalHead | PenPlotter",
    "0.15 Fading(amount=Grows(0.03, 0.5)) | Bleed | TonerSpeckle",
    "0.2 GridFading",
    "0.04 DoublePrint",
    "0.06 Dropouts",
]
_USED = [
    "0.35 Handwriting",
    "0.12 Signature",
    "0.12 Stamp",
    "0.1 Circled | Underline | Caliper | CheckMarks | Arrow",
    "0.06 Highlighter",
    "0.06 Sticker | StickyNote | Redaction",
]
_KEPT = [
    "0.5 Fibre",
    "0.4 PaperTint | Yellowing",
    "0.2 Dirt",
    "0.12 PunchHoles | Staple",
    "0.06 EdgeWear | Scratches | BleedThrough | Tape",
    "0.15 Transport",
]
_SCANNED = [
    "0.25 FoldLine",
    "0.2 Wrinkles | Stretch | ScannerSpeed",
    "0.8 Rotation(degrees=Grows(0, 3.5, signed=True))",
    "0.05 QuarterTurns",
    "0.4 Pad",
    "0.25 Crop(left=Grows(0, 0.03), right=Grows(0, 0.03), top=Grows(0, 0.06), bottom=Grows(0, 0.04))",
    "ScannerBed",
    "0.6 LampFalloff",
    "0.25 ScannerStreaks",
    "0.4 Dust",
    "0.5 Defocus(radius=Grows(0.02, 0.25))",
    "0.3 Gamma | AutoContrast",
]
_TAKEN = [
    "0.2 Stretch",
    "Lamp",
    "Perspective",
    "0.5 Lens",
    "0.4 Rotation(degrees=Grows(0, 8, signed=True))",
    "0.06 QuarterTurns",
    "0.2 Crop",
    "Desk",
    "0.12 Finger | Clip | OtherSheet",
    # Each of these is drawn milder than it can be: together they darken and blur more than cameras let them.
    "0.8 Gradient(depth=Grows(0.03, 0.4))",
    "0.6 Shadow(depth=Grows(0.05, 0.5))",
    "0.12 Glare | Flash(fall=Grows(0.03, 0.4)) | Blinds",
    "0.4 Vignette(depth=Grows(0.02, 0.3))",
    "ColourCast",
    "0.8 Exposure(stops=Grows(-0.1, -0.8)) | Exposure(stops=Grows(-0.1, -0.8)) | Overexposure(stops=Grows(0.05, 0.9))",
    "Defocus(radius=Grows(0.03, 0.45))",
    "0.25 MotionBlur(length=Grows(0.05, 0.9))",
    "0.3 Haze",
    "SensorNoise(amount=Grows(0.5, 6.5))",
    "0.4 ChromaNoise(amount=Grows(0.3, 3.5))",
    "0.3 Demosaic",
    "0.4 Denoise(threshold=Grows(1, 14))",
    "0.5 Sharpen",
    "0.3 LocalContrast",
    "0.1 Downscale(dpi=Grows(170, 90))",
    "Jpeg(quality=Grows(95, 30)) | Jpeg(quality=Grows(95, 30)) | Messenger",
]
_SAVED = ["0.6 SensorNoise(amount=Grows(0.2, 4))", "0.7 Jpeg(quality=Grows(95, 35))"]

_BUILT_IN: dict[str, tuple[str, list[Any]]] = {
    "clean": ("the page as it was drawn", []),
    "scan-color": ("a colour scan on a flatbed", [*_PRINTED, *_USED, *_KEPT, *_SCANNED, *_SAVED]),
    "scan-grey": ("a scan in shades of grey", [*_PRINTED, *_USED, *_KEPT, *_SCANNED, "Greyscale", *_SAVED]),
    "scan-bw": ("a scan in black and white", [*_PRINTED, *_USED, *_KEPT, *_SCANNED, "BlackWhite"]),
    "photocopy": ("copied, perhaps several times, and scanned", [
        *_PRINTED, *_USED, *_KEPT, "Photocopy", *_SCANNED, "0.6 Greyscale", *_SAVED]),
    "fax": ("sent by fax", [*_PRINTED, *_USED, "0.6 Rotation(degrees=Grows(0, 2.5, signed=True))", "Fax"]),
    "photo": ("a phone photo of a sheet on a desk", [
        *_PRINTED, *_USED, *_KEPT, "0.7 Curl", "0.3 Folds", "0.3 Wrinkles", *_TAKEN]),
    "photo-hard": ("a bad phone photo: bent paper, shadows, blur, compression", [
        *_PRINTED, *_USED, *_KEPT, "Curl", "0.5 Folds | Crumple", "0.7 Wrinkles", *_TAKEN, "Shadow",
        "0.5 Glare | Flash", "0.5 MotionBlur(length=Grows(0.2, 1.2))", "0.3 Downscale(dpi=Grows(170, 75))"]),
    "photo-screen": ("a photo of a page on a computer's screen", [
        "Perspective(tilt=Grows(0, 18, signed=True))", "0.5 Lens", "0.4 Rotation", "0.4 Crop", "ScreenPhoto",
        "0.4 Glare", "0.5 Vignette(depth=Grows(0.02, 0.3))", "0.6 ColourCast",
        "0.4 Exposure(stops=Grows(-0.1, -0.8)) | Overexposure(stops=Grows(0.05, 0.9))",
        "Defocus(radius=Grows(0.03, 0.45))", "0.3 Haze", "SensorNoise(amount=Grows(0.5, 6.5))", "0.5 Sharpen",
        "Jpeg(quality=Grows(95, 30))"]),
    "stained": ("coffee and water on it, then scanned or photographed", [
        "CoffeeStain | WaterStain", "0.6 CoffeeStain", "0.6 WaterStain", "0.7 Dirt", "0.4 Yellowing",
        {"pick": {"photo": 2, "scan-color": 1, "scan-grey": 0.5}}]),
    "damaged": ("torn, taped, worn, with missing pieces", [
        "Tear", "0.5 Tear", "0.6 EdgeWear", "0.5 Scratches", "0.4 Tape", "0.5 Crumple | Folds", "0.4 Dropouts",
        "0.4 WaterStain", "0.5 Dirt", "0.4 FoldLine", {"pick": {"photo": 2, "scan-color": 1}}]),
    "mould": ("kept in a damp cellar", [
        "Mould", "0.6 Yellowing", "0.5 WaterStain", "0.4 EdgeWear", "0.3 Stretch",
        {"pick": {"scan-color": 2, "scan-grey": 1, "scan-bw": 0.5, "photo": 1}}]),
    "thermal-faded": ("thermal paper after some years", [
        "ThermalFading", "ThermalHead", "PaperTint", "0.4 ThermalBlackening", "0.5 GridFading", "0.3 Scratches",
        {"pick": {"scan-color": 2, "scan-grey": 1, "photo": 2}}]),
    "crumpled": ("crumpled into a ball, smoothed out, photographed", [
        *_PRINTED, *_USED, *_KEPT, "Crumple", "0.4 Curl", *_TAKEN]),
    "annotated": ("written on, stamped, marked", [
        "Handwriting", "0.7 Handwriting", "0.6 Signature", "0.5 Stamp", "0.5 Circled", "0.4 Underline", "0.4 Caliper",
        "0.4 Arrow", "0.4 CheckMarks", "0.3 Highlighter", "0.3 Scribble", "0.3 Sticker", "0.2 StickyNote",
        "0.2 Redaction", {"pick": {"scan-color": 2, "scan-grey": 1, "photo": 2}}]),
}  # fmt: skip

_RANDOM = {
    "clean": 0.5, "scan-color": 3, "scan-grey": 1.5, "scan-bw": 1.5, "photocopy": 0.7, "fax": 0.5, "photo": 4,
    "photo-hard": 1.5, "photo-screen": 1.2, "stained": 1, "damaged": 1, "mould": 0.7, "thermal-faded": 0.8,
    "crumpled": 1, "annotated": 1,
}  # fmt: skip

for _name, (_about, _steps) in _BUILT_IN.items():
    RECIPES[_name] = Recipe.of({"about": _about, "steps": _steps}, _name)
RECIPES["random"] = Recipe.of({"about": "one of the others, by weight", "steps": [{"pick": _RANDOM}]}, "random")
