"""Recipes: named ways from a printed page to what a computer gets to see, as lists of effects left partly to chance.

A recipe is data, here and in a YAML file alike (``--recipe my.yaml``)::

    about: photographs of crumpled sheets
    steps:
      - Crumple                              # always, its fields drawn by severity
      - Perspective(tilt=[5, 20])            # this field from a range of one's own
      - 0.7 Shadow | Glare                   # in 7 of 10 pages, one of these
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

_BUILT_IN: dict[str, tuple[str, list[Any]]] = {
    "clean": ("the page as it was drawn", []),
    "photo": ("a phone photo", ["0.6 Curl", "Perspective", "0.5 Lens"]),
    "crumpled": ("crumpled and smoothed out", ["Crumple", "Perspective"]),
}

for _name, (_about, _steps) in _BUILT_IN.items():
    RECIPES[_name] = Recipe.of({"about": _about, "steps": _steps}, _name)
