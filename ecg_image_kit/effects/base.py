"""What an effect is: a frozen dataclass whose fields are numbers, or ranges that are drawn from.

    >>> effect = Perspective(tilt=Range(5, 20))          # a description
    >>> drawn = draw(effect, np.random.default_rng(1))   # numbers only, and a seed for its textures
    >>> page = apply(page, [drawn])                      # a pure function of page and drawn effect

Python, YAML and the command line describe the same object: ``Perspective(tilt=Range(5, 20))``,
``Perspective: {tilt: [5, 20]}``, ``--effect "Perspective(tilt=[5, 20])"``; what follows severity is
``Grows(0, 20)``, ``{mild: 0, severe: 20}``, ``Grows(0, 20)``.

To write one, subclass ``Effect`` in a module of this package: its first docstring line is what ``--list-effects``
shows, ``stage`` says when it happens, fields come from ``number`` and ``word``, and ``paint`` returns a new page.
"""

from __future__ import annotations

import ast
import difflib
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, TypeVar

import numpy as np

from ..errors import UsageError
from ..page import Page

# In this order, whatever the order they are listed in. Up to "paper" the sheet is flat and effects know millimetres;
# "stretch" to "frame" compose one map, and the image is resampled once; from "scene" on nothing moves.
STAGES = (
    "ink", "marks", "paper", "stretch", "surface", "camera", "lens", "frame", "scene", "light", "optics", "sensor",
    "codec",
)  # fmt: skip
FLAT, GEOMETRY = STAGES[:3], STAGES[3:8]

EFFECTS: dict[str, type[Effect]] = {}  # every effect by name, in the order in which they are defined

E = TypeVar("E", bound="Effect")


@dataclass(frozen=True)
class Range:
    """Drawn uniformly from ``low`` to ``high``, whatever the severity."""

    low: float
    high: float


@dataclass(frozen=True)
class Grows:
    """Drawn by severity s: from ``mild`` at 0 up to ``severe`` at 1, uniformly over the upper half of the way to s.

    ``signed``: either sign with equal chance.
    """

    mild: float
    severe: float
    signed: bool = False


@dataclass(frozen=True)
class OneOf:
    """One of several words, with equal chance."""

    options: tuple[str, ...]


def number(
    default: float | Range | Grows, low: float, high: float, text: str, unit: str = "", whole: bool = False
) -> Any:
    """A dataclass field for a number from ``low`` to ``high``; ``text`` and ``unit`` are its help."""
    about = {"low": low, "high": high, "help": text, "unit": unit, "whole": whole}
    return field(default=default, metadata=about)


def word(default: str | OneOf, options: Iterable[str], text: str) -> Any:
    """A dataclass field for one of several words."""
    return field(default=default, metadata={"options": tuple(options), "help": text})


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Base of all effects.

    Attributes:
        severity: 0 (barely) to 1 (as bad as it gets); None takes the recipe's. Sets what fields at their default do.
        seed: of textures and places; None is drawn.
    """

    stage: ClassVar[str]
    severity: float | None = None
    seed: int | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "stage" in cls.__dict__:
            assert cls.stage in STAGES, cls.stage
            EFFECTS[cls.__name__] = cls

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.severity is not None and not (_is_number(self.severity) and 0 <= self.severity <= 1):
            raise UsageError(f"{name}(severity={self.severity!r}); expected 0 to 1.")
        if self.seed is not None and (isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0):
            raise UsageError(f"{name}(seed={self.seed!r}); expected a whole number, 0 or more.")
        for f in fields(self):
            if f.metadata:
                object.__setattr__(
                    self, f.name, _checked(type(self).__name__, f.name, f.metadata, getattr(self, f.name))
                )

    @property
    def is_drawn(self) -> bool:
        """Whether every field is a plain value."""
        return self.seed is not None and not any(
            isinstance(getattr(self, f.name), Range | Grows | OneOf) for f in fields(self)
        )

    def rng(self) -> np.random.Generator:
        """The drawn effect's own generator: each call gives it anew."""
        assert self.seed is not None
        return np.random.default_rng(self.seed)

    def paint(self, page: Page) -> Page:
        """The page with a drawn effect on it; ``page`` itself is left as it was."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """{"Name": {field: value}}, from which ``effect_of`` makes the same effect; undrawn defaults are left out."""
        values = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value != f.default or self.is_drawn:
                if isinstance(value, Range):
                    value = [value.low, value.high]
                elif isinstance(value, Grows):
                    value = {"mild": value.mild, "severe": value.severe, "signed": value.signed}
                elif isinstance(value, OneOf):
                    value = list(value.options)
                values[f.name] = value
        return {type(self).__name__: values}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _checked(effect: str, name: str, about: Mapping[str, Any], value: Any) -> Any:
    """The field's value in the one way in which it is kept. Raises UsageError if it is out of place."""
    given = f"{effect}({name}={value!r})"
    if "options" in about:
        options = about["options"]
        words = value.options if isinstance(value, OneOf) else (value,) if isinstance(value, str) else value
        if not isinstance(words, list | tuple) or not words or not all(w in options for w in words):
            raise UsageError(f"{given}; expected one of {', '.join(options)}, or a list of some.")
        return words[0] if len(words) == 1 else OneOf(tuple(words))
    if isinstance(value, list | tuple) and len(value) == 2:
        value = Range(*value)
    if isinstance(value, Mapping) and {"mild", "severe"} <= set(value) <= {"mild", "severe", "signed"}:
        value = Grows(**value)
    ends = {Range: ("low", "high"), Grows: ("mild", "severe")}.get(type(value), ())
    numbers = [getattr(value, end) for end in ends] or [value]
    low, high = about["low"], about["high"]
    for v in numbers:
        if not _is_number(v) or not low <= v <= high:
            unit = f" {about['unit']}" if about["unit"] else ""
            raise UsageError(f"{given}; expected {low:g} to {high:g}{unit}, or [low, high] to be drawn from.")
    if about["whole"] and not ends:
        if value != int(value):
            raise UsageError(f"{given}; expected a whole number, or [low, high] to be drawn from.")
        value = int(value)
    if isinstance(value, Range) and value.low > value.high:
        raise UsageError(f"{given}; expected the lower number first.")
    return value


def children(rng: np.random.Generator, names: Iterable[str]) -> list[np.random.Generator]:
    """A generator for each name (the second of a name gets another): one more name leaves those of the others alone."""
    root, seen = int(rng.integers(2**63)), Counter[str]()
    out = []
    for name in names:
        out.append(np.random.default_rng([root, zlib.crc32(name.encode()), seen[name]]))
        seen[name] += 1
    return out


def draw(effect: E, rng: np.random.Generator, severity: float = 0.5) -> E:
    """The effect with every range replaced by a number, and its seed set. A drawn effect comes back as it is.

    Each field has a generator of its own, so that a new field leaves the others' draws as they were.
    """
    if effect.is_drawn:
        return effect
    root = int(rng.integers(2**63))
    at = severity if effect.severity is None else effect.severity
    values: dict[str, Any] = {"severity": at}
    for f in fields(effect):
        value = getattr(effect, f.name)
        own = np.random.default_rng([root, zlib.crc32(f.name.encode())])
        if isinstance(value, OneOf):
            values[f.name] = str(own.choice(value.options))
        elif isinstance(value, Range | Grows):
            if isinstance(value, Range):
                number = own.uniform(value.low, value.high)
            else:
                number = value.mild + (value.severe - value.mild) * at * own.uniform(0.5, 1.0)
                number *= own.choice([-1.0, 1.0]) if value.signed else 1.0
            values[f.name] = round(number) if f.metadata["whole"] else float(f"{number:.6g}")
        elif f.name == "seed" and value is None:
            values["seed"] = int(own.integers(2**31))
    return replace(effect, **values)


def effect_of(data: str | Mapping[str, Any] | Effect) -> Effect:
    """The effect that a text (``Perspective(tilt=20)``) or a mapping (``{Perspective: {tilt: 20}}``) means.

    Raises:
        UsageError: no such effect or field, or a value out of place.
    """
    if isinstance(data, Effect):
        return data
    if isinstance(data, str):
        name, values = _parsed(data)
    elif isinstance(data, Mapping) and len(data) == 1:
        name, values = next((str(key), value or {}) for key, value in data.items())
        if not isinstance(values, Mapping):
            raise UsageError(f"effect {data!r}; expected {{Name: {{field: value}}}}, such as {{Folds: {{angle: 5}}}}.")
    else:
        raise UsageError(
            f"effect {data!r}; expected a name, Name(field=value), or a mapping {{Name: {{field: value}}}}."
        )
    kind = EFFECTS.get(name)
    if kind is None:
        close = difflib.get_close_matches(name, EFFECTS, 1)
        raise UsageError(f"no effect {name!r}" + (f"; did you mean {close[0]}?" if close else ". See --list-effects."))
    known = [f.name for f in fields(kind)]
    for key in values:
        if key not in known:
            raise UsageError(f"effect {name} has no {key!r}; expected some of {', '.join(known)}.")
    return kind(**values)


def _parsed(text: str) -> tuple[str, dict[str, Any]]:
    """``Name(field=value, ...)`` as its parts; values are numbers, words, or lists of them."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, {}
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
            raise ValueError
        return node.func.id, _keywords(node)
    except (SyntaxError, ValueError, TypeError):
        raise UsageError(
            f"effect {text!r}; expected Name or Name(field=value, ...), such as Perspective(tilt=20)."
        ) from None


def _keywords(call: ast.Call) -> dict[str, Any]:
    """The keyword arguments of a call: numbers, words with or without quotes, lists of them, Grows(...), Range(...)."""
    values: dict[str, Any] = {}
    for part in call.keywords:
        if part.arg is None:
            raise ValueError
        value = part.value
        if isinstance(value, ast.Name):
            values[part.arg] = value.id
        elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in ("Grows", "Range"):
            kind: Any = {"Grows": Grows, "Range": Range}[value.func.id]
            values[part.arg] = kind(*map(ast.literal_eval, value.args), **_keywords(value))
        elif isinstance(value, ast.List):
            values[part.arg] = [v.id if isinstance(v, ast.Name) else ast.literal_eval(v) for v in value.elts]
        else:
            values[part.arg] = ast.literal_eval(value)
    return values
